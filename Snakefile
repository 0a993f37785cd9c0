# The whole paper: images → φ* → pretraining → trajectory refinement → colorization in both
# settings → metrics → tables and figures.
#
#   snakemake --cores all                                     the embedded default (config.yaml)
#   snakemake --cores all --configfile config/tiny.yaml       an overlay on it


configfile: "config.yaml"


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


rule all:
    default_target: True
    input:
        rules.report.output,
