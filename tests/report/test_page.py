"""The page, as a browser shows it."""

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np
import pytest
from PIL import Image

from ssimbad.data.image_set import ImageSet
from ssimbad.data.store import Split, read_pairs
from ssimbad.layout import Results
from ssimbad.report.page import write_gallery, write_page
from tests.conftest import phase_of, tiny_values

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ROWS = ["reference", "ssimbad", "a row & <more>"]


@pytest.fixture(scope="module")
def results(prepared: Results, tmp_path_factory: pytest.TempPathFactory) -> Results:
    results = Results(tmp_path_factory.mktemp("page") / "my results #1")
    results.root.mkdir()
    results.data.symlink_to(prepared.data)
    config = phase_of(tiny_values(), "data").data
    test_set = ImageSet(results.data, "test", 42, config.warp)
    write_gallery(test_set, results)
    for row in ROWS:
        for setting in ("same", "cross"):
            shutil.copytree(results.gallery / "truth_same", results.images(row) / setting)
    table = "<table><tr><td>12.34</td></tr></table>"
    write_page(ROWS, table, "by <somebody> & co", [], test_set, results)
    return results


def test_the_gallery_has_what_the_methods_saw(results: Results) -> None:
    split, pairs = Split(results.data, "test"), read_pairs(results.data)

    def pixels(kind: str, name: str) -> np.ndarray:
        with Image.open(results.gallery / kind / f"{name}.png") as image:
            return np.asarray(image)

    for name in split.names:
        assert np.array_equal(pixels("truth_same", name), split.images[split.index[name]])
        assert np.array_equal(pixels("sketch", name), split.sketches[split.index[name]])
        # A partner's warped image is the same wherever it serves.
        assert np.array_equal(
            pixels("reference_cross", name), pixels("reference_same", pairs[name])
        )
        assert not np.array_equal(pixels("reference_same", name), pixels("truth_same", name))
        # A face drawn here is known in the reference's colours.
        assert np.array_equal(pixels("truth_cross", name), split.recoloured[split.index[name]])


def test_the_page_asks_for_nothing_from_elsewhere_and_escapes_what_it_shows(
    results: Results,
) -> None:
    text = (results.root / "index.html").read_text()
    assert not re.search(r"https?://", text)
    assert "by &lt;somebody&gt; &amp; co" in text
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert "<" not in data
    assert [row for row, _ in json.loads(data)["rows"]] == ROWS[1:]


def browse(path: Path, fragment: str) -> str:
    """The page's elements after its scripts have run."""
    command = [CHROMIUM or "", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    url = f"file://{quote(str(path))}#{fragment}"
    done = subprocess.run(
        [*command, "--virtual-time-budget=5000", url], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium found")
def test_one_picks_an_image_and_sees_everything_of_it(results: Results) -> None:
    split, pairs = Split(results.data, "test"), read_pairs(results.data)
    first, second = split.names[1], split.names[2]
    page = (results.root / "index.html").read_text()
    driver = """<script>
    document.querySelector("input[value=same]").click();
    document.getElementById("next").click();
    addEventListener("load", () => setTimeout(() => {
      const images = [...document.querySelectorAll("#gallery img")];
      document.title = "shown " + images.filter(i => i.naturalWidth === 32).length;
    }, 500));</script>"""
    (results.root / "driven.html").write_text(page.replace("</body>", f"{driver}</body>"))

    def shown(dom: str) -> list[tuple[str, str]]:
        (gallery,) = re.findall(r'<div id="gallery">(.*?)</div>', dom, re.S)
        found = re.findall(
            r'<img src="(.*?)".*?><figcaption>(.*?)</figcaption>', gallery.replace("\n", "")
        )
        return [(unquote(unescape(source)), unescape(caption)) for source, caption in found]

    cross = shown(browse(results.root / "index.html", f"image={quote(first)}&setting=cross"))
    assert cross == [
        (f"gallery/sketch/{first}.png", "Sketch"),
        (f"gallery/reference_cross/{first}.png", f"Reference: {pairs[first]}"),
        (f"gallery/truth_cross/{first}.png", "Truth"),
        (f"images/ssimbad/cross/{first}.png", "SSIMBaD, without refinement"),
        (f"images/a row & <more>/cross/{first}.png", "a row & <more>"),
    ]
    driven = browse(results.root / "driven.html", f"image={quote(first)}&setting=cross")
    assert shown(driven)[3][0] == f"images/ssimbad/same/{second}.png"
    assert "<title>shown 5</title>" in driven
