"""Decode one window of one band: rasterio and glymur behind one function type, bit-identical, never silent zeros.

A damaged JPEG 2000 that GDAL decodes with several threads comes back as zeros without an error, and zero is
Sentinel-2's no-data value. Here every call to GDAL stays inside one JPEG 2000 tile, where its preloading threads, the
cause, are never started; the parallelism is a small pool of our own with one dataset handle per thread. Other formats
are read block by block too: a whole truncated PNG comes back as zeros just so.
"""

from __future__ import annotations

import importlib
import os
import shutil
import tempfile
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import rasterio
import rasterio.windows
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError

from sentinel_match import memory
from sentinel_match.errors import DamagedImage, DecoderMissing
from sentinel_match.products.opening import RefusedRaster, offline, open_raster
from sentinel_match.scratch import scratch_folder
from sentinel_match.wording import in_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from sentinel_match.products.scene import Asset

DECODING_THREADS = min(4, os.cpu_count() or 1)
GEOTIFF_CHUNK = 1024
"""Side of what is decoded at once of a GeoTIFF, whose own blocks may be single rows, pixels."""

ASKED_FOR = 2**30
"""Bytes from which it is asked whether there is memory for them."""

_GDAL_OPTIONS = {
    "GDAL_NUM_THREADS": 1,  # the preloading of several blocks at once hides decoding errors
    "GDAL_CACHEMAX": 64 << 20,  # bytes; blocks are read once, so a cache only costs memory
    "GDAL_ERROR_ON_LIBJPEG_WARNING": "YES",  # a truncated JPEG is filled with grey otherwise
}


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels, in the frame of the level that is read."""

    row: int
    col: int
    height: int
    width: int

    @property
    def roi(self) -> tuple[slice, slice]:
        """Return it as slices (rows, cols), for an array or a GeoBox."""
        return slice(self.row, self.row + self.height), slice(self.col, self.col + self.width)


class Reader(Protocol):
    """Decodes one window of one band of a raster file."""

    def __call__(
        self,
        asset: Asset,
        window: Window | None = None,
        level: int = 0,
        index: int = 1,
        out: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """Decode the digital numbers, in the file's own type.

        Args:
            asset: the file, on disk or inside a zip.
            window: rows and columns of that level, inside the image; ``None`` reads everything.
            level: 0 is full resolution, ``r`` every 2^r-th sample of the wavelet pyramid (JPEG 2000 only), an image of
                ceil(rows / 2^r) by ceil(cols / 2^r) whose grid is :func:`level_geobox`.
            index: 1-based band inside the file.
            out: (height, width) array to decode into, e.g. a memory map.

        Returns:
            (height, width) array; ``out`` where it was given.

        Raises:
            DamagedImage: the file is truncated, or anything inside the window cannot be decoded.
            ValueError: the file has no such level, or the window is not inside the image.
        """
        ...


def level_geobox(geobox: GeoBox, level: int) -> GeoBox:
    """Lay out the grid of a reduced read.

    The wavelet's low-pass sample ``i`` of level ``r`` lies at the centre of the full-resolution pixel ``i * 2^r`` (ISO
    15444-1 annex F: even-indexed low-pass samples, symmetric filter), not at the centre of the 2^r pixels it replaces:
    half a coarse pixel, less half a fine one, up and left of what GDAL's geotransform of an overview says.
    """
    step = 1 << level
    rows, cols = (-(-n // step) for n in geobox.shape)
    phase = Affine.translation(-(step - 1) / 2, -(step - 1) / 2) * Affine.scale(step)
    return GeoBox((rows, cols), geobox.affine * phase, geobox.crs)


def check_size(asset: Asset) -> None:
    """Refuse a file shorter than its product's manifest promises, without opening it.

    Raises:
        DamagedImage: see above.
    """
    if asset.size is not None and asset.expected_size is not None and asset.size < asset.expected_size:
        raise DamagedImage(str(asset), f"it has only {asset.size:,} of {asset.expected_size:,} bytes")


def check(asset: Asset) -> None:
    """Refuse a file that is not what its product's manifest promises: decoders do not notice a flipped bit.

    Raises:
        DamagedImage: see above.
    """
    check_size(asset)
    if asset.checksum:
        asset.sha256()


def read_rasterio(
    asset: Asset, window: Window | None = None, level: int = 0, index: int = 1, out: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Decode with GDAL, any raster format: see :class:`Reader`. Tiles of the file are decoded in parallel."""
    check(asset)
    options = {"overview_level": level - 1} if level else {}
    with ExitStack() as stack:
        stack.enter_context(rasterio.Env(**_GDAL_OPTIONS, **offline()))
        dataset = stack.enter_context(_open(asset))
        if level and (not dataset.driver.startswith("JP2") or level > len(dataset.overviews(1))):
            raise ValueError(f"{asset} has no reduced level {level}")
        if level:
            dataset = stack.enter_context(_open(asset, **options))
        window = _inside(asset, window, dataset.shape)
        block, workers = dataset.block_shapes[index - 1], DECODING_THREADS
        if dataset.driver == "GTiff":
            block = tuple(max(1, GEOTIFF_CHUNK // n) * n for n in block)
        elif not dataset.driver.startswith("JP2"):
            workers = 1  # PNG and JPEG can only be decoded from their beginning
        if out is None:
            name = dataset.dtypes[index - 1]
            # numpy has no complex integers, and GDAL gives them as it gives complex numbers
            kind = np.dtype("complex64" if name.startswith("complex_int") else name)
            if (size := window.height * window.width * kind.itemsize) > ASKED_FOR:
                memory.require(size)
            out = np.empty((window.height, window.width), kind)
        parts = list(_parts(window, block))
        handles: SimpleQueue[Any] = SimpleQueue()
        handles.put(dataset)
        workers = max(1, min(workers, len(parts)))
        for _ in range(workers - 1):
            handles.put(stack.enter_context(_open(asset, **options)))

        def decode(part: Window) -> None:
            handle = handles.get()
            try:
                with rasterio.Env(**_GDAL_OPTIONS, **offline()):  # thread-local: it also keeps GDAL's errors off stderr
                    where = rasterio.windows.Window(part.col, part.row, part.width, part.height)
                    handle.read(index, window=where, out=out[_shift(part, window).roi])
            except RasterioError as error:
                raise _undecodable(asset, part, error) from error
            finally:
                handles.put(handle)

        with ThreadPoolExecutor(workers) as pool:
            for _ in pool.map(decode, parts):  # the first error cancels the parts that wait
                pass
    return out


def read_mask(asset: Asset, window: Window, index: int = 1) -> NDArray[np.bool_]:
    """Read where a mask of the file's own, inside it or beside it, says that a band has data.

    Raises:
        DamagedImage: the mask cannot be decoded.
    """
    with rasterio.Env(**_GDAL_OPTIONS), _open(asset) as dataset:
        where = rasterio.windows.Window(window.col, window.row, window.width, window.height)
        try:
            mask: NDArray[np.bool_] = dataset.read_masks(index, window=where) > 0
        except RasterioError as error:
            raise _undecodable(asset, window, error) from error
    return mask


def read_glymur(
    asset: Asset, window: Window | None = None, level: int = 0, index: int = 1, out: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Decode JPEG 2000 with OpenJPEG alone: see :class:`Reader`. A member of a zip is unpacked for each call.

    Raises:
        DecoderMissing: no OpenJPEG library is found.
    """
    check(asset)
    glymur = _glymur()
    # glymur warns of what it can live with and raises what it cannot, as many types (struct.error for a short header).
    with _on_disk(asset) as path, _silence():
        try:
            image = glymur.Jp2k(path)
            shape, markers = image.shape[:2], {s.marker_id: s for s in image.codestream.segment}
            size, coding = markers["SIZ"], markers["COD"]
        except Exception as error:
            raise DamagedImage(str(asset), f"it has no readable JPEG 2000 header ({error})") from error
        if level > coding.num_res:
            raise ValueError(f"{asset} has no reduced level {level}")
        step = 1 << level
        window = _inside(asset, window, tuple(-(-n // step) for n in shape))
        if out is None:
            out = np.empty((window.height, window.width), image.dtype)
        for part in _parts(window, (max(1, size.ytsiz // step), max(1, size.xtsiz // step))):
            rows, cols = (
                slice(s.start * step, min(s.stop * step, n), step) for s, n in zip(part.roi, shape, strict=True)
            )
            try:
                pixels = image[rows, cols]
            except Exception as error:
                raise _undecodable(asset, part, error) from error
            out[_shift(part, window).roi] = pixels.reshape(part.height, part.width, -1)[..., index - 1]
    return out


_: tuple[Reader, Reader] = (read_rasterio, read_glymur)  # mypy: both are readers


def _inside(asset: Asset, window: Window | None, shape: tuple[int, ...]) -> Window:
    rows, cols = shape
    window = window or Window(0, 0, rows, cols)
    if window.row < 0 or window.col < 0 or window.row + window.height > rows or window.col + window.width > cols:
        raise ValueError(f"{window} is not inside {asset}, which has {rows} x {cols} pixels")
    return window


def _parts(window: Window, block: tuple[int, ...]) -> Iterator[Window]:
    """Cut the window along the file's blocks, so that no part spans two."""
    (rows, cols), (height, width) = window.roi, block
    for row in range(rows.start // height * height, rows.stop, height):
        top, bottom = max(row, rows.start), min(row + height, rows.stop)
        for col in range(cols.start // width * width, cols.stop, width):
            left, right = max(col, cols.start), min(col + width, cols.stop)
            yield Window(top, left, bottom - top, right - left)


def _shift(part: Window, window: Window) -> Window:
    return Window(part.row - window.row, part.col - window.col, part.height, part.width)


def _undecodable(asset: Asset, part: Window, error: Exception) -> DamagedImage:
    detail = str(error.__cause__ or error).splitlines()[-1:] or [type(error).__name__]
    return DamagedImage(
        str(asset), f"its pixels near row {part.row}, column {part.col} cannot be decoded ({detail[0]})"
    )


@contextmanager
def _open(asset: Asset, **options: object) -> Iterator[Any]:
    with ExitStack() as stack:
        try:
            with _silence():
                dataset = stack.enter_context(open_raster(asset.gdal, **options))
        except (RasterioError, RefusedRaster) as error:
            raise DamagedImage(str(asset), f"it cannot be opened ({in_words(error)})") from error
        yield dataset


@contextmanager
def _on_disk(asset: Asset) -> Iterator[Path]:
    if asset.member is None:
        yield asset.path
        return
    with scratch_folder() as folder:
        path = folder / asset.name
        with asset.open() as packed, path.open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked, 1 << 20)
        yield path


_WARNINGS = threading.Lock()


@contextmanager
def _silence() -> Iterator[None]:
    """Ignore warnings of the two libraries; under a lock, because warning filters belong to the whole process."""
    with _WARNINGS, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@cache
def _glymur() -> Any:
    """Import glymur with an OpenJPEG: the one it finds itself, else the one inside rasterio's wheel.

    glymur looks for its library while ``glymur.lib.openjp2`` is imported, in a configuration file under
    ``XDG_CONFIG_HOME`` among other places; that is how it is told, with a folder that exists only meanwhile.
    """
    import glymur

    if glymur.version.openjpeg_version != "0.0.0":
        return glymur
    site = Path(rasterio.__file__).parent
    folders = (site.parent / "rasterio.libs", site / ".libs", site / ".dylibs")
    libraries = [path for folder in folders for path in sorted(folder.glob("*openjp2*"))]
    previous = os.environ.get("XDG_CONFIG_HOME")
    with tempfile.TemporaryDirectory() as folder, _silence():
        config = Path(folder, "glymur", "glymurrc")
        config.parent.mkdir()
        lines = "[library]\n" + "".join(f"openjp2: {p}\n" for p in libraries[:1]).replace("%", "%%")
        config.write_text(lines, encoding="locale")  # as glymur reads it: the name of a user may be in the path
        os.environ["XDG_CONFIG_HOME"] = folder
        try:
            importlib.reload(glymur.lib.openjp2)
            importlib.reload(glymur.version)
        finally:
            os.environ.pop("XDG_CONFIG_HOME")
            os.environ.update({"XDG_CONFIG_HOME": previous} if previous is not None else {})
    if glymur.version.openjpeg_version == "0.0.0":
        raise DecoderMissing()
    return glymur
