"""What is read for a name: one band, the mean of colours, or what is computed from several, window by window.

Indices are made of true reflectance, (DN + offset) / quantification, where the product or the file says how: of raw
numbers they would differ by season.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import cv2
import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from sentinel_match.errors import DamagedImage, MissingBand
from sentinel_match.geometry.grids import ground_resolution, on_lattice, plain
from sentinel_match.products.header import read_header
from sentinel_match.products.scene import NIR, band_name
from sentinel_match.raster.jp2 import Window, check_size, read_mask, read_rasterio
from sentinel_match.raster.resample import Pixels, strips
from sentinel_match.wording import in_words

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from sentinel_match.products.scene import Band, Scene

log = logging.getLogger(__name__)

INDEX_BANDS = {"NDVI": ("B08", "B04"), "NDWI": ("B03", "B08"), "NDSI": ("B03", "B11")}
"""Normalised differences, (first - second) / (first + second): Rouse et al. 1974; McFeeters 1996; Hall et al. 1995."""
COMPONENT = "PCA"
"""First principal component: of the four 10 m bands, of a true-colour image's channels, else of all bands there are."""
TEN_METRES = ("B02", "B03", "B04", "B08")
GRADIENT = "-gradient"
"""Suffix of any name: the magnitude of its gradient, which an inverted contrast leaves as it is."""
NOT_GROUND = {"TCI", "AOT", "WVP", "SCL"}
"""Images of a product that are no reflectance."""
NO_VALUE = 1e30
"""No image has values as large: what fills rasters of floats where nothing was seen is near the largest one."""
COMPONENT_SAMPLE = (5, 256)
"""The component is that of 5 x 5 windows of 256 pixels: a fifth of a tile's JPEG 2000 tiles are decoded for it."""

Formula: TypeAlias = "Callable[[NDArray[np.float32]], Pixels]"
"""(K, rows, cols) values of the parts to (rows, cols)."""


@dataclass(frozen=True)
class Source:
    """Reflectance of one band, or the mean of three channels, window by window."""

    bands: tuple[Band, ...]
    grid: GeoBox
    """Of the file; plain pixels without a CRS, where it has no georeference."""

    def target(self, resolution: float | None) -> GeoBox:
        """Lay out the band's grid at a resolution; its own where that is plain and differs by less than 0.1 %."""
        return _at(self.grid, resolution)

    def read(self, window: Window) -> Pixels:
        """Read any window of the grid; NaN outside the file and where all channels are no-data."""
        part = inside(window, tuple(self.grid.shape))
        total = np.zeros((part.height, part.width), np.float32)
        known = np.zeros(total.shape, np.bool_)
        for band in self.bands if total.size else ():
            numbers = read_rasterio(band.asset, part, index=band.index)
            if band.palette:
                numbers = _brightness(band, numbers)
            known |= _is_known(band, numbers)
            if numbers.dtype.kind == "c":
                numbers = np.abs(numbers)
            with np.errstate(over="ignore"):  # of what is no data in float64
                numbers = numbers.astype(np.float32)
            numbers += np.float32(band.offset)
            numbers /= np.float32(band.quantification)
            total += numbers
        if len(self.bands) > 1:
            total /= len(self.bands)
        first = self.bands[0]
        if first.alpha is not None and total.size:
            known &= read_rasterio(first.asset, part, index=first.alpha) != 0
        if first.is_masked and total.size:
            known &= read_mask(first.asset, part, first.index)
        total[~known] = np.nan
        return around(total, part, window)


@dataclass(frozen=True)
class Computed:
    """What a formula makes of several sources on one grid, window by window."""

    parts: tuple[Source | Computed, ...]
    grid: GeoBox
    """The coarsest part's, or that at the resolution asked for: finer parts come to it by block means."""
    formula: Formula
    margin: int = 0
    """Pixels around a window that the formula needs to see."""

    @property
    def bands(self) -> tuple[Band, ...]:
        """List all that is read."""
        return tuple(band for part in self.parts for band in part.bands)

    def target(self, resolution: float | None) -> GeoBox:
        """See :meth:`Source.target`."""
        return _at(self.grid, resolution)

    def read(self, window: Window) -> Pixels:
        """Read any window of the grid; NaN outside and wherever a part it depends on is not known."""
        part, m = inside(window, tuple(self.grid.shape)), self.margin
        if not part.height * part.width:
            return around(np.zeros((part.height, part.width), np.float32), part, window)
        wide = Window(part.row - m, part.col - m, part.height + 2 * m, part.width + 2 * m)
        values = self.formula(self.stack(wide))
        return around(values[m : m + part.height, m : m + part.width], part, window)

    def stack(self, window: Window) -> NDArray[np.float32]:
        """Stack (K, rows, cols) of all parts on the grid."""
        return np.stack([self._on_grid(source, window) for source in self.parts])

    def _on_grid(self, source: Source | Computed, window: Window) -> Pixels:
        if source.grid == self.grid:
            return source.read(window)
        part = inside(window, tuple(self.grid.shape))
        rows = [strip for _, strip in strips(source.read, source.grid, self.grid[part.roi])]
        return around(np.vstack(rows), part, window)


