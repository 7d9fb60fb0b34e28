"""SuperPoint, written from the paper; it takes the tensors of the authors' ``superpoint_v1.pth``, and narrower ones.

D. DeTone, T. Malisiewicz, A. Rabinovich: SuperPoint: Self-Supervised Interest Point Detection and Description, CVPRW
2018, https://arxiv.org/abs/1712.07629. Sections in the comments are the paper's.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from sentinel_match.models.evergreen import standardised
from sentinel_match.models.released import SUPERPOINT_V1
from sentinel_match.models.tensors import fill, read
from sentinel_match.models.weights import announce

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

SUPERPOINT_CELL = 8
"""Pixels along one side of a cell, after three poolings (3.1)."""
STAGES = (1, 2, 3, 4)
CORNER_REACH_PX = 2
"""Pixels by which the compact network may be wrong about a corner."""
EVEN_EIGENVALUE = 1e-8
"""Eigenvalue up to which ground is even: gradients of a ten-thousandth of the range a pixel."""
CORNER_AROUND_PX = 33
"""Pixels of the mean that a corner stands out from, as in the labels."""


class SuperPointShape(NamedTuple):
    """How wide a SuperPoint is."""

    widths: tuple[int, ...] = (64, 64, 128, 128)
    """Channels of the encoder's stages."""
    head: int = 256
    """Channels within a head."""
    channels: int = 256
    """Of a descriptor."""
    normed: bool = False
    """Whether every layer but the last of a head is normalised (batch normalisation, Ioffe & Szegedy 2015), and pixels
    are standardised by their surroundings before the first: the authors do neither."""


ORIGINAL_SUPERPOINT = SuperPointShape()
"""The authors' own."""
COMPACT_SUPERPOINT = SuperPointShape((24, 32, 64, 96), 128, 128, normed=True)
"""What is trained here: a third of the weights, and 0.5 CPU seconds a megapixel where the original takes 2.8."""


def shape_of(tensors: Mapping[str, Tensor]) -> SuperPointShape:
    """Read the shape of a network from its tensors; the original's where they are of none."""
    layers = [*(f"conv{stage}a" for stage in STAGES), "convPa", "convDb"]
    if any(f"{layer}.weight" not in tensors for layer in layers):
        return ORIGINAL_SUPERPOINT
    *widths, head, channels = (len(tensors[f"{layer}.weight"]) for layer in layers)
    return SuperPointShape(tuple(widths), head, channels, "norm1a.weight" in tensors)


def load(path: Path) -> SuperPoint:
    """Load the network of a weights file, for inference; its shape is that of the tensors.

    Raises:
        WeightsDamaged: they are of no SuperPoint.
    """
    tensors = read(path)
    network = fill(SuperPoint(shape_of(tensors)), tensors, path)
    if network.shape == ORIGINAL_SUPERPOINT:
        announce(SUPERPOINT_V1)
    return network


