"""Any two folders of pictures, against the packages that others measure with."""

import csv
import json
import unicodedata
from pathlib import Path
from typing import Any
from unittest.mock import patch

import lpips
import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_fid.fid_score import calculate_frechet_distance, get_activations
from pytorch_fid.inception import InceptionV3
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from ssimbad.errors import UserError
from ssimbad.evaluation import folders as folders_module
from ssimbad.evaluation.folders import measure_folders
from ssimbad.evaluation.measure import image_values
from ssimbad.evaluation.metrics import METRICS
from ssimbad.pretrained.fetching import fetch
from ssimbad.pretrained.networks import lpips_network
from tests.conftest import picture, run_cli

SIZES = {"a": (48, 40), "b": (40, 56), "c": (64, 64), "d": (48, 40)}
"""Width and height."""


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Blobs, and the same with noise."""
    generator = np.random.default_rng(0)
    real, generated = tmp_path / "real", tmp_path / "generated"
    for folder in (real, generated):
        folder.mkdir()
    for k, (name, size) in enumerate(SIZES.items()):
        own = picture(k, *size)
        own.save(real / f"{name}.png")
        noisy = np.asarray(own) + generator.normal(0, 20 + 5 * k, np.asarray(own).shape)
        made = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
        made.save(generated / f"{name}.{'webp' if name == 'b' else 'png'}", lossless=True)
    (real / "notes.txt").write_text("no picture")
    return real, generated


def pixels(folder: Path, name: str) -> np.ndarray:
    (path,) = folder.glob(f"{name}.*")
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def plain_fid(real: Path, generated: Path) -> float:
    """pytorch-fid's, with the weights that are there: its reading, its network, its distance."""
    weights, _ = fetch("inception", "auto")
    complete = weights | {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    with patch("pytorch_fid.inception.load_state_dict_from_url", lambda *a, **k: complete):
        network = InceptionV3([InceptionV3.BLOCK_INDEX_BY_DIM[2048]])
    x, y = (
        get_activations([str(p) for p in sorted(folder.glob("*.[pw]*"))], network, 1, num_workers=0)
        for folder in (real, generated)
    )
    # In the space that the few features span: the matrix root of all 2048 takes half a minute.
    basis, _ = np.linalg.qr(np.concatenate([x, y]).T.astype(np.float64))
    moments = [m for f in (x @ basis, y @ basis) for m in (f.mean(0), np.cov(f, rowvar=False))]
    return float(calculate_frechet_distance(*moments))


def test_the_numbers_are_those_of_the_usual_packages(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "new/out"
    text = measure_folders(*folders, out, "cpu")
    found = json.loads((out / "measured.json").read_text())
    assert (found["n"], found["per_image"].keys()) == (4, SIZES.keys())
    network = lpips_network("alex", "auto")
    for name in SIZES:
        truth, made = (pixels(folder, name) for folder in folders)
        own = found["per_image"][name]
        assert own["psnr"] == pytest.approx(peak_signal_noise_ratio(truth, made), abs=1e-4)
        expected = structural_similarity(
            truth / 255,
            made / 255,
            channel_axis=2,
            data_range=1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        assert own["ssim"] == pytest.approx(expected, abs=1e-5)
        distance = network(lpips.im2tensor(truth), lpips.im2tensor(made)).item()
        assert own["lpips"] == pytest.approx(distance, abs=1e-5)
    for metric in ("psnr", "lpips"):
        values = [own[metric] for own in found["per_image"].values()]
        assert found["metrics"][metric]["value"] == pytest.approx(np.mean(values))
    assert found["metrics"]["fid"]["value"] == pytest.approx(plain_fid(*folders), rel=5e-3)
    assert found["provenance"]["weights"].keys() == {"lpips", "fid"}
    with (out / "measured.csv").open() as stream:
        lines = {line["metric"]: line for line in csv.DictReader(stream)}
    assert lines.keys() == METRICS.keys() - {"lines"}
    for metric, line in lines.items():
        value = found["metrics"][metric]["value"]
        assert float(line["value"]) == pytest.approx(value, abs=1e-6)
        assert f"{METRICS[metric].heading} " in text
        assert format(value, METRICS[metric].format) in text
    assert text.endswith("4 pairs")


def test_a_generated_picture_is_resized_to_its_real_one(folders: tuple[Path, Path]) -> None:
    real, generated = folders
    large = picture(9, 81, 67)  # a rounding off 48 × 40
    for path in (*real.iterdir(), *generated.iterdir()):
        path.unlink()
    for name in "ab":
        picture(ord(name), 48, 40).save(real / f"{name}.png")
        large.save(generated / f"{name}.png")
    resized = np.asarray(large.resize((48, 40), Image.Resampling.LANCZOS))
    values = [peak_signal_noise_ratio(pixels(real, name), resized) for name in "ab"]
    line = measure_folders(real, generated, None, "cpu").splitlines()[1]
    assert line.split()[:4] == ["PSNR", "(dB)", "↑", f"{np.mean(values):.2f}"]


def test_a_single_pair_has_no_metric_of_a_set(folders: tuple[Path, Path]) -> None:
    for folder in folders:
        for path in folder.iterdir():
            if path.stem != "a":
                path.unlink()
    text = measure_folders(*folders, None, "cpu")
    assert text.endswith("1 pair: too few for FID, KID")
    (line,) = [line for line in text.splitlines() if line.startswith("FID")]
    assert line.split() == ["FID", "↓", "none"]
    assert "[" not in text  # nor an interval: of one number every resample is the same


def test_faults_are_told_together_a_line_each_and_nothing_is_written(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    real, generated = folders
    out = tmp_path / "out"

    def faults(*given: Path) -> list[str]:
        with pytest.raises(UserError) as caught:
            measure_folders(*given, out, "cpu")
        assert not out.exists()
        return str(caught.value).splitlines()

    empty = tmp_path / "empty"
    empty.mkdir()
    done = run_cli("measure", str(tmp_path / "none"), str(empty), "--out", str(out))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        f"ssimbad: {tmp_path / 'none'}: No such file or directory",
        f"ssimbad: {empty}: holds no PNG, JPEG or WebP image",
    ]
    for given in (real / "a.png", real / "a.png" / "below"):
        with pytest.raises(UserError, match=r": cannot be a folder: .*a\.png is none"):
            measure_folders(empty, empty, given, "cpu")  # before anything is looked at
    picture(1, 24, 48).save(real / "a.png")
    (real / "b.png").write_bytes(b"\x89PNG broken")
    picture(1, 64, 48).save(generated / "c.png")
    told = faults(real, generated)
    assert [line.split(":")[0] for line in told] == [
        *map(str, (real / "a.png", generated / "a.png", real / "b.png", generated / "c.png"))
    ]
    assert told[0].endswith("a.png: is 24×48, below 32 px")
    assert "not readable as an image" in told[2]
    assert told[3].endswith(f"is 64×48, of other proportions than {real / 'c.png'} (64×64)")
    for k in range(7):
        picture(k).save(generated / f"more{k}.png")
    picture(1).save(real / "a.jpg")
    picture(2).save(real / "own.png")
    assert faults(real, generated) == [
        f"{real}: a: several images of a name",
        f"{real}: own: not in {generated}",
        f"{generated}: more0, more1, more2, more3, more4 and 2 more: not in {real}",
    ]


def test_a_name_written_in_two_ways_is_one_name(folders: tuple[Path, Path]) -> None:
    real, generated = folders
    (real / "a.png").rename(real / f"{unicodedata.normalize('NFC', 'é')}.png")
    (generated / "a.png").rename(generated / f"{unicodedata.normalize('NFD', 'é')}.png")
    assert measure_folders(real, generated, None, "cpu").endswith("4 pairs")


def test_large_pictures_are_measured_a_few_at_a_time(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, generated = folders
    for path in (*real.iterdir(), *generated.iterdir()):
        path.unlink()
    for k in range(3):
        picture(k, 64, 64).save(real / f"{k}.png")
        picture(k + 1, 64, 64).save(generated / f"{k}.png")
    at_once = measure_folders(real, generated, None, "cpu")
    sizes = []

    def noted(metrics: Any, batches: Any, networks: Any) -> Any:
        parts = list(batches)
        sizes.extend(len(part[0]) for part in parts)
        return image_values(metrics, parts, networks)

    monkeypatch.setattr(folders_module, "image_values", noted)
    monkeypatch.setattr(folders_module, "_PIXELS", 2 * 64 * 64)
    assert measure_folders(real, generated, None, "cpu") == at_once
    assert sizes == [2, 1]
    monkeypatch.setattr(folders_module, "_PIXELS", 1)
    measure_folders(real, generated, None, "cpu")
    assert sizes[2:] == [1] * 3
