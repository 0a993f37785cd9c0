rule sweep:
    input:
        DATA,
        method_code(
            "evaluation/sweep.py", "evaluation/records.py", "training/checkpoint.py"
        ),
        checkpoint=lambda wildcards: checkpoint_of(wildcards.row),
    output:
        f"{RESULTS}/sweep/{{row}}.csv",
    log:
        f"{RESULTS}/logs/sweep/{{row}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/sweep/{{row}}.tsv"
    conda:
        "../../environment.yml"
    threads: GPU_THREADS
    resources:
        gpu=GPUS,
        mem_mb=32000,
        runtime=480,
    params:
        config=phase("sweep"),
        results=results_folder,
    shell:
        "ssimbad sweep {wildcards.row} --results {params.results:q} --json {params.config:q}"
        " 2> >(tee {log:q} >&2)"
