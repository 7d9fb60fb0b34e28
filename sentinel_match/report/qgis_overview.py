"""What a project shows of all pairs of a run: where they lie, how good they are, and their displacement as arrows.

OUT/inspect.gpkg   layers ``pairs`` and ``displacement``, of which a project of one pair shows its own
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import tostring

import numpy as np
import rasterio
import shapely
from lxml import etree
from pyproj import Transformer
from rasterio.errors import RasterioError

from sentinel_match.accuracy.requirement import LEVELS
from sentinel_match.atomic import whole
from sentinel_match.formats.fields import DISPLACEMENT
from sentinel_match.formats.geopackage import VectorLayer, write_layer
from sentinel_match.formats.qgis_style import arrows, exaggeration_for, outlines
from sentinel_match.report.qgis_xml import LayerGroup, ProjectLayer, document, relative

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from sentinel_match.products.pair import Pair
    from sentinel_match.summary import Summary

log = logging.getLogger(__name__)

OVERVIEW = "inspect.gpkg"
PAIRS_LAYER, DISPLACEMENT_LAYER = "pairs", "displacement"
ARROWS = 16
"""Along the longer side of a pair: as many as are told apart on a screen."""
LONLAT = "EPSG:4326"
VERDICTS = {"good": "#1a9641", "open": "#fdae61", "bad": "#d7191c"}
"""Of pairs, and the colours of their outlines."""


def write(matched: Sequence[tuple[Pair, Summary]], out: Path) -> None:
    """Write what projects show of all pairs, in longitude and latitude: they may lie in several zones.

    Raises:
        OutputError: it cannot be written.
    """
    with whole(out / OVERVIEW) as temporary:
        temporary.unlink()
        for layer in (_displacement(matched, out), _pairs(matched)):
            write_layer(temporary, layer, LONLAT, "GPKG")


def home(pair: str, folder: Path) -> Path:
    """Return the folder of a pair, for a project in it, or in that of the run."""
    return folder if folder.name == pair else folder / pair


def displacement_of(pair: str, folder: Path) -> Iterator[ProjectLayer]:
    """List the arrows of one pair, switched off, for a project in its folder or in that of the run."""
    path = home(pair, folder).parent / OVERVIEW
    if path.exists():
        only = pair.replace("'", "''")
        source = f"{relative(path, folder)}|layername={DISPLACEMENT_LAYER}|subset=\"pair\" = '{only}'"
        yield ProjectLayer("displacement", source, "ogr", LONLAT, False, [_arrows()], "Line")


def document_of(matched: Sequence[tuple[Pair, Summary]], folder: Path) -> etree._Element:
    """Make the project of many pairs: their outlines by verdict, their arrows and the acquisitions."""
    source = relative(folder / OVERVIEW, folder)
    rules = [(word, f"\"verdict\" = '{word}'", colour) for word, colour in VERDICTS.items()]
    outlined = _lxml(outlines(rules))
    tip = etree.Element("mapTip")
    tip.text = (
        '<b>[% "title" %]</b><br>[% "verdict" %], CE95 [% "ce95_m" %] m, [% "points" %] points<br>'
        'project: [% "project" %]'
    )
    layers = [
        ProjectLayer(
            "displacement", f"{source}|layername={DISPLACEMENT_LAYER}", "ogr", LONLAT, True, [_arrows()], "Line"
        ),
        ProjectLayer("pairs", f"{source}|layername={PAIRS_LAYER}", "ogr", LONLAT, True, [outlined, tip], "Polygon"),
    ]
    bounds = np.array([pair.overlap.polygon.bounds for pair, _ in matched if pair.overlap] or [(-180, -90, 180, 90)])
    first_view = (*bounds[:, :2].min(0), *bounds[:, 2:].max(0))
    return document(folder.name, [LayerGroup(f"{len(matched)} pairs", layers, True)], LONLAT, first_view)


def _pairs(matched: Sequence[tuple[Pair, Summary]]) -> VectorLayer:
    """Say of each pair where it lies and how good it is, and which project shows it."""
    columns: dict[str, list[Any]] = {}
    outlines_of = []
    for pair, summary in matched:
        proof = summary.hold_out
        days = [f"{s.sensing_time:%Y-%m-%d}" if s.sensing_time else s.name for s in (pair.left, pair.right)]
        facts = {
            "pair": pair.id,
            "title": " → ".join(days),
            "verdict": _verdict(summary),
            "points": float(summary.inliers),
            "dx_m": summary.median_dx_m,
            "dy_m": summary.median_dy_m,
            "ce95_m": proof.ce95 if proof else np.nan,
            "model": summary.transform.kind,
            "project": f"{pair.id}/inspect.qgs",
        }
        for name, value in facts.items():
            columns.setdefault(name, []).append(value)
        outlines_of.append(pair.overlap.polygon if pair.overlap else shapely.Polygon())
    fields = {n: np.array(v, float if isinstance(v[0], float) else object) for n, v in columns.items()}
    shapes = np.array([shapely.MultiPolygon([o]) if o.geom_type == "Polygon" else o for o in outlines_of], object)
    return VectorLayer(PAIRS_LAYER, "Ground that both images of a pair show", "MultiPolygon", shapes, fields)


def _verdict(summary: Summary) -> str:
    """Say whether a pair is proven to meet the requirement of Sentinel-2 (good), does not (bad), or may."""
    required = LEVELS[0][0] * summary.gsd_m
    if summary.doubtful or (summary.hold_out and summary.hold_out.ce95_interval[0] > required):
        return "bad"
    return "good" if summary.hold_out and summary.hold_out.ce95_interval[1] <= required else "open"


def _displacement(matched: Sequence[tuple[Pair, Summary]], out: Path) -> VectorLayer:
    """Draw the displacement field of each pair as arrows, so much longer than they are that they are seen."""
    columns: dict[str, list[NDArray[Any]]] = {name: [] for name in ("pair", "dx_m", "dy_m", "times")}
    lines: list[NDArray[np.object_]] = []
    for pair, summary in matched:
        try:
            at, shift = _sampled(out / pair.id / DISPLACEMENT)
        except (RasterioError, OSError, ValueError) as error:
            log.warning("%s goes without arrows: %s", pair.id, error)
            continue
        longer = exaggeration_for(float(np.median(np.hypot(*shift.T))), float(np.ptp(at, 0).max())) if len(at) else 1.0
        to_lonlat = Transformer.from_crs(summary.crs, LONLAT, always_xy=True)
        ends = [np.stack(to_lonlat.transform(*place.T), 1) for place in (at, at + longer * shift)]
        lines.append(np.asarray(shapely.linestrings(np.stack(ends, 1)), object))
        facts = (np.full(len(at), pair.id, object), shift[:, 0], shift[:, 1], np.full(len(at), longer))
        for name, values in zip(columns, facts, strict=True):
            columns[name].append(values)
    fields = {name: np.concatenate(values) if values else np.zeros(0) for name, values in columns.items()}
    text = "Right minus left, metres, as many times longer as the column times says"
    shapes = np.concatenate(lines) if lines else np.zeros(0, object)
    return VectorLayer(DISPLACEMENT_LAYER, text, "LineString", shapes, fields)


def _sampled(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read (N, 2) places and (N, 2) shifts in metres of a displacement field, on a lattice as coarse as arrows need."""
    with rasterio.open(path) as file:
        step = max(1, -(-max(file.shape) // ARROWS))
        rows, cols = (np.arange(step // 2, n, step) for n in file.shape)
        values = file.read((1, 2))[:, rows[:, None], cols]
        x, y = file.transform * tuple(np.meshgrid(cols + 0.5, rows + 0.5))
    known = np.isfinite(values).all(0)
    return np.stack([x[known], y[known]], 1), np.stack([values[0][known], values[1][known]], 1).astype(float)


def _arrows() -> etree._Element:
    return _lxml(arrows("displacement, longer by the column times"))


def _lxml(element: Any) -> etree._Element:
    return etree.fromstring(tostring(element))
