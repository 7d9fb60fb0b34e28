"""Two images of which nothing is known: not where they are, not how they are turned, not whether they belong together.

left ──reduced──▶ described ─┐
right ─reduced──▶ turned by 0, 90, … ▶ described ▶ matched ▶ a model, and how likely chance makes one ──▶ the best
                                                                                │
       all again with the best model as a prior, the right image turned by just its angle ◀┘

The matcher sees the right image upright, so one that knows no rotation (learned keypoints hold to 25 degrees, SIFT
without orientation to 20) finds every angle. Matchers err in groups, so what they agree on is a candidate, no more:
the right image is laid over the left one as each of the best candidates has it, and ``phase``, which shares nothing
with any of them, must find the same ground window by window. On unrelated images it does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from sentinel_match.geometry import robust, transform
from sentinel_match.geometry.chance import ACCEPTED_CHANCE, agreement
from sentinel_match.matchers.phase import Phase
from sentinel_match.matchers.prior import GeometricPrior
from sentinel_match.matchers.validity import filled
from sentinel_match.matching.plane_model import LARGEST_ZOOM, homogeneous, is_plausible, rotation_angle, zoom
from sentinel_match.matching.view import SEARCH_WINDOW_SIDE, View, no_contrast, reduced, shared_windows, shift, turned

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from sentinel_match.geometry.grids import Points
    from sentinel_match.geometry.transform import PlaneTransform
    from sentinel_match.matchers import Arrays, Matcher

ROTATIONS = (0.0, 90.0, 180.0, 270.0, 45.0, 135.0, 225.0, 315.0, *(22.5 + 45.0 * k for k in range(8)))
"""Degrees clockwise by which the right image may be turned, in the order they are tried: SIFT without orientation is
weak 15 degrees off, so the 22.5s follow where the 45s found nothing."""
ROTATIONS_PER_ROUND = 8
"""So many rotations are tried before their models are checked."""
AGREEMENT_TOLERANCE = 3.0
"""Pixels, as matched (of the reduced images), within which a correspondence agrees with a model."""
MATCH_SIGMA = 0.5
"""Pixels, as matched: what a right correspondence errs by, per axis."""
SURE_CHANCE = 1e-20
"""A model so unlikely by chance needs no further rotation to compare with."""
LEAST_AGREEING_MATCHES = 5
"""A model needs so many agreeing matches apart from one another."""
CHECKED_CANDIDATES = 3
"""The models of so many rotations, those with the most agreement, are checked by ``phase``."""
LEAST_AGREEING_WINDOWS = 6
"""Windows of ``phase`` that must agree with a model it confirms."""
LEAST_SEEN_SHARE = 0.25
"""Least share of the ground both images show that those windows must look at."""
INDEPENDENT_DISTANCE = 32.0
"""Pixels, as matched: a network sees about as much around a point, so within it matches are right or wrong together."""
UNGUIDED_REACH = 12.0
"""Pixels, as matched, by which a model found without a prior may be off when it becomes the prior."""


@dataclass(frozen=True, eq=False)
class Search:
    """How two images are searched."""

    matcher: Matcher
    size: int | tuple[int, int] | None = 1024
    """Pixels of the longer side, or width and height, at which images are matched; never enlarged. ``None`` = as is."""
    rotations: tuple[float, ...] = ROTATIONS
    """Degrees clockwise by which the right image may be turned against the left one, in the order to try."""
    model: str = "similarity"
    """A kind of :data:`sentinel_match.geometry.kinds.MINIMAL`."""
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
            *(AGREEMENT_TOLERANCE, MATCH_SIGMA, SURE_CHANCE, LARGEST_ZOOM, LEAST_AGREEING_MATCHES),
            *(CHECKED_CANDIDATES, LEAST_SEEN_SHARE, INDEPENDENT_DISTANCE, UNGUIDED_REACH, SEARCH_WINDOW_SIDE),
        )
        options = {name: getattr(self, name) for name in ("size", "rotations", "model", "windows", "seed")}
        return {"matcher": dict(self.matcher.recipe), **options, "constants": constants, "version": 2}


@dataclass(frozen=True, eq=False)
class Relation:
    """What two images have in common, if anything. All positions are pixels of the images as given, corner origin."""

    keypoints: tuple[Points, Points]
    """(N, 2) and (M, 2): everything looked at in the left and in the right image."""
    pairs: NDArray[np.intp]
    """(K, 2) which of them the matcher thinks are the same, inliers or not."""
    score: NDArray[np.float64]
    """(K,) the matcher's confidence, 0 to 1."""
    inlier: NDArray[np.bool_]
    """(K,) whether it agrees with the model."""
    model: PlaneTransform | None
    """Left pixels to right pixels; ``None`` where the images have nothing in common that could be verified."""
    angle: float | None
    """Degrees, -180 to 180, by which the right image is turned clockwise against the left one."""
    agreeing: Mapping[float, int]
    """How many matches agreed on one model, by the rotation tried."""
    why: str = ""
    """Why there is no model, as the end of a sentence."""


