"""Pair: two acquisitions to compare, with the facts that speak for and against it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from math import cos, pi, sqrt
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sentinel_match.geometry.footprint import Footprint
    from sentinel_match.products.scene import Scene

SCORE_DIGITS = 6
ORBIT_FACTORS = {True: 1.0, None: 0.9, False: 0.8}
"""By which a score is multiplied for one relative orbit, one that is not known, and two; see `Pair.score`."""
LEVEL_FACTORS = {False: 1.0, True: 0.8}
"""By which a score is multiplied for levels that are mixed or not."""


def season_factor(gap: int | None) -> float:
    """Compute by what a score is multiplied for two days of the year, from the days between them."""
    return 0.75 + (0.25 * cos(2 * pi * gap / 365) if gap is not None else 0)


@dataclass(frozen=True, slots=True, repr=False)
class Pair:
    """Two acquisitions to compare, and all that their metadata says about the comparison."""

    left: Scene
    """The reference."""
    right: Scene
    """The target."""
    id: str
    """Unique within its pairing and safe as a file name: ``T33UUU_20160608T153123__T33UUU_20160529T153633``."""
    overlap: Footprint | None = field(repr=False)
    """Ground that both show; ``None`` for two images of which only a position is known."""
    overlap_km2: float
    """Its area on the ellipsoid."""
    share: float
    """The overlap as a share of the smaller footprint, 0 to 1."""
    iou: float
    """The overlap as a share of the ground that either shows, 0 to 1."""
    distance_km: float | None = None
    """Along the ellipsoid, between two images of which only a position is known."""

    def __repr__(self) -> str:
        """Say in one line which two acquisitions it is of, and what speaks for and against it."""
        return f"<Pair {self.id}: {'; '.join(self.reasons[:3])}>"

    @property
    def joint_clear(self) -> float | None:
        """Estimate the share of the overlap that is clear in both, if the two dates' clouds know nothing of each other.

        Cloud cover is a share of a product's *valid* pixels, so the overlap needs no correction for no-data.
        ``None`` where a product does not state it.
        """
        covers = (self.left.cloud_cover, self.right.cloud_cover)
        return None if None in covers else self.clear(unknown=0.0)

    def clear(self, unknown: float) -> float:
        """Compute ``joint_clear`` with a given clear share for a product that does not state its clouds."""
        covers = (self.left.cloud_cover, self.right.cloud_cover)
        one, other = (unknown if cover is None else 1 - cover / 100 for cover in covers)
        return one * other

    @property
    def days(self) -> float | None:
        """Count the days between the two acquisitions."""
        if self.left.sensing_time is None or self.right.sensing_time is None:
            return None
        return abs((self.left.sensing_time - self.right.sensing_time).total_seconds()) / 86_400

    @property
    def day_of_year_gap(self) -> int | None:
        """Count the days between the two dates within the year, whatever the years and across New Year: 0 to 182."""
        if self.left.sensing_time is None or self.right.sensing_time is None:
            return None
        gap = abs(day_of_year(self.left) - day_of_year(self.right))
        return min(gap, 365 - gap)

    @property
    def same_orbit(self) -> bool | None:
        """Tell whether both are of one relative orbit: the same viewing angles, hence no parallax between them."""
        orbits = (self.left.relative_orbit, self.right.relative_orbit)
        return None if None in orbits else orbits[0] == orbits[1]

    @property
    def mixed_levels(self) -> bool:
        """Tell whether one is L1C and the other L2A; a loose raster of unknown level goes with either."""
        return bool(self.left.level and self.right.level) and self.left.level != self.right.level

    @property
    def processing(self) -> str:
        """Name level and baseline of both: ``L1C 02.07 and L2A 05.09``, or once where they are equal."""
        one, other = (f"{s.level} {s.baseline}".strip() or "an unknown level" for s in (self.left, self.right))
        return one if one == other else f"{one} and {other}"

    @property
    def refined(self) -> str:
        """Tell how many were refined against the Global Reference Image: ``both``, ``one``, ``none``, ``unknown``."""
        flags = {self.left.refined, self.right.refined}
        return "unknown" if None in flags else "one" if len(flags) == 2 else "both" if True in flags else "none"

    @property
    def score(self) -> float:
        """Score how promising the comparison is, 0 to 1; a rank, not a probability.

        The product of: the overlap as the geometric mean of ``share`` and ``iou`` (or 1 / (1 + km) between positions);
        ``joint_clear`` (an unstated cloud cover counts as half clear); the season, a cosine from 1 (same day of the
        year) to 0.5 (half a year; 0.75 where a date is missing); 0.8 for different relative orbits (0.9 unknown), whose
        viewing angles differ; 0.8 for mixed levels. The weights are a judgement: they only order pairs.
        """
        near = sqrt(self.share * self.iou) if self.distance_km is None else 1 / (1 + self.distance_km)
        clear = self.clear(unknown=0.5)
        return round(
            near
            * clear
            * season_factor(self.day_of_year_gap)
            * ORBIT_FACTORS[self.same_orbit]
            * LEVEL_FACTORS[self.mixed_levels],
            SCORE_DIGITS,
        )

    @property
    def reasons(self) -> tuple[str, ...]:
        """Say what speaks for and against the pair, in words."""
        return tuple(_reasons(self))


def pair_feature(pair: Pair) -> dict[str, Any]:
    """Write a pair as a GeoJSON feature: the overlap (or the two positions) with every fact as a property."""
    positions = [list(position) for position in (pair.left.position, pair.right.position) if position]
    geometry = pair.overlap.geojson() if pair.overlap else {"type": "MultiPoint", "coordinates": positions}
    facts = ("overlap_km2", "share", "iou", "joint_clear", "days", "distance_km", "score")
    return {
        "type": "Feature",
        "id": pair.id,
        "geometry": geometry,
        "properties": {
            "left": pair.left.id,
            "right": pair.right.id,
            **{name: None if (value := getattr(pair, name)) is None else round(value, 4) for name in facts},
            "day_of_year_gap": pair.day_of_year_gap,
            "same_orbit": pair.same_orbit,
            "processing": pair.processing,
            "refined": pair.refined,
            "reasons": list(pair.reasons),
        },
    }


def _reasons(pair: Pair) -> Iterator[str]:
    left, right = pair.left, pair.right
    if pair.distance_km is not None:
        yield f"{_number(pair.distance_km)} km apart"
    else:
        yield f"overlap {_number(pair.overlap_km2)} km², {100 * pair.share:.0f} % of the smaller"
    if pair.joint_clear is not None:
        yield f"about {100 * pair.joint_clear:.0f} % jointly clear"
    if pair.days is not None:
        yield f"{pair.days:.0f} days apart, {pair.day_of_year_gap} days of the year"
    if left.tile and right.tile:
        yield f"same tile {left.tile}" if left.tile == right.tile else f"tiles {left.tile} and {right.tile}"
    if pair.same_orbit is not None:
        one, other = f"R{left.relative_orbit:03d}", f"R{right.relative_orbit:03d}"
        yield f"same relative orbit {one}" if pair.same_orbit else f"relative orbits {one} and {other}"
    if pair.mixed_levels or left.baseline != right.baseline:
        yield f"processed as {pair.processing}"
    if pair.refined != "unknown":
        yield {"both": "both refined", "one": "only one refined", "none": "neither refined"}[pair.refined]


def day_of_year(scene: Scene) -> int:
    """Number the day, 1 to 365, or 0 without a date; 29 February counts as the 28th, one number in every year."""
    time = scene.sensing_time
    return date(2001, time.month, min(time.day, 28) if time.month == 2 else time.day).timetuple().tm_yday if time else 0


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ") if value >= 10 else f"{value:.2g}"
