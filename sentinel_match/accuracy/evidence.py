"""Measured points before any of them is believed."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from sentinel_match.accuracy.ground import FEWEST_SINGLES, Ground
from sentinel_match.accuracy.requirement import LEAST_INLIERS
from sentinel_match.errors import NoMatch
from sentinel_match.geometry.grids import pixel_size, to_metres
from sentinel_match.matching.stable import on_stable, stable_nodes

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from sentinel_match.accuracy.edited import EditedField
    from sentinel_match.geometry.transform import Transform
    from sentinel_match.matching.displacement import Displacement
    from sentinel_match.matching.stable import Stable
    from sentinel_match.matching.subpixel import Measurements


@dataclass(frozen=True, eq=False)
class Evidence:
    """Measured points before any of them is believed, in metres; N rows in every array."""

    left: NDArray[np.float64]
    """(N, 2) east, north."""
    right: NDArray[np.float64]
    """(N, 2) the same ground in the right image."""
    sigma: NDArray[np.float64]
    """(N,) predicted standard deviation per axis, before its correction a posteriori."""
    quality: NDArray[np.float64]
    """(N,) how distinct a peak is, 0 to 1; of others, their score."""
    refined: NDArray[np.bool_]
    """(N,) has such a peak."""
    feature: NDArray[np.str_]
    """(N,) what was correlated."""
    witness: NDArray[np.float64]
    """(N,) metres within which points share what they saw."""
    kept: NDArray[np.bool_]
    """(N,) believed whatever the model says: a person looked."""
    expected: NDArray[np.float64] | None = None
    """(N, 2) where the neighbours of each say that the same ground lies in the right image; NaN of those that have
    none. Then ``right`` is what a point's own measurement says."""
    curvature: NDArray[np.float64] | None = None
    """(N, 2, 2) of the correlation around each point, by east and north, as a share of the power of the
    gradients; ``None`` where the images were not correlated on a lattice."""
    support: NDArray[np.float64] | None = None
    """(N,) metres of ground that each estimate averages; NaN of those that have none, ``None`` as above."""
    node: NDArray[np.int_] | None = None
    """(N,) number of the node of the lattice, row by row, that each lies on, -1 of those that lie on none; ``None`` as
    above."""
    ground: Ground | None = None
    """The displacement on the lattice, of stable ground where it is known which that is; ``None`` where the points were
    not measured on one."""
    stable: NDArray[np.bool_] | None = None
    """(N,) on stable ground; ``None`` where all of it may be fitted."""
    whole: Ground | None = None
    """With what moves besides; ``None`` where all of it may be fitted."""
    edited: EditedField | None = None
    """What edits left of the displacement of an earlier result; ``None`` of points that were just measured."""

    @property
    def lattice(self) -> Ground | EditedField | None:
        """Return the displacement on a lattice, as it was measured or as edits left it, where there is one."""
        return self.edited if self.ground is None else self.ground

    @property
    def placed(self) -> NDArray[np.bool_]:
        """Tell (N,) which points a field has room for: all, where there is none."""
        if self.expected is None:
            return np.ones(len(self), bool)
        return np.asarray(np.isfinite(self.expected).all(1))

    @property
    def still(self) -> NDArray[np.bool_]:
        """Tell (N,) which points a transform may be fitted to: those on stable ground, or all."""
        return np.ones(len(self), bool) if self.stable is None else self.stable

    @property
    def blind_below(self) -> float:
        """Return the metres of ground that answers average where hardly any single window gave one; 0 otherwise."""
        if self.ground is not None or not self.refined.any():
            return 0.0
        return float(np.median(self.witness[self.refined]))

    def sigma_beside(self, transform: Transform | None) -> NDArray[np.float64]:
        """Return (N,) the predicted standard deviations where a transform is what the ground does; metres.

        Args:
            transform: left metres to right metres; ``None`` where the ground moves as its points do.
        """
        sigma = self.sigma.copy()
        if transform is not None and self.ground is not None and self.node is not None:
            on = self.node >= 0
            sigma[on] = np.sqrt(self.ground.beside(transform).ravel()[self.node[on]])
        return sigma

    def __len__(self) -> int:
        return len(self.left)

    def where(self, mask: NDArray[np.bool_]) -> Evidence:
        """Take the points of a mask; of them nothing is known on a lattice."""
        arrays = [
            f.name
            for f in fields(self)
            if f.name not in {"expected", "curvature", "support", "node", "ground", "stable", "whole", "edited"}
        ]
        return Evidence(**{name: getattr(self, name)[mask] for name in arrays})

    @staticmethod
    def of(
        measurements: Measurements,
        left: GeoBox,
        right: GeoBox,
        ids: tuple[str, str],
        displacement: Displacement | None = None,
        stable: Stable | None = None,
    ) -> Evidence:
        """Take the measurements that succeeded to metres.

        Args:
            measurements: of both images, in pixels.
            left: grid of the left image.
            right: grid of the right one.
            ids: of the scenes, for the error.
            displacement: of the lattice that they lie on; it says nothing where few single windows do.
            stable: which ground may be fitted; all when not given.

        Raises:
            NoMatch: too few succeeded, or too few of them on stable ground.
        """
        ok, gsd = measurements.ok, pixel_size(left)
        if ok.sum() < LEAST_INLIERS:
            counts = f"only {ok.sum()} of {len(measurements)} points could be measured to sub-pixel"
            raise NoMatch(*ids, f"{counts}, and {LEAST_INLIERS} are needed")
        here, there, sigma = measurements.left[ok], measurements.right[ok].copy(), measurements.sigma[ok] * gsd
        expected = curvature = support = node = ground = still = whole = None
        if isinstance(stable, np.ndarray):
            col, row = np.floor(here).astype(int).T
            still = stable[row.clip(0, stable.shape[0] - 1), col.clip(0, stable.shape[1] - 1)]
        if displacement is not None:
            curvature = turned(displacement.curvature_at(here), left)
        if displacement is not None and int(displacement.answers.single.sum()) >= FEWEST_SINGLES:
            ground = Ground.of(displacement, left, right)
            row, col, on = displacement.places(here, measurements.refined[ok])
            there[on] = here[on] + displacement.answers.whole[row, col]
            sigma[on] = np.sqrt(ground.variance()[row, col].mean(-1))
            node = np.full(len(here), -1)
            node[on] = row * ground.measured.shape[1] + col
            support = np.full(len(here), np.nan)
            support[on] = ground.support[row, col]
            expected = np.full(here.shape, np.nan)
            expected[on] = to_metres(right, here[on] + displacement.field.whole[row, col])
            if stable is not None:
                nodes = stable_nodes(displacement, stable)
                still = np.ones(len(here), bool) if still is None else still
                still[on] = nodes[row, col]
                if (count := int((displacement.answers.single & nodes).sum())) < FEWEST_SINGLES:
                    raise NoMatch(*ids, f"only {count} windows lie on stable ground, and {FEWEST_SINGLES} are needed")
                whole, ground = ground, Ground.of(on_stable(displacement, nodes), left, right)
        return Evidence(
            left=to_metres(left, here),
            right=to_metres(right, there),
            sigma=sigma,
            quality=measurements.distinct[ok],
            refined=measurements.refined[ok],
            feature=measurements.feature[ok],
            witness=measurements.independence[ok] * gsd,
            kept=np.zeros(int(ok.sum()), bool),
            expected=expected,
            curvature=curvature,
            support=support,
            node=node,
            ground=ground,
            stable=still,
            whole=whole,
        )


def turned(curvature: NDArray[np.float64], grid: GeoBox) -> NDArray[np.float64]:
    """Turn (..., 2, 2) curvatures by x and y of a grid's pixels into those by east and north."""
    axes = np.array(grid.affine).reshape(3, 3)[:2, :2] / pixel_size(grid)
    return np.asarray(axes @ curvature @ axes.T)
