"""Sub-pixel refinement recovers known displacements, and says when it cannot."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel_match.geometry.robust import nmad
from sentinel_match.matching import nodes
from sentinel_match.matching.averages import SURE_DISTINCTNESS
from sentinel_match.matching.subpixel import Refinement, measure
from sentinel_match.raster.raster import Raster


def texture(rows: int = 320, cols: int = 360, seed: int = 0) -> np.ndarray:
    """1/f noise in 0..1: every window of it has structure at every scale."""
    rng = np.random.default_rng(seed)
    fy, fx = np.fft.fftfreq(rows)[:, None], np.fft.fftfreq(cols)[None]
    spectrum = np.fft.fft2(rng.normal(size=(rows, cols))) / (np.hypot(fy, fx) + 0.01)
    spectrum *= np.exp(-((fy**2 + fx**2) / (2 * 0.15**2)))
    image = np.fft.ifft2(spectrum).real
    return (image - image.min()) / np.ptp(image)


def displaced(image: np.ndarray, dx: float, dy: float) -> np.ndarray:
    """The image whose content lies (dx, dy) pixels further right and down, by the Fourier shift theorem."""
    fy, fx = np.fft.fftfreq(image.shape[0])[:, None], np.fft.fftfreq(image.shape[1])[None]
    return np.fft.ifft2(np.fft.fft2(image) * np.exp(-2j * np.pi * (fx * dx + fy * dy))).real


def as_raster(image: np.ndarray, valid: np.ndarray | None = None) -> Raster:
    from affine import Affine
    from odc.geo.geobox import GeoBox

    valid = np.ones(image.shape, bool) if valid is None else valid
    return Raster(image.astype(np.float32), valid, GeoBox(image.shape, Affine(10, 0, 0, 0, -10, 0), "EPSG:32633"))


GRID = np.array([(x, y) for y in range(64, 257, 24) for x in range(64, 297, 24)], float)


@settings(deadline=None, max_examples=12)
@given(st.floats(-2.9, 2.9), st.floats(-2.9, 2.9))
def test_any_displacement_inside_the_search_is_measured_to_a_fiftieth_of_a_pixel(dx: float, dy: float) -> None:
    image = texture()
    measured = measure(as_raster(image), as_raster(displaced(image, dx, dy)), GRID, GRID)
    error = (measured.right - measured.left)[measured.ok] - (dx, dy)
    assert measured.ok.mean() > 0.95
    assert np.abs(np.median(error, axis=0)).max() < 0.02


def test_gain_offset_and_noise_leave_no_bias() -> None:
    image, rng = texture(), np.random.default_rng(1)
    right = 0.3 + 0.5 * displaced(image, 0.37, -1.21) + rng.normal(0, 0.01, image.shape)
    measured = measure(as_raster(image), as_raster(right), GRID, GRID)
    error = (measured.right - measured.left)[measured.ok] - (0.37, -1.21)
    assert measured.ok.mean() > 0.9
    assert np.abs(np.median(error, axis=0)).max() < 0.03


def test_predicted_sigma_covers_the_scatter_of_noise_which_averages_out_better_than_that_of_seasons() -> None:
    image, rng = texture(), np.random.default_rng(2)
    left, right = (im + rng.normal(0, 0.02, image.shape) for im in (image, displaced(image, 0.5, 0.5)))
    measured = measure(as_raster(left), as_raster(right), GRID, GRID)
    error = (measured.right - measured.left)[measured.ok] - 0.5
    assert 0.4 < nmad(error.ravel() / np.repeat(measured.sigma[measured.ok], 2)) < 1.5


def test_a_displacement_beyond_the_search_is_not_ok() -> None:
    image = texture()
    measured = measure(as_raster(image), as_raster(displaced(image, 12, 0)), GRID, GRID)
    assert (measured.ok & (measured.distinct >= SURE_DISTINCTNESS)).mean() < 0.05


def test_an_expectation_brings_a_large_displacement_into_the_search() -> None:
    image = texture()
    measured = measure(as_raster(image), as_raster(displaced(image, 12.25, 0)), GRID, GRID + (11, 1))
    assert measured.ok.mean() > 0.9
    assert abs(np.median((measured.right - measured.left)[measured.ok, 0]) - 12.25) < 0.02


def test_unrelated_images_give_almost_no_distinct_peak() -> None:
    measured = measure(as_raster(texture(seed=1)), as_raster(texture(seed=2)), GRID, GRID)
    assert (measured.ok & (measured.distinct >= SURE_DISTINCTNESS)).mean() < 0.05


@pytest.mark.parametrize("dx", [0.0, 0.25, 0.375, 0.5, 0.75])
def test_there_is_no_bias_at_any_part_of_a_pixel(dx: float) -> None:
    image = texture()
    measured = measure(as_raster(image), as_raster(displaced(image, dx, -dx)), GRID, GRID)
    error = (measured.right - measured.left)[measured.ok] - (dx, -dx)
    assert np.abs(np.median(error, axis=0)).max() < 0.005


def test_what_lies_under_a_mask_does_not_matter() -> None:
    image = texture()
    hidden = np.zeros(image.shape, bool)
    hidden[100:120, :] = True
    right, garbage = displaced(image, 0.3, 0.2), image.copy()
    garbage[hidden] = np.nan
    measured = measure(as_raster(garbage, ~hidden), as_raster(right), GRID, GRID)
    error = (measured.right - measured.left)[measured.ok] - (0.3, 0.2)
    assert measured.ok.mean() > 0.5
    assert np.abs(error).max() < 0.2


def test_windows_mostly_hidden_are_not_ok() -> None:
    image = texture()
    valid = np.zeros(image.shape, bool)
    measured = measure(as_raster(image, valid), as_raster(image), GRID, GRID)
    assert not measured.ok.any()


def test_points_outside_both_images_are_not_ok_and_do_no_harm() -> None:
    image = texture()
    far = np.array([(5.0, 5.0), (-900.0, 40.0), (4000.0, 9000.0), (180.0, 160.0)])
    measured = measure(as_raster(image), as_raster(image), far, far)
    assert [False, False, False, True] == measured.ok.tolist()


def test_nothing_to_measure_is_no_error() -> None:
    image = as_raster(texture())
    assert 0 == len(measure(image, image, np.empty((0, 2)), np.empty((0, 2))))


def test_a_point_is_the_centre_of_its_window_at_a_pixel_corner() -> None:
    # A symmetric blob about the corner (168, 154), a node, is displaced nowhere only if windows are centred on it
    y, x = np.mgrid[:308, :336] + 0.5
    blob = np.exp(-((x - 168) ** 2 + (y - 154) ** 2) / (2 * 6.0**2))
    node = np.array([[168.0, 154.0]])
    measured = measure(as_raster(blob), as_raster(blob[:, ::-1]), node, node)
    assert np.array_equal(node, measured.left)
    assert np.abs(measured.right - measured.left).max() < 0.01


def test_points_far_apart_are_measured_as_if_alone() -> None:
    image = texture(64, 2500)
    image = np.vstack([image] * 4)
    left, right = as_raster(image), as_raster(displaced(image, 0.4, 0.1))
    points = np.array([(100.0, 128.0), (1020.0, 128.0), (1030.0, 128.0), (2400.0, 128.0)])
    together = measure(left, right, points, points)
    alone = [measure(left, right, p[None], p[None]).right[0] for p in points]
    assert np.allclose(together.right, alone, atol=0.02)  # neighbours help where there are some


@pytest.mark.parametrize("wrong", [{"window": 30}, {"window": 12}, {"radius": 1}, {"radius": 17}])
def test_impossible_options_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must"):
        Refinement(**wrong)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 400), st.integers(40, 300), st.integers(40, 300))
def test_a_grid_has_about_as_many_points_as_wanted_and_all_are_valid(wanted: int, rows: int, cols: int) -> None:
    valid = np.ones((rows, cols), bool)
    valid[: rows // 3] = False
    points = nodes.grid(valid, wanted)
    assert valid[points[:, 1].astype(int), points[:, 0].astype(int)].all()
    assert len(points) <= 4 * wanted + 40
