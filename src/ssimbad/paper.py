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


PRIMARY_SETTING = "same"
"""In which a claim's primary metric decides: its truth is known of all images, drawn or real."""


@dataclass(frozen=True)
class Claim:
    """``better`` improves on ``worse``.

    Attributes:
        name: the claim.
        better, worse: rows; of :data:`EASIER`, settings.
        metric: the primary one, declared before any run; others are tested with a correction.
        why: it is that one.
    """

    name: str
    better: str
    worse: str
    metric: str
    why: str


_NOT_TRAINED_ON = (
    "refinement minimises squared errors, as PSNR counts them, and its gain is to show elsewhere"
)
_PERCEIVED = (
    "a spacing decides how much noise or blur is left, which PSNR hardly tells from other errors"
)
_MEAN = "the mean of all possible images has the best PSNR of all, and diffusion is to be better than a mean"
_PUBLISHED = "it is the paper's first metric of this comparison"
_AREAS = "what may differ is the colours of areas, of which squared errors consist"

CLAIMS = [
    Claim("Refinement helps", "ssimbad_refined", "ssimbad", "lpips", _NOT_TRAINED_ON),
    Claim("Refinement helps", "edm_refined", "edm", "lpips", _NOT_TRAINED_ON),
    Claim(
        "Refinement helps", "animediffusion_finetuned", "animediffusion", "lpips", _NOT_TRAINED_ON
    ),
    Claim(
        "Refinement beats pretraining with equal compute",
        "ssimbad_refined",
        "ssimbad_longer",
        "lpips",
        _NOT_TRAINED_ON,
    ),
    Claim("φ* helps over EDM's spacing", "ssimbad", "edm", "lpips", _PERCEIVED),
    Claim("φ* helps over EDM's spacing", "ssimbad_refined", "edm_refined", "lpips", _PERCEIVED),
    Claim("SSIMBaD beats AnimeDiffusion", "ssimbad", "animediffusion", "psnr", _PUBLISHED),
    Claim(
        "SSIMBaD beats AnimeDiffusion",
        "ssimbad_refined",
        "animediffusion_finetuned",
        "psnr",
        _PUBLISHED,
    ),
    Claim("SSIMBaD beats SCFT", "ssimbad_refined", "scft", "psnr", _PUBLISHED),
    Claim("Diffusion beats regression", "ssimbad_refined", "regression", "lpips", _MEAN),
    Claim("SSIMBaD beats filling regions", "ssimbad_refined", "fill", "psnr", _AREAS),
]
"""Claims between rows; the last two and equal compute are this project's questions to the paper."""

EASIER = Claim("Same-reference above cross-reference", "same", "cross", "psnr", _AREAS)
"""The claim between settings, tested for every row."""

FEWER_CALLS = [
    ("ssimbad", "edm"),
    ("ssimbad", "animediffusion"),
    ("ssimbad_refined", "edm_refined"),
    ("ssimbad_refined", "animediffusion_finetuned"),
]
"""Of each pair the first is to need fewer network calls where each is best."""
