"""Images of many bands on one grid, block by block: rendered to scratch, finished as Cloud Optimized GeoTIFF.

Pixels are reflectance as float32, with NaN where there are none; masked ground keeps what it shows.
"""

from __future__ import annotations

import math
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.errors import RasterioError
from rasterio.windows import Window as Place

from sentinel_match.errors import OutputError
from sentinel_match.raster.flags import Reason
from sentinel_match.stack.warp import corrected, move_by, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from sentinel_match.geometry.transform import Transform
    from sentinel_match.products.scene import Scene
    from sentinel_match.raster.bands import Computed, Source
    from sentinel_match.raster.jp2 import Window
    from sentinel_match.raster.resample import Pixels
    from sentinel_match.stack.radiometry import Normalisation

BLOCK_ROWS = 512
"""Read and written at a time."""
NORMALISATION_PIXELS = 1_000_000
"""Pixels, about, that a normalisation is found from."""
GDAL_CACHE_BYTES = 128 << 20
"""Bytes of blocks that GDAL may keep."""
RIGHT_FACTOR = 16
"""Factor of the right image's reason in the second band of ``valid.tif``; the left one's is added."""


@dataclass(frozen=True, eq=False)
class StackSide:
    """One acquisition, and how it comes to the grid."""

    scene: Scene
    sources: tuple[Source | Computed, ...]
    """One a band."""
    transform: Transform | None
    """Metres of the grid to metres where this image shows that ground; ``None`` for the reference."""
    reasons: NDArray[np.uint8]
    """(rows, cols) of :class:`~sentinel_match.raster.flags.Reason`."""
    reasons_grid: GeoBox


def render(side: StackSide, target: GeoBox, path: Path, report: Callable[[int, int], None]) -> NDArray[np.uint8]:
    """Write all bands of an acquisition on a grid, each interpolated once from its own pixels.

    Args:
        side: what to show.
        target: the grid.
        path: scratch file, (K, rows, cols) float32.
        report: called with the number of bands that are done, and of all.

    Returns:
        (rows, cols) why a pixel is not valid; no-data where any band has none.

    Raises:
        DamagedImage: a file cannot be decoded.
        OutputError: the disk is full.
    """
    empty = np.zeros(target.shape, np.bool_)
    with created(path, target, len(side.sources), "float32", nodata=math.nan) as file:
        for k, source in enumerate(side.sources):
            report(k, len(side.sources))
            move = move_by(side.transform, target.crs, source.grid.crs)
            for top, strip in corrected(source.read, source.grid, target, move):
                empty[top : top + len(strip)] |= np.isnan(strip)
                file.write(strip, k + 1, window=_place(top, len(strip), target))
    move = move_by(side.transform, target.crs, side.reasons_grid.crs)
    codes = np.empty(target.shape, np.uint8)
    for top in range(0, target.shape.y, BLOCK_ROWS):
        part = slice(top, min(top + BLOCK_ROWS, target.shape.y))
        piece = nearest(side.reasons, side.reasons_grid, target[part, :], move, Reason.VALID)
        piece[piece == Reason.NODATA] = Reason.VALID  # masks are coarse: the pixels themselves say where there are none
        piece[empty[part]] = Reason.NODATA
        codes[part] = piece
    return codes


def write_valid(path: Path, left: NDArray[np.uint8], right: NDArray[np.uint8], target: GeoBox) -> None:
    """Write where both images are valid (band 1: 1 or 0), and why not (band 2: 16 * right reason + left reason)."""
    with created(path, target, 2, "uint8") as file:
        for top in range(0, target.shape.y, BLOCK_ROWS):
            a, b = left[top : top + BLOCK_ROWS], right[top : top + BLOCK_ROWS]
            place = _place(top, len(a), target)
            file.write(((a == Reason.VALID) & (b == Reason.VALID)).astype(np.uint8), 1, window=place)
            file.write(RIGHT_FACTOR * b + a, 2, window=place)


