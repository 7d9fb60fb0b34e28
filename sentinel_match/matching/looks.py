"""Two maps of directions laid over one another at one angle and scale, at all offsets at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
from scipy import fft

from sentinel_match.matching.orientation import UNITS, Described, Level, upright
from sentinel_match.matching.view import shift

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_SHARE = 0.1
"""Of the smaller picture's known area that must overlap."""
LEAST_DENSITY = 0.25
"""Energy of what overlaps, of that of as much ground anywhere: where little is seen, much agrees by chance."""
POOL = 4
"""Pixels of the maps over which energies are summed: they vary slowly."""


class Look(NamedTuple):
    """The best offset at one angle and scale."""

    z: float
    runner_up: float
    angle: float
    scale: float
    matrix: NDArray[np.float64]
    """(3, 3) left pixels to right pixels."""
    spread: tuple[float, float]
    """Deviation of both sums, in units of that of the energies."""
    sums: tuple[float, float]
    """Both scores, with and without sign."""


class _Spectra(NamedTuple):
    """Fourier transforms of a picture's maps on one canvas."""

    maps: NDArray[np.complex64]
    """(5, N, N / 2 + 1); of the left picture conjugated, as its energy is."""
    energy: NDArray[np.complex64]
    """(2, N / POOL, N / POOL / 2 + 1): energy, and where it is known, pooled."""
    area: float
    """Pixels that are known."""


class Bench:
    """Two pictures under comparison; remembers the spectra of the left one."""

    def __init__(self, left: Described, right: Described) -> None:
        self.left, self.right = left, right
        self.spectra: dict[tuple[int, int], _Spectra] = {}

    def levels(self, scale: float, side: int) -> tuple[Level, Level]:
        """Choose the resolution of a look: the smaller map has ``side`` pixels where there are as many."""
        best = None
        for level in reversed(self.left.levels):
            step = level.step[0]
            fine = [r for r in self.right.levels if r.step[0] <= 1.1 * step * scale]
            if not fine:
                break
            there = fine[-1]
            best = level, there
            if min(level.side, there.side * there.step[0] / (step * scale)) >= side / 1.1:
                break
        return best or (self.left.levels[-1], self.right.levels[0])

    def look(self, angle: float, scale: float, side: int, *, both: bool = True) -> list[Look]:
        """Correlate over all offsets at an angle, and, if ``both``, at the opposite one."""
        level, there = self.levels(scale, side)
        maps, known, turned = upright(there, angle, scale, level.step[0])
        extent = (max(level.known.shape) + max(known.shape)) * (0.85 if both else 1.0)
        least = max(extent, *level.known.shape, *known.shape)
        size = fast_size(least)
        key = id(level), size
        if key not in self.spectra:
            own = level.maps.astype(np.float32) / UNITS
            maps_spectra, energy = transformed(own, level.known, size)
            self.spectra[key] = _Spectra(maps_spectra.conj(), energy.conj(), float(level.known.sum()))
        a, b = self.spectra[key], _Spectra(*transformed(maps, known, size), float(known.sum()))
        looks = []
        for opposite in (False, True) if both else (False,):
            found = _best_offset(a, b, size, opposite=opposite)
            if found is None:
                continue
            z, runner_up, offset, spread, sums = found
            turn = np.diag([-1.0, -1.0, 1.0]) if opposite else np.eye(3)
            turn[:2, 2] = 1.0 if opposite else 0.0
            canvas = (known.shape[1], known.shape[0])
            x, y = (
                _unwrapped(t, size, la, lb, opposite)
                for t, la, lb in zip(offset, level.known.shape[::-1], canvas, strict=True)
            )
            matrix = np.linalg.inv(turned) @ turn @ shift(x, y) @ np.diag([1 / level.step[0], 1 / level.step[1], 1])
            looks.append(Look(z, runner_up, angle + 180.0 * opposite, scale, matrix, spread, sums))
        return looks


