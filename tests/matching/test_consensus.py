"""A second population of matches is another answer, not the end of a slope."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin

from sentinel_match.geometry.robust import fit
from sentinel_match.matching.consensus import COARSE_TOLERANCE, other_population
from sentinel_match.matching.correspondences import Correspondences
from sentinel_match.raster.raster import Raster

if TYPE_CHECKING:
    from collections.abc import Callable

SIDE, GSD = 600, 10.0


def matches(dx: np.ndarray, at: np.ndarray) -> Correspondences:
    """Matches at places that moved right by so many pixels, under the shift of most of them."""
    rng = np.random.default_rng(0)
    right = at + np.column_stack([dx, 0 * dx]) + rng.normal(0, 0.1, at.shape)
    metres = [np.array([400_000, 5_000_000]) + p * GSD * (1, -1) for p in (at, right)]
    most = np.abs(dx - np.median(dx)) < COARSE_TOLERANCE
    model = fit("translation", metres[0][most], metres[1][most])
    return Correspondences(
        at, right, np.ones(len(at)), np.full(len(at), "phase"), (at, right), most, model, independence=16.0, radius=30.0
    )


def slope(x: np.ndarray) -> np.ndarray:
    return 7 * (x / SIDE) ** 3


def step(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0.7 * SIDE, 5.0, 0.0)


def follows(displacement: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """Move metres as the ground does that lies at so many pixels right of the left rim."""

    def moved(points: np.ndarray) -> np.ndarray:
        dx = displacement((points[:, 0] - 400_000) / GSD)
        return points + np.column_stack([dx * GSD, 0 * dx])

    return moved


@pytest.mark.parametrize(
    ("ground", "fitted", "wrong", "named"),
    [
        (slope, slope, 0.0, False),
        (step, lambda x: 0 * x, 0.0, True),
        (step, lambda x: 0 * x, 0.4, True),
        (step, step, 0.0, True),
    ],
    ids=["a slope", "two parts", "two parts and matches that are wrong", "two parts that a field follows"],
)
def test_what_part_of_the_matches_says_instead_is_named_but_not_the_end_of_a_slope_that_is_followed(
    ground: Callable[[np.ndarray], np.ndarray],
    fitted: Callable[[np.ndarray], np.ndarray],
    wrong: float,
    named: bool,
) -> None:
    x, y = np.meshgrid(np.arange(10, SIDE, 16.0), np.arange(10, SIDE, 16.0))
    at = np.column_stack([x.ravel(), y.ravel()])
    rng = np.random.default_rng(1)
    dx = ground(at[:, 0])
    dx = np.where(rng.random(len(dx)) < wrong, rng.uniform(-20, 20, len(dx)), dx)
    image = Raster(
        np.zeros((SIDE, SIDE), np.float32),
        np.ones((SIDE, SIDE), bool),
        GeoBox((SIDE, SIDE), from_origin(400_000, 5_000_000, GSD, GSD), "EPSG:32633"),
    )
    other = other_population(matches(dx, at), image, image, follows(fitted), 0)
    assert (other is not None) == named
    if other is not None:
        assert other.dx_m == pytest.approx(50, abs=2)
        assert other.share == pytest.approx(0.3 * (1 - wrong), abs=0.05)
