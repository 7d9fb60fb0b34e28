"""What is believed of a pair: the model its matches agree on, and the verdict on every measured point."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sentinel_match import verify
from sentinel_match.errors import NoMatch
from sentinel_match.lattice import crs_name, native_pixels, pixel_size, to_metres
from sentinel_match.tiepoints import TiePoints, summarise
from sentinel_match.windows import SIDE

if TYPE_CHECKING:
    from sentinel_match.matchers import Matches
    from sentinel_match.raster import Raster
    from sentinel_match.refine import Measured
    from sentinel_match.scene import Scene

COARSE_TOLERANCE = 3.0
"""Pixels within which unrefined matches agree: ALIKED+LightGlue leaves 0.7 px RMS, LoFTR's cells 8 px."""
TOLERANCE = (0.5, 1.0)
"""Bounds in pixels of the largest residual of an inlier; between them, five times the residual's own NMAD."""
LEAST_INLIERS = 20
"""Fewer believed points prove nothing about a pair."""
HOLD_OUT_CELLS = 8
"""The overlap's longer side is cut into this many cells for the hold-out proof."""


def coarse_model(
    kind: str, found: Matches, a: Raster, b: Raster, scenes: tuple[Scene, Scene], seed: int
) -> tuple[verify.Model, np.ndarray]:
    """The model the matches agree on, in metres, and which matches those are.

    Raises:
        NoMatch: so few agree that chance would do as well.
    """
    gsd, ids = pixel_size(a), (scenes[0].id, scenes[1].id)
    # A richer model than the points can carry would extrapolate wildly: similarity wants more than one cell of them
    if len(found) < 4 * verify.MINIMAL[kind]:
        raise NoMatch(*ids, f"the matcher found {len(found)} correspondences")
    p, q = to_metres(a, found.left), to_metres(b, found.right)
    sigma = np.full(len(found), gsd)
    tolerance = COARSE_TOLERANCE * gsd
    try:
        model = verify.robust_fit(kind, p, q, sigma, tolerance=tolerance, quality=found.score, seed=seed)
    except ValueError as error:
        raise NoMatch(*ids, str(error)) from error
    reach = SIDE / 2 * gsd
    count, chance = verify.agreement(p, q, model, tolerance, reach)
    if chance > verify.CHANCE:
        raise NoMatch(*ids, f"{count} of {len(found)} correspondences agree, which chance alone would do")
    return model, np.hypot(*(q - model(p)).T) <= tolerance


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
    sigma, quality = measured.sigma[ok] * gsd, measured.quality[ok]
    try:
        model = verify.robust_fit(kind, p, q, sigma, tolerance=TOLERANCE[1] * gsd, quality=quality, seed=seed)
    except ValueError as error:
        raise NoMatch(*ids, str(error)) from error
    best = quality >= np.median(quality)
    spread = 1.4826 * float(np.median(np.abs(q - model(p))[best]))
    tolerance = float(np.clip(5 * spread, TOLERANCE[0] * gsd, TOLERANCE[1] * gsd))
    verified = verify.verify(model, p, q, quality, tolerance=tolerance, reach=radius * gsd)
    inlier = verified.inlier
    _, chance = verify.agreement(p, q, model, tolerance, radius * gsd)
    if inlier.sum() < LEAST_INLIERS or chance > verify.CHANCE:
        raise NoMatch(*ids, f"only {inlier.sum()} of {len(p)} measured points agree on a {kind}")
    extent = float(np.ptp(p[inlier], axis=0).max())
    proof = verify.hold_out(kind, p[inlier], q[inlier], sigma[inlier], cell=max(extent / HOLD_OUT_CELLS, gsd))
    bands = [scene.band(band, gsd) for scene in scenes]
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
        left_px=native_pixels(p, crs, bands[0].geobox),
        right_px=native_pixels(q, crs, bands[1].geobox),
        sigma_m=sigma,
        score=verified.score,
        residual_m=verified.residual,
        inlier=inlier,
        method=np.full(len(p), "phase"),
        summary=summary,
    )
