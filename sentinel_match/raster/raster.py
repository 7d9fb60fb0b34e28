"""Pixels with validity on a grid: the reflectance of a band, the same on another grid, and a file of it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from sentinel_match import memory
from sentinel_match.errors import DamagedImage, NoGeoreference, OutputError
from sentinel_match.geometry.grids import ground_resolution, origin_of
from sentinel_match.products.scene import Asset
from sentinel_match.raster.bands import around, inside, source_of
from sentinel_match.raster.jp2 import Window, read_rasterio
from sentinel_match.raster.npy import release
from sentinel_match.raster.resample import strips
from sentinel_match.scratch import scratch_folder

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from sentinel_match.products.scene import Scene
    from sentinel_match.raster.resample import Pixels


ARRAY_ROWS = 512
"""Rows of an array that are warped at a time, about: they are copied first."""
DRIVER_OF_SUFFIX = {".tif": "COG", ".tiff": "COG", ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
"""GDAL's driver by suffix."""
DRIVER_OPTIONS: dict[str, dict[str, Any]] = {
    "COG": {"COMPRESS": "DEFLATE", "PREDICTOR": "YES", "OVERVIEW_RESAMPLING": "AVERAGE"},
    "PNG": {"WORLDFILE": "YES"},
    "JPEG": {"WORLDFILE": "YES", "QUALITY": 92, "INTERNAL_MASK": "NO"},
}


@dataclass(frozen=True, eq=False)
class Raster:
    """Pixels, which of them count, and where they are.

    Examples:
        >>> from sentinel_match import load, read_scene
        >>> raster = load(read_scene("LEFT.SAFE"), "B04").raster
        >>> str(raster.geobox.crs), raster.valid.all()
        ('EPSG:32633', ...)
    """

    pixels: NDArray[np.float32] | NDArray[np.float16]
    """(rows, cols); may be a memory map. Finite everywhere, without meaning where not valid."""
    valid: NDArray[np.bool_]
    """(rows, cols), ``True`` = valid."""
    geobox: GeoBox
    """Without a CRS for an image without georeference."""

    def crop(self, row: int, col: int, height: int, width: int) -> Raster:
        """Crop a rectangle inside it, as float32: a view, unless the pixels are float16, which are converted."""
        roi = Window(row, col, height, width).roi
        pixels = np.asarray(self.pixels[roi], np.float32)
        return Raster(pixels, np.asarray(self.valid[roi]), self.geobox[roi])


def read(
    scene: Scene,
    band: str = "B04",
    *,
    resolution: float | None = None,
    geobox: GeoBox | None = None,
    window: Window | None = None,
) -> Raster:
    """Read reflectance, (DN + offset) / quantification, float32; not valid where there is no data. Negative is kept.

    Args:
        scene: the product.
        band: a band, an index or a gradient: see :func:`sentinel_match.raster.bands.source_of`.
        resolution: metres (pixels without georeference), see :func:`~sentinel_match.geometry.grids.on_lattice`;
            default that of the finest file.
        geobox: the grid itself, instead of a resolution, in any CRS.
        window: part of that grid, which is all that is read.

    Raises:
        MissingBand: the scene has no such band.
        DamagedImage: its file cannot be decoded.
        NoGeoreference: a grid is asked for, and the image has none.
        MemoryError: the machine has no room for it.
    """
    source = source_of(scene, band, resolution if geobox is None else ground_resolution(geobox))
    if geobox is None:
        target = source.target(resolution)
    elif source.grid.crs is None:
        raise NoGeoreference(str(source.bands[0].asset))
    else:
        target = geobox
    if window is not None:
        target = target[window.roi]
    return _collected(strips(source.read, source.grid, target), target)


def warp(raster: Raster, geobox: GeoBox) -> Raster:
    """Bring a raster to another grid, by block means or one cubic warp: see ``raster.resample.strips``.

    Raises:
        NoGeoreference: the raster has none.
    """
    if raster.geobox.crs is None:
        raise NoGeoreference("An image to warp")

    def read_part(window: Window) -> Pixels:
        part = inside(window, raster.valid.shape)
        piece = raster.crop(part.row, part.col, part.height, part.width)
        known = np.where(piece.valid, piece.pixels, np.float32(np.nan))
        release(raster.pixels, raster.valid)
        return around(known, part, window)

    return _collected(strips(read_part, raster.geobox, geobox, ARRAY_ROWS), geobox)


def driver_of(path: Path) -> str:
    """Find what GDAL writes to a file of that name.

    Raises:
        OutputError: there is no format of that suffix.
    """
    driver = DRIVER_OF_SUFFIX.get(path.suffix.lower())
    if driver is None:
        raise OutputError(path, f"its suffix {path.suffix!r} is none of {', '.join(DRIVER_OF_SUFFIX)}")
    return driver


