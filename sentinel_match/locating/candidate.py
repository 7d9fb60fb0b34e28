"""A scene that may show a picture: how the picture lies on it, and how probable that is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

if TYPE_CHECKING:
    from sentinel_match.locating.overview import Overview
    from sentinel_match.matching.sweep import Sighting
    from sentinel_match.products.scene import Scene


MISSED_SHARE = 0.2
"""Of pairs of same ground that look no better than unrelated ones: what is not seen may be there all the same."""


def probability(log_nfa: float, prior: float) -> float:
    """Turn the log10 of a number of false alarms into a probability that it is the same ground.

    Whatever same ground looks like, the odds against it are no less than -e p ln p, where p is the chance of at least
    one false alarm (Sellke, Bayarri & Berger 2001, "Calibration of p Values for Testing Precise Null Hypotheses", The
    American Statistician 55): so this is the most that a look can say for it, not a safe bound. :data:`MISSED_SHARE` of
    same ground looks like any other.

    Args:
        log_nfa: of one look at one pair; infinite where there is nothing to see, which tells nothing.
        prior: probability before the look.
    """
    if log_nfa == math.inf:
        return prior
    p = -math.expm1(-(10.0 ** min(log_nfa, 2.0)))
    against = -math.e * p * math.log(p) if 0 < p < 1 / math.e else float(p > 0)
    times = MISSED_SHARE + (1 - MISSED_SHARE) * (p < 1 / math.e) / max(against, 1e-300)
    return prior * times / (prior * times + 1 - prior)


@dataclass(frozen=True, eq=False)
class Candidate:
    """One scene, and how a picture lies on it as far as the search can tell."""

    scene: Scene
    expected: float
    """Log10 of the number of scenes of an archive of unrelated ground, as large, that would look as good."""
    probability: float
    """That the scene shows the picture's ground, where half of all pictures are shown by none."""
    grid: GeoBox
    """Of the picture: its pixels to metres of a CRS of the scene, turned."""
    share: float
    """Share of the smaller one's ground that the other one shows."""
    negative: bool
    """Whether dark and bright are exchanged."""

    @staticmethod
    def of(
        scene: Scene, there: Overview, size: tuple[int, int], sighting: Sighting, expected: float, probability: float
    ) -> Candidate:
        """Make it of what a sweep of a picture over a scene's overview says."""
        (a, b, c), (d, e, f), _ = np.linalg.inv(sighting.matrix).tolist()
        grid = GeoBox((size[1], size[0]), there.affine * Affine(a, b, c, d, e, f), there.crs)
        return Candidate(scene, expected, probability, grid, float(sighting.share), sighting.negative)

    @property
    def angle(self) -> float:
        """Compute the degrees, -180 to 180, by which the picture is turned clockwise against a map, north up."""
        a = self.grid.affine
        return math.degrees(math.atan2(a.b + a.d, a.a - a.e))

    @property
    def pixel_m(self) -> float:
        """Compute the metres per pixel of the picture."""
        return math.sqrt(abs(self.grid.affine.determinant))

    @property
    def center(self) -> tuple[float, float]:
        """Locate the middle of the picture: longitude and latitude; infinite where that is nowhere on Earth."""
        from pyproj import Transformer

        rows, cols = self.grid.shape
        to_degrees = Transformer.from_crs(str(self.grid.crs), "EPSG:4326", always_xy=True)
        lon, lat = to_degrees.transform(*(self.grid.affine * (cols / 2, rows / 2)))
        return float(lon), float(lat)

    def to_dict(self) -> dict[str, Any]:
        """Write it as records have it, JSON-able."""
        lon, lat = (round(degrees, 6) if math.isfinite(degrees) else None for degrees in self.center)
        return {
            "scene": self.scene.id,
            "path": str(self.scene.path),
            "date": self.scene.sensing_time.isoformat() if self.scene.sensing_time else None,
            "probability": self.probability,
            "log10_false_alarms": round(self.expected, 2) if math.isfinite(self.expected) else None,
            "lon": lon,
            "lat": lat,
            "angle_deg": round(self.angle, 2),
            "pixel_m": float(f"{self.pixel_m:.4g}"),
            "shared": round(self.share, 3),
            "negative": self.negative,
            "affine": list(self.grid.affine)[:6],
            "crs": str(self.grid.crs),
        }
