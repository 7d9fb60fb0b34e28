"""What is believed of a pair: the model its matches agree on, and the verdict on every measured point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sentinel_match.accuracy import checkpoints
from sentinel_match.errors import NoMatch
from sentinel_match.geometry import calibration, robust, selection, transform
from sentinel_match.geometry.chance import ACCEPTED_CHANCE, agreement, by_chance
from sentinel_match.geometry.grids import crs_name, native_pixels, pixel_size, to_metres
from sentinel_match.geometry.robust import nmad
from sentinel_match.geometry.transform import azimuth_of_track
from sentinel_match.matchers import WITNESS
from sentinel_match.raster.bands import band_names, source_of
from sentinel_match.tiepoints import BY_HAND, OUTLIER, UNSURE, TiePoints, summarise

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from sentinel_match.matching.subpixel import Measurements
    from sentinel_match.products.scene import Scene
    from sentinel_match.raster.raster import Raster

TOLERANCE = (0.5, 1.0)
"""Bounds in pixels of the largest residual of an inlier; between them, five times the residual's own NMAD."""
FEWEST_BLOCKS = 4
"""Fewer do not tell how blocks differ."""
FACTORS, ENOUGH = (0.5, 5.0), 100
"""Bounds of the correction of predicted standard deviations, and check points that it takes."""
RELIABLE = 0.95
"""Share of right ones among peaks of the quality that check points have: a check that errs itself proves little."""
LEAST_INLIERS = 20
"""Fewer believed points prove nothing about a pair."""


def _azimuth(scene: Scene) -> float:
    """Direction of the satellite's track over a scene."""
    latitude = 0.0 if scene.footprint is None else float(scene.footprint.polygon.centroid.y)
    return azimuth_of_track(latitude, ascending=scene.orbit_direction == "ASCENDING")


def _unit_weight(
    unseen: NDArray[np.float64], sigma: NDArray[np.float64], weight: NDArray[np.float64], view: NDArray[np.str_]
) -> dict[str, float]:
    """By what is correlated: standard deviation of unit weight, by which predicted ones are corrected a posteriori.

    The height of a peak says how noise scatters it; what a season moves, shadows and crops, is seen in the errors at
    check points alone (Mikhail & Ackermann 1976, "Observations and Least Squares").
    """
    factors = {}
    for name in np.unique(view):
        own = (view == name) & (weight > 0) & np.isfinite(unseen).all(1)
        off = np.abs(unseen[own]) / sigma[own, None]
        factors[str(name)] = float(np.clip(1.4826 * np.median(off), *FACTORS)) if own.sum() >= ENOUGH else 1.0
    return factors


def _sigma_of_shift(residual: NDArray[np.float64], block: NDArray[np.int_]) -> list[float]:
    """Standard error of a pair's shift, east and north: neighbours err together, so blocks count, not points."""
    medians = np.array([np.median(residual[block == k], axis=0) for k in np.unique(block)])
    if len(medians) < FEWEST_BLOCKS:
        return [nmad(residual[:, k]) for k in (0, 1)]
    return [1.2533 * nmad(medians[:, k]) / np.sqrt(len(medians)) for k in (0, 1)]


