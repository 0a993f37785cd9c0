"""Operations and live memory of code that runs on tensors without data.

Parameters and images are fake tensors (``torch._subclasses``): they have shapes, types and storages but
no bytes, so a network of any size is run through its real code in seconds. What the code computes
outside them, such as noise levels and samplers' branches on them, stays real.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry
from torch.utils.weak import WeakIdKeyDictionary

Arithmetic = Literal["half", "convolution", "matmul"]
"""16-bit products; convolutions, and other products, of 32-bit numbers. GPUs differ in their speed."""

_CONVOLUTIONS = (torch.ops.aten.convolution, torch.ops.aten.convolution_backward)
# What a CPU's attention is called; the formulas are the same.
_ALIASES = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: (
        torch.ops.aten._scaled_dot_product_flash_attention
    ),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        torch.ops.aten._scaled_dot_product_flash_attention_backward
    ),
}


@dataclass(frozen=True)
class Cost:
    """What some code costs.

    Attributes:
        flops: floating-point operations by arithmetic; a multiplication and an addition are two. Only
            convolutions, matrix products and attention count, as is usual.
        peak: most bytes of tensors alive at once.
    """

    flops: Counter[Arithmetic] = field(default_factory=Counter)
    peak: int = 0

    @property
    def total(self) -> int:
        """Floating-point operations of every kind."""
        return sum(self.flops.values())

    def times(self, factor: float) -> Cost:
        """Done again and again."""
        return Cost(Counter({k: round(v * factor) for k, v in self.flops.items()}), self.peak)

    def minus(self, other: Cost) -> Cost:
        """What this costs more than ``other``."""
        flops = {kind: count - other.flops[kind] for kind, count in self.flops.items()}
        return Cost(Counter(flops), self.peak - other.peak)

    def then(self, other: Cost) -> Cost:
        """Both, one after the other."""
        return Cost(self.flops + other.flops, max(self.peak, other.peak))


class Meter(TorchDispatchMode):
    """Within it, operations are counted and the bytes of live tensors' storages followed.

    Args:
        known: tensors that are alive already.

    Attributes:
        flops: floating-point operations so far, by arithmetic.
        live, peak: bytes alive now, and at most so far.
    """

    def __init__(self, known: Any = ()) -> None:
        super().__init__()
        self.flops: Counter[Arithmetic] = Counter()
        self.live = self.peak = 0
        self._seen: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._follow(known)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        self._follow(args)  # what is first met as an input was alive before
        out = func(*args, **kwargs)
        self._follow(out)
        packet = func.overloadpacket
        if formula := flop_registry.get(_ALIASES.get(packet, packet)):
            factor = next(a for a in args if isinstance(a, Tensor))
            self.flops[_arithmetic(packet, factor)] += formula(*args, **kwargs, out_val=out)
        return out

    def _follow(self, tensors: Any) -> None:
        for tensor in tree_leaves(tensors):
            if not isinstance(tensor, Tensor):
                continue
            storage = tensor.untyped_storage()
            if storage not in self._seen:
                self._seen[storage] = None
                weakref.finalize(storage, self._freed, storage.nbytes())
                self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)

    def _freed(self, size: int) -> None:
        self.live -= size


def _arithmetic(packet: Any, factor: Tensor) -> Arithmetic:
    if factor.element_size() <= 2:
        return "half"
    return "convolution" if packet in _CONVOLUTIONS else "matmul"


def counted_by_steps(steps: int, cost_of: Callable[[int], Cost]) -> Cost:
    """The cost of a sampler with many steps, from those with few: hundreds of steps are alike.

    Where two, three and four steps do not differ evenly, in operations or in memory, all are counted.

    Args:
        steps: how many.
        cost_of: counts any number of steps.
    """
    if steps <= 4:
        return cost_of(steps)
    two, three, four = (cost_of(few) for few in (2, 3, 4))
    step = four.minus(three)
    if step != three.minus(two):
        return cost_of(steps)
    more = steps - 4
    added = Counter({kind: count * more for kind, count in step.flops.items()})
    return Cost(four.flops + added, four.peak + more * step.peak)


class _Fake(FakeTensorMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = super().__torch_dispatch__(func, types, args, kwargs)
        # It remembers some tensors by weak references, with which modules cannot be moved or converted.
        self.fake_tensor_converter.meta_converter.tensor_memo.clear()
        return out


def make_fake() -> FakeTensorMode:
    """A mode within which new tensors are fake; outside it they meet real ones freely."""
    return _Fake(allow_non_fake_inputs=True)


def measured(known: Any, work: Callable[[], Any]) -> Cost:
    """The cost of ``work``, beside whose tensors ``known`` ones are alive."""
    with Meter(known) as meter:
        work()
    return Cost(meter.flops, meter.peak)
