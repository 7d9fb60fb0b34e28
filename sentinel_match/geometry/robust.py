"""Robust fits of constrained models, each seeded and deterministic.

RANSAC with the MSAC cost (Torr & Zisserman 2000) over minimal sets of a model no richer than the geometry allows, then
iteratively reweighted least squares with Tukey's biweight (Beaton & Tukey 1974).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sentinel_match.geometry.kinds import MINIMAL, NONE
from sentinel_match.geometry.transform import NoModel, PlaneTransform

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.geometry.grids import Points

TRIALS_AT_ONCE = 50
"""Models whose residuals are in memory together."""
RANSAC_TRIALS = 500
"""With half of the points wrong, 500 minimal sets of an affine model miss every clean one once in 10^28."""


@dataclass(frozen=True, eq=False)
class PointPairs:
    """The same ground in two frames, and how well each place of it is known."""

    left: Points
    """(N, 2) points."""
    right: Points
    """(N, 2) the same ground in the right frame."""
    sigma: NDArray[np.float64]
    """(N,) standard deviation per axis of each correspondence, same unit."""

    def __len__(self) -> int:
        """Count the pairs."""
        return len(self.left)


def fit(kind: str, left: Points, right: Points, weight: NDArray[np.float64] | None = None) -> PlaneTransform:
    """Fit a model of one kind by weighted least squares.

    Args:
        kind: ``none``, ``translation``, ``similarity``, ``affine`` or ``homography``.
        left: (N, 2) points, at least as many as the kind needs.
        right: (N, 2) the same ground in the right frame.
        weight: (N,) inverse variances; all one when absent.

    Raises:
        NoModel: too few points or a degenerate arrangement.
    """
    if kind == NONE:
        return PlaneTransform(NONE, np.eye(3), np.zeros(2))
    w = np.ones(len(left)) if weight is None else weight
    if np.count_nonzero(w) < MINIMAL[kind]:
        raise NoModel(_too_few(kind, int(np.count_nonzero(w))))
    origin = np.average(left, axis=0, weights=w)
    p, q = left - origin, right - origin
    scale = float(np.sqrt(np.average((p**2).sum(1), weights=w))) or 1.0
    matrix = _solve(kind, p[None] / scale, q[None] / scale, w[None])[0]
    if not np.isfinite(matrix).all():
        raise NoModel(_degenerate(kind))
    rescale = np.diag([scale, scale, 1.0])
    return PlaneTransform(kind, rescale @ matrix @ np.linalg.inv(rescale), origin)


def robust_fit(
    kind: str,
    pairs: PointPairs,
    *,
    tolerance: float,
    quality: NDArray[np.float64] | None = None,
    seed: int = 0,
) -> PlaneTransform:
    """Find the model that most points agree on.

    Args:
        kind: see :func:`fit`.
        pairs: N of them.
        tolerance: residual beyond which a point says nothing (the MSAC truncation).
        quality: (N,) minimal sets are drawn from the better half; all alike when absent.
        seed: of the sampling; the same seed gives the same model.

    Raises:
        NoModel: fewer points than the kind needs, or all arrangements degenerate.
    """
    left, right, sigma = pairs.left, pairs.right, pairs.sigma
    n, k = len(pairs), MINIMAL[kind]
    if n < k:
        raise NoModel(_too_few(kind, n))
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
    sample = pool if len(pool) <= 2000 else rng.choice(pool, 2000, replace=False)
    homogeneous = np.column_stack([p[sample] / scale, np.ones(len(sample))])
    cost = np.concatenate([
        _cost(some, homogeneous, q[sample] / scale, tolerance / scale)
        for some in np.array_split(models, -(-len(models) // TRIALS_AT_ONCE))
    ])
    rescale = np.diag([scale, scale, 1.0])
    model = PlaneTransform(kind, rescale @ models[int(np.argmin(cost))] @ np.linalg.inv(rescale), origin)
    if not np.isfinite(model.matrix).all():
        raise NoModel(_degenerate(kind))
    for limit in np.geomspace(tolerance, max(tolerance / 3, 3 * float(np.median(sigma))), 6):
        share = np.hypot(*(right - model(left)).T) / limit
        weight = np.where(share < 1, (1 - share**2) ** 2, 0.0) / sigma**2
        if np.count_nonzero(weight) < max(k, 2):
            break
        model = fit(kind, left, right, weight)
    return model


def _cost(
    models: NDArray[np.float64], homogeneous: NDArray[np.float64], there: NDArray[np.float64], tolerance: float
) -> NDArray[np.float64]:
    """Sum (T,) the squared residuals of (T, 3, 3) models over (N, 3) and (N, 2) points, each to a tolerance."""
    moved = np.einsum("tij,nj->tni", models, homogeneous)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = ((moved[..., :2] / moved[..., 2:] - there) ** 2).sum(-1)
    return np.asarray(np.minimum(np.nan_to_num(error, nan=np.inf), tolerance**2).sum(1))


def decluster(points: Points, score: NDArray[np.float64], distance: float | NDArray[np.float64]) -> NDArray[np.intp]:
    """Keep the best point of every square of a side, by index: neighbours that share pixels are one witness, not many.

    Args:
        points: (N, 2).
        score: (N,) which of a square is kept.
        distance: side of the squares, same unit as the points; (N,) where points looked differently far around. Then
            those that looked least far come first, and a wider one counts only in a square without any.
    """
    sides = np.broadcast_to(np.asarray(distance, float), len(points))
    selection = np.empty(0, np.intp)
    for side in np.unique(sides):
        cell = np.floor(points / side).astype(np.int64)
        occupied = {tuple(c) for c in cell[selection].tolist()}
        members = np.flatnonzero(sides == side)
        members = members[np.argsort(-score[members], kind="stable")]
        _, best = np.unique(cell[members], axis=0, return_index=True)
        additions = [k for k in members[best].tolist() if tuple(cell[k].tolist()) not in occupied]
        selection = np.concatenate([selection, np.array(additions, np.intp)])
    return np.sort(selection)


def nmad(values: NDArray[np.float64]) -> float:
    """Compute the normalised median absolute deviation: a robust standard deviation (Höhle & Höhle 2009)."""
    return float(1.4826 * np.median(np.abs(values - np.median(values)))) if len(values) else float("nan")


def error_of_median(deviation: float, count: float) -> float:
    """Compute the standard error of the median of ``count`` independent, normal values of a standard deviation."""
    return float(1.2533 * deviation / np.sqrt(count))


def _too_few(kind: str, count: int) -> str:
    """Say why there is no model: too few points."""
    return f"{count} points are too few for the model {kind}, which takes at least {MINIMAL[kind]}"


def _degenerate(kind: str) -> str:
    """Say why there is no model: points in a degenerate arrangement."""
    return f"the points do not determine the model {kind}, because they lie on one spot or line"


def _solve(kind: str, p: NDArray[np.float64], q: NDArray[np.float64], w: NDArray[np.float64]) -> NDArray[np.float64]:
    """Solve T weighted point sets (T, N, 2) for their least-squares matrices (T, 3, 3); NaN where one is degenerate."""
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
