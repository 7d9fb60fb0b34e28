"""Parts of a QGIS project, written without QGIS: layers, groups, the file itself.

The form is that of QGIS 3.22 (``QgsProject::writeProjectFile``, ``QgsMapLayer::writeLayerXml``); later ones read it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from lxml import etree
from lxml.builder import E

from sentinel_match.atomic import whole
from sentinel_match.cache import digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

QGIS = "3.22.0"
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


@dataclass(frozen=True)
class LayerGroup:
    """Layers that a user switches on and off together."""

    name: str
    layers: Sequence[ProjectLayer]
    shown: bool


def document(title: str, groups: Iterable[LayerGroup], crs: str, bounds: Sequence[float]) -> etree._Element:
    """Make a project.

    Args:
        title: what a window says.
        groups: from the top.
        crs: of the map.
        bounds: west, south, east, north of the first view, in that CRS.
    """
    tree, layers = getattr(E, "layer-tree-group")(E.customproperties()), E.projectlayers()
    for k, one in enumerate(groups):
        group = getattr(E, "layer-tree-group")(
            E.customproperties(), name=legal(one.name), checked=_checked(one.shown), expanded=_bit(one.shown)
        )
        for n, layer in enumerate(one.layers):
            key = f"pair{k + 1}_{n + 1}_{layer.provider}"
            group.append(
                getattr(E, "layer-tree-layer")(
                    E.customproperties(),
                    id=key, name=legal(layer.name), source=layer.source, providerKey=layer.provider,
                    checked=_checked(layer.shown), expanded="0",
                )
            )  # fmt: skip
            layers.append(_maplayer(key, layer))
        tree.append(group)
    values = zip(("xmin", "ymin", "xmax", "ymax"), bounds, strict=True)
    made: etree._Element = E.qgis(
        E.homePath(path=""),
        E.title("sentinel_match: " + legal(title)),
        E.projectCrs(_srs(crs)),
        tree,
        E.mapcanvas(
            E.units("meters"), E.extent(*(getattr(E, name)(f"{value:.3f}") for name, value in values)),
            E.rotation("0"), E.destinationsrs(_srs(crs)),
            name="theMapCanvas", annotationsVisible="1",
        ),
        layers,
        projectname="sentinel_match: " + legal(title),
        version=QGIS,
    )  # fmt: skip
    return made


def write(made: etree._Element, path: Path) -> None:
    """Write a project, unless it is there of these results; one that a user has saved since is kept as ``PATH~``.

    Raises:
        OutputError: it cannot be written.
    """
    mark = digest({"project": etree.tostring(made, encoding="unicode")})
    if _mark(path) == mark:
        return
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


def _mark(path: Path) -> str | None:
    """Read of which results a project is, also after QGIS has saved it."""
    try:
        return etree.parse(path, parser()).findtext("properties/SentinelMatch/Results")
    except (OSError, etree.XMLSyntaxError):
        return None


def parser() -> etree.XMLParser:
    """Make a parser that fetches nothing."""
    return etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True)


def _maplayer(key: str, layer: ProjectLayer) -> etree._Element:
    kind = {"type": "vector", "geometry": layer.geometry} if layer.geometry else {"type": "raster"}
    made: etree._Element = E.maplayer(
        E.id(key),
        E.datasource(layer.source),
        E.layername(legal(layer.name)),
        E.srs(_srs(layer.crs)),
        E.provider(layer.provider, encoding="UTF-8") if layer.geometry else E.provider(layer.provider),
        *layer.facts,
        autoRefreshEnabled="0", hasScaleBasedVisibilityFlag="0", styleCategories="AllStyleCategories", **kind,
    )  # fmt: skip
    return made


def _srs(crs: str) -> etree._Element:
    wkt, authority, name, is_geographic = _facts(crs)
    made: etree._Element = E.spatialrefsys(
        E.wkt(wkt), E.authid(authority), E.description(name), E.geographicflag("true" if is_geographic else "false")
    )
    return made


@cache
def _facts(crs: str) -> tuple[str, str, str, bool]:
    """Look up what a project says of a CRS: each layer of it says it again."""
    from pyproj import CRS

    known = CRS.from_user_input(crs)
    return known.to_wkt(), ":".join(known.to_authority() or ()), known.name, known.is_geographic


def relative(path: Path, folder: Path) -> str:
    """Name a path from the project, as QGIS marks it: with dots at the beginning; absolute where there is no way."""
    path = path.resolve()
    try:
        way = Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive
        return path.as_posix()
    return way if way.startswith("../") else f"./{way}"


def legal(text: str) -> str:
    """Write a text as XML can say it."""
    return ILLEGAL.sub("\ufffd", text)


def _checked(value: bool) -> str:
    return "Qt::Checked" if value else "Qt::Unchecked"


def _bit(value: bool) -> str:
    return "1" if value else "0"