@dataclass(frozen=True, eq=False)
class _Attempt:
    """One comparison of the images: what was matched, the model, and how likely chance makes one as good.

    Keypoints are in pixels of the images.
    """

    keypoints: tuple[Points, Points]
    pairs: NDArray[np.intp]
    score: NDArray[np.float64]
    model: PlaneTransform | None
    inlier: NDArray[np.bool_]
    chance: float

    @property
    def rank(self) -> tuple[float, int]:
        """Return what attempts are sorted by, the best first."""
        return self.chance, -int(self.inlier.sum())


def relate(left: View, right: View, search: Search) -> Relation:
    """Find what two images have in common, whatever their rotation.

    A model counts if ``phase`` confirms it. Memory is bounded by ``search.size`` and the windows, not by the images.

    Args:
        left: the reference.
        right: of any size, scale (to about :data:`LARGEST_ZOOM`) and angle.
        search: how to search.
    """
    a, b = reduced(left, search.size), reduced(right, search.size)
    description = search.matcher.describe(a.pixels, a.valid)
    attempts, best, model = _try_rotations(a, b, description, search)
    if not attempts:
        raise ValueError("no rotation to try")
    agreeing = {rotation: int(attempt.inlier.sum()) for rotation, attempt in attempts.items()}
    if best is None or model is None:
        best = min(attempts.values(), key=lambda a: a.rank)
        why = no_contrast(a, b) or f"at most {max(agreeing.values())} of their matches agree, and their windows do not"
        none = np.zeros(len(best.score), bool)
        return Relation(best.keypoints, best.pairs, best.score, none, None, None, agreeing, why)
    second = _compare_under([(a, b)], model, search, 2 * AGREEMENT_TOLERANCE * b.scale, description)
    best = second if second.inlier.sum() >= best.inlier.sum() else best
    if search.windows and max(a.scale, b.scale) > 1:
        views = shared_windows(left, right, model, search.windows, 2 * AGREEMENT_TOLERANCE * b.scale)
        fine = _compare_under(views, model, search, 2 * AGREEMENT_TOLERANCE * b.scale)
        best = fine if fine.chance < ACCEPTED_CHANCE else best
    angle = None if best.model is None else rotation_angle(best.model, np.array(left.valid.shape[::-1]) / 2)
    return Relation(best.keypoints, best.pairs, best.score, best.inlier, best.model, angle, agreeing)


def _try_rotations(
    left: View, right: View, description: Arrays, search: Search
) -> tuple[dict[float, _Attempt], _Attempt | None, PlaneTransform | None]:
    """Compare two views at one rotation after another, until ``phase`` confirms the model of one.

    Args:
        left: a view.
        right: a view.
        description: of the left view.
        search: how to search.

    Returns:
        All comparisons, by rotation; the one that is confirmed, and its model refined; ``None`` for both without any.
    """
    radius = float(np.sqrt(right.valid.sum() / np.pi)) * right.scale  # of a disc as large as what is valid
    attempts: dict[float, _Attempt] = {}
    for first in range(0, len(search.rotations), ROTATIONS_PER_ROUND):
        batch = {}
        for rotation in search.rotations[first : first + ROTATIONS_PER_ROUND]:
            part = _compare(search.matcher, left, description, turned(right, -rotation))
            batch[rotation] = _fit([part], (left.scale, right.scale), search, radius)
            if batch[rotation].chance < SURE_CHANCE:
                break
        attempts |= batch
        for candidate in sorted(batch.values(), key=lambda a: a.rank)[:CHECKED_CANDIDATES]:
            if candidate.model is not None and np.isfinite(candidate.chance):
                model = _confirm(left, right, candidate.model, search.device)
                if model is not None:
                    return attempts, candidate, model
    return attempts, None, None


