rule data:
    input:
        code("data", "rng.py"),
    output:
        DATA,
    params:
        config=phase("data"),
    threads: workflow.cores
    log:
        f"{RESULTS}/logs/data.log",
    conda:
        "../../environment.yml"
    shell:
        "{PYTHON} -m ssimbad data --results {RESULTS} --json {params.config:q} 2> >(tee {log} >&2)"
