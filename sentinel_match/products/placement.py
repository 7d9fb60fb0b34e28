"""Where an image lies that has no grid of its own: by ground control points, or what would give it one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from sentinel_match.geometry.footprint import Footprint
from sentinel_match.geometry.grids import affine_through, transformed
from sentinel_match.schema import COORDINATE, Within

if TYPE_CHECKING:
    from collections.abc import Sequence

CONTROL_TOLERANCE_PX = 0.25
"""A grid stands for control points that are off it by no more, the worst of them."""
MANY_POINTS = 30
"""Control points from which a spline through all of them (``-tps``) is better than GDAL's polynomial, which is of
third degree at most and needs ten."""
PIXEL = Within(1e-3, 1e6)
"""Metres of a pixel."""
FLAT = 1e-6
"""Area of a pixel, as a share of what its sides would make, below which it has none."""
METRES_OF_A_DEGREE = 111_000.0
"""Of latitude, about."""
ZONE = "EPSG:326ZZ"
"""A zone that the user has to choose."""


class Placement(NamedTuple):
    """What a header says of an image's place."""

    geobox: GeoBox | None
    remedy: str = ""
    """What would give it a grid, as the end of a sentence; empty where it has one, or nothing is known."""
    note: str = ""
    """What a user should know of the grid."""


def place(source: Any) -> Placement:
    """Find the grid of an open rasterio dataset, or what to do about it.

    Ground control points that lie on a grid are one. Where they bend, and where a sensor model or arrays of positions
    tell the place, GDAL has a command that rectifies the image.
    """
    if source.crs is not None and not source.transform.is_identity:
        return _placed(GeoBox.from_rio(source), source.name)
    points, crs = source.gcps
    if not points or crs is None:
        return Placement(None, _remedy(source, bool(points)))
    affine, distance = _grid_through(points)
    name, count = f"EPSG:{crs.to_epsg()}" if crs.to_epsg() else crs.to_wkt(), f"{len(points)} ground control points"
    if affine is not None and distance <= CONTROL_TOLERANCE_PX:
        note = f"placed by its {count}, which lie on one grid"
        return _placed(GeoBox(source.shape, affine, name), source.name, note)
    reason = f"are off any grid by up to {distance:.1f} pixels" if affine is not None else "do not suffice for a grid"
    zone = _zone(crs, np.mean([(p.x, p.y) for p in points], axis=0))
    how = "-tps " if len(points) >= MANY_POINTS else ""
    return Placement(None, f"its {count} {reason}; {_warped(source.name, how, zone)}")


def footprint_of(geobox: GeoBox | None) -> tuple[Footprint | None, tuple[str, ...]]:
    """Find the outline of a grid on the globe, or note why that cannot be done."""
    if geobox is None:
        return None, ()
    try:
        return Footprint.from_geobox(geobox), ()
    except (ValueError, RuntimeError) as error:  # pyproj's own error is a RuntimeError
        return None, (f"its place on the globe is unknown: {error}",)


def _placed(geobox: GeoBox, name: str, note: str = "") -> Placement:
    """Take a grid as a place, unless its CRS is a local, vertical or geocentric one, or its transform leads nowhere."""
    crs = geobox.crs.proj if geobox.crs is not None else None
    if crs is not None and not (crs.is_projected or crs.is_geographic):
        how = f"`rio edit-info --crs {ZONE} {name}` says it if you know it, `sentinel-match images` compares without"
        return Placement(None, f"its CRS, {crs.name}, says not where on the Earth it lies; {how}")
    if crs is not None and not _is_on_the_ground(geobox, is_in_degrees=crs.is_geographic):
        numbers = " ".join(f"{number:g}" for number in geobox.affine[:6])
        how = f"`rio edit-info --transform` gives {name} the right one, `sentinel-match images` compares without"
        return Placement(None, f"its transform, {numbers}, puts no image on the Earth; {how}")
    return Placement(geobox, note=note)


def _is_on_the_ground(geobox: GeoBox, *, is_in_degrees: bool) -> bool:
    """Tell whether pixels have an area, a size that one can have on the ground, and corners that a map can have."""
    a, (rows, cols), unit = geobox.affine, geobox.shape, METRES_OF_A_DEGREE if is_in_degrees else 1.0
    corners = transformed(a, np.array([[0, 0], [cols, 0], [0, rows], [cols, rows]], float)) * unit
    area, sides = abs(a.determinant), math.hypot(a.a, a.d) * math.hypot(a.b, a.e)
    return bool(
        np.isfinite(corners).all()
        and np.abs(corners).max() <= COORDINATE.high
        and area > FLAT * sides
        and PIXEL.low <= math.sqrt(area) * unit <= PIXEL.high
    )


def _remedy(source: Any, has_points: bool) -> str:
    """Say what would give a dataset a grid that says in another way where it is, as the end of a sentence."""
    if has_points:
        return f"its ground control points have no CRS; {_warped(source.name, f'-s_srs {ZONE} ', ZONE)}"
    if source.rpcs is not None:
        zone = _zone("EPSG:4326", (source.rpcs.long_off, source.rpcs.lat_off))
        return f"it has a sensor model (RPC) only; {_warped(source.name, '-rpc ', zone)}"
    if source.tags(ns="GEOLOCATION"):
        return f"it has arrays of positions only; {_warped(source.name, '-geoloc ', ZONE)}"
    if not source.transform.is_identity:
        return f"it has a transform and no CRS; `rio edit-info --crs {ZONE} {source.name}` says which"
    return ""


def _grid_through(points: Sequence[Any]) -> tuple[Affine | None, float]:
    """Fit a grid to control points, and measure by how many pixels the worst is off it; ``None`` if too few."""
    pixels = np.array([(p.col, p.row, 1.0) for p in points])
    ground = np.array([(p.x, p.y) for p in points])
    if not np.isfinite([pixels[:, :2], ground]).all() or np.linalg.matrix_rank(pixels) < 3:
        return None, np.inf
    affine = Affine(*(_tidy(v) for v in affine_through(pixels[:, :2], ground)[:6]))
    if abs(affine.determinant) == 0:
        return None, np.inf
    return affine, float(np.hypot(*(transformed(~affine, ground) - pixels[:, :2]).T).max())


def _tidy(number: float) -> float:
    """Round off what a fit adds to a whole number: grids of one zone must meet."""
    return float(f"{number:.10g}") if abs(number) > 1e-9 else 0.0


def _warped(path: str, how: str, to: str) -> str:
    return f"rectify it first: `gdalwarp {how}-t_srs {to} -r cubic {path} rectified.tif`"


def _zone(crs: Any, at: Any) -> str:
    """Name the UTM zone of a position, or the CRS itself where it is projected."""
    from pyproj import CRS, Transformer

    known = CRS.from_user_input(crs)
    if known.is_projected and known.to_epsg():
        return f"EPSG:{known.to_epsg()}"
    longitude, latitude = Transformer.from_crs(known, "EPSG:4326", always_xy=True).transform(*at)
    if not np.isfinite([longitude, latitude]).all():
        return ZONE
    return f"EPSG:{326 if latitude >= 0 else 327}{int((longitude + 180) // 6) % 60 + 1:02d}"
