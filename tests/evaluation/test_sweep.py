"""Quality against network calls, and oracle guidance."""

import json
import math
import subprocess
import sys
from itertools import pairwise

import pytest
import torch

from ssimbad.data.schema import WarpConfig
from ssimbad.data.test_set import TestSet
from ssimbad.evaluation.metrics import psnr
from ssimbad.evaluation.oracle import guided_euler, oracle, ssim_distance
from ssimbad.evaluation.pairs import Networks
from ssimbad.evaluation.schema import OracleConfig, SweepConfig
from ssimbad.evaluation.sweep import sweep
from ssimbad.layout import Results
from ssimbad.methods import methods, model_of
from ssimbad.methods.base import TrainedMethod
from ssimbad.methods.denoising import DenoisingMethod
from ssimbad.methods.schema import SamplingConfig
from ssimbad.noise.transforms import RATIONAL, Phi
from ssimbad.schema import Section
from ssimbad.similarity import ssim
from tests.conftest import REPOSITORY, SMALL_UNET, batch_of, noise_of, tiny_values

WARP = WarpConfig(redraw_folds=True, rotation=0.0)
CPU = torch.device("cpu")
SAMPLING = SamplingConfig(sampler="euler", steps=3, last_call=False, spacing="own", guidance=1.0)


def make(name: str) -> TrainedMethod:
    kind = methods()[name]
    assert kind.section is not None
    values = {k: v for k, v in tiny_values()[name].items() if k in kind.section.model_fields}
    model = model_of(name)
    assert issubclass(model, TrainedMethod)
    torch.manual_seed(0)
    return model(kind.section.model_validate(values), SMALL_UNET, Phi(RATIONAL, 0.1, 0.002, 80.0))


def set_of(prepared: Results) -> TestSet:
    return TestSet(prepared.data, 42, WARP)


def networks() -> Networks:
    return Networks("auto", CPU)


@pytest.mark.parametrize(
    ("name", "calls"),
    [
        ("ssimbad", {"euler": [1, 3], "heun": [1, 5], "dpmpp_2m": [1, 3]}),
        ("animediffusion", {"ddim": [1, 3]}),
    ],
)
def test_every_sampler_is_swept_and_its_calls_are_counted(
    prepared: Results, name: str, calls: dict[str, list[int]]
) -> None:
    config = SweepConfig(rows=[], steps=[1, 3], images=2)
    kind = methods()[name].sampling
    assert kind is not None
    given = tiny_values()[name]["sampling"] | {"guidance": 1.0}
    records = sweep(
        make(name),
        kind.model_validate(given | ({"last_call": True} if name == "ssimbad" else {})),
        set_of(prepared),
        config,
        networks(),
        "test",
    )
    found: dict[str, list[float]] = {}
    for record in records:
        found.setdefault(record["sampler"], []).append(record["network_calls"])
        assert record["n"] == 2
        assert 0 < record["lpips"] < 2
    assert found == calls


def test_it_measures_what_sampling_so_gives(prepared: Results) -> None:
    test_set, method = set_of(prepared), make("ssimbad")
    config = SweepConfig(rows=[], steps=[3], images=2)
    records = sweep(method, SAMPLING, test_set, config, networks(), "test")
    (record,) = [r for r in records if r["sampler"] == "euler"]
    names = test_set.names[:2]
    sketch, reference = test_set.inputs(names, "same")
    with torch.inference_mode():
        images = method.eval().colorize(sketch, reference, test_set.noise(names, CPU), SAMPLING)
    truth = test_set.truth(names).float() / 255
    expected = psnr((images + 1) / 2, truth).mean().item()
    assert record["psnr"] == pytest.approx(expected, abs=0.01)


def guidance(scale: float, gradient: str, guide: str = "ssim") -> OracleConfig:
    return OracleConfig.model_validate(
        {"rows": [], "guide": guide, "gradient": gradient, "scale": scale, "images": 4}
    )


def plain_guided_step(method, condition, x, sigma, following, truth, weight):
    """The authors' algorithm for one image, written out."""
    x = x.clone().requires_grad_()
    total = sigma**2 + 0.25
    code = method.config.noise_scale * method.noise_code(sigma[None].double()).float()
    inner = method.network(torch.cat([x / total.sqrt(), condition], 1), code)
    denoised = 0.25 / total * x + sigma * 0.5 / total.sqrt() * inner
    euler = x + (following - sigma) * (x - denoised) / sigma
    grey = ((euler.clamp(-1, 1) + 1) / 2).mean(1, keepdim=True)
    grey_truth = ((truth + 1) / 2).mean(1, keepdim=True)
    taps = torch.tensor([math.exp(-((k - 5) ** 2) / (2 * 1.5**2)) for k in range(11)])
    window = torch.outer(taps, taps)[None, None] / taps.sum() ** 2
    blurred = lambda v: torch.nn.functional.conv2d(v, window)  # noqa: E731
    a, b = blurred(grey), blurred(grey_truth)
    aa, bb = blurred(grey**2) - a**2, blurred(grey_truth**2) - b**2
    ab = blurred(grey * grey_truth) - a * b
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * a * b + c1) * (2 * ab + c2) / ((a**2 + b**2 + c1) * (aa + bb + c2))
    (gradient,) = torch.autograd.grad(1 - similarity.mean(), x)
    return (euler - weight * gradient).detach()


