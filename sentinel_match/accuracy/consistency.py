"""Whether one displacement is what both images show: the same by coarse detail as by fine, and the only one.

Tie points agree with each other wherever both images share *something*; that it is the ground, they cannot tell. A
look at spectra of windows can, for a hundredth of the work:

* **Octaves.** A pattern on the grid of pixels, stairs of a coarser grid, blocks of JPEG are finer than the ground. The
  ground's spectrum falls with frequency, so coarse detail is the ground's own: where that has moved by another length
  than fine detail, points were drawn towards the pattern by as much; where nothing but the finest detail agrees, at
  whole pixels, there is no ground in it at all. Of pairs of real acquisitions coherence falls towards fine detail.
* **Steadiness.** Displacement that the transform does not follow takes from coherence what a Gaussian of its size
  would, exp(-k² s² / 2): estimates of s by three octaves agree. What the ground changes, and blur, look otherwise.
* **Rivals.** The correlation surface averaged over all windows, laid over each other by the transform, has one peak of
  real ground. A second one is a period of the ground, a cloud, a ghost, or a part of the image that moved by itself.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sentinel_match.accuracy.storage import shared_marks
from sentinel_match.accuracy.windows import CLEAR_SHARE, WINDOW, MaskedWindow, clear_corners, cut
from sentinel_match.geometry.grids import pixel_size, same_pixels, to_metres, to_pixels
from sentinel_match.geometry.robust import error_of_median, nmad
from sentinel_match.opinions import Consistency, Octave, OneWay, Rival
from sentinel_match.raster.npy import release

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sentinel_match.geometry.ellipse import Ellipses
    from sentinel_match.geometry.transform import Transform
    from sentinel_match.raster.raster import Raster

OCTAVES = (64.0, 32.0, 16.0, 8.0, 4.0, 2.0)
"""Wavelengths in pixels between which detail is one octave, the coarsest first."""
COHERENT = 0.5
"""Coherence of an octave from which its displacement counts: between seasons it says nothing below."""
FEWEST_WINDOWS = 4
"""Windows whose median and scatter mean something."""
SURE = 4.0
"""Standard errors, of the length, from which coarse detail lies elsewhere."""
UNFOLLOWED, STEADY = 0.25, 1.3
"""Pixels of displacement inside windows from which it counts, and how far its estimates by three octaves may differ as
a ratio: waves too short to be followed give one to 1.1, changes of the ground one that halves with each finer octave,
blur one that grows."""
SEEN_SCATTER = 0.1
"""Pixels that another estimator must see vary besides: noise over ground whose power falls with the square of the
frequency looks like displacement in the octaves, and scatters no windows."""
RISING = 0.15
"""By how much the finest detail must be more coherent than the ground's own to be a pattern. Over 28 pairs of two
dates it was more coherent by 0.09 in one, less in the others; under clouds, which hide the coarse detail of images at
120 m, by 0.11."""
FLAT = 0.4
"""What both images have in common per wave of the finest octave, over that of the octave before: 1 for fixed noise, .5
for stripes; optics leave 0.02 to 0.29 of ground (28 pairs of two dates), however much coarser detail has changed."""
WHITE = 0.7
"""The same of each of the last three octaves over the one before: fixed noise where there is no ground has 0.9 and more
in all of them, ground 0.6 at most in one."""
WHOLE = 0.1
"""Pixels from a whole number in both directions within which a displacement may be that of a pattern on both grids."""
EXACT, RISES = 0.03, 0.15
"""Pixels from a whole number within which a displacement hardly ever lies that is not of the grid, and by how much
detail there is more coherent than some coarser one where both images share what lies on it. Between seasons coherence
rises as much in a third of 60 pairs of dates, at displacements of any fraction."""
EDGES_RISE = 0.5
"""By how much detail must be more coherent than some coarser one where nothing but edges agrees: over 39 pairs of real
dates it is 0.25 at most, over regular fields whose crops have changed up to 0.9."""
RIVAL_RATIO, RIVAL_NOISE = 0.27, 8.0
"""A second peak so high as a share of the first, and over the scatter of the surface: over 28 pairs of two dates none
exceeds 0.20 where it stands out, over regular fields with other crops all exceed 0.29."""
NEAREST_RIVAL = 4.0
"""Pixels from the first peak: closer ones are its shoulders."""
RIVAL_LOW_PASS = 0.15
"""Width of the Gaussian low-pass in cycles per pixel."""
MOST_FLAT = 0.5
"""Share of the points beyond which what is not known of them is not known of the pair."""
SAME_WAY = 0.7
"""Length of the mean of doubled directions from which they are one: they scatter by 24 degrees."""

_HANN = np.hanning(WINDOW + 1)[:WINDOW]
_TAPER = _HANN[:, None] * _HANN
_KY, _KX = np.meshgrid(np.fft.fftfreq(WINDOW), np.fft.rfftfreq(WINDOW), indexing="ij")
_K = np.hypot(_KX, _KY)
_BANDS = tuple(np.nonzero((coarse * _K >= 1) & (fine * _K < 1)) for coarse, fine in pairwise(OCTAVES))
_LOW = np.exp(-(_K**2) / (2 * RIVAL_LOW_PASS**2))
_LOW /= np.fft.irfft2(_LOW, s=(WINDOW, WINDOW))[0, 0]
_STEP = 8
_INSIDE = np.arange(0, WINDOW + 1, _STEP, dtype=np.float64)
_WEIGHT = np.outer(np.sin(np.pi * _INSIDE / WINDOW) ** 2, np.sin(np.pi * _INSIDE / WINDOW) ** 2).ravel()
_PLACES = np.column_stack([v.ravel() for v in np.meshgrid(_INSIDE, _INSIDE)])
"""Where in a window the transform is asked, from its corner."""
BENT = 0.05
"""Pixels by which the displacement varies in a window from which its right side is laid back pixel by pixel."""


class _Spectra(NamedTuple):
    """Of windows that are laid over each other by the transform: N of them, and the octaves."""

    power: NDArray[np.float64]
    """(N, octaves) geometric mean of what both images have."""
    common: NDArray[np.float64]
    """(N, octaves) what they have in common, in the phase that the transform says."""
    slope: NDArray[np.float64]
    """(N, octaves, 2) how far the phase departs from that, by frequency."""
    stiffness: NDArray[np.float64]
    """(N, octaves, 2, 2) by how much a pixel would change the slope of fully coherent windows."""
    noise: NDArray[np.float64]
    """(N, octaves, 2, 2) variance of the slope of wholly incoherent ones."""
    surface: NDArray[np.float64]
    """(WINDOW, WINDOW) mean correlation, the transform's displacement in the middle."""
    shift: NDArray[np.float64]
    """(N, 2) pixels by which the right windows lie off the left ones."""


