"""Pixels and metres on grids that scenes share: Sentinel-2's tiles of one UTM zone meet pixel by pixel."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

Points = NDArray[np.float64]
"""(N, 2) x, y: pixels with their origin at the outer corner of the first one, or metres east and north."""
EARTH_RADIUS = 6_371_008.8
"""Metres, mean radius of the GRS80 ellipsoid (IUGG): turns a pixel in degrees into one in metres."""
TRUE_SCALE_TOLERANCE = 0.02
"""A metre of a CRS counts as one on the ground where it is that long within 2 %, whatever its direction: UTM and
national grids are within 0.1 %, EPSG:3035 within 2 % from Lisbon to Helsinki, degrees and Mercator maps never."""
TURNED_NORTH = 30.0
"""Degrees by which the north of a CRS may differ from north where one works: national grids stay within 10, EPSG:3035
within 27 (Iceland); polar maps far from their meridian, whose "east" would be anything, go to the UTM zone."""
ROUND_SIZE_TOLERANCE = 0.005
"""What is measured at the centre of an image is rounded within half a percent: within one tile of a Mercator map the
size of a pixel differs by two."""

OBLONG = 2.0
"""Pixels more than so many times as long as wide that must be brought to squares (in degrees, turned) become those of
their longer side. As squares of their area, between two samples of the longer side, both images show the grid they
share, which is displaced by nothing: 40 x 10 m gave a shift of 6.1 m as 2.1, with a CE95 below that error. It is not
the kernel, whose position is true to 0.005 m; so what is north up is compared in its own pixels, however long. On two
real pairs of 10 m, averaged to pixels of 20 x 10 to 50 x 30 m, that errs by 0.1 to 2.0 m, squares of the longer side
by 0.3 to 1.8 m (and 4 km of 40 x 10 m are too few), of the area by 0.4 to 3.1 m; on invented ground squares of the
shorter side err by up to 17 m."""


def origin_of(geobox: GeoBox) -> tuple[int, int]:
    """Locate a raster's first pixel: (row, col), counted in its own pixels from the origin of the CRS."""
    affine = geobox.affine
    # Lattices begin at whole, half or third pixels; rounding must not fall between two scenes of one lattice
    return math.floor(affine.f / affine.e + 0.4142), math.floor(affine.c / affine.a + 0.4142)


def same_lattice(one: GeoBox, other: GeoBox) -> bool:
    """Tell whether two grids meet pixel by pixel: one CRS, one pixel size, a whole number of pixels apart."""
    a, b = one.affine, other.affine
    return same_pixels(one, other) and all(map(is_whole, ((b.c - a.c) / a.a, (b.f - a.f) / a.e)))


def same_pixels(one: GeoBox, other: GeoBox) -> bool:
    """Tell whether two grids have one CRS and pixels of one size, none turned; any part of a pixel apart."""
    a, b = one.affine, other.affine
    if one.crs != other.crs or not a.b == a.d == b.b == b.d == 0:
        return False
    return all(math.isclose(x, y, rel_tol=1e-9) for x, y in ((a.a, b.a), (a.e, b.e)))


def metric(geobox: GeoBox) -> GeoBox:
    """Return the grid itself where it can be worked on, else the one of :func:`on_lattice` with pixels as large.

    Work needs :func:`plain` grids: turned pixels have no column that runs south, degrees are no metres, and neither are
    those of a Mercator map, which grow with latitude.
    """
    return geobox if plain(geobox) else on_lattice(geobox, working_resolution(geobox))


def plain(geobox: GeoBox) -> bool:
    """Tell whether a grid is north up and its metres are metres on the ground; its pixels may be oblong.

    Two images on one grid of oblong pixels are compared in those: brought to squares, both would show the grid they
    were brought from, which is displaced by nothing. See :data:`OBLONG`.
    """
    a = geobox.affine
    straight = abs(a.b) <= 1e-9 * abs(a.a) and abs(a.d) <= 1e-9 * abs(a.e)
    return geobox.crs is None or (straight and a.a > 0 > a.e and _in_ground_metres(geobox))


