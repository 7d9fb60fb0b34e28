"""Correlation surfaces: how well two windows agree at every displacement, by intensity or by orientation of gradients.

The normalised cross-power spectrum of two windows is a pure phase ramp whose slope is the displacement (Kuglin &
Hines 1975, "The phase correlation image alignment method"). Weighted with a Gaussian low-pass its inverse transform
is, for identical content, a Gaussian of known width at the displacement, so a parabola through the logarithm of the
peak and its neighbours finds the maximum to hundredths of a pixel (Foroosh, Zerubia & Berthod 2002 discuss the
peak's shape), and its height, 1 for identical content, says how much of the spectrum agrees.

Two views of an image enter. ``intensity`` is the more precise where the seasons agree: on T33UUU, ten days apart, it
leaves an NMAD of 0.060 px where orientation leaves 0.071. ``orientation``, the gradient as a complex number of almost
unit length (Fitch, Kadyrov, Christmas & Kittler 2002, "Orientation Correlation", BMVC), holds where brightness
changes: between February snow and June and July it finds 331 and 260 of 3,364 grid points at 95 % precision where
intensity finds 91 and 23.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from sentinel_match.parallel import in_threads
from sentinel_match.raster.npy import release

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

Points = NDArray[np.float64]
"""(N, 2) x, y in pixels, origin at the outer corner of the first pixel."""

SPECTRAL_SIGMA = {"intensity": 0.2, "orientation": 0.25}
"""Width of the Gaussian low-pass in cycles per pixel. Intensity: see ``refine``. Orientation: 0.1, 0.15, 0.2, 0.3 find
846, 1292, 1505, 1627 grid points at 95 % precision from April to August; 0.3 measures 10 % less exactly than 0.2."""
GPU_SHARE, WINDOW_BYTES = 0.25, 64
"""The part of a GPU's free memory that a batch may take, for others may use it, and what it takes of a pixel of each
window while the spectra of both images and of their product are there."""
WEDGES = 8
"""Wedges over 180 degrees, of which each half of a spectrum has every other one."""
SOFT_GRADIENT = 0.01
"""Gradients well above this (per pixel, of the range 0..1) count by their direction alone; a third to three times as
much changes the points found by a tenth."""

FADE = 8.0
"""Pixels over which windows fade out beside what is not valid, where they measure: under a tenth of cloud that halves
the errors of invented tiles ten days apart, for one point in 25. Coarse matches need every window."""


class Part(NamedTuple):
    """A part of some images of one scene, ready to be cut into windows."""

    pixels: tuple[Tensor, ...]
    """(rows, cols) each, float32 or complex64, 0 where not valid."""
    valid: Tensor
    """(rows, cols) bool."""
    origin: Tensor
    """(2,) x, y of the part's outer corner in the whole image."""
    weight: Tensor | None
    """(rows, cols) float32, 0 where not valid, 1 well within: see :func:`faded`; ``None`` where windows do not fade."""


class Surfaces(NamedTuple):
    """Correlation at every whole displacement within a radius, for N windows."""

    height: Tensor
    """(N, 2 R + 1, 2 R + 1): rows are dy, columns dx, from -R to R; 1 = identical content."""
    clear: Tensor
    """(N,) share of the tapered window that is valid in both images; what lies at the edge of that counts less."""

    def where(self, mask: Tensor) -> Surfaces:
        """Take those of a mask."""
        return Surfaces(self.height[mask], self.clear[mask])


class Peaks(NamedTuple):
    """The maximum of each surface."""

    shift: Points
    """(N, 2) x, y."""
    quality: NDArray[np.float64]
    """(N,) height, 0 to 1."""
    second: NDArray[np.float64]
    """(N,) the strongest value that is not beside the peak, positive or negative: a trough as deep as the peak is high
    betrays edges that changed their sides, as under haze, and then the peak does not lie where the ground is."""
    inside: NDArray[np.bool_]
    """(N,) a true maximum, not the rim of the search."""

    @property
    def distinct(self) -> NDArray[np.float64]:
        """Compute (N,) how far each peak stands out, 0 to 1: 1 less the strongest other extremum as a share of it."""
        return np.clip(1 - self.second / np.maximum(self.quality, 1e-3), 0, 1)


