"""A correction that departs from the one which images proved, for a person edited its points: what holds of it.

Without the images nothing is measured anew. But how far both corrections lie apart is known everywhere, and by so much
everything that was measured against the first one may be off.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sentinel_match.accuracy.coverage import EXTRAPOLATES_CELLS
from sentinel_match.accuracy.ecc import DISAGREES
from sentinel_match.geometry.uncertainty import Uncertainty

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.comparison import Comparison, Coverage
    from sentinel_match.geometry.transform import Transform
    from sentinel_match.opinions import SecondEstimate
    from sentinel_match.summary import HoldOut, Summary


@dataclass(frozen=True, eq=False)
class Departure:
    """How far a correction lies off the one that images proved, at the nodes of its lattice."""

    nodes: NDArray[np.float64]
    """(rows, cols, 2) east, north."""
    off: NDArray[np.float64]
    """(rows, cols, 2) the proven correction less this one, metres."""
    sigma: NDArray[np.float64]
    """(rows, cols) of the proven one per axis; NaN where one of the images has no data."""

    @staticmethod
    def of(before: Summary, transform: Transform) -> Departure | None:
        """Compare a correction with what was proven; ``None`` where that had no lattice.

        Args:
            before: what was said with the images at hand.
            transform: left metres to right metres, in the same CRS.
        """
        if before.uncertainty is None:
            return None
        nodes, sigma = before.uncertainty.nodes, before.uncertainty.arrays()[0]
        flat = nodes.reshape(-1, 2)
        off = (before.transform.shift(flat) - transform.shift(flat)).reshape(nodes.shape)
        return Departure(nodes, off, sigma) if np.isfinite(sigma).any() else None

    @property
    def shown(self) -> NDArray[np.float64]:
        """Return (M, 2) how far they lie apart where both images show ground."""
        return self.off[np.isfinite(self.sigma)]

    def proof(self, proven: HoldOut) -> HoldOut:
        """Add how far both lie apart to what was proven of the first."""
        apart = np.hypot(*self.shown.T)
        ce90, ce95 = (round(float(np.percentile(apart, percent)), 4) for percent in (90, 95))
        return replace(
            proven,
            rmse=round(float(np.sqrt(proven.rmse**2 + (apart**2).mean())), 4),
            ce90=round(proven.ce90 + ce90, 4),
            ce90_interval=(proven.ce90_interval[0], round(proven.ce90_interval[1] + ce90, 4)),
            ce95=round(proven.ce95 + ce95, 4),
            ce95_interval=(proven.ce95_interval[0], round(proven.ce95_interval[1] + ce95, 4)),
        )

    def uncertainty(self) -> Uncertainty:
        """Say how sure this correction is on all ground that both images show."""
        sigma = np.sqrt(self.sigma**2 + (self.off**2).mean(-1))
        return Uncertainty.of(self.nodes, sigma, np.full(sigma.shape, np.nan))

    def comparison(self, before: Comparison, inliers: NDArray[np.float64], gsd: float) -> Comparison:
        """Say of the images what holds of this correction: what a second estimator sees remain, and the coverage.

        Args:
            before: of the images, with the proven correction.
            inliers: (N, 2) east, north of the points that are left.
            gsd: metres per pixel.
        """
        return replace(
            before, second=self._second(before.second, gsd), coverage=self._coverage(before.coverage, inliers)
        )

    def _second(self, second: SecondEstimate, gsd: float) -> SecondEstimate:
        if second.after_dx_m is None or second.after_dy_m is None:
            return second
        middle = np.median(self.shown, 0)
        after = np.array([second.after_dx_m, second.after_dy_m]) + middle
        varies = float(np.sqrt(((self.shown - middle) ** 2).sum(1).mean()))
        sigma = np.array([second.sigma_dx_m or 0.0, second.sigma_dy_m or 0.0])
        near = bool((np.abs(after) <= np.maximum(DISAGREES * gsd, 4 * sigma)).all())
        return replace(
            second,
            after_dx_m=round(float(after[0]), 3),
            after_dy_m=round(float(after[1]), 3),
            scatter_m=round(float(np.hypot(second.scatter_m or 0.0, varies)), 3),
            least_scatter_m=round(float(np.hypot(second.least_scatter_m or 0.0, varies)), 3),
            agrees=second.agrees and near,
        )

    def _coverage(self, before: Coverage, inliers: NDArray[np.float64]) -> Coverage:
        from scipy.spatial import cKDTree

        cells = np.unique(np.floor(self.nodes[np.isfinite(self.sigma)] / before.cell_m), axis=0)
        hit = np.unique(np.floor(inliers / before.cell_m), axis=0)
        away, _ = cKDTree(hit).query(cells)
        return replace(
            before,
            share=min(before.share, round(min(len(hit) / max(before.clear_cells, 1), 1.0), 4)),
            extrapolated_share=max(before.extrapolated_share, round(float((away > EXTRAPOLATES_CELLS).mean()), 4)),
        )