def source_of(scene: Scene, name: str, resolution: float | None = None) -> Source | Computed:
    """Find what to read for a name.

    Args:
        scene: the product.
        name: a band (``B04``; ``1`` in a loose raster); ``TCI`` or ``RGB`` (the first three bands of a loose image),
            the mean of their channels; ``NDVI``, ``NDWI``, ``NDSI``; ``PCA``, see :data:`COMPONENT`, with the sign that
            makes bright ground bright; any of these with ``-gradient``, the magnitude of the gradient per pixel. A band
            of that name in the file goes before a computed one.
        resolution: metres; where a band is there in several, the coarsest file that is fine enough is read, and
            indices and gradients are computed at this resolution. Default: that of the coarsest band needed.

    Raises:
        MissingBand: the scene has no such band, or not all that an index needs.
        DamagedImage: a file cannot be opened, or is shorter than it should be.
    """
    if not scene.level:
        _tell_notes(scene.id, scene.path, scene.notes)
    if name.lower().endswith(GRADIENT):
        base = source_of(scene, name[: -len(GRADIENT)], resolution)
        return Computed((base,), base.target(resolution), _gradient, margin=1)
    name = name.upper()
    if any(band.name.upper() == name for band in scene.bands):
        return _band(scene, name, resolution)
    if name in INDEX_BANDS:
        needed = _index_bands(scene, name)
        if missing := [band for band in needed if not _has(scene, band)]:
            raise MissingBand(scene.id, f"{missing[0]} for {name}", available(scene))
        return _computed(tuple(_band(scene, b, resolution) for b in needed), resolution, _normalised_difference)
    if name == COMPONENT:
        parts = _of_component(scene, resolution)
        if len(parts) < 2:
            raise MissingBand(scene.id, "besides the one for PCA", available(scene))
        component = _computed(parts, resolution, _normalised_difference)
        return replace(component, formula=_first_component(component))
    return _band(scene, name, resolution)


def is_reflectance(scene: Scene, source: Source | Computed) -> bool:
    """Tell whether what is read is known to be reflectance: by the product, the file, or the maker of a delivery."""
    by_product = bool(scene.level) and not NOT_GROUND & {band.name for band in source.bands}
    return isinstance(source, Source) and (by_product or all(band.is_reflectance for band in source.bands))


@lru_cache(maxsize=4096)
def _tell_notes(name: str, _path: Path, notes: tuple[str, ...]) -> None:
    """Warn, once a process, of what a user should know of an image before it is read."""
    for note in notes:
        log.warning("%s: %s", name, note)


def band_names(text: str) -> tuple[str, ...]:
    """Split a list like ``B04,b8,red,NDVI-gradient`` into names as :func:`source_of` takes them, each once.

    Raises:
        ValueError: there is none.
    """
    names = [part.strip() for part in text.split(",") if part.strip()]
    if not names:
        raise ValueError(f"{text!r} names no band: give names such as B04 or NDVI, with commas between them")
    tidy = [_tidy(n[: -len(GRADIENT)]) + GRADIENT if n.lower().endswith(GRADIENT) else _tidy(n) for n in names]
    return tuple(dict.fromkeys(tidy))


def _tidy(name: str) -> str:
    """Name a band as Sentinel-2 does, but for the near infrared, which each scene has by a name of its own."""
    return NIR if name.upper() == NIR else band_name(name)


def available(scene: Scene) -> tuple[str, ...]:
    """List the names that can be read: bands, then what can be computed of them (each also with ``-gradient``)."""
    names = _names(scene)
    computable = [name for name in INDEX_BANDS if all(_has(scene, band) for band in _index_bands(scene, name))]
    computed = [name for name in computable if name not in names]
    reflectance = [n for n in names if n not in NOT_GROUND]
    return (*names, *computed, *([COMPONENT] if len(reflectance) > 1 or "TCI" in names else []))


def _has(scene: Scene, name: str) -> bool:
    """Tell whether a scene has a band of that name, or one that is called so besides."""
    wanted = band_name(name)
    return any(wanted in {band_name(band.name), band_name(band.alias)} for band in scene.bands)


def _names(scene: Scene) -> tuple[str, ...]:
    return tuple(dict.fromkeys(band.name for band in scene.bands))


def _is_known(band: Band, numbers: NDArray[Any]) -> NDArray[np.bool_]:
    known: NDArray[np.bool_] = np.isfinite(numbers)
    if numbers.dtype.kind == "f":
        known &= np.abs(numbers) < NO_VALUE
    for value in (None if band.palette else band.nodata, band.also_nodata):
        if value is not None:
            known &= numbers != value
    return known


