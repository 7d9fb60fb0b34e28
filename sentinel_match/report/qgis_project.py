"""A QGIS project of a run: both images of each pair, stretched as the matcher saw them, under its tie points.

It is written without QGIS. Paths are relative, so the folder of results and the archives may move together. Vector
layers are drawn by the styles that lie in their GeoPackage, or beside their GeoJSON. A project that a user has saved
stays as it is until the results change; then it is kept as ``inspect.qgs~``.

The form is that of QGIS 3.22 (``QgsProject::writeProjectFile``, ``QgsMapLayer::writeLayerXml``); later ones read it.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lxml import etree
from lxml.builder import E

from sentinel_match.atomic import whole
from sentinel_match.cache import digest
from sentinel_match.raster.bands import Source, band_names, source_of
from sentinel_match.raster.flags import Reason
from sentinel_match.run_folder import GEOPACKAGE, MASKS_FILE, STYLE, TIES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sentinel_match.products.pair import Pair
    from sentinel_match.products.scene import Asset, Band, Scene
    from sentinel_match.run_folder import Run
    from sentinel_match.summary import Summary

log = logging.getLogger(__name__)

PROJECT = "inspect.qgs"
QGIS = "3.22.0"
PROJECT_LAYERS = {
    "tiepoints": ("Point", "tie points"),
    "residuals": ("Line", "residuals"),
    "matches": ("Line", "shifts"),
    "rejected": ("Point", "rejected points"),
    "footprints": ("Polygon", "footprints"),
    "coverage": ("Polygon", "coverage"),
}
"""Layers of a GeoPackage from the top: their geometry, and what a user calls them."""
REASON_COLOURS = {
    Reason.NODATA: "#808080",
    Reason.DEFECTIVE: "#000000",
    Reason.CLOUD: "#f59620",
    Reason.CIRRUS: "#ffd166",
    Reason.SHADOW: "#5b3c88",
    Reason.SNOW: "#7fd8e8",
    Reason.WATER: "#2c7bb6",
    Reason.USER: "#d7191c",
    Reason.BRIGHT: "#f08a4b",
}
"""Of the reasons in the masks."""
SHOWN = ("tiepoints", "footprints")
"""Those that are switched on."""
ROOM = 0.03
"""Space around the overlap in the first view, as a share of its size."""
ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML cannot say."""


@dataclass(frozen=True)
class ProjectLayer:
    """One layer of a project."""

    name: str
    source: str
    """As the provider takes it, files relative to the project."""
    provider: str
    """``gdal`` or ``ogr``."""
    crs: str
    shown: bool
    facts: list[etree._Element] = field(default_factory=list)
    """How it is drawn: children of its ``maplayer``."""
    geometry: str = ""
    """``Point``, ``Line`` or ``Polygon``; empty for an image."""


def make(result: Run, out: Path) -> Path | None:
    """Write the project of a run, unless it is there for these results.

    Args:
        result: of :func:`sentinel_match.batch.run`.
        out: its folder.

    Returns:
        The file, ``OUT/inspect.qgs``; ``None`` where no pair was matched.

    Raises:
        OutputError: it cannot be written.
    """
    pairs = {pair.id: pair for pair in result.pairing.pairs}
    matched = [(pairs[outcome.id], outcome.summary) for outcome in result.matched if outcome.summary]
    path = out / PROJECT
    if not matched:
        path.unlink(missing_ok=True)  # that of an earlier run would show what is no longer so
        return None
    made = _document(matched, out.resolve())
    mark = digest({"project": etree.tostring(made, encoding="unicode")})
    if _mark(path) == mark:
        return path
    absolute, projected = E.Paths(E.Absolute("false", type="bool")), E.ProjectionsEnabled("1", type="int")
    results = E.SentinelMatch(E.Results(mark, type="QString"))
    made.append(E.properties(absolute, E.SpatialRefSys(projected), results))
    etree.indent(made, " ")
    with whole(path) as temporary:
        temporary.write_bytes(
            etree.tostring(made, doctype="<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>")
        )
        if path.exists():
            path.replace(path.with_name(f"{path.name}~"))
    return path


def _mark(path: Path) -> str | None:
    """Read of which results a project is, also after QGIS has saved it."""
    try:
        return etree.parse(path, _parser()).findtext("properties/SentinelMatch/Results")
    except (OSError, etree.XMLSyntaxError):
        return None


def _parser() -> etree.XMLParser:
    return etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True)