def consistency(
    left: Raster, right: Raster, transform: Transform, residual_m: NDArray[np.float64], scatter_m: float
) -> Consistency:
    """Compare what coarse and fine detail say of a transform, and look for rivals.

    Args:
        left: the reference.
        right: the other image, on a lattice as fine.
        transform: left metres to right metres.
        residual_m: (2,) by which the points lie off the transform, median, east and north.
        scatter_m: by how much a second estimator surely sees vary what the transform leaves; metres.
    """
    gsd = pixel_size(left.geobox)
    spectra = _measured(left, right, transform, residual_m / gsd * (1, -1))
    if spectra is None:
        return Consistency()
    octaves = _octaves(spectra, gsd)
    pull = _pull(octaves)
    shift = np.median(spectra.shift, 0)
    same = same_pixels(left.geobox, right.geobox)
    aside = float(np.abs(shift - np.round(shift)).max()) if same else 0.5
    marks = shared_marks(left, right, shift) if same else ""
    rise = _rises([octave.coherence for octave in octaves])
    coarse = max(abs(octave.coherence) for octave in octaves[1:4])  # fields that changed their colours are ground, too
    per_wave = np.median(spectra.common, 0) / [len(rows) for rows, _ in _BANDS]
    flat = bool(per_wave[-1] > FLAT * abs(per_wave[-2]))
    white = bool((per_wave[-3:] > WHITE * np.abs(per_wave[-4:-1])).all())
    return Consistency(
        windows=len(spectra.shift),
        octaves=octaves,
        pull_m=round(float(np.hypot(*pull)), 3),
        pull_dx_m=round(float(pull[0]), 3),
        pull_dy_m=round(float(pull[1]), 3),
        unfollowed_m=round(_unfollowed(octaves) * gsd, 3) if scatter_m > SEEN_SCATTER * gsd else 0.0,
        only_fine=aside < WHOLE and flat and octaves[-1].coherence > coarse + RISING,
        on_grid=aside < EXACT and (white or rise > RISES),
        only_edges=rise > EDGES_RISE,
        marks=marks if marks != "blocks" or aside < WHOLE else "",  # blocks let ground be seen that lies elsewhere
        rival=_rival(spectra, gsd),
    )


