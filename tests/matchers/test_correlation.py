"""Correlation surfaces: where two windows agree, how well, and what does not change the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from sentinel_match.matchers.correlation import Correlator, Part, Peaks, Surfaces, orientation, part, peaks
from sentinel_match.testing.checks import example_pair

VIEWS = ("intensity", "orientation")
CPU = torch.device("cpu")
WINDOW = 64
GRID = np.array([(x, y) for y in range(48, 176, 16) for x in range(48, 176, 16)], float)
GROUND = example_pair((0.0, 0.0), size=224).left
EVERYWHERE = np.ones(GROUND.shape, bool)


def correlator(
    left: Sequence[np.ndarray],
    right: Sequence[np.ndarray],
    view: str,
    valid: tuple[np.ndarray, np.ndarray] = (EVERYWHERE, EVERYWHERE),
    points: np.ndarray = GRID,
) -> Correlator:
    sides = [
        part(images, v, points, WINDOW // 2 + 8, view, CPU) for images, v in zip((left, right), valid, strict=True)
    ]
    return Correlator(sides[0], sides[1], WINDOW, view)


def surfaces(left: np.ndarray, right: np.ndarray, view: str, radius: int = 6, **masks: Any) -> Surfaces:
    return correlator([left], [right], view, **masks).surfaces(GRID, GRID, radius)


def found(left: np.ndarray, right: np.ndarray, view: str, radius: int = 6) -> Peaks:
    return peaks(surfaces(left, right, view, radius).height)


def scatter(top: Peaks, truth: tuple[float, float]) -> float:
    return float(np.sqrt(np.mean((top.shift - truth) ** 2)))


@pytest.mark.parametrize("view", VIEWS)
def test_identical_content_peaks_at_one_at_zero(view: str) -> None:
    seen = surfaces(GROUND, GROUND, view)
    top = peaks(seen.height)
    assert np.abs(top.shift).max() < 1e-3
    assert np.allclose(1, top.quality, atol=1e-3)
    assert torch.allclose(torch.tensor(1.0), seen.height[:, 6, 6], atol=1e-3)
    assert torch.allclose(torch.tensor(1.0), seen.clear)
    assert top.inside.all()
    assert top.second.max() < 0.2


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("truth", [(3.0, -2.0), (0.5, 0.5), (-0.25, 1.75), (-3.4, 0.1), (0.9, -1.6)], ids=str)
def test_a_displacement_is_found_at_every_phase_without_bias(view: str, truth: tuple[float, float]) -> None:
    top = found(GROUND, example_pair(truth, size=224).right, view)
    # Unit vectors are no longer band-limited, so orientation leans a little to the nearest whole pixel
    assert np.abs(np.median(top.shift - truth, axis=0)).max() < {"intensity": 0.035, "orientation": 0.08}[view]
    assert scatter(top, truth) < {"intensity": 0.04, "orientation": 0.1}[view]
    assert top.quality.min() > 0.45


@pytest.mark.parametrize("view", VIEWS)
def test_swapping_left_and_right_turns_the_surface_around(view: str) -> None:
    sides = [GROUND], [example_pair((2.4, -1.3), size=224).right]
    there, back = (correlator(*pair, view).surfaces(GRID, GRID, 5) for pair in (sides, sides[::-1]))
    assert torch.allclose(there.height.flip(1, 2), back.height, atol=1e-5)
    assert torch.equal(there.clear, back.clear)


@pytest.mark.parametrize("view", VIEWS)
@given(st.floats(-2.5, 2.5), st.floats(-2.5, 2.5))
@settings(max_examples=10)
def test_a_fractional_expectation_shifts_the_surface_by_just_that(view: str, x: float, y: float) -> None:
    top = peaks(correlator([GROUND], [GROUND], view).surfaces(GRID[::9], GRID[::9] + (x, y), 5).height)
    assert np.abs(top.shift + (x, y)).max() < 0.05
    assert np.abs(top.quality - 1).max() < 0.07


def test_where_the_right_window_is_cut_moves_no_peak_far() -> None:
    both = correlator([GROUND], [example_pair((2.4, -1.3), size=224).right], "intensity")
    to = GRID + (2.3, -1.6)
    low, high = (peaks(both.surfaces(GRID, to, 4, cut).height).shift for cut in (np.floor(to), np.ceil(to)))
    assert np.abs(low - (0.1, 0.3)).max() < 0.25
    assert np.abs(low - high).max() < 0.15


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(("gain", "offset"), [(0.3, 0.5), (2.5, -0.4)])
def test_gain_and_offset_change_hardly_anything(view: str, gain: float, offset: float) -> None:
    truth = (1.3, -0.6)
    right = example_pair(truth, size=224).right
    plain, changed = found(GROUND, right, view), found(GROUND, gain * right + offset, view)
    assert np.abs(np.median(changed.shift - plain.shift, axis=0)).max() < 0.04
    assert np.median(np.abs(changed.quality - plain.quality)) < 0.1


def test_brightness_that_changes_from_field_to_field_hurts_intensity_more_than_orientation() -> None:
    truth, rng = (1.3, -0.6), np.random.default_rng(3)
    right = example_pair(truth, size=224).right
    factor = np.exp(3.2 * gaussian_filter(rng.normal(size=right.shape), 9) * 9 * np.sqrt(4 * np.pi))
    changed = (right * factor / np.median(factor)).astype(np.float32)
    intensity, orientation = (found(GROUND, changed, view) for view in VIEWS)
    assert scatter(orientation, truth) < scatter(intensity, truth)
    assert np.abs(np.median(orientation.shift - truth, axis=0)).max() < 0.1


@pytest.mark.parametrize("wild", [np.nan, np.inf, 1e6, -3.0])
@pytest.mark.parametrize("view", VIEWS)
def test_what_a_mask_hides_changes_nothing(view: str, wild: float) -> None:
    valid = EVERYWHERE.copy()
    valid[90:120, 60:110] = False
    valid[130:, 150:] = False
    right = example_pair((1.3, -0.6), size=224).right
    poisoned = np.where(valid, right, np.float32(wild))
    clean, dirty = (surfaces(GROUND, r, view, valid=(EVERYWHERE, valid)) for r in (right, poisoned))
    assert torch.equal(clean.height, dirty.height)
    assert torch.equal(clean.clear, dirty.clear)
    assert clean.clear.min() < 0.5


@pytest.mark.parametrize("view", VIEWS)
def test_the_ground_beside_a_mask_is_still_found(view: str) -> None:
    valid = EVERYWHERE.copy()
    valid[90:110] = False
    seen = surfaces(GROUND, example_pair((1.3, -0.6), size=224).right, view, valid=(valid, EVERYWHERE))
    top, enough = peaks(seen.height), seen.clear.numpy() > 0.6
    assert 10 < enough.sum() < len(GRID)
    assert np.abs(top.shift[enough] - (1.3, -0.6)).max() < 0.5


@pytest.mark.parametrize("view", VIEWS)
def test_a_clean_band_beside_a_noisy_one_helps(view: str) -> None:
    truth, rng = (1.3, -0.6), np.random.default_rng(4)
    right = example_pair(truth, size=224).right
    noisy = [(image + rng.normal(0, 0.25, image.shape)).astype(np.float32) for image in (GROUND, right)]
    alone = found(*noisy, view)
    both = peaks(correlator([noisy[0], GROUND], [noisy[1], right], view).surfaces(GRID, GRID, 6).height)
    assert scatter(both, truth) < scatter(alone, truth) / 2
    assert np.median(both.quality) > np.median(alone.quality) + 0.2


def test_bands_count_alike_and_their_order_does_not_matter() -> None:
    one, other = GROUND, np.ascontiguousarray(GROUND[::-1])
    seen = [
        correlator(bands, bands[::-1] if cross else bands, "intensity").surfaces(GRID, GRID, 4).height
        for bands in ([one, other], [other, one])
        for cross in (False, True)
    ]
    assert torch.allclose(seen[0], seen[2], atol=1e-5)
    assert torch.allclose(seen[1], seen[3], atol=1e-5)
    single = correlator([one], [one], "intensity").surfaces(GRID, GRID, 4).height
    twice = correlator([one, one], [one, one], "intensity").surfaces(GRID, GRID, 4).height
    assert torch.allclose(single, twice, atol=1e-5)


def test_without_an_image_there_is_nothing_to_correlate() -> None:
    empty = Part((), torch.ones((80, 80), dtype=torch.bool), torch.tensor([0, 0]), None)
    with pytest.raises((ValueError, IndexError)):
        Correlator(empty, empty, WINDOW, "intensity").surfaces(np.array([[40.0, 40.0]]), np.array([[40.0, 40.0]]), 3)


def test_what_lies_outside_the_image_is_not_clear() -> None:
    points = np.array([(112, 112), (0, 112), (0, 0), (-64, 112), (112, 400), (-9e6, 9e6)], float)
    both = correlator([GROUND], [GROUND], "intensity", points=points)
    clear = both.surfaces(points, points, 4).clear.tolist()
    assert pytest.approx([1, 0.5, 0.25, 0, 0, 0], abs=0.02) == clear


def test_one_wild_expectation_does_not_disturb_the_others() -> None:
    at, to = GRID.copy(), GRID.copy()
    to[7] = (1e7, -1e7)
    both = correlator([GROUND], [GROUND], "intensity", points=to)
    seen = both.surfaces(at, to, 4)
    others = np.arange(len(GRID)) != 7
    assert 0 == seen.clear[7]
    assert np.abs(peaks(seen.height).shift[others]).max() < 1e-3


@given(st.integers(-60, 280), st.integers(-60, 280), st.integers(0, 40))
@settings(max_examples=30)
def test_a_part_is_the_image_where_there_is_one_and_not_valid_elsewhere(x: int, y: int, margin: int) -> None:
    points = np.array([(x, y), (x + 20, y + 31)], float)
    cut = part([GROUND], EVERYWHERE, points, margin, "intensity", CPU)
    x0, y0 = cut.origin.tolist()
    rows, cols = cut.valid.shape
    v, u = np.mgrid[y0 : y0 + rows, x0 : x0 + cols]
    inside = (u >= 0) & (v >= 0) & (u < GROUND.shape[1]) & (v < GROUND.shape[0])
    assert np.array_equal(inside, cut.valid.numpy())
    assert np.array_equal(GROUND[v[inside], u[inside]], cut.pixels[0].numpy()[inside])
    assert not cut.pixels[0].numpy()[~inside].any()


def test_a_point_is_measured_the_same_whoever_is_measured_with_it() -> None:
    right = example_pair((1.3, -0.6), size=224).right
    both = correlator([GROUND], [right], "orientation")
    many = np.tile(GRID, (3, 1))  # several batches
    together, alone = both.surfaces(many, many, 4), both.surfaces(GRID[5:6], GRID[5:6], 4)
    assert both.batch < len(many)
    assert torch.allclose(alone.height[0], together.height[len(GRID) + 5], atol=1e-5)


def test_the_gradient_points_uphill_and_is_unknown_beside_what_is_hidden() -> None:
    y, x = np.mgrid[:20, :30].astype(np.float32)
    valid = np.ones((20, 30), bool)
    valid[10, 15] = False
    slope, known = orientation(torch.from_numpy(x + 2 * y), torch.from_numpy(valid))
    expected = (1 + 2j) / (np.sqrt(5) + 0.01)
    inner = known.numpy().copy()
    inner[[0, -1]] = inner[:, [0, -1]] = False
    assert np.allclose(expected, slope.numpy()[inner], atol=1e-5)
    assert 9 == (~known).sum()
    assert not slope.numpy()[~known.numpy()].any()


# Peaks


@given(st.floats(-2.4, 2.4), st.floats(-2.4, 2.4), st.floats(0.05, 1), st.floats(0.7, 1.5))
def test_the_top_of_a_gaussian_is_found_exactly(x: float, y: float, height: float, sigma: float) -> None:
    v, u = np.mgrid[-4:5, -4:5]
    surface = height * np.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * sigma**2))
    # Where the surface falls below a thousandth it is cut, so only neighbours above that are exact
    if height * np.exp(-(1.5**2 + 0.5**2) / (2 * sigma**2)) < 1e-3:
        return
    top = peaks(torch.from_numpy(surface[None]).float())
    assert np.abs(top.shift[0] - (x, y)).max() < 1e-3
    assert pytest.approx(height, rel=1e-3) == top.quality[0]
    assert top.inside[0]


def test_the_rim_of_the_search_is_no_maximum() -> None:
    v, u = np.mgrid[-3:4, -3:4]
    ramps = np.stack([np.exp(-((u - 5) ** 2 + v**2) / 8), np.exp(-((u - 1) ** 2 + (v + 6) ** 2) / 8)])
    assert [False, False] == peaks(torch.from_numpy(ramps).float()).inside.tolist()


def test_second_sees_troughs_as_well_as_peaks_but_not_the_peaks_own_flanks() -> None:
    surface = torch.zeros((3, 9, 9))
    surface[:, 4, 4] = 0.8
    surface[:, 3:6, 3:6] += 0.1
    surface[0, 1, 7], surface[1, 7, 1] = 0.5, -0.6
    assert pytest.approx([0.5, 0.6, 0.0]) == peaks(surface).second.tolist()


def test_inverted_contrast_is_betrayed_by_a_trough_deeper_than_any_peak() -> None:
    top = found(GROUND, (1 - GROUND).astype(np.float32), "intensity")
    assert (top.second > 0.9).all()
    assert (top.quality < 0.5 * top.second).all()
