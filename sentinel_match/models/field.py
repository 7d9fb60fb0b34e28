"""Surfaces on a grid: (rows, cols, K), one for each point."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def averaged(field: Tensor, sigma: float, reach: int | None = None) -> Tensor:
    """Average a field over its first two axes by a Gaussian; leave it as it is for a sigma of 0.

    Args:
        field: (rows, cols, K).
        sigma: standard deviation in steps of the grid.
        reach: steps beyond which nothing counts; 2.5 standard deviations when not given.
    """
    if not sigma:
        return field
    reach = math.ceil(2.5 * sigma) if reach is None else reach
    rows, cols = (_kernel(n, sigma, reach, field.device) for n in field.shape[:2])
    # As products of matrices: a convolution of one channel takes ten times as long
    return torch.matmul(cols, (rows @ field.flatten(1)).view(field.shape))


def _kernel(count: int, sigma: float, reach: int, device: torch.device) -> Tensor:
    """Compute the (count, count) weights by which the values at all steps make the average at each."""
    steps = torch.arange(-max(reach, count), max(reach, count) + 1, device=device)
    weight = torch.exp(-0.5 * (steps / sigma) ** 2) * (steps.abs() <= reach)
    weight = weight / weight.sum()
    index = torch.arange(count, device=device)
    return weight[index[None] - index[:, None] + max(reach, count)]
