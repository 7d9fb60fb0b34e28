"""Sub-pixel refinement: batched phase correlation around positions that are already roughly known.

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
from typing import TYPE_CHECKING

import numpy as np
import torch

from sentinel_match import verify
from sentinel_match.correlation import Correlator, Points, part, peaks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from sentinel_match.raster import Raster

ATTEMPTS = (("intensity", 1), ("orientation", 1), ("orientation", 2))
"""What is correlated, and in windows of how many times the given side: the next where those before are not sure."""
SURE = 0.6
"""A peak this distinct needs no other attempt: between winter and summer 94 to 100 % of them are right, by intensity as
by orientation; of those less distinct than ``DISTINCT`` less than half."""
DISTINCT = 0.15
SIGMA_SCALE = 0.054
SIGMA_FLOOR = 0.01
"""sigma = scale · sqrt(1 - q²)/q + floor, in pixels, q the height of the peak. In bins of q from 0.2 up the NMAD is
0.75 to 0.9 of it on T33UUU and 0.7 to 0.85 on T36UYA: a little too large rather than too small."""
ORIENTATION_SIGMA = {1: (0.053, 0.5), 2: (0.026, 0.75)}
"""sigma = scale / q ** power for orientation, by how many times the window is larger: on three winter and spring to
summer pairs at 107 m the NMAD in bins of q from 0.1 to 0.35 is within a tenth of it."""
ORIENTATION_FLOOR = 0.1
"""Pixels: what shadows that turn with the sun shift the gradients by, and averaging does not remove. Twice what they
shift intensity by in the invented landscape, so where both can be measured intensity has the say."""
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
    distinct: NDArray[np.float64]
    """(N,) how far the peak stands out, 0 to 1: 1 less the strongest other extremum as a share of it. It tells right
    from wrong better than the height does."""
    backward: NDArray[np.float64]
    """(N,) distance between forward and backward measurement, pixels."""
    ok: NDArray[np.bool_]
    """(N,) measured inside the search, on clear ground, forward and backward agreeing."""
    refined: NDArray[np.bool_]
    """(N,) measured here; ``False`` = kept as a matcher found it."""
    view: NDArray[np.str_]
    """(N,) what was correlated, and how large the window was: ``intensity 64``."""

    def __len__(self) -> int:
        return len(self.ok)

    @staticmethod
    def nothing(left: Points, right: Points) -> Measured:
        """Points of which none could be measured."""
        zero, no = np.zeros(len(left)), np.zeros(len(left), bool)
        return Measured(left, right, zero, zero, zero, zero, no, no, np.full(len(left), "", "U16"))


def measure(
    left: Raster | tuple[Raster, ...],
    right: Raster | tuple[Raster, ...],
    at: Points,
    expected: Points,
    options: Refinement | None = None,
) -> Measured:
    """Measure to sub-pixel precision where the ground at left points lies in the right image.

    Args:
        left: normalised pixels and validity, of several bands if there are; memory maps are read block by block.
        right: the other image, at the same ground sampling distance.
        at: (N, 2) x, y in ``left``. A point is moved to the nearest pixel corner, the centre of its window.
        expected: (N, 2) x, y in ``right`` where each point should be, to ``options.radius`` pixels.
        options: window, search radius and thresholds.

    Returns:
        One entry per point, in the order given.
    """
    options = options or Refinement()
    images = left if isinstance(left, tuple) else (left,), right if isinstance(right, tuple) else (right,)
    at, expected = np.round(at), np.round(expected)
    measured = _attempt(*images, at, expected, options, *ATTEMPTS[0])
    for view, times in ATTEMPTS[1:]:
        again = np.flatnonzero(~(measured.ok & (measured.distinct >= SURE)))
        # Large windows side by side see the same: a quarter of a window apart is close enough
        again = again[verify.apart(at[again], measured.distinct[again], options.window * times / 4)]
        better = _attempt(*images, at[again], expected[again], options, view, times)
        replaced = better.ok & (~measured.ok[again] | (better.distinct > measured.distinct[again]))
        for name in ("right", "sigma", "quality", "distinct", "backward", "ok", "view"):
            getattr(measured, name)[again[replaced]] = getattr(better, name)[replaced]
    return measured


def _attempt(
    left: tuple[Raster, ...],
    right: tuple[Raster, ...],
    at: Points,
    expected: Points,
    options: Refinement,
    view: str,
    times: int,
) -> Measured:
    n, window = len(at), options.window * times
    shift, quality, distinct = np.zeros((n, 2)), np.zeros(n), np.zeros(n)
    backward, ok = np.full(n, np.inf), np.zeros(n, bool)
    margin = window // 2 + window // 4 + options.radius + RECENTRED + 1
    device = torch.device(options.device)
    for index in _blocks(at):
        here = part([i.pixels for i in left], left[0].valid, at[index], margin, view, device)
        there = part([i.pixels for i in right], right[0].valid, expected[index], margin, view, device)
        correlator = Correlator(here, there, window, view)
        found = peaks(correlator.surfaces(at[index], expected[index], options.radius).height)
        centred = expected[index] + np.round(found.shift)
        surfaces = correlator.surfaces(at[index], centred, RECENTRED)
        second = peaks(surfaces.height)
        place = centred + second.shift
        # Backward: left and right swap roles, and both windows move a quarter of their side
        aside = np.where(np.arange(len(index))[:, None] % 2, (1, 0), (0, 1)) * window // 4
        third = peaks(correlator.surfaces(at[index] + aside, np.round(place) + aside, RECENTRED, swap=True).height)
        again = np.round(place) - third.shift
        shift[index] = place - at[index]
        quality[index] = second.quality
        distinct[index] = np.clip(1 - found.second / np.maximum(found.quality, 1e-3), 0, 1)
        backward[index] = np.where(third.inside, np.hypot(*(again - place).T), np.inf)
        clear = surfaces.clear.double().cpu().numpy()
        ok[index] = found.inside & second.inside & (clear >= options.min_clear)
    ok &= (backward <= options.max_backward) & (distinct >= DISTINCT)
    sigma = predicted_sigma(quality, view, times)
    return Measured(
        at, at + shift, sigma, quality, distinct, backward, ok, np.ones(n, bool), np.full(n, f"{view} {window}", "U16")
    )


def predicted_sigma(quality: NDArray[np.float64], view: str = "intensity", times: int = 1) -> NDArray[np.float64]:
    """Standard deviation per axis in pixels that a correlation peak of this height has (see ``SIGMA_SCALE``)."""
    q = np.clip(quality, 0.01, 1.0)
    if view == "intensity":
        return np.asarray(SIGMA_SCALE * np.sqrt(1 - q**2) / q + SIGMA_FLOOR)
    scale, power = ORIENTATION_SIGMA[times]
    return np.asarray(np.hypot(scale / q**power, ORIENTATION_FLOOR))


def _blocks(points: Points) -> Iterator[NDArray[np.intp]]:
    """Indices of the points of one block after another, so that neighbours are read together."""
    if not len(points):
        return
    cell = np.floor(points / BLOCK).astype(np.int64)
    key = cell[:, 1] * (cell[:, 0].max() + 2) + cell[:, 0]
    order = np.argsort(key, kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(key[order])) + 1)


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
