"""What lies on the grid of pixels and is not of the ground: noise that stays, stripes, blocks, marks; and clouds."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sentinel_match.testing.witness import Image

Shape: TypeAlias = tuple[int, int]
"""Rows and columns."""


def fractal(shape: tuple[int, int], rng: np.random.Generator, power: float = 1.6, finest: float = 4.0) -> Image:
    """Draw a cloud: a random image whose amplitude falls with frequency, from 0 to 1."""
    k = np.hypot(*np.meshgrid(np.fft.fftfreq(shape[0]), np.fft.rfftfreq(shape[1]), indexing="ij"))
    size = np.where(k > 0, np.maximum(k, 1e-9) ** -power, 0) * np.exp(-((k * finest) ** 2))
    values = np.fft.irfft2(size * np.exp(2j * np.pi * rng.random(k.shape)), s=shape)
    low, high = np.percentile(values, (2, 98))
    return np.asarray(np.clip((values - low) / (high - low), 0, 1))


def _noise(shape: Shape, rng: np.random.Generator) -> Image:
    return np.asarray(rng.normal(0, 1, shape))


def _coarse_noise(shape: Shape, rng: np.random.Generator) -> Image:
    values = ndimage.gaussian_filter(rng.normal(0, 1, shape), rng.uniform(0.7, 2.5))
    return np.asarray(values / values.std())


def _columns(shape: Shape, rng: np.random.Generator) -> Image:
    return np.asarray(np.broadcast_to(rng.normal(0, 1, shape[1]), shape))


def _rows(shape: Shape, rng: np.random.Generator) -> Image:
    return np.asarray(np.broadcast_to(rng.normal(0, 1, shape[0])[:, None], shape))


def _whisk(shape: Shape, rng: np.random.Generator) -> Image:
    """Draw a gain for every twelfth column."""
    return np.asarray(np.broadcast_to(np.tile(rng.normal(0, 1, 12), shape[1] // 12 + 1)[: shape[1]], shape))


def _blocks(shape: Shape, rng: np.random.Generator) -> Image:
    rows, cols = shape
    return np.asarray(np.tile(rng.normal(0, 1, (8, 8)), (rows // 8 + 1, cols // 8 + 1))[:rows, :cols])


def _dead_pixels(shape: Shape, rng: np.random.Generator) -> Image:
    return np.where(rng.random(shape) < 0.02, rng.choice((-4.0, 4.0), shape), 0)


def _gridlines(shape: Shape, rng: np.random.Generator) -> Image:
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    step, width = int(rng.integers(24, 80)), int(rng.integers(1, 3))
    return np.where((x % step < width) | (y % step < width), 5.0, 0.0)


def _watermark(shape: Shape, rng: np.random.Generator) -> Image:
    """Draw a word again and again, in rows that lean."""
    rows, cols = shape
    mark = np.zeros(shape)
    word = ndimage.zoom((rng.random((7, 24)) < 0.5).astype(float), (3, 3), order=0)
    for top in range(0, rows, 60):
        for left in range((top // 60) * 23 % 90, cols, 95):
            piece = word[: rows - top, : cols - left]
            mark[top : top + piece.shape[0], left : left + piece.shape[1]] = 4 * piece
    return mark


PATTERNS: Mapping[str, Callable[[Shape, np.random.Generator], Image]] = {
    "noise": _noise,
    "coarse noise": _coarse_noise,
    "columns": _columns,
    "rows": _rows,
    "whisk": _whisk,
    "blocks": _blocks,
    "dead pixels": _dead_pixels,
    "gridlines": _gridlines,
    "watermark": _watermark,
}
"""By name, of about unit deviation where they are; marks and lines are sparser and stronger."""
