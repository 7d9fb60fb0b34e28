"""Tie points as a GeoPackage in the pair's own CRS, with the styles that QGIS applies when it opens the file.

The table ``layer_styles`` is where QGIS keeps styles in a database. Tables hold the numbers unrounded; what is said of
the set as a whole is JSON in the metadata of the file, item ``sentinel_match`` (``ogrinfo -json`` shows it).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import shapely

from sentinel_match.atomic import whole
from sentinel_match.formats import qgis_style
from sentinel_match.formats.geojson import dumps
from sentinel_match.formats.header import FileHeader
from sentinel_match.tiepoints import COVERAGE_CELL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from sentinel_match.tiepoints import TiePoints

GEOMETRY = "geom"
GPKG_VERSION = "1.2"
"""Of the format: GDAL has read it since 2.2; newer ones bring nothing that is used here."""
METADATA = "sentinel_match"
"""Item of the file's metadata."""


class VectorLayer(NamedTuple):
    """One table of a file."""

    name: str
    description: str
    kind: str
    """``Point``, ``LineString`` …"""
    geometry: NDArray[np.object_]
    """(N,) shapely geometries in the CRS of the points."""
    fields: Mapping[str, NDArray[Any]]
    """(N,) each."""


def write_geopackage(ties: TiePoints, path: Path | str) -> None:
    """Write all there is about a pair, one layer a subject, styles inside.

    Layers: ``footprints``, ``coverage``, ``residuals``, ``matches``, ``rejected``, ``tiepoints``; ``footprints``
    is left out where both are of bare images.

    Raises:
        OutputError: the file could not be written.
    """
    shown = list(layers(ties))
    metadata = {METADATA: dumps(FileHeader.of(ties).to_dict())}
    with whole(path) as temporary:
        temporary.unlink()
        for layer in shown:
            write_layer(temporary, layer, ties.crs, "GPKG", metadata)
        _write_styles(temporary, {layer.name: style(ties, layer.name) for layer in shown})


def layers(ties: TiePoints) -> Iterator[VectorLayer]:
    """Make the layers of a pair, from the lowest to the topmost."""
    said, believed = ties.columns(), ties.inlier.astype(bool)
    said.setdefault("reason", np.full(len(ties), None, object))
    points = np.asarray(shapely.points(ties.left_xy), object)
    sides = [(name, scene) for name, scene in (("left", ties.left), ("right", ties.right)) if scene.footprint]
    if sides:
        facts_of = {
            "side": [name for name, _ in sides],
            "product": [scene.id for _, scene in sides],
            "tile": [scene.tile or None for _, scene in sides],
            "sensing_time": [s.sensing_time.isoformat() if s.sensing_time else None for _, s in sides],
        }
        outlines = [_multi(scene.footprint.to_crs(ties.crs)) for _, scene in sides if scene.footprint]
        fields = {name: np.array(values, object) for name, values in facts_of.items()}
        yield VectorLayer(
            "footprints", "Ground that each image shows", "MultiPolygon", np.array(outlines, object), fields
        )
    yield _coverage(ties)
    predicted = ties.transform(ties.left_xy)
    rest = ties.right_xy - predicted
    vectors = {"id": said["id"], "rx_m": rest[:, 0], "ry_m": rest[:, 1], "residual_m": np.hypot(*rest.T)}
    lines = _lines(predicted[believed], ties.right_xy[believed])
    text = "From where the model says to where the right image shows it, true length"
    yield VectorLayer("residuals", text, "LineString", lines, _of(vectors, believed))
    names = ("id", "dx_m", "dy_m", "shift_m", "azimuth_deg", "sigma_m", "score", "method")
    lines = _lines(ties.left_xy[believed], ties.right_xy[believed])
    text = "From the position in the left image to that in the right one, true length"
    yield VectorLayer("matches", text, "LineString", lines, _of({name: said[name] for name in names}, believed))
    for name, text, own in (
        ("rejected", "Measured points that are not believed, and why", ~believed),
        ("tiepoints", "Believed points at their position in the left image", believed),
    ):
        yield VectorLayer(name, text, "Point", points[own], _of(said, own))


