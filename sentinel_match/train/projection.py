"""How windows of features become short descriptors: the projection that tells ground apart and not the days.

R. A. Fisher (1936, "The use of multiple measurements in taxonomic problems"): of all projections the one whose
directions spread most over different ground, against how far one ground moves between two views of it. It is found at
once, from pairs of which the truth is known; what it gives is where ``loftr`` and ``superpoint`` begin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.linalg import eigh
from torch.nn import functional

from sentinel_match.models.trunk import CELL_PX, CELL_WINDOW, WindowedTrunk, unit, whole_detail
from sentinel_match.train.mappings import grid_points, map_points

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from torch import Tensor

    from sentinel_match.train.crops import Batch, Crops

BEGINNING_PAIRS, BEGINNING_BATCHES = 96, 16
"""Pairs of crops from which the projections of a new network are found."""
RIDGE = 0.1
"""Of the mean spread of one ground, added to each direction: few pairs know little of many directions."""
SEEN_SHARE = 0.9
"""A point counts where so much of its ground can be seen."""


def fisher_projection(batches: Iterable[Batch], windows: Callable[[Tensor], Tensor], count: int) -> Tensor:
    """Find the projection of windows that is worth most.

    Args:
        batches: pairs of crops.
        windows: makes (N, D, rows, cols) windows of (N, 1, size, size) images, one for each cell; they are compared at
            unit length.
        count: how many directions.

    Returns:
        (D, count), of which each column spreads by one on the same ground.
    """
    same = other = np.zeros(())
    with torch.inference_mode():
        for batch in batches:
            left, right = (unit(windows(filled(*side))) for side in ((batch[0], batch[2]), (batch[1], batch[3])))
            size = batch.left.shape[-1]
            at = grid_points(torch.arange(CELL_PX, size - CELL_PX, CELL_PX).float())
            for k in range(len(left)):
                to = map_points(at[None], batch.mapping[k : k + 1])[0]
                seen = ((to > CELL_PX) & (to < size - CELL_PX)).all(1)
                seen &= batch.clear[k, 0, at[:, 1].long(), at[:, 0].long()] > SEEN_SHARE
                here, there = _at(left[k], at[seen]), _at(right[k], to[seen])
                same = same + _spread(here - there)
                other = other + (_spread(here) + _spread(there)) / 2
    ridge = RIDGE * np.trace(same) / len(same) * np.eye(len(same))
    _, directions = eigh(other, same + ridge, subset_by_index=(len(same) - count, len(same) - 1))
    return torch.from_numpy(directions[:, ::-1].copy()).float()


def begin_windows(network: WindowedTrunk, trunk: Mapping[str, Tensor], crops: Crops) -> None:
    """Begin as windows of the features of a trunk, projected to what tells ground apart.

    Args:
        network: whose windows have learned nothing yet.
        trunk: tensors, of which some are a trunk's.
        crops: draws pairs.
    """
    parts = ("stem.", "down.", "body.", "up.", "join.", "out.")
    network.load_state_dict({name: value for name, value in trunk.items() if name.startswith(parts)}, strict=False)
    network.eval()
    batches = [crops.sample(BEGINNING_PAIRS // BEGINNING_BATCHES) for _ in range(BEGINNING_BATCHES)]
    windows, weight = _Windows(network), network.wide.weight
    projection = fisher_projection(batches, windows, len(weight))
    weight.data.copy_(projection.T.view(weight.shape) * windows.taper)


class _Windows:
    """Cuts the windows of a network's cells."""

    def __init__(self, network: WindowedTrunk) -> None:
        self.network = network
        along = torch.exp(-(torch.linspace(1 / CELL_WINDOW - 1, 1 - 1 / CELL_WINDOW, CELL_WINDOW) ** 2))
        self.taper = along[:, None] * along  # on one side of a product: that of both is a Gaussian of half its side

    def __call__(self, image: Tensor) -> Tensor:
        """Make (N, D, rows, cols) of (N, 1, H, W)."""
        samples = self.network.cell_samples(self.network.known(whole_detail(image))[0])
        rows, cols = (n // CELL_PX for n in image.shape[-2:])
        windows = functional.unfold(samples, CELL_WINDOW).view(len(image), -1, CELL_WINDOW**2, rows * cols)
        return (windows * self.taper.flatten()[:, None]).view(len(image), -1, rows, cols)


def filled(pixels: Tensor, valid: Tensor) -> Tensor:
    """Give invalid pixels of (N, 1, H, W) images the mean of the others."""
    mean = (pixels * valid).sum((1, 2, 3), keepdim=True) / valid.sum((1, 2, 3), keepdim=True).clamp_min(1)
    return pixels + (1 - valid) * mean


def _at(windows: Tensor, points: Tensor) -> Tensor:
    """Take the (P, D) windows nearest to (P, 2) points."""
    col, row = (points / CELL_PX).round().long().T
    rows, cols = windows.shape[1:]
    return windows[:, row.clamp(0, rows - 1), col.clamp(0, cols - 1)].T


def _spread(windows: Tensor) -> np.ndarray:
    return np.asarray((windows.T @ windows).double().numpy())
