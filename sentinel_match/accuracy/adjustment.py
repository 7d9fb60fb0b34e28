"""A series of acquisitions: one offset for each, from the shifts of the pairs between them, and what does not close.

A pair measures the difference of two offsets, right minus left. More pairs than acquisitions over-determine them, so
least squares (Mikhail & Ackermann 1976, "Observations and Least Squares") gives each offset with its standard
deviation, the residual of each pair, and round every triangle of pairs a closure that should be zero. Offsets are
relative: zero is the median of all acquisitions that are linked, so one that disagrees stands out against the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sentinel_match.summary import Summary

LEAST = 3
"""Acquisitions that make a series: two have one pair, which nothing can contradict."""
FLOOR_PX = 0.02
"""Standard deviation of a pair's shift that no number of points removes: shadows and crops move with the season."""
CUT = 3.0
"""Residuals beyond so many standard deviations count less and less (Huber 1964), and are named."""
APART_PX = 0.05
"""An acquisition disagrees when it lies further from the median than this and than ``CUT`` of its standard deviations,
and the scatter of the others does not explain it."""
CHANCE = 0.1
"""Of naming an acquisition in one axis where all are alike."""
ROUNDS = 30
SOLVED_AT_ONCE = 256
"""Acquisitions whose variances are computed at once."""


class Link(NamedTuple):
    """What one pair says of a series."""

    left: str
    """Name of an acquisition."""
    right: str
    shift: tuple[float, float]
    """Right minus left, metres east and north."""
    sigma: tuple[float, float]
    """Standard deviation of it, metres."""
    gsd: float
    """Metres per pixel at which it was measured."""


@dataclass(frozen=True, eq=False)
class Series:
    """Acquisitions that pairs link, adjusted together; N acquisitions and M pairs."""

    names: tuple[str, ...]
    offset: NDArray[np.float64]
    """(N, 2) metres east and north by which each acquisition shows the ground off the median of all."""
    sigma: NDArray[np.float64]
    """(N, 2) its standard deviation, metres."""
    pairs: NDArray[np.int64]
    """(N,) pairs that each takes part in."""
    apart: NDArray[np.bool_]
    """(N, 2) whether it disagrees with the others, east and north."""
    links: tuple[Link, ...]
    residual: NDArray[np.float64]
    """(M, 2) what a pair measured less what the offsets say, metres."""
    doubtful: NDArray[np.bool_]
    """(M,) whether a pair contradicts the others."""
    unit: tuple[float, float]
    """Standard deviation of unit weight, east and north: 1 where pairs contradict each other as much as their own
    uncertainty lets one expect; at least 1 is used for ``sigma``. 1 where nothing is over-determined."""
    gsd: float
    """Metres per pixel, the median of the pairs."""

    @property
    def redundancy(self) -> int:
        """Count the pairs beyond those that link the acquisitions."""
        return len(self.links) - len(self.names) + 1


class Loop(NamedTuple):
    """Three acquisitions of which each two are a pair."""

    names: tuple[str, str, str]
    closure: tuple[float, float]
    """Shift from the first to the second to the third and back, metres: zero where nothing is wrong."""


def adjust(links: Sequence[Link]) -> list[Series]:
    """Adjust the offsets of the acquisitions of each set that pairs link, the largest set first.

    Args:
        links: pairs; shifts of one set must be in one frame (one CRS).

    Returns:
        One entry per set of at least ``LEAST`` acquisitions.
    """
    sets = [s for s in _linked(links) if len({n for link in s for n in link[:2]}) >= LEAST]
    return sorted((_adjusted(s) for s in sets), key=lambda s: -len(s.names))


def loops(links: Sequence[Link]) -> list[Loop]:
    """List every triangle of pairs, and by how much it does not close, the worst first."""
    shift = {(link.left, link.right): np.asarray(link.shift) for link in links}
    shift |= {(right, left): -value for (left, right), value in shift.items()}
    neighbours: dict[str, set[str]] = {}
    for a, b in shift:
        neighbours.setdefault(a, set()).add(b)
    found = [
        Loop((a, b, c), _two(shift[a, b] + shift[b, c] + shift[c, a]))
        for a in sorted(neighbours)
        for b, c in combinations(sorted(n for n in neighbours[a] if n > a), 2)
        if c in neighbours[b]
    ]
    return sorted(found, key=lambda loop: -float(np.hypot(*loop.closure)))


