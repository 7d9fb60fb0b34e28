"""Semantics in matching: who may be whom, the context of a position, and look-alikes of another class."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sentinel_match.comparison import ClassCount
from sentinel_match.matchers.prior import GeometricPrior
from sentinel_match.matchers.sift import Sift
from sentinel_match.raster.landcover import Class
from sentinel_match.raster.transitions import GROUND_CLASSES, LIKENESS, UNMATCHABLE, Context, Semantics, by_class

SIDE = 64
MIDDLE = np.array([[SIDE / 2, SIDE / 2]])


def even(ground: Class) -> Context:
    return Context(np.full((SIDE, SIDE), ground, np.uint8))


def mosaic(seed: int, classes: int = len(Class)) -> Context:
    blocks = np.random.default_rng(seed).integers(0, classes, (8, 8)).astype(np.uint8)
    return Context(blocks.repeat(8, 0).repeat(8, 1))


def positions(seed: int, count: int = 40) -> NDArray[np.float64]:
    return np.random.default_rng(seed).uniform(-20, SIDE + 20, (count, 2))


def between(left: Class, right: Class) -> float:
    return float(even(left).compatibility(MIDDLE, even(right), MIDDLE)[0, 0])


# Who may be whom


def test_likeness_is_symmetric_one_on_itself_and_positive_definite() -> None:
    np.testing.assert_array_equal(LIKENESS, LIKENESS.T)
    np.testing.assert_array_equal(np.ones(len(GROUND_CLASSES)), np.diag(LIKENESS))
    assert (np.linalg.eigvalsh(LIKENESS) > 0).all()


def test_land_changes_with_the_seasons_and_water_stays_water() -> None:
    land = (Class.VEGETATION, Class.BARE, Class.SNOW)
    for here in land:
        assert all(np.log(0.5) <= between(here, there) <= 0 for there in land)
        assert np.log(0.1) > between(here, Class.WATER) or here == Class.SNOW
    assert np.log(0.05) == pytest.approx(between(Class.WATER, Class.VEGETATION))
    assert 0 == pytest.approx(between(Class.WATER, Class.WATER), abs=1e-6)


@pytest.mark.parametrize("never", UNMATCHABLE)
def test_cloud_corresponds_to_nothing_and_the_unknown_to_anything(never: Class) -> None:
    assert {-np.inf} == {between(never, there) for there in Class} | {between(there, never) for there in Class}
    for unknown in (Class.UNKNOWN, Class.CIRRUS):
        assert {0.0} == {between(unknown, there) for there in Class if there not in UNMATCHABLE}


# Context


def test_shares_are_those_of_the_square_around_a_position() -> None:
    context = mosaic(3)
    x, y = 30.7, 25.2
    square = context.classes[25 - 8 : 25 + 9, 30 - 8 : 30 + 9]
    np.testing.assert_allclose(
        [(square == g).mean() for g in GROUND_CLASSES], context.shares(np.array([[x, y]]))[0], atol=1e-6
    )


def test_what_lies_outside_the_image_is_not_known() -> None:
    context = even(Class.WATER)
    corner, away = context.shares(np.array([[0.5, 0.5], [-30.0, 5.0]]))
    assert 81 / 289 == pytest.approx(corner.sum())  # 9 x 9 of 17 x 17
    assert 0 == away.sum()
    assert [Class.WATER, Class.UNKNOWN] == context.at(np.array([[63.9, 0], [64.0, 0]])).tolist()


@given(seed=st.integers(0, 99))
def test_compatibility_is_symmetric_never_above_zero_and_zero_for_the_same_place(seed: int) -> None:
    a, b, p, q = mosaic(seed), mosaic(seed + 1), positions(seed), positions(seed + 2, 30)
    there, back = a.compatibility(p, b, q), b.compatibility(q, a, p)
    assert ((40, 30), np.float32) == (there.shape, there.dtype)
    np.testing.assert_allclose(there, back.T, atol=1e-5)
    assert (there <= 0).all()
    same = np.diag(a.compatibility(p, a, p))
    clear = ~np.isin(a.at(p), UNMATCHABLE)
    np.testing.assert_allclose(same[clear], 0, atol=1e-5)
    assert np.isinf(same[~clear]).all()


def test_a_shore_is_itself_and_neither_lake_nor_forest() -> None:
    shore = np.full((SIDE, SIDE), Class.WATER, np.uint8)
    shore[:, SIDE // 2 :] = Class.VEGETATION
    here = Context(shore)
    with_itself = here.compatibility(MIDDLE, here, MIDDLE)[0, 0]
    for other in (Class.WATER, Class.VEGETATION):
        apart = here.compatibility(MIDDLE, even(other), MIDDLE)[0, 0]
        assert np.log(0.05) < apart < np.log(0.8) < with_itself + 1e-6


def test_weight_zero_is_neutral_and_the_gate_can_be_opened() -> None:
    a, b = mosaic(5), mosaic(6)
    p, q = positions(5), positions(6)
    usual = a.compatibility(p, b, q)
    possible = np.isfinite(usual)
    for factor in (0.0, 0.5):
        weighed = Context(a.classes, weight=factor).compatibility(p, b, q)
        np.testing.assert_allclose(factor * usual[possible], weighed[possible], atol=1e-6)
        assert np.isinf(weighed[~possible]).all()
    opened = Context(a.classes, gate=False).compatibility(p, Context(b.classes, gate=False), q)
    assert np.isfinite(opened).all()
    np.testing.assert_allclose(usual[possible], opened[possible])


def test_a_crop_sees_what_the_whole_does() -> None:
    whole, inner = mosaic(7), np.random.default_rng(0).uniform(20, 40, (50, 2))
    part = whole.crop(10, 8, 50, 48)
    np.testing.assert_allclose(whole.shares(inner), part.shares(inner - (8, 10)), atol=1e-6)
    np.testing.assert_array_equal(whole.at(inner), part.at(inner - (8, 10)))


def test_no_positions_are_no_error() -> None:
    none = np.empty((0, 2))
    assert (0, 1) == even(Class.BARE).compatibility(none, even(Class.BARE), MIDDLE).shape
    assert (1, 0) == even(Class.BARE).compatibility(MIDDLE, even(Class.BARE), none).shape
    assert (0,) == even(Class.BARE).at(none).shape


# Matching


def texture(seed: int, side: int = 128) -> NDArray[np.float32]:
    noise = np.random.default_rng(seed).normal(size=(side, side)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    return (smooth - smooth.min()) / np.ptp(smooth)


def look_alikes() -> tuple[NDArray[np.float32], Context, NDArray[np.float32], Context]:
    """Left a wood; right the same wood, hazier, and beside it a lake on which it is mirrored sharply."""
    wood = texture(1)
    haze = 0.75 * wood + 0.25 * texture(2)
    classes = np.full((128, 128), Class.VEGETATION, np.uint8)
    lake = np.full((128, 128), Class.WATER, np.uint8)
    return wood, Context(classes), np.hstack([haze, wood]), Context(np.hstack([classes, lake]))


def matched(left: Context | None, right: Context | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    wood, _, both, _ = look_alikes()
    sift = Sift()
    a, b = (sift.describe(image, np.ones(image.shape, bool)) for image in (wood, both))
    found = sift.match(a, b, GeometricPrior(np.eye(3), np.inf, left, right))
    return found.left, found.right


def test_a_look_alike_of_another_class_wins_without_semantics_and_never_with_it() -> None:
    _, left, _, right = look_alikes()
    _, there = matched(None, None)
    assert (right.at(there) == Class.WATER).mean() > 0.9
    here, there = matched(left, right)
    # Where wood and lake share the context, and where the context leaves the image, classes say less
    edge = (abs(there[:, 0] - 128) < 10) | (there[:, 0] > 246)
    assert not (right.at(there[~edge]) == Class.WATER).any()
    right_place = np.hypot(*(there - here).T) < 2
    assert right_place.sum() > 20
    assert right_place.mean() > 0.9


def test_semantics_come_before_the_assignment_not_after_it() -> None:
    """A filter behind the matcher would keep a tenth of the points that semantics find."""
    _, left, _, right = look_alikes()
    _, there = matched(None, None)
    kept = (right.at(there) == Class.VEGETATION).sum()
    assert len(matched(left, right)[0]) > 5 * kept


# Options and report


def test_a_map_is_for_both_images_or_one_for_each() -> None:
    one, two = Path("a.tif"), Path("b.tif")
    assert (None, None) == (Semantics().map_of(0), Semantics().map_of(1))
    paths = [[m.path for side in (0, 1) if (m := Semantics(maps=maps).map_of(side))] for maps in ((one,), (one, two))]
    assert [[one, one], [one, two]] == paths
    with pytest.raises(ValueError, match="not 3"):
        Semantics(maps=(one, two, one))
    with pytest.raises(ValueError, match="0 or more"):
        Semantics(weight=-1)


def test_each_part_can_be_switched_off() -> None:
    classes = mosaic(1).classes
    assert None is Semantics(reweight=False).context(classes)
    assert None is Semantics().context(np.zeros_like(classes))
    context = Semantics(gate=False, weight=0.3).context(classes)
    assert context is not None
    assert (False, 0.3) == (context.gate, context.weight)
    recipes = [Semantics(), Semantics(reweight=False), Semantics(gate=False), Semantics(weight=2)]
    assert 4 == len({str(s.recipe) for s in recipes})


def test_the_report_counts_classes_and_confusions() -> None:
    left = np.array([1, 1, 1, 4, 1], np.uint8)
    right = np.array([1, 1, 5, 4, 1], np.uint8)
    report = by_class(left, right, np.array([True, False, True, False, True]))
    assert {
        "vegetation": ClassCount(points=3, inliers=2),
        "vegetation > snow": ClassCount(points=1, inliers=1),
        "water": ClassCount(points=1, inliers=0),
    } == report
    assert "vegetation" == next(iter(report))
    assert {} == by_class(left[:0], right[:0], np.zeros(0, bool))
