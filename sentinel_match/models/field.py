"""Surfaces on a grid: (rows, cols, K), one for each point."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor


def averaged(field: Tensor, sigma: float, reach: int | None = None) -> Tensor:
    """Gaussian average over the first two axes; the field itself for 0.

    Args:
        field: (rows, cols, K).
        sigma: standard deviation in steps of the grid.
        reach: steps beyond which nothing counts; 2.5 standard deviations when not given.
    """
    if not sigma:
        return field
    reach = math.ceil(2.5 * sigma) if reach is None else reach
    steps = torch.arange(-reach, reach + 1, device=field.device)
    kernel = torch.exp(-0.5 * (steps / sigma) ** 2)
    kernel = kernel / kernel.sum()
    for axis in (0, 1):
        moved = field.movedim(axis, -1)
        flat = moved.reshape(-1, 1, moved.shape[-1])
        moved = functional.conv1d(flat, kernel[None, None], padding=reach).view(moved.shape)
        field = moved.movedim(-1, axis)
    return field
