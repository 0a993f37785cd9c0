"""SCFT's losses."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from ssimbad.methods.base import Batch
from ssimbad.methods.draws import Draws
from ssimbad.methods.scft import SCFTMethodConfig
from ssimbad.methods.scft.model import SCFT, gram, triplet_loss
from ssimbad.noise.transforms import RATIONAL, Phi
from ssimbad.rng import torch_generator
from ssimbad.training.optimizer import build
from ssimbad.training.schema import Schedule
from tests.conftest import SMALL_UNET, batch_of, draws_of, noise_of, tiny_values


def make(**changes: Any) -> SCFT:
    section = {
        "width": 2,
        "blocks": 1,
        "trunk": "vgg16",
        "depth": 2,
        "adversarial": 1.0,
        "reconstruction": 30.0,
        "triplet": 1.0,
        "perceptual": 0.0,
        "style": 0.0,
        "discriminator_lr": 2.0,
    }
    torch.manual_seed(0)
    phi = Phi(RATIONAL, 0.1, 0.002, 80.0)
    return SCFT(SCFTMethodConfig(**(section | changes)), SMALL_UNET, phi)


def gradients(method: SCFT, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    method.zero_grad()
    loss.backward(retain_graph=True)
    return {k: p.grad.clone() for k, p in method.named_parameters() if p.grad is not None}


def test_each_player_learns_from_its_own_losses() -> None:
    method, batch = make(), batch_of(4, 64)
    losses = method.training_losses(batch, draws_of(batch))
    assert set(losses) == {"reconstruction", "adversarial", "triplet", "discriminator"}
    generators = {k for k, _ in method.named_parameters() if k.startswith("generator.")}
    own = gradients(method, losses["discriminator"])
    assert {k.split(".")[0] for k in own} == {"discriminator"}
    for name in ("reconstruction", "adversarial"):
        found = gradients(method, losses[name])
        assert set(found) <= generators
        assert any(g.abs().max() > 0 for g in found.values())
    found = gradients(method, losses["triplet"])
    assert {k.split(".")[1] for k in found} == {"attention", "reference_encoder", "sketch_encoder"}


def test_target_and_reference_share_a_shift_of_each_channel() -> None:
    method, batch = make(), batch_of(64)
    batch.warp[:, :4] = -0.1  # read from outside the frame: black
    batch.reference[:, :, :4] = -1
    target, reference = method._jitter(batch, draws_of(batch))
    shifts = []
    for i in range(64):
        for c in range(3):
            inner = (target[i, c].abs() < 1) & (batch.target[i, c].abs() < 1)
            shift = (target[i, c] - batch.target[i, c])[inner]
            assert shift.std() < 1e-6
            shifts.append(shift.mean().item())
            inner = reference[i, c, 4:].abs() < 1
            moved = (reference[i, c, 4:] - batch.reference[i, c, 4:])[inner]
            torch.testing.assert_close(moved, shift.mean().expand_as(moved))
    assert (reference[:, :, :4] == -1).all()
    limit = 50 / 127.5
    assert 0.9 * limit < max(map(abs, shifts)) <= limit


def test_the_triplet_knows_where_the_warp_comes_from() -> None:
    generator = torch.Generator().manual_seed(0)
    key = torch.nn.functional.normalize(torch.randn(2, 16, 32, generator=generator), dim=-1) * 100
    shifted = key.reshape(2, 4, 4, 32).roll(1, 2).reshape(2, 16, 32)
    line = torch.linspace(0, 1, 64)
    y, x = torch.meshgrid(line, line, indexing="ij")
    identity = torch.stack([x, y], -1)[None].expand(2, -1, -1, -1)
    to_the_right = identity + torch.tensor([0.25, 0.0])

    def triplet(query, warp):
        return triplet_loss(query, key, warp, Draws(torch_generator(0, "test"), 2))

    assert triplet(key, identity) == 0
    assert triplet(shifted, identity) > 10
    # Query token (r, c + 1) is what reference token (r, c) was read from.
    assert triplet(shifted, to_the_right) < 2
    assert triplet(shifted, identity + 5) == 0


def test_what_was_redrawn_is_in_no_triplet() -> None:
    method, batch = make(), batch_of(4, 64)
    redrawn = torch.tensor([True, False, True, False])

    def triplet(given: Batch) -> torch.Tensor:
        return method.training_losses(given, draws_of(given))["triplet"]

    assert triplet(replace(batch, redrawn=torch.ones(4, dtype=torch.bool))) == 0
    some = triplet(replace(batch, redrawn=redrawn))
    assert some > 0
    assert some != triplet(batch)


def test_gram_is_per_image_and_normalised() -> None:
    features = torch.arange(24.0).reshape(2, 3, 2, 2)
    flat = features[1].reshape(3, 4)
    torch.testing.assert_close(gram(features)[1], flat @ flat.T / 12)


def test_gram_of_a_large_image_is_finite_under_mixed_precision() -> None:
    # A channel's squares sum to more than 16 bits hold.
    features = torch.full((1, 2, 256, 256), 2.0)
    with torch.autocast("cpu", torch.float16):
        found = gram(features.half())
    torch.testing.assert_close(found, torch.full((1, 2, 2), 2.0))


def test_perceptual_and_style_losses_are_weighted_distances_of_feature_maps() -> None:
    method, batch = make(perceptual=0.01, style=50.0), batch_of(2, 32)
    (record,) = method.load_loss_networks("auto", torch.device("cpu"))
    assert record["network"] in ("vgg16", "vgg19")
    assert not any("trunk" in key for key in method.state_dict())
    (trunk,) = method._trunk
    seen = []
    method.generator.register_forward_hook(lambda *a: seen.append(a[2][0]))
    losses = method.training_losses(batch, draws_of(batch))
    target, _ = method._jitter(batch, draws_of(batch))
    ours, theirs = trunk(seen[0]), trunk(target)
    assert [m.shape for m in ours] == [(2, 64, 32, 32), (2, 128, 16, 16)]
    perceptual = sum((a - b).abs().mean() for a, b in zip(ours, theirs, strict=True))
    style = sum((gram(a) - gram(b)).abs().mean() for a, b in zip(ours, theirs, strict=True))
    torch.testing.assert_close(losses["perceptual"], 0.01 * perceptual)
    torch.testing.assert_close(losses["style"], 50 * style)


def test_the_validation_loss_is_the_weighted_reconstruction_alone() -> None:
    method, batch = make(), batch_of(2, 32)
    method.eval()
    training = method.training_losses(batch, draws_of(batch))
    assert method.validation_losses(batch, draws_of(batch)) == {
        "reconstruction": training["reconstruction"]
    }


def test_both_networks_have_their_own_adam() -> None:
    method = make()
    values = tiny_values()["scft"]["recipe"] | {"lr": 1e-3}
    optimizer = build(method.optimizer_groups(1e-3), Schedule(**values))
    found = [(g["lr"], g["betas"], g["weight_decay"]) for g in optimizer.param_groups]
    assert found == [(1e-3, (0.5, 0.999), 0.0), (2e-3, (0.5, 0.999), 0.0)]


@torch.no_grad()
def test_an_image_depends_on_neither_its_batch_nor_the_noise() -> None:
    method, batch = make().eval(), batch_of(3, 64)
    together = method.colorize(batch.sketch, batch.reference, noise_of(batch.names), None)
    alone = method.colorize(batch.sketch[1:2], batch.reference[1:2], noise_of(["other"]), None)
    assert together[1].numpy() == pytest.approx(alone[0].numpy(), abs=1 / 255)
