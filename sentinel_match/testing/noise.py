"""Random functions of position: hashed lattices and the cubic B-spline noise between their nodes.

Nothing here is an image: every value is computed from its position, so a crop, another resolution or a shift by a
hundredth of a pixel are evaluated, never resampled.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from odc.geo.geobox import GeoBox

Float: TypeAlias = NDArray[np.float32]
Position: TypeAlias = NDArray[np.float64]

UNIT_VARIANCE = 3.612
"""Makes B-spline noise of nodes uniform in -1..1 unit variance on average: sqrt(3) / (151 / 315)."""


def uniform(seed: int, i: NDArray[np.int64], j: NDArray[np.int64], salt: int = 0) -> Float:
    """Hash lattice nodes (broadcast integer arrays ``i``, ``j``) to independent uniform values in 0..1.

    The mixer is "lowbias32" of C. Wellons' hash prospector (https://nullprogram.com/blog/2018/07/31/, public domain).
    """
    start = (seed * 0x9E3779B1 + salt * 0x85EBCA77) & 0xFFFFFFFF
    h = _mix(np.atleast_1d(i).astype(np.uint32) ^ np.uint32(start))
    h = _mix(h ^ np.atleast_1d(j).astype(np.uint32))
    value: Float = (h >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)
    return value


def stream(seed: int, name: str) -> int:
    """Make the seed of one of the many independent fields of a landscape or a sky."""
    return zlib.crc32(f"{seed} {name}".encode())


def draw(seed: int, i: int, j: int, salt: int = 0) -> float:
    """Draw the uniform value of one lattice node."""
    return float(uniform(seed, np.array([i]), np.array([j]), salt)[0])


def _mix(x: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Mix the bits of integers."""
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    mixed: NDArray[np.uint32] = x ^ (x >> np.uint32(16))
    return mixed


@dataclass(frozen=True)
class Noise:
    """A sum of octaves of cubic B-spline noise: smooth (C2), with almost nothing above 1/finest cycles per metre."""

    seed: int
    finest: float
    """Node spacing of the finest octave, metres; each further one has twice the spacing."""
    weights: tuple[float, ...]
    """Amplitude of each octave from the finest; the sum of squares becomes 1: mean 0 and variance 1 at any point."""

    def at(self, x: Position, y: Position) -> Float:
        """Evaluate it at positions in metres: every pair of two 1-D axes as (len(y), len(x)), or two 2-D arrays."""
        u, v = x / self.finest, y / self.finest
        i, j = _nodes(u), _nodes(v)
        nodes = self._coefficients(0, i, j)
        if x.ndim == 2:
            positions = np.stack([v - j[0], u - i[0]])
            scattered: Float = map_coordinates(nodes, positions, order=3, prefilter=False, output=np.float32)
            return scattered
        return _along(_along(nodes.T, u, i).T, v, j)

    def _coefficients(self, octave: int, i: NDArray[np.int64], j: NDArray[np.int64]) -> Float:
        """Sum the B-spline coefficients at the nodes ``i`` x ``j`` of an octave and of all coarser ones.

        A B-spline of twice the spacing is itself a sum of finer ones (the two-scale relation), so that however many
        octaves cost one interpolation, and no rounding separates them.
        """
        nodes: Float = 2 * uniform(self.seed + 101 * octave, i[None, :], j[:, None]) - 1
        nodes *= np.float32(self.weights[octave] * UNIT_VARIANCE / np.linalg.norm(self.weights))
        if octave + 1 == len(self.weights):
            return nodes
        coarse = self._coefficients(octave + 1, _parents(i), _parents(j))
        nodes += _refine(_refine(coarse, j).T, i).T
        return nodes


def octaves(seed: int, finest: float, coarsest: float, slope: float = 1.0) -> Noise:
    """Sum octaves from ``coarsest`` to ``finest`` metres; ``slope`` 1 is a 1/f amplitude spectrum (equal octaves)."""
    count = round(np.log2(coarsest / finest)) + 1
    return Noise(seed, finest, tuple(2.0 ** (k * (slope - 1)) for k in range(count)))


def _nodes(t: Position) -> NDArray[np.int64]:
    """Number the nodes whose splines reach some positions (in node spacings)."""
    return np.arange(int(np.floor(t.min())) - 1, int(np.floor(t.max())) + 3, dtype=np.int64)


def _parents(i: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the nodes of twice the spacing that reach the nodes ``i``."""
    return np.arange(i[0] // 2 - 1, i[-1] // 2 + 3, dtype=np.int64)


def _refine(coarse: Float, i: NDArray[np.int64]) -> Float:
    """Refine rows of coefficients at nodes ``_parents(i)`` to rows at nodes ``i`` of half the spacing."""
    q = i // 2 - (i[0] // 2 - 1)
    even = (coarse[q - 1] + 6 * coarse[q] + coarse[q + 1]) / 8
    odd = (coarse[q] + coarse[q + 1]) / 2
    fine: Float = np.where((i % 2 == 0)[:, None], even, odd)
    return fine


def _along(nodes: Float, t: Position, i: NDArray[np.int64]) -> Float:
    """Evaluate rows of coefficients at nodes ``i`` at the positions ``t`` of an axis."""
    first = np.floor(t)
    f = t - first
    row = (first - i[0] - 1).astype(np.intp)
    weights = ((1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3)
    total = np.zeros((len(t), nodes.shape[1]), np.float32)
    for k, weight in enumerate(weights):
        part = nodes.take(row + k, axis=0)
        part *= (weight / 6).astype(np.float32)[:, None]
        total += part
    return total


def axes(geobox: GeoBox, factor: int = 1) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """List eastings (cols * factor,) and northings (rows * factor,), metres, of sample centres on a north-up grid."""
    (rows, cols), affine = geobox.shape, geobox.affine
    x = affine.c + affine.a * (np.arange(cols * factor) + 0.5) / factor
    y = affine.f + affine.e * (np.arange(rows * factor) + 0.5) / factor
    return x, y


def smoothstep(value: Float, low: float, high: float) -> Float:
    """Make a ramp: 0 below ``low``, 1 above ``high``, smooth (C1) between."""
    t: Float = np.clip((value - np.float32(low)) * np.float32(1 / (high - low)), 0, 1)
    t *= t * (3 - 2 * t)
    return t


def fractions(weights: Sequence[float]) -> Float:
    """Sum the shares of some weights one after another, to pick by a uniform value."""
    shares: Float = (np.cumsum(weights) / np.sum(weights)).astype(np.float32)
    return shares
