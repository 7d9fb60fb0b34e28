"""One product: everything its XML says arrives in the Scene, in every age of the format, and what lacks is noted."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from affine import Affine
from minimal_safe import BAND_IDS, Safe, jp2, pack
from odc.geo.geobox import GeoBox

from sentinel_match.errors import BrokenProduct, NotAProduct
from sentinel_match.products.catalogue import read_scene

if TYPE_CHECKING:
    from pathlib import Path

    from sentinel_match.products.scene import Scene


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


def labels(scene: Scene) -> list[str]:
    return [f"{band.name} {band.resolution:g}" for band in scene.bands]


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_scene_says_what_the_product_says(tmp_path: Path) -> None:
    safe = Safe(refined="REFINED", offsets={3: -1000})
    scene = read_scene(safe.write(tmp_path))
    expected = {
        "id": "S2A_MSIL1C_20230608T101031_N0511_R022_T33UUU_20230608T140000",
        "name": "T33UUU_20230608T101033",
        "level": "L1C",
        "baseline": "05.11",
        "spacecraft": "S2A",
        "tile": "T33UUU",
        "datatake": "GS2A_20230608T101031_041575",
        "datastrip": "S2A_OPER_MSI_L1C_DS_2APS_20230608T140000_S20230608T101033_N05.11",
        "relative_orbit": 22,
        "orbit_direction": "DESCENDING",
        "sensing_time": utc(2023, 6, 8, 10, 10, 33, 457000),
        "generation_time": utc(2023, 6, 8, 14),
        "cloud_cover": 7e-6,
        "nodata_share": None,
        "refined": True,
        "sun_elevation": 56.5,
        "footprint_source": "product",
        "geobox": GeoBox((120, 120), Affine(10, 0, 300_000, 0, -10, 5_900_040), "EPSG:32633"),
        "path": tmp_path / f"{safe.name}.SAFE",
    }
    assert expected == {name: getattr(scene, name) for name in expected}
    assert pytest.approx(1.44, rel=1e-3) == scene.footprint.area_km2
    (band,) = scene.bands
    assert ("B04", 10.0, -1000.0, 10000.0, 0.0, 1) == (
        band.name, band.resolution, band.offset, band.quantification, band.nodata, band.index,
    )  # fmt: skip
    assert scene.geobox == band.geobox


@pytest.mark.parametrize("psd", [12, 13, 14, 15])
def test_the_version_of_the_schema_does_not_matter(psd: int, tmp_path: Path) -> None:
    scene = read_scene(Safe(psd=psd, offsets={3: -1000}).write(tmp_path))
    assert ("L1C", -1000.0, 22, 56.5) == (
        scene.level,
        scene.band("B04").offset,
        scene.relative_orbit,
        scene.sun_elevation,
    )


@pytest.mark.parametrize("baseline", ["02.14", "05.00", "99.99"])
@pytest.mark.parametrize("offsets", [{}, {3: -1000}, {3: -7000}])
def test_the_offset_is_what_the_xml_says_whatever_the_baseline(
    baseline: str, offsets: dict[int, float], tmp_path: Path
) -> None:
    scene = read_scene(Safe(baseline=baseline, offsets=offsets).write(tmp_path))
    assert offsets.get(3, 0) == scene.band("B04").offset


def test_band_ids_are_positions_and_not_numbers_of_bands(tmp_path: Path) -> None:
    names = [f"B{name[1:]:0>2}" for name in BAND_IDS]
    safe = Safe(offsets={position: -100.0 * position for position in range(13)}, images=tuple(names))
    offsets = {band.name: band.offset for band in read_scene(safe.write(tmp_path)).bands}
    assert {name: -100.0 * position for position, name in enumerate(names)} == offsets
    assert (-800.0, -900.0) == (offsets["B8A"], offsets["B09"])


def test_band_ids_follow_the_list_of_the_product_if_its_order_is_another(tmp_path: Path) -> None:
    swapped = tuple(
        (f'bandId="{i}" physicalBand="{b}"', f'bandId="{j}" physicalBand="{b}"')
        for i, b, j in ((3, "B4", 7), (7, "B8", 3))
    )
    assert -7.0 == read_scene(Safe(offsets={7: -7}, edits=swapped).write(tmp_path)).band("B04").offset


def test_level_2a_has_a_band_per_file_and_its_own_scales(tmp_path: Path) -> None:
    images = ("B02_10m", "B04_10m", "B04_20m", "SCL_20m", "TCI_10m", "AOT_20m")
    safe = Safe(level="L2A", offsets={3: -1000}, images=images)
    scene = read_scene(safe.write(tmp_path))
    assert ["AOT 20", "B02 10", "B04 10", "B04 20", "TCI 10"] == labels(scene)
    assert [(0, 1000), (0, 10000), (-1000, 10000), (-1000, 10000), (0, 1)] == [
        (band.offset, band.quantification) for band in scene.bands
    ]
    (mask,) = scene.masks
    assert ("SCL", 20) == (mask.kind, mask.geobox.resolution.x)


def early_level_2a(safe: Safe, folder: Path) -> Path:
    """Level-2A of 2016 and 2017: other element names, a list of granules per resolution, prefixed files."""
    product = safe.write(folder)
    main = product / "MTD_MSIL2A.xml"
    text = main.read_text()
    for name in ("Product_Info", "Product_Organisation", "Product_Image_Characteristics"):
        text = text.replace(f"<{name}>", f"<L2A_{name}>").replace(f"</{name}>", f"</L2A_{name}>")
    for name in ("BOA_QUANTIFICATION_VALUE", "AOT_QUANTIFICATION_VALUE"):
        text = text.replace(name, f"L2A_{name}")
    text = text.replace("PRODUCT_URI", "PRODUCT_URI_2A").replace("Level-2A</PROC", "Level-2Ap</PROC")
    text = text.replace("IMAGE_FILE>", "IMAGE_FILE_2A>").replace(f"/{safe.tile}_", f"/L2A_{safe.tile}_")
    lists = re.search(r"<Granule_List>.*</Granule_List>", text, re.DOTALL)[0].replace("Granule ", "Granules ")
    text = text.replace("</Granule_List>", "</Granule_List>" + lists.replace("</Granule>", "</Granules>"), 1)
    main.write_text(text)
    rewrite(product / safe.granule / "MTD_TL.xml", "DATASTRIP_ID>", "DATASTRIP_ID_2A>")
    for image in (product / safe.granule).rglob("*.jp2"):
        image.rename(image.with_name(f"L2A_{image.name}"))
    quality = product / safe.granule / "QI_DATA"
    quality.mkdir()
    (quality / f"L2A_{safe.tile}_{safe.datatake}_CLD_20m.jp2").write_bytes(jp2("CLD_20m", safe))
    (quality / "S2A_USER_MTD_L2A_TL_Report.xml").write_text("<Report/>")
    return product


def test_early_level_2a_reads_like_any_other(tmp_path: Path) -> None:
    safe = Safe(level="L2A", baseline="02.05", images=("B04_10m", "B04_20m", "SCL_20m"))
    scene = read_scene(early_level_2a(safe, tmp_path))
    assert (safe.name, "L2A", safe.datastrip) == (scene.id, scene.level, scene.datastrip)
    assert ["B04 10", "B04 20"] == labels(scene)
    assert 10000 == scene.band("B04").quantification
    assert ["SCL", "CLDPRB"] == [mask.kind for mask in scene.masks]
    assert ("1 of 4 images are absent: B02_10m",) == scene.notes


def test_every_useful_mask_is_found_and_no_other(tmp_path: Path) -> None:
    safe = Safe()
    quality = safe.write(tmp_path) / safe.granule / "QI_DATA"
    quality.mkdir()
    for name in (
        "MSK_CLASSI_B00",
        "MSK_DETFOO_B04",
        "MSK_DETFOO_B8A",
        "MSK_QUALIT_B09",
        "MSK_SNWPRB_20m",
        "T33UUU_X_PVI",
    ):
        metres = {"B04": 10, "B8A": 20}.get(name[-3:], 60)
        (quality / f"{name}.jp2").write_bytes(jp2(f"X_{metres}m", safe))
    for name in ("MSK_CLOUDS_B00", "MSK_DETFOO_B01", "MSK_NODATA_B04", "MSK_SATURA_B04"):
        (quality / f"{name}.gml").write_text("<gml/>")
    scene = read_scene(tmp_path)
    found = {(mask.kind, mask.band, mask.geobox and mask.geobox.resolution.x) for mask in scene.masks}
    assert {
        ("CLASSI", None, 60), ("CLOUDS", None, None), ("DETFOO", "B01", None),
        ("DETFOO", "B04", 10), ("DETFOO", "B8A", 20), ("QUALIT", "B09", 60),
    } == found  # fmt: skip


def test_an_empty_mask_is_left_out_with_a_note(tmp_path: Path) -> None:
    safe = Safe()
    quality = safe.write(tmp_path) / safe.granule / "QI_DATA"
    quality.mkdir()
    (quality / "MSK_DETFOO_B04.jp2").touch()
    scene = read_scene(tmp_path)
    assert () == scene.masks
    assert "left out, because the file is empty: DETFOO_B04" in scene.notes


@pytest.mark.parametrize(("flag", "expected"), [("REFINED", True), ("NOT_REFINED", False), ("", None), (None, None)])
def test_the_refinement_flag_is_that_of_the_datastrip(flag: str | None, expected: bool | None, tmp_path: Path) -> None:
    assert expected == read_scene(Safe(refined=flag).write(tmp_path)).refined


def test_a_damaged_datastrip_file_costs_only_the_refinement_flag(tmp_path: Path) -> None:
    product = Safe(refined="REFINED").write(tmp_path)
    next(product.rglob("MTD_DS.xml")).write_text("<a><b></a>")
    assert (None, 1) == ((scene := read_scene(product)).refined, len(scene.bands))


def test_the_manifest_gives_size_and_checksum(tmp_path: Path) -> None:
    safe = Safe()
    asset = read_scene(safe.write(tmp_path)).band("B04").asset
    data = asset.path.read_bytes()
    assert (len(data), len(data)) == (asset.size, asset.expected_size)
    assert f"SHA3-256:{hashlib.sha3_256(data).hexdigest()}" == asset.checksum


def test_a_truncated_image_is_named_with_its_sizes(tmp_path: Path) -> None:
    safe = Safe()
    image = safe.write(tmp_path) / safe.image("B04")
    whole = image.read_bytes()
    image.write_bytes(whole[:5000])
    scene = read_scene(tmp_path)
    assert f"B04 is truncated: 0.005 of {len(whole) / 1e6:.3g} MB" in scene.notes
    assert (5000, len(whole)) == (scene.band("B04").asset.size, scene.band("B04").asset.expected_size)


@pytest.mark.parametrize("text", ["", "<a>", "<!DOCTYPE a><a/>"])
def test_a_damaged_manifest_costs_only_the_check_of_sizes(text: str, tmp_path: Path) -> None:
    product = Safe().write(tmp_path)
    (product / "manifest.safe").write_text(text)
    scene = read_scene(product)
    assert (1, None) == (len(scene.bands), scene.bands[0].asset.expected_size)
    assert any(note.startswith("no file size can be checked: manifest.safe") for note in scene.notes)


def test_the_stubs_in_a_manifest_of_the_planetary_computer_are_no_truncation(tmp_path: Path) -> None:
    import rasterio

    safe = Safe(edits=(("JPEG2000", "GeoTIFF"),))
    product = safe.write(tmp_path)
    source = product / safe.image("B04")
    with rasterio.open(source) as image:
        profile = {**image.profile, "driver": "GTiff"}
        with rasterio.open(source.with_suffix(".tif"), "w", **profile) as tif:
            tif.write(image.read())
    source.unlink()
    rewrite(product / "manifest.safe", "B04.jp2", "B04.tif")
    manifest = product / "manifest.safe"
    manifest.write_text(re.sub(r'size="\d+"(?=><fileLocation href="[^"]*B04)', 'size="9999999"', manifest.read_text()))
    scene = read_scene(product)
    assert ("B04", None) == (scene.bands[0].name, scene.bands[0].asset.expected_size)
    assert scene.geobox == scene.bands[0].geobox
    assert not any("truncated" in note for note in scene.notes)


def test_absent_images_are_one_line_of_notes(tmp_path: Path) -> None:
    (note,) = read_scene(Safe(images=("B04", "B8A")).write(tmp_path)).notes
    assert note == "11 of 13 images are absent: B01, B02, B03, B05, B06, B07, B08, B09, B10, B11, B12"


def test_metadata_alone_make_a_scene_without_bands(tmp_path: Path) -> None:
    scene = read_scene(Safe(images=()).write(tmp_path))
    assert ((), ("metadata only: no image is there",)) == (scene.bands, scene.notes)


def test_an_empty_image_and_a_web_page_are_no_bands(tmp_path: Path) -> None:
    safe = Safe(images=("B02", "B03", "B04"))
    product = safe.write(tmp_path)
    (product / safe.image("B02")).write_bytes(b"")
    (product / safe.image("B03")).write_text("<html>Service unavailable</html>")
    scene = read_scene(product)
    assert ["B04 10"] == labels(scene)
    assert "left out, because the file is empty: B02" in scene.notes
    assert "left out, because the file is no image: B03" in scene.notes


@pytest.mark.parametrize("zipped", [False, True])
def test_where_image_and_metadata_disagree_the_image_is_right_and_the_scene_says_so(
    zipped: bool, tmp_path: Path
) -> None:
    safe = Safe()
    product = safe.write(tmp_path)
    (product / safe.image("B04")).write_bytes(jp2("B04", safe, side=800))
    scene = read_scene(pack(product, tmp_path / "x.zip") if zipped else product)
    grid = GeoBox((80, 80), Affine(10, 0, 300_000, 0, -10, 5_900_040), "EPSG:32633")
    assert (grid, grid) == (scene.band("B04").geobox, scene.geobox)
    assert pytest.approx(0.64, rel=1e-3) == scene.footprint.area_km2
    (note,) = [note for note in scene.notes if "give the grid" in note]
    expected = "80 x 80 pixels of 10 m from 300000, 5900040, not 120 x 120 pixels of 10 m from 300000, 5900040 (B04)"
    assert f"the images give the grid, not the metadata: {expected}" == note
    assert scene.band("B04").asset.expected_size is None  # the manifest speaks of another file


def test_one_odd_image_does_not_move_the_grid_of_the_others(tmp_path: Path) -> None:
    safe = Safe(images=("B03", "B04"))
    product = safe.write(tmp_path)
    (product / safe.image("B04")).write_bytes(jp2("B04", safe, side=800))
    scene = read_scene(product)
    assert ((120, 120), (80, 80)) == (scene.geobox.shape, scene.band("B04").geobox.shape)


def test_without_tile_metadata_the_name_of_the_tile_gives_the_grid(tmp_path: Path) -> None:
    product = Safe(images=(), tile="T36UYA", origin=(699_960, 5_600_040)).write(tmp_path)
    next(product.rglob("MTD_TL.xml")).unlink()
    scene = read_scene(product)
    assert ("EPSG:32636", (10_980, 10_980), 699_960) == (
        str(scene.geobox.crs), scene.geobox.shape, scene.geobox.affine.c,
    )  # fmt: skip
    assert ("product", utc(2023, 6, 8, 10, 10, 31, 24000)) == (scene.footprint_source, scene.sensing_time)
    assert any("MTD_TL.xml is absent" in note for note in scene.notes)


def test_without_tile_metadata_the_images_still_give_their_grid(tmp_path: Path) -> None:
    product = Safe().write(tmp_path)
    next(product.rglob("MTD_TL.xml")).unlink()
    assert (120, 120) == read_scene(product).geobox.shape


@pytest.mark.parametrize("positions", ["", "nonsense", "0 0 1 1", "10 10 10 11 11 11 10 10"])
def test_an_unusable_footprint_is_the_tile_and_the_scene_says_so(positions: str, tmp_path: Path) -> None:
    scene = read_scene(Safe(positions=positions).write(tmp_path))
    assert "tile" == scene.footprint_source
    assert pytest.approx(1.44, rel=1e-3) == scene.footprint.area_km2
    assert any("EXT_POS_LIST" in note for note in scene.notes)


@pytest.mark.parametrize("heights", ["all", "some"])
def test_footprints_with_heights_are_the_same(heights: str, tmp_path: Path) -> None:
    numbers = Safe().ring.split()
    pairs = [" ".join(numbers[i : i + 2]) for i in range(0, len(numbers), 2)]
    ring = " ".join(pair + " 0" * (heights == "all" or i < 2) for i, pair in enumerate(pairs))
    plain, high = (read_scene(Safe(positions=p).write(tmp_path / n)) for n, p in (("plain", None), ("high", ring)))
    assert "product" == high.footprint_source
    assert pytest.approx(plain.footprint.area_km2, abs=1e-9) == high.footprint.area_km2


@pytest.mark.parametrize("file", ["MTD_MSIL1C.xml", "MTD_TL.xml"])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("<html><body>Error", "is damaged"),
        ('<!DOCTYPE a [<!ENTITY b "bbbb">]><a>&b;</a>', "is unsafe, because it declares entities"),
        ('<!DOCTYPE a SYSTEM "http://example.org/x.dtd"><a/>', "is unsafe"),
        ('<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE a [<!ENTITY b "b">]><a/>', "is unsafe"),
        ("<a/>", "has no"),
    ],
)
def test_damaged_and_hostile_metadata_break_a_product(file: str, text: str, said: str, tmp_path: Path) -> None:
    product = Safe().write(tmp_path)
    data = text.encode("utf-16" if "UTF-16" in text else "utf-8")
    next(product.rglob(file)).write_bytes(data)
    with pytest.raises(BrokenProduct, match=rf"{file} {said}"):
        read_scene(product)


def test_an_entity_bomb_is_refused_at_once(tmp_path: Path) -> None:
    product = Safe().write(tmp_path)
    levels = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 12))
    (product / "MTD_MSIL1C.xml").write_text(f'<!DOCTYPE a [<!ENTITY l0 "x">{levels}]><a b="&l11;">&l11;</a>')
    with pytest.raises(BrokenProduct, match="is unsafe"):
        read_scene(product)


def test_no_file_of_the_machine_is_read_through_an_entity(tmp_path: Path) -> None:
    product = Safe().write(tmp_path)
    (tmp_path / "secret").write_text("Level-1C")
    text = (product / "MTD_MSIL1C.xml").read_text().replace("Level-1C</PROC", "&s;</PROC")
    doctype = f'<!DOCTYPE a [<!ENTITY s SYSTEM "file://{tmp_path}/secret">]>'
    (product / "MTD_MSIL1C.xml").write_text(text.replace("?>", f"?>{doctype}", 1))
    with pytest.raises(BrokenProduct, match="declares entities"):
        read_scene(product)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (("<PROCESSING_LEVEL>Level-1C</PROCESSING_LEVEL>", ""), "has no PROCESSING_LEVEL"),
        (("<QUANTIFICATION_VALUE>10000</QUANTIFICATION_VALUE>", ""), "has no positive QUANTIFICATION_VALUE"),
        ((">10000<", ">0<"), "has no positive QUANTIFICATION_VALUE"),
        ((">10000<", ">inf<"), "QUANTIFICATION_VALUE in MTD_MSIL1C.xml is 'inf', not a number"),
        (("granuleIdentifier", "x"), "lists no granule"),
        ((">22<", ">twenty-two<"), "SENSING_ORBIT_NUMBER in MTD_MSIL1C.xml is 'twenty-two', not a number"),
        (("2023-06-08T14:00:00", "yesterday"), "GENERATION_TIME in MTD_MSIL1C.xml is 'yesterday.000000Z', not a time"),
    ],
)
def test_metadata_without_what_nothing_can_replace_break_a_product(
    edit: tuple[str, str], said: str, tmp_path: Path
) -> None:
    with pytest.raises(BrokenProduct, match=re.escape(said)):
        read_scene(Safe(edits=(edit,)).write(tmp_path))


def test_other_levels_and_missions_are_named(tmp_path: Path) -> None:
    level = Safe(edits=(("Level-1C</PROC", "Level-1B</PROC"),)).write(tmp_path / "1b")
    with pytest.raises(NotAProduct, match="it is Level-1B"):
        read_scene(level)
    other = tmp_path / "S1A_IW_GRDH_1SDV_20230608T051030.SAFE"
    other.mkdir()
    (other / "manifest.safe").write_text("<xfdu/>")
    with pytest.raises(NotAProduct, match="it is one of Sentinel-1"):
        read_scene(other)


def test_a_missing_number_is_not_a_zero(tmp_path: Path) -> None:
    scene = read_scene(Safe(edits=((">7.0E-6<", ">NaN<"), (">22<", "><"))).write(tmp_path))
    assert (None, None) == (scene.cloud_cover, scene.relative_orbit)


def test_a_useless_product_uri_gives_way_to_the_name_of_the_folder(tmp_path: Path) -> None:
    safe = Safe()
    edited = replace(safe, edits=((f"<PRODUCT_URI>{safe.name}.SAFE", "<PRODUCT_URI>791_2016-09-05T10_37"),))
    product = edited.write(tmp_path, "S2A_mine.SAFE")
    assert "S2A_mine" == read_scene(product).id
    assert "S2A_mine" == read_scene(pack(product, tmp_path / "other.zip")).id
