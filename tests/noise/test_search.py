"""The search against the published protocol, which the benchmark writes plainly."""

import numpy as np
import pytest
import torch
from benchmarks.phi_search import plain_r2

from ssimbad.noise.schema import PhiConfig
from ssimbad.noise.search import C_RANGE, Search, mean_r2
from ssimbad.noise.transforms import RATIONAL, Phi

CONFIG = PhiConfig(sigma_min=0.002, sigma_max=80.0, choice="auto", images=2, size=32, points=10)


@pytest.fixture(scope="module")
def search() -> Search:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, 3, 4, 4, generator=generator) * 2 - 1
    images = torch.nn.functional.interpolate(coarse, size=(32, 32), mode="nearest")
    return Search(CONFIG, images, ["a", "b"], seed=3)


@pytest.mark.parametrize(("name", "c"), [(RATIONAL, 0.3), ("ln(sigma)", 0.0), ("1/sigma", 0.0)])
def test_r2_equals_the_plain_protocol(search: Search, name: str, c: float) -> None:
    phi = Phi(name, c, CONFIG.sigma_min, CONFIG.sigma_max)
    assert search.r2([phi]) == pytest.approx([plain_r2(search, phi)], abs=1e-5)


def test_r2_of_a_line_is_one_and_of_a_parabola_is_known() -> None:
    axis = np.linspace(-1, 1, 2001)
    assert mean_r2(axis, np.stack([3 - 2 * axis, axis])) == pytest.approx(1)
    assert mean_r2(axis, (axis**2)[None]) == pytest.approx(0, abs=1e-9)


def test_refined_c_is_no_worse_than_any_candidate_of_its_family(search: Search) -> None:
    ranking = search.ranking()
    assert len(ranking) == 23
    best, r2 = ranking[0]
    assert [score for _, score in ranking] == sorted((s for _, s in ranking), reverse=True)
    refined, score = search.refine_c()
    assert C_RANGE[0] <= refined.c <= C_RANGE[1]
    family = [s for phi, s in ranking if phi.name == RATIONAL]
    assert score >= max(family) - 1e-4
    assert search.r2([best]) == [r2]


def test_noise_belongs_to_the_image_not_to_its_place(search: Search) -> None:
    swapped = Search(CONFIG, search.images.flip(0), ["b", "a"], seed=3)
    assert torch.equal(swapped.noise[0], search.noise[1])
    phi = Phi(RATIONAL, 0.3, CONFIG.sigma_min, CONFIG.sigma_max)
    assert swapped.r2([phi]) == pytest.approx(search.r2([phi]), abs=1e-9)


def test_curves_cover_each_spacing_from_clean_to_noise(search: Search) -> None:
    curves = search.curves(Phi(RATIONAL, 0.3, CONFIG.sigma_min, CONFIG.sigma_max))
    assert [c.spacing for c in curves] == ["DDPM", "EDM", "SSIMBaD"]
    edm = curves[1]
    low, high = CONFIG.sigma_min ** (1 / 7), CONFIG.sigma_max ** (1 / 7)
    assert edm.axis == pytest.approx(np.linspace(low, high, CONFIG.points))
    assert edm.sigmas == pytest.approx(np.linspace(low, high, CONFIG.points) ** 7)
    assert edm.r2 == pytest.approx(plain_r2(search, Phi("sigma^(1/7)", 0.0, 0.002, 80.0)), abs=1e-5)
    for curve in curves:
        assert (np.diff(curve.sigmas) > 0).all()
        assert curve.ssim[:, 0].min() > 0.9
        assert curve.ssim[:, -1].max() < 0.5
