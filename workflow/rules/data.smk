rule data:
    """Prepare images, XDoG sketches, reference pairs and their attribution as one packed store."""
    input:
        users_images(),
        code("data"),
    output:
        DATA,
    log:
        log_of("data"),
    benchmark:
        benchmark_of("data")
    conda:
        ENVIRONMENT
    threads: threads_of("data", CONFIG, CORES)
    resources:
        **granted("data"),
    params:
        config=read_by("data"),
    shell:
        command("data")


rule phi:
    """Search for φ*(σ), the transformation of the noise scale along which SSIM decays in a straight line."""
    input:
        DATA,
        code("phi"),
    output:
        phi=PHI,
        ranking=f"{RESULTS}/phi/ranking.csv",
        curves=f"{RESULTS}/phi/curves.csv",
        noisy=f"{RESULTS}/phi/noisy.npz",
    log:
        log_of("phi"),
    benchmark:
        benchmark_of("phi")
    conda:
        ENVIRONMENT
    threads: threads_of("phi", CONFIG, CORES)
    resources:
        **granted("phi"),
    params:
        config=read_by("phi"),
    shell:
        command("phi")
