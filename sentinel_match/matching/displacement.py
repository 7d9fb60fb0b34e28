"""The displacement at every node that was measured: single windows where they can be trusted, averages elsewhere.

:mod:`sentinel_match.matching.subpixel` averages correlation surfaces over 7 x 7 nodes: sure, but deaf to what is
shorter than 116 pixels. Here the same windows are asked alone, around where the average says, and by each half of their
spectrum; :mod:`sentinel_match.geometry.lattice` makes a field of the answers. Where that field is strained, a window
shows ground that moved by different amounts, which blunts its peak and flattens the field: then the right image is
laid back by the field and asked again (iterative image deformation: Scarano 2002).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from sentinel_match.geometry import halves, lattice
from sentinel_match.matchers.correlation import Correlator, part, peaks
from sentinel_match.matching import subpixel, texture
from sentinel_match.matching.agreement import AGREES, off_surroundings, reliability
from sentinel_match.matching.deformation import laid_back, sampled
from sentinel_match.matching.subpixel import NODE_SPACING
from sentinel_match.raster.raster import Raster

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.geometry.grids import Points
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


class _Singles(NamedTuple):
    """Peaks of single windows; N rows in every array."""

    whole: Points
    one: Points
    other: Points
    quality: NDArray[np.float64]
    distinct: NDArray[np.float64]
    ok: NDArray[np.bool_]
    clear: NDArray[np.bool_]
    bend: NDArray[np.float64]
    """(N, 5) see :func:`sentinel_match.matching.texture.curvature`."""


def displacement(
    left: tuple[Raster, ...],
    right: tuple[Raster, ...],
    measurements: Measurements,
    options: Refinement,
    seen: tuple[NDArray[np.bool_], NDArray[np.bool_]] | None = None,
    data: tuple[NDArray[np.bool_], NDArray[np.bool_]] | None = None,
) -> Displacement | None:
    """Measure the displacement at every node between those where an average was measured; ``None`` without any.

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
    averaged, measured, weight = np.zeros((*shape, 2)), np.zeros(shape, bool), np.zeros(shape)
    col, row = (node - low).T
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
    base = lattice.filled(averaged, measured)
    covered, kind = measured.copy(), np.full(shape, "intensity", "U16")
    kind[row, col] = [name.split()[0] for name in measurements.feature[use]]
    images = _Pair(left, right, options)
    if seen is not None:
        covered |= _seen(seen, base, low)
        one, other = (
            tuple(Raster(image.pixels, mask, image.geobox) for image in side)
            for side, mask in zip((left, right), seen, strict=True)
        )
        images = _Pair(one, other, options)
    rows, cols = np.nonzero(covered)
    grid = _Lattice(np.column_stack([cols, rows]) + low, rows, cols, low, clear, measured, base, share, kind)
    singles = _singles(images, grid, None)
    answers, distinct = _answers(grid, singles, reach)
    field = lattice.estimate(answers, NODE_SPACING)
    if np.percentile(lattice.strain(field.whole, NODE_SPACING)[answers.weight > 0], 95) > STRAINED:
        singles = _singles(images, grid, field.whole)
        answers, distinct = _answers(grid, singles, reach)
        field = lattice.estimate(answers, NODE_SPACING)
    origin, measured = (int(low[0]), int(low[1])), answers.weight > 0
    shown = np.ones(shape, bool) if data is None else covered | _seen(data, field.whole, low)
    bend = texture.around(singles.bend, singles.clear, grid.kind[rows, cols], (rows, cols), shape)
    heights = singles.quality[answers.single[rows, cols]]
    unlike = float(np.clip(np.median(heights), *HEIGHTS) ** -2 - 1) if len(heights) else 0.0
    return Displacement(origin, measured, covered, distinct, answers, field, options.window, shown, bend, unlike)


def _seen(
    seen: tuple[NDArray[np.bool_], NDArray[np.bool_]], base: NDArray[np.float64], low: NDArray[np.int_]
) -> NDArray[np.bool_]:
    """Tell (rows, cols) at which nodes both images show something."""
    x, y = np.meshgrid(np.arange(base.shape[1]) + low[0], np.arange(base.shape[0]) + low[1])
    here = np.stack([x, y], -1) * float(NODE_SPACING)
    known = np.ones(base.shape[:2], bool)
    for mask, place in zip(seen, (here, here + base), strict=True):
        at = np.floor(place).astype(int)
        inside = ((at >= 0) & (at < mask.shape[::-1])).all(-1)
        known &= inside
        known[inside] &= mask[at[inside][:, 1], at[inside][:, 0]]
    return known


