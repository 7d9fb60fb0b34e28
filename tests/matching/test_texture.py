"""Along which directions two images have texture in common, whatever noise each of them has."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from odc.geo.geobox import GeoBox
from rasterio.transform import from_origin

from sentinel_match.matchers.correlation import Part, part
from sentinel_match.matching.texture import around, curvature, overall
from sentinel_match.raster.raster import Raster
from sentinel_match.testing.checks import example_pair

CPU = torch.device("cpu")
LATTICE = np.indices((9, 9)).reshape(2, -1)
GRID = LATTICE[::-1].T * 14.0 + 42
GROUND = example_pair((0.0, 0.0), size=224).left
X, Y = np.meshgrid(np.arange(224.0), np.arange(224.0))
STRIPES = 0.5 + 0.2 * np.sin((0.8 * X + 0.6 * Y) * 2 * np.pi / 11)


def cut(image: np.ndarray, view: str = "intensity", valid: np.ndarray | None = None) -> Part:
    mask = np.ones(image.shape, bool) if valid is None else valid
    return part([image.astype(np.float32)], mask, GRID, 20, view, CPU)


def middle(image: np.ndarray, view: str) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and vectors in the middle of a lattice, of two noisy views of one ground."""
    left, right = (cut(image + np.random.default_rng(k).normal(0, 0.02, image.shape), view) for k in range(2))
    bend = curvature(left, right, GRID, GRID)
    everywhere, kind = np.ones(len(GRID), bool), np.full(len(GRID), view)
    return np.linalg.eigh(around(bend, everywhere, kind, (LATTICE[0], LATTICE[1]), (9, 9))[4, 4])


@pytest.mark.parametrize("view", ["intensity", "orientation"])
def test_stripes_bend_the_correlation_across_themselves_alone(view: str) -> None:
    (along, across), axes = middle(STRIPES, view)
    assert abs(along) < 0.02 * across
    assert 0.25 < across <= 1
    assert abs(axes[:, 1] @ (0.8, 0.6)) > 0.999


@pytest.mark.parametrize("view", ["intensity", "orientation"])
def test_ground_bends_it_along_every_direction(view: str) -> None:
    (least, most), _ = middle(GROUND, view)
    assert least > 0.3 * most
    assert most > 0.25


def test_the_edge_of_what_is_masked_is_no_texture() -> None:
    mask = np.ones(GROUND.shape, bool)
    mask[:, 100:] = False
    side = cut(np.where(mask, 0.5, 9.0), valid=mask)
    assert not curvature(side, side, GRID, GRID).any()


def test_the_texture_of_all_points_together_is_that_of_the_ground() -> None:
    grid = GeoBox(STRIPES.shape, from_origin(0, 0, 10, 10), "EPSG:32633")
    sides = [(Raster(image.astype(np.float32), np.ones(image.shape, bool), grid),) for image in (STRIPES, GROUND)]
    (along, across), axes = np.linalg.eigh(overall(sides[0], sides[0], GRID + 0.3, GRID, "cpu"))
    assert abs(along) < 0.02 * across
    assert abs(axes[:, 1] @ (0.8, 0.6)) > 0.999
    least, most = np.linalg.eigvalsh(overall(sides[1], sides[1], GRID, GRID, "cpu"))
    assert least > 0.3 * most
