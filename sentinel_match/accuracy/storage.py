"""Marks that storage left in both images and that agree: repeated pixels of a coarser grid, blocks of JPEG.

They lie still while the ground moves, and draw points to where they agree. Differences between neighbouring pixels show
them: where a pixel is repeated there is hardly any, and over the edges of blocks there is more than within.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sentinel_match.accuracy.windows import MaskedWindow, cut, places, step_between

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.raster.raster import Raster

SIDE, MOST_WINDOWS, CLEAR = 128, 64, 0.75
"""Side in pixels of the windows that are looked at, how many there are at most, and the least valid share of them."""
BLOCK = 8
"""Pixels on a side of a block of JPEG (ISO/IEC 10918-1)."""
REPEATED, AROUND = 0.25, 17
"""Mean squared difference to the next column over that of so many columns around, below which it is a repeated one."""
SHARED, ALIKE = 0.2, 0.5
"""Least share of columns that both images repeat, and of those that either does. Pixels 1.6 to 6 times as large are
shared by .24 to .77 of the columns, and most of those repeated; images of two dates share .01, of one .03. Of fewer,
as where products double every sixth to thirteenth column, points are hardly drawn."""
EDGED = 1.3
"""Squared differences over the edges of blocks over those within: of JPEG of quality 40 and less 1.3 to 23, of images
that were never compressed 1.1 at most."""


def shared_marks(left: Raster, right: Raster, shift: NDArray[np.float64]) -> str:
    """Name what storage left in both images and lies where points agree: ``repeated pixels``, ``blocks``, or nothing.

    Args:
        left: the reference.
        right: the other image, of the same pixels.
        shift: (2,) x, y of the pixels by which the points have it off the left one.
    """
    aside = np.round(shift).astype(int)
    valid = left.valid
    corners = places(valid, SIDE, step_between(valid.shape, SIDE, MOST_WINDOWS), CLEAR)
    profiles, phases = [], []
    for corner in corners:
        one, other = cut(left, corner, SIDE), cut(right, corner + aside, SIDE)
        if one is None or other is None:
            continue
        for axis, first in enumerate(corner):  # columns, then rows
            profiles.append([_differences(window, axis) for window in (one, other)])
            phases.append((np.arange(SIDE - 1) + first) % BLOCK)
    if not profiles:
        return ""
    both = np.array(profiles).swapaxes(0, 1)
    if not (both > 0).any((1, 2)).all():
        return ""  # all alike
    repeated = _relative(both, AROUND) < REPEATED
    together, least = float(repeated.all(0).mean()), float(repeated.mean((1, 2)).min())
    if together > SHARED and together > ALIKE * least:
        return "repeated pixels"
    phase, edges = np.array(phases), _relative(both, BLOCK + 1)
    at = [_edge(image[axis::2], phase[axis::2]) for image in edges for axis in (0, 1)]
    return "blocks" if None not in at and at[:2] == at[2:] else ""


def _edge(profiles: NDArray[np.float64], phase: NDArray[np.int_]) -> int | None:
    """Find the place within a block over which differences are larger than over the others; ``None`` without any."""
    middles = np.array([
        np.median(np.append(v[np.isfinite(v)], 0)) for v in (profiles[phase == k] for k in range(BLOCK))
    ])
    return int(middles.argmax()) if middles.max() > EDGED * np.median(middles) else None


def _differences(window: MaskedWindow, axis: int) -> NDArray[np.float64]:
    """Average (SIDE - 1,) the squared difference of each column, or row, to the next; NaN where nothing is valid."""
    pixels, valid = (window.pixels.T, window.valid.T) if axis else window
    known = valid[:, 1:] & valid[:, :-1]
    squares = np.where(known, np.diff(pixels, axis=1) ** 2, 0).sum(0, dtype=np.float64)
    count = known.sum(0)
    return np.where(count > 0, squares / np.maximum(count, 1), np.nan)


def _relative(profiles: NDArray[np.float64], around: int) -> NDArray[np.float64]:
    """Divide profiles by their mean over so many values around each; NaN where nothing is known or nothing differs."""
    from scipy.ndimage import uniform_filter1d

    known = np.isfinite(profiles)
    total, count = (
        uniform_filter1d(v, around, axis=-1, mode="constant")
        for v in (np.where(known, profiles, 0.0), known.astype(float))
    )
    return np.asarray(np.divide(profiles * count, total, out=np.full_like(profiles, np.nan), where=known & (total > 0)))
