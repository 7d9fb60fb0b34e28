"""The change-ready stack: geometry, reflectance, masks, files."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pystac.validation
import pytest
import rasterio
from affine import Affine
from builders import summary_of
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from PIL import Image
from shapely import box

from sentinel_match.cli import main
from sentinel_match.errors import BadPoints, MissingBand, NoOverlap, NotAProduct, NotComparable, OutputError
from sentinel_match.formats.geojson import dumps
from sentinel_match.formats.write import write
from sentinel_match.geometry.transform import Bend, PlaneTransform, Transform
from sentinel_match.products.catalogue import find_scenes, read_scene
from sentinel_match.products.scene import Asset, Band, Scene
from sentinel_match.raster.bands import around, inside
from sentinel_match.raster.flags import Reason
from sentinel_match.raster.jp2 import Window
from sentinel_match.raster.resample import Pixels
from sentinel_match.stack import layouts
from sentinel_match.stack.plan import Preparation, common_grid
from sentinel_match.stack.prepare import prepare
from sentinel_match.stack.warp import Places, corrected, cubic, move_by
from sentinel_match.testing import Landscape, write_product
from sentinel_match.tiepoints import TiePoints

ZONE = "EPSG:32633"
EAST, NORTH = 300_000.0, 5_900_040.0
SHIFT = (6.4, 18.1)


def grid(rows: int, cols: int, metres: float = 10.0, east: float = EAST, north: float = NORTH) -> GeoBox:
    return GeoBox((rows, cols), Affine(metres, 0, east, 0, -metres, north), ZONE)


def by(east: float, north: float) -> Transform:
    matrix = np.array([[1, 0, east], [0, 1, north], [0, 0, 1.0]])
    return Transform(PlaneTransform("translation", matrix, np.zeros(2)))


def ground(east: NDArray[np.float64], north: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smooth, of many waves of 80 m and more, and negative here and there."""
    rng = np.random.default_rng(8)
    total = np.zeros(np.broadcast(east, north).shape)
    for _ in range(40):
        angle, phase, wave = rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi), rng.uniform(80, 600)
        total += np.sin(2 * np.pi / wave * (np.cos(angle) * east + np.sin(angle) * north) + phase)
    return 0.1 + 0.03 * total


def shown(where: GeoBox, shift: tuple[float, float] = (0, 0)) -> NDArray[np.float64]:
    rows, cols = where.shape
    x, y = np.meshgrid(np.arange(cols) + 0.5, np.arange(rows) + 0.5)
    a = where.affine
    return ground(a.c + a.a * x - shift[0], a.f + a.e * y - shift[1])


def scene(
    folder: Path,
    name: str,
    day: int,
    where: GeoBox,
    shift: tuple[float, float] = (0, 0),
    bands: tuple[str, ...] = ("B04",),
    hole: tuple[slice, slice] | None = None,
) -> Scene:
    """A scene of digital numbers with an offset of -1000; 0 is no data."""
    found = []
    for k, band in enumerate(bands):
        numbers = np.clip(np.rint((1 + 0.2 * k) * shown(where, shift) * 10_000 + 1000), 1, None).astype(np.uint16)
        if hole:
            numbers[hole] = 0
        path = folder / f"{name}_{band}.tif"
        place = {"crs": ZONE, "transform": where.affine, "width": where.shape.x, "height": where.shape.y}
        with rasterio.open(path, "w", driver="GTiff", count=1, dtype="uint16", **place) as file:
            file.write(numbers, 1)
        found.append(Band(band, where.affine.a, Asset(path), where, -1000.0, 10_000.0))
    when = datetime(2021, 6, day, 10, tzinfo=UTC)
    facts: dict[str, Any] = {"sensing_time": when, "spacecraft": "S2B", "tile": "T33UUU", "geobox": where}
    return Scene(name, folder, "L1C", None, "none", tuple(found), **facts)


def opened(path: Path) -> NDArray[Any]:
    with rasterio.open(path) as file:
        pixels: NDArray[Any] = file.read()
    return pixels


def ties_of(left: Scene, right: Scene, transform: Transform) -> TiePoints:
    """One tie point that says nothing but the transform."""
    at, one = np.array([[EAST, NORTH]]), np.ones(1)
    return TiePoints(
        left=left,
        right=right,
        left_xy=at,
        right_xy=transform(at),
        left_px=at,
        right_px=at,
        sigma_m=one,
        score=one,
        residual_m=one,
        inlier=one > 0,
        method=np.array(["phase"]),
        summary=summary_of(transform, points=1, inliers=1),
    )


# Interpolation


@settings(max_examples=25)
@given(st.floats(-30, 30), st.floats(-30, 30), st.floats(-0.05, 0.05), st.floats(0.98, 1.02))
def test_an_image_is_brought_back_by_what_moved_it(east: float, north: float, angle: float, scale: float) -> None:
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([EAST + 400, NORTH - 400])
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = turn, middle - turn @ middle + (east, north)
    warp = Transform(PlaneTransform("similarity", matrix, np.zeros(2)))
    image, target = grid(100, 100, east=EAST - 100, north=NORTH + 100), grid(50, 50, east=EAST + 150, north=NORTH - 150)
    rows, cols = np.mgrid[0:100, 0:100] + 0.5
    at = np.column_stack([EAST - 100 + 10 * cols.ravel(), NORTH + 100 - 10 * rows.ravel()])
    pixels = ground(*warp.back(at).T).reshape(100, 100).astype(np.float32)
    made = np.vstack([s for _, s in corrected(reader(pixels), image, target, move_by(warp, ZONE, ZONE))])
    truth = shown(target)
    assert np.sqrt(np.nanmean((made - truth) ** 2)) < 0.02 * truth.std()
    assert np.isfinite(made).all()


