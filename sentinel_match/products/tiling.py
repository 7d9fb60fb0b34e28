"""The Sentinel-2 tiling grid: where a tile lies, from its name alone.

Needed where a product comes without its tile metadata: whoever downloads only ``MTD_MSIL1C.xml`` still knows the grid.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache

from affine import Affine
from odc.geo.geobox import GeoBox

TILE_PATTERN = r"T(?:0[1-9]|[1-5]\d|60)[C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V]"
"""A tile's name as a regular expression: UTM zone, latitude band, column and row of the 100 km square."""

SQUARE_COLUMNS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
SQUARE_ROWS = "ABCDEFGHJKLMNPQRSTUV"

SOUTH_EDGE = dict(
    zip(
        "CDEFGHJKLMNPQRSTUVWX",
        (11, 20, 28, 37, 46, 55, 64, 73, 82, 91, 0, 8, 17, 26, 35, 44, 53, 62, 70, 79),
        strict=True,
    )
)
"""Least northing of each MGRS latitude band, in 100 km (NGA GEOTRANS, table of latitude bands)."""

TILE_METRES = 109_800
LATTICE_METRES = 60


@lru_cache(maxsize=1024)
def tile_geobox(tile: str, metres: int = 10) -> GeoBox:
    """Lay out the grid of a tile such as ``T33UUU`` in its UTM zone, with pixels of 10, 20 or 60 m.

    A tile begins at the north-west corner of its 100 km MGRS square, moved outwards (west and north) to the next point
    of the 60 m lattice that all tiles of a zone share; in the south that lattice begins at the false northing of
    10,000 km. Exact for all tile metadata at hand.

    Raises:
        ValueError: that is no tile name.
    """
    if re.fullmatch(TILE_PATTERN, tile) is None:
        raise ValueError(f"{tile!r} is no Sentinel-2 tile, whose names are like 'T33UUU'")
    zone, band, south = int(tile[1:3]), tile[3], tile[3] < "N"
    easting = SQUARE_COLUMNS.index(tile[4]) % 8 + 1
    row = (SQUARE_ROWS.index(tile[5]) - (5 if zone % 2 == 0 else 0)) % 20
    northing = row + 20 * math.ceil((SOUTH_EDGE[band] - row) / 20)  # rows repeat every 2000 km
    origin = 10_000_000 % LATTICE_METRES if south else 0
    left = math.floor(easting * 100_000 / LATTICE_METRES) * LATTICE_METRES
    top = math.ceil(((northing + 1) * 100_000 - origin) / LATTICE_METRES) * LATTICE_METRES + origin
    size = TILE_METRES // metres
    crs = f"EPSG:{32700 + zone if south else 32600 + zone}"
    return GeoBox((size, size), Affine(metres, 0, left, 0, -metres, top), crs)
