"""The frame of points of others: in which CRS their ends are, and what these are in metres of one grid."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sentinel_match.errors import BadPoints
from sentinel_match.formats.foreign import tells_degrees
from sentinel_match.formats.table import ENDS
from sentinel_match.geometry.grids import in_metres
from sentinel_match.schema import shown

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from pyproj import CRS

    from sentinel_match.formats.table import Table

log = logging.getLogger(__name__)

MOVED = 0.05
"""Metres between the geometry of a point and its ``left_x``, ``left_y`` from which it was moved: seven decimals of a
degree, as some programs write them, are a centimetre."""


NEAR = 1000.0
"""Metres by which both ends of any points may differ: those on one spot tell no more."""


LARGEST_LATITUDE = 90.0
"""Degrees."""
AT_SCENE = 2.0
"""Degrees from the middle of a scene within which its points lie: a tile is one wide, 1.7 at 54° north."""


class MetricEnds(NamedTuple):
    """Both ends of N points."""

    crs: str
    """Of the metres."""
    left: NDArray[np.float64]
    """(N, 2) east, north."""
    right: NDArray[np.float64]
    """(N, 2) east, north."""
    moved: NDArray[np.bool_]
    """(N,) whether the left end was moved since the file was made."""


def metric_ends(table: Table, crs: str | None, centre: tuple[float, float] | None = None) -> MetricEnds:
    """Read both ends of the points in metres.

    Args:
        table: of the points.
        crs: of the coordinates in the rows, where a user says it.
        centre: longitude and latitude of the middle of the left scene, where that is known.

    Raises:
        BadPoints: an end is no place on the map, nothing says in which CRS they are, or they are not in one.
    """
    table.require(*(name for name in ENDS if table.places is None or name.startswith("right")))
    named = _crs(table, crs)
    left, right, moved = _ends(table, named)
    left, right = _longitude_first(table, named, left, right, centre)
    named, left, right = _metric(table, named, left, right)
    _check_one_frame(table, left, right)
    return MetricEnds(named, left, right, moved)


def _crs(table: Table, given: str | None) -> str:
    """Find the CRS of the coordinates in the rows."""
    if table.crs:
        known_crs(table.path, table.crs, "projected_crs")
    named = given or table.crs or (table.places_crs if not table.has("left_x") else "")
    if not named and table.places_crs and known_crs(table.path, table.places_crs, "crs").is_projected:
        named = table.places_crs
    if not named:
        named = _utm_that_agrees(table)
    if not named:
        raise BadPoints(
            table.path,
            "nothing says in which CRS its coordinates are: give it with `fit --crs EPSG:…` (crs= in Python), as the "
            "images have it",
        )
    number = known_crs(table.path, named).to_epsg()
    return f"EPSG:{number}" if number else str(named)


def known_crs(path: Path, named: object, member: str = "") -> CRS:
    """Find the CRS that a member of a file, or a user, names.

    Raises:
        BadPoints: there is none of that name.
    """
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        return CRS.from_user_input(named if isinstance(named, str) else "")
    except CRSError:
        raise BadPoints(path, f"{member and f'its {member} '}{shown(named)} is no CRS") from None


def _ends(table: Table, crs: str) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Read (N, 2) left, (N, 2) right, and (N,) which were moved."""
    right = np.column_stack([table.numbers("right_x"), table.numbers("right_y")])
    unmoved = np.zeros(len(table), bool)
    if table.places is None:
        return np.column_stack([table.numbers("left_x"), table.numbers("left_y")]), right, unmoved
    if not table.places_crs:
        raise BadPoints(table.path, "nothing says in which CRS its geometry is: save it again with its CRS")
    there = _moved_to(table, table.places, table.places_crs, crs)
    if not table.has("left_x"):
        return there, right, unmoved
    left = np.column_stack([table.numbers("left_x"), table.numbers("left_y")])
    moved = np.hypot(*(there - left).T) > MOVED
    return np.where(moved[:, None], there, left), right, moved