@pytest.mark.parametrize("sigmas", [[2.0, 0.4, 0.0], [0.5, 0.0]])
def test_guided_inference_is_the_authors_algorithm(sigmas: list[float]) -> None:
    method, batch = make("ssimbad").eval().requires_grad_(False), batch_of(3)
    assert isinstance(method, DenoisingMethod)
    levels = torch.tensor(sigmas)
    start = levels[0] * noise_of(batch.names)(0)
    found = guided_euler(
        *(method, batch.condition(), start, levels, batch.target, ssim_distance),
        guidance(30_000.0, "network"),
    )
    for i in range(3):
        x = start[[i]]
        for sigma, following in pairwise(levels):
            x = plain_guided_step(
                *(method, batch.condition()[[i]], x, sigma, following, batch.target[[i]]),
                weight=30_000 * (16 / 256) ** 2,
            )
        torch.testing.assert_close(found[[i]], x.clamp(-1, 1), rtol=1e-3, atol=1e-3)
    unguided = guided_euler(
        *(method, batch.condition(), start, levels, batch.target, ssim_distance),
        guidance(0.0, "network"),
    )
    assert (found - unguided).abs().max() > 0.1


@pytest.mark.parametrize("gradient", ["network", "step"])
def test_a_guided_step_goes_towards_the_truth(gradient: str) -> None:
    method, batch = make("ssimbad").eval().requires_grad_(False), batch_of(3)
    assert isinstance(method, DenoisingMethod)
    sigmas = method.spacing.sampling_sigmas(3, False).float()
    start = sigmas[0] * noise_of(batch.names)(0)

    def sampled(scale: float) -> torch.Tensor:
        config = guidance(scale, gradient)
        return guided_euler(
            method, batch.condition(), start, sigmas, batch.target, ssim_distance, config
        )

    sampling: Section = SAMPLING
    plain = method.colorize(batch.sketch, batch.reference, noise_of(batch.names), sampling)
    assert torch.equal(sampled(0.0), plain)
    near = ssim((sampled(100.0 * 16**2) + 1) / 2, (batch.target + 1) / 2)
    far = ssim((plain + 1) / 2, (batch.target + 1) / 2)
    assert (near > far + 0.1).all()


@pytest.mark.parametrize("guide", ["ssim", "lpips"])
def test_the_oracle_beats_what_does_not_see_the_truth(prepared: Results, guide: str) -> None:
    test_set, method = set_of(prepared), make("ssimbad")
    assert isinstance(method, DenoisingMethod)

    def measured(scale: float) -> dict[tuple[str, str], float]:
        config = guidance(scale, "network", guide)
        records = oracle(method, SAMPLING, test_set, config, 200, networks(), "test")
        assert {(r["guide"], r["n"]) for r in records} == {(guide, 4)}
        return {(r["setting"], r["metric"]): r["value"] for r in records}

    plain, guided = measured(0.0), measured(50.0 * 8**2)
    metric, better = ("ms_ssim", 1) if guide == "ssim" else ("lpips", -1)
    for setting in ("same", "cross"):
        assert better * guided[setting, metric] > better * plain[setting, metric]


ADDED_SAMPLER = """
import json
import sys

from ssimbad.diffusion.samplers import SAMPLERS


def one_call(denoise, x, sigmas):
    return denoise(x, sigmas[0])


SAMPLERS["one_call"] = one_call

from ssimbad.layout import Results
from tests.conftest import phase_of, tiny_values
from tests.evaluation.test_sweep import SweepConfig, make, networks, set_of, sweep

values = tiny_values()
values["ssimbad"]["sampling"]["sampler"] = "one_call"
sampling = phase_of(values, "infer", "ssimbad").method
config = SweepConfig(rows=[], steps=[3], images=2)
test_set = set_of(Results(sys.argv[1]))
records = sweep(make("ssimbad"), sampling, test_set, config, networks(), "test")
print(json.dumps({record["sampler"]: record["network_calls"] for record in records}))
"""


def test_a_sampler_put_into_the_table_is_in_the_config_and_swept(prepared: Results) -> None:
    # Schemas are built when they are imported: in a process of its own.
    done = subprocess.run(
        [sys.executable, "-c", ADDED_SAMPLER, str(prepared.root)],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, done.stderr
    calls = json.loads(done.stdout)
    assert list(calls) == ["euler", "heun", "dpmpp_2m", "one_call"]
    assert calls["one_call"] == calls["euler"] / 3
