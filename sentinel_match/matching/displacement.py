"""The displacement at every node that was measured: single windows where they can be trusted, averages elsewhere.

:mod:`sentinel_match.matching.subpixel` averages correlation surfaces over 7 x 7 nodes: sure, but deaf to what is
shorter than 116 pixels. Here the same windows are asked alone, around where the average says, and by each half of their
spectrum; :mod:`sentinel_match.geometry.lattice` makes a field of the answers. Where that field is strained, a window
shows ground that moved by different amounts, which blunts its peak and flattens the field: then the right image is
laid back by the field and asked again (iterative image deformation: Scarano 2002).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import torch

from sentinel_match.geometry import halves, lattice, smoothing
from sentinel_match.matchers.correlation import FADE, Correlator, part
from sentinel_match.matching import texture
from sentinel_match.matching.agreement import AGREES, off_surroundings, reliability
from sentinel_match.matching.deformation import laid_back, sampled
from sentinel_match.matching.nodes import NODE_SPACING, blocks, dither, on_ground
from sentinel_match.matching.singles import Cut, Singles, told
from sentinel_match.matching.subpixel import ATTEMPTS, features
from sentinel_match.memory import give_back
from sentinel_match.raster.raster import Raster

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.geometry.grids import Points
    from sentinel_match.matching.nodes import Mask
    from sentinel_match.matching.subpixel import Measurements, Refinement

SINGLE_DISTINCTNESS = 0.4
"""A single window whose peak is less distinct is not asked: of those above, 88 % are right from snow to summer at 107
m, and nearly all within a season."""
NOISE = 0.07
"""sigma = a sqrt(1 - q²) / q pixels of a single window, q the height of its peak; the halves say how much it is."""
LEAST_SIGMA = 0.02
"""Pixels, of a single window whatever its height."""
HEIGHTS = (0.05, 0.999)
"""Bounds of the height of a peak."""
GUESSED_DISTINCTNESS = 0.6
"""The same on ground that is taken for cloud only because it is bright: what two dates show alike, and where their
surroundings have it, is no cloud."""
FWHM = 2.355
"""Full width at half maximum of a Gaussian over its standard deviation. That of a window's taper is half its side."""
SURE, LESS_SURE, ENOUGH_SINGLES = 0.95, 0.75, 100
"""Share of right ones among single windows of such a peak from which one is trusted, and of fewer than so many."""
LEAST_SURE = 0.9
"""The same of averages, which only stand in where there is no single window: of 0.95, more of the right ones
between winter and summer would be left out."""
AVERAGED_SHARE = 0.02
"""Weight of an average beside a single window: where there are some around, it has nothing to add."""
FAR = 3.0
"""Pixels from the average beyond which a single answer is another's."""
NEAR_CUT, WHOLE = 1.05, 0.999
"""A window is not cut again where it was cut within so many pixels of where the average says, and shows so much."""
STRAINED = 0.012
"""Change of the displacement in pixels per pixel, at the 95th percentile, from which the images are laid over each
other anew: terrain-like fields of 0.3 px have 0.011 and gain nothing, waves of 192 px have 0.025, and interpolation
costs a hundredth of a pixel."""


