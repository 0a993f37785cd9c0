"""SSIMBaD's losses, sampling and refinement."""

import pytest
import torch

from ssimbad.config.schema import schema
from ssimbad.diffusion.preconditioning import edm_weight
from ssimbad.diffusion.samplers import euler
from ssimbad.methods import Run, methods, model_of, rows
from ssimbad.methods.base import Batch
from ssimbad.methods.schema import RefinementConfig, SamplingConfig
from ssimbad.methods.ssimbad import SSIMBaDConfig
from ssimbad.methods.ssimbad.model import SSIMBaD
from ssimbad.noise.transforms import RATIONAL, Phi
from ssimbad.rng import torch_generator
from ssimbad.similarity import ssim
from tests.conftest import SMALL_UNET, batch_of, draws_of, noise_of, tiny_values

PHI = Phi(RATIONAL, 0.1, 0.002, 80.0)


def make(**changes) -> SSIMBaD:
    section = {
        "sigma_data": 0.5,
        "weighting": "edm",
        "structural": 0.0,
        "noise_scale": 1000.0,
        "conditioning_dropout": 0.0,
    }
    torch.manual_seed(0)
    return SSIMBaD(SSIMBaDConfig(**(section | changes)), SMALL_UNET, PHI)


@pytest.fixture(scope="module")
def batch() -> Batch:
    return batch_of(5)


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2m"])
@torch.no_grad()
def test_an_image_depends_on_neither_its_batch_nor_its_place(batch: Batch, sampler: str) -> None:
    method = make().eval()
    sampling = SamplingConfig(
        sampler=sampler, steps=3, last_call=False, spacing="own", sigma_max=0.0, guidance=1.5
    )
    noise = noise_of(batch.names)
    together = method.colorize(batch.sketch, batch.reference, noise, sampling)
    assert together.abs().max() <= 1
    for i in (4, 0, 2):
        own = noise_of([batch.names[i]])
        assert torch.equal(own(0)[0], noise(0)[i])
        alone = method.colorize(batch.sketch[[i]], batch.reference[[i]], own, sampling)
        assert (alone[0] - together[i]).abs().max() < 1 / 255


@torch.no_grad()
def test_the_last_call_changes_next_to_nothing(batch: Batch) -> None:
    method = make().eval()
    noise = noise_of(batch.names)
    with_it, without = (
        method.colorize(
            batch.sketch,
            batch.reference,
            noise,
            SamplingConfig(
                sampler="euler",
                steps=4 + last,
                last_call=last,
                spacing="own",
                sigma_max=0.0,
                guidance=1.0,
            ),
        )
        for last in (True, False)
    )
    assert not torch.equal(with_it, without)
    assert (with_it - without).abs().max() < 2 / 255


@torch.no_grad()
def test_guidance_extrapolates_from_no_condition(batch: Batch) -> None:
    method = make().eval()
    noise = noise_of(batch.names)
    one_step = {"sampler": "euler", "steps": 1, "last_call": True}

    def colorize(guidance: float, sketch: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
        sampling = SamplingConfig(**one_step, spacing="own", sigma_max=0.0, guidance=guidance)
        return method.colorize(sketch, reference, noise, sampling)

    plain = colorize(1.0, batch.sketch, batch.reference)
    sigmas = PHI.sampling_sigmas(1).float()
    condition = torch.cat([batch.sketch, batch.reference], 1)
    unguided = euler(
        lambda x, s: method.denoise(x, s, condition), sigmas[0] * noise(0), sigmas
    ).clamp(-1, 1)
    assert torch.equal(plain, unguided)
    free = colorize(1.0, torch.zeros_like(batch.sketch), torch.zeros_like(batch.reference))
    torch.testing.assert_close(colorize(0.0, batch.sketch, batch.reference), free)
    mixed = colorize(0.5, batch.sketch, batch.reference)
    torch.testing.assert_close(mixed, (plain + free) / 2, rtol=0, atol=1e-5)


def test_losses_are_what_they_say(batch: Batch) -> None:
    generator = torch_generator(0, "test")
    sigma = PHI.uniform(torch.rand(5, generator=generator)).float()
    noise = torch.randn(batch.target.shape, generator=generator)
    method = make(structural=0.3)
    condition = torch.cat([batch.sketch, batch.reference], 1)
    denoised = method.denoise(batch.target + sigma[:, None, None, None] * noise, sigma, condition)
    errors = ((denoised - batch.target) ** 2).mean((1, 2, 3))
    structural = (1 - ssim((denoised + 1) / 2, (batch.target + 1) / 2)).mean()
    losses = method.training_losses(batch, draws_of(batch))
    torch.testing.assert_close(losses["denoising"], (errors * edm_weight(sigma, 0.5)).mean())
    torch.testing.assert_close(losses["structural"], 0.3 * structural)
    plain = make(weighting="none").training_losses(batch, draws_of(batch))
    assert list(plain) == ["denoising"]
    torch.testing.assert_close(plain["denoising"], errors.mean())


def test_dropout_takes_the_condition_from_its_share_of_images() -> None:
    batch = batch_of(200)
    method = make(conditioning_dropout=0.25)
    seen = []
    method.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][:, 3:]))
    method.training_losses(batch, draws_of(batch))
    dropped = (seen[0] == 0).flatten(1).all(1)
    assert 0.15 < dropped.float().mean() < 0.35
    condition = torch.cat([batch.sketch, batch.reference], 1)
    assert torch.equal(seen[0][~dropped], condition[~dropped])


