"""Sub-pixel refinement: batched phase correlation around positions that are already roughly known.

The normalised cross-power spectrum of two windows is a pure phase ramp whose slope is the displacement (Kuglin &
Hines 1975, "The phase correlation image alignment method"). Weighted with a Gaussian low-pass its inverse transform
is, for identical content, a Gaussian of known width at the displacement, so a parabola through the logarithm of the
peak and its neighbours finds the maximum to hundredths of a pixel (Foroosh, Zerubia & Berthod 2002 discuss the
peak's shape), and its height, 1 for identical content, says how much of the spectrum agrees.

Every point is measured twice. Forward: the left window stays, the right one is searched around the expected position
and then re-centred. Backward: the roles are swapped and the windows moved by a quarter of their side, so that the
second measurement shares only part of its pixels with the first; false peaks do not survive that.

Figures behind the constants (tests/benchmarks/refine.py; grids of 22,298 points on the T33UUU pair at 10 m and
21,385 on T36UYA B01 at 60 m): windows of 32, 48, 64, 96, 128 px leave an NMAD per axis of 0.085, 0.065, 0.055,
0.044, 0.038 px over the best 10,000 points of T33UUU for 2.8, 5.4, 7.4, 15, 25 CPU seconds. A low-pass of 0.1, 0.2,
0.3 cycles per pixel leaves 0.080, 0.055, 0.068 px there, and on T36UYA 99.3, 100, 98.7 % of the best 600 within half
a pixel. The bias against known shifts is 0.009 px and the same at every sub-pixel phase.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sentinel_match.execute import in_threads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from sentinel_match.raster import Raster

Points = NDArray[np.float64]
"""(N, 2) x, y in pixels, origin at the outer corner of the first pixel."""

SPECTRAL_SIGMA = 0.2
"""Width of the Gaussian low-pass in cycles per pixel: see the module's figures."""
SIGMA_SCALE = 0.054
SIGMA_FLOOR = 0.01
"""sigma = scale · sqrt(1 - q²)/q + floor, in pixels, q the height of the peak. In bins of q from 0.2 up the NMAD is
0.75 to 0.9 of it on T33UUU and 0.7 to 0.85 on T36UYA: a little too large rather than too small."""
RECENTRED = 2
"""Search radius of a pass whose windows are already centred to half a pixel, in pixels."""
BLOCK = 1024
"""Points are measured block by block of this side in pixels, so only a part of each scene is in memory."""


@dataclass(frozen=True)
class Refinement:
    """Options of the sub-pixel measurement."""

    window: int = 64
    """Side of the correlated window in pixels."""
    radius: int = 4
    """Largest difference to the expected position, in pixels; at most a quarter of the window."""
    min_clear: float = 0.6
    """Least share of the tapered window that must be valid in both images."""
    max_backward: float = 0.3
    """Largest disagreement between forward and backward measurement, in pixels."""
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.window < 16 or self.window % 4:
            raise ValueError(f"window must be a multiple of 4 and at least 16, not {self.window}")
        if not RECENTRED <= self.radius <= self.window // 4:
            raise ValueError(f"radius must lie between {RECENTRED} and a quarter of the window, not {self.radius}")


@dataclass(frozen=True, eq=False)
class Measured:
    """Where the content around each left point lies in the right image."""

    left: Points
    """Left points as measured (window centres), pixels."""
    right: Points
    """The same ground in the right image, pixels; meaningless where not ``ok``."""
    sigma: NDArray[np.float64]
    """(N,) standard deviation per axis in pixels, predicted from the peak's height."""
    quality: NDArray[np.float64]
    """(N,) height of the correlation peak, 0 to 1."""
    backward: NDArray[np.float64]
    """(N,) distance between forward and backward measurement, pixels."""
    ok: NDArray[np.bool_]
    """(N,) measured inside the search, on clear ground, forward and backward agreeing."""

    def __len__(self) -> int:
        return len(self.ok)


