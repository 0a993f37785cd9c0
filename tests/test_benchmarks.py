"""The GPU's benchmark, in a size that a CPU runs."""

import json
from pathlib import Path

import pytest
import torch
from benchmarks import gpu, gpu_rates
from benchmarks.gpu_cases import Scale

from tests.conftest import SMALL_UNET

TINY = Scale(
    unet=SMALL_UNET,
    size=32,
    batch=2,
    refined_together=2,
    unrolled=2,
    sampled=2,
    phi_size=16,
    phi_points=3,
    evaluated=2,
    rounds=1,
)
NAMES = [
    *("phi_search", "train_step", "refine_step", "refine_step_together"),
    *("inference", "batches", "lpips"),
]


def test_every_phase_is_measured_next_to_the_plain_protocol() -> None:
    record, table = gpu.run(torch.device("cpu"), TINY, NAMES, matrix=64)
    assert list(table["phase"]) == NAMES
    for entry in json.loads(json.dumps(record))["entries"]:
        assert entry["ours_images_per_s"] == pytest.approx(entry["images"] / entry["ours"])
        assert entry["equal_within"] < 0.05, entry["name"]
    counted = {e["name"] for e in record["entries"] if "fraction_of_peak" in e}
    assert counted == set(NAMES) - {"phi_search", "batches"}


def test_what_a_broken_off_run_measured_is_kept(tmp_path: Path) -> None:
    output = tmp_path / "benchmarks_gpu.json"
    with pytest.raises(KeyError):
        gpu.run(torch.device("cpu"), TINY, ["phi_search", "none such"], output, matrix=64)
    record = json.loads(output.read_text())
    assert [entry["name"] for entry in record["entries"]] == ["phi_search"]
    assert record["machine"]["matmul_gflops"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_ends_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks.gpu"])
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "benchmarks.gpu: torch finds no CUDA GPU here\n"


def test_rates_of_the_asked_ways_and_where_a_plain_training_step_spends_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "rates.json"
    command = ["gpu_rates", "--device", "cpu", "--config", "config/tiny.yaml", "--sizes", "16"]
    command += ["--batches", "2", "--steps", "1", "--matrix", "64", "--out", str(output)]
    ways = ["plain", "channels_last", "graphed"]
    monkeypatch.setattr("sys.argv", [*command, "--profile", "--ways", *ways])
    gpu_rates.main()
    entries = json.loads(output.read_text())["entries"]
    # Graphs are a GPU's.
    wanted = [(name, how) for name in ("train", "refine", "infer") for how in ways[:2]]
    assert [(entry["pass"], entry["how"]) for entry in entries] == wanted
    counted = [entry["flops"] for entry in entries]
    assert min(counted) > 0
    assert counted[::2] == counted[1::2]
    (found,) = [entry["profile"] for entry in entries if "profile" in entry]
    assert "profile" in entries[0]
    assert 0 < found["host_share"] < 2  # backward passes have a thread of their own
    kernels = found["kernels"]
    assert [k["ms"] for k in kernels] == sorted((k["ms"] for k in kernels), reverse=True)
    assert "aten::mkldnn_convolution" in {kernel["name"] for kernel in kernels}
    assert kernels[0]["share"] == pytest.approx(kernels[0]["ms"] / found["ms"])
