"""The proof: errors at check points, a second estimator, the verdict, and figures that a user requires."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from sentinel_match.accuracy import checkpoints, ecc, requirement
from sentinel_match.geometry import transform
from sentinel_match.geometry.transform import Transform
from sentinel_match.opinions import SecondEstimate
from sentinel_match.raster.raster import Raster
from sentinel_match.summary import HoldOut, ShiftStatistics
from sentinel_match.testing import Landscape
from sentinel_match.tiepoints import TiePoints

SIDE, GSD = 640, 10.0
GROUND = Landscape(seed=7)


def image(east: float = 0.0, north: float = 0.0) -> Raster:
    """The invented ground, shown some metres off."""
    place = GeoBox((SIDE, SIDE), Affine(GSD, 0, 399960, 0, -GSD, 5700000), "EPSG:32633")
    pixels = GROUND.render(place, "summer", "B04", displacement=(east, north))
    low, high = np.percentile(pixels, (0.5, 99.5))
    return Raster(((pixels - low) / (high - low)).clip(0, 1).astype(np.float32), np.ones(place.shape, bool), place)


def shifted(east: float, north: float) -> Transform:
    matrix = np.eye(3)
    matrix[:2, 2] = east, north
    return Transform(transform.PlaneTransform("translation", matrix, np.zeros(2)))


def errors(n: int = 4000, sigma: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(0, sigma, (n, 2)), rng.integers(0, 64, n)


def test_circular_errors_of_a_normal_distribution_are_its_own() -> None:
    error, block = errors()
    said = checkpoints.held_out(error, np.ones(len(error), bool), block)
    assert abs(said.ce90 - 2.146) < 0.08  # sqrt(-2 ln 0.1)
    assert abs(said.ce95 - 2.448) < 0.08
    assert abs(said.rmse - np.sqrt(2)) < 0.05
    assert max(abs(said.bias_x), abs(said.bias_y)) < 0.06
    assert said.ce95_interval[0] < said.ce95 < said.ce95_interval[1]


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    held = 0
    for seed in range(100):
        error, block = errors(800, seed=seed)
        low, high = checkpoints.held_out(error, np.ones(len(error), bool), block, seed).ce90_interval
        held += low <= 2.146 <= high
    assert held >= 88


def test_neighbours_that_err_together_widen_the_interval() -> None:
    error, block = errors()
    together = error + np.random.default_rng(1).normal(0, 1, (64, 2))[block]
    wide, narrow = (
        np.ptp(checkpoints.held_out(e, np.ones(len(e), bool), block).ce90_interval) for e in (together, error)
    )
    assert wide > 2 * narrow


def test_gross_errors_are_counted_and_not_left_out() -> None:
    error, block = errors()
    error[:400] += 30
    said = checkpoints.held_out(error, np.arange(4000) >= 400, block)
    assert 0.1 == said.gross_share
    assert said.ce95 > 25
    assert said.rmse < 1.6


def test_without_check_points_there_is_no_figure() -> None:
    nothing = np.full((5, 2), np.nan)
    assert checkpoints.held_out(nothing, np.ones(5, bool), np.zeros(5, int)) is None


@pytest.mark.parametrize(("east", "north"), [(0.0, 0.0), (6.4, 18.1), (-13.7, 4.2)])
def test_the_second_estimator_sees_the_shift_before_and_nothing_after(east: float, north: float) -> None:
    said = ecc.second_estimate(image(), image(east, north), shifted(east, north), 0.0)
    assert np.allclose([said.before_dx_m, said.before_dy_m], [east, north], atol=0.5)
    assert np.allclose([said.after_dx_m, said.after_dy_m], 0, atol=0.5)
    assert said.agrees


def test_the_second_estimator_contradicts_a_wrong_model() -> None:
    said = ecc.second_estimate(image(), image(6.4, 18.1), shifted(6.4, 21.1), 0.0)
    assert not said.agrees
    assert abs(said.after_dy_m + 3) < 0.5


def test_the_second_estimator_has_no_answer_between_unlike_images() -> None:
    other = image()
    noise = np.random.default_rng(0).random(other.pixels.shape).astype(np.float32)
    said = ecc.second_estimate(image(), Raster(noise, other.valid, other.geobox), shifted(0, 0), 0.0)
    assert said.agrees is None
    assert said.answers < ecc.FEWEST_ANSWERS <= said.looks


def test_the_second_estimator_stays_off_masked_ground() -> None:
    one = image()
    hidden = Raster(one.pixels, np.zeros_like(one.valid), one.geobox)
    assert 0 == ecc.second_estimate(one, hidden, shifted(0, 0), 0.0).answers
    assert 0 == ecc.second_estimate(hidden, one, shifted(0, 0), 0.0).looks


def held(ce95: float, low: float, high: float) -> HoldOut:
    interval = (low, high)
    figures = {"ce90": ce95 * 0.9, "ce90_interval": interval, "ce95": ce95, "ce95_interval": interval}
    return HoldOut(points=100, gross_share=0.02, bias_x=0.0, bias_y=0.0, rmse=ce95 / 2, **figures)


@pytest.fixture(scope="module")
def statistics(ties: TiePoints) -> ShiftStatistics:
    own = {f.name: getattr(ties.summary, f.name) for f in fields(ShiftStatistics)}
    return replace(ShiftStatistics(**own), median_shift_m=19.3, inliers=500, km_cells=40, gsd_m=10.0)


def test_the_verdict_names_the_state_before_and_after_and_both_bounds(statistics: ShiftStatistics) -> None:
    said = requirement.verdict(statistics, held(1.5, 1.4, 1.6), None)
    assert "lie 19.30 m (1.93 px) apart" in said
    assert "95 % of unseen check points err less than 1.50 m (0.15 px)" in said
    assert "meets 0.3 px (Sentinel-2's own requirement) and 0.2 px" in said
    assert "misses" not in said


def test_a_bound_inside_the_interval_is_left_open_and_one_below_is_missed(statistics: ShiftStatistics) -> None:
    said = requirement.verdict(statistics, held(2.9, 2.7, 3.2), None)
    assert "may or may not meet 0.3 px" in said
    assert "misses 0.2 px" in said


def test_no_check_points_prove_nothing(statistics: ShiftStatistics) -> None:
    assert "prove a correction" in requirement.verdict(statistics, None, None)


def test_images_that_stay_untouched_are_told_in_one_sentence(statistics: ShiftStatistics) -> None:
    said = requirement.verdict(statistics, held(1.5, 1.4, 1.6), None, untouched="as was asked")
    assert "nothing is corrected, as was asked: 95 % of unseen check points differ by less than 1.50 m" in said
    assert "corrected, 95" not in said


def test_where_no_single_window_answers_nothing_is_met_and_what_is_not_known_is_said(
    statistics: ShiftStatistics,
) -> None:
    said = requirement.verdict(statistics, held(1.5, 1.4, 1.6), None, blind_below=1160)
    assert "meets" not in said
    assert "may or may not meet 0.3 px" in said
    assert said.endswith("no single window confirms it: displacement on less than 1160 m is not known")


def test_a_second_opinion_that_differs_is_in_the_verdict(statistics: ShiftStatistics) -> None:
    second = SecondEstimate(looks=9, answers=9, after_dx_m=0.1, after_dy_m=-3.0, agrees=False)
    few = replace(statistics, inliers=6)
    for points, proof in ((statistics, held(1.5, 1.4, 1.6)), (statistics, None), (few, held(1.5, 1.4, 1.6))):
        said = requirement.verdict(points, proof, second)
        assert said.startswith("doubtful: the images lie")
        assert said.endswith(", so nothing is promised")
        assert "a second estimator sees +0.10 m east, -3.00 m north remain in 9 windows" in said
        assert "meets" not in said


def test_what_surely_varies_beyond_a_promise_leaves_nothing_of_it(statistics: ShiftStatistics) -> None:
    second = SecondEstimate(looks=90, answers=60, after_dx_m=0.1, after_dy_m=0.2, scatter_m=5.0, least_scatter_m=4.0)
    for proof in (held(1.5, 1.4, 1.6), None):
        said = requirement.verdict(statistics, proof, second)
        assert "apart by the points, but a second estimator sees what remains vary by 5.00 m" in said
        assert said.endswith(", so nothing is promised")
    assert "doubtful" not in requirement.verdict(statistics, held(7.0, 6.5, 7.5), second)


def test_the_verdict_says_what_part_of_its_figure_is_an_allowance(statistics: ShiftStatistics) -> None:
    said = requirement.verdict(statistics, replace(held(1.5, 1.4, 1.6), allowance=0.6), None)
    assert "less than 1.50 m (0.15 px), 0.60 m of it to allow for coarse detail that lies elsewhere" in said


def test_what_nobody_confirms_and_what_hardly_any_ground_supports_meets_nothing(statistics: ShiftStatistics) -> None:
    silent = SecondEstimate(looks=16, answers=0)
    said = requirement.verdict(statistics, held(1.5, 1.4, 1.6), silent)
    assert "may or may not meet 0.3 px" in said
    assert "does not confirm it: the images are alike in 0 of its 16 windows" in said
    said = requirement.verdict(statistics, held(1.5, 1.4, 1.6), None, supported=0.4)
    assert "may or may not meet 0.3 px" in said
    assert "points support 40 % of the clear ground" in said
    assert ": meets 0.3 px" in requirement.verdict(statistics, held(1.5, 1.4, 1.6), None, supported=0.6)


@pytest.mark.parametrize(
    ("remains", "sigma", "promised", "beyond"),
    [(3.5, 0.1, 1.6, True), (3.5, 0.1, 3.6, False), (3.5, 0.6, 1.6, False), (2.8, 0.0, 0.0, False)],
)
def test_points_are_overruled_beyond_what_both_are_sure_of(
    remains: float, sigma: float, promised: float, beyond: bool
) -> None:
    second = SecondEstimate(
        looks=90, answers=60, after_dx_m=0.0, after_dy_m=-remains, sigma_dx_m=0.0, sigma_dy_m=sigma, agrees=False
    )
    assert beyond == second.overrules(promised, GSD)
    assert not replace(second, agrees=True).overrules(promised, GSD)


def test_the_second_estimator_bears_with_what_a_user_wants_to_remain() -> None:
    said = ecc.second_estimate(image(), image(6.4, 18.1), shifted(0, 0), 0.0, np.array([6.4, 18.1]))
    assert said.agrees
    assert np.allclose([said.after_dx_m, said.after_dy_m], [6.4, 18.1], atol=0.5)
    assert not ecc.second_estimate(image(), image(6.4, 18.1), shifted(0, 0), 0.0).agrees


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("CE90=3m", ""),
        ("ce95=0.3px", ""),
        ("CE95=0.2px", "CE95<=0.2px is required, and it is 0.25px"),
        ("RMSE=1m", "RMSE<=1m is required, and it is 1.25m"),
        ("GROSS=1%", "GROSS<=1% is required, and it is 2%"),
        ("POINTS=400", ""),
        ("POINTS=1000", "POINTS>=1000 is required, and it is 500"),
        ("COVERAGE=50%", "COVERAGE>=50% is required, and there is no such figure: the points do not suffice"),
    ],
)
def test_a_requirement_is_met_or_says_why_not(text: str, said: str, ties: TiePoints) -> None:
    figures = {"hold_out": held(2.5, 2.4, 2.6), "gsd_m": 10.0, "inliers": 500, "comparison": None}
    assert said == requirement.requirement(text).failed(replace(ties.summary, **figures))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("CE90", "is no requirement: write one of CE90"),
        ("SHIFT=3m", "is no requirement"),
        ("CE90=3", "CE90 is in m or px"),
        ("POINTS=3m", "POINTS is in plain numbers"),
        ("CE90=1.2.3m", "1.2.3 is no number"),
    ],
)
def test_what_is_no_requirement_is_refused_in_words(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        requirement.requirement(text)


def test_one_far_outlier_leaves_the_interval_around_its_figure() -> None:
    rng = np.random.default_rng(0)
    error = rng.normal(0, 0.5, (400, 2))
    error[7] = 500_000, 0
    held = checkpoints.held_out(error, np.hypot(*error.T) < 10, np.arange(400) // 16)
    for name in ("ce90", "ce95"):
        low, high = getattr(held, f"{name}_interval")
        assert low <= getattr(held, name) <= high
        assert high < 3
