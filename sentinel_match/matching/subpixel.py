"""Sub-pixel refinement: phase correlation around positions that are already roughly known.

Points lie on the nodes of a lattice. Small windows around the nodes are correlated, and the *surfaces* of neighbours
are averaged before a peak is looked for: what they agree on adds up, noise and false peaks do not (Meinhart, Wereley &
Santiago 2000, "A PIV Algorithm for Estimating Time-Averaged Velocity Fields", average correlation). It is done twice:
the second time the windows are centred where the neighbourhood of the first answers says, so their taper pulls nothing
aside.

Figures behind the constants (tests/benchmarks/refine.py; 19,000 points of T33UUU at 10 m, residuals to a smooth field):
single windows of 32, 48, 64 px leave an NMAD per axis of 0.12, 0.09, 0.07 px for 1.5, 3.3, 7.1 CPU seconds. Averaged
over 7 x 7 nodes, windows of 32 px leave 0.042 and 0.050 px for 2.0 seconds. Over T36UYA, 60 m, March to August, the
ranking is the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from sentinel_match.matchers.correlation import Correlator, Points, part, peaks
from sentinel_match.models.field import averaged
from sentinel_match.schema import A_SHARE, ANY_WHOLE, ANY_WORD, check_fields

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from sentinel_match.raster.raster import Raster

NODE_SPACING = 14
"""Pixels between neighbouring nodes."""
AVERAGING_REACH = 3
"""Nodes on either side whose surfaces are averaged with those of a node."""
AVERAGING_SIGMA = 24.0
"""Standard deviation in pixels of the weights of that average."""
ATTEMPTS = (("intensity", 1), ("orientation", 1), ("orientation", 2))
"""Feature that is correlated, and over how many times the reach and sigma it is averaged: the next where those before
are not sure."""
PULL = 0.026
"""By how much the taper draws a peak towards where its window was cut, as a share of the way (T33UUU, windows of 32 px,
peaks of any height)."""
SETTLED_SHARE, SETTLED_PX = 0.9, 0.2
"""A block is not correlated again where so many of its answers are sure, and lie within so many pixels of where they
were expected: the pull of the taper is then known well enough."""
FEW_UNSURE = 0.1
"""Share of the points of a block below which only the first and the last attempt are made: a few unsure points here and
there make nearly the whole block be correlated again (on T33UUU 2 % of the points took three quarters of the time).
Every other window is too few, even for them: a step of the ground of 0.4 px is then predicted 0.18 px off, not 0.07."""
SURE_DISTINCTNESS = 0.6
"""A peak so distinct needs no other attempt."""
LEAST_DISTINCTNESS = 0.3
"""A peak less distinct is no measurement."""
INTENSITY_SIGMA = (0.024, 0.006)
"""sigma = a sqrt(1 - q^2) / q + b pixels, q the height of the peak of intensities: on eleven pairs of one season and of
several, at 10 to 120 m, the NMAD in bins of q from 0.1 to 0.9 is 0.8 to 1.05 of it, and the same in all but one."""
ORIENTATION_SIGMA = {1: (0.030, 0.75), 2: (0.0215, 0.67)}
"""sigma = a / q^b for orientation, by how much more is averaged: on the same pairs."""
BLOCK_SIDE_NODES = 72
"""Nodes along the side of a block that is measured at once, so only a part of each scene is in memory."""


@dataclass(frozen=True)
class Refinement:
    """Options of the sub-pixel measurement.

    Examples:
        >>> from sentinel_match import Options, Refinement
        >>> options = Options(refinement=Refinement(window=64))
    """

    window: int = 32
    """Side of a correlated window in pixels."""
    radius: int = 4
    """Largest difference to the expected position, in pixels; at most a quarter of the window."""
    min_clear: float = 0.6
    """Least share of the tapered window that must be valid in both images."""
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_fields(self, _REFINEMENT_KINDS)
        if self.window < 16 or self.window % 4:
            raise ValueError(f"window must be a multiple of 4 and at least 16, not {self.window}")
        if not 2 <= self.radius <= self.window // 4:
            raise ValueError(f"radius must lie between 2 and a quarter of the window, not {self.radius}")


_REFINEMENT_KINDS = {"window": ANY_WHOLE, "radius": ANY_WHOLE, "min_clear": A_SHARE, "device": ANY_WORD}


@dataclass(frozen=True, eq=False)
class Measurements:
    """Where the content around each left point lies in the right image."""

    left: Points
    """Left points as measured (nodes), pixels."""
    right: Points
    """The same ground in the right image, pixels; meaningless where not ``ok``."""
    sigma: NDArray[np.float64]
    """(N,) standard deviation per axis in pixels, predicted from the peak's height."""
    quality: NDArray[np.float64]
    """(N,) height of the correlation peak, 0 to 1."""
    distinct: NDArray[np.float64]
    """(N,) how far the peak stands out, 0 to 1: 1 less the strongest other extremum as a share of it. It tells right
    from wrong better than the height does."""
    ok: NDArray[np.bool_]
    """(N,) measured inside the search, on clear ground, with a distinct peak."""
    refined: NDArray[np.bool_]
    """(N,) measured here; ``False`` = kept as a matcher found it."""
    feature: NDArray[np.str_]
    """(N,) what was correlated, and over how many times the usual reach it was averaged: ``intensity 1``; the matcher
    where a point is kept as it found it."""
    independence: NDArray[np.float64]
    """(N,) pixels from a point beyond which another is evidence of its own: closer ones share most of what they saw."""

    def __len__(self) -> int:
        return len(self.ok)

    @staticmethod
    def nothing(left: Points, right: Points) -> Measurements:
        """Make an entry for each of some points of which none could be measured."""
        zeros, no = np.zeros(len(left)), np.zeros(len(left), bool)
        arrays = zeros.copy(), zeros.copy(), zeros.copy(), no, no.copy(), np.full(len(left), "", "U16"), zeros
        return Measurements(left, right, *arrays)


