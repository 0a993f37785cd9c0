"""φ and its inverses against closed forms."""

import math

import pytest
import torch

from ssimbad.noise.transforms import EDM, RATIONAL, Phi, candidates, parse

LOW, HIGH = 0.002, 80.0
CANDIDATES = candidates(LOW, HIGH)
EVERY = [*CANDIDATES, Phi(EDM, 0.0, LOW, HIGH)]


def test_there_are_twenty_two_distinct_candidates() -> None:
    assert len({(phi.name, phi.c) for phi in CANDIDATES}) == 22
    assert EDM not in {phi.name for phi in CANDIDATES}
    curves = torch.stack([phi(torch.tensor([0.01, 0.1, 1.0, 5.0])) for phi in CANDIDATES])
    assert len(torch.unique(curves, dim=0)) == 22


@pytest.mark.parametrize("phi", EVERY, ids=Phi.label)
def test_phi_of_inverse_is_identity_on_the_whole_range(phi: Phi) -> None:
    first, last = phi.bounds()
    values = torch.lerp(first, last, torch.linspace(0, 1, 1001, dtype=torch.float64))
    torch.testing.assert_close(phi(phi.inverse(values)), values, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("phi", EVERY, ids=Phi.label)
def test_inverse_of_phi_is_identity_where_float64_can_tell(phi: Phi) -> None:
    top = {"tanh(sigma)": 10.0, "sigmoid(sigma)": 20.0}.get(phi.name, HIGH)
    sigma = torch.logspace(math.log10(LOW), math.log10(top), 500, dtype=torch.float64)
    torch.testing.assert_close(phi.inverse(phi(sigma)), sigma, rtol=1e-6, atol=0)


@pytest.mark.parametrize("phi", EVERY, ids=Phi.label)
def test_grids_keep_both_endpoints_exactly_and_fall(phi: Phi) -> None:
    sigmas = phi.sampling_sigmas(50)
    assert (sigmas[0], sigmas[-2], sigmas[-1]) == (HIGH, LOW, 0)
    assert (sigmas.diff() < 0).all()


@pytest.mark.parametrize("phi", EVERY, ids=Phi.label)
def test_grids_without_the_last_call_only_leave_it_out(phi: Phi) -> None:
    with_it, without = phi.sampling_sigmas(5), phi.sampling_sigmas(4, last_call=False)
    torch.testing.assert_close(without, with_it[[0, 1, 2, 3, 5]])


def test_the_papers_grid() -> None:
    sigmas = Phi(RATIONAL, 0.3, LOW, HIGH).sampling_sigmas(50).tolist()
    assert [round(s, 1) for s in sigmas[:2]] == [80.0, 12.2]
    assert [round(s, 2) for s in sigmas[2:4]] == [6.50, 4.36]
    assert round(sigmas[48], 4) == 0.0083


def test_median_of_the_papers_training_noise() -> None:
    phi = Phi(RATIONAL, 0.3, LOW, HIGH)
    assert phi.uniform(torch.tensor(0.5)).item() == pytest.approx(0.302, abs=5e-4)


@pytest.mark.parametrize("phi", EVERY, ids=Phi.label)
def test_labels_are_read_back(phi: Phi) -> None:
    assert parse(phi.label()) == (phi.name, phi.c)


@pytest.mark.parametrize("text", ["erf(sigma)", "sigma/(sigma+c)", "sigma/(sigma+0)", ""])
def test_unknown_labels_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be auto"):
        parse(text)
