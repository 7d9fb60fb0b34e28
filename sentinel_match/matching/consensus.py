"""Consensus: the model that the correspondences of one method agree on, and whether another method confirms it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sentinel_match.geometry import calibration, kinds, robust, transform
from sentinel_match.geometry.chance import ACCEPTED_CHANCE, agreement, by_chance
from sentinel_match.geometry.grids import pixel_size, to_metres
from sentinel_match.matching.outlines import outlined
from sentinel_match.opinions import Population
from sentinel_match.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from sentinel_match.geometry.grids import Points
    from sentinel_match.matching.correspondences import Correspondences
    from sentinel_match.raster.raster import Raster

COARSE_TOLERANCE = 2.0
"""Pixels within which unrefined matches agree: phase leaves 0.2, ALIKED+LightGlue 0.7 px RMS."""
OTHER_SHARE, OTHER_TOLERANCE, OTHER_CHANCE = 0.05, 1.0, 1e-6
"""Of the matches, how many must agree on a second displacement, within how many pixels, and how unlikely chance alone
must give so many: over 28 pairs of two dates none comes near, over parts that moved apart it is below 1e-9."""
CONTINUOUS = 0.5
"""So many matches half way to a second displacement, as a share of those that agree on it, and all of them where the
transform has them: then the ground goes there by and by, and is one."""


def coarse_model(
    kind: str, matches: Correspondences, a: Raster, b: Raster, tolerance: float, seed: int
) -> tuple[transform.PlaneTransform, np.ndarray, float]:
    """Find the model the correspondences agree on, in metres, which of them do, and how many as good chance would give.

    Args:
        kind: a key of ``transform.MINIMAL``.
        matches: what a method delivered.
        a: the left raster.
        b: the right one.
        tolerance: pixels within which a correspondence agrees.
        seed: of the robust fit.

    Raises:
        NoModel: so few agree that chance would do as well; in words for the user.
    """
    gsd = pixel_size(a.geobox)
    # A richer model than the points can carry would extrapolate wildly: similarity wants more than one cell of them
    if len(matches) < 4 * kinds.MINIMAL[kind]:
        raise transform.NoModel(f"the matcher found {counted(len(matches), 'correspondence')}")
    p, q = to_metres(a.geobox, matches.left), to_metres(b.geobox, matches.right)
    # Small against the tolerance: the fit then narrows to a third of it, and neighbours that err alike cannot bend it
    sigma = np.full(len(matches), 0.1 * tolerance * gsd)
    model = robust.robust_fit(
        kind, robust.PointPairs(p, q, sigma), tolerance=tolerance * gsd, quality=matches.score, seed=seed
    )
    witnesses = _witnesses(matches, model, a, b)
    count, chance = agreement(p[witnesses], q[witnesses], model, tolerance * gsd, matches.radius * gsd)
    if chance > ACCEPTED_CHANCE:
        raise transform.NoModel(
            f"{count} of {len(witnesses)} independent correspondences agree, which chance alone would do"
        )
    return model, np.hypot(*(q - model(p)).T) <= tolerance * gsd, chance


def _witnesses(matches: Correspondences, model: transform.PlaneTransform, a: Raster, b: Raster) -> NDArray[np.intp]:
    """Select, by index, correspondences that share nothing they looked at, and looked at ground."""
    p = to_metres(a.geobox, matches.left)
    independent = robust.decluster(p, matches.score, matches.independence * pixel_size(a.geobox))
    return independent[~outlined(matches.left, matches.right, model, a, b)[independent]]


def other_population(
    matches: Correspondences, a: Raster, b: Raster, fitted: Callable[[Points], Points], seed: int
) -> Population | None:
    """Find the displacement that a part of the matches agrees on which the model leaves out; ``None`` without one.

    Ground that moved by itself, detectors, a cloud over ground, a part that was filled from the other image: what
    agrees so well among itself is no error of a match.

    Args:
        matches: with the model and the inliers of most of them.
        a: the left raster.
        b: the right one.
        fitted: what was delivered, left metres to right metres: the end of a slope that it follows is no other ground.
        seed: of the robust fit.
    """
    if matches.model is None:
        return None
    gsd = pixel_size(a.geobox)
    p, q = to_metres(a.geobox, matches.left), to_metres(b.geobox, matches.right)
    left_out = np.hypot(*(q - matches.model(p)).T) > COARSE_TOLERANCE * gsd
    few = max(4 * kinds.MINIMAL["translation"], OTHER_SHARE * len(matches))
    if left_out.sum() < few:
        return None
    rest = replace(
        matches,
        left=matches.left[left_out],
        right=matches.right[left_out],
        score=matches.score[left_out],
        method=matches.method[left_out],
        inlier=matches.inlier[left_out],
        independence=np.broadcast_to(matches.independence, len(matches))[left_out],
    )
    try:
        _, agree, chance = coarse_model("translation", rest, a, b, OTHER_TOLERANCE, seed)
    except transform.NoModel:
        return None
    if chance > OTHER_CHANCE or agree.sum() < few:
        return None
    off = q - matches.model(p)
    away = np.median(off[left_out][agree], 0)
    way = off @ away / max(float(away @ away), 1e-12)
    explained = np.hypot(*(q - fitted(p)).T) <= COARSE_TOLERANCE * gsd
    half_way = (way > 0.25) & (way < 0.75) & explained
    if explained[left_out][agree].mean() > 0.5 and half_way.sum() >= CONTINUOUS * agree.sum():
        return None
    at, shift = p[left_out][agree], np.median((q - p)[left_out][agree], 0)
    west, south, east, north = (round(float(v), 1) for v in (*at.min(0), *at.max(0)))
    return Population(
        share=round(float(agree.sum()) / len(matches), 3),
        dx_m=round(float(shift[0]), 2),
        dy_m=round(float(shift[1]), 2),
        bounds=(west, south, east, north),
    )


def confirms(model: transform.PlaneTransform, matches: Correspondences, a: Raster, b: Raster) -> bool:
    """Tell whether correspondences that had no part in a model agree with it more than chance would have them.

    Args:
        model: left metres to right metres.
        matches: what another method delivered.
        a: the left raster.
        b: the right one.
    """
    gsd = pixel_size(a.geobox)
    p, q = to_metres(a.geobox, matches.left), to_metres(b.geobox, matches.right)
    witnesses = _witnesses(matches, model, a, b)
    near = np.hypot(*(q - model(p)).T)[witnesses] <= COARSE_TOLERANCE * gsd
    return by_chance(int(near.sum()), len(witnesses), COARSE_TOLERANCE / matches.radius) <= ACCEPTED_CHANCE


def probabilities(
    model: transform.PlaneTransform, matches: Correspondences, a: Raster, b: Raster
) -> NDArray[np.float64]:
    """Estimate (N,) how likely each correspondence is right, from its method's own score and the model that was found.

    Scores of different methods mean different things; the share of those that agree, among as good ones of the same
    method, means the same for all (:func:`sentinel_match.geometry.calibration.probability`).
    """
    gsd, score = pixel_size(a.geobox), matches.score.astype(np.float64)
    residual = np.hypot(*(to_metres(b.geobox, matches.right) - model(to_metres(a.geobox, matches.left))).T) / gsd
    for name in np.unique(matches.method):
        part = matches.method == name
        score[part] = calibration.probability(residual[part], score[part], COARSE_TOLERANCE, matches.radius)
    return score
