"""What a set of tie points says as a whole: a frozen :class:`Summary` of frozen parts.

It travels between rooms as it is; ``to_dict`` and ``from_dict`` are for files alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from sentinel_match.geometry.transform import Transform

Record = Mapping[str, Any]
"""An object of a JSON file."""


@dataclass(frozen=True, kw_only=True)
class ShiftStatistics:
    """Figures of the inliers of a set of tie points; metres unless the name says pixels."""

    points: int
    """Measured, inliers or not."""
    inliers: int
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
    km_cells: int
    """Cells of a kilometre that hold an inlier."""
    gsd_m: float
    """Ground sampling distance, metres per pixel."""


@dataclass(frozen=True, kw_only=True)
class HoldOut:
    """Errors at check points, on ground that the fit has not seen; metres, rounded to a tenth of a millimetre."""

    points: int
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


@dataclass(frozen=True, kw_only=True)
class SecondEstimate:
    """What a second estimator measures, which no tie point was made with: see :mod:`sentinel_match.accuracy.ecc`.

    Where too few windows are alike there are no shifts: ``agrees`` is ``None``, as are all that follow ``answers``.
    """

    estimator: str = "ECC"
    looks: int
    """Windows tried."""
    answers: int
    """Windows that gave a shift."""
    before_dx_m: float | None = None
    """Median shift before the correction, right minus left, east."""
    before_dy_m: float | None = None
    """North."""
    after_dx_m: float | None = None
    """Median shift that remains after the correction."""
    after_dy_m: float | None = None
    sigma_dx_m: float | None = None
    """Standard error of what remains."""
    sigma_dy_m: float | None = None
    agrees: bool | None = None
    """Whether what remains is small enough for both estimators to be right."""


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Where on the clear ground the inliers lie."""

    cell_m: float
    """Side of the cells that are counted, metres."""
    clear_cells: int
    """Cells of which at least a tenth is clear in both images."""
    share: float
    """Share of these that hold an inlier."""
    extrapolated_share: float
    """Share that lies too far from every inlier, so that the model extrapolates."""


@dataclass(frozen=True, kw_only=True)
class MatcherReport:
    """What the matcher found before refinement."""

    name: str
    """``auto``, or the matcher's."""
    cells: int
    """Cells that were looked at."""
    matches: int
    """Correspondences delivered."""
    agreeing: int
    """Those that agree with the coarse model."""
    verdict: str
    """Which method found the model, and which confirmed it."""


@dataclass(frozen=True)
class Region:
    """A cell of the matching lattice, and which methods supplied its inliers."""

    bounds: tuple[float, float, float, float]
    """West, south, east, north in the CRS of the tie points."""
    methods: Mapping[str, int]
    """Inliers of each method."""


@dataclass(frozen=True, kw_only=True)
class ImageUse:
    """How one image of a pair was used."""

    limits: tuple[float, float]
    """Values that became 0 and 1."""
    clouds_from: str | None
    """What said where clouds are; ``None`` where nothing did."""
    removed: Mapping[str, float]
    """Share of the image that was masked, by reason."""
    notes: tuple[str, ...] = ()
    classes_from: str = ""
    """What said which land cover lies where; empty where nothing did."""


@dataclass(frozen=True)
class ClassCount:
    """Tie points that lie on one land cover class, or on two."""

    points: int
    inliers: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What is known because the images themselves were compared."""

    by_method: Mapping[str, int]
    """Inliers of each method."""
    matcher: MatcherReport
    regions: tuple[Region, ...]
    candidates: int
    """Places where a measurement was tried."""
    coverage: Coverage
    second: SecondEstimate
    jointly_clear_km2: float
    """Ground that is clear in both images, square kilometres."""
    left: ImageUse
    right: ImageUse
    classes: Mapping[str, ClassCount] | None = None
    """Tie points by land cover, ``vegetation`` or ``vegetation > snow``; ``None`` where nothing says what it is."""


@dataclass(frozen=True, kw_only=True)
class Edits:
    """What a person, or another program, did to the points before they were fitted again."""

    source: str
    """Name of the file."""
    rejected_by_hand: int
    kept_by_hand: int
    moved: int
    deleted: int | None = None
    """Points missing since the file was made; ``None`` where that is not known."""


@dataclass(frozen=True)
class Fitting:
    """All that a fit depends on besides its points."""

    plane: str
    """Kind of the plane transform that most points must agree on."""
    asked: str | None
    """Kind of the model a user wants; chosen by what it predicts when ``None``."""
    radius_m: float
    """Of the search that measured the points, metres."""
    azimuth: float
    """Of the satellite's track, radians clockwise from north."""
    seed: int = 0
    """Of fits and folds."""