@dataclass(frozen=True, eq=False)
class Displacement:
    """What was measured on the lattice of one pair; pixels of both images, which have one GSD."""

    origin: tuple[int, int]
    """Column and row of the first node, counted from the image's corner."""
    measured: NDArray[np.bool_]
    """(rows, cols) nodes that have an answer."""
    covered: NDArray[np.bool_]
    """(rows, cols) nodes where both images show ground, perhaps: see ``seen`` of :func:`displacement`."""
    distinct: NDArray[np.float64]
    """(rows, cols) how far the peak of each single window stands out, 0 to 1."""
    answers: halves.Answers
    """At nodes: the single window's where it can be trusted, else the average's; right minus left."""
    field: lattice.LatticeField
    window: int
    """Side of a single window."""
    shown: NDArray[np.bool_]
    """(rows, cols) nodes where both images have data, cloud included."""
    curvature: NDArray[np.float64]
    """(rows, cols, 2, 2) of the correlation around each node, by x and y, as a share of the power of the gradients:
    see :mod:`sentinel_match.matching.texture`."""
    unlike: float = 0.0
    """Noise over signal, variances, that the middle height of the single peaks amounts to."""

    @property
    def support(self) -> NDArray[np.float64]:
        """Compute (rows, cols) pixels of ground that each estimate averages: full width at half maximum.

        Of the window's taper and of the average of windows together; where there is no single window, it reaches as far
        as the nearest.
        """
        from scipy.ndimage import distance_transform_edt

        away = distance_transform_edt(~self.answers.single)
        return np.asarray(np.hypot(self.window / 2, FWHM * NODE_SPACING * np.maximum(self.field.width, away)))

    @property
    def nodes(self) -> Points:
        """Return (rows * cols, 2) the position of each node in the left image, pixels."""
        rows, cols = self.measured.shape
        x, y = np.meshgrid(np.arange(cols) + self.origin[0], np.arange(rows) + self.origin[1])
        return np.asarray(np.column_stack([x.ravel(), y.ravel()]) * NODE_SPACING, np.float64)

    def places(
        self, points: Points, refined: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int_], NDArray[np.int_], NDArray[np.bool_]]:
        """Find the row and column of each of (N, 2) points that lies on a measured node, and (N,) which ones do."""
        col, row = (np.round(points / NODE_SPACING).astype(int) - self.origin).T
        rows, cols = self.measured.shape
        on = refined & (row >= 0) & (row < rows) & (col >= 0) & (col < cols)
        on[on] = self.measured[row[on], col[on]]
        return row[on], col[on], on

    def curvature_at(self, points: Points) -> NDArray[np.float64]:
        """Return (N, 2, 2) the curvature of the correlation at the nodes nearest to (N, 2) points."""
        col, row = (np.round(points / NODE_SPACING).astype(int) - self.origin).T
        rows, cols = self.measured.shape
        return np.asarray(self.curvature[row.clip(0, rows - 1), col.clip(0, cols - 1)])


def displacement(
    left: tuple[Raster, ...],
    right: tuple[Raster, ...],
    measurements: Measurements,
    options: Refinement,
    seen: tuple[Mask, Mask] | None = None,
    data: tuple[Mask, Mask] | None = None,
) -> Displacement | None:
    """Measure the displacement at every node between those where an average was measured.

    ``None`` without any, or where all are of one row or column: nothing is known beside it.

    Args:
        left: images of the left scene, on one grid; memory maps are read block by block.
        right: of the right one.
        measurements: the averages, on nodes.
        options: of the measurement.
        seen: where each image shows ground, perhaps, though it is not taken for clear: (rows, cols) each.
        data: where each image has data, cloud or ground.
    """
    use = np.flatnonzero(measurements.ok & measurements.refined)
    if len(use) < 2:
        return None
    node = np.round(measurements.left[use] / NODE_SPACING).astype(int)
    low, high = node.min(0), node.max(0)
    shape = (int(high[1] - low[1] + 1), int(high[0] - low[0] + 1))
    if min(shape) < 2:
        return None
    averaged, measured, weight = np.zeros((*shape, 2)), np.zeros(shape, bool), np.zeros(shape)
    col, row = (node - low).T
    kept = _kept(measurements, low, shape)
    averaged[row, col], measured[row, col] = (measurements.right - measurements.left)[use], True
    weight[row, col] = measurements.distinct[use] ** 4
    reach = float(options.radius * np.sqrt(2))
    sure = np.zeros(shape)
    sure[row, col] = reliability(off_surroundings(averaged, weight)[row, col], measurements.distinct[use], reach)
    clear = measured.copy()
    measured &= sure >= LEAST_SURE
    if not measured.any():
        return None
    share = np.where(measured, AVERAGED_SHARE * sure**4, 0)
    base = smoothing.filled(averaged, measured)
    covered, kind = measured.copy(), np.zeros(shape, np.uint8)
    kind[row, col] = features(measurements.feature[use])
    images = _Pair(left, right, options)
    if seen is not None:
        covered |= on_ground(seen, base, low)
        one, other = (
            tuple(Raster(image.pixels, cast("NDArray[np.bool_]", mask), image.geobox) for image in side)
            for side, mask in zip((left, right), seen, strict=True)
        )
        images = _Pair(one, other, options)
    rows, cols = np.nonzero(covered)
    grid = _Lattice(np.column_stack([cols, rows]) + low, rows, cols, low, clear, measured, base, share, kind, kept)
    singles, answers, distinct, field = _estimated(images, grid, reach, None)
    if np.percentile(lattice.strain(field.whole, NODE_SPACING)[answers.weight > 0], 95) > STRAINED:
        if grid.kept is not None:  # what is as short is seen less well by windows that were cut for averages
            grid = grid._replace(kept=None)
            field = _estimated(images, grid, reach, None)[3]
        singles, answers, distinct, field = _estimated(images, grid, reach, field.whole)
    give_back()
    origin, measured = (int(low[0]), int(low[1])), answers.weight > 0
    shown = np.ones(shape, bool) if data is None else covered | on_ground(data, field.whole, low)
    bend = texture.around(singles.bend, singles.clear >= options.min_clear, grid.kind[rows, cols], (rows, cols), shape)
    heights = singles.quality[answers.single[rows, cols]]
    unlike = float(np.clip(np.median(heights), *HEIGHTS) ** -2 - 1) if len(heights) else 0.0
    return Displacement(origin, measured, covered, distinct, answers, field, options.window, shown, bend, unlike)


