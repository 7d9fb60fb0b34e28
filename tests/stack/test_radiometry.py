"""The right image in the radiometry of the left one."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sentinel_match.stack import radiometry
from sentinel_match.stack.radiometry import NotNormalised


def pair(
    gain: float, offset: float, changed: float, seed: int = 0, bands: int = 3
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Left and right reflectance with left = gain * right + offset, and a share of the ground that changed."""
    rng = np.random.default_rng(seed)
    count = 40_000
    ground = 0.05 + 0.3 * rng.random((count, bands))
    left = ground + rng.normal(0, 0.002, ground.shape)
    right = (ground - offset) / gain + rng.normal(0, 0.002, ground.shape)
    other = rng.random(count) < changed
    right[other] = 0.4 * rng.random((other.sum(), bands))
    return left, right


@settings(max_examples=5)
@given(st.floats(0.6, 1.6), st.floats(-0.05, 0.05), st.floats(0, 0.35), st.integers(1, 4), st.integers(0, 1000))
def test_gain_and_offset_are_found_although_much_has_changed(
    gain: float, offset: float, changed: float, bands: int, seed: int
) -> None:
    found = radiometry.invariant(*pair(gain, offset, changed, seed, bands))
    np.testing.assert_allclose(gain, found.gain, rtol=0.01)
    np.testing.assert_allclose(offset, found.offset, atol=0.003)


def test_changed_pixels_are_told_from_the_others() -> None:
    left, right = pair(1.2, 0.02, 0.0)
    right[:13_000] = 0.4 * np.random.default_rng(1).random((13_000, 3))
    still = radiometry.irmad(left, right) > radiometry.UNCHANGED
    assert still[13_000:].sum() > 300
    assert still[:13_000].sum() < 0.02 * still.sum()


def test_negative_reflectance_and_no_data_go_through() -> None:
    found = radiometry.invariant(*pair(1.2, -0.01, 0.1))
    line = found(np.array([-0.02, np.nan, 0.3], np.float32), 0)
    np.testing.assert_allclose([1.2 * -0.02 - 0.01, np.nan, 0.35], line, atol=0.005)
    assert np.float32 == line.dtype
    curve = radiometry.alike(*pair(1.2, -0.01, 0.0))
    bent = curve(np.array([-0.5, np.nan, 0.2, 2.0], np.float32), 1)
    assert np.isnan(bent[1])
    assert bent[0] < -0.4
    assert bent[3] > 1.9
    np.testing.assert_allclose(0.23, bent[2], atol=0.005)


def test_a_curve_makes_both_distributions_one() -> None:
    rng = np.random.default_rng(3)
    left, right = rng.beta(2, 5, (50_000, 1)), 0.3 * rng.random((50_000, 1)) ** 2
    found = radiometry.alike(left, right)
    made = found(right[:, 0].astype(np.float32), 0)
    shares = np.linspace(0.01, 0.99, 25)
    np.testing.assert_allclose(np.quantile(left, shares), np.quantile(made, shares), atol=0.003)


def test_what_was_done_can_be_written_down() -> None:
    for found in (radiometry.invariant(*pair(1.2, 0.01, 0.2)), radiometry.alike(*pair(1.2, 0.01, 0.2))):
        said = json.loads(json.dumps(found.to_dict(("B02", "B03", "B04"))))
        assert ["B02", "B03", "B04"] == [row["band"] for row in said["bands"]]
        assert found.method == said["method"]


@pytest.mark.parametrize("method", [radiometry.invariant, radiometry.alike])
def test_too_few_pixels_are_refused(method: object) -> None:
    with pytest.raises(NotNormalised, match="only 20 pixels are clear"):
        method(np.ones((20, 2)), np.ones((20, 2)))  # type: ignore[operator]


def test_bands_that_say_nothing_are_refused() -> None:
    left, right = pair(1, 0, 0)
    with pytest.raises(NotNormalised):
        radiometry.invariant(left, np.zeros_like(right))
    with pytest.raises(NotNormalised):
        radiometry.invariant(left, np.random.default_rng(9).random(right.shape)[::-1] * 0 + 0.1 - 0.2 * left)
