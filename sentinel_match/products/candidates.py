"""Candidates: every two scenes with common ground, a bounded number at a time, from facts as arrays.

Scenes are walked in the order of tile and pass, so that one chunk has all the processings of the acquisitions in it and
few of the archive's footprints: each two of them are intersected once a chunk, whatever the number of scenes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from sentinel_match.geometry.footprint import WGS84
from sentinel_match.geometry.outlines import Outlines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from sentinel_match.products.facts import Facts

EARTH_KM = 6371.0

CHUNK = 400_000
"""Pairs judged at once, more only where one acquisition has more: 100 MB of arrays, and Python's own time is little."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Pairs (K,) with common ground, or whose positions are near: numbers of scenes, the earlier first."""

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    overlap: NDArray[np.intp]
    """(K,) which of the distinct overlaps is theirs; -1 of two positions."""
    km2: NDArray[np.float64]
    """(U,) of the distinct overlaps; 0 for complementary datastrips that do not meet."""
    smaller_km2: NDArray[np.float64]
    """(U,) the smaller footprint."""
    both_km2: NDArray[np.float64]
    """(U,) the two footprints together, what they have in common counted twice."""
    km: NDArray[np.float64]
    """(K,) between two positions; not a number of footprints."""


def candidates(facts: Facts, within_km: float) -> Iterator[Candidates]:
    """Find all pairs that could be compared, each once; those of the same two acquisitions in one chunk.

    Args:
        facts: of the scenes.
        within_km: between two images of which only a position is known.
    """
    walk = _Walk(facts, within_km)
    rows: list[int] = []
    partners: list[NDArray[np.intp]] = []
    total = 0
    for row in range(len(walk.order)):
        new = row == 0 or facts.acquisition[walk.order[row]] != facts.acquisition[walk.order[row - 1]]
        if new and total >= CHUNK:
            yield walk.pairs(rows, partners)
            rows, partners, total = [], [], 0
        later = walk.partners(row)
        if len(later):
            rows.append(row)
            partners.append(later)
            total += len(later)
    if rows:
        yield walk.pairs(rows, partners)


class _Walk:
    """The scenes in the order of tile and pass, as rows, with what is near each of them."""

    def __init__(self, facts: Facts, within_km: float) -> None:
        self.facts = facts
        self.within_km = within_km
        self.order = np.argsort(facts.acquisition, kind="stable")
        self.outlines = Outlines.of(facts.footprints)
        self.areas = np.array([footprint.area_km2 for footprint in facts.footprints])
        footprint = facts.footprint[self.order]
        by_footprint = np.argsort(footprint, kind="stable")
        self.rows = by_footprint[np.searchsorted(footprint[by_footprint], 0) :]
        """Rows sorted by footprint, those without one left out."""
        counts = np.bincount(footprint[footprint >= 0], minlength=len(facts.footprints))
        self.ends = np.cumsum(counts)
        self.counts = counts
        sight = facts.sight[self.order]
        self.sight_ends = np.searchsorted(sight, sight, "right")
        self.rows_near: Callable[[int], NDArray[np.intp]] = lru_cache(maxsize=256)(self._rows_near)

    def partners(self, row: int) -> NDArray[np.intp]:
        """List the later rows that may show what one shows."""
        scene = self.order[row]
        number = int(self.facts.footprint[scene])
        if number < 0:
            return self._positions_near(row)
        rows = self.rows_near(number)
        later = rows[np.searchsorted(rows, row, "right") :]
        end = self.sight_ends[row]
        if end > row + 1:  # complementary datastrips need not overlap, yet deserve their reason
            here = np.arange(row + 1, end)
            later = np.union1d(later, here[self.facts.footprint[self.order[here]] >= 0])
        return later

    def pairs(self, rows: list[int], partners: list[NDArray[np.intp]]) -> Candidates:
        """Make the pairs of some rows with their partners, and drop those without common ground."""
        facts = self.facts
        one = self.order[np.repeat(rows, [len(some) for some in partners])]
        other = self.order[np.concatenate(partners)]
        first, second = np.minimum(one, other), np.maximum(one, other)
        count = len(facts.footprints)
        a, b = facts.footprint[first], facts.footprint[second]
        outlined = a >= 0
        numbers, overlap = np.unique(np.where(outlined, a * count + b, -1), return_inverse=True)
        own = numbers[numbers >= 0]
        overlap -= len(numbers) - len(own)  # -1 for positions, if there are any
        a, b = own // max(count, 1), own % max(count, 1)
        km2 = self.outlines.common_km2(a, b)
        km = np.full(len(first), np.nan)
        if not outlined.all():
            km[~outlined] = self._distance_km(first[~outlined], second[~outlined])
        meets = np.append(km2 > 0, False)[overlap]
        kept = np.flatnonzero(meets | (outlined & (facts.sight[first] == facts.sight[second])) | (km <= self.within_km))
        return Candidates(
            first[kept],
            second[kept],
            overlap[kept],
            km2,
            np.minimum(self.areas[a], self.areas[b]),
            self.areas[a] + self.areas[b],
            km[kept],
        )

    def _rows_near(self, number: int) -> NDArray[np.intp]:
        near = self.outlines.near(number)
        counts = self.counts[near]
        starts = np.repeat(self.ends[near] - np.cumsum(counts), counts)
        return np.sort(self.rows[starts + np.arange(counts.sum())])

    @cached_property
    def _globe(self) -> tuple[NDArray[np.intp], NDArray[np.float64], cKDTree]:
        """Rows of which only a position is known, and their places on a sphere."""
        scenes = self.facts.scenes
        rows = np.array(
            [r for r, n in enumerate(self.order) if scenes[n].footprint is None and scenes[n].position], np.intp
        )
        lon, lat = np.radians(np.reshape([scenes[n].position for n in self.order[rows]], (-1, 2))).T
        xyz = np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
        return rows, xyz, cKDTree(xyz)

    def _positions_near(self, row: int) -> NDArray[np.intp]:
        if self.facts.scenes[self.order[row]].position is None:
            return np.zeros(0, np.intp)
        rows, xyz, globe = self._globe
        chord = 2 * np.sin(min(1.01 * self.within_km / EARTH_KM, np.pi) / 2)  # 1 % for the flattening of the Earth
        near: NDArray[np.intp] = rows[np.sort(globe.query_ball_point(xyz[np.searchsorted(rows, row)], chord))]
        return near[np.searchsorted(near, row, "right") :]

    def _distance_km(self, first: NDArray[np.intp], second: NDArray[np.intp]) -> NDArray[np.float64]:
        lon, lat = (
            np.array([(scene.position or (0.0, 0.0))[axis] for scene in self.facts.scenes], np.float64)
            for axis in (0, 1)
        )
        return np.asarray(WGS84.inv(lon[first], lat[first], lon[second], lat[second])[2]) / 1e3
