"""Two images of which nothing is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel_match.matchers.phase import Phase
from sentinel_match.matchers.sift import Sift
from sentinel_match.matching import unguided
from sentinel_match.matching.attempt import Comparison, Search, fit
from sentinel_match.matching.unguided import relate
from sentinel_match.matching.view import View, reduced, shift, turned
from sentinel_match.testing.checks import example_pair

SIFT = Sift(max_keypoints=700)
PAIR = example_pair(shift=(7.3, -4.6), size=256)
MAP = np.array([[1, 0, 7.3], [0, 1, -4.6], [0, 0, 1]])


def turned_pair(degrees: float) -> tuple[View, View, np.ndarray]:
    """The example with its right image turned clockwise, and the map from the left image to it."""
    turn = turned(View.of(PAIR.right, PAIR.right_valid), degrees)
    return View.of(PAIR.left, PAIR.left_valid), View.of(turn.pixels, turn.valid), np.linalg.inv(turn.matrix) @ MAP


def moved(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    there = np.column_stack([points, np.ones(len(points))]) @ matrix.T
    return there[:, :2] / there[:, 2:]


@pytest.mark.parametrize("degrees", [90, 180, -60])
def test_a_turned_image_is_found_with_its_angle_and_points_in_its_own_pixels(degrees: int) -> None:
    left, right, truth = turned_pair(degrees)
    relation = relate(left, right, Search(SIFT))
    assert relation.model is not None
    grid = np.stack(np.meshgrid([20.0, 128, 236], [20.0, 128, 236]), -1).reshape(-1, 2)
    assert np.hypot(*(relation.model(grid) - moved(truth, grid)).T).max() < 0.5
    assert relation.angle is not None
    assert (relation.angle - degrees + 180) % 360 == pytest.approx(180, abs=0.2)
    p, q = (relation.keypoints[i][relation.pairs[relation.inlier, i]] for i in (0, 1))
    error = np.hypot(*(q - moved(truth, p)).T)
    assert len(error) > 60
    assert np.median(error) < 0.5
    assert (error < 1).mean() > 0.85


@pytest.mark.parametrize("model", ["translation", "affine", "homography"])
def test_the_model_is_the_one_asked_for(model: str) -> None:
    left, right, truth = turned_pair(0)
    relation = relate(left, right, Search(SIFT, model=model))
    assert relation.model is not None
    assert model == relation.model.kind
    middle = np.array([[128.0, 128.0]])
    assert relation.model(middle) == pytest.approx(moved(truth, middle), abs=0.5)


BENT = {
    "similarity": np.eye(3),
    "affine": np.diag([1.015, 1 / 1.015, 1]),
    "homography": np.array([[1, 0, 0], [0, 1, 0], [3e-4, -2e-4, 1]]),
    "homography, of which a similarity holds the middle alone": np.array([[1, 0, 0], [0, 1, 0], [6e-4, -4e-4, 1]]),
}
"""What is done to a picture about its middle: nothing, pixels that are not square, slanted views."""


@pytest.mark.parametrize("kind", BENT)
def test_without_a_model_named_it_is_the_simplest_that_the_matches_bear_out(kind: str) -> None:
    truth = shift(128, 128) @ BENT[kind] @ shift(-128, -128) @ MAP
    there = (shift(-0.5, -0.5) @ truth @ np.linalg.inv(MAP) @ shift(0.5, 0.5)).astype(np.float64)
    pixels = cv2.warpPerspective(PAIR.right.astype(np.float32), there, (256, 256), flags=cv2.INTER_CUBIC)
    valid = cv2.warpPerspective(PAIR.right_valid.astype(np.float32), there, (256, 256)) > 0.999
    relation = relate(View.of(PAIR.left, PAIR.left_valid), View.of(pixels, valid), Search(Phase()))
    assert relation.model is not None
    assert kind.split(",", maxsplit=1)[0] == relation.model.kind
    grid = np.stack(np.meshgrid([20.0, 128, 236], [20.0, 128, 236]), -1).reshape(-1, 2)
    assert np.hypot(*(relation.model(grid) - moved(truth, grid)).T).max() < 1.5


def test_unrelated_images_have_no_model() -> None:
    other = example_pair(size=256, seed=11)
    relation = relate(View.of(PAIR.left, PAIR.left_valid), View.of(other.right, other.right_valid), Search(SIFT))
    assert relation.model is None
    assert relation.angle is None
    assert not relation.inlier.any()
    assert "their windows do not" in relation.why
    assert 16 == len(relation.agreeing)


def test_an_empty_image_matches_nothing() -> None:
    empty = View.of(np.zeros((200, 200), np.float32), np.zeros((200, 200), bool))
    assert relate(empty, View.of(PAIR.right, PAIR.right_valid), Search(SIFT)).model is None
    assert relate(View.of(PAIR.left, PAIR.left_valid), empty, Search(SIFT, rotations=(0.0,))).model is None


def test_an_upright_pair_is_not_turned_any_further() -> None:
    left, right, _ = turned_pair(0)
    assert [0.0] == list(relate(left, right, Search(SIFT)).agreeing)


def test_no_point_lies_on_what_is_masked() -> None:
    left, right, _ = turned_pair(30)
    left.valid[:, :90] = False
    try:
        relation = relate(left, right, Search(SIFT))
    finally:
        left.valid[:, :90] = True
    assert relation.model is not None
    assert relation.keypoints[0][:, 0].min() > 90


def test_big_images_are_matched_again_in_windows_at_full_resolution() -> None:
    left, right, truth = turned_pair(90)
    coarse = relate(left, right, Search(SIFT, size=190))
    fine = relate(left, right, Search(SIFT, size=190, windows=2))
    assert coarse.model is not None
    assert fine.model is not None
    errors = []
    for relation in (coarse, fine):
        p, q = (relation.keypoints[i][relation.pairs[relation.inlier, i]] for i in (0, 1))
        errors.append(np.median(np.hypot(*(q - moved(truth, p)).T)))
    assert fine.inlier.sum() > coarse.inlier.sum()
    assert errors[1] < errors[0]


def test_where_the_sweep_finds_nothing_the_matcher_does_and_a_guided_pass_gathers_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unguided, "_sight", lambda *_: None)
    left, right, _ = turned_pair(25)
    guided = relate(left, right, Search(SIFT))
    assert 0.0 in guided.agreeing
    agreed = max(guided.agreeing.values())
    assert guided.inlier.sum() > 1.1 * agreed


@given(st.floats(-400, 400), st.integers(30, 60), st.integers(30, 60))
@settings(max_examples=30)
def test_turning_shows_what_its_matrix_says(degrees: float, rows: int, cols: int) -> None:
    y, x = np.mgrid[:rows, :cols] + 0.5
    ramp = ((x + 2 * y) / (cols + 2 * rows)).astype(np.float32)
    view = turned(View.of(ramp, np.ones((rows, cols), bool)), degrees)
    v, u = np.nonzero(cv2.erode(view.valid.astype(np.uint8), np.ones((5, 5)), borderValue=0))
    source = view.to_image(np.column_stack([u, v]) + 0.5)
    expected = (source @ (1, 2)) / (cols + 2 * rows)
    assert np.abs(expected - view.pixels[v, u]).max() < 2e-3


@pytest.mark.parametrize("size", [100, (60, 120), 77, 31, None])
def test_reducing_shows_what_its_matrix_says(size: Any) -> None:
    y, x = np.mgrid[:240, :250] + 0.5
    ramp = ((x + 2 * y) / 730).astype(np.float32)
    view = reduced(View.of(ramp, np.ones(ramp.shape, bool)), size)
    v, u = np.nonzero(view.valid)
    expected = (view.to_image(np.column_stack([u, v]) + 0.5) @ (1, 2)) / 730
    error = expected - view.pixels[v, u]
    assert abs(error.mean()) < 1e-4
    assert np.abs(error).max() < 1e-3


@pytest.mark.real
def test_real_dates_are_found_at_any_angle_and_other_ground_is_not(shared: Path) -> None:
    def crop(name: str, row: int, col: int) -> View:
        image = cv2.imread(str(shared / "tci_gray_107m" / f"{name}_TCI.jpg"), cv2.IMREAD_GRAYSCALE)
        part = image[row : row + 300, col : col + 300].astype(np.float32) / 255
        return View.of(part, part > 0.01)

    left, right = crop("T36UYA_20190606T083601", 200, 200), crop("T36UYA_20160621T084012", 230, 190)
    for degrees in (100,):
        turn = turned(right, degrees)
        relation = relate(left, View.of(turn.pixels, turn.valid), Search(SIFT))
        truth = np.linalg.inv(turn.matrix) @ np.array([[1, 0, 10], [0, 1, -30], [0, 0, 1.0]])
        middle = np.array([[150.0, 150]])
        assert relation.model is not None
        assert np.hypot(*(relation.model(middle) - moved(truth, middle)).T)[0] < 1
    elsewhere = crop("T36UXA_20180830T083601", 0, 500)
    assert relate(left, elsewhere, Search(SIFT)).model is None


def test_of_a_slanted_view_the_kind_on_which_more_agree_is_chosen_though_some_matches_are_wrong() -> None:
    random = np.random.default_rng(5)
    left = random.uniform(0, 400, (1500, 2))
    truth = shift(200, 200) @ np.array([[1, 0, 0], [0, 1, 0], [4e-4, -2e-4, 1]]) @ shift(-200, -200)
    right = moved(truth, left) + random.normal(0, 0.2, left.shape)
    drawn = np.arange(len(left)) % 12 == 0  # to where a similarity expects them
    right[drawn] = left[drawn] + random.normal(0, 2, (drawn.sum(), 2))
    pairs = np.stack([np.arange(len(left))] * 2, 1)
    found = fit([Comparison(left, right, pairs, np.ones(len(left)))], (1.0, 1.0), Search(Phase()), 12.0)
    assert found.model is not None
    assert "homography" == found.model.kind
    assert np.hypot(*(found.model(left) - moved(truth, left)).T).max() < 1
