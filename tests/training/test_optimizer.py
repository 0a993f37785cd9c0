"""Muon against a plain singular value decomposition."""

import pytest
import torch
from torch import nn

from ssimbad.training.optimizer import build, clip_gradients, orthogonalized
from ssimbad.training.schema import StageConfig
from tests.conftest import tiny_values


def settings(**changes) -> StageConfig:
    return StageConfig(**(tiny_values()["train"] | {"optimizer": "muon"} | changes))


@pytest.mark.parametrize("shape", [(32, 96), (96, 32), (48, 48)])
def test_orthogonalized_keeps_directions_and_levels_singular_values(shape) -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(shape, generator=generator)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    (found,) = orthogonalized([matrix])
    levels = u.T @ found @ v.T
    large = s > 0.05 * s.max()
    diagonal = levels.diagonal()[large]
    assert 0.6 < diagonal.min() < diagonal.max() < 1.25
    assert (levels - levels.diagonal().diag()).abs().max() < 0.02


def test_orthogonalized_takes_many_matrices_each_as_if_alone() -> None:
    generator = torch.Generator().manual_seed(1)
    shapes = [(8, 72), (16, 8), (8, 8), (40, 16), (8, 200)]
    matrices = [torch.randn(shape, generator=generator) for shape in shapes]
    together = orthogonalized(matrices)
    for matrix, found in zip(matrices, together, strict=True):
        assert found.shape == matrix.shape
        torch.testing.assert_close(found, orthogonalized([matrix])[0], rtol=1e-4, atol=1e-5)
    assert orthogonalized([]) == []


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 3), nn.Conv2d(16, 48, 1), nn.Conv2d(48, 3, 1)
    )


def test_kernels_go_to_muon_and_the_rest_to_adamw() -> None:
    model = network()
    optimizer = build([{"params": list(model.parameters())}], settings(muon_lr=0.02, lr=1e-3))
    adamw, muon = optimizer.param_groups
    assert [p.shape for p in muon["params"]] == [(16, 8, 3, 3), (48, 16, 1, 1)]
    assert (adamw["lr"], muon["lr"]) == (1e-3, 0.02)
    assert len(adamw["params"]) == 6


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_mixed_precision_leaves_the_kernel_of_a_step_to_pytorch(optimizer: str) -> None:
    for precision, fused in (("32-true", True), ("16-mixed", None)):
        config = settings(optimizer=optimizer, precision=precision)
        built = build([{"params": list(network().parameters())}], config)
        assert [group["fused"] for group in built.param_groups] == [fused] * len(built.param_groups)


def test_a_groups_own_rate_scales_both_its_parts() -> None:
    model = network()
    group = {"params": list(model.parameters()), "lr": 5e-4}
    optimizer = build([group], settings(muon_lr=0.02, lr=1e-3))
    assert [g["lr"] for g in optimizer.param_groups] == [5e-4, 0.01]


def test_momentum_and_scale_past_the_first_step() -> None:
    model = nn.Sequential(nn.Conv2d(8, 64, 2))  # 64 × 32: taller than wide
    kernel = model[0].weight
    optimizer = build([{"params": [kernel]}], settings(muon_lr=0.1, lr=1e-3, weight_decay=0.0))
    generator = torch.Generator().manual_seed(3)
    momentum, expected = torch.zeros(64, 32), kernel.detach().flatten(1).clone()
    for _ in range(3):
        gradient = torch.randn(kernel.shape, generator=generator)
        kernel.grad = gradient.clone()
        optimizer.step()
        momentum = 0.95 * momentum + gradient.flatten(1)
        (update,) = orthogonalized([gradient.flatten(1) + 0.95 * momentum])
        expected -= 0.1 * (64 / 32) ** 0.5 * update
    torch.testing.assert_close(kernel.detach().flatten(1), expected, rtol=1e-4, atol=1e-5)


def test_a_step_moves_kernels_by_their_orthogonalized_gradients() -> None:
    """Those of one pixel, such as attention's projections, a fifth as far."""
    model = network()
    optimizer = build(
        [{"params": list(model.parameters())}],
        settings(muon_lr=0.02, lr=1e-3, weight_decay=0.1),
    )
    other = network()
    plain = torch.optim.AdamW(other.parameters(), lr=1e-3, weight_decay=0.1)
    x = torch.randn(2, 3, 12, 12)
    for m, o in ((model, optimizer), (other, plain)):
        m(x).square().mean().backward()
        gradients = [other[k].weight.grad for k in (1, 2)] if m is other else []
        o.step()
    for k, scale, gradient in zip((1, 2), (1.0, 0.2 * 3**0.5), gradients, strict=True):
        assert gradient is not None
        before = network()[k].weight.detach()
        (update,) = orthogonalized([gradient.flatten(1)])  # of 1.95 gradients, levelled
        expected = before * (1 - 0.02 * 0.1) - 0.02 * scale * update.view_as(before)
        torch.testing.assert_close(model[k].weight.detach(), expected, rtol=1e-4, atol=1e-5)
    for k in (0, 3):
        torch.testing.assert_close(model[k].weight, other[k].weight)


def test_its_state_resumes() -> None:
    x = torch.randn(2, 3, 12, 12)

    def run(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()

    whole, first, second = network(), network(), network()
    run(whole, build([{"params": list(whole.parameters())}], settings()), 4)
    optimizer = build([{"params": list(first.parameters())}], settings())
    run(first, optimizer, 2)
    resumed = build([{"params": list(second.parameters())}], settings())
    second.load_state_dict(first.state_dict())
    resumed.load_state_dict(optimizer.state_dict())
    run(second, resumed, 2)
    for a, b in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("scaled", [True, False])
def test_clipping_of_scaled_gradients_is_clipping_before_they_are_unscaled(scaled: bool) -> None:
    ours, published = network(), network()
    x = 100 * torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    for model in (ours, published):
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        scaler.scale(model(x).square().mean()).backward()
        if model is ours:
            scaler.unscale_(optimizer)
            clip_gradients(optimizer, settings(clip=0.5, clip_scaled=scaled), scaler)
            continue
        if scaled:
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        scaler.unscale_(optimizer)
        if not scaled:
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    for a, b in zip(ours.parameters(), published.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    norm = nn.utils.get_total_norm([p.grad for p in ours.parameters()])
    assert norm.item() == pytest.approx(0.5 / 1024 if scaled else 0.5, rel=1e-3)


def test_without_a_scaler_there_is_nothing_to_clip_before() -> None:
    model = network()
    model(torch.ones(2, 3, 12, 12)).square().sum().backward()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    clip_gradients(optimizer, settings(clip=1e-3, clip_scaled=True), None)
    norm = nn.utils.get_total_norm([p.grad for p in model.parameters()])
    assert norm.item() == pytest.approx(1e-3, rel=1e-3)