@dataclass(frozen=True, kw_only=True)
class Summary(ShiftStatistics):
    """What a set of tie points says as a whole."""

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
    """``None`` where points were fitted without their images."""
    edits: Edits | None = None
    """``None`` where the points are as they were measured."""
    verdict: str
    """What the figures mean for the pair's use, in one sentence."""

    @property
    def second(self) -> SecondEstimate | None:
        """What the second estimator says; ``None`` where points were fitted without their images."""
        return self.comparison.second if self.comparison else None

    @property
    def doubtful(self) -> bool:
        """Whether the second estimator contradicts the tie points."""
        return self.second is not None and self.second.agrees is False

    def to_dict(self) -> dict[str, Any]:
        """Return what files say, JSON-able: the member ``summary`` of GeoJSON, GeoPackage, run.json and pair.json."""
        figures = {f.name: getattr(self, f.name) for f in fields(ShiftStatistics)}
        figures |= {
            "shift_sigma_m": list(self.shift_sigma_m),
            "model": self.transform.to_dict(),
            "sigma_factors": dict(self.sigma_factors),
            "kinds_tried": dict(self.kinds_tried),
            "tolerance_m": self.tolerance_m,
            "hold_out": _plain(self.hold_out) if self.hold_out else {},
            "fitting": _plain(self.fitting),
        }
        if self.comparison is None:
            figures |= {"band": self.band, "crs": self.crs}
        else:
            figures |= _compared(self.comparison, self.band, self.crs)
        if self.edits is not None:
            edits = _plain(self.edits)
            figures["edited"] = {"from": edits.pop("source"), **{k: v for k, v in edits.items() if v is not None}}
        return {**figures, "verdict": self.verdict}

    @staticmethod
    def from_dict(record: Record) -> Summary:
        """Read back what ``to_dict`` has made.

        Raises:
            KeyError, TypeError, ValueError: a member is missing, or is none of its kind.
        """
        statistics = {f.name: record[f.name] for f in fields(ShiftStatistics)}
        edited = record.get("edited")
        return Summary(
            **statistics,
            shift_sigma_m=_two(record["shift_sigma_m"]),
            transform=Transform.from_dict(record["model"]),
            sigma_factors=_numbers(record["sigma_factors"]),
            kinds_tried=_numbers(record["kinds_tried"]),
            tolerance_m=float(record["tolerance_m"]),
            hold_out=_hold_out(record["hold_out"]) if record["hold_out"] else None,
            fitting=Fitting(**record["fitting"]),
            band=str(record["band"]),
            crs=str(record["crs"]),
            comparison=_comparison(record) if "matcher" in record else None,
            edits=Edits(source=edited["from"], **{k: v for k, v in edited.items() if k != "from"}) if edited else None,
            verdict=str(record["verdict"]),
        )


def _hold_out(record: Record) -> HoldOut:
    return HoldOut(**{name: _two(value) if name.endswith("_interval") else value for name, value in record.items()})


def _compared(comparison: Comparison, band: str, crs: str) -> dict[str, Any]:
    """Return the members of a summary that tell of the images, in the order that files have."""
    sides = {"left": comparison.left, "right": comparison.right}
    second = {name: value for name, value in _plain(comparison.second).items() if value is not None}
    members: dict[str, Any] = {
        "by_method": dict(comparison.by_method),
        "matcher": _plain(comparison.matcher),
        "regions": [{"bounds": list(region.bounds), "methods": dict(region.methods)} for region in comparison.regions],
        "candidates": comparison.candidates,
        "coverage": _plain(comparison.coverage),
        "second": second,
        "jointly_clear_km2": comparison.jointly_clear_km2,
        "band": band,
        "crs": crs,
        "limits": {side: list(use.limits) for side, use in sides.items()},
        "masks": {
            side: {"clouds_from": use.clouds_from, "removed": dict(use.removed), "notes": list(use.notes)}
            for side, use in sides.items()
        },
    }
    if comparison.classes is not None:
        members["classes"] = {
            "from": {side: use.classes_from for side, use in sides.items()},
            "counts": {name: _plain(count) for name, count in comparison.classes.items()},
        }
    return members


def _comparison(record: Record) -> Comparison:
    """Read back what ``_compared`` has made."""
    classes = record.get("classes")
    uses = {
        side: ImageUse(
            limits=_two(record["limits"][side]),
            clouds_from=record["masks"][side]["clouds_from"],
            removed=_numbers(record["masks"][side]["removed"]),
            notes=tuple(str(note) for note in record["masks"][side]["notes"]),
            classes_from=str(classes["from"][side]) if classes else "",
        )
        for side in ("left", "right")
    }
    counts = {name: ClassCount(**count) for name, count in classes["counts"].items()} if classes else None
    regions = []
    for region in record["regions"]:
        west, south, east, north = map(float, region["bounds"])
        regions.append(Region((west, south, east, north), dict(region["methods"])))
    return Comparison(
        by_method=dict(record["by_method"]),
        matcher=MatcherReport(**record["matcher"]),
        regions=tuple(regions),
        candidates=int(record["candidates"]),
        coverage=Coverage(**record["coverage"]),
        second=SecondEstimate(**record["second"]),
        jointly_clear_km2=float(record["jointly_clear_km2"]),
        left=uses["left"],
        right=uses["right"],
        classes=counts,
    )


def _plain(part: Any) -> dict[str, Any]:
    """Return the fields of a flat part, tuples as lists."""
    values = ((f.name, getattr(part, f.name)) for f in fields(part))
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values}


def _numbers(record: Record) -> dict[str, float]:
    return {str(name): float(value) for name, value in record.items()}


def _two(values: Sequence[Any]) -> tuple[float, float]:
    first, second = values
    return float(first), float(second)
