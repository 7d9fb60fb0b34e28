"""A QGIS project of a run: both images of each pair, stretched as the matcher saw them, under its tie points.

It is written without QGIS. Paths are relative, so the folder of results and the archives may move together. Vector
layers are drawn by the styles that lie in their GeoPackage, or beside their GeoJSON. A project that a user has saved
stays as it is until the results change; then it is kept as ``inspect.qgs~``.
"""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from lxml import etree
from lxml.builder import E

from sentinel_match.raster.bands import Source, band_names, source_of
from sentinel_match.raster.flags import Reason
from sentinel_match.report import qgis_overview
from sentinel_match.report.qgis_overview import OVERVIEW
from sentinel_match.report.qgis_xml import ILLEGAL, LayerGroup, ProjectLayer, document, legal, parser, relative, write
from sentinel_match.run_folder import GEOPACKAGE, MASKS_FILE, STYLE, TIES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sentinel_match.products.pair import Pair
    from sentinel_match.products.scene import Asset, Band, Scene
    from sentinel_match.run_folder import Run
    from sentinel_match.summary import Summary

log = logging.getLogger(__name__)

PROJECT = "inspect.qgs"
MOST_PAIRS = 12
"""Pairs in one project: each has some 13 layers, and QGIS opens all of them when it opens the project."""
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


def make(result: Run, out: Path) -> Path | None:
    """Write the project of a run, unless it is there for these results.

    Of many pairs it is an overview, and each pair has a project of its own, which loads its layers when it is opened.

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
        for name in (PROJECT, OVERVIEW):  # those of an earlier run would show what is no longer so
            (out / name).unlink(missing_ok=True)
        return None
    many = len(matched) > MOST_PAIRS
    qgis_overview.write(matched, out)
    for outcome in result.outcomes:
        own = out / outcome.id
        if many and outcome.summary:
            write(_document([(pairs[outcome.id], outcome.summary)], own.resolve()), own / PROJECT)
        else:
            (own / PROJECT).unlink(missing_ok=True)
    write(qgis_overview.document_of(matched, out.resolve()) if many else _document(matched, out.resolve()), path)
    return path


def _document(matched: Sequence[tuple[Pair, Summary]], folder: Path) -> etree._Element:
    """Make a project of some pairs in a folder, of which the first is seen at once: the others would lie over it."""
    groups = [
        LayerGroup(
            _title(pair, summary),
            [
                *_vectors(pair.id, summary.crs, folder),
                *qgis_overview.displacement_of(pair.id, folder),
                *_masks(pair.id, summary.crs, folder),
                *_images(pair, summary, folder),
            ],
            k == 0,
        )
        for k, (pair, summary) in enumerate(matched)
    ]
    crs = matched[0][1].crs
    return document(folder.name, groups, crs, _bounds(matched[0][0], crs))


def _vectors(pair: str, crs: str, folder: Path) -> Iterator[ProjectLayer]:
    """List the tie points of a pair: its GeoPackage, or its GeoJSON where there is none."""
    package = qgis_overview.home(pair, folder) / GEOPACKAGE
    if not package.exists():
        style = package.with_name(STYLE)
        facts = _style(style.read_bytes()) if style.exists() else []
        source = relative(package.with_name(TIES), folder)
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
            source = f"{relative(package, folder)}|layername={table}"
            yield ProjectLayer(name, source, "ogr", crs, table in SHOWN, facts, geometry)


def _style(qml: bytes) -> list[etree._Element]:
    """Read what a style says as parts of a layer; nothing where it is none: users save what they like."""
    try:
        return [part for part in etree.fromstring(qml, parser()) if part.tag != "layerGeometryType"]
    except etree.XMLSyntaxError as error:
        log.warning("a style is left out: %s", error.msg)
        return []


def _masks(pair: str, crs: str, folder: Path) -> Iterator[ProjectLayer]:
    """List why pixels of each image do not count, switched off."""
    path = qgis_overview.home(pair, folder) / MASKS_FILE
    for band, side in enumerate(("left", "right"), 1):
        if path.exists():
            entries = [
                E.paletteEntry(value=str(int(reason)), color=colour, alpha="150", label=reason.name.lower())
                for reason, colour in REASON_COLOURS.items()
            ]
            drawn = E.rasterrenderer(
                E.colorPalette(*entries), type="paletted", opacity="1", alphaBand="-1", band=str(band), nodataColor=""
            )
            source = relative(path, folder)
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
        E.abstract(legal(scene.id)),
    ]  # fmt: skip
    yield ProjectLayer(name, source, "gdal", str(band.geobox.crs), shown, facts)


def _bounds(pair: Pair, crs: str) -> tuple[float, ...]:
    """Enclose what both images show."""
    from pyproj import Transformer

    bounds = (0.0, 0.0, 1.0, 1.0)
    if pair.overlap:
        bounds = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform_bounds(*pair.overlap.polygon.bounds)
    west, south, east, north = bounds
    room = ROOM * max(east - west, north - south)
    return west - room, south - room, east + room, north + room


def _place(asset: Asset, folder: Path) -> str:
    """Name an asset as QGIS opens it; absolute in a zip of another suffix: its braces for GDAL cannot be relative."""
    if asset.member is None:
        return relative(asset.path, folder)
    if asset.path.suffix.lower() != ".zip":
        return asset.gdal
    return f"/vsizip/{relative(asset.path, folder)}/{asset.member}"


def _title(pair: Pair, summary: Summary) -> str:
    doubt = "  doubtful" if summary.doubtful else ""
    return legal(f"{_date(pair.left)} → {_date(pair.right)}{doubt}  {pair.id}")


def _date(scene: Scene) -> str:
    return f"{scene.sensing_time:%Y-%m-%d}" if scene.sensing_time else scene.name


def _copy(element: etree._Element) -> etree._Element:
    return etree.fromstring(etree.tostring(element))
