"""Marks that storage left in both images and that agree: repeated pixels of a coarser grid, blocks of JPEG.

They lie still while the ground moves, and draw points to where they agree. Differences between neighbouring pixels show
them: where a pixel is repeated there is hardly any, and over the edges of blocks there is more than within.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sentinel_match.accuracy.windows import WINDOW, MaskedWindow, clear_corners, cut

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.raster.raster import Raster

BLOCK = 8
"""Pixels on a side of a block of JPEG (ISO/IEC 10918-1)."""
REPEATED, BESIDE = 0.25, 9
"""Mean squared difference to the next column over that of so many columns to either side, from itself on, below which
it is a repeated one: beside ground that shows nothing, a flat sea around islands, one side has no differences."""
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
    profiles, phases = [], []
    for corner in clear_corners(left.valid):
        one, other = cut(left, corner, WINDOW), cut(right, corner + aside, WINDOW)
        if one is None or other is None:
            continue
        for axis, first in enumerate(corner):  # columns, then rows
            profiles.append([_differences(window, axis) for window in (one, other)])
            phases.append((np.arange(WINDOW - 1) + first) % BLOCK)
    if not profiles:
        return ""
    both = np.array(profiles).swapaxes(0, 1)
    if not (both > 0).any((1, 2)).all():
        return ""  # all alike
    repeated = _relative(both, -(BESIDE // 2), BESIDE // 2) < REPEATED
    together, least = float(repeated.all(0).mean()), float(repeated.mean((1, 2)).min())
    if together > SHARED and together > ALIKE * least:
        return "repeated pixels"
    phase, edges = np.array(phases), _relative(both, 0)
    for axis in (0, 1):
        # Shores, too, lie at one place in both images; blocks lie at the same in the north as in the south
        windows = np.arange(len(phase))[axis::2]
        halves = np.array_split(windows, min(2, len(windows)))
        found = {_edge(image[half], phase[half]) for image in edges for half in halves}
        if None in found or len(found) > 1:
            return ""
    return "blocks"


def _edge(profiles: NDArray[np.float64], phase: NDArray[np.int_]) -> int | None:
    """Find the place within a block over which differences are larger than over the others; ``None`` without any."""
    middles = np.array([
        np.median(np.append(v[np.isfinite(v)], 0)) for v in (profiles[phase == k] for k in range(BLOCK))
    ])
    return int(middles.argmax()) if middles.max() > EDGED * np.median(middles) else None


def _differences(window: MaskedWindow, axis: int) -> NDArray[np.float64]:
    """Average (WINDOW - 1,) the squared difference of each column, or row, to the next; NaN where nothing is valid."""
    pixels, valid = (window.pixels.T, window.valid.T) if axis else window
    known = valid[:, 1:] & valid[:, :-1]
    squares = np.where(known, np.diff(pixels, axis=1) ** 2, 0).sum(0, dtype=np.float64)
    count = known.sum(0)
    return np.where(count > 0, squares / np.maximum(count, 1), np.nan)


def _relative(profiles: NDArray[np.float64], *asides: int) -> NDArray[np.float64]:
    """Divide profiles by the least of their means over columns around each; NaN where one is not known, or 0.

    Args:
        profiles: (..., columns).
        asides: columns by which the middle of those that are averaged lies aside.
    """
    from scipy.ndimage import correlate1d  # a running sum, as of uniform_filter1d, would end beside 0

    known = np.isfinite(profiles)
    means = []
    for aside in asides:
        total, count = (
            correlate1d(v, np.ones(BESIDE), axis=-1, mode="constant", origin=aside)
            for v in (np.where(known, profiles, 0.0), known.astype(float))
        )
        means.append(total / np.maximum(count, 1))
    least = np.min(means, axis=0)
    return np.asarray(np.divide(profiles, least, out=np.full_like(profiles, np.nan), where=known & (least > 0)))