def part(
    images: Sequence[NDArray[Any]],
    valid: NDArray[np.bool_],
    points: Points,
    margin: int,
    view: str,
    device: torch.device,
    fade: float = 0.0,
) -> Part:
    """Cut the part of some images on one grid around points, padded with invalid where they end.

    Args:
        images: (rows, cols) each, 0..1: the bands of one scene; memory maps are read here and only here.
        valid: (rows, cols).
        points: (N, 2) x, y in pixels.
        margin: pixels around them.
        view: ``intensity`` or ``orientation``.
        device: where the tensors shall be.
        fade: pixels over which windows fade out beside what is not valid.
    """
    rows, cols = valid.shape
    # Points that lie far outside must not make the part huge: nothing is there to be read
    points = np.clip(points, -margin, np.array([cols, rows]) + margin)
    x0, y0 = (np.floor(points.min(0)) - margin).astype(int)
    x1, y1 = (np.ceil(points.max(0)) + margin).astype(int)
    top, bottom, start, stop = max(y0, 0), min(y1, rows), max(x0, 0), min(x1, cols)
    clear = np.zeros((y1 - y0, x1 - x0), bool)
    inner = np.s_[top - y0 : bottom - y0, start - x0 : stop - x0]
    overlap = top < bottom and start < stop
    if overlap:
        clear[inner] = valid[top:bottom, start:stop]
        release(valid)
    mask = torch.from_numpy(clear).to(device)
    views, view_mask = [], mask
    for image in images:
        pixels = np.zeros(clear.shape, np.float32)
        if overlap:
            pixels[inner] = image[top:bottom, start:stop]
            release(image)
        pixels[~clear] = 0  # a NaN under the mask would poison the sums
        content = torch.from_numpy(pixels).to(device)
        if view == "orientation":
            content, view_mask = orientation(content, mask)
        views.append(content)
    return Part(tuple(views), view_mask, torch.tensor([x0, y0], device=device), faded(clear, view, fade, device))


