"""Classes of the ground: tables of codes, SCL, MSK_CLASSI, and a user's map in any CRS."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from sentinel_match.errors import BadClasses
from sentinel_match.products.catalogue import read_scene
from sentinel_match.products.scene import Asset, Mask, Scene
from sentinel_match.raster.flags import Reason
from sentinel_match.raster.landcover import (
    SCL_CLASSES,
    WORLDCOVER_CLASSES,
    Class,
    ClassMap,
    classify,
    read_table,
)
from sentinel_match.raster.masks import at_centres
from sentinel_match.testing.codec import whole, write_image

GRID = GeoBox((60, 80), Affine(20, 0, 600_000, 0, -20, 5_900_040), "EPSG:32633")


def scene(*masks: Mask) -> Scene:
    return Scene("S2", Path("S2"), "L2A", None, "none", masks=masks, geobox=GRID)


def product(path: Path, kind: str, pixels: NDArray[Any]) -> Mask:
    bands = pixels.shape[0] if pixels.ndim == 3 else 1
    write_image(path, GRID, whole(pixels.astype(np.uint8)), "uint8", bands=bands)
    return Mask(kind, Asset(path), GRID)


def raster(path: Path, codes: NDArray[Any], geobox: GeoBox | None = GRID, **profile: Any) -> Path:
    place = {} if geobox is None else {"crs": str(geobox.crs), "transform": geobox.affine}
    rows, cols = codes.shape
    with rasterio.open(path, "w", width=cols, height=rows, count=1, dtype=codes.dtype, **place, **profile) as file:
        file.write(codes, 1)
    return path


def halves(left: int, right: int, geobox: GeoBox = GRID) -> NDArray[np.uint8]:
    codes = np.full(geobox.shape, left, np.uint8)
    codes[:, codes.shape[1] // 2 :] = right
    return codes


def test_every_scl_code_has_its_class(tmp_path: Path) -> None:
    codes = np.repeat(np.arange(12), 5)[:, None].repeat(80, 1)
    found = classify(scene(product(tmp_path / "SCL.jp2", "SCL", codes)), GRID)
    names = ["UNKNOWN", "DEFECTIVE", "UNKNOWN", "SHADOW", "VEGETATION", "BARE", "WATER", "UNKNOWN", "CLOUD", "CLOUD",
             "CIRRUS", "SNOW"]  # fmt: skip
    assert names == [Class(code).name for code in found.codes[2::5, 0]]
    assert ("SCL", ()) == (found.origin, found.notes)


def test_without_scl_msk_classi_knows_snow_and_cloud(tmp_path: Path) -> None:
    layers = np.zeros((3, 60, 80), np.uint8)
    layers[0, :20], layers[1, 10:30], layers[2, 40:] = 1, 1, 1
    found = classify(scene(product(tmp_path / "CLASSI.jp2", "CLASSI", layers)), GRID)
    assert "CLASSI" == found.origin
    assert [Class.CLOUD, Class.CLOUD, Class.CIRRUS, Class.UNKNOWN, Class.SNOW] == found.codes[
        [5, 15, 25, 35, 50], 0
    ].tolist()


def test_a_damaged_scl_gives_way_and_without_any_all_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "SCL.jp2").write_bytes(b"nothing")
    found = classify(scene(Mask("SCL", Asset(tmp_path / "SCL.jp2"), GRID)), GRID)
    assert ("", {0}) == (found.origin, set(found.codes.ravel().tolist()))


def test_a_coarse_pixel_has_the_class_of_most_of_it(tmp_path: Path) -> None:
    codes = np.full((60, 80), 4)
    codes[::3, ::3] = 6  # at the very centre of a 60 m pixel there may be a pond
    codes[1::3, 1::3] = 6
    coarse = GeoBox((20, 26), GRID.affine * Affine.scale(3), GRID.crs)
    found = classify(scene(product(tmp_path / "SCL.jp2", "SCL", codes)), coarse)
    assert {Class.VEGETATION} == set(found.codes.ravel().tolist())


def test_the_users_map_goes_first_and_may_be_in_any_crs(tmp_path: Path) -> None:
    degrees = GRID.to_crs("EPSG:4326", tight=True).pad(10)
    path = raster(tmp_path / "cover.tif", halves(10, 80, degrees), degrees)
    found = classify(scene(product(tmp_path / "SCL.jp2", "SCL", np.full((60, 80), 5))), GRID, ClassMap(path))
    assert "cover.tif" == found.origin
    assert (found.codes[:, :30] == Class.VEGETATION).all()
    assert (found.codes[:, 50:] == Class.WATER).all()


@pytest.mark.parametrize(("codes", "table"), [(SCL_CLASSES, "scl"), (WORLDCOVER_CLASSES, "worldcover")])
def test_known_tables_are_known_by_their_codes(codes: dict[int, Class], table: str, tmp_path: Path) -> None:
    keys = np.resize(np.array(list(codes), np.uint8), (60, 80))
    path = raster(tmp_path / "a.tif", keys)
    found, named = (classify(scene(), GRID, ClassMap(path, said)).codes for said in (None, table))
    np.testing.assert_array_equal([[codes[k] for k in row] for row in keys.tolist()], found)
    np.testing.assert_array_equal(named, found)


def test_a_users_table_may_name_any_code(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = tmp_path / "table.csv"
    table.write_text("code,class\n-3, Water\n700,vegetation\n\n")
    codes = halves(0, 1).astype(np.int16)
    codes[:20], codes[20:40], codes[40:] = -3, 700, 9
    found = classify(scene(), GRID, ClassMap(raster(tmp_path / "a.tif", codes), str(table)))
    assert [Class.WATER, Class.VEGETATION, Class.UNKNOWN] == found.codes[[10, 30, 50], 0].tolist()
    assert ("a.tif: 9 not in the table of classes, so unknown",) == found.notes


def test_no_data_of_a_map_is_unknown(tmp_path: Path) -> None:
    path = raster(tmp_path / "a.tif", halves(4, 255), nodata=255)
    found = classify(scene(), GRID, ClassMap(path))
    assert {Class.VEGETATION, Class.UNKNOWN} == set(found.codes[0].tolist())
    assert () == found.notes


def test_a_map_of_somewhere_else_is_a_note(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    away = GeoBox(GRID.shape, GRID.affine * Affine.translation(500, 0), GRID.crs)
    with caplog.at_level(logging.WARNING):
        found = classify(scene(), GRID, ClassMap(raster(tmp_path / "a.tif", halves(4, 5), away)))
    assert ("", ("the class map a.tif shows nothing of it",)) == (found.origin, found.notes)
    assert "shows nothing of it" in caplog.text


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("", "it lists no code"),
        ("code,class\n", "it lists no code"),
        ("1,vegetation\n2,jungle\n", "'2,jungle' is no pair code,class"),
        ("1;vegetation\n", "is no pair code,class"),
        ("one,water\n", "'one,water' is no pair code,class"),
        ("1,water\n1,bare\n", "it lists a code twice"),
    ],
)
def test_wrong_tables_say_what_is_wrong(lines: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text(lines)
    with pytest.raises(BadClasses, match=why):
        read_table(tmp_path / "table.csv")


def test_maps_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    (tmp_path / "text.tif").write_text("no raster")
    for path, why in (
        (tmp_path / "text.tif", "it is no raster"),
        (raster(tmp_path / "real.tif", halves(1, 2).astype(np.float32)), "whole numbers"),
        (raster(tmp_path / "two.tif", halves(0, 10)), "of more than one table"),
        (raster(tmp_path / "odd.tif", halves(33, 44)), r"\(33, 44\) are neither"),
    ):
        with pytest.raises(BadClasses, match=why):
            classify(scene(), GRID, ClassMap(path))
    with pytest.raises(BadClasses, match="the image has no georeference"):
        classify(scene(), GeoBox((6, 8), Affine.identity(), None), ClassMap(tmp_path / "two.tif"))
    with pytest.raises(BadClasses, match="no CSV table"):
        read_table(tmp_path / "absent.csv")
    with pytest.raises(BadClasses, match="absent"):
        _ = ClassMap(tmp_path / "absent.tif").recipe


def test_a_recipe_knows_contents_not_names(tmp_path: Path) -> None:
    one, two = (raster(tmp_path / f"{name}.tif", halves(4, 5)) for name in "ab")
    other = raster(tmp_path / "c.tif", halves(4, 6))
    assert ClassMap(one).recipe == ClassMap(two).recipe
    recipes = [ClassMap(one), ClassMap(other), ClassMap(one, "scl"), ClassMap(one, gate=False)]
    assert 4 == len({str(m.recipe) for m in recipes})


def test_classes_that_never_correspond_have_a_reason(tmp_path: Path) -> None:
    codes = np.repeat(np.arange(12), 5)[:, None].repeat(80, 1)
    found = classify(scene(product(tmp_path / "SCL.jp2", "SCL", codes)), GRID).reasons()
    names = ["VALID", "DEFECTIVE", "VALID", "SHADOW", "VALID", "VALID", "WATER", "VALID", "CLOUD", "CLOUD", "CIRRUS",
             "SNOW"]  # fmt: skip
    assert names == [Reason(code).name for code in found[2::5, 0]]


def test_classes_go_to_another_grid_unmixed() -> None:
    fine = GeoBox((120, 200), GRID.affine * Affine.scale(0.5), GRID.crs)
    found = at_centres(halves(1, 4), GRID, fine)
    assert [1, 4, 0] == found[50, [79, 80, 170]].tolist()
    assert {0, 1, 4} == set(found.ravel().tolist())


def test_a_real_scl_shows_cloud_and_land(shared: Path) -> None:
    one = read_scene(next((shared / "safe_L2A_T29UNU_trimmed").glob("*.SAFE")))
    assert one.geobox is not None
    found = classify(one, one.geobox.zoom_out(20))
    assert "SCL" == found.origin
    known = found.codes[found.codes > Class.UNKNOWN]
    assert 0.6 == pytest.approx(np.isin(known, (Class.CLOUD, Class.CIRRUS)).mean(), abs=0.02)  # as the product says
