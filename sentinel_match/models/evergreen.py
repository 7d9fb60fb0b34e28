"""The network of ``evergreen``: features of an image that look alike in every season.

Fully convolutional, with dilated layers (Yu & Koltun 2016, "Multi-Scale Context Aggregation by Dilated Convolutions")
at half resolution, on pixels standardised by their surroundings. What it says of a place depends on what lies within
some 100 pixels of it, and not on how an image is cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from sentinel_match.models.tensors import fill, read

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

FEATURE_STRIDE_PX = 2
"""Pixels along one feature."""
HIDDEN_CHANNELS, FEATURE_CHANNELS, DILATIONS = 32, 12, (1, 2, 4, 8, 16, 4, 2, 1)
SUPPORT_COUNT = 3
"""Windows of so many sizes have each their own odds of being right."""
SURROUNDINGS_SHRINK = 4
"""Pixels by which an image is reduced before its surroundings are averaged: they are smooth."""


class Block(nn.Module):
    """A dilated layer beside an identity (He et al. 2016)."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same."""
        return functional.relu(x + self.norm(self.conv(x)))


class EvergreenNetwork(nn.Module):
    """Features of an image, one per 2 x 2 pixels."""

    logit: Tensor

    def __init__(self) -> None:
        super().__init__()
        stem = nn.Conv2d(FEATURE_STRIDE_PX**2, HIDDEN_CHANNELS, 3, padding=1, bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(HIDDEN_CHANNELS), nn.ReLU(inplace=True))
        self.body = nn.Sequential(*(Block(HIDDEN_CHANNELS, dilation) for dilation in DILATIONS))
        self.out = nn.Conv2d(HIDDEN_CHANNELS, FEATURE_CHANNELS, 1)
        # Log-odds that a peak is right, as ``phase`` has them: constant, factors of the logarithms of its height and of
        # the strongest other one, for each support; fitted on held-out ground
        self.register_buffer("logit", torch.tensor([[0.5, 5.0, -5.0]] * SUPPORT_COUNT))

    def forward(self, pixels: Tensor, valid: Tensor) -> Tensor:
        """Compute features, zero where a pixel they lie on is not valid.

        Args:
            pixels: (N, 1, H, W), any linear scale; H and W even.
            valid: (N, 1, H, W), 1 = valid.

        Returns:
            (N, 12, H / 2, W / 2).
        """
        x = functional.pixel_unshuffle(standardised(pixels, valid), FEATURE_STRIDE_PX)
        features: Tensor = self.out(self.body(self.stem(x)))
        return features * -functional.max_pool2d(-valid, FEATURE_STRIDE_PX)


def standardised(pixels: Tensor, valid: Tensor) -> Tensor:
    """Standardise pixels: less the mean of what is valid around them, by its standard deviation; 0 where not valid.

    Args:
        pixels: (N, 1, H, W), 0..1.
        valid: (N, 1, H, W), 1 = valid.
    """
    shape = pixels.shape[-2:]

    def around(x: Tensor) -> Tensor:
        x = functional.avg_pool2d(x, SURROUNDINGS_SHRINK, ceil_mode=True, count_include_pad=False)
        for _ in range(2):
            x = functional.avg_pool2d(functional.pad(x, (3, 3, 0, 0), mode="replicate"), (1, 7), 1)
            x = functional.avg_pool2d(functional.pad(x, (0, 0, 3, 3), mode="replicate"), (7, 1), 1)
        x = functional.interpolate(x, scale_factor=SURROUNDINGS_SHRINK, mode="bilinear", align_corners=False)
        return x[..., : shape[0], : shape[1]]

    share = around(valid).clamp_min(1e-3)
    departure = (pixels - around(pixels * valid) / share) * valid
    return departure / ((around(departure**2) / share).clamp_min(0).sqrt() + 0.01)


def load(path: Path) -> EvergreenNetwork:
    """Load the network of a weights file, for inference.

    Raises:
        WeightsDamaged: it does not fit.
    """
    return fill(EvergreenNetwork(), read(path), path)


def fused(network: EvergreenNetwork) -> EvergreenNetwork:
    """Fold the norms into the layers before them: the same function, for inference a fifth faster."""
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    network.eval()
    fuse: Any = fuse_conv_bn_eval
    network.stem[0], network.stem[1] = fuse(network.stem[0], network.stem[1]), nn.Identity()
    for block in network.body:
        block.conv, block.norm = fuse(block.conv, block.norm), nn.Identity()
    return network