def style(ties: TiePoints, layer: str) -> str:
    """Write the QML document of a layer, its exaggeration fitted to the pair."""
    extent = float(np.ptp(ties.left_xy, axis=0).max()) if len(ties) else 0.0
    own = ties.inlier.astype(bool)
    lengths = ties.residual_m if layer == "residuals" else np.hypot(*ties.shift.T)
    typical = float(np.median(lengths[own])) if own.any() else 1.0
    # Residuals are short and many: what shall be seen are the long ones
    typical *= 2 if layer == "residuals" else 1
    longer = qgis_style.exaggeration_for(typical, extent)
    return qgis_style.qml(layer, longer, ties.gsd, qgis_style.every_for(int(own.sum())))


def write_layer(
    path: Path, layer: VectorLayer, crs: str, driver: str, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a layer into a file by GDAL; beside the layers that are there.

    Raises:
        OSError: the disk is full, …
    """
    import pyogrio

    options = {"DESCRIPTION": layer.description, "GEOMETRY_NAME": GEOMETRY} if driver == "GPKG" else {}
    values = [np.ascontiguousarray(v) for v in layer.fields.values()]
    masks = [np.isnan(v) if v.dtype.kind == "f" else None for v in values]
    try:
        pyogrio.raw.write(
            path,
            np.asarray(shapely.to_wkb(layer.geometry), object),
            values,
            list(layer.fields),
            field_mask=masks,
            layer=layer.name,
            driver=driver,
            geometry_type=layer.kind,
            crs=crs,
            append=path.exists(),
            dataset_metadata=dict(metadata) if metadata else None,
            dataset_options={"VERSION": GPKG_VERSION} if driver == "GPKG" and not path.exists() else {},
            layer_options=options,
        )
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, pyogrio.errors.FeatureError) as error:
        raise OSError(str(error)) from error


def _write_styles(path: Path, documents: Mapping[str, str]) -> None:
    """Write the table from which QGIS takes the default style of each layer."""
    import pyogrio

    n = len(documents)
    text = {
        "f_table_catalog": [""] * n,
        "f_table_schema": [""] * n,
        "f_table_name": list(documents),
        "f_geometry_column": [GEOMETRY] * n,
        "styleName": list(documents),
        "styleQML": list(documents.values()),
        "styleSLD": [""] * n,
        "description": ["sentinel-match"] * n,
        "owner": [""] * n,
        "ui": [None] * n,
    }
    fields: dict[str, NDArray[Any]] = {name: np.array(values, object) for name, values in text.items()}
    fields["useAsDefault"] = np.ones(n, bool)
    fields["update_time"] = np.full(n, np.datetime64("now", "ms"))
    options = {"FID": "id", "DESCRIPTION": "Styles of QGIS"}
    # 100 is UTC, in quarters of an hour from there (OGR_F_SetFieldDateTime)
    pyogrio.raw.write(
        path, None, list(fields.values()), list(fields), layer="layer_styles", driver="GPKG", geometry_type=None,
        append=True, layer_options=options, gdal_tz_offsets={"update_time": np.full(n, 100)},
    )  # fmt: skip


def _coverage(ties: TiePoints) -> VectorLayer:
    """Count points in cells of a kilometre, counted from the origin of the CRS, that hold a measured point."""
    cells, own = np.unique(np.floor(ties.left_xy / COVERAGE_CELL), axis=0, return_inverse=True)
    own, believed = own.ravel(), ties.inlier.astype(bool)
    every, shift = ties.shift, np.full((len(cells), 2), np.nan)
    order = np.flatnonzero(believed)[np.argsort(own[believed], kind="stable")]
    parts = np.split(order, np.flatnonzero(np.diff(own[order])) + 1) if len(order) else []
    for part in parts:
        shift[own[part[0]]] = np.median(every[part], axis=0)
    low, high = cells * COVERAGE_CELL, (cells + 1) * COVERAGE_CELL
    fields = {
        "points": np.bincount(own[believed], minlength=len(cells)),
        "measured": np.bincount(own, minlength=len(cells)),
        "median_dx_m": shift[:, 0],
        "median_dy_m": shift[:, 1],
    }
    boxes = np.asarray(shapely.box(low[:, 0], low[:, 1], high[:, 0], high[:, 1]), object)
    return VectorLayer(
        "coverage", "Cells of 1 km: believed points, measured points, median shift", "Polygon", boxes, fields
    )


def _lines(start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.object_]:
    return np.asarray(shapely.linestrings(np.stack([start, end], 1)), object)


def _of(fields: Mapping[str, NDArray[Any]], own: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    return {name: values[own] for name, values in fields.items()}


def _multi(geometry: Any) -> Any:
    return shapely.MultiPolygon([geometry]) if geometry.geom_type == "Polygon" else geometry