class _Pair(NamedTuple):
    left: tuple[Raster, ...]
    right: tuple[Raster, ...]
    options: Refinement


class _Kept(NamedTuple):
    """Single windows that were cut when averages were measured."""

    singles: Singles
    number: NDArray[np.intp]
    """(rows, cols) of the one at each node; -1 where there is none."""
    kind: NDArray[np.uint8]
    """(rows, cols) what was correlated there, by its number among ``ATTEMPTS``."""


def _kept(measurements: Measurements, low: NDArray[np.int_], shape: tuple[int, int]) -> _Kept | None:
    """Find the single windows of the nodes of a lattice; ``None`` where none were kept."""
    if (singles := measurements.singles) is None:
        return None
    number, kind = np.full(shape, -1), np.zeros(shape, np.uint8)
    col, row = (np.round(measurements.left / NODE_SPACING).astype(int) - low).T
    own = np.flatnonzero((row >= 0) & (row < shape[0]) & (col >= 0) & (col < shape[1]))
    own = own[np.isfinite(singles.aside[own]).all(1)]
    number[row[own], col[own]] = own
    kind[row[own], col[own]] = features(measurements.feature[own])
    return _Kept(singles, number, kind)


class _Lattice(NamedTuple):
    """Nodes that were measured, N of them, and the lattice that they lie on."""

    node: NDArray[np.int_]
    """(N, 2) column and row, counted from the image's corner."""
    row: NDArray[np.int_]
    col: NDArray[np.int_]
    low: NDArray[np.int_]
    clear: NDArray[np.bool_]
    """(rows, cols) where averages see clear ground."""
    measured: NDArray[np.bool_]
    """(rows, cols) where one of them is looked at."""
    base: NDArray[np.float64]
    """(rows, cols, 2) displacement by averages."""
    share: NDArray[np.float64]
    """(rows, cols) weight of an average beside a single window of usual noise; 0 where there is none."""
    kind: NDArray[np.uint8]
    """(rows, cols) what is correlated, by its number among ``ATTEMPTS``."""
    kept: _Kept | None


def _estimated(
    images: _Pair, grid: _Lattice, reach: float, field: NDArray[np.float64] | None
) -> tuple[Singles, halves.Answers, NDArray[np.float64], lattice.LatticeField]:
    """Ask the single windows, choose answers, and estimate the field of them; also return how distinct peaks are."""
    singles = _singles(images, grid, field)
    give_back()
    answers, distinct = _answers(grid, singles, reach)
    give_back()
    return singles, answers, distinct, lattice.estimate(answers, NODE_SPACING)