def one_way(ellipse: Ellipses, inlier: NDArray[np.bool_], reach: float) -> OneWay | None:
    """Say along which direction most inliers are not known; ``None`` where most are known along both.

    Args:
        ellipse: (N) of the points.
        inlier: (N,) which ones are believed.
        reach: metres from which a standard deviation says that nothing is known.
    """
    flat = inlier & (ellipse.major >= reach)
    share = float(flat.sum() / max(inlier.sum(), 1))
    if share <= MOST_FLAT:
        return None
    double = np.exp(2j * np.radians(ellipse.azimuth[flat])).mean()  # of axes, which have no front
    azimuth = float(np.degrees(np.angle(double)) / 2 % 180)
    return OneWay(share=round(share, 3), azimuth_deg=round(azimuth, 1) if abs(double) >= SAME_WAY else None)


def _octaves(spectra: _Spectra, gsd: float) -> tuple[Octave, ...]:
    """Compare the octaves: coherence, and by how far each would have the right image elsewhere than the points."""
    count = len(spectra.shift)
    octaves = []
    for k, (coarse, fine) in enumerate(pairwise(OCTAVES)):
        coherence = float(np.median(spectra.common[:, k] / np.maximum(spectra.power[:, k], 1e-12)))
        if coherence < COHERENT or count < FEWEST_WINDOWS:
            octaves.append(Octave(longest_px=coarse, shortest_px=fine, coherence=round(coherence, 3)))
            continue
        inverse = np.linalg.pinv(coherence * spectra.stiffness[:, k])
        off = np.einsum("nij,nj->ni", inverse, spectra.slope[:, k])
        middle = np.median(off, 0)
        seen = [error_of_median(nmad(off[:, axis]), count) for axis in (0, 1)]
        # Few windows scatter too little by chance; the incoherent part of the spectrum says how far they should
        variance = (1 - coherence**2) / 2 * np.einsum("nij,njk,nik->ni", inverse, spectra.noise[:, k], inverse)
        due = [error_of_median(deviation, count) for deviation in np.sqrt(np.median(variance, 0))]
        sigma = np.maximum(seen, due)
        octaves.append(
            Octave(
                longest_px=coarse,
                shortest_px=fine,
                coherence=round(coherence, 3),
                dx_m=round(float(middle[0]) * gsd, 3),
                dy_m=round(-float(middle[1]) * gsd, 3),
                sigma_m=round(float(np.hypot(*sigma)) * gsd, 3),
            )
        )
    return tuple(octaves)


def _pull(octaves: Sequence[Octave]) -> NDArray[np.float64]:
    """Find (2,) the metres east and north by which coarse detail surely lies elsewhere: by one octave, or by two.

    Octaves share no frequency, so their errors are independent; in the mean each weighs by its variance. The coarsest
    one is of shadows and slopes that differ by themselves, the finest one is where patterns are.
    """
    told = [(o.dx_m, o.dy_m, o.sigma_m) for o in octaves[1:4] if o.dx_m is not None and o.sigma_m]
    if not told:
        return np.zeros(2)
    off, sigma = np.array([row[:2] for row in told], float), np.array([row[2] for row in told], float)
    weight = 1 / sigma[:2] ** 2
    off = np.vstack([off, np.average(off[:2], axis=0, weights=weight)])
    sigma = np.append(sigma, 1 / np.sqrt(weight.sum()))
    size = np.where(np.hypot(*off.T) > SURE * sigma, np.hypot(*off.T), 0)
    return off[size.argmax()] if size.any() else np.zeros(2)


def _unfollowed(octaves: Sequence[Octave]) -> float:
    """Estimate the pixels by which the ground moves inside windows, root mean square; 0 where nothing tells so."""
    sizes = []
    for octave in octaves[1:4]:
        if not 0 < octave.coherence < 1:
            return 0.0
        k = 2 * np.pi / np.sqrt(octave.longest_px * octave.shortest_px)
        sizes.append(
            2 * np.sqrt(-np.log(octave.coherence)) / k
        )  # displaced along one direction: k² s² / 2 is its share
    steady = max(sizes) <= STEADY * min(sizes) and octaves[0].coherence >= octaves[1].coherence
    size = float(np.median(sizes))
    return size if steady and size >= UNFOLLOWED else 0.0


def _rises(coherence: Sequence[float]) -> float:
    """Compute by how much detail that both images show well is more coherent than some coarser one; 0 where none is."""
    lowest = np.minimum.accumulate(coherence)[:-1]
    return float(
        max((fine - low for fine, low in zip(coherence[1:], lowest, strict=True) if fine > COHERENT), default=0)
    )


def _rival(spectra: _Spectra, gsd: float) -> Rival | None:
    """Find a second answer that is nearly as good; ``None`` where there is none."""
    middle = WINDOW // 2
    y, x = np.mgrid[-middle:middle, -middle:middle]
    away = np.hypot(x, y)
    top = float(spectra.surface[away < 1.5].max())
    far = (away >= NEAREST_RIVAL) & (away < 0.4 * WINDOW)
    best = int(np.argmax(np.where(far, spectra.surface, -np.inf)))
    height, noise = float(spectra.surface.flat[best]), float(spectra.surface[far].std())
    if top <= 0 or height < RIVAL_RATIO * top or height < RIVAL_NOISE * noise:
        return None
    return Rival(
        dx_m=round(float(x.flat[best]) * gsd, 2),
        dy_m=round(-float(y.flat[best]) * gsd, 2),
        share=round(height / top, 3),
    )


