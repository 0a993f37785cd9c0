"""The optimizers: AdamW, and Muon for convolution kernels beside AdamW for everything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ssimbad.training.settings import Schedule, StageConfig

_MOMENTUM = 0.95
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
# Image, sketch and reference have as many channels: the network's first and last kernels have no more.
_SMALLEST = 7
_POINTWISE = 0.2


def orthogonalized(matrix: Tensor) -> Tensor:
    """A matrix (M, N) with the same singular vectors and singular values near 1 (0.7 to 1.2).

    Newton–Schulz: X ← aX + b(XXᵀ)X + c(XXᵀ)²X, run on the smaller Gram matrix alone, whose
    polynomial multiplies X once at the end.
    """
    x = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = x / (x.norm() + 1e-7)
    gram = x @ x.T
    a, b, c = _COEFFICIENTS
    total = identity = torch.eye(len(gram), dtype=x.dtype, device=x.device)
    for _ in range(_ITERATIONS):
        factor = a * identity + b * gram + c * (gram @ gram)
        total = factor @ total
        gram = factor @ gram @ factor
    x = total @ x
    return x if matrix.shape[0] <= matrix.shape[1] else x.T


class Muon(torch.optim.AdamW):
    """Muon (Jordan et al. 2024) for parameter groups with ``muon`` set, AdamW for the others.

    A kernel (O, I, k, k) is a matrix (O, I·k²); its update is the orthogonalized Nesterov momentum,
    times √max(1, O / (I·k²)), and times 0.2 where k = 1.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step; the gradients of Muon's kernels are consumed."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if not group.get("muon"):
                continue
            for kernel in group["params"]:
                if kernel.grad is None:
                    continue
                state = self.state[kernel]
                if not state:
                    # AdamW's loading of states expects a step count in each.
                    state["step"] = torch.zeros(())
                    state["momentum"] = torch.zeros_like(kernel)
                state["step"] += 1
                momentum = state["momentum"].mul_(_MOMENTUM).add_(kernel.grad)
                update = orthogonalized((kernel.grad + _MOMENTUM * momentum).flatten(1))
                scale = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
                if kernel.shape[-1] == 1:
                    # Attention's logits are a product of two such kernels' outputs: at the larger
                    # kernels' rate they run away.
                    scale *= _POINTWISE
                kernel.mul_(1 - group["lr"] * group["weight_decay"])
                kernel.add_(update.view_as(kernel), alpha=-group["lr"] * scale)
                kernel.grad = None  # so that AdamW passes it by
        super().step()
        return loss


def _is_kernel(parameter: Tensor) -> bool:
    return parameter.ndim == 4 and min(parameter.shape[:2]) > _SMALLEST


def build(groups: list[dict[str, Any]], config: Schedule) -> torch.optim.Optimizer:
    """The configured optimizer.

    Under Muon each group is split in two, its kernels and the rest; a group's own ``lr`` scales both.
    """
    # Under mixed precision a fused optimizer unscales in its own step, too late for clipping.
    options = {"weight_decay": config.weight_decay, "fused": config.precision == "32-true"}
    if not isinstance(config, StageConfig) or config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, **options)  # type: ignore[arg-type]
    split: list[dict[str, Any]] = []
    for group in groups:
        kernels = [p for p in group["params"] if _is_kernel(p)]
        chosen = {id(p) for p in kernels}
        split.append(group | {"params": [p for p in group["params"] if id(p) not in chosen]})
        if kernels:
            lr = config.muon_lr * group.get("lr", config.lr) / config.lr
            split.append(group | {"params": kernels, "lr": lr, "muon": True})
    return Muon(split, lr=config.lr, **options)  # type: ignore[arg-type]


def clip_gradients(
    optimizer: torch.optim.Optimizer, config: Schedule, scaler: torch.amp.GradScaler | None
) -> None:
    """Limit the norm of each parameter group's gradients, which are unscaled already.

    Clipped before it is unscaled, as published, a gradient g that a ``scaler`` multiplied by S keeps
    min(1, clip/‖Sg‖) of its length: the limit on g is clip/S.
    """
    scale = scaler.get_scale() if scaler and config.clip_scaled else 1.0
    for group in optimizer.param_groups:
        torch.nn.utils.clip_grad_norm_(group["params"], config.clip / scale)