def _confirm(left: View, right: View, model: PlaneTransform, device: str) -> PlaneTransform | None:
    """Refine a model by ``phase``, with the right view laid over the left one; ``None`` if that shows other ground.

    Args:
        left: a view.
        right: a view.
        model: a candidate, image pixels to image pixels.
        device: where ``phase`` shall compute.
    """
    to_right = np.linalg.inv(right.matrix) @ homogeneous(model) @ left.matrix
    rows, cols = left.valid.shape
    centred = shift(-0.5, -0.5) @ np.linalg.inv(to_right) @ shift(0.5, 0.5)  # OpenCV counts from the centre of a pixel
    source = filled(np.asarray(right.pixels, np.float32), right.valid) if right.valid.any() else right.pixels
    pixels = cv2.warpPerspective(source, centred, (cols, rows), flags=cv2.INTER_CUBIC).astype(np.float32)
    valid = cv2.warpPerspective(right.valid.astype(np.float32), centred, (cols, rows), flags=cv2.INTER_LINEAR) > 0.999
    phase = Phase(spacing=16, device=device)
    both = left.valid & valid
    descriptions = phase.describe(np.asarray(left.pixels, np.float32), both), phase.describe(pixels, both)
    matches = phase.match(*descriptions, GeometricPrior(np.eye(3), UNGUIDED_REACH))
    keep = robust.decluster(matches.left, matches.score, matches.witnesses)
    p, q = matches.left[keep], matches.right[keep]
    if len(p) < LEAST_AGREEING_WINDOWS:
        return None
    sigma = np.full(len(p), MATCH_SIGMA)
    pairs = robust.PointPairs(p, q, sigma)
    remainder = robust.robust_fit(model.kind, pairs, tolerance=AGREEMENT_TOLERANCE, quality=matches.score[keep])
    count, chance = agreement(p, q, remainder, AGREEMENT_TOLERANCE / 2, UNGUIDED_REACH)
    agrees = np.hypot(*(q - remainder(p)).T) <= AGREEMENT_TOLERANCE / 2
    seen_share = float((matches.witnesses[keep][agrees] ** 2).sum()) / max(float(both.sum()), 1.0)
    if chance > ACCEPTED_CHANCE / (CHECKED_CANDIDATES * len(ROTATIONS)):
        return None
    if seen_share < LEAST_SEEN_SHARE or count < LEAST_AGREEING_WINDOWS:
        return None
    whole = right.matrix @ to_right @ homogeneous(remainder) @ np.linalg.inv(left.matrix)
    return transform.PlaneTransform(model.kind, whole / whole[2, 2], np.zeros(2))


class _Comparison(NamedTuple):
    """What a matcher says of two views."""

    left: Points
    """(N, 2) keypoints in pixels of the left image."""
    right: Points
    """(M, 2) keypoints in pixels of the right image."""
    pairs: NDArray[np.intp]
    """(K, 2) which of them match."""
    score: NDArray[np.float64]
    """(K,) the matcher's confidence."""


def _compare(
    matcher: Matcher, a: View, description: Arrays, b: View, prior: GeometricPrior | None = None
) -> _Comparison:
    """Match two views, the left one of which is described already."""
    other = matcher.describe(b.pixels, b.valid)
    matches = matcher.match(description, other, prior)
    left, i = _index_keypoints(description, matches.left)
    right, j = _index_keypoints(other, matches.right)
    return _Comparison(a.to_image(left), b.to_image(right), np.column_stack([i, j]), matches.score)


