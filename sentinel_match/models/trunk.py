"""The trunk that ``loftr`` stands on: what an image shows, in terms that look alike in every season, coarsely.

As the network of ``evergreen``, but most of its layers lie at a quarter of the resolution. That costs half as much, and
windows of its features bear being turned and scaled better; what 60 m images show from pixel to pixel it loses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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

    def look(self, pixels: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Compute what lies near, joined with what lies around, and what lies around.

        Args:
            pixels: (N, 1, H, W), any linear scale; H and W even.
            valid: (N, 1, H, W), 1 = valid.

        Returns:
            (N, 24, H / 2, W / 2), and (N, 48, H / 4, W / 4), rounded up.
        """
        near = self.stem(functional.pixel_unshuffle(standardised(pixels, valid), FEATURE_STRIDE_PX))
        far: Tensor = self.body(self.down(near))
        wide = functional.interpolate(self.up(far), scale_factor=2, mode="bilinear", align_corners=False)
        joined: Tensor = self.join(torch.cat([near, wide[..., : near.shape[-2], : near.shape[-1]]], 1))
        return joined, far


class TrunkNetwork(Trunk):
    """A trunk while it learns: dense features, as ``evergreen`` has them, which are coarser."""

    logit: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Conv2d(TOP_CHANNELS, FEATURE_CHANNELS, 1)
        self.register_buffer("logit", torch.tensor([[0.5, 5.0, -5.0]] * SUPPORT_COUNT))  # as ``evergreen`` has them

    def forward(self, pixels: Tensor, valid: Tensor) -> Tensor:
        """Compute (N, 12, H / 2, W / 2) features, zero where a pixel they lie on is not valid; see ``evergreen``."""
        features: Tensor = self.out(self.look(pixels, valid)[0])
        return features * -functional.max_pool2d(-valid, FEATURE_STRIDE_PX)


def load(path: Path) -> TrunkNetwork:
    """Load the network of a weights file, for inference.

    Raises:
        WeightsDamaged: it does not fit.
    """
    return fill(TrunkNetwork(), read(path), path)