class _Images(NamedTuple):
    """Both scenes, and how they are correlated."""

    left: tuple[Raster, ...]
    right: tuple[Raster, ...]
    options: Refinement


class _Answers(NamedTuple):
    """Peaks at the nodes of a block; arrays (rows, cols)."""

    shift: NDArray[np.float64]
    """(rows, cols, 2) right minus left, pixels."""
    quality: NDArray[np.float64]
    distinct: NDArray[np.float64]
    ok: NDArray[np.bool_]


def measure(
    left: Raster | tuple[Raster, ...],
    right: Raster | tuple[Raster, ...],
    at: Points,
    expected: Points,
    options: Refinement | None = None,
) -> Measurements:
    """Measure to sub-pixel precision where the ground at left points lies in the right image.

    Args:
        left: normalised pixels and validity, of several bands if there are; memory maps are read block by block.
        right: the other image, at the same ground sampling distance.
        at: (N, 2) x, y in ``left``. A point is moved to the nearest node of the lattice.
        expected: (N, 2) x, y in ``right`` where each point should be, to ``options.radius`` pixels; between neighbours
            it must vary smoothly.
        options: window, search radius and thresholds.

    Returns:
        One entry per point, in the order given; points of one node have one answer.
    """
    images = _Images(
        left if isinstance(left, tuple) else (left,),
        right if isinstance(right, tuple) else (right,),
        options or Refinement(),
    )
    points = nearest_nodes(at)
    nodes = np.round(points / NODE_SPACING).astype(np.int64)
    offset = expected - at
    measurements = Measurements.nothing(points, points + offset)
    measurements = replace(measurements, refined=np.ones(len(at), bool))
    rows, cols = images.left[0].valid.shape
    inside = np.asarray(((points >= 0) & (points <= (cols, rows))).all(1))
    for index in blocks(nodes, inside):
        for feature, times in ATTEMPTS:
            unsure = index[~(measurements.ok[index] & (measurements.distinct[index] >= SURE_DISTINCTNESS))]
            if not len(unsure):
                break
            if (feature, times) in ATTEMPTS[1:-1] and len(unsure) < FEW_UNSURE * len(index):
                continue
            answers = _attempt(images, nodes[unsure], offset[unsure], feature, times)
            better = answers.ok & (~measurements.ok[unsure] | (answers.distinct > measurements.distinct[unsure]))
            chosen = unsure[better]
            measurements.right[chosen] = points[chosen] + answers.shift[better]
            for name in ("quality", "distinct", "ok"):
                getattr(measurements, name)[chosen] = getattr(answers, name)[better]
            measurements.sigma[chosen] = predicted_sigma(answers.quality[better], feature, times)
            measurements.feature[chosen] = f"{feature} {times}"
            measurements.independence[chosen] = images.options.window + 2 * AVERAGING_SIGMA * times
    return measurements


