"""Robust, constrained verification: which measured correspondences are believed, and the proof by hold-out.

Three steps, each seeded and deterministic. (1) RANSAC with the MSAC cost (Torr & Zisserman 2000) over minimal sets
of a model no richer than the geometry allows. (2) Iteratively reweighted least squares with Tukey's biweight (Beaton
& Tukey 1974). (3) Each point's probability of being right: the residuals of wrong correlations spread evenly over
the search area, right ones gather at zero, so the points far from the model tell how many wrong ones must lie near
it by chance. That ratio, made monotone in the correlation's quality (isotonic regression), is the score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""(N, 2) x, y in one common frame (metres, or pixels)."""

MINIMAL = {"translation": 1, "similarity": 2, "affine": 3, "homography": 4}
"""Points that determine each model, from the most constrained to the least."""
RANSAC_TRIALS = 500
"""With half of the points wrong, 500 minimal sets of an affine model miss every clean one once in 10^28."""
LEAST_SCORE = 0.9
"""Smallest probability of an inlier."""
CHANCE = 1e-3
"""Largest accepted probability that unrelated images show this many agreeing points (see :func:`agreement`)."""


class NoModel(ValueError):
    """Points that determine no model, or none to believe; in words for the user."""


@dataclass(frozen=True, eq=False)
class Model:
    """A transform of the plane from the left frame to the right one."""

    kind: str
    """A key of ``MINIMAL``."""
    matrix: NDArray[np.float64]
    """(3, 3) homogeneous, acting on columns (x, y, 1) of ``left - origin``, giving ``right - origin``."""
    origin: NDArray[np.float64]
    """(2,) subtracted before and added after: keeps UTM coordinates well conditioned."""

    def __call__(self, left: Points) -> Points:
        """Where left points lie in the right frame."""
        centred = left - self.origin
        moved = centred @ self.matrix[:2, :2].T + self.matrix[:2, 2]
        return np.asarray(moved / (centred @ self.matrix[2, :2] + self.matrix[2, 2])[:, None] + self.origin)

    def shift(self, at: Points) -> Points:
        """Displacement right minus left at left points."""
        return self(at) - at


def fit(kind: str, left: Points, right: Points, weight: NDArray[np.float64] | None = None) -> Model:
    """Weighted least-squares model of one kind.

    Args:
        kind: ``translation``, ``similarity``, ``affine`` or ``homography``.
        left: (N, 2) points, at least as many as the kind needs.
        right: (N, 2) the same ground in the right frame.
        weight: (N,) inverse variances; all one when absent.

    Raises:
        NoModel: too few points or a degenerate arrangement.
    """
    w = np.ones(len(left)) if weight is None else weight
    if np.count_nonzero(w) < MINIMAL[kind]:
        raise NoModel(f"a {kind} needs {MINIMAL[kind]} points, not {np.count_nonzero(w)}")
    origin = np.average(left, axis=0, weights=w)
    p, q = left - origin, right - origin
    scale = float(np.sqrt(np.average((p**2).sum(1), weights=w))) or 1.0
    matrix = _solve(kind, p[None] / scale, q[None] / scale, w[None])[0]
    if not np.isfinite(matrix).all():
        raise NoModel(f"these points do not determine a {kind}")
    rescale = np.diag([scale, scale, 1.0])
    return Model(kind, rescale @ matrix @ np.linalg.inv(rescale), origin)


