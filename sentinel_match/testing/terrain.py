"""Invented terrain: heights, the errors of a height model, and the orbits from which products show them.

A product is orthorectified by a height model. Where that is a metre too high, the ground is shown by the tangent of the
view's zenith angle of a metre off, towards the satellite. Two products from one orbit are off alike; from two orbits
that look from either side they differ by the parallax: 3 m root mean square for errors of 8 m seen from 10.5 degrees
east and west (Stumpf et al. 2018, "Improved co-registration of Sentinel-2 and Landsat-8", Remote Sensing 10, 160).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import rasterio
from lxml.builder import E

from sentinel_match.products.metadata import BANDS_BY_ID
from sentinel_match.testing.noise import Position, axes, octaves, stream
from sentinel_match.testing.swath import TRACK_LEAN

if TYPE_CHECKING:
    from pathlib import Path

    from lxml import etree
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

ORBIT_HEIGHT = 786_000.0
"""Metres of Sentinel-2 above the ground."""
ANGLE_STEP = 5000.0
"""Metres between nodes of the grids of angles."""
DETECTOR_WIDTH = 25_000.0
"""Metres across the track that one of the twelve detectors sees."""
_ACROSS = math.radians(90 + TRACK_LEAN)
"""Azimuth at right angles to a descending track, eastwards."""


@dataclass(frozen=True)
class Terrain:
    """Heights of the ground, and the errors of the model that products were orthorectified by; metres."""

    seed: int = 0
    relief_m: float = 250.0
    """Standard deviation of the heights."""
    error_m: float = 8.0
    """Standard deviation of the model's errors: 16 m at two sigma, as of the model used until 2021."""
    error_per_height: float = 0.0
    """What the model errs besides, in metres per metre of height."""

    def height(self, x: Position, y: Position) -> NDArray[np.float64]:
        """Compute the height of the ground: two axes make a grid; power falls with the cube of the frequency."""
        return np.float64(self.relief_m) * octaves(stream(self.seed, "height"), 100, 12_800, 1.5).at(x, y)

    def error(self, x: Position, y: Position) -> NDArray[np.float64]:
        """Compute by how much the model is too high, from waves of 100 m to ones of 10 km, as of :meth:`height`."""
        own = np.float64(self.error_m) * octaves(stream(self.seed, "height error"), 100, 12_800, 1.5).at(x, y)
        return own + self.error_per_height * self.height(x, y) if self.error_per_height else own

    def write(self, path: Path, geobox: GeoBox) -> Path:
        """Write the heights on a north-up grid in the metres of the ground as a GeoTIFF."""
        (rows, cols), affine = geobox.shape, geobox.affine
        heights = self.height(*axes(geobox)).astype(np.float32)
        shape = {"width": cols, "height": rows, "count": 1, "dtype": "float32"}
        with rasterio.open(path, "w", "GTiff", **shape, crs=str(geobox.crs), transform=affine, nodata=-9999) as dataset:
            dataset.write(heights, 1)
        return path


@dataclass(frozen=True)
class Orbit:
    """The track of a descending satellite over a tile."""

    east: float
    """Degrees from the zenith at which it stands east of the middle of the tile, seen at right angles to its track;
    negative to the west. The orbits beside one another reach 10.5 on the ground that they share."""
    middle: tuple[float, float]
    """Easting and northing of the middle."""

    def towards(self, x: Position, y: Position) -> tuple[Position, Position]:
        """Compute the tangent of the zenith angle, as a vector east and north towards the satellite."""
        away = (x - self.middle[0]) * math.sin(_ACROSS) + (y - self.middle[1]) * math.cos(_ACROSS)
        tangent = math.tan(math.radians(self.east)) - away / ORBIT_HEIGHT
        return tangent * math.sin(_ACROSS), tangent * math.cos(_ACROSS)

    def parallax(self, terrain: Terrain, x: Position, y: Position) -> tuple[Position, Position]:
        """Compute (east, north) metres by which an image shows the ground away from where it is; 2-D arrays."""
        error = terrain.error(x, y)
        east, north = self.towards(x, y)
        return error * east, error * north

    def grids(self, geobox: GeoBox) -> list[tuple[int, NDArray[np.float64], NDArray[np.float64]]]:
        """Make the grids of angles as metadata have them: number of the detector, zenith, azimuth.

        Each detector says something of the nodes that it sees, and of one more on either side; NaN of the others.
        Azimuths are clockwise from true north.
        """
        from pyproj import Proj

        (rows, cols), affine = geobox.shape, geobox.affine
        count = [math.ceil(n * abs(affine.a) / ANGLE_STEP) + 1 for n in (cols, rows)]
        x, y = np.meshgrid(affine.c + ANGLE_STEP * np.arange(count[0]), affine.f - ANGLE_STEP * np.arange(count[1]))
        east, north = self.towards(x, y)
        projection = Proj(str(geobox.crs))
        turn = projection.get_factors(*projection(x, y, inverse=True)).meridian_convergence
        zenith = np.degrees(np.arctan(np.hypot(east, north)))
        azimuth = (np.degrees(np.arctan2(east, north)) + turn) % 360
        # From the west of the swath, where the satellite stands in the east, to its east
        across = 6.5 - (east * math.sin(_ACROSS) + north * math.cos(_ACROSS)) * ORBIT_HEIGHT / DETECTOR_WIDTH
        margin = 0.5 + ANGLE_STEP / DETECTOR_WIDTH
        grids = []
        for detector in range(1, 13):
            seen = np.abs(across - detector) <= margin
            if seen.any():
                grids.append((detector, np.where(seen, zenith, np.nan), np.where(seen, azimuth, np.nan)))
        return grids


def view_grids(orbit: Orbit | None, geobox: GeoBox) -> list[etree._Element]:
    """Write the angles of view of a granule as its metadata have them; nothing without an orbit.

    Every band looks alike here, and no detector ahead.
    """
    return [
        E.Viewing_Incidence_Angles_Grids(
            _values("Zenith", zenith), _values("Azimuth", azimuth), bandId=str(band), detectorId=str(detector)
        )
        for band in range(len(BANDS_BY_ID))
        for detector, zenith, azimuth in (orbit.grids(geobox) if orbit else [])
    ]


def _values(name: str, angles: NDArray[np.float64]) -> etree._Element:
    step = f"{ANGLE_STEP:.0f}"
    rows = (E.VALUES(" ".join("NaN" if np.isnan(v) else f"{v:.6g}" for v in row)) for row in angles.tolist())
    grid: etree._Element = E(name, E.COL_STEP(step, unit="m"), E.ROW_STEP(step, unit="m"), E.Values_List(*rows))
    return grid
