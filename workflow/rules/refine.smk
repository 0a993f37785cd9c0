rule refine:
    input:
        DATA,
        method_code("training/loop.py", "training/checkpoint.py"),
        checkpoint=lambda wildcards: checkpoint_of(pretrained_run(wildcards.row)),
    output:
        checkpoint=f"{RESULTS}/checkpoints/refine/{{row}}.safetensors",
        history=f"{RESULTS}/history/refine/{{row}}.csv",
        summary=f"{RESULTS}/history/refine/{{row}}.json",
    log:
        f"{RESULTS}/logs/refine/{{row}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/refine/{{row}}.tsv"
    wildcard_constraints:
        row=runs_of("refine"),
    priority: 10
    conda:
        "../../environment.yml"
    threads: TRAINING_THREADS
    resources:
        gpu=SHARED_GPUS,
        mem_mb=32000,
        runtime=1440,
    params:
        config=phase("refine"),
        results=results_folder,
    shell:
        "ssimbad refine {wildcards.row} --results {params.results:q} --json {params.config:q}"
        " 2> >(tee {log:q} >&2)"
