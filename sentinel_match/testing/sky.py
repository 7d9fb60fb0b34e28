"""The clouds of one date: a fractal field over the ground, soft-edged, with the shadows a low sun throws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sentinel_match.testing import covers
from sentinel_match.testing.noise import Float, Noise, axes, octaves, smoothstep, stream
from sentinel_match.testing.swath import inside

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox
    from shapely.geometry import Polygon

    from sentinel_match.testing.covers import Season

THIN, MEDIUM, THICK = 0.104, 0.35, 0.75
"""Opacity from which a pixel counts as thin cirrus (SCL 10), medium (8) and high probability (9) cloud."""
CLOUD_HEIGHT = 900.0
"""Metres of the clouds above the ground; with the sun 16° high their shadows fall 3 km away."""


@dataclass(frozen=True)
class Sky:
    """What of a date hides the ground: drawn by ``seed``, hiding a given share of it."""

    seed: int = 0
    cover: float = 0.0
    """Share (0 to 1) of the visible ground under cloud, the thin edges of the clouds included."""

    def over(self, geobox: GeoBox, season: Season, swath: Polygon | None = None) -> Clouds:
        """Place clouds over some ground, as many as ``cover`` asks for within ``swath``."""
        noise = octaves(stream(self.seed, "sky"), 120, 3840, slope=1.5)
        coarse = geobox.zoom_out(max(geobox.shape) // 500 + 1)  # the clouds are smooth: few samples tell their share
        values = noise.at(*axes(coarse))[inside(coarse, swath)]
        level = float(np.quantile(values, 1 - self.cover)) if values.size and 0 < self.cover < 1 else 0.0
        azimuth, elevation = np.radians(covers.SUN_AZIMUTH + 180), np.radians(covers.SUN_ELEVATION[season])
        length = CLOUD_HEIGHT / np.tan(elevation)
        return Clouds(noise, self.cover, level, (float(np.sin(azimuth) * length), float(np.cos(azimuth) * length)))


@dataclass(frozen=True)
class Clouds:
    """Clouds in their place: functions of position, like the ground, but not displaced with it."""

    noise: Noise
    cover: float
    level: float
    """Value of the noise at the edge of a cloud."""
    shadow: tuple[float, float]
    """Metres east and north from a cloud to its shadow."""

    def opacity(self, geobox: GeoBox, move: tuple[float, float] = (0.0, 0.0)) -> Float:
        """Compute how much of each pixel's light comes from the clouds, (rows, cols), 0 to 1, moved by some metres."""
        if self.cover <= 0 or self.cover >= 1:
            return np.full(geobox.shape, float(self.cover >= 1), np.float32)
        x, y = axes(geobox)
        return smoothstep(self.noise.at(x - move[0], y - move[1]), self.level - 0.1, self.level + 0.4)

    def hide(self, image: Float, geobox: GeoBox, band: str) -> Float:
        """Show an image of the ground as it is seen through these clouds."""
        if self.cover <= 0:
            return image
        opacity = self.opacity(geobox)
        billows = 1 + 0.12 * self.noise.at(*axes(geobox))
        lit = image * (1 - 0.65 * self.opacity(geobox, self.shadow) * (1 - opacity))
        return lit + opacity * (covers.spectrum("cloud", band) * billows - lit)

    def classify(self, classes: NDArray[np.uint8], geobox: GeoBox) -> NDArray[np.uint8]:
        """Write the clouds' own classes over scene classes: 3 shadow, 10 thin cirrus, 8 and 9 cloud."""
        opacity = self.opacity(geobox)
        unclouded = np.where(self.opacity(geobox, self.shadow) > MEDIUM, np.uint8(3), classes)
        cloud = (np.uint8(9), np.uint8(8), np.uint8(10))
        return np.select([opacity >= THICK, opacity >= MEDIUM, opacity >= THIN], cloud, unclouded)
