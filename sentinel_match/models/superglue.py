"""SuperGlue, written from the paper: for the authors' ``superglue_outdoor.pth`` or ``_indoor.pth``, and narrower ones.

P.-E. Sarlin, D. DeTone, T. Malisiewicz, A. Rabinovich: SuperGlue: Learning Feature Matching with Graph Neural Networks,
CVPR 2020, https://arxiv.org/abs/1911.11763. Sections and equations in the comments are the paper's.
"""

from __future__ import annotations

from itertools import pairwise
from math import log
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from sentinel_match.models.released import SUPERGLUE_OUTDOOR
from sentinel_match.models.tensors import fill, read
from sentinel_match.models.weights import announce

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

ATTENTION_HEADS = 4
SINKHORN_STEPS = 100
"""Steps of Sinkhorn's algorithm."""


class SuperGlueShape(NamedTuple):
    """How wide and deep a SuperGlue is."""

    encoder: tuple[int, ...] = (32, 64, 128, 256, 256)
    """Channels of the layers that embed a position; the last is those of a descriptor (appendix)."""
    layers: int = 18
    """Of attention, within an image and across in turn."""

    @property
    def width(self) -> int:
        """Count the channels of a descriptor."""
        return self.encoder[-1]


ORIGINAL_SUPERGLUE = SuperGlueShape()
"""The authors' own."""
COMPACT_SUPERGLUE = SuperGlueShape((32, 64, 128), 8)
"""What is trained here: a ninth of the weights."""


def shape_of(tensors: Mapping[str, Tensor]) -> SuperGlueShape:
    """Read the shape of a network from its tensors; the original's where they are of none."""
    # Convolutions, not norms
    encoder = [len(t) for name, t in tensors.items() if name.startswith("kenc.encoder.") and t.ndim == 3]
    layers = {name.split(".")[2] for name in tensors if name.startswith("gnn.layers.")}
    return SuperGlueShape(tuple(encoder), len(layers)) if encoder and layers else ORIGINAL_SUPERGLUE


def load(path: Path) -> SuperGlue:
    """Load the network of a weights file, for inference; its shape is that of the tensors.

    Raises:
        WeightsDamaged: they are of no SuperGlue.
    """
    tensors = read(path)
    network = fill(SuperGlue(shape_of(tensors)), tensors, path)
    if network.shape == ORIGINAL_SUPERGLUE:
        announce(SUPERGLUE_OUTDOOR)
    return network


class SuperGlue(nn.Module):
    """Attention within and between two sets of keypoints, and the transport that assigns one to the other."""

    def __init__(self, shape: SuperGlueShape = ORIGINAL_SUPERGLUE) -> None:
        super().__init__()
        self.shape = shape
        self.kenc = nn.Module()
        self.kenc.encoder = _perceptron((3, *shape.encoder))
        self.gnn = nn.Module()
        self.gnn.layers = nn.ModuleList(AttentionLayer(shape.width) for _ in range(shape.layers))
        self.final_proj = nn.Conv1d(shape.width, shape.width, 1)
        self.bin_score = nn.Parameter(torch.tensor(1.0))

    def forward(
        self,
        left: tuple[Tensor, Tensor, Tensor],
        right: tuple[Tensor, Tensor, Tensor],
        bias: Tensor | None = None,
    ) -> Tensor:
        """Compute the logarithm of the probability that two keypoints are the same: ``assignment`` less its bins.

        Returns:
            (N, M); what is missing to 1 in the sum of a row or column is the probability of no partner.
        """
        return self.assignment(left, right, bias)[:-1, :-1]

    def assignment(
        self,
        left: tuple[Tensor, Tensor, Tensor],
        right: tuple[Tensor, Tensor, Tensor],
        bias: Tensor | None = None,
        iterations: int = SINKHORN_STEPS,
    ) -> Tensor:
        """Compute the logarithm of the probability that two keypoints are the same, or have no partner.

        Args:
            left: keypoints (N, 2) from ``normalised``, their scores (N,) as probabilities, descriptors (N, width).
            right: the same of M keypoints.
            bias: (N, M), added to the scores before the transport; -inf forbids a pair, no keypoint has to have one.
            iterations: of Sinkhorn's algorithm.

        Returns:
            (N + 1, M + 1); the last row and column are of no partner.
        """
        a, b = (self._embedded(*side) for side in (left, right))
        for k, layer in enumerate(self.gnn.get_submodule("layers").children()):
            # 3.1: first within, then across; both images are updated at once
            sources = (a, b) if k % 2 == 0 else (b, a)
            a, b = a + layer(a, sources[0]), b + layer(b, sources[1])
        a, b = self.final_proj(a), self.final_proj(b)
        scores = a[0].T @ b[0] / self.shape.width**0.5  # (7); the authors' tensors expect the division
        return with_bins(scores if bias is None else scores + bias, self.bin_score, iterations)

    def _embedded(self, points: Tensor, scores: Tensor, descriptors: Tensor) -> Tensor:
        position = torch.cat((points, scores[:, None]), 1).T[None]
        features: Tensor = descriptors.T[None] + self.kenc.get_submodule("encoder")(position)  # (2)
        return features