def transformed(
    maps: NDArray[np.float32], known: NDArray[np.bool_], size: int
) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
    """Transform maps, and their energies pooled, on a canvas of ``size`` pixels, into which they fit.

    Args:
        maps: (K, rows, cols).
        known: (rows, cols).
        size: a multiple of twice :data:`POOL`.

    Returns:
        (K, N, N / 2 + 1) of the maps; (2, N / POOL, N / POOL / 2 + 1) of their energy and of where it is known.
    """
    rows, cols = known.shape
    planes = np.zeros((len(maps), size, size), np.float32)
    planes[:, :rows, :cols] = maps
    energies = np.zeros((2, size, size), np.float32)
    np.einsum("kij,kij->ij", maps, maps, out=energies[0, :rows, :cols])
    energies[1, :rows, :cols] = known
    small = size // POOL
    pooled = np.stack([cv2.resize(plane, (small, small), interpolation=cv2.INTER_AREA) for plane in energies])
    return fft.rfft2(planes), fft.rfft2(pooled * np.float32(POOL))


def _best_offset(
    a: _Spectra, b: _Spectra, size: int, *, opposite: bool
) -> tuple[float, float, tuple[int, int], tuple[float, float], tuple[float, float]] | None:
    """Find the offset at which two pictures agree best; ``None`` where they cannot overlap.

    Returns:
        Its score and the best one elsewhere, the offset (x, y), the deviations, and both scores.
    """
    small = size // POOL
    maps, energy = (b.maps.conj(), b.energy.conj()) if opposite else (b.maps, b.energy)
    product = a.maps * maps
    total, known = np.abs(a.energy[:, 0, 0] * energy[:, 0, 0])  # the sums of the maps
    variance, area = fft.irfft2(a.energy * energy, s=(small, small))
    density = LEAST_DENSITY * total / max(known, 1e-6)
    enough = (area > max(LEAST_SHARE * min(a.area, b.area), 60.0)) & (variance > np.maximum(density * area, 1e-3))
    count = int(enough.sum()) * POOL**2
    if count < 100 * POOL**2:
        return None
    sums = fft.irfft2(np.stack([product[0] + product[1], product[2] + product[3] + product[4]]), s=(size, size))
    weight = np.where(enough, 1 / np.sqrt(np.maximum(variance, 1e-3)), 0).astype(np.float32)
    sums *= cv2.resize(weight, (size, size), interpolation=cv2.INTER_NEAREST)
    signed, doubled = sums
    spread = tuple(float(np.sqrt(np.vdot(part, part) / count)) + 1e-9 for part in sums)
    joint = (signed / np.float32(spread[0])) ** 2
    joint += (np.maximum(doubled, 0) / np.float32(spread[1])) ** 2
    y, x = divmod(int(joint.argmax()), size)
    best = float(joint[y, x])
    sign = -1.0 if opposite else 1.0
    scores = sign * float(signed[y, x]) / spread[0], float(doubled[y, x]) / spread[1]
    around = np.arange(-8, 9)
    joint[((y + around) % size)[:, None], ((x + around) % size)[None]] = 0
    return float(np.sqrt(best)), float(np.sqrt(joint.max())), (x, y), (spread[0], spread[1]), scores


def _unwrapped(offset: int, size: int, left: int, right: int, opposite: bool) -> float:
    """Choose of the offsets that the canvas cannot tell apart the one at which most overlaps.

    An ``opposite`` map lies at pixels 1 - right to 1.
    """
    first = 1 - right if opposite else 0

    def overlap(move: int) -> float:
        return min(left, first + right - move) - max(0, first - move)

    return float(max((offset + k * size for k in (-2, -1, 0, 1)), key=overlap))


def fast_size(least: float) -> int:
    """Find a size not below that is a multiple of twice :data:`POOL` and quickly transformed."""
    unit = 2 * POOL
    return unit * int(fft.next_fast_len(int(np.ceil(least / unit)), real=True))
