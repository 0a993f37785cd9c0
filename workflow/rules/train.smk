rule train:
    input:
        DATA,
        MODEL_CODE,
        code("training"),
        phi=f"{RESULTS}/phi/phi.json",
    output:
        checkpoint=f"{RESULTS}/checkpoints/{{row}}.safetensors",
        history=f"{RESULTS}/history/{{row}}.csv",
        summary=f"{RESULTS}/history/{{row}}.json",
    params:
        config=phase("train"),
    wildcard_constraints:
        row=rows_of("train"),
    threads: workflow.cores
    log:
        f"{RESULTS}/logs/train_{{row}}.log",
    conda:
        "../../environment.yml"
    shell:
        "{PYTHON} -m ssimbad train {wildcards.row} --results {RESULTS} --json {params.config:q}"
        " 2> >(tee {log} >&2)"
