"""Files appear whole or not at all; randomness is addressed."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ssimbad.errors import UserError
from ssimbad.files import read_json, whole_file, whole_files, whole_folder, write_json
from ssimbad.rng import image_noise, numpy_generator, torch_generator


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, [1])

    def fail() -> None:
        with whole_file(path) as part:
            part.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert read_json(path) == [1]
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_the_umask_says_who_may_read_a_file(tmp_path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from ssimbad.files import whole_file, write_text
for umask in (0o022, 0o027):
    os.umask(umask)
    folder = Path(sys.argv[1], f"{0o666 & ~umask:o}")
    write_text(folder / "text", "a")
    for _ in range(2):
        with whole_file(folder / "weights") as part:
            save_file({"w": torch.zeros(1)}, part)
"""
    # safetensors itself writes files that only their owner reads.
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    for folder, mode in (("644", 0o644), ("640", 0o640)):
        modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / folder).iterdir()}
        assert modes == {"text": mode, "weights": mode}


def test_a_linked_folder_is_filled_where_the_link_leads(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch/old").touch()
    (tmp_path / "folder").symlink_to("scratch")
    with whole_folder(tmp_path / "folder") as part:
        (part / "new").touch()
    assert (tmp_path / "folder").is_symlink()
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == ["new"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "scratch"]


@pytest.mark.parametrize("there", [False, True])
def test_files_join_a_folder_together_or_not_at_all(tmp_path: Path, there: bool) -> None:
    folder = tmp_path / "a"
    if there:
        folder.mkdir()
        (folder / "x").write_text("old")

    def write(last: bool) -> None:
        with whole_files(folder) as part:
            (part / "x").write_text("new")
            if not last:
                raise RuntimeError
            (part / "y").write_text("new")

    with pytest.raises(RuntimeError):
        write(last=False)
    assert [p.read_text() for p in tmp_path.rglob("*") if p.is_file()] == ["old"] * there
    assert folder.exists() == there
    (tmp_path / "b").mkdir()
    write(last=True)
    assert {p.name: p.read_text() for p in folder.iterdir()} == {"x": "new", "y": "new"}
    assert {p.name for p in tmp_path.iterdir()} == {"a", "b"}


def test_a_failed_folder_leaves_the_old_one(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    with whole_folder(folder) as part:
        (part / "x").write_text("1")

    def fail() -> None:
        with whole_folder(folder) as part:
            (part / "y").write_text("2")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [p.name for p in folder.iterdir()] == ["x"]
    with whole_folder(folder) as part:
        (part / "z").write_text("3")
    assert [p.name for p in folder.iterdir()] == ["z"]


@pytest.mark.parametrize("content", [None, "{", "\x00"])
def test_bad_json_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=str(path)):
        read_json(path)


def test_draws_depend_on_the_address_alone() -> None:
    def draw(*address: str | int) -> list[float]:
        return numpy_generator(0, *address).random(3).tolist()

    assert draw("a", 1) == draw("a", 1)
    distinct = [draw("a", 1), draw("a", 2), draw("b", 1), draw("a1"), draw("a", "1"), draw(1, "a")]
    assert len({tuple(d) for d in distinct}) == len(distinct)
    one, two = (torch.rand(3, generator=torch_generator(s, "a")) for s in (1, 2))
    assert not torch.equal(one, two)


def test_noise_is_the_images_own() -> None:
    together = image_noise(1, ["a", "b"], 8)
    assert torch.equal(together[1], image_noise(1, ["b"], 8)[0])
    assert together.shape == (2, 3, 8, 8)
    assert abs(image_noise(1, ["a"], 64).std() - 1) < 0.02
