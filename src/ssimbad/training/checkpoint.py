"""Checkpoints for use: safetensors whose header holds all that is needed to rebuild the method."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from ssimbad.errors import UserError
from ssimbad.files import refusal, whole_file
from ssimbad.methods import methods, model_of
from ssimbad.methods.base import NetworkMethod
from ssimbad.networks.schema import UNetConfig
from ssimbad.noise.transforms import Phi
from ssimbad.rng import torch_generator

if TYPE_CHECKING:
    from ssimbad.schema import Section

_KEY = "ssimbad"


def build(
    name: str, section: Section | None, unet: UNetConfig, phi: Phi, seed: int
) -> NetworkMethod:
    """A method with freshly drawn weights, which depend on (seed, method) only."""
    kind = model_of(name)
    assert issubclass(kind, NetworkMethod)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_generator(seed, "weights", name).initial_seed())
        return kind(section, unet, phi)


def save(path: Path, method: NetworkMethod, header: dict[str, Any]) -> None:
    """Write the method's weights and ``header``, whole or not at all."""
    weights = {k: v.detach().cpu().contiguous() for k, v in method.state_dict().items()}
    with whole_file(path) as part:
        save_file(weights, part, metadata={_KEY: json.dumps(header, sort_keys=True)})


def read_header(path: Path) -> dict[str, Any]:
    """The header alone.

    Raises:
        UserError: the file is missing, damaged or not one of ours.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        with path.open("rb"):
            pass
    except PermissionError as error:
        raise UserError(refusal(error) or str(error)) from None
    try:
        with safe_open(path, "pt") as stream:
            return json.loads(stream.metadata()[_KEY])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        raise UserError(f"{path}: not a checkpoint of ssimbad, or damaged") from None


def load(path: Path) -> tuple[NetworkMethod, dict[str, Any]]:
    """Rebuild a method from its checkpoint: in evaluation mode, with the header.

    Weights of any precision become float32.

    Raises:
        UserError: the file is missing, damaged, or does not fit.
    """
    header = read_header(path)
    try:
        schema, kind = methods()[header["method"]].section, model_of(header["method"])
        assert issubclass(kind, NetworkMethod)
        method = kind(
            schema.model_validate(header["section"]) if schema else None,
            UNetConfig.model_validate(header["unet"]),
            Phi(**header["phi"]),
        )
        method.load_state_dict(load_file(path))
    except (
        KeyError,
        TypeError,
        ValueError,
        RuntimeError,
        AssertionError,
        SafetensorError,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: weights and header do not fit ({reason})") from None
    return method.eval(), header