def write(raster: Raster, path: Path, limits: tuple[float, float] | None = None) -> None:
    """Write a raster for eyes and other programs; the suffix says how. A file that exists is replaced by a whole one.

    ``.tif`` is a Cloud Optimized GeoTIFF of the values as float32, with NaN as no-data. ``.png`` and ``.jpg`` are
    pictures: 0 where not valid, 1 to 255 between the limits, placed by a world file and an ``.aux.xml`` beside them.

    Args:
        raster: pixels, validity and grid; without a grid the file has no georeference.
        path: where to; folders are made.
        limits: values that become 1 and 255 in a picture; default the percentiles 0.5 and 99.5 of the valid pixels.

    Raises:
        OutputError: there is no format of that suffix, or the file cannot be written (permission, full disk).
    """
    driver = driver_of(path)
    pixels = _values(raster) if driver == "COG" else _picture(raster, limits)
    place = {} if raster.geobox.crs is None else {"crs": str(raster.geobox.crs), "transform": raster.geobox.affine}
    profile = {"driver": driver, "count": 1, "dtype": pixels.dtype, "nodata": np.nan if driver == "COG" else 0}
    rows, cols = pixels.shape
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # In a folder of its own, so that the files that GDAL puts beside it have their final names.
        with scratch_folder(path.parent) as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            target = folder / path.name
            with rasterio.open(
                target, "w", width=cols, height=rows, **profile, **place, **DRIVER_OPTIONS[driver]
            ) as file:
                file.write(pixels, 1)
            if not _holds(target, pixels, exact=driver != "JPEG"):
                raise OSError("it does not hold what was written: is the disk full?")
            for world in folder.glob("*.wld"):  # the name that no other picture of this stem has: .pgw, .jgw
                world.replace(world.with_suffix(f"{path.suffix[:2]}{path.suffix[-1]}w"))
            others = [file for file in folder.iterdir() if file != target]
            for file in [*others, target]:  # the image last: where it is, everything is
                file.replace(path.parent / file.name)
    except OSError as error:
        raise OutputError(path, error.strerror or str(error)) from error
    except Exception as error:  # GDAL's own errors come as many private types
        raise OutputError(path, f"GDAL gave up ({error}); is the disk full?") from error


def _holds(path: Path, pixels: NDArray[Any], *, exact: bool) -> bool:
    """Check that a file can be read back: GDAL does not notice that a full disk swallowed the end of what it wrote."""
    rows, cols = pixels.shape
    for top in range(0, rows, 1024):
        window = Window(top, 0, min(1024, rows - top), cols)
        try:
            stored = read_rasterio(Asset(path), window)
        except DamagedImage:
            return False
        if exact and not np.array_equal(stored, pixels[window.roi], equal_nan=stored.dtype.kind == "f"):
            return False
    return True


def _values(raster: Raster) -> NDArray[Any]:
    return np.where(raster.valid, np.asarray(raster.pixels, np.float32), np.float32(np.nan))


def _picture(raster: Raster, limits: tuple[float, float] | None) -> NDArray[Any]:
    picture = np.zeros(raster.valid.shape, np.uint8)
    values = np.asarray(raster.pixels[raster.valid], np.float32)
    if values.size:
        low, high = limits or (float(v) for v in np.percentile(values, (0.5, 99.5)))
        scale = 254 / (high - low) if high > low else 0.0
        picture[raster.valid] = np.rint(1 + np.clip((values - low) * scale, 0, 254))
    return picture


def _collected(parts: Iterable[tuple[int, Pixels]], target: GeoBox) -> Raster:
    shape = (target.shape.y, target.shape.x)
    memory.require(shape[0] * shape[1] * 5)
    pixels, valid = np.zeros(shape, np.float32), np.zeros(shape, np.bool_)
    for top, strip in parts:
        rows = slice(top, top + len(strip))
        valid[rows] = np.isfinite(strip)
        np.copyto(pixels[rows], strip, where=valid[rows])
    return Raster(pixels, valid, target)


def jointly_valid(a: Raster, b: Raster) -> np.ndarray:
    """Mark (rows, cols) of the left raster that are valid in both images at the same place on the ground."""
    row, col = (int(k) for k in np.subtract(origin_of(b.geobox), origin_of(a.geobox)))
    clear = np.zeros(a.valid.shape, bool)
    top, start = max(row, 0), max(col, 0)
    rows, cols = b.geobox.shape
    bottom, stop = min(row + rows, a.geobox.shape.y), min(col + cols, a.geobox.shape.x)
    if top < bottom and start < stop:
        for first in range(top, bottom, 1024):
            last = min(first + 1024, bottom)
            there = b.valid[first - row : last - row, start - col : stop - col]
            np.logical_and(a.valid[first:last, start:stop], there, out=clear[first:last, start:stop])
            release(a.valid, b.valid)
    return clear
