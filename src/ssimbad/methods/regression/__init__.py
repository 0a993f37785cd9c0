"""Plain regression, the control of diffusion: the shared U-Net asked for the image in one call."""

from __future__ import annotations

from ssimbad.methods.declaration import Declaration, Row

METHOD = Declaration(
    rows={
        "regression": Row("Plain regression", "train", on_images=True, passes_of="ssimbad_refined")
    }
)
