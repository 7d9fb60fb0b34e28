"""Assessment: the transform that measured points bear out, which points are inliers, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sentinel_match.accuracy.checkpoints import check_points, held_out, on_ground
from sentinel_match.accuracy.figures import shift_statistics, sigma_of_shift
from sentinel_match.accuracy.requirement import LEAST_INLIERS, verdict
from sentinel_match.errors import NoMatch
from sentinel_match.geometry import calibration, robust, selection, transform
from sentinel_match.geometry.chance import ACCEPTED_CHANCE, agreement, by_chance
from sentinel_match.geometry.ellipse import Ellipses
from sentinel_match.geometry.kinds import MINIMAL, NONE
from sentinel_match.matchers import WITNESS_DISTANCE_PX
from sentinel_match.summary import ShiftStatistics, Summary
from sentinel_match.tiepoints import BY_HAND, OUTLIER, UNSURE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from sentinel_match.accuracy.evidence import Evidence
    from sentinel_match.comparison import Comparison
    from sentinel_match.geometry.motion import Motion
    from sentinel_match.geometry.transform import Transform
    from sentinel_match.geometry.uncertainty import Uncertainty
    from sentinel_match.summary import Edits, Fitting, HoldOut

TOLERANCE = (0.5, 1.0)
"""Bounds in pixels of the largest residual of an inlier; between them, five times the residual's own NMAD."""
FACTORS, ENOUGH = (0.5, 5.0), 100
"""Bounds of the correction of predicted standard deviations, and check points that it takes."""
FEWEST_GIVEN = 3
"""Inliers among points that a person or another program gives: two unrelated ones agree too often (see ``_chance``)."""


@dataclass(frozen=True, eq=False)
class Assessment:
    """What is believed of points, and why; N rows in every array."""

    right: NDArray[np.float64]
    """(N, 2) where the same ground lies in the right image: as its company bears out, or as it was measured."""
    sigma: NDArray[np.float64]
    """(N,) metres, corrected a posteriori: mean of all directions."""
    ellipse: Ellipses
    """(N) the same by direction."""
    score: NDArray[np.float64]
    """(N,) probability of being right."""
    residual_m: NDArray[np.float64]
    """(N,) distance to the transform."""
    inlier: NDArray[np.bool_]
    """(N,) whether a point is believed."""
    reason: NDArray[np.str_]
    """(N,) see ``tiepoints.REASONS``."""
    statistics: ShiftStatistics
    shift_sigma_m: tuple[float, float]
    """Standard error of the median shift, east and north."""
    transform: Transform
    """Left metres to right metres."""
    sigma_factors: Mapping[str, float]
    """By what was correlated: the factor that corrected sigma."""
    kinds_tried: Mapping[str, float]
    """Error on unseen ground of each kind of transform that competed."""
    tolerance_m: float
    """Largest residual of an inlier."""
    hold_out: HoldOut | None
    uncertainty: Uncertainty | None
    """On the lattice; ``None`` where the points were not measured on one."""
    motion: Motion | None
    """Against stable ground; ``None`` where it is not known which that is."""
    fitting: Fitting

    def widened(self, by: float) -> Assessment:
        """Return the same with metres added that points may all be wrong by: to each sigma, and to what is proven."""
        if by <= 0:
            return self
        east, north = np.hypot(self.shift_sigma_m, by).tolist()
        return replace(
            self,
            sigma=np.hypot(self.sigma, by),
            ellipse=self.ellipse.widened(by),
            shift_sigma_m=(east, north),
            hold_out=self.hold_out and self.hold_out.widened(by),
            uncertainty=self.uncertainty and self.uncertainty.widened(by),
            motion=self.motion and replace(self.motion, uncertainty=self.motion.uncertainty.widened(by)),
        )

    def summary(
        self,
        band: str,
        crs: str,
        *,
        points: int | None = None,
        comparison: Comparison | None = None,
        edits: Edits | None = None,
    ) -> Summary:
        """Sum up, with the verdict.

        Args:
            band: what was compared.
            crs: of the metres.
            points: how many there are with those that took no part; as many as were assessed when not given.
            comparison: what is known of the images, where they were compared.
            edits: what was done to the points, where they come from a file.
        """
        statistics = self.statistics if points is None else replace(self.statistics, points=points)
        why = "as was asked" if self.fitting.asked == NONE else "for they agree within the uncertainty of their points"
        return Summary(
            **vars(statistics),
            shift_sigma_m=self.shift_sigma_m,
            transform=self.transform,
            sigma_factors=self.sigma_factors,
            kinds_tried=self.kinds_tried,
            tolerance_m=self.tolerance_m,
            hold_out=self.hold_out,
            uncertainty=self.uncertainty,
            motion=self.motion,
            fitting=self.fitting,
            band=band,
            crs=crs,
            comparison=comparison,
            edits=edits,
            verdict=verdict(
                statistics,
                self.hold_out,
                comparison.second if comparison else None,
                comparison.consistency.doubts(statistics.gsd_m) if comparison else (),
                supported=comparison.coverage.share if comparison else 1.0,
                blind_below=comparison.consistency.blind_below_m if comparison else 0.0,
                untouched=why if self.transform.kind == NONE else "",
            ),
        )


