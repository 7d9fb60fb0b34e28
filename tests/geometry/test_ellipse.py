"""Uncertainty by direction: circles where texture is alike along every one, ellipses where it is lacking along one."""

from __future__ import annotations

import numpy as np
import pytest

from sentinel_match.geometry.ellipse import Ellipses

REACH = 40.0


def texture(along: float, across: float = 0.5, azimuth: float = 30.0) -> np.ndarray:
    """Curvature along and across a direction, degrees clockwise from north."""
    turn = np.radians(azimuth)
    axes = np.array([[np.sin(turn), np.cos(turn)], [np.cos(turn), -np.sin(turn)]])
    return axes.T @ np.diag([along, across]) @ axes


def ellipse(along: float, across: float = 0.5, sigma: float = 2.0) -> tuple[float, float, float]:
    one = Ellipses.of(np.array([sigma]), texture(along, across)[None], REACH)
    return float(one.major[0]), float(one.minor[0]), float(one.azimuth[0])


def test_texture_along_every_direction_makes_circles() -> None:
    assert ellipse(0.4) == (2, 2, 0)
    assert ellipse(0.16) == (2, 2, 0)


def test_little_texture_along_a_direction_makes_an_ellipse_of_the_same_mean_variance() -> None:
    major, minor, azimuth = ellipse(0.05)
    assert (major**2 + minor**2) / 2 == pytest.approx(4)
    assert major > 1.5 * minor
    assert azimuth == pytest.approx(30)


@pytest.mark.parametrize("along", [0.01, 0.0, -0.01])
def test_no_texture_along_a_direction_leaves_what_is_across_and_knows_nothing_along(along: float) -> None:
    assert ellipse(along) == pytest.approx((REACH, 2, 30))
    assert ellipse(along, sigma=60.0) == pytest.approx((60, 60, 30))


def test_images_that_have_little_in_common_do_not_tell_a_direction() -> None:
    assert ellipse(0.0, across=0.2) == (2, 2, 0)


def test_points_without_a_lattice_have_circles() -> None:
    one = Ellipses.of(np.array([1.0, 3.0]), None, REACH)
    assert one.major.tolist() == one.minor.tolist() == one.sigma.tolist() == [1, 3]


def test_ellipses_are_brought_to_another_sigma_and_rounded_off() -> None:
    one = Ellipses(np.array([4.0, 4.0]), np.array([2.0, 2.0]), np.array([70.0, 70.0]))
    other = one.brought(np.array([1.0, 2.0])).rounded_off(np.array([False, True]))
    assert other.sigma == pytest.approx([1, 2])
    assert other.major[0] / other.minor[0] == pytest.approx(2)
    assert (other.major[1], other.minor[1], other.azimuth[1]) == pytest.approx((2, 2, 0))
    assert one.widened(3.0).minor == pytest.approx(np.hypot(2, 3))
