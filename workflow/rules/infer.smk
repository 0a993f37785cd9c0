rule infer:
    input:
        DATA,
        method_code("inference.py", "training/checkpoint.py"),
        checkpoint=lambda wildcards: (
            [] if stage_of(wildcards.row) == "none" else checkpoint_of(wildcards.row)
        ),
    output:
        directory(expand(f"{RESULTS}/images/{{{{row}}}}/{{setting}}", setting=SETTINGS)),
        record=f"{RESULTS}/images/{{row}}/infer.json",
    log:
        f"{RESULTS}/logs/infer/{{row}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/infer/{{row}}.tsv"
    conda:
        "../../environment.yml"
    threads: GPU_THREADS
    resources:
        gpu=SHARED_GPUS,
        mem_mb=16000,
        runtime=1440,
    params:
        config=phase("infer"),
        results=results_folder,
    shell:
        "ssimbad infer {wildcards.row} --results {params.results:q} --json {params.config:q}"
        " 2> >(tee {log:q} >&2)"
