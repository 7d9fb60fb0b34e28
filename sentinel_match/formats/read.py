"""Points as somebody else left them, read by the suffix of their file into one :class:`Table`."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from lxml import etree

from sentinel_match.errors import BadPoints
from sentinel_match.formats.delimited import decoded, read_delimited
from sentinel_match.formats.frame import known_crs
from sentinel_match.formats.geopackage import METADATA
from sentinel_match.formats.header import FileHeader
from sentinel_match.formats.table import NO_HEADER, Table
from sentinel_match.geometry.grids import transformed
from sentinel_match.products.files import why_no_file
from sentinel_match.products.header import read_header
from sentinel_match.products.opening import reading_vectors
from sentinel_match.products.xml import UNTRUSTED
from sentinel_match.schema import COORDINATE, Unfit, parse, shown
from sentinel_match.wording import in_words

if TYPE_CHECKING:
    from numpy.typing import NDArray

OWN_LAYERS = ("tiepoints", "rejected")
GEOJSON, GEOJSON_LINES = {".geojson", ".json"}, {".geojsonl", ".geojsons"}
TEXT = {".csv", ".txt", ".tsv", ".dat", ".points"}
COLUMNAR = {".parquet", ".geoparquet", ".arrow", ".feather"}
"""What GDAL reads only where it was built so."""
NO_TEXT = {".gpkg", ".shp", ".fgb", ".sqlite", ".db", ".gml", ".kml", ".gpx", ".dxf", ".xlsx", ".ods", *COLUMNAR}
PROGRAMS = (b"<OGR", b"<VRT", b"<GDAL", b"<?xml")
"""How files begin that make GDAL open others, or ask hosts. KML, GML and GPX begin with a declaration too."""
REMEDY = {
    **dict.fromkeys(
        ("LineString", "MultiLineString"),
        ": give the beginning of each line as a Point, and its end as right_x and right_y",
    ),
    "MultiPoint": ": make single parts of it, a row each",
}
"""What to do about other geometries, by their kind."""
LAYERS_OF_XML = (b"<kml", b"<gpx", b"featurecollection")


def read_table(path: Path, layer: str | None = None) -> Table:
    """Read a file of points: GeoJSON, GeoJSONSeq, text in columns, ``.points`` of QGIS, or whatever GDAL opens.

    Rows without a geometry are left out, and named, where others have one.

    Args:
        path: the file.
        layer: of a file with several; ours are found by themselves.

    Raises:
        BadPoints: it cannot be read, or holds no points.
    """
    suffix = path.suffix.lower()
    if reason := why_no_file(path):  # reading a pipe would wait for ever
        raise BadPoints(path, reason)
    try:
        if suffix in GEOJSON | GEOJSON_LINES:
            table = _geojson(path, lines=suffix in GEOJSON_LINES)
        elif suffix in TEXT:
            table = read_delimited(path)
        elif suffix == ".vrt":
            table = _control_points(path)
        else:
            table = _by_gdal(path, layer)
    except (OSError, UnicodeDecodeError, csv.Error, Unfit) as error:
        raise BadPoints(path, f"it cannot be read ({in_words(error)})") from error
    if not len(table):
        raise BadPoints(path, "it holds no points")
    return _placed(table)


def _placed(table: Table) -> Table:
    """Leave out rows without a geometry, if others have one, and refuse places beyond every map."""
    if table.places is None:
        return table
    gaps = np.asarray(np.isnan(table.places).all(1))
    if gaps.all() and table.has("left_x"):
        return Table(table.path, table.columns, table.names, crs=table.crs, header=table.header)
    table = table.without(gaps, "have no geometry")
    places = table.places
    assert places is not None  # noqa: S101 it was above
    wrong = np.flatnonzero(~((places >= COORDINATE.low) & (places <= COORDINATE.high)).all(1))
    if len(wrong):
        where = ", ".join(f"{value:g}" for value in places[wrong[0]])
        raise BadPoints(table.path, f"its coordinates are {where}, and must be {COORDINATE}", table.names[wrong[0]])
    return table


def _geojson(path: Path, *, lines: bool) -> Table:
    text = decoded(path.read_bytes())
    if lines:
        # Newlines alone end a feature: a word may hold others that Python counts as such
        collection: Any = {"features": [parse(one) for line in text.split("\n") if (one := line.strip("\x1e \t\r"))]}
    else:
        collection = parse(text)
    features = collection.get("features") if isinstance(collection, dict) else None
    if not isinstance(features, list):
        raise BadPoints(path, "it is no FeatureCollection")
    names = [f"row {k}" for k in range(1, len(features) + 1)]
    places, rows = np.full((len(features), 2), np.nan), []
    for k, feature in enumerate(features):
        if not isinstance(feature, dict):
            raise BadPoints(path, f"it is {shown(feature)}, and must be a Feature", names[k])
        properties = feature.get("properties")
        if not isinstance(properties, (dict, type(None))):
            raise BadPoints(path, f"its properties are {shown(properties)}, and must be an object", names[k])
        rows.append(properties or {})
        place = _point(path, names[k], feature.get("geometry"))
        if place is not None:
            places[k] = place
    # Before RFC 7946 a collection could name its CRS; QGIS and others still write it
    crs = collection.get("crs")
    named = crs["properties"].get("name") if isinstance(crs, dict) and isinstance(crs.get("properties"), dict) else crs
    known_crs(path, named or "EPSG:4326", "crs")
    header = FileHeader.from_dict(collection)
    known = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in known}
    return Table(path, columns, names, places, str(named or "EPSG:4326"), header.crs, header)


def _point(path: Path, name: str, geometry: object) -> tuple[float, float] | None:
    """Read a Point, or one in a MultiPoint of one; ``None`` where there is none."""
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if geometry is None or (
        isinstance(geometry, dict) and kind in {"Point", "MultiPoint"} and geometry.get("coordinates") == []
    ):
        return None
    if not isinstance(geometry, dict) or kind not in {"Point", "MultiPoint"}:
        raise BadPoints(
            path, f"its geometry is {shown(kind or geometry)}, and no Point{REMEDY.get(str(kind), '')}", name
        )
    coordinates = geometry.get("coordinates")
    if kind == "MultiPoint" and isinstance(coordinates, list):
        if len(coordinates) != 1:
            of = f"a MultiPoint of {len(coordinates)}, and must be one Point{REMEDY['MultiPoint']}"
            raise BadPoints(path, f"its geometry is {of}", name)
        coordinates = coordinates[0]
    try:
        lon, lat = coordinates[:2]  # type: ignore[index]
        if isinstance(lon, bool) or isinstance(lat, bool):
            raise TypeError(lon)
        place = float(lon), float(lat)
        if not np.isfinite(place).all():
            raise ValueError(place)
    except (TypeError, ValueError, OverflowError):
        raise BadPoints(path, f"its coordinates are {shown(coordinates)}: they are no numbers", name) from None
    return place


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
        raise BadPoints(path, f"its control points cannot be read ({in_words(error)})") from error
    if not len(points) or not image:
        raise BadPoints(path, "it holds no control points of an image")
    # One archive on this machine: what a VRT of others names may lie anywhere
    archive = image.removeprefix("/vsizip/") if image.startswith("/vsizip/") else ""
    if "/vsi" in archive or not (archive or Path(image).is_file()):
        raise BadPoints(path, f"the image {image}, whose control points it holds, is not there")
    try:
        grid = read_header(image).geobox
    except ValueError as error:
        raise BadPoints(path, f"the image {image} cannot be read ({in_words(error)})") from error
    if grid is None:
        raise BadPoints(path, f"the image {image} has no georeference")
    crs = str(known_crs(path, str(root.find("GCPList").get("Projection") or grid.crs)))
    there = transformed(grid.affine, points[:, :2])
    there = np.column_stack(Transformer.from_crs(str(grid.crs), crs, always_xy=True).transform(*there.T))
    columns = ("right_col", "right_row", "left_x", "left_y", "right_x", "right_y")
    values = dict(zip(columns, np.column_stack([points, there]).T, strict=True))
    return Table(path, values, [f"control point {k}" for k in range(1, len(points) + 1)], crs=crs)


def _by_gdal(path: Path, layer: str | None) -> Table:
    import pyogrio

    _check_data(path)
    try:
        with reading_vectors():
            known = [str(name) for name, _ in pyogrio.list_layers(path)]
            wanted = [layer] if layer else [name for name in OWN_LAYERS if name in known] or known[:1]
            if not wanted:
                raise BadPoints(path, "it has no layer")
            missing = [name for name in wanted if name not in known]
            if missing:
                raise BadPoints(path, f"it has no layer {missing[0]}, only {', '.join(known) or 'none at all'}")
            tables, metadata = [], None
            for name in wanted:
                info = pyogrio.read_info(path, layer=name)
                metadata = metadata or (info.get("dataset_metadata") or {}).get(METADATA)
                tables.append(_layer(path, name, several=len(wanted) > 1))
    except (ValueError, RuntimeError) as error:  # what pyogrio raises are these: its own errors, and those of encodings
        if "not recognized" in str(error) or path.suffix.lower() in COLUMNAR:
            return _of_no_driver(path)
        raise BadPoints(path, f"it cannot be read ({in_words(error)})") from error
    table = _joined(tables)
    try:
        header = FileHeader.from_dict(parse(metadata)) if metadata else NO_HEADER
    except Unfit as error:
        header = FileHeader(flaw=f"its item {METADATA} cannot be read ({in_words(error)})")
    order = np.arange(len(table))
    numbers = table.columns.get("id")
    if (
        isinstance(numbers, np.ndarray) and numbers.dtype.kind in "iu"
    ):  # layers and indexed files have an order of their own
        order = np.argsort(numbers, kind="stable")
    return Table(
        path,
        {name: np.asarray(values)[order] for name, values in table.columns.items()},
        [table.names[k] for k in order.tolist()],
        None if table.places is None else table.places[order],
        table.places_crs,
        header.crs,
        header,
    )


def _of_no_driver(path: Path) -> Table:
    """Read text whose suffix GDAL does not know."""
    with path.open("rb") as file:
        start = file.read(4096)
    if b"\0" in start or start.startswith(b"PAR1") or path.suffix.lower() in NO_TEXT:
        raise BadPoints(path, "it cannot be read: it is in no format that is known here; save it as GeoPackage or CSV")
    return read_delimited(path)


def _check_data(path: Path) -> None:
    """Refuse a file that is no data but says where GDAL shall fetch them: from other files, or from hosts."""
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")
        if start.startswith(PROGRAMS) and not any(tag in start.lower() for tag in LAYERS_OF_XML):
            raise BadPoints(path, "it only says where GDAL shall fetch points from: give the file that holds them")


def _layer(path: Path, name: str, *, several: bool) -> Table:
    """Read a layer, columns as arrays."""
    import pyogrio
    import shapely

    meta, fids, wkb, values = pyogrio.raw.read(path, layer=name, return_fids=True)
    names = [f"row {fid} of layer {name}" if several else f"row {fid}" for fid in fids.tolist()]
    columns = dict(zip(meta["fields"].tolist(), values, strict=True))
    if wkb is None:
        return Table(path, columns, names)
    shapes = shapely.from_wkb(wkb, on_invalid="ignore")
    kinds, parts = shapely.get_type_id(shapes), shapely.get_num_geometries(shapes)
    gaps = (kinds < 0) | shapely.is_empty(shapes)
    single = (kinds == shapely.GeometryType.POINT) | ((kinds == shapely.GeometryType.MULTIPOINT) & (parts == 1))
    if len(wrong := np.flatnonzero(~gaps & ~single)):
        shape = shapes[wrong[0]]
        of = f" of {parts[wrong[0]]}" if shape.geom_type.startswith("Multi") else ""
        remedy = REMEDY.get(shape.geom_type, "")
        raise BadPoints(path, f"its geometry is a {shape.geom_type}{of}, and no Point{remedy}", names[wrong[0]])
    points = np.where(gaps, None, shapely.get_geometry(shapes, 0))
    return Table(
        path, columns, names, np.column_stack([shapely.get_x(points), shapely.get_y(points)]), str(meta["crs"] or "")
    )


def _joined(tables: list[Table]) -> Table:
    """Put the layers of a file one below the other; a column that one of them lacks is empty there."""
    first = tables[0]
    if len(tables) == 1:
        return first
    columns: dict[str, NDArray[Any]] = {}
    for name in dict.fromkeys(name for table in tables for name in table.columns):
        pieces = [np.asarray(t.columns[name]) if name in t.columns else np.full(len(t), None) for t in tables]
        alike = len({piece.dtype.kind for piece in pieces}) == 1
        columns[name] = np.concatenate(pieces if alike else [piece.astype(object) for piece in pieces])
    places = [table.places for table in tables]
    there = [p if p is not None else np.full((len(t), 2), np.nan) for p, t in zip(places, tables, strict=True)]
    return Table(first.path, columns, [n for t in tables for n in t.names], np.concatenate(there), first.places_crs)
