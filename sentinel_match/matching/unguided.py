"""Two images of which nothing is known: not where they are, not how they are turned, not whether they belong together.

left ──reduced──▶ swept by orientation ──▶ how one lies on the other, confirmed by phase ──▶ a prior ─┐
right ─reduced──▶                      └─▶ not found: turned by 0, 90, … ▶ matched ▶ the best model ──┴▶ matched again

The sweep (``sweep``) shares nothing with the matcher, and where it finds nothing the matcher is asked at every
rotation. Then it sees the right image laid over the left one, so one that knows no rotation (learned keypoints hold to
25 degrees, SIFT without orientation to 20) finds every angle. Matchers err in groups, so what they agree on is a
candidate, no more: the right image is laid over the left one as each of the best candidates has it, and ``phase``,
which shares nothing with any of them, must find the same ground window by window. On unrelated images it does not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sentinel_match.geometry import robust, transform
from sentinel_match.geometry.chance import ACCEPTED_CHANCE, agreement
from sentinel_match.matchers.phase import Phase
from sentinel_match.matchers.prior import GeometricPrior
from sentinel_match.matching.attempt import (
    AGREEMENT_TOLERANCE,
    AUTO,
    MATCH_SIGMA,
    ROTATIONS,
    Attempt,
    Search,
    compare,
    compare_under,
    fit,
)
from sentinel_match.matching.plane_model import homogeneous, overlaid, rotation_angle
from sentinel_match.matching.sweep import describe, sweep
from sentinel_match.matching.view import (
    View,
    no_contrast,
    reduced,
    scale_of,
    shared_windows,
    turned,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from sentinel_match.geometry.grids import Points
    from sentinel_match.geometry.transform import PlaneTransform
    from sentinel_match.matchers import Arrays

ROTATIONS_PER_ROUND = 8
"""So many rotations are tried before their models are checked."""
SURE_CHANCE = 1e-20
"""A model so unlikely by chance needs no further rotation to compare with."""
CHECKED_CANDIDATES = 3
"""The models of so many rotations, those with the most agreement, are checked by ``phase``."""
LEAST_AGREEING_WINDOWS = 6
"""Windows of ``phase`` that must agree with a model it confirms."""
LEAST_SEEN_SHARE = 0.25
"""Least share of the ground both images show that those windows must look at."""
LEAST_SEEN_MATCHES, LEAST_SEEN_MATCH_SHARE = 12, 0.5
"""Matches, and their share of all, that must agree where the sweep is sure already; a sixteenth does by chance."""
CANDIDATE_NFA, UNCONFIRMED_NFA = -2.0, -8.0
"""Log10 of the false alarms expected of a sighting: so few that ``phase`` is asked, so few that it need not confirm."""
NEARLY_ALL = 0.95
"""Share of matches on a similarity below which a slanted view is looked for: .99 and more of real pairs without one."""
UNGUIDED_REACH = 12.0
"""Pixels, as matched, by which a model found without a prior may be off when it becomes the prior."""


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


def relate(left: View, right: View, search: Search) -> Relation:
    """Find what two images have in common, whatever their rotation.

    A model counts if ``phase`` confirms it, or the sweep is sure of it beyond doubt. Memory is bounded by
    ``search.size`` and the windows, not by the images.

    Args:
        left: the reference.
        right: of any size, scale (to about :data:`LARGEST_ZOOM`) and angle.
        search: how to search.
    """
    if len(search.rotations) == 0:
        raise ValueError("no rotation to try")
    a, b = reduced(left, search.size), reduced(right, search.size)
    sighted = _sight(a, b, search) if len(search.rotations) > 1 else None
    if sighted is not None:
        seen = _compare_sighted(a, b, sighted, search)
        if seen.model is not None:
            turn = round(rotation_angle(sighted, a.corners.mean(0)), 1)
            return _related(left, right, seen, sighted, search, {turn: int(seen.inlier.sum())})
    if isinstance(search.matcher, Phase) and len(search.rotations) > 1:  # it sees nothing that the sweep does not
        nothing = Attempt.nothing()
        unseen = "no angle, scale and offset shows more of the same than unrelated ground does"
        why = no_contrast(a, b) or (unseen if sighted is None else f"their matches agree on no {search.model} model")
        return Relation(nothing.keypoints, nothing.pairs, nothing.score, nothing.inlier, None, None, {}, why)
    description = search.matcher.describe(a.pixels, a.valid)
    attempts, best, model = _try_rotations(a, b, description, search)
    agreeing = {rotation: int(attempt.inlier.sum()) for rotation, attempt in attempts.items()}
    if best is None or model is None:
        best = min(attempts.values(), key=lambda a: a.rank)
        why = no_contrast(a, b) or f"at most {max(agreeing.values())} of their matches agree, and their windows do not"
        none = np.zeros(len(best.score), bool)
        return Relation(best.keypoints, best.pairs, best.score, none, None, None, agreeing, why)
    second = compare_under([(a, b)], model, search, 2 * AGREEMENT_TOLERANCE * b.scale, description)
    best = second if second.inlier.sum() >= best.inlier.sum() else best
    return _related(left, right, best, model, search, agreeing)


def _sight(left: View, right: View, search: Search) -> PlaneTransform | None:
    """Ask the sweep how one view lies on the other, and ``phase`` whether it does; ``None`` where that is not known."""
    sighting = sweep(describe(left), describe(right))
    if sighting.nfa > CANDIDATE_NFA:
        return None
    kind = "similarity" if search.model in ("translation", AUTO) else search.model
    whole = right.matrix @ sighting.matrix @ np.linalg.inv(left.matrix)
    candidate = transform.PlaneTransform(kind, whole / whole[2, 2], np.zeros(2))
    confirmed = _confirm(left, right, candidate, search.device)
    return candidate if confirmed is None and sighting.nfa < UNCONFIRMED_NFA else confirmed


def _compare_sighted(left: View, right: View, model: PlaneTransform, search: Search) -> Attempt:
    """Compare views as the sweep laid them; where the matcher finds nothing, by ``phase``, on ever smaller images."""
    radius = UNGUIDED_REACH * right.scale
    best = compare_under([(left, right)], model, search, radius)
    dense = replace(search, matcher=Phase(device=search.device))
    for size in (None, 512, 256):
        if _is_seen(best):
            break
        views = reduced(left, size), reduced(right, size)
        best = compare_under([views], model, dense, radius * views[1].scale / right.scale)
    if not _is_seen(best):
        best = replace(best, model=None)
    if search.model == AUTO and (best.model is None or best.inlier.mean() < NEARLY_ALL):
        best = max(best, _compare_slanted(left, right, model, search), key=_agreeing)
    if best.model is None or best.model.kind == model.kind:
        return best
    # Windows are where a richer model expects them
    again = compare_under([(left, right)], best.model, search, 2 * AGREEMENT_TOLERANCE * right.scale)
    return again if again.inlier.sum() > best.inlier.sum() else best


def _compare_slanted(left: View, right: View, model: PlaneTransform, search: Search) -> Attempt:
    """Compare views under the homography that windows around a similarity bear out: it holds the middle alone."""
    slanted = _confirm(left, right, replace(model, kind="homography"), search.device)
    if slanted is None:
        return Attempt.nothing()
    found = compare_under([(left, right)], slanted, search, UNGUIDED_REACH * right.scale)
    return found if _is_seen(found) else Attempt.nothing()


def _agreeing(attempt: Attempt) -> int:
    """Count the matches that agree on a model."""
    return 0 if attempt.model is None else int(attempt.inlier.sum())


def _is_seen(attempt: Attempt) -> bool:
    """Tell whether a comparison shows what the sweep has proven already."""
    enough = attempt.inlier.sum() >= LEAST_SEEN_MATCHES and attempt.inlier.mean() >= LEAST_SEEN_MATCH_SHARE
    return attempt.model is not None and (enough or attempt.chance < ACCEPTED_CHANCE)


def _related(
    left: View, right: View, best: Attempt, model: PlaneTransform, search: Search, agreeing: Mapping[float, int]
) -> Relation:
    """Match again in windows at full resolution, where asked to, and say what was found."""
    scale = scale_of(right, search.size)
    if search.windows and max(scale, scale_of(left, search.size)) > 1:
        radius = 2 * AGREEMENT_TOLERANCE * scale
        views = shared_windows(left, right, model, search.windows, radius)
        fine = compare_under(views, model, search, radius)
        best = fine if fine.chance < ACCEPTED_CHANCE else best
    angle = None if best.model is None else rotation_angle(best.model, np.array(left.valid.shape[::-1]) / 2)
    return Relation(best.keypoints, best.pairs, best.score, best.inlier, best.model, angle, agreeing)


def _try_rotations(
    left: View, right: View, description: Arrays, search: Search
) -> tuple[dict[float, Attempt], Attempt | None, PlaneTransform | None]:
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
    attempts: dict[float, Attempt] = {}
    for first in range(0, len(search.rotations), ROTATIONS_PER_ROUND):
        batch = {}
        for rotation in search.rotations[first : first + ROTATIONS_PER_ROUND]:
            part = compare(search.matcher, left, description, turned(right, -rotation))
            batch[rotation] = fit([part], (left.scale, right.scale), search, radius)
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
    left, right = overlaid(left, right, model)
    both = left.valid & right.valid
    phase = Phase(spacing=16, device=device)
    here, there = (phase.describe(np.asarray(view.pixels, np.float32), both) for view in (left, right))
    to_right = np.linalg.inv(right.matrix) @ homogeneous(model) @ left.matrix
    matches = phase.match(here, there, GeometricPrior(to_right, UNGUIDED_REACH))
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
    whole = right.matrix @ homogeneous(remainder) @ np.linalg.inv(left.matrix)
    return transform.PlaneTransform(model.kind, whole / whole[2, 2], np.zeros(2))