def _check_one_frame(table: Table, left: NDArray[np.float64], right: NDArray[np.float64]) -> None:
    """Refuse ends that cannot be in one frame: pixels beside metres, or metres of two zones."""
    spread = np.ptp(left, axis=0).max(), np.ptp(right, axis=0).max()
    apart = float(np.hypot(*np.median(right - left, axis=0)))
    # A blunder of a kilometre in one of a few points, or in half of them, is for the fit to find
    typical = [np.median(np.abs(end - np.median(end, axis=0)), axis=0).max() + 1 for end in (left, right)]
    across = [np.hypot(*(end - np.roll(end, max(len(table) // 2, 1), axis=0)).T) + 1 for end in (left, right)]
    scales = typical[1] / typical[0], np.median(across[1] / across[0])
    if apart > max(*spread, NEAR) or not any(0.5 <= scale <= 2 for scale in scales):
        raise BadPoints(
            table.path,
            f"its left ends spread over {spread[0]:,.0f} m and its right ends over {spread[1]:,.0f} m, {apart:,.0f} m "
            f"from them: they are not in one CRS (pixels of an image are none)",
        )


def _utm_that_agrees(table: Table) -> str:
    """Find the UTM zone whose metres are those of the rows at the places of the geometry; empty where none is."""
    if table.places is None or not table.places_crs or not (table.has("left_x") and table.has("left_y")):
        return ""
    places = lonlat(table, table.places_crs, table.places)
    left = np.column_stack([table.numbers("left_x"), table.numbers("left_y")])
    lon, lat = np.median(places, axis=1).tolist()
    for aside in (0, -6, 6):  # a tile reaches into the next zone
        zone = _utm((lon + aside + 180) % 360 - 180, lat)
        there = _moved_to(table, places.T, "EPSG:4326", zone)
        if np.median(np.hypot(*(there - left).T)) < 1:
            return zone
    return ""


def _utm(lon: float, lat: float) -> str:
    return f"EPSG:{(32600 if lat >= 0 else 32700) + int((lon + 180) // 6) % 60 + 1}"


def lonlat(table: Table, crs: str, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute (2, N) longitude and latitude of (N, 2) points of a table.

    Raises:
        BadPoints: a point lies on no place of the map; which.
    """
    return np.asarray(_moved_to(table, points, crs, "EPSG:4326").T)


def _moved_to(table: Table, points: NDArray[np.float64], crs: str, other: str) -> NDArray[np.float64]:
    """Bring (N, 2) points of the rows, or fewer, to another CRS."""
    from pyproj import Transformer
    from pyproj.exceptions import ProjError

    try:
        there = np.column_stack(Transformer.from_crs(crs, other, always_xy=True).transform(*points.T))
    except ProjError as error:
        raise BadPoints(table.path, f"its coordinates cannot be brought from {crs} to {other} ({error})") from error
    if len(lost := np.flatnonzero(~np.isfinite(there).all(1))):
        place = ", ".join(f"{value:,.10g}" for value in points[lost[0]])
        row = table.names[lost[0]] if len(points) == len(table) else ""
        raise BadPoints(table.path, f"its coordinates are {place}, and lie off the map of {crs}", row)
    return there


def _longitude_first(
    table: Table,
    crs: str,
    left: NDArray[np.float64],
    right: NDArray[np.float64],
    centre: tuple[float, float] | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Swap degrees whose x is certainly latitude, and say so."""
    if not known_crs(table.path, crs).is_geographic:
        return left, right
    (x, y), why = np.median(left, axis=0), ""
    if np.abs(left[:, 0]).max() <= LARGEST_LATITUDE < np.abs(left[:, 1]).max():
        why = f"y is up to {np.abs(left[:, 1]).max():.2f}°, which no latitude is"
    elif centre and np.hypot(y - centre[0], x - centre[1]) < AT_SCENE < np.hypot(x - centre[0], y - centre[1]):
        why = f"the left scene lies around {centre[0]:.2f}° east, {centre[1]:.2f}° north"
    if not why:
        return left, right
    log.warning("%s: x is latitude and y longitude: %s", table.path.name, why)
    return left[:, ::-1], right[:, ::-1]


def _metric(
    table: Table, crs: str, left: NDArray[np.float64], right: NDArray[np.float64]
) -> tuple[str, NDArray[np.float64], NDArray[np.float64]]:
    """Bring degrees, feet and metres of a Mercator map to metres of the UTM zone in their middle."""
    if in_metres(crs):
        return crs, left, right
    lon, lat = np.median(lonlat(table, crs, left), axis=1).tolist()
    doubtful = table.has("left_x") and not tells_degrees(table) and np.abs(left).max() <= 90
    if known_crs(table.path, crs).is_geographic and doubtful:
        log.warning(
            "%s: x is taken for longitude, so the points lie around %.2f° east, %.2f° north; if x is latitude, give "
            "`fit --columns left_x=left_y,left_y=left_x,right_x=right_y,right_y=right_x` (columns= in Python)",
            *(table.path.name, lon, lat),
        )
    zone = _utm(lon, lat)
    return zone, _moved_to(table, left, crs, zone), _moved_to(table, right, crs, zone)
