"""The compiled warp against that of tensors."""

import pytest
import torch

from ssimbad.data.schema import WarpConfig
from ssimbad.data.warp import backward_map, draw_controls, folds, remap, warp

MANY = [(f"image {i}", 0) for i in range(200)]
CPU = torch.device("cpu")


def pixels_of(count: int, size: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, size, size), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("size", [16, 65, 256])
@pytest.mark.parametrize("rotation", [0.0, 180.0])
def test_the_compiled_warp_is_that_of_tensors(size: int, rotation: float) -> None:
    # Published draws have targets so near one another that float32 is no measure.
    controls = draw_controls(WarpConfig(redraw_folds=True, rotation=rotation), 1, MANY[:9])
    pixels = pixels_of(9, size)
    warped, mapped = warp(pixels, controls, CPU)
    plain = backward_map(*controls, size)
    torch.testing.assert_close(mapped, plain, rtol=0, atol=2e-6)
    expected = remap(pixels.float() / 255, plain) * 2 - 1
    torch.testing.assert_close(warped, expected, rtol=0, atol=2e-3)
    assert (warped - expected).abs().mean() < 3e-5


def test_other_threads_give_the_same() -> None:
    controls = draw_controls(WarpConfig(redraw_folds=True, rotation=30.0), 1, MANY[:9])
    expected = warp(pixels_of(9, 24), controls, CPU)
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if threads > 1 else 2)
    try:
        found = warp(pixels_of(9, 24), controls, CPU)
    finally:
        torch.set_num_threads(threads)
    assert all(map(torch.equal, found, expected))


def test_maps_fold_where_those_of_tensors_do() -> None:
    source, target, angles = draw_controls(WarpConfig(redraw_folds=False, rotation=0.0), 1, MANY)
    grid = backward_map(source, target, angles, 33)
    dx, dy = grid[:, :-1, 1:] - grid[:, :-1, :-1], grid[:, 1:, :-1] - grid[:, :-1, :-1]
    determinants = (dx[..., 0] * dy[..., 1] - dx[..., 1] * dy[..., 0]).flatten(1)
    clear = determinants.amin(1).abs() > 1e-5  # those of tensors are in float32
    assert clear.float().mean() > 0.95
    assert torch.equal(folds(source, target)[clear], (determinants <= 0).any(1)[clear])
