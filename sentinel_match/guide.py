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

    from sentinel_match.semantics import Context


@dataclass(frozen=True, eq=False)
class Guide:
    """Which pairs of positions may correspond, and how likely each is before anybody looks."""

    transform: NDArray[np.float64]
    """(3, 3) homogeneous: pixels of the left image to where the same ground should be in the right one, corner origin."""
    radius: float
    """Pixels of the right image by which that may be wrong."""
    left: Context | None = None
    """What lies where in the left image; without it, or ``right``, every ground is as likely as every other."""
    right: Context | None = None

    def expected(self, left: NDArray[Any]) -> NDArray[np.float64]:
        """Where (N, 2) left points should be in the right image."""
        moved = np.column_stack([left, np.ones(len(left))]) @ self.transform.T
        return np.asarray(moved[:, :2] / moved[:, 2:])

    def within(self, left: NDArray[Any], right: NDArray[Any]) -> NDArray[np.bool_]:
        """(N, M), whether a right point is in reach of where a left one should be."""
        apart = self.expected(left).astype(np.float32)[:, None] - right.astype(np.float32)[None]
        return np.asarray((apart**2).sum(-1) <= self.radius**2)

    def bias(self, left: NDArray[Any], right: NDArray[Any]) -> NDArray[np.float32]:
        """What is added to the logarithm of an assignment.

        Args:
            left: (N, 2) x, y in the left image, pixels, corner origin.
            right: (M, 2) in the right image.

        Returns:
            (N, M) log-probabilities: -inf out of reach, else the compatibility of what lies at the two points (0 where
            that is not known).
        """
        known = np.zeros((len(left), len(right)), np.float32)
        if self.left is not None and self.right is not None:
            known = self.left.compatibility(left, self.right, right)
        return np.where(self.within(left, right), known, np.float32(-np.inf)).astype(np.float32, copy=False)
