rule phi:
    input:
        DATA,
        code("noise", "diffusion/ddpm.py", "data/store.py", "rng.py", "similarity.py"),
    output:
        phi=f"{RESULTS}/phi/phi.json",
        ranking=f"{RESULTS}/phi/ranking.csv",
        curves=f"{RESULTS}/phi/curves.csv",
        noisy=f"{RESULTS}/phi/noisy.npz",
    params:
        config=phase("phi"),
    threads: workflow.cores
    log:
        f"{RESULTS}/logs/phi.log",
    conda:
        "../../environment.yml"
    shell:
        "{PYTHON} -m ssimbad phi --results {RESULTS} --json {params.config:q} 2> >(tee {log} >&2)"