def reader(pixels: Pixels) -> Any:
    def read(window: Window) -> Pixels:
        part = inside(window, pixels.shape)
        return around(pixels[part.roi], part, window)

    return read


def test_an_image_on_the_lattice_is_copied_bit_by_bit_to_its_very_rim() -> None:
    pixels = np.random.default_rng(0).normal(0, 1, (60, 70)).astype(np.float32)
    pixels[10, 20] = np.nan
    made = np.vstack([s for _, s in corrected(reader(pixels), grid(60, 70), grid(60, 70), lambda p: p)])
    np.testing.assert_array_equal(pixels, made)


def test_coarse_pixels_are_means_of_fine_ones() -> None:
    pixels = np.random.default_rng(0).normal(0, 1, (60, 66)).astype(np.float32)
    made = np.vstack([s for _, s in corrected(reader(pixels), grid(60, 66), grid(30, 33, 20.0), lambda p: p)])
    np.testing.assert_allclose(pixels.reshape(30, 2, 33, 2).mean((1, 3)), made, atol=1e-6)


@settings(max_examples=20)
@given(st.floats(2, 17), st.floats(2, 17), st.integers(0, 100))
def test_what_is_not_there_never_bleeds(x: float, y: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.random((20, 20)).astype(np.float32)
    holes = pixels.copy()
    holes[rng.random((20, 20)) < 0.05] = np.nan
    at = x + rng.random(30) - 0.5, y + rng.random(30) - 0.5
    at = np.clip(at[0], 2, 17), np.clip(at[1], 2, 17)
    whole, part = cubic(pixels, *at), cubic(holes, *at)
    known = np.isfinite(part)
    np.testing.assert_array_equal(whole[known], part[known])
    for k in np.flatnonzero(known):
        col, row = int(np.floor(at[0][k] - 0.5)), int(np.floor(at[1][k] - 0.5))
        if (at[0][k] - 0.5) % 1 > 1e-4 or (at[1][k] - 0.5) % 1 > 1e-4:
            assert np.isfinite(holes[row - 1 : row + 3, col - 1 : col + 3]).all()


def test_positions_between_nodes_are_those_of_the_model() -> None:
    origin, extent = np.array([EAST, NORTH - 20_000]), np.array([20_000.0, 20_000.0])
    rng = np.random.default_rng(2)
    waves = Bend("field", origin, 20_000.0, extent, (6, 6), 0.0, rng.normal(0, 3, (81, 2)))
    warp = Transform(by(*SHIFT).plane, waves)
    target = grid(500, 700, north=NORTH - 3000)
    x, y = Places.of(target, grid(2000, 2000), move_by(warp, ZONE, ZONE)).at(slice(0, 500))
    rows, cols = np.mgrid[0:500, 0:700] + 0.5
    metres = warp(np.column_stack([EAST + 10 * cols.ravel(), NORTH - 3000 - 10 * rows.ravel()]))
    assert np.abs(x.ravel() - (metres[:, 0] - EAST) / 10).max() < 0.002
    assert np.abs(y.ravel() - (NORTH - metres[:, 1]) / 10).max() < 0.002


def test_the_grid_is_the_left_lattice_where_the_right_image_lies_after_correction() -> None:
    found = common_grid(grid(100, 100), [grid(100, 100, east=EAST + 200)], by(-50, 30))
    assert (EAST + 250, NORTH - 30) == (found.affine.c, found.affine.f)
    assert (97, 75) == tuple(found.shape)


# The stack


@pytest.mark.parametrize("shift", [SHIFT, (-3.3, 4.9)])
def test_a_known_shift_is_undone_and_the_proof_says_so(shift: tuple[float, float], tmp_path: Path) -> None:
    left, right = scene(tmp_path, "L", 1, grid(420, 420)), scene(tmp_path, "R", 11, grid(420, 420), shift)
    stack = prepare(ties_of(left, right, by(*shift)), tmp_path / "out")
    before, after = stack.residual.before, stack.residual.after
    assert before is not None
    assert after is not None
    np.testing.assert_allclose(np.array(shift) / 10, (before.dx_px, before.dy_px), atol=0.05)
    assert max(abs(after.dx_px), abs(after.dy_px)) < 0.02
    a, b = (opened(tmp_path / "out" / f"{side}.tif")[0] for side in ("left", "right"))
    both = np.isfinite(a) & np.isfinite(b)
    assert both.mean() > 0.95
    assert np.sqrt(((a - b)[both] ** 2).mean()) < 0.005
    assert a[both].min() < -0.05
    assert b[both].min() < -0.05


def test_left_pixels_are_copied_and_reflectance_is_what_the_metadata_says(tmp_path: Path) -> None:
    left, right = scene(tmp_path, "L", 1, grid(90, 96)), scene(tmp_path, "R", 11, grid(90, 96), SHIFT)
    stack = prepare(ties_of(left, right, by(*SHIFT)), tmp_path / "out")
    with rasterio.open(tmp_path / "out" / "left.tif") as file:
        a = GeoBox.from_rio(file)
        assert ("B04",) == file.descriptions
        assert ("reflectance",) == file.units
        assert {"SCENE": "L", "DATE": "2021-06-01T10:00:00+00:00", "BANDS": "B04"}.items() <= file.tags().items()
        made = file.read(1)
    numbers = opened(tmp_path / "L_B04.tif")[0].astype(np.float64)
    row, col = round((NORTH - a.affine.f) / 10), round((a.affine.c - EAST) / 10)
    truth = (numbers - 1000)[row : row + a.shape.y, col : col + a.shape.x] / 10_000
    np.testing.assert_allclose(truth, made, atol=1e-7)
    assert a == stack.grid


def test_no_data_of_one_date_hides_just_that_and_nothing_rings(tmp_path: Path) -> None:
    hole = (slice(40, 60), slice(50, 80))
    left = scene(tmp_path, "L", 1, grid(120, 120))
    whole, holed = (
        scene(tmp_path, "R", 11, grid(120, 120), SHIFT),
        scene(tmp_path, "H", 11, grid(120, 120), SHIFT, hole=hole),
    )
    for name, right in (("whole", whole), ("holed", holed)):
        prepare(ties_of(left, right, by(*SHIFT)), tmp_path / name)
    a, b = opened(tmp_path / "whole" / "right.tif")[0], opened(tmp_path / "holed" / "right.tif")[0]
    known = np.isfinite(b)
    np.testing.assert_array_equal(a[known], b[known])
    lost = np.isfinite(a) & ~known
    assert 20 * 30 < lost.sum() <= 23 * 33
    valid, reason = opened(tmp_path / "holed" / "valid.tif")
    assert (reason[lost] == 16).all()
    assert not valid[lost].any()
    assert ((reason == 0) == (valid == 1)).all()


def test_coarser_bands_come_to_the_grid_of_the_finest(tmp_path: Path) -> None:
    left, right = scene(tmp_path, "L", 1, grid(120, 120)), scene(tmp_path, "R", 11, grid(120, 120), SHIFT)
    fine = [s.bands[0] for s in (left, right)]
    coarse = [
        scene(tmp_path, n, 1, grid(60, 60, 20.0), s, ("B8A",)).bands[0] for n, s in (("LC", (0, 0)), ("RC", SHIFT))
    ]
    both = [Scene(**{**vars(s), "bands": (f, c)}) for s, f, c in zip((left, right), fine, coarse, strict=True)]
    stack = prepare(ties_of(both[0], both[1], by(*SHIFT)), tmp_path / "out")
    assert ("B04", "B8A") == stack.bands
    a, b = (opened(tmp_path / "out" / f"{side}.tif") for side in ("left", "right"))
    assert (2, *stack.grid.shape) == a.shape
    known = np.isfinite(a).all(0) & np.isfinite(b).all(0)
    assert np.sqrt(((a - b)[:, known] ** 2).mean()) < 0.01
    at_20 = prepare(ties_of(both[0], both[1], by(*SHIFT)), tmp_path / "at20", Preparation(resolution=20))
    assert 20 == at_20.grid.affine.a


def test_radiometry_is_brought_together_after_registration(tmp_path: Path) -> None:
    left, right = scene(tmp_path, "L", 1, grid(200, 200)), scene(tmp_path, "R", 11, grid(200, 200), SHIFT)
    darker = Scene(**{**vars(right), "bands": (Band(**{**vars(right.bands[0]), "quantification": 12_500.0}),)})
    for method in ("irmad", "histogram"):
        stack = prepare(ties_of(left, darker, by(*SHIFT)), tmp_path / method, Preparation(normalise=method))
        a, b = (opened(tmp_path / method / f"{side}.tif") for side in ("left", "right"))
        known = np.isfinite(a) & np.isfinite(b)
        assert np.abs((a - b)[known]).mean() < 0.005
        assert stack.normalisation is not None
        assert method == stack.normalisation.method
    np.testing.assert_allclose(
        1.25,
        json.loads((tmp_path / "irmad" / "prepare.json").read_text())["normalisation"]["bands"][0]["gain"],
        rtol=0.02,
    )


# Layouts and files


def test_the_record_says_what_the_stack_says(tmp_path: Path) -> None:
    left, right = scene(tmp_path, "L", 1, grid(420, 420)), scene(tmp_path, "R", 11, grid(420, 420), SHIFT)
    stack = prepare(ties_of(left, right, by(*SHIFT)), tmp_path / "out", Preparation(normalise="irmad", layout="pair"))
    record = json.loads((tmp_path / "out" / "prepare.json").read_text())
    assert record == json.loads(dumps(stack.to_dict()))
    assert ["B04"] == record["bands"]
    assert stack.residual.after is not None
    assert stack.residual.after.dx_px == record["residual"]["after"]["dx_px"]
    assert {"name": "pair", "first": "left", "second": "right"}.items() < record["layout"].items()
    assert stack.left_reasons[Reason.VALID] == record["reasons"]["shares"]["left"]["valid"]
    with rasterio.open(tmp_path / "out" / "displacement.tif") as file:
        assert ("east", "north", "sigma", "support") == file.descriptions
        assert np.allclose(SHIFT, file.read()[:2, 0, 0], atol=1e-4)
    assert "displacement" in pystac.Item.from_file(str(tmp_path / "out" / "right.json")).assets
    assert "out: T33UUU_20210601T100000 and T33UUU_20210611T100000, 1 band on 420 x 4" in repr(stack)


def test_images_that_agree_as_they_are_stay_untouched(tmp_path: Path) -> None:
    hole = (slice(0, 30), slice(0, 50))
    left, right = scene(tmp_path, "L", 1, grid(150, 150)), scene(tmp_path, "R", 11, grid(150, 150), hole=hole)
    nothing = Transform(PlaneTransform("none", np.eye(3), np.zeros(2)))
    prepare(ties_of(left, right, nothing), tmp_path / "out")
    numbers = opened(tmp_path / "R_B04.tif")[0]
    values = (numbers.astype(np.float32) + np.float32(-1000)) / np.float32(10_000)
    written = opened(tmp_path / "out" / "right.tif")[0]
    assert np.array_equal(values[numbers > 0], written[numbers > 0])
    assert np.array_equal(numbers == 0, np.isnan(written))
    with rasterio.open(tmp_path / "out" / "right.tif") as file:
        assert "not needed" == file.tags()["REGISTERED"]


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One pair in all layouts; the right image is the earlier one."""
    folder = tmp_path_factory.mktemp("stacks")
    bands = ("B01", "B02", "B03", "B04")
    hole = (slice(0, 30), slice(0, 200))
    left = scene(folder, "L", 21, grid(150, 200), bands=bands)
    right = scene(folder, "R", 11, grid(150, 200), SHIFT, bands=bands, hole=hole)
    for name in layouts.LAYOUTS:
        prepare(ties_of(left, right, by(*SHIFT)), folder / name, Preparation(layout=name, chip_size=32))
    return folder


def test_a_stack_is_no_archive_and_its_images_are_taken_by_name(stacks: Path) -> None:
    """Its three images, the mask among them, were three scenes."""
    with pytest.raises(NotAProduct, match=r"it is a stack that `prepare` has made, .*: name left\.tif or right\.tif"):
        read_scene(stacks / "pair")
    assert ["L", "R"] == [scene.id for scene in find_scenes(stacks).scenes]
    assert ("B01", "B04") == tuple(read_scene(stacks / "pair" / "left.tif").bands[k].name for k in (0, -1))


def test_several_layouts_of_one_stack_are_what_each_is_alone(tmp_path: Path, stacks: Path) -> None:
    bands = ("B01", "B02", "B03", "B04")
    left = scene(tmp_path, "L", 21, grid(150, 200), bands=bands)
    right = scene(tmp_path, "R", 11, grid(150, 200), SHIFT, bands=bands, hole=(slice(0, 30), slice(0, 200)))
    out, wanted = tmp_path / "out", Preparation(layout=("oscd", "pair", "chips", "oscd", "stack"), chip_size=32)
    prepare(ties_of(left, right, by(*SHIFT)), out, wanted)
    record = json.loads((out / "prepare.json").read_text())
    assert ["oscd", "pair", "chips"] == [layout["name"] for layout in record["layouts"]]
    assert record["layout"] == record["layouts"][0]
    for name in ("oscd", "pair", "chips"):
        alone = sorted(path.relative_to(stacks / name) for path in (stacks / name / name).rglob("*"))
        assert alone == sorted(path.relative_to(out) for path in (out / name).rglob("*"))


@pytest.fixture
def counted(tmp_path: Path) -> tuple[Path, Path]:
    """A pair of rasters of counts, whose files do not say of what, and its tie points."""
    for name, date in (("L", "20200101"), ("R", "20200201")):
        numbers = np.rint(shown(grid(60, 60)) * 10_000 + 5000).astype(np.uint16)
        profile = {"driver": "GTiff", "height": 60, "width": 60, "count": 1, "dtype": "uint16"}
        with rasterio.open(
            tmp_path / f"{name}_{date}.tif", "w", crs=ZONE, transform=grid(60, 60).affine, **profile
        ) as f:
            f.write(numbers, 1)
    ties = ties_of(*(read_scene(tmp_path / name) for name in ("L_20200101.tif", "R_20200201.tif")), by(0, 0))
    write(ties, tmp_path / "ties.gpkg")
    return tmp_path, tmp_path / "ties.gpkg"


def test_counts_are_no_oscd_root_and_that_is_told_before_the_work(
    counted: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was told after the work, of a temporary folder, and without a way out."""
    folder, ties = counted
    monkeypatch.setattr("sentinel_match.stack.prepare._make", lambda *_: pytest.fail("it worked"))
    said = (
        r"^oscd could not be written: band 1 of L_20200101 holds [\d,]+, and that layout takes reflectance to 3.2767: "
    )
    with pytest.raises(
        OutputError, match=said + r"ask for another \(--layout pair; layout= in Python\), or .* -a_scale 0.0001 …\)\.$"
    ):
        prepare(ties, folder / "out", Preparation(layout="oscd"))
    assert not (folder / "out").exists()


@pytest.mark.parametrize("suffix", [".csv", ".points"])
def test_points_that_name_no_products_are_taken_with_them_and_say_so_without(tmp_path: Path, suffix: str) -> None:
    left, right = (scene(tmp_path, name, seed, grid(60, 60)) for name, seed in (("L", 1), ("R", 1)))
    at = np.array([[EAST + 100 * x, NORTH - 100 * y] for x in range(6) for y in range(6)])
    one, ties = np.ones(len(at)), ties_of(left, right, by(*SHIFT))
    numbers = {"left_xy": at, "right_xy": ties.transform(at), "left_px": at, "right_px": at, "sigma_m": one}
    rest = {"score": one, "residual_m": 0 * one, "inlier": one > 0, "method": np.full(len(at), "phase")}
    write(replace(ties, **numbers, **rest), tmp_path / f"ties{suffix}")
    images = [str(tmp_path / f"{name}_B04.tif") for name in "LR"]
    path, out = str(tmp_path / f"ties{suffix}"), ["-o", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]
    alone = CliRunner().invoke(main, ["prepare", path, *out])
    assert 1 == alone.exit_code
    assert "give the left and the right product too, `prepare LEFT RIGHT TIES`, or the GeoPackage" in alone.stderr
    assert not (tmp_path / "out").exists()
    done = CliRunner().invoke(main, ["prepare", *images, path, *out])
    assert 0 == done.exit_code, done.output
    assert (tmp_path / "out" / "right.tif").is_file()


def test_points_that_need_more_words_are_sent_to_the_command_that_takes_them(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    for head, said in (
        ("left_x,left_y,right_x,right_y", "`fit --crs EPSG:…`"),
        ("a,b,c,d", "`fit --columns left_x=…`"),
    ):
        path.write_text(f"{head}\n" + "".join(f"{k},{k},{k + 1},{k}\n" for k in range(0, 8000, 1000)))
        done = CliRunner().invoke(main, ["prepare", str(path), "-o", str(tmp_path / "out")])
        assert 1 == done.exit_code
        assert said in done.stderr


def test_a_stack_says_what_correcting_by_its_points_is_worth(tmp_path: Path) -> None:
    left, right = (scene(tmp_path, name, 1, grid(60, 60)) for name in ("L", "R"))
    ties = ties_of(left, right, by(*SHIFT))
    stack = prepare(ties, tmp_path / "out")
    record = json.loads((tmp_path / "out" / "prepare.json").read_text())
    assert ties.summary.verdict == stack.verdict == record["verdict"]
    assert [] == record["doubts"]


@pytest.mark.parametrize("sample", [512, 1])
def test_the_other_layouts_are_made_without_an_oscd_root(
    counted: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, sample: int
) -> None:
    """Also where the middle of the band looks like reflectance."""
    folder, ties = counted
    monkeypatch.setattr("sentinel_match.stack.plan.SAMPLE_SIDE", sample)
    if sample == 1:
        for image in folder.glob("*.tif"):
            with rasterio.open(image, "r+") as file:
                file.write(np.full((1, 20, 20), 1, np.uint16), window=rasterio.windows.Window(20, 20, 20, 20))
    command = ["prepare", str(ties), "-o", str(folder / "out"), "--layout", "oscd", "--layout", "pair"]
    done = CliRunner().invoke(main, [*command, "--cache", str(folder / "cache")])
    assert done.exit_code == 1
    assert "oscd is left out: band 1 of " in done.stderr
    assert not (folder / "out" / "oscd").exists()
    assert ["pair"] == [json.loads((folder / "out" / "prepare.json").read_text())["layout"]["name"]]
    assert (folder / "out" / "pair").is_dir()


@pytest.mark.parametrize(
    ("words", "config", "names"),
    [
        (["--layout", "oscd", "--layout", "pair"], "", ("oscd", "pair")),
        ([], "[prepare]\nlayout = 'pair'", ("pair",)),
        ([], "[prepare]\nlayout = ['chips', 'pair']", ("chips", "pair")),
        ([], "", ("stack",)),
    ],
)
def test_the_command_takes_several_layouts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], config: str, names: tuple[str, ...]
) -> None:
    asked: list[Preparation] = []
    monkeypatch.setattr("sentinel_match.stack.prepare.prepare", lambda _ties, _out, wanted, **_: asked.append(wanted))
    (tmp_path / "c.toml").write_text(config)
    command = ["--config", str(tmp_path / "c.toml"), "prepare", "ties.gpkg", "-o", str(tmp_path / "out"), *words]
    CliRunner().invoke(main, command)
    assert [names] == [wanted.layout_names for wanted in asked]


