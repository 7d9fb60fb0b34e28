"""Dense matching: windows on a grid, each correlated around the position the prior expects, helping each other.

Weak texture wants larger windows. Instead of correlating those, the surfaces of neighbouring grid points are averaged,
which adds up what they agree on for a hundredth of the price; each point takes the smallest support that is sure of its
peak. What is correlated, an image or features of it, is the methods' own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sentinel_match.matchers import Matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from sentinel_match.matchers.correlation import Peaks
    from sentinel_match.matchers.prior import GeometricPrior

SURE_PROBABILITY = 0.9
"""A point this sure looks no further around."""


@dataclass(frozen=True)
class Grid:
    """Where windows lie, and how they are compared."""

    spacing: int
    """Pixels between neighbouring points; a multiple of twice the stride."""
    window: int
    """Side of a window in samples."""
    view: str
    """What of the samples is correlated: see :func:`sentinel_match.matchers.correlation.part`."""
    stride: int = 1
    """Pixels along a sample."""

    def points(self, shape: tuple[int, ...]) -> tuple[tuple[int, int], NDArray[np.float64]]:
        """Lay the grid over an image: its rows and columns, and its (N, 2) points x, y in pixels."""
        rows, cols = (np.arange(self.spacing // 2, n, self.spacing) for n in shape)
        x, y = np.meshgrid(cols, rows)
        return (len(rows), len(cols)), np.column_stack([x.ravel(), y.ravel()]).astype(np.float64)

    def looked_at(self, support: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute the side in pixels of what points looked at: the window, and twice the average over its neighbours.

        Args:
            support: (N,) standard deviation of that average in pixels, which counts on both sides.
        """
        return self.window * self.stride + 2.7 * support


class Samples(NamedTuple):
    """What is correlated of one image."""

    images: Sequence[NDArray[Any]]
    """(rows, cols) each, of samples of ``stride`` x ``stride`` pixels."""
    valid: NDArray[np.bool_]
    """(rows, cols) of the same."""


class GridSurfaces(NamedTuple):
    """Correlation around every point of a grid."""

    points: NDArray[np.float64]
    """(N, 2) x, y in pixels of the left image."""
    expected: NDArray[np.float64]
    """(N, 2) in the right one."""
    height: Tensor
    """(rows, cols, K) times ``clear``; K = (2 radius + 1)^2 displacements in samples."""
    clear: Tensor
    """(rows, cols, 1) share of each window that is valid in both images."""
    stride: int

    def tops(self, support: float, spacing: float) -> Peaks:
        """Find the peaks of the averages over neighbours, displacements in pixels.

        Args:
            support: standard deviation of the average in pixels.
            spacing: pixels between neighbours.
        """
        from sentinel_match.matchers.correlation import peaks
        from sentinel_match.models.field import averaged

        mean, total = (averaged(f, support / spacing) for f in (self.height, self.clear))
        side = round(mean.shape[-1] ** 0.5)
        top = peaks((mean / total.clamp_min(1e-6)).reshape(-1, side, side))
        return top._replace(shift=top.shift * self.stride)