class SuperPoint(nn.Module):
    """One encoder, two heads: a score for every pixel, a descriptor for every cell of 8 x 8 pixels."""

    def __init__(self, shape: SuperPointShape = ORIGINAL_SUPERPOINT) -> None:
        super().__init__()
        self.shape = shape
        for stage, (before, width) in enumerate(pairwise((1, *shape.widths)), start=1):
            self._add(f"{stage}a", before, width)
            self._add(f"{stage}b", width, width)
        for head, out in (("P", SUPERPOINT_CELL**2 + 1), ("D", shape.channels)):
            self._add(f"{head}a", shape.widths[-1], shape.head)
            self.add_module(f"conv{head}b", nn.Conv2d(shape.head, out, 1))

    def _add(self, layer: str, before: int, width: int) -> None:
        self.add_module(f"conv{layer}", nn.Conv2d(before, width, 3, padding=1))
        if self.shape.normed:
            self.add_module(f"norm{layer}", nn.BatchNorm2d(width))

    def forward(self, image: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute scores and descriptors of grey images.

        Args:
            image: (B, 1, rows, cols), 0..1; any size (the last cells are completed by repeating the border).
            valid: (B, 1, rows, cols), 1 = valid, for a network that standardises; everything when not given.

        Returns:
            (B, rows, cols) probability that a pixel is a keypoint, and (B, channels, ceil(rows / 8), ceil(cols / 8))
            unit descriptors.
        """
        rows, cols = image.shape[-2:]
        cells, descriptors = self.heads(image, valid)
        scores = functional.pixel_shuffle(cells.softmax(1)[:, :-1], SUPERPOINT_CELL)
        return scores[:, 0, :rows, :cols], descriptors

    def heads(self, image: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute as ``forward`` does, but (B, 65, ceil(rows / 8), ceil(cols / 8)) logits in place of scores.

        3.2: 64 channels are the pixels of a cell, row by row; the 65th says "no keypoint here".
        """
        if self.shape.normed:
            image = standardised(image, torch.ones_like(image) if valid is None else valid)
        rows, cols = image.shape[-2:]
        x = functional.pad(image, (0, -cols % SUPERPOINT_CELL, 0, -rows % SUPERPOINT_CELL), mode="replicate")
        for stage in STAGES:
            x = x if stage == 1 else functional.max_pool2d(x, 2)
            x = self._relu(f"{stage}b", self._relu(f"{stage}a", x))
        cells = self.get_submodule("convPb")(self._relu("Pa", x))
        descriptors = self.get_submodule("convDb")(self._relu("Da", x))
        return cells, functional.normalize(descriptors, dim=1)

    def _relu(self, layer: str, x: Tensor) -> Tensor:
        x = self.get_submodule(f"conv{layer}")(x)
        if self.shape.normed:
            x = self.get_submodule(f"norm{layer}")(x)
        return functional.relu(x, inplace=True)


def sample(descriptors: Tensor, points: Tensor) -> Tensor:
    """Sample descriptors at points, bilinear between the centres of the cells and of unit length again (3.3).

    The authors' code stretches the grid by 3.5 pixels over the image; here a cell's descriptor is at its centre.

    Args:
        descriptors: (C, rows, cols), of one image.
        points: (N, 2) x, y in pixels, corner origin.

    Returns:
        (N, C).
    """
    size = points.new_tensor([descriptors.shape[2], descriptors.shape[1]]) * SUPERPOINT_CELL
    grid = (2 * points / size - 1)[None, None]
    at_points = functional.grid_sample(
        descriptors[None], grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return functional.normalize(at_points[0, :, 0].T, dim=1)


def at_corners(score: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """Score the corners of an image, zero elsewhere, and tell how much each pixel is one.

    The compact network knows which corners last, less exactly where they are, and how distinct: it is taught by the
    smaller eigenvalue of the structure tensor (Shi & Tomasi 1994, "Good Features to Track"), which is here to say both.
    On unseen ground the product finds a tenth more right matches than the probability alone.

    Args:
        score: (rows, cols) probabilities.
        image: (rows, cols), 0..1.

    Returns:
        (rows, cols) probability that a keypoint lies within ``CORNER_REACH_PX`` pixels, where there is a corner, times
        its eigenvalue over the mean around it; and (rows, cols) logarithm of the eigenvalue.
    """
    smooth = image.new_tensor([0.0545, 0.2442, 0.4026, 0.2442, 0.0545])  # a Gaussian of one pixel
    blurred = _separable(image[None, None], smooth, smooth)
    slope, mean = image.new_tensor([-0.5, 0.0, 0.5]), image.new_tensor([0.25, 0.5, 0.25])
    gx, gy = _separable(blurred, mean, slope), _separable(blurred, slope, mean)
    xx, yy, xy = (functional.avg_pool2d(g, 5, 1, 2)[0, 0] for g in (gx * gx, gy * gy, gx * gy))
    eigenvalue = (xx + yy) / 2 - torch.hypot((xx - yy) / 2, xy)
    strength = eigenvalue.clamp_min(1e-12).log()
    top = functional.max_pool2d(strength[None, None], 3, 1, 1)[0, 0]
    side = 2 * CORNER_REACH_PX + 1
    nearby = functional.avg_pool2d(score[None, None], side, 1, CORNER_REACH_PX)[0, 0] * side**2
    mean = functional.avg_pool2d(
        eigenvalue[None, None], CORNER_AROUND_PX, 1, CORNER_AROUND_PX // 2, count_include_pad=False
    )[0, 0]
    corner = (strength == top) & (eigenvalue > EVEN_EIGENVALUE)
    return torch.where(corner, nearby * eigenvalue / mean.clamp_min(EVEN_EIGENVALUE), 0), strength


def _separable(image: Tensor, along: Tensor, across: Tensor) -> Tensor:
    rows, cols = len(along) // 2, len(across) // 2
    padded = functional.pad(image, (cols, cols, rows, rows), mode="replicate")
    return functional.conv2d(functional.conv2d(padded, along[None, None, :, None]), across[None, None, None])


def fused(network: SuperPoint) -> SuperPoint:
    """Fold the norms into the layers before them: the same function, for inference a third faster."""
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    fuse: Any = fuse_conv_bn_eval
    for name in [name for name, _ in network.named_children() if name.startswith("norm")]:
        layer = name.replace("norm", "conv")
        network.add_module(layer, fuse(network.get_submodule(layer), network.get_submodule(name)))
        network.add_module(name, nn.Identity())
    return network
