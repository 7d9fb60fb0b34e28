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
from typing import TYPE_CHECKING, TypeAlias

import cv2
import numpy as np

from sentinel_match.geometry import robust, transform
from sentinel_match.geometry.chance import ACCEPTED_CHANCE, agreement
from sentinel_match.matchers.phase import Phase
from sentinel_match.matchers.prior import GeometricPrior
from sentinel_match.matchers.validity import filled
from sentinel_match.matching.view import View, reduced, shift, turned

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from sentinel_match.geometry.grids import Points
    from sentinel_match.geometry.transform import PlaneTransform
    from sentinel_match.matchers import Arrays, Matcher

ROTATIONS = (0.0, 90.0, 180.0, 270.0, 45.0, 135.0, 225.0, 315.0, *(22.5 + 45.0 * k for k in range(8)))
"""Degrees clockwise by which the right image may be turned, in the order they are tried: SIFT without orientation is
weak 15 degrees off, so the 22.5s follow where the 45s found nothing."""
RING = 8
"""So many rotations are tried before their candidates are looked at."""
TOLERANCE = 3.0
"""Pixels, as matched, within which a correspondence agrees with a model."""
SIGMA = 0.5
"""Pixels, as matched: what a right correspondence errs by, per axis."""
SURE = 1e-20
"""A model so unlikely by chance needs no further rotation to compare with."""
LARGEST_ZOOM = 4.0
"""A model that shrinks or stretches by more is an artefact: everything agrees with one that maps it onto a spot."""
LEAST_INLIERS = 5
"""A candidate needs so many agreeing matches apart from one another."""
CANDIDATES = 3
"""So many rotations, those with the most agreement, are looked at by ``phase``."""
LEAST_WINDOWS = 6
"""And so many of them."""
SEEN = 0.25
"""Least share of the ground both images show that agreeing windows of ``phase`` must look at."""
APART = 32.0
"""Pixels, as matched: a network sees about as much around a point, so within it matches are right or wrong together."""
REACH = 12.0
"""Pixels, as matched, by which a model found without a prior may be off when it becomes the prior."""
WINDOW = 640
"""Side in pixels of the windows that big images are matched in at full resolution."""


@dataclass(frozen=True, eq=False)
class Search:
    """How to look."""

    matcher: Matcher
    size: int | tuple[int, int] | None = 1024
    """Pixels of the longer side, or width and height, at which images are matched; never enlarged. ``None`` = as is."""
    rotations: tuple[float, ...] = ROTATIONS
    """Degrees clockwise by which the right image may be turned against the left one, in the order to try."""
    model: str = "similarity"
    """A kind of :data:`sentinel_match.geometry.transform.MINIMAL`."""
    windows: int = 0
    """Images that were reduced are matched again at full resolution in so many windows, spread over what both show."""
    seed: int = 0
    """Of the robust fit."""
    device: str = "auto"
    """Of ``phase``, which checks what was found."""

    @property
    def recipe(self) -> Mapping[str, object]:
        """Everything a result depends on but the images; JSON-able."""
        constants = (TOLERANCE, SIGMA, SURE, LARGEST_ZOOM, LEAST_INLIERS, CANDIDATES, SEEN, APART, REACH, WINDOW)
        own = {name: getattr(self, name) for name in ("size", "rotations", "model", "windows", "seed")}
        return {"matcher": dict(self.matcher.recipe), **own, "constants": constants, "version": 2}


@dataclass(frozen=True, eq=False)
class Relation:
    """What two images have in common, if anything. All positions are pixels of the images as given, corner origin."""

    keypoints: tuple[Points, Points]
    """(N, 2) and (M, 2): everything looked at in the left and in the right image."""
    pairs: NDArray[np.intp]
    """(K, 2) which of them the matcher thinks are the same, believed or not."""
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
    """One comparison; keypoints and points in pixels of the images."""

    keypoints: tuple[Points, Points]
    pairs: NDArray[np.intp]
    score: NDArray[np.float64]
    model: PlaneTransform | None
    inlier: NDArray[np.bool_]
    chance: float

    @property
    def rank(self) -> tuple[float, int]:
        return self.chance, -int(self.inlier.sum())