def test_the_network_is_told_the_scaled_phi() -> None:
    method = make(noise_scale=250.0)
    seen = []
    method.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    batch = batch_of(1)
    method.denoise(batch.target, torch.tensor(0.3), torch.cat([batch.sketch, batch.reference], 1))
    assert seen[0].item() == pytest.approx(250 * 0.3 / 0.4)


def test_rollout_is_the_euler_sampler_and_checkpointing_changes_no_gradient(batch: Batch) -> None:
    gradients = []
    for checkpointing in (True, False):
        method = make()
        part = RefinementConfig(
            steps=3, single_step=0.0, last_call=True, checkpointing=checkpointing
        )
        images = method.rollout(batch, draws_of(batch), part)
        (images - batch.target).square().mean().backward()
        gradients.append([p.grad for p in method.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)
    noise = torch.randn(batch.target.shape, generator=torch_generator(0, "test"))
    sigmas = PHI.sampling_sigmas(3).float()
    condition = torch.cat([batch.sketch, batch.reference], 1)
    with torch.no_grad():
        expected = euler(lambda x, s: method.denoise(x, s, condition), sigmas[0] * noise, sigmas)
    torch.testing.assert_close(images.detach(), expected)


def test_rollout_keeps_the_gradient_beyond_the_image_range(batch: Batch) -> None:
    method = make()
    with torch.no_grad():
        method.network.output[2].bias.fill_(9.0)
    images = method.rollout(
        batch,
        draws_of(batch),
        RefinementConfig(steps=1, single_step=0.0, last_call=True, checkpointing=False),
    )
    assert (images > 1).all()
    images.mean().backward()
    bias = method.network.output[2].bias.grad
    assert bias is not None
    assert (bias != 0).all()


def test_every_row_belongs_to_a_method_and_every_method_to_the_config() -> None:
    for name in rows():
        run = Run(f"{name}@7")
        assert (run.row, run.seed, run.stage) == (name, 7, rows()[name].stage)
        assert name in methods()[run.method].rows
        assert run.trained.seed == 7
    few = Run("ssimbad_few_steps")
    assert (few.method, few.seed, few.trained, few.pretrained) == (
        *("ssimbad", None, "ssimbad_refined", "ssimbad"),
    )
    for name, method in methods().items():
        assert (name in schema().model_fields) == (method.section is not None)
    assert set(tiny_values()["ssimbad"]) >= {"sampling", "refinement"}


def test_reference_hands_the_reference_back(batch: Batch) -> None:
    noise = noise_of(batch.names)
    copied = model_of("reference")().colorize(batch.sketch, batch.reference, noise, None)
    assert torch.equal(copied, batch.reference)


@pytest.mark.parametrize("name", ["ssimbad", "edm", "animediffusion"])
def test_sampling_never_waits_for_a_value(name: str) -> None:
    kind, values = methods()[name], tiny_values()
    assert kind.section is not None
    section = {k: v for k, v in values[name].items() if k in kind.section.model_fields}
    assert kind.sampling is not None
    sampling = kind.sampling.model_validate(
        values[name]["sampling"] | {"steps": 3, "guidance": 2.0}
    )
    # Tensors without values: whatever asked for one, as a GPU would be asked, fails.
    with torch.device("meta"):
        method = model_of(name)(kind.section.model_validate(section), SMALL_UNET, PHI)
        images = [torch.empty(2, channels, 16, 16) for channels in (1, 3)]
        noise = torch.empty(2, 3, 16, 16)
    assert method.colorize(*images, lambda _: noise, sampling).shape == (2, 3, 16, 16)