def test_every_image_is_a_valid_cloud_optimized_geotiff(stacks: Path) -> None:
    for path in [*(stacks / "stack").glob("*.tif"), *(stacks / "pair" / "pair").glob("*.tif")]:
        with rasterio.open(path) as file:
            assert "COG" == file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"]
            assert file.profile["tiled"]
    script = (
        "import sys\nfrom osgeo_utils.samples.validate_cloud_optimized_geotiff import main\nsys.exit(main(sys.argv))"
    )
    debian = "/usr/bin/python3"
    if not Path(debian).exists() or subprocess.run([debian, "-c", "import osgeo_utils"], check=False).returncode:
        pytest.skip("no GDAL with its validator")
    for name in ("left", "right", "valid"):
        done = subprocess.run([debian, "-c", script, "-q", stacks / "stack" / f"{name}.tif"], check=False)
        assert 0 == done.returncode


def test_stac_is_valid_and_its_links_lead_somewhere(stacks: Path) -> None:
    """The core by its schema, which comes with pystac; the extensions' schemas are on the net only, so by hand."""
    folder = stacks / "stack"
    collection = pystac.Collection.from_file(str(folder / "collection.json"))
    items = list(collection.get_items())
    assert ["left", "right"] == [item.id for item in items]
    for thing in (collection, *items):
        plain = json.loads(Path(thing.get_self_href() or "").read_text())
        assert pystac.validation.validate_dict(plain, extensions=[])
        for link in plain["links"]:
            assert link["href"].startswith("./")
            assert (folder / link["href"]).exists()
    for side, item in zip(("left", "right"), items, strict=True):
        plain = json.loads((folder / f"{side}.json").read_text())
        said = {url.split("/")[3] for url in plain["stac_extensions"]}
        assert {"eo", "projection", "raster"} == said
        with rasterio.open(folder / f"{side}.tif") as file:
            assert list(file.shape) == plain["properties"]["proj:shape"]
            assert list(file.transform)[:6] == plain["properties"]["proj:transform"]
            assert list(file.bounds) == plain["properties"]["proj:bbox"]
            assert list(file.descriptions) == [b["name"] for b in plain["assets"]["data"]["eo:bands"]]
            assert file.count == len(plain["assets"]["data"]["raster:bands"])
        assert ZONE == plain["properties"].get("proj:code", f"EPSG:{plain['properties'].get('proj:epsg')}")
        assert {"nan"} == {b["nodata"] for b in plain["assets"]["data"]["raster:bands"]}
        for asset in item.assets.values():
            assert (folder / asset.href).exists()


