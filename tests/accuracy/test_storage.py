"""Marks that storage left where both images agree are named; ground has none, whatever it shows."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin

from sentinel_match.accuracy.storage import shared_marks
from sentinel_match.raster.raster import Raster
from sentinel_match.testing.noise import octaves

SIDE = 300
STILL = np.zeros(2)


def land(seed: int, noise: float = 0.01) -> np.ndarray:
    x = np.arange(SIDE) * 10.0
    ground = 0.5 + 0.2 * np.asarray(octaves(seed, 20, 2560, 0.7).at(x, x), float)
    return ground + np.random.default_rng(seed).normal(0, noise, ground.shape)


def raster(image: np.ndarray, valid: np.ndarray | None = None) -> Raster:
    grid = GeoBox(image.shape, from_origin(400_000, 5_000_000, 10, 10), "EPSG:32633")
    valid = np.ones(image.shape, bool) if valid is None else valid
    return Raster(np.where(valid, image, 0).astype(np.float32), valid, grid)


def enlarged(image: np.ndarray, factor: float, first: int = 0) -> np.ndarray:
    """Each pixel the nearest of a coarser grid, which begins so many pixels further on."""
    at = (np.floor((np.arange(SIDE - 8) + first) / factor) * factor).astype(int).clip(0, SIDE - 1)
    return image[np.ix_(at, at)] + np.random.default_rng(9).normal(0, 0.005, (SIDE - 8,) * 2)


def compressed(image: np.ndarray, quality: int) -> np.ndarray:
    grey = np.clip(40 + 170 * image, 0, 255).astype(np.uint8)
    file = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(file, cv2.IMREAD_GRAYSCALE), float) / 170


@settings(max_examples=15)
@given(st.integers(0, 99), st.floats(1.6, 6))
def test_pixels_that_both_repeat_are_named_on_other_ground_as_on_the_same(seed: int, factor: float) -> None:
    left, right = (raster(enlarged(land(s), factor)) for s in (seed, seed + 1))
    assert shared_marks(left, right, STILL) == "repeated pixels"


def test_pixels_that_are_repeated_elsewhere_are_no_matter() -> None:
    left, right = raster(enlarged(land(3), 3.0)), raster(enlarged(land(4), 3.0, first=1))
    assert shared_marks(left, right, STILL) == ""
    assert shared_marks(left, right, np.array([-1.02, -0.97])) == "repeated pixels"  # where the points have them
    assert shared_marks(left, raster(land(3)[:-8, :-8]), STILL) == ""  # one image alone


@pytest.mark.parametrize("quality", [20, 40])
def test_blocks_of_both_are_named_where_they_lie_on_each_other(quality: int) -> None:
    left, right = (raster(compressed(land(s), quality)) for s in (5, 6))
    assert shared_marks(left, right, STILL) == "blocks"
    assert shared_marks(left, right, np.array([3.0, 0.0])) == ""
    assert shared_marks(left, raster(land(6)), STILL) == ""


@settings(max_examples=15)
@given(st.integers(0, 99), st.floats(0.001, 0.1))
def test_ground_has_no_marks(seed: int, noise: float) -> None:
    assert shared_marks(raster(land(seed, noise)), raster(land(seed, noise)), STILL) == ""


def test_neither_has_what_is_hidden_or_flat() -> None:
    valid = np.ones((SIDE, SIDE), bool)
    valid[:, ::7] = False
    assert shared_marks(raster(land(1), valid), raster(land(2), valid), STILL) == ""
    assert shared_marks(raster(np.full((SIDE, SIDE), 0.5)), raster(np.full((SIDE, SIDE), 0.5)), STILL) == ""
    assert shared_marks(raster(land(1)[:50, :50]), raster(land(1)[:50, :50]), STILL) == ""


@pytest.mark.parametrize("islands", [12, 40])
def test_a_flat_sea_around_islands_repeats_no_pixels(islands: int) -> None:
    y, x = np.indices((SIDE, SIDE))
    rng, sea = np.random.default_rng(5), np.ones((SIDE, SIDE), bool)
    for _ in range(islands):
        east, south, radius = rng.uniform((0, 0, 2), (SIDE, SIDE, 6))
        sea &= np.hypot(x - east, y - south) > radius
    left, right = (raster(np.where(sea, 0.1, land(seed))) for seed in (1, 2))
    assert shared_marks(left, right, STILL) == ""
