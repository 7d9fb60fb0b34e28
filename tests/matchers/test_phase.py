"""Dense correlation under a prior: what it finds, where it must not look, and what its scores are worth."""

from __future__ import annotations

import pickle
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel_match import matchers
from sentinel_match.matchers import Matches
from sentinel_match.matchers import phase as room
from sentinel_match.matchers.phase import Phase, reduced
from sentinel_match.matchers.prior import GeometricPrior
from sentinel_match.raster.landcover import Class
from sentinel_match.raster.transitions import Context
from sentinel_match.testing.checks import ExamplePair, example_pair

PHASE = Phase(spacing=16, device="cpu")
HERE = GeometricPrior(np.eye(3), 8)


def moved(x: float, y: float, radius: float = 8) -> GeometricPrior:
    return GeometricPrior(np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]]), radius)


def matched(pair: ExamplePair, prior: GeometricPrior | None = HERE, matcher: Phase = PHASE) -> Matches:
    return matcher.match(
        matcher.describe(pair.left, pair.left_valid), matcher.describe(pair.right, pair.right_valid), prior
    )


def right(pair: ExamplePair, found: Matches, within: float = 1.0) -> np.ndarray:
    return np.hypot(*pair.error(found).T) < within


# The seam


def test_phase_is_registered_and_needs_nothing() -> None:
    assert "phase" in matchers.names()
    assert Phase() == matchers.create("phase")
    assert () == Phase.weights


def test_a_prior_that_allows_everything_is_as_good_as_none() -> None:
    pair = example_pair((5.3, -3.2), size=320)
    free, same = matched(pair, None), matched(pair, moved(50, 50, np.inf))
    assert len(free) > 100
    assert np.array_equal(free.right, same.right)


def test_points_lie_in_both_images() -> None:
    pair = example_pair((6.0, -5.0), size=224)
    for shift in ((6.0, -5.0), (-6.0, 5.0)):
        both = (
            pair
            if shift == pair.shift
            else ExamplePair(pair.right, pair.right_valid, pair.left, pair.left_valid, shift)
        )
        found = matched(both, HERE, Phase(spacing=8, device="cpu"))
        assert len(found) > 100
        for points in (found.left, found.right):
            assert ((points >= 0) & (points <= 224)).all()


def test_a_recipe_changes_with_every_option_but_the_device() -> None:
    plain = Phase()
    others = [replace(plain, **{name: value}) for name, value in (("window", 32), ("spacing", 4), ("min_score", 0.4))]
    assert all(plain.recipe != other.recipe for other in [*others, replace(plain, min_clear=0.7)])
    assert plain.recipe == Phase(device="cpu").recipe
    assert plain == pickle.loads(pickle.dumps(plain))  # noqa: S301


def test_a_description_is_the_image_without_what_is_hidden() -> None:
    pixels = np.array([[0.25, np.nan], [0.5, 0.75]], np.float32)
    kept = PHASE.describe(pixels, np.array([[True, True], [False, True]]))
    assert [[0.25, 0], [0, 0.75]] == kept["pixels"].tolist()
    assert [[True, False], [False, True]] == kept["valid"].tolist()


@pytest.mark.parametrize("prior", [None, HERE, moved(0, 0, 60)], ids=["none", "near", "far"])
def test_nothing_comes_of_nothing(prior: GeometricPrior | None) -> None:
    pair = example_pair((5.3, -3.2), size=320)
    full = PHASE.describe(pair.left, pair.left_valid)
    for pixels, valid in (
        (pair.left, ~pair.left_valid),
        (np.full_like(pair.left, 0.3), pair.left_valid),
        (np.full_like(pair.left, np.nan), pair.left_valid),
        (pair.left[:5, :6], pair.left_valid[:5, :6]),
        (pair.left[:0], pair.left_valid[:0]),
    ):
        empty = PHASE.describe(pixels, valid)
        assert [0, 0, 0] == [len(PHASE.match(*p, prior)) for p in ((full, empty), (empty, full), (empty, empty))]


# Where the ground is


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.37, -0.62), (2.25, -1.75), (0.5, 0.5), (-3.1, 4.8)], ids=str)
def test_a_displacement_in_reach_is_found_to_a_fraction_of_a_pixel(shift: tuple[float, float]) -> None:
    pair = example_pair(shift, size=256)
    found = matched(pair)
    assert len(found) > 100
    assert right(pair, found, 0.5).all()
    # Orientations lean a little to the nearest whole pixel; half a pixel would be a wrong convention
    assert np.abs(np.median(pair.error(found), axis=0)).max() < 0.1


def test_over_all_phases_of_a_pixel_there_is_no_bias() -> None:
    error = [
        np.median(pair.error(matched(pair)), axis=0)
        for pair in (
            example_pair((f, s - f), size=192, seed=seed)
            for s in (-1, 1)
            for f in (0, 0.25, 0.5, 0.75)
            for seed in (3, 5)
        )
    ]
    assert np.abs(np.mean(error, axis=0)).max() < 0.03