def test_a_before_after_pair_has_one_grid_and_no_nan(stacks: Path) -> None:
    folder = stacks / "pair" / "pair"
    a, b = opened(folder / "before.tif"), opened(folder / "after.tif")
    assert a.shape == b.shape
    assert np.isfinite(a).all()
    assert np.isfinite(b).all()
    np.testing.assert_array_equal(a == 0, b == 0)
    assert 0 < (a == 0).mean() < 0.5
    with rasterio.open(folder / "before.tif") as one, rasterio.open(folder / "after.tif") as other:
        assert ("R", "L") == (one.tags()["SCENE"], other.tags()["SCENE"])
        assert GeoBox.from_rio(one) == GeoBox.from_rio(other)


def test_chips_have_one_name_and_place_in_all_folders(stacks: Path) -> None:
    folder = stacks / "chips" / "chips"
    names = [sorted(p.name for p in (folder / part).iterdir()) for part in ("A", "B", "valid")]
    assert names[0] == names[1] == names[2]
    said = json.loads((stacks / "chips" / "prepare.json").read_text())["layout"]
    assert ("right", "left") == (said["first"], said["second"])
    assert (len(names[0]), True) == (said["chips"], said["left_out"] > 0)
    for name in names[0]:
        a, valid = opened(folder / "A" / name), opened(folder / "valid" / name)
        assert ((4, 32, 32), (1, 32, 32)) == (a.shape, valid.shape)
        assert valid.mean() >= layouts.LEAST_CLEAR_CHIP
        with rasterio.open(folder / "A" / name) as one, rasterio.open(folder / "B" / name) as other:
            assert GeoBox.from_rio(one) == GeoBox.from_rio(other)


