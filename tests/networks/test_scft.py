"""SCFT's published sizes and its attention."""

import math

import pytest
import torch

from ssimbad.networks.scft import Attention, Discriminator, Encoder, Generator
from ssimbad.networks.schema import SCFTConfig


def count(*modules: torch.nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def test_parameters_at_the_papers_size() -> None:
    with torch.device("meta"):
        generator = Generator(SCFTConfig(width=16, blocks=4))
    assert count(generator) == 82_926_195
    assert count(generator.reference_encoder) == 1_180_752
    assert count(generator.sketch_encoder) == 1_180_464
    assert count(generator.attention) == 2_955_168
    assert count(generator.blocks) == 70_876_416
    assert count(generator.decoder, generator.output) == 6_733_395
    assert count(Discriminator(16)) == 99_217


def test_shapes() -> None:
    generator = Generator(SCFTConfig(width=2, blocks=1)).eval()
    sketch, reference = torch.rand(2, 1, 256, 256), torch.rand(2, 3, 256, 256)
    images, query, key = generator(sketch, reference)
    assert images.shape == (2, 3, 256, 256)
    assert images.abs().max() <= 1
    assert query.shape == key.shape == (2, 256, 124)
    assert Discriminator(2)(images, sketch).shape == (2, 1, 16, 16)
    tokens, maps = Encoder(1, 2)(sketch)
    assert tokens.shape == (2, 124, 16, 16)
    assert [m.shape[-1] for m in maps] == [256, 256, 128, 128, 64, 64, 32, 32, 16, 16]


@pytest.mark.parametrize(
    ("size", "side"), [(32, 16), (48, 24), (64, 16), (96, 24), (128, 16), (512, 32)]
)
@torch.no_grad()
def test_it_attends_over_16_by_16_tokens_at_least(size: int, side: int) -> None:
    generator = Generator(SCFTConfig(width=1, blocks=1)).eval()
    sketch, reference = torch.rand(1, 1, size, size), torch.rand(1, 3, size, size)
    images, query, _ = generator(sketch, reference)
    assert images.shape == (1, 3, size, size)
    assert query.shape == (1, side**2, 62)
    assert Discriminator(1)(images, sketch).shape == (1, 1, side, side)


@torch.no_grad()
def test_at_the_published_size_the_strided_convolutions_are_the_published_ones() -> None:
    torch.manual_seed(0)
    encoder, discriminator = Encoder(1, 1).eval(), Discriminator(1).eval()
    image, sketch = torch.rand(1, 3, 256, 256), torch.rand(1, 1, 256, 256)
    x = sketch
    for number, layer in enumerate(encoder.layers, 1):
        layer[0].stride = (2, 2) if number in (3, 5, 7, 9) else (1, 1)
        x = layer(x)
    torch.testing.assert_close(encoder(sketch)[1][-1], x)
    judged = torch.cat([image, sketch], 1)
    for number, layer in enumerate(discriminator.layers):
        if isinstance(layer, torch.nn.Conv2d) and number < 12:
            layer.stride = (2, 2)
        judged = layer(judged)
    torch.testing.assert_close(discriminator(image, sketch), judged)


@torch.no_grad()
def test_the_blocks_have_an_outer_skip() -> None:
    torch.manual_seed(0)
    generator = Generator(SCFTConfig(width=1, blocks=2)).eval()
    seen = {}
    generator.blocks.register_forward_hook(lambda _, given, made: seen.update(x=given[0], y=made))
    generator.decoder[0].register_forward_pre_hook(lambda _, given: seen.update(h=given[0]))
    generator(torch.rand(1, 1, 32, 32), torch.rand(1, 3, 32, 32))
    assert torch.equal(seen["h"], torch.cat([seen["y"] + seen["x"], seen["x"]], 1))


def test_attention_is_the_direct_computation() -> None:
    torch.manual_seed(0)
    attention = Attention(12)
    sketch, reference = torch.randn(2, 5, 12), torch.randn(2, 5, 12)
    read, q, k = attention(sketch, reference)
    for b in range(2):
        for i in range(5):
            query = attention.query.weight @ sketch[b, i] + attention.query.bias
            torch.testing.assert_close(q[b, i], query)
            keys = [attention.key.weight @ r + attention.key.bias for r in reference[b]]
            torch.testing.assert_close(k[b], torch.stack(keys))
            scores = torch.stack([(query @ key) / math.sqrt(12) for key in keys])
            weights = scores.exp() / scores.exp().sum()
            values = [attention.value.weight @ r + attention.value.bias for r in reference[b]]
            expected = sum(w * v for w, v in zip(weights, values, strict=True))
            torch.testing.assert_close(read[b, i], expected)


def test_the_sketch_reads_what_the_reference_holds_wherever_it_lies() -> None:
    torch.manual_seed(0)
    attention = Attention(6)
    sketch, reference = torch.randn(1, 9, 6), torch.randn(1, 9, 6)
    moved = reference[:, torch.randperm(9)]
    torch.testing.assert_close(attention(sketch, reference)[0], attention(sketch, moved)[0])
