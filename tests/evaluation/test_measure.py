"""Pairing images with their truth, and what is written of a row."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssimbad.data.image_set import ImageSet
from ssimbad.data.store import Split, read_pairs
from ssimbad.errors import UserError
from ssimbad.evaluation.measure import Measurer, read_results, write_measurements
from ssimbad.evaluation.metrics import METRICS, Metric, frechet_distance, kernel_distance, psnr
from ssimbad.evaluation.pairs import Networks
from ssimbad.evaluation.schema import EvaluateConfig
from ssimbad.evaluation.statistics import bootstrap_interval
from ssimbad.inference import noise_spread
from ssimbad.layout import Results
from ssimbad.methods import Run
from ssimbad.pretrained.networks import Inception
from ssimbad.settings import inferred
from tests.conftest import run_phase, tiny_values

NAMES = ["a", "b", "c"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        Image.new("RGB", (16, 16), "red").save(tmp_path / f"{name}.png")
    return tmp_path


def test_images_come_in_the_order_of_names(folder: Path) -> None:
    Image.new("RGB", (16, 16), "blue").save(folder / "c.png")
    images = read_results(folder, ["c", "a", "b"], 16)
    assert images[0, :, 0, 0].tolist() == [0, 0, 255]
    assert images[1, :, 0, 0].tolist() == [255, 0, 0]


def test_every_mismatch_is_named(folder: Path) -> None:
    (folder / "a.png").unlink()
    (folder / "b.png").write_bytes(b"\x89PNG broken")
    Image.new("RGB", (8, 16)).save(folder / "c.png")
    Image.new("RGB", (16, 16)).save(folder / "d.png")
    with pytest.raises(UserError) as caught:
        read_results(folder, NAMES, 16)
    message = str(caught.value)
    for fault in ("a.png: missing", "d.png: surplus", "b.png: not readable", "c.png: is 8×16"):
        assert fault in message


def test_a_row_is_measured_against_truth_and_reference(
    prepared: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = Metric("MAE", -1, ".4f", lambda p: (p.images - p.truth).abs().flatten(1).mean(1))
    monkeypatch.setitem(METRICS, "mae", error)
    monkeypatch.setitem(
        METRICS, "count", Metric("count", +1, "d", lambda own, real: len(own) + len(real), of="set")
    )
    split = Split(prepared.data, "test")
    pairs = read_pairs(prepared.data)
    results, run = Results(tmp_path), Run("ssimbad")
    results.data.symlink_to(prepared.data)
    for setting in inferred():
        shifted = results.images(run) / setting
        shifted.mkdir(parents=True)
        for name in split.names:
            # Handing out the partner's truth: palette 0 against the reference, far from the truth.
            Image.fromarray(split.images[split.index[pairs[name]]]).save(shifted / f"{name}.png")
    config = EvaluateConfig(batch=4, resamples=200)
    networks = Networks("auto", torch.device("cpu"))
    measurer = Measurer(ImageSet(prepared.data, "test", 0), config, networks, results.features)
    write_measurements(measurer, run, {"made": "by hand"}, results)
    found = json.loads((results.metrics(run) / "cross.json").read_text())
    truth = split.image_pixels(list(range(6))).float() / 255
    given = truth[[split.index[pairs[name]] for name in split.names]]
    assert found["n"] == 6
    assert found["metrics"]["palette"]["value"] == pytest.approx(0, abs=1e-5)
    assert found["metrics"]["psnr"]["value"] == pytest.approx(psnr(given, truth).mean().item())
    per_image = [found["per_image"][name]["psnr"] for name in split.names]
    assert per_image == pytest.approx(psnr(given, truth).tolist())
    errors = (given - truth).abs().flatten(1).mean(1)
    assert found["metrics"]["mae"]["value"] == pytest.approx(errors.mean().item())
    assert [x["mae"] for x in found["per_image"].values()] == pytest.approx(errors.tolist())
    assert found["metrics"]["count"] == {"value": 12, "ci_low": None, "ci_high": None}
    # The same images in another order: the sets are equal.
    assert found["metrics"]["fid"]["value"] == pytest.approx(0, abs=1e-3)
    # Training images against the truth: as many, and with the same network.
    train = Split(prepared.data, "train").image_pixels(list(range(6)))
    sets = [measurer.features.of(s, "") for s in (train, (truth * 255).round().to(torch.uint8))]
    assert found["floor"] == pytest.approx(
        {"fid": frechet_distance(*sets), "kid": kernel_distance(*sets), "count": 12}
    )
    kid = found["metrics"]["kid"]
    assert kid["ci_low"] < kid["value"] < kid["ci_high"]
    assert found["provenance"]["made"] == "by hand"
    # The exact cross truth is known of drawn faces, and the same images are measured against it.
    exact = json.loads((results.metrics(run) / "cross_exact.json").read_text())
    recoloured = split.recoloured_pixels(list(range(6))).float() / 255
    expected = psnr(given, recoloured).tolist()
    assert [exact["per_image"][name]["psnr"] for name in split.names] == pytest.approx(expected)
    assert exact["metrics"]["palette"] == found["metrics"]["palette"]
    assert exact["provenance"]["images"] == found["provenance"]["images"]
    assert set(found["provenance"]["weights"]) == {"lpips", "fid"}


def test_cached_features_are_the_networks(prepared: Results, tmp_path: Path) -> None:
    from ssimbad.evaluation.measure import Features

    split = Split(prepared.data, "test")
    pixels = split.image_pixels([0, 1, 2])
    networks = Networks("auto", torch.device("cpu"))
    first = Features(networks, 2, tmp_path).of(pixels, "test")
    with torch.inference_mode():
        plain = Inception("auto")(pixels.float() / 255).numpy()
    np.testing.assert_allclose(first, plain, rtol=1e-4, atol=1e-5)
    assert frechet_distance(first, plain) < 1e-4
    assert len(list(tmp_path.iterdir())) == 1
    np.testing.assert_array_equal(Features(networks, 2, tmp_path).of(pixels, ""), first)
    Features(networks, 2, tmp_path).of(pixels.flip(0), "other")
    assert len(list(tmp_path.iterdir())) == 2


def test_the_copy_row_end_to_end(prepared: Results, tmp_path: Path) -> None:
    results = Results(tmp_path)
    (tmp_path / "data").symlink_to(prepared.data)
    values = tiny_values()
    run_phase(values, "infer", results, "reference")
    run_phase(values, "evaluate", results, "reference")
    same, cross = (
        json.loads((results.metrics("reference") / f"{s}.json").read_text())
        for s in ("same", "cross")
    )
    assert same["metrics"]["psnr"]["value"] > cross["metrics"]["psnr"]["value"]
    assert same["metrics"]["fid"]["value"] is None
    infer = json.loads((results.images("reference") / "infer.json").read_text())
    assert infer["noise_spread"] == {"levels": 0, "images": 6, "samples": 4}
    pairs = read_pairs(prepared.data)
    for name in Split(prepared.data, "test").names:
        partner = pairs[name]
        assert cross["per_image"][name]["reference"] == partner
        a = (results.images("reference") / f"cross/{name}.png").read_bytes()
        b = (results.images("reference") / f"same/{partner}.png").read_bytes()
        assert a == b


def test_the_spread_over_noise_is_the_samples_standard_deviation() -> None:
    names, asked = [f"image {i}" for i in range(10)], []

    def samples_of(names: list[str], sample: int) -> torch.Tensor:
        asked.append((len(names), sample))
        images = torch.zeros(len(names), 3, 2, 2, dtype=torch.uint8)
        images[:, 0] = [10, 20, 60, 70][sample]
        return images

    found = noise_spread(samples_of, names, 5)
    assert found["levels"] == pytest.approx(np.std([10, 20, 60, 70], ddof=1) / 3)
    assert (found["images"], found["samples"]) == (8, 4)
    assert asked == [(count, sample) for sample in range(4) for count in (5, 3)]


def test_other_samples_are_other_noises_of_the_same_images(prepared: Results) -> None:
    images, device = ImageSet(prepared.data, "validation", 0), torch.device("cpu")
    names = images.names[:2]
    first, second, again = (images.noise(names, device, sample)(0) for sample in (0, 1, 1))
    assert not torch.equal(first, second)
    assert torch.equal(second, again)
    assert torch.equal(first[1:], images.noise(names[1:], device)(0))


def test_bootstrap_interval_is_the_normal_one_for_many_values() -> None:
    values = np.random.default_rng(0).normal(5, 2, 400)
    low, high = bootstrap_interval(values, 4000, seed=1)
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.02)
    assert high == pytest.approx(values.mean() + half, abs=0.02)
    assert bootstrap_interval(values, 4000, seed=1) == (low, high)
