"""SSIMBaD (arXiv 2506.04283): EDM whose noise levels are spaced, and told to the network, by φ*."""

from __future__ import annotations

from ssimbad.methods.declaration import Declaration, Row
from ssimbad.methods.schema import USUAL_SAMPLING, DenoisingConfig, RefinementConfig, SamplingConfig


class SSIMBaDConfig(DenoisingConfig):
    """SSIMBaD."""


METHOD = Declaration(
    section=SSIMBaDConfig,
    refinement=RefinementConfig,
    sampling=SamplingConfig,
    usual_sampling=USUAL_SAMPLING,
    denoiser=True,
    rows={
        "ssimbad": Row("SSIMBaD, without refinement", "train"),
        "ssimbad_refined": Row("SSIMBaD, with refinement", "refine", part="refined_sampling"),
        "ssimbad_longer": Row(
            "SSIMBaD, pretrained longer", "refine", on_images=False, passes_of="ssimbad_refined"
        ),
        "ssimbad_few_steps": Row(
            "SSIMBaD, with refinement, few steps", "refine", of="ssimbad_refined", part="few_steps"
        ),
    },
)
