TRAINED = [row for row in CONFIG.rows if STAGES[row] != "none"]
FIGURES = [
    "ssim_curves",
    "noisy_images",
    "r2_ranking",
    *(["loss"] if TRAINED else []),
    *(f"qualitative_{setting}" for setting in SETTINGS),
]


rule report:
    input:
        DATA,
        rules.phi.output,
        expand(f"{RESULTS}/history/{{row}}.csv", row=TRAINED),
        expand(
            f"{RESULTS}/images/{{row}}/{{setting}}", row=CONFIG.rows, setting=SETTINGS
        ),
        expand(
            f"{RESULTS}/metrics/{{row}}/{{setting}}.json",
            row=CONFIG.rows,
            setting=SETTINGS,
        ),
        code("report", "inference.py", "data/prepare.py", "data/store.py"),
    output:
        expand(f"{RESULTS}/table.{{ending}}", ending=["csv", "md", "tex", "html"]),
        expand(f"{RESULTS}/figures/{{figure}}.png", figure=FIGURES),
        times=f"{RESULTS}/times.csv",
        config=f"{RESULTS}/config.yaml",
    log:
        f"{RESULTS}/logs/report.log",
    benchmark:
        f"{RESULTS}/benchmarks/report.tsv"
    conda:
        "../../environment.yml"
    params:
        config=phase("report"),
        results=results_folder,
    shell:
        "ssimbad report --results {params.results:q} --json {params.config:q} 2> >(tee {log:q} >&2)"
