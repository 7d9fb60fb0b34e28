"""Robust models and probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel_match.geometry import calibration, transform
from sentinel_match.geometry.chance import ACCEPTED_CHANCE, agreement, by_chance
from sentinel_match.geometry.kinds import MINIMAL
from sentinel_match.geometry.robust import PointPairs, error_of_median, fit, nmad, robust_fit

ORIGIN = np.array([399_960.0, 5_800_020.0])


def points(n: int, seed: int = 0, side: float = 20_000.0) -> np.ndarray:
    return ORIGIN + np.random.default_rng(seed).uniform(0, side, (n, 2))


TRUTH = {
    "translation": np.array([[1, 0, 6.4], [0, 1, 18.1], [0, 0, 1]]),
    "similarity": np.array([[1.0001, -2e-4, 6.4], [2e-4, 1.0001, 18.1], [0, 0, 1]]),
    "affine": np.array([[1.0002, 1e-4, 6.4], [-3e-4, 0.9999, 18.1], [0, 0, 1]]),
    "homography": np.array([[1.0002, 1e-4, 6.4], [-3e-4, 0.9999, 18.1], [1e-9, -2e-9, 1]]),
}


def moved(kind: str, left: np.ndarray) -> np.ndarray:
    return transform.PlaneTransform(kind, TRUTH[kind], ORIGIN)(left)


@pytest.mark.parametrize("kind", MINIMAL)
def test_exact_points_give_the_exact_model(kind: str) -> None:
    left = points(40)
    model = fit(kind, left, moved(kind, left))
    fresh = points(100, seed=9)
    assert np.abs(model(fresh) - moved(kind, fresh)).max() < 1e-5


@pytest.mark.parametrize("kind", MINIMAL)
def test_half_of_the_points_wrong_changes_nothing(kind: str) -> None:
    rng = np.random.default_rng(3)
    left = points(600)
    right = moved(kind, left) + rng.normal(0, 1.0, left.shape)
    right[::2] += rng.uniform(-600, 600, right[::2].shape)
    model = robust_fit(kind, PointPairs(left, right, np.full(600, 1.0)), tolerance=10)
    fresh = points(100, seed=9)
    assert np.hypot(*(model(fresh) - moved(kind, fresh)).T).max() < 1.5


def test_the_same_seed_gives_the_same_model() -> None:
    left = points(200)
    right = left + np.random.default_rng(1).normal(0, 40, left.shape)
    first, second = (
        robust_fit("affine", PointPairs(left, right, np.ones(200)), tolerance=30, seed=5) for _ in range(2)
    )
    assert first.matrix.tolist() == second.matrix.tolist()


@settings(deadline=None, max_examples=25)
@given(st.floats(-50, 50), st.floats(-50, 50), st.sampled_from(sorted(MINIMAL)))
def test_every_model_contains_the_translations(dx: float, dy: float, kind: str) -> None:
    left = points(30)
    model = fit(kind, left, left + (dx, dy))
    assert np.allclose(model.shift(points(5, seed=2)), (dx, dy), atol=1e-5)


@pytest.mark.parametrize("kind", MINIMAL)
def test_too_few_points_are_refused(kind: str) -> None:
    few = points(MINIMAL[kind] - 1)
    with pytest.raises(ValueError, match="points are too few for the model"):
        fit(kind, few, few)
    with pytest.raises(ValueError, match="points are too few for the model"):
        robust_fit(kind, PointPairs(few, few, np.ones(len(few))), tolerance=1)


def test_points_on_one_line_determine_no_affine_model() -> None:
    line = ORIGIN + np.linspace(0, 1000, 20)[:, None] * (1, 2)
    with pytest.raises(ValueError, match="do not determine"):
        fit("affine", line, line)


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(KeyError):
        fit("spline", points(9), points(9))


def test_unrelated_points_agree_no_more_than_chance() -> None:
    rng, left = np.random.default_rng(100), points(300)
    right = left + rng.uniform(-2000, 2000, left.shape)
    for kind in ("translation", "similarity", "affine"):
        model = robust_fit(kind, PointPairs(left, right, np.full(300, 10.0)), tolerance=30)
        _, chance = agreement(left, right, model, 30, 2000)
        assert chance > ACCEPTED_CHANCE, kind


def test_a_few_true_matches_among_many_false_are_more_than_chance() -> None:
    rng, left = np.random.default_rng(100), points(300)
    right = left + rng.uniform(-2000, 2000, left.shape)
    right[:30] = left[:30] + (6, 18) + rng.normal(0, 5, (30, 2))
    model = robust_fit("translation", PointPairs(left, right, np.full(300, 10.0)), tolerance=30)
    count, chance = agreement(left, right, model, 30, 2000)
    assert 29 <= count <= 34
    assert chance < 1e-6


def test_probability_is_the_share_that_is_right() -> None:
    rng = np.random.default_rng(4)
    n, reach, tolerance = 8000, 40.0, 5.0
    quality = rng.uniform(0, 1, n)
    right = rng.uniform(0, 1, n) < quality  # the better the peak, the more often it is the true one
    residual = np.where(right, np.abs(rng.normal(0, 1.2, n)), reach * np.sqrt(rng.uniform(0, 1, n)))
    score = calibration.probability(residual, quality, tolerance, reach)
    inside = residual <= tolerance
    for low, high in ((0.5, 0.8), (0.8, 0.95), (0.95, 1.0)):
        chosen = inside & (score >= low) & (score < high)
        if chosen.sum() > 200:
            assert abs(right[chosen].mean() - score[chosen].mean()) < 0.06


def test_reliability_is_the_share_that_is_right_wherever_the_wrong_ones_lie() -> None:
    rng = np.random.default_rng(4)
    n, reach = 20_000, 40.0
    quality = rng.uniform(0, 1, n)
    right = rng.uniform(0, 1, n) < quality
    residual = np.where(right, np.abs(rng.normal(0, 1.2, n)), reach * np.sqrt(rng.uniform(0, 1, n)))
    assert np.abs(calibration.reliability(residual, quality, 5.0, reach) - quality).mean() < 0.06


def test_a_better_peak_is_never_less_probable() -> None:
    rng = np.random.default_rng(5)
    residual, quality = rng.uniform(0, 40, 3000), rng.uniform(0, 1, 3000)
    score = calibration.probability(residual, quality, 5, 40)
    assert (np.diff(score[np.argsort(quality, kind="stable")]) >= 0).all()


def test_agreement_with_what_had_no_part_in_them_is_by_chance_as_often_as_the_areas_say() -> None:
    assert by_chance(50, 200, 0.5) > 0.4  # a quarter of 200
    assert by_chance(150, 200, 0.5) < 1e-20
    assert 1.0 == by_chance(0, 200, 0.5)


def test_points_that_were_kept_for_agreeing_say_nothing_of_the_others() -> None:
    residual = np.concatenate([np.zeros(50), np.full(150, 20.0)])
    measured = np.arange(200) >= 50
    score = calibration.likely(residual, np.full(200, 0.7), measured, 5.0, 40.0)
    assert (score[:50] == 0.7).all()
    assert (score[50:] < 0.1).all()


def test_medians_scatter_by_their_standard_error() -> None:
    values = np.random.default_rng(0).normal(0, 3.0, (4000, 101))
    assert float(np.median(values, 1).std()) == pytest.approx(error_of_median(nmad(values.ravel()), 101), rel=0.05)