def on_lattice(geobox: GeoBox, resolution: float) -> GeoBox:
    """Lay out a north-up grid that covers another one with square pixels of any size, on the lattice of its zone.

    Sentinel-2 tiles of a zone begin at multiples of 60 m, counted in the south from the false northing of 10,000 km.
    So all grids made here meet one another pixel by pixel, whatever tile they come from; pixels at their borders reach
    over the image. A grid off that lattice keeps its own origin, unless it is turned by no quarter. One in degrees, or
    whose metres are none on the ground, goes to the UTM zone of its centre.

    Args:
        geobox: any grid.
        resolution: side of the new pixels in metres (in pixels, where there is no CRS).
    """
    from odc.geo.geobox import GeoBox
    from odc.geo.overlap import compute_output_geobox
    from odc.geo.types import xy_

    elsewhere = geobox.crs is not None and not _in_ground_metres(geobox)
    if elsewhere:
        geobox = compute_output_geobox(geobox, "utm", resolution=resolution)
    a, box = geobox.affine, geobox.boundingbox
    east, north = 0.0, 10_000_000.0 if geobox.crs is not None and (geobox.crs.epsg or 0) // 100 == 327 else 0.0
    quarters = a.b == a.d == 0 or a.a == a.e == 0
    wide, high = abs(a.a) + abs(a.b), abs(a.d) + abs(a.e)
    on_it = is_whole((box.left - east) / wide) and is_whole((box.top - north) / high)
    if quarters and not elsewhere and not on_it:
        east, north = box.left, box.top
    anchor = xy_(east % resolution / resolution, north % resolution / resolution)
    grid = GeoBox.from_bbox(box, geobox.crs, resolution=resolution, anchor=anchor)
    return GeoBox(grid.shape, grid.affine, geobox.crs)  # from_bbox takes no CRS for degrees


@lru_cache(maxsize=256)
def in_metres(name: str) -> bool:
    """Tell whether a metre of a CRS is a metre on the ground, or nearly, where the CRS is meant to be used."""
    from pyproj import CRS

    crs = CRS.from_user_input(name)
    metres = crs.is_projected and all(axis.unit_conversion_factor == 1 for axis in crs.axis_info)  # "meters", "Metre"
    method = _method(crs)
    known = "Mercator" not in method or ("Transverse" in method and "South" not in method)  # of Africa: x runs west
    return bool(metres and known)


def _method(crs: Any) -> str:
    """Name the method of a projection."""
    return crs.coordinate_operation.method_name if crs.coordinate_operation else ""


def _in_ground_metres(geobox: GeoBox) -> bool:
    """Tell whether a metre east and north in a grid's CRS is one east and north on the ground at its centre."""
    return in_metres(str(geobox.crs)) and _true_to_scale(geobox) and abs(grid_north(geobox)) <= TURNED_NORTH


def grid_north(geobox: GeoBox) -> float:
    """Measure the azimuth of a CRS's north at a grid's centre, degrees; 0 of a cylinder, 180 of a CRS mirrored east."""
    crs = _projection(geobox)
    steps = None if not crs.is_projected or "Mercator" in _method(crs) else _ground_steps(geobox)
    if steps is None:
        return 0.0
    a = geobox.affine
    units = steps @ np.linalg.inv([[a.a, a.b], [a.d, a.e]])
    return math.degrees(math.atan2(units[0, 1], units[1, 1])) if np.linalg.det(units) > 0 else 180.0


def _true_to_scale(geobox: GeoBox) -> bool:
    """Tell whether a unit of a grid's CRS has its nominal length on the ground at its centre, in all directions."""
    crs = _projection(geobox)
    method = _method(crs)
    if "Transverse Mercator" in method:
        return True
    if not crs.is_projected or "Mercator" in method:
        return False
    steps = _ground_steps(geobox)
    if steps is None:
        return True
    a = geobox.affine
    scale = np.linalg.svd(steps @ np.linalg.inv([[a.a, a.b], [a.d, a.e]]), compute_uv=False)
    return bool(np.abs(scale / _metres_per_unit(geobox) - 1).max() <= TRUE_SCALE_TOLERANCE)


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
    """Compute the side in metres of a square as large on the ground as the pixel at the grid's centre.

    Pixels, where there is no CRS. Where a metre of the CRS is one on the ground the grid itself says it; degrees, and
    metres of a Mercator map, are measured along the ellipsoid.
    """
    side = pixel_size(geobox)
    if geobox.crs is None:
        return side
    if not _true_to_scale(geobox):
        steps = _ground_steps(geobox)
        if steps is not None:
            return math.sqrt(abs(float(np.linalg.det(steps))))
    return side * _metres_per_unit(geobox)


def working_resolution(geobox: GeoBox) -> float:
    """Choose the side in metres of the pixels to work with: as large as the grid's, and a round number if measured.

    Of pixels that are :data:`OBLONG` and must be brought to squares it is the longer side.
    """
    if plain(geobox):
        return ground_resolution(geobox)
    size = max(pixel_sides(geobox))
    rounded = (float(f"{size:.{digits}g}") for digits in range(1, 4))
    return next((r for r in rounded if math.isclose(r, size, rel_tol=ROUND_SIZE_TOLERANCE)), size)


