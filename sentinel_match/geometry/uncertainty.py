"""How sure a transform is on a lattice over its ground, also where no point is, small enough to travel with it.

A level a node: 255 of them between the least value and the greatest, each the same factor above the one before. Of 1 to
1000 mm that is within 1.4 %, and a lattice of 25,000 nodes takes some ten kilobytes of a file.
"""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import numpy as np

from sentinel_match.schema import COORDINATE, LENGTH, Coordinate, Length, Unfit, Within

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.geometry.grids import Points

LEVELS = 254
"""Steps between the least level, 1, and the greatest: 0 says that nothing is known."""
MOST_NODES = 4_000_000
"""Of a lattice that is laid out around points."""
PROVEN_AWAY = 16
"""Blocks of an eighth of the longer side are held out whole: what is proven lies half of that from the next point."""
_Side = Annotated[int, Within(1, 50_000)]


@dataclass(frozen=True)
class Levels:
    """Positive numbers at the nodes of a lattice, as levels between two bounds."""

    low: Length
    """The least."""
    high: Length
    """The greatest."""
    codes: str
    """A byte a node, row by row from the north, deflated (zlib), in base64: 0 where nothing is known, else ``low *
    (high / low) ** ((code - 1) / 254)``."""

    @staticmethod
    def of(values: NDArray[np.float64]) -> Levels:
        """Take the levels of numbers; what is none is not known."""
        known = np.isfinite(values)
        clipped = np.clip(np.where(known, values, 1.0), LENGTH.low, LENGTH.high)
        low, high = (float(f(clipped[known])) if known.any() else 1.0 for f in (np.min, np.max))
        low, high = float(f"{low:.6g}"), float(f"{high:.6g}")
        steps = np.log(clipped / low) / max(np.log(high / low), 1e-9) * LEVELS
        codes = np.where(known, 1 + np.clip(np.rint(steps), 0, LEVELS), 0).astype(np.uint8)
        return Levels(low, high, b64encode(zlib.compress(codes.tobytes(), 9)).decode("ascii"))

    def values(self, count: int) -> NDArray[np.float64]:
        """Return the numbers of so many nodes, NaN where nothing is known.

        Raises:
            Unfit: the codes are none, or those of another number of nodes.
        """
        try:
            codes = zlib.decompressobj().decompress(b64decode(self.codes, validate=True), count + 1)
        except (ValueError, zlib.error) as error:
            raise Unfit(f"codes of levels cannot be read ({error})") from None
        if len(codes) != count:
            raise Unfit(f"there are codes of {len(codes):,} levels, and must be {count:,}")
        code = np.frombuffer(codes, np.uint8)
        values = self.low * (self.high / self.low) ** ((code.astype(float) - 1) / LEVELS)
        return np.where(code == 0, np.nan, values)


@dataclass(frozen=True)
class Uncertainty:
    """How sure a transform is at the nodes of a lattice, and how much ground it averages there."""

    origin: tuple[Coordinate, Coordinate]
    """East and north of the first node, that in the north-west; metres."""
    spacing: tuple[Length, Length]
    """Metres between nodes, eastward and southward."""
    shape: tuple[_Side, _Side]
    """Rows and columns."""
    sigma: Levels
    """Standard deviation per axis, metres: not known where one of the images has no data."""
    support: Levels
    """Metres of ground that the transform averages, full width at half maximum; not known of one that holds for the
    whole overlap."""

    @staticmethod
    def of(at: NDArray[np.float64], sigma: NDArray[np.float64], support: NDArray[np.float64]) -> Uncertainty:
        """Keep what is known at nodes.

        Args:
            at: (rows, cols, 2) east, north of each node, rows from the north.
            sigma: (rows, cols) metres, NaN where nothing is known.
            support: (rows, cols) metres.
        """
        rows, cols = sigma.shape
        east, south = (at[-1, -1] - at[0, 0]) * (1, -1) / np.maximum([cols - 1, rows - 1], 1)
        spacing = tuple(round(float(step), 6) if step > 0 else 1.0 for step in (east, south))
        origin = tuple(round(float(v), 6) for v in np.clip(at[0, 0], COORDINATE.low, COORDINATE.high))
        return Uncertainty(
            (origin[0], origin[1]), (spacing[0], spacing[1]), (rows, cols), Levels.of(sigma), Levels.of(support)
        )

    @staticmethod
    def around(points: Points, error: float, spacing: float) -> Uncertainty:
        """Say how sure a transform is of which no lattice is known, from how far it errs on blocks of unseen ground.

        Further from any point than the middle of such a block, it is the less sure the further it is.

        Args:
            points: (N, 2) inliers, metres.
            error: standard deviation per axis on unseen ground; NaN where it was not proven.
            spacing: metres between nodes; wider where that would make millions.
        """
        from scipy.spatial import cKDTree

        low, high = points.min(0), points.max(0)
        spacing = max(spacing, float(np.sqrt(max(np.prod(high - low), 1.0) / MOST_NODES)))
        x, y = (np.arange(low[k], high[k] + spacing, spacing) for k in (0, 1))
        at = np.stack(np.meshgrid(x, y[::-1]), -1)
        away = cKDTree(points).query(at)[0]
        proven = max(float((high - low).max()) / PROVEN_AWAY, spacing)
        sigma = error * np.maximum(away / proven, 1)
        return Uncertainty.of(at, sigma, np.full(sigma.shape, np.nan))

    def widened(self, by: float) -> Uncertainty:
        """Add metres by which the whole transform may be wrong along either axis."""
        return replace(self, sigma=Levels.of(np.hypot(self.arrays()[0], by)))

    @property
    def nodes(self) -> NDArray[np.float64]:
        """Compute (rows, cols, 2) east, north of each node, rows from the north."""
        (rows, cols), (east, south) = self.shape, self.spacing
        x, y = self.origin[0] + east * np.arange(cols), self.origin[1] - south * np.arange(rows)
        return np.stack(np.meshgrid(x, y), -1)

    def arrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (rows, cols) sigma and (rows, cols) support, metres; NaN where nothing is known.

        Raises:
            Unfit: they cannot be read.
        """
        rows, cols = self.shape
        sigma, support = (levels.values(rows * cols).reshape(rows, cols) for levels in (self.sigma, self.support))
        return sigma, support

    def at(self, points: Points) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (N,) sigma and (N,) support at the node next to each of (N, 2) points; NaN beyond the lattice."""
        col, row = np.rint((points - self.origin) / self.spacing * (1, -1)).astype(int).T
        inside = (row >= 0) & (col >= 0) & (row < self.shape[0]) & (col < self.shape[1])
        row, col = np.where(inside, row, 0), np.where(inside, col, 0)
        sigma, support = (np.where(inside, values[row, col], np.nan) for values in self.arrays())
        return sigma, support
