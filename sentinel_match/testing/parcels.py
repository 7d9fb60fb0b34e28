"""Villages and their land: which fields and town blocks lie where, whatever the season."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sentinel_match.testing import covers
from sentinel_match.testing.noise import draw, fractions, uniform

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.testing.covers import Cover
    from sentinel_match.testing.noise import Float

VILLAGE_SPACING = 2400.0
"""Metres between the villages, around each of which the fields share one orientation."""

PARCEL_COVERS: tuple[Cover, ...] = (*covers.CROPS, *covers.TOWN)
"""What a parcel can be; those from ``FIRST_BLOCK`` on are blocks of a town."""
FIRST_BLOCK = len(covers.CROPS)


@dataclass(frozen=True, eq=False)
class Parcels:
    """Fields and town blocks at the samples of a piece of ground."""

    code: NDArray[np.uint8]
    """Number in ``PARCEL_COVERS`` of the crop, or of the kind of town block."""
    tone: Float
    """Brightness of each parcel among its kind."""
    edge: Float
    """Metres to the nearest border of the parcel."""

    def put(self, part: tuple[slice, slice], mask: NDArray[np.bool_], other: Parcels) -> None:
        """Write other parcels over a window of these, where the window's mask is ``True``."""
        np.copyto(self.code[part], other.code, where=mask)
        np.copyto(self.tone[part], other.tone, where=mask)
        np.copyto(self.edge[part], other.edge, where=mask)


@dataclass(frozen=True)
class Pattern:
    """What the parcels of one kind have in common: strips like courses of bricks of unequal length."""

    depth: float
    """Metres across a strip."""
    width: float
    """Metres along a strip that a parcel takes, about."""
    shares: Float
    """Cumulative share of each cover."""
    first_code: int
    """Number in ``PARCEL_COVERS`` of the first cover."""
    contrast: float
    """Difference in tone between the brightest and the darkest parcel."""


@dataclass(frozen=True)
class Village:
    """A village and the land around it."""

    seed: int
    i: int
    j: int
    x: float
    """Metres east of the anchor of the samples."""
    y: float
    """Metres north of it."""

    def _draw(self, salt: int) -> float:
        """Draw one of its random numbers, 0 to 1."""
        return draw(self.seed, self.i, self.j, salt)

    @property
    def town(self) -> float:
        """Draw the radius of its town, metres; some villages are only a name."""
        return max(0.0, 900 * self._draw(11) - 350)

    def fields(self, u: Float, v: Float) -> Parcels:
        """Lay out its fields at some samples."""
        shares = fractions(covers.CROP_SHARES)
        depth, width = 100 + 160 * self._draw(12), 170 + 330 * self._draw(13)
        return self._lay(u, v, Pattern(depth, width, shares, 0, contrast=0.3))

    def blocks(self, u: Float, v: Float) -> Parcels:
        """Lay out the blocks of its town at some samples."""
        return self._lay(u, v, Pattern(45, 60, fractions((0.45, 0.55)), FIRST_BLOCK, contrast=0.7))

    def _lay(self, u: Float, v: Float, pattern: Pattern) -> Parcels:
        """Lay out a pattern of parcels at some samples, turned to the village's own direction."""
        depth, width = pattern.depth, pattern.width
        angle = np.pi * self._draw(14)
        cos, sin = float(np.cos(angle)), float(np.sin(angle))
        along = cos * (u - self.x) + sin * (v - self.y)
        across = (cos * (v - self.y) - sin * (u - self.x)) / depth
        strip = np.floor(across)
        across -= strip
        row = strip.astype(np.intp)
        row -= row.min()
        salt = (self.i * 7919 + self.j * 104729) & 0xFFFF
        strips = np.arange(int(strip.min()), int(strip.max()) + 1)
        lengths = width * (0.6 + 0.8 * uniform(self.seed, strips, np.array(salt), 15))
        along = (along + (width * uniform(self.seed, strips, np.array(salt), 16))[row]) / lengths[row]
        piece = np.floor(along)
        along -= piece
        column = piece.astype(np.intp)
        column -= column.min()
        pieces = np.arange(int(piece.min()), int(piece.max()) + 1)
        node = (strips[:, None], pieces[None, :] + 65536 * salt)
        codes = (pattern.first_code + np.searchsorted(pattern.shares, uniform(self.seed, *node, 17))).astype(np.uint8)
        tones = 1 + pattern.contrast * (uniform(self.seed, *node, 18) - 0.5)
        index = row * len(pieces) + column
        metres_across = np.minimum(across, 1 - across) * depth
        metres_along = np.minimum(along, 1 - along) * lengths[row]
        return Parcels(codes.ravel()[index], tones.ravel()[index], np.minimum(metres_across, metres_along))


