rule oracle:
    input:
        DATA,
        method_code(
            "evaluation/oracle.py", "evaluation/records.py", "training/checkpoint.py"
        ),
        checkpoint=lambda wildcards: checkpoint_of(wildcards.row),
    output:
        f"{RESULTS}/oracle/{{row}}.csv",
    log:
        f"{RESULTS}/logs/oracle/{{row}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/oracle/{{row}}.tsv"
    conda:
        "../../environment.yml"
    threads: GPU_THREADS
    resources:
        gpu=GPUS,
        mem_mb=32000,
        runtime=480,
    params:
        config=phase("oracle"),
        results=results_folder,
    shell:
        "ssimbad oracle {wildcards.row} --results {params.results:q} --json {params.config:q}"
        " 2> >(tee {log:q} >&2)"
