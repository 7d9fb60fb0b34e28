"""Which model the points bear out: the simplest that predicts ground it has not seen.

Spatial blocks are held out in turn, and the simplest kind is taken that is not worse than the best one by more than a
standard error (Breiman et al. 1984; Roberts et al. 2017, "Cross-validation strategies for data with temporal, spatial,
hierarchical, or phylogenetic structure"). The residuals of the points a model was fitted to say nothing: more
parameters always make them smaller.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sentinel_match.geometry import robust
from sentinel_match.geometry.kinds import BENDS, MINIMAL, NONE
from sentinel_match.geometry.transform import Bend, NoModel, PlaneTransform, Transform
from sentinel_match.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from sentinel_match.geometry.grids import Points

TRIED = (NONE, "translation", "similarity", "affine", *BENDS)
"""Kinds that compete. A homography has no reason in an orthoimage; a user may ask for it. Images that agree as they are
shall not be touched: each kind beyond the first must predict unseen ground better by more than a standard error."""
FOLDS = 5
MOST_FITTED, SAMPLE = 100_000, 25_000
"""Points that a model is chosen from; of more so many say the same, and splines of a million take minutes."""
LEAST_IN_FOLDS = 20
"""Points of which several blocks are held out at a time; of fewer each block alone, or what is left is too little."""
BLOCKS = 8
"""The longer side of the points is cut into so many blocks, which are held out whole: neighbours share pixels."""
MOST_PLACES = 2000
"""Places of a lattice at which the spread of a stiff model is asked for."""
STRAY = 50
"""Of so many points one on each side may lie far beyond the others, without the blocks growing by it."""
SUPPORT = 12
"""Independent points for each parameter of a bend: with fewer it is not tried."""
STIFFNESS = (0.01, 0.1, 1.0)
"""Weights of the penalty on second differences that compete, as shares of what the points weigh."""
INTERVALS = 10
"""Most knots of a spline along the longer side; three times as many along the track."""


class Selection(NamedTuple):
    """A model, and how it was chosen."""

    transform: Transform
    unseen: NDArray[np.float64]
    """(N, 2) what each point says less what this kind predicts from the other blocks; NaN where nothing is held out,
    and for points that were not in the sample of more than ``MOST_FITTED``."""
    block: NDArray[np.int_]
    """(N,) the block that each point was held out with."""
    errors: Mapping[str, float]
    """Root mean square error per axis of each kind that was tried, on ground that it was not fitted to."""
    spread: NDArray[np.float64]
    """(M, 2) variance of this kind at each of the places that it is wanted at, by leaving out blocks (jackknife)."""


class _Trial(NamedTuple):
    """A kind in the competition."""

    kind: str
    fit: Callable[[NDArray[np.bool_]], Transform]
    """From the points of a mask."""


def choose(
    pairs: robust.PointPairs,
    weight: NDArray[np.float64],
    *,
    azimuth: float = 0.0,
    kinds: Sequence[str] = TRIED,
    apart: float = 0.0,
    seed: int = 0,
    over: Points | None = None,
) -> Selection:
    """Choose the simplest model that predicts unseen ground as well as any.

    Blocks that are held out lie among the points. What a kind does beyond them is known from how far its fits without
    one block or another differ there: that counts as an error too.

    Args:
        pairs: N points, the same ground in both frames.
        weight: (N,) 0 to 1, by how much a point is believed; see :func:`consensus`.
        azimuth: of the satellite's track, radians clockwise from north.
        kinds: that compete, from simple to rich; only one: that one.
        apart: points closer than this share what they saw: parameters are counted against as many squares.
        seed: of the folds.
        over: (M, 2) places that a model is wanted at; at the points alone when not given.

    Raises:
        NoModel: the points do not determine even the simplest kind.
    """
    left, right = pairs.left, pairs.right
    if len(pairs) > MOST_FITTED:
        own = np.sort(np.random.default_rng(seed).choice(len(pairs), SAMPLE, replace=False))
        sample = robust.PointPairs(left[own], right[own], pairs.sigma[own])
        chosen = choose(sample, weight[own], azimuth=azimuth, kinds=kinds, apart=apart, seed=seed, over=over)
        unseen = np.full(left.shape, np.nan)
        unseen[own] = chosen.unseen
        return chosen._replace(unseen=unseen, block=_blocks(left, seed)[0])
    cells = np.unique(np.floor(left[weight > 0] / apart), axis=0) if apart > 0 else left[weight > 0]
    trials = [t for kind in kinds for t in _trials(kind, left, right, weight / pairs.sigma**2, azimuth, len(cells))]
    all_points = np.ones(len(left), bool)
    fitted = [kind for kind in kinds if kind != NONE]
    if fitted and all(trial.kind == NONE for trial in trials):
        first = fitted[0]
        needed = f"at least {2 * MINIMAL[first]}" if first in MINIMAL else f"{SUPPORT} for each of its parameters"
        count = counted(len(cells), "independent point")
        few = f"(those that share pixels count once) {'is' if len(cells) == 1 else 'are'} too few"
        raise NoModel(f"{count} {few} for the model {first}, which takes {needed}")
    block, fold = _blocks(left, seed)
    scores: dict[str, NDArray[np.float64]] = {}
    best: dict[str, tuple[_Trial, NDArray[np.float64], NDArray[np.float64]]] = {}
    places = np.empty((0, 2)) if over is None else over
    for trial in trials:
        error, spread = _unseen(trial, left, right, fold, places)
        score = _by_block((error**2).sum(1), weight, block)
        score = score + (float(spread.sum(1).mean()) if len(places) else 0.0)
        if len(score) > 1 and (trial.kind not in scores or score.mean() < scores[trial.kind].mean()):
            scores[trial.kind], best[trial.kind] = score, (trial, error, spread)
    if not scores:  # all in one block: nothing can be held out
        simplest = next(trial for trial in trials if not fitted or trial.kind != NONE)
        return Selection(simplest.fit(all_points), np.full(left.shape, np.nan), block, {}, np.zeros_like(places))
    least = min(scores.values(), key=lambda score: float(score.mean()))
    # A shift that all ground shares is seen against a shift alone more surely than against a model of many parameters
    shifted = scores.get("translation", least)
    kind = next(
        k for k in kinds if k in scores and _no_worse(scores[k], least) and (k != NONE or _no_worse(scores[k], shifted))
    )
    errors = {k: float(np.sqrt(score.mean() / 2)) for k, score in scores.items()}
    return Selection(best[kind][0].fit(all_points), best[kind][1], block, errors, best[kind][2])


def _no_worse(score: NDArray[np.float64], least: NDArray[np.float64]) -> bool:
    """Tell whether the difference over the same blocks is within its standard error."""
    worse = score - least
    return bool(worse.mean() <= worse.std(ddof=1) / np.sqrt(len(worse)))


def consensus(left: Points, right: Points, model: PlaneTransform, tolerance: float) -> NDArray[np.float64]:
    """Weigh (N,) each point by its neighbours: Tukey's biweight about the median of its block.

    A model that is too simple for the ground must not decide which points a richer one may see.

    Args:
        left: (N, 2) points.
        right: (N, 2) points.
        model: robustly fitted to them.
        tolerance: beyond it a point says nothing.
    """
    residual = right - model(left)
    block, _ = _blocks(left, 0)
    centre = np.zeros_like(residual)
    for k in np.unique(block):
        members = block == k
        if members.sum() >= SUPPORT:
            centre[members] = np.median(residual[members], axis=0)
    distance = np.hypot(*(residual - centre).T)
    limit = float(np.clip(4.685 * 1.4826 * np.median(distance), tolerance / 3, tolerance))
    return np.asarray(np.where(distance < limit, (1 - (distance / limit) ** 2) ** 2, 0.0))


def _trials(
    kind: str,
    left: Points,
    right: Points,
    inverse: NDArray[np.float64],
    azimuth: float,
    independent: int,
) -> list[_Trial]:
    """List the ways to fit a kind, none where the points do not suffice; ``inverse`` are their weights."""
    if kind in {NONE, *MINIMAL}:

        def plane(chosen: NDArray[np.bool_]) -> Transform:
            return Transform(robust.fit(kind, left[chosen], right[chosen], inverse[chosen]))

        return [_Trial(kind, plane)] if independent >= 2 * MINIMAL.get(kind, 0) else []
    shape = _shape(kind, left[inverse > 0], azimuth, independent)
    if shape is None:
        return []
    basis = shape.basis(left)
    level = np.column_stack([np.ones(len(left)), (left - shape.origin) / shape.span])

    def bent(chosen: NDArray[np.bool_], stiffness: float) -> Transform:
        """Fit plane and bend together: what a plane can say is taken out of the bend's basis first."""
        weight, flatly = inverse[chosen, None], level[chosen]
        bend = basis[chosen]
        bend = bend - flatly @ np.linalg.solve((flatly * weight).T @ flatly, (flatly * weight).T @ bend)
        gram = (bend * weight).T @ bend
        scale = float(np.trace(gram)) / len(gram)
        gram += stiffness * scale * shape.penalty() + 1e-9 * scale * np.eye(len(gram))
        coefficients = np.linalg.solve(gram, (bend * weight).T @ (right[chosen] - left[chosen]))
        fitted = replace(shape, coefficients=coefficients)
        rest = right[chosen] - basis[chosen] @ coefficients
        return Transform(robust.fit("affine", left[chosen], rest, inverse[chosen]), fitted)

    return [_Trial(kind, partial(bent, stiffness=s)) for s in ((0.0,) if kind.startswith("polynomial") else STIFFNESS)]


