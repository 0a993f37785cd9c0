"""What a method declares of itself, for the config, the rules and the table, which need no PyTorch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from ssimbad.methods.schema import Unrolled
    from ssimbad.schema import Section

Stage = Literal["none", "train", "refine"]
"""The stage whose checkpoint a row uses; none: it has no networks."""


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        title: what people read.
        stage: whose checkpoint it uses.
        of: another row, whose checkpoint it samples in another way; None: its own.
        part: of the method's section, which says how it samples.
        on_images: whether its stage minimises ``refine.strategy``'s losses of the images it makes, not losses
            of its method's own; None: in the stage ``refine`` alone.
        passes_of: a refined row; it is trained for as many network passes. None: as its schedule says.
    """

    title: str
    stage: Stage
    of: str | None = None
    part: str = "sampling"
    on_images: bool | None = None
    passes_of: str | None = None


@dataclass(frozen=True)
class Declaration:
    """A method, without its code.

    Attributes:
        rows: the rows it makes.
        section: the schema of its config section, without the parts below, or None where it has
            none; the section's key is the name of the method's folder.
        own_recipe: whether its section has a part ``recipe`` (AdamW) that replaces the config's common
            section ``train``.
        refinement: the schema of the section's part ``refinement``, which only that stage reads.
        sampling: the schema of the section's parts that say how rows sample, which only inference reads.
        usual_sampling: values of ``sampling`` for users' own images, where no config is at hand; what a row
            was refined through replaces those of its name.
        stride: images must be a multiple of this many pixels a side.
        denoiser: whether the model is a :class:`~ssimbad.methods.denoising.DenoisingMethod`, which the truth
            can steer.
    """

    rows: dict[str, Row]
    section: type[Section] | None = None
    own_recipe: bool = False
    refinement: type[Unrolled] | None = None
    sampling: type[Section] | None = None
    usual_sampling: dict[str, Any] = field(default_factory=dict)
    stride: int = 1
    denoiser: bool = False
