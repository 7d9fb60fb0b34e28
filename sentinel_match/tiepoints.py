"""TiePoints: where the same ground lies in both images, how sure that is, and what the set says as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.geometry.transform import Transform
    from sentinel_match.products.scene import Scene
    from sentinel_match.summary import Summary

COVERAGE_CELL = 1000.0
"""Side in metres of the cells whose number tells how well the points cover the ground."""
REQUIREMENT_PX = 0.3
"""Sentinel-2's requirement on multi-temporal registration, in pixels of 10 m (ESA Mission Requirements Document)."""

REASONS = OUTLIER, UNSURE, BY_HAND = "outlier", "unsure", "by hand"
"""Why a point is no inlier: it contradicts the model; it lies near it, but so many wrong ones do by chance that it
proves nothing; a person said so. An inlier with the last one is one because a person said so."""


@dataclass(frozen=True, eq=False)
class TiePoints:
    """Correspondences between two scenes; N rows in every array, shift = right minus left."""

    left: Scene
    right: Scene
    left_xy: NDArray[np.float64]
    """(N, 2) east, north in metres: position of the point in the left image."""
    right_xy: NDArray[np.float64]
    """(N, 2) east, north in metres: where the right image shows the same ground."""
    left_px: NDArray[np.float64]
    """(N, 2) column, row in native pixels of the left band, origin at the outer corner of the first pixel; NaN where
    the file that they were read from does not say it."""
    right_px: NDArray[np.float64]
    """(N, 2) column, row in native pixels of the right band."""
    sigma_m: NDArray[np.float64]
    """(N,) predicted standard deviation per axis, metres."""
    score: NDArray[np.float64]
    """(N,) probability of being right."""
    residual_m: NDArray[np.float64]
    """(N,) distance to the fitted transform, metres."""
    inlier: NDArray[np.bool_]
    """(N,) whether the point is believed."""
    method: NDArray[np.str_]
    """(N,) ``phase``, ``aliked+lightglue`` …: found by that matcher, then refined; ``grid``: measured on the grid."""
    summary: Summary
    """What the set says as a whole."""
    left_class: NDArray[np.str_] | None = None
    """(N,) what lies there in the left image, ``vegetation``; ``None`` where nothing says so."""
    right_class: NDArray[np.str_] | None = None
    """(N,) in the right image."""
    quality: NDArray[np.float64] | None = None
    """(N,) how distinct the peak of the correlation is, 0 to 1; ``None`` where nothing was correlated."""
    feature: NDArray[np.str_] | None = None
    """(N,) what was correlated, ``intensity 1``; the method itself where a match stayed as it was found. Files call it
    ``view``."""
    reason: NDArray[np.str_] | None = None
    """(N,) a word of ``REASONS``, empty where the model alone says that a point is believed."""

    def __len__(self) -> int:
        return len(self.score)

    @property
    def transform(self) -> Transform:
        """The fitted transform: call it with (N, 2) metres of the left image for metres of the right one."""
        return self.summary.transform

    @property
    def band(self) -> str:
        """What was compared."""
        return self.summary.band

    @property
    def crs(self) -> str:
        """Projected CRS of the metric coordinates, ``EPSG:32633``: the left scene's."""
        return self.summary.crs

    @property
    def gsd(self) -> float:
        """Ground sampling distance the points were measured at, metres."""
        return self.summary.gsd_m

    @property
    def shift(self) -> NDArray[np.float64]:
        """(N, 2) right minus left: east, north in metres."""
        return np.asarray(self.right_xy - self.left_xy)

    @property
    def azimuth(self) -> NDArray[np.float64]:
        """(N,) direction of the shift, degrees clockwise from grid north, 0 to 360."""
        return np.asarray(np.degrees(np.arctan2(*self.shift.T)) % 360)