def relate(left: View, right: View, search: Search) -> Relation:
    """What two images have in common, whatever their rotation.

    A model counts if ``phase`` confirms it. Memory is bounded by ``search.size`` and the windows, not by the images.

    Args:
        left: the reference.
        right: of any size, scale (to about :data:`LARGEST_ZOOM`) and angle.
        search: how to look.
    """
    a, b = reduced(left, search.size), reduced(right, search.size)
    described = search.matcher.describe(a.pixels, a.valid)
    area = float(np.sqrt(b.valid.sum() / np.pi)) * b.scale
    attempts: dict[float, _Attempt] = {}
    best, model = None, None
    for first in range(0, len(search.rotations), RING):
        ring = {}
        for rotation in search.rotations[first : first + RING]:
            part = _compare(search.matcher, a, described, turned(b, -rotation))
            ring[rotation] = _attempt([part], (a.scale, b.scale), search, area)
            if ring[rotation].chance < SURE:
                break
        attempts |= ring
        for candidate in sorted(ring.values(), key=lambda t: t.rank)[:CANDIDATES]:
            if candidate.model is not None and np.isfinite(candidate.chance):
                model = _overlaid(a, b, candidate.model, search.device)
                if model is not None:
                    best = candidate
                    break
        if best is not None:
            break
    if not attempts:
        raise ValueError("no rotation to try")
    agreeing = {rotation: int(attempt.inlier.sum()) for rotation, attempt in attempts.items()}
    if best is None or model is None:
        best = min(attempts.values(), key=lambda t: t.rank)
        most = f"at most {max(agreeing.values())} of their matches agree, and their windows do not"
        return Relation(
            best.keypoints, best.pairs, best.score, np.zeros(len(best.score), bool), None, None, agreeing, most
        )
    again = _guided([(a, b)], model, search, 2 * TOLERANCE * b.scale, described)
    best = again if again.inlier.sum() >= best.inlier.sum() else best
    if search.windows and max(a.scale, b.scale) > 1:
        views = _windows(left, right, model, search.windows, 2 * TOLERANCE * b.scale)
        fine = _guided(views, model, search, 2 * TOLERANCE * b.scale)
        best = fine if fine.chance < ACCEPTED_CHANCE else best
    angle = None if best.model is None else turn(best.model, np.array(left.valid.shape[::-1]) / 2)
    return Relation(best.keypoints, best.pairs, best.score, best.inlier, best.model, angle, agreeing)


