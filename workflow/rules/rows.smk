rule train:
    """Pretrain a row: denoising at noise levels drawn uniformly in φ* (SSIMBaD), or as its method says."""
    input:
        DATA,
        code("train"),
        phi=PHI,
    output:
        checkpoint=f"{RESULTS}/checkpoints/train/{{row}}.safetensors",
        history=f"{RESULTS}/history/train/{{row}}.csv",
        summary=f"{RESULTS}/history/train/{{row}}.json",
    log:
        log_of("train"),
    benchmark:
        benchmark_of("train")
    wildcard_constraints:
        row=runs_of("train"),
    priority: 10
    conda:
        ENVIRONMENT
    threads: threads_of("train", CONFIG, CORES)
    resources:
        **granted("train"),
    params:
        config=read_by("train"),
    shell:
        command("train")


rule refine:
    """Refine a pretrained row's trajectory: losses on sampled images, through the sampler's steps."""
    input:
        DATA,
        code("refine"),
        checkpoint=pretrained_checkpoint,
    output:
        checkpoint=f"{RESULTS}/checkpoints/refine/{{row}}.safetensors",
        history=f"{RESULTS}/history/refine/{{row}}.csv",
        summary=f"{RESULTS}/history/refine/{{row}}.json",
    log:
        log_of("refine"),
    benchmark:
        benchmark_of("refine")
    wildcard_constraints:
        row=runs_of("refine"),
    priority: 10
    conda:
        ENVIRONMENT
    threads: threads_of("refine", CONFIG, CORES)
    resources:
        **granted("refine"),
    params:
        config=read_by("refine"),
    shell:
        command("refine")


rule sweep:
    """Measure ways of sampling a row on validation images, and choose one."""
    input:
        DATA,
        code("sweep"),
        checkpoint=own_checkpoint,
    output:
        f"{RESULTS}/sweep/{{row}}.csv",
        f"{RESULTS}/sweep/{{row}}.json",
    log:
        log_of("sweep"),
    benchmark:
        benchmark_of("sweep")
    conda:
        ENVIRONMENT
    threads: threads_of("sweep", CONFIG, CORES)
    resources:
        **granted("sweep"),
    params:
        config=read_by("sweep"),
    shell:
        command("sweep")


rule infer:
    """Colorize the test set with a row, in every setting."""
    input:
        DATA,
        code("infer"),
        checkpoint=own_checkpoint,
        choice=chosen_sampling,
    output:
        directory(
            expand(f"{RESULTS}/images/{{{{row}}}}/{{setting}}", setting=inferred())
        ),
        record=f"{RESULTS}/images/{{row}}/infer.json",
    log:
        log_of("infer"),
    benchmark:
        benchmark_of("infer")
    conda:
        ENVIRONMENT
    threads: threads_of("infer", CONFIG, CORES)
    resources:
        **granted("infer"),
    params:
        config=read_by("infer"),
    shell:
        command("infer")


rule evaluate:
    """Measure a row's images with every metric, in every setting."""
    input:
        DATA,
        code("evaluate"),
        expand(f"{RESULTS}/images/{{{{row}}}}/{{setting}}", setting=inferred()),
        record=f"{RESULTS}/images/{{row}}/infer.json",
    output:
        expand(
            f"{RESULTS}/metrics/{{{{row}}}}/{{setting}}.json", setting=CONFIG.settings
        ),
    log:
        log_of("evaluate"),
    benchmark:
        benchmark_of("evaluate")
    conda:
        ENVIRONMENT
    threads: threads_of("evaluate", CONFIG, CORES)
    resources:
        **granted("evaluate"),
    params:
        config=read_by("evaluate"),
    shell:
        command("evaluate")


rule oracle:
    """Measure a row whose sampling the ground truth steers; kept out of the table."""
    input:
        DATA,
        code("oracle"),
        checkpoint=own_checkpoint,
    output:
        f"{RESULTS}/oracle/{{row}}.csv",
    log:
        log_of("oracle"),
    benchmark:
        benchmark_of("oracle")
    conda:
        ENVIRONMENT
    threads: threads_of("oracle", CONFIG, CORES)
    resources:
        **granted("oracle"),
    params:
        config=read_by("oracle"),
    shell:
        command("oracle")
