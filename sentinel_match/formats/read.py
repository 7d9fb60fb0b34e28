"""Points as somebody else left them: rows with names, a geometry or none, and what their file says of them all."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lxml import etree

from sentinel_match.errors import BadPoints
from sentinel_match.formats.geopackage import METADATA
from sentinel_match.formats.header import FileHeader
from sentinel_match.geometry.grids import transformed
from sentinel_match.products.header import read_header
from sentinel_match.products.xml import UNTRUSTED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

POINTS_COLUMNS = {"left_x": "mapX", "left_y": "mapY", "right_x": "sourceX", "right_y": "sourceY", "inlier": "enable"}
"""Of a file of the QGIS Georeferencer, whose header nobody reads: the order counts."""
OWN_LAYERS = ("tiepoints", "rejected")
TRUE, FALSE = {"1", "true", "t", "yes"}, {"0", "false", "f", "no"}


NO_HEADER = FileHeader()
"""Of a file of another program."""


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of a file."""

    path: Path
    rows: Sequence[Mapping[str, Any]]
    names: Sequence[str]
    """What each row is called in an error: ``row 17``, as a spreadsheet counts, the header being the first."""
    places: NDArray[np.float64] | None = None
    """(N, 2) of the geometry, where there is one."""
    places_crs: str = ""
    """Of the geometry."""
    crs: str = ""
    """Of the metres in the rows, where the file says it."""
    header: FileHeader = NO_HEADER
    """What the file says of all its points, when it is one of ours."""

    def __len__(self) -> int:
        return len(self.rows)

    def has(self, name: str) -> bool:
        """Tell whether any row has such a value."""
        return any(not _empty(row.get(name)) for row in self.rows)

    def holds(self, name: str) -> bool:
        """Tell whether any row has such a column, with or without a value."""
        return any(name in row for row in self.rows)

    def numbers(self, name: str, missing: float | None = None) -> NDArray[np.float64]:
        """Read (N,) a column of numbers.

        Args:
            name: of the column.
            missing: stands for what is not there; an error when ``None``.

        Raises:
            BadPoints: a value is no number, or is missing.
        """
        return np.array([self._number(k, name, missing) for k in range(len(self))], float)

    def _number(self, k: int, name: str, missing: float | None) -> float:
        value = self.rows[k].get(name)
        if value is None or _empty(value):
            if missing is None:
                raise BadPoints(self.path, f"it has no {name}", self.names[k])
            return missing
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise BadPoints(self.path, f"{name} is {value!r}, not a number", self.names[k]) from None
        if not np.isfinite(number) and missing is None:
            raise BadPoints(self.path, f"{name} is {value!r}, not a number", self.names[k])
        return number if np.isfinite(number) or missing is None else missing

    def words(self, name: str, missing: str = "") -> NDArray[np.str_]:
        """Read (N,) a column of words."""
        return np.array([missing if _empty(v := row.get(name)) else str(v) for row in self.rows], "U64")

    def truths(self, name: str) -> NDArray[np.bool_]:
        """Read (N,) a column of yes and no; yes where nothing is said.

        Raises:
            BadPoints: a value is neither.
        """
        said = []
        for k, row in enumerate(self.rows):
            value = row.get(name)
            word = "true" if _empty(value) else str(value).strip().lower().removesuffix(".0")
            if word not in TRUE | FALSE:
                raise BadPoints(self.path, f"{name} is {value!r}, neither true nor false", self.names[k])
            said.append(word in TRUE)
        return np.array(said, bool)


def _empty(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value)


def read_table(path: Path, layer: str | None = None) -> Table:
    """Read a file of points: GeoJSON, GeoJSONSeq, CSV, ``.points`` of QGIS, or whatever GDAL opens.

    Args:
        path: the file.
        layer: of a file with several; ours are found by themselves.

    Raises:
        BadPoints: it cannot be read, or holds no points.
    """
    suffix = path.suffix.lower()
    try:
        if suffix in {".geojson", ".json", ".geojsonl", ".geojsons"}:
            table = _geojson(path, lines=suffix in {".geojsonl", ".geojsons"})
        elif suffix in {".csv", ".txt", ".points"}:
            table = _delimited(path)
        elif suffix == ".vrt":
            table = _control_points(path)
        else:
            table = _by_gdal(path, layer)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
        raise BadPoints(path, f"it cannot be read ({error})") from error
    if not len(table):
        raise BadPoints(path, "it holds no points")
    return table


def _geojson(path: Path, *, lines: bool) -> Table:
    text = path.read_text(encoding="utf-8")
    if lines:
        collection: Any = {
            "features": [json.loads(line.strip("\x1e")) for line in text.splitlines() if line.strip("\x1e ")]
        }
    else:
        collection = json.loads(text)
    features = collection.get("features") if isinstance(collection, dict) else None
    if not isinstance(features, list):
        raise BadPoints(path, "it is no FeatureCollection")
    names = [f"row {k}" for k in range(1, len(features) + 1)]
    places = []
    for name, feature in zip(names, features, strict=True):
        geometry = feature.get("geometry") if isinstance(feature, dict) else None
        if not isinstance(geometry, dict) or geometry.get("type") != "Point":
            raise BadPoints(path, "its geometry is no Point", name)
        try:
            lon, lat = (float(v) for v in geometry["coordinates"][:2])
        except (KeyError, TypeError, ValueError):
            raise BadPoints(path, "its coordinates are no numbers", name) from None
        places.append((lon, lat))
    # Before RFC 7946 a collection could name its CRS; QGIS and others still write it
    crs = collection.get("crs")
    named = crs["properties"].get("name") if isinstance(crs, dict) and isinstance(crs.get("properties"), dict) else crs
    header = FileHeader.from_dict(collection)
    rows = [feature.get("properties") or {} for feature in features]
    at = np.array(places).reshape(-1, 2)
    return Table(path, rows, names, at, str(named or "EPSG:4326"), header.crs, header)


