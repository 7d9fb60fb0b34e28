"""Cells of the common lattice."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from sentinel_match.geometry import grids
from sentinel_match.matching import cells
from sentinel_match.matching.cells import CELL_SIDE, Cell
from sentinel_match.raster.raster import Raster


def geobox(x: float, y: float, rows: int, cols: int, step: float = 10, crs: str = "EPSG:32633") -> GeoBox:
    return GeoBox((rows, cols), Affine(step, 0, x, 0, -step, y), crs)


def clear(grid: GeoBox, valid: np.ndarray | None = None) -> Raster:
    valid = np.ones(grid.shape, bool) if valid is None else valid
    return Raster(np.zeros(grid.shape, np.float32), valid, grid)


def test_one_cell_is_the_same_ground_in_every_scene_of_a_zone() -> None:
    one, other = geobox(399960, 5900040, 3000, 3000), geobox(405400, 5904530, 2500, 2000)
    cell = Cell(i=399960 // 10 // CELL_SIDE + 2, j=-5900040 // 10 // CELL_SIDE + 3)
    boxes = []
    for grid in (one, other):
        row, col, height, width = cell.window(grid)
        boxes.append(grid[row : row + height, col : col + width].boundingbox)
    assert boxes[0] == boxes[1]


@given(st.integers(300, 3000), st.integers(300, 3000), st.integers(-50, 50), st.integers(-50, 50))
def test_every_pixel_is_held_by_exactly_one_cell(rows: int, cols: int, di: int, dj: int) -> None:
    grid = geobox(399960 + 60 * di, 5900040 + 60 * dj, rows, cols)
    rng = np.random.default_rng(0)
    points = rng.uniform((0, 0), (cols, rows), (50, 2))
    row0, col0 = grids.origin_of(grid)
    cells = [
        Cell(i, j)
        for j in range(row0 // CELL_SIDE, (row0 + rows) // CELL_SIDE + 1)
        for i in range(col0 // CELL_SIDE, (col0 + cols) // CELL_SIDE + 1)
    ]
    held = np.sum([cell.holds(points, grid) for cell in cells], axis=0)
    assert np.ones(50, int).tolist() == held.tolist()
    for cell in cells:
        row, col, height, width = cell.window(grid)
        inside = points[cell.holds(points, grid)]
        assert ((inside >= (col, row)) & (inside <= (col + width, row + height))).all()


def test_chosen_cells_are_clear_in_both_and_spread() -> None:
    grid = geobox(0, 0, 6 * CELL_SIDE, 6 * CELL_SIDE)
    cloudy = np.ones(grid.shape, bool)
    cloudy[: 3 * CELL_SIDE] = False
    chosen = cells.choose_cells(clear(grid), clear(grid, cloudy), 4)
    assert 4 == len(chosen)
    assert all(c.j >= 3 for c in chosen)
    assert max(c.i for c in chosen) - min(c.i for c in chosen) == 5


def test_no_cell_is_chosen_where_nothing_is_clear() -> None:
    grid = geobox(0, 0, 1000, 1000)
    assert [] == cells.choose_cells(clear(grid), clear(grid, np.zeros(grid.shape, bool)), 4)


def test_a_small_overlap_still_gives_a_cell() -> None:
    one, other = geobox(0, 0, 1000, 1000), geobox(9000, -9000, 1000, 1000)
    assert 1 <= len(cells.choose_cells(clear(one), clear(other), 4)) <= 2


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (geobox(5440, 4490, 50, 50), True),
        (geobox(5445, 4490, 50, 50), False),
        (geobox(5440, 4490, 50, 50, step=20), False),
        (geobox(5440, 4490, 50, 50, crs="EPSG:32632"), False),
    ],
)
def test_grids_that_meet_pixel_by_pixel_share_a_lattice(other: GeoBox, expected: bool) -> None:
    assert expected == grids.same_lattice(geobox(0, 0, 100, 100), other)


def test_the_grid_for_a_warp_lies_on_the_left_lattice_and_covers_the_overlap() -> None:
    left = geobox(699960, 5600040, 1830, 1830, step=60, crs="EPSG:32632")
    right = geobox(199980, 5600040, 1830, 1830, step=60, crs="EPSG:32633")
    grid = grids.covering(left, right, 64)
    assert grids.same_lattice(left, grid)
    shared = left.extent & right.extent.to_crs(left.crs)
    assert grid.extent.contains(shared.buffer(-1))
    assert grid.shape[1] < 1830


def test_grids_that_do_not_meet_have_no_common_part() -> None:
    with pytest.raises(ValueError, match="do not meet"):
        grids.covering(geobox(0, 0, 100, 100), geobox(900000, 0, 100, 100), 64)