def _brightness(band: Band, numbers: NDArray[Any]) -> NDArray[np.float32]:
    """Look up the brightness of colours; NaN where one is transparent, declared as no data, or not there."""
    table = np.full(2 ** (8 * numbers.dtype.itemsize), np.nan, np.float32)
    table[: len(band.palette)] = band.palette
    if band.nodata is not None and 0 <= band.nodata < table.size:
        table[int(band.nodata)] = np.nan
    return np.asarray(table[numbers])


def _index_bands(scene: Scene, name: str) -> tuple[str, ...]:
    """List what an index needs: Landsat 8's near infrared is that of B8A, where there is no B08."""
    narrow = not _has(scene, "B08") and _has(scene, "B8A")
    return tuple("B8A" if band == "B08" and narrow else band for band in INDEX_BANDS[name])


def _at(grid: GeoBox, resolution: float | None) -> GeoBox:
    if resolution is None or (plain(grid) and math.isclose(resolution, ground_resolution(grid), rel_tol=1e-3)):
        return grid
    return on_lattice(grid, resolution)


def _band(scene: Scene, name: str, resolution: float | None) -> Source:
    if name == "RGB" and "TCI" not in _names(scene):
        bands = tuple(scene.band(channel) for channel in ("1", "2", "3"))
    else:
        bands = (scene.band("TCI" if name == "RGB" else name, resolution),)
    first = bands[0]
    check_size(first.asset)
    try:
        header = read_header(first.asset.gdal)
    except ValueError as error:
        raise DamagedImage(str(first.asset), f"it cannot be opened ({in_words(error)})") from error
    if first.name == "TCI" and header.count >= 3:
        # The plain mean (the I of HSI), because loose files store their channels in either order.
        bands = tuple(replace(first, index=first.index + i) for i in range(3))
    return Source(bands, first.geobox or GeoBox(header.shape, Affine.scale(1, -1), None))


def _computed(parts: tuple[Source, ...], resolution: float | None, formula: Formula) -> Computed:
    coarsest = max(parts, key=lambda part: ground_resolution(part.grid))
    return Computed(parts, coarsest.target(resolution), formula)


def _of_component(scene: Scene, resolution: float | None) -> tuple[Source, ...]:
    names = [name for name in _names(scene) if name not in NOT_GROUND]
    if len(names) < 2 and "TCI" in _names(scene):
        colours = _band(scene, "TCI", resolution)
        return tuple(replace(colours, bands=(channel,)) for channel in colours.bands)
    choice = TEN_METRES if {*TEN_METRES} <= {*names} else names
    return tuple(_band(scene, name, resolution) for name in choice)


def _normalised_difference(parts: NDArray[np.float32]) -> Pixels:
    """Divide the difference by the sum; NaN where that is not positive.

    Dark water has negative reflectance, and a ratio of noise says nothing.
    """
    first, second = parts
    total = first + second
    known = total > 0
    index = np.full(total.shape, np.nan, np.float32)
    np.divide(first - second, total, out=index, where=known)
    return np.asarray(index.clip(-1, 1))


def _gradient(parts: NDArray[np.float32]) -> Pixels:
    """Compute Sobel's magnitude in units per pixel; NaN where any of the 3 x 3 is."""
    pixels = parts[0]
    dx, dy = (cv2.Sobel(pixels, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    whole = cv2.erode(np.isfinite(pixels).astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.where(whole > 0, np.hypot(dx, dy), np.nan).astype(np.float32)


def _first_component(of: Computed) -> Formula:
    """Make the formula, whose weights are found at the first read, so that naming an image decodes nothing."""

    @cache
    def weights() -> NDArray[np.float32]:
        count, side = COMPONENT_SAMPLE
        rows, cols = of.grid.shape
        tops, lefts = (np.linspace(0, max(0, n - side), count).astype(int) for n in (rows, cols))
        windows = [Window(t, s, min(side, rows), min(side, cols)) for t in tops.tolist() for s in lefts.tolist()]
        values = np.hstack([of.stack(window).reshape(len(of.parts), -1) for window in windows])
        values = values[:, np.isfinite(values).all(0)]
        if values.shape[1] < 2:
            return np.full(len(of.parts), 1 / len(of.parts), np.float32)
        axis = np.linalg.eigh(np.cov(values))[1][:, -1]
        return np.asarray(axis * (1 if axis.sum() >= 0 else -1), np.float32)

    return lambda parts: np.asarray(np.tensordot(weights(), parts, 1), np.float32)


def inside(window: Window, shape: tuple[int, ...]) -> Window:
    """Cut a window to the part inside an image."""
    (top, bottom), (left, right) = (
        (min(max(s.start, 0), n), min(max(s.stop, 0), n)) for s, n in zip(window.roi, shape, strict=True)
    )
    return Window(top, left, bottom - top, right - left)


def around(pixels: Pixels, part: Window, window: Window) -> Pixels:
    """Fill the whole window, with NaN around the part of it inside the image."""
    if part == window:
        return pixels
    whole = np.full((window.height, window.width), np.nan, np.float32)
    if pixels.size:
        whole[Window(part.row - window.row, part.col - window.col, part.height, part.width).roi] = pixels
    return whole
