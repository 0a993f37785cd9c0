rule infer:
    input:
        DATA,
        MODEL_CODE,
        code("inference.py", "training/checkpoint.py"),
        checkpoint=lambda wildcards: (
            []
            if STAGES[wildcards.row] == "none"
            else f"{RESULTS}/checkpoints/{wildcards.row}.safetensors"
        ),
    output:
        directory(expand(f"{RESULTS}/images/{{{{row}}}}/{{setting}}", setting=SETTINGS)),
        record=f"{RESULTS}/images/{{row}}/infer.json",
    params:
        config=phase("infer"),
    threads: workflow.cores
    log:
        f"{RESULTS}/logs/infer_{{row}}.log",
    conda:
        "../../environment.yml"
    shell:
        "{PYTHON} -m ssimbad infer {wildcards.row} --results {RESULTS} --json {params.config:q}"
        " 2> >(tee {log} >&2)"
