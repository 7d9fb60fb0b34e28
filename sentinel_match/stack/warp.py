"""An image on another grid under a fitted correction, by one cubic interpolation of its own pixels.

Cubic convolution with a = -1/2 over 4 x 4 pixels (Keys 1981, "Cubic Convolution Interpolation for Digital Image
Processing"). GDAL's warper takes no bent transform, and OpenCV's rounds positions to 1/32 pixel, which is as much as
may remain after a correction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from sentinel_match.geometry.grids import Points, plain, side_ratios, transformed
from sentinel_match.raster.jp2 import Window
from sentinel_match.raster.resample import block_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from sentinel_match.geometry.transform import Transform
    from sentinel_match.raster.resample import Pixels, ReadWindow

Move = Callable[[Points], Points]
"""(N, 2) metres of the output's CRS to metres of the image's CRS: where the image shows that ground."""

NODES = 16
"""Pixels between the positions that are computed; the others lie on a bilinear surface through them. A bend of 3 m over
20 km is met to 1 mm."""
STRIP_ROWS = 2048
"""Rows of the image, about, that are held at a time."""
CHUNK_PIXELS = 1 << 20
"""Pixels that are interpolated at a time."""
OUTSIDE_PIXELS = 4
"""Pixels off the image where no cubic interpolation sees it."""
SNAPS_PER_PIXEL = 1 << 16
"""Positions are multiples of 1 / SNAP pixel, so that an image on the output's own lattice is copied."""


def move_by(transform: Transform | None, crs: object, to: object) -> Move:
    """Find the way from output to image.

    Args:
        transform: left metres to right metres in ``crs``; ``None`` where only the georeference counts.
        crs: of the output.
        to: CRS of the image.
    """
    if crs == to:
        return transform or (lambda at: at)
    from pyproj import Transformer

    reprojection = Transformer.from_crs(str(crs), str(to), always_xy=True)

    def move(at: Points) -> Points:
        return np.column_stack(reprojection.transform(*(transform(at) if transform else at).T))

    return move


