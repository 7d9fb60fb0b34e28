"""From one grid to another: block means on the lattice that all tiles of a zone share, one cubic warp for the rest.

Pixels here are float32 with NaN where they are not valid.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import cv2
import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.overlap import compute_reproject_roi, native_pix_transform
from odc.geo.types import xy_
from odc.geo.warp import rio_reproject

from sentinel_match.geometry.grids import ground_resolution, is_whole, side_ratios
from sentinel_match.raster.jp2 import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Pixels: TypeAlias = NDArray[np.float32]
ReadWindow: TypeAlias = "Callable[[Window], Pixels]"
"""Pixels of any window of a grid; NaN outside the image."""

JP2_TILE = 1024
"""Side of a JPEG 2000 tile of a 10 m band: strips that end with tiles decode none twice."""
SOURCE_ROWS = 3 * JP2_TILE
"""Most source rows in memory at once, about."""
WARPED_ROWS = 2 * JP2_TILE
"""Source rows, about, that are warped at a time; they begin anywhere, so some tiles are decoded twice."""
EXACT_PX = 0.01
"""Source pixels by which the position of a pixel may be off."""
BEND_STEPS = 8
"""Steps along a row by which it is measured how rows bend from one grid to another."""


def strips(read: ReadWindow, source: GeoBox, target: GeoBox, most: int = SOURCE_ROWS) -> Iterator[tuple[int, Pixels]]:
    """Yield an image on another grid, as (first row, full-width strip) from top to bottom, in bounded memory.

    Where the target's pixels are whole blocks of the source's, they are means of the valid ones, valid if at least half
    are. Everything else (another zone, an odd ratio, finer pixels) is warped once: see :func:`warp_window`.

    Args:
        read: gives any window of the source.
        source: grid that ``read`` counts in.
        target: grid of the result.
        most: source rows in memory at once, about.
    """
    rows, cols = target.shape
    blocks = _blocks(source, target)
    if blocks is None:
        step = max(1, int(min(WARPED_ROWS, most) * ground_resolution(source) / ground_resolution(target)))
        for top, bottom in _cuts(rows, step, step):
            yield top, warp_window(read, source, target[top:bottom, :])
        return
    size, row, col = blocks
    step = max(1, min(math.lcm(size, JP2_TILE), most) // size)
    for top, bottom in _cuts(rows, step, (-row % (step * size)) // size):
        window = Window(row + top * size, col, (bottom - top) * size, cols * size)
        yield top, block_mean(read(window), size)


def block_mean(pixels: Pixels, size: int | tuple[int, int]) -> Pixels:
    """Average the valid pixels of each block of ``size`` (rows and columns); NaN where less than half are valid."""
    height, width = (size, size) if isinstance(size, int) else size
    if height == width == 1:
        return pixels
    rows, cols = pixels.shape[0] // height, pixels.shape[1] // width
    valid = np.isfinite(pixels)
    share = cv2.resize(valid.astype(np.float32), (cols, rows), interpolation=cv2.INTER_AREA)
    mean = cv2.resize(np.where(valid, pixels, np.float32(0)), (cols, rows), interpolation=cv2.INTER_AREA)
    half = share > 0.5 - 0.25 / (height * width)
    return np.where(half, mean / np.where(half, share, 1), np.float32(np.nan))


def warp_window(read: ReadWindow, source: GeoBox, target: GeoBox) -> Pixels:
    """Warp what a (small) target grid shows, once and cubic; valid only where no invalid pixel has any weight.

    Coarser targets get block means first, so that nothing aliases. The position of every pixel is true to ``EXACT_PX``:
    so much as GDAL's own 0.125 px would be seen in the result.
    """
    if source.crs is None and target.crs is None:  # any CRS will do where both have the same
        source, target = (GeoBox(g.shape, g.affine, "EPSG:3857") for g in (source, target))
    out = np.full(target.shape, np.nan, np.float32)
    overlap = compute_reproject_roi(source, target)
    if any(s.stop <= s.start for s in overlap.roi_dst):
        return out
    ratios = side_ratios(source, target)
    size = high, wide = tuple(max(1, int(ratio + 1e-6)) for ratio in ratios)
    rest_y, rest_x = (max(1.0, ratio / n) for ratio, n in zip(ratios, size, strict=True))
    reach = math.ceil(2 * max(rest_x, rest_y) + 0.5)  # half the cubic kernel, and the rounding of the nearest pixel
    rows, cols = (
        range(s.start // n - reach - 2, -(-s.stop // n) + reach + 2) for s, n in zip(overlap.roi_src, size, strict=True)
    )
    window = Window(rows.start * high, cols.start * wide, len(rows) * high, len(cols) * wide)
    pixels = block_mean(read(window), (high, wide))
    shift = Affine.translation(window.col, window.row) * Affine.scale(wide, high)
    grid = GeoBox(pixels.shape, source.affine * shift, source.crs)
    invalid = np.isnan(pixels)
    pixels[invalid] = 0
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    touched = cv2.dilate(invalid.view(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=1)
    # odc gives GDAL the scale: GDAL's guess takes the rotation between two zones for a scale and blurs (gdal#7750).
    how: dict[str, Any] = {"XSCALE": 1 / rest_x, "YSCALE": 1 / rest_y}
    step = _straight(grid, target)
    for left, right in _cuts(target.shape.x, step, step):
        part = target[:, left:right]
        made, clear = np.full(part.shape, np.nan, np.float32), np.zeros(part.shape, np.uint8)
        rio_reproject(pixels, made, grid, part, "cubic", **how)
        # Of 1 and 2: to odc 0 is no-data, and GDAL 3.12 (not 3.10) makes a 1 of each 0 that is in the source
        rio_reproject(2 - touched, clear, grid, part, "nearest", **how)
        made[clear < 2] = np.nan
        out[:, left:right] = made
    return out


def _straight(source: GeoBox, target: GeoBox) -> int:
    """Count the columns of a target along which the way through the source is a straight line to ``EXACT_PX``.

    GDAL takes positions from lines that bend by up to 0.125 px, and rasterio's ``reproject`` hands it no other bound,
    whatever it is told: between two zones all of a tile at 10 m would lie 0.07 px aside, to one side.
    """
    rows, cols = target.shape
    to, bend = native_pix_transform(target, source), 0.0
    for row in (0, rows / 2, rows):
        line = np.array([point.xy for point in to([xy_(col, row) for col in np.linspace(0, cols, BEND_STEPS + 1)])])
        aside = np.abs(np.diff(line, 2, axis=0)) / 2  # of the middle of two steps
        bend = max(bend, float(aside[np.isfinite(aside)].max(initial=0)))
    return math.ceil(cols / max(1, math.ceil(BEND_STEPS / 2 * math.sqrt(bend / EXACT_PX))))


def _blocks(source: GeoBox, target: GeoBox) -> tuple[int, int, int] | None:
    """Find (side of a block in source pixels, row and column of the first); ``None`` if the grids do not meet so."""
    a = ~source.affine * target.affine
    size = round(a.a)
    straight = max(abs(a.b), abs(a.d), abs(a.a - size), abs(a.e - size)) < 1e-6
    if source.crs != target.crs or size < 1 or not (straight and is_whole(a.c) and is_whole(a.f)):
        return None
    return size, round(a.f), round(a.c)


def _cuts(length: int, step: int, first: int) -> Iterator[tuple[int, int]]:
    """Cut into (start, stop) of pieces of ``step``, the first one shorter."""
    edges = sorted({0, length, *range(first, length, step)})
    return pairwise(edges)
