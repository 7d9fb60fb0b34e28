"""Tie points as files. GeoJSON follows RFC 7946: longitude and latitude on WGS 84, no ``crs`` member, a ``bbox``."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from sentinel_match import __version__
from sentinel_match.files import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sentinel_match.scene import Scene
    from sentinel_match.tiepoints import TiePoints

LONLAT_DIGITS = 8
"""Decimals of a degree: about a millimetre."""


def write_geojson(ties: TiePoints, path: Path | str) -> None:
    """Write tie points as an RFC 7946 FeatureCollection, one Point per tie point at its left ground position.

    The exact coordinates are in the properties, in metres of the CRS that the foreign member ``projected_crs`` names;
    ``left``, ``right`` and ``summary`` are foreign members too. A shift is right minus left.

    Raises:
        OutputError: the file could not be written.
    """
    head: dict[str, Any] = {
        "type": "FeatureCollection",
        "generator": f"sentinel-match {__version__}",
        "projected_crs": ties.crs,
        "left": identity(ties.left, ties.band),
        "right": identity(ties.right, ties.band),
        "summary": ties.summary,
    }
    lonlat = _lonlat(ties)
    if len(ties):
        head["bbox"] = _bbox(lonlat)
    lines = [dumps(head)[:-1] + ',"features":[']
    lines.append(",\n".join(dumps(feature) for feature in _features(ties, lonlat)))
    write_text(path, "\n".join([*lines, "]}\n"]))


def write_collection(collection: Mapping[str, Any], path: Path) -> None:
    """Write a FeatureCollection made elsewhere (scenes, pairs), one feature a line."""
    head = {key: value for key, value in collection.items() if key != "features"}
    features = ",\n".join(dumps(feature) for feature in collection["features"])
    write_text(path, f'{dumps(head)[:-1]},"features":[\n{features}\n]}}\n')


def identity(scene: Scene, band: str) -> dict[str, Any]:
    """What names one side of a pair: product, time, tile, band."""
    return {
        "id": scene.id,
        "path": str(scene.path),
        "sensing_time": scene.sensing_time,
        "tile": scene.tile or None,
        "level": scene.level or None,
        "baseline": scene.baseline or None,
        "relative_orbit": scene.relative_orbit,
        "band": band,
    }


def dumps(value: object) -> str:
    """Compact JSON in which times are ISO 8601 and what is not a number is ``null`` (RFC 8259 has no NaN)."""
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _lonlat(ties: TiePoints) -> np.ndarray:
    from pyproj import Transformer

    to_lonlat = Transformer.from_crs(ties.crs, "EPSG:4326", always_xy=True)
    return np.round(np.column_stack(to_lonlat.transform(*ties.left_xy.T)), LONLAT_DIGITS)


def _bbox(lonlat: np.ndarray) -> list[float]:
    """West, south, east, north; west > east where the points cross the antimeridian (RFC 7946, 5.2)."""
    lon, lat = lonlat.T
    if np.ptp(lon) > 180:
        lon = np.where(lon < 0, lon + 360, lon)
    west, east = ((float(v) + 180) % 360 - 180 for v in (lon.min(), lon.max()))
    return [round(v, LONLAT_DIGITS) for v in (west, float(lat.min()), east, float(lat.max()))]


def _features(ties: TiePoints, lonlat: np.ndarray) -> list[dict[str, Any]]:
    columns = {
        "left_x": ties.left_xy[:, 0],
        "left_y": ties.left_xy[:, 1],
        "right_x": ties.right_xy[:, 0],
        "right_y": ties.right_xy[:, 1],
        "left_col": ties.left_px[:, 0],
        "left_row": ties.left_px[:, 1],
        "right_col": ties.right_px[:, 0],
        "right_row": ties.right_px[:, 1],
        "dx_m": ties.shift[:, 0],
        "dy_m": ties.shift[:, 1],
        "shift_m": np.hypot(*ties.shift.T),
        "azimuth_deg": ties.azimuth,
        "sigma_m": ties.sigma_m,
        "score": ties.score,
        "residual_m": ties.residual_m,
    }
    digits = {"left_x": 3, "left_y": 3, "right_x": 3, "right_y": 3, "azimuth_deg": 2}
    rounded = {name: np.round(values, digits.get(name, 4)).tolist() for name, values in columns.items()}
    words = {"method": ties.method, "left_class": ties.left_class, "right_class": ties.right_class}
    said = {name: values.tolist() for name, values in words.items() if values is not None}
    rounded["azimuth_deg"] = [azimuth % 360 for azimuth in rounded["azimuth_deg"]]
    return [
        {
            "type": "Feature",
            "id": k,
            "geometry": {"type": "Point", "coordinates": point},
            "properties": {
                "id": k,
                **{name: values[k] for name, values in rounded.items()},
                "inlier": bool(ties.inlier[k]),
                **{name: values[k] for name, values in said.items()},
            },
        }
        for k, point in enumerate(lonlat.tolist())
    ]
