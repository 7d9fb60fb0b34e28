"""Chance: how many correspondences of unrelated images would agree as well (a-contrario; Moisan & Stival 2004)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sentinel_match.geometry.kinds import MINIMAL

if TYPE_CHECKING:
    from sentinel_match.geometry.grids import Points
    from sentinel_match.geometry.transform import PlaneTransform

ACCEPTED_CHANCE = 1e-3
"""Largest accepted probability that unrelated images show this many agreeing points (see :func:`agreement`)."""


def agreement(left: Points, right: Points, model: PlaneTransform, tolerance: float, reach: float) -> tuple[int, float]:
    """Count the correspondences that agree with a model, and tell how likely chance alone gives so many.

    Args:
        left: (N, 2) points.
        right: (N, 2) points.
        model: fitted to some of them.
        tolerance: residual that counts as agreement.
        reach: radius over which wrong correspondences spread, same unit.

    Returns:
        The count, and the number of models of that kind expected to reach it among unrelated points: the binomial tail
        times the number of minimal sets (the a-contrario criterion of Moisan & Stival 2004).
    """
    from scipy.special import gammaln

    n, k = len(left), MINIMAL[model.kind]
    count = int((np.hypot(*(right - model(left)).T) <= tolerance).sum())
    if count <= k:
        return count, float("inf")
    # A fitted model lies between its points, so two of them up to twice the tolerance apart agree with it
    by_chance = min((2 * tolerance / reach) ** 2, 1.0)
    log_sets = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    with np.errstate(divide="ignore"):
        tail = np.log(_at_least(count - k, n - k, by_chance))
    return count, float(np.exp(min(log_sets + tail, 700)))


def by_chance(agreeing: int, of: int, share: float) -> float:
    """Compute the probability that unrelated correspondences agree so often with what had no part in them.

    Args:
        agreeing: how many do.
        of: how many could.
        share: tolerance as a share of the radius over which wrong ones spread.
    """
    return _at_least(agreeing, of, min(share**2, 1.0))


def _at_least(count: int, of: int, share: float) -> float:
    """Compute the probability of so many successes: the binomial tail, without scipy.stats, slow to import (1 s)."""
    from scipy.special import betainc

    return float(betainc(count, of - count + 1, share)) if 0 < count <= of else float(count <= 0)
