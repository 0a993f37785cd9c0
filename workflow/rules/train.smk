rule train:
    input:
        DATA,
        method_code("training/loop.py", "training/checkpoint.py"),
        phi=f"{RESULTS}/phi/phi.json",
    output:
        checkpoint=f"{RESULTS}/checkpoints/train/{{row}}.safetensors",
        history=f"{RESULTS}/history/train/{{row}}.csv",
        summary=f"{RESULTS}/history/train/{{row}}.json",
    log:
        f"{RESULTS}/logs/train/{{row}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train/{{row}}.tsv"
    wildcard_constraints:
        row=runs_of("train"),
    priority: 10
    conda:
        "../../environment.yml"
    threads: TRAINING_THREADS
    resources:
        gpu=SHARED_GPUS,
        mem_mb=32000,
        runtime=1440,
    params:
        config=phase("train"),
        results=results_folder,
    shell:
        "ssimbad train {wildcards.row} --results {params.results:q} --json {params.config:q}"
        " 2> >(tee {log:q} >&2)"
