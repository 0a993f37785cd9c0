"""The readers of foreign formats: tensors by name, and nothing is executed."""

import io
import pickle
import zipfile
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from ssimbad.pretrained.readers import Weights, read_inception, read_state_dict, read_trunk
from ssimbad.pretrained.sources import TRUNK_LAYERS


class Call:
    """A pickle of it calls a function when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("executed",)


def archived(value: object) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("out_jit_module/data.pkl", pickle.dumps(value))
    return stream.getvalue()


def saved(value: object) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("read", "write"),
    [
        (read_inception, archived),
        (partial(read_trunk, "alex"), pickle.dumps),
        (partial(read_state_dict, "alex"), saved),
    ],
)
def test_a_call_is_refused(
    read: Callable[[bytes], Weights],
    write: Callable[[object], bytes],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(pickle.UnpicklingError):
        read(write({"AlexNet_0": Call()}))
    assert "executed" not in capsys.readouterr().out


def test_a_trunk_has_torchvisions_names_and_layout() -> None:
    rng = np.random.default_rng(0)
    kernels = [rng.random((3, 2, 4, 5), np.float32) for _ in TRUNK_LAYERS["alex"]]
    tree = {f"Conv_{i}": {"kernel": k, "bias": k[0, 0, 0]} for i, k in enumerate(kernels)}
    # NumPy's module as it was called when the package was made.
    data = pickle.dumps({"AlexNet_0": tree}, protocol=3).replace(b"numpy._core", b"numpy.core")
    weights = read_trunk("alex", data)
    assert len(weights) == 2 * len(kernels)
    for layer, kernel in zip(TRUNK_LAYERS["alex"], kernels, strict=True):
        found = weights[f"features.{layer}.weight"]
        assert found.shape == (5, 4, 3, 2)
        np.testing.assert_array_equal(found[1, 2], kernel[:, :, 2, 1])
        np.testing.assert_array_equal(weights[f"features.{layer}.bias"], kernel[0, 0, 0])


def test_of_a_state_dict_the_trunk_is_kept() -> None:
    layers = TRUNK_LAYERS["alex"]
    state = {f"features.{i}.{p}": torch.ones(2).half() for i in layers for p in ("weight", "bias")}
    weights = read_state_dict("alex", saved(state | {"classifier.1.weight": torch.ones(1)}))
    assert weights.keys() == state.keys()
    assert all(value.dtype == torch.float32 for value in weights.values())
