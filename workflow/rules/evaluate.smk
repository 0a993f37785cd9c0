rule evaluate:
    input:
        DATA,
        expand(f"{RESULTS}/images/{{{{row}}}}/{{setting}}", setting=SETTINGS),
        code("evaluation", "data/store.py", "rng.py"),
        record=f"{RESULTS}/images/{{row}}/infer.json",
    output:
        expand(f"{RESULTS}/metrics/{{{{row}}}}/{{setting}}.json", setting=SETTINGS),
    params:
        config=phase("evaluate"),
    threads: workflow.cores
    log:
        f"{RESULTS}/logs/evaluate_{{row}}.log",
    conda:
        "../../environment.yml"
    shell:
        "{PYTHON} -m ssimbad evaluate {wildcards.row} --results {RESULTS} --json {params.config:q}"
        " 2> >(tee {log} >&2)"
