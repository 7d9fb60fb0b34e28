"""Tie points as files. GeoJSON follows RFC 7946: longitude and latitude on WGS 84, no ``crs`` member, a ``bbox``."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from sentinel_match.atomic import whole
from sentinel_match.formats.header import FileHeader
from sentinel_match.schema import A_PATH, check_argument, shown
from sentinel_match.tiepoints import LONLAT_DIGITS, TiePoints

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
AT_ONCE = 10_000
"""Points that are in memory as text at once, about."""


def write_geojson(ties: TiePoints, path: Path | str) -> None:
    """Write tie points as an RFC 7946 FeatureCollection, one Point per tie point at its left ground position.

    The exact coordinates are in the properties, in metres of the CRS that the foreign member ``projected_crs`` names;
    ``left``, ``right`` and ``summary`` are foreign members too, and all stand behind the points. A shift is right minus
    left.

    Raises:
        OutputError: the file could not be written.

    Examples:
        >>> from sentinel_match import read_ties, write_geojson
        >>> write_geojson(read_ties("ties.gpkg"), "ties.geojson")
    """
    if not isinstance(ties, TiePoints):
        raise TypeError(f"write_geojson takes TiePoints, not {shown(ties)}")
    check_argument("path", path, A_PATH)
    lonlat = ties.lonlat
    bbox = {"bbox": _bbox(lonlat)} if len(ties) else {}
    _write(path, features(ties, lonlat), {**bbox, **FileHeader.of(ties).to_dict()})


def write_collection(collection: Mapping[str, Any], path: Path) -> None:
    """Write a FeatureCollection made elsewhere (scenes, pairs), one feature a line.

    Its ``features`` may be an iterator: none is kept after it is written.

    Raises:
        OutputError: the file could not be written.
    """
    members = {key: value for key, value in collection.items() if key not in ("type", "features")}
    _write(path, map(dumps, collection["features"]), members)


def _write(path: Path | str, lines: Iterable[str], members: Mapping[str, Any]) -> None:
    """Write a FeatureCollection, one feature a line, with its other members behind them, however long they are.

    GDAL reads feature by feature only where they begin within the first 6,000 bytes, and else keeps all in memory.

    Raises:
        OutputError: the file could not be written.
    """
    with whole(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write('{"type":"FeatureCollection","features":[')
        for number, line in enumerate(lines):
            file.write(f"{',' if number else ''}\n{line}")
        file.write(f"\n]{',' if members else ''}{dumps(members)[1:]}\n")


def dumps(value: object) -> str:
    """Write compact JSON in which times are ISO 8601 and what is not a number is ``null`` (RFC 8259 has no NaN)."""
    return _ENCODER.encode(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, Iterator)):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _bbox(lonlat: np.ndarray) -> list[float]:
    """Compute west, south, east, north; west > east where the points cross the antimeridian (RFC 7946, 5.2)."""
    lon, lat = lonlat.T
    if np.ptp(lon) > 180:
        lon = np.where(lon < 0, lon + 360, lon)
    west, east = ((float(v) + 180) % 360 - 180 for v in (lon.min(), lon.max()))
    return [round(v, LONLAT_DIGITS) for v in (west, float(lat.min()), east, float(lat.max()))]


def rounded(said: Mapping[str, np.ndarray]) -> dict[str, list[Any]]:
    """Round columns as files of text have them: millimetres, hundredths of a degree, four decimals of the rest.

    What is not known is ``None``.
    """
    digits = {"left_x": 3, "left_y": 3, "right_x": 3, "right_y": 3, "azimuth_deg": 2, "sigma_azimuth_deg": 2}
    turns, plain = {"azimuth_deg": 360, "sigma_azimuth_deg": 180}, {}
    for name, values in said.items():
        if values.dtype.kind != "f":
            plain[name] = values.tolist()
            continue
        near = np.round(values, digits.get(name, 4))
        near = near % turns[name] if name in turns else near
        if not np.isfinite(near).all():
            near = near.astype(object)
            near[~np.isfinite(values)] = None
        plain[name] = near.tolist()
    return plain


def features(ties: TiePoints, lonlat: np.ndarray) -> Iterator[str]:
    """Write GeoJSON features of tie points at their longitude and latitude, one after the other."""
    columns = ties.columns()
    for first in range(0, len(ties), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        known = rounded({name: values[part] for name, values in columns.items()})
        names, rows = list(known), zip(*known.values(), strict=True)
        for k, (point, values) in enumerate(zip(lonlat[part].tolist(), rows, strict=True), first):
            geometry = {"type": "Point", "coordinates": point}
            feature = {
                "type": "Feature",
                "id": k,
                "geometry": geometry,
                "properties": dict(zip(names, values, strict=True)),
            }
            yield _ENCODER.encode(feature)
