"""Transformations φ of the noise scale σ, each with its inverse, and σ grids spaced by them.

The twenty-two distinct candidates of the SSIMBaD authors' search, twelve without a parameter and
σ/(σ + c) for c = 0.1, 0.2, …, 1.0; and EDM's σ^(1/7).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    _Function = Callable[[Tensor, float], Tensor]

_FUNCTIONS: dict[str, tuple[_Function, _Function]] = {
    "sigma": (lambda s, c: s, lambda p, c: p),
    "ln(sigma)": (lambda s, c: s.log(), lambda p, c: p.exp()),
    "ln(1+sigma)": (lambda s, c: s.log1p(), lambda p, c: p.expm1()),
    "sigma^2": (lambda s, c: s**2, lambda p, c: p.sqrt()),
    "1/sigma": (lambda s, c: 1 / s, lambda p, c: 1 / p),
    "1/sigma^2": (lambda s, c: s**-2, lambda p, c: p**-0.5),
    "asinh(sigma)": (lambda s, c: s.asinh(), lambda p, c: p.sinh()),
    "tanh(sigma)": (lambda s, c: s.tanh(), lambda p, c: p.atanh()),
    "sigmoid(sigma)": (lambda s, c: s.sigmoid(), lambda p, c: p.logit()),
    "sigma^1.5/(sigma^1.5+1)": (
        lambda s, c: s**1.5 / (s**1.5 + 1),
        lambda p, c: (p / (1 - p)) ** (2 / 3),
    ),
    "ln(1+sigma^2)": (lambda s, c: (s**2).log1p(), lambda p, c: p.expm1().sqrt()),
    "atan(sigma)": (lambda s, c: s.atan(), lambda p, c: p.tan()),
    "sigma/(sigma+c)": (lambda s, c: s / (s + c), lambda p, c: c * p / (1 - p)),
    "sigma^(1/7)": (lambda s, c: s ** (1 / 7), lambda p, c: p**7),
}

RATIONAL = "sigma/(sigma+c)"
"""The family with a free parameter c, the paper's choice."""

EDM = "sigma^(1/7)"
"""In which EDM's noise levels are evenly spaced (Karras et al. 2022, Equation 5, ρ = 7); no candidate."""

NAMES = list(_FUNCTIONS)


@dataclass(frozen=True)
class Phi:
    """A transformation φ on [sigma_min, sigma_max], where every one of them is strictly monotone.

    Attributes:
        name: one of :data:`NAMES`.
        c: the parameter of σ/(σ + c); 0 for the others.
        sigma_min, sigma_max: the range, 0 < sigma_min < sigma_max.
    """

    name: str
    c: float
    sigma_min: float
    sigma_max: float

    def __call__(self, sigma: Tensor) -> Tensor:
        """φ(σ), in float64; of an Apple GPU's tensor, which has none, on the CPU."""
        sigma = sigma.cpu() if sigma.device.type == "mps" else sigma
        return _FUNCTIONS[self.name][0](sigma.double(), self.c)

    def bounds(self) -> tuple[Tensor, Tensor]:
        """φ(sigma_min) and φ(sigma_max); the first is the greater one where φ falls."""
        import torch

        ends = self(torch.tensor([self.sigma_min, self.sigma_max], dtype=torch.float64))
        return ends[0], ends[1]

    def inverse(self, phi: Tensor) -> Tensor:
        """φ⁻¹, in float64, within [sigma_min, sigma_max]; the endpoints come back exactly.

        Where φ saturates in float64 (tanh from σ = 19 on), its one largest value maps to sigma_max.
        """
        import torch

        phi = phi.double()
        first, last = self.bounds()
        sigma = _FUNCTIONS[self.name][1](phi, self.c).clamp(self.sigma_min, self.sigma_max)
        sigma = torch.where(phi == first, self.sigma_min, sigma)
        return torch.where(phi == last, self.sigma_max, sigma)

    def uniform(self, fraction: Tensor) -> Tensor:
        """σ at the given fractions (0 to 1) of the way from φ(sigma_min) to φ(sigma_max)."""
        import torch

        first, last = self.bounds()
        return self.inverse(torch.lerp(first, last, fraction.double()))

    def sampling_sigmas(self, steps: int, last_call: bool = True) -> Tensor:
        """Noise levels of a sampler that calls its denoiser ``steps`` times: (steps + 1,), falling.

        With ``last_call``, as published: ``steps`` values uniform in φ from sigma_max to sigma_min,
        then 0. Without: ``steps + 1`` such values, of which 0 replaces the last; the denoiser is not
        called at sigma_min, where it could change an image by no more than about sigma_min.
        """
        import torch

        falling = self.uniform(torch.linspace(1, 0, steps + (not last_call), dtype=torch.float64))
        return torch.cat([falling[:steps], falling.new_zeros(1)])

    def label(self) -> str:
        """The name with its parameter filled in, as :func:`parse` reads it."""
        return self.name.replace("+c", f"+{self.c:.4g}")

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


def parse(text: str, other: str = "auto") -> tuple[str, float]:
    """Name and parameter of a label such as ``atan(sigma)`` or ``sigma/(sigma+0.3)``.

    Args:
        text: the label.
        other: what else the caller takes, for the error.

    Raises:
        ValueError: it is no transformation's.
    """
    if match := re.fullmatch(r"sigma/\(sigma\+(\d*\.?\d+)\)", text):
        if (c := float(match[1])) > 0:
            return RATIONAL, c
    elif text in NAMES and text != RATIONAL:
        return text, 0.0
    known = ", ".join(name for name in NAMES if name != RATIONAL)
    raise ValueError(f"must be {other}, {known} or sigma/(sigma+0.3) with any positive number")


def candidates(sigma_min: float, sigma_max: float) -> list[Phi]:
    """The published candidates on the given range."""
    names = [name for name in NAMES if name not in (RATIONAL, EDM)]
    plain = [Phi(name, 0.0, sigma_min, sigma_max) for name in names]
    return plain + [Phi(RATIONAL, i / 10, sigma_min, sigma_max) for i in range(1, 11)]