def test_torchgeo_finds_what_it_looks_for(stacks: Path) -> None:
    """The paths and types that ``torchgeo.datasets.OSCD`` reads, as of its version 0.6."""
    root = stacks / "oscd" / "oscd"
    (region,) = (root / f"{layouts.OSCD} - Test Labels").iterdir()
    labels = np.array(Image.open(region / "cm" / "cm.png").convert("L"))
    images = root / f"{layouts.OSCD} - Images" / region.name
    assert ["20210611", "20210621"] == [s.split()[-1] for s in (images / "dates.txt").read_text().split("\n")[:2]]
    for k in (1, 2):
        files = sorted((images / f"imgs_{k}_rect").glob("*.tif"))
        assert ["B01.tif", "B02.tif", "B03.tif", "B04.tif"] == [f.name for f in files]
        for file in files:
            pixels = opened(file)[0]
            assert ("int16", labels.shape) == (pixels.dtype, pixels.shape)
    truth = opened(stacks / "oscd" / "left.tif")[3]
    assert pixels.min() < 0
    known = pixels != 0
    np.testing.assert_allclose(truth[known], pixels[known] / 10_000, atol=1.6e-4)  # a true 0 is 1, for 0 is no data


# What goes wrong


def test_a_band_that_one_side_lacks_is_named(tmp_path: Path) -> None:
    left, right = scene(tmp_path, "L", 1, grid(60, 60), bands=("B04", "B08")), scene(tmp_path, "R", 2, grid(60, 60))
    with pytest.raises(MissingBand, match="R has no band B08"):
        prepare(ties_of(left, right, by(0, 0)), tmp_path / "out", Preparation(bands=("B08",)))
    assert not (tmp_path / "out").exists()


