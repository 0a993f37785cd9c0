"""How SSIM falls as noise grows: compiled loops on a CPU, tensors elsewhere.

The search asks for SSIM tens of thousands of times, each time of a new noisy image.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ssimbad.similarity import WINDOW, ssim, window_mean


def tensor_ssim(images: Tensor, noise: Tensor, means: Tensor, sigmas: Tensor) -> Tensor:
    """What :meth:`Degradation.ssim` gives, of tensors on any device: slow on a CPU."""
    curves = []
    for image, own in zip(images, noise[:, : len(means)], strict=True):
        for levels in sigmas:
            mean, level = (v.to(images)[:, None, None, None] for v in (means, levels))
            noisy = torch.addcmul(mean * image, level, own).clamp_(-1, 1)
            curves.append(ssim((noisy + 1) / 2, (image[None] + 1) / 2))
    return torch.stack(curves).double().cpu().reshape(len(images), *sigmas.shape).transpose(0, 1)


class Degradation:
    """Images and the noise they are measured under.

    Args:
        images: (N, C, H, W) float32 in [-1, 1], on the device that is to compute.
        noise: (N, K, C, H, W) float32, standard normal, on the same device.
    """

    def __init__(self, images: Tensor, noise: Tensor) -> None:
        self.images, self.noise = images, noise
        self._planes: list[np.ndarray] = []
        if images.device.type == "cpu":
            halves = images.double() / 2
            mean_x = window_mean(halves)
            variance_x = window_mean(halves * halves) - mean_x**2
            padded = (F.pad(values.float(), (0, WINDOW - 1)) for values in (mean_x, variance_x))
            self._planes = [v.contiguous().numpy() for v in (images, *padded, noise)]

    def ssim(self, means: Tensor, sigmas: Tensor) -> Tensor:
        """SSIM of every image x and its noisy versions clamp(m_k x + σ_pk n_k, −1, 1).

        Args:
            means: factors m (K',) on the image, K' ≤ K; 1 for variance-exploding noise.
            sigmas: noise levels (P, K'), of P schedules.

        Returns:
            (P, N, K') float64, on the CPU.
        """
        if not self._planes:
            return tensor_ssim(self.images, self.noise, means, sigmas)
        from ssimbad.kernels.ssim import degradation  # Numba, which not every command needs

        measured = (v.float().contiguous().numpy() for v in (means, sigmas))
        return torch.from_numpy(
            degradation(*self._planes, *measured, threads=torch.get_num_threads())
        )