def _attempt(images: _Images, nodes: NDArray[np.int64], offset: Points, feature: str, times: int) -> _Answers:
    """Measure at some nodes of a block; the answers have arrays (N,) and (N, 2).

    Args:
        images: both scenes.
        nodes: (N, 2) column and row.
        offset: (N, 2) where each is expected, right minus left, pixels.
        feature: what is correlated, ``intensity`` or ``orientation``.
        times: by how much more is averaged than usual.
    """
    from scipy.ndimage import binary_dilation, distance_transform_edt

    reach = AVERAGING_REACH * times
    low = nodes.min(0) - reach
    cols, rows = nodes.max(0) + reach + 1 - low
    x, y = (nodes - low).T
    wanted = np.zeros((rows, cols), bool)
    wanted[y, x] = True
    prior = np.zeros((rows, cols, 2))
    prior[y, x] = offset
    # Windows beside a point are expected where the nearest point is
    nearest = distance_transform_edt(~wanted, return_distances=False, return_indices=True)
    prior = prior[tuple(nearest)]
    needed = binary_dilation(wanted, np.ones((2 * reach + 1,) * 2))
    at = (np.argwhere(needed)[:, ::-1] + low) * float(NODE_SPACING)
    first = _correlate(images, (needed, needed), at, prior, feature, times)
    moved = first.shift - prior
    settled = first.ok & (first.distinct >= SURE_DISTINCTNESS) & (np.abs(moved).max(-1) <= SETTLED_PX)
    if settled[wanted].mean() >= SETTLED_SHARE:
        ok = first.ok & (first.distinct >= LEAST_DISTINCTNESS)
        shift = (prior + (1 + PULL) * moved)[y, x]
        return _Answers(shift, first.quality[y, x], first.distinct[y, x], ok[y, x])
    centred = prior + _smooth(first.shift - prior, first.ok & (first.distinct >= LEAST_DISTINCTNESS), reach)
    second = _correlate(images, (needed, wanted), at, centred, feature, times)
    within = np.hypot(*np.moveaxis(second.shift - prior, -1, 0)) <= images.options.radius * np.sqrt(2)
    ok = second.ok & (second.distinct >= LEAST_DISTINCTNESS) & within
    return _Answers(second.shift[y, x], second.quality[y, x], second.distinct[y, x], ok[y, x])


def _correlate(
    images: _Images,
    nodes: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    at: Points,
    offset: NDArray[np.float64],
    feature: str,
    times: int,
) -> _Answers:
    """Correlate the windows of some nodes where they are expected, average, and find the peaks.

    Args:
        images: both scenes.
        nodes: (rows, cols) of a block each: those whose windows are correlated, and those of them whose peaks are
            looked for.
        at: (N, 2) positions of the windows in the left image, pixels.
        offset: (rows, cols, 2) where each node is expected, right minus left, pixels.
        feature: what is correlated.
        times: by how much more is averaged than usual.
    """
    options, device = images.options, torch.device(images.options.device)
    needed, wanted = nodes
    to = at + offset[needed]
    cut = np.floor(to + dither(at / NODE_SPACING))
    margin = options.window // 2 + 2
    left, right = (
        part([i.pixels for i in side], side[0].valid, points, margin, feature, device)
        for side, points in ((images.left, at), (images.right, cut))
    )
    surfaces = Correlator(left, right, options.window, feature).surfaces(at, to, options.radius, cut)
    side = surfaces.height.shape[-1]
    place, asked = (torch.from_numpy(mask).to(device) for mask in nodes)
    height = torch.zeros((*needed.shape, side * side), device=device)
    clear = torch.zeros((*needed.shape, 1), device=device)
    height[place] = (surfaces.height * surfaces.clear[:, None, None]).flatten(1)
    clear[place] = surfaces.clear[:, None]
    sigma, reach = times * AVERAGING_SIGMA / NODE_SPACING, AVERAGING_REACH * times
    mean, total = (averaged(field, sigma, reach)[asked] for field in (height, clear))
    top = peaks((mean / total.clamp_min(1e-6)).view(-1, side, side))
    shift, quality, distinct = np.zeros((*needed.shape, 2)), np.zeros(needed.shape), np.zeros(needed.shape)
    ok = np.zeros(needed.shape, bool)
    shift[wanted] = offset[wanted] + top.shift
    quality[wanted] = top.quality
    distinct[wanted] = top.distinct
    ok[wanted] = top.inside & (clear[asked][:, 0].double().cpu().numpy() >= options.min_clear)
    return _Answers(shift, quality, distinct, ok)