def assess(
    evidence: Evidence,
    fitting: Fitting,
    gsd: float,
    ids: tuple[str, str],
    *,
    least: int = LEAST_INLIERS,
    known: Summary | None = None,
) -> Assessment:
    """Fit the transform that points bear out, and judge each point by it.

    Args:
        evidence: measured points.
        fitting: how to fit.
        gsd: metres per pixel.
        ids: of the scenes, for the error.
        least: inliers that there must be.
        known: what was found of these very points when their images were at hand: its transform and proof hold.

    Raises:
        NoMatch: too few points survive.
    """
    left, right, refined = evidence.left, evidence.right, evidence.refined
    chosen, weight, plane = _fitted(evidence, fitting, gsd, ids)
    factors = _unit_weight(chosen.unseen, evidence.sigma, weight, evidence.feature)
    model, ground = chosen.transform, evidence.lattice
    if ground is not None:
        factors = dict.fromkeys(factors, 1.0)
        if fitting.asked == "field" or (fitting.asked is None and ground.follows_better(model)):
            model = ground.transform(model)
    if known is not None:
        model, factors = known.transform, {name: known.sigma_factors.get(name, 1.0) for name in factors}
    sigma = evidence.sigma_beside(chosen.transform if model is chosen.transform else None)
    sigma *= np.array([factors[name] for name in evidence.feature])
    own = right - model(left)
    if evidence.expected is not None:
        own = np.where(evidence.placed[:, None], right - evidence.expected, own)
    best = sigma <= np.median(sigma)
    spread = 1.4826 * float(np.median(np.abs(own)[best]))
    tolerance = float(np.clip(5 * spread, TOLERANCE[0] * gsd, TOLERANCE[1] * gsd))
    distance = np.hypot(*own.T)
    likely = calibration.likely(distance, evidence.quality, refined, tolerance, fitting.radius_m)
    score = np.where(distance <= tolerance, likely, 0)  # what contradicts its company is wrong whatever its peak
    if ground is not None:  # a peak of a kind that often errs was left out of the field, and is no point of it
        score[refined & ~evidence.placed] = 0
    score[evidence.kept] = 1.0
    inlier = score >= calibration.LEAST_SCORE
    unseen = chosen.unseen if model is chosen.transform else np.where(evidence.placed[:, None], own, np.inf)
    if model.kind == NONE:  # which has no parameter that blocks could be left out of
        unseen = np.full_like(unseen, np.nan)
    chance = _chance(evidence, sigma, unseen, plane, tolerance, fitting.radius_m)
    if doubt := _doubt(inlier, chance, least):
        agreeing = f"{inlier.sum()} of {len(left)} measured points agree on the model {model.kind}"
        raise NoMatch(*ids, f"{agreeing}{doubt}")
    wrong = np.where(distance > tolerance, OUTLIER, UNSURE)
    if evidence.expected is not None:
        right = np.where((inlier & evidence.placed)[:, None], evidence.expected, right)
    residual = right - model(left)
    still = inlier & evidence.still if (inlier & evidence.still).any() else inlier
    if known is not None:
        proof, uncertainty, motion = known.hold_out, known.uncertainty, known.motion
    else:

        def by_points() -> HoldOut | None:
            checks = check_points(evidence, distance, likely, tolerance, fitting.radius_m)
            return held_out(chosen.unseen[checks], inlier[checks], chosen.block[checks], fitting.seed)

        proof, uncertainty, motion = on_ground(evidence, chosen, model, fitting.seed, by_points)
    ellipse = Ellipses.of(sigma, evidence.curvature, fitting.radius_m)
    return Assessment(
        right=right,
        sigma=ellipse.sigma,
        ellipse=ellipse,
        score=score,
        residual_m=np.hypot(*residual.T),
        inlier=inlier,
        reason=np.where(evidence.kept, BY_HAND, np.where(inlier, "", wrong)),
        statistics=replace(shift_statistics(left, right, residual, still, gsd), inliers=int(inlier.sum())),
        shift_sigma_m=known.shift_sigma_m if known else sigma_of_shift(residual[still], chosen.block[still]),
        transform=model,
        sigma_factors={name: round(factor, 3) for name, factor in factors.items()},
        kinds_tried={kind: round(error, 4) for kind, error in chosen.errors.items()},
        tolerance_m=round(tolerance, 3),
        hold_out=proof,
        uncertainty=uncertainty,
        motion=motion,
        fitting=fitting,
    )


