"""Two maps of directions laid over one another at one angle and scale, at all offsets at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import fft

from sentinel_match.matching.orientation import UNITS, Described, Level, upright
from sentinel_match.matching.view import shift

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEAST_SHARE = 0.1
"""Of what there is to see in the smaller picture that must overlap: where little is seen, much agrees by chance."""
LEAST_PIXELS = 60.0
"""Pixels of the maps that must overlap."""
LEAST_OFFSETS = 1000
"""Offsets at which so much overlaps, at least: the deviation of their scores must be known."""
UNIT = 8
"""Canvases are multiples of so many pixels."""


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


class Spectra(NamedTuple):
    """Fourier transforms of a picture's maps on one canvas; of the left picture conjugated."""

    planes: NDArray[np.complex64]
    """(6, N, N / 2 + 1): the maps, and their energy."""
    density: float
    """Mean energy of a pixel that is known."""
    area: float
    """Pixels that are known."""

    def least_energy(self, other: Spectra, share: float) -> float:
        """Compute the energy that must meet where such a share of the smaller picture overlaps."""
        return max(self.density * other.density * max(share * min(self.area, other.area), LEAST_PIXELS), 1e-3)


class Bench:
    """Two pictures under comparison; remembers the spectra of the left one."""

    def __init__(self, left: Described, right: Described) -> None:
        self.left, self.right = left, right
        self.spectra: dict[tuple[int, int], Spectra] = {}

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
            own = transformed(level.maps.astype(np.float32) / UNITS, level.known, size)
            self.spectra[key] = own._replace(planes=own.planes.conj())
        a, b = self.spectra[key], transformed(maps, known, size)
        looks = []
        for opposite in (False, True) if both else (False,):
            found = best_offset(a, b, size, opposite=opposite)
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


def transformed(maps: NDArray[np.float32], known: NDArray[np.bool_], size: int) -> Spectra:
    """Transform (5, rows, cols) maps and their energy on a canvas of ``size`` pixels, into which they fit.

    The energies are not smoothed, though that were quicker: edges that happen to meet agree or disagree much, and would
    be taken for a surprise.
    """
    rows, cols = known.shape
    planes = np.zeros((len(maps) + 1, size, size), np.float32)
    planes[:-1, :rows, :cols] = maps
    np.einsum("kij,kij->ij", maps, maps, out=planes[-1, :rows, :cols])
    area = max(float(known.sum()), 1.0)
    return Spectra(fft.rfft2(planes), float(planes[-1].sum()) / area, area)


def agreements(product: NDArray[np.complex64], size: int) -> list[NDArray[np.float32]]:
    """Sum agreement over all offsets, from (..., 6, N, N / 2 + 1) products of spectra.

    Returns:
        (..., N, N) three times: with the sign of directions, without it, and the energies that meet.
    """
    x, y, doubled_x, doubled_y, strength, energy = np.moveaxis(product, -3, 0)
    return [fft.irfft2(part, s=(size, size)) for part in (x + y, doubled_x + doubled_y + strength, energy)]


def best_offset(
    a: Spectra, b: Spectra, size: int, *, opposite: bool
) -> tuple[float, float, tuple[int, int], tuple[float, float], tuple[float, float]] | None:
    """Find the offset at which two pictures agree best; ``None`` where they cannot overlap.

    Returns:
        Its score and the best one elsewhere, the offset (x, y), the deviations, and both scores.
    """
    signed, doubled, variance = agreements(a.planes * (b.planes.conj() if opposite else b.planes), size)
    enough = variance > a.least_energy(b, LEAST_SHARE)
    count = int(np.count_nonzero(enough))
    if count < LEAST_OFFSETS:
        return None
    weight = np.where(enough, 1 / np.sqrt(np.maximum(variance, 1e-3)), 0)
    signed *= weight
    doubled *= weight
    spread = tuple(float(np.sqrt(np.vdot(part, part) / count)) + 1e-9 for part in (signed, doubled))
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
    """Find a size not below that is a multiple of :data:`UNIT` and quickly transformed."""
    return UNIT * int(fft.next_fast_len(int(np.ceil(least / UNIT)), real=True))
