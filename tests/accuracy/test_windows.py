"""Windows lie evenly on clear ground, and what overlaps counts once."""

from __future__ import annotations

import numpy as np
import pytest
from odc.geo.geobox import GeoBox

from sentinel_match.accuracy.windows import cut, independent, places, step_between
from sentinel_match.raster.raster import Raster

SIDE = 8


@pytest.mark.parametrize(("shape", "step"), [((16, 20), 4), ((80, 80), 8), ((160, 80), 11)])
def test_windows_of_a_small_image_overlap_by_half_and_a_large_one_has_no_more(
    shape: tuple[int, int], step: int
) -> None:
    assert step == step_between(shape, SIDE, 100)


def test_windows_lie_evenly_within_the_image() -> None:
    corners = places(np.ones((19, 30), bool), SIDE, 4, 0.9)
    assert [(1, 1), (5, 1), (9, 1), (13, 1), (17, 1), (21, 1)] == [tuple(corner) for corner in corners[:6]]
    assert 18 == len(corners)
    assert (0, 2) == places(np.ones((7, 30), bool), SIDE, 4, 0.9).shape


def test_a_window_is_as_clear_as_is_asked() -> None:
    valid = np.ones((SIDE, SIDE), bool)
    valid[0] = False
    assert 0 == len(places(valid, SIDE, 4, 0.9))
    assert [[0, 0]] == places(valid, SIDE, 4, 0.875).tolist()


def test_answers_that_overlap_count_once_and_one_always_does() -> None:
    assert 40 == independent(40, SIDE, SIDE) == independent(40, SIDE, 3 * SIDE)
    assert 10 == independent(40, SIDE, SIDE // 2)
    assert 1 == independent(2, SIDE, SIDE // 2)


def test_what_is_cut_is_zero_where_it_is_not_valid_and_nothing_beyond_the_image() -> None:
    pixels = np.arange(1, 301, dtype=np.float16).reshape(15, 20)
    valid = pixels % 2 == 0
    image = Raster(pixels, valid, GeoBox((15, 20), (10, 0, 0, 0, -10, 0), "EPSG:32633"))
    window = cut(image, (12, 7), SIDE)
    assert np.float32 == window.pixels.dtype
    assert np.array_equal(np.where(valid, pixels, 0)[7:15, 12:20], window.pixels)
    assert np.array_equal(valid[7:15, 12:20], window.valid)
    for corner in ((13, 7), (12, 8), (-1, 0), (0, -1)):
        assert cut(image, corner, SIDE) is None
