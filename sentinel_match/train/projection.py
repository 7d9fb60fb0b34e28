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

from sentinel_match.models.evergreen import FEATURE_STRIDE_PX
from sentinel_match.models.loftr import SeasonsBackbone
from sentinel_match.models.trunk import CELL_PX, WindowedTrunk, unit, whole_detail
from sentinel_match.train.mappings import grid_points, map_points

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from torch import Tensor, nn

    from sentinel_match.train.crops import Batch, Crops

BEGINNING_PAIRS, BEGINNING_BATCHES = 96, 16
"""Pairs of crops from which the projections of a new network are found."""
RIDGE = 0.1
"""Of the mean spread of one ground, added to each direction: few pairs know little of many directions."""
BESIDE_PX = 4.0
"""Standard deviation in pixels of how far other ground lies, where neighbours are told apart."""
FARTHER_PX = 3.0
"""What lies nearer is the same ground, seen a little aside."""
SEEN_SHARE = 0.9
"""A point counts where so much of its ground can be seen."""
STEP_PX = 8
"""Pixels between the points that are compared."""


def fisher_projection(
    batches: Iterable[Batch], windows: Callable[[Tensor], Tensor], count: int, stride: int, *, local: bool
) -> Tensor:
    """Find the projection of windows that is worth most.

    Args:
        batches: pairs of crops.
        windows: makes (N, D, rows, cols) windows of (N, 1, size, size) images; they are compared at unit length.
        count: how many directions.
        stride: pixels between windows.
        local: tell each window from those beside it; else from any other.

    Returns:
        (D, count), of which each column spreads by one on the same ground.
    """
    same = other = np.zeros(())
    generator = np.random.default_rng(0)
    with torch.inference_mode():
        for batch in batches:
            left, right = (unit(windows(filled(*side))) for side in ((batch[0], batch[2]), (batch[1], batch[3])))
            size = batch.left.shape[-1]
            at = grid_points(torch.arange(STEP_PX, size - STEP_PX, STEP_PX).float())
            for k in range(len(left)):
                to = map_points(at[None], batch.mapping[k : k + 1])[0]
                seen = ((to > STEP_PX) & (to < size - STEP_PX)).all(1)
                seen &= batch.clear[k, 0, at[:, 1].long(), at[:, 0].long()] > SEEN_SHARE
                here, there = _at(left[k], at[seen], stride), _at(right[k], to[seen], stride)
                same = same + _spread(here - there)
                if not local:
                    other = other + (_spread(here) + _spread(there)) / 2
                    continue
                aside = generator.normal(0, BESIDE_PX, (len(here), 2))
                far = torch.from_numpy(np.hypot(*aside.T) > FARTHER_PX)
                beside = to[seen][far] + torch.from_numpy(aside[far.numpy()]).float()
                other = other + _spread(_at(right[k], beside, stride) - here[far]) / max(float(far.float().mean()), 0.1)
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
    begun = [(network.wide, network.cell_samples, CELL_PX)]
    if isinstance(network, SeasonsBackbone):
        begun.append((network.narrow, network.fine_samples, FEATURE_STRIDE_PX))
    for layer, sample, stride in begun:
        windows = _Windows(network, layer, sample, stride)
        projection = fisher_projection(batches, windows, layer.out_channels, stride, local=stride < CELL_PX)
        layer.weight.data.copy_(projection.T.view(layer.weight.shape) * windows.taper)


class _Windows:
    """Cuts the windows that a layer of a network looks at."""

    def __init__(
        self, network: WindowedTrunk, layer: nn.Conv2d, sample: Callable[[Tensor], Tensor], stride: int
    ) -> None:
        self.network, self.layer, self.sample, self.stride = network, layer, sample, stride
        side = layer.kernel_size[0]
        along = torch.exp(-(torch.linspace(1 / side - 1, 1 - 1 / side, side) ** 2))
        self.taper = along[:, None] * along  # on one side of a product: that of both is a Gaussian of half its side

    def __call__(self, image: Tensor) -> Tensor:
        """Make (N, D, rows, cols) of (N, 1, H, W)."""
        samples = self.sample(self.network.known(whole_detail(image))[0])
        side, dilation = self.layer.kernel_size[0], self.layer.dilation[0]
        rows, cols = (n // self.stride for n in image.shape[-2:])
        windows = functional.unfold(samples, side, dilation=dilation).view(len(image), -1, side**2, rows * cols)
        return (windows * self.taper.flatten()[:, None]).view(len(image), -1, rows, cols)


def filled(pixels: Tensor, valid: Tensor) -> Tensor:
    """Give invalid pixels of (N, 1, H, W) images the mean of the others."""
    mean = (pixels * valid).sum((1, 2, 3), keepdim=True) / valid.sum((1, 2, 3), keepdim=True).clamp_min(1)
    return pixels + (1 - valid) * mean


def _at(windows: Tensor, points: Tensor, stride: int) -> Tensor:
    """Take the (P, D) windows nearest to (P, 2) points."""
    col, row = (points / stride).round().long().T
    rows, cols = windows.shape[1:]
    return windows[:, row.clamp(0, rows - 1), col.clamp(0, cols - 1)].T


def _spread(windows: Tensor) -> np.ndarray:
    return np.asarray((windows.T @ windows).double().numpy())
