"""Image files for the benchmarks: illustrated faces, rendered once a run."""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from tqdm import tqdm

from ssimbad.config.files import load


def write_faces(folder: Path, count: int, size: int) -> list[Path]:
    """``count`` PNG files of ``size`` pixels a side."""
    folder.mkdir(parents=True)
    source = load([]).data.make_source(seed=0)
    paths = []
    for item in tqdm(source.items(folder / "unpacked")[0][:count], "faces", unit=" images"):
        image, _, _ = source.load(item, size)
        paths.append(folder / f"{item.name}.png")
        Image.fromarray(image).save(paths[-1])
    return paths
