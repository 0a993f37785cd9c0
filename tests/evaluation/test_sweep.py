"""Quality against network calls, and oracle guidance."""

import pytest
import torch

from ssimbad.data.schema import WarpConfig
from ssimbad.data.store import Split, read_pairs
from ssimbad.evaluation.metrics import psnr
from ssimbad.evaluation.oracle import guided_euler, oracle, ssim_distance
from ssimbad.evaluation.schema import OracleConfig, SweepConfig
from ssimbad.evaluation.sweep import sweep
from ssimbad.inference import own_noise
from ssimbad.inference import test_inputs as inputs_of
from ssimbad.layout import Results
from ssimbad.methods import methods, model_of
from ssimbad.methods.base import TrainedMethod
from ssimbad.methods.denoising import DenoisingMethod
from ssimbad.methods.schema import SamplingConfig
from ssimbad.noise.transforms import RATIONAL, Phi
from ssimbad.schema import Section
from ssimbad.similarity import ssim
from tests.conftest import SMALL_UNET, batch_of, noise_of, tiny_values

WARP = WarpConfig(redraw_folds=True, rotation=0.0)
CPU = torch.device("cpu")
SAMPLING = SamplingConfig(sampler="euler", steps=3, last_call=False, guidance=1.0)


def make(name: str) -> TrainedMethod:
    kind = methods()[name]
    assert kind.section is not None
    assert issubclass(kind, TrainedMethod)
    values = {k: v for k, v in tiny_values()[name].items() if k in kind.section.model_fields}
    torch.manual_seed(0)
    return model_of(name)(
        kind.section.model_validate(values), SMALL_UNET, Phi(RATIONAL, 0.1, 0.002, 80.0)
    )


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
        Split(prepared.data, "test"),
        WARP,
        42,
        config,
        "auto",
        CPU,
        "test",
    )
    found: dict[str, list[float]] = {}
    for record in records:
        found.setdefault(record["sampler"], []).append(record["network_calls"])
        assert record["n"] == 2
        assert 0 < record["lpips"] < 2
    assert found == calls


def test_it_measures_what_sampling_so_gives(prepared: Results) -> None:
    split, method = Split(prepared.data, "test"), make("ssimbad")
    config = SweepConfig(rows=[], steps=[3], images=2)
    records = sweep(method, SAMPLING, split, WARP, 42, config, "auto", CPU, "test")
    (record,) = [r for r in records if r["sampler"] == "euler"]
    names = split.names[:2]
    sketch, reference = inputs_of(split, WARP, 42, names, names)
    noise = own_noise(42, names, split.size, CPU)
    with torch.inference_mode():
        images = method.eval().colorize(sketch, reference, noise, SAMPLING)
    truth = split.image_pixels([split.index[n] for n in names]).float() / 255
    expected = psnr((images + 1) / 2, truth).mean().item()
    assert record["psnr"] == pytest.approx(expected, abs=0.01)


def test_a_guided_step_goes_towards_the_truth() -> None:
    method, batch = make("ssimbad").eval().requires_grad_(False), batch_of(3)
    assert isinstance(method, DenoisingMethod)
    sigmas = method.spacing.sampling_sigmas(3, False).float()
    start = sigmas[0] * noise_of(batch.names)(0)

    def sampled(scale: float) -> torch.Tensor:
        return guided_euler(
            method, batch.condition(), start, sigmas, batch.target, ssim_distance, scale
        )

    sampling: Section = SAMPLING
    plain = method.colorize(batch.sketch, batch.reference, noise_of(batch.names), sampling)
    assert torch.equal(sampled(0.0), plain)
    near = ssim((sampled(100.0) + 1) / 2, (batch.target + 1) / 2)
    far = ssim((plain + 1) / 2, (batch.target + 1) / 2)
    assert (near > far + 0.1).all()


@pytest.mark.parametrize("guide", ["ssim", "lpips"])
def test_the_oracle_beats_what_does_not_see_the_truth(prepared: Results, guide: str) -> None:
    split = Split(prepared.data, "test")
    method = make("ssimbad")
    assert isinstance(method, DenoisingMethod)

    def measured(scale: float) -> dict[tuple[str, str], float]:
        config = OracleConfig(rows=[], guide=guide, scale=scale, images=4)
        partners = {"same": {n: n for n in split.names}, "cross": read_pairs(prepared.data)}
        records = oracle(
            method, SAMPLING, split, partners, WARP, 42, config, 200, "auto", CPU, "test"
        )
        assert {(r["guide"], r["n"]) for r in records} == {(guide, 4)}
        return {(r["setting"], r["metric"]): r["value"] for r in records}

    plain, guided = measured(0.0), measured(50.0)
    metric, better = ("ms_ssim", 1) if guide == "ssim" else ("lpips", -1)
    for setting in ("same", "cross"):
        assert better * guided[setting, metric] > better * plain[setting, metric]
