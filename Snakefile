# The whole paper: images → φ* → pretraining → trajectory refinement → colorization in every
# setting → metrics → tables and figures.
#
#   snakemake --cores all                                     the embedded default (config.yaml)
#   snakemake --cores all --configfile config/tiny.yaml       an overlay on it


include: "workflow/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/rows.smk"
include: "workflow/rules/report.smk"


localrules:
    all,
    trained,
    refined,
    swept,
    colorized,
    measured,


rule all:
    """The whole paper: table, figures, findings."""
    default_target: True
    input:
        rules.report.output,


# What the phases of many jobs leave, for whoever wants no more (as dvc.yaml does).


rule trained:
    """Every row that is needed, pretrained."""
    input:
        [str(FILES.checkpoint(run)) for run in PHASES["train"].runs(CONFIG)],


rule refined:
    """Every row that is needed, refined."""
    input:
        [str(FILES.checkpoint(run)) for run in PHASES["refine"].runs(CONFIG)],


rule swept:
    """Every row whose ways of sampling are measured."""
    input:
        SWEPT,


rule colorized:
    """The test set, colorized by every row."""
    input:
        expand(f"{RESULTS}/images/{{row}}/infer.json", row=RUNS),


rule measured:
    """Every row, measured."""
    input:
        expand(
            f"{RESULTS}/metrics/{{row}}/{{setting}}.json",
            row=RUNS,
            setting=CONFIG.settings,
        ),
        expand(f"{RESULTS}/oracle/{{row}}.csv", row=CONFIG.guided_rows),
