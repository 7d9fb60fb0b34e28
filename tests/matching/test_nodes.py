"""Every node on clear ground is measured once, and which of them become points changes none of their answers."""

from __future__ import annotations

import mmap
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from scipy.ndimage import gaussian_filter, shift

from sentinel_match.matching import displacement as fields
from sentinel_match.matching import nodes
from sentinel_match.matching.subpixel import Refinement, measure
from sentinel_match.raster.raster import Raster

SIDE, MOVED = 320, (0.4, -0.3)
RANDOM = np.random.default_rng(3)
GROUND = sum(gaussian_filter(RANDOM.normal(size=(SIDE, SIDE)), width) * width for width in (1.2, 3, 8))
GROUND = (GROUND - GROUND.min()) / np.ptp(GROUND)
GRID = GeoBox((SIDE, SIDE), Affine(10, 0, 0, 0, -10, 0), "EPSG:32633")


def image(moved: tuple[float, float]) -> Raster:
    pixels = shift(GROUND, moved[::-1], order=5, mode="nearest") + RANDOM.normal(0, 0.01, GROUND.shape)
    return Raster(pixels.astype(np.float32), np.ones(GROUND.shape, bool), GRID)


LEFT, RIGHT = image((0.0, 0.0)), image(MOVED)


def test_by_default_every_node_of_a_small_overlap_becomes_a_point_and_every_other_one_of_a_large_one() -> None:
    small, large = np.ones((20 * nodes.NODE_SPACING,) * 2, bool), np.ones((200 * nodes.NODE_SPACING,) * 2, bool)
    assert 19**2 == len(nodes.grid(small)) == len(nodes.grid(small, small.size))
    assert 99**2 <= len(nodes.grid(large)) <= 100**2


def test_the_nodes_that_become_points_are_some_of_those_that_are_measured() -> None:
    valid = RANDOM.random((600, 500)) < 0.7
    every, some = (set(map(tuple, nodes.grid(valid, count).tolist())) for count in (valid.size, 100))
    assert some < every


def test_a_window_that_was_cut_once_says_what_it_says_when_it_is_cut_again() -> None:
    at = nodes.grid(np.ones((SIDE, SIDE), bool), SIDE**2)
    measurements = measure(LEFT, RIGHT, at, at)
    kept = fields.displacement((LEFT,), (RIGHT,), measurements, Refinement())
    anew = fields.displacement((LEFT,), (RIGHT,), replace(measurements, singles=None), Refinement())
    assert kept is not None
    assert anew is not None
    both = kept.answers.single & anew.answers.single
    assert both.mean() > 0.8
    assert np.abs(kept.answers.whole - anew.answers.whole)[both].mean() < 0.01
    assert np.abs(np.median(kept.answers.whole[both], axis=0) - MOVED).max() < 0.01


@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED"), reason="this system cannot be asked to take memory back")
def test_of_a_mapped_image_no_more_than_a_row_of_blocks_stays_in_memory(tmp_path: Path) -> None:
    rows, cols = 8 * nodes.BLOCK_SIDE_NODES * nodes.NODE_SPACING, 2000
    np.save(tmp_path / "pixels.npy", np.ones((rows, cols), np.float32))
    pixels = np.load(tmp_path / "pixels.npy", mmap_mode="r")
    valid = np.ones((rows, cols), bool)
    mapped = Raster(pixels, valid, GeoBox((rows, cols), Affine(10, 0, 0, 0, -10, 0), "EPSG:32633"))
    points = nodes.grid(valid, 20_000)
    numbers = np.round(points / nodes.NODE_SPACING).astype(np.int64)
    before, most = resident(), 0
    for index in nodes.blocks(numbers, np.ones(len(numbers), bool), (mapped,)):
        low, high = points[index].min(0).astype(int), points[index].max(0).astype(int)
        assert mapped.pixels[low[1] : high[1], low[0] : high[0]].sum() > 0
        most = max(most, resident() - before)
    assert most < pixels.nbytes / 4


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(psutil.Process().memory_info().rss)
