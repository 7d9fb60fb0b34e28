"""What is known of a pair beforehand: where the ground should be, how far off that may be, and what lies there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel_match.matchers.prior import GeometricPrior
from sentinel_match.raster.landcover import Class
from sentinel_match.raster.transitions import CONTEXT_RADIUS, Context

SIDE = 128
seeds = st.integers(0, 2**32 - 1)


def ground(seed: int) -> np.ndarray:
    """Classes in blocks of 16 pixels, all of them somewhere."""
    return np.kron(np.random.default_rng(seed).integers(0, 10, (8, 8)), np.ones((16, 16))).astype(np.uint8)


def transform(rng: np.random.Generator, *, projective: bool = True) -> np.ndarray:
    matrix = np.eye(3)
    matrix[:2, :2] += rng.normal(0, 0.1, (2, 2))
    matrix[:2, 2] = rng.uniform(-30, 30, 2)
    if projective:
        matrix[2, :2] = rng.normal(0, 2e-4, 2)
    return matrix


def test_the_ground_is_expected_where_the_transform_says() -> None:
    prior = GeometricPrior(np.array([[2, 0, 5], [0, 3, -1], [0, 0, 1.0]]), 4)
    assert [[5, -1], [25, 29]] == prior.expected(np.array([[0, 0], [10, 10]])).tolist()
    assert (0, 2) == prior.expected(np.empty((0, 2))).shape


@given(seeds, st.floats(0.1, 10))
def test_a_homogeneous_transform_has_no_scale(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    matrix, points = transform(rng), rng.uniform(0, SIDE, (9, 2))
    assert np.allclose(GeometricPrior(matrix, 3).expected(points), GeometricPrior(scale * matrix, 3).expected(points))


@given(seeds, st.floats(2, 60))
def test_within_is_a_disc_around_the_expectation(seed: int, radius: float) -> None:
    rng = np.random.default_rng(seed)
    prior = GeometricPrior(transform(rng), radius)
    left, angle = rng.uniform(0, SIDE, (8, 2)), rng.uniform(0, 2 * np.pi, 8)
    direction = np.column_stack([np.cos(angle), np.sin(angle)])
    for share, expected in ((0.0, True), (0.99, True), (1.01, False)):
        right = prior.expected(left) + share * radius * direction
        assert [expected] * 8 == prior.within(left, right).diagonal().tolist()
    right = rng.uniform(0, SIDE, (11, 2))
    apart = np.linalg.norm(prior.expected(left)[:, None] - right[None], axis=2)
    sure = np.abs(apart - radius) > 1e-3
    assert np.array_equal((apart <= radius)[sure], prior.within(left, right)[sure])


@given(seeds)
def test_without_contexts_the_bias_is_nothing_in_reach_and_forbids_everything_else(seed: int) -> None:
    rng = np.random.default_rng(seed)
    left, right = rng.uniform(0, SIDE, (7, 2)), rng.uniform(0, SIDE, (9, 2))
    for contexts in ((None, None), (Context(ground(1)), None), (None, Context(ground(2)))):
        prior = GeometricPrior(transform(rng), 40, *contexts)
        bias, near = prior.bias(left, right), prior.within(left, right)
        assert np.float32 == bias.dtype
        assert not bias[near].any()
        assert np.isneginf(bias[~near]).all()
        assert not prior.likeness(left, right[:7]).any()


@given(seeds)
def test_an_infinite_radius_biases_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    left, right = rng.uniform(-1e4, 1e4, (7, 2)), rng.uniform(-1e4, 1e4, (9, 2))
    prior = GeometricPrior(transform(rng, projective=False), np.inf)
    assert prior.within(left, right).all()
    assert not prior.bias(left, right).any()


@given(seeds, st.booleans())
def test_with_contexts_the_bias_is_their_compatibility_in_reach(seed: int, gate: bool) -> None:
    rng = np.random.default_rng(seed)
    here, there = Context(ground(seed), gate=gate), Context(ground(seed + 1), gate=gate)
    left, right = rng.uniform(0, SIDE, (20, 2)), rng.uniform(0, SIDE, (30, 2))
    prior = GeometricPrior(transform(rng), 50, here, there)
    known, near = here.compatibility(left, there, right), prior.within(left, right)
    assert np.array_equal(np.where(near, known, -np.inf), prior.bias(left, right))
    assert (prior.bias(left, right) <= 0).all()


@given(seeds, st.integers(0, 200))
@settings(max_examples=30)
def test_likeness_is_the_compatibility_of_each_pair_alone(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    here, there = Context(ground(seed)), Context(ground(seed + 1))
    left, right = rng.uniform(0, SIDE, (2, count, 2))
    prior = GeometricPrior(np.eye(3), np.inf, here, there)
    assert (count,) == prior.likeness(left, right).shape
    expected = here.compatibility(left, there, right).diagonal()
    assert np.allclose(expected, prior.likeness(left, right), atol=1e-6)


def test_cloud_is_out_of_question_and_the_unknown_is_neutral() -> None:
    lies = np.full((SIDE, SIDE), Class.VEGETATION, np.uint8)
    lies[:, 64:] = Class.CLOUD
    unknown = np.full((SIDE, SIDE), Class.UNKNOWN, np.uint8)
    points = np.array([[20.0, 20.0], [100.0, 20.0]])
    alike, gated, neutral = (
        GeometricPrior(np.eye(3), np.inf, Context(one), Context(other)).likeness(points, points)
        for one, other in ((lies, lies), (lies, unknown), (unknown, unknown))
    )
    assert pytest.approx([0.0, -np.inf], abs=1e-6) == alike.tolist()
    assert pytest.approx([0.0, -np.inf], abs=1e-6) == gated.tolist()
    assert [0.0, 0.0] == neutral.tolist()


@given(seeds)
@settings(max_examples=60)
def test_the_prior_of_two_windows_is_the_whole_prior_moved_by_their_origins(seed: int) -> None:
    rng = np.random.default_rng(seed)
    whole = GeometricPrior(transform(rng), 40, Context(ground(seed)), Context(ground(seed + 1)))
    windows, points = [], []
    for count in (12, 15):
        row, col = rng.integers(0, SIDE - 48, 2)
        height, width = rng.integers(2 * CONTEXT_RADIUS + 4, SIDE - max(row, col), 2)
        windows.append((int(row), int(col), int(height), int(width)))
        # Further inside than a context reaches: at its rim a window does not see what its whole sees
        points.append(rng.uniform(CONTEXT_RADIUS + 1, np.array([width, height]) - CONTEXT_RADIUS - 1, (count, 2)))
    part = whole.within_cell(*windows)
    origins = [np.array([w[1], w[0]]) for w in windows]
    moved = [p + origin for p, origin in zip(points, origins, strict=True)]
    assert np.allclose(whole.expected(moved[0]), part.expected(points[0]) + origins[1])
    apart = np.linalg.norm(whole.expected(moved[0])[:, None] - moved[1][None], axis=2)
    sure = np.abs(apart - whole.radius) > 1e-3
    assert np.array_equal(whole.within(*moved)[sure], part.within(*points)[sure])
    assert np.allclose(whole.bias(*moved)[sure], part.bias(*points)[sure], atol=1e-4)
    assert np.allclose(whole.likeness(moved[0], moved[1][:12]), part.likeness(points[0], points[1][:12]), atol=1e-4)


def test_windows_of_windows_are_windows_of_the_whole() -> None:
    whole = GeometricPrior(transform(np.random.default_rng(0)), 5, Context(ground(0)), Context(ground(1)))
    twice = whole.within_cell((10, 20, 90, 80), (5, 6, 100, 90)).within_cell((3, 4, 60, 50), (7, 8, 60, 50))
    once = whole.within_cell((13, 24, 60, 50), (12, 14, 60, 50))
    assert np.allclose(once.transform, twice.transform)
    for one, other in ((once.left, twice.left), (once.right, twice.right)):
        assert one is not None
        assert other is not None
        assert np.array_equal(one.classes, other.classes)


def test_without_contexts_a_window_has_none_either() -> None:
    part = GeometricPrior(np.eye(3), 5).within_cell((1, 2, 3, 4), (5, 6, 7, 8))
    assert [None, None, 5] == [part.left, part.right, part.radius]