def _index_keypoints(description: Arrays, points: Points) -> tuple[Points, NDArray[np.intp]]:
    """List the keypoints, and which of them the matched points are; a method without any has only those it matched."""
    keypoints = np.asarray(description.get("keypoints", points), np.float64)
    positions = {row.tobytes(): k for k, row in enumerate(keypoints)}
    index = np.array([positions.get(row.tobytes(), -1) for row in points], np.intp)
    return (points, np.arange(len(points))) if (index < 0).any() else (keypoints, index)


def _fit(parts: list[_Comparison], scale: tuple[float, float], search: Search, reach: float) -> _Attempt:
    """Fit the model that all parts of a comparison agree on, and tell how likely chance makes as many agree.

    Args:
        parts: what was compared.
        scale: pixels of the left and of the right image per pixel as matched.
        search: how to search.
        reach: radius in pixels of the right image over which wrong matches spread.
    """
    if not parts:
        none, empty = np.empty((0, 2)), np.empty(0)
        return _Attempt((none, none), np.empty((0, 2), np.intp), empty, None, empty.astype(bool), np.inf)
    start = np.cumsum([[0, 0], *([len(part.left), len(part.right)] for part in parts)], axis=0)
    keypoints = np.vstack([part.left for part in parts]), np.vstack([part.right for part in parts])
    pairs = np.vstack([part.pairs + first for part, first in zip(parts, start, strict=False)])
    score = np.concatenate([part.score for part in parts])
    p, q = keypoints[0][pairs[:, 0]], keypoints[1][pairs[:, 1]]
    failure = _Attempt(keypoints, pairs, score, None, np.zeros(len(score), bool), np.inf)
    tolerance, sigma = AGREEMENT_TOLERANCE * scale[1], np.full(len(score), MATCH_SIGMA * scale[1])
    try:
        measured = robust.PointPairs(p, q, sigma)
        model = robust.robust_fit(search.model, measured, tolerance=tolerance, quality=score, seed=search.seed)
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
    return _Attempt(keypoints, pairs, score, model, inlier, chance if count >= LEAST_AGREEING_MATCHES else np.inf)


def _compare_under(
    views: Iterable[tuple[View, View]],
    model: PlaneTransform,
    search: Search,
    radius: float,
    description: Arrays | None = None,
) -> _Attempt:
    """Compare views under a model that is off by ``radius`` pixels at most, the right ones as the left ones show them.

    Each right view is turned by just the angle, reduced where it is finer, and cut to what the left one can show.
    ``description`` is that of the left view, where there is only one and it has been described already.
    """
    parts, scale = [], (1.0, 1.0)
    for left, right in views:
        corners = left.corners
        upright = turned(right, -rotation_angle(model, corners.mean(0)))
        excess = zoom(model, corners.mean(0)) * left.scale / right.scale
        if excess > 1.2:
            rows, cols = upright.valid.shape
            upright = reduced(upright, (max(1, round(cols / excess)), max(1, round(rows / excess))))
        outline = upright.to_view(model(corners))
        low, high = outline.min(0) - radius / upright.scale, outline.max(0) + radius / upright.scale
        (x, y), (width, height) = np.floor(low).astype(int), np.ceil(high - low).astype(int) + 1
        upright = upright.crop(y, x, height, width)
        prior = GeometricPrior(np.linalg.inv(upright.matrix) @ homogeneous(model) @ left.matrix, radius / upright.scale)
        known = search.matcher.describe(left.pixels, left.valid) if description is None else description
        parts.append(_compare(search.matcher, left, known, upright, prior))
        scale = left.scale, upright.scale
    return _fit(parts, scale, search, radius)


def _first_of_cell(points: Points, cell: float) -> NDArray[np.bool_]:
    """Mark the first point of each cell: several at one spot are one piece of evidence, not several."""
    first = np.zeros(len(points), bool)
    first[np.unique(np.floor(points / cell), axis=0, return_index=True)[1]] = True
    return first
