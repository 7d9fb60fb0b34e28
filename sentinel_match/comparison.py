"""What is known of a pair because its images were compared: the part of a summary that points alone do not have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sentinel_match.opinions import Consistency, SecondEstimate
from sentinel_match.schema import Count, member, plain

Record = Mapping[str, Any]
"""An object of a JSON file."""


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
class HeightBin:
    """The shift of the ground between two altitudes, or two slopes."""

    low: float
    """Metres or degrees."""
    high: float
    median_m: float
    """Median shift, less its plane over the map."""
    interval_m: tuple[float, float]
    """Its 95 % interval."""
    points: Count
    """Single windows that lie there."""


@dataclass(frozen=True, kw_only=True)
class HeightRelation:
    """How the shift goes with a user's height model: see :mod:`sentinel_match.accuracy.relief`."""

    of: str
    """``altitude`` or ``slope``."""
    part: str
    """``along`` or ``across`` the parallax of the two views; ``east`` or ``north`` where that is not known."""
    unit: float
    """Metres of altitude, or degrees of slope, for which the change is told."""
    gain_m: float
    """By how much the shift grows with so much, metres."""
    gain_sigma_m: float
    """Its standard error: what heights of other ground give."""
    related: bool
    """Whether it grows or falls by more than two standard errors."""
    bins: tuple[HeightBin, ...]
    """From the lowest ground, or the flattest."""

    @property
    def verdict(self) -> str:
        """Say it in words."""
        unit = f"{self.unit:g} {'m' if self.of == 'altitude' else 'degrees'}"
        gain = f"{self.gain_m:+.2f} ± {self.gain_sigma_m:.2f} m per {unit}"
        place = f"{self.part} the parallax" if self.part in {"along", "across"} else f"to the {self.part}"
        return f"{gain} {place}" if self.related else f"no relation {place} ({gain})"


@dataclass(frozen=True, kw_only=True)
class TerrainEffect:
    """What errors of heights do to the shift, told by its direction: see :mod:`sentinel_match.accuracy.terrain`.

    Where both images look from one side there are no figures but the first: all that may be ``None`` is.
    """

    views_deg: float | None = None
    """Angle between the two directions of view, median; ``None`` where nothing says from where the images were seen."""
    azimuth_deg: float | None = None
    """Where the right image shows, against the left one, what the height model has too high; degrees clockwise from
    grid north."""
    shift_per_metre: float | None = None
    """Metres of shift that a metre of height makes."""
    detected: bool | None = None
    """Whether the shift varies along the parallax more than across it, by over two standard errors."""
    median_m: float | None = None
    """Height model less ground, median over the measured ground; what is a plane over all of it does not show."""
    nmad_m: float | None = None
    """Its scatter, with that of the measurement."""
    rms_m: float | None = None
    """Its root mean square: by how much the shift varies more along the parallax than across it."""
    sigma_m: float | None = None
    """Scatter of the measurement alone, as predicted."""
    limit_m: float | None = None
    """Standard deviation of the height error that the figures still allow, at 95 %."""
    along_m: float | None = None
    """How far the shift varies along the parallax, root mean square without noise, metres."""
    across_m: float | None = None
    """The same across it: what heights do not explain."""
    share: float | None = None
    """Share of what the shift varies (squared) that lies along the parallax; .5 is that of any direction."""
    share_sigma: float | None = None
    """Its standard error, from blocks of ground."""
    correlation: float | None = None
    """Between what two halves of the spectrum say of heights, each by itself."""
    correlation_sigma: float | None = None
    verdict: str
    """What that means, in a sentence."""
    dem: str | None = None
    """Name of the user's height model."""
    relations: tuple[HeightRelation, ...] = ()
    """With the height model, where the ground is not flat."""

    def to_dict(self) -> dict[str, Any]:
        """Return what files say, without what is not known."""
        members = {name: value for name, value in plain(self).items() if value not in (None, [])}
        if self.relations:
            members["relations"] = [{**plain(one), "bins": [plain(b) for b in one.bins]} for one in self.relations]
        return members


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
    consistency: Consistency = field(default_factory=Consistency)
    jointly_clear_km2: float
    """Ground that is clear in both images, square kilometres."""
    left: ImageUse
    right: ImageUse
    classes: Mapping[str, ClassCount] | None = None
    """Tie points by land cover, ``vegetation`` or ``vegetation > snow``; ``None`` where nothing says what it is."""
    terrain: TerrainEffect | None = None
    """``None`` where nothing says how the shift varies, or from where the images were seen and what its heights are."""
    moving_ground: str = ""
    """What was found of ground that moves, in a sentence; empty where nobody asked for stable ground, or a mask says
    which that is."""


def compared(comparison: Comparison, band: str, crs: str) -> dict[str, Any]:
    """Return the members of a summary that tell of the images, in the order that files have."""
    sides = {"left": comparison.left, "right": comparison.right}
    second = {name: value for name, value in plain(comparison.second).items() if value is not None}
    members: dict[str, Any] = {
        "by_method": dict(comparison.by_method),
        "matcher": plain(comparison.matcher),
        "regions": [{"bounds": list(region.bounds), "methods": dict(region.methods)} for region in comparison.regions],
        "candidates": comparison.candidates,
        "coverage": plain(comparison.coverage),
        "second": second,
        "consistency": comparison.consistency.to_dict(),
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
            "counts": {name: plain(count) for name, count in comparison.classes.items()},
        }
    if comparison.terrain is not None:
        members["terrain"] = comparison.terrain.to_dict()
    if comparison.moving_ground:
        members["moving_ground"] = comparison.moving_ground
    return members


def comparison_of(record: Record) -> Comparison:
    """Read back what ``compared`` has made.

    Raises:
        Unfit: a member is missing, or is none of its kind; which, and what it is.
    """
    where = "summary"
    limits, masks = (member(record, name, Mapping[str, Any], where) for name in ("limits", "masks"))
    classes = member(record, "classes", Mapping[str, Any], where) if record.get("classes") else None
    cover = member(classes, "from", Mapping[str, str], f"{where}.classes") if classes else {}
    uses = {
        side: _image_use(side, limits, member(masks, side, Mapping[str, Any], f"{where}.masks"), cover)
        for side in ("left", "right")
    }
    return Comparison(
        by_method=member(record, "by_method", Mapping[str, int], where),
        matcher=member(record, "matcher", MatcherReport, where),
        regions=member(record, "regions", tuple[Region, ...], where),
        candidates=member(record, "candidates", int, where),
        coverage=member(record, "coverage", Coverage, where),
        second=member(record, "second", SecondEstimate, where),
        consistency=member(record, "consistency", Consistency, where) if "consistency" in record else Consistency(),
        jointly_clear_km2=member(record, "jointly_clear_km2", float, where),
        left=uses["left"],
        right=uses["right"],
        classes=member(classes, "counts", Mapping[str, ClassCount], f"{where}.classes") if classes else None,
        terrain=member(record, "terrain", TerrainEffect, where) if record.get("terrain") else None,
        moving_ground=member(record, "moving_ground", str, where) if "moving_ground" in record else "",
    )


def _image_use(side: str, limits: Record, mask: Record, cover: Mapping[str, str]) -> ImageUse:
    where = f"summary.masks.{side}"
    return ImageUse(
        limits=member(limits, side, tuple[float, float], "summary.limits"),
        clouds_from=member(mask, "clouds_from", str | None, where),
        removed=member(mask, "removed", Mapping[str, float], where),
        notes=member(mask, "notes", tuple[str, ...], where),
        classes_from=member(cover, side, str, "summary.classes.from") if cover else "",
    )
