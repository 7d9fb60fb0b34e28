"""Outlines: masks that lie alike in both images, beside which points have seen no ground."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import maximum_filter

from sentinel_match.geometry.grids import to_metres, to_pixels

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from sentinel_match.geometry import transform
    from sentinel_match.geometry.grids import Points
    from sentinel_match.raster.raster import Raster

OUTLINE_BLOCK, OUTLINE_REACH = 8, 32
"""Pixels of the blocks by which masks are compared, and from a masked one within which a network sees its edge."""
EDGE_TOLERANCE, EDGE_PIXELS = 2.0, 4_000_000
"""Pixels by which edges of two masks may miss each other, and pixels that are looked at for them, row by row."""
ALIKE_EDGES = 0.5
"""Share of the edges from which on both masks are one."""


def outlined(left: Points, right: Points, model: transform.PlaneTransform, a: Raster, b: Raster) -> NDArray[np.bool_]:
    """Tell which correspondences may have seen no ground but an outline of what is not valid in both images alike.

    The edge of a mask looks the same whatever ground it surrounds. Where a model lays what is not valid in one image
    upon what is not valid in the other, points beside it are no witnesses of that model.

    Args:
        left: (N, 2) x, y in pixels of the left raster.
        right: (N, 2) in pixels of the right one.
        model: left metres to right metres.
        a: the left raster.
        b: the right one.

    Returns:
        (N,); all ``False`` where both are masked in different places.
    """
    masks = [np.asarray(raster.valid) for raster in (a, b)]
    if _alike_edges(masks[0], masks[1], lambda at: to_pixels(b.geobox, model(to_metres(a.geobox, at)))) < ALIKE_EDGES:
        return np.zeros(len(left), bool)
    blocks = [_masked_blocks(mask) for mask in masks]
    return _beside(blocks[0], left) & _beside(blocks[1], right)


def _alike_edges(valid: NDArray[np.bool_], other: NDArray[np.bool_], moved: Callable[[Points], Points]) -> float:
    """Compute the share of edges of a mask along its rows that lie upon such edges of another one; 0 without any."""
    step = 1 + valid.size // EDGE_PIXELS
    row, col = np.nonzero(valid[::step, 1:] != valid[::step, :-1])
    there = moved(np.column_stack([col + 1.0, step * row + 0.5]))
    y = np.floor(there[:, 1]).astype(int)
    sides = [np.floor(there[:, 0] + way).astype(int) for way in (-EDGE_TOLERANCE, EDGE_TOLERANCE)]
    inside = (y >= 0) & (y < other.shape[0]) & (sides[0] >= 0) & (sides[1] < other.shape[1])
    if not inside.any():
        return 0.0
    before, behind = (other[y[inside], x[inside]] for x in sides)
    begins = valid[step * row, col + 1][inside]
    return float(((behind == begins) & (before != begins)).mean())


def _masked_blocks(valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell which whole blocks of an image hold a pixel that is not valid."""
    rows, cols = (side // OUTLINE_BLOCK for side in valid.shape)
    whole = valid[: rows * OUTLINE_BLOCK, : cols * OUTLINE_BLOCK]
    return ~np.asarray(whole.reshape(rows, OUTLINE_BLOCK, cols, OUTLINE_BLOCK).all((1, 3)))


def _beside(mask: NDArray[np.bool_], points: Points) -> NDArray[np.bool_]:
    """Tell which points (N, 2), in pixels, lie within :data:`OUTLINE_REACH` of masked blocks."""
    near = maximum_filter(mask, 2 * (OUTLINE_REACH // OUTLINE_BLOCK) + 1)
    col, row = (points / OUTLINE_BLOCK).astype(int).T
    return np.asarray(near[row.clip(0, mask.shape[0] - 1), col.clip(0, mask.shape[1] - 1)])
