"""Which model the points bear out: the simplest that predicts ground it has not seen."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel_match.geometry import kinds, robust, transform
from sentinel_match.geometry.kinds import BENDS, KINDS
from sentinel_match.geometry.selection import Selection, choose, consensus
from sentinel_match.geometry.transform import Transform, azimuth_of_track

SIDE, NOISE = 60_000.0, 0.8


def ground(n: int = 4000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, SIDE, (n, 2)) + (500_000, 5_500_000)


def moved(left: np.ndarray, bend: np.ndarray | float = 0.0, noise: float = NOISE, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    turned = (left - left.mean(0)) @ np.array([[1, 2e-5], [-2e-5, 1]]) + left.mean(0)
    return np.asarray(turned + (6.4, 18.1) + bend + rng.normal(0, noise, left.shape))


def chosen(left: np.ndarray, right: np.ndarray, **options: object) -> Selection:
    n = len(left)
    return choose(robust.PointPairs(left, right, np.full(n, NOISE)), np.ones(n), **options)  # type: ignore[arg-type]


def bends(left: np.ndarray) -> dict[str, np.ndarray]:
    x, y = (2 * (left - left.min(0)) / SIDE - 1).T
    zero = np.zeros_like(x)
    along = -0.2 * x - 0.98 * y
    return {
        "polynomial2": np.stack([2 * x**2, 1.5 * x * y], -1),
        "polynomial3": np.stack([3 * x**3 - x**2, 2 * x * y**2], -1),
        "track": np.stack([zero, 1.5 * np.sin(9 * along)], -1),
        "field": np.stack([1.5 * np.sin(5 * x) * np.cos(4 * y), 1.5 * np.cos(6 * x)], -1),
    }


@pytest.mark.parametrize("seed", range(5))
def test_where_nothing_is_bent_the_simplest_sufficient_model_is_taken(seed: int) -> None:
    left = ground(seed=seed)
    shifted = left + (6.4, 18.1) + np.random.default_rng(seed + 9).normal(0, NOISE, left.shape)
    assert "translation" == chosen(left, shifted).transform.kind
    assert "similarity" == chosen(left, moved(left, seed=seed + 9)).transform.kind


@pytest.mark.parametrize("seed", range(5))
def test_ground_that_agrees_as_it_is_stays_as_it_is_and_the_least_shift_that_is_sure_is_corrected(seed: int) -> None:
    left = ground(seed=seed)
    noise = np.random.default_rng(seed + 9).normal(0, NOISE, left.shape)
    assert "none" == chosen(left, left + noise).transform.kind
    assert np.array_equal(left, chosen(left, left + noise).transform(left))
    assert "none" != chosen(left, left + noise + (0.1, 0.1)).transform.kind  # seven standard errors


@pytest.mark.parametrize("kind", BENDS)
def test_a_bend_of_each_kind_is_found_and_predicted_where_no_point_was(kind: str) -> None:
    left, other = ground(), ground(500, seed=7)
    found = chosen(left, moved(left, bends(left)[kind]), azimuth=np.arctan2(-0.2, -0.98))
    error = found.transform(other) - moved(other, bends(other)[kind], noise=0)
    # Whatever kind is taken: a second-degree surface may win where a third-degree one is no better
    assert np.sqrt((error**2).mean()) < 0.2
    assert found.transform.kind in BENDS
    assert found.errors["affine"] > 1.1 * found.errors[found.transform.kind]


def test_a_bend_along_the_track_is_named_so() -> None:
    left = ground()
    found = chosen(left, moved(left, bends(left)["track"]), azimuth=np.arctan2(-0.2, -0.98))
    assert "track" == found.transform.kind


def test_more_parameters_never_win_by_fitting_noise() -> None:
    left = ground(150)
    assert chosen(left, moved(left, noise=3.0)).transform.kind in kinds.MINIMAL


def test_one_kind_asked_for_is_taken() -> None:
    left = ground()
    assert "field" == chosen(left, moved(left), kinds=("field",)).transform.kind


def test_wrong_points_bend_nothing() -> None:
    left = ground()
    right = moved(left)
    wild = np.random.default_rng(3).random(len(left)) < 0.3
    right[wild] += np.random.default_rng(4).uniform(-40, 40, (wild.sum(), 2))
    model = robust.robust_fit("similarity", robust.PointPairs(left, right, np.full(len(left), NOISE)), tolerance=10.0)
    weight = consensus(left, right, model, 10.0)
    found = choose(robust.PointPairs(left, right, np.full(len(left), NOISE)), weight)
    other = ground(500, seed=7)
    assert found.transform.kind in kinds.MINIMAL
    assert np.abs(found.transform(other) - moved(other, noise=0)).max() < 0.3
    assert weight[~wild].mean() > 0.6
    assert weight[wild & (np.hypot(*(right - moved(left, noise=0)).T) > 10)].max() == 0


def test_what_bends_more_than_the_tolerance_is_still_believed() -> None:
    left = ground()
    right = moved(left, 10 * bends(left)["polynomial3"])
    model = robust.robust_fit("similarity", robust.PointPairs(left, right, np.full(len(left), NOISE)), tolerance=10.0)
    weight = consensus(left, right, model, 10.0)
    assert (weight > 0).mean() > 0.9
    assert choose(robust.PointPairs(left, right, np.full(len(left), NOISE)), weight).transform.kind in BENDS


def test_beyond_the_points_a_bend_goes_on_as_it_ended() -> None:
    left = ground()
    warp = chosen(left, moved(left, bends(left)["field"]), kinds=("field",)).transform
    rim, far = np.array([[500_000 + SIDE, 5_530_000.0]]), np.array([[500_000 + 3 * SIDE, 5_530_000.0]])
    assert warp.bend is not None
    assert np.allclose(warp.bend(rim), warp.bend(far), atol=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_survives_json(kind: str) -> None:
    left = ground()
    warp = chosen(left, moved(left, bends(left)["field"]), kinds=(kind,)).transform
    again = Transform.from_dict(json.loads(json.dumps(warp.to_dict())))
    assert kind == again.kind == warp.kind
    assert np.allclose(again(left), warp(left), atol=1e-9)


@given(seed=st.integers(0, 1000), kind=st.sampled_from(BENDS))
@settings(max_examples=20, deadline=None)
def test_there_and_back_is_where_one_was(seed: int, kind: str) -> None:
    left = ground(1500, seed=seed)
    warp = chosen(left, moved(left, bends(left)[kind], seed=seed), kinds=(kind,)).transform
    assert np.abs(warp.back(warp(left)) - left).max() < 1e-4


def test_errors_on_unseen_ground_are_the_noise_where_the_model_suffices() -> None:
    left = ground()
    found = chosen(left, moved(left), kinds=("similarity",))
    assert np.isfinite(found.unseen).all()
    assert np.allclose(found.unseen.std(0), NOISE, rtol=0.05)
    assert abs(found.errors["similarity"] - NOISE) < 0.05


def test_errors_on_unseen_ground_show_too_poor_a_model() -> None:
    left = ground()
    right = moved(left, np.column_stack([1e-3 * (left[:, 0] - left[:, 0].mean()), np.zeros(len(left))]))
    assert chosen(left, right, kinds=("translation",)).unseen.std(0)[0] > 10
    assert chosen(left, right, kinds=("affine",)).unseen.std(0)[0] < 1.05 * NOISE


def test_too_few_points_are_an_error() -> None:
    left = ground(1)
    with pytest.raises(transform.NoModel, match="too few for the model translation, which takes at least 2"):
        chosen(left, left)


def test_points_in_one_place_give_the_simplest_model_and_no_proof() -> None:
    left = np.tile(ground(1), (30, 1))
    found = chosen(left, left + 3.0, kinds=("translation",))
    assert "translation" == found.transform.kind
    assert {} == dict(found.errors)


@pytest.mark.parametrize(("latitude", "degrees"), [(0, 192.3), (45, 196.5), (60, 201.0), (-33, 194.2)])
def test_the_track_leads_south_southwest(latitude: float, degrees: float) -> None:
    # From the ground tracks of Sentinel-2: about 12 degrees at the equator, more towards the poles
    assert abs(np.degrees(azimuth_of_track(latitude)) % 360 - degrees) < 2


@pytest.mark.parametrize("degree", [2, 3])
def test_a_polynomial_alone_is_fitted_to_what_is_one(degree: int) -> None:
    rng = np.random.default_rng(degree)
    left, ground = rng.uniform(0, 100_000, (300, 2)), rng.uniform(0, 100_000, (2000, 2))

    def truth(at: np.ndarray) -> np.ndarray:
        x, y = 2 * at.T / 100_000 - 1
        return at + np.column_stack([10 * x**degree + 3 * x - 2, 4 * y**degree + x * y])

    right = truth(left) + rng.normal(0, 0.2, left.shape)
    kind = f"polynomial{degree}"
    chosen = choose(robust.PointPairs(left, right, np.full(300, 0.2)), np.ones(300), kinds=(kind,), apart=320)
    assert kind == chosen.transform.kind
    assert np.sqrt(((chosen.transform(ground) - truth(ground)) ** 2).mean()) < 0.1


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (1, r"^1 independent point \(those that share pixels count once\) is too few for the model track"),
        (5, r"^5 independent points \(those that share pixels count once\) are too few for the model track"),
    ],
)
def test_too_few_points_are_counted_in_words(count: int, said: str) -> None:
    """Those of one square count once."""
    left = np.repeat(ground(count), 3, axis=0)
    with pytest.raises(robust.NoModel, match=said):
        chosen(left, moved(left), azimuth=0.2, kinds=("track",), apart=10.0)


def test_a_kind_that_only_bends_beyond_its_points_is_not_taken_for_the_ground_there() -> None:
    rng = np.random.default_rng(0)
    left = rng.uniform(0, 3000, (150, 2))
    right = left + (6.0, -3.0) + rng.normal(0, 1.0, left.shape) + 1.5 * np.sin(left / 400)
    pairs = robust.PointPairs(left, right, np.ones(len(left)))
    far = np.stack(np.meshgrid(np.linspace(0, 12000, 30), np.linspace(0, 12000, 30)), -1).reshape(-1, 2)
    here = choose(pairs, np.ones(len(left)), apart=100.0)
    everywhere = choose(pairs, np.ones(len(left)), apart=100.0, over=far)

    def wrong(chosen: Selection) -> float:
        return float(np.percentile(np.hypot(*(chosen.transform.shift(far) - (6.0, -3.0)).T), 95))

    assert wrong(everywhere) < 8
    assert wrong(everywhere) <= wrong(here)
    assert everywhere.spread.shape == far.shape
    near = (far < 3000).all(1)
    assert everywhere.spread[~near].mean() >= everywhere.spread[near].mean()
