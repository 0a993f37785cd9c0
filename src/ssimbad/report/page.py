"""``index.html``: one static page, opened straight from disk, that leads to everything a run left.

It asks for nothing but files beside it: the figures, and the images of the gallery.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

from ssimbad.data.store import to_pixels
from ssimbad.files import whole_folder, write_text
from ssimbad.methods import title_of
from ssimbad.report.figures import FIGURES
from ssimbad.report.html import render
from ssimbad.settings import SETTINGS, exact, inferred

if TYPE_CHECKING:
    from torch import Tensor

    from ssimbad.data.image_set import ImageSet
    from ssimbad.layout import Results

_FILES = {
    "table.csv": "every number, one a line",
    "findings.md": "which of the paper's claims this run bears out",
    "ablations.csv": "what each variant of a row changes, and by how much its numbers differ",
    "comparisons.csv": "paired differences between rows, with intervals",
    "systems.csv": "what each row is, took to train and takes to colorize, and its spread over noise",
    "common_calls.csv": "all swept rows at one number of network calls, on validation images",
    "oracle.csv": "oracle guidance, which sees the ground truth; not part of the table",
    "times.csv": "time and memory of every job",
    "config.yaml": "the whole config",
    "phi/ranking.csv": "R² of every φ",
}


def write_gallery(test_set: ImageSet, results: Results) -> None:
    """Write ``gallery/<kind>/<name>.png``: what the rows' images are to be seen beside.

    The truth of a setting is the best there is: in the cross-reference setting the exact one, if known.
    """
    with whole_folder(results.gallery) as part:
        settings = inferred()
        kinds = [f"{kind}_{setting}" for kind in ("reference", "truth") for setting in settings]
        for kind in ("sketch", *kinds):
            (part / kind).mkdir()

        def save(kind: str, name: str, pixels: Tensor) -> None:
            image = pixels[0].permute(1, 2, 0).squeeze(2).numpy()
            Image.fromarray(image).save(part / kind / f"{name}.png")

        for name in test_set.names:
            save("sketch", name, test_set.sketches([name]))
            for setting in settings:
                known = exact(setting, list(test_set.partners))
                save(f"truth_{setting}", name, test_set.truth([name], known))
                _, reference = test_set.inputs([name], setting)
                save(f"reference_{setting}", name, to_pixels(reference))


def write_page(
    rows: list[str],
    table: str,
    attribution: str,
    drawn: list[str],
    test_set: ImageSet,
    results: Results,
) -> None:
    """Write ``index.html``.

    Args:
        rows: the table's rows, in its order.
        table: the table as an HTML fragment.
        attribution: what is said beside every picture.
        drawn: the figures there are.
        test_set: whose images are shown.
        results: where everything lies.
    """
    page = render(
        "index.html.jinja",
        table=table,
        settings={setting: SETTINGS[setting].title for setting in inferred()},
        attribution=attribution,
        figures={name: FIGURES[name].caption for name in drawn},
        files={name: text for name, text in _FILES.items() if (results.root / name).exists()},
        gallery={
            "names": test_set.names,
            "partners": test_set.partners,
            "rows": [[row, title_of(row)] for row in rows if row != "reference"],
        },
    )
    write_text(results.root / "index.html", page)
