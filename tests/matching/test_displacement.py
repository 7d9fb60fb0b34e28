"""The ground's displacement is measured as finely as single windows bear out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from scipy.ndimage import gaussian_filter, map_coordinates, spline_filter

from sentinel_match import Options, match_scenes
from sentinel_match.matching.displacement import Displacement, displacement
from sentinel_match.matching.nodes import NODE_SPACING
from sentinel_match.matching.subpixel import Refinement, measure
from sentinel_match.raster.raster import Raster
from sentinel_match.testing import Landscape

SIDE = 364
NOISE = 0.004


def texture(seed: int = 0) -> np.ndarray:
    """Invented ground: structure at every scale from three pixels, around 0.3."""
    rng = np.random.default_rng(seed)
    layers = [gaussian_filter(rng.normal(size=(SIDE, SIDE)), width, mode="wrap") * width for width in (1.2, 3, 8, 20)]
    image = sum(layers)
    return 0.3 + 0.03 * image / image.std()


def moved(image: np.ndarray, dx: np.ndarray | float, dy: np.ndarray | float = 0.0) -> np.ndarray:
    """The image whose content lies (dx, dy) pixels further right and down."""
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(float)
    return map_coordinates(spline_filter(image, order=5), [y - dy, x - dx], order=5, prefilter=False, mode="grid-wrap")


def measured(
    left: np.ndarray,
    right: np.ndarray,
    clear: np.ndarray | None = None,
    seen: np.ndarray | None = None,
) -> Displacement:
    """Measure with sensor noise on both, averages first."""
    rng = np.random.default_rng(1)
    clear = np.ones(left.shape, bool) if clear is None else clear
    grid = GeoBox(left.shape, Affine(10, 0, 0, 0, -10, 0), "EPSG:32633")
    images = [
        (Raster((image + rng.normal(0, NOISE, image.shape)).astype(np.float32), clear, grid),)
        for image in (left, right)
    ]
    index = np.arange(2, SIDE // NODE_SPACING - 1)
    x, y = np.meshgrid(index, index)
    nodes = np.column_stack([x.ravel(), y.ravel()]) * float(NODE_SPACING)
    averages = measure(images[0][0], images[1][0], nodes, nodes)
    field = displacement(images[0], images[1], averages, Refinement(), None if seen is None else (seen, seen))
    assert field is not None
    return field


def x_of(field: Displacement) -> np.ndarray:
    return field.nodes[:, 0].reshape(field.measured.shape)


@pytest.fixture(scope="module")
def ground() -> np.ndarray:
    return texture()


def true_wave(length: float, size: float, x: np.ndarray) -> np.ndarray:
    """Displacement at left positions, where the wave is given at right ones; both in pixels from the corner."""
    to = x.copy()
    for _ in range(30):
        to = x + size * np.sin(2 * np.pi * (to - 0.5) / length)
    return to - x


@pytest.mark.parametrize("length", [64, 128])
def test_a_known_wave_is_followed(ground: np.ndarray, length: float) -> None:
    x = np.arange(SIDE)[None]
    field = measured(ground, moved(ground, 0.75 * np.sin(2 * np.pi * x / length)))
    truth = true_wave(length, 0.75, x_of(field))
    found = field.field.whole[..., 0]
    followed = np.cov(found.ravel(), truth.ravel())[0, 1] / truth.var()
    assert followed >= 0.85
    error = found - truth
    assert np.sqrt((error**2).mean()) < (0.12 if length == 64 else 0.09)
    assert 0.4 < (error / np.sqrt(field.field.variance[..., 0])).std() < 1.4
    assert np.abs(field.field.whole[..., 1]).mean() < 0.03


@pytest.mark.parametrize("shift", [(0.0, 0.0), (1.37, -0.52)])
def test_a_constant_shift_is_measured_everywhere_and_is_no_field(
    ground: np.ndarray, shift: tuple[float, float]
) -> None:
    field = measured(ground, moved(ground, *shift))
    error = field.field.whole - shift
    assert np.abs(np.median(error, axis=(0, 1))).max() < 0.01
    assert np.abs(error).max() < 0.09
    assert np.sqrt((error**2).mean()) < 0.02
    assert np.median(field.field.width) > 4  # nodes: as wide an average as there is
    assert field.measured.all()


def test_the_halves_know_the_ground_and_err_apart(ground: np.ndarray) -> None:
    answers = measured(ground, moved(ground, 0.5, 0.25)).answers
    one, other = ((half - (0.5, 0.25))[answers.single] for half in (answers.one, answers.other))
    assert np.abs(np.median([one, other], axis=1)).max() < 0.02
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] < 0.4


@pytest.mark.parametrize("shape", ["curved", "broken"])
def test_ground_far_from_one_plane_is_believed_where_its_surroundings_bear_it_out(
    ground: np.ndarray, shape: str
) -> None:
    x = np.arange(SIDE)[None] / SIDE * 2 - 1
    dx = 1.2 * x**2 if shape == "curved" else np.where(x > 0.1, 0.65, 0.0)
    field = measured(ground, moved(ground, dx))
    assert field.answers.single.mean() > 0.95
    here = x_of(field) / SIDE * 2 - 1
    truth = 1.2 * here**2 if shape == "curved" else np.where(here > 0.1, 0.65, 0.0)
    assert np.median(np.abs(field.field.whole[..., 0] - truth)) < 0.05


def test_a_wave_under_different_seasons_is_followed_no_worse_than_by_one_shift(ground: np.ndarray) -> None:
    x = np.arange(SIDE)[None]
    wave = moved(ground, 0.75 * np.sin(2 * np.pi * x / 96))
    other = 0.55 * wave + 0.45 * moved(texture(seed=7), 0)
    field = measured(ground, other)
    truth = true_wave(96, 0.75, x_of(field))
    assert np.sqrt(((field.field.whole[..., 0] - truth) ** 2).mean()) < np.sqrt((truth**2).mean())


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("lines", [1, 2, 3])
def test_few_rows_or_columns_of_nodes_have_a_field_and_one_alone_has_none(
    ground: np.ndarray, lines: int, *, across: bool
) -> None:
    wave = moved(ground, 0.75 * np.sin(2 * np.pi * np.arange(SIDE)[None] / 96))  # strained: laid back, and asked again
    grid = GeoBox(ground.shape, Affine(10, 0, 0, 0, -10, 0), "EPSG:32633")
    images = [
        Raster((each.T if across else each).astype(np.float32), np.ones(each.shape, bool), grid)
        for each in (ground, wave)
    ]
    nodes = np.stack(np.meshgrid(np.arange(2, SIDE // NODE_SPACING - 1), np.arange(9, 9 + lines)), -1).reshape(-1, 2)
    nodes = nodes[:, :: -1 if across else 1] * float(NODE_SPACING)
    averages = measure(*images, nodes, nodes)
    field = displacement((images[0],), (images[1],), averages, Refinement())
    if lines == 1:
        assert field is None
        return
    assert field is not None
    along = field.nodes[:, int(across)].reshape(field.measured.shape)
    assert np.median(np.abs(field.field.whole[..., int(across)] - true_wave(96, 0.75, along))) < 0.1


MIDDLE = (112, 252)
"""Rows and columns that are bright in both images, and taken for cloud."""


def under(field: Displacement) -> np.ndarray:
    """Nodes whose windows lie wholly in the bright part of both."""
    at = field.nodes.reshape(*field.measured.shape, 2)
    return ((at > MIDDLE[0] + 20) & (at < MIDDLE[1] - 20)).all(-1)


@pytest.mark.parametrize("drift", [0.0, 2.4])
def test_bright_ground_taken_for_cloud_is_used_only_where_its_surroundings_bear_it_out(
    ground: np.ndarray, drift: float
) -> None:
    """Snow and quarries stay where they are; a cloud has moved when the second image is taken."""
    bright = np.zeros(ground.shape)
    bright[MIDDLE[0] : MIDDLE[1], MIDDLE[0] : MIDDLE[1]] = 1
    cover = texture(seed=3) + 0.3
    one, cloud = (np.where(bright > 0, cover, ground), moved(cover, 0.4 + drift))
    other = np.where(moved(bright, 0.4 + drift) > 0.5, cloud, moved(ground, 0.4))
    clear = (bright == 0) & (moved(bright, 0.4 + drift) < 0.5)
    field = measured(one, other, clear, np.ones(ground.shape, bool))
    inside = under(field)
    assert field.covered[inside].all()
    used = field.measured[inside].mean()
    assert used == 1 if drift == 0 else used < 0.1
    off = np.abs(field.field.whole[inside] - (0.4, 0))
    assert off.max() < 0.12
    if drift == 0:
        unseen = measured(one, other, clear)
        assert not unseen.measured[under(unseen)].any()


def test_beside_holes_points_err_by_no_more_than_sigma_says(tmp_path: Path) -> None:
    """A hard edge of what is valid drew points beside it to whole pixels: by 0.1 px of half a pixel."""
    side, shift = 500, (5.0, 0.0)
    box = GeoBox((side, side), Affine(10, 0, 399_960, 0, -10, 5_000_040), "EPSG:32633")
    y, x = np.indices((side, side))
    paths = []
    for k, moved in enumerate(((0.0, 0.0), shift)):
        rng = np.random.default_rng(k)
        numbers = 1 + 10_000 * Landscape(51).render(box, "spring", displacement=moved) + rng.normal(0, 5, (side, side))
        for column, row, radius in zip(*rng.uniform(0, side, (2, 10)), rng.uniform(20, 45, 10), strict=True):
            numbers[(x - column) ** 2 + (y - row) ** 2 < radius**2] = 0
        paths.append(tmp_path / f"{k}.tif")
        profile = {"count": 1, "height": side, "width": side, "dtype": "uint16", "nodata": 0, "transform": box.affine}
        with rasterio.open(paths[-1], "w", driver="GTiff", crs="EPSG:32633", **profile) as file:
            file.write(numbers.clip(0, None).astype(np.uint16), 1)
    ties = match_scenes(*paths, Options(matcher="phase"))
    off = (ties.shift[ties.inlier, 0] - shift[0]) / 10
    sigma = ties.sigma_m[ties.inlier] / 10
    assert ties.inlier.sum() > 300
    assert np.sqrt((off**2).mean()) < 0.03  # 0.05 with hard edges
    assert (np.abs(off) < sigma).mean() > 0.8
    assert (np.abs(off) < 2 * sigma).mean() > 0.95  # 0.87 with hard edges