def _measured(left: Raster, right: Raster, transform: Transform, residual: NDArray[np.float64]) -> _Spectra | None:
    """Measure the spectra of windows spread over the clear ground; ``None`` where there is room for none.

    The right ones are cut where the points have them: ``residual``, (2,) pixels, off where the transform has.
    """
    power, common, slope, stiffness, noise, shifts = [], [], [], [], [], []
    surface = np.zeros((WINDOW, WINDOW))
    for corner in clear_corners(left.valid):
        inside = corner + _PLACES
        moved = to_pixels(right.geobox, transform(to_metres(left.geobox, inside))) - inside + residual
        shift = np.average(moved, axis=0, weights=_WEIGHT)
        bent = np.abs(moved - shift).max() > BENT
        one = cut(left, corner, WINDOW)
        other = _laid_back(right, corner, moved) if bent else cut(right, corner + np.round(shift).astype(int), WINDOW)
        if one is None or other is None:
            continue
        weight = _TAPER * (one.valid & other.valid)
        if weight.sum() < CLEAR_SHARE * _TAPER.sum():
            continue
        images = (w.pixels.astype(np.float64) for w in (one, other))
        a, b = (np.fft.rfft2((image - np.average(image, weights=weight)) * weight) for image in images)
        aside = np.zeros(2) if bent else shift - np.round(shift)
        cross = b * a.conj() * np.exp(2j * np.pi * (_KX * aside[0] + _KY * aside[1]))
        size = np.abs(a) * np.abs(b)
        power.append([np.sqrt((np.abs(a[m]) ** 2).sum() * (np.abs(b[m]) ** 2).sum()) for m in _BANDS])
        common.append([cross[m].real.sum() for m in _BANDS])
        waves = [2 * np.pi * np.column_stack([_KX[m], _KY[m]]) for m in _BANDS]
        slope.append([-(k.T @ cross[m].imag) for k, m in zip(waves, _BANDS, strict=True)])
        stiffness.append([(k * size[m][:, None]).T @ k for k, m in zip(waves, _BANDS, strict=True)])
        noise.append([(k * size[m][:, None] ** 2).T @ k for k, m in zip(waves, _BANDS, strict=True)])
        surface += np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-12) * _LOW, s=(WINDOW, WINDOW))
        shifts.append(shift)
    if not shifts:
        return None
    return _Spectra(
        np.array(power),
        np.array(common),
        np.array(slope),
        np.array(stiffness),
        np.array(noise),
        np.fft.fftshift(surface / len(shifts)),
        np.array(shifts),
    )


def _laid_back(image: Raster, corner: NDArray[np.int_], moved: NDArray[np.float64]) -> MaskedWindow | None:
    """Cut a window of the left image's ground out of the right one, as the transform says, pixel by pixel.

    Args:
        image: the right one.
        corner: (2,) x, y of the window in the left image.
        moved: displacement at :data:`_PLACES`.
    """
    import cv2

    nodes = moved.reshape(len(_INSIDE), len(_INSIDE), 2)
    at = (np.arange(WINDOW) + 0.5) / _STEP
    x, y = np.meshgrid(at, at)
    dx, dy = (
        cv2.remap(nodes[..., k].astype(np.float32), x.astype(np.float32), y.astype(np.float32), cv2.INTER_CUBIC)
        for k in (0, 1)
    )
    low = np.floor(corner + moved.min(0)).astype(int) - 4
    high = np.ceil(corner + moved.max(0)).astype(int) + WINDOW + 5
    rows, cols = image.valid.shape
    if (low < 0).any() or high[0] > cols or high[1] > rows:
        return None
    part = np.s_[low[1] : high[1], low[0] : high[0]]
    pixels, valid = np.array(image.pixels[part], np.float32), np.array(image.valid[part], np.uint8)
    release(image.pixels, image.valid)
    own = np.arange(WINDOW, dtype=np.float32)
    to_x = own[None] + dx + np.float32(corner[0] - low[0])
    to_y = own[:, None] + dy + np.float32(corner[1] - low[1])
    shown = cv2.remap(pixels, to_x, to_y, cv2.INTER_LANCZOS4)
    known = cv2.remap(valid, to_x, to_y, cv2.INTER_NEAREST) > 0
    return MaskedWindow(np.where(known, shown, np.float32(0)), known)