def test_the_prior_brings_the_ground_into_reach_and_fractions_of_it_do_no_harm() -> None:
    pair = example_pair((41.3, -23.6), size=256)
    for prior in ((40.0, -22.0), (38.7, -25.1), (44.49, -23.51)):
        found = matched(pair, moved(*prior, 6))
        assert len(found) > 80
        assert right(pair, found, 0.5).mean() > 0.95
        assert np.abs(np.median(pair.error(found), axis=0)).max() < 0.12


@given(st.floats(-10, 10), st.floats(-10, 10), st.floats(1, 12))
@settings(max_examples=12)
def test_no_match_lies_beyond_the_radius(x: float, y: float, radius: float) -> None:
    pair, prior = example_pair((3.4, -2.2), size=192, seasons=("summer", "autumn")), moved(x, y, radius)
    found = matched(pair, prior)
    assert (np.hypot(*(found.right - prior.expected(found.left)).T) <= radius + 1e-9).all()
    if np.hypot(x - 3.4, y + 2.2) < radius - 0.5:
        assert right(pair, found).sum() > 60


def test_beyond_the_radius_nothing_is_right_and_little_is_sure() -> None:
    pair = example_pair((23.0, -11.0), size=256)
    for prior in (HERE, moved(-40, 40), moved(0, 0, 16)):
        found = matched(pair, prior, Phase(device="cpu"))
        assert not right(pair, found).any()
        assert (found.score > 0.9).sum() < 0.01 * (256 / 8) ** 2


def test_other_ground_is_hardly_ever_believed() -> None:
    pair, other = example_pair(size=256), example_pair(size=256, seed=9)
    found = matched(replace(pair, right=other.right), HERE, Phase(device="cpu"))
    assert (found.score > 0.9).sum() < 0.01 * (256 / 8) ** 2
    assert len(found) < 0.2 * (256 / 8) ** 2


# A prior that is far off


@cache
def wide_pair() -> ExamplePair:
    """Almost a kilometre off at 10 m: 70 and 60 pixels."""
    return example_pair((70.0, -60.0), size=1216, seasons=("summer", "autumn"))


def test_a_prior_off_by_a_kilometre_is_narrowed_to_a_few_pixels() -> None:
    pair = wide_pair()
    arrays = PHASE.describe(pair.left, pair.left_valid), PHASE.describe(pair.right, pair.right_valid)
    prior = PHASE.narrowed(*arrays, moved(0, 0, 100))
    assert prior.radius <= room.WINDOW_REACH_PX
    grid = np.array([(x, y) for x in (200, 600, 1000) for y in (200, 600, 1000)], float)
    assert np.hypot(*(prior.expected(grid) - grid - pair.shift).T).max() < prior.radius / 4


def test_a_prior_off_by_a_kilometre_still_matches() -> None:
    pair = wide_pair()
    found = matched(pair, moved(0, 0, 100), Phase(spacing=32, device="cpu"))
    assert len(found) > 600
    assert right(pair, found).mean() > 0.98


def test_four_windows_that_agree_to_a_tenth_of_a_pixel_narrow_a_prior() -> None:
    points = np.array([[40, 40], [100, 40], [40, 100], [100, 100]], float)
    found = points + (8.75, -7.5) + 0.1 * np.array([[1, 0], [0, 1], [-1, 0], [0, -1]])
    assert room.agreed(Matches(points, found, np.ones(4), np.full(4, 64.0)), 12.5) is not None


def test_a_prior_that_cannot_be_narrowed_stays_as_it_is() -> None:
    pair, other = example_pair(size=256), example_pair(size=256, seed=9)
    arrays = PHASE.describe(pair.left, pair.left_valid), PHASE.describe(other.right, pair.right_valid)
    prior = moved(0, 0, 60)
    assert prior is PHASE.narrowed(*arrays, prior)
    assert HERE is PHASE.narrowed(*arrays, HERE)  # already near enough