class AttentionLayer(nn.Module):
    """One message to every keypoint of an image: what it attends to in a source, in four ways (3)-(5)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn = nn.Module()
        self.attn.proj = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(3))
        self.attn.merge = nn.Conv1d(width, width, 1)
        self.mlp = _perceptron((2 * width, 2 * width, width))

    def forward(self, x: Tensor, source: Tensor) -> Tensor:
        """Compute what is added to (1, width, N) for having looked at (1, width, M)."""
        projections = self.attn.get_submodule("proj").children()
        # The authors' tensors deal channels to the heads in turn, like cards
        query, key, value = (
            project(y).unflatten(1, (-1, ATTENTION_HEADS)).permute(0, 2, 3, 1)
            for project, y in zip(projections, (x, source, source), strict=True)
        )
        attention = functional.scaled_dot_product_attention(query, key, value)
        message = self.attn.get_submodule("merge")(attention.permute(0, 3, 1, 2).flatten(1, 2))
        change: Tensor = self.mlp(torch.cat((x, message), 1))
        return change


def _perceptron(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, width in pairwise(widths):
        layers += [nn.Conv1d(before, width, 1), nn.BatchNorm1d(width), nn.ReLU()]
    return nn.Sequential(*layers[:-2])  # the last is linear


def normalised(points: Tensor, size: Tensor) -> Tensor:
    """Turn positions into those that the network takes, about -0.7 to 0.7.

    Args:
        points: (N, 2) x, y, pixel centres at integers, as it was trained.
        size: (2,) width and height of the image.
    """
    return (points - size / 2) / (0.7 * size.max())


def with_bins(scores: Tensor, dustbin: Tensor, iterations: int = SINKHORN_STEPS) -> Tensor:
    """Assign by Sinkhorn's algorithm in log space, with a dustbin for what has no partner (3.2, (8)-(10)).

    Each keypoint has a mass of 1, the dustbin of either side has that of all keypoints of the other.

    Args:
        scores: (N, M); -inf forbids a pair.
        dustbin: score of having no partner.
        iterations: steps, each once over the rows and once over the columns.

    Returns:
        (N + 1, M + 1) logarithms of the assignment.
    """
    n, m = scores.shape
    whole = torch.cat((torch.cat((scores, dustbin.expand(n, 1)), 1), dustbin.expand(1, m + 1)))
    rows, columns = scores.new_zeros(n + 1), scores.new_zeros(m + 1)
    rows[n], columns[m] = log(m), log(n)
    u, v = torch.zeros_like(rows), torch.zeros_like(columns)
    for _ in range(iterations):
        u = rows - (whole + v).logsumexp(1)
        v = columns - (whole + u[:, None]).logsumexp(0)
    return whole + u[:, None] + v
