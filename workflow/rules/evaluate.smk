rule evaluate:
    input:
        DATA,
        expand(f"{RESULTS}/images/{{{{row}}}}/{{setting}}", setting=SETTINGS),
        code("evaluation/measure.py"),
        record=f"{RESULTS}/images/{{row}}/infer.json",
    output:
        expand(f"{RESULTS}/metrics/{{{{row}}}}/{{setting}}.json", setting=SETTINGS),
    log:
        f"{RESULTS}/logs/evaluate/{{row}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/evaluate/{{row}}.tsv"
    conda:
        "../../environment.yml"
    threads: GPU_THREADS
    resources:
        gpu=GPUS,
        mem_mb=16000,
        runtime=240,
    params:
        config=phase("evaluate"),
        results=results_folder,
    shell:
        "ssimbad evaluate {wildcards.row} --results {params.results:q} --json {params.config:q}"
        " 2> >(tee {log:q} >&2)"
