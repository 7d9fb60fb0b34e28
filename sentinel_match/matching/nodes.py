"""Nodes of the lattice that displacements are measured at: where they lie, and in which blocks they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from sentinel_match.raster.npy import MaskView, release

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from sentinel_match.geometry.grids import Points
    from sentinel_match.raster.raster import Raster

Mask: TypeAlias = "NDArray[np.bool_] | MaskView"
"""(rows, cols) of pixels."""
NODE_SPACING = 14
"""Pixels between neighbouring nodes."""
BLOCK_SIDE_NODES = 72
"""Nodes along the side of a block that is measured at once, so only a part of each scene is in memory."""
ALL_WRITTEN = 20_000
"""Nodes of which every one becomes a point by default; of more, every other one each way: windows still overlap."""


def dither(nodes: Points) -> Points:
    """Draw (N, 2) fractions 0..1, evenly spread among neighbours (Roberts 2018, the R2 sequence).

    A window can only be cut at whole pixels, and its taper pulls what lies beside its middle by a twentieth of that.
    Rounded up here and down there in the right proportion, windows are centred in the mean.
    """
    return np.asarray((nodes @ np.array([[0.7549, 0.5698], [0.5698, 0.3287]]) + 0.5) % 1)


def blocks(
    nodes: NDArray[np.int64], inside: NDArray[np.bool_], images: Sequence[Raster] = ()
) -> Iterator[NDArray[np.intp]]:
    """Yield the indices of the points of one block after another, so that neighbours are read together.

    Args:
        nodes: (N, 2) column and row of each.
        inside: (N,) which are wanted.
        images: that are read; of those that are mapped files no more stays in memory than a row of blocks shows.
    """
    index = np.flatnonzero(inside)
    if not len(index):
        return
    cell = nodes[index] // BLOCK_SIDE_NODES
    key = cell[:, 1] * (cell[:, 0].max() + 2) + cell[:, 0]
    order = np.argsort(key, kind="stable")
    last = cell[order[0], 1]
    for block in np.split(order, np.flatnonzero(np.diff(key[order])) + 1):
        if cell[block[0], 1] != last:
            release(*(array for image in images for array in (image.pixels, image.valid)))
            last = cell[block[0], 1]
        yield index[block]


def nearest_nodes(points: Points) -> Points:
    """Move (N, 2) points to the nearest nodes: x, y of pixel corners."""
    return np.asarray(np.round(points / NODE_SPACING) * float(NODE_SPACING))


def grid(valid: NDArray[np.bool_], candidates: int | None = None) -> Points:
    """Choose nodes on valid pixels, spread evenly.

    Args:
        valid: (rows, cols), where points may lie; a memory map is only sampled.
        candidates: about how many points are wanted; there are never more than nodes. By default every node, of more
            than ``ALL_WRITTEN`` every other one each way.

    Returns:
        (N, 2) x, y of pixel corners, row by row.
    """
    rows, cols = (np.arange(NODE_SPACING, n, NODE_SPACING) for n in valid.shape)
    clear = np.asarray(valid[np.ix_(rows, cols)])
    if candidates is None:
        step = 1 + int(clear.sum() > ALL_WRITTEN)
    else:
        step = max(1, round(float(np.sqrt(clear.sum() / candidates))))
    y, x = np.nonzero(clear[step // 2 :: step, step // 2 :: step])
    return np.column_stack([cols[step // 2 :: step][x], rows[step // 2 :: step][y]]).astype(np.float64)


def on_ground(seen: tuple[Mask, Mask], base: NDArray[np.float64], low: NDArray[np.int_]) -> NDArray[np.bool_]:
    """Tell (rows, cols) at which nodes of a lattice both images show something.

    Args:
        seen: where each does, (rows, cols) of its pixels.
        base: (rows, cols, 2) displacement at each node, pixels.
        low: column and row of the first node.
    """
    x, y = np.meshgrid(np.arange(base.shape[1]) + low[0], np.arange(base.shape[0]) + low[1])
    here = np.stack([x, y], -1) * float(NODE_SPACING)
    known = np.ones(base.shape[:2], bool)
    for mask, place in zip(seen, (here, here + base), strict=True):
        at = np.floor(place).astype(int)
        inside = ((at >= 0) & (at < mask.shape[::-1])).all(-1)
        known &= inside
        known[inside] &= mask[at[inside][:, 1], at[inside][:, 0]]
        release(mask)
    return known
