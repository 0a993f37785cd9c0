# The whole paper: images → φ* → pretraining → trajectory refinement → colorization in both
# settings → metrics → tables and figures.
#
#   snakemake --cores all                                     the embedded default (config.yaml)
#   snakemake --cores all --configfile config/tiny.yaml       an overlay on it


include: "workflow/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/phi.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/refine.smk"
include: "workflow/rules/infer.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/sweep.smk"
include: "workflow/rules/oracle.smk"
include: "workflow/rules/report.smk"


localrules:
    all,
    trained,
    refined,
    colorized,
    measured,


rule all:
    default_target: True
    input:
        rules.report.output,


# What the phases of many jobs leave, for whoever wants no more (as dvc.yaml does).


rule trained:
    input:
        [checkpoint_of(run) for run in PRETRAINED],


rule refined:
    input:
        [checkpoint_of(run) for run in REFINED],


rule colorized:
    input:
        expand(f"{RESULTS}/images/{{row}}/infer.json", row=RUNS),


rule measured:
    input:
        expand(
            f"{RESULTS}/metrics/{{row}}/{{setting}}.json", row=RUNS, setting=SETTINGS
        ),
        expand(f"{RESULTS}/sweep/{{row}}.csv", row=SWEPT),
        expand(f"{RESULTS}/oracle/{{row}}.csv", row=GUIDED),
