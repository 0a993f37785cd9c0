rule phi:
    input:
        DATA,
        code("noise/search.py"),
    output:
        phi=f"{RESULTS}/phi/phi.json",
        ranking=f"{RESULTS}/phi/ranking.csv",
        curves=f"{RESULTS}/phi/curves.csv",
        noisy=f"{RESULTS}/phi/noisy.npz",
    log:
        f"{RESULTS}/logs/phi/phi.log",
    benchmark:
        f"{RESULTS}/benchmarks/phi/phi.tsv"
    conda:
        "../../environment.yml"
    threads: CORES
    resources:
        gpu=GPUS,
        mem_mb=8000,
        runtime=120,
    params:
        config=phase("phi"),
        results=results_folder,
    shell:
        "ssimbad phi --results {params.results:q} --json {params.config:q} 2> >(tee {log:q} >&2)"
