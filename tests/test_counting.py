"""Counted operations and memory against closed forms and independent measures."""

from collections import Counter
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ssimbad.counting import (
    Cost,
    Operation,
    counted_by_steps,
    make_fake,
    measured,
    remember_calls,
)


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 4, 3, padding=1))


def test_operations_of_a_convolution_and_a_linear_layer_are_their_closed_form() -> None:
    with make_fake():
        convolution, linear = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(5, 7)
        images, rows = torch.empty(2, 3, 16, 16), torch.empty(4, 5)
    assert measured((), lambda: convolution(images)).flops == {
        "convolution": 2 * 2 * 16 * 16 * 8 * 3 * 9
    }
    assert measured((), lambda: linear(rows)).flops == {"matmul": 2 * 4 * 5 * 7}


def test_forward_and_backward_agree_with_torchs_own_counter_on_real_tensors() -> None:
    network, images = small(), torch.randn(2, 3, 16, 16)
    with FlopCounterMode(display=False) as counter:
        network(images).sum().backward()
    with make_fake():
        fake, blank = small(), torch.empty(2, 3, 16, 16)
    cost = measured((), lambda: fake(blank).sum().backward())
    assert cost.total == counter.get_total_flops() > 0


def test_16_bit_products_are_told_apart() -> None:
    with make_fake():
        network, images = small(), torch.empty(2, 3, 16, 16)

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            network(images)

    assert set(measured((), run).flops) == {"half"}


def test_memory_of_a_forward_pass_is_what_autograd_saves() -> None:
    network, images = small(), torch.randn(2, 3, 16, 16)
    saved: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = network(images)
    biases = sum(p.nbytes for p in network.parameters() if p.ndim == 1)
    held = sum(saved.values()) + out.nbytes + biases
    with make_fake():
        fake, blank = small(), torch.empty(2, 3, 16, 16)
    assert measured([*fake.parameters(), blank], lambda: fake(blank)).peak == held


def test_many_steps_are_told_from_few_whose_first_differ() -> None:
    asked: list[int] = []

    def counted(steps: int) -> Cost:
        asked.append(steps)
        product = Operation("matmul", 10, 4)
        return Cost(Counter({product: 7 + 3 * steps}), 100 + max(steps, 3))

    assert counted_by_steps(500, counted) == counted(500)
    assert sorted(asked) == [3, 4, 500]
    asked.clear()
    assert counted_by_steps(4, counted) == counted(4)
    assert asked == [4, 4]


def test_a_call_without_gradient_is_counted_once_and_recalled_alike() -> None:
    with make_fake():
        network, images = small(), torch.empty(2, 3, 16, 16)

    def twice() -> None:
        with torch.no_grad():
            network(images)
            network(images)

    alive = [network.state_dict(), images]
    plain = measured(alive, twice)
    known: dict[Any, Any] = {}
    remember_calls(network, known)
    first = measured(alive, twice)
    again = measured(alive, twice)
    assert first.flops == again.flops == plain.flops
    assert first.peak == again.peak == plain.peak
    assert len(known) == 1


def test_an_operation_takes_the_longest_of_products_bytes_and_start() -> None:
    product, copy = Operation("matmul", 1000, 10), Operation(None, 0, 400)
    cost = Cost(Counter({product: 2, copy: 3}))
    assert cost.seconds({"matmul": 100.0}, 100.0, 0.0) == 2 * 10 + 3 * 4
    assert cost.seconds({"matmul": 1e9}, 1e9, 5.0) == 5 * 5.0


def test_views_move_nothing() -> None:
    with make_fake():
        images = torch.empty(2, 3, 16, 16)
    assert measured((), lambda: images.flatten(1).T[:4]).operations == {}
    assert measured((), lambda: images + 1).operations == {Operation(None, 0, 2 * images.nbytes): 1}
