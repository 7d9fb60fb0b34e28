"""What a set of tie points says as a whole: a frozen :class:`Summary` of frozen parts.

It travels between rooms as it is; ``to_dict`` and ``from_dict`` are for files alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from sentinel_match.comparison import Comparison, Record, compared, comparison_of
from sentinel_match.geometry.kinds import KINDS, MINIMAL
from sentinel_match.geometry.motion import Motion
from sentinel_match.geometry.transform import ELSEWHERE, MOST_LISTED, Transform
from sentinel_match.geometry.uncertainty import Uncertainty
from sentinel_match.schema import Angle, Count, Factor, Length, Reach, Unfit, an_object, member, part, plain, shown

if TYPE_CHECKING:
    from sentinel_match.opinions import SecondEstimate


DOUBTFUL = "doubtful: "
"""Beginning of a verdict on points that the images contradict."""


@dataclass(frozen=True, kw_only=True)
class ShiftStatistics:
    """Figures of the inliers of a set of tie points; metres unless the name says pixels."""

    points: Count
    """Measured, inliers or not."""
    inliers: Count
    median_dx_m: float
    """Median shift, right minus left, east."""
    median_dy_m: float
    """North."""
    median_shift_m: float
    """Length of the median shift."""
    nmad_x_m: float
    """Normalised median absolute deviation of the residuals, east."""
    nmad_y_m: float
    nmad_x_px: float
    nmad_y_px: float
    rmse_m: float
    """Of the residuals' lengths."""
    ce90_m: float
    """90th percentile of the residuals' lengths. They are those of the fit: ``hold_out`` tells of unseen ground."""
    share_below_half_px: float
    """Share of residuals below half a pixel."""
    share_below_half_px_of_all_measured: float
    """The same of all points measured."""
    km_cells: Count
    """Cells of a kilometre that hold an inlier."""
    gsd_m: Length
    """Ground sampling distance, metres per pixel."""

    @property
    def on_model(self) -> bool:
        """Tell whether each point lies where the model has it, as those do that a field says: scatter tells nothing."""
        return self.nmad_x_m == self.nmad_y_m == 0


@dataclass(frozen=True, kw_only=True)
class HoldOut:
    """Errors at check points, on ground that the fit has not seen; metres, rounded to a tenth of a millimetre."""

    points: Count
    """Check points."""
    gross_share: float
    """Share of them that contradict the model: gross errors of a measurement."""
    bias_x: float
    """Mean error of the others, east."""
    bias_y: float
    """North."""
    rmse: float
    """Of the others, two-dimensional."""
    ce90: float
    """Circular error: the radius within which 90 % of all check points err."""
    ce90_interval: tuple[float, float]
    """Its 95 % interval."""
    ce95: float
    ce95_interval: tuple[float, float]
    allowance: float = 0.0
    """Metres that RMSE (by squares), CE90 and CE95 contain because coarse detail of the images lies elsewhere than fine
    detail, which check points do not see: ``pull_m`` of the consistency."""

    def widened(self, by: float) -> HoldOut:
        """Return the same with metres added that all check points may be wrong by."""
        return replace(
            self,
            rmse=round(math.hypot(self.rmse, by), 4),
            ce90=round(self.ce90 + by, 4),
            ce90_interval=(self.ce90_interval[0], round(self.ce90_interval[1] + by, 4)),
            ce95=round(self.ce95 + by, 4),
            ce95_interval=(self.ce95_interval[0], round(self.ce95_interval[1] + by, 4)),
            allowance=round(self.allowance + by, 4),
        )


@dataclass(frozen=True, kw_only=True)
class Edits:
    """What a person, or another program, did to the points before they were fitted again."""

    source: str
    """Name of the file."""
    rejected_by_hand: Count
    kept_by_hand: Count
    moved: Count
    deleted: int | None = None
    """Points missing since the file was made; ``None`` where that is not known."""


