"""``index.html``: one static page, opened straight from disk, that leads to everything a run left.

It asks for nothing but files beside it: the figures, and the images of the gallery.
"""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from ssimbad.data.prepare import read_pairs
from ssimbad.data.store import Split, to_pixels
from ssimbad.data.warp import WarpConfig
from ssimbad.files import whole_folder, write_text
from ssimbad.inference import SETTINGS, test_inputs
from ssimbad.layout import Results
from ssimbad.paper import label
from ssimbad.report.figures import FIGURES
from ssimbad.report.table import STYLE

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

_PAGE_STYLE = """
h1,h2{line-height:1.2}h2{margin-top:2em}img{max-width:100%}.scroll{overflow-x:auto}
figure{margin:1.5em 0}figcaption{color:#555}
.pick{display:flex;flex-wrap:wrap;gap:.6em;align-items:center;margin:1em 0}
.pick select,.pick button{font:inherit;padding:.2em .6em}
#gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(9em,1fr));gap:1em}
#gallery figure{margin:0}#gallery img{width:100%;image-rendering:pixelated;background:#eee}
"""

_SCRIPT = """
const data = JSON.parse(document.getElementById("data").textContent);
const select = document.getElementById("image"), gallery = document.getElementById("gallery");
const radios = [...document.querySelectorAll("input[name=setting]")];
for (const name of data.names) select.add(new Option(name, name));
const file = (...parts) => parts.map(encodeURIComponent).join("/") + ".png";
function show() {
  const name = select.value, setting = radios.find(r => r.checked).value;
  const shown = [
    ["Sketch", file("gallery", "sketch", name)],
    [setting === "cross" ? "Reference: " + data.partners[name] : "Reference",
     file("gallery", "reference_" + setting, name)],
    ["Truth", file("gallery", "truth", name)],
    ...data.rows.map(([id, label]) => [label, file("images", id, setting, name)])];
  gallery.replaceChildren(...shown.map(([label, source]) => {
    const figure = document.createElement("figure"), image = new Image();
    const caption = document.createElement("figcaption");
    image.src = source; image.alt = label + " of " + name; caption.textContent = label;
    figure.append(image, caption);
    return figure;
  }));
  history.replaceState(null, "", "#" + new URLSearchParams({image: name, setting}));
}
function step(by) {
  const count = select.options.length;
  select.selectedIndex = (select.selectedIndex + by + count) % count;
  show();
}
select.onchange = show;
radios.forEach(r => r.onchange = show);
document.getElementById("previous").onclick = () => step(-1);
document.getElementById("next").onclick = () => step(1);
function follow() {
  const asked = new URLSearchParams(location.hash.slice(1));
  if (data.names.includes(asked.get("image"))) select.value = asked.get("image");
  const radio = radios.find(r => r.value === asked.get("setting"));
  if (radio) radio.checked = true;
  show();
}
addEventListener("hashchange", follow);
follow();
"""


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


def _data(rows: list[str], results: Results) -> str:
    names = Split(results.data, "test").names
    partners = read_pairs(results.data)
    data = {
        "names": names,
        "partners": {name: partners[name] for name in names},
        "rows": [[row, label(row)] for row in rows if row != "reference"],
    }
    # Inside <script> only "</" and "<!--" could end or change the element.
    return json.dumps(data).replace("<", "\\u003c")


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
    root: Path = results.root
    note = f"<small>{escape(attribution)}</small>" if attribution else ""
    figures = "".join(
        f'<figure><img src="figures/{name}.png" alt="{escape(FIGURES[name].caption)}" loading="lazy">'
        f"<figcaption>{escape(FIGURES[name].caption)}. {note}</figcaption></figure>"
        for name in drawn
    )
    files = "".join(
        f'<li><a href="{name}">{name}</a>: {escape(text)}</li>'
        for name, text in _FILES.items()
        if (root / name).exists()
    )
    radios = "".join(
        f'<label><input type="radio" name="setting" value="{setting}"'
        f"{' checked' if setting == 'same' else ''}> {setting}-reference</label>"
        for setting in SETTINGS
    )
    write_text(
        root / "index.html",
        f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>ssimbad: results</title><style>{STYLE}{_PAGE_STYLE}</style></head><body>
<h1>ssimbad: results</h1>
<h2>Table</h2><div class="scroll">{table}</div>
<h2>Gallery</h2>
<div class="pick"><label>Image <select id="image"></select></label>
<button id="previous">previous</button><button id="next">next</button>{radios}</div>
<div id="gallery"></div><p>{note}</p>
<h2>Figures</h2>{figures}
<h2>Files</h2><ul>{files}</ul>
<script type="application/json" id="data">{_data(rows, results)}</script>
<script>{_SCRIPT}</script></body></html>
""",
    )