def pixel_sides(geobox: GeoBox) -> tuple[float, float]:
    """Measure the pixel at the grid's centre along a column and along a row, in metres on the ground.

    Both are those of a square as large, unless it is :data:`OBLONG`, or oblong at all on a grid that can be worked on.
    """
    side, a = ground_resolution(geobox), geobox.affine
    if plain(geobox):
        square = geobox.crs is None or math.isclose(a.a, -a.e, rel_tol=0.01)
        return (side, side) if square else (-a.e, a.a)
    if (steps := _ground_steps(geobox)) is not None:
        width, height = np.hypot(*steps).tolist()
        if max(width, height) > OBLONG * min(width, height) * (1 + ROUND_SIZE_TOLERANCE):
            return height, width
    return side, side


def side_ratios(source: GeoBox, target: GeoBox) -> tuple[float, float]:
    """Divide the sides of a target's pixels by those of a source's, along the source's columns and rows."""
    high, wide = pixel_sides(target) if plain(source) else (ground_resolution(target),) * 2  # turned, a side is neither
    rows, cols = pixel_sides(source)
    return high / rows, wide / cols


def pixel_size(geobox: GeoBox) -> float:
    """Compute the side of a pixel in units of the CRS, of a square as large where it is none: metres on plain grids."""
    a, b, _, d, e, _ = geobox.affine[:6]
    side = math.sqrt(abs(a * e - b * d))
    return side if b == d == 0 else float(f"{side:.9g}")  # sines and cosines do not square to one exactly


def _metres_per_unit(geobox: GeoBox) -> float:
    """Compute the nominal length in metres of a unit of the grid's CRS."""
    crs = _projection(geobox)
    return float(crs.axis_info[0].unit_conversion_factor) * (EARTH_RADIUS if crs.is_geographic else 1.0)


def _projection(geobox: GeoBox) -> Any:
    """Return the CRS of a grid that has one, as pyproj knows it."""
    assert geobox.crs is not None  # noqa: S101 plain pixels need none
    return geobox.crs.proj


def _ground_steps(geobox: GeoBox) -> NDArray[np.float64] | None:
    """Measure the pixel at the grid's centre on the ellipsoid; ``None`` where that is nowhere on Earth.

    Returns:
        (2, 2) metres east and north, one column for a step along a row and one for a step along a column.
    """
    x, y = geobox.shape.x / 2, geobox.shape.y / 2
    ends = np.array([[x - 0.5, y], [x, y - 0.5], [x + 0.5, y], [x, y + 0.5]])
    to_degrees, ellipsoid = _geodesy(str(geobox.crs))
    longitude, latitude = np.array(to_degrees.transform(*transformed(geobox.affine, ends).T))
    if not np.isfinite([longitude, latitude]).all():
        return None
    azimuth, _, length = ellipsoid.inv(longitude[:2], latitude[:2], longitude[2:], latitude[2:])
    angle = np.radians(azimuth)
    steps = np.array([np.sin(angle), np.cos(angle)]) * length
    return steps if np.isfinite(steps).all() and abs(np.linalg.det(steps)) > 0 else None


@lru_cache(maxsize=64)
def _geodesy(name: str) -> tuple[Any, Any]:
    """Return the way from a CRS to degrees on its own datum, and its ellipsoid."""
    from pyproj import CRS, Geod, Transformer

    crs = CRS.from_user_input(name)
    ellipsoid = crs.get_geod() or Geod(ellps="GRS80")
    return Transformer.from_crs(crs, crs.geodetic_crs or "EPSG:4326", always_xy=True), ellipsoid


def is_whole(number: float) -> bool:
    """Tell whether a number of pixels is whole, or nearly."""
    return abs(number - round(number)) < 1e-3


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


def affine_through(points: np.ndarray, there: np.ndarray) -> Affine:
    """Fit the affine transform that brings (N, 2) points to others; at least three, not on one line."""
    origin = there.mean(0)  # large coordinates cost digits
    steps = np.linalg.lstsq(np.column_stack([points, np.ones(len(points))]), there - origin, rcond=None)[0]
    (a, d), (b, e), (c, f) = steps[0], steps[1], steps[2] + origin
    return Affine(a, b, c, d, e, f)


def transformed(affine: Affine, points: np.ndarray) -> np.ndarray:
    """Move (N, 2) points by an affine transform."""
    return np.asarray(points @ np.array([[affine.a, affine.d], [affine.b, affine.e]]) + (affine.c, affine.f))
