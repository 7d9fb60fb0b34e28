"""Images on grids of all kinds: turned, mirrored, in degrees, in web maps. The answer is that of the plain images."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS
from rasterio.warp import Resampling, reproject

from sentinel_match import matchers
from sentinel_match.errors import NoMatch
from sentinel_match.geometry.grids import metric, on_lattice, same_lattice, working_resolution
from sentinel_match.images import ImageMatcher
from sentinel_match.options import Options
from sentinel_match.pipeline import match_scenes
from sentinel_match.products.catalogue import read_scene
from sentinel_match.raster.raster import Raster, read, warp
from sentinel_match.raster.resample import block_mean
from sentinel_match.testing import Landscape, write_product

if TYPE_CHECKING:
    from numpy.typing import NDArray

PIXELS = 300
SHIFT = (6.4, 18.1)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two dates as GeoTIFFs in UTM, the right one displaced."""
    folder = tmp_path_factory.mktemp("plain")
    paths = []
    for date, displacement in (("2021-05-20", (0.0, 0.0)), ("2021-09-17", SHIFT)):
        made = write_product(folder, Landscape(7), date=date, pixels=PIXELS, displacement=displacement)
        image = read(read_scene(made), "B04")
        numbers = np.rint(image.pixels * 10000).astype(np.uint16)
        paths.append(written(folder / f"{date}.tif", numbers, image.geobox))
    return paths[0], paths[1]


def written(path: Path, pixels: NDArray[Any], grid: GeoBox) -> Path:
    rows, cols = pixels.shape
    profile = {"height": rows, "width": cols, "count": 1, "dtype": pixels.dtype, "nodata": 0}
    with rasterio.open(path, "w", crs=str(grid.crs), transform=grid.affine, **profile) as file:
        file.write(pixels, 1)
    return path


def put_on(image: Path, grid: GeoBox, path: Path) -> Path:
    with rasterio.open(image) as file:
        numbers, transform, crs = file.read(1), file.transform, file.crs
    out = np.zeros(grid.shape, numbers.dtype)
    where = {"dst_transform": grid.affine, "dst_crs": str(grid.crs), "src_transform": transform, "src_crs": crs}
    reproject(numbers, out, **where, src_nodata=0, dst_nodata=0, resampling=Resampling.cubic, tolerance=0.01)
    return written(path, out, grid)


def grid_of(image: Path) -> GeoBox:
    with rasterio.open(image) as file:
        return GeoBox.from_rio(file)


def turned(grid: GeoBox, degrees: float) -> GeoBox:
    side = PIXELS * 10
    centre = grid.affine * (PIXELS / 2, PIXELS / 2)
    affine = Affine.translation(*centre) * Affine.rotation(degrees) * Affine.translation(-side / 2, side / 2)
    exact = affine * Affine.scale(10, -10)
    if degrees % 90 == 0:
        exact = Affine(*(round(v, 6) for v in tuple(exact)[:6]))
    return GeoBox(grid.shape, exact, grid.crs)


def mirrored(grid: GeoBox) -> GeoBox:
    return GeoBox(grid.shape, grid.affine * Affine.translation(0, PIXELS) * Affine.scale(1, -1), grid.crs)


