"""What is known of a picture before it is located."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np
import shapely
import shapely.affinity

from sentinel_match import schema
from sentinel_match.geometry.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

KM_PER_DEGREE = 111.2
"""Of latitude."""


@dataclass(frozen=True)
class Whereabouts:
    """What is known of a picture before it is located.

    Examples:
        >>> from sentinel_match import Whereabouts, locate
        >>> known = Whereabouts(near=(15.0, 52.0, 300.0), pixel=(5.0, 40.0))
        >>> locate("picture.png", "archive", known).found
        True
    """

    band: str | None = None
    """Of the scenes; default the best that each has."""
    picture_band: str | None = None
    """Of the picture; default the mean of its colours."""
    bbox: tuple[float, float, float, float] | None = None
    """West, south, east, north, degrees: only scenes that meet it are looked at; west is larger than east where it
    crosses the antimeridian."""
    near: tuple[float, float, float] | None = None
    """Longitude, latitude and kilometres around, likewise."""
    pixel: tuple[float, float] | None = None
    """Least and largest metres per pixel of the picture; default any that make it a fifth to thrice as long
    as a scene."""
    model: str | None = None
    """Kind of the transform that is measured; default the simplest that predicts unseen ground as well as any."""

    def __post_init__(self) -> None:
        """Fail now at what cannot be used.

        Raises:
            TypeError, ValueError: a value is none that can be known of a picture.
        """
        schema.check_fields(self, _KINDS)

    def region(self) -> shapely.Geometry | None:
        """Draw where the picture may be, in degrees; ``None`` for anywhere."""
        if self.bbox is not None:
            west, south, east, north = self.bbox
            region = shapely.box(west, south, east + 360 * (east < west), north)
        elif self.near is not None:
            lon, lat, km = self.near
            high = km / KM_PER_DEGREE
            wide = high / max(np.cos(np.radians(lat)), 0.01)
            region = shapely.affinity.scale(shapely.Point(lon, lat).buffer(1.0), wide, high)
        else:
            return None
        # Footprints run on past the antimeridian
        return shapely.union_all([shapely.affinity.translate(region, turn) for turn in (-360, 0, 360)])


def _numbers(count: int, what: str, is_usable: Callable[..., bool]) -> schema.ArgumentKind:
    def fits(value: Sequence[float]) -> bool:
        is_known = len(value) == count and all(isinstance(v, Real) and np.isfinite(v) for v in value)
        return is_known and is_usable(*value)

    return schema.ArgumentKind((tuple, list), what, fits, what).or_none()


def _is_box(west: float, south: float, east: float, north: float) -> bool:
    return max(abs(west), abs(east)) <= 180 and -90 <= south < north <= 90


def _is_circle(lon: float, lat: float, km: float) -> bool:
    return abs(lon) <= 180 and abs(lat) <= 90 and km > 0


_KINDS = {
    "band": schema.ANY_WORD.or_none(),
    "picture_band": schema.ANY_WORD.or_none(),
    "bbox": _numbers(4, "west, south, east and north in degrees, south below north", _is_box),
    "near": _numbers(3, "longitude, latitude in degrees, and kilometres above 0", _is_circle),
    "pixel": _numbers(
        2, "the least and the largest metres per pixel, above 0 and in this order", lambda low, high: 0 < low <= high
    ),
    "model": schema.one_of(KINDS).or_none(),
}
