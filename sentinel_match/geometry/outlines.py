"""Outlines of many footprints in a plane of true areas, to find which of them meet and estimate by how much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from pyproj import Transformer
from shapely import STRtree
from shapely.affinity import translate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sentinel_match.geometry.footprint import Footprint

EQUAL_AREA = "+proj=cea +ellps=WGS84 +units=km +over"
"""A plane of true areas on the whole ellipsoid; ``+over`` lets longitudes run on past 180."""

SIMPLER = 5e-4
"""Of the side of a square as large as the footprint: by how much its outline may be simplified."""


@dataclass(frozen=True, eq=False)
class Outlines:
    """Simplified outlines in km, and a spatial index of them; make it by ``of``."""

    shapes: NDArray[Any]
    """(S,) polygons: one for each footprint, then copies, one turn around the globe away, of those across ±180."""
    footprint: NDArray[np.intp]
    """(S,) the number of the footprint that each shows."""
    copies: tuple[NDArray[np.intp], NDArray[np.intp]]
    """(F,) each: of each footprint the copy to the west and that to the east, or -1."""
    tree: STRtree

    @staticmethod
    def of(footprints: Sequence[Footprint]) -> Outlines:
        """Draw the outlines of footprints (F,)."""
        plane = Transformer.from_crs("EPSG:4326", EQUAL_AREA, always_xy=True)
        outlines = shapely.transform(
            np.array([footprint.polygon for footprint in footprints], dtype=object),
            lambda lonlat: np.column_stack(plane.transform(*lonlat.T)),
        )
        outlines = shapely.simplify(outlines, SIMPLER * np.sqrt(shapely.area(outlines)))
        turn, _ = plane.transform(360, 0)
        west, _, east, _ = shapely.bounds(outlines).reshape(-1, 4).T
        over, under = np.flatnonzero(east > turn / 2), np.flatnonzero(west < -turn / 2)
        moved = [translate(outlines[i], by) for some, by in ((over, -turn), (under, turn)) for i in some]
        shapes = np.array([*outlines, *moved], dtype=object)
        copies = np.full((2, len(outlines)), -1)
        copies[0, over] = len(outlines) + np.arange(len(over))
        copies[1, under] = len(outlines) + len(over) + np.arange(len(under))
        footprint = np.concatenate([np.arange(len(outlines)), over, under])
        return Outlines(shapes, footprint, (copies[0], copies[1]), STRtree(shapes))

    def near(self, number: int) -> NDArray[np.intp]:
        """List the footprints whose boxes meet that of one: all that can have ground in common with it, and itself."""
        own = [number, *(int(copy[number]) for copy in self.copies if copy[number] >= 0)]
        return np.unique(self.footprint[np.concatenate([self.tree.query(self.shapes[shape]) for shape in own])])

    def common_km2(self, one: NDArray[np.intp], other: NDArray[np.intp]) -> NDArray[np.float64]:
        """Estimate the ground that footprints ``one`` (K,) and ``other`` (K,) have in common, in km².

        To about 0.5 %: ``Footprint.intersection`` is exact, and many times slower.
        """
        km2 = np.asarray(shapely.area(shapely.intersection(self.shapes[one], self.shapes[other])), np.float64)
        first = [one, *(copy[one] for copy in self.copies)]
        second = [other, *(copy[other] for copy in self.copies)]
        # Copies of one pair show the same ground again, or its other end: the larger is the overlap or nearly so
        for a, b in [(a, b) for a in first for b in second][1:]:
            there = np.flatnonzero((a >= 0) & (b >= 0))
            again = shapely.area(shapely.intersection(self.shapes[a[there]], self.shapes[b[there]]))
            km2[there] = np.maximum(km2[there], again)
        return km2
