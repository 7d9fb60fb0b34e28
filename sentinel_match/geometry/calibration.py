"""Calibration: each correspondence's probability of being right, from its quality and the company it keeps.

The residuals of wrong correlations spread evenly over the search area, right ones gather at zero, so the points far
from the model tell how many wrong ones must lie near it by chance. That ratio, made monotone in the correlation's
quality (isotonic regression), is the score.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_SCORE = 0.9
"""Smallest probability of an inlier."""


def likely(
    residual: NDArray[np.float64],
    quality: NDArray[np.float64],
    measured: NDArray[np.bool_],
    tolerance: float,
    reach: float,
) -> NDArray[np.float64]:
    """Estimate (N,) how likely each correspondence is right by its own quality, whether it agrees with a model or not.

    Args:
        residual: (N,) distance to the model, in the frame's unit.
        quality: (N,) how distinct the correlation peak is; of others, their score.
        measured: (N,) has such a peak. The others were kept for agreeing: they say nothing of these.
        tolerance: largest residual of an inlier, same unit.
        reach: radius within which the search could have found a wrong peak, same unit; larger than ``tolerance``.
    """
    score = quality.astype(np.float64)
    score[measured] = probability(residual[measured], quality[measured], tolerance, reach)
    return score


def probability(
    residual: NDArray[np.float64], quality: NDArray[np.float64], tolerance: float, reach: float
) -> NDArray[np.float64]:
    """Estimate how likely each correspondence is right, from its quality and from the residuals of its like.

    Sorted by quality, wrong ones are those that lie beyond twice the tolerance; over the search area their density is
    even, so ``wrong_inside = wrong_outside * area_inside / area_outside``. The share of the rest among the points
    inside is smoothed by isotonic regression (Ayer et al. 1955), since a higher peak is never worse evidence.

    Returns:
        (N,) 0 to 1; points outside the tolerance keep the probability of their quality.
    """
    return _share_right(residual, quality, tolerance, reach, whole=False)


def reliability(
    residual: NDArray[np.float64], quality: NDArray[np.float64], tolerance: float, reach: float
) -> NDArray[np.float64]:
    """Estimate (N,) the share of right ones among all correspondences of such quality, wherever they lie."""
    return _share_right(residual, quality, tolerance, reach, whole=True)


def _share_right(
    residual: NDArray[np.float64], quality: NDArray[np.float64], tolerance: float, reach: float, *, whole: bool
) -> NDArray[np.float64]:
    from scipy.optimize import isotonic_regression

    n = len(residual)
    if n == 0:
        return np.empty(0)
    inside, outside = residual <= tolerance, residual > 2 * tolerance
    ratio = tolerance**2 / max(reach**2 - 4 * tolerance**2, tolerance**2)
    order = np.argsort(quality, kind="stable")
    # In groups of at least 50 the counts are steady enough to divide; Laplace's rule keeps small sets honest
    groups = np.array_split(order, max(1, min(n // 50, 200)))
    counts = np.array([(len(g) if whole else inside[g].sum()) + 1.0 for g in groups])
    right_share = np.array([max(inside[g].sum() - ratio * outside[g].sum(), 0.0) for g in groups]) / counts
    smooth = isotonic_regression(right_share, weights=counts).x
    score = np.empty(n)
    for group, value in zip(groups, smooth, strict=True):
        score[group] = value
    return np.clip(score, 0, 1)
