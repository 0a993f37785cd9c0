"""Operations and live memory of code that runs on tensors without data.

Parameters and images are fake tensors (``torch._subclasses``): they have shapes, types and storages but
no bytes, so a network of any size is run through its real code in seconds. What the code computes
outside them, such as noise levels and samplers' branches on them, stays real.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import (
    TorchDispatchMode,
    _get_current_dispatch_mode_stack,
)
from torch.utils._pytree import tree_leaves, tree_map_only
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


class Operation(NamedTuple):
    """A kind of operation on tensors of one size.

    Attributes:
        arithmetic: of its products; None where it has none.
        flops: floating-point operations; a multiplication and an addition are two. Only convolutions,
            matrix products and attention have any, as is usual.
        moved: bytes of the tensors it reads and writes.
    """

    arithmetic: Arithmetic | None
    flops: int
    moved: int


@dataclass(frozen=True)
class Cost:
    """What some code costs.

    Attributes:
        operations: how often each is done.
        peak: most bytes of tensors alive at once.
    """

    operations: Counter[Operation] = field(default_factory=Counter)
    peak: int = 0

    @property
    def flops(self) -> Counter[Arithmetic]:
        """Floating-point operations by arithmetic."""
        counts: Counter[Arithmetic] = Counter()
        for operation, times in self.operations.items():
            if operation.arithmetic:
                counts[operation.arithmetic] += round(operation.flops * times)
        return counts

    @property
    def total(self) -> int:
        """Floating-point operations of every kind."""
        return sum(self.flops.values())

    def seconds(self, peak: Mapping[Arithmetic, float], bandwidth: float, overhead: float) -> float:
        """Time where each operation takes the longest of what its products, its bytes and its start take.

        This is the roofline (Williams et al. 2009) of each operation by itself.

        Args:
            peak: FLOPs a second by arithmetic.
            bandwidth: of the memory, bytes a second.
            overhead: least time of an operation, seconds.
        """
        return sum(
            times
            * max(
                operation.flops / peak[operation.arithmetic] if operation.arithmetic else 0.0,
                operation.moved / bandwidth,
                overhead,
            )
            for operation, times in self.operations.items()
        )

    def times(self, factor: float) -> Cost:
        """Done again and again."""
        counts: Any = {kind: times * factor for kind, times in self.operations.items()}
        return Cost(Counter(counts), self.peak)

    def minus(self, other: Cost) -> Cost:
        """What this costs more than ``other``."""
        operations = Counter(self.operations)
        operations.subtract(other.operations)
        return Cost(Counter({k: n for k, n in operations.items() if n}), self.peak - other.peak)

    def then(self, other: Cost) -> Cost:
        """Both, one after the other."""
        operations = Counter(self.operations)
        operations.update(other.operations)  # + would drop what a difference has below zero
        return Cost(operations, max(self.peak, other.peak))


class Meter(TorchDispatchMode):
    """Within it, operations are counted and the bytes of live tensors' storages followed.

    Args:
        known: tensors that are alive already.

    Attributes:
        operations: what was done so far, and how often.
        live, peak: bytes alive now, and at most so far.
    """

    def __init__(self, known: Any = ()) -> None:
        super().__init__()
        self.operations: Counter[Operation] = Counter()
        self.live = self.peak = 0
        self._seen: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._follow(_tensors(known))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        given = _tensors((args, kwargs))
        self._follow(given)  # what is first met as an input was alive before
        out = func(*args, **kwargs)
        made = _tensors(out)
        self._follow(made)
        packet = func.overloadpacket
        if formula := flop_registry.get(_ALIASES.get(packet, packet)):
            kind, flops = _arithmetic(packet, given[0]), formula(*args, **kwargs, out_val=out)
            self.operations[Operation(kind, int(flops), _moved(given) + _moved(made))] += 1
        elif not _is_free(func):
            self.operations[Operation(None, 0, _moved(given) + _moved(made))] += 1
        return out

    def recall(self, known: Cost) -> None:
        """Count what was counted before, and needs ``known.peak`` bytes beside those alive now."""
        self.operations += known.operations
        self.peak = max(self.peak, self.live + known.peak)

    def counted(self, work: Callable[[], Any]) -> tuple[Any, Cost]:
        """What ``work`` returns and costs; its peak is beyond what was alive before it."""
        before, live, peak = Counter(self.operations), self.live, self.peak
        self.peak = live
        result = work()
        cost = Cost(self.operations - before, self.peak - live)
        self.peak = max(self.peak, peak)
        return result, cost

    def _follow(self, tensors: list[Tensor]) -> None:
        for tensor in tensors:
            storage = tensor.untyped_storage()
            if storage not in self._seen:
                self._seen[storage] = None
                weakref.finalize(storage, self._freed, storage.nbytes())
                self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)

    def _freed(self, size: int) -> None:
        self.live -= size


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def _moved(tensors: list[Tensor]) -> int:
    # An expanded tensor has fewer bytes than elements.
    return sum(min(t.numel() * t.element_size(), t.untyped_storage().nbytes()) for t in tensors)


@cache
def _is_free(func: Any) -> bool:
    """Whether an operation touches no element: questions about a tensor, views and new, empty tensors."""
    schema = func._schema
    if any(a.alias_info is not None and a.alias_info.is_write for a in schema.arguments):
        return False
    aliases = [r.alias_info for r in schema.returns if "Tensor" in str(r.type)]
    views = all(alias is not None for alias in aliases)
    return views or func.overloadpacket.__name__.lstrip("_").startswith(("empty", "new_empty"))


def _arithmetic(packet: Any, factor: Tensor) -> Arithmetic:
    if factor.element_size() <= 2:
        return "half"
    return "convolution" if packet in _CONVOLUTIONS else "matmul"


def counted_by_steps(steps: int, cost_of: Callable[[int], Cost]) -> Cost:
    """The cost of a sampler with many steps, unrolled or not, from those with three and four.

    A sampler is a loop of like steps, so that operations and memory are linear in their number but for
    the first ones (a multistep method's, the first whose activations stay) and the bytes of the list of noise
    levels.

    Args:
        steps: how many; up to four are counted as they are.
        cost_of: counts any number of steps.
    """
    if steps <= 4:
        return cost_of(steps)
    last = cost_of(4)
    step, more = last.minus(cost_of(3)), steps - 4
    return Cost(last.then(step.times(more)).operations, last.peak + more * step.peak)


class _Fake(FakeTensorMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = super().__torch_dispatch__(func, types, args, kwargs)
        # It remembers some tensors by weak references, with which modules cannot be moved or converted.
        self.fake_tensor_converter.meta_converter.tensor_memo.clear()
        return out


def make_fake() -> FakeTensorMode:
    """A mode within which new tensors are fake; outside it they meet real ones freely."""
    return _Fake(allow_non_fake_inputs=True)


@dataclass(frozen=True)
class _Shape:
    shape: torch.Size
    dtype: torch.dtype


def remember_calls(module: nn.Module, known: dict[Any, tuple[Any, Cost]]) -> None:
    """Have a module's calls without gradient counted once: a sampler makes hundreds that are alike.

    A further call on tensors of the same shapes and types returns empty tensors and counts as the
    first did. Not for work under autocast, whose first call makes 16-bit weights that the others find.

    Args:
        module: takes tensors or None, and returns tensors; changed in place.
        known: what is known of calls; modules of one structure may share it.
    """
    forward = module.forward

    def call(*given: Any) -> Any:
        meters = [mode for mode in _get_current_dispatch_mode_stack() if isinstance(mode, Meter)]
        if torch.is_grad_enabled() or not meters:
            return forward(*given)
        key = tuple(None if t is None else (t.shape, t.dtype) for t in given)
        if key in known:
            shapes, cost = known[key]
            meters[-1].recall(cost)
            return tree_map_only(
                _Shape, lambda s: given[0].new_empty(s.shape, dtype=s.dtype), shapes
            )
        out, cost = meters[-1].counted(lambda: forward(*given))
        known[key] = tree_map_only(Tensor, lambda t: _Shape(t.shape, t.dtype), out), cost
        return out

    module.forward = call


def measured(known: Any, work: Callable[[], Any]) -> Cost:
    """The cost of ``work``, beside whose tensors ``known`` ones are alive."""
    with Meter(known) as meter:
        work()
    return Cost(meter.operations, meter.peak)
