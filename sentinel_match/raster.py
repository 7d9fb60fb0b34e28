"""Pixels with validity on a grid: the reflectance of a band by :func:`read`, on any other grid by :func:`warp`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from sentinel_match.errors import DamagedImage, NoGeoreference
from sentinel_match.header import read_header
from sentinel_match.jp2 import Window, check_size, read_rasterio
from sentinel_match.resample import on_lattice, strips

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from sentinel_match.resample import Pixels
    from sentinel_match.scene import Band, Scene


@dataclass(frozen=True, eq=False)
class Raster:
    """Pixels, which of them count, and where they are."""

    pixels: NDArray[np.float32] | NDArray[np.float16]
    """(rows, cols); may be a memory map. Finite everywhere, without meaning where not valid."""
    valid: NDArray[np.bool_]
    """(rows, cols), ``True`` = valid."""
    geobox: GeoBox | None
    """``None`` for an image without georeference."""

    def crop(self, row: int, col: int, height: int, width: int) -> Raster:
        """A rectangle inside it, as float32: a view, unless the pixels are float16, which are converted."""
        roi = Window(row, col, height, width).roi
        pixels = np.asarray(self.pixels[roi], np.float32)
        return Raster(pixels, np.asarray(self.valid[roi]), None if self.geobox is None else self.geobox[roi])


def read(
    scene: Scene,
    band: str = "B04",
    *,
    resolution: float | None = None,
    geobox: GeoBox | None = None,
    window: Window | None = None,
) -> Raster:
    """Reflectance, (DN + offset) / quantification, float32; not valid where there is no data. Negative is kept.

    Args:
        scene: the product.
        band: ``B04``, …; ``TCI`` and ``RGB`` (the first three bands of a loose image) are the mean of their channels.
        resolution: metres (pixels without georeference), see :func:`~sentinel_match.resample.on_lattice`; default that
            of the finest file.
        geobox: the grid itself, instead of a resolution, in any CRS.
        window: part of that grid, which is all that is read.

    Raises:
        MissingBand: the scene has no such band.
        DamagedImage: its file cannot be decoded.
        NoGeoreference: a grid is asked for, and the image has none.
    """
    source = source_of(scene, band, resolution if geobox is None else abs(geobox.resolution.x))
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
    """A raster on another grid, by block means or one cubic warp: see :func:`sentinel_match.resample.strips`.

    Raises:
        NoGeoreference: the raster has none.
    """
    if raster.geobox is None:
        raise NoGeoreference("An image to warp")

    def part(window: Window) -> Pixels:
        inside = _inside(window, raster.valid.shape)
        piece = raster.crop(inside.row, inside.col, inside.height, inside.width)
        return _around(np.where(piece.valid, piece.pixels, np.float32(np.nan)), inside, window)

    return _collected(strips(part, raster.geobox, geobox), geobox)


@dataclass(frozen=True)
class Source:
    """Reflectance of one band, or the mean of three channels, window by window."""

    bands: tuple[Band, ...]
    grid: GeoBox
    """Of the file; plain pixels without a CRS, where it has no georeference."""

    def target(self, resolution: float | None) -> GeoBox:
        """The grid of the band at a resolution."""
        return self.grid if resolution is None else on_lattice(self.grid, resolution)

    def read(self, window: Window) -> Pixels:
        """Any window of the grid; NaN outside the file and where all channels are no-data."""
        inside = _inside(window, tuple(self.grid.shape))
        total = np.zeros((inside.height, inside.width), np.float32)
        known = np.zeros(total.shape, np.bool_)
        for band in self.bands if total.size else ():
            numbers = read_rasterio(band.asset, inside, index=band.index)
            known |= np.isfinite(numbers) if band.nodata is None else np.isfinite(numbers) & (numbers != band.nodata)
            total += (numbers.astype(np.float32) + np.float32(band.offset)) / np.float32(band.quantification)
        total /= len(self.bands)
        total[~known] = np.nan
        return _around(total, inside, window)


def source_of(scene: Scene, name: str, resolution: float | None = None) -> Source:
    """What to read for a band of that name: see :func:`read`.

    Raises:
        MissingBand, DamagedImage: see :func:`read`.
    """
    if name.upper() == "RGB" and all(b.name != "TCI" for b in scene.bands):
        bands = tuple(scene.band(channel) for channel in ("1", "2", "3"))
    else:
        bands = (scene.band("TCI" if name.upper() == "RGB" else name, resolution),)
    first = bands[0]
    check_size(first.asset)
    try:
        header = read_header(first.asset.gdal)
    except ValueError as error:
        raise DamagedImage(str(first.asset), f"it cannot be opened ({error})") from error
    if first.name == "TCI" and header.count >= 3:
        # The plain mean (the I of HSI), because loose files store their channels in either order.
        bands = tuple(replace(first, index=first.index + i) for i in range(3))
    return Source(bands, first.geobox or GeoBox(header.shape, Affine.scale(1, -1), None))


def _collected(parts: Iterable[tuple[int, Pixels]], target: GeoBox) -> Raster:
    shape = (target.shape.y, target.shape.x)
    pixels, valid = np.zeros(shape, np.float32), np.zeros(shape, np.bool_)
    for top, strip in parts:
        rows = slice(top, top + len(strip))
        valid[rows] = np.isfinite(strip)
        np.copyto(pixels[rows], strip, where=valid[rows])
    return Raster(pixels, valid, None if target.crs is None else target)


def _inside(window: Window, shape: tuple[int, ...]) -> Window:
    """The part of a window that is inside an image."""
    (top, bottom), (left, right) = (
        (min(max(s.start, 0), n), min(max(s.stop, 0), n)) for s, n in zip(window.roi, shape, strict=True)
    )
    return Window(top, left, bottom - top, right - left)


def _around(pixels: Pixels, inside: Window, window: Window) -> Pixels:
    """The whole window, with NaN around the part of it inside the image."""
    if inside == window:
        return pixels
    whole = np.full((window.height, window.width), np.nan, np.float32)
    if pixels.size:
        whole[Window(inside.row - window.row, inside.col - window.col, inside.height, inside.width).roi] = pixels
    return whole
