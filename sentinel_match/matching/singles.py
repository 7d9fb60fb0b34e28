"""What single windows say: by their whole spectrum and by each half of it, and how textured their ground is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sentinel_match.matchers.correlation import peaks
from sentinel_match.matching import texture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sentinel_match.matchers.correlation import Part, Points, Surfaces

PULL = 0.026
"""By how much the taper draws a peak towards where its window was cut, as a share of the way (T33UUU, windows of 32 px,
peaks of any height)."""


class Singles(NamedTuple):
    """Peaks of single windows; N rows in every array."""

    whole: Points
    """(N, 2) displacement by the whole spectrum, right minus left, pixels."""
    one: Points
    other: Points
    quality: NDArray[np.float64]
    distinct: NDArray[np.float64]
    ok: NDArray[np.bool_]
    """(N,) the whole and both halves have a peak within the search, on clear ground."""
    clear: NDArray[np.float64]
    """(N,) share of the tapered window that is valid in both images."""
    bend: NDArray[np.float64]
    """(N, 5) see :func:`sentinel_match.matching.texture.curvature`."""
    aside: Points
    """(N, 2) where the right window was cut less where its node lies, pixels; NaN where none was."""

    @staticmethod
    def nothing(count: int) -> Singles:
        """Make some of which no window was looked at."""
        shifts = [np.zeros((count, 2)) for _ in range(3)]
        quality, distinct, clear = (np.zeros(count) for _ in range(3))
        bend, aside = np.zeros((count, 5)), np.full((count, 2), np.nan)
        return Singles(shifts[0], shifts[1], shifts[2], quality, distinct, np.zeros(count, bool), clear, bend, aside)

    def put(self, index: NDArray[np.intp], other: Singles) -> None:
        """Set some rows to those of others, in their order."""
        for array, values in zip(self, other, strict=True):
            array[index] = values

    def where(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> Singles:
        """Take some rows."""
        points = self.whole[index], self.one[index], self.other[index], self.quality[index], self.distinct[index]
        return Singles(*points, self.ok[index], self.clear[index], self.bend[index], self.aside[index])


class Cut(NamedTuple):
    """Windows as they were cut: both parts, and N places."""

    here: Part
    there: Part
    at: Points
    """(N, 2) whole pixels in the left image."""
    to: Points
    """(N, 2) in the right one, where zero of each surface lies."""
    cut: Points
    """(N, 2) whole pixels in the right one."""


def told(surfaces: Sequence[Surfaces], windows: Cut, radius: int, min_clear: float) -> Singles:
    """Take from correlation surfaces what each window says by itself.

    Args:
        surfaces: of the whole spectrum and of each half.
        windows: that were correlated.
        radius: of the search, pixels.
        min_clear: least share of a window that must be valid.
    """
    tops = [peaks(each.height) for each in surfaces]
    moved = []
    for top in tops:
        there = windows.to + np.clip(top.shift, -radius, radius)
        moved.append(there - windows.at + PULL * (there - windows.cut))
    clear = surfaces[0].clear.double().cpu().numpy()
    ok = (clear >= min_clear) & np.logical_and.reduce([top.inside for top in tops])
    bend = texture.curvature(windows.here, windows.there, windows.at, windows.cut)
    aside = windows.cut - windows.at
    return Singles(moved[0], moved[1], moved[2], tops[0].quality, tops[0].distinct, ok, clear, bend, aside)