class _Pair(NamedTuple):
    left: tuple[Raster, ...]
    right: tuple[Raster, ...]
    options: Refinement


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
    kind: NDArray[np.str_]
    """(rows, cols) what is correlated."""


def _answers(grid: _Lattice, singles: _Singles, reach: float) -> tuple[halves.Answers, NDArray[np.float64]]:
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
    together = np.zeros(shape, bool)
    together[at] = singles.ok & near & (singles.distinct >= SINGLE_DISTINCTNESS)
    together &= grid.clear
    together[together] = lattice.together(arrays[0], together, np.nonzero(together)) <= lattice.ALIKE_PX
    trusted |= together
    if (clear := trusted & grid.measured).any():  # a cloud moves as one, too: clear ground must say about the same
        trusted &= grid.measured | together | (off_surroundings(arrays[0], clear * distinct**4) <= AGREES[1])
    if trusted.sum() >= 3:
        off = off_surroundings(arrays[0], trusted * distinct**4)[trusted]
        sure = reliability(off, distinct[trusted], reach)
        # Rather some that err now and then, whom their company betrays, than nothing that knows of short displacement
        least = SURE if (sure >= SURE).sum() >= ENOUGH_SINGLES else LESS_SURE
        trusted[trusted] = (sure >= least) | together[trusted]
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


def _singles(images: _Pair, grid: _Lattice, field: NDArray[np.float64] | None) -> _Singles:
    """Ask the single windows, block by block, each by the feature that its average had.

    Args:
        images: of both scenes.
        grid: the nodes.
        field: (rows, cols, 2) by which the right images are laid back first; by whole pixels of the average when
            not given.
    """
    count = len(grid.node)
    shifts = [np.zeros((count, 2)) for _ in range(3)]
    numbers, no = (np.zeros(count), np.zeros(count)), np.zeros(count, bool)
    singles = _Singles(shifts[0], shifts[1], shifts[2], *numbers, no, no.copy(), np.zeros((count, 5)))
    for index in subpixel.blocks(grid.node, np.ones(count, bool)):
        at = grid.row[index], grid.col[index]
        for kind in np.unique(grid.kind[at]):
            chosen = index[grid.kind[at] == kind]
            answers = _asked(images, grid, chosen, str(kind), field)
            for array, values in zip(singles, answers, strict=True):
                array[chosen] = values
    return singles


def _asked(
    images: _Pair, grid: _Lattice, chosen: NDArray[np.intp], kind: str, field: NDArray[np.float64] | None
) -> _Singles:
    """Ask the single windows of some nodes of a block."""
    options, device = images.options, torch.device(images.options.device)
    at: Points = grid.node[chosen] * np.float64(NODE_SPACING)
    margin = options.window // 2 + 2
    here = part([i.pixels for i in images.left], images.left[0].valid, at, margin, kind, device)
    if field is None:
        to = at + grid.base[grid.row[chosen], grid.col[chosen]]
        cut = np.floor(to + subpixel.dither(at / NODE_SPACING))
        there = part([i.pixels for i in images.right], images.right[0].valid, cut, margin, kind, device)
    else:
        there, rounding = laid_back(images.right, at, margin, field, grid.low, kind, device)
        to = cut = at
    correlated = Correlator(here, there, options.window, kind).halves(at, to, options.radius, cut)
    tops = [peaks(surfaces.height) for surfaces in correlated]
    moved = []
    for top in tops:
        shift = np.clip(top.shift, -options.radius, options.radius)
        measured = to + shift - at
        if field is None:  # from where the window was cut
            measured += subpixel.PULL * (to + shift - cut)
        else:
            measured *= 1 + subpixel.PULL
            place = at + measured
            measured = measured + sampled(field, place, grid.low) + rounding
        moved.append(measured)
    clear = correlated[0].clear.double().cpu().numpy() >= options.min_clear
    ok = clear & np.logical_and.reduce([top.inside for top in tops])
    bend = texture.curvature(here, there, at, cut)
    return _Singles(moved[0], moved[1], moved[2], tops[0].quality, tops[0].distinct, ok, clear, bend)
