rule train:
    input:
        DATA,
        method_code("training/loop.py", "training/checkpoint.py"),
        phi=f"{RESULTS}/phi/phi.json",
    output:
        checkpoint=f"{RESULTS}/checkpoints/{{row}}.safetensors",
        history=f"{RESULTS}/history/{{row}}.csv",
        summary=f"{RESULTS}/history/{{row}}.json",
    log:
        f"{RESULTS}/logs/train_{{row}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train_{{row}}.tsv"
    wildcard_constraints:
        row=runs_of("train"),
    priority: 10
    conda:
        "../../environment.yml"
    threads: workflow.cores
    params:
        config=phase("train"),
        results=results_folder,
    shell:
        "ssimbad train {wildcards.row} --results {params.results:q} --json {params.config:q}"
        " 2> >(tee {log:q} >&2)"
