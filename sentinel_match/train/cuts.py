"""Squares cut from pictures: where one fits, what it holds, and whether that shows anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sentinel_match.raster.flags import Reason
from sentinel_match.train.places import GROUND_CELL_PX

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.train.places import Picture


@dataclass(frozen=True, eq=False)
class OpenPicture:
    """A picture ready to be cut."""

    picture: Picture
    open: NDArray[np.bool_]
    """Cells that may be used."""


def first_row(middle: int, wide: int, length: int) -> int:
    """Find the first row of a cut around a position: inside the picture where it fits, else centred on the picture."""
    return int(np.clip(middle - wide // 2, 0, length - wide)) if length >= wide else (length - wide) // 2


def has_room(source: OpenPicture, wide: int) -> bool:
    """Tell whether a square of so many pixels lies anywhere in cells that may be used."""
    from scipy.ndimage import minimum_filter

    sides = [min(-(-wide // GROUND_CELL_PX) + 1, n) for n in source.open.shape]
    inside = tuple(slice(k // 2, n - k + k // 2 + 1) for k, n in zip(sides, source.open.shape, strict=True))
    return bool(minimum_filter(source.open, sides)[inside].any())


def allowed(source: OpenPicture, corner: NDArray[np.int_], wide: int) -> bool:
    """Tell whether a square lies in cells that may be used; what is beyond the picture is no ground."""
    row, col = np.maximum(corner // GROUND_CELL_PX, 0)
    rows, cols = (np.maximum(corner + wide, 0) + GROUND_CELL_PX - 1) // GROUND_CELL_PX
    cells = source.open[row:rows, col:cols]
    return cells.size > 0 and bool(cells.all())


def cut(picture: Picture, corner: NDArray[np.int_], side: int, reduction: int) -> NDArray[np.float32]:
    """Cut (3, side, side): pixels, where they are known, where they are clear; zero beyond the picture."""
    wide = side * reduction
    raster = picture.image.raster
    start, stop = np.maximum(corner, 0), np.minimum(corner + wide, raster.valid.shape)
    result = np.zeros((3, wide, wide), np.float32)
    if (start < stop).all():
        part = np.s_[start[0] : stop[0], start[1] : stop[1]]
        target = np.s_[start[0] - corner[0] : stop[0] - corner[0], start[1] - corner[1] : stop[1] - corner[1]]
        known = np.asarray(picture.image.reasons[part]) != Reason.NODATA
        result[0][target] = np.asarray(raster.pixels[part], np.float32) * known
        result[1][target] = known
        result[2][target] = raster.valid[part]
    if reduction > 1:
        result = result.reshape(3, side, reduction, side, reduction).mean((2, 4))
        result[1:] = result[1:] > 0.99
    return result


def shows_something(cut: NDArray[np.float32]) -> bool:
    """Tell whether enough of a cut is known and clear, and it is not all alike."""
    known = cut[1] > 0
    return known.mean() > 0.6 and cut[2].mean() > 0.4 and float(cut[0][known].std()) > 0.02
