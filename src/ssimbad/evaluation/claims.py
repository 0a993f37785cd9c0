"""The paper's findings, as differences between rows that a run can bear out or not."""

from __future__ import annotations

from dataclasses import dataclass

METRICS = {
    "psnr": +1,
    "ms_ssim": +1,
    "lpips": -1,
    "palette": -1,
}
"""Per-image metrics and the sign of an improvement."""

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
"""Claims between rows; that the same-reference setting is the easier one is tested for every row."""
