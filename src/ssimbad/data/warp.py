"""Thin-plate-spline warp of the reference image, batched.

The control points are AnimeDiffusion's: the four corners stay, two points on the diagonal move along
it. p1, p2 ~ U(0.3, 0.7) and r1, r2 ~ U(−0.25, 0.25), rounded to two decimals; what stood at (p, p)
moves to (p + r, p + r). Coordinates run from 0 (centre of the first pixel) to 1 (centre of the
last), so the identity warp is exact.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ssimbad.rng import numpy_generator

if TYPE_CHECKING:
    from ssimbad.data.schema import WarpConfig

_CORNERS = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
CORNERS, MOVED = len(_CORNERS), 2
"""Control points that stay, and that move; a spline's weights are of these kernels, then of 1, x and y."""
_FOLD_GRID = 33
_TRIES = 3  # candidates drawn at once, of which two in five fold
EVALUATION = -1
"""The epoch whose warps are used for validation and test: fixed, and without rotation."""


def _kernel(squared: Tensor) -> Tensor:
    # U(r) = r² ln(r + 1e-6), the published regularised form of r² ln r.
    return squared * torch.log(torch.sqrt(squared) + 1e-6)


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    x, y = (a.unsqueeze(-2) - b.unsqueeze(-3)).unbind(-1)
    return x * x + y * y


def _coefficients(source: Tensor, target: Tensor) -> Tensor:
    """Of the spline through ``source − target`` at ``target``: (B, K + 3, 2) weights of the K kernels and
    of 1, x and y, float64."""
    source, target = source.double(), target.double()
    batch, count, _ = target.shape
    ones = torch.ones(batch, count, 1, dtype=torch.float64)
    affine = torch.cat([ones, target], -1)
    system = torch.zeros(batch, count + 3, count + 3, dtype=torch.float64)
    system[:, :count, :count] = _kernel(_squared_distances(target, target))
    system[:, :count, count:] = affine
    system[:, count:, :count] = affine.transpose(1, 2)
    right = torch.zeros(batch, count + 3, 2, dtype=torch.float64)
    right[:, :count] = source - target
    return torch.linalg.solve(system, right)


def unit_grid(size: int) -> Tensor:
    """(size², 2) pixel centres (x, y) of a square image, rows first, in [0, 1]."""
    line = torch.linspace(0, 1, size, dtype=torch.float64)
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y], -1).reshape(-1, 2)


@lru_cache(maxsize=4)
def _basis(size: int) -> Tensor:
    """(7, size²) float64: the corners' kernels, 1, x and y at every pixel, the same for every warp."""
    points = unit_grid(size)
    corners = _kernel(_squared_distances(points, torch.tensor(_CORNERS, dtype=torch.float64)))
    return torch.cat([corners, torch.ones(len(points), 1), points], 1).T.contiguous()


@lru_cache(maxsize=4)
def _fixed_basis(size: int, device: torch.device) -> Tensor:
    """:func:`_basis` in float32 on a device."""
    return _basis(size).float().to(device)


def folds(source: Tensor, target: Tensor) -> Tensor:
    """(B,) bool: whether each backward map's Jacobian determinant is ≤ 0 anywhere on a 33×33 grid."""
    from ssimbad.kernels.warp import fold  # Numba, which not every command needs

    coefficients = _coefficients(source, target)
    coefficients[:, -2:] += torch.eye(2, dtype=torch.float64)
    arrays = coefficients, target[:, CORNERS:].double(), _basis(_FOLD_GRID)
    return torch.from_numpy(fold(*(a.contiguous().numpy() for a in arrays), _FOLD_GRID))


def _tries(generators: list[np.random.Generator]) -> tuple[Tensor, Tensor]:
    """The next few candidates for each warp: source and target control points (B, tries, 6, 2) float64."""
    uniform = np.stack([g.random((_TRIES, 4)) for g in generators])
    points = np.round(0.3 + (0.7 - 0.3) * uniform[..., :2], 2)
    moves = np.round(-0.25 + (0.25 - -0.25) * uniform[..., 2:], 2)
    source, target = np.empty((2, len(generators), _TRIES, CORNERS + MOVED, 2))
    source[..., :CORNERS, :] = target[..., :CORNERS, :] = _CORNERS
    source[..., CORNERS:, :] = points[..., None]
    target[..., CORNERS:, :] = (points + moves)[..., None]
    return torch.from_numpy(source), torch.from_numpy(target)


