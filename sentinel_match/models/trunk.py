"""The trunk that ``loftr`` and ``superpoint`` stand on: what an image shows, alike in every season, coarsely.

As the network of ``evergreen``, but most of its layers lie at a quarter of the resolution. That costs half as much, and
windows of its features bear being turned and scaled better; what 60 m images show from pixel to pixel it loses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import torch
from torch import nn
from torch.nn import functional

from sentinel_match.models.evergreen import FEATURE_CHANNELS, FEATURE_STRIDE_PX, SUPPORT_COUNT, Block, standardised
from sentinel_match.models.tensors import fill, read

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

NEAR_CHANNELS, TRUNK_CHANNELS, TOP_CHANNELS = 16, 48, 24
TRUNK_DILATIONS = (1, 2, 4, 8, 4, 2, 1)
CELL_PX = 8
"""Pixels along a cell, which has a descriptor."""
CELL_CHANNELS = 128
CELL_WINDOW = 10
"""Samples along the window of a cell, each the mean of 8 x 8 pixels."""


class Convolved(nn.Sequential):
    """A layer of 3 x 3, normed and cut off at zero."""

    def __init__(self, many: int, width: int, stride: int = 1) -> None:
        conv = nn.Conv2d(many, width, 3, stride, padding=1, bias=False)
        super().__init__(conv, nn.BatchNorm2d(width), nn.ReLU(inplace=True))


class Trunk(nn.Module):
    """Looks at an image: far at a quarter of its resolution, near at half."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(Convolved(FEATURE_STRIDE_PX**2, NEAR_CHANNELS), Block(NEAR_CHANNELS, 1))
        self.down = Convolved(NEAR_CHANNELS, TRUNK_CHANNELS, stride=2)
        self.body = nn.Sequential(*(Block(TRUNK_CHANNELS, dilation) for dilation in TRUNK_DILATIONS))
        self.up = nn.Conv2d(TRUNK_CHANNELS, NEAR_CHANNELS, 1)
        self.join = Convolved(2 * NEAR_CHANNELS, TOP_CHANNELS)

    def look(self, detail: Tensor) -> tuple[Tensor, Tensor]:
        """Compute what lies near, joined with what lies around, and what lies around.

        Args:
            detail: (N, 4, H / 2, W / 2) of :func:`detail_of`.

        Returns:
            (N, 24, H / 2, W / 2), and (N, 48, H / 4, W / 4), rounded up.
        """
        near = self.stem(detail)
        far: Tensor = self.body(self.down(near))
        wide = functional.interpolate(self.up(far), scale_factor=2, mode="bilinear", align_corners=False)
        joined: Tensor = self.join(torch.cat([near, wide[..., : near.shape[-2], : near.shape[-1]]], 1))
        return joined, far


def detail_of(pixels: Tensor, valid: Tensor) -> Tensor:
    """Standardise pixels, and lay each 2 x 2 of them in channels.

    Args:
        pixels: (N, 1, H, W), any linear scale; H and W even.
        valid: (N, 1, H, W), 1 = valid.

    Returns:
        (N, 4, H / 2, W / 2).
    """
    return functional.pixel_unshuffle(standardised(pixels, valid), FEATURE_STRIDE_PX)


class WindowedTrunk(Trunk):
    """A trunk that learns no more, and windows of its features: what it knows of seasons, as descriptors of cells."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Conv2d(TOP_CHANNELS, FEATURE_CHANNELS, 1)
        self.wide = nn.Conv2d(FEATURE_CHANNELS, CELL_CHANNELS, CELL_WINDOW, bias=False)

    def known(self, detail: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute what the trunk knows: its features, (N, 12, H / 2, W / 2), and what :meth:`look` returns."""
        with torch.no_grad():
            joined, far = self.look(detail)
            return self.out(joined), joined, far

    def cell_samples(self, features: Tensor) -> Tensor:
        """Compute (N, 12, H / 8 + 9, W / 8 + 9) of its features: windows lie around the outer corner of each cell."""
        before = CELL_WINDOW // 2
        return functional.pad(functional.avg_pool2d(features, CELL_PX // FEATURE_STRIDE_PX), (before, before - 1) * 2)

    def train(self, mode: bool = True) -> Self:
        """Set what learns to training."""
        super().train(mode)
        for part in (self.stem, self.down, self.body, self.up, self.join, self.out):
            part.eval()
        return self


def extended(image: Tensor) -> Tensor:
    """Extend (N, 1, H, W) to multiples of a cell by repeating its border."""
    border = (0, -image.shape[-1] % CELL_PX, 0, -image.shape[-2] % CELL_PX)
    return functional.pad(image, border, mode="replicate")


def whole_detail(image: Tensor) -> Tensor:
    """Make :func:`detail_of` an image (N, 1, H, W) of which all is valid, extended."""
    image = extended(image)
    return detail_of(image, torch.ones_like(image))


def unit(features: Tensor) -> Tensor:
    """Divide (N, C, H, W) features by their length over C."""
    return functional.normalize(features, dim=1, eps=1e-6)


class TrunkNetwork(Trunk):
    """A trunk while it learns: dense features, as ``evergreen`` has them, which are coarser."""

    logit: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Conv2d(TOP_CHANNELS, FEATURE_CHANNELS, 1)
        self.register_buffer("logit", torch.tensor([[0.5, 5.0, -5.0]] * SUPPORT_COUNT))  # as ``evergreen`` has them

    def forward(self, pixels: Tensor, valid: Tensor) -> Tensor:
        """Compute (N, 12, H / 2, W / 2) features, zero where a pixel they lie on is not valid; see ``evergreen``."""
        features: Tensor = self.out(self.look(detail_of(pixels, valid))[0])
        return features * -functional.max_pool2d(-valid, FEATURE_STRIDE_PX)


def load(path: Path) -> TrunkNetwork:
    """Load the network of a weights file, for inference.

    Raises:
        WeightsDamaged: it does not fit.
    """
    return fill(TrunkNetwork(), read(path), path)
