"""What a method's network does for an image."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ssimbad.inference import counted_calls, flops_per_image
from ssimbad.methods import methods, model_of
from ssimbad.noise.transforms import Phi
from tests.conftest import SMALL_UNET, noise_of, tiny_values

SIZE = 16
PHI = Phi("sigma/(sigma+c)", 0.3, 0.002, 80.0)


@pytest.mark.parametrize(
    ("name", "sampling", "calls"),
    [
        ("regression", {}, 1),
        ("scft", {}, 1),
        ("ssimbad", {"sampler": "heun", "steps": 3, "last_call": True, "guidance": 1.0}, 5),
        ("edm", {"steps": 7, "guidance": 2.0}, 14),
        ("animediffusion", {"steps": 3, "guidance": 1.0}, 3),
        ("reference", {}, 0),
    ],
)
def test_flops_are_those_that_torch_counts_in_an_image(
    name: str, sampling: dict, calls: int
) -> None:
    declared, values = methods()[name], tiny_values().get(name, {})
    section = declared.section and declared.section.model_validate(
        {key: values[key] for key in declared.section.model_fields}
    )
    part = declared.sampling and declared.sampling.model_validate(values["sampling"] | sampling)
    given = () if name == "reference" else (section, SMALL_UNET, PHI)
    method = model_of(name)(*given).eval()
    sketch, reference = torch.zeros(1, 1, SIZE, SIZE), torch.zeros(1, 3, SIZE, SIZE)
    with (
        torch.no_grad(),
        sdpa_kernel(SDPBackend.MATH),  # in products that torch counts
        counted_calls(method) as counted,
        FlopCounterMode(display=False) as counter,
    ):
        method.colorize(sketch, reference, noise_of(["image"], SIZE), part)
    assert sum(counted) == calls
    assert flops_per_image(method, part, SIZE) == counter.get_total_flops()
    # Nothing of the method is changed by it.
    assert method.backbone is None or "forward" not in vars(method.backbone)
