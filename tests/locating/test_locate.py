"""A picture of an unknown place is found in an archive, placed, and written as a map; or no scene shows it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from shapely.geometry import box

from sentinel_match import Files, Options, run
from sentinel_match.cache import Cache
from sentinel_match.cli import main
from sentinel_match.cli.locate import _print as printed
from sentinel_match.errors import OutputError, TooLarge
from sentinel_match.geometry.footprint import Footprint
from sentinel_match.images.source import picture_band
from sentinel_match.locating import delivery, search
from sentinel_match.locating import overview as overviews
from sentinel_match.locating.candidate import probability
from sentinel_match.locating.delivery import deliver
from sentinel_match.locating.glance import Glance
from sentinel_match.locating.location import Location
from sentinel_match.locating.search import locate
from sentinel_match.locating.whereabouts import Whereabouts
from sentinel_match.matching.sweep import Sighting
from sentinel_match.products.catalogue import find_scenes, read_scene
from sentinel_match.raster.bands import source_of
from sentinel_match.raster.load import load
from sentinel_match.raster.resample import strips
from sentinel_match.testing import Landscape, example_pair, write_product

PIXELS, TURN, ZOOM, SIDE = 222, 30.0, 1.2, 180


def picture_of(product: Path, path: Path) -> np.ndarray:
    """Write a product's B04 turned clockwise and enlarged, as a JPEG; the (3, 3) matrix from its pixels to metres."""
    image = load(read_scene(product)).raster
    turn = np.vstack([cv2.getRotationMatrix2D((PIXELS / 2, PIXELS / 2), -TURN, ZOOM), [0, 0, 1]])
    turn[:2, 2] += (SIDE - PIXELS) / 2
    shown = cv2.warpAffine(np.asarray(image.pixels, np.float32), turn[:2], (SIDE, SIDE)) * 250 + 2
    cv2.imwrite(str(path), np.stack([shown] * 3, -1))
    half = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1.0]])
    to_pixels = np.linalg.inv(half) @ np.linalg.inv(turn) @ half
    return np.array(image.geobox.affine).reshape(3, 3) @ to_pixels


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of three places in spring, and pictures of one of them in autumn and of another place."""
    folder = tmp_path_factory.mktemp("desk")
    for seed in (1, 2, 3):
        write_product(folder / "archive", Landscape(seed), date=f"2021-05-1{seed}", season="spring", pixels=PIXELS)
    for seed, name in ((2, "known"), (9, "strange")):
        product = write_product(
            folder / name, Landscape(seed), date="2021-10-12", season="autumn", pixels=PIXELS, displacement=(6.4, 18.1)
        )
        np.save(folder / f"{name}.npy", picture_of(product, folder / f"{name}.jpg"))
    return folder


@pytest.fixture(scope="module")
def found(desk: Path) -> Location:
    return locate(desk / "known.jpg", desk / "archive", Whereabouts(pixel=(6, 12)), cache=Cache(desk / "cache"))


def call(desk: Path, *words: object) -> Result:
    return CliRunner().invoke(main, ["-q", "locate", *map(str, words), "--cache", str(desk / "cache")])


def test_the_scene_that_shows_the_picture_is_named_with_how_it_is_turned_and_how_large_its_pixels_are(
    found: Location,
) -> None:
    assert found.found
    best, *others = found.candidates
    assert "20210512" in best.scene.id
    assert best.probability > 0.999
    assert 0.5 > max(other.probability for other in others)
    assert abs(best.angle - TURN) < 0.5
    assert abs(best.pixel_m - 10 / ZOOM) < 0.1


def test_tie_points_place_the_picture_to_a_fraction_of_a_pixel(found: Location, desk: Path) -> None:
    assert found.measured is not None
    assert found.measured.ties is not None
    grid = found.measured.grid(found.candidates[0].grid)
    corners = np.array([[40, 40, 1], [SIDE - 40, 40, 1], [40, SIDE - 40, 1]]).T
    truth = (np.load(desk / "known.npy") @ corners)[:2] - [[6.4], [18.1]]
    assert np.abs(np.array(grid.affine).reshape(3, 3)[:2] @ corners - truth).max() < 3.0


def test_the_command_writes_a_map_its_control_points_and_a_record(desk: Path, tmp_path: Path) -> None:
    done = call(desk, desk / "known.jpg", desk / "archive", "-o", tmp_path / "out", "--pixel", 7, 10)
    assert 0 == done.exit_code, done.output
    assert "20210512" in done.stdout.splitlines()[0]
    names = "footprint.geojson locate.json overlay.png picture.points picture.tif picture.vrt tiepoints.geojson"
    assert {*names.split()} <= {path.name for path in (tmp_path / "out").iterdir()}
    plain = cv2.imread(str(desk / "known.jpg"))
    with rasterio.open(tmp_path / "out" / "picture.tif") as file:
        assert (3, "uint8", 0) == (file.count, file.dtypes[0], file.nodata)
        assert ["red", "green", "blue"] == [colour.name for colour in file.colorinterp]
        truth = np.load(desk / "known.npy")
        x, y = (truth @ [90, 90, 1])[:2] - (6.4, 18.1)
        here = next(file.sample([(x, y)]))[0]
        assert abs(float(here) - float(plain[88:92, 88:92].mean())) < 40
    assert {"report.html", "inspect.qgs"} <= {path.name for path in (tmp_path / "out" / "check").iterdir()}
    with rasterio.open(tmp_path / "out" / "picture.vrt") as file:
        assert len(file.gcps[0]) > 10
    first = (tmp_path / "out" / "picture.points").read_text(encoding="utf-8").splitlines()[2].split(",")
    assert 0 <= float(first[2]) <= SIDE
    assert 0 >= float(first[3]) >= -SIDE
    record = json.loads((tmp_path / "out" / "locate.json").read_text(encoding="utf-8"))
    assert record["found"]
    assert 3 == record["searched"] == len(record["candidates"])
    assert () == find_scenes(tmp_path).scenes  # what was located is none of an archive in which it lies


def test_a_run_takes_a_picture_as_a_scene_and_says_which_pictures_show_none_of_its_scenes(
    desk: Path, tmp_path: Path
) -> None:
    (bad := tmp_path / "bad.jpg").write_text("no picture", encoding="utf-8")
    (product,) = (path for path in (desk / "archive").iterdir() if "20210512" in path.name)
    pictures = [desk / "known.jpg", desk / "strange.jpg", bad]
    options, files = Options(matcher="phase", candidates=300), Files(geopackage=False, project=False)
    result = run(product, tmp_path / "out", options, cache=Cache(desk / "cache"), files=files, pictures=pictures)
    (pair,) = result.matched
    assert "known" in {pair.left, pair.right}
    assert pair.summary is not None
    assert pair.summary.median_shift_m < 3
    assert {"strange.jpg", "bad.jpg"} == {refused.path.name for refused in result.catalogue.refused}
    assert "none of 1 scene shows it" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert (tmp_path / "out" / "located" / "001_known" / "picture.tif").exists()


def test_a_picture_of_another_place_is_none_of_these(desk: Path, tmp_path: Path) -> None:
    done = call(desk, desk / "strange.jpg", desk / "archive", "-o", tmp_path / "out", "--json", "--pixel", "6", "11")
    assert 1 == done.exit_code
    assert "none of 3 scenes shows strange" in done.stderr
    assert not json.loads(done.stdout)["found"]
    assert ["locate.json"] == [path.name for path in (tmp_path / "out").iterdir()]


def test_a_rough_position_leaves_out_scenes_elsewhere(desk: Path) -> None:
    for words in (("--near", "-70", "10", "50"), ("--bbox", "-70", "10", "-69", "11")):
        done = call(desk, desk / "known.jpg", desk / "archive", *words)
        assert 1 == done.exit_code
        assert "there is no scene to search for known\n" == done.stdout
    talk = CliRunner().invoke(main, ["locate", str(desk / "known.jpg"), str(desk / "archive"), *words]).stderr
    assert "left out: 3 scenes elsewhere than the picture may be" in talk
    assert "a fifth of a scene" not in talk


def test_a_scene_is_described_once(desk: Path, found: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found.found
    monkeypatch.setattr(overviews, "coarse_pixels", lambda _source: pytest.fail("it was described again"))
    for scene in (candidate.scene for candidate in found.candidates):
        assert overviews.overview(scene, None, Cache(desk / "cache")).described.levels


def test_a_folder_of_somebody_else_is_left_alone(found: Location, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError):
        deliver(found, tmp_path)
    assert ["mine.txt"] == [path.name for path in tmp_path.iterdir()]


@given(st.floats(-300, 5), st.floats(0, 5), st.floats(1e-6, 0.9))
def test_fewer_false_alarms_make_it_surer_and_none_make_it_certain(nfa: float, step: float, prior: float) -> None:
    assert 0 <= probability(nfa, prior) <= probability(nfa - step, prior) + 1e-12 <= 1 + 1e-12


def test_what_looks_like_unrelated_ground_is_less_probable_than_before() -> None:
    assert probability(3.0, 0.5) < 0.2


def test_where_there_is_nothing_to_see_nothing_is_learnt() -> None:
    assert 0.3 == probability(np.inf, 0.3)


@pytest.mark.parametrize("where", [{"near": (179.8, 0.2, 100.0)}, {"bbox": (179.0, -1.0, -179.0, 1.0)}])
def test_the_region_goes_on_behind_the_antimeridian(where: dict[str, Any]) -> None:
    region = Whereabouts(**where).region()
    assert region is not None
    assert region.intersects(Footprint.from_lonlat(box(-179.9, 0, -179.5, 0.4)).polygon)
    assert not region.intersects(Footprint.from_lonlat(box(15, 0, 16, 0.4)).polygon)


def test_a_raster_whose_rows_run_north_is_described_as_the_ground_lies(tmp_path: Path) -> None:
    pixels = np.round(example_pair(size=128).left * 254 + 1).astype(np.uint8)
    described = []
    for name, rows, step in (("south", pixels, -10), ("north", pixels[::-1], 10)):
        affine = Affine(10, 0, 500_000, 0, step, 5_000_000 - 640 - 64 * step)
        size = {"width": 128, "height": 128, "count": 1, "dtype": "uint8"}
        with rasterio.open(tmp_path / f"{name}.tif", "w", **size, crs="EPSG:32633", transform=affine) as file:
            file.write(rows, 1)
        described.append(overviews.overview(read_scene(tmp_path / f"{name}.tif"), None, None))
    assert described[0].affine == described[1].affine
    maps = [one.described.levels[0].maps for one in described]
    assert np.array_equal(*maps)


def test_a_scene_in_degrees_far_from_the_equator_is_found_though_its_pixels_are_not_square(tmp_path: Path) -> None:
    pair = example_pair(size=256, shift=(0.0, 0.0))
    narrow = np.asarray(cv2.resize((pair.left * 254 + 1).astype(np.uint8), (256, 164), interpolation=cv2.INTER_AREA))
    place = {"crs": "EPSG:4326", "transform": Affine(1.4e-4, 0, 13.0, 0, -1.4e-4, 50.2)}
    with rasterio.open(
        tmp_path / "scene.tif", "w", driver="GTiff", width=256, height=164, count=1, dtype="uint8", **place
    ) as file:
        file.write(narrow, 1)
    cv2.imwrite(str(tmp_path / "picture.png"), (pair.right * 254 + 1).astype(np.uint8))
    location = locate(tmp_path / "picture.png", tmp_path / "scene.tif", Whereabouts(pixel=(8, 12)))
    assert location.found
    assert abs(location.candidates[0].angle + 2 * np.sin(np.radians(50.2))) < 0.3  # of the meridians in zone 33
    lon, lat = location.candidates[0].center
    assert (lon, lat) == pytest.approx((13.0 + 128 * 1.4e-4, 50.2 - 82 * 1.4e-4), abs=2e-4)


@pytest.mark.parametrize(
    ("affine", "crs"),
    [(Affine(1.4, 0, -180, 0, -0.7, 90), "EPSG:4326"), (Affine(1e-3, 0, 13, 0, -1e-3, 90.05), "EPSG:4326")],
    ids=["the whole world", "a pole"],
)
def test_a_scene_that_cannot_be_laid_out_in_metres_is_left_out(affine: Affine, crs: str, tmp_path: Path) -> None:
    pair = example_pair(size=256)
    with rasterio.open(
        tmp_path / "scene.tif", "w", width=256, height=256, count=1, dtype="uint8", crs=crs, transform=affine
    ) as file:
        file.write((pair.left * 254 + 1).astype(np.uint8), 1)
    cv2.imwrite(str(tmp_path / "picture.png"), (pair.right * 254 + 1).astype(np.uint8))
    location = locate(tmp_path / "picture.png", tmp_path / "scene.tif")
    assert not location.found
    assert len(location.left_out) == 1


def test_a_picture_in_degrees_is_found_in_a_scene_in_metres(tmp_path: Path) -> None:
    pair = example_pair(size=256, shift=(0.0, 0.0))
    narrow = np.asarray(cv2.resize((pair.right * 254 + 1).astype(np.uint8), (256, 164), interpolation=cv2.INTER_AREA))
    shape = {"driver": "GTiff", "count": 1, "dtype": "uint8"}
    degrees = {"crs": "EPSG:4326", "transform": Affine(1.4e-4, 0, 15.0, 0, -1.4e-4, 50.2)}
    metres = {"crs": "EPSG:32633", "transform": Affine(10, 0, 400_000, 0, -10, 4_000_000)}  # elsewhere, as it happens
    with rasterio.open(tmp_path / "picture.tif", "w", width=256, height=164, **shape, **degrees) as file:
        file.write(narrow, 1)
    with rasterio.open(tmp_path / "scene.tif", "w", width=256, height=256, **shape, **metres) as file:
        file.write((pair.left * 254 + 1).astype(np.uint8), 1)
    location = locate(tmp_path / "picture.tif", tmp_path / "scene.tif", Whereabouts(pixel=(10, 20)))
    assert location.found
    grid = location.candidates[0].grid
    assert (164, 256) == tuple(grid.shape)
    assert grid.affine * (256, 164) == pytest.approx((402_560, 3_997_440), abs=40)


def test_the_picture_itself_is_no_answer(desk: Path) -> None:
    product = next(iter((desk / "archive").iterdir()))
    location = locate(product, desk / "archive", Whereabouts(near=(-70, 10, 50)))
    assert f"{product}: it is the picture itself" in location.left_out


def test_a_picture_that_is_not_found_needs_no_room_for_a_map(
    found: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sentinel_match.atomic.shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    assert ["locate.json"] == [path.name for path in deliver(replace(found, found=False), tmp_path / "out")]


def test_a_picture_too_large_for_the_memory_is_one_sentence_and_leaves_nothing(
    found: Location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_size: int) -> None:
        raise MemoryError("9 GB are needed, and 1 GB are free")

    monkeypatch.setattr(delivery.memory, "require", full)
    with pytest.raises(TooLarge, match=r"known\.jpg has \d+ x \d+ pixels, which do not fit"):
        deliver(found, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_found_at_the_third_search_counts_thrice(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sightings = iter([-1.0, -3.2, -3.2])
    seen = Sighting(np.eye(3), 0.0, 1.0, 7.0, 5.0, 6.0, 0.0, 1.0, negative=False)
    monkeypatch.setattr(search, "sweep", lambda *_: replace(seen, nfa=next(sightings)))
    monkeypatch.setattr(search.TurnedPicture, "glance", lambda *_: Glance(1.0, 1.0, 0.0))
    product = next(iter((desk / "archive").iterdir()))
    location = locate(desk / "strange.jpg", product, cache=Cache(desk / "cache"))
    assert not location.found
    assert location.candidates[0].expected == pytest.approx(-3.2 + np.log10(3))


def test_a_map_of_signed_numbers_keeps_its_zeros(tmp_path: Path) -> None:
    grid = GeoBox((64, 64), Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32633")
    stack = np.zeros((1, 64, 64), np.float32)
    stack[0, :8] = np.nan
    delivery._write_map(tmp_path / "map.tif", stack, grid, np.dtype(np.int16))
    with rasterio.open(tmp_path / "map.tif") as file:
        assert np.array_equal(file.read(1, masked=True).mask, np.isnan(stack[0]))


@pytest.mark.parametrize(
    "known",
    [
        {"bbox": (1.0, 2.0)},
        {"bbox": (10.0, 20.0, 12.0, 10.0)},
        {"bbox": (10.0, 20.0, 200.0, 30.0)},
        {"near": (10.0, 100.0, 5.0)},
        {"near": (10.0, 50.0, -5.0)},
        {"pixel": (30.0, 10.0)},
    ],
)
def test_what_cannot_be_known_of_a_picture_is_told_in_one_sentence(known: dict[str, Any], tmp_path: Path) -> None:
    ((name, values),) = known.items()
    with pytest.raises(ValueError, match=f"Whereabouts.{name} is "):
        Whereabouts(**known)
    if len(values) > 2 or name == "pixel":
        done = CliRunner().invoke(main, ["locate", "none.png", str(tmp_path), f"--{name}", *map(str, values)])
        assert 2 == done.exit_code
        assert f"Error: --{name} is " in done.stderr


@given(st.floats(-180, 180), st.floats(-85, 85), st.booleans())
def test_a_box_and_a_circle_hold_their_middle_wherever_the_antimeridian_is(lon: float, lat: float, on: bool) -> None:
    west, east = ((lon + way + 180) % 360 - 180 for way in (-1, 1))
    there = shapely.Point(lon - 360 * np.sign(lon) if on and abs(lon) > 170 else lon, lat)
    for known in (Whereabouts(bbox=(west, lat - 1, east, lat + 1)), Whereabouts(near=(lon, lat, 50.0))):
        region = known.region()
        assert region is not None
        assert region.contains(there)
        assert not region.contains(shapely.Point(lon + 90 - 180 * (lon > 0), lat))


def test_a_folder_that_cannot_be_written_is_said_before_the_search(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "locate", lambda *_, **__: pytest.fail("it was searched"))
    done = call(desk, desk / "known.jpg", desk / "archive", "-o", desk / "archive")
    assert 1 == done.exit_code
    assert "no folder with a locate.json in it" in done.stderr


def test_in_a_pipe_what_is_found_has_80_columns_and_a_place_stands_on_one_line(
    found: Location, capsys: pytest.CaptureFixture[str]
) -> None:
    printed(found)
    lines = capsys.readouterr().out.splitlines()
    assert 80 >= max(map(len, lines))
    lon, lat = found.candidates[0].center
    assert any(f"{lon:.4f},{lat:.4f}" in line for line in lines)


def test_the_coarse_level_of_a_tile_lies_where_the_tile_does(shared: Path) -> None:
    scene = find_scenes(shared / "t36uya_b01_60m").scenes[0]
    source = source_of(scene, picture_band(scene, None))
    pixels, grid = overviews.coarse_pixels(source)
    assert max(pixels.shape) < max(source.grid.shape)  # 1830 pixels are too many
    truth = np.vstack([strip for _, strip in strips(source.read, source.grid, grid)])
    both = np.isfinite(pixels) & np.isfinite(truth)
    pieces = (np.where(both, image, 0)[:512, :512].astype(np.float64) for image in (pixels, truth))
    shift, _ = cv2.phaseCorrelate(*pieces)
    assert np.abs(shift).max() < 0.1
