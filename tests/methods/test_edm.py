"""What sets vanilla EDM apart from SSIMBaD."""

import math

import pytest
import torch

from ssimbad.methods.draws import Draws
from ssimbad.methods.edm import EDMConfig
from ssimbad.methods.edm.model import EDM
from ssimbad.noise.transforms import RATIONAL, Phi
from ssimbad.rng import torch_generator
from tests.conftest import SMALL_UNET, batch_of

PHI = Phi(RATIONAL, 0.1, 0.002, 80.0)


def make() -> EDM:
    section = EDMConfig(
        sigma_data=0.5,
        weighting="edm",
        structural=0.0,
        noise_scale=400.0,
        conditioning_dropout=0.0,
        p_mean=-1.2,
        p_std=1.2,
    )
    return EDM(section, SMALL_UNET, PHI)


def test_sampling_is_spaced_evenly_in_the_logarithm() -> None:
    sigmas = make().spacing.sampling_sigmas(5)
    assert sigmas[0].item() == pytest.approx(80)
    assert sigmas[4].item() == pytest.approx(0.002)
    steps = sigmas[:5].log().diff()
    torch.testing.assert_close(steps, steps[:1].expand(4))


def test_training_draws_a_log_normal() -> None:
    logs = make().draw_sigma(Draws(torch_generator(0, "test"), 20_000)).log()
    assert logs.mean().item() == pytest.approx(-1.2, abs=0.03)
    assert logs.std().item() == pytest.approx(1.2, abs=0.03)


def test_the_network_is_told_a_quarter_of_the_logarithm() -> None:
    method, seen = make(), []
    method.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    batch = batch_of(1)
    method.denoise(batch.target, torch.tensor(0.3), batch.condition())
    assert seen[0].item() == pytest.approx(400 * math.log(0.3) / 4, rel=1e-6)
