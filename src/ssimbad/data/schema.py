"""The schema of the section ``data``: where images come from, and how references are warped."""

from __future__ import annotations

from os.path import isfile  # False, not an error, where one may not look
from pathlib import Path
from typing import Literal

from pydantic import Field

from ssimbad.data.archive import Archive, is_archive
from ssimbad.data.faces import Faces, FacesConfig
from ssimbad.data.folder import Folder, FolderConfig
from ssimbad.data.images import is_image_name
from ssimbad.data.source import SPLITS, Source
from ssimbad.schema import Section


class WarpConfig(Section):
    """How references are warped."""

    redraw_folds: bool = Field(
        description="redraw warps that fold the image over itself (published: false)"
    )
    rotation: float = Field(
        ge=0,
        le=180,
        description="largest rotation either way, degrees, of the references trained on; validation's and"
        " test's are not turned (published code: 0)",
    )


STORE = (
    *("manifest.json", "pairs.csv", "ATTRIBUTION.txt", "report.json", "train_redrawn.npy"),
    *(f"{split}_{kind}.npy" for split in SPLITS for kind in ("images", "sketches")),
)
"""The files of the packed store."""


class DataConfig(Section):
    """The images a run works on."""

    source: Literal["faces", "folder"] = Field(description="illustrated faces, or your own images")
    size: int = Field(ge=32, le=1024, multiple_of=8, description="side of all images, pixels")
    faces: FacesConfig
    folder: FolderConfig
    warp: WarpConfig

    @property
    def redrawn(self) -> float:
        """Share of the references trained on that are another drawing in the image's colours."""
        return self.faces.redrawn if self.source == "faces" else 0.0

    def files(self) -> list[Path]:
        """The files there are that the images come from."""
        if self.source != "folder":
            return []
        root = Path(self.folder.path)
        found = [root] if is_archive(root) else filter(is_image_name, root.rglob("*"))
        return [path for path in found if isfile(path)]

    def make_source(self, seed: int, scratch: Path) -> Source:
        """The configured source, which may unpack an archive into ``scratch``, not there yet."""
        if self.source == "faces":
            return Faces(self.faces, seed)
        if is_archive(Path(self.folder.path)):
            return Archive(self.folder, seed, scratch)
        return Folder(self.folder, seed)
