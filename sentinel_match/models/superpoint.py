"""SuperPoint: the authors', written from the paper, and ours, whose points are those that are found again.

D. DeTone, T. Malisiewicz, A. Rabinovich: SuperPoint: Self-Supervised Interest Point Detection and Description, CVPRW
2018, https://arxiv.org/abs/1712.07629. Sections in the comments are the paper's. Both give a score to every pixel and a
descriptor to every cell of 8 x 8 pixels.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from sentinel_match.models.evergreen import FEATURE_STRIDE_PX, Block
from sentinel_match.models.released import SUPERPOINT_V1
from sentinel_match.models.tensors import fill, read
from sentinel_match.models.trunk import (
    CELL_CHANNELS,
    CELL_PX,
    TOP_CHANNELS,
    TRUNK_CHANNELS,
    Convolved,
    WindowedTrunk,
    extended,
    unit,
    whole_detail,
)
from sentinel_match.models.weights import announce

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

STAGE_CHANNELS = 64, 64, 128, 128
SUPERPOINT_CHANNELS = 256
"""Of a descriptor of the authors', and within their heads."""
STAGES = (1, 2, 3, 4)
DETAIL_CHANNELS, HEAD_CHANNELS, WORTH_CHANNELS = 24, 48, 32
"""Of what tells the keypoints of ours: of what the trunk does not look at, of all it shows, and of what they are worth.
"""
HEAD_DILATIONS = (2, 4, 1)
BLUNT_PX = 3
"""Side of the square over which the probability of a keypoint of ours is summed: it knows points to a pixel or so."""


def load(path: Path) -> SuperPoint | SeasonsPoints:
    """Load the network of a weights file, for inference: ours, or the authors'.

    Raises:
        WeightsDamaged: the file fits neither.
    """
    tensors = read(path)
    if "down.0.weight" in tensors:
        return fill(SeasonsPoints(), tensors, path)
    network = fill(SuperPoint(), tensors, path)
    announce(SUPERPOINT_V1)
    return network


class SeasonsPoints(WindowedTrunk):
    """Keypoints that another season shows again, and windows of what is known of seasons as their descriptors."""

    channels = CELL_CHANNELS
    descriptor_px = 0.0
    """Where in its cell a descriptor lies, from the outer corner, x and y."""

    def __init__(self) -> None:
        super().__init__()
        few, many = DETAIL_CHANNELS, HEAD_CHANNELS
        self.detail = nn.Sequential(Convolved(FEATURE_STRIDE_PX**2, few), Block(few, 1))
        self.near = nn.Sequential(
            Convolved(TOP_CHANNELS + few, many),
            *(Block(many, dilation) for dilation in HEAD_DILATIONS),
            nn.Conv2d(many, FEATURE_STRIDE_PX**2, 1),
        )
        self.worth = nn.Sequential(Convolved(TRUNK_CHANNELS, WORTH_CHANNELS, stride=2), nn.Conv2d(WORTH_CHANNELS, 1, 1))

    def heads(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Compute what is learned of keypoints, descriptors, and what the trunk knows.

        Args:
            image: (B, 1, rows, cols); the last cells are completed by repeating the border.

        Returns:
            (B, 64, rows / 8, cols / 8) log-probabilities that the point of a cell is each of its pixels, row by row;
            (B, 1, rows / 8, cols / 8) logit that it is worth something: found again, and known again;
            (B, 128, rows / 8, cols / 8) unit descriptors; and (B, 12, rows / 2, cols / 2) features.
        """
        detail = whole_detail(image)
        features, joined, far = self.known(detail)
        pixels = self.near(torch.cat([joined, self.detail(detail)], 1))
        pixels = functional.pixel_unshuffle(functional.pixel_shuffle(pixels, FEATURE_STRIDE_PX), CELL_PX)
        return pixels.log_softmax(1), self.worth(far), unit(self.wide(self.cell_samples(features))), features

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute scores, descriptors and features of grey images; see :meth:`SuperPoint.forward`.

        A score is the probability that the point lies within a pixel, times that it is worth something.
        """
        rows, cols = image.shape[-2:]
        pixels, worth, descriptors, features = self.heads(image)
        point = functional.pixel_shuffle(pixels.exp(), CELL_PX)
        point = functional.avg_pool2d(point, BLUNT_PX, 1, BLUNT_PX // 2) * BLUNT_PX**2
        worth = functional.interpolate(worth.sigmoid(), scale_factor=CELL_PX, mode="bilinear", align_corners=False)
        return (point * worth)[:, 0, :rows, :cols], descriptors, features


class SuperPoint(nn.Module):
    """The authors': one encoder, two heads."""

    channels = SUPERPOINT_CHANNELS
    descriptor_px = CELL_PX / 2

    def __init__(self) -> None:
        super().__init__()
        for stage, (before, width) in enumerate(pairwise((1, *STAGE_CHANNELS)), start=1):
            self._add(f"{stage}a", before, width)
            self._add(f"{stage}b", width, width)
        for head, out in (("P", CELL_PX**2 + 1), ("D", SUPERPOINT_CHANNELS)):
            self._add(f"{head}a", STAGE_CHANNELS[-1], SUPERPOINT_CHANNELS)
            self.add_module(f"conv{head}b", nn.Conv2d(SUPERPOINT_CHANNELS, out, 1))

    def _add(self, layer: str, before: int, width: int) -> None:
        self.add_module(f"conv{layer}", nn.Conv2d(before, width, 3, padding=1))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Compute scores and descriptors of grey images.

        Args:
            image: (B, 1, rows, cols), 0..1; any size (the last cells are completed by repeating the border).

        Returns:
            (B, rows, cols) probability that a pixel is a keypoint, and (B, channels, ceil(rows / 8), ceil(cols / 8))
            unit descriptors.
        """
        rows, cols = image.shape[-2:]
        x = extended(image)
        for stage in STAGES:
            x = x if stage == 1 else functional.max_pool2d(x, 2)
            x = self._relu(f"{stage}b", self._relu(f"{stage}a", x))
        cells = self.get_submodule("convPb")(self._relu("Pa", x))
        descriptors = self.get_submodule("convDb")(self._relu("Da", x))
        # 3.2: 64 channels are the pixels of a cell, row by row; the 65th says "no keypoint here"
        scores = functional.pixel_shuffle(cells.softmax(1)[:, :-1], CELL_PX)
        return scores[:, 0, :rows, :cols], functional.normalize(descriptors, dim=1)

    def _relu(self, layer: str, x: Tensor) -> Tensor:
        return functional.relu(self.get_submodule(f"conv{layer}")(x), inplace=True)


def sample(descriptors: Tensor, points: Tensor, descriptor_px: float) -> Tensor:
    """Sample descriptors at points, bilinear between where those of cells lie and of unit length again (3.3).

    The authors' code stretches the grid by 3.5 pixels over the image; here a cell's descriptor is at its centre.

    Args:
        descriptors: (C, rows, cols), of one image.
        points: (N, 2) x, y in pixels, corner origin.
        descriptor_px: where in its cell a descriptor lies.

    Returns:
        (N, C).
    """
    size = points.new_tensor([descriptors.shape[2], descriptors.shape[1]]) * CELL_PX
    grid = (2 * (points + CELL_PX / 2 - descriptor_px) / size - 1)[None, None]
    at_points = functional.grid_sample(
        descriptors[None], grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return functional.normalize(at_points[0, :, 0].T, dim=1)
