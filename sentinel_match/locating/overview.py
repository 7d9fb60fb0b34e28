"""A scene as the search keeps it: one small description, made once from coarse pixels and kept in the cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from sentinel_match.errors import NoGeoreference
from sentinel_match.geometry.grids import affine_through, metric, transformed
from sentinel_match.images.source import picture_band, view_of
from sentinel_match.matching.orientation import LONGEST_SIDE, Described, describe
from sentinel_match.matching.view import View, reduced
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
        try:
            affine, crs = in_metres(grid)
        except ValueError as error:
            raise NoGeoreference(str(scene.path), str(error)) from error
        if affine.determinant > 0:  # rows run north: a mirror image, which no picture shows
            shown, known, affine = shown[::-1], known[::-1], affine * Affine(1, 0, 0, 0, -1, len(known))
        view = squared(View.of(shown, known), affine)
        arrays = describe(view, LONGEST_SIDE).to_arrays()
        affine *= Affine(*view.matrix[:2].ravel().tolist())
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


def view_on_squares(picture: Scene, band: str | None) -> View:
    """Read a picture for the search, as :func:`view_of` does; one whose grid is in degrees on square pixels.

    Args:
        picture: with or without a position.
        band: see :func:`picture_band`.
    """
    view, grid = view_of(picture, band=band), picture.bands[0].geobox  # bands differ in the size of pixels alone
    try:
        return view if grid is None or grid.crs is None else squared(view, in_metres(grid)[0])
    except ValueError:  # what it says of its place is no help
        return view


def squared(view: View, affine: Affine) -> View:
    """Reduce a view until its pixels are square on the ground, which those of a grid in degrees are not.

    Args:
        view: of a whole image.
        affine: of the image's pixels to metres.
    """
    across, along = np.hypot(affine.a, affine.d), np.hypot(affine.b, affine.e)
    if abs(np.log(across / along)) < SQUARE:
        return view
    (rows, cols), side = view.valid.shape, max(across, along)
    return reduced(view, (max(1, round(cols * across / side)), max(1, round(rows * along / side))))


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
    """Approximate a grid by an affine one in metres, and name the CRS; its own where it is one already.

    Raises:
        ValueError: it is none, as around a pole or of the whole world.
    """
    from pyproj import Transformer
    from pyproj.exceptions import CRSError, ProjError

    try:
        target = metric(grid)
        if target.crs == grid.crs:
            return grid.affine, str(grid.crs)
        rows, cols = grid.shape
        x, y = (np.linspace(0, n, EDGE_POINTS) for n in (cols, rows))
        pixels = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
        there = Transformer.from_crs(str(grid.crs), str(target.crs), always_xy=True)
        metres = np.column_stack(there.transform(*transformed(grid.affine, pixels).T))
        if not np.isfinite(metres).all():
            raise ValueError("it goes on beyond what the projection knows")
        affine = affine_through(pixels, metres)
    except (CRSError, ProjError, ValueError, OverflowError, np.linalg.LinAlgError) as error:
        raise ValueError("its grid cannot be laid out in metres") from error
    return affine, str(target.crs)
