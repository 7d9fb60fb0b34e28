"""A located picture as files: a map, its control points, the tie points, footprints, a record and a figure."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import rasterio
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from sentinel_match import memory
from sentinel_match.atomic import whole_folder
from sentinel_match.errors import OutputError, TooLarge
from sentinel_match.formats.gcps import write_picture_points
from sentinel_match.formats.geojson import dumps, write_collection
from sentinel_match.formats.write import write, write_style
from sentinel_match.geometry.footprint import Footprint
from sentinel_match.geometry.grids import on_lattice
from sentinel_match.images.figure import overlays
from sentinel_match.images.source import picture_band
from sentinel_match.raster.bands import Source, source_of
from sentinel_match.raster.jp2 import Window, read_rasterio
from sentinel_match.raster.resample import strips
from sentinel_match.stack.warp import corrected, move_by

if TYPE_CHECKING:
    from pathlib import Path

    from odc.geo.geobox import GeoBox

    from sentinel_match.locating.location import Location
    from sentinel_match.raster.resample import Pixels

MARK, MAP = "locate.json", "picture.tif"
"""The record, and a folder with it is one of ours; the picture on the ground."""
CHECK = "check"
"""Folder of a run that matches the map with its scene."""
FIGURE_PIXELS = 900
"""Longer side of each half of the figure."""
BYTES_A_PIXEL = 16
"""Of the disk and the memory, a pixel and band, at most."""


def deliver(location: Location, folder: Path) -> list[Path]:
    """Write what was found: the folder appears whole or not at all; of a picture that is not found the record alone.

    ``picture.tif`` is the picture on a north-up grid in the scene's CRS, interpolated once; ``picture.points`` are its
    control points for QGIS and ``picture.vrt`` for GDAL; ``tiepoints.geojson`` and ``tiepoints.gpkg`` the points with
    all that is known of them; ``footprint.geojson`` the ground of the picture and of the candidates' scenes;
    ``overlay.png`` shows scene (red) and picture (cyan) together, and as a checkerboard; ``locate.json`` is the record.

    Args:
        location: what was found.
        folder: a new one, an empty one, or one of a former call.

    Returns:
        What was written.

    Raises:
        OutputError: the folder is somebody else's, or cannot be written.
    """
    rows, cols = location.candidates[0].grid.shape if location.found else (0, 0)
    size = BYTES_A_PIXEL * rows * cols * len(location.picture.bands)
    with whole_folder(folder, MARK, size) as unfinished:
        if location.found:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)  # that the picture has none is known
                _write_ground(location, unfinished)
        record = json.dumps(json.loads(dumps(location.to_dict())), indent=1, ensure_ascii=False)
        (unfinished / MARK).write_text(record + "\n", encoding="utf-8")
        names = sorted(path.name for path in unfinished.iterdir())
    return [folder / name for name in names]


def _write_ground(location: Location, folder: Path) -> None:
    """Write everything of a picture that was found."""
    best, result = location.candidates[0], location.measured
    assert result is not None  # noqa: S101 found pictures are measured
    ties, grid = result.ties, result.grid(best.grid)
    if ties is not None:
        write_picture_points(ties, folder / "picture.points")
        for name in ("picture.vrt", "tiepoints.geojson", "tiepoints.gpkg"):
            write(ties, folder / name)
        write_style(ties, folder / "tiepoints.geojson")
    target = on_lattice(grid, best.pixel_m)
    move = move_by(None if ties is None else ties.transform, target.crs, best.grid.crs)
    try:
        memory.require(BYTES_A_PIXEL * target.shape.y * target.shape.x * len(result.bands))
    except MemoryError as error:
        raise TooLarge(result.bands[0].asset.path, str(error), target.shape.y, target.shape.x) from error
    images = []
    for band in result.bands:
        source = Source((band,), best.grid)
        images.append(np.vstack([strip for _, strip in corrected(source.read, best.grid, target, move)]))
    first = result.bands[0]
    kind = read_rasterio(first.asset, Window(0, 0, 1, 1), index=first.index).dtype
    _write_map(folder / MAP, np.stack(images), target, kind)
    write_collection(_footprints(location, grid), folder / "footprint.geojson")
    _draw(folder / "overlay.png", np.mean(images[:3], axis=0), target, location)


def _write_map(path: Path, stack: Pixels, target: GeoBox, kind: np.dtype[Any]) -> None:
    """Write (bands, rows, cols) as a Cloud Optimized GeoTIFF of its type; of whole numbers the least is no data."""
    if kind.kind in "ui":
        limits = np.iinfo(kind)
        nodata: float = limits.min
        values = np.where(np.isnan(stack), nodata, np.clip(np.rint(stack), nodata + 1, limits.max)).astype(kind)
    else:
        values, nodata = stack.astype(np.float32), np.nan
    profile = {"driver": "COG", "compress": "deflate", "nodata": nodata, "dtype": values.dtype}
    rows, cols = target.shape
    place = {"crs": str(target.crs), "transform": target.affine}
    try:
        with rasterio.open(path, "w", width=cols, height=rows, count=len(values), **profile, **place) as out:
            if len(values) == 3 and kind == np.uint8:
                out.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
            out.write(values)
    except RasterioError as error:
        raise OutputError(path, f"GDAL gave up ({error}); is the disk full?") from error


def _footprints(location: Location, grid: GeoBox) -> dict[str, object]:
    """Draw the picture, and the scenes of the candidates."""
    picture = {
        "type": "Feature",
        "geometry": Footprint.from_geobox(grid).geojson(),
        "properties": {"what": "picture", **location.candidates[0].to_dict()},
    }
    scenes = [
        {
            "type": "Feature",
            "geometry": candidate.scene.footprint.geojson() if candidate.scene.footprint else None,
            "properties": {"what": "scene", "scene": candidate.scene.id, "probability": candidate.probability},
        }
        for candidate in location.candidates
    ]
    return {"type": "FeatureCollection", "features": [picture, *scenes]}


def _draw(path: Path, picture: Pixels, target: GeoBox, location: Location) -> None:
    """Draw scene and picture over one another: red and cyan, and squares of the one and the other."""
    scene = location.candidates[0].scene
    source = source_of(scene, picture_band(scene, None))
    times = max(1.0, max(target.shape) / FIGURE_PIXELS)
    small = target if times == 1 else target.zoom_out(times)
    ground = np.vstack([strip for _, strip in strips(source.read, source.grid, small)])
    there = np.asarray(cv2.resize(picture, small.shape[::-1], interpolation=cv2.INTER_AREA), np.float32)
    squares, colours = overlays(ground, there)
    shown = np.rint(255 * np.hstack([colours, squares])[..., ::-1])  # OpenCV has blue first
    done, data = cv2.imencode(".png", shown.astype(np.uint8))
    if not done:
        raise OutputError(path, "OpenCV could not draw it")
    path.write_bytes(data.tobytes())
