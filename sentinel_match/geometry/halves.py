"""What the two halves of a spectrum tell of answers on a lattice: noise apart from ground, near and far.

Every answer comes with two that were made from one half of the spectrum each. The ground moves both, and noise hardly
moves them alike: products of one half with the other are free of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

LatticePart: TypeAlias = slice | tuple[slice, slice]
"""Index of a part of a lattice."""
NOISE_RATIO = 1.44
"""Variance of an answer over that of half the difference of its halves: they share a fifth of their noise."""
SHARED_NOISE = 0.3
"""Least part of an answer's noise variance that its halves share, of the ``NOISE_RATIO - 1`` measured."""
MOST_CONTENT = 20.0
"""Times its noise that a season moves the content of a window, variances: up to 16 between winter and summer of five
places. What is more is the ground's, however fast it changes."""
LAGS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
"""Nodes between pairs of which the structure function is made."""
APART = (3, 4, 5, 6)
"""Nodes between windows of 32 pixels, 14 apart, that share none, and not yet much else."""
FEWEST_PAIRS = 30
"""Pairs that make a value of it."""


class Answers(NamedTuple):
    """Displacements measured at the nodes of a lattice, pixels."""

    whole: NDArray[np.float64]
    """(rows, cols, 2) x, y by the whole spectrum; anything where ``weight`` is 0."""
    one: NDArray[np.float64]
    """(rows, cols, 2) by one half of it."""
    other: NDArray[np.float64]
    """(rows, cols, 2) by the other half."""
    weight: NDArray[np.float64]
    """(rows, cols) inverse variance, 0 where there is no answer."""
    single: NDArray[np.bool_]
    """(rows, cols) made from a window of its own, not from the average of neighbours that stands in for one."""


def pairs(single: NDArray[np.bool_], lag: int) -> Iterator[tuple[LatticePart, LatticePart, NDArray[np.bool_]]]:
    """Yield, along a row and along a column, the nodes that have another so far on, those others, and where both are.

    Args:
        single: (rows, cols) where there is a single window.
        lag: nodes between them.
    """
    parts: tuple[tuple[LatticePart, LatticePart], ...] = (
        (np.s_[:, :-lag], np.s_[:, lag:]),
        (np.s_[:-lag], np.s_[lag:]),
    )
    for here, there in parts:
        yield here, there, single[here] & single[there]


def distance_to_window(single: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Compute (rows, cols) the nodes from each to the nearest single window."""
    from scipy.ndimage import distance_transform_edt

    return np.asarray(distance_transform_edt(~single))


def structure(
    answers: Answers, plane: NDArray[np.float64], away: NDArray[np.float64], near: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Estimate (rows, cols, 2) by how much the field differs from what the nearest single window says of it.

    Also return (2,) by how much it differs from the plane, squared.

    The structure function (Kolmogorov 1941) of the field by distance, from pairs of nodes; one half of the spectrum
    times the other, so that noise takes no part.

    Args:
        answers: with a single window at least.
        plane: (rows, cols, 2) that all of the field shares.
        away: (rows, cols) nodes to the nearest single window.
        near: nodes within which the field is no worse than the plane.
    """
    single, both_known = answers.single, np.repeat(answers.single[..., None], 2, -1)
    one, other = (np.where(both_known, half - plane, 0) for half in (answers.one, answers.other))
    product, known = one * other, single.astype(float)
    noise = SHARED_NOISE * NOISE_RATIO * _total((one - other) ** 2 / 4, known) / known.sum()
    both = _total(product, known) / known.sum() - noise
    distances, values = [0], [np.zeros(2)]
    for lag in LAGS:
        total, count = np.zeros(2), 0
        for here, there, pair in pairs(single, lag):
            # Sums of the four products of a difference with another: without copies of what a pair has in common
            total += _total(product[there], known[here]) + _total(product[here], known[there])
            total -= np.einsum("ijk,ijk->k", one[there], other[here]) + np.einsum("ijk,ijk->k", one[here], other[there])
            count += int(pair.sum())
        if count >= FEWEST_PAIRS:
            distances.append(lag)
            # Near windows the field is no worse than the plane; far from all of them, the plane is no better than it
            most = np.maximum(both, 0) if lag <= near else np.inf
            values.append(np.clip(total / count - 2 * noise, 0, most))
    steps = np.maximum.accumulate(np.array(values), axis=0)
    if len(steps) > 1:
        # Further than any pair only the plane goes on, and the field away from it
        steps, distances = np.vstack([steps, np.maximum(both, 4 * steps[-1])]), [*distances, distances[-1] * 4]
    return np.stack([np.interp(away, distances, steps[:, k]) for k in (0, 1)], -1), np.maximum(both, 0)


def _total(values: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum (rows, cols, 2) values by (rows, cols) weights."""
    return np.asarray(np.einsum("ijk,ij->k", values, weight))


def squared_error(
    answers: Answers, one: NDArray[np.float64], other: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Estimate (rows, cols, 2) the squared error of an estimate at each node, free of the noise of what checks it.

    E[(b - m_a)²] + E[(a - m_b)²] - E[(a - b)²] over two is the mean squared error of the estimates ``m_a`` and ``m_b``
    made from one half of the spectrum each, if noise in ``a`` and ``b`` is independent: their own variances cancel. The
    little that they share would count as an error of the estimate; ``SHARED_NOISE`` of it is taken away.

    Args:
        answers: of the halves.
        one: (rows, cols, 2) estimate that has seen only the first.
        other: that has seen only the second; the first where an estimate has seen next to nothing of any node.
    """
    other = one if other is None else other
    checks = (answers.other - one) ** 2 + (answers.one - other) ** 2
    difference = (answers.one - answers.other) ** 2
    return np.asarray((checks - difference) / 2 - SHARED_NOISE * NOISE_RATIO * difference / 4)


def shared_with_neighbours(
    answers: Answers, shift: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Estimate (2,) the part of the mean squared difference to a shift that is also their neighbours'.

    What a season does to the content of a window, both halves of its spectrum see, but no window beside it does. The
    ground moves with its surroundings: the strongest covariance, of either sign and along either axis, between windows
    that share no pixel. Of rough ground they share little; but what changes content makes the halves differ, too, and
    a difference far beyond that is the ground's.

    Args:
        answers: of the halves.
        shift: (rows, cols, 2) that they are compared with.

    Returns:
        Its least and its greatest size, two standard errors apart from what was found; at most the whole difference.
    """
    one, other, single = answers.one - shift, answers.other - shift, answers.single
    noise = SHARED_NOISE * NOISE_RATIO * ((answers.one - answers.other)[single] ** 2).mean(0) / 4
    whole = np.maximum((one * other)[single].mean(0) - noise, 0)
    least, greatest, asked = np.zeros(2), np.zeros(2), False
    for lag in APART:
        for here, there, pair in pairs(single, lag):
            if pair.sum() >= FEWEST_PAIRS:
                asked = True
                product = (one[here] * other[there] + other[here] * one[there])[pair] / 2
                size, error = np.abs(product.mean(0)), 2 * product.std(0) / np.sqrt(pair.sum())
                least, greatest = np.maximum(least, size - error), np.maximum(greatest, size + error)
    if not asked:
        return least, whole
    beyond = whole - MOST_CONTENT / SHARED_NOISE * noise
    return np.minimum(whole, np.maximum(least, beyond)), np.minimum(whole, np.maximum(greatest, beyond))
