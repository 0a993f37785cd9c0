"""Counted operations and memory against closed forms and independent measures."""

from collections import Counter

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ssimbad.plan.counting import Cost, counted_by_steps, make_fake, measured


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


def test_many_steps_are_told_from_few_only_where_steps_are_alike() -> None:
    asked: list[int] = []

    def counted(steps: int, power: int) -> Cost:
        asked.append(steps)
        return Cost(Counter(matmul=10 + 3 * steps**power), 100 + steps)

    assert counted_by_steps(500, lambda n: counted(n, 1)) == counted(500, 1)
    assert asked == [2, 3, 4, 500]
    asked.clear()
    assert counted_by_steps(9, lambda n: counted(n, 2)).total == 10 + 3 * 81
    assert asked == [2, 3, 4, 9]
