"""What the paper says (arXiv 2506.04283): the numbers of its table, and its claims, as differences between
rows that a run can bear out or not."""

from __future__ import annotations

from dataclasses import dataclass

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

MAIN = "ssimbad_refined"
"""The row all others are compared with."""


@dataclass(frozen=True)
class Claim:
    """``better`` improves on ``worse``."""

    name: str
    better: str
    worse: str


CLAIMS = [
    Claim("Refinement helps", "ssimbad_refined", "ssimbad"),
    Claim("Refinement helps", "edm_refined", "edm"),
    Claim("Refinement helps", "animediffusion_finetuned", "animediffusion"),
    Claim("φ* helps over EDM's spacing", "ssimbad", "edm"),
    Claim("φ* helps over EDM's spacing", "ssimbad_refined", "edm_refined"),
    Claim("SSIMBaD beats AnimeDiffusion", "ssimbad", "animediffusion"),
    Claim("SSIMBaD beats AnimeDiffusion", "ssimbad_refined", "animediffusion_finetuned"),
    Claim("SSIMBaD beats SCFT", "ssimbad_refined", "scft"),
]
"""Claims between rows."""

EASIER = Claim("Same-reference above cross-reference", "same", "cross")
"""The claim between settings, tested for every row."""