def _rounded(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {
        k: [round(x, 4) for x in v] if isinstance(v, list) else round(v, 4) if isinstance(v, float) else v
        for k, v in figures.items()
    }


@dataclass(frozen=True, eq=False)
class Evidence:
    """Measured points before anything is believed, in metres; N rows in every array."""

    left: NDArray[np.float64]
    """(N, 2) east, north."""
    right: NDArray[np.float64]
    """(N, 2) the same ground in the right image."""
    sigma: NDArray[np.float64]
    """(N,) predicted standard deviation per axis, before its correction a posteriori."""
    quality: NDArray[np.float64]
    """(N,) how distinct a peak is, 0 to 1; of others, their score."""
    refined: NDArray[np.bool_]
    """(N,) has such a peak."""
    view: NDArray[np.str_]
    """(N,) what was correlated."""
    witness: NDArray[np.float64]
    """(N,) metres within which points share what they saw."""
    kept: NDArray[np.bool_]
    """(N,) believed whatever the model says: a person looked."""

    def __len__(self) -> int:
        return len(self.left)

    def of(self, own: NDArray[np.bool_]) -> Evidence:
        """Those of a mask."""
        return Evidence(**{name: values[own] for name, values in vars(self).items()})


@dataclass(frozen=True)
class Fitting:
    """All that a fit depends on besides its points; ``vars`` of it are in the summary."""

    plane: str
    """Kind of the plane transform that most points must agree on."""
    asked: str | None
    """Kind of the model a user wants; chosen by what it predicts when ``None``."""
    radius_m: float
    """Of the search that measured the points."""
    azimuth: float
    """Of the satellite's track, radians clockwise from north."""
    seed: int = 0
    """Of fits and folds."""


@dataclass(frozen=True, eq=False)
class Assessment:
    """What is believed of points; N rows in every array."""

    sigma: NDArray[np.float64]
    """(N,) metres, corrected."""
    score: NDArray[np.float64]
    residual_m: NDArray[np.float64]
    inlier: NDArray[np.bool_]
    reason: NDArray[np.str_]
    """(N,) see ``tiepoints.REASONS``."""
    summary: dict[str, Any]


def judged(evidence: Evidence, fitting: Fitting, gsd: float, ids: tuple[str, str]) -> Assessment:
    """The model that points bear out, and the verdict on each.

    Args:
        evidence: measured points.
        fitting: how to fit.
        gsd: metres per pixel.
        ids: of the scenes, for the error.

    Raises:
        NoMatch: too few points survive.
    """
    p, q, seed = evidence.left, evidence.right, fitting.seed
    sigma, view = evidence.sigma, evidence.view
    try:
        plane = robust.robust_fit(fitting.plane, p, q, sigma, tolerance=TOLERANCE[1] * gsd, quality=-sigma, seed=seed)
        weight = selection.consensus(p, q, plane, TOLERANCE[1] * gsd)
        if (seen := evidence.refined).any():
            # What hides ground, clouds and their shadows, agrees with itself: weak peaks have no say beside sure ones
            off = np.hypot(*(q - plane(p)).T)
            sure = calibration.reliability(off[seen], evidence.quality[seen], TOLERANCE[1] * gsd, fitting.radius_m)
            weight[seen] *= sure**4
        weight[evidence.kept] = 1.0
        kinds = selection.TRIED if fitting.asked is None else (fitting.asked,)
        chosen = selection.choose(
            p, q, sigma, weight, azimuth=fitting.azimuth, kinds=kinds, apart=WITNESS * gsd, seed=seed
        )
    except transform.NoModel as error:
        raise NoMatch(*ids, str(error)) from error
    factors = _unit_weight(chosen.unseen, sigma, weight, view)
    sigma = sigma * np.array([factors[name] for name in view])
    residual = q - chosen.warp(p)
    best = sigma <= np.median(sigma)
    spread = 1.4826 * float(np.median(np.abs(residual)[best]))
    tolerance = float(np.clip(5 * spread, TOLERANCE[0] * gsd, TOLERANCE[1] * gsd))
    off = np.hypot(*residual.T)
    likely = calibration.likely(off, evidence.quality, evidence.refined, tolerance, fitting.radius_m)
    score = np.where(off <= tolerance, likely, 0)  # what contradicts the model is wrong whatever its peak
    score[evidence.kept] = 1.0
    inlier = score >= calibration.LEAST_SCORE
    # Matches that were kept for their agreement are no evidence for it
    fair = np.flatnonzero(evidence.refined if evidence.refined.any() else np.ones(len(p), bool))
    fair = fair[robust.decluster(p[fair], -sigma[fair], evidence.witness[fair])]
    unseen = np.hypot(*chosen.unseen[fair].T)
    if np.isfinite(unseen).any():
        # What is predicted from other blocks has no parameter left to agree with
        unseen = unseen[np.isfinite(unseen)]
        chance = by_chance(int((unseen <= tolerance).sum()), len(unseen), tolerance / fitting.radius_m)
    else:
        _, chance = agreement(p[fair], q[fair], plane, tolerance, fitting.radius_m)
    if inlier.sum() < LEAST_INLIERS or chance > ACCEPTED_CHANCE:
        raise NoMatch(*ids, f"only {inlier.sum()} of {len(p)} measured points agree on a {chosen.warp.kind}")
    # Check points are peaks of a quality that hardly ever errs; those that disagree are counted, not left out
    checks = evidence.kept | (likely >= calibration.LEAST_SCORE)
    if (seen := evidence.refined).any():
        checks = evidence.kept.copy()
        checks[seen] |= (
            calibration.reliability(off[seen], evidence.quality[seen], tolerance, fitting.radius_m) >= RELIABLE
        )
    held = checkpoints.held_out(chosen.unseen[checks], inlier[checks], chosen.block[checks], seed)
    reason = np.where(evidence.kept, BY_HAND, np.where(inlier, "", np.where(off > tolerance, OUTLIER, UNSURE)))
    summary = summarise(p, q, residual, inlier, gsd)
    summary |= {
        "shift_sigma_m": [round(v, 4) for v in _sigma_of_shift(residual[inlier], chosen.block[inlier])],
        "model": chosen.warp.plain(),
        "sigma_factors": {name: round(factor, 3) for name, factor in factors.items()},
        "kinds_tried": {k: round(v, 4) for k, v in chosen.errors.items()},
        "tolerance_m": round(tolerance, 3),
        "hold_out": _rounded(held),
        "fitting": dict(vars(fitting)),
    }
    return Assessment(sigma, score, off, inlier, reason, summary)


def tie_points(
    kind: str,
    asked: str | None,
    measured: Measurements,
    a: Raster,
    b: Raster,
    scenes: tuple[Scene, Scene],
    band: str,
    radius: int,
    seed: int,
) -> TiePoints:
    """The measured points with residual, probability and verdict, in metres.

    Args:
        kind: of the plane transform that most points agree on.
        asked: kind of the model a user wants; chosen by what it predicts when ``None``.
        measured: points of both scenes.
        a: the left raster.
        b: the right one.
        scenes: whose they are.
        band: what was compared.
        radius: of the search, pixels.
        seed: of fits and folds.

    Raises:
        NoMatch: too few points survive.
    """
    gsd, ids = pixel_size(a.geobox), (scenes[0].id, scenes[1].id)
    ok = measured.ok
    if ok.sum() < LEAST_INLIERS:
        raise NoMatch(*ids, f"only {ok.sum()} of {len(measured)} points could be measured to sub-pixel")
    p, q = to_metres(a.geobox, measured.left[ok]), to_metres(b.geobox, measured.right[ok])
    evidence = Evidence(
        left=p,
        right=q,
        sigma=measured.sigma[ok] * gsd,
        quality=measured.distinct[ok],
        refined=measured.refined[ok],
        view=measured.feature[ok],
        witness=measured.independence[ok] * gsd,
        kept=np.zeros(len(p), bool),
    )
    said = judged(evidence, Fitting(kind, asked, radius * gsd, _azimuth(scenes[0]), seed), gsd, ids)
    grids = [source_of(scene, band_names(band)[0], gsd).grid for scene in scenes]
    crs = a.geobox.crs
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
        sigma_m=said.sigma,
        score=said.score,
        residual_m=said.residual_m,
        inlier=said.inlier,
        method=np.full(len(p), "phase"),
        quality=evidence.quality,
        view=evidence.view,
        reason=said.reason,
        summary=said.summary,
    )
