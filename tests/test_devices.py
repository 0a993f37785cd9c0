"""The network translated by torch.compile: the same files and numbers, or one line that says why not."""

import os
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from ssimbad.config.files import load
from ssimbad.devices import compile_in_place, device_of, training_layout
from ssimbad.errors import UserError
from ssimbad.layout import Results
from ssimbad.networks.unet import UNet
from tests.conftest import run_phase, tiny_values


def test_a_compiled_networks_checkpoint_is_the_plain_ones(
    prepared: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = {}
    for compiled in (False, True):
        results = Results(tmp_path / str(compiled))
        for part in ("data", "phi"):
            shutil.copytree(prepared.root / part, results.root / part)
        values = tiny_values() | {"compile": compiled}
        values["unet"] |= {"multipliers": [1], "attention": []}
        values["train"] |= {"steps": 2, "warmup": 0, "checkpoint_every": 2, "ema": 0.5}
        seen = []
        if compiled:

            def backend(graph: torch.fx.GraphModule, _: list, seen: list = seen) -> object:
                seen.append(graph)
                return graph

            # Without a C++ compiler's minutes: the network is traced, its operations are torch's own.
            monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
        run_phase(values, "train", results, "ssimbad")
        assert bool(seen) == compiled
        weights[compiled] = load_file(results.checkpoint("ssimbad"))
    assert weights[True].keys() == weights[False].keys()
    for name, expected in weights[False].items():
        torch.testing.assert_close(weights[True][name], expected, rtol=1e-4, atol=1e-6)


def test_kernels_of_a_gpu_are_repeatable_and_a_cpus_are_as_they_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    device_of("cpu")
    assert not torch.are_deterministic_algorithms_enabled()
    try:
        assert device_of("cuda") == torch.device("cuda")
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_machine_without_a_compiler_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(function: object) -> object:
        def called(*_: object) -> None:
            raise RuntimeError("No working C++ compiler found\nand a long traceback")

        return called

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(UserError) as caught:
        compile_in_place(nn.Identity(), torch.device("cpu"))
    assert str(caught.value) == (
        "compile: true: torch.compile does not work for cpu here (No working C++ compiler found)"
    )


@pytest.mark.parametrize(
    ("width", "device", "layout"),
    [
        (256, "cpu", torch.channels_last),
        (512, "cpu", torch.contiguous_format),
        (256, "cuda", torch.contiguous_format),
    ],
)
def test_only_narrow_networks_on_a_cpu_train_channels_last(
    width: int, device: str, layout: torch.memory_format
) -> None:
    # Kernels of a pixel are products of matrices, fast in either layout.
    network = nn.Sequential(nn.Conv2d(4, width, 3), nn.Conv2d(width, 600, 1))
    assert training_layout(network, torch.device(device)) == layout


def test_the_defaults_network_trains_channels_last_and_the_papers_does_not_on_a_cpu() -> None:
    layouts = [
        training_layout(UNet(load(overlays).unet, 7, 3), torch.device("cpu"))
        for overlays in ([], [Path("config/paper.yaml")])
    ]
    assert layouts == [torch.channels_last, torch.contiguous_format]
