"""Metrics against numbers worked by hand and against the published formulas, written out literally."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel_match.errors import BadList
from sentinel_match.evaluate import metrics, pose

EYE = np.eye(3)
SHIFT = np.array([[1, 0, 2.5], [0, 1, -1.5], [0, 0, 1.0]])


def points(*pairs: tuple[float, float]) -> np.ndarray:
    return np.array(pairs, float).reshape(-1, 2)


def test_errors_are_distances_to_where_the_truth_puts_the_left_points() -> None:
    left = points((0, 0), (10, 10))
    right = points((2.5, -1.5), (15.5, 12.5))
    assert [0.0, 5.0] == metrics.errors(left, right, SHIFT).tolist()


def test_the_symmetric_error_is_the_mean_of_both_images() -> None:
    double = np.diag([2.0, 2.0, 1.0])
    # 2 px off in the right image are 1 px in the left one
    assert [1.5] == metrics.errors(points((5, 5)), points((12, 10)), double, symmetric=True).tolist()


def test_precision_counts_errors_below_the_threshold_and_no_match_is_zero() -> None:
    error = np.array([0.5, 1.0, 2.9, 4.0])
    assert [0.25, 0.75, 1.0] == [metrics.precision(error, t) for t in (1, 3, 5)]
    assert 0.0 == metrics.precision(np.empty(0), 1)


def test_matching_score_is_per_keypoint_and_none_is_zero() -> None:
    assert 0.2 == metrics.matching_score(np.array([0.1, 2.0, 7.0]), 10)
    assert 0.0 == metrics.matching_score(np.empty(0), 0)


ALL = np.ones((99, 99), bool)


def test_recall_counts_only_keypoints_with_a_mutual_partner() -> None:
    ours = points((10, 10), (20, 10), (30, 10), (80, 80))
    # the second has two candidates, of which the nearer is mutual; the fourth has none within 3 px
    theirs = points((10.5, 10), (20, 11), (21, 12), (30, 10), (90, 90))
    assert 1 / 3 == metrics.recall((ours, theirs), ours[:1], theirs[:1], EYE, ALL)
    assert 1.0 == metrics.recall((ours, theirs), ours[:3], theirs[[0, 1, 3]], EYE, ALL)
    assert 0.0 == metrics.recall((ours, theirs), ours[:1], theirs[3:4], EYE, ALL)
    assert math.isnan(metrics.recall((ours[3:], theirs[4:]), ours[:0], theirs[:0], EYE, ALL))
    assert math.isnan(metrics.recall((ours[:0], theirs), ours[:0], theirs[:0], EYE, ALL))


def test_recall_of_a_method_that_may_answer_anywhere_is_of_covisible_points() -> None:
    ours, none = points((10, 10), (20, 10), (30, 10), (80, 80)), np.empty((0, 2))
    both = ALL.copy()
    both[70:, 70:] = False
    moved = ours + (0.5, 0)
    assert 1.0 == metrics.recall((ours, none), ours[:3], moved[:3], EYE, both)
    assert 1 / 3 == metrics.recall((ours, none), ours[:2] + 0.4, points((10.4, 10.4), (27, 10)), EYE, both)
    assert math.isnan(metrics.recall((ours, none), none, none, EYE, ~ALL))


def test_covisible_ground_is_valid_in_both_where_the_truth_says() -> None:
    left, right = np.ones((4, 6), bool), np.ones((4, 6), bool)
    right[2, 3] = False
    both = metrics.covisible(left, right, np.array([[1, 0, 2.0], [0, 1, 1.0], [0, 0, 1]]))
    expected = np.zeros((4, 6), bool)
    expected[:3, :4] = True
    expected[1, 1] = False  # shown at row 2, column 3
    assert np.array_equal(expected, both)


def test_coverage_divides_by_the_cells_that_are_half_covisible() -> None:
    both = np.zeros((80, 80), bool)
    both[:10, :35] = True  # three whole cells and a half one
    correct = points((5, 5), (6, 6), (32, 5), (75, 75))
    assert 0.5 == metrics.coverage(both, correct, (0, 0, 80, 80))
    assert 0.0 == metrics.coverage(both, points(), (0, 0, 80, 80))
    assert math.isnan(metrics.coverage(np.zeros((80, 80), bool), correct, (0, 0, 80, 80)))
    assert math.isnan(metrics.coverage(both, correct, (0, 0, 0, 0)))


def test_a_shared_strip_is_judged_by_its_own_frame() -> None:
    below = np.array([[1, 0, 0], [0, 1, -90.0], [0, 0, 1]])
    assert (0, 90, 100, 100) == metrics.common_box((100, 100), (100, 100), below)
    assert (0, 0, 100, 100) == metrics.common_box((100, 100), (100, 100), SHIFT)
    assert (0, 0, 0, 0) == metrics.common_box((10, 10), (10, 10), np.array([[1, 0, 50.0], [0, 1, 0], [0, 0, 1]]))


def test_the_largest_gap_reaches_from_covisible_ground_to_the_nearest_correct_match() -> None:
    both = np.ones((100, 100), bool)
    assert math.hypot(99.5, 99.5) / 100 == metrics.largest_gap(both, points((0, 0)), (0, 0, 100, 100))
    assert math.isinf(metrics.largest_gap(both, points(), (0, 0, 100, 100)))
    assert math.isnan(metrics.largest_gap(~both, points((0, 0)), (0, 0, 100, 100)))


def test_corner_error_is_the_mean_over_four_corners_and_no_result_is_infinite() -> None:
    box = (0.0, 0.0, 100.0, 50.0)
    assert math.hypot(2.5, 1.5) == pytest.approx(metrics.corner_error(lambda p: p, SHIFT, box))
    wider = np.diag([1.1, 1.0, 1.0])
    assert 5.0 == pytest.approx(metrics.corner_error(lambda p: metrics.project(wider, p), EYE, box))
    assert math.isinf(metrics.corner_error(None, EYE, box))
    assert math.isinf(metrics.corner_error(lambda p: p * np.nan, EYE, box))


def superglue_auc(errors: list[float], thresholds: tuple[float, ...]) -> list[float]:
    """``pose_auc`` of SuperGlue, models/utils.py."""
    trapezoid = getattr(np, "trapezoid", None) or np.trapezoid
    sort_idx = np.argsort(errors)
    errors = np.array(errors.copy())[sort_idx]
    recall = (np.arange(len(errors)) + 1) / len(errors)
    errors = np.r_[0.0, errors]
    recall = np.r_[0.0, recall]
    aucs = []
    for t in thresholds:
        last_index = np.searchsorted(errors, t)
        r = np.r_[recall[:last_index], recall[last_index - 1]]
        e = np.r_[errors[:last_index], t]
        aucs.append(trapezoid(r, x=e) / t)
    return aucs


@given(st.lists(st.one_of(st.floats(0, 20), st.just(math.inf)), min_size=1, max_size=30))
def test_auc_is_that_of_superglue(error: list[float]) -> None:
    assert superglue_auc(error, (1, 3, 5)) == pytest.approx(metrics.auc(error, (1, 3, 5)))


def test_auc_by_hand() -> None:
    # (0, 0) (1, .5) then held to 2: a triangle of .25 and a rectangle of .5
    assert [0.375] == metrics.auc([1.0, math.inf], (2.0,))
    assert [0.0, 0.0] == metrics.auc([math.inf], (1.0, 3.0))
    assert math.isnan(metrics.auc([], (1.0,))[0])


def test_the_interval_is_over_places_and_one_place_has_none() -> None:
    values = np.array([1.0] * 50 + [0.0] * 50)
    assert (0.0, 1.0) == metrics.bootstrap(values, ["a"] * 50 + ["b"] * 50)
    low, high = metrics.bootstrap(values, [str(k) for k in range(100)])
    assert 0.4 == pytest.approx(low, abs=0.03)
    assert 0.6 == pytest.approx(high, abs=0.03)
    assert all(map(math.isnan, metrics.bootstrap(values, ["a"] * 100)))
    assert all(map(math.isnan, metrics.bootstrap(values * np.nan, ["a"] * 50 + ["b"] * 50)))


def two_views(noise: float = 0.0, seed: int = 1) -> tuple[pose.PosePair, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    ground = rng.uniform((-2, -1.5, 4), (2, 1.5, 9), (200, 3))
    K0, K1 = (
        np.array([[700, 0, 320], [0, 710, 240], [0, 0, 1.0]]),
        np.array([[650, 0, 310], [0, 655, 250], [0, 0, 1.0]]),
    )
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = cv2.Rodrigues(np.array([0.05, -0.2, 0.1]))[0], (0.8, 0.1, -0.2)
    seen = []
    for K, P in ((K0, ground), (K1, ground @ T[:3, :3].T + T[:3, 3])):
        image = P @ K.T
        seen.append(image[:, :2] / image[:, 2:] + rng.normal(0, noise, (200, 2)))
    return pose.PosePair(Path("a"), Path("b"), (0, 0), K0, K1, T), *seen


def superglue_epipolar(kpts0, kpts1, T_0to1, K0, K1):
    """``compute_epipolar_error`` of SuperGlue, models/utils.py."""
    kpts0 = (kpts0 - K0[[0, 1], [2, 2]][None]) / K0[[0, 1], [0, 1]][None]
    kpts1 = (kpts1 - K1[[0, 1], [2, 2]][None]) / K1[[0, 1], [0, 1]][None]
    kpts0 = np.concatenate([kpts0, np.ones_like(kpts0[:, :1])], axis=1)
    kpts1 = np.concatenate([kpts1, np.ones_like(kpts1[:, :1])], axis=1)
    t0, t1, t2 = T_0to1[:3, 3]
    t_skew = np.array([[0, -t2, t1], [t2, 0, -t0], [-t1, t0, 0]])
    E = t_skew @ T_0to1[:3, :3]
    Ep0 = kpts0 @ E.T
    p1Ep0 = np.sum(kpts1 * Ep0, -1)
    Etp1 = kpts1 @ E
    return p1Ep0**2 * (1.0 / (Ep0[:, 0] ** 2 + Ep0[:, 1] ** 2) + 1.0 / (Etp1[:, 0] ** 2 + Etp1[:, 1] ** 2))


def test_the_epipolar_distance_is_that_of_superglue() -> None:
    pair, left, right = two_views(noise=2.0)
    literal = superglue_epipolar(left, right, pair.pose, pair.K_left, pair.K_right)
    assert literal.tolist() == pytest.approx(pose.epipolar_distance(pair, left, right).tolist(), rel=1e-9)


def test_exact_points_give_the_exact_pose_and_noise_costs() -> None:
    exact = pose.judge_pose(*two_views(), keypoints=400)
    assert (1.0, 0.5, 200) == (exact.precision, exact.matching_score, exact.matches)
    assert 0.0 == pytest.approx(exact.error, abs=1e-3)
    noisy = [pose.judge_pose(*two_views(noise=20.0, seed=k), keypoints=200) for k in range(4)]
    (clean,), (worse,) = pose.summarise_pose([exact]), pose.summarise_pose(noisy)
    assert (100.0, 100.0, 100.0) == pytest.approx(clean.auc, abs=0.1)
    assert worse.auc[0] < 60
    assert worse.precision < 60


def test_a_pose_from_too_few_points_is_infinitely_wrong_and_counts() -> None:
    pair, left, right = two_views()
    none = pose.judge_pose(pair, left[:0], right[:0], keypoints=0)
    assert (math.inf, 0.0, 0.0, 0) == (none.error, none.precision, none.matching_score, none.matches)
    assert math.isinf(pose.pose_error(pair, left[:4], right[:4]))
    (both,) = pose.summarise_pose([none, pose.judge_pose(pair, left, right, 200)])
    assert 50.0 == pytest.approx(both.auc[2], abs=0.1)


def test_the_sign_of_the_translation_is_folded_away() -> None:
    assert 10.0 == pytest.approx(
        pose._direction_apart(np.array([1.0, 0, 0]), -np.array([np.cos(np.radians(10)), np.sin(np.radians(10)), 0]))
    )


def test_a_pair_file_has_38_fields_a_line(tmp_path) -> None:
    pair, *_ = two_views()
    numbers = [*pair.K_left.ravel(), *pair.K_right.ravel(), *pair.pose.ravel()]
    file = tmp_path / "pairs.txt"
    file.write_text(f"a.jpg sub/b.jpg 1 0 {' '.join(map(repr, map(float, numbers)))}\n\n")
    (read,) = pose.read_pose_pairs(file)
    assert (tmp_path / "a.jpg", tmp_path / "sub/b.jpg", (1, 0)) == (read.left, read.right, read.turns)
    assert np.array_equal(pair.K_right, read.K_right)
    assert np.array_equal(pair.pose, read.pose)


def line(**changes: object) -> str:
    """A line of a pair file, of which some matrix or name is another."""
    pair, *_ = two_views()
    known = {"names": "a b", "turns": "0 0", "K0": pair.K_left, "K1": pair.K_right, "T": pair.pose} | changes
    return " ".join(v if isinstance(v, str) else " ".join(map(str, np.ravel(v))) for v in known.values()) + "\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a b 0 0 1 2 3\n", "line 1 has 7 fields"),
        (line() + line(names="a"), "line 2 has 37 fields"),
        ("a b 0 0 " + "x " * 34 + "\n", "no number"),
        (line(turns="0 half"), "no number"),
        (line(T=np.full((4, 4), np.nan)), "not finite"),
        (line(K1=np.zeros((3, 3))), "without a focal length"),
        (line(T=np.diag([1, 1, -1, 1])), "no rotation"),
        (line(T=np.eye(4)), "in one place"),
        ("\n", "lists no pair"),
    ],
)
def test_a_broken_pair_file_is_refused_in_one_sentence(tmp_path, text: str, said: str) -> None:
    file = tmp_path / "pairs.txt"
    file.write_text(text)
    with pytest.raises(BadList, match=said):
        pose.read_pose_pairs(file)


def test_a_pair_file_that_is_not_there_is_refused_in_one_sentence(tmp_path) -> None:
    with pytest.raises(BadList, match="cannot be read"):
        pose.read_pose_pairs(tmp_path / "absent.txt")


def test_the_tolerance_of_a_pose_is_a_pixel_of_the_images_as_matched() -> None:
    # noise of 1.5 px is 0.375 px in images reduced four times: all matches enter the fit
    pair, left, right = two_views(noise=1.5)
    errors = [pose.pose_error(pair, left, right, scales) for scales in ((1.0, 1.0), (4.0, 4.0))]
    assert errors[1] < errors[0]
