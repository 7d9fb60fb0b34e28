"""SuperGlue, written from the paper; it takes the tensors of the authors' ``superglue_outdoor.pth`` or ``_indoor.pth``.

P.-E. Sarlin, D. DeTone, T. Malisiewicz, A. Rabinovich: SuperGlue: Learning Feature Matching with Graph Neural Networks,
CVPR 2020, https://arxiv.org/abs/1911.11763. Sections and equations in the comments are the paper's.
"""

from __future__ import annotations

from itertools import pairwise
from math import log
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

WIDTH = 256
"""Channels of a descriptor (appendix, network architecture)."""
HEADS = 4
LAYERS = 18
"""Layers of attention, within an image and across in turn."""
ITERATIONS = 100
"""Steps of Sinkhorn's algorithm."""


class SuperGlue(nn.Module):
    """Attention within and between two sets of keypoints, and the transport that assigns one to the other."""

    def __init__(self) -> None:
        super().__init__()
        self.kenc = nn.Module()
        self.kenc.encoder = _perceptron((3, 32, 64, 128, 256, WIDTH))
        self.gnn = nn.Module()
        self.gnn.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.final_proj = nn.Conv1d(WIDTH, WIDTH, 1)
        self.bin_score = nn.Parameter(torch.tensor(1.0))

    def forward(
        self,
        left: tuple[Tensor, Tensor, Tensor],
        right: tuple[Tensor, Tensor, Tensor],
        bias: Tensor | None = None,
    ) -> Tensor:
        """Logarithm of the probability that a left and a right keypoint are the same.

        Args:
            left: keypoints (N, 2) from ``normalised``, their scores (N,) as probabilities, descriptors (N, 256).
            right: the same of M keypoints.
            bias: (N, M), added to the scores before the transport; -inf forbids a pair, no keypoint has to have one.

        Returns:
            (N, M); what is missing to 1 in the sum of a row or column is the probability of no partner.
        """
        a, b = (self._embedded(*side) for side in (left, right))
        for k, layer in enumerate(self.gnn.get_submodule("layers").children()):
            # 3.1: first within, then across; both images are updated at once
            sources = (a, b) if k % 2 == 0 else (b, a)
            a, b = a + layer(a, sources[0]), b + layer(b, sources[1])
        a, b = self.final_proj(a), self.final_proj(b)
        scores = a[0].T @ b[0] / WIDTH**0.5  # (7); the authors' tensors expect the division
        return transport(scores if bias is None else scores + bias, self.bin_score)

    def _embedded(self, points: Tensor, scores: Tensor, descriptors: Tensor) -> Tensor:
        position = torch.cat((points, scores[:, None]), 1).T[None]
        embedded: Tensor = descriptors.T[None] + self.kenc.get_submodule("encoder")(position)  # (2)
        return embedded


class Layer(nn.Module):
    """One message to every keypoint of an image: what it attends to in a source, in four ways (3)-(5)."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.Module()
        self.attn.proj = nn.ModuleList(nn.Conv1d(WIDTH, WIDTH, 1) for _ in range(3))
        self.attn.merge = nn.Conv1d(WIDTH, WIDTH, 1)
        self.mlp = _perceptron((2 * WIDTH, 2 * WIDTH, WIDTH))

    def forward(self, x: Tensor, source: Tensor) -> Tensor:
        """What is added to (1, 256, N) for having looked at (1, 256, M)."""
        projections = self.attn.get_submodule("proj").children()
        # The authors' tensors deal channels to the heads in turn, like cards
        query, key, value = (
            project(y).unflatten(1, (-1, HEADS)).permute(0, 2, 3, 1)
            for project, y in zip(projections, (x, source, source), strict=True)
        )
        seen = functional.scaled_dot_product_attention(query, key, value)
        message = self.attn.get_submodule("merge")(seen.permute(0, 3, 1, 2).flatten(1, 2))
        added: Tensor = self.mlp(torch.cat((x, message), 1))
        return added


def _perceptron(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, width in pairwise(widths):
        layers += [nn.Conv1d(before, width, 1), nn.BatchNorm1d(width), nn.ReLU()]
    return nn.Sequential(*layers[:-2])  # the last is linear


def normalised(points: Tensor, size: Tensor) -> Tensor:
    """Positions as the network takes them, about -0.7 to 0.7.

    Args:
        points: (N, 2) x, y, pixel centres at integers, as it was trained.
        size: (2,) width and height of the image.
    """
    return (points - size / 2) / (0.7 * size.max())


def transport(scores: Tensor, dustbin: Tensor, iterations: int = ITERATIONS) -> Tensor:
    """Sinkhorn's algorithm in log space, with a dustbin for what has no partner (3.2, (8)-(10)).

    Each keypoint has a mass of 1, the dustbin of either side has that of all keypoints of the other.

    Args:
        scores: (N, M); -inf forbids a pair.
        dustbin: score of having no partner.
        iterations: steps, each once over the rows and once over the columns.

    Returns:
        (N, M) logarithms of the assignment, without the dustbins.
    """
    n, m = scores.shape
    with_bins = functional.pad(scores, (0, 1, 0, 1))
    with_bins[n] = dustbin
    with_bins[:, m] = dustbin
    rows, columns = scores.new_zeros(n + 1), scores.new_zeros(m + 1)
    rows[n], columns[m] = log(m), log(n)
    u, v = torch.zeros_like(rows), torch.zeros_like(columns)
    for _ in range(iterations):
        u = rows - (with_bins + v).logsumexp(1)
        v = columns - (with_bins + u[:, None]).logsumexp(0)
    return (with_bins + u[:, None] + v)[:n, :m]
