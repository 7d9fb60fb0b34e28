"""What is believed of a pair: the model its matches agree on, and the verdict on every measured point."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sentinel_match import verify
from sentinel_match.errors import NoMatch
from sentinel_match.lattice import crs_name, native_pixels, pixel_size, to_metres
from sentinel_match.matchers import WITNESS
from sentinel_match.source import inputs, source_of
from sentinel_match.tiepoints import TiePoints, summarise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.look import Found
    from sentinel_match.raster import Raster
    from sentinel_match.refine import Measured
    from sentinel_match.scene import Scene

COARSE_TOLERANCE = 2.0
"""Pixels within which unrefined matches agree: phase leaves 0.2, ALIKED+LightGlue 0.7 px RMS."""
TOLERANCE = (0.5, 1.0)
"""Bounds in pixels of the largest residual of an inlier; between them, five times the residual's own NMAD."""
LEAST_INLIERS = 20
"""Fewer believed points prove nothing about a pair."""
HOLD_OUT_CELLS = 8
"""The overlap's longer side is cut into this many cells for the hold-out proof."""


def coarse_model(
    kind: str, found: Found, a: Raster, b: Raster, tolerance: float, seed: int
) -> tuple[verify.Model, np.ndarray, float]:
    """The model the correspondences agree on, in metres, which of them do, and how many as good chance would give.

    Args:
        kind: see ``verify.MINIMAL``.
        found: what a method delivered.
        a: the left raster.
        b: the right one.
        tolerance: pixels within which a correspondence agrees.
        seed: of the robust fit.

    Raises:
        NoModel: so few agree that chance would do as well; in words for the user.
    """
    gsd = pixel_size(a)
    # A richer model than the points can carry would extrapolate wildly: similarity wants more than one cell of them
    if len(found) < 4 * verify.MINIMAL[kind]:
        raise verify.NoModel(f"the matcher found {len(found)} correspondences")
    p, q = to_metres(a, found.left), to_metres(b, found.right)
    # Small against the tolerance: the fit then narrows to a third of it, and neighbours that err alike cannot bend it
    sigma = np.full(len(found), 0.1 * tolerance * gsd)
    model = verify.robust_fit(kind, p, q, sigma, tolerance=tolerance * gsd, quality=found.score, seed=seed)
    witnesses = _witnesses(p, found, gsd)
    count, chance = verify.agreement(p[witnesses], q[witnesses], model, tolerance * gsd, found.radius * gsd)
    if chance > verify.CHANCE:
        raise verify.NoModel(
            f"{count} of {len(witnesses)} independent correspondences agree, which chance alone would do"
        )
    return model, np.hypot(*(q - model(p)).T) <= tolerance * gsd, chance


def _witnesses(p: np.ndarray, found: Found, gsd: float) -> np.ndarray:
    distance = WITNESS if found.witness is None else found.witness
    return verify.apart(p, found.score, distance * gsd)


def confirms(model: verify.Model, found: Found, a: Raster, b: Raster) -> bool:
    """Whether correspondences that had no part in a model agree with it more than chance would have them.

    Args:
        model: left metres to right metres.
        found: what another method delivered.
        a: the left raster.
        b: the right one.
    """
    from scipy.stats import binom

    gsd = pixel_size(a)
    p, q = to_metres(a, found.left), to_metres(b, found.right)
    witnesses = _witnesses(p, found, gsd)
    near = np.hypot(*(q - model(p)).T)[witnesses] <= COARSE_TOLERANCE * gsd
    by_chance = min((COARSE_TOLERANCE / found.radius) ** 2, 1.0)
    return bool(binom.sf(near.sum() - 1, len(witnesses), by_chance) <= verify.CHANCE)


def probabilities(model: verify.Model, found: Found, a: Raster, b: Raster) -> NDArray[np.float64]:
    """(N,) how likely each correspondence is right, by its method's own score and the model that was found.

    Scores of different methods mean different things; the share of those that agree, among as good ones of the same
    method, means the same for all (:func:`verify.probability`).
    """
    gsd, score = pixel_size(a), found.score.astype(np.float64)
    residual = np.hypot(*(to_metres(b, found.right) - model(to_metres(a, found.left))).T) / gsd
    for name in np.unique(found.method):
        own = found.method == name
        score[own] = verify.probability(residual[own], score[own], COARSE_TOLERANCE, found.radius)
    return score


def tie_points(
    kind: str,
    measured: Measured,
    a: Raster,
    b: Raster,
    scenes: tuple[Scene, Scene],
    band: str,
    radius: int,
    seed: int,
) -> TiePoints:
    """The measured points with residual, probability and verdict, in metres.

    Raises:
        NoMatch: too few points survive.
    """
    gsd, ids = pixel_size(a), (scenes[0].id, scenes[1].id)
    ok = measured.ok
    if ok.sum() < LEAST_INLIERS:
        raise NoMatch(*ids, f"only {ok.sum()} of {len(measured)} points could be measured to sub-pixel")
    p, q = to_metres(a, measured.left[ok]), to_metres(b, measured.right[ok])
    sigma, quality, refined = measured.sigma[ok] * gsd, measured.distinct[ok], measured.refined[ok]
    try:
        model = verify.robust_fit(kind, p, q, sigma, tolerance=TOLERANCE[1] * gsd, quality=-sigma, seed=seed)
    except verify.NoModel as error:
        raise NoMatch(*ids, str(error)) from error
    best = sigma <= np.median(sigma)
    spread = 1.4826 * float(np.median(np.abs(q - model(p))[best]))
    tolerance = float(np.clip(5 * spread, TOLERANCE[0] * gsd, TOLERANCE[1] * gsd))
    verified = verify.verify(model, p, q, quality, tolerance=tolerance, reach=radius * gsd, chosen=~refined)
    inlier = verified.inlier
    # Matches that were kept for their agreement are no evidence for it
    fair = np.flatnonzero(refined if refined.any() else np.ones(len(p), bool))
    fair = fair[verify.apart(p[fair], -sigma[fair], WITNESS * gsd)]
    _, chance = verify.agreement(p[fair], q[fair], model, tolerance, radius * gsd)
    if inlier.sum() < LEAST_INLIERS or chance > verify.CHANCE:
        raise NoMatch(*ids, f"only {inlier.sum()} of {len(p)} measured points agree on a {kind}")
    extent = float(np.ptp(p[inlier], axis=0).max())
    proof = verify.hold_out(kind, p[inlier], q[inlier], sigma[inlier], cell=max(extent / HOLD_OUT_CELLS, gsd))
    grids = [source_of(scene, inputs(band)[0], gsd).grid for scene in scenes]
    crs = a.geobox.crs
    summary = summarise(p, q, q - model(p), inlier, gsd)
    summary |= {
        "model": {"kind": model.kind, "matrix": model.matrix.tolist(), "origin": model.origin.tolist()},
        "tolerance_m": round(tolerance, 3),
        "hold_out": {k: v if k == "points" else round(v, 4) for k, v in proof.items()},
    }
    return TiePoints(
        left=scenes[0],
        right=scenes[1],
        band=band,
        crs=crs_name(crs),
        gsd=gsd,
        left_xy=p,
        right_xy=q,
        left_px=native_pixels(p, crs, grids[0]),
        right_px=native_pixels(q, crs, grids[1]),
        sigma_m=sigma,
        score=verified.score,
        residual_m=verified.residual,
        inlier=inlier,
        method=np.full(len(p), "phase"),
        summary=summary,
    )
