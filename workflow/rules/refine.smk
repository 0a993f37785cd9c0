rule refine:
    input:
        DATA,
        MODEL_CODE,
        code("training", "evaluation/networks.py", "evaluation/weights.py"),
        checkpoint=lambda wildcards: f"{RESULTS}/checkpoints/{pretrained_row(wildcards.row)}.safetensors",
    output:
        checkpoint=f"{RESULTS}/checkpoints/{{row}}.safetensors",
        history=f"{RESULTS}/history/{{row}}.csv",
        summary=f"{RESULTS}/history/{{row}}.json",
    params:
        config=phase("refine"),
    wildcard_constraints:
        row=rows_of("refine"),
    threads: workflow.cores
    log:
        f"{RESULTS}/logs/refine_{{row}}.log",
    conda:
        "../../environment.yml"
    shell:
        "{PYTHON} -m ssimbad refine {wildcards.row} --results {RESULTS} --json {params.config:q}"
        " 2> >(tee {log} >&2)"