def _delimited(path: Path) -> Table:
    lines, crs, skipped = path.read_text(encoding="utf-8-sig").splitlines(), "", 0
    while lines and lines[0].startswith("#"):
        crs = lines[0].removeprefix("#CRS:").strip() if lines[0].startswith("#CRS:") else crs
        lines, skipped = lines[1:], skipped + 1
    first = lines[0] if lines else ""
    reader = csv.reader(lines, delimiter=max(",;\t", key=first.count))
    header = [name.strip() for name in next(reader, [])]
    if path.suffix.lower() == ".points":
        header = [*POINTS_COLUMNS, *header[len(POINTS_COLUMNS) :]]
    rows, names = [], []
    for cells in reader:
        if not cells:
            continue
        name = f"row {reader.line_num + skipped}"
        if len(cells) < 4 or len(cells) > len(header):
            raise BadPoints(path, f"it has {len(cells)} values where the header has {len(header)}", name)
        rows.append(dict(zip(header, (cell.strip() for cell in cells), strict=False)))
        names.append(name)
    said = {row["crs"] for row in rows if row.get("crs")}
    if len(said) > 1:
        raise BadPoints(path, f"its points are in {len(said)} CRSs")
    return Table(path, rows, names, crs=crs or next(iter(said), ""))


def _control_points(path: Path) -> Table:
    """Read the control points of a VRT that :func:`sentinel_match.formats.gcps.write_vrt` has written.

    They say where pixels of the right image lie in the left one; its own grid says where they were.
    """
    from pyproj import Transformer

    try:
        root: Any = etree.fromstring(path.read_bytes(), etree.XMLParser(**UNTRUSTED))
        image = str(root.findtext("VRTRasterBand/SimpleSource/SourceFilename") or "")
        points = np.array([[float(g.get(k)) for k in ("Pixel", "Line", "X", "Y")] for g in root.iter("GCP")])
    except (etree.XMLSyntaxError, TypeError, ValueError) as error:
        raise BadPoints(path, f"its control points cannot be read ({error})") from error
    if not len(points) or not image:
        raise BadPoints(path, "it holds no control points of an image")
    if not (image.startswith("/vsizip/") or Path(image).is_file()):
        raise BadPoints(path, f"the image {image}, whose control points it holds, is not there")
    try:
        grid = read_header(image).geobox
    except ValueError as error:
        raise BadPoints(path, f"the image {image} cannot be read ({error})") from error
    if grid is None:
        raise BadPoints(path, f"the image {image} has no georeference")
    crs = str(root.find("GCPList").get("Projection") or grid.crs)
    there = transformed(grid.affine, points[:, :2])
    there = np.column_stack(Transformer.from_crs(str(grid.crs), crs, always_xy=True).transform(*there.T))
    columns = ("right_col", "right_row", "left_x", "left_y", "right_x", "right_y")
    rows = [dict(zip(columns, row, strict=True)) for row in np.column_stack([points, there]).tolist()]
    return Table(path, rows, [f"control point {k}" for k in range(1, len(rows) + 1)], crs=crs)


def _by_gdal(path: Path, layer: str | None) -> Table:
    import pyogrio
    import shapely

    try:
        known = [str(name) for name, _ in pyogrio.list_layers(path)]
        wanted = [layer] if layer else [name for name in OWN_LAYERS if name in known] or known[:1]
        missing = [name for name in wanted if name not in known]
        if missing:
            raise BadPoints(path, f"it has no layer {missing[0]}, only {', '.join(known) or 'none at all'}")
        rows: list[dict[str, Any]] = []
        names, places, crs, metadata = [], [], "", None
        for name in wanted:
            meta, fids, wkb, values = pyogrio.raw.read(path, layer=name, return_fids=True)
            metadata = metadata or (pyogrio.read_info(path, layer=name).get("dataset_metadata") or {}).get(METADATA)
            crs = str(meta["crs"] or "")
            shapes = shapely.from_wkb(wkb) if wkb is not None else np.full(len(fids), None)
            for k, (fid, shape) in enumerate(zip(fids.tolist(), shapes, strict=True)):
                names.append(f"row {fid} of layer {name}" if len(wanted) > 1 else f"row {fid}")
                if shape is None or shape.geom_type != "Point" or shape.is_empty:
                    raise BadPoints(path, "its geometry is no Point", names[-1])
                places.append((shape.x, shape.y))
                rows.append({f: _plain(v[k]) for f, v in zip(meta["fields"].tolist(), values, strict=True)})
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise BadPoints(path, f"it cannot be read ({error})") from error
    header = FileHeader.from_dict(json.loads(metadata)) if metadata else NO_HEADER
    if all(isinstance(row.get("id"), int) for row in rows):  # layers and indexed files have an order of their own
        order = sorted(range(len(rows)), key=lambda k: int(rows[k]["id"]))
        rows, names, places = [rows[k] for k in order], [names[k] for k in order], [places[k] for k in order]
    return Table(path, rows, names, np.array(places).reshape(-1, 2), crs, header.crs, header)


def _plain(value: Any) -> Any:
    """Turn a value into what Python has, nothing for a null."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and np.isnan(value) else value
