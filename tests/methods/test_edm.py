"""What sets vanilla EDM apart from SSIMBaD."""

import math

import pytest
import torch

from ssimbad.methods import Run
from ssimbad.methods.draws import Draws
from ssimbad.methods.edm import EDMConfig
from ssimbad.methods.edm.model import EDM
from ssimbad.methods.schema import RefinementConfig, SamplingConfig
from ssimbad.noise.transforms import RATIONAL, Phi
from ssimbad.rng import torch_generator
from tests.conftest import SMALL_UNET, batch_of, draws_of, phase_of, tiny_values

PHI = Phi(RATIONAL, 0.1, 0.002, 80.0)


def make() -> EDM:
    section = EDMConfig(
        sigma_data=0.5,
        weighting="edm",
        structural=0.0,
        noise_scale=1.0,
        conditioning_dropout=0.0,
        p_mean=-1.2,
        p_std=1.2,
    )
    return EDM(section, SMALL_UNET, PHI)


def sampling(spacing: str, steps: int = 18) -> SamplingConfig:
    return SamplingConfig(
        sampler="heun", steps=steps, last_call=True, spacing=spacing, sigma_max=0.0, guidance=1.0
    )


def test_noise_levels_are_those_of_edms_equation_5() -> None:
    low, high = 0.002 ** (1 / 7), 80 ** (1 / 7)
    expected = [(high + i / 17 * (low - high)) ** 7 for i in range(18)]
    assert make().sigmas(sampling("own")).tolist() == pytest.approx([*expected, 0.0])
    # As the paper's figure has them of 50, every second one.
    fifty = make().sigmas(sampling("own", 50)).tolist()
    assert fifty[2:8:2] == pytest.approx([63.8, 50.5, 39.6], abs=0.05)


def test_another_spacing_can_be_asked_for() -> None:
    sigmas = make().sigmas(sampling("ln(sigma)", 5))
    steps = sigmas[:5].log().diff()
    torch.testing.assert_close(steps, steps[:1].expand(4))
    expected = Phi(RATIONAL, 0.3, 0.002, 80.0).sampling_sigmas(5)
    torch.testing.assert_close(make().sigmas(sampling("sigma/(sigma+0.3)", 5)), expected)


def test_sampling_may_start_below_the_highest_noise_level() -> None:
    lower = make().sigmas(sampling("own", 18).model_copy(update={"sigma_max": 10.0}))
    low, high = 0.002 ** (1 / 7), 10 ** (1 / 7)
    expected = [(high + i / 17 * (low - high)) ** 7 for i in range(18)]
    assert lower.tolist() == pytest.approx([*expected, 0.0])


def test_the_row_evenly_in_the_logarithm_samples_edms_own_checkpoint() -> None:
    run = Run("edm_log@7")
    assert (run.trained, run.pretrained, run.method) == ("edm@7", "edm@7", "edm")
    part = phase_of(tiny_values(), "infer", "edm_log").method
    assert isinstance(part, SamplingConfig)
    assert part.spacing == "ln(sigma)"


def test_refinement_is_spaced_as_sampling_is() -> None:
    method, batch = make(), batch_of(2)
    part = RefinementConfig(steps=3, single_step=0.0, last_call=False, checkpointing=False)
    with torch.no_grad():
        images = method.rollout(batch, draws_of(batch), part)
        sigmas = (80 ** (1 / 7) + torch.arange(3) / 3 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
        x = sigmas[0] * draws_of(batch).noise(batch.target)
        for sigma, following in zip(sigmas, [*sigmas[1:], torch.tensor(0.0)], strict=True):
            denoised = method.denoise(x, sigma, batch.condition())
            x = x + (following - sigma) * (x - denoised) / sigma
    torch.testing.assert_close(images, x, rtol=1e-4, atol=1e-4)


def test_training_draws_a_log_normal() -> None:
    logs = make().draw_sigma(Draws(torch_generator(0, "test"), 20_000)).log()
    assert logs.mean().item() == pytest.approx(-1.2, abs=0.03)
    assert logs.std().item() == pytest.approx(1.2, abs=0.03)


def test_the_network_is_told_a_quarter_of_the_logarithm() -> None:
    method, seen = make(), []
    method.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    batch = batch_of(1)
    method.denoise(batch.target, torch.tensor(0.3), batch.condition())
    assert seen[0].item() == pytest.approx(math.log(0.3) / 4, rel=1e-6)
