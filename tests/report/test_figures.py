"""Which figures a run has, and what is drawn of them."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from PIL import Image

from ssimbad.config.schema import validate
from ssimbad.evaluation.records import to_csv
from ssimbad.layout import Results
from ssimbad.report.figures import (
    FIGURES,
    FinishedRun,
    draw_figures,
    figure,
    figures_of,
    quality_against_calls,
)
from tests.conftest import tiny_values


def test_a_run_has_the_figures_that_its_config_gives_something_to_show() -> None:
    values = tiny_values()
    assert figures_of(validate(values)) == list(FIGURES)
    values |= {"rows": ["reference", "ssimbad"], "sweep": values["sweep"] | {"rows": []}}
    assert set(FIGURES) - set(figures_of(validate(values))) == {"quality_against_calls"}
    values |= {"rows": ["reference"]}
    assert set(FIGURES) - set(figures_of(validate(values))) == {"quality_against_calls", "loss"}


def test_a_figure_put_into_the_table_is_drawn_where_its_condition_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(run: FinishedRun) -> Figure:
        drawn = Figure(figsize=(1, 1))
        drawn.add_axes((0.3, 0.3, 0.6, 0.6))
        return drawn

    for name in list(FIGURES):
        monkeypatch.delitem(FIGURES, name)
    figure("plain", "Nothing")(draw)
    figure("credited", "Images of somebody", images=True)(draw)
    figure("never", "Nothing", when=lambda config: config.rows == [])(draw)
    results = Results(tmp_path)
    config = SimpleNamespace(rows=["reference"])
    draw_figures(FinishedRun(config, results, []), "by somebody")
    sizes = {path.stem: Image.open(path).size for path in results.figures.iterdir()}
    assert sizes.keys() == {"plain", "credited"}
    # The attribution stands below the figure.
    assert sizes["credited"][1] > sizes["plain"][1]


@pytest.mark.filterwarnings("error")
def test_the_chosen_way_is_a_star_in_its_lines_colour(tmp_path: Path) -> None:
    results = Results(tmp_path)
    values = tiny_values()
    values |= {"rows": ["ssimbad"], "sweep": values["sweep"] | {"rows": ["ssimbad"]}}
    trials = [
        {"setting": "same", "varied": "steps", "sampler": "euler", "network_calls": float(calls)}
        | {"psnr": 10.0, "ms_ssim": 0.5, "lpips": 0.3, "n": 2, "chosen": int(calls == 2)}
        for calls in (1, 2)
    ]
    results.sweep.mkdir()
    (results.sweep / "ssimbad.csv").write_text(to_csv(trials, list(trials[0])))
    drawn = quality_against_calls(FinishedRun(validate(values), results, []))
    for axis in drawn.axes:
        (line,), (star,) = axis.lines, axis.collections
        assert star.get_offsets().tolist() == [[2.0, line.get_ydata()[1]]]
        assert star.get_facecolor()[0].tolist() == list(to_rgba(line.get_color()))