def corrected(read: ReadWindow, source: GeoBox, target: GeoBox, move: Move) -> Iterator[tuple[int, Pixels]]:
    """Yield an image as the target shows it, as (first row, full-width strip) from top to bottom.

    Where the target's pixels are larger than the image's, they are means of pixels of about its own size, as
    ``resample.block_mean`` makes them. NaN wherever a pixel without data would have any weight.

    Args:
        read: gives any window of the image, NaN outside.
        source: grid that ``read`` counts in.
        target: grid of the result.
        move: metres of the target to metres of the source.
    """
    ratios = side_ratios(source, target)
    high, wide = (max(1, round(ratio)) for ratio in (ratios if plain(source) else (max(ratios),) * 2))
    rows, cols = target.shape
    fine = GeoBox((rows * high, cols * wide), target.affine * Affine.scale(1 / wide, 1 / high), target.crs)
    step = max(1, STRIP_ROWS // high)
    for top in range(0, rows, step):
        box = fine[top * high : min(top + step, rows) * high, :]
        yield top, block_mean(_strip(read, source, box, move), (high, wide))


def nearest(codes: NDArray[np.uint8], source: GeoBox, target: GeoBox, move: Move, outside: int) -> NDArray[np.uint8]:
    """Look up the code under the centre of each pixel of a (small) target, without interpolation.

    Args:
        codes: (rows, cols) on the grid ``source``.
        source: grid of the codes.
        target: grid of the result.
        move: metres of the target to metres of the source.
        outside: what there is beyond the codes.
    """
    places = Places.of(target, source, move)
    out = np.full(target.shape, outside, np.uint8)
    for rows in places.pieces():
        x, y = places.at(rows)
        col, row = np.floor(x).astype(np.intp), np.floor(y).astype(np.intp)
        inside = (col >= 0) & (row >= 0) & (col < source.shape.x) & (row < source.shape.y)
        out[rows][inside] = codes[row[inside], col[inside]]
    return out


def cubic(pixels: Pixels, x: NDArray[np.float64], y: NDArray[np.float64]) -> Pixels:
    """Interpolate between pixels, by cubic convolution.

    Args:
        pixels: (rows, cols), NaN where there are none.
        x: positions, any shape, at least 2 pixels inside; origin at the outer corner of the first pixel.
        y: the same downwards.

    Returns:
        As ``x``; NaN where one of the pixels used is.
    """
    x, y = (np.round((v - 0.5) * SNAPS_PER_PIXEL) / SNAPS_PER_PIXEL for v in (x, y))
    col, row = np.floor(x), np.floor(y)
    along, down = (x - col).astype(np.float32), (y - row).astype(np.float32)
    width = pixels.shape[1]
    base = row.astype(np.intp) * width + col.astype(np.intp)
    if not along.any() and not down.any():
        return np.asarray(pixels.ravel().take(base))
    missing = np.isnan(pixels)
    values = np.where(missing, np.float32(0), pixels) if missing.any() else pixels
    flat = values.ravel()
    across, downward = _weights(along), _weights(down)
    out = np.zeros(x.shape, np.float32)
    for j, weight in enumerate(downward):
        line = np.zeros(x.shape, np.float32)
        for i, share in enumerate(across):
            line += share * flat.take(base + ((j - 1) * width + i - 1))
        out += weight * line
    if values is not pixels:
        near = cv2.dilate(missing.view(np.uint8), np.ones((4, 4), np.uint8), anchor=(1, 1)).ravel().take(base) > 0
        exact = (along == 0) & (down == 0)
        out[np.where(exact, missing.ravel().take(base), near)] = np.nan
    return out


def _weights(t: Pixels) -> tuple[NDArray[Any], ...]:
    """Compute the weights of the pixels at -1, 0, 1 and 2, for a position 0 <= t < 1."""
    square = t * t
    cube = square * t
    first, last = square - 0.5 * (cube + t), 0.5 * (cube - square)
    second = 1.5 * cube - 2.5 * square + 1
    return first, second, 1 - first - second - last, last


def _strip(read: ReadWindow, source: GeoBox, box: GeoBox, move: Move) -> Pixels:
    places = Places.of(box, source, move)
    window = places.window()
    pixels = read(window)
    out = np.empty(box.shape, np.float32)
    for rows in places.pieces():
        x, y = places.at(rows)
        out[rows] = cubic(pixels, x - window.col, y - window.row)
    return out


@dataclass(frozen=True, eq=False)
class Places:
    """Where an image shows the pixels of a grid."""

    shape: tuple[int, int]
    nodes: NDArray[np.float64]
    """(2, R, C) x and y in pixels of the image, of every :data:`NODES`-th row and column."""
    image: tuple[int, int]
    """(rows, cols) of the image."""

    @staticmethod
    def of(box: GeoBox, source: GeoBox, move: Move) -> Places:
        """Locate a grid's pixels in an image."""
        rows, cols = (np.arange(0, n + NODES, NODES) + 0.5 for n in box.shape)
        x, y = np.meshgrid(cols, rows)
        metres = transformed(box.affine, np.column_stack([x.ravel(), y.ravel()]))
        nodes = transformed(~source.affine, move(metres)).T.reshape(2, *x.shape)
        return Places((box.shape.y, box.shape.x), nodes, (source.shape.y, source.shape.x))

    def pieces(self) -> Iterator[slice]:
        """Split the rows into as many as are few enough for one go."""
        rows, cols = self.shape
        step = max(NODES, CHUNK_PIXELS // max(cols, 1))
        return (slice(top, min(top + step, rows)) for top in range(0, rows, step))

    def at(self, rows: slice) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Locate all pixels of some rows, x and y; what lies off the image is brought close to it."""
        down, along = _between(np.arange(rows.start, rows.stop)), _between(np.arange(self.shape[1]))
        x, y = (
            _bilinear(axis, down, along).clip(-OUTSIDE_PIXELS, n + OUTSIDE_PIXELS)
            for axis, n in zip(self.nodes, self.image[::-1], strict=True)
        )
        return x, y

    def window(self) -> Window:
        """Find the window that cubic interpolation has to see."""
        low, high = (
            [int(np.clip(v, -OUTSIDE_PIXELS, n + OUTSIDE_PIXELS)) for v, n in zip(ends, self.image[::-1], strict=True)]
            for ends in (np.floor(self.nodes.min((1, 2))), np.ceil(self.nodes.max((1, 2))))
        )
        return Window(low[1] - 3, low[0] - 3, high[1] - low[1] + 7, high[0] - low[0] + 7)


def _between(at: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    return at // NODES, (at % NODES) / NODES


def _bilinear(nodes: NDArray[np.float64], down: Any, along: Any) -> NDArray[np.float64]:
    (row, low), (col, right) = down, along
    part = nodes[row.min(initial=0) : row.max(initial=0) + 2]
    wide = part[:, col] * (1 - right) + part[:, col + 1] * right
    row = row - row.min(initial=0)
    return np.asarray(wide[row] * (1 - low)[:, None] + wide[row + 1] * low[:, None])
