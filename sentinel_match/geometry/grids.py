"""Pixels and metres on grids that scenes share: Sentinel-2's tiles of one UTM zone meet pixel by pixel."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from affine import Affine
    from odc.geo.geobox import GeoBox

Points = NDArray[np.float64]
"""(N, 2) x, y: pixels with their origin at the outer corner of the first one, or metres east and north."""
EARTH_RADIUS = 6_371_008.8
"""Metres, mean radius of the GRS80 ellipsoid (IUGG): turns a pixel in degrees into one in metres."""


def origin_of(geobox: GeoBox) -> tuple[int, int]:
    """Locate a raster's first pixel: (row, col), counted in its own pixels from the origin of the CRS."""
    affine = geobox.affine
    # Lattices begin at whole, half or third pixels; rounding must not fall between two scenes of one lattice
    return math.floor(affine.f / affine.e + 0.4142), math.floor(affine.c / affine.a + 0.4142)


def same_lattice(one: GeoBox, other: GeoBox) -> bool:
    """Tell whether two grids meet pixel by pixel: one CRS, one pixel size, a whole number of pixels apart."""
    if one.crs != other.crs:
        return False
    a, b = one.affine, other.affine
    steps = (b.c - a.c) / a.a, (b.f - a.f) / a.e
    return (
        all(math.isclose(x, y, rel_tol=1e-9) for x, y in ((a.a, b.a), (a.e, b.e)))
        and a.b == a.d == b.b == b.d == 0
        and all(abs(step - round(step)) < 1e-3 for step in steps)
    )


def metric(geobox: GeoBox) -> GeoBox:
    """Return the grid itself where a metre of its CRS is one on the ground, else one in the UTM zone of its centre.

    Degrees are no metres, and neither are those of a Mercator map: they grow with latitude.
    """
    return geobox if in_metres(str(geobox.crs)) else geobox.to_crs("utm")


def in_metres(name: str) -> bool:
    """Tell whether a metre of a CRS is a metre on the ground, or nearly."""
    from pyproj import CRS

    crs = CRS.from_user_input(name)
    operation = crs.coordinate_operation.method_name if crs.coordinate_operation else ""
    metres = crs.is_projected and all(axis.unit_name == "metre" for axis in crs.axis_info)
    return bool(metres and ("Mercator" not in operation or "Transverse" in operation))


def crs_name(crs: object) -> str:
    """Name a CRS: ``EPSG:32633`` where it has a number there, else its WKT."""
    from pyproj import CRS

    number = CRS.from_user_input(str(crs)).to_epsg()
    return f"EPSG:{number}" if number else str(crs)


def covering(one: GeoBox, other: GeoBox, margin: int) -> GeoBox:
    """Cut out the part of ``one``'s lattice, its extent and some pixels around it, that the other grid reaches.

    Raises:
        ValueError: it reaches none.
    """
    from odc.geo.geom import BoundingBox
    from rasterio.warp import transform_bounds

    west, south, east, north = transform_bounds(str(other.crs), str(one.crs), *other.boundingbox)
    reached = BoundingBox(west, south, east, north, crs=one.crs).polygon
    region = one.pad(margin).extent & reached
    if region.is_empty:
        raise ValueError("the grids do not meet")
    return one.enclosing(region)


def ground_resolution(geobox: GeoBox) -> float:
    """Compute the side in metres of a square as large as one pixel, whatever the CRS's unit and the grid's rotation."""
    a, b, _, d, e, _ = geobox.affine[:6]
    side = math.sqrt(abs(a * e - b * d))
    if geobox.crs is None:
        return side
    unit = geobox.crs.proj.axis_info[0].unit_conversion_factor
    return side * float(unit) * (EARTH_RADIUS if geobox.crs.geographic else 1.0)


def pixel_size(geobox: GeoBox) -> float:
    """Compute the side of a pixel in metres (the geometric mean where they are not square)."""
    return float(np.sqrt(abs(geobox.affine.a * geobox.affine.e)))


def to_metres(geobox: GeoBox, points: np.ndarray) -> np.ndarray:
    """Turn pixel positions into east, north in the grid's CRS."""
    return transformed(geobox.affine, points)


def to_pixels(geobox: GeoBox, points: np.ndarray) -> np.ndarray:
    """Turn east, north into pixel positions."""
    return transformed(~geobox.affine, points)


def native_pixels(points: np.ndarray, crs: object, geobox: GeoBox | None) -> np.ndarray:
    """Turn positions in the pair's CRS into column, row of a band's own grid, which may be in another zone."""
    from pyproj import Transformer

    if geobox is None:
        raise ValueError("a band without georeference has no positions")
    if geobox.crs != crs:
        points = np.column_stack(Transformer.from_crs(str(crs), str(geobox.crs), always_xy=True).transform(*points.T))
    return transformed(~geobox.affine, points)


def transformed(affine: Affine, points: np.ndarray) -> np.ndarray:
    """Move (N, 2) points by an affine transform."""
    return np.asarray(points @ np.array([[affine.a, affine.d], [affine.b, affine.e]]) + (affine.c, affine.f))
