"""Quality against network calls, and oracle guidance."""

import json
import math
import subprocess
import sys
from itertools import pairwise

import pytest
import torch

from ssimbad.data.image_set import ImageSet
from ssimbad.data.schema import WarpConfig
from ssimbad.evaluation.metrics import psnr
from ssimbad.evaluation.oracle import guided_euler, oracle, ssim_distance
from ssimbad.evaluation.pairs import Networks
from ssimbad.evaluation.schema import OracleConfig, SearchConfig
from ssimbad.evaluation.sweep import Trial, choose, records_of, search, sweep
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
SAMPLING = SamplingConfig(
    sampler="euler", steps=3, last_call=False, spacing="own", sigma_max=0.0, guidance=1.0
)


def make(name: str) -> TrainedMethod:
    kind = methods()[name]
    assert kind.section is not None
    values = {k: v for k, v in tiny_values()[name].items() if k in kind.section.model_fields}
    model = model_of(name)
    assert issubclass(model, TrainedMethod)
    torch.manual_seed(0)
    return model(kind.section.model_validate(values), SMALL_UNET, Phi(RATIONAL, 0.1, 0.002, 80.0))


def set_of(prepared: Results, split: str = "validation") -> ImageSet:
    return ImageSet(prepared.data, split, 42, WARP)


def networks() -> Networks:
    return Networks("auto", CPU)


def sweep_config(**changes: object) -> SearchConfig:
    values = tiny_values()["sweep"] | {"vary": {}, "steps": [1, 3], "calls": 1000}
    del values["rows"]
    return SearchConfig.model_validate(values | {"common_calls": 1} | changes)


def swept(
    method: TrainedMethod, sampling: Section, faces: ImageSet, **changes: object
) -> list[Trial]:
    return sweep(method, sampling, faces, sweep_config(**changes), 2, networks(), "test")


@pytest.mark.parametrize(
    ("name", "calls"),
    [
        ("ssimbad", {"euler": [1, 3], "heun": [1, 5], "dpmpp_2m": [1, 3]}),
        ("animediffusion", {"ddim": [1, 3]}),
    ],
)
def test_every_sampler_is_swept_unguided_and_its_calls_are_counted(
    prepared: Results, name: str, calls: dict[str, list[int]]
) -> None:
    kind = methods()[name].sampling
    assert kind is not None
    given = tiny_values()[name]["sampling"] | {"guidance": 1.5}
    sampling = kind.model_validate(given | ({"last_call": True} if name == "ssimbad" else {}))
    trials = swept(make(name), sampling, set_of(prepared))
    records = records_of(trials, trials[0], 2)
    found: dict[str, list[float]] = {}
    first = next(iter(calls))
    for record in records:
        if record["setting"] == "same":
            found.setdefault(record["sampler"], []).append(record["network_calls"])
        assert record["guidance"] == 1
        assert record["chosen"] == ((record["sampler"], record["steps"]) == (first, 1))
        assert 0 < record["lpips"] < 2
    assert found == calls
    assert len(records) == 2 * len(trials)


def test_it_measures_what_sampling_so_gives_in_every_setting(prepared: Results) -> None:
    images, method = set_of(prepared), make("ssimbad")
    trials = swept(method, SAMPLING, images, steps=[3], images=3)  # two batches
    (trial,) = [t for t in trials if t.sampling == SAMPLING]
    names = images.names[:3]
    # Of the settings with the same references, the one whose truth is exact.
    cross = [name for name in images.partners if name.startswith("cross")]
    assert list(trial.measured) == ["same", cross[-1]]
    for setting, measured in trial.measured.items():
        sketch, reference = images.inputs(names, setting)
        with torch.inference_mode():
            made = method.eval().colorize(sketch, reference, images.noise(names, CPU), SAMPLING)
        truth = images.truth(names, setting).float() / 255
        expected = psnr((made + 1) / 2, truth).mean().item()
        assert measured["psnr"] == pytest.approx(expected, abs=0.01)
    assert trial.value("psnr") == pytest.approx(sum(m["psnr"] for m in trial.measured.values()) / 2)


class Toy(Section):
    """A way of sampling whose quality is known."""

    sampler: str
    steps: int
    guidance: float
    sigma_max: float


TOY = Toy(sampler="euler", steps=7, guidance=3.0, sigma_max=80.0)


