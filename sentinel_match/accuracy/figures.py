"""Figures of a set of tie points over its inliers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sentinel_match.geometry.robust import error_of_median, nmad
from sentinel_match.summary import ShiftStatistics
from sentinel_match.tiepoints import COVERAGE_CELL

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEWEST_BLOCKS = 4
"""Fewer do not tell how blocks differ."""


def shift_statistics(
    left_xy: NDArray[np.float64],
    right_xy: NDArray[np.float64],
    residual: NDArray[np.float64],
    inlier: NDArray[np.bool_],
    gsd: float,
) -> ShiftStatistics:
    """Compute the figures of a set of tie points over its inliers, of which there is at least one.

    Args:
        left_xy: (N, 2) metres.
        right_xy: (N, 2) metres.
        residual: (N, 2) right minus the transform's prediction, metres.
        inlier: (N,).
        gsd: metres per pixel.
    """
    distance = np.hypot(*residual[inlier].T)
    shift = np.median((right_xy - left_xy)[inlier], axis=0)
    scatter = [nmad(residual[inlier][:, k]) for k in (0, 1)]
    return ShiftStatistics(
        points=len(inlier),
        inliers=int(inlier.sum()),
        median_dx_m=round(float(shift[0]), 3),
        median_dy_m=round(float(shift[1]), 3),
        median_shift_m=round(float(np.hypot(*shift)), 3),
        nmad_x_m=round(scatter[0], 3),
        nmad_y_m=round(scatter[1], 3),
        nmad_x_px=round(scatter[0] / gsd, 4),
        nmad_y_px=round(scatter[1] / gsd, 4),
        rmse_m=round(float(np.sqrt((distance**2).mean())), 3),
        ce90_m=round(float(np.percentile(distance, 90)), 3),
        share_below_half_px=round(float((distance < 0.5 * gsd).mean()), 4),
        share_below_half_px_of_all_measured=round(float((np.hypot(*residual.T) < 0.5 * gsd).mean()), 4),
        km_cells=len(np.unique(np.floor(left_xy[inlier] / COVERAGE_CELL), axis=0)),
        gsd_m=gsd,
    )


def sigma_of_shift(residual: NDArray[np.float64], block: NDArray[np.int_]) -> tuple[float, float]:
    """Estimate the standard error of a pair's shift, east and north, to a tenth of a millimetre.

    Neighbours err together, so blocks count, not points.
    """
    medians = np.array([np.median(residual[block == k], axis=0) for k in np.unique(block)])
    if len(medians) < FEWEST_BLOCKS:
        east, north = (nmad(residual[:, k]) for k in (0, 1))
    else:
        east, north = (error_of_median(nmad(medians[:, k]), len(medians)) for k in (0, 1))
    return round(east, 4), round(north, 4)
