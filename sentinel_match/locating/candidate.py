"""A scene that may show a picture: how the picture lies on it, and how probable that is."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

if TYPE_CHECKING:
    from sentinel_match.locating.overview import Overview
    from sentinel_match.matching.sweep import Sighting
    from sentinel_match.matching.view import View
    from sentinel_match.products.scene import Scene


MISSED_SHARE = 0.2
"""Of pairs of same ground that look no better than unrelated ones: what is not seen may be there all the same."""
SEEN_SCALE = 350.0
"""Natural logarithm of the rarity that same ground has where it is seen, in the middle: 80 pairs of two seasons, of the
eleven places from which the distribution over unrelated ground was measured."""


def probability(log_nfa: float, prior: float) -> float:
    """Turn the log10 of a number of false alarms into a probability that it is the same ground.

    By Bayes' rule: over unrelated ground the rarity of a sweep's best has a Gumbel distribution; over same ground it
    spreads over hundreds (an exponential distribution), but for :data:`MISSED_SHARE` of it, which looks like any other.

    Args:
        log_nfa: of one look at one pair; infinite where there is nothing to see, which tells nothing.
        prior: probability before the look.
    """
    if log_nfa == math.inf:
        return prior
    rarity = -log_nfa * math.log(10)
    times = MISSED_SHARE
    if rarity > 0:
        rarity = max(rarity, 2 / SEEN_SCALE)  # below it the ratio falls, by less than it is known to
        log_ratio = rarity + math.exp(-rarity) - rarity / SEEN_SCALE - math.log(SEEN_SCALE)
        times += (1 - MISSED_SHARE) * math.exp(min(log_ratio, 600.0))
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

    def through(self, view: View) -> Candidate:
        """Return the same of the picture itself, of which a view was searched."""
        to_view = np.linalg.inv(view.matrix)
        cols, rows = (round(n) for n in (view.matrix @ [*view.valid.shape[::-1], 1.0])[:2])
        grid = GeoBox((rows, cols), self.grid.affine * Affine(*to_view[:2].ravel().tolist()), self.grid.crs)
        return replace(self, grid=grid)

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
