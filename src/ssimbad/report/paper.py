"""What the paper's own table says (arXiv 2506.04283), to stand beside our numbers."""

_TABLE = {
    "scft": {
        "psnr": (17.17, 15.47),
        "ms_ssim": (0.7833, 0.7627),
        "fid": (43.98, 45.18),
    },
    "animediffusion": {
        "psnr": (11.39, 11.39),
        "ms_ssim": (0.6748, 0.6721),
        "fid": (46.96, 46.72),
    },
    "animediffusion_finetuned": {
        "psnr": (13.32, 12.52),
        "ms_ssim": (0.7001, 0.5683),
        "fid": (135.12, 139.13),
    },
    "ssimbad": {
        "psnr": (15.15, 13.04),
        "ms_ssim": (0.7115, 0.6736),
        "fid": (53.33, 55.18),
    },
    "ssimbad_refined": {
        "psnr": (18.92, 15.84),
        "ms_ssim": (0.8512, 0.8207),
        "fid": (34.98, 37.10),
    },
}

PAPER: dict[tuple[str, str, str], float] = {
    (row, setting, metric): value
    for row, metrics in _TABLE.items()
    for metric, values in metrics.items()
    for setting, value in zip(("same", "cross"), values, strict=True)
}
"""(method, setting, metric) → value, on 579 Danbooru faces at 256 px."""

LABELS = {
    "reference": "Copy of the reference",
    "scft": "SCFT",
    "animediffusion": "AnimeDiffusion, pretrained",
    "animediffusion_finetuned": "AnimeDiffusion, finetuned",
    "edm": "EDM",
    "edm_refined": "EDM, with refinement",
    "ssimbad": "SSIMBaD, without refinement",
    "ssimbad_refined": "SSIMBaD, with refinement",
    "ssimbad_few_steps": "SSIMBaD, with refinement, few steps",
}
"""Rows as people read them; a row without one is called by its id."""
