"""Another day for a picture: sun and haze, fields ploughed or under snow, blur, noise, and clouds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Generator, Tensor


def rephotograph(pixels: Tensor, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Show the same ground on another day; tell how much of it is veiled, and what of that a mask knows.

    Args:
        pixels: (N, 1, size, size), 0..1.
        generator: of everything random.

    Returns:
        The same shape, 0..1 or a little beyond; 0..1, and 0 or 1.
    """
    n, size = len(pixels), pixels.shape[-1]

    def some(share: float) -> Tensor:
        return (torch.rand(n, 1, 1, 1, generator=generator) < share).float()

    def u(low: float, high: float) -> Tensor:
        return torch.rand(n, 1, 1, 1, generator=generator) * (high - low) + low

    def smooth(waves: int) -> Tensor:
        """Draw smooth noise of about unit variance."""
        noise = torch.randn(n, 1, waves, waves, generator=generator)
        return functional.interpolate(noise, size=(size, size), mode="bicubic", align_corners=False)

    x = pixels.clamp_min(0) ** u(0.6, 1.6) * u(0.4, 1.4) + u(-0.1, 0.2)
    blur = some(0.3)
    x = blur * functional.avg_pool2d(functional.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1) + (1 - blur) * x
    # Fields ploughed, mown or under snow: another brightness, and less of the old texture
    change = torch.sigmoid(6 * smooth(12) - u(4, 14)) * some(0.3)
    x = x * (1 - change * u(0, 1)) + change * u(-0.3, 0.6)
    inversion = some(0.12)
    x = x * (1 - 2 * inversion) + inversion
    veil = (smooth(5) - u(0.5, 2.5)).clamp(0, 1) * some(0.35)
    x = x * (1 - veil) + veil * u(0.6, 1.2)
    x = x + torch.randn(x.shape, generator=generator) * u(0, 0.03) * some(0.7)
    mask = (veil > 0.1).float() * some(0.5)
    return x, veil, mask
