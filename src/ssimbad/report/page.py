"""``index.html``: one static page, opened straight from disk, that leads to everything a run left.

It asks for nothing but files beside it: the figures, and the images of the gallery.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ssimbad.data.store import Split, read_pairs, to_pixels
from ssimbad.files import whole_folder, write_text
from ssimbad.inference import SETTINGS, test_inputs
from ssimbad.methods import title_of
from ssimbad.report.figures import FIGURES
from ssimbad.report.html import render

if TYPE_CHECKING:
    from ssimbad.data.schema import WarpConfig
    from ssimbad.layout import Results

_FILES = {
    "table.csv": "every number, one a line",
    "findings.md": "which of the paper's claims this run bears out",
    "comparisons.csv": "paired differences between rows, with intervals",
    "systems.csv": "parameters, steps, images and network calls of each row",
    "oracle.csv": "oracle guidance, which sees the ground truth; not part of the table",
    "times.csv": "time and memory of every job",
    "config.yaml": "the whole config",
    "phi/ranking.csv": "R² of every φ",
}


def write_gallery(warp: WarpConfig, seed: int, results: Results) -> None:
    """Write ``gallery/<kind>/<name>.png``: what the rows' images are to be seen beside."""
    split = Split(results.data, "test")
    pairs = read_pairs(results.data)
    partners = {"same": split.names, "cross": [pairs[name] for name in split.names]}
    with whole_folder(results.gallery) as part:
        kinds = ("sketch", "truth", *(f"reference_{setting}" for setting in SETTINGS))
        for kind in kinds:
            (part / kind).mkdir()

        def save(kind: str, name: str, pixels: np.ndarray) -> None:
            Image.fromarray(pixels).save(part / kind / f"{name}.png")

        for k, name in enumerate(split.names):
            save("sketch", name, np.asarray(split.sketches[split.index[name]]))
            save("truth", name, np.asarray(split.images[split.index[name]]))
            for setting in SETTINGS:
                _, reference = test_inputs(split, warp, seed, [name], [partners[setting][k]])
                pixels = to_pixels(reference)[0].permute(1, 2, 0).numpy()
                save(f"reference_{setting}", name, pixels)


def write_page(
    rows: list[str], table: str, attribution: str, drawn: list[str], results: Results
) -> None:
    """Write ``index.html``.

    Args:
        rows: the table's rows, in its order.
        table: the table as an HTML fragment.
        attribution: what is said beside every picture.
        drawn: the figures there are.
        results: where everything lies.
    """
    partners = read_pairs(results.data)
    names = Split(results.data, "test").names
    page = render(
        "index.html.jinja",
        table=table,
        settings=SETTINGS,
        attribution=attribution,
        figures={name: FIGURES[name].caption for name in drawn},
        files={name: text for name, text in _FILES.items() if (results.root / name).exists()},
        gallery={
            "names": names,
            "partners": {name: partners[name] for name in names},
            "rows": [[row, title_of(row)] for row in rows if row != "reference"],
        },
    )
    write_text(results.root / "index.html", page)
