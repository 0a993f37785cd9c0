rule data:
    input:
        users_images(),
        code("data/prepare.py"),
    output:
        DATA,
    log:
        f"{RESULTS}/logs/data/data.log",
    benchmark:
        f"{RESULTS}/benchmarks/data/data.tsv"
    conda:
        "../../environment.yml"
    threads: CORES
    resources:
        mem_mb=16000,
        runtime=240,
    params:
        config=phase("data"),
        results=results_folder,
    shell:
        "ssimbad data --results {params.results:q} --json {params.config:q} 2> >(tee {log:q} >&2)"
