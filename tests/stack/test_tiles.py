"""Windows out of kept tiles: the same pixels, and each tile decoded once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from builders import summary_of
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from sentinel_match.geometry.transform import PlaneTransform, Transform
from sentinel_match.products.catalogue import read_scene
from sentinel_match.raster import bands
from sentinel_match.raster.bands import around, inside
from sentinel_match.raster.jp2 import Window
from sentinel_match.raster.resample import JP2_TILE, Pixels
from sentinel_match.stack.plan import Preparation
from sentinel_match.stack.prepare import prepare
from sentinel_match.stack.tiles import KEPT_TILES, through_tiles
from sentinel_match.testing import Landscape, write_product
from sentinel_match.tiepoints import TiePoints

PIXELS = np.random.default_rng(3).normal(size=(2200, 1300)).astype(np.float32)


def read(window: Window) -> Pixels:
    part = inside(window, PIXELS.shape)
    return around(PIXELS[part.roi], part, window)


@settings(max_examples=60)
@given(st.integers(-300, 2300), st.integers(-300, 1400), st.integers(1, 1200), st.integers(1, 400))
def test_any_window_shows_what_the_image_shows(row: int, col: int, height: int, width: int) -> None:
    window = Window(row, col, height, width)
    kept = through_tiles(read, Window(-300, -300, 4000, 2500))
    assert np.array_equal(read(window), kept(window), equal_nan=True)


def test_each_tile_is_decoded_once_however_many_windows_there_are_and_none_beyond_the_extent() -> None:
    decoded: list[Window] = []

    def counted(window: Window) -> Pixels:
        decoded.append(window)
        return read(window)

    extent = Window(100, 50, 2000, 1100)
    kept = through_tiles(counted, extent)
    for row in range(100, 1980, 60):
        for col in range(50, 1000, 60):
            kept(Window(row, col, 128, 128))
    assert 6 == len(decoded)  # 3 x 2 tiles
    assert extent.height * extent.width == sum(w.height * w.width for w in decoded)
    assert all(w.height <= JP2_TILE and w.width <= JP2_TILE for w in decoded)
    assert KEPT_TILES >= 22  # what a row of windows across a whole tile touches, one tile high or two


def test_the_proof_of_a_stack_decodes_no_pixel_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = (
        read_scene(write_product(tmp_path, Landscape(7), date=date, pixels=600, displacement=by))
        for date, by in (("2021-05-20", (0.0, 0.0)), ("2021-09-17", (6.4, 18.1)))
    )
    matrix = np.array([[1, 0, 6.4], [0, 1, 18.1], [0, 0, 1.0]])
    transform = Transform(PlaneTransform("translation", matrix, np.zeros(2)))
    grid = left.band("B04").geobox
    assert isinstance(grid, GeoBox)
    at, one = np.array([[grid.affine.c, grid.affine.f]]), np.ones(1)
    ties = TiePoints(
        left=left, right=right, left_xy=at, right_xy=transform(at), left_px=at, right_px=at, sigma_m=one, score=one,
        residual_m=one, inlier=one > 0, method=np.array(["phase"]),
        summary=summary_of(transform, points=1, inliers=1, crs=str(grid.crs)),
    )  # fmt: skip
    decoded = 0
    plain = bands.read_rasterio

    def counted(asset, window=None, level=0, index=1, out=None):  # type: ignore[no-untyped-def]
        nonlocal decoded
        pixels = plain(asset, window, level, index, out)
        decoded += pixels.size if asset == right.band("B04").asset else 0
        return pixels

    monkeypatch.setattr(bands, "read_rasterio", counted)
    stack = prepare(ties, tmp_path / "stack", Preparation(bands="B04"))
    assert stack.residual.looks > 40
    # For its masks, for the stack, and for the proof
    assert decoded < 3.2 * 600 * 600