def oblong(grid: GeoBox) -> GeoBox:
    return GeoBox((PIXELS * 4 // 5, PIXELS * 5 // 4), grid.affine * Affine.scale(0.8, 1.25), grid.crs)


def elsewhere(crs: str, size: float) -> Any:
    return lambda grid: grid.to_crs(crs, resolution=size)


GRIDS = {
    "north up": lambda grid: grid,
    "a quarter": lambda grid: turned(grid, 90),
    "half": lambda grid: turned(grid, 180),
    "15 degrees": lambda grid: turned(grid, 15),
    "80 degrees": lambda grid: turned(grid, 80),
    "south up": mirrored,
    "oblong": oblong,
    "web map": elsewhere("EPSG:3857", 16.5),
    "degrees": elsewhere("EPSG:4326", 1.16e-4),
    "plate": elsewhere("EPSG:4087", 12.9),
}


@pytest.mark.parametrize("name", [name for name in GRIDS if name != "north up"])
@pytest.mark.parametrize("both", [False, True])
def test_the_answer_does_not_depend_on_the_grid(
    name: str, both: bool, plain: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    left = put_on(plain[0], GRIDS[name](grid_of(plain[0])), tmp_path / "left.tif")
    right = put_on(plain[1], GRIDS[name](grid_of(plain[1])), tmp_path / "right.tif") if both else plain[1]
    with caplog.at_level(logging.WARNING):
        ties = match_scenes(left, right, Options(matcher=matchers.create("phase"), candidates=200))
    size = max(working_resolution(grid_of(image)) for image in (left, right))
    assert size == pytest.approx(10, rel=0.03)
    assert ties.gsd == pytest.approx(size, rel=1e-3)
    assert float(f"{ties.gsd:.3g}") == ties.gsd  # a round number
    shift = ties.summary.median_dx_m, ties.summary.median_dy_m
    assert shift == pytest.approx(SHIFT, abs=0.6)
    assert not [r.getMessage() for r in caplog.records if "georeference" in r.getMessage()]
    # Positions in each image are those of its own pixels
    assert np.isfinite(ties.left_px).all()
    assert (ties.left_px >= 0).all()
    assert (ties.left_px <= grid_of(left).shape[::-1]).all()


def test_a_right_image_on_any_grid_is_brought_to_the_left_one(plain: tuple[Path, Path], tmp_path: Path) -> None:
    right = put_on(plain[1], turned(grid_of(plain[1]), 30), tmp_path / "right.tif")
    ties = match_scenes(plain[0], right, Options(matcher=matchers.create("phase"), candidates=200))
    assert ties.gsd == 10
    assert (ties.summary.median_dx_m, ties.summary.median_dy_m) == pytest.approx(SHIFT, abs=0.6)


def test_a_grid_that_can_be_worked_on_is_left_alone_and_any_other_is_put_on_the_lattice_of_its_zone() -> None:
    zone = GeoBox((300, 300), Affine(10, 0, 343000, 0, -10, 5851000), "EPSG:32633")
    assert metric(zone) is zone
    for name, change in GRIDS.items():
        grid = metric(change(zone))
        if name == "oblong":
            assert grid == change(zone)
        else:
            assert same_lattice(on_lattice(zone, grid.affine.a), grid), name


def averaged(plain_image: Path, wide: int, high: int, path: Path) -> Path:
    """What a sensor with oblong pixels sees."""
    with rasterio.open(plain_image) as file:
        numbers = file.read(1).astype(np.float32)
    grid = grid_of(plain_image)
    means = block_mean(numbers, (high, wide))
    shape = means.shape
    return written(
        path, np.rint(means).astype(np.uint16), GeoBox(shape, grid.affine * Affine.scale(wide, high), grid.crs)
    )


@pytest.mark.parametrize(("wide", "high"), [(1, 3), (3, 1), (4, 1), (1, 2), (2, 1), (3, 2)])
def test_oblong_pixels_are_compared_as_they_are(wide: int, high: int, plain: tuple[Path, Path], tmp_path: Path) -> None:
    """Brought to squares, both images show the grid that they share: 75 columns of 40 m matched not at all."""
    images = [averaged(image, wide, high, tmp_path / f"{k}.tif") for k, image in enumerate(plain)]
    ties = match_scenes(*images, Options(matcher=matchers.create("phase"), candidates=200))
    assert ties.gsd == pytest.approx(10 * np.sqrt(wide * high))
    error = np.subtract((ties.summary.median_dx_m, ties.summary.median_dy_m), SHIFT)
    assert np.abs(error) == pytest.approx(0, abs=0.06 * 10 * max(wide, high))
    assert ties.summary.hold_out is not None
    assert np.hypot(*error) < ties.summary.hold_out.ce95
    size = f"{10 * wide} x {10 * high} m on the ground: they are compared as they are"
    assert size in " ".join(read_scene(images[0]).notes)


@pytest.mark.parametrize(("left", "right"), [((4, 1), (1, 1)), ((1, 1), (4, 1)), ((3, 1), (1, 3)), ((1, 3), (3, 1))])
def test_oblong_pixels_meet_others(
    left: tuple[int, int], right: tuple[int, int], plain: tuple[Path, Path], tmp_path: Path
) -> None:
    images = [averaged(plain[k], *sides, tmp_path / f"{k}.tif") for k, sides in enumerate((left, right))]
    ties = match_scenes(*images, Options(matcher=matchers.create("phase"), candidates=200))
    error = np.subtract((ties.summary.median_dx_m, ties.summary.median_dy_m), SHIFT)
    widest = 10 * max(*left, *right)
    assert np.hypot(*error) < min(0.06 * widest, ties.summary.hold_out.ce95 if ties.summary.hold_out else 0)


def test_a_grid_of_oblong_pixels_that_must_be_turned_gets_squares_of_their_longer_side() -> None:
    zone = GeoBox((300, 75), Affine(40, 0, 343000, 0, -10, 5851000), "EPSG:32633")
    turned_grid = GeoBox(zone.shape, zone.affine * Affine.rotation(180), zone.crs)
    assert working_resolution(turned_grid) == 40
    assert metric(turned_grid).affine.a == 40


def test_what_is_brought_to_oblong_pixels_keeps_what_both_sides_show(tmp_path: Path) -> None:
    """Averaged to a square as large, 20 m, pixels of 10 m lost half the rows of a grid of 40 x 10 m."""
    fine = GeoBox((160, 160), Affine(10, 0, 343000, 0, -10, 5851000), "EPSG:32633")
    stripes = np.tile(np.array([[0.2], [0.8]], np.float32), (80, 160))  # a row each
    oblong_grid = GeoBox((120, 30), fine.affine * Affine.translation(20, 20) * Affine.scale(4, 1), fine.crs)
    there = warp(Raster(stripes, np.ones(stripes.shape, bool), fine), oblong_grid)
    assert there.valid.all()
    np.testing.assert_allclose(there.pixels, stripes[20:140, :30], atol=0.01)


def test_where_a_map_does_not_face_north_the_zone_does() -> None:
    polar = GeoBox((300, 300), Affine(10, 0, 1_900_000, 0, -10, -900_000), "EPSG:3413")
    lo = GeoBox((300, 300), Affine(10, 0, -100_000, 0, -10, 3_000_000), "EPSG:2048")  # x runs west, y runs south
    krovak = GeoBox((300, 300), Affine(10, 0, -700_000, 0, -10, -1_000_000), "EPSG:5514")
    iceland = GeoBox((300, 300), Affine(10, 0, 2_900_000, 0, -10, 4_900_000), "EPSG:3035")
    assert {326, 327} >= {metric(grid).crs.epsg // 100 for grid in (polar, lo)}
    for grid in (krovak, iceland):
        assert metric(grid) is grid


def test_how_far_a_map_is_from_north_is_said(tmp_path: Path) -> None:
    names = {"EPSG:3035": "27 degrees west", "EPSG:32633": ""}
    for crs, said in names.items():
        path = tmp_path / f"{crs[5:]}.tif"
        place = Affine(10, 0, 2_900_000 if said else 300_000, 0, -10, 4_900_000)
        profile = {"driver": "GTiff", "width": 50, "height": 50, "count": 1, "dtype": "uint8", "crs": crs}
        with rasterio.open(path, "w", transform=place, **profile) as file:
            file.write(np.ones((1, 50, 50), np.uint8))
        notes = read_scene(path).notes
        assert ([f"north of its CRS lies {said} of north: shifts are east and north in that CRS"] if said else []) == [
            *notes
        ]


def test_a_metre_by_any_name_is_one() -> None:
    for name in ("meters", "Metre", "meter"):
        wkt = CRS("EPSG:32633").to_wkt("WKT1_GDAL").replace('UNIT["metre",1', f'UNIT["{name}",1')
        assert metric(grid := GeoBox((300, 300), Affine(10, 0, 343000, 0, -10, 5851000), wkt)) is grid


def test_quarter_turns_lose_no_pixel_and_no_value() -> None:
    zone = GeoBox((200, 300), Affine(10, 0, 343003, 0, -10, 5851007), "EPSG:32633")
    quarter = GeoBox((300, 200), zone.affine * Affine(0, 1, 0, 1, 0, 0), zone.crs)
    assert metric(quarter) == zone


CASES = {
    "plain": (6.15, 18.29),
    "rot90_left": (6.15, 18.29),
    "rot45_left": (6.15, 18.29),
    "epsg3857_both": (6.15, 18.29),
}


@pytest.mark.real
@pytest.mark.parametrize("case", CASES)
def test_cases_of_real_users_get_the_plain_answer(case: str, shared: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = shared.parent / "cases" / case
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    summary = match_scenes(folder / "left.tif", folder / "right.tif").summary
    assert [] == [message for message in caplog.messages if "georeference" in message]
    assert summary.gsd_m == 10
    assert (summary.median_dx_m, summary.median_dy_m) == pytest.approx(CASES[case], abs=0.35)


@pytest.mark.parametrize("side", ["left", "right", "either"])
def test_a_constant_image_has_no_contrast(side: str, plain: tuple[Path, Path], tmp_path: Path) -> None:
    grid = grid_of(plain[0])
    flat = written(tmp_path / "flat.tif", np.full(grid.shape, 700, np.uint16), grid)
    left = plain[0] if side == "right" else flat
    right = plain[1] if side == "left" else flat
    with pytest.raises(NoMatch, match=rf"there is no contrast in .*{side} image"):
        match_scenes(left, right)
    matches = ImageMatcher("sift", "cpu", rotations=(0.0,)).match_images(left, right)
    assert matches.model is None
    assert "no contrast" in matches.why


@pytest.mark.parametrize("aside", [0.25, 0.5, 0.75])
def test_pixels_a_fraction_aside_are_not_interpolated(aside: float, plain: tuple[Path, Path], tmp_path: Path) -> None:
    """Interpolated to the left lattice, they drew the shift by .04 pixels towards whole ones."""
    with rasterio.open(plain[1]) as file:
        pixels, grid = file.read(1), GeoBox.from_rio(file)
    moved = written(
        tmp_path / "aside.tif", pixels, GeoBox(grid.shape, grid.affine * Affine.translation(aside, -aside), grid.crs)
    )
    options = Options(matcher=matchers.create("phase"), candidates=200)
    there, here = (match_scenes(plain[0], right, options).summary for right in (moved, plain[1]))
    assert there.median_dx_m - here.median_dx_m == pytest.approx(10 * aside, abs=0.1)
    assert there.median_dy_m - here.median_dy_m == pytest.approx(10 * aside, abs=0.1)