def sample(path: Path, clear: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Read (N, K) pixels of a scratch file, evenly spread over clear ground.

    They are about :data:`NORMALISATION_PIXELS` where the whole image is clear.
    """
    stride = max(1, round(math.sqrt(clear.size / NORMALISATION_PIXELS)))
    pieces = []
    with rasterio.Env(GDAL_CACHEMAX=GDAL_CACHE_BYTES), rasterio.open(path) as file:
        for row in range(0, clear.shape[0], stride):
            pixels = file.read(window=Place(0, row, clear.shape[1], 1))[:, 0, ::stride]
            pieces.append(pixels[:, clear[row, ::stride]].T)
    return np.concatenate(pieces)


def normalise(path: Path, normalisation: Normalisation, target: GeoBox) -> None:
    """Change the radiometry of a scratch file.

    Raises:
        OutputError: the disk is full.
    """
    with _writing(path), rasterio.Env(GDAL_CACHEMAX=GDAL_CACHE_BYTES), rasterio.open(path, "r+") as file:
        for k in range(file.count):
            for top in range(0, target.shape.y, BLOCK_ROWS):
                place = _place(top, min(BLOCK_ROWS, target.shape.y - top), target)
                file.write(normalisation(file.read(k + 1, window=place), k), k + 1, window=place)


def finish(scratch: Path, path: Path, bands: tuple[str, ...], unit: str, tags: Mapping[str, str]) -> None:
    """Make a Cloud Optimized GeoTIFF of a scratch file, which is removed, and compare the two.

    Args:
        scratch: what :func:`render` or :func:`write_valid` has written.
        path: the file to make.
        bands: their names.
        unit: of the bands' values.
        tags: of the file.

    Raises:
        OutputError: the disk is full.
    """
    with _writing(path), rasterio.Env(GDAL_CACHEMAX=GDAL_CACHE_BYTES):
        with rasterio.open(scratch, "r+") as file:
            file.update_tags(**tags)
            file.descriptions = bands
            if unit:
                file.units = [unit] * len(bands)
                file.scales, file.offsets = [1.0] * len(bands), [0.0] * len(bands)
            codes = file.dtypes[0] == "uint8"
        rasterio.shutil.copy(
            scratch,
            path,
            driver="COG",
            COMPRESS="DEFLATE",
            PREDICTOR="YES",
            OVERVIEW_RESAMPLING="NEAREST" if codes else "AVERAGE",
            BIGTIFF="IF_SAFER",
            NUM_THREADS="ALL_CPUS",
        )
        same = _same(scratch, path)
    if not same:
        raise OutputError(path, "it does not hold what was written: is the disk full?")
    scratch.unlink()


def strips(path: Path, index: int) -> Iterator[tuple[int, Pixels]]:
    """Yield (first row, full-width strip) of a band of a finished file."""
    with rasterio.open(path) as file:
        rows, cols = file.shape
        for top in range(0, rows, BLOCK_ROWS):
            yield top, file.read(index, window=Place(0, top, cols, min(BLOCK_ROWS, rows - top)))


@contextmanager
def windows(path: Path) -> Iterator[Callable[[int, Window], Pixels]]:
    """Open a finished file, to read any window of any of its bands, counted from 1."""
    with rasterio.Env(GDAL_CACHEMAX=GDAL_CACHE_BYTES), rasterio.open(path) as file:
        yield lambda index, window: file.read(index, window=Place.from_slices(*window.roi))


@contextmanager
def created(path: Path, target: GeoBox, count: int, dtype: str, nodata: float | None = None) -> Iterator[Any]:
    """Create a plain GeoTIFF to fill, and see that it has its whole size in the end.

    Raises:
        OutputError: it cannot be written: permission, full disk.
    """
    rows, cols = target.shape
    profile = {"width": cols, "height": rows, "count": count, "dtype": dtype, "nodata": nodata}
    place = {"crs": str(target.crs), "transform": target.affine}
    creation = {"driver": "GTiff", "interleave": "band", "blockysize": 64, "BIGTIFF": "IF_SAFER"}
    with _writing(path), rasterio.Env(GDAL_CACHEMAX=GDAL_CACHE_BYTES):
        with rasterio.open(path, "w", **profile, **place, **creation) as file:
            yield file
        # GDAL reports success for a file whose last bytes found no room
        if os.stat(path).st_size < rows * cols * count * np.dtype(dtype).itemsize:  # noqa: PTH116
            raise OutputError(path, "the disk is full")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except RasterioError as error:
        raise OutputError(path, f"GDAL gave up ({error}); is the disk full?") from error
    except OSError as error:
        raise OutputError(path, error.strerror or str(error)) from error


def _same(one: Path, other: Path) -> bool:
    with rasterio.open(one) as file:
        count = file.count
    try:
        return all(
            np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
            for k in range(1, count + 1)
            for (_, a), (_, b) in zip(strips(one, k), strips(other, k), strict=True)
        )
    except RasterioError:
        return False


def _place(top: int, rows: int, target: GeoBox) -> Any:
    return Place(0, top, target.shape.x, rows)
