"""The displacement field of a result whose points were edited: what is left of it, and how sure that is.

A file holds the field at every node, and how sure it was there. Who deletes a point, or moves it away, no longer
vouches for its node: there the field goes on from the nodes around. Whether the person or the
images were right is not known, so the distance between both is added to the error, and no edit makes a claim smaller.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sentinel_match.geometry import lattice, smoothing
from sentinel_match.geometry.selection import lattice_blocks, places_asked
from sentinel_match.geometry.transform import PlaneTransform, Transform, bend_through
from sentinel_match.geometry.uncertainty import Uncertainty

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.geometry.grids import Points
    from sentinel_match.geometry.motion import Motion
    from sentinel_match.summary import HoldOut, Summary

FEWEST_HELD = 50
"""Nodes with a point that a field must have left: of fewer a stiff model says as much."""
ON_NODE = 0.05
"""Spacings from a node within which a point is that node's: files round to less."""
DRAWN = 20
"""Errors drawn of each node."""


@dataclass(frozen=True, eq=False)
class EditedField:
    """What edits leave of a displacement field; metres, right minus left."""

    before: Summary
    """Of the result before it was edited."""
    proof: HoldOut
    """Of the same."""
    at: NDArray[np.float64]
    """(rows, cols, 2) east, north of each node, rows from the north."""
    shift: NDArray[np.float64]
    """(rows, cols, 2) displacement at nodes: as it was where a point still vouches for it, else as those around say."""
    held: NDArray[np.bool_]
    """(rows, cols) nodes that a point vouches for."""
    known: NDArray[np.float64]
    """(rows, cols) variance per axis before the edits; NaN where an image has no data."""
    changed: NDArray[np.float64]
    """(rows, cols) square of the distance per axis from what it was, that the edits made."""
    support: NDArray[np.float64]
    """(rows, cols) of ground that each node averages."""

    @staticmethod
    def of(before: Summary, left: Points, right: Points, kept: NDArray[np.bool_]) -> EditedField | None:
        """Lay out what edits leave of the field of a result; ``None`` where it was none, or nearly nothing is left.

        Args:
            before: of the result.
            left: (N, 2) points that nobody moved or took out.
            right: (N, 2) the same ground in the right image.
            kept: (N,) those that a person insists on: there the field is what they say.
        """
        if before.transform.kind != "field" or before.uncertainty is None or before.hold_out is None:
            return None
        at = before.uncertainty.nodes
        sigma, support = before.uncertainty.arrays()
        place = (left - before.uncertainty.origin) / before.uncertainty.spacing * (1, -1)
        col, row = np.rint(place).astype(int).T
        on = (np.abs(place - np.rint(place)).max(1) < ON_NODE) & (row >= 0) & (col >= 0)
        on &= (row < at.shape[0]) & (col < at.shape[1])
        held = np.zeros(sigma.shape, bool)
        held[row[on], col[on]] = True
        if held.sum() < FEWEST_HELD or min(held.shape) < 2:
            return None
        was = before.transform.shift(at.reshape(-1, 2)).reshape(at.shape)
        vouched = was.copy()
        by_hand = on & kept
        vouched[row[by_hand], col[by_hand]] = (right - left)[by_hand]
        weight = held.astype(float)
        around = lattice.plane_of(vouched, weight)
        for width in reversed(lattice.WIDTHS):
            around = smoothing.average(vouched, weight, width, around)
        shift = np.where(held[..., None], vouched, around)
        changed = ((shift - was) ** 2).mean(-1)
        return EditedField(before, before.hold_out, at, shift, held, sigma**2, changed, support)

    @property
    def shown(self) -> NDArray[np.bool_]:
        """Tell (rows, cols) where both images have data."""
        return np.isfinite(self.known)

    @property
    def places(self) -> NDArray[np.float64]:
        """Return (M, 2) some places, evenly spread over what both images show; metres."""
        return places_asked(self.at, self.shown)

    def transform(self, beyond: Transform) -> Transform:
        """Make the transform that follows the field: a translation, and a spline through every node.

        Args:
            beyond: of the points; the field has its own values beyond them.
        """
        del beyond
        mean = np.median(self.shift[self.held], axis=0)
        matrix = np.eye(3)
        matrix[:2, 2] = mean
        plane = PlaneTransform("translation", matrix, np.zeros(2))
        return Transform(plane, bend_through((self.shift - mean)[::-1], self.at[-1, 0], self.at[0, -1]))

    def follows_better(self, transform: Transform) -> bool:
        """Tell whether the field errs less than a transform by more than a standard error over blocks.

        What the images bear out is all that a field has, so its distance from a transform is the transform's error but
        for the field's own.
        """
        use = self.held & self.shown
        gain = (self._off(transform) - self.known)[use]
        block = lattice_blocks(use.shape)[use]
        count = np.bincount(block)
        mean = np.bincount(block, gain)[count > 0] / count[count > 0]
        return bool(len(mean) > 1 and mean.mean() > mean.std(ddof=1) / np.sqrt(len(mean)))

    def _off(self, transform: Transform) -> NDArray[np.float64]:
        """Compute (rows, cols) the squared distance per axis of a transform from the field."""
        off = transform.shift(self.at.reshape(-1, 2)).reshape(self.at.shape) - self.shift
        return np.asarray((off**2).mean(-1))

    def variance(self, transform: Transform, spread: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Estimate (rows, cols) the mean squared error per axis of a transform at each node, m².

        Args:
            transform: left metres to right metres.
            spread: (M, 2) its variance at :attr:`places`; ``None`` of the field itself.
        """
        variance = self.known + self.changed
        if spread is None:
            return variance
        return np.asarray(variance + self._off(transform) + (float(spread.mean()) if len(spread) else 0.0))

    def uncertainty(self, transform: Transform, spread: NDArray[np.float64] | None = None) -> Uncertainty:
        """Say how sure a transform is at each node; with what :meth:`variance` takes."""
        support = self.support if spread is None else np.full(self.support.shape, np.nan)
        return Uncertainty.of(self.at, np.sqrt(self.variance(transform, spread)), support)

    def hold_out(self, transform: Transform, seed: int, spread: NDArray[np.float64] | None = None) -> HoldOut:
        """Compute circular errors: those that the images proved, times what the edits add; never less.

        Args:
            transform: left metres to right metres.
            seed: of the draws.
            spread: (M, 2) its variance at :attr:`places`; ``None`` of the field itself.
        """
        then, now = self.known[self.shown], self.variance(transform, spread)[self.shown]
        drawn = np.hypot(*np.random.default_rng(seed).normal(size=(2, DRAWN, len(now))))
        ratios = [np.sqrt(now.mean() / then.mean())]
        ratios += [np.divide(*(np.percentile(drawn * np.sqrt(each), q) for each in (now, then))) for q in (90, 95)]
        ratio = max(1.0, *(float(r) for r in ratios))
        proof = self.proof
        return replace(
            proof,
            rmse=round(proof.rmse * ratio, 4),
            ce90=round(proof.ce90 * ratio, 4),
            ce90_interval=(proof.ce90_interval[0], round(proof.ce90_interval[1] * ratio, 4)),
            ce95=round(proof.ce95 * ratio, 4),
            ce95_interval=(proof.ce95_interval[0], round(proof.ce95_interval[1] * ratio, 4)),
        )

    @property
    def motion(self) -> Motion | None:
        """Return the motion that was found beside the field, less sure where edits changed what it is compared with."""
        motion = self.before.motion
        if motion is None or motion.uncertainty.shape != self.known.shape:
            return None
        sigma, support = motion.uncertainty.arrays()
        unsure = Uncertainty.of(self.at, np.sqrt(sigma**2 + self.changed), support)
        return replace(motion, uncertainty=unsure)