def measure(left: Raster, right: Raster, at: Points, expected: Points, options: Refinement | None = None) -> Measured:
    """Measure to sub-pixel precision where the ground at left points lies in the right image.

    Args:
        left: normalised pixels and validity; memory maps are read block by block.
        right: the other image, at the same ground sampling distance.
        at: (N, 2) x, y in ``left``. A point is moved to the nearest pixel corner, the centre of its window.
        expected: (N, 2) x, y in ``right`` where each point should be, to ``options.radius`` pixels.
        options: window, search radius and thresholds.

    Returns:
        One entry per point, in the order given.
    """
    options = options or Refinement()
    at, expected = np.round(at), np.round(expected)
    n = len(at)
    shift, quality = np.zeros((n, 2)), np.zeros(n)
    backward, ok = np.full(n, np.inf), np.zeros(n, bool)
    for index in _blocks(at):
        forward = _Views(left, right, at[index], expected[index], options)
        first = forward.correlate(at[index], expected[index], options.radius)
        centred = expected[index] + np.round(first.shift)
        second = forward.correlate(at[index], centred, RECENTRED)
        found = centred + second.shift
        # Backward: left and right swap roles, and both windows move a quarter of their side
        aside = np.where(np.arange(len(index))[:, None] % 2, (1, 0), (0, 1)) * options.window // 4
        third = forward.correlate(at[index] + aside, np.round(found) + aside, RECENTRED, swap=True)
        again = np.round(found) - third.shift
        shift[index] = found - at[index]
        quality[index] = second.quality
        backward[index] = np.where(third.inside, np.hypot(*(again - found).T), np.inf)
        ok[index] = first.inside & second.inside & (second.clear >= options.min_clear)
    ok &= backward <= options.max_backward
    sigma = predicted_sigma(quality)
    return Measured(at, at + shift, sigma, quality, backward, ok)