def surfaces(
    left: Samples, right: Samples, known: NDArray[np.bool_], prior: GeometricPrior, grid: Grid, device: torch.device
) -> GridSurfaces:
    """Correlate windows around every known point of the left image.

    Args:
        left: samples.
        right: samples.
        known: (rows, cols) pixels of the left image where a point may lie.
        prior: where they should be; its radius is searched, up to nearly half a window.
        grid: where and how.
        device: where to compute.
    """
    import torch

    from sentinel_match.matchers.correlation import Correlator, part

    shape, points = grid.points(known.shape)
    expected = prior.expected(points)
    inner = known[tuple(points.T[::-1].astype(int))]
    radius = max(3, min(int(np.ceil(prior.radius / grid.stride)) + 1, grid.window // 2 - 2))
    height = torch.zeros((len(points), (2 * radius + 1) ** 2), device=device)
    clear = torch.zeros((len(points), 1), device=device)
    if inner.any():
        margin = grid.window // 2 + 2
        at, to = points[inner] / grid.stride, expected[inner] / grid.stride
        one, other = (
            part(side.images, side.valid, where, margin, grid.view, device)
            for side, where in ((left, at), (right, np.round(to)))
        )
        correlation = Correlator(one, other, grid.window, grid.view).surfaces(at, to, radius)
        place = torch.from_numpy(inner).to(device)
        height[place] = (correlation.height * correlation.clear[:, None, None]).flatten(1)
        clear[place] = correlation.clear[:, None]
    return GridSurfaces(points, expected, height.view(*shape, height.shape[1]), clear.view(*shape, 1), grid.stride)


def answered(
    surfaces: GridSurfaces, grid: Grid, prior: GeometricPrior, min_clear: float, odds: Mapping[float, Sequence[float]]
) -> Matches:
    """Match every point of a grid to the peak of its surest surface, where enough of the window is clear.

    Args:
        surfaces: of the grid.
        grid: where windows lie.
        prior: no answer lies further off than it allows.
        min_clear: least share of a window that must be valid in both images.
        odds: for each support in pixels, smallest first: constant, factors of the logarithms of height and second.
    """
    if not bool(surfaces.clear.any()):
        return Matches(np.empty((0, 2)), np.empty((0, 2)), np.empty(0), np.empty(0))

    def answer(support: float) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        top = surfaces.tops(support, grid.spacing)
        return support, top.shift, probability(top, odds[support]) * top.inside

    score, shift, support = surest(map(answer, odds))
    enough = (surfaces.clear.flatten().cpu().numpy() >= min_clear) & (np.hypot(*shift.T) <= prior.radius)
    return Matches(surfaces.points, surfaces.expected + shift, score, grid.looked_at(support)).where(enough)


def probability(top: Peaks, odds: Sequence[float]) -> NDArray[np.float64]:
    """Estimate the (N,) probability that each peak is right, from its height and the strongest other extremum."""
    constant, height, second = odds
    logit = constant + height * np.log(top.quality.clip(1e-3)) + second * np.log(top.second.clip(1e-3))
    return np.asarray(1 / (1 + np.exp(-logit)))


def surest(
    answers: Iterable[tuple[float, NDArray[np.float64], NDArray[np.float64]]],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Choose for each point the answer of the smallest support that is sure, or of the surest.

    Args:
        answers: support in pixels, displacements (N, 2) and probabilities (N,), from the smallest support up.

    Returns:
        Probabilities (N,), displacements (N, 2) and supports (N,); 0 where a window's own peak is the one that its
        neighbours agree on: it is a witness by itself.
    """
    score = shift = support = first_shift = np.empty(0)
    for next_support, next_shift, next_score in answers:
        if not len(first_shift):
            score, shift, first_shift = next_score.copy(), next_shift.copy(), next_shift
            support = np.full(len(score), next_support)
            continue
        better = (next_score > score) & (score < SURE_PROBABILITY)
        score[better], shift[better], support[better] = next_score[better], next_shift[better], next_support
    if len(first_shift):
        support[np.hypot(*(shift - first_shift).T) < 0.5] = 0
    return score, shift, support


def likely(matches: Matches, valid: NDArray[np.bool_], prior: GeometricPrior, least: float) -> Matches:
    """Keep those that lead to valid ground and are likely, also after what lies there has been considered.

    Args:
        matches: with probabilities.
        valid: (rows, cols) of the right image.
        prior: knows what lies where.
        least: probability.
    """
    col, row = np.floor(matches.right).astype(int).T
    rows, cols = valid.shape
    keep = (matches.score >= least) & (col >= 0) & (row >= 0) & (col < cols) & (row < rows)
    keep[keep] = valid[row[keep], col[keep]]
    matches = matches.where(keep)
    likeness = prior.likeness(matches.left, matches.right)
    score = 1 / (1 + np.exp(-likeness) * (1 / np.clip(matches.score, 1e-6, 1 - 1e-6) - 1))
    return replace(matches, score=score).where(score >= least)
