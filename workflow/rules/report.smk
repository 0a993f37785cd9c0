from ssimbad.report.figures import figures_of

SWEPT = [row for row in CONFIG.sweep.rows if row in CONFIG.rows]
GUIDED = [row for row in CONFIG.oracle.rows if row in CONFIG.rows]


def templates():
    """What the pages are written from, as inputs."""
    folder = PACKAGE / "report" / "templates"
    return sorted(str(path.relative_to(workflow.basedir)) for path in folder.iterdir())


rule report:
    input:
        DATA,
        rules.phi.output,
        [history_of(run) for run in TRAINED],
        expand(f"{RESULTS}/images/{{row}}/{{setting}}", row=RUNS, setting=SETTINGS),
        expand(
            f"{RESULTS}/metrics/{{row}}/{{setting}}.json",
            row=RUNS,
            setting=SETTINGS,
        ),
        expand(f"{RESULTS}/sweep/{{row}}.csv", row=SWEPT),
        expand(f"{RESULTS}/oracle/{{row}}.csv", row=GUIDED),
        code("evaluation/compare.py", "report/compose.py", "verify.py"),
        templates(),
    output:
        expand(f"{RESULTS}/table.{{ending}}", ending=["csv", "md", "tex", "html"]),
        expand(f"{RESULTS}/figures/{{figure}}.png", figure=figures_of(CONFIG)),
        f"{RESULTS}/oracle.csv",
        directory(f"{RESULTS}/gallery"),
        index=f"{RESULTS}/index.html",
        findings=f"{RESULTS}/findings.md",
        comparisons=f"{RESULTS}/comparisons.csv",
        systems=f"{RESULTS}/systems.csv",
        metrics=f"{RESULTS}/metrics.json",
        digests=f"{RESULTS}/digests.json",
        times=f"{RESULTS}/times.csv",
        config=f"{RESULTS}/config.yaml",
    log:
        f"{RESULTS}/logs/report/report.log",
    benchmark:
        f"{RESULTS}/benchmarks/report/report.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        config=phase("report"),
        results=results_folder,
    shell:
        "ssimbad report --results {params.results:q} --json {params.config:q} 2> >(tee {log:q} >&2)"
