"""Operations and live memory of code that runs on tensors without data.

Parameters and images are fake tensors (``torch._subclasses``): they have shapes, types and storages but
no bytes, so a network of any size is run through its real code in seconds. What the code computes
outside them, such as noise levels and samplers' branches on them, stays real.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
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

    def cost(self) -> Cost:
        """What was counted so far."""
        return Cost(Counter(self.flops), self.peak)


def _arithmetic(packet: Any, factor: Tensor) -> Arithmetic:
    if factor.element_size() <= 2:
        return "half"
    return "convolution" if packet in _CONVOLUTIONS else "matmul"


def make_fake() -> FakeTensorMode:
    """A mode within which new tensors are fake; outside it they meet real ones freely."""
    return FakeTensorMode(allow_non_fake_inputs=True)


def measured(
    known: Any, work: Callable[[], Any], samples_by: nn.Module | None = None
) -> Cost:
    """The cost of ``work``, beside whose tensors ``known`` ones are alive.

    Args:
        known: tensors.
        work: what is run.
        samples_by: a network that work without gradients calls often, see :func:`called_once`.
    """
    with Meter(known) as meter, called_once(samples_by, meter):
        work()
    return meter.cost()


@contextmanager
def called_once(network: nn.Module | None, meter: Meter) -> Iterator[None]:
    """Within, a network's further calls with tensors of known shapes cost what the first one did, unrun.

    Sampling calls its network hundreds of times alike. For work without gradients only.
    """
    if network is None:
        yield
        return
    forward = network.forward
    known: dict[Any, tuple[Cost, Any]] = {}

    def remembered(*args: Any) -> Any:
        key = tuple((a.shape, a.dtype) if isinstance(a, Tensor) else a for a in args)
        if key not in known:
            before, peak = Counter(meter.flops), meter.peak
            base = meter.peak = meter.live
            out = forward(*args)
            shapes = tree_map(lambda t: (t.shape, t.dtype), out)
            known[key] = Cost(meter.flops - before, meter.peak - base), shapes
            meter.peak = max(peak, meter.peak)
            return out
        cost, shapes = known[key]
        meter.flops += cost.flops
        meter.peak = max(meter.peak, meter.live + cost.peak)
        return _empty(args[0], shapes)

    network.forward = remembered  # type: ignore[method-assign]
    try:
        yield
    finally:
        network.forward = forward  # type: ignore[method-assign]


def _empty(like: Tensor, shapes: Any) -> Any:
    """Tensors of the given (shape, dtype), or a tuple of such."""
    if isinstance(shapes[0], torch.Size):
        return like.new_empty(shapes[0], dtype=shapes[1])
    return tuple(_empty(like, part) for part in shapes)