def test_ground_that_does_not_meet_is_said(tmp_path: Path) -> None:
    left, right = scene(tmp_path, "L", 1, grid(60, 60)), scene(tmp_path, "R", 2, grid(60, 60, east=EAST + 900))
    with pytest.raises(NoOverlap):
        prepare(ties_of(left, right, by(0, 0)), tmp_path / "out")
    empty = scene(tmp_path, "E", 2, grid(60, 60), hole=(slice(0, 60), slice(0, 60)))
    with pytest.raises(NoOverlap):
        prepare(ties_of(left, empty, by(0, 0)), tmp_path / "out")
    assert [] == [p for p in tmp_path.iterdir() if p.is_dir()]


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ({"bands": ","}, "names no band"),
        ({"bands": 4}, "bands is 4, and must be names of bands"),
        ({"bands": ["B04", 8]}, "must be names of bands"),
        ({"resolution": 0}, "resolution is 0, and must be larger than 0"),
        ({"resolution": "10 m"}, "must be metres per pixel"),
        ({"normalise": "best"}, "must be one of none, irmad, histogram"),
        ({"layout": "tiles"}, "must be one of stack, oscd, chips, pair"),
        ({"layout": ("pair", "tiles")}, "layout is 'tiles', and must be one of stack, oscd, chips, pair"),
        ({"layout": 1}, "must be names of layouts"),
        ({"chip_size": 2.5}, "must be a whole number"),
        ({"masking": 60}, r"must be Masking\(...\)"),
    ],
)
def test_a_choice_that_cannot_be_is_refused_when_it_is_made(choice: dict[str, Any], sentence: str) -> None:
    with pytest.raises((TypeError, ValueError), match=sentence):
        Preparation(**choice)