def _document(matched: Sequence[tuple[Pair, Summary]], folder: Path) -> etree._Element:
    crs = matched[0][1].crs
    tree, layers = getattr(E, "layer-tree-group")(E.customproperties()), E.projectlayers()
    for k, (pair, summary) in enumerate(matched):
        # The first pair is seen at once; the images of the others would lie over it
        group = getattr(E, "layer-tree-group")(
            E.customproperties(), name=_title(pair, summary), checked=_checked(k == 0), expanded=_bit(k == 0)
        )
        shown = [
            *_vectors(pair.id, summary.crs, folder),
            *_masks(pair.id, summary.crs, folder),
            *_images(pair, summary, folder),
        ]
        for n, layer in enumerate(shown):
            key = f"pair{k + 1}_{n + 1}_{layer.provider}"
            group.append(
                getattr(E, "layer-tree-layer")(
                    E.customproperties(),
                    id=key, name=_legal(layer.name), source=layer.source, providerKey=layer.provider,
                    checked=_checked(layer.shown), expanded="0",
                )
            )  # fmt: skip
            layers.append(_maplayer(key, layer))
        tree.append(group)
    made: etree._Element = E.qgis(
        E.homePath(path=""),
        E.title("sentinel_match: " + _legal(folder.name)),
        E.projectCrs(_srs(crs)),
        tree,
        E.mapcanvas(
            E.units("meters"), _extent(matched[0][0], crs), E.rotation("0"), E.destinationsrs(_srs(crs)),
            name="theMapCanvas", annotationsVisible="1",
        ),
        layers,
        projectname="sentinel_match: " + _legal(folder.name),
        version=QGIS,
    )  # fmt: skip
    return made


def _vectors(pair: str, crs: str, folder: Path) -> Iterator[ProjectLayer]:
    """List the tie points of a pair: its GeoPackage, or its GeoJSON where there is none."""
    package = folder / pair / GEOPACKAGE
    if not package.exists():
        style = package.with_name(STYLE)
        facts = _style(style.read_bytes()) if style.exists() else []
        source = _relative(folder / pair / TIES, folder)
        yield ProjectLayer("tie points", source, "ogr", "EPSG:4326", True, facts, "Point")
        return
    with closing(sqlite3.connect(f"{package.as_uri()}?mode=ro", uri=True)) as base:
        tables = {row[0] for row in base.execute("SELECT table_name FROM gpkg_contents WHERE data_type = 'features'")}
        styled = base.execute("SELECT name FROM sqlite_master WHERE name = 'layer_styles'").fetchone()
        wanted = "SELECT f_table_name, styleQML FROM layer_styles WHERE useAsDefault AND styleQML <> ''"
        styles = dict(base.execute(wanted)) if styled else {}
    for table, (geometry, name) in PROJECT_LAYERS.items():
        if table in tables:
            facts = _style(styles[table].encode()) if table in styles else []
            source = f"{_relative(package, folder)}|layername={table}"
            yield ProjectLayer(name, source, "ogr", crs, table in SHOWN, facts, geometry)


def _style(qml: bytes) -> list[etree._Element]:
    """Read what a style says as parts of a layer; nothing where it is none: users save what they like."""
    try:
        return [part for part in etree.fromstring(qml, _parser()) if part.tag != "layerGeometryType"]
    except etree.XMLSyntaxError as error:
        log.warning("a style is left out: %s", error.msg)
        return []


def _masks(pair: str, crs: str, folder: Path) -> Iterator[ProjectLayer]:
    """List why pixels of each image do not count, switched off."""
    path = folder / pair / MASKS_FILE
    for band, side in enumerate(("left", "right"), 1):
        if path.exists():
            entries = [
                E.paletteEntry(value=str(int(reason)), color=colour, alpha="150", label=reason.name.lower())
                for reason, colour in REASON_COLOURS.items()
            ]
            drawn = E.rasterrenderer(
                E.colorPalette(*entries), type="paletted", opacity="1", alphaBand="-1", band=str(band), nodataColor=""
            )
            source = _relative(path, folder)
            yield ProjectLayer(f"masked ({side})", source, "gdal", crs, False, [E.pipe(drawn)])


def _images(pair: Pair, summary: Summary, folder: Path) -> Iterator[ProjectLayer]:
    """List what was compared of both images, left above right, and their colours, switched off."""
    name = band_names(summary.band)[0]
    colours: list[ProjectLayer] = []
    uses = (summary.comparison.left, summary.comparison.right) if summary.comparison else (None, None)
    for side, scene, use in (("left", pair.left, uses[0]), ("right", pair.right, uses[1])):
        source = source_of(scene, name)
        band = source.bands[0]
        # The limits of an index are none of its bands
        limits = use.limits if use and isinstance(source, Source) else None
        yield from _image(scene, band, limits, folder, f"{_date(scene)} {band.name} ({side})", shown=True)
        if any(b.name == "TCI" for b in scene.bands) and band.name != "TCI":
            title = f"{_date(scene)} true colour ({side})"
            colours += _image(scene, scene.band("TCI"), None, folder, title, shown=False)
    yield from colours


