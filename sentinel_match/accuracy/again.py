"""Points that are assessed again after a person edited them: what their images told before still counts."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sentinel_match.accuracy.assess import FEWEST_GIVEN, TOLERANCE, Assessment, assess
from sentinel_match.accuracy.departure import Departure
from sentinel_match.accuracy.edited import FEWEST_HELD, EditedField

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.accuracy.evidence import Evidence
    from sentinel_match.comparison import Comparison
    from sentinel_match.summary import Fitting, HoldOut, Summary

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class EditedPoints:
    """What is known of N points before they are assessed again."""

    name: str
    """Of their file."""
    before: Summary | None
    """What was said of them; ``None`` of points of other programs."""
    inlier: NDArray[np.bool_]
    """(N,) as the file has it."""
    rejected: NDArray[np.bool_]
    """(N,) by hand: they take no part."""
    moved: NDArray[np.bool_]
    """(N,) by hand."""
    crs: str
    """Of their metres."""

    def known(self, kept: NDArray[np.bool_], asked: str | None) -> Summary | None:
        """Return what was said of these very points, where nobody edited them or asks for another model.

        Points alone do not hold all that their images told, so what was told stays as long as nobody edits them.
        """
        if self.before is None or asked is not None or self.before.points != len(self.inlier):
            return None
        return None if (self.rejected | self.moved | kept).any() else self.before

    def believed(self, evidence: Evidence, gsd: float) -> NDArray[np.bool_]:
        """Tell (N,) which points stay as the file has them: inliers, neither end of which was put elsewhere."""
        if self.before is None:
            return self.inlier
        off = np.hypot(*(evidence.right - self.before.transform(evidence.left)).T)
        if self.before.motion is not None:
            moving = evidence.right - self.before.motion.field(evidence.left)
            off = np.minimum(off, np.hypot(*moving.T))
        return np.asarray(self.inlier & ~self.moved & (evidence.kept | (off <= TOLERANCE[1] * gsd)))


def assess_again(
    evidence: Evidence, edited: EditedPoints, fitting: Fitting, gsd: float, ids: tuple[str, str], *, asked: str | None
) -> Assessment:
    """Assess the points that take part.

    Args:
        evidence: of all N points.
        edited: what is known of them.
        fitting: how to fit.
        gsd: metres per pixel.
        ids: of the scenes, for the error.
        asked: kind of the model that a user asks for now.

    Raises:
        NoMatch: the points do not agree on a model.
    """
    before, known = edited.before, edited.known(evidence.kept, asked)
    taking_part = evidence.where(~edited.rejected)
    if known is not None:
        return assess(taking_part, fitting, gsd, ids, least=FEWEST_GIVEN, known=known)
    field = None
    if before is not None and edited.crs == before.crs:
        stay = ~edited.moved & ~edited.rejected
        field = EditedField.of(before, evidence.left[stay], evidence.right[stay], evidence.kept[stay])
    if field is None:
        _say_why_stiff(edited.name, before, len(taking_part), asked)
    else:
        believed = edited.believed(evidence, gsd)
        expected = np.where(believed[:, None], evidence.right, np.nan)[~edited.rejected]
        taking_part = replace(taking_part, edited=field, expected=expected)
    assessment = assess(taking_part, fitting, gsd, ids, least=FEWEST_GIVEN)
    if before is None:
        return assessment
    # What the images said against the displacement holds whatever is done to its points; a field holds it already
    if field is None and before.comparison is not None:
        assessment = assessment.widened(before.comparison.consistency.pull_m)
    if field is not None:
        east, north = np.maximum(assessment.shift_sigma_m, before.shift_sigma_m).tolist()
        return replace(assessment, shift_sigma_m=(east, north))
    departure = Departure.of(before, assessment.transform) if edited.crs == before.crs else None
    if departure is not None and asked is None:  # the images proved it, and fewer points prove no more
        proven = None if before.hold_out is None else departure.proof(before.hold_out)
        return replace(assessment, hold_out=_worse(assessment.hold_out, proven), uncertainty=departure.uncertainty())
    return assessment


def compared_again(
    before: Summary | None, assessment: Assessment, left: NDArray[np.float64], crs: str
) -> Comparison | None:
    """Return what holds of the images after points were assessed again; ``None`` where nothing was known of them.

    Args:
        before: what was said of the points.
        assessment: of those that take part.
        left: (N, 2) their metres in the left image.
        crs: of these.
    """
    if before is None or before.comparison is None:
        return None
    same = crs != before.crs or assessment.transform is before.transform
    departure = None if same else Departure.of(before, assessment.transform)
    if departure is None:
        return before.comparison
    return departure.comparison(before.comparison, left[assessment.inlier], before.gsd_m)


def _worse(one: HoldOut | None, other: HoldOut | None) -> HoldOut | None:
    """Return the proof that promises less, ``None`` where either is missing."""
    if one is None or other is None:
        return None
    return max(one, other, key=lambda proof: proof.ce95_interval[1])


def _say_why_stiff(name: str, before: Summary | None, given: int, asked: str | None) -> None:
    """Say that points are fitted by a stiff model because nothing holds the field that they may have come from."""
    if before is None and given >= FEWEST_HELD and asked in {None, "field"}:
        log.warning(
            "%s holds no displacement field, only points, so a stiff model is fitted to them: GeoPackage and GeoJSON "
            "of sentinel-match hold the field",
            name,
        )
    elif before is not None and before.transform.kind == "field":
        log.warning(
            "%s no longer holds enough of its displacement field (its lattice and %d points on it), so a stiff model "
            "is fitted to its points",
            name,
            FEWEST_HELD,
        )
