"""One comparison of two views by a matcher: what it matched, and how likely chance makes a model as good."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sentinel_match.geometry import robust, selection, transform
from sentinel_match.geometry.chance import agreement
from sentinel_match.matchers.prior import GeometricPrior
from sentinel_match.matching.plane_model import LARGEST_ZOOM, homogeneous, is_plausible, overlaid
from sentinel_match.matching.sweep import SWEEP_VERSION
from sentinel_match.matching.view import SEARCH_WINDOW_SIDE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from sentinel_match.geometry.grids import Points
    from sentinel_match.geometry.transform import PlaneTransform
    from sentinel_match.matchers import Arrays, Matcher
    from sentinel_match.matching.view import View

AGREEMENT_TOLERANCE = 3.0
"""Pixels, as matched (of the reduced images), within which a correspondence agrees with a model."""
MATCH_SIGMA = 0.5
"""Pixels, as matched: what a right correspondence errs by, per axis."""
LEAST_AGREEING_MATCHES = 5
"""A model needs so many agreeing matches apart from one another."""
INDEPENDENT_DISTANCE = 32.0
"""Pixels, as matched: a network sees about as much around a point, so within it matches are right or wrong together."""
AUTO = "auto"
"""The kind of model that the matches bear out."""
COMPETING = ("similarity", "affine", "homography")
"""Kinds of which that is chosen, from simple to rich: two orthoimages, pixels that are not square, a slanted view."""
WORTHWHILE = 1.1
"""By what factor fewer matches must agree, or errors on unseen ones be larger, for a richer kind to be worth it: of
real pairs under a similarity both differ by 2 % at most between kinds, of slanted ones by half and more."""
ROTATIONS = (0.0, 90.0, 180.0, 270.0, 45.0, 135.0, 225.0, 315.0, *(22.5 + 45.0 * k for k in range(8)))
"""Degrees clockwise by which the right image may be turned, in the order they are tried: SIFT without orientation is
weak 15 degrees off, so the 22.5s follow where the 45s found nothing."""


@dataclass(frozen=True, eq=False)
class Search:
    """How two images are searched."""

    matcher: Matcher
    size: int | tuple[int, int] | None = 1024
    """Pixels of the longer side, or width and height, at which images are matched; never enlarged. ``None`` = as is."""
    rotations: tuple[float, ...] = ROTATIONS
    """Degrees clockwise by which the right image may be turned against the left one, in the order to try."""
    model: str = AUTO
    """A kind of :data:`sentinel_match.geometry.kinds.MINIMAL`, or the simplest of :data:`COMPETING` that the matches
    bear out."""
    windows: int = 0
    """Images that were reduced are matched again at full resolution in so many windows, spread over what both show."""
    seed: int = 0
    """Of the robust fit."""
    device: str = "auto"
    """Of ``phase``, which checks what was found."""

    @property
    def recipe(self) -> Mapping[str, object]:
        """List everything a result depends on but the images; JSON-able."""
        constants = (
            *(AGREEMENT_TOLERANCE, MATCH_SIGMA, LEAST_AGREEING_MATCHES, INDEPENDENT_DISTANCE, LARGEST_ZOOM),
            SEARCH_WINDOW_SIDE,
        )
        options = {name: getattr(self, name) for name in ("size", "rotations", "model", "windows", "seed")}
        return {
            "matcher": dict(self.matcher.recipe),
            **options,
            "constants": constants,
            "version": 4,
            "sweep": SWEEP_VERSION,
        }


@dataclass(frozen=True, eq=False)
class Attempt:
    """One comparison of the images: what was matched, the model, and how likely chance makes one as good.

    Keypoints are in pixels of the images.
    """

    keypoints: tuple[Points, Points]
    pairs: NDArray[np.intp]
    score: NDArray[np.float64]
    model: PlaneTransform | None
    inlier: NDArray[np.bool_]
    chance: float

    @staticmethod
    def nothing() -> Attempt:
        """Make one that compared nothing."""
        none, empty = np.empty((0, 2)), np.empty(0)
        return Attempt((none, none), np.empty((0, 2), np.intp), empty, None, empty.astype(bool), np.inf)

    @property
    def rank(self) -> tuple[float, int]:
        """Return what attempts are sorted by, the best first."""
        return self.chance, -int(self.inlier.sum())


class Comparison(NamedTuple):
    """What a matcher says of two views."""

    left: Points
    """(N, 2) keypoints in pixels of the left image."""
    right: Points
    """(M, 2) keypoints in pixels of the right image."""
    pairs: NDArray[np.intp]
    """(K, 2) which of them match."""
    score: NDArray[np.float64]
    """(K,) the matcher's confidence."""


def compare(matcher: Matcher, a: View, description: Arrays, b: View, prior: GeometricPrior | None = None) -> Comparison:
    """Match two views, the left one of which is described already."""
    other = matcher.describe(b.pixels, b.valid)
    matches = matcher.match(description, other, prior)
    left, i = _index_keypoints(description, matches.left)
    right, j = _index_keypoints(other, matches.right)
    return Comparison(a.to_image(left), b.to_image(right), np.column_stack([i, j]), matches.score)


