"""What is known of a pair before its images are compared: where the ground should be, and what lies there.

Geography is the prior of every guided match. It enters the assignment itself, before mutual nearest neighbours and
thresholds: a candidate out of reach is none, so it can neither win nor stand in the way of the right one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.raster.transitions import Context


@dataclass(frozen=True, eq=False)
class GeometricPrior:
    """Which pairs of positions may correspond, and how likely each is before anybody looks."""

    transform: NDArray[np.float64]
    """(3, 3) homogeneous: left pixels to where the same ground should be in the right image, corner origin."""
    radius: float
    """Pixels of the right image by which that may be wrong."""
    left: Context | None = None
    """What lies where in the left image; without it, or ``right``, every ground is as likely as every other."""
    right: Context | None = None

    def expected(self, left: NDArray[Any]) -> NDArray[np.float64]:
        """Compute where (N, 2) left points should be in the right image."""
        homogeneous = np.column_stack([left, np.ones(len(left))]) @ self.transform.T
        return np.asarray(homogeneous[:, :2] / homogeneous[:, 2:])

    def within(self, left: NDArray[Any], right: NDArray[Any]) -> NDArray[np.bool_]:
        """Tell whether each right point is in reach of where each left one should be: (N, M)."""
        expected = self.expected(left).astype(np.float32)
        squared = np.zeros((len(left), len(right)), np.float32)
        for k in (0, 1):  # one after the other: both at once take four times the memory
            offset = expected[:, k, None] - right[:, k].astype(np.float32)
            squared += np.multiply(offset, offset, out=offset)
        return np.asarray(squared <= self.radius**2)

    def reached(self, left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell whether each of (N, 2) right points is in reach of where its own left one should be: (N,)."""
        return np.asarray(np.hypot(*(self.expected(left) - right).T) <= self.radius)

    def bias(self, left: NDArray[Any], right: NDArray[Any]) -> NDArray[np.float32]:
        """Compute what is added to the logarithm of an assignment.

        Args:
            left: (N, 2) x, y in the left image, pixels, corner origin.
            right: (M, 2) in the right image.

        Returns:
            (N, M) log-probabilities: -inf out of reach, else the compatibility of what lies at the two points (0 where
            that is not known).
        """
        compatibility: NDArray[np.float32] | np.float32 = np.float32(0)
        if self.left is not None and self.right is not None:
            compatibility = self.left.compatibility(left, self.right, right)
        return np.where(self.within(left, right), compatibility, np.float32(-np.inf)).astype(np.float32, copy=False)

    def likeness(self, left: NDArray[Any], right: NDArray[Any]) -> NDArray[np.float32]:
        """Compute the (N,) compatibility of what lies at N pairs of points, as :meth:`bias` does; 0 where unknown."""
        if self.left is None or self.right is None or not len(left):
            return np.zeros(len(left), np.float32)
        step = 64  # the diagonals of small squares
        parts = [
            self.left.compatibility(left[i : i + step], self.right, right[i : i + step]).diagonal()
            for i in range(0, len(left), step)
        ]
        return np.concatenate(parts)

    def within_cell(self, left: tuple[int, int, int, int], right: tuple[int, int, int, int]) -> GeometricPrior:
        """Make the prior of two windows (row, col, height, width) of the images."""
        to_left, from_right = np.eye(3), np.eye(3)
        to_left[:2, 2], from_right[:2, 2] = (left[1], left[0]), (-right[1], -right[0])
        return GeometricPrior(
            from_right @ self.transform @ to_left,
            self.radius,
            self.left and self.left.crop(*left),
            self.right and self.right.crop(*right),
        )