def test_radiometry_without_common_ground_is_refused(tmp_path: Path) -> None:
    left, right = (
        scene(tmp_path, "L", 1, grid(12, 12)),
        scene(tmp_path, "R", 2, grid(12, 12), hole=(slice(0, 12), slice(0, 6))),
    )
    with pytest.raises(NotComparable, match="pixels are clear in both"):
        prepare(ties_of(left, right, by(0, 0)), tmp_path / "out", Preparation(normalise="irmad"))


def test_ties_of_other_scenes_are_refused(tmp_path: Path) -> None:
    left, right, other = (scene(tmp_path, name, 1, grid(60, 60)) for name in ("L", "R", "O"))
    ties = ties_of(left, right, by(0, 0))
    with pytest.raises(ValueError, match="those of L and R, not of L and O"):
        prepare(ties, tmp_path / "out", right=other)
    with pytest.raises(ValueError, match="swap left and right"):
        prepare(ties, tmp_path / "out", left=right, right=left)
    elsewhere = replace(ties, summary=replace(ties.summary, crs="EPSG:32634"))
    with pytest.raises(ValueError, match="they are in EPSG:32634, and L is in EPSG:32633"):
        prepare(elsewhere, tmp_path / "out")
    gone = replace(ties, left=replace(left, bands=(), path=tmp_path / "gone"))
    with pytest.raises(ValueError, match="gone is not there any more: give the left and the right product too"):
        prepare(gone, tmp_path / "out")
    assert prepare(gone, tmp_path / "out", left=left).left == left
    nameless = replace(ties, left=replace(left, id="left of a.csv", bands=(), path=Path()))
    with pytest.raises(ValueError, match="do not say of which left scene they are"):
        prepare(nameless, tmp_path / "out")
    assert prepare(nameless, tmp_path / "out", left=left).left == left


def test_a_file_of_ties_is_taken_by_its_path_and_named_when_it_cannot_be_used(tmp_path: Path) -> None:
    for name in ("L", "R", "O"):
        scene(tmp_path, name, 1, grid(60, 60))
    left, right = (read_scene(tmp_path / f"{name}_B04.tif") for name in ("L", "R"))
    for name in ("ties.geojson", "ties.gpkg"):
        write(ties_of(left, right, by(0, 0)), tmp_path / name)
        stack = prepare(str(tmp_path / name), str(tmp_path / "out"))
        record = json.loads((tmp_path / "out" / "prepare.json").read_text())
        digest = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        assert {"path": str(tmp_path / name), "sha256": digest} == record["ties"]
        assert tmp_path / "out" == stack.folder
    with pytest.raises(
        BadPoints, match=r"ties.gpkg cannot be used: they are those of L_B04 and R_B04, not of L_B04 and O"
    ):
        prepare(tmp_path / "ties.gpkg", tmp_path / "out", right=tmp_path / "O_B04.tif")
    left.path.unlink()
    with pytest.raises(BadPoints, match=r"L_B04\.tif is not there any more"):
        prepare(tmp_path / "ties.gpkg", tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "cannot be read"),
        ('{"left": {"id": 1}}', "no FeatureCollection"),
        ("[]", "no FeatureCollection"),
        (
            dumps({"features": [{"geometry": {"type": "Point", "coordinates": [1 + k, 2]}} for k in range(9)]}),
            "right_x",
        ),
    ],
)
def test_a_file_that_is_no_ties_is_refused(text: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "ties.geojson").write_text(text)
    with pytest.raises(BadPoints, match=sentence):
        prepare(tmp_path / "ties.geojson", tmp_path / "out")


