"""A scene as the search keeps it: one small description, made once from coarse pixels and kept in the cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from sentinel_match.errors import NoGeoreference
from sentinel_match.geometry.grids import affine_through, metric, transformed
from sentinel_match.images.source import picture_band
from sentinel_match.matching.orientation import LONGEST_SIDE, Described, describe
from sentinel_match.matching.view import View
from sentinel_match.raster.bands import Source, source_of
from sentinel_match.raster.jp2 import level_geobox, read_rasterio
from sentinel_match.raster.load import LIMIT_PERCENTILES
from sentinel_match.raster.resample import strips

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.cache import Cache
    from sentinel_match.products.scene import Asset, Scene
    from sentinel_match.raster.bands import Computed
    from sentinel_match.raster.resample import Pixels

OVERVIEW_VERSION = 5
"""Part of every recipe: raise it whenever other pixels are described."""
MOST_LEVELS = 5
"""Of a JPEG 2000 of Sentinel-2."""
SQUARE = 0.01
"""Logarithm of the ratio of a pixel's sides up to which it counts as square."""
EDGE_POINTS = 9
"""Points along each side at which a grid in degrees is brought to metres."""


@dataclass(frozen=True, eq=False)
class Overview:
    """What the search knows of a scene."""

    described: Described
    affine: Affine
    """Pixels of what is described to metres of :attr:`crs`."""
    crs: str

    @property
    def pixel_m(self) -> float:
        """Return the side of a pixel of what is described, metres."""
        return float(np.sqrt(abs(self.affine.determinant)))


def overview(scene: Scene, band: str | None, cache: Cache | None) -> Overview:
    """Describe a scene for the search, or take its description from the cache.

    Args:
        scene: a product or raster with a georeference.
        band: of it; see :func:`picture_band`.
        cache: keeps it, two thirds of a megabyte.

    Raises:
        NoGeoreference: it has no position.
        MissingBand, DamagedImage: it cannot be read.
    """
    source = source_of(scene, picture_band(scene, band))
    if source.grid.crs is None:
        raise NoGeoreference(str(scene.path), scene.remedy)

    def make() -> dict[str, NDArray[np.generic]]:
        pixels, grid = coarse_pixels(source)
        known = np.isfinite(pixels)
        low, high = np.percentile(pixels[known], LIMIT_PERCENTILES) if known.any() else (0.0, 0.0)
        shown = np.clip((np.where(known, pixels, low) - low) / (high - low or 1.0), 0, 1).astype(np.float32)
        affine, crs = in_metres(grid)
        if affine.determinant > 0:  # rows run north: a mirror image, which no picture shows
            shown, known, affine = shown[::-1], known[::-1], affine * Affine(1, 0, 0, 0, -1, len(known))
        shown, known, affine = squared(shown, known, affine)
        arrays = describe(View.of(shown, known), LONGEST_SIDE).to_arrays()
        return {**arrays, "affine": np.array(affine[:6]), "crs": np.array(crs)}

    recipe = {
        "kind": "overview",
        "version": OVERVIEW_VERSION,
        "side": LONGEST_SIDE,
        "scene": scene.id,
        "bands": [(b.name, b.index, b.nodata, b.also_nodata, *_stamp(b.asset)) for b in source.bands],
        "grid": [tuple(source.grid.shape), tuple(source.grid.affine)[:6], str(source.grid.crs)],
    }
    arrays = make() if cache is None else cache.arrays(recipe, make)
    return Overview(Described.of_arrays(arrays), Affine(*arrays["affine"].tolist()), str(arrays["crs"]))


def squared(shown: Pixels, known: NDArray[np.bool_], affine: Affine) -> tuple[Pixels, NDArray[np.bool_], Affine]:
    """Resample (rows, cols) pixels to square ones on the ground, which those of a grid in degrees are not.

    Args:
        shown: pixels.
        known: where they are.
        affine: of the pixels to metres.
    """
    steps = np.hypot(affine.a, affine.d), np.hypot(affine.b, affine.e)
    if abs(np.log(steps[0] / steps[1])) < SQUARE:
        return shown, known, affine
    rows, cols = shown.shape
    side = np.sqrt(steps[0] * steps[1])
    width, height = max(1, round(cols * steps[0] / side)), max(1, round(rows * steps[1] / side))
    pixels, share = (
        np.asarray(cv2.resize(part.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
        for part in (shown, known)
    )
    return pixels, share > 0.99, affine * Affine.scale(cols / width, rows / height)


def _stamp(asset: Asset) -> tuple[object, ...]:
    """Tell a file from its later versions without reading it: a thousand tiles are 100 GB to hash."""
    try:
        status = asset.path.stat()
    except OSError:
        return str(asset.path), None
    return str(asset.path.resolve()), asset.member, asset.variable, status.st_size, status.st_mtime_ns


def coarse_pixels(source: Source | Computed) -> tuple[Pixels, GeoBox]:
    """Read (rows, cols) of an image at about :data:`LONGEST_SIDE` pixels, NaN where there are none, and their grid.

    Of a JPEG 2000 only its coarse levels are decoded; anything else is read strip by strip and averaged.
    """
    times = max(1, max(source.grid.shape) // LONGEST_SIDE)
    if isinstance(source, Source) and times > 1 and all(_is_plain_jp2(source, k) for k in range(len(source.bands))):
        level = min(MOST_LEVELS, int(np.log2(times)))
        images = [read_rasterio(band.asset, level=level, index=band.index) for band in source.bands]
        known = np.any([image != band.nodata for image, band in zip(images, source.bands, strict=True)], axis=0)
        pixels = np.where(known, np.mean(images, axis=0, dtype=np.float32), np.float32(np.nan))
        return pixels, level_geobox(source.grid, level)
    rows, cols = (max(1, n // times) for n in source.grid.shape)
    target = GeoBox((rows, cols), source.grid.affine * Affine.scale(times), source.grid.crs)
    return np.vstack([strip for _, strip in strips(source.read, source.grid, target)]), target


def _is_plain_jp2(source: Source, k: int) -> bool:
    """Tell whether a band is a JPEG 2000 with coarse levels whose no-data is a number."""
    from sentinel_match.products.opening import open_raster

    band = source.bands[k]
    if band.palette or band.is_masked or band.alpha is not None or band.also_nodata is not None:
        return False
    with open_raster(band.asset.gdal) as file:
        return bool(file.driver.startswith("JP2") and len(file.overviews(band.index)) >= MOST_LEVELS)


def in_metres(grid: GeoBox) -> tuple[Affine, str]:
    """Approximate a grid by an affine one in metres, and name the CRS; its own where it is one already."""
    target = metric(grid)
    if target.crs == grid.crs:
        return grid.affine, str(grid.crs)
    from pyproj import Transformer

    rows, cols = grid.shape
    x, y = (np.linspace(0, n, EDGE_POINTS) for n in (cols, rows))
    pixels = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
    there = Transformer.from_crs(str(grid.crs), str(target.crs), always_xy=True)
    metres = np.column_stack(there.transform(*transformed(grid.affine, pixels).T))
    return affine_through(pixels, metres), str(target.crs)
