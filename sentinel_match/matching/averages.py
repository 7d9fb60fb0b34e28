"""Averages of the correlation surfaces of neighbouring windows, at nodes of one block.

Windows must be centred on the ground they look for, or their taper pulls it aside. So every fourth window each way is
asked first, and then all are cut where those say that the ground lies; again only where that was not near enough. What
each window says by itself comes of the same surfaces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from sentinel_match.matchers.correlation import FADE, Correlator, Points, part, peaks
from sentinel_match.matching.nodes import NODE_SPACING, dither
from sentinel_match.matching.singles import PULL, Cut, Singles, told
from sentinel_match.models.field import averaged

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from sentinel_match.matchers.correlation import Part, Surfaces
    from sentinel_match.raster.raster import Raster

AVERAGING_REACH = 3
"""Nodes on either side whose surfaces are averaged with those of a node."""
AVERAGING_SIGMA = 24.0
"""Standard deviation in pixels of the weights of that average."""
LOOK_STEP, LOOK_REACH, LOOK_SIGMA = 4, 2, 1.0
"""Nodes from one window of the first look to the next; and of those, how many on either side are averaged, and the
standard deviation of their weights."""
LOOK_FEWEST = 5
"""Sure answers without which a first look says nothing."""
SETTLED_SHARE, SETTLED_PX, WEAK_SETTLED_PX = 0.9, 0.2, 0.5
"""Windows are not cut again where so much of what is sure in a block lies within so many pixels of where they were cut:
the pull of the taper is known to 0.005 px at 0.2 px. Where less than so much is sure it scatters by ten times that, and
may lie further. With two thirds in place of nine tenths, displacement between seasons is lost that else is found."""
SURE_DISTINCTNESS = 0.6
"""A peak so distinct needs no other attempt."""
MOST_LOOKS = 3
"""Times the radius of a search that windows may be cut aside of where they were expected first."""
LEAST_DISTINCTNESS = 0.3
"""A peak less distinct is no measurement."""


class Images(NamedTuple):
    """Both scenes, and how they are correlated: see :class:`sentinel_match.matching.subpixel.Refinement`."""

    left: tuple[Raster, ...]
    right: tuple[Raster, ...]
    window: int
    radius: int
    min_clear: float
    device: str


class Answers(NamedTuple):
    """Peaks at the nodes of a block; arrays (rows, cols)."""

    shift: NDArray[np.float64]
    """(rows, cols, 2) right minus left, pixels."""
    quality: NDArray[np.float64]
    distinct: NDArray[np.float64]
    ok: NDArray[np.bool_]


class _Block(NamedTuple):
    """Nodes of a block, (rows, cols) each."""

    low: NDArray[np.int64]
    """Column and row of its first node."""
    needed: NDArray[np.bool_]
    """Those whose windows are correlated."""
    wanted: NDArray[np.bool_]
    """Those of them whose peaks are looked for."""

    def places(self, step: int = 1) -> Points:
        """Return (N, 2) the positions of the needed nodes, or of those of every so many each way, pixels."""
        return np.asarray((np.argwhere(self.needed[::step, ::step])[:, ::-1] * step + self.low) * float(NODE_SPACING))


class _Parts(NamedTuple):
    """What the windows of a block lie in."""

    left: Part
    right: Part
    feature: str


def attempt(
    images: Images, nodes: NDArray[np.int64], offset: Points, feature: str, times: tuple[int, ...]
) -> tuple[dict[int, Answers], Singles]:
    """Measure at some nodes of a block; the answers have arrays (N,) and (N, 2).

    Args:
        images: both scenes.
        nodes: (N, 2) column and row.
        offset: (N, 2) where each is expected, right minus left, pixels.
        feature: what is correlated, ``intensity`` or ``orientation``.
        times: by how much more is averaged than usual, ascending.
    """
    from scipy.ndimage import binary_dilation, distance_transform_edt

    reach = AVERAGING_REACH * times[-1]
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
    block = _Block(low, binary_dilation(wanted, np.ones((2 * reach + 1,) * 2)), wanted)
    parts = _parts(images, block, prior, feature)
    centre = prior + _look(images, parts, block, prior)
    averages, alone = _correlate(images, parts, block, centre, times)
    moved, known, sure = np.zeros_like(prior), np.zeros_like(wanted), np.zeros_like(wanted)
    for each in reversed(times):  # the narrowest average that knows says most of short displacement
        average = averages[each]
        told_here = average.ok & (average.distinct >= LEAST_DISTINCTNESS)
        moved[told_here] = (1 + PULL) * (average.shift - centre)[told_here]
        known |= told_here
        sure |= average.ok & (average.distinct >= SURE_DISTINCTNESS)
    near = SETTLED_PX if sure[wanted].mean() >= SETTLED_SHARE else WEAK_SETTLED_PX
    pulled, far = 1 + PULL, np.abs(moved).max(-1)[sure & wanted] > near
    if far.sum() > (1 - SETTLED_SHARE) * len(far):
        centre, pulled = centre + _smooth(moved, known, AVERAGING_REACH * times[0]), 1.0
        averages, alone = _correlate(images, parts, block, centre, times)
    answers = {}
    for each, average in averages.items():
        shift = centre + pulled * (average.shift - centre)
        within = np.hypot(*np.moveaxis(shift - prior, -1, 0)) <= images.radius * np.sqrt(2)
        ok = average.ok & (average.distinct >= LEAST_DISTINCTNESS) & within
        answers[each] = Answers(shift[y, x], average.quality[y, x], average.distinct[y, x], ok[y, x])
    order = np.zeros((rows, cols), np.intp)
    order[wanted] = np.arange(wanted.sum())
    return answers, alone.where(order[y, x])


def _parts(images: Images, block: _Block, prior: NDArray[np.float64], feature: str) -> _Parts:
    """Cut what a block's windows lie in out of both scenes, once for all looks at it."""
    at, device = block.places(), torch.device(images.device)
    margin = images.window // 2 + 2
    sides = (images.left, at, margin), (images.right, at + prior[block.needed], margin + MOST_LOOKS * images.radius)
    left, right = (
        part([i.pixels for i in side], side[0].valid, points, around, feature, device, FADE)
        for side, points, around in sides
    )
    return _Parts(left, right, feature)


