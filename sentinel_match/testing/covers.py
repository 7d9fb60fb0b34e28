"""What grows and lies on the invented ground, and how bright each season shows it in each Sentinel-2 band.

The spectra are invented too, after the common shapes of spectral libraries (vegetation's red edge, soils that rise with
wavelength, snow dark in the short-wave infrared); they are no reference for anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from sentinel_match.products.metadata import BANDS_BY_ID

if TYPE_CHECKING:
    from numpy.typing import NDArray

Season = Literal["winter", "spring", "summer", "autumn"]
SEASONS: tuple[Season, ...] = ("winter", "spring", "summer", "autumn")

RESOLUTION = dict(zip(BANDS_BY_ID, (60, 10, 10, 10, 20, 20, 20, 10, 20, 60, 60, 20, 20), strict=True))
"""Native ground sampling distance by band, metres."""

SUN_ELEVATION: dict[Season, float] = {"winter": 16.0, "spring": 47.0, "summer": 59.0, "autumn": 31.0}
"""Degrees at about 51° N at the hour Sentinel-2 passes."""
SUN_AZIMUTH = 162.0

_MATERIALS = {
    #         B01   B02   B03   B04   B05  B06  B07  B08  B8A  B09  B10    B11  B12
    "green": (0.03, 0.035, 0.07, 0.04, 0.10, 0.3, 0.38, 0.42, 0.44, 0.40, 0.002, 0.20, 0.09),
    "soil": (0.08, 0.10, 0.14, 0.18, 0.20, 0.22, 0.24, 0.26, 0.28, 0.27, 0.003, 0.36, 0.32),
    "straw": (0.07, 0.10, 0.17, 0.25, 0.29, 0.32, 0.34, 0.37, 0.39, 0.37, 0.003, 0.43, 0.31),
    "needles": (0.02, 0.022, 0.035, 0.022, 0.05, 0.16, 0.2, 0.22, 0.24, 0.22, 0.001, 0.10, 0.045),
    "twigs": (0.04, 0.05, 0.07, 0.085, 0.10, 0.13, 0.15, 0.17, 0.19, 0.18, 0.001, 0.20, 0.14),
    "water": (0.06, 0.055, 0.045, 0.03, 0.02, 0.015, 0.015, 0.012, 0.01, 0.01, 0.001, 0.006, 0.004),
    "roofs": (0.14, 0.16, 0.19, 0.23, 0.24, 0.25, 0.26, 0.28, 0.29, 0.28, 0.003, 0.33, 0.30),
    "asphalt": (0.09, 0.10, 0.11, 0.12, 0.12, 0.13, 0.13, 0.14, 0.14, 0.14, 0.002, 0.17, 0.16),
    "gravel": (0.15, 0.18, 0.23, 0.27, 0.29, 0.3, 0.31, 0.33, 0.34, 0.32, 0.003, 0.4, 0.37),
    "snow": (0.80, 0.81, 0.80, 0.78, 0.77, 0.76, 0.75, 0.73, 0.70, 0.60, 0.01, 0.08, 0.06),
    "cloud": (0.62, 0.63, 0.63, 0.64, 0.65, 0.66, 0.66, 0.67, 0.67, 0.50, 0.12, 0.50, 0.38),
}


@dataclass(frozen=True, eq=False)
class Cover:
    """One kind of ground through the year."""

    name: str
    mix: tuple[dict[str, float], dict[str, float], dict[str, float], dict[str, float]]
    """Share of each spectrum in winter (under the snow), spring, summer, autumn."""
    snow: float
    """Share of it that snow hides when the ground around is white."""


def _crop(name: str, *calendar: tuple[float, float]) -> Cover:
    """Make a crop of its (green, straw) shares in winter, spring, summer and autumn; the rest is bare soil."""
    winter, spring, summer, autumn = ({"green": g, "straw": s, "soil": 1 - g - s} for g, s in calendar)
    return Cover(name, (winter, spring, summer, autumn), snow=0.93)


CROPS = (
    _crop("winter wheat", (0.3, 0.0), (0.95, 0.0), (0.0, 0.95), (0.1, 0.1)),
    _crop("barley", (0.35, 0.0), (0.85, 0.0), (0.1, 0.75), (0.5, 0.1)),
    _crop("rape", (0.6, 0.0), (0.8, 0.1), (0.05, 0.6), (0.7, 0.0)),
    _crop("maize", (0.0, 0.3), (0.0, 0.1), (0.95, 0.0), (0.1, 0.7)),
    _crop("beet", (0.0, 0.0), (0.1, 0.0), (0.95, 0.0), (0.8, 0.0)),
    _crop("sunflower", (0.0, 0.0), (0.05, 0.05), (0.75, 0.1), (0.0, 0.5)),
    _crop("alfalfa", (0.4, 0.2), (0.95, 0.0), (0.45, 0.4), (0.9, 0.05)),
    _crop("meadow", (0.5, 0.35), (0.9, 0.05), (0.65, 0.3), (0.75, 0.2)),
    _crop("fallow", (0.1, 0.4), (0.35, 0.3), (0.25, 0.55), (0.3, 0.4)),
)
CROP_SHARES = (0.2, 0.1, 0.13, 0.17, 0.09, 0.07, 0.06, 0.12, 0.06)


def _constant(name: str, snow: float, **mix: float) -> Cover:
    """Make a cover that is the same all year."""
    return Cover(name, (mix, mix, mix, mix), snow)


FIELD_MARGIN = Cover(
    "field margin",
    (
        {"twigs": 0.8, "straw": 0.2},
        {"green": 0.7, "twigs": 0.3},
        {"green": 0.5, "twigs": 0.3, "straw": 0.2},
        {"green": 0.4, "twigs": 0.6},
    ),
    snow=0.45,
)
FOREST = Cover(
    "forest",
    (
        {"needles": 0.55, "twigs": 0.45},
        {"needles": 0.6, "green": 0.3, "twigs": 0.1},
        {"needles": 0.7, "green": 0.3},
        {"needles": 0.6, "twigs": 0.25, "green": 0.15},
    ),
    snow=0.15,
)
ROAD = _constant("road", 0.25, gravel=0.8, asphalt=0.2)
HIGHWAY = _constant("highway", 0.05, asphalt=0.8, gravel=0.2)
TOWN = (_constant("roofs", 0.45, roofs=1.0), _constant("yards", 0.6, asphalt=0.5, twigs=0.25, green=0.25))
WATER = _constant("water", 0.0, water=1.0)


def spectrum(name: str, band: str) -> float:
    """Look up the reflectance of a pure spectrum (``snow``, ``cloud``, …) in a band."""
    return _MATERIALS[name][BANDS_BY_ID.index(band)]


@cache
def reflectance(cover: Cover, season: Season, band: str, snow: bool) -> float:
    """Mix the reflectance of a cover, with the season's snow lying on it or not."""
    bare = sum(share * spectrum(name, band) for name, share in cover.mix[SEASONS.index(season)].items())
    hidden = cover.snow if snow else 0.0
    return bare + hidden * (spectrum("snow", band) - bare)


def palette(covers: tuple[Cover, ...], season: Season, band: str, snow: bool) -> NDArray[np.float32]:
    """List the reflectance of each cover."""
    return np.array([reflectance(c, season, band, snow) for c in covers], np.float32)


def scene_class(cover: Cover, season: Season, snow: bool) -> int:
    """Classify a cover as SCL does: 4 vegetation, 5 not vegetated, 6 water, 11 snow."""
    mix = cover.mix[SEASONS.index(season)]
    if cover is WATER:
        return 6
    if snow and cover.snow > 0.5:
        return 11
    return 4 if mix.get("green", 0) + mix.get("needles", 0) > 0.4 else 5
