"""The random numbers that a method draws in a step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ssimbad.distributed import SINGLE, World

if TYPE_CHECKING:
    from torch import Tensor


class Draws:
    """A step's randomness, which gives an image the same numbers however many processes share the batch.

    Every process draws the whole batch's numbers in the same order, and is given those of its own B images.

    Args:
        generator: the step's.
        images: of the step's whole batch.
        world: the processes that share it.
    """

    def __init__(self, generator: torch.Generator, images: int, world: World = SINGLE) -> None:
        self._generator, self._images, self._own = generator, images, world.share(images)

    def _of_own(self, drawn: Tensor) -> Tensor:
        return drawn[self._own.start : self._own.stop]

    def uniform(self, *shape: int) -> Tensor:
        """(B, *shape), uniform in [0, 1), on the CPU."""
        return self._of_own(torch.rand((self._images, *shape), generator=self._generator))

    def normal(self, *shape: int) -> Tensor:
        """(B, *shape), standard normal, on the CPU."""
        return self._of_own(torch.randn((self._images, *shape), generator=self._generator))

    def integers(self, high: int) -> Tensor:
        """(B,) of 0 to high − 1, on the CPU."""
        return self._of_own(torch.randint(high, (self._images,), generator=self._generator))

    def choice(self, allowed: Tensor) -> Tensor:
        """For each image and each row of (N, M) bool ``allowed`` one of the columns it allows: (B, N)."""
        weights = allowed.float().repeat(self._images, 1)
        chosen = torch.multinomial(weights, 1, generator=self._generator)
        return self._of_own(chosen.reshape(self._images, -1))

    def noise(self, images: Tensor) -> Tensor:
        """Standard normal noise for ``images`` (B, …), drawn where they are: a GPU's differs."""
        if images.device.type == "cpu":
            return self.normal(*images.shape[1:]).to(images)
        seed = int(torch.randint(2**62, (), generator=self._generator))
        generator = torch.Generator(images.device).manual_seed(seed)
        shape = (self._images, *images.shape[1:])
        return self._of_own(torch.randn(shape, generator=generator, device=images.device)).to(
            images
        )

    def dropout(self, values: Tensor, share: float) -> Tensor:
        """``values`` (B, C, H, W), zero in a random share of images; nothing is drawn where that is 0."""
        if not share:
            return values
        kept = self.uniform() >= share
        return values * kept.to(values, non_blocking=True)[:, None, None, None]