def _look(images: Images, parts: _Parts, block: _Block, prior: NDArray[np.float64]) -> NDArray[np.float64]:
    """Estimate (rows, cols, 2) by how much the ground lies aside of where it is expected, by some of the windows."""
    from scipy.ndimage import map_coordinates

    some, expected = block.needed[::LOOK_STEP, ::LOOK_STEP], prior[::LOOK_STEP, ::LOOK_STEP]
    if some.sum() < LOOK_FEWEST:
        return np.zeros_like(prior)
    correlator, windows = _cut(images, parts, block.places(LOOK_STEP), expected[some])
    surfaces = correlator.surfaces(windows.at, windows.to, images.radius, windows.cut)
    height, clear = _laid_out(surfaces, some)
    top = _peaks(height, clear, some, LOOK_SIGMA, LOOK_REACH)
    moved, known = np.zeros(expected.shape), some.copy()
    moved[some] = (1 + PULL) * top.shift
    known[some] = top.ok & (surfaces.clear.cpu().numpy() >= images.min_clear) & (top.distinct >= SURE_DISTINCTNESS)
    if known.sum() < LOOK_FEWEST:
        return np.zeros_like(prior)
    moved = _smooth(moved, known, LOOK_REACH)
    at = np.indices(block.needed.shape) / LOOK_STEP
    return np.stack([map_coordinates(moved[..., k], at, order=1, mode="nearest") for k in (0, 1)], -1)


def _correlate(
    images: Images, parts: _Parts, block: _Block, offset: NDArray[np.float64], times: tuple[int, ...]
) -> tuple[dict[int, Answers], Singles]:
    """Correlate the windows of a block where they are expected, average, and find the peaks.

    Args:
        images: both scenes.
        parts: of them.
        block: nodes.
        offset: (rows, cols, 2) where each node is expected, right minus left, pixels.
        times: by how much more is averaged than usual, each.
    """
    needed, wanted = block.needed, block.wanted
    correlator, windows = _cut(images, parts, block.places(), offset[needed])
    surfaces = correlator.halves(windows.at, windows.to, images.radius, windows.cut)
    own = wanted[needed]
    asked = torch.from_numpy(own).to(images.device)
    windows = windows._replace(at=windows.at[own], to=windows.to[own], cut=windows.cut[own])
    alone = told([each.where(asked) for each in surfaces], windows, images.radius, images.min_clear)
    height, clear = _laid_out(surfaces[0], needed)
    averages = {}
    for each in times:
        top = _peaks(height, clear, wanted, each * AVERAGING_SIGMA / NODE_SPACING, AVERAGING_REACH * each)
        shift, quality, distinct = np.zeros((*needed.shape, 2)), np.zeros(needed.shape), np.zeros(needed.shape)
        ok = np.zeros(needed.shape, bool)
        shift[wanted] = offset[wanted] + top.shift
        quality[wanted], distinct[wanted] = top.quality, top.distinct
        ok[wanted] = top.ok & (alone.clear >= images.min_clear)
        averages[each] = Answers(shift, quality, distinct, ok)
    return averages, alone


def _cut(images: Images, parts: _Parts, at: Points, offset: Points) -> tuple[Correlator, Cut]:
    """Place windows at (N, 2) nodes, and at (N, 2) offsets from them in the right image."""
    to = at + offset
    cut = np.floor(to + dither(at / NODE_SPACING))
    left, right, feature = parts
    return Correlator(left, right, images.window, feature), Cut(left, right, at, to, cut)


def _laid_out(surfaces: Surfaces, needed: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
    """Lay surfaces out on the nodes of a block, (rows, cols, K), times how clear they are, and (rows, cols, 1) that."""
    device, size = surfaces.clear.device, surfaces.height[0].numel()
    place = torch.from_numpy(needed).to(device)
    height = torch.zeros((*needed.shape, size), device=device)
    clear = torch.zeros((*needed.shape, 1), device=device)
    height[place] = (surfaces.height * surfaces.clear[:, None, None]).flatten(1)
    clear[place] = surfaces.clear[:, None]
    return height, clear


def _peaks(height: Tensor, clear: Tensor, wanted: NDArray[np.bool_], sigma: float, reach: int) -> Answers:
    """Find the peaks of averages at the nodes that are wanted, N of them: arrays (N,) and (N, 2)."""
    place = torch.from_numpy(wanted).to(height.device)
    mean, total = (averaged(field, sigma, reach)[place] for field in (height, clear))
    side = round(mean.shape[-1] ** 0.5)
    top = peaks((mean / total.clamp_min(1e-6)).view(-1, side, side))
    return Answers(top.shift, top.quality, top.distinct, top.inside)


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
