"""The uncertainty of a transform on a lattice: small in a file, and the same when it is read back."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sentinel_match.geometry.uncertainty import Levels, Uncertainty
from sentinel_match.schema import Unfit


def lattice(rows: int, cols: int, step: float = 140.0) -> NDArray[np.float64]:
    x, y = np.meshgrid(300_000 + step * np.arange(cols), 5_900_000 - step * np.arange(rows))
    return np.stack([x, y], -1)


def test_levels_of_a_factor_of_a_thousand_are_kept_within_two_percent_and_gaps_stay_gaps() -> None:
    values = np.geomspace(0.02, 20, 5000)
    values[::7] = np.nan
    levels = Levels.of(values)
    assert len(levels.codes) < 5000
    again = levels.values(5000)
    assert np.array_equal(np.isnan(values), np.isnan(again))
    assert np.nanmax(np.abs(again / values - 1)) < 0.02
    assert np.isnan(Levels.of(np.full(4, np.nan)).values(4)).all()


@pytest.mark.parametrize(("codes", "reason"), [("%", "cannot be read"), ("AAAA", "cannot be read"), ("", "0 levels")])
def test_codes_that_are_none_are_told(codes: str, reason: str) -> None:
    with pytest.raises(Unfit, match=reason):
        Levels(1.0, 2.0, codes).values(5)
    with pytest.raises(Unfit, match="6 levels, and must be 5"):
        Levels(1.0, 2.0, Levels.of(np.ones(2_000_000)).codes).values(5)


def test_nodes_lie_where_they_were_and_each_place_has_the_value_of_the_next_one() -> None:
    at = lattice(20, 30)
    sigma = np.linspace(0.1, 1, 600).reshape(20, 30)
    kept = Uncertainty.of(at, sigma, 10 * sigma)
    assert np.allclose(at, kept.nodes)
    places = at[[3, 7], [5, 11]] + (60, -60)
    found, support = kept.at(places)
    assert np.allclose(sigma[[3, 7], [5, 11]], found, rtol=0.01)
    assert np.allclose(10 * found, support, rtol=0.02)
    assert np.isnan(kept.at(at[:1, 0] - (200, 0))[0]).all()


def test_of_points_alone_it_grows_beyond_half_a_block_from_the_next_one() -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.uniform(0, 4000, (400, 2)), [[16_000.0, 16_000.0]]])
    around = Uncertainty.around(points, 0.5, 140.0)
    near, far = around.at(np.array([[2000.0, 2000.0], [10_000.0, 10_000.0]]))[0]
    assert 0.5 == pytest.approx(near, rel=0.02)
    assert far > 3