def toy(tried: Section) -> tuple[float, dict[str, dict[str, float]]]:
    """LPIPS is least with dpmpp_2m, 10 steps, guidance 1.5 and σ_max 10."""
    assert isinstance(tried, Toy)
    lpips = 0.1 + 0.02 * abs(tried.steps - 10) + 0.05 * (tried.sampler != "dpmpp_2m")
    lpips += 0.04 * abs(tried.guidance - 1.5) + 0.001 * abs(tried.sigma_max - 10)
    calls = (2 * tried.steps - 1 if tried.sampler == "heun" else tried.steps) * (
        1 if tried.guidance == 1 else 2
    )
    # The settings differ, their mean is what counts.
    return calls, {"same": {"lpips": lpips - 0.05}, "cross": {"lpips": lpips + 0.05}}


VARY = {"guidance": [1.5, 2.0], "sigma_max": [10.0, 20.0], "eta": [0.0]}


def test_the_search_finds_the_best_way_of_sampling() -> None:
    config = sweep_config(steps=[1, 2, 5, 10, 20, 50], vary=VARY)
    trials = search(toy, TOY, config)
    found = choose(trials, "lpips", 0.01)
    assert found.sampling == Toy(sampler="dpmpp_2m", steps=10, guidance=1.5, sigma_max=10.0)
    assert found.value("lpips") == pytest.approx(0.1)
    ways = [trial.sampling for trial in trials]
    assert all(ways.count(way) == 1 for way in ways)
    first = [t for t in trials if t.varied == "steps"]
    assert all((t.sampling.guidance, t.sampling.sigma_max) == (1, 80) for t in first)
    assert [t.varied for t in trials] == sorted(
        (t.varied for t in trials), key=["steps", "guidance", "sigma_max"].index
    )
    # Far fewer than the product of all values, and 50 steps not at all after 20 brought nothing.
    assert len(trials) < 6 * 3 * 3 * 3 / 4


def test_a_sampler_that_no_longer_gains_is_given_up() -> None:
    def flat(tried: Section) -> tuple[float, dict[str, dict[str, float]]]:
        steps = getattr(tried, "steps", 0)
        return steps, {"same": {"lpips": 0.2 if steps < 2 else 0.1}}

    trials = search(flat, TOY, sweep_config(steps=[1, 2, 5, 10, 20], common_calls=20))
    steps = [getattr(t.sampling, "steps", 0) for t in trials]
    # 5 and 10 are no better than 2; the common number of calls is tried all the same.
    assert sorted(set(steps)) == [1, 2, 5, 10, 20]
    trials = search(flat, TOY, sweep_config(steps=[1, 2, 5, 10, 20]))
    assert sorted({getattr(t.sampling, "steps", 0) for t in trials}) == [1, 2, 5, 10]
    # Of what is equally good, the fewest calls.
    assert choose(trials, "lpips", 0.0).calls == 2


def test_no_way_is_begun_once_the_budget_of_calls_is_used_up() -> None:
    for budget in (1, 10, 60, 200):
        config = sweep_config(steps=[1, 2, 5, 10, 20, 50], vary=VARY, calls=budget)
        trials = search(toy, TOY, config)
        spent = [sum(t.calls for t in trials[:k]) for k in range(len(trials))]
        steps = [t.varied == "steps" for t in trials]
        assert all(
            s < (budget / 2 if first else budget) or t.sampling.steps == config.common_calls
            for s, first, t in zip(spent, steps, trials, strict=True)
        )


@pytest.mark.parametrize(
    ("metric", "values", "tolerance", "expected"),
    [
        ("lpips", {50: 0.100, 2: 0.1009, 1: 0.1011}, 0.01, 2),
        ("lpips", {50: 0.100, 2: 0.1009, 1: 0.1011}, 0.0, 50),
        ("psnr", {50: 20.0, 2: 19.81, 1: 19.79}, 0.01, 2),
        ("psnr", {50: 20.0, 2: 19.0, 1: 18.0}, 0.01, 50),
    ],
)
def test_near_ties_go_to_fewer_calls(
    metric: str, values: dict[int, float], tolerance: float, expected: int
) -> None:
    trials = [Trial(TOY, "steps", calls, {"same": {metric: v}}) for calls, v in values.items()]
    assert choose(trials, metric, tolerance).calls == expected


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
    test_set, method = set_of(prepared, "test"), make("ssimbad")
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
from tests.evaluation.test_sweep import make, set_of, swept

values = tiny_values()
values["ssimbad"]["sampling"]["sampler"] = "one_call"
sampling = phase_of(values, "infer", "ssimbad").method
trials = swept(make("ssimbad"), sampling, set_of(Results(sys.argv[1])), steps=[3])
print(json.dumps({t.sampling.sampler: t.calls for t in trials if t.sampling.steps == 3}))
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