def _shape(kind: str, known: Points, azimuth: float, independent: int) -> Bend | None:
    """Lay out a bend, yet without its coefficients; ``None`` where the points do not bear one."""
    if len(known) < MINIMAL["affine"]:
        return None
    extent = np.ptp(known, axis=0)
    if extent.min() <= 0:
        return None
    shape = Bend(kind, known.min(0), float(extent.max()), extent, azimuth=azimuth)
    bearable = independent // SUPPORT
    if kind == "track":
        shape = replace(shape, intervals=(min(bearable - 3, 3 * INTERVALS), 0))
    elif kind == "field":
        share = extent / extent.max()
        most = np.sqrt(bearable / share.min())
        across, along = (int(min(most * s - 3, INTERVALS)) for s in share)
        shape = replace(shape, intervals=(across, along))
    else:
        return shape if bearable >= shape.basis(known[:1]).shape[1] else None
    return shape if min(n for n in shape.intervals[: 1 if kind == "track" else 2]) >= 1 else None


def _unseen(
    trial: _Trial, left: Points, right: Points, fold: NDArray[np.int_], places: Points
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute (N, 2) errors of fits that have not seen the fold of a point, and (M, 2) the spread of fits.

    An error is NaN where there is none. The spread is the variance of the whole fit at other places, as the fits
    without one fold each tell it (Tukey 1958).
    """
    error, moved = np.full(left.shape, np.nan), []
    for k in np.unique(fold):
        members = fold == k
        if members.all():
            break
        try:
            fitted = trial.fit(~members)
        except (NoModel, np.linalg.LinAlgError):
            return np.full(left.shape, np.nan), np.zeros_like(places)
        error[members] = right[members] - fitted(left[members])
        if len(places):
            moved.append(fitted(places))
    if len(moved) < 2:
        return error, np.zeros_like(places)
    return error, np.var(moved, axis=0) * (len(moved) - 1)


def _by_block(error: NDArray[np.float64], weight: NDArray[np.float64], block: NDArray[np.int_]) -> NDArray[np.float64]:
    """Average over each block, weighted; none where nothing is known."""
    known = np.isfinite(error) & (weight > 0)
    total = np.bincount(block[known], weight[known])
    return np.asarray(np.bincount(block[known], (weight * error)[known])[total > 0] / total[total > 0])


def _blocks(points: Points, seed: int) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Assign (N,) a block and a fold to each point."""
    # One point on the other side of the world must not put all others into one block
    stray = (len(points) > 2) + len(points) // STRAY
    inner = np.sort(points, axis=0)[stray : len(points) - stray]
    reach = 2 * float(np.ptp(inner, axis=0).max())
    points = np.clip(points, inner[0] - reach, inner[-1] + reach) if reach > 0 else points
    side = max(float(np.ptp(points, axis=0).max()) / BLOCKS, 1e-9)
    cell = np.minimum(np.floor((points - points.min(0)) / side), BLOCKS - 1).astype(int)
    _, block = np.unique(cell, axis=0, return_inverse=True)
    block = block.ravel()
    folds = np.random.default_rng(seed).permutation(block.max() + 1)
    if len(points) >= LEAST_IN_FOLDS:
        folds %= FOLDS
    return block, folds[block]


def lattice_blocks(shape: tuple[int, ...]) -> NDArray[np.int_]:
    """Number (rows, cols) the squares of a lattice whose nodes are drawn together."""
    rows, cols = np.indices(shape)
    side = max(max(shape) / BLOCKS, 1)
    return np.asarray((rows // side * BLOCKS + cols // side).astype(int))


def places_asked(at: NDArray[np.float64], shown: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Choose (M, 2) places, spread evenly, at which the spread of a stiff model is asked for.

    Args:
        at: (rows, cols, 2) nodes of a lattice.
        shown: (rows, cols) which of them there are to choose from.
    """
    return at[shown][:: max(1, int(shown.sum()) // MOST_PLACES)]
