"""Tie points as the file its suffix says: for QGIS, for tables, for other programs that warp images."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import shapely

from sentinel_match.atomic import whole, write_text
from sentinel_match.errors import OutputError
from sentinel_match.formats.gcps import write_points, write_vrt
from sentinel_match.formats.geojson import features, rounded, write_geojson
from sentinel_match.formats.geopackage import VectorLayer, style, write_geopackage, write_layer
from sentinel_match.schema import A_PATH, check_argument, shown
from sentinel_match.tiepoints import TiePoints

if TYPE_CHECKING:
    from collections.abc import Callable


def write(ties: TiePoints, path: Path | str) -> None:
    """Write tie points in the format of a suffix, one of ``WRITERS``; the file appears whole or not at all.

    Raises:
        TypeError: these are no tie points.
        OutputError: the file could not be written, or its suffix is none of these.

    Examples:
        >>> from sentinel_match import read_ties, write
        >>> write(read_ties("ties.gpkg"), "ties.csv")
    """
    if not isinstance(ties, TiePoints):
        raise TypeError(f"write takes TiePoints, not {shown(ties)}")
    check_argument("path", path, A_PATH)
    writer(path)(ties, path)


def writer(path: Path | str) -> Callable[[TiePoints, Path | str], None]:
    """Find what writes a file of that name.

    Raises:
        OutputError: its suffix is unknown.
    """
    found = WRITERS.get(Path(path).suffix.lower())
    if found is None:
        raise OutputError(Path(path), f"the suffix says what to write, and is none of {', '.join(WRITERS)}")
    return found


def write_style(ties: TiePoints, path: Path | str) -> Path | None:
    """Write the style of a file beside it, where QGIS looks for it: ``ties.qml`` beside ``ties.geojson``.

    Returns:
        What was written; ``None`` where the file has its styles inside, or no positions that QGIS would draw by itself.

    Raises:
        OutputError: it could not be written.
    """
    path = Path(path)
    if path.suffix.lower() not in STYLED:
        return None
    beside = path.with_suffix(".qml")
    write_text(beside, style(ties, "tiepoints"))
    return beside


def write_geojsonseq(ties: TiePoints, path: Path | str) -> None:
    """Write a feature a line, RFC 7946 coordinates; newlines and no record separators, as GDAL writes by default.

    Raises:
        OutputError: the file could not be written.
    """
    with whole(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{feature}\n" for feature in features(ties, ties.lonlat))


def write_flatgeobuf(ties: TiePoints, path: Path | str) -> None:
    """Write one layer of all points, believed or not, in the pair's CRS, unrounded.

    Raises:
        OutputError: the file could not be written.
    """
    points = np.asarray(shapely.points(ties.left_xy), object)
    layer = VectorLayer("tiepoints", "", "Point", points, ties.columns())
    with whole(path) as temporary:
        temporary.unlink()
        write_layer(temporary, layer, ties.crs, "FlatGeobuf")


def write_csv(ties: TiePoints, path: Path | str) -> None:
    """Write a table with one header line: positions in metres of the column ``crs``, and in degrees.

    Raises:
        OutputError: the file could not be written.
    """
    said = rounded(ties.columns())
    lon, lat = ties.lonlat.T.tolist()
    said |= {"lon": lon, "lat": lat, "crs": [ties.crs] * len(ties)}
    lines = io.StringIO()
    table = csv.writer(lines, lineterminator="\n")
    table.writerow(said)
    table.writerows(zip(*([_cell(v) for v in values] for values in said.values()), strict=True))
    write_text(path, lines.getvalue())


def _cell(value: object) -> object:
    """Write nothing for what is not known, as every reader of tables understands it."""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None or value != value else value  # noqa: PLR0124


WRITERS: dict[str, Callable[[TiePoints, Path | str], None]] = {
    ".geojson": write_geojson,
    ".json": write_geojson,
    ".geojsonl": write_geojsonseq,
    ".geojsons": write_geojsonseq,
    ".gpkg": write_geopackage,
    ".fgb": write_flatgeobuf,
    ".csv": write_csv,
    ".points": write_points,
    ".vrt": write_vrt,
}
"""What each suffix means."""
STYLED = (".geojson", ".json", ".geojsonl", ".geojsons", ".fgb")
"""Suffixes of files with one layer, whose style lies beside them."""