def test_what_cannot_be_taken_is_refused_in_one_sentence(tmp_path: Path) -> None:
    left, right = scene(tmp_path, "L", 1, grid(60, 60)), scene(tmp_path, "R", 2, grid(60, 60))
    ties, out = ties_of(left, right, by(0, 0)), tmp_path / "out"
    with pytest.raises(TypeError, match="ties is 4, and must be TiePoints or the path of their file"):
        prepare(4, out)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="output is None, and must be the path of a folder"):
        prepare(ties, None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"wanted is 'B04', and must be Preparation\(...\)"):
        prepare(ties, out, "B04")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"cache is 'c', and must be Cache\(...\)"):
        prepare(ties, out, cache="c")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="right is 4, and must be a path or a Scene"):
        prepare(ties, out, right=4)  # type: ignore[arg-type]
    with pytest.raises(BadPoints, match="there is no such file"):
        prepare(tmp_path / "nothing.geojson", out)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.geojson")
        with pytest.raises(BadPoints, match=r"pipe\.geojson cannot be used"):
            prepare(tmp_path / "pipe.geojson", out)
    with pytest.raises(NotAProduct, match=r"nothing\.SAFE"):
        prepare(ties, out, left=tmp_path / "nothing.SAFE")
    with pytest.raises(OutputError, match="choose another"):
        prepare(ties, tmp_path / "L_B04.tif")
    with pytest.raises(OutputError, match=r"L_B04\.tif"):
        prepare(ties, tmp_path / "L_B04.tif" / "out")
    assert not out.exists()


def test_a_folder_of_somebody_else_is_left_alone_and_ones_own_replaced(tmp_path: Path) -> None:
    left, right = scene(tmp_path, "L", 1, grid(60, 60)), scene(tmp_path, "R", 2, grid(60, 60))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="choose another"):
        prepare(ties_of(left, right, by(0, 0)), tmp_path / "out")
    (tmp_path / "out" / "thesis.txt").unlink()
    for _ in range(2):
        prepare(ties_of(left, right, by(0, 0)), tmp_path / "out")
    assert ["out"] == [p.name for p in tmp_path.iterdir() if p.is_dir()]


@pytest.mark.unix("sets no limit on the size of a file")
@pytest.mark.parametrize("size", [20_000, 150_000])
def test_a_full_disk_leaves_nothing_half_written(size: int, tmp_path: Path) -> None:
    left, right = scene(tmp_path, "L", 1, grid(200, 200)), scene(tmp_path, "R", 2, grid(200, 200))
    left, right = (read_scene(tmp_path / f"{name}_B04.tif") for name in ("L", "R"))
    write(ties_of(left, right, by(0, 0)), tmp_path / "ties.geojson")
    script = f"""
import resource, signal, sys
from sentinel_match.errors import SentinelMatchError
from sentinel_match.stack.prepare import prepare
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))
try:
    prepare({str(tmp_path / "ties.geojson")!r}, {str(tmp_path / "out")!r})
except SentinelMatchError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "could not be written" in done.stdout, done.stderr
    assert [] == [p.name for p in tmp_path.iterdir() if p.is_dir()]


# From archives, by the command


def test_products_become_a_stack_by_the_command(tmp_path: Path) -> None:
    swath = box(302_000, 5_890_000, 320_000, 5_910_000)
    paths = [
        write_product(tmp_path / "in", Landscape(7), date="2021-06-10", pixels=480, level="L2A"),
        write_product(
            tmp_path / "in", Landscape(7), date="2021-07-10", pixels=480, displacement=SHIFT, level="L2A", swath=swath
        ),
    ]
    left, right = map(read_scene, paths)
    ties = tmp_path / "ties.geojson"
    write(ties_of(left, right, by(*SHIFT)), ties)
    words = ["-q", "prepare", str(ties), "-o", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]
    done = CliRunner().invoke(main, words)
    assert 0 == done.exit_code, done.output
    assert "after" in done.stdout
    said = json.loads((tmp_path / "out" / "prepare.json").read_text())["residual"]
    assert max(abs(said["after"][f"d{axis}_px"]) for axis in "xy") < 0.05
    np.testing.assert_allclose((0.64, 1.81), [said["before"][f"d{axis}_px"] for axis in "xy"], atol=0.1)
    wrong = CliRunner().invoke(main, ["prepare", str(paths[1]), str(paths[0]), str(ties), "-o", str(tmp_path / "x")])
    assert 1 == wrong.exit_code
    assert "swap left and right" in wrong.output
    paths[0].rename(tmp_path / "moved")
    gone = CliRunner().invoke(main, words)
    assert 1 == gone.exit_code
    assert "is not there any more" in gone.output
    assert 2 == CliRunner().invoke(main, ["prepare", "a", "b", "-o", "x"]).exit_code
