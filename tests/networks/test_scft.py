"""SCFT's published sizes and its attention."""

import math

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
    sketch, reference = torch.rand(2, 1, 64, 64), torch.rand(2, 3, 64, 64)
    images, query, key = generator(sketch, reference)
    assert images.shape == (2, 3, 64, 64)
    assert images.abs().max() <= 1
    assert query.shape == key.shape == (2, 16, 124)
    assert Discriminator(2)(images, sketch).shape == (2, 1, 4, 4)
    tokens, maps = Encoder(1, 2)(sketch)
    assert tokens.shape == (2, 124, 4, 4)
    assert [m.shape[-1] for m in maps] == [64, 64, 32, 32, 16, 16, 8, 8, 4, 4]


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