def _answers(grid: _Lattice, singles: Singles, reach: float) -> tuple[halves.Answers, NDArray[np.float64]]:
    """Choose the answer of each node, and weigh it; also return (rows, cols) how distinct single peaks are."""
    at = grid.row, grid.col
    shape = grid.measured.shape
    base = grid.base
    sigma = np.full(shape, 1.0)
    height = np.clip(singles.quality, *HEIGHTS)
    sigma[at] = np.hypot(NOISE * np.sqrt(1 - height**2) / height, LEAST_SIGMA)
    arrays = [base.copy() for _ in range(3)]
    for array, values in zip(arrays, (singles.whole, singles.one, singles.other), strict=True):
        array[at] = values
    near = np.abs(np.stack([array[at] - base[at] for array in arrays])).max((0, 2)) < FAR
    distinct, trusted = np.zeros(shape), np.zeros(shape, bool)
    distinct[at] = singles.distinct
    needed = np.where(grid.measured[at], SINGLE_DISTINCTNESS, GUESSED_DISTINCTNESS)
    trusted[at] = singles.ok & near & (singles.distinct >= needed)
    # Ground that moves as one lies off its surroundings, and is no wrong peak: those agree with no other
    agreeing, together = np.zeros(shape, bool), np.zeros(shape, bool)
    agreeing[at] = singles.ok & near & (singles.distinct >= SINGLE_DISTINCTNESS)
    agreeing &= grid.clear

    def agree(asked: NDArray[np.bool_]) -> None:
        """Look, where it is asked, which agree with others; for all of a tile it takes a second, and few need it."""
        asked = asked & agreeing & ~together
        together[asked] = lattice.together(arrays[0], agreeing, np.nonzero(asked)) <= lattice.ALIKE_PX

    agree(~(trusted & grid.measured))
    trusted |= together
    if (clear := trusted & grid.measured).any():  # a cloud moves as one, too: clear ground must say about the same
        trusted &= grid.measured | together | (off_surroundings(arrays[0], clear * distinct**4) <= AGREES[1])
    if trusted.sum() >= 3:
        off = off_surroundings(arrays[0], trusted * distinct**4)[trusted]
        sure = reliability(off, distinct[trusted], reach)
        # Rather some that err now and then, whom their company betrays, than nothing that knows of short displacement
        least = SURE if (sure >= SURE).sum() >= ENOUGH_SINGLES else LESS_SURE
        doubted = trusted.copy()
        doubted[trusted] = sure < least
        agree(doubted)
        trusted &= ~doubted | together
    if trusted.sum() >= 3:
        plane = lattice.plane_of(arrays[0], trusted / sigma**2)
        trusted, expected, scatter = lattice.company(arrays[0] - plane, trusted, sigma)
        # An average that contradicts the single windows around, or the plane where there are none, is of no ground
        off = np.hypot(*np.moveaxis(base - plane - expected, -1, 0))
        grid = grid._replace(share=grid.share * (off <= np.maximum(AGREES[1], lattice.ROBUST_LIMIT * scatter)))
    if not trusted.any():
        return halves.Answers(base, base, base, grid.share, trusted), distinct
    half = np.abs(arrays[1] - arrays[2])[trusted] / 2
    factor = float(np.median(half / sigma[trusted][:, None])) / 0.6745
    weight = 1 / np.maximum(factor * sigma, LEAST_SIGMA) ** 2
    weight = np.where(trusted, weight, np.median(weight[trusted]) * grid.share)
    whole, one, other = (np.where(trusted[..., None], array, base) for array in arrays)
    return halves.Answers(whole, one, other, weight, trusted), distinct


def _singles(images: _Pair, grid: _Lattice, field: NDArray[np.float64] | None) -> Singles:
    """Ask the single windows, block by block, each by the feature that its average had.

    Args:
        images: of both scenes.
        grid: the nodes.
        field: (rows, cols, 2) by which the right images are laid back first; by whole pixels of the average when
            not given.
    """
    count, at = len(grid.node), (grid.row, grid.col)
    singles, fresh = Singles.nothing(count), np.ones(count, bool)
    if field is None and grid.kept is not None:
        number = grid.kept.number[at]
        aside, clear = grid.kept.singles.aside[number], grid.kept.singles.clear[number]
        near = np.abs(aside - grid.base[at]).max(1) <= NEAR_CUT  # not what was not cut, which is no number
        fresh = ~((number >= 0) & (grid.kept.kind[at] == grid.kind[at]) & near & (clear >= WHOLE))
        singles.put(np.flatnonzero(~fresh), grid.kept.singles.where(number[~fresh]))
    for index in blocks(grid.node, fresh, (*images.left, *images.right)):
        at = grid.row[index], grid.col[index]
        for kind in np.unique(grid.kind[at]):
            chosen = index[grid.kind[at] == kind]
            singles.put(chosen, _asked(images, grid, chosen, ATTEMPTS[kind][0], field))
    return singles


def _asked(
    images: _Pair, grid: _Lattice, chosen: NDArray[np.intp], kind: str, field: NDArray[np.float64] | None
) -> Singles:
    """Ask the single windows of some nodes of a block."""
    options, device = images.options, torch.device(images.options.device)
    at: Points = grid.node[chosen] * np.float64(NODE_SPACING)
    margin = options.window // 2 + 2
    here = part([i.pixels for i in images.left], images.left[0].valid, at, margin, kind, device, FADE)
    if field is None:
        to = at + grid.base[grid.row[chosen], grid.col[chosen]]
        cut = np.floor(to + dither(at / NODE_SPACING))
        there = part([i.pixels for i in images.right], images.right[0].valid, cut, margin, kind, device, FADE)
    else:
        there, rounding = laid_back(images.right, at, margin, field, grid.low, kind, device)
        to = cut = at
    surfaces = Correlator(here, there, options.window, kind).halves(at, to, options.radius, cut)
    answers = told(surfaces, Cut(here, there, at, to, cut), options.radius, options.min_clear)
    if field is not None:  # what is left after the image was laid back
        for shift in (answers.whole, answers.one, answers.other):
            np.add(shift, sampled(field, at + shift, grid.low) + rounding, out=shift)
    return answers