def _overlaid(left: View, right: View, model: PlaneTransform, device: str) -> PlaneTransform | None:
    """The model as ``phase`` has it, with the right view laid over the left one; ``None`` if it sees other ground.

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
    here, there = phase.describe(np.asarray(left.pixels, np.float32), both), phase.describe(pixels, both)
    found = phase.match(here, there, GeometricPrior(np.eye(3), REACH))
    keep = robust.decluster(found.left, found.score, found.witnesses)
    p, q = found.left[keep], found.right[keep]
    if len(p) < LEAST_WINDOWS:
        return None
    sigma = np.full(len(p), SIGMA)
    small = robust.robust_fit(model.kind, p, q, sigma, tolerance=TOLERANCE, quality=found.score[keep])
    count, chance = agreement(p, q, small, TOLERANCE / 2, REACH)
    agrees = np.hypot(*(q - small(p)).T) <= TOLERANCE / 2
    seen = float((found.witnesses[keep][agrees] ** 2).sum()) / max(float(both.sum()), 1.0)
    if chance > ACCEPTED_CHANCE / (CANDIDATES * len(ROTATIONS)) or seen < SEEN or count < LEAST_WINDOWS:
        return None
    whole = right.matrix @ to_right @ homogeneous(small) @ np.linalg.inv(left.matrix)
    return transform.PlaneTransform(model.kind, whole / whole[2, 2], np.zeros(2))


def turn(model: PlaneTransform, at: NDArray[np.float64]) -> float:
    """Degrees clockwise, -180 to 180, by which a model turns what is at (2,) ``at`` (the rotation nearest to it)."""
    (a, b), (c, d) = _linear(model, at)
    return float(np.degrees(np.arctan2(c - b, a + d)))


def homogeneous(model: PlaneTransform) -> NDArray[np.float64]:
    """(3, 3) matrix of a model, without the origin it keeps apart."""
    return np.asarray(shift(*model.origin) @ model.matrix @ shift(*-model.origin))


_Part: TypeAlias = "tuple[Points, Points, NDArray[np.intp], NDArray[np.float64]]"
"""Keypoints of both in pixels of their images, which of them match, and the scores."""


def _compare(matcher: Matcher, a: View, described: Arrays, b: View, prior: GeometricPrior | None = None) -> _Part:
    other = matcher.describe(b.pixels, b.valid)
    found = matcher.match(described, other, prior)
    left, i = _indexed(described, found.left)
    right, j = _indexed(other, found.right)
    return a.whence(left), b.whence(right), np.column_stack([i, j]), found.score


def _indexed(described: Arrays, points: Points) -> tuple[Points, NDArray[np.intp]]:
    """Keypoints, and which of them the matched points are; a method without keypoints has only those it matched."""
    keypoints = np.asarray(described.get("keypoints", points), np.float64)
    where = {row.tobytes(): k for k, row in enumerate(keypoints)}
    index = np.array([where.get(row.tobytes(), -1) for row in points], np.intp)
    return (points, np.arange(len(points))) if (index < 0).any() else (keypoints, index)


def _attempt(parts: list[_Part], scale: tuple[float, float], search: Search, reach: float) -> _Attempt:
    """The model that all parts of a comparison agree on, and how likely chance makes as many agree.

    Args:
        parts: what was compared.
        scale: pixels of the left and of the right image per pixel that was seen.
        search: how to look.
        reach: radius in pixels of the right image over which wrong matches spread.
    """
    if not parts:
        none, empty = np.empty((0, 2)), np.empty(0)
        return _Attempt((none, none), np.empty((0, 2), np.intp), empty, None, empty.astype(bool), np.inf)
    before = np.cumsum([[0, 0], *([len(p), len(q)] for p, q, _, _ in parts)], axis=0)
    keypoints = np.vstack([p for p, _, _, _ in parts]), np.vstack([q for _, q, _, _ in parts])
    pairs = np.vstack([pairs + before[k] for k, (_, _, pairs, _) in enumerate(parts)])
    score = np.concatenate([score for _, _, _, score in parts])
    p, q = keypoints[0][pairs[:, 0]], keypoints[1][pairs[:, 1]]
    nothing = _Attempt(keypoints, pairs, score, None, np.zeros(len(score), bool), np.inf)
    tolerance, sigma = TOLERANCE * scale[1], np.full(len(score), SIGMA * scale[1])
    try:
        model = robust.robust_fit(search.model, p, q, sigma, tolerance=tolerance, quality=score, seed=search.seed)
    except transform.NoModel:  # too few of them, or all on one spot
        return nothing
    if not _plausible(model, p):
        return nothing
    inlier = np.hypot(*(q - model(p)).T) <= tolerance
    # Inliers first, so that of a group with one of them it is one that counts
    order = np.lexsort((-score, ~inlier))
    alone = order[_alone(p[order], APART * scale[0]) & _alone(q[order], APART * scale[1])]
    count, chance = agreement(p[alone], q[alone], model, tolerance, reach)
    return _Attempt(keypoints, pairs, score, model, inlier, chance if count >= LEAST_INLIERS else np.inf)


def _guided(
    views: Iterable[tuple[View, View]],
    model: PlaneTransform,
    search: Search,
    radius: float,
    described: Arrays | None = None,
) -> _Attempt:
    """Views compared under a model that is off by ``radius`` pixels at most, the right ones as the left ones show them.

    Each right view is turned by just the angle, reduced where it is finer, and cut to what the left one can show.
    """
    parts, scale = [], (1.0, 1.0)
    for left, right in views:
        corners = left.corners
        upright = turned(right, -turn(model, corners.mean(0)))
        zoom = np.sqrt(abs(np.linalg.det(_linear(model, corners.mean(0))))) * left.scale / right.scale
        if zoom > 1.2:
            rows, cols = upright.valid.shape
            upright = reduced(upright, (max(1, round(cols / zoom)), max(1, round(rows / zoom))))
        shown = upright.where(model(corners))
        low, high = shown.min(0) - radius / upright.scale, shown.max(0) + radius / upright.scale
        (x, y), (width, height) = np.floor(low).astype(int), np.ceil(high - low).astype(int) + 1
        upright = upright.cut(y, x, height, width)
        prior = GeometricPrior(np.linalg.inv(upright.matrix) @ homogeneous(model) @ left.matrix, radius / upright.scale)
        known = search.matcher.describe(left.pixels, left.valid) if described is None else described
        parts.append(_compare(search.matcher, left, known, upright, prior))
        scale = left.scale, upright.scale
    return _attempt(parts, scale, search, radius)


def _windows(left: View, right: View, model: PlaneTransform, count: int, radius: float) -> Iterator[tuple[View, View]]:
    """Windows of the left image that show most of what both show, far from one another, with their places in the right.

    One at a time: no more than one is in memory.
    """
    rows, cols = left.valid.shape
    starts = np.array([(y, x) for y in range(0, rows, WINDOW) for x in range(0, cols, WINDOW)])
    share = np.array([_shared(left, right, model, y, x) for y, x in starts.tolist()])
    chosen: list[int] = []
    while len(chosen) < min(count, int((share > 0).sum())):
        apart = [np.hypot(*(starts - starts[k]).T) for k in chosen]
        chosen.append(int(np.argmax(share * (np.min(apart, axis=0) if apart else 1))))
    for y, x in starts[chosen].tolist():
        a = left.cut(y, x, WINDOW, WINDOW)
        there = right.where(model(a.corners))
        low, high = np.floor(there.min(0) - radius).astype(int), np.ceil(there.max(0) + radius).astype(int)
        yield a, right.cut(low[1], low[0], high[1] - low[1], high[0] - low[0])


def _shared(left: View, right: View, model: PlaneTransform, row: int, col: int) -> float:
    """Share of a window that is valid in both images, from a sample."""
    y, x = (n.ravel() for n in np.mgrid[row : row + WINDOW : 16, col : col + WINDOW : 16])
    x, y = (n[(y < left.valid.shape[0]) & (x < left.valid.shape[1])] for n in (x, y))
    there = np.floor(right.where(model(left.whence(np.column_stack([x, y]) + 0.5)))).astype(int)
    inside = (there >= 0).all(1) & (there[:, 0] < right.valid.shape[1]) & (there[:, 1] < right.valid.shape[0])
    u, v = there[inside].T
    return float((left.valid[y[inside], x[inside]] & right.valid[v, u]).sum()) / (WINDOW / 16) ** 2


def _plausible(model: PlaneTransform, points: Points) -> bool:
    """Whether a model is a look at the same ground wherever the points are: no mirror, no collapse, no fold."""
    low, high = points.min(0), points.max(0)
    places = [low, high, np.array([low[0], high[1]]), np.array([high[0], low[1]])]
    linear = np.stack([_linear(model, at) for at in places])
    strain = np.linalg.svd(linear, compute_uv=False)
    sane = (strain.max() <= LARGEST_ZOOM) & (strain.min() >= 1 / LARGEST_ZOOM)
    return bool(np.isfinite(linear).all() and (np.linalg.det(linear) > 0).all() and sane)


def _linear(model: PlaneTransform, at: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2, 2) derivative of a model at one point."""
    here, right, below = model(at + np.array([[0, 0], [1.0, 0], [0, 1.0]]))
    return np.column_stack([right - here, below - here])


def _alone(points: Points, cell: float) -> NDArray[np.bool_]:
    """One point of each cell: several at one spot are one piece of evidence, not several."""
    chosen = np.zeros(len(points), bool)
    chosen[np.unique(np.floor(points / cell), axis=0, return_index=True)[1]] = True
    return chosen
