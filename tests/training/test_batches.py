"""Batches by step."""

import torch

from ssimbad.data.schema import WarpConfig
from ssimbad.data.store import Split
from ssimbad.data.warp import warp
from ssimbad.layout import Results
from ssimbad.training.batches import EvaluationBatches, Prefetched, TrainingBatches

WARP = WarpConfig(redraw_folds=True, rotation=0.0)


def test_every_epoch_shows_every_image_once_in_another_order(prepared: Results) -> None:
    split = Split(prepared.data, "train")
    batches = TrainingBatches(split, WARP, 1, 8, "train")
    epochs = [
        [n for step in range(3 * e, 3 * e + 3) for n in batches[step].names] for e in range(3)
    ]
    for epoch in epochs:
        assert sorted(epoch) == sorted(split.names)
    assert epochs[0] != epochs[1] != epochs[2]


def test_a_batch_is_a_function_of_its_step(prepared: Results) -> None:
    split = Split(prepared.data, "train")
    batches = TrainingBatches(split, WARP, 1, 5, "train")
    later = batches[7]
    fresh = TrainingBatches(split, WARP, 1, 5, "train")[7]
    assert later.names == fresh.names
    assert torch.equal(later.reference, fresh.reference)
    assert later.names != TrainingBatches(split, WARP, 2, 5, "train")[7].names
    assert later.names != TrainingBatches(split, WARP, 1, 5, "refine")[7].names


def test_evaluation_covers_the_split_in_order_with_fixed_warps(prepared: Results) -> None:
    split = Split(prepared.data, "test")
    four, six = (list(EvaluationBatches(split, WARP, 1, size)) for size in (4, 6))
    assert [name for batch in four for name in batch.names] == split.names == six[0].names
    assert torch.equal(torch.cat([batch.reference for batch in four]), six[0].reference)
    assert six[0].target.min() >= -1
    assert not torch.equal(six[0].reference, six[0].target)


def test_a_share_of_references_is_redrawn_each_image_and_epoch_its_own(prepared: Results) -> None:
    split = Split(prepared.data, "train")
    still = WARP.model_copy(update={"redraw_folds": False})
    plain = TrainingBatches(split, still, 1, 8, "train")
    mixed = TrainingBatches(split, still, 1, 8, "train", redrawn=0.5)
    seen: dict[str, set[bool]] = {}
    count = 0
    for step in range(12):
        expected, batch = plain[step], mixed[step]
        assert torch.equal(batch.target, expected.target)
        assert torch.equal(batch.warp, expected.warp)
        assert batch.redrawn is not None
        others, _ = warp(
            split.reference_pixels([split.index[n] for n in batch.names], [True] * 8),
            mixed.raw(step).controls,
            torch.device("cpu"),
        )
        for k, name in enumerate(batch.names):
            own = others if batch.redrawn[k] else expected.reference
            assert torch.equal(batch.reference[k], own[k])
            seen.setdefault(name, set()).add(bool(batch.redrawn[k]))
        count += int(batch.redrawn.sum())
    assert 0.3 < count / 96 < 0.7
    assert sum(len(kinds) == 2 for kinds in seen.values()) > 12
    assert not any(plain[step].redrawn.any() for step in range(3))  # type: ignore[union-attr]
    assert not any(batch.redrawn.any() for batch in EvaluationBatches(split, WARP, 1, 8))


def test_prefetched_batches_are_the_same(prepared: Results) -> None:
    batches = TrainingBatches(Split(prepared.data, "train"), WARP, 1, 5, "train", redrawn=0.5)
    prefetched = Prefetched(batches, range(2, 6), torch.device("cpu"))
    made = list(prefetched)
    assert len(made) == len(prefetched) == 4
    for step, batch in zip(range(2, 6), made, strict=True):
        expected = batches[step]
        assert batch.names == expected.names
        for key in ("sketch", "reference", "target", "warp", "redrawn"):
            assert torch.equal(getattr(batch, key), getattr(expected, key))
    assert list(Prefetched(batches, range(3, 3), torch.device("cpu"))) == []
