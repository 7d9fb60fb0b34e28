"""Big scenes piece by piece: cells of a lattice that all scenes of one zone share.

Cells are counted from the origin of the CRS, not from a scene's corner. Two scenes of one UTM zone therefore have the
same cells wherever their images begin, and what was described in a cell of a scene serves every pair that scene is in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sentinel_match.comparison import Region
from sentinel_match.geometry.grids import origin_of
from sentinel_match.raster.npy import release

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from sentinel_match.raster.raster import Raster

CELL_SIDE = 512
"""Side of a cell in pixels."""
CELL_MARGIN = 64
"""Pixels seen around a cell on each side: the largest shift that loses no match is about this."""
CELL_LEAST_CLEAR = 64 * 64
"""Jointly valid pixels below which a cell is not worth a look."""


@dataclass(frozen=True)
class Cell:
    """One cell of the common lattice."""

    i: int
    """Column of cells, counted east from the CRS origin."""
    j: int
    """Row of cells, counted south from the CRS origin."""

    def window(self, geobox: GeoBox, offset: tuple[int, int] = (0, 0)) -> tuple[int, int, int, int]:
        """Locate the cell, margins included, in a raster on the lattice: (row, col, height, width) of what lies inside.

        Args:
            geobox: of the raster.
            offset: rows and columns by which its content is expected to lie elsewhere.
        """
        row0, col0 = np.subtract(origin_of(geobox), offset)
        top, left = self.j * CELL_SIDE - CELL_MARGIN - row0, self.i * CELL_SIDE - CELL_MARGIN - col0
        bottom, right = top + CELL_SIDE + 2 * CELL_MARGIN, left + CELL_SIDE + 2 * CELL_MARGIN
        rows, cols = geobox.shape
        top, left, bottom, right = max(top, 0), max(left, 0), min(bottom, rows), min(right, cols)
        return top, left, max(bottom - top, 0), max(right - left, 0)

    def holds(self, points: np.ndarray, geobox: GeoBox) -> np.ndarray:
        """Tell which of (N, 2) pixel positions of a raster lie in the cell itself, margins not included."""
        row0, col0 = origin_of(geobox)
        number = np.floor((points + np.array([col0, row0])) / CELL_SIDE)
        return np.asarray((number[:, 0] == self.i) & (number[:, 1] == self.j))


def choose_cells(left: Raster, right: Raster, count: int) -> list[Cell]:
    """Choose the cells worth matching: clear in both, and spread over the overlap.

    Args:
        left: on the common lattice.
        right: on the same lattice (its extent may differ).
        count: at most this many cells.

    Returns:
        Clearest first; each further one is the best product of clear share and distance to those chosen.
    """
    row0, col0 = origin_of(left.geobox)
    rows, cols = left.valid.shape
    cells: list[Cell] = []
    clear: list[float] = []
    for j in range(row0 // CELL_SIDE, (row0 + rows - 1) // CELL_SIDE + 1):
        for i in range(col0 // CELL_SIDE, (col0 + cols - 1) // CELL_SIDE + 1):
            share = _jointly_clear(Cell(i, j), left, right)
            if share > 0:
                cells.append(Cell(i, j))
                clear.append(share)
    release(left.valid, right.valid)
    if not cells:
        return []
    # An overlap on the corner of four cells fills none of them; the margins still show it whole
    worth = [k for k, share in enumerate(clear) if share * CELL_SIDE * CELL_SIDE >= CELL_LEAST_CLEAR] or [
        int(np.argmax(clear))
    ]
    cells, clear = [cells[k] for k in worth], [clear[k] for k in worth]
    position, clear_share = np.array([(c.i, c.j) for c in cells], float), np.array(clear)
    chosen = [int(np.argmax(clear_share))]
    distance = np.hypot(*(position - position[chosen[0]]).T)
    while len(chosen) < min(count, len(cells)):
        best = int(np.argmax(clear_share * distance))
        chosen.append(best)
        distance = np.minimum(distance, np.hypot(*(position - position[best]).T))
    return [cells[k] for k in chosen]


def _jointly_clear(cell: Cell, left: Raster, right: Raster) -> float:
    """Compute the share of the cell that is valid in both images, sampled every eighth pixel."""
    samples = []
    for raster in (left, right):
        row0, col0 = origin_of(raster.geobox)
        top, start = cell.j * CELL_SIDE - row0, cell.i * CELL_SIDE - col0
        rows, cols = (np.arange(o + 4, o + CELL_SIDE, 8) for o in (top, start))
        keep_r, keep_c = ((k >= 0) & (k < n) for k, n in zip((rows, cols), raster.valid.shape, strict=True))
        sample = np.zeros((len(rows), len(cols)), bool)
        sample[np.ix_(keep_r, keep_c)] = raster.valid[np.ix_(rows[keep_r], cols[keep_c])]
        samples.append(sample)
    return float((samples[0] & samples[1]).mean())


def methods_by_cell(image: Raster, points: np.ndarray, method: np.ndarray) -> tuple[Region, ...]:
    """Count which method supplied the points of each region, cell by cell.

    Args:
        image: the raster the points lie in.
        points: (N, 2) x, y in its pixels.
        method: (N,) of each.

    Returns:
        Only cells with points.
    """
    row0, col0 = origin_of(image.geobox)
    affine = image.geobox.affine
    where = np.floor((points + np.array([col0, row0])) / CELL_SIDE).astype(int)
    cells, index = np.unique(where, axis=0, return_inverse=True)
    regions = []
    for k, (i, j) in enumerate(cells.tolist()):
        corners = [affine * (x * CELL_SIDE - col0, y * CELL_SIDE - row0) for x, y in ((i, j + 1), (i + 1, j))]
        (west, south), (east, north) = ((round(x, 3), round(y, 3)) for x, y in corners)
        names, counts = np.unique(method[index.ravel() == k], return_counts=True)
        methods = dict(zip(names.tolist(), counts.tolist(), strict=True))
        regions.append(Region((west, south, east, north), methods))
    return tuple(regions)
