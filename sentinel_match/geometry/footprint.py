"""Footprint: the ground an acquisition really shows, as a polygon that neither the antimeridian nor a pole tears apart.

Three polygons compete for that name in a Sentinel-2 product: the tile square, the product footprint (``EXT_POS_LIST``:
swath cut with the tile, right to a quarter of a percent of the tile) and the valid pixels. This room keeps the second,
cut with the first. It is for choosing pairs and drawing maps, never for masking pixels: its edges are coarse.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain, pairwise
from math import copysign, hypot, inf, isfinite
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from pyproj import CRS, Geod, Transformer
from shapely.affinity import translate
from shapely.geometry import MultiPolygon, Polygon, box, mapping
from shapely.geometry.polygon import orient

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

WGS84 = Geod(ellps="WGS84")

EDGE_PIECES = 16
"""Pieces an edge of a grid square is cut into: a tile edge then strays 2 m from its lon/lat chords, 7 m at 83 north."""

LONGEST_EDGE_DEGREES = 0.25
"""Longest edge in degrees: beyond it a straight line in lon/lat and a geodesic would part by more than 10 m."""

TOUCHING_M = 10.0
"""Metres: an intersection with a smaller mean width is two edges that touch, one pixel of the finest band."""

ZERO_DEGREES = 2.0
"""By how much the way through a position gets longer with each of its coordinates that is zero, as heights are."""

LONGEST_AROUND_KM = 15_000.0
"""Kilometres around the longest believable footprint: a whole datastrip of an old multi-granule product."""


@dataclass(frozen=True)
class Footprint:
    """Ground covered by valid data. Make it by one of the ``from_`` functions, which bring it into its one form."""

    polygon: Polygon | MultiPolygon
    """WGS84 degrees, x = longitude, y = latitude. Longitudes are continuous: where the ground crosses the antimeridian
    they run on past ±180 instead of jumping. Valid, outer rings anticlockwise, centre of the bounds within [-180, 180).
    """

    @staticmethod
    def from_geobox(gbox: GeoBox) -> Footprint:
        """Make the footprint of a grid's whole square, its edges densified so that they keep their course in lon/lat.

        Raises:
            ValueError: the grid has no CRS, or lies outside the area where its CRS is defined.
        """
        if gbox.crs is None:
            raise ValueError("a grid without a CRS has no footprint")
        square, step = _square(gbox)
        return _from_crs(square, str(gbox.crs), step)

    @staticmethod
    def from_lonlat(polygon: Polygon | MultiPolygon) -> Footprint:
        """Make the footprint of any polygon in WGS84 degrees (lon, lat): beyond ±180, split there, or crossing itself.

        An edge that spans more than half the globe is taken the other, shorter way round.

        Raises:
            ValueError: the polygon encloses no ground.
        """
        parts = [_unrolled(part) for part in _parts(polygon) if part.area > 0]
        if not parts:
            raise ValueError("the polygon encloses no ground")
        anchor = max(parts, key=lambda part: part.area)
        near = [_shifted(part, _turns(_middle(part) - _middle(anchor))) for part in parts]
        # 1e-9 degrees is 0.1 mm: closes the crack that pre-split rings leave between 180 and 179.99999999999994.
        whole = near[0] if len(near) == 1 else shapely.union_all(near, grid_size=1e-9)
        whole = _polygonal(shapely.make_valid(whole)).segmentize(LONGEST_EDGE_DEGREES)
        return Footprint(_shifted(whole, _turns(_middle(whole))))

    @staticmethod
    def from_positions(text: str, tile: GeoBox | None) -> tuple[Footprint, str]:
        """Read an ``EXT_POS_LIST``: ``lat lon lat lon …``, with a zero height after all or some of the pairs.

        Read against ``tile`` when it is known: projected straight into its UTM zone (where an antimeridian ring is an
        ordinary ring), repaired, and cut with the tile square.

        Returns:
            The footprint, and ``product``; or the tile square and ``tile`` where the text is no ring on this tile.

        Raises:
            ValueError: the text is no believable ring, and there is no tile to fall back on.
        """
        try:
            ring = _ring(text)
            if tile is None:
                return Footprint.from_lonlat(Polygon(ring)), "product"
            crs = str(tile.crs)
            east, north = _transformer("EPSG:4326", crs).transform(ring[:, 0], ring[:, 1], errcheck=True)
            polygon = _polygonal(shapely.make_valid(Polygon(np.column_stack([east, north]))))
            square, step = _square(tile)
            return _from_crs(_polygonal(polygon & square), crs, step), "product"
        except (ValueError, RuntimeError):  # pyproj's own error is a RuntimeError
            if tile is None:
                raise
            return Footprint.from_geobox(tile), "tile"

    @cached_property
    def area_km2(self) -> float:
        """Measure the area on the WGS84 ellipsoid, in square kilometres (Karney 2013, through ``pyproj.Geod``)."""
        return _measure(self.polygon)[0] / 1e6

    @property
    def bbox(self) -> tuple[float, float, float, float]:
        """Return (west, south, east, north) in degrees within ±180; west > east where the antimeridian is crossed."""
        west, south, east, north = self.polygon.bounds
        if east - west >= 360:
            return -180.0, south, 180.0, north
        return (west + 360 if west < -180 else west), south, (east - 360 if east > 180 else east), north

    def intersection(self, other: Footprint) -> Footprint | None:
        """Intersect two footprints, whichever turn around the globe their longitudes are on.

        Returns:
            ``None`` when they do not meet; pieces narrower than a pixel are edges that only touch.
        """
        west, _, east, _ = other.polygon.bounds
        pieces = [
            piece
            for turn in self._turns_between(west, east)
            for piece in _parts(self.polygon & _shifted(other.polygon, turn))
            if not _is_sliver(piece)
        ]
        return Footprint.from_lonlat(MultiPolygon(pieces)) if pieces else None

    def to_crs(self, crs: Any) -> Polygon | MultiPolygon:
        """Project the polygon to another CRS (anything pyproj understands), in that CRS's units, x first.

        Raises:
            ValueError: the footprint lies outside the area where the CRS is defined.
        """
        return _polygonal(shapely.make_valid(_transformed(self.polygon, "EPSG:4326", str(crs))))

    def geojson(self) -> dict[str, Any]:
        """Write it as RFC 7946 asks: longitudes within ±180, cut there (section 3.1.9), right-handed rings, to 1 cm."""
        pieces = []
        for turn in reversed(self._turns_between(-180, 180)):
            part = self.polygon & box(-180 - 360 * turn, -90, 180 - 360 * turn, 90)
            # Rounding can fold a thin corner over itself; set_precision rounds and stays valid.
            pieces += _parts(shapely.set_precision(_shifted(part, -turn), 1e-7))
        polygons = [_rounded(orient(piece)) for piece in pieces]
        return dict(mapping(polygons[0] if len(polygons) == 1 else MultiPolygon(polygons)))

    def _turns_between(self, west: float, east: float) -> list[int]:
        """List the turns around the globe that bring longitudes from ``west`` to ``east`` to those of the polygon."""
        own_west, _, own_east, _ = self.polygon.bounds
        return [turn for turn in (-1, 0, 1) if west - 360 * turn <= own_east and own_west <= east - 360 * turn]


def _ring(text: str) -> NDArray[np.float64]:
    """Read vertices (N, 2) as lon, lat, closed."""
    try:
        numbers = [float(token) for token in text.split()]
    except ValueError:
        raise ValueError("the footprint is not a list of numbers") from None
    positions = _positions(numbers)
    if len(positions) < 3:
        raise ValueError("the footprint is not a list of at least three positions as latitude and longitude")
    ring = np.array(positions + positions[:1])[:, ::-1]
    around = float(WGS84.inv(*ring[:-1].T, *ring[1:].T)[2].sum()) / 1e3
    if around > LONGEST_AROUND_KM:
        raise ValueError(f"the footprint is {around:,.0f} km around, more than any Sentinel-2 product")
    return ring


def _positions(numbers: list[float]) -> list[tuple[float, float]]:
    """Read positions (lat, lon) with a zero height after all, some or none of them; none where it is no such list.

    A zero may also be a latitude on the equator (tile T43MDV). The wrong reading swaps latitudes and longitudes from
    there on and leaps over the globe, so of all readings the one with the shortest way is right: dynamic programming
    over the index at which a position starts. The antimeridian needs no care: 180 degrees are never read as a latitude.
    Around 0° N 0° E no reading leaps, so there a zero that is read as a coordinate lengthens the way.
    """
    at = {start: (lat, lon) for start, (lat, lon) in enumerate(pairwise(numbers)) if abs(lat) <= 90 and abs(lon) <= 180}
    # For each start: degrees travelled up to the position there, and where the position before starts.
    routes = {0: (0.0, -1)} if 0 in at else {}
    for start, position in at.items():
        for previous in (start - 2, start - 3):
            if previous in routes and (previous == start - 2 or numbers[start - 1] == 0):
                leap = max(abs(position[0] - at[previous][0]), abs(position[1] - at[previous][1]))
                leap += ZERO_DEGREES * position.count(0)
                routes[start] = min((routes[previous][0] + leap, previous), routes.get(start, (inf, -1)))
    ends = {len(numbers) - 2, len(numbers) - 3 if numbers[-1:] == [0] else -1} & routes.keys()
    end = min(ends, key=routes.__getitem__, default=-1)
    positions = []
    while end >= 0:
        positions.append(at[end])
        _, end = routes[end]
    return positions[::-1]


def _from_crs(geometry: Polygon | MultiPolygon, crs: str, step: float) -> Footprint:
    return Footprint.from_lonlat(_transformed(geometry.segmentize(step), crs, "EPSG:4326"))


def _transformed(geometry: Polygon | MultiPolygon, source: str, target: str) -> Polygon | MultiPolygon:
    transformer = _transformer(source, target)
    projected = shapely.transform(geometry, lambda xy: np.column_stack(transformer.transform(*xy.T)))
    if not all(isfinite(bound) for bound in projected.bounds):
        raise ValueError(f"the polygon lies outside the area of {CRS.from_user_input(target).name}")
    return projected


@lru_cache(maxsize=256)  # one per UTM zone and direction; making one takes longer than using it
def _transformer(source: str, target: str) -> Transformer:
    return Transformer.from_crs(source, target, always_xy=True)


def _square(gbox: GeoBox) -> tuple[Polygon, float]:
    """Draw the outline of a grid in its own CRS, and tell the length of the pieces its edges are to be cut into."""
    rows, columns = gbox.shape
    a, b, c, d, e, f = gbox.affine[:6]
    corners = [(a * x + b * y + c, d * x + e * y + f) for x, y in ((0, 0), (columns, 0), (columns, rows), (0, rows))]
    return Polygon(corners), max(hypot(x1 - x0, y1 - y0) for (x0, y0), (x1, y1) in pairwise(corners)) / EDGE_PIECES


def _parts(geometry: Any) -> list[Polygon]:
    """List the polygons in any geometry; lines and points that an intersection leaves behind are dropped."""
    whole = chain.from_iterable(
        part.geoms if isinstance(part, MultiPolygon) else [part] for part in getattr(geometry, "geoms", [geometry])
    )
    return [part for part in whole if isinstance(part, Polygon) and not part.is_empty]


def _polygonal(geometry: Any) -> Polygon | MultiPolygon:
    parts = [orient(part) for part in _parts(geometry)]
    if not parts:
        raise ValueError("the polygon encloses no ground")
    return parts[0] if len(parts) == 1 else MultiPolygon(parts)


def _unrolled(polygon: Polygon) -> Polygon:
    """Give a polygon continuous longitudes; a ring around a pole is led up to the pole and back."""
    shell = _unrolled_ring(polygon.exterior)
    middle = (shell[:, 0].min() + shell[:, 0].max()) / 2
    holes = [_unrolled_ring(hole) for hole in polygon.interiors]
    return Polygon(shell, [hole - (360 * _turns(hole[:, 0].mean() - middle), 0) for hole in holes])


def _unrolled_ring(ring: Any) -> NDArray[np.float64]:
    lonlat = np.asarray(ring.coords)[:, :2]
    jumps = np.round(np.diff(lonlat[:, 0]) / 360)  # whole turns, unlike numpy.unwrap, so that the ring closes exactly
    lon = lonlat[:, 0] - 360 * np.concatenate([[0], np.cumsum(jumps)])
    unrolled = np.column_stack([lon, lonlat[:, 1]])
    if abs(lon[-1] - lon[0]) > 180:
        pole = copysign(90, lonlat[:, 1].mean())
        unrolled = np.concatenate([unrolled, [(lon[-1], pole), (lon[0], pole)]])
    return unrolled


def _middle(geometry: Polygon | MultiPolygon) -> float:
    return float(geometry.bounds[0] + geometry.bounds[2]) / 2


def _turns(degrees: float) -> int:
    """Count the whole turns to take off so that the rest is in [-180, 180)."""
    return int((degrees + 180) // 360)


def _shifted(geometry: Any, turns: int) -> Any:
    return geometry if turns == 0 else translate(geometry, -360 * turns)


def _measure(geometry: Polygon | MultiPolygon) -> tuple[float, float]:
    """Measure square metres and metres around, on the ellipsoid."""
    area, around = WGS84.geometry_area_perimeter(geometry)
    return abs(area), around


def _is_sliver(piece: Polygon) -> bool:
    area, around = _measure(orient(piece))
    return 2 * area < TOUCHING_M * around


def _rounded(polygon: Polygon) -> Polygon:
    """Write coordinates as the shortest decimals of 1e-7 degrees, without the noise of a binary grid."""
    return shapely.transform(polygon, lambda xy: np.round(xy, 7))
