"""Where the sensor looked: the edge of its swath, which pixels lie inside, and the footprint a product states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from pyproj import Transformer
from rasterio.features import geometry_mask
from shapely import affinity
from shapely.geometry import Polygon, box
from shapely.geometry.polygon import orient

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

Side = Literal["west", "east", "north", "south"]
FootprintStyle = Literal["2d", "3d", "mixed"]

TRACK_LEAN = 13.0
"""Degrees by which a descending Sentinel-2 track leans from north towards east, at middle latitudes."""


def extent(geobox: GeoBox) -> Polygon:
    """Draw the rectangle of a north-up grid, in its own metres."""
    bounds = geobox.boundingbox
    return box(bounds.left, bounds.bottom, bounds.right, bounds.top)


def epsg_of(geobox: GeoBox) -> int:
    """Read the EPSG code of a grid's UTM zone: 32601 to 32660 in the north, 32701 to 32760 in the south."""
    return int(str(geobox.crs).removeprefix("EPSG:"))


def swath_part(geobox: GeoBox, share: float, side: Side = "west") -> Polygon:
    """Draw the part of a grid that a swath covers, whose slanting edge leaves out all beyond a ``share`` of its width.

    Args:
        geobox: north-up grid.
        share: position of the edge along the middle of the grid, 0 to 1, from ``side``.
        side: where the valid part is; ``north`` and ``south`` make the two datastrips of one datatake.

    Returns:
        Polygon in the grid's metres.
    """
    square = extent(geobox)
    west, south, east, north = square.bounds
    reach = 4 * max(east - west, north - south)
    x, y = (west + east) / 2, (south + north) / 2
    if side in {"west", "east"}:
        x = west + share * (east - west) if side == "west" else east - share * (east - west)
    else:
        y = south + share * (north - south) if side == "south" else north - share * (north - south)
    half = {
        "west": box(x - reach, y - reach, x, y + reach),
        "east": box(x, y - reach, x + reach, y + reach),
        "south": box(x - reach, y - reach, x + reach, y),
        "north": box(x - reach, y, x + reach, y + reach),
    }[side]
    part = square.intersection(affinity.rotate(half, -TRACK_LEAN, origin=(x, y)))
    return part if isinstance(part, Polygon) else Polygon()


def inside(geobox: GeoBox, swath: Polygon | None) -> NDArray[np.bool_]:
    """Tell (rows, cols) whether a pixel's centre is in the swath; every one is where ``swath`` is ``None``."""
    if swath is None:
        return np.ones(geobox.shape, bool)
    if swath.is_empty:
        return np.zeros(geobox.shape, bool)
    mask: NDArray[np.bool_] = geometry_mask([swath], geobox.shape, geobox.affine, invert=True)
    return mask


def ext_pos_list(ground: BaseGeometry, crs: str, style: FootprintStyle = "2d") -> str:
    """Write the hull of some ground in UTM metres as ``EXT_POS_LIST``: latitude and longitude of a closed ring.

    ``3d`` adds a height of 0 to every vertex; ``mixed`` to the first five only, as in a real product of baseline 02.12.
    Longitudes jump between -180 and 180 at the antimeridian, as they do in real products.

    Raises:
        ValueError: there is no ground at all.
    """
    hull = ground.convex_hull
    if not isinstance(hull, Polygon):
        raise ValueError("the swath leaves nothing of the product")
    x, y = np.array(orient(hull, -1).exterior.coords).T
    lon, lat = Transformer.from_crs(crs, 4326, always_xy=True).transform(x, y)
    with_height = {"2d": 0, "3d": len(lon), "mixed": 5}[style]
    vertices = [(a, b, 0.0) if k < with_height else (a, b) for k, (a, b) in enumerate(zip(lat, lon, strict=True))]
    return " ".join(f"{round(float(value), 12) + 0.0:.15g}" for vertex in vertices for value in vertex) + " "
