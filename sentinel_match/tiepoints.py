"""TiePoints: where the same ground lies in both images, how sure that is, and what the set says as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sentinel_match.geometry.robust import nmad

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from sentinel_match.products.scene import Scene

COVERAGE_CELL = 1000.0
"""Side in metres of the cells whose number tells how well the points cover the ground."""
REQUIREMENT_PX = 0.3
"""Sentinel-2's requirement on multi-temporal registration, in pixels of 10 m (ESA Mission Requirements Document)."""

REASONS = OUTLIER, UNSURE, BY_HAND = "outlier", "unsure", "by hand"
"""Why a point is not believed: it contradicts the model; it lies near it, but so many wrong ones do by chance that it
proves nothing; a person said so. A believed point with the last one is believed because a person said so."""


@dataclass(frozen=True, eq=False)
class TiePoints:
    """Correspondences between two scenes; N rows in every array, shift = right minus left."""

    left: Scene
    right: Scene
    band: str
    crs: str
    """Projected CRS of the metric coordinates, ``EPSG:32633``: the left scene's."""
    gsd: float
    """Ground sampling distance the points were measured at, metres."""
    left_xy: NDArray[np.float64]
    """(N, 2) east, north in metres: position of the point in the left image."""
    right_xy: NDArray[np.float64]
    """(N, 2) east, north in metres: where the right image shows the same ground."""
    left_px: NDArray[np.float64]
    """(N, 2) column, row in native pixels of the left band, origin at the outer corner of the first pixel."""
    right_px: NDArray[np.float64]
    """(N, 2) column, row in native pixels of the right band."""
    sigma_m: NDArray[np.float64]
    """(N,) predicted standard deviation per axis, metres."""
    score: NDArray[np.float64]
    """(N,) probability of being right."""
    residual_m: NDArray[np.float64]
    """(N,) distance to the fitted model, metres."""
    inlier: NDArray[np.bool_]
    method: NDArray[np.str_]
    """(N,) ``phase``, ``aliked+lightglue`` …: found by that matcher, then refined; ``grid``: measured on the grid."""
    left_class: NDArray[np.str_] | None = None
    """(N,) what lies there in the left image, ``vegetation``; ``None`` where nothing says so."""
    right_class: NDArray[np.str_] | None = None
    """(N,) in the right image."""
    quality: NDArray[np.float64] | None = None
    """(N,) how distinct the peak of the correlation is, 0 to 1; ``None`` where nothing was correlated."""
    view: NDArray[np.str_] | None = None
    """(N,) what was correlated, ``intensity 1``; the method itself where a match stayed as it was found."""
    reason: NDArray[np.str_] | None = None
    """(N,) a word of ``REASONS``, empty where the model alone says that a point is believed."""
    summary: Mapping[str, Any] = field(default_factory=dict)
    """What :func:`summarise` says, and what the pipeline adds (model, masks, hold-out)."""

    def __len__(self) -> int:
        return len(self.score)

    @property
    def shift(self) -> NDArray[np.float64]:
        """(N, 2) right minus left: east, north in metres."""
        return np.asarray(self.right_xy - self.left_xy)

    @property
    def azimuth(self) -> NDArray[np.float64]:
        """(N,) direction of the shift, degrees clockwise from grid north, 0 to 360."""
        return np.asarray(np.degrees(np.arctan2(*self.shift.T)) % 360)


def summarise(
    left_xy: NDArray[np.float64],
    right_xy: NDArray[np.float64],
    residual: NDArray[np.float64],
    inlier: NDArray[np.bool_],
    gsd: float,
) -> dict[str, Any]:
    """The figures of a set of tie points, over its inliers.

    Args:
        left_xy: (N, 2) metres.
        right_xy: (N, 2) metres.
        residual: (N, 2) right minus the model's prediction, metres.
        inlier: (N,).
        gsd: metres per pixel.

    Returns:
        Counts, median shift, NMAD per axis, RMSE and CE90 of the residual, share of residuals under half a pixel,
        kilometre cells hit. Metres unless the name says pixels.
    """
    believed = residual[inlier]
    distance = np.hypot(*believed.T)
    shift = np.median((right_xy - left_xy)[inlier], axis=0)
    cells = np.unique(np.floor(left_xy[inlier] / COVERAGE_CELL), axis=0)
    scatter = [nmad(believed[:, k]) for k in (0, 1)]
    return {
        "points": len(inlier),
        "inliers": int(inlier.sum()),
        "median_dx_m": round(float(shift[0]), 3),
        "median_dy_m": round(float(shift[1]), 3),
        "median_shift_m": round(float(np.hypot(*shift)), 3),
        "nmad_x_m": round(scatter[0], 3),
        "nmad_y_m": round(scatter[1], 3),
        "nmad_x_px": round(scatter[0] / gsd, 4),
        "nmad_y_px": round(scatter[1] / gsd, 4),
        "rmse_m": round(float(np.sqrt((distance**2).mean())), 3),
        "ce90_m": round(float(np.percentile(distance, 90)), 3),
        "share_below_half_px": round(float((distance < 0.5 * gsd).mean()), 4),
        "share_below_half_px_of_all_measured": round(float((np.hypot(*residual.T) < 0.5 * gsd).mean()), 4),
        "km_cells": len(cells),
        "gsd_m": gsd,
    }
