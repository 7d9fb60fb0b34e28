"""A second population of matches is another answer, not the end of a slope."""

from __future__ import annotations

import numpy as np
import pytest
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin

from sentinel_match.geometry.robust import fit
from sentinel_match.matching.consensus import COARSE_TOLERANCE, other_population
from sentinel_match.matching.correspondences import Correspondences
from sentinel_match.raster.raster import Raster

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


@pytest.mark.parametrize("abrupt", [False, True])
def test_what_part_of_the_matches_says_instead_is_named_but_not_where_the_ground_goes_there_by_and_by(
    abrupt: bool,
) -> None:
    x, y = np.meshgrid(np.arange(10, SIDE, 16.0), np.arange(10, SIDE, 16.0))
    at = np.column_stack([x.ravel(), y.ravel()])
    dx = np.where(at[:, 0] > 0.7 * SIDE, 5.0, 0.0) if abrupt else 7 * (at[:, 0] / SIDE) ** 3
    image = Raster(
        np.zeros((SIDE, SIDE), np.float32),
        np.ones((SIDE, SIDE), bool),
        GeoBox((SIDE, SIDE), from_origin(400_000, 5_000_000, GSD, GSD), "EPSG:32633"),
    )
    other = other_population(matches(dx, at), image, image, 0)
    assert (other is not None) == abrupt
    if other is not None:
        assert other.dx_m == pytest.approx(50, abs=1)
        assert other.share == pytest.approx(0.3, abs=0.05)
