FIGURES = [
    "ssim_curves",
    "noisy_images",
    "r2_ranking",
    "loss",
    *(f"qualitative_{setting}" for setting in SETTINGS),
]


rule report:
    input:
        DATA,
        rules.phi.output,
        [f"{RESULTS}/history/{row}.csv" for row in CONFIG.rows if STAGES[row] != "none"],
        expand(
            f"{RESULTS}/images/{{row}}/{{setting}}", row=CONFIG.rows, setting=SETTINGS
        ),
        expand(
            f"{RESULTS}/metrics/{{row}}/{{setting}}.json",
            row=CONFIG.rows,
            setting=SETTINGS,
        ),
        code("report"),
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
