from ssimbad.report.figures import figures_of


rule report:
    """Write the paper's table, its figures, the findings and the page that leads to them."""
    input:
        DATA,
        rules.phi.output,
        [str(FILES.history(run)) for run in CONFIG.trained_runs],
        expand(f"{RESULTS}/images/{{row}}/{{setting}}", row=RUNS, setting=inferred()),
        expand(
            f"{RESULTS}/metrics/{{row}}/{{setting}}.json",
            row=RUNS,
            setting=CONFIG.settings,
        ),
        SWEPT,
        expand(f"{RESULTS}/oracle/{{row}}.csv", row=CONFIG.guided_rows),
        code("report"),
    output:
        expand(f"{RESULTS}/table.{{ending}}", ending=["csv", "md", "tex", "html"]),
        expand(f"{RESULTS}/figures/{{figure}}.png", figure=figures_of(CONFIG)),
        expand(
            f"{RESULTS}/ablations.{{ending}}",
            ending=["csv", "md"] if any(run.variant for run in RUNS) else [],
        ),
        f"{RESULTS}/oracle.csv",
        expand(f"{RESULTS}/common_calls.{{ending}}", ending=["csv", "md"]),
        directory(f"{RESULTS}/gallery"),
        index=f"{RESULTS}/index.html",
        findings=f"{RESULTS}/findings.md",
        comparisons=f"{RESULTS}/comparisons.csv",
        systems=f"{RESULTS}/systems.csv",
        metrics=f"{RESULTS}/metrics.json",
        digests=f"{RESULTS}/digests.json",
        times=f"{RESULTS}/times.csv",
    log:
        log_of("report"),
    benchmark:
        benchmark_of("report")
    conda:
        ENVIRONMENT
    resources:
        **granted("report"),
    params:
        config=read_by("report"),
    shell:
        command("report")
