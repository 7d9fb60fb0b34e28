"""Validity with reasons: the product's masks, the user's, and brightness where there are none."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry
from PIL import Image

from sentinel_match.errors import BadMask
from sentinel_match.products.catalogue import read_scene
from sentinel_match.products.scene import Asset, Band, Mask, Scene
from sentinel_match.raster.clouds import bright, white_level
from sentinel_match.raster.flags import SHORE_METRES, Reason
from sentinel_match.raster.masks import Masking, reasons
from sentinel_match.raster.morphology import dilate
from sentinel_match.raster.raster import read
from sentinel_match.testing.codec import whole, write_image

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

GRID = GeoBox((60, 80), Affine(20, 0, 600_000, 0, -20, 5_900_040), "EPSG:32633")
STILL = Masking(dilate=0)


def scene(*masks: Mask) -> Scene:
    return Scene("S2", masks[0].asset.path if masks else None, "L2A", None, "none", masks=masks, geobox=GRID)  # type: ignore[arg-type]


def layer(path: Path, kind: str, pixels: NDArray[Any], geobox: GeoBox = GRID) -> Mask:
    bands = pixels.shape[0] if pixels.ndim == 3 else 1
    write_image(path, geobox, whole(pixels.astype(np.uint8)), "uint8", bands=bands)
    return Mask(kind, Asset(path), geobox)


def names(codes: NDArray[np.uint8]) -> set[str]:
    return {Reason(int(code)).name for code in np.unique(codes)}


# SCL


def test_each_scene_class_has_its_reason(tmp_path: Path) -> None:
    classes = np.repeat(np.arange(12), 5)[:, None].repeat(80, 1)
    codes = reasons(scene(layer(tmp_path / "SCL.jp2", "SCL", classes)), GRID, Masking(frozenset(), dilate=0)).codes
    expected = [1, 2, 0, 5, 0, 0, 0, 0, 3, 3, 4, 6]  # water: 100 m wide, so all of it is shore
    assert expected == codes[2::5, 0].tolist()
    assert (codes == codes[:, :1]).all()


def test_snow_is_kept_unless_it_is_not_wanted(tmp_path: Path) -> None:
    snowy = scene(layer(tmp_path / "SCL.jp2", "SCL", np.full(GRID.shape, 11)))
    assert {"VALID"} == names(reasons(snowy, GRID, STILL).codes)
    assert {"SNOW"} == names(reasons(snowy, GRID, Masking(frozenset())).codes)


def test_water_is_dropped_but_for_its_shore(tmp_path: Path) -> None:
    classes = np.full(GRID.shape, 4)
    classes[20:, :] = 6
    classes[5:8, :] = 6  # a river
    one = scene(layer(tmp_path / "SCL.jp2", "SCL", classes))
    water = reasons(one, GRID, STILL).codes == Reason.WATER
    assert 20 + SHORE_METRES / 20 == np.flatnonzero(water[:, 40])[0]
    assert not water[:20].any()
    assert not (reasons(one, GRID, Masking(frozenset({Reason.WATER}))).codes == Reason.WATER).any()


@pytest.mark.parametrize("metres", [0, 20, 60, 100])
def test_clouds_grow_by_metres(metres: float, tmp_path: Path) -> None:
    classes = np.full(GRID.shape, 4)
    classes[30, 40] = 9
    cloud = reasons(scene(layer(tmp_path / "SCL.jp2", "SCL", classes)), GRID, Masking(dilate=metres)).codes
    row, col = np.indices(GRID.shape)
    expected = np.hypot(row - 30, col - 40) * 20 <= metres
    np.testing.assert_array_equal(expected, cloud == Reason.CLOUD)


def test_the_first_reason_wins_so_that_shares_add_up(tmp_path: Path) -> None:
    classes = np.full(GRID.shape, 3)
    classes[:, 40:] = 8
    codes = reasons(scene(layer(tmp_path / "SCL.jp2", "SCL", classes)), GRID, Masking(dilate=60)).codes
    assert {3: 43 * 60, 5: 37 * 60} == {int(c): int((codes == c).sum()) for c in np.unique(codes)}


def test_classes_are_never_interpolated_onto_finer_coarser_or_rotated_grids(tmp_path: Path) -> None:
    classes = np.random.default_rng(0).choice([0, 4, 9], GRID.shape)  # a mean of 0 and 9 would be 4, of 4 and 9 a 6
    one = scene(layer(tmp_path / "SCL.jp2", "SCL", classes))
    fine = reasons(one, GRID.zoom_out(0.5), STILL).codes
    np.testing.assert_array_equal(fine[::2, ::2], fine[1::2, 1::2])
    np.testing.assert_array_equal(np.select([classes == 0, classes == 9], [1, 3]), fine[::2, ::2])
    for other in (GRID.zoom_out(3), GRID.to_crs("EPSG:32632")):
        assert names(reasons(one, other, STILL).codes) <= {"VALID", "NODATA", "CLOUD"}


def test_outside_the_mask_nothing_is_known(tmp_path: Path) -> None:
    one = scene(layer(tmp_path / "SCL.jp2", "SCL", np.full(GRID.shape, 9)))
    codes = reasons(one, GRID.pad(5), STILL).codes
    assert (codes[5:-5, 5:-5] == Reason.CLOUD).all()
    assert 60 * 80 == (codes != 0).sum()


def test_the_finest_scl_is_taken(tmp_path: Path) -> None:
    coarse = GeoBox((20, 27), Affine(60, 0, 600_000, 0, -60, 5_900_040), "EPSG:32633")
    fine = layer(tmp_path / "SCL_20m.jp2", "SCL", np.full(GRID.shape, 9))
    both = (fine, layer(tmp_path / "SCL_60m.jp2", "SCL", np.full((20, 27), 4), coarse))
    for order in (1, -1):
        assert (reasons(scene(*both[::order]), GRID, STILL).codes == Reason.CLOUD).all()


# MSK_CLASSI and MSK_CLOUDS


def test_classi_has_a_layer_of_each_kind(tmp_path: Path) -> None:
    layers = np.zeros((3, *GRID.shape))
    layers[0, :10], layers[1, 5:20], layers[2, 15:30] = 1, 1, 1
    masked = reasons(scene(layer(tmp_path / "MSK_CLASSI_B00.jp2", "CLASSI", layers)), GRID, Masking(frozenset(), 0))
    assert ("CLASSI", ()) == (masked.clouds, masked.notes)
    assert [3] * 10 + [4] * 10 + [6] * 10 + [0] * 30 == masked.codes[:, 7].tolist()


GML = """<?xml version="1.0" encoding="UTF-8"?>
<eop:Mask xmlns:eop="http://www.opengis.net/eop/2.0" xmlns:gml="http://www.opengis.net/gml/3.2">
  <eop:maskMembers>{}</eop:maskMembers>
