"""Uncertainty that depends on the direction: an ellipse a point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

ONE_WAY = 0.03
"""Curvature of the correlation along its weakest direction as a share of the strongest, below which nothing is known
along it: 0.27 and more on 24 pairs of ground, 0.005 at most on ripples of 6 to 30 px."""
FULL = 0.3
"""The same share from which errors are alike along both, over 60 pairs of ground: whitened windows need little texture.
In between they were 1.6 times as large along as across (258 points of ten pairs of two dates)."""
ALIKE = 0.25
"""Least share of the power of gradients that both images must have in common along the strongest direction: of less,
between seasons, chance decides whether any is left along the weakest."""


@dataclass(frozen=True, eq=False)
class Ellipses:
    """How sure positions are along every direction; N of them."""

    major: NDArray[np.float64]
    """(N,) standard deviation along the direction of the least certainty, metres."""
    minor: NDArray[np.float64]
    """(N,) the same across it."""
    azimuth: NDArray[np.float64]
    """(N,) that direction, degrees clockwise from grid north, 0 to 180; 0 of circles."""

    @staticmethod
    def circles(sigma: NDArray[np.float64]) -> Ellipses:
        """Make ellipses that are alike along every direction."""
        return Ellipses(sigma, sigma, np.zeros(len(sigma)))

    @staticmethod
    def of(sigma: NDArray[np.float64], curvature: NDArray[np.float64] | None, unknown: float) -> Ellipses:
        """Shape standard deviations as the correlation bends.

        Args:
            sigma: (N,) per axis, mean of all directions; where one of them is not known, of that across it.
            curvature: (N, 2, 2) of the correlation, by east and north, as a share of the power of the
                gradients; ``None`` where it is not known.
            unknown: metres along a direction of which nothing is known, at least.
        """
        if curvature is None:
            return Ellipses.circles(sigma)
        bend, direction = np.linalg.eigh(curvature)
        share = np.clip(bend[:, 0] / np.maximum(bend[:, 1], 1e-12), 0, 1)
        share = np.where(bend[:, 1] >= ALIKE, share, 1.0)
        ratio = np.sqrt(FULL / np.clip(share, ONE_WAY, FULL))
        minor = sigma * np.sqrt(2 / (1 + ratio**2))
        one_way = share < ONE_WAY
        azimuth = np.degrees(np.arctan2(*direction[:, :, 0].T)) % 180
        return Ellipses(
            np.where(one_way, np.maximum(unknown, sigma), ratio * minor),
            np.where(one_way, sigma, minor),
            np.where(share < FULL, azimuth, 0.0),
        )

    @property
    def sigma(self) -> NDArray[np.float64]:
        """Compute (N,) the standard deviation per axis: root mean square of both."""
        return np.asarray(np.sqrt((self.major**2 + self.minor**2) / 2))

    def widened(self, by: float) -> Ellipses:
        """Add metres that positions may be wrong by along any direction."""
        return Ellipses(np.hypot(self.major, by), np.hypot(self.minor, by), self.azimuth)

    def brought(self, sigma: NDArray[np.float64]) -> Ellipses:
        """Scale each so that its standard deviation per axis is (N,) ``sigma``."""
        scale = sigma / self.sigma
        return Ellipses(self.major * scale, self.minor * scale, self.azimuth)

    def rounded_off(self, where: NDArray[np.bool_]) -> Ellipses:
        """Make circles of those of (N,) a mask."""
        major, minor = (np.where(where, self.sigma, axis) for axis in (self.major, self.minor))
        return Ellipses(major, minor, np.where(where, 0.0, self.azimuth))
