"""AnimeDiffusion's loss, finetuning and sampling."""

import pytest
import torch

from ssimbad.diffusion.ddpm import add_noise, ddim, timesteps
from ssimbad.methods.animediffusion import (
    AnimeDiffusionConfig,
    AnimeDiffusionRefinement,
    AnimeDiffusionSampling,
)
from ssimbad.methods.animediffusion.model import AnimeDiffusion
from ssimbad.noise.transforms import RATIONAL, Phi
from ssimbad.rng import torch_generator
from tests.conftest import SMALL_UNET, batch_of, draws_of, noise_of


def make() -> AnimeDiffusion:
    torch.manual_seed(0)
    section = AnimeDiffusionConfig(conditioning_dropout=0.0)
    return AnimeDiffusion(section, SMALL_UNET, Phi(RATIONAL, 0.1, 0.002, 80.0))


def refinement(**changes) -> AnimeDiffusionRefinement:
    plain = {
        "steps": 3,
        "timesteps": "leading",
        "eta": 1.0,
        "inversion_steps": 3,
        "clamp_gradient": False,
        "timeless_inversion": False,
        "checkpointing": False,
    }
    return AnimeDiffusionRefinement(**(plain | changes))


def test_the_loss_is_the_predicted_noises_error() -> None:
    method, batch = make(), batch_of(5)
    generator = torch_generator(0, "test")
    t = torch.randint(1000, (5,), generator=generator)
    noise = torch.randn(batch.target.shape, generator=generator)
    noisy = torch.cat([add_noise(batch.target, t, noise), batch.condition()], 1)
    expected = (method.network(noisy, t.float()) - noise).square().mean()
    losses = method.training_losses(batch, draws_of(batch))
    torch.testing.assert_close(losses["noise"], expected)


@pytest.mark.parametrize("timeless", [False, True])
def test_the_inversion_alone_may_leave_the_time_out(timeless: bool) -> None:
    method, batch, told = make(), batch_of(2), []
    method.network.register_forward_pre_hook(
        lambda _, inputs: told.append(None if inputs[1] is None else inputs[1][0].item())
    )
    method.rollout(batch, draws_of(batch), refinement(timeless_inversion=timeless))
    upwards = [None, None] if timeless else [1, 334]
    assert told == [*upwards, 667, 334, 1]


@pytest.mark.parametrize("clamp_gradient", [False, True])
def test_rollout_keeps_the_gradient_beyond_the_image_range(clamp_gradient: bool) -> None:
    method, batch = make(), batch_of(2)
    with torch.no_grad():
        method.network.output[2].bias.fill_(-900.0)
    # Twice the noise that was added on the way up is taken away: the estimate lies far beyond 1.
    method.network.register_forward_hook(
        lambda _, given, made: 2 * made if torch.is_grad_enabled() else made
    )
    part = refinement(steps=1, inversion_steps=2, clamp_gradient=clamp_gradient)
    images = method.rollout(batch, draws_of(batch), part)
    assert (images == 1).all()
    images.mean().backward()
    bias = method.network.output[2].bias.grad
    assert bias is not None
    assert (bias == 0).all() == clamp_gradient


def test_finetuning_reaches_the_network_through_every_step() -> None:
    batch, gradients = batch_of(2), []
    for checkpointing in (True, False):
        method = make()
        images = method.rollout(batch, draws_of(batch), refinement(checkpointing=checkpointing))
        (images - batch.target).square().mean().backward()
        gradients.append([p.grad for p in method.parameters()])
    for a, b in zip(*gradients, strict=True):
        assert a is not None
        torch.testing.assert_close(a, b)


@torch.no_grad()
def test_an_image_depends_on_neither_its_batch_nor_its_place() -> None:
    method, batch = make().eval(), batch_of(5)
    sampling = AnimeDiffusionSampling(steps=4, timesteps="trailing", eta=1.0, guidance=1.5)
    together = method.colorize(batch.sketch, batch.reference, noise_of(batch.names), sampling)
    assert together.abs().max() <= 1
    for i in (4, 0, 2):
        own = noise_of([batch.names[i]])
        alone = method.colorize(batch.sketch[[i]], batch.reference[[i]], own, sampling)
        assert (alone[0] - together[i]).abs().max() < 1 / 255


@torch.no_grad()
def test_guidance_at_scale_1_is_none() -> None:
    method, batch = make().eval(), batch_of(3)
    noise = noise_of(batch.names)
    sampling = AnimeDiffusionSampling(steps=4, timesteps="leading", eta=1.0, guidance=1.0)
    guided = method.colorize(batch.sketch, batch.reference, noise, sampling)

    def predict(x: torch.Tensor, t: int) -> torch.Tensor:
        return method.predict(x, t, batch.condition())

    plain = ddim(predict, noise(0), timesteps(4, "leading"), 1.0, noise).clamp(-1, 1)
    assert torch.equal(guided, plain)