</eop:Mask>"""
FEATURE = """<eop:MaskFeature><eop:maskType codeSpace="urn:gs2:S2PDGS:maskType">{}</eop:maskType><eop:extentOf>
  <gml:Polygon>{}</gml:Polygon></eop:extentOf></eop:MaskFeature>"""


def ring(side: str, *bounds: float) -> str:
    numbers = " ".join(f"{x:.0f} {y:.0f}" for x, y in shapely.box(*bounds).exterior.coords)
    points = f'<gml:posList srsDimension="2">{numbers}</gml:posList>'
    return f"<gml:{side}><gml:LinearRing>{points}</gml:LinearRing></gml:{side}>"


def clouds(path: Path, content: str) -> Scene:
    path.write_text(content)
    return scene(Mask("CLOUDS", Asset(path), None))


def test_polygons_of_a_gml_mask_are_clouds_with_holes(tmp_path: Path) -> None:
    opaque = ring("exterior", 600_200, 5_899_240, 600_800, 5_899_840) + ring(
        "interior", 600_400, 5_899_440, 600_600, 5_899_640
    )
    empty = '<gml:exterior><gml:LinearRing><gml:posList srsDimension="2"/></gml:LinearRing></gml:exterior>'
    content = GML.format(
        FEATURE.format("OPAQUE", opaque)
        + FEATURE.format("CIRRUS", ring("exterior", 600_800, 5_899_240, 601_000, 5_899_840))
        + FEATURE.format("OPAQUE", empty)
        + FEATURE.format("OPAQUE", "")
    )
    masked = reasons(clouds(tmp_path / "MSK_CLOUDS_B00.gml", content), GRID, STILL)
    assert "CLOUDS" == masked.clouds
    assert [0, 3, 0, 3, 4, 0] == masked.codes[25, [9, 15, 25, 35, 45, 55]].tolist()
    assert [0, 3, 3, 3, 4, 0] == masked.codes[15, [9, 15, 25, 35, 45, 55]].tolist()


def test_an_empty_gml_mask_is_a_clear_tile(tmp_path: Path) -> None:
    masked = reasons(clouds(tmp_path / "m.gml", GML.format("")), GRID, STILL)
    assert ("CLOUDS", (), {"VALID"}) == (masked.clouds, masked.notes, names(masked.codes))


def test_real_gml_masks_cover_what_their_polygons_do(shared: Path) -> None:
    product = shared / "safe_metadata_only" / "s2reader" / "compact_safe"
    path = next(product.rglob("MSK_CLOUDS_B00.gml"))
    grid = GeoBox((1830, 1830), Affine(60, 0, 499_980, 0, -60, 4_700_040), "EPSG:32632")
    one = Scene("S2", path, "L1C", None, "none", masks=(Mask("CLOUDS", Asset(path), None),), geobox=grid)
    codes = reasons(one, grid, STILL).codes
    assert {"VALID", "CLOUD", "CIRRUS"} == names(codes)
    # the first polygon's south edge runs from x 502980 to 503580 at y 4670760, on this lattice of 60 m
    row, col = (4_700_040 - 4_670_760) // 60, (503_280 - 499_980) // 60
    assert [0, 3] == codes[[row + 1, row - 1], col].tolist()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "<html>",
        '<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x',
        GML.format(FEATURE.format("OPAQUE", ring("exterior", 0, 0, 9, 9).replace("0 0", "zero 0"))),
    ],
)
def test_a_damaged_gml_is_a_note_and_a_warning(content: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        masked = reasons(clouds(tmp_path / "MSK_CLOUDS_B00.gml", content), GRID, STILL)
    assert "" == masked.clouds
    assert "MSK_CLOUDS_B00.gml" in masked.notes[0]
    assert "no cloud mask" == masked.notes[1]
    assert "MSK_CLOUDS_B00.gml" in caplog.text


def test_a_damaged_mask_gives_way_to_the_next_best(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "SCL.jp2").write_bytes(b"")
    broken = Mask("SCL", Asset(tmp_path / "SCL.jp2"), GRID)
    masked = reasons(scene(broken, layer(tmp_path / "C.jp2", "CLASSI", np.ones((3, *GRID.shape)))), GRID, STILL)
    assert ("CLASSI", {"CLOUD"}) == (masked.clouds, names(masked.codes))
    assert masked.notes[0].startswith("without the mask SCL.jp2: it cannot be opened")
    assert "SCL.jp2" in caplog.text


def test_a_product_without_any_mask_says_so(caplog: pytest.LogCaptureFixture) -> None:
    masked = reasons(scene(), GRID, Masking())
    assert ("", ("no cloud mask",)) == (masked.clouds, masked.notes)
    assert "S2: no cloud mask" in caplog.text


def test_nothing_can_be_placed_on_an_image_without_georeference(tmp_path: Path) -> None:
    one = scene(layer(tmp_path / "SCL.jp2", "SCL", np.full(GRID.shape, 9)))
    masked = reasons(one, GeoBox(GRID.shape, Affine.scale(10, -10), None), Masking())
    assert ("", {"VALID"}) == (masked.clouds, names(masked.codes))


# Cloud probability


def test_cloud_probability_adds_what_the_classes_miss(tmp_path: Path) -> None:
    chance = np.zeros(GRID.shape)
    chance[:20], chance[20:40] = 80, 40
    masks = (layer(tmp_path / "S.jp2", "SCL", np.full(GRID.shape, 4)), layer(tmp_path / "P.jp2", "CLDPRB", chance))
    for limit, rows in ((None, 0), (50, 20), (40, 40)):
        codes = reasons(scene(*masks), GRID, Masking(dilate=0, cloud_probability=limit)).codes
        assert rows == (codes[:, 0] == Reason.CLOUD).sum()
    assert "CLDPRB" == reasons(scene(masks[1]), GRID, Masking(cloud_probability=50)).clouds


def test_a_cloud_probability_that_is_not_there_is_noted(tmp_path: Path) -> None:
    one = scene(layer(tmp_path / "S.jp2", "SCL", np.full(GRID.shape, 4)))
    notes = reasons(one, GRID, Masking(cloud_probability=50)).notes
    assert ("without the cloud probability: the product has none",) == notes


# The user's own


def polygons(path: Path, polygon: shapely.Geometry, crs: str | None) -> None:
    wkb = np.array([shapely.to_wkb(polygon)], object)
    pyogrio.raw.write(path, wkb, field_data=[], fields=[], crs=crs, geometry_type="Polygon")


def test_a_users_polygons_exclude_in_whatever_crs(tmp_path: Path) -> None:
    inside = shapely.box(600_400, 5_899_240, 600_800, 5_899_640)
    for suffix, crs in ((".geojson", "EPSG:4326"), (".gpkg", "EPSG:32632"), (".shp", "EPSG:3857")):
        shape = Geometry(inside, GRID.crs).to_crs(crs, resolution=10).geom
        path = tmp_path / f"mask{suffix}"
        polygons(path, shape, crs)
        codes = reasons(scene(), GRID, Masking(user=path)).codes
        assert {"VALID", "USER"} == names(codes)
        assert (codes[21:39, 21:39] == Reason.USER).all()
        assert not codes[:19].any()
        assert not codes[:, 42:].any()


def test_a_mask_of_half_the_world_is_understood(tmp_path: Path) -> None:
    polygons(tmp_path / "north.geojson", shapely.box(-180, 53.235, 180, 90), "EPSG:4326")
    codes = reasons(scene(), GRID, Masking(user=tmp_path / "north.geojson")).codes
    border = GRID[:, 40].extent.to_crs("EPSG:4326").boundingbox
    assert border.bottom < 53.235 < border.top
    share = (border.top - 53.235) / (border.top - border.bottom)
    assert (codes[:, 40] == Reason.USER).mean() == pytest.approx(share, abs=0.05)
    assert not codes[-1].any()


def test_a_users_raster_excludes_where_it_is_not_zero(tmp_path: Path) -> None:
    fine = GeoBox((240, 320), Affine(5, 0, 600_000, 0, -5, 5_900_040), "EPSG:32633")
    excluded = np.zeros(fine.shape, np.int16)
    excluded[83, 121] = 7  # one pixel of 5 m: the 20 m pixel around it is excluded
    excluded[:, :4] = -1  # no-data
    for grid, name in ((fine, "a.tif"), (fine.to_crs("EPSG:32632"), "b.tif")):
        pixels = excluded if name == "a.tif" else np.ones(grid.shape, np.int16)
        with rasterio.open(tmp_path / name, "w", width=grid.shape.x, height=grid.shape.y, count=1, dtype="int16",
                           nodata=-1, crs=str(grid.crs), transform=grid.affine) as file:  # fmt: skip
            file.write(pixels, 1)
    codes = reasons(scene(), GRID, Masking(user=tmp_path / "a.tif")).codes
    assert [(20, 30)] == [tuple(map(int, at)) for at in np.argwhere(codes == Reason.USER)]
    assert (reasons(scene(), GRID, Masking(user=tmp_path / "b.tif")).codes == Reason.USER).mean() > 0.95


def test_masks_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("nothing")
    with rasterio.open(tmp_path / "whole.tif", "w", width=80, height=60, count=1, dtype="uint8", crs=str(GRID.crs),
                       transform=GRID.affine) as file:  # fmt: skip
        file.write(np.ones((1, 60, 80), np.uint8))
    (tmp_path / "cut.tif").write_bytes((tmp_path / "whole.tif").read_bytes()[:2000])
    with pytest.warns(UserWarning, match="crs"):
        polygons(tmp_path / "nowhere.shp", shapely.box(0, 0, 1, 1), None)
    Image.fromarray(np.ones((60, 80), np.uint8)).save(tmp_path / "plain.png")
    for name, why in (
        ("absent.tif", "there is no such file"),
        ("a.txt", "neither a raster nor polygons"),
        ("cut.tif", "cannot be decoded"),
        ("nowhere.shp", "it has no CRS"),
        ("plain.png", "it has no georeference"),
    ):
        with pytest.raises(BadMask, match=f"{name} cannot be used: .*{why}"):
            reasons(scene(), GRID, Masking(user=tmp_path / name))
    with pytest.raises(BadMask, match="the image has no georeference"):
        reasons(scene(), GeoBox((5, 5), Affine.scale(1, -1), None), Masking(user=tmp_path / "whole.tif"))


def test_a_recipe_knows_the_content_of_the_users_mask_not_its_name(tmp_path: Path) -> None:
    for name, content in (("a", "1"), ("b", "1"), ("c", "2")):
        (tmp_path / name).write_text(content)
    a, b, c = (json.dumps(Masking(user=tmp_path / name).recipe) for name in "abc")
    assert (True, False) == (a == b, a == c)
    with pytest.raises(BadMask, match="absent cannot be used"):
        _ = Masking(user=tmp_path / "absent").recipe


def test_distance_to_nothing_is_infinite() -> None:
    assert not dilate(np.zeros((9, 9), bool), 5).any()


# Brightness


def sky(seed: int = 0, cover: float = 0.1) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """60 m reflectance of fields with clouds 1.2 km wide, and where those are."""
    random = np.random.default_rng(seed)
    land = np.repeat(np.repeat(random.normal(0.10, 0.02, (50, 50)), 8, 0), 8, 1) + random.normal(0, 0.004, (400, 400))
    row, col = np.indices((400, 400))
    cloud = np.zeros((400, 400), bool)
    while cloud.mean() < cover:
        r, c = random.integers(0, 400, 2)
        cloud |= np.hypot(row - r, col - c) < 10
    return np.where(cloud, 0.45, land).astype(np.float32), cloud


@pytest.mark.parametrize("cover", [0.0, 0.02, 0.2, 0.45])
def test_bright_areas_are_found_whatever_their_share(cover: float) -> None:
    pixels, cloud = sky(cover=cover)
    found = bright(pixels, 60, 0.25)
    assert found is not None
    assert (found & cloud).sum() == cloud.sum()
    assert (found & ~cloud).mean() < 0.001


def test_a_single_roof_is_no_cloud() -> None:
    pixels, _ = sky(cover=0)
    pixels[100:102, 100:102] = 0.6
    found = bright(pixels, 60, 0.25)
    assert found is not None
    assert not found.any()


def test_snow_cannot_be_told_from_cloud() -> None:
    pixels, _ = sky(cover=0)
    assert bright(pixels + np.float32(0.6), 60, 0.25) is None


def test_an_image_without_data_has_no_clouds() -> None:
    found = bright(np.full((20, 20), np.nan, np.float32), 60, 0.25)
    assert found is not None
    assert not found.any()


def test_what_white_is_depends_on_what_the_numbers_are(tmp_path: Path) -> None:
    for dtype in ("uint8", "uint16", "float32"):
        with rasterio.open(tmp_path / f"{dtype}.tif", "w", width=80, height=60, count=1, dtype=dtype, crs=str(GRID.crs),
                           transform=GRID.affine) as file:  # fmt: skip
            file.write(np.ones((1, 60, 80), dtype))

    def white(name: str, dtype: str, level: str = "", **facts: float) -> float | None:
        band = Band(name, 20.0, Asset(tmp_path / f"{dtype}.tif"), GRID, **facts)  # type: ignore[arg-type]
        return white_level(Scene("S2", tmp_path, level, None, "none", (band,)), band)

    assert 0.25 == white("B04", "uint16", "L1C", offset=-1000.0, quantification=10_000.0)
    assert 2500 == white("B04", "uint16")
    assert 2500 == white("1", "uint16")
    assert 180 == white("TCI", "uint8", "L2A")
    assert None is white("B08", "uint16", "L1C")
    assert None is white("1", "float32")
    assert None is white("WVP", "uint16", "L2A")


@pytest.mark.parametrize(
    ("product", "date", "band", "least", "most"),
    [
        ("safe_pair_T33UUU_B04", "20160529", "B04", 0.2, 0.3),
        ("safe_pair_T33UUU_B04", "20160608", "B04", 0.0, 0.001),
        ("safe_pair_T36UYA_B01", "20190318", "B01", 0.35, 0.5),
        ("safe_pair_T36UYA_B01", "20190825", "B01", 0.0, 0.001),
    ],
)
def test_brightness_finds_the_clouds_of_real_products(
    product: str, date: str, band: str, least: float, most: float, shared: Path
) -> None:
    one = read_scene(next((shared / product).glob(f"*_{date}T*")))
    image = read(one, band, resolution=60)
    found = bright(np.where(image.valid, image.pixels, np.float32(np.nan)), 60, 0.25)
    assert found is not None
    assert least <= found[image.valid].mean() <= most


@given(
    mask=arrays(np.bool_, (23, 31), elements=st.booleans(), fill=st.just(False)),
    pixels=st.floats(0.5, 20).map(lambda value: round(value, 2)),
)
def test_a_mask_grows_to_all_pixels_within_a_distance_and_to_no_other(mask: np.ndarray, pixels: float) -> None:
    rows, cols = np.nonzero(mask)
    at = np.stack(np.indices(mask.shape), -1)[:, :, None]
    squared = ((at - np.column_stack([rows, cols])) ** 2).sum(-1)

    near = (squared <= pixels**2).any(-1) if len(rows) else mask

    np.testing.assert_array_equal(dilate(mask, pixels), near)


@pytest.mark.parametrize("pixels", [3 * (1 - 1e-9), 3.0, 30 * (1 - 1e-9), 0.4])
def test_a_distance_that_is_rounded_down_loses_no_pixel_of_the_rim(pixels: float) -> None:
    mask = np.zeros((5, 90), bool)  # less high than the disc
    mask[2, 40] = True
    assert 2 * round(pixels) + 1 == dilate(mask, pixels)[2].sum()
