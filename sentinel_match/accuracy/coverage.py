"""Where on the clear ground the believed points lie, and where a model only goes on from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sentinel_match.comparison import Coverage

if TYPE_CHECKING:
    from numpy.typing import NDArray

COVERAGE_CELLS = 32
"""The longer side is cut into about so many cells."""
LEAST_CELL_PX = 64
"""Pixels of a cell's side, at least: closer points share what they saw."""
SAMPLED = 4
"""Every so many-th row and column of the mask counts."""
EXTRAPOLATES_CELLS = 3.0
"""Cells from the next covered one at which a model extrapolates."""


def cover(clear: NDArray[np.bool_], points: NDArray[np.float64], gsd: float) -> Coverage:
    """Measure how well points cover clear ground.

    Args:
        clear: (rows, cols), valid in both images; a memory map is only sampled.
        points: (N, 2) x, y in its pixels.
        gsd: metres per pixel.
    """
    from scipy.ndimage import distance_transform_edt

    side = max(LEAST_CELL_PX, -(-max(clear.shape) // COVERAGE_CELLS) // SAMPLED * SAMPLED)
    rows, cols = (-(-n // side) for n in clear.shape)
    sampled = np.asarray(clear[::SAMPLED, ::SAMPLED])
    step = side // SAMPLED
    padded = np.zeros((rows * step, cols * step), bool)
    padded[: sampled.shape[0], : sampled.shape[1]] = sampled
    known = padded.reshape(rows, step, cols, step).mean((1, 3)) >= 0.1
    hit = np.zeros((rows, cols), bool)
    x, y = np.floor(points / side).astype(int).T
    hit[y.clip(0, rows - 1), x.clip(0, cols - 1)] = True
    known |= hit
    away = distance_transform_edt(~hit) if hit.any() else np.full(hit.shape, np.inf)
    count = max(int(known.sum()), 1)
    return Coverage(
        cell_m=round(side * gsd, 3),
        clear_cells=int(known.sum()),
        share=round(float((hit & known).sum() / count), 4),
        extrapolated_share=round(float((known & (away > EXTRAPOLATES_CELLS)).sum() / count), 4),
    )
