"""Results that would lie where the user's files are: the third table of docs/bad-input.md."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from ssimbad.config.files import load, load_merged, write_merged
from ssimbad.data.prepare import prepare
from ssimbad.errors import UserError
from ssimbad.layout import Results
from tests.conftest import REPOSITORY, picture, run_cli, table_of


def images_in(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for k in range(8):
        picture(k).save(folder / f"{k}.png")
    return folder


Places = tuple[Path | str, Path]
"""What the config says: the results folder and the images."""


def archived(root: Path) -> Places:
    with zipfile.ZipFile(root / "images.zip", "w") as packed:
        for path in images_in(root / "images").iterdir():
            packed.write(path, path.name)
    return root, root / "images.zip"


def linked_output(root: Path) -> Places:
    images = images_in(root / "images")
    (root / "results").mkdir()
    (root / "results/data").symlink_to(images)
    return root / "results", images


def linked_images(root: Path) -> Places:
    images_in(root / "results/data")
    (root / "images").symlink_to(root / "results/data")
    return root / "results", root / "images"


def a_file(root: Path) -> Places:
    (root / "file").write_text("mine")
    return root / "file/results", images_in(root / "images")


def a_link_to(target: str) -> Callable[[Path], Places]:
    def make(root: Path) -> Places:
        (root / "results").symlink_to(target)
        return root / "results", images_in(root / "images")

    return make


def not_a_store(root: Path) -> Places:
    (root / "results/data").mkdir(parents=True)
    picture(0).save(root / "results/data/mine.png")
    return root / "results", images_in(root / "images")


def config_in_results(root: Path) -> Places:
    (root / "results/gallery").mkdir(parents=True)
    return root / "results", images_in(root / "images")


APART = "results: .*must lie apart from data.folder.path"
PLACES: dict[str, tuple[Callable[[Path], Places], str]] = {
    "results that are the folder of images": (lambda r: (r / "a", images_in(r / "a")), APART),
    "images among the results": (lambda r: (r, images_in(r / "data")), APART),
    "results among the images": (lambda r: (r / "a/results", images_in(r / "a")), APART),
    "results around an archive of images": (archived, APART),
    "results by a roundabout path": (
        lambda r: (r / "nowhere/../a", images_in(r / "a/data")),
        APART,
    ),
    "results with a link to the images": (linked_output, APART),
    "images by a link into the results": (linked_images, APART),
    "config among the results": (config_in_results, "results: .*must lie apart from --config"),
    "results that hold the working folder": (
        lambda r: (".", images_in(r / "images")),
        "results: .: holds the folder that the command runs in",
    ),
    "results in the place of a file": (a_file, "results: .*/file is no folder"),
    "results that are a broken link": (a_link_to("nowhere"), "results: .* is no folder"),
    "results that are a link to itself": (a_link_to("results"), "results: .* is no folder"),
    "another's files in the data phase's place": (
        not_a_store,
        "results/data/mine.png: is not of the data phase",
    ),
}


def everything_in(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def overlay_of(results: Path | str, images: Path | str, path: Path) -> Path:
    folder = {"path": str(images), "validation": 0.2, "test": 0.3}
    data = {"source": "folder", "folder": folder}
    path.write_text(yaml.safe_dump({"results": str(results), "data": data}))
    return path


def make_store(overlay: Path) -> None:
    loaded = load([Path("config/tiny.yaml"), overlay])
    prepare(loaded.data, loaded.seed, Results(loaded.results).data)


@pytest.mark.parametrize("name", PLACES)
def test_nothing_of_the_users_is_written_over(tmp_path: Path, name: str) -> None:
    make, told = PLACES[name]
    root = tmp_path / "in"
    root.mkdir()
    results, images = make(root)
    place = root / "results/gallery" if make is config_in_results else tmp_path
    overlay = overlay_of(results, images, place / "overlay.yaml")
    before = everything_in(root)
    with pytest.raises(UserError, match=told) as caught:
        make_store(overlay)
    assert "\n" not in str(caught.value)
    assert everything_in(root) == before


def test_the_command_refuses_too(tmp_path: Path) -> None:
    images = images_in(tmp_path / "results/data")
    overlay = overlay_of(tmp_path / "results", images, tmp_path / "overlay.yaml")
    before = everything_in(tmp_path)
    done = run_cli("data", "--config", "config/tiny.yaml", "--config", str(overlay))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"ssimbad: {overlay}: results: ")
    assert everything_in(tmp_path) == before


@pytest.mark.parametrize("text", ["# mine\nseed: 3\n", "seed: 3\n", "- 1\n", "a: ["])
def test_a_users_file_is_not_replaced_by_the_merged_config(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"config.yaml: was not left by a run") as caught:
        write_merged(load([]), path)
    assert "\n" not in str(caught.value)
    assert path.read_text() == text


def test_a_merged_config_is_replaced_by_another_runs(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    for seed in (3, 4):
        write_merged(load([], {"seed": seed}), path)
        assert load_merged(path).seed == seed
    former = yaml.safe_load(path.read_text())
    former["train"].pop("steps")
    path.write_text(yaml.safe_dump(former, sort_keys=False))
    write_merged(load([]), path)
    assert load_merged(path) == load([])


def test_a_place_that_the_system_refuses_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results/data").write_text("mine")
    overlay = overlay_of(tmp_path / "results", images_in(tmp_path / "a"), tmp_path / "overlay.yaml")
    done = run_cli("data", "--config", "config/tiny.yaml", "--config", str(overlay))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"ssimbad: {tmp_path}/results/data: Not a directory"
    assert "Traceback" not in done.stderr
    assert (tmp_path / "results/data").read_text() == "mine"


def test_places_apart_are_accepted(tmp_path: Path) -> None:
    images = images_in(tmp_path / "results-of-mine")
    given = os.path.relpath(images, REPOSITORY)
    overlay = overlay_of(tmp_path / "results", given, tmp_path / "overlay.yaml")
    make_store(overlay)
    make_store(overlay)  # in its own one's place
    assert len(list(images.iterdir())) == 8


def test_the_documentation_lists_what_is_tested() -> None:
    told = table_of(REPOSITORY / "docs/bad-input.md", "Where results lie")
    assert list(told) == list(PLACES)
    assert {what.partition(":")[0] for what in told.values()} == {"refused"}