@given(st.integers(1, 7), st.integers(0, 60), st.integers(0, 60), st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_a_reduced_pixel_is_the_mean_of_its_valid_ones(size: int, rows: int, cols: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels, valid = rng.random((rows, cols), np.float32), rng.random((rows, cols)) > 0.4
    small = reduced({"pixels": pixels, "valid": valid}, size)
    assert (rows // size, cols // size) == small["valid"].shape == small["pixels"].shape
    for (i, j), known in np.ndenumerate(small["valid"]):
        block = np.s_[i * size : (i + 1) * size, j * size : (j + 1) * size]
        assert known == (2 * valid[block].sum() >= size**2)
        if known:
            assert pytest.approx(pixels[block][valid[block]].mean(), abs=1e-5) == small["pixels"][i, j]


# Masks


def test_nothing_is_found_on_what_is_hidden_and_the_rest_is_right() -> None:
    pair = example_pair((3.4, -2.2), size=256)
    hidden = pair.left_valid.copy()
    hidden[60:160, 80:200] = False
    here = replace(pair, left_valid=hidden)
    found = matched(here)
    x, y = found.left.astype(int).T
    assert hidden[y, x].all()
    assert len(found) > 40
    assert right(pair, found).all()
    there = matched(replace(pair, right_valid=hidden))
    inner = ((there.left > (90, 70)) & (there.left < (190, 150))).all(1)  # too little is clear around these
    assert not inner.any()
    assert len(there) > 40
    assert right(pair, there).all()


@pytest.mark.parametrize("side", ["left", "right"])
def test_what_a_mask_hides_changes_nothing(side: str) -> None:
    pair = example_pair((3.4, -2.2), size=256)
    valid = pair.left_valid.copy()
    valid[60:160, 80:200] = False
    plain = replace(pair, **{f"{side}_valid": valid})
    poisoned = replace(plain, **{side: np.where(valid, getattr(pair, side), np.float32(np.nan))})
    first, second = matched(plain), matched(poisoned)
    assert len(first) > 40
    assert all(np.array_equal(getattr(first, n), getattr(second, n)) for n in ("left", "right", "score"))


def test_a_mask_that_leaves_too_little_of_every_window_leaves_no_match() -> None:
    pair = example_pair((3.4, -2.2), size=192)
    stripes = np.zeros(pair.left_valid.shape, bool)
    stripes[:, ::4] = True
    assert 0 == len(matched(replace(pair, left_valid=stripes)))


# Weak texture, and what a score is worth


def test_support_from_the_neighbours_finds_what_single_windows_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    pair, rng = example_pair((3.4, -2.2), size=256), np.random.default_rng(0)
    weak = [(0.5 + 0.1 * (p - 0.5) + rng.normal(0, 0.05, p.shape)).astype(np.float32) for p in (pair.left, pair.right)]
    pair = replace(pair, left=weak[0], right=weak[1])
    phase = Phase(device="cpu")
    supported = matched(pair, HERE, phase)
    monkeypatch.setattr(room, "PEAK_LOG_ODDS", {0.0: room.PEAK_LOG_ODDS[0.0]})
    alone = matched(pair, HERE, phase)
    assert right(pair, supported).sum() > 2 * right(pair, alone).sum()
    assert right(pair, supported).mean() > 0.8


@cache
def seasons(one: str, other: str) -> tuple[ExamplePair, Matches]:
    pair = example_pair((5.3, -3.2), size=320, seasons=(one, other))  # type: ignore[arg-type]
    return pair, matched(pair, HERE, Phase(device="cpu"))


ACROSS = [("summer", "winter"), ("spring", "autumn"), ("summer", "autumn"), ("winter", "spring"), ("spring", "summer")]


@pytest.mark.parametrize(("one", "other"), ACROSS)
def test_scores_across_seasons_are_honest(one: str, other: str) -> None:
    pair, found = seasons(one, other)
    sure = found.score >= 0.9
    assert sure.sum() > 500
    assert right(pair, found)[sure].mean() > 0.95
    assert ((found.score >= 0.5) & (found.score <= 1)).all()


def test_what_is_less_sure_is_less_often_right() -> None:
    pairs = [seasons(*names) for names in ACROSS]
    score = np.concatenate([found.score for _, found in pairs])
    good = np.concatenate([right(pair, found) for pair, found in pairs])
    assert good[score < 0.7].mean() < good[score >= 0.9].mean()
    assert good[score < 0.7].mean() > 0.3


def test_a_higher_threshold_only_drops_what_is_below_it() -> None:
    pair, found = seasons("summer", "winter")
    strict = matched(pair, HERE, Phase(device="cpu", min_score=0.95))
    keep = found.score >= 0.95
    assert np.array_equal(found.left[keep], strict.left)
    assert np.array_equal(found.right[keep], strict.right)


# What lies where


def test_ground_that_cannot_be_the_same_is_less_sure_and_cloud_is_out_of_question() -> None:
    pair = example_pair((3.4, -2.2), size=256, seasons=("summer", "winter"))
    phase = replace(PHASE, min_score=0.0)
    lies = np.full(pair.left.shape, Class.VEGETATION, np.uint8)
    water, cloud = lies.copy(), lies.copy()
    water[:, 128:], cloud[:, 128:] = Class.WATER, Class.CLOUD
    plain = matched(pair, HERE, phase)
    alike, unlike, hidden = (
        matched(pair, GeometricPrior(np.eye(3), 8, Context(lies), Context(there)), phase)
        for there in (lies, water, cloud)
    )
    assert np.allclose(plain.score, alike.score, atol=1e-5)
    assert np.array_equal(plain.right, unlike.right)
    beyond, before = plain.right[:, 0] > 128 + 9, plain.right[:, 0] < 128 - 9
    inner = np.minimum(plain.left, plain.right).min(1) > 9
    inner &= np.maximum(plain.left, plain.right).max(1) < 256 - 9  # all that a context reaches is known
    told = inner & (plain.score > 0.01) & (plain.score < 0.999)
    assert (unlike.score[beyond & told] < plain.score[beyond & told]).all()
    assert (beyond & told).sum() > 20
    assert np.allclose(plain.score[before], unlike.score[before], atol=1e-5)
    odds = [s / (1 - s) for s in (plain.score[beyond & told], unlike.score[beyond & told])]
    assert np.allclose(odds[0] * 0.05, odds[1], rtol=0.01)  # the likeness of water and vegetation
    assert not hidden.score[hidden.right[:, 0] >= 128].any()