def dither(nodes: Points) -> Points:
    """Draw (N, 2) fractions 0..1, evenly spread among neighbours (Roberts 2018, the R2 sequence).

    A window can only be cut at whole pixels, and its taper pulls what lies beside its middle by a twentieth of that.
    Rounded up here and down there in the right proportion, windows are centred in the mean.
    """
    return np.asarray((nodes @ np.array([[0.7549, 0.5698], [0.5698, 0.3287]]) + 0.5) % 1)


def _smooth(field: NDArray[np.float64], known: NDArray[np.bool_], reach: int) -> NDArray[np.float64]:
    """Take the median, (rows, cols, 2), of what is known around each node; of all where nothing is, 0 without any."""
    if not known.any():
        return np.zeros_like(field)
    values = np.where(known[..., None], field, np.nan)
    padded = np.pad(values, ((reach, reach), (reach, reach), (0, 0)), constant_values=np.nan)
    around = np.lib.stride_tricks.sliding_window_view(padded, (2 * reach + 1,) * 2, axis=(0, 1)).reshape(
        *field.shape, -1
    )
    median = np.broadcast_to(np.median(field[known], axis=0), field.shape).copy()
    near_known = np.isfinite(around[:, :, 0]).any(-1)
    median[near_known] = np.nanmedian(around[near_known], axis=-1)
    return np.asarray(median)


def predicted_sigma(quality: NDArray[np.float64], feature: str = "intensity", times: int = 1) -> NDArray[np.float64]:
    """Predict the standard deviation per axis, in pixels, from the height of a peak (see ``INTENSITY_SIGMA``)."""
    q = np.clip(quality, 0.01, 1.0)
    if feature == "intensity":
        return np.asarray(INTENSITY_SIGMA[0] * np.sqrt(1 - q**2) / q + INTENSITY_SIGMA[1])
    scale, power = ORIENTATION_SIGMA[times]
    return np.asarray(scale / q**power)


def blocks(nodes: NDArray[np.int64], inside: NDArray[np.bool_]) -> Iterator[NDArray[np.intp]]:
    """Yield the indices of the points of one block after another, so that neighbours are read together."""
    index = np.flatnonzero(inside)
    if not len(index):
        return
    cell = nodes[index] // BLOCK_SIDE_NODES
    key = cell[:, 1] * (cell[:, 0].max() + 2) + cell[:, 0]
    order = np.argsort(key, kind="stable")
    yield from np.split(index[order], np.flatnonzero(np.diff(key[order])) + 1)


def nearest_nodes(points: Points) -> Points:
    """Move (N, 2) points to the nearest nodes: x, y of pixel corners."""
    return np.asarray(np.round(points / NODE_SPACING) * float(NODE_SPACING))


def grid(valid: NDArray[np.bool_], candidates: int) -> Points:
    """Choose nodes on valid pixels, spread evenly.

    Args:
        valid: (rows, cols), where points may lie; a memory map is only sampled.
        candidates: about how many points are wanted; there are never more than nodes.

    Returns:
        (N, 2) x, y of pixel corners, row by row.
    """
    rows, cols = (np.arange(NODE_SPACING, n, NODE_SPACING) for n in valid.shape)
    clear = np.asarray(valid[np.ix_(rows, cols)])
    step = max(1, round(float(np.sqrt(clear.sum() / candidates))))
    y, x = np.nonzero(clear[step // 2 :: step, step // 2 :: step])
    return np.column_stack([cols[step // 2 :: step][x], rows[step // 2 :: step][y]]).astype(np.float64)
