"""How much of the ground speaks for a way in which one picture may lie on another, and whether it is ground at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from sentinel_match.matching.orientation import BACKGROUND, centred, rotated

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.matching.looks import Look

BLOCKS = 32
"""Blocks along the longer side that are asked one by one."""
DRAWN = 0.6
"""Normalised correlation of a block above which both pictures may show the same drawing: of ground it is .2 to .7."""
SAME_FRAME = 2.0
"""Pixels of the maps between the corners of two pictures that are drawn alike: a shore or a road is a line, too, but
lies anywhere."""
UNRELATED = 0.15
"""Normalised correlation of most blocks below which that is looked for: .04 to .08 beside what is drawn on different
ground, .2 and more of the same ground."""


def agreement(
    left: NDArray[np.float32], right: NDArray[np.float32], matrix: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Compute (rows, cols) products of directions, with and without sign, where a matrix lays the right maps."""
    rows, cols = left.shape[1:]
    angle = float(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))
    product = left * rotated(laid(right, matrix, (cols, rows)), angle)
    return product[:2].sum(0), product[2:].sum(0)


def laid(planes: NDArray[np.float32], matrix: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resample (K, rows, cols) planes to a picture of (width, height) pixels, which a matrix leads to theirs."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.stack([cv2.warpAffine(plane, centred(matrix), size, flags=flags) for plane in planes])


def support(left: NDArray[np.float32], right: NDArray[np.float32], matrix: NDArray[np.float64], look: Look) -> float:
    """Compute the score without the blocks that agree best, as many that agree least, and what is drawn on the ground.

    Args:
        left: (5, rows, cols) maps.
        right: (5, rows, cols) maps.
        matrix: (3, 3) from pixels of the left maps to those of the right ones.
        look: of which the score is.
    """
    rows, cols = left.shape[1:]
    signed, doubled = agreement(left, right, matrix)
    own = (left**2).sum(0)
    other = laid((right**2).sum(0)[None], matrix, (cols, rows))[0]
    weights = np.array([look.sums[0] / look.spread[0], max(look.sums[1], 0) / look.spread[1]]) / max(look.z, 1e-9)
    side = max(8, max(rows, cols) // BLOCKS)
    height, width = rows // side * side, cols // side * side

    def blocks(values: NDArray[np.float32]) -> NDArray[np.float64]:
        parts = values[:height, :width].reshape(height // side, side, width // side, side)
        return np.asarray(parts.sum((1, 3), dtype=np.float64))

    variance = blocks(own * other)
    known = variance > 0.2 * np.median(variance[variance > 0]) if (variance > 0).any() else variance > 0
    alike = blocks(np.sign(look.sums[0]) * signed + doubled) / np.sqrt(np.maximum(blocks(own) * blocks(other), 1e-9))
    if _frames_coincide(left, right, matrix):
        known &= ~_drawn(alike, known, reach=int(np.ceil(2 * BACKGROUND / side)))
    scores = np.sort(blocks(weights[0] * signed + weights[1] * doubled)[known] / np.sqrt(variance[known]))
    cut = len(scores) // 5
    middle = scores[cut : len(scores) - cut]
    return float(middle.mean() * np.sqrt(len(scores))) if len(middle) else 0.0


def _frames_coincide(left: NDArray[np.float32], right: NDArray[np.float32], matrix: NDArray[np.float64]) -> bool:
    """Tell whether corners lie on corners, as where both pictures were made from one template."""
    ends = np.array([[0, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1.0]])
    (rows, cols), (height, width) = left.shape[1:], right.shape[1:]
    off = (ends * [cols, rows, 1]) @ matrix.T - ends * [width, height, 1]
    return bool(np.abs(off).max() < SAME_FRAME)


def _drawn(alike: NDArray[np.float64], known: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    """Tell where lines drawn on both pictures agree, such as a border, and as far around as that tells on the maps.

    They agree far better than the ground, and are no wider than two blocks: ground that is clear among clouds is.
    """
    if not known.any() or np.median(alike[known]) > UNRELATED:
        return np.zeros_like(known)
    sharp = known & (alike > DRAWN)
    wide = cv2.morphologyEx(sharp.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3)))
    thin = (sharp & (wide == 0)).astype(np.uint8)
    return np.asarray(cv2.dilate(thin, np.ones((2 * reach + 1, 2 * reach + 1))) > 0)