def _index_keypoints(description: Arrays, points: Points) -> tuple[Points, NDArray[np.intp]]:
    """List the keypoints, and which of them the matched points are; a method without any has only those it matched."""
    keypoints = np.asarray(description.get("keypoints", points), np.float64)
    positions = {row.tobytes(): k for k, row in enumerate(keypoints)}
    index = np.array([positions.get(row.tobytes(), -1) for row in points], np.intp)
    return (points, np.arange(len(points))) if (index < 0).any() else (keypoints, index)


def fit(parts: list[Comparison], scale: tuple[float, float], search: Search, reach: float) -> Attempt:
    """Fit the model that all parts of a comparison agree on, and tell how likely chance makes as many agree.

    Args:
        parts: what was compared.
        scale: pixels of the left and of the right image per pixel as matched.
        search: how to search.
        reach: radius in pixels of the right image over which wrong matches spread.
    """
    if not parts:
        return Attempt.nothing()
    start = np.cumsum([[0, 0], *([len(part.left), len(part.right)] for part in parts)], axis=0)
    keypoints = np.vstack([part.left for part in parts]), np.vstack([part.right for part in parts])
    pairs = np.vstack([part.pairs + first for part, first in zip(parts, start, strict=False)])
    score = np.concatenate([part.score for part in parts])
    p, q = keypoints[0][pairs[:, 0]], keypoints[1][pairs[:, 1]]
    failure = Attempt(keypoints, pairs, score, None, np.zeros(len(score), bool), np.inf)
    tolerance, sigma = AGREEMENT_TOLERANCE * scale[1], np.full(len(score), MATCH_SIGMA * scale[1])
    try:
        measured = robust.PointPairs(p, q, sigma)
        kind = COMPETING[0] if search.model == AUTO else search.model
        model = robust.robust_fit(kind, measured, tolerance=tolerance, quality=score, seed=search.seed)
        if search.model == AUTO:
            model = _borne_out(measured, model, score, tolerance, search.seed)
    except transform.NoModel:  # too few of them, or all on one spot
        return failure
    if not is_plausible(model, p):
        return failure
    inlier = np.hypot(*(q - model(p)).T) <= tolerance
    # Inliers first, so that of a group with one of them it is one that counts
    order = np.lexsort((-score, ~inlier))
    cells = [INDEPENDENT_DISTANCE * s for s in scale]
    independent = order[_first_of_cell(p[order], cells[0]) & _first_of_cell(q[order], cells[1])]
    count, chance = agreement(p[independent], q[independent], model, tolerance, reach)
    return Attempt(keypoints, pairs, score, model, inlier, chance if count >= LEAST_AGREEING_MATCHES else np.inf)


def _borne_out(
    measured: robust.PointPairs, simplest: PlaneTransform, score: NDArray[np.float64], tolerance: float, seed: int
) -> PlaneTransform:
    """Fit the simplest kind on which as many matches agree as on any, and that predicts unseen ones as well.

    Args:
        measured: all matches.
        simplest: the model of the simplest kind on which most agree.
        score: (N,) of the matches.
        tolerance: residual beyond which a match says nothing.
        seed: of the fits.
    """
    fits = {simplest.kind: simplest}
    for kind in COMPETING[1:]:
        with suppress(transform.NoModel):
            fits[kind] = robust.robust_fit(kind, measured, tolerance=tolerance, quality=score, seed=seed)
    agreeing = {
        kind: np.hypot(*(measured.right - model(measured.left)).T) <= tolerance
        for kind, model in fits.items()
        if is_plausible(model, measured.left)
    }
    most = max((int(one.sum()) for one in agreeing.values()), default=0)
    kinds = tuple(kind for kind, one in agreeing.items() if WORTHWHILE * one.sum() >= most)
    if not kinds:
        return simplest
    near = np.any([agreeing[kind] for kind in kinds], axis=0)
    pairs = robust.PointPairs(measured.left[near], measured.right[near], measured.sigma[near])
    try:
        surely = selection.choose(pairs, np.ones(len(pairs)), kinds=kinds, seed=seed)
    except transform.NoModel:  # so few matches tell no more
        return fits[kinds[0]]
    enough = (kind for kind, error in surely.errors.items() if error <= WORTHWHILE * min(surely.errors.values()))
    return fits[min([surely.transform.kind, *enough], key=COMPETING.index)]


def compare_under(
    views: Iterable[tuple[View, View]],
    model: PlaneTransform,
    search: Search,
    radius: float,
    description: Arrays | None = None,
) -> Attempt:
    """Compare views under a model that is off by ``radius`` pixels of the right image at most.

    Each right view is laid over the left one, so that a matcher need know of no rotation and no scale. ``description``
    is that of the left view, where there is only one and it has been described already.
    """
    parts, scale = [], (1.0, 1.0)
    for left, right in views:
        here, there = overlaid(left, right, model)
        prior = GeometricPrior(np.linalg.inv(there.matrix) @ homogeneous(model) @ here.matrix, radius / there.scale)
        known = description if description is not None and here is left else None
        known = search.matcher.describe(here.pixels, here.valid) if known is None else known
        parts.append(compare(search.matcher, here, known, there, prior))
        scale = here.scale, there.scale
    return fit(parts, scale, search, radius)


def _first_of_cell(points: Points, cell: float) -> NDArray[np.bool_]:
    """Mark the first point of each cell: several at one spot are one piece of evidence, not several."""
    first = np.zeros(len(points), bool)
    first[np.unique(np.floor(points / cell), axis=0, return_index=True)[1]] = True
    return first