def _image(
    scene: Scene, band: Band, limits: Sequence[float] | None, folder: Path, name: str, *, shown: bool
) -> Iterator[ProjectLayer]:
    source = _place(band.asset, folder)
    if band.geobox is None or band.geobox.crs is None or ILLEGAL.search(source):
        return  # XML has no way to name such a file
    if band.name == "TCI":
        drawn = E.rasterrenderer(
            type="multibandcolor", opacity="1", alphaBand="-1", redBand="1", greenBand="2", blueBand="3"
        )
    else:
        numbers = [v * band.quantification - band.offset for v in limits] if limits else [0.0, 1.0]
        # Where no limits are known, QGIS takes them from what is on the screen
        origin = ("None", "WholeRaster") if limits else ("CumulativeCut", "UpdatedCanvas")
        drawn = E.rasterrenderer(
            E.minMaxOrigin(
                E.limits(origin[0]), E.extent(origin[1]), E.statAccuracy("Estimated"), E.cumulativeCutLower("0.005"),
                E.cumulativeCutUpper("0.995"), E.stdDevFactor("2"),
            ),
            E.contrastEnhancement(
                E.minValue(f"{numbers[0]:.6g}"), E.maxValue(f"{numbers[1]:.6g}"),
                E.algorithm("StretchToMinimumMaximum"),
            ),
            type="singlebandgray", opacity="1", alphaBand="-1", grayBand=str(band.index), gradient="BlackToWhite",
        )  # fmt: skip
    nodata = [] if band.nodata is None else [E.noDataRange(min=f"{band.nodata:g}", max=f"{band.nodata:g}")]
    count = (1, 2, 3) if band.name == "TCI" else (band.index,)
    facts = [
        E.pipe(E.provider(E.resampling(enabled="false")), drawn, E.brightnesscontrast(), E.huesaturation(),
               E.rasterresampler()),
        E.noData(*(E.noDataList(*map(_copy, nodata), bandNo=str(n), useSrcNoData="1") for n in count)),
        E.abstract(_legal(scene.id)),
    ]  # fmt: skip
    yield ProjectLayer(name, source, "gdal", str(band.geobox.crs), shown, facts)


def _maplayer(key: str, layer: ProjectLayer) -> etree._Element:
    kind = {"type": "vector", "geometry": layer.geometry} if layer.geometry else {"type": "raster"}
    made: etree._Element = E.maplayer(
        E.id(key),
        E.datasource(layer.source),
        E.layername(_legal(layer.name)),
        E.srs(_srs(layer.crs)),
        E.provider(layer.provider, encoding="UTF-8") if layer.geometry else E.provider(layer.provider),
        *layer.facts,
        autoRefreshEnabled="0", hasScaleBasedVisibilityFlag="0", styleCategories="AllStyleCategories", **kind,
    )  # fmt: skip
    return made


def _srs(crs: str) -> etree._Element:
    from pyproj import CRS

    known = CRS.from_user_input(crs)
    authority = known.to_authority()
    made: etree._Element = E.spatialrefsys(
        E.wkt(known.to_wkt()),
        E.authid(":".join(authority) if authority else ""),
        E.description(known.name),
        E.geographicflag("true" if known.is_geographic else "false"),
    )
    return made


def _extent(pair: Pair, crs: str) -> etree._Element:
    """Enclose what both images show."""
    from pyproj import Transformer

    bounds = (0.0, 0.0, 1.0, 1.0)
    if pair.overlap:
        bounds = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform_bounds(*pair.overlap.polygon.bounds)
    west, south, east, north = bounds
    room = ROOM * max(east - west, north - south)
    values = {"xmin": west - room, "ymin": south - room, "xmax": east + room, "ymax": north + room}
    made: etree._Element = E.extent(*(getattr(E, name)(f"{value:.3f}") for name, value in values.items()))
    return made


def _place(asset: Asset, folder: Path) -> str:
    """Name an asset as QGIS opens it; absolute in a zip of another suffix: its braces for GDAL cannot be relative."""
    if asset.member is None:
        return _relative(asset.path, folder)
    if asset.path.suffix.lower() != ".zip":
        return asset.gdal
    return f"/vsizip/{_relative(asset.path, folder)}/{asset.member}"


def _relative(path: Path, folder: Path) -> str:
    """Name a path from the project, as QGIS marks it: with dots at the beginning; absolute where there is no way."""
    path = path.resolve()
    try:
        way = Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive
        return path.as_posix()
    return way if way.startswith("../") else f"./{way}"


def _title(pair: Pair, summary: Summary) -> str:
    doubt = "  doubtful" if summary.doubtful else ""
    return _legal(f"{_date(pair.left)} → {_date(pair.right)}{doubt}  {pair.id}")


def _date(scene: Scene) -> str:
    return f"{scene.sensing_time:%Y-%m-%d}" if scene.sensing_time else scene.name


def _legal(text: str) -> str:
    return ILLEGAL.sub("\ufffd", text)


def _checked(value: bool) -> str:
    return "Qt::Checked" if value else "Qt::Unchecked"


def _bit(value: bool) -> str:
    return "1" if value else "0"


def _copy(element: etree._Element) -> etree._Element:
    return etree.fromstring(etree.tostring(element))