def draw_controls(
    config: WarpConfig, seed: int, addresses: list[tuple[str, int]]
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw a warp for every (image name, epoch).

    Returns:
        Source and target control points, each (B, 6, 2), and rotations (B,) in radians, 0 in the epoch
        ``EVALUATION``.
    """
    generators = [numpy_generator(seed, "warp", name, epoch) for name, epoch in addresses]
    # Drawn of every address, so that the control points drawn next are the same with and without.
    turns = [g.uniform(-1, 1) for g in generators]
    angles = [
        0.0 if epoch == EVALUATION else math.radians(config.rotation) * turn
        for turn, (_, epoch) in zip(turns, addresses, strict=True)
    ]
    source, target = torch.empty(2, len(generators), CORNERS + MOVED, 2, dtype=torch.float64)
    pending = torch.arange(len(generators))
    while len(pending):
        sources, targets = _tries([generators[i] for i in pending.tolist()])
        # Equal targets make the spline singular.
        usable = (targets[:, :, -1, 0] - targets[:, :, -2, 0]).abs() > 1e-9
        if config.redraw_folds:
            usable[usable.clone()] = ~folds(sources[usable], targets[usable])
        found, first = usable.max(1)
        source[pending[found]] = sources[found, first[found]]
        target[pending[found]] = targets[found, first[found]]
        pending = pending[~found]
    return source, target, torch.tensor(angles, dtype=torch.float64)


def _map_weights(source: Tensor, target: Tensor, angles: Tensor) -> Tensor:
    """(B, 2, K + 3) float32: of x and y of the warp's map, the weights of its K kernels and of 1, x and y.

    The rotation, about the centre, is one of the displaced coordinates, so it goes into the spline's.
    """
    coefficients = _coefficients(source, target)
    coefficients[:, -2:] += torch.eye(2, dtype=torch.float64)
    cos, sin = torch.cos(angles), torch.sin(angles)
    rotation = torch.stack([cos, -sin, sin, cos], -1).reshape(-1, 2, 2)
    coefficients[:, -3] -= 0.5
    coefficients = coefficients @ rotation.transpose(1, 2)
    coefficients[:, -3] += 0.5
    return coefficients.transpose(1, 2).float()


def backward_map(
    source: Tensor,
    target: Tensor,
    angles: Tensor,
    size: int,
    device: torch.device = torch.device("cpu"),  # noqa: B008
) -> Tensor:
    """Where each pixel of the warped image is read from, as :func:`draw_controls` gives the warp.

    The spline is solved for on the CPU; only the kernels of the two moving points are evaluated anew, in
    float32, on ``device``.

    Returns:
        (B, size, size, 2), (x, y) in [0, 1] within the frame, float32.
    """
    weights = _map_weights(source, target, angles).to(device, non_blocking=True)
    line = torch.linspace(0, 1, size, device=device)
    offsets = (line - target[:, CORNERS:, :, None].float().to(device, non_blocking=True)) ** 2
    squared = offsets[:, :, 0, None, :] + offsets[:, :, 1, :, None]
    kernels = squared.sqrt().add_(1e-6).log_().mul_(squared).flatten(2)
    fixed = torch.cat([weights[..., :CORNERS], weights[..., -3:]], -1)
    # A product for each warp, not one for all: what a warp is must not depend on its neighbours.
    mapped = torch.bmm(fixed, _fixed_basis(size, device).expand(len(fixed), -1, -1))
    mapped.baddbmm_(weights[..., CORNERS:-3], kernels)
    return mapped.unflatten(-1, (size, size)).permute(0, 2, 3, 1)


def warp(
    pixels: Tensor, controls: tuple[Tensor, Tensor, Tensor], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Warp a batch of square images: bicubic, black outside the frame.

    Args:
        pixels: (B, 3, S, S) uint8.
        controls: a warp for each, as :func:`draw_controls` gives them.
        device: where it is done; on a CPU by compiled loops, elsewhere by tensors.

    Returns:
        (B, 3, S, S) in [-1, 1], and the map (B, S, S, 2), as of :func:`backward_map`.
    """
    size = pixels.shape[-1]
    if device.type == "cpu":
        from ssimbad.kernels.warp import warp_pixels

        arrays = (
            pixels.permute(0, 2, 3, 1),
            _map_weights(*controls),
            controls[1][:, CORNERS:].float(),
            _fixed_basis(size, device),
        )
        warped, mapped = warp_pixels(
            *(a.contiguous().numpy() for a in arrays), threads=torch.get_num_threads()
        )
        return torch.from_numpy(warped), torch.from_numpy(mapped)
    on_device = backward_map(*controls, size, device)
    return remap(pixels.to(device, non_blocking=True).float() / 255, on_device) * 2 - 1, on_device


def remap(images: Tensor, mapped: Tensor) -> Tensor:
    """Read images (B, C, S, S) in [0, 1] at (B, S, S, 2) points: bicubic, black outside the frame."""
    grid = (mapped * 2 - 1).to(images)
    warped = F.grid_sample(images, grid, mode="bicubic", padding_mode="zeros", align_corners=True)
    return warped.clamp_(0, 1)
