rule refine:
    input:
        DATA,
        method_code("training/loop.py", "training/checkpoint.py"),
        checkpoint=lambda wildcards: f"{RESULTS}/checkpoints/{pretrained_row(wildcards.row)}.safetensors",
    output:
        checkpoint=f"{RESULTS}/checkpoints/{{row}}.safetensors",
        history=f"{RESULTS}/history/{{row}}.csv",
        summary=f"{RESULTS}/history/{{row}}.json",
    log:
        f"{RESULTS}/logs/refine_{{row}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/refine_{{row}}.tsv"
    wildcard_constraints:
        row=runs_of("refine"),
    priority: 10
    conda:
        "../../environment.yml"
    threads: workflow.cores
    params:
        config=phase("refine"),
        results=results_folder,
    shell:
        "ssimbad refine {wildcards.row} --results {params.results:q} --json {params.config:q}"
        " 2> >(tee {log:q} >&2)"