def predicted_sigma(quality: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard deviation per axis in pixels that a correlation peak of this height has (see ``SIGMA_SCALE``)."""
    q = np.clip(quality, 0.01, 1.0)
    return np.asarray(SIGMA_SCALE * np.sqrt(1 - q**2) / q + SIGMA_FLOOR)


class _Peaks(NamedTuple):
    shift: Points
    quality: NDArray[np.float64]
    clear: NDArray[np.float64]
    inside: NDArray[np.bool_]


def _blocks(points: Points) -> Iterator[NDArray[np.intp]]:
    """Indices of the points of one block after another, so that neighbours are read together."""
    if not len(points):
        return
    cell = np.floor(points / BLOCK).astype(np.int64)
    key = cell[:, 1] * (cell[:, 0].max() + 2) + cell[:, 0]
    order = np.argsort(key, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(key[order])) + 1)


class _Views:
    """The parts of both images that one block of points can touch, as tensors, and correlation between them."""

    def __init__(self, left: Raster, right: Raster, at: Points, expected: Points, options: Refinement) -> None:
        s = options.window
        margin = s // 2 + s // 4 + options.radius + RECENTRED + 1
        self.device = torch.device(options.device)
        self.images = tuple(_part(r, p, margin, self.device) for r, p in ((left, at), (right, expected)))
        hann = torch.hann_window(s, periodic=False, device=self.device)
        self.taper = hann[:, None] * hann[None]
        fy, fx = torch.fft.fftfreq(s, device=self.device)[:, None], torch.fft.rfftfreq(s, device=self.device)[None]
        low = torch.exp(-(fy**2 + fx**2) / (2 * SPECTRAL_SIGMA**2))
        # Scaled so that identical content peaks at one
        self.low = low / torch.fft.irfft2(low.to(torch.complex64), s=(s, s))[0, 0]
        self.offsets = torch.arange(-s // 2, s // 2, device=self.device)
        # A batch whose arrays stay in the cache is several times faster on a CPU
        self.batch = 64 if self.device.type == "cpu" else 4096

    def correlate(self, at: Points, to: Points, radius: int, *, swap: bool = False) -> _Peaks:
        """Displacement of the right windows' content (centred on ``to``) against the left ones' (centred on ``at``)."""

        def part(i: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            sides = [
                self._windows(side, torch.from_numpy(p[i : i + self.batch]).to(self.device))
                for side, p in enumerate((at, to))
            ]
            a, b = reversed(sides) if swap else sides
            return self._peaks(a, b, radius)

        parts = list(in_threads(part, range(0, len(at), self.batch)))
        return _Peaks(*(torch.cat(t).double().cpu().numpy() for t in zip(*parts, strict=True)))._replace(
            inside=torch.cat([p[3] for p in parts]).cpu().numpy()
        )

    def _windows(self, side: int, centre: Tensor) -> tuple[Tensor, Tensor]:
        pixels, valid, origin = self.images[side]
        x, y = (centre - origin).round().long().unbind(1)
        half = len(self.offsets) // 2
        # A wild expectation may point outside; its windows are read at the border and fail there as not clear
        inside = (x >= half) & (x <= pixels.shape[1] - half) & (y >= half) & (y <= pixels.shape[0] - half)
        x, y = x.clamp(half, pixels.shape[1] - half), y.clamp(half, pixels.shape[0] - half)
        rows, cols = (y[:, None] + self.offsets)[:, :, None], (x[:, None] + self.offsets)[:, None, :]
        return pixels[rows, cols], valid[rows, cols] & inside[:, None, None]

    def _peaks(
        self, a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor], radius: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        weight = (a[1] & b[1]) * self.taper
        total = weight.sum((1, 2), keepdim=True)
        spectra = []
        for pixels, _ in (a, b):
            mean = (pixels * weight).sum((1, 2), keepdim=True) / total.clamp_min(1e-6)
            spectra.append(torch.fft.rfft2((pixels - mean).mul_(weight)))
        cross = spectra[1] * spectra[0].conj()
        cross = cross * (self.low / (cross.abs() + 1e-20))
        s, n = len(self.offsets), 2 * radius + 1
        surface = torch.roll(torch.fft.irfft2(cross, s=(s, s)), (radius, radius), (1, 2))[:, :n, :n]
        best = surface.flatten(1).argmax(1)
        row, col = torch.div(best, n, rounding_mode="floor"), best % n
        inside = (row > 0) & (row < n - 1) & (col > 0) & (col < n - 1)
        row, col = row.clamp(1, n - 2), col.clamp(1, n - 2)
        k = torch.arange(len(best), device=self.device)

        def log(dy: int, dx: int) -> Tensor:
            return surface[k, row + dy, col + dx].clamp_min(1e-3).log()

        top, up, down, before, after = log(0, 0), log(-1, 0), log(1, 0), log(0, -1), log(0, 1)
        dx = 0.5 * (after - before) / (2 * top - after - before).clamp_min(1e-6)
        dy = 0.5 * (down - up) / (2 * top - down - up).clamp_min(1e-6)
        inside &= (dx.abs() <= 1) & (dy.abs() <= 1)
        height = (top + 0.25 * dx * (after - before) + 0.25 * dy * (down - up)).exp().clamp(0, 1)
        shift = torch.stack([col - radius + dx, row - radius + dy], 1)
        return shift, height, total[:, 0, 0] / self.taper.sum(), inside


def _part(raster: Raster, points: Points, margin: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels and validity around points, padded with invalid where the image ends, and the (x, y) of their origin."""
    rows, cols = raster.valid.shape
    # Points that lie far outside must not make the part huge: nothing is there to be read
    points = np.clip(points, -margin, np.array([cols, rows]) + margin)
    x0, y0 = (np.floor(points.min(0)) - margin).astype(int)
    x1, y1 = (np.ceil(points.max(0)) + margin).astype(int)
    pixels, valid = np.zeros((y1 - y0, x1 - x0), np.float32), np.zeros((y1 - y0, x1 - x0), bool)
    top, bottom, start, stop = max(y0, 0), min(y1, rows), max(x0, 0), min(x1, cols)
    if top < bottom and start < stop:
        inner = np.s_[top - y0 : bottom - y0, start - x0 : stop - x0]
        pixels[inner] = raster.pixels[top:bottom, start:stop]
        valid[inner] = raster.valid[top:bottom, start:stop]
    pixels[~valid] = 0  # a NaN under the mask would poison the sums
    origin = torch.tensor([x0, y0], device=device)
    return torch.from_numpy(pixels).to(device), torch.from_numpy(valid).to(device), origin


def grid(valid: NDArray[np.bool_], candidates: int, least: int = 8) -> Points:
    """A regular grid of about that many points on valid pixels.

    Args:
        valid: (rows, cols), where points may lie; a memory map is only sampled.
        candidates: about how many points are wanted.
        least: smallest spacing in pixels (closer windows measure the same pixels again).

    Returns:
        (N, 2) x, y of pixel corners, row by row.
    """
    share = float(np.asarray(valid[4::8, 4::8]).mean()) if min(valid.shape) > 4 else float(np.mean(valid))
    area = share * valid.size
    spacing = max(least, int(np.sqrt(area / candidates))) if area else least
    rows, cols = (np.arange(spacing // 2, n, spacing) for n in valid.shape)
    y, x = np.nonzero(valid[np.ix_(rows, cols)])
    return np.column_stack([cols[x], rows[y]]).astype(np.float64)
