"""A step's randomness, and that processes which share its batch have it between them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ssimbad.distributed import SINGLE, World
from ssimbad.methods.draws import Draws
from ssimbad.rng import torch_generator

IMAGES = 7
ALLOWED = torch.rand(5, 5, generator=torch.Generator().manual_seed(0)) > 0.4
KINDS: dict[str, Callable[[Draws], Tensor]] = {
    "uniform": lambda draws: draws.uniform(3, 1, 1),
    "normal": lambda draws: draws.normal(),
    "integers": lambda draws: draws.integers(1000),
    "choice": lambda draws: draws.choice(ALLOWED),
}


def draws(world: World = SINGLE, images: int = IMAGES) -> Draws:
    return Draws(torch_generator(0, "test"), images, world)


@pytest.mark.parametrize("count", [2, 3])
def test_an_images_numbers_are_its_own_however_many_processes_share_the_batch(count: int) -> None:
    shares = [World(rank, rank, count, 1) for rank in range(count)]
    alone, parts = draws(), [draws(world) for world in shares]
    for name, draw in KINDS.items():
        drawn = draw(alone)
        assert len(drawn) == IMAGES
        assert torch.equal(torch.cat([draw(part) for part in parts]), drawn), name
    images = torch.rand(IMAGES, 3, 4, 4)
    own = [images[share.start : share.stop] for share in (w.share(IMAGES) for w in shares)]
    noise = torch.cat([part.noise(few) for part, few in zip(parts, own, strict=True)])
    assert torch.equal(noise, alone.noise(images))
    dropped = torch.cat([part.dropout(few, 0.5) for part, few in zip(parts, own, strict=True)])
    assert torch.equal(dropped, alone.dropout(images, 0.5))


def test_a_choice_is_of_what_is_allowed() -> None:
    chosen = draws(images=500).choice(ALLOWED)
    for row, allowed in enumerate(ALLOWED):
        assert set(chosen[:, row].tolist()) == set(allowed.nonzero().flatten().tolist())


def test_no_dropout_draws_nothing() -> None:
    with_it, without = draws(), draws()
    values = torch.ones(IMAGES, 4, 2, 2)
    assert torch.equal(with_it.dropout(values, 0.0), values)
    assert torch.equal(with_it.normal(), without.normal())