def _fitted(
    evidence: Evidence, fitting: Fitting, gsd: float, ids: tuple[str, str]
) -> tuple[selection.Selection, NDArray[np.float64], transform.PlaneTransform]:
    """Select a transform; also return (N,) the weight of each point, and the plane that most of them agree on."""
    left, right, sigma, seed = evidence.left, evidence.right, evidence.sigma, fitting.seed
    few = len(evidence) < LEAST_INLIERS
    weight = None
    apart = float(evidence.witness.min()) if few else WITNESS_DISTANCE_PX * gsd
    try:
        pairs = robust.PointPairs(left, right, sigma)
        still = evidence.still
        on_still = robust.PointPairs(left[still], right[still], sigma[still])
        plane = _plane(fitting.plane, on_still, TOLERANCE[1] * gsd, seed)
        weight = selection.consensus(left, right, plane, TOLERANCE[1] * gsd)
        if (refined := evidence.refined).any():
            # What hides ground, clouds and their shadows, agrees with itself: weak peaks have no say beside sure ones
            distance = np.hypot(*(right - plane(left)).T)[refined]
            sure = calibration.reliability(distance, evidence.quality[refined], TOLERANCE[1] * gsd, fitting.radius_m)
            weight[refined] *= sure**4
        weight[refined & ~evidence.placed] = 0
        weight[~still] = 0
        weight[evidence.kept] = 1.0
        # A field of the lattice competes by itself, where there is one
        tried = selection.TRIED if evidence.lattice is None else selection.TRIED[:-1]
        by_points = fitting.asked is not None and (fitting.asked != "field" or evidence.lattice is None)
        kinds = (str(fitting.asked),) if by_points else tried
        over = evidence.lattice.places if evidence.lattice is not None else None
        chosen = selection.choose(
            pairs, weight, azimuth=fitting.azimuth, kinds=kinds, apart=apart, seed=seed, over=over
        )
    except transform.NoModel as error:
        agreeing = (
            "" if weight is None else f"{np.count_nonzero(weight)} of {len(evidence)} points agree at first, and "
        )
        raise NoMatch(*ids, agreeing + str(error)) from error
    return chosen, weight, plane


def _plane(wanted: str, pairs: robust.PointPairs, tolerance: float, seed: int) -> transform.PlaneTransform:
    """Find the plane that most points agree on, a simpler one where few would all agree, or lie on one line.

    Raises:
        NoModel: the points do not determine even the simplest.
    """
    kinds = list(MINIMAL)[: list(MINIMAL).index(wanted) + 1]
    bearable = [kind for kind in kinds if 2 * MINIMAL[kind] <= len(pairs)] or kinds[:1]
    while True:
        try:
            return robust.robust_fit(bearable.pop(), pairs, tolerance=tolerance, quality=-pairs.sigma, seed=seed)
        except transform.NoModel:
            if not bearable:
                raise


def _doubt(inlier: NDArray[np.bool_], chance: float, least: int) -> str:
    """Say why inliers do not suffice; empty where they do."""
    inliers = int(inlier.sum())
    if inliers < least:
        return f", and {least} are needed"
    if inliers < LEAST_INLIERS and 2 * inliers <= len(inlier):
        return f", and where fewer than {LEAST_INLIERS} agree they must be more than half"
    return f", and so do as many unrelated ones with a probability of {chance:.2g}" if chance > ACCEPTED_CHANCE else ""


def _chance(
    evidence: Evidence,
    sigma: NDArray[np.float64],
    errors: NDArray[np.float64],
    plane: transform.PlaneTransform,
    tolerance: float,
    radius: float,
) -> float:
    """Estimate how likely unrelated points would agree as well, from their (N, 2) errors on ground not fitted to."""
    # Matches that were kept for their agreement are no evidence for it
    measured = evidence.still & evidence.refined
    fair = np.flatnonzero(measured if measured.any() else evidence.still)
    fair = fair[robust.decluster(evidence.left[fair], -sigma[fair], evidence.witness[fair])]
    unseen = np.hypot(*errors[fair].T)
    if np.isfinite(unseen).any():
        # What is predicted from other blocks has no parameter left to agree with; what has no company agrees with none
        unseen = unseen[~np.isnan(unseen)]
        return by_chance(int((unseen <= tolerance).sum()), len(unseen), tolerance / radius)
    return agreement(evidence.left[fair], evidence.right[fair], plane, tolerance, radius)[1]


def _unit_weight(
    unseen: NDArray[np.float64], sigma: NDArray[np.float64], weight: NDArray[np.float64], feature: NDArray[np.str_]
) -> dict[str, float]:
    """Estimate the standard deviation of unit weight by what was correlated: predicted ones are corrected by it.

    The height of a peak says how noise scatters it; what a season moves, shadows and crops, is seen in the errors at
    check points alone (Mikhail & Ackermann 1976, "Observations and Least Squares").
    """
    factors = {}
    for name in np.unique(feature):
        own = (feature == name) & (weight > 0) & np.isfinite(unseen).all(1)
        off = np.abs(unseen[own]) / sigma[own, None]
        factors[str(name)] = float(np.clip(1.4826 * np.median(off), *FACTORS)) if own.sum() >= ENOUGH else 1.0
    return factors
