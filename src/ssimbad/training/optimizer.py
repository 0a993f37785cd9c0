"""The optimizers: AdamW, and Muon for convolution kernels beside AdamW for everything else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ssimbad.training.schema import Schedule, StageConfig

_MOMENTUM = 0.95
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
# Image, sketch and reference have as many channels: the network's first and last kernels have no more.
_SMALLEST = 7
_POINTWISE = 0.2


def orthogonalized(matrices: list[Tensor]) -> list[Tensor]:
    """Matrices (M, N) with the same singular vectors and singular values near 1 (0.7 to 1.2).

    Newton–Schulz: X ← aX + b(XXᵀ)X + c(XXᵀ)²X, run on the smaller Gram matrices alone, those of one size
    together, whose polynomials multiply X once at the end.
    """
    if not matrices:
        return []
    wide = [x if x.shape[0] <= x.shape[1] else x.T for x in matrices]
    norms = torch._foreach_norm(wide)
    torch._foreach_add_(norms, 1e-7)
    wide = list(torch._foreach_div(wide, norms))
    a, b, c = _COEFFICIENTS
    found: dict[int, Tensor] = {}
    for size in {len(x) for x in wide}:
        chosen = [k for k, x in enumerate(wide) if len(x) == size]
        gram = torch.stack([wide[k] @ wide[k].T for k in chosen])
        total = None
        for iteration in range(1, _ITERATIONS + 1):
            factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
            factor.diagonal(dim1=-2, dim2=-1).add_(a)
            total = factor if total is None else factor @ total
            if iteration < _ITERATIONS:
                gram = factor @ gram @ factor
        assert total is not None
        found |= {k: polynomial @ wide[k] for k, polynomial in zip(chosen, total, strict=True)}
    return [found[k] if x.shape[0] <= x.shape[1] else found[k].T for k, x in enumerate(matrices)]


def _scale(kernel: Tensor) -> float:
    rows, columns = kernel.shape[0], kernel[0].numel()
    scale = max(1.0, rows / columns) ** 0.5
    # Attention's logits are a product of two pointwise kernels' outputs: at the larger kernels' rate they
    # run away.
    return scale * _POINTWISE if kernel.shape[-1] == 1 else scale


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
            kernels = [kernel for kernel in group["params"] if kernel.grad is not None]
            if not kernels:
                continue
            for kernel in kernels:
                if not self.state[kernel]:
                    # AdamW's loading of states expects a step count in each.
                    self.state[kernel]["step"] = torch.zeros(())
                    self.state[kernel]["momentum"] = torch.zeros_like(kernel)
            # All kernels in one call of each kind: a GPU would wait for a call a kernel.
            gradients = [kernel.grad for kernel in kernels]
            momenta = [self.state[kernel]["momentum"] for kernel in kernels]
            torch._foreach_add_([self.state[kernel]["step"] for kernel in kernels], 1)
            torch._foreach_mul_(momenta, _MOMENTUM)
            torch._foreach_add_(momenta, gradients)
            directions = torch._foreach_add(gradients, momenta, alpha=_MOMENTUM)
            updates = orthogonalized([direction.flatten(1) for direction in directions])
            torch._foreach_mul_(kernels, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_mul_(updates, [-group["lr"] * _scale(kernel) for kernel in kernels])
            shaped = [u.view_as(kernel) for u, kernel in zip(updates, kernels, strict=True)]
            torch._foreach_add_(kernels, shaped)
            for kernel in kernels:
                kernel.grad = None  # so that AdamW passes it by
        super().step()
        return loss


def _is_kernel(parameter: Tensor) -> bool:
    return parameter.ndim == 4 and min(parameter.shape[:2]) > _SMALLEST


def build(groups: list[dict[str, Any]], config: Schedule) -> torch.optim.Optimizer:
    """The configured optimizer.

    Under Muon each group is split in two, its kernels and the rest; a group's own ``lr`` scales both.
    """
    # Under mixed precision a fused optimizer unscales in its own step, too late for clipping. None, not
    # False, with which PyTorch would take one parameter after the other on a GPU.
    fused = True if config.precision == "32-true" else None
    options = {"weight_decay": config.weight_decay, "fused": fused}
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