def _linked(links: Sequence[Link]) -> list[list[Link]]:
    """Split links into those of each connected set."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    names = sorted({n for link in links for n in link[:2]})
    index = {n: k for k, n in enumerate(names)}
    ends = np.array([[index[link.left], index[link.right]] for link in links]).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends)), ends.T), shape=(len(names),) * 2)
    _, label = connected_components(graph, directed=False)
    sets: dict[int, list[Link]] = {}
    for link, end in zip(links, ends, strict=True):
        sets.setdefault(int(label[end[0]]), []).append(link)
    return list(sets.values())


def _adjusted(links: list[Link]) -> Series:
    from scipy.sparse import coo_array

    names = tuple(sorted({n for link in links for n in link[:2]}))
    index = {n: k for k, n in enumerate(names)}
    ends = np.array([[index[link.left], index[link.right]] for link in links])
    design = coo_array((np.tile([-1.0, 1.0], len(links)), (np.arange(len(links)).repeat(2), ends.ravel())))
    shift = np.array([link.shift for link in links])
    gsd = float(np.median([link.gsd for link in links]))
    expected = np.hypot([link.sigma for link in links], FLOOR_PX * np.array([[link.gsd] for link in links]))
    # The first stands still while the others are solved for: so there is one answer
    columns = [_solved(design.tocsc()[:, 1:], shift[:, k], expected[:, k]) for k in (0, 1)]
    offset, sigma, residual, unit, strange = (np.stack(c, -1) for c in zip(*columns, strict=True))
    offset -= np.median(offset, axis=0)
    apart = np.stack([_outlying(offset[:, k]) for k in (0, 1)], -1)
    apart &= np.abs(offset) > np.maximum(CUT * sigma, APART_PX * gsd)
    pairs = np.bincount(ends.ravel(), minlength=len(names))
    return Series(
        names, offset, sigma, pairs, apart, tuple(links), residual, np.asarray(strange.any(1)), _two(unit), gsd
    )


def _two(values: NDArray[np.float64]) -> tuple[float, float]:
    return float(values[0]), float(values[1])


def _solved(
    design: Any, shift: NDArray[np.float64], expected: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float, NDArray[np.bool_]]:
    """Solve for offsets, their standard deviations, residuals, that of unit weight, and who contradicts the others.

    Sparse, for a pair has two acquisitions however many there are: 800 of them take 0.2 s, with full matrices 5.7, and
    3,000 take 1.4 s.
    """
    from scipy.sparse.linalg import splu

    weight = expected**-2.0
    down = np.ones(len(shift))
    free = len(shift) - design.shape[1]
    for _ in range(ROUNDS):
        normal = splu((design.T.multiply(weight * down) @ design).tocsc())
        offset = normal.solve(design.T @ (weight * down * shift))
        residual = shift - design @ offset
        off = np.abs(residual) / expected
        unit = max(1.0, 1.4826 * float(np.median(off)) * np.sqrt(len(shift) / free)) if free else 1.0
        renewed = np.minimum(1, CUT * unit / np.maximum(off, 1e-12))
        if np.allclose(renewed, down, atol=1e-6):
            break
        down = renewed
    sigma = unit * np.sqrt(_variance(splu((design.T.multiply(weight * down) @ design).tocsc())))
    variance = float((down * (residual / expected) ** 2).sum() / free) if free else 1.0
    return np.concatenate([[0.0], offset]), sigma, residual, float(np.sqrt(variance)), off > CUT * unit


def _variance(normal: Any) -> NDArray[np.float64]:
    """Compute (N,) the variances of offsets off their mean, of equations solved while the first stands still."""
    count = normal.shape[0]
    own, total = np.zeros(count + 1), np.zeros(count + 1)
    for first in range(0, count, SOLVED_AT_ONCE):
        some = np.arange(first, min(first + SOLVED_AT_ONCE, count))
        asked = np.zeros((count, len(some)))
        asked[some, some - first] = 1
        columns = normal.solve(asked)
        own[some + 1], total[some + 1] = columns[some, some - first], columns.sum(0)
    many = count + 1
    return np.asarray(np.clip(own - 2 * total / many + total.sum() / many**2, 0, None))


def _outlying(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Find (N,) which of some values are none of a normal distribution that the others are of.

    The generalised extreme Studentised deviate test, of up to a third of them (Rosner 1983, "Percentage Points for a
    Generalized ESD Many-Outlier Procedure"): two that lie aside together do not hide each other.
    """
    from scipy.special import stdtrit

    n, left, taken, number = len(values), np.arange(len(values)), [], 0
    for i in range(1, n // 3 + 1):
        spread = values[left].std(ddof=1)
        off = np.abs(values[left] - values[left].mean()) / max(spread, 1e-12)
        worst = int(off.argmax())
        t = stdtrit(n - i - 1, 1 - CHANCE / (2 * (n - i + 1)))
        bound = (n - i) * t / np.sqrt((n - i - 1 + t**2) * (n - i + 1))
        taken.append(left[worst])
        number = i if off[worst] > bound else number
        left = np.delete(left, worst)
    found = np.zeros(n, bool)
    found[taken[:number]] = True
    return found


def link_of(left: str, right: str, summary: Summary) -> Link:
    """Take from a summary what the tie points of a pair say of a series."""
    return Link(left, right, (summary.median_dx_m, summary.median_dy_m), summary.shift_sigma_m, summary.gsd_m)