def robust_fit(
    kind: str,
    left: Points,
    right: Points,
    sigma: NDArray[np.float64],
    *,
    tolerance: float,
    quality: NDArray[np.float64] | None = None,
    seed: int = 0,
) -> Model:
    """The model most points agree on.

    Args:
        kind: see :func:`fit`.
        left: (N, 2) points.
        right: (N, 2) points.
        sigma: (N,) standard deviation per axis of each correspondence, same unit.
        tolerance: residual beyond which a point says nothing (the MSAC truncation).
        quality: (N,) minimal sets are drawn from the better half; all alike when absent.
        seed: of the sampling; the same seed gives the same model.

    Raises:
        NoModel: fewer points than the kind needs, or all arrangements degenerate.
    """
    n, k = len(left), MINIMAL[kind]
    if n < k:
        raise NoModel(f"a {kind} needs {k} points, not {n}")
    rng = np.random.default_rng(seed)
    pool = np.arange(n) if quality is None else np.argsort(-quality, kind="stable")[: max(n // 2, min(n, 50), k)]
    origin = left[pool].mean(0)
    p, q = left - origin, right - origin
    scale = float(np.sqrt((p[pool] ** 2).sum(1).mean())) or 1.0
    if n == k:
        sets = np.arange(n)[None]
    else:
        sets = np.stack([rng.choice(pool, k, replace=False) for _ in range(RANSAC_TRIALS)])
    models = _solve(kind, p[sets] / scale, q[sets] / scale, np.ones(sets.shape))
    # The cost of every candidate on a sample is enough to choose one; the refinement below sees all points
    judge = pool if len(pool) <= 2000 else rng.choice(pool, 2000, replace=False)
    homogeneous = np.column_stack([p[judge] / scale, np.ones(len(judge))])
    moved = np.einsum("tij,nj->tni", models, homogeneous)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = (((moved[..., :2] / moved[..., 2:]) - q[judge] / scale) ** 2).sum(-1) * scale**2
    cost = np.minimum(np.nan_to_num(error, nan=np.inf), tolerance**2).sum(1)
    rescale = np.diag([scale, scale, 1.0])
    model = Model(kind, rescale @ models[int(np.argmin(cost))] @ np.linalg.inv(rescale), origin)
    if not np.isfinite(model.matrix).all():
        raise NoModel(f"these points do not determine a {kind}")
    for cut in np.geomspace(tolerance, max(tolerance / 3, 3 * float(np.median(sigma))), 6):
        u = np.hypot(*(right - model(left)).T) / cut
        weight = np.where(u < 1, (1 - u**2) ** 2, 0.0) / sigma**2
        if np.count_nonzero(weight) < max(k, 2):
            break
        model = fit(kind, left, right, weight)
    return model


def agreement(left: Points, right: Points, model: Model, tolerance: float, reach: float) -> tuple[int, float]:
    """How many correspondences agree with a model, and how likely chance alone would give as many.

    Args:
        left: (N, 2) points.
        right: (N, 2) points.
        model: fitted to some of them.
        tolerance: residual that counts as agreement.
        reach: radius over which wrong correspondences spread, same unit.

    Returns:
        The count, and the number of models of that kind expected to reach it among unrelated points: the binomial tail
        times the number of minimal sets (the a-contrario criterion of Moisan & Stival 2004).
    """
    from scipy.special import gammaln

    n, k = len(left), MINIMAL[model.kind]
    count = int((np.hypot(*(right - model(left)).T) <= tolerance).sum())
    if count <= k:
        return count, float("inf")
    # A fitted model lies between its points, so two of them up to twice the tolerance apart agree with it
    by_chance = min((2 * tolerance / reach) ** 2, 1.0)
    log_sets = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    with np.errstate(divide="ignore"):
        tail = np.log(_at_least(count - k, n - k, by_chance))
    return count, float(np.exp(min(log_sets + tail, 700)))


def by_chance(agreeing: int, of: int, share: float) -> float:
    """Probability that unrelated correspondences agree so often with what had no part in them.

    Args:
        agreeing: how many do.
        of: how many could.
        share: tolerance as a share of the radius over which wrong ones spread.
    """
    return _at_least(agreeing, of, min(share**2, 1.0))


def _at_least(count: int, of: int, share: float) -> float:
    """Probability of so many successes: the binomial tail, without scipy.stats, which takes a second to import."""
    from scipy.special import betainc

    return float(betainc(count, of - count + 1, share)) if 0 < count <= of else float(count <= 0)


def likely(
    residual: NDArray[np.float64],
    quality: NDArray[np.float64],
    measured: NDArray[np.bool_],
    tolerance: float,
    reach: float,
) -> NDArray[np.float64]:
    """(N,) probability that each correspondence is right by its own quality, whether it agrees with a model or not.

    Args:
        residual: (N,) distance to the model, in the frame's unit.
        quality: (N,) how distinct the correlation peak is; of others, their score.
        measured: (N,) has such a peak. The others were kept for agreeing: they say nothing of these.
        tolerance: largest residual of an inlier, same unit.
        reach: radius within which the search could have found a wrong peak, same unit; larger than ``tolerance``.
    """
    score = quality.astype(np.float64)
    score[measured] = probability(residual[measured], quality[measured], tolerance, reach)
    return score


def probability(
    residual: NDArray[np.float64], quality: NDArray[np.float64], tolerance: float, reach: float
) -> NDArray[np.float64]:
    """Probability that each correspondence is right, from its quality and the company it keeps.

    Sorted by quality, wrong ones are those that lie beyond twice the tolerance; over the search area their density is
    even, so ``wrong_inside = wrong_outside * area_inside / area_outside``. The share of the rest among the points
    inside is smoothed by isotonic regression (Ayer et al. 1955), since a higher peak is never worse evidence.

    Returns:
        (N,) 0 to 1; points outside the tolerance keep the probability of their quality.
    """
    return _share_right(residual, quality, tolerance, reach, whole=False)


def reliability(
    residual: NDArray[np.float64], quality: NDArray[np.float64], tolerance: float, reach: float
) -> NDArray[np.float64]:
    """(N,) share of right ones among all correspondences of such quality, wherever they lie; see ``probability``."""
    return _share_right(residual, quality, tolerance, reach, whole=True)


def _share_right(
    residual: NDArray[np.float64], quality: NDArray[np.float64], tolerance: float, reach: float, *, whole: bool
) -> NDArray[np.float64]:
    from scipy.optimize import isotonic_regression

    n = len(residual)
    if n == 0:
        return np.empty(0)
    inside, outside = residual <= tolerance, residual > 2 * tolerance
    ratio = tolerance**2 / max(reach**2 - 4 * tolerance**2, tolerance**2)
    order = np.argsort(quality, kind="stable")
    # In groups of at least 50 the counts are steady enough to divide; Laplace's rule keeps small sets honest
    groups = np.array_split(order, max(1, min(n // 50, 200)))
    of = np.array([(len(g) if whole else inside[g].sum()) + 1.0 for g in groups])
    right_share = np.array([max(inside[g].sum() - ratio * outside[g].sum(), 0.0) for g in groups]) / of
    smooth = isotonic_regression(right_share, weights=of).x
    score = np.empty(n)
    for group, value in zip(groups, smooth, strict=True):
        score[group] = value
    return np.clip(score, 0, 1)


def _solve(kind: str, p: NDArray[np.float64], q: NDArray[np.float64], w: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least-squares matrices (T, 3, 3) of T weighted point sets (T, N, 2); NaN where a set is degenerate."""
    t = len(p)
    matrix = np.tile(np.eye(3), (t, 1, 1))
    if kind == "translation":
        matrix[:, :2, 2] = ((q - p) * w[..., None]).sum(1) / w.sum(1)[:, None]
        return matrix
    x, y = p[..., 0], p[..., 1]
    one, zero = np.ones_like(x), np.zeros_like(x)
    rows_x: tuple[NDArray[np.float64], ...]
    rows_y: tuple[NDArray[np.float64], ...]
    if kind == "similarity":
        rows_x, rows_y = (x, -y, one, zero), (y, x, zero, one)
    elif kind == "affine":
        rows_x, rows_y = (x, y, one, zero, zero, zero), (zero, zero, zero, x, y, one)
    elif kind == "homography":
        u, v = q[..., 0], q[..., 1]
        rows_x = (x, y, one, zero, zero, zero, -u * x, -u * y)
        rows_y = (zero, zero, zero, x, y, one, -v * x, -v * y)
    else:
        raise ValueError(f"there is no model {kind!r}: the known ones are {', '.join(MINIMAL)}")
    design = np.concatenate([np.stack(rows_x, -1), np.stack(rows_y, -1)], 1)
    target, weight = np.concatenate([q[..., 0], q[..., 1]], 1), np.concatenate([w, w], 1)
    normal = np.einsum("tni,tn,tnj->tij", design, weight, design)
    rhs = np.einsum("tni,tn,tn->ti", design, weight, target)
    sane = np.linalg.cond(normal) < 1e12
    solution = np.full(rhs.shape, np.nan)
    solution[sane] = np.linalg.solve(normal[sane], rhs[sane][..., None])[..., 0]
    s = solution.T
    if kind == "similarity":
        matrix[:, 0], matrix[:, 1] = np.stack([s[0], -s[1], s[2]], 1), np.stack([s[1], s[0], s[3]], 1)
    else:
        matrix[:, 0], matrix[:, 1] = s[:3].T, s[3:6].T
        if kind == "homography":
            matrix[:, 2, :2] = s[6:].T
    return matrix


def apart(points: Points, score: NDArray[np.float64], distance: float | NDArray[np.float64]) -> NDArray[np.intp]:
    """The best point of every square of a side, by index: neighbours that share pixels are one witness, not many.

    Args:
        points: (N, 2).
        score: (N,) which of a square is kept.
        distance: side of the squares, same unit as the points; (N,) where points looked differently far around. Then
            those that looked least far come first, and a wider one counts only in a square without any.
    """
    sides = np.broadcast_to(np.asarray(distance, float), len(points))
    chosen = np.empty(0, np.intp)
    for side in np.unique(sides):
        cell = np.floor(points / side).astype(np.int64)
        taken = {tuple(c) for c in cell[chosen].tolist()}
        own = np.flatnonzero(sides == side)
        own = own[np.argsort(-score[own], kind="stable")]
        _, first = np.unique(cell[own], axis=0, return_index=True)
        fresh = [k for k in own[first].tolist() if tuple(cell[k].tolist()) not in taken]
        chosen = np.concatenate([chosen, np.array(fresh, np.intp)])
    return np.sort(chosen)