def settle(seed: int, u: Float, v: Float, anchor: tuple[float, float], raggedness: Float) -> tuple[Parcels, Float]:
    """Lay out the parcels at some samples, and compute the metres from each to the border of its village's land.

    The land of a village is what lies nearer to it than to any other: a Voronoi cell.

    Args:
        seed: of the landscape.
        u: easting of each sample, metres from the anchor.
        v: northing.
        anchor: easting and northing of the anchor, metres: float32 resolves half a metre of UTM, so ``u`` and ``v`` are
            relative.
        raggedness: factor on the distance from a town's centre, at each sample.
    """
    villages = _villages(seed, u, v, anchor)
    nearest = np.zeros(u.shape, np.uint8)
    closest = np.full(u.shape, np.inf, np.float32)
    second = closest.copy()
    for number, village in enumerate(villages):
        distance = np.square(u - village.x) + np.square(v - village.y)
        nearest[distance < closest] = number
        np.minimum(second, np.maximum(closest, distance), out=second)
        np.minimum(closest, distance, out=closest)
    closest, second = np.sqrt(closest), np.sqrt(second)
    parcels = Parcels(np.zeros(u.shape, np.uint8), np.zeros(u.shape, np.float32), np.zeros(u.shape, np.float32))
    for number, village in enumerate(villages):
        for mask, lay in (
            (nearest == number, village.fields),
            ((nearest == number) & (closest * raggedness < village.town), village.blocks),
        ):
            if mask.any():
                part = _window_of(mask)
                parcels.put(part, mask[part], lay(u[part], v[part]))
    return parcels, np.asarray((second - closest) / 2, np.float32)


def _villages(seed: int, u: Float, v: Float, anchor: tuple[float, float]) -> list[Village]:
    """Find the villages that are nearest or second nearest to any of the samples."""
    low = np.array([u.min(), v.min()], np.float64) + anchor
    high = np.array([u.max(), v.max()], np.float64) + anchor
    first, last = np.floor(low / VILLAGE_SPACING).astype(int) - 2, np.floor(high / VILLAGE_SPACING).astype(int) + 2
    i, j = (a.ravel() for a in np.meshgrid(np.arange(first[0], last[0] + 1), np.arange(first[1], last[1] + 1)))
    jitter = np.stack([uniform(seed, i, j, 1), uniform(seed, i, j, 2)], axis=1).astype(np.float64)
    seat = VILLAGE_SPACING * (np.stack([i, j], axis=1) + 0.15 + 0.7 * jitter)
    least = np.linalg.norm(np.maximum(0, np.maximum(low - seat, seat - high)), axis=1)
    most = np.linalg.norm(np.maximum(np.abs(seat - low), np.abs(seat - high)), axis=1)
    near = np.flatnonzero(least <= np.sort(most)[1])
    return [Village(seed, int(i[k]), int(j[k]), *(float(m) for m in seat[k] - anchor)) for k in near]


def _window_of(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Find the smallest window that holds every ``True`` of a mask, of which there is one at least."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(cols[0]), int(cols[-1]) + 1)