@dataclass(frozen=True)
class Fitting:
    """All that a fit depends on besides its points."""

    plane: str
    """Kind of the plane transform that most points must agree on."""
    asked: str | None
    """Kind of the model a user wants; chosen by what it predicts when ``None``."""
    radius_m: Reach
    """Of the search that measured the points, metres."""
    azimuth: Angle
    """Of the satellite's track, radians clockwise from north."""
    seed: Count = 0
    """Of fits and folds."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Summary(ShiftStatistics):
    """What a set of tie points says as a whole.

    Examples:
        >>> from sentinel_match import read_ties
        >>> summary = read_ties("ties.gpkg").summary
        >>> summary.band, summary.crs
        ('B04', 'EPSG:32633')
        >>> summary.hold_out.ce90 < 5.0  # metres, on ground that the fit has not seen
        True
        >>> sorted(summary.to_dict())[:3]
        [...]
    """

    shift_sigma_m: tuple[float, float]
    """Standard error of the median shift, east and north."""
    transform: Transform
    """The fitted transform, left metres to right metres: ``model`` in files."""
    sigma_factors: Mapping[str, float]
    """By what was correlated: the factor that brought predicted standard deviations to what check points show."""
    kinds_tried: Mapping[str, float]
    """Error per axis of each kind of transform that competed, on ground it was not fitted to, metres."""
    tolerance_m: float
    """Largest residual of an inlier."""
    hold_out: HoldOut | None
    """``None`` where the points lie too close together to hold any out."""
    fitting: Fitting
    band: str
    """What was compared."""
    crs: str
    """Of all metres: ``EPSG:32633``, or WKT."""
    comparison: Comparison | None = None
    """What was known of the images when the points were measured; ``None`` for points of other programs."""
    edits: Edits | None = None
    """``None`` where the points are as they were measured."""
    uncertainty: Uncertainty | None = None
    """How sure the transform is on a lattice, also where no point is; ``None`` where the points lie on none."""
    motion: Motion | None = None
    """Of ground that moves against the stable ground that was fitted; ``None`` where nobody says which that is."""
    verdict: str
    """What the figures mean for the pair's use, in one sentence."""

    @property
    def figures(self) -> str:
        """Say how many inliers there are, what they measured, and how well that is proven."""
        proof = f"CE90 {self.hold_out.ce90:.2f} m" if self.hold_out else "unproven"
        shift = f"{self.median_dx_m:+.2f} m east {self.median_dy_m:+.2f} m north"
        return f"{self.inliers:,} inliers of {self.points:,}, {shift}, {proof}"

    def __repr__(self) -> str:
        """Say the figures in one line, with the model."""
        return f"<Summary: {self.figures}, {self.transform.kind}, band {self.band} at {self.gsd_m:g} m>"

    @property
    def second(self) -> SecondEstimate | None:
        """Return what the second estimator says; ``None`` where nobody compared the images."""
        return self.comparison.second if self.comparison else None

    @property
    def doubts(self) -> tuple[str, ...]:
        """List what the second estimator and the images say against the tie points, each as the end of a sentence."""
        if self.comparison is None:
            return ()
        promised = self.hold_out.ce95_interval[1] if self.hold_out else 0.0
        contradictions = self.comparison.second.contradictions(promised, self.gsd_m)
        return self.comparison.consistency.doubts(self.gsd_m) + contradictions

    @property
    def doubtful(self) -> bool:
        """Tell whether the second estimator contradicts the tie points, or the images bear out something else, too."""
        return bool(self.doubts)

    @property
    def doubt(self) -> str:
        """Say why the points are doubtful, as the verdict does; empty where they are not."""
        return self.verdict.removeprefix(DOUBTFUL) if self.doubtful else ""

    @property
    def abridged(self) -> Summary:
        """Return the same without what a large lattice says node by node: coefficients, uncertainty and motion.

        Of a whole tile these are ten megabytes, and a run may have thousands of pairs: ``read_ties`` has them.
        """
        nodes = math.prod(self.uncertainty.shape) if self.uncertainty else 0
        if self.transform.abridged is self.transform and nodes <= MOST_LISTED:
            return self
        return replace(self, transform=self.transform.abridged, uncertainty=None, motion=None)

    def to_dict(self) -> dict[str, Any]:
        """Return what files say, JSON-able: the member ``summary`` of GeoJSON, GeoPackage, run.json and pair.json."""
        figures = {f.name: getattr(self, f.name) for f in fields(ShiftStatistics)}
        figures |= {
            "shift_sigma_m": list(self.shift_sigma_m),
            "model": self.transform.to_dict(),
            "sigma_factors": dict(self.sigma_factors),
            "kinds_tried": dict(self.kinds_tried),
            "tolerance_m": self.tolerance_m,
            "hold_out": plain(self.hold_out) if self.hold_out else {},
            "fitting": plain(self.fitting),
        }
        if self.comparison is None:
            figures |= {"band": self.band, "crs": self.crs}
        else:
            figures |= compared(self.comparison, self.band, self.crs)
        if self.uncertainty is not None:
            figures["uncertainty"] = asdict(self.uncertainty)
        if self.motion is not None:
            figures["motion"] = self.motion.to_dict()
        if self.edits is not None:
            edits = plain(self.edits)
            figures["edited"] = {"from": edits.pop("source"), **{k: v for k, v in edits.items() if v is not None}}
        return {**figures, "verdict": self.verdict}

    @staticmethod
    def from_dict(record: Record) -> Summary:
        """Read back what ``to_dict`` has made of a summary that is not abridged.

        Raises:
            Unfit: a member is missing, or is none of its kind; which, and what it is.
        """
        summary = Summary.from_abridged(record)
        moving = {"motion.field": summary.motion.field} if summary.motion else {}
        for name, transform in {"model": summary.transform, **moving}.items():
            if not transform.whole:
                raise Unfit(f"summary.{name}.bend.coefficients are left out, and must be here: they are in {ELSEWHERE}")
        return summary

    @staticmethod
    def from_abridged(record: Record) -> Summary:
        """Read back what ``to_dict`` has made, abridged or not.

        Raises:
            Unfit: a member is missing, or is none of its kind; which, and what it is.
        """
        where = "summary"
        statistics = part(ShiftStatistics, record, where)
        edited, hold_out = record.get("edited"), member(record, "hold_out", Mapping[str, Any], where)
        fitting = part(Fitting, member(record, "fitting", Mapping[str, Any], where), f"{where}.fitting")
        _check_kinds(fitting)
        return Summary(
            **vars(statistics),
            shift_sigma_m=member(record, "shift_sigma_m", tuple[float, float], where),
            transform=Transform.from_dict(member(record, "model", Mapping[str, Any], where)),
            sigma_factors=member(record, "sigma_factors", Mapping[str, Factor], where),
            kinds_tried=member(record, "kinds_tried", Mapping[str, float], where),
            tolerance_m=member(record, "tolerance_m", Length, where),
            hold_out=part(HoldOut, hold_out, f"{where}.hold_out") if hold_out else None,
            fitting=fitting,
            band=member(record, "band", str, where),
            crs=member(record, "crs", str, where),
            comparison=comparison_of(record) if "matcher" in record else None,
            edits=_edits(edited, f"{where}.edited") if edited else None,
            uncertainty=_uncertainty(record, where),
            motion=Motion.from_dict(record["motion"], f"{where}.motion") if record.get("motion") else None,
            verdict=member(record, "verdict", str, where),
        )


def _edits(record: object, where: str) -> Edits:
    members = an_object(record, where)
    return part(Edits, {**members, "source": members.get("from")}, where)


def _uncertainty(record: Record, where: str) -> Uncertainty | None:
    if not record.get("uncertainty"):
        return None
    uncertainty = part(Uncertainty, record["uncertainty"], f"{where}.uncertainty")
    uncertainty.arrays()  # what cannot be read shall be told now
    return uncertainty


def _check_kinds(fitting: Fitting) -> None:
    """Refuse kinds of models that there are not."""
    for name, kind, known in (("plane", fitting.plane, MINIMAL), ("asked", fitting.asked or "affine", KINDS)):
        if kind not in known:
            raise Unfit(f"summary.fitting.{name} is {shown(kind)}, and must be one of {', '.join(known)}")