def faded(valid: NDArray[np.bool_], view: str, fade: float, device: torch.device) -> Tensor | None:
    """Compute weights that rise from the edge of what is valid over so many pixels; ``None`` where there is no edge.

    A hard edge lies on the same whole pixels of both windows wherever the ground lies, and draws the peak to them: by
    0.1 px of half a pixel beside a hole, in both halves of the spectrum alike, so that sigma knows nothing of it.
    """
    if not fade or valid.all():
        return None
    import cv2

    framed = cv2.distanceTransform(valid.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    # A gradient is not known next to what is not valid
    share = np.clip((framed - (1.5 if view == "orientation" else 0.5)) / fade, 0, 1)
    return torch.from_numpy(share * share * (3 - 2 * share)).to(device)


def orientation(pixels: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Compute gradients (Sobel) as complex numbers of nearly unit length, and where they are known.

    Args:
        pixels: (rows, cols) float32, 0..1.
        valid: (rows, cols) bool; next to an invalid pixel there is no gradient.
    """
    # In slices: a convolution of one channel takes five times as long
    padded = functional.pad(pixels[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    down = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    across = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    gx, gy = (down[:, 2:] - down[:, :-2]) / 8, (across[2:] - across[:-2]) / 8
    mask = functional.pad(valid, (1, 1, 1, 1), value=True)
    mask = mask[:-2] & mask[1:-1] & mask[2:]
    mask = mask[:, :-2] & mask[:, 1:-1] & mask[:, 2:]
    scale = mask / (torch.hypot(gx, gy) + SOFT_GRADIENT)
    return torch.complex(gx * scale, gy * scale), mask


class Correlator:
    """Windows of one size between a part of the left and of the right scene."""

    def __init__(self, left: Part, right: Part, window: int, view: str) -> None:
        self.sides = (left, right)
        self.device = left.valid.device
        hann = torch.hann_window(window, periodic=False, device=self.device)
        self.taper = hann[:, None] * hann[None]
        real = not left.pixels[0].is_complex()
        rows = torch.fft.fftfreq(window, device=self.device)
        cols = torch.fft.rfftfreq(window, device=self.device) if real else rows
        self.frequencies = (rows, cols)
        self.forward = torch.fft.rfft2 if real else torch.fft.fft2
        self.window, self.real, self.sigma = window, real, SPECTRAL_SIGMA[view]
        wedge = torch.atan2(rows[:, None], cols[None]).remainder(torch.pi).mul(WEDGES / torch.pi).floor()
        self.half = (wedge % 2 == 0).float()
        self.batch = max(1, _pixels_at_once(self.device) // window**2)

    def surfaces(self, at: Points, to: Points, radius: int, cut: Points | None = None) -> Surfaces:
        """Correlate the right windows, centred on ``to``, with the left ones, centred on ``at``.

        Args:
            at: (N, 2) whole pixels in the left image.
            to: (N, 2) in the right image; fractions shift the surface, not the window.
            radius: largest displacement.
            cut: (N, 2) whole pixels where the right windows are cut; the nearest to ``to`` when not given.
        """
        cut = np.round(to) if cut is None else cut
        return Surfaces(*self._correlated(at, to, cut, self._inverse(radius)))

    def halves(self, at: Points, to: Points, radius: int, cut: Points) -> tuple[Surfaces, Surfaces, Surfaces]:
        """Correlate windows as :meth:`surfaces` does, by the whole spectrum and by each half of it.

        The halves are alternating wedges, so that each knows both directions. They have no frequency in common: what
        noise does to one it does not do to the other, while the ground moves both.

        Args:
            at: (N, 2) whole pixels in the left image.
            to: (N, 2) in the right image.
            radius: largest displacement.
            cut: (N, 2) whole pixels where the right windows are cut.
        """
        inverse = self._inverse(radius)
        ones = torch.ones(1, *self.half.shape, dtype=torch.complex64, device=self.device)
        unit = inverse(ones * self.half)[0, radius, radius]

        def split(cross: Tensor) -> Tensor:
            whole, one = inverse(cross), inverse(cross * self.half)
            return torch.stack([whole, one / unit, (whole - one) / (1 - unit)], 1)

        heights, clear = self._correlated(at, to, cut, split)
        whole, one, other = (Surfaces(height, clear) for height in heights.unbind(1))
        return whole, one, other

    def _correlated(
        self, at: Points, to: Points, cut: Points, inverse: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Correlate windows; return (N, ...) what ``inverse`` makes of the cross-power spectra, and clear shares."""
        # All at once, and what decides is decided here: nothing within asks the device, which runs ahead of this thread
        here, there, whole = (torch.from_numpy(points).to(self.device) for points in (at, to, cut))
        aside = (whole - there).float() if np.any(to != cut) else None

        def piece(i: int) -> tuple[Tensor, Tensor]:
            some = slice(i, i + self.batch)
            off = None if aside is None else aside[some]
            cross, clear = self._cross(self._windows(0, here[some]), self._windows(1, whole[some]), off)
            return inverse(cross), clear

        pieces = list(in_threads(piece, range(0, len(at), self.batch)))
        heights, clear = (torch.cat(t) for t in zip(*pieces, strict=True))
        return heights, clear

    def _inverse(self, radius: int) -> Callable[[Tensor], Tensor]:
        """Make what transforms spectra back, through the low-pass and within a radius; identical content peaks at one.

        As two products of matrices: the low-pass is a product of one by rows and one by columns, and of the whole
        transform, all of which a fast one makes, (2 R + 1)^2 values are wanted.
        """
        place = torch.arange(-radius, radius + 1, device=self.device)
        rows, cols = (
            torch.exp(2j * torch.pi * f[:, None] * place) * torch.exp(-(f[:, None] ** 2) / (2 * self.sigma**2))
            for f in self.frequencies
        )
        if self.real:  # the columns that are not there are those of the others, mirrored
            cols[1 : (self.window + 1) // 2] *= 2
        total = (rows[:, radius, None] * cols[None, :, radius]).real.sum()
        count, side = len(cols), len(place)
        # Real and imaginary parts one after the other
        across = torch.cat([torch.cat([cols.real, cols.imag], 1), torch.cat([-cols.imag, cols.real], 1)])
        across = across.view(2, count, 2 * side).transpose(0, 1).reshape(2 * count, 2 * side).contiguous()
        down = torch.stack([rows.real, -rows.imag], 1).flatten(0, 1).T.contiguous() / total

        def transform(spectrum: Tensor) -> Tensor:
            across_made = torch.view_as_real(spectrum.resolve_conj()).reshape(-1, 2 * count) @ across
            return down @ across_made.view(len(spectrum), 2 * len(rows), side)

        return transform

    def _windows(self, side: int, centre: Tensor) -> tuple[list[Tensor], Tensor]:
        images, valid, origin, weight = self.sides[side]
        x, y = (centre - origin).round().long().unbind(1)
        half, (height, width) = self.window // 2, valid.shape
        # A wild expectation may point outside; its windows are read at the border and fail there as not clear
        inside = (x >= half) & (x <= width - half) & (y >= half) & (y <= height - half)
        x, y = x.clamp(half, width - half), y.clamp(half, height - half)
        # Row by row of all windows: as windows of a view with four axes it takes two to three times as long
        steps = torch.arange(self.window, device=self.device)
        first = (((y - half)[:, None] + steps) * width + (x - half)[:, None]).flatten()

        def cut(image: Tensor) -> Tensor:
            runs = image.contiguous().as_strided((image.numel() - self.window + 1, self.window), (1, 1))
            return runs.index_select(0, first).view(len(x), self.window, self.window)

        return [cut(pixels) for pixels in images], cut(valid if weight is None else weight) * inside[:, None, None]

    def _cross(
        self, a: tuple[list[Tensor], Tensor], b: tuple[list[Tensor], Tensor], aside: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Compute the normalised cross-power spectra of windows, and the clear share of each."""
        weight = a[1] * b[1] * self.taper
        total = weight.sum((1, 2), keepdim=True)
        cross = None
        for pair in zip(a[0], b[0], strict=True):
            spectra = []
            for pixels in pair:
                mean = (pixels * weight).sum((1, 2), keepdim=True) / total.clamp_min(1e-6)
                spectra.append(self.forward((pixels - mean).mul_(weight)))
            product = torch.sgn(spectra[1] * spectra[0].conj())
            cross = product if cross is None else cross + product
        if cross is None:
            raise ValueError("there is no image to correlate")
        torch.view_as_real(cross).div_(len(a[0]))  # divided as complex it takes longer than both transforms
        if aside is not None:
            angles = (-2 * torch.pi * f * aside[:, k, None] for f, k in zip(self.frequencies, (1, 0), strict=True))
            rows, cols = (torch.complex(angle.cos(), angle.sin()) for angle in angles)
            cross = (cross * rows[:, :, None]).mul_(cols[:, None, :])
        return cross, total[:, 0, 0] / self.taper.sum()


def _pixels_at_once(device: torch.device) -> int:
    """Count the pixels of a batch of windows: what the cache of a CPU holds, or a part of a GPU's free memory."""
    if device.type != "cuda":
        return 64 * 64**2  # several times faster than a batch that outgrows the cache
    return int(torch.cuda.mem_get_info(device)[0] * GPU_SHARE / WINDOW_BYTES)


def peaks(height: Tensor) -> Peaks:
    """Find position and height of the highest point of each surface, by parabolas through the logarithms.

    Args:
        height: (N, 2 R + 1, 2 R + 1).
    """
    count, n = height.shape[:2]
    radius, k = n // 2, torch.arange(count, device=height.device)
    best = height.flatten(1).argmax(1)
    row, col = torch.div(best, n, rounding_mode="floor"), best % n
    inside = (row > 0) & (row < n - 1) & (col > 0) & (col < n - 1)
    row, col = row.clamp(1, n - 2), col.clamp(1, n - 2)

    def log(dy: int, dx: int) -> Tensor:
        return height[k, row + dy, col + dx].clamp_min(1e-3).log()

    top, up, down, before, after = log(0, 0), log(-1, 0), log(1, 0), log(0, -1), log(0, 1)
    dx = 0.5 * (after - before) / (2 * top - after - before).clamp_min(1e-6)
    dy = 0.5 * (down - up) / (2 * top - down - up).clamp_min(1e-6)
    inside &= (dx.abs() <= 1) & (dy.abs() <= 1)
    quality = (top + 0.25 * dx * (after - before) + 0.25 * dy * (down - up)).exp().clamp(0, 1)
    others = height.clone()
    for i in (-1, 0, 1):
        for j in (-1, 0, 1):
            others[k, row + i, col + j] = 0
    second = others.flatten(1).abs().max(1).values if n > 3 else torch.zeros_like(quality)
    shift = torch.stack([col - radius + dx, row - radius + dy], 1)
    columns = [t.double() for t in (shift, quality[:, None], second[:, None], inside[:, None])]
    numbers = torch.cat(columns, 1).cpu().numpy()  # in one piece: each is waited for
    return Peaks(numbers[:, :2].copy(), numbers[:, 2].copy(), numbers[:, 3].copy(), numbers[:, 4] > 0)
