"""The warp against an independent thin-plate spline and its published properties."""

import math

import numpy as np
import pytest
import torch
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import map_coordinates

from ssimbad.data.schema import WarpConfig
from ssimbad.data.warp import (
    EVALUATION,
    _coefficients,
    _kernel,
    _squared_distances,
    backward_map,
    draw_controls,
    folds,
    remap,
    unit_grid,
    warp,
)

PUBLISHED = WarpConfig(redraw_folds=False, rotation=0.0)
DEFAULT = WarpConfig(redraw_folds=True, rotation=0.0)
MANY = [(f"image {i}", 0) for i in range(200)]


def displacement(source: torch.Tensor, target: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Plain thin-plate-spline interpolation of ``source − target``, given at ``target``, at ``points``.

    Args:
        source, target: (B, K, 2) control points; K ≥ 3, not all on one line, no two targets equal.
        points: (P, 2).

    Returns:
        (B, P, 2), float64.
    """
    target, points = target.double(), points.double()
    coefficients, count = _coefficients(source, target), target.shape[1]
    basis = _kernel(_squared_distances(points, target))
    linear = torch.cat([torch.ones(len(points), 1, dtype=torch.float64), points], -1)
    return basis @ coefficients[:, :count] + linear @ coefficients[:, count:]


def pixels_of(count: int, size: int) -> torch.Tensor:
    shape = (count, 3, size, size)
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def test_displacement_equals_scipys_thin_plate_spline() -> None:
    source, target, _ = draw_controls(PUBLISHED, 1, MANY[:20])
    points = unit_grid(17)
    ours = displacement(source, target, points).numpy()
    for s, t, mine in zip(source.numpy(), target.numpy(), ours, strict=True):
        spline = RBFInterpolator(t, s - t, kernel="thin_plate_spline", degree=1)
        np.testing.assert_allclose(mine, spline(points.numpy()), atol=2e-4)


def test_control_points_are_the_published_ones() -> None:
    source, target, angles = draw_controls(PUBLISHED, 1, MANY)
    corners = torch.tensor([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=torch.float64)
    assert (source[:, :4] == corners).all()
    assert (target[:, :4] == corners).all()
    inner, moved = source[:, 4:], (target - source)[:, 4:]
    assert (inner[..., 0] == inner[..., 1]).all()
    assert 0.3 <= inner.min() < 0.32
    assert 0.68 < inner.max() <= 0.7
    assert 0.23 < moved.abs().max() <= 0.25 + 1e-9
    torch.testing.assert_close(100 * target, (100 * target).round(), rtol=0, atol=1e-9)
    assert (angles == 0).all()


def test_control_points_move_from_source_to_target() -> None:
    source, target, angles = draw_controls(PUBLISHED, 1, MANY[:10])
    moved = target + displacement(source[:1], target[:1], target[0])
    torch.testing.assert_close(moved[0], source[0], rtol=0, atol=1e-9)
    size = 101
    grid = backward_map(source, target, angles, size)
    for mapped, s, t in zip(grid, source, target, strict=True):
        for from_, to in zip(s, t, strict=True):
            column, row = (to * (size - 1)).round().long().tolist()
            torch.testing.assert_close(mapped[row, column].double(), from_, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [16, 65, 256])
def test_the_map_equals_the_plain_spline_turned(size: int) -> None:
    """The map's kernels are shared between warps and in float32: the plain spline is neither."""
    source, target, angles = draw_controls(
        WarpConfig(redraw_folds=True, rotation=40.0), 1, MANY[:9]
    )
    grid = unit_grid(size)
    displaced = (grid + displacement(source, target, grid)).numpy() - 0.5
    for ours, points, angle in zip(
        backward_map(source, target, angles, size), displaced, angles.tolist(), strict=True
    ):
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        plain = (points @ turn.T + 0.5).reshape(size, size, 2)
        np.testing.assert_allclose(ours.numpy(), plain, atol=2e-6)


def test_pixels_equal_a_plain_cubic_remap_inside() -> None:
    # SciPy interpolates by cubic splines, the warp by cubic convolution: near, not equal.
    coarse = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    image = torch.nn.functional.interpolate(coarse, size=(48, 48), mode="bicubic").clamp(0, 1)
    mapped = backward_map(*draw_controls(DEFAULT, 1, MANY[:1]), 48)[0] * 47
    ours = remap(image, mapped[None] / 47)[0]
    inside = ((mapped > 2) & (mapped < 45)).all(-1)
    assert inside.float().mean() > 0.7
    coordinates = [mapped[..., 1].numpy(), mapped[..., 0].numpy()]
    for channel in range(3):
        plain = map_coordinates(image[0, channel].numpy(), coordinates, order=3)
        np.testing.assert_allclose(ours[channel][inside], plain[inside], atol=0.02)


def test_a_draw_belongs_to_seed_image_and_epoch() -> None:
    images = pixels_of(3, 24)

    def warped(pixels: torch.Tensor, seed: int, addresses: list[tuple[str, int]]) -> torch.Tensor:
        return warp(pixels, draw_controls(DEFAULT, seed, addresses), pixels.device)[0]

    addresses = [("a", 0), ("b", 0), ("a", 1)]
    together = warped(images, 7, addresses)
    for i in (2, 0, 1):
        alone = warped(images[i : i + 1], 7, [addresses[i]])
        assert torch.equal(alone[0], together[i])
    same = images[:1].expand(3, -1, -1, -1)
    a, b, later = warped(same, 7, addresses)
    assert not torch.equal(a, b)
    assert not torch.equal(a, later)
    assert not torch.equal(warped(same[:1], 8, addresses[:1])[0], a)


def test_far_outside_the_frame_is_black() -> None:
    source, target, angles = draw_controls(PUBLISHED, 1, MANY[:1])
    away, _ = warp(pixels_of(1, 32), (source + 3, target, angles), torch.device("cpu"))
    assert (away == -1).all()


def test_published_draws_fold_and_redrawn_ones_do_not() -> None:
    published = folds(*draw_controls(PUBLISHED, 1, MANY)[:2])
    assert 0.02 < published.float().mean() < 0.8
    source, target, _ = draw_controls(DEFAULT, 1, MANY)
    assert not folds(source, target).any()
    # A finer look than the one the redraw takes.
    fine = backward_map(source, target, torch.zeros(len(MANY), dtype=torch.float64), 129)
    dx, dy = fine[:, :-1, 1:] - fine[:, :-1, :-1], fine[:, 1:, :-1] - fine[:, :-1, :-1]
    assert ((dx[..., 0] * dy[..., 1] - dx[..., 1] * dy[..., 0]) > 0).float().mean() > 0.9999


def test_draws_that_do_not_fold_are_the_published_ones() -> None:
    published = draw_controls(PUBLISHED, 1, MANY)
    kept = ~folds(*published[:2])
    redrawn = draw_controls(DEFAULT, 1, MANY)
    assert torch.equal(published[0][kept], redrawn[0][kept])


def test_rotation_turns_by_the_drawn_angle() -> None:
    config = WarpConfig(redraw_folds=True, rotation=30.0)
    source, _, angles = draw_controls(config, 1, MANY)
    assert math.radians(25) < angles.abs().max() <= math.radians(30)
    assert angles.min() < 0 < angles.max()
    still = source[:1].clone()
    quarter = torch.tensor([math.pi / 2], dtype=torch.float64)
    mapped = backward_map(still, still, quarter, 3)[0]
    torch.testing.assert_close(mapped[0, 0], torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(mapped[1, 1], torch.tensor([0.5, 0.5]))


def test_only_references_trained_on_are_turned() -> None:
    config = WarpConfig(redraw_folds=True, rotation=30.0)
    fixed = [(name, EVALUATION) for name, _ in MANY]
    *points, angles = draw_controls(config, 1, fixed)
    assert not angles.any()
    for turned, plain in zip(points, draw_controls(DEFAULT, 1, fixed), strict=False):
        assert torch.equal(turned, plain)


@pytest.mark.parametrize("size", [16, 33])
def test_no_displacement_is_the_identity(size: int) -> None:
    source, _, angles = draw_controls(PUBLISHED, 1, MANY[:1])
    grid = backward_map(source, source, angles, size)
    torch.testing.assert_close(grid[0].reshape(-1, 2), unit_grid(size).float(), rtol=0, atol=1e-6)
