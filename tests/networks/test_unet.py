"""The U-Net's published size and what its pieces do."""

import math

import pytest
import torch
from pydantic import ValidationError

from ssimbad.networks.schema import UNetConfig
from ssimbad.networks.unet import Attention, ResidualBlock, UNet, sinusoidal_embedding

PUBLISHED = {
    "width": 64,
    "multipliers": [1, 2, 4, 8],
    "blocks": 2,
    "attention": [],
    "heads": 4,
    "groups": 32,
    "zero_init": False,
}


def count(*modules: torch.nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def test_parameters_at_the_papers_size() -> None:
    with torch.device("meta"):
        network = UNet(UNetConfig(**PUBLISHED), inputs=7, outputs=3)
    assert count(network) == 52_301_251
    assert count(network.time) == 82_432
    assert count(network.input) == 512
    assert count(network.encoder) == 11_662_464
    assert count(network.middle1, network.middle_attention, network.middle2) == 10_495_488
    assert count(network.decoder) == 30_060_032
    assert count(network.output) == 323


def test_embedding_has_period_1000_and_cosines_first() -> None:
    embedding = sinusoidal_embedding(torch.tensor([0.0, 2.5]))
    assert embedding[0].tolist() == [1.0] * 32 + [0.0] * 32
    assert embedding[1, 31].item() == pytest.approx(math.cos(2.5 * 1000 ** (-31 / 32)))
    assert embedding[1, 32].item() == pytest.approx(math.sin(2.5))


@pytest.mark.parametrize(("blocks", "attention"), [(1, []), (2, [1, 2])])
def test_shape_and_dependence_on_every_input(blocks: int, attention: list[int]) -> None:
    torch.manual_seed(0)
    config = UNetConfig(
        width=8,
        multipliers=[1, 2, 3],
        blocks=blocks,
        attention=attention,
        heads=2,
        groups=4,
        zero_init=False,
    )
    network = UNet(config, inputs=7, outputs=3)
    x = torch.randn(2, 7, 16, 16, requires_grad=True)
    out = network(x, torch.tensor([0.1, 0.9]))
    assert out.shape == (2, 3, 16, 16)
    (gradient,) = torch.autograd.grad(out[0].abs().sum(), x)
    assert (gradient[0].abs().amax((1, 2)) > 0).all()
    assert (gradient[1] == 0).all()
    assert not torch.allclose(network(x, torch.tensor([0.5, 0.9]))[0], out[0])


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_attention_is_the_textbooks_in_either_layout(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    attention = Attention(8, 2, 4).to(memory_format=layout)
    x = torch.randn(2, 8, 3, 5).to(memory_format=layout)
    q, k, v = attention.qkv(attention.norm(x)).reshape(2, 3, 2, 4, 15).unbind(1)
    weights = (torch.einsum("bhdi,bhdj->bhij", q, k) / math.sqrt(4)).softmax(-1)
    expected = x + torch.einsum("bhij,bhdj->bhdi", weights, v).reshape(2, 8, 3, 5)
    torch.testing.assert_close(attention(x), expected)


@pytest.mark.parametrize("zero_init", [True, False])
def test_zero_initialised_blocks_start_as_their_shortcuts(zero_init: bool) -> None:
    torch.manual_seed(0)
    config = UNetConfig(**(PUBLISHED | {"width": 8, "groups": 4, "zero_init": zero_init}))
    network = UNet(config, inputs=7, outputs=3)
    blocks = [module for module in network.modules() if isinstance(module, ResidualBlock)]
    assert len(blocks) == 21
    for block in blocks:
        x, embedding = torch.randn(1, block.conv1.in_channels, 4, 4), torch.randn(1, 256)
        assert torch.equal(block(x, embedding), block.shortcut(x)) == zero_init


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": 3}, "multiple"),
        ({"attention": [4]}, "no level 4"),
        ({"multipliers": [0]}, "positive"),
    ],
)
def test_impossible_sizes_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        UNetConfig(**(PUBLISHED | change))
