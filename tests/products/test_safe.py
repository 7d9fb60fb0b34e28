"""Finding scenes: every layout that people have on disk, duplicates, loose images, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from minimal_safe import Safe, jp2, pack
from PIL import Image

from sentinel_match.errors import BrokenProduct, NotAProduct, SentinelMatchError
from sentinel_match.products.archive import open_archive
from sentinel_match.products.catalogue import find_scenes, read_scene
from sentinel_match.products.metadata import read_product_metadata

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sentinel_match.products.catalogue import Catalogue
    from sentinel_match.products.scene import Scene

ID = Safe().name


def ids(catalogue: Catalogue) -> list[str]:
    return [scene.id for scene in catalogue.scenes]


def two_products(folder: Path) -> Path:
    Safe().write(folder)
    Safe(datatake="20230101T101031").write(folder)
    return folder


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def flat(product: Path, folder: Path) -> Path:
    """The files of a product without its own folder."""
    shutil.copytree(product, folder / "flat")
    return folder / "flat"


def kaggle(product: Path, folder: Path) -> Path:
    """NAME/NAME.SAFE/… as in the set 'deforestation-in-ukraine'."""
    shutil.copytree(product, folder / product.stem / product.name)
    return folder / product.stem


LAYOUTS: dict[str, Callable[[Path, Path], Path]] = {
    "folder": lambda p, _: p,
    "folder without suffix": lambda p, f: p.rename(f / p.stem),
    "any folder": flat,
    "one folder deeper": kaggle,
    "its main metadata": lambda p, _: p / "MTD_MSIL1C.xml",
    "its manifest": lambda p, _: p / "manifest.safe",
    "its tile metadata": lambda p, _: next(p.rglob("MTD_TL.xml")),
    "its granule": lambda p, _: next(p.glob("GRANULE/*")),
    "its granules": lambda p, _: p / "GRANULE",
    "zip": lambda p, f: pack(p, f / "x.SAFE.zip"),
    "deflated zip": lambda p, f: pack(p, f / "x.zip", method=zipfile.ZIP_DEFLATED),
    "zip with folder entries": lambda p, f: pack(p, f / "x.zip", folders=True),
    "zip named SAFE": lambda p, f: pack(p, f / "y.SAFE"),
    "zip without suffix": lambda p, f: pack(p, f / p.stem),
    "zip with a strange suffix": lambda p, f: pack(p, f / "download.bin"),
    "zip one folder deeper": lambda p, f: pack(p, f / "x.zip", prefix=f"{p.stem}/"),
    "zip from a Mac": lambda p, f: pack(p, f / "x.zip"),
    "lower-case metadata": lambda p, _: (p / "MTD_MSIL1C.xml").rename(p / "mtd_msil1c.XML").parent,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_scene(layout: str, tmp_path: Path) -> None:
    product = Safe(offsets={3: -1000}).write(tmp_path / "source")
    (tmp_path / "target").mkdir()
    path = LAYOUTS[layout](product, tmp_path / "target")
    if layout == "zip from a Mac":
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(f"__MACOSX/{product.name}/GRANULE/x/._MTD_TL.xml", b"junk")
    scene = read_scene(path)
    assert (ID, "T33UUU", -1000.0) == (scene.id, scene.tile, scene.band("B04").offset)
    with rasterio.open(scene.band("B04").asset.gdal) as image:
        assert image.shape == scene.band("B04").geobox.shape
    assert [ID] == ids(find_scenes([path]))


def test_a_folder_is_searched_to_any_depth_but_not_into_products(tmp_path: Path) -> None:
    one = Safe()
    two = replace(one, datatake="20230613T101031", strip="20230613T101033")
    three = replace(one, datatake="20230618T101031", strip="20230618T101033")
    one.write(tmp_path / "2023" / "june")
    pack(two.write(tmp_path / "source"), tmp_path / "2023" / "two.zip")
    pack(three.write(tmp_path / "source"), tmp_path / "2023" / f"{three.name}.SAFE")
    shutil.rmtree(tmp_path / "source")
    (tmp_path / "2023" / "june" / "notes.txt").write_text("by hand")
    catalogue = find_scenes([tmp_path])
    assert ([one.name, two.name, three.name], ()) == (ids(catalogue), catalogue.refused)


@pytest.mark.unix("lets not everybody make links")
def test_a_link_that_leads_back_does_not_trap_the_search(tmp_path: Path) -> None:
    Safe().write(tmp_path / "a")
    (tmp_path / "a" / "back").symlink_to(tmp_path, target_is_directory=True)
    assert [ID] == ids(find_scenes([tmp_path]))


def test_what_is_named_twice_is_listed_once(tmp_path: Path) -> None:
    product = Safe().write(tmp_path)
    catalogue = find_scenes([tmp_path, product, product / "MTD_MSIL1C.xml", tmp_path / "." / product.name])
    assert ([ID], ()) == (ids(catalogue), catalogue.duplicates)


def test_one_bad_product_never_ends_a_listing(tmp_path: Path) -> None:
    good = Safe(datatake="20230101T101031").write(tmp_path)
    (Safe().write(tmp_path) / "MTD_MSIL1C.xml").write_text("")
    (tmp_path / "expired.zip").write_text("<html>Log in</html>")
    (tmp_path / "half.tif").write_bytes(b"II*\0")
    pack(good, tmp_path / "cut.zip").write_bytes(b"PK\3\4" + b"\0" * 99)
    catalogue = find_scenes([tmp_path, tmp_path / "nowhere"])
    assert [good.stem] == ids(catalogue)
    assert {
        f"{ID}.SAFE": BrokenProduct,
        "cut.zip": BrokenProduct,
        "expired.zip": NotAProduct,
        "half.tif": NotAProduct,
        "nowhere": NotAProduct,
    } == {refused.path.name: type(refused.error) for refused in catalogue.refused}


def test_a_zip_of_several_products_gives_each(tmp_path: Path) -> None:
    products = [Safe(datatake=f"202306{day:02}T101031").write(tmp_path / "x") for day in (1, 6, 11)]
    (products[1] / "MTD_MSIL1C.xml").write_text("")
    with zipfile.ZipFile(tmp_path / "batch.zip", "w") as batch:
        for path in (tmp_path / "x").rglob("*"):
            batch.write(path, path.relative_to(tmp_path).as_posix())
    catalogue = find_scenes([tmp_path / "batch.zip"])
    assert [products[0].stem, products[2].stem] == ids(catalogue)
    assert ["x/"] == [re.search("x/", str(refused.error))[0] for refused in catalogue.refused]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda f: f / "nowhere", "there is no such file or folder"),
        (lambda f: f, "there is neither a Sentinel-2 product nor an image in this folder"),
        (lambda f: write(f / "readme.txt", b"hello"), "it is neither a zip nor an image that GDAL can open"),
        (lambda f: write(f / "T33UUU_20230608T101031_B04.jp2", b"<html>"), "it is a web page"),
        (lambda f: write(f / "x.tif", b""), "the file is empty"),
        (lambda f: pack(write(f / "x" / "a.txt", b"").parent, f / "x.zip"), "there is no MTD_MSIL1C.xml"),
        (two_products, "it holds 2 scenes"),
    ],
)
def test_a_wrong_path_is_one_clear_sentence(make: Callable[[Path], Path], said: str, tmp_path: Path) -> None:
    path = make(tmp_path)
    with pytest.raises(NotAProduct) as caught:
        read_scene(path)
    assert str(caught.value).startswith(f"{path} is neither a Sentinel-2 product nor another image: {said}")
    assert str(caught.value).count(". ") == 0


@pytest.mark.parametrize("kept", ["manifest.safe", "INSPIRE.xml", "GRANULE"])
def test_a_product_without_its_main_metadata_is_refused_by_name(kept: str, tmp_path: Path) -> None:
    product = Safe().write(tmp_path)
    (product / "INSPIRE.xml").write_text("<a/>")
    for path in product.iterdir():
        if path.name != kept:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    said = rf"its MTD_MSIL1C\.xml or MTD_MSIL2A\.xml is missing \(only {kept} is there\): download it again"
    other = ", or name the folder of its images, .*IMG_DATA" if kept == "GRANULE" else ""
    with pytest.raises(BrokenProduct, match=rf"{said}{other}\.$"):
        read_scene(product)


# --- old products of many granules --------------------------------------------------------------------------------

OLD = "S2A_OPER_PRD_MSIL1C_PDMC_20160905T104813_R022_V20160905T005712_20160905T010424"


def old_product(folder: Path, granules: list[tuple[str, str]]) -> Path:
    """A long-named product of several (tile, start of datastrip)."""
    parts = [Safe(tile=tile, strip=strip, baseline="02.04", psd=13) for tile, strip in granules]
    product = folder / f"{OLD}.SAFE"
    lists = ""
    for part in parts:
        identifier = f"S2A_OPER_MSI_L1C_TL_SGS__{part.strip}_A006291_{part.tile}_N02.04"
        home = product / "GRANULE" / identifier
        (home / "IMG_DATA").mkdir(parents=True)
        (home / "QI_DATA").mkdir()
        stem = identifier.removesuffix("_N02.04")
        (home / "IMG_DATA" / f"{stem}_B04.jp2").write_bytes(jp2("B04", part))
        (home / "QI_DATA" / "S2A_OPER_MSK_CLOUDS_SGS__2016_A006291_T33UUU_B00_MSIL1C.gml").write_text("<gml/>")
        (home / f"{stem.replace('MSI', 'MTD')}.xml").write_text(part.tile_xml())
        lists += (
            f'<Granule_List><Granules datastripIdentifier="{part.datastrip}" granuleIdentifier="{identifier}">'
            f"<IMAGE_ID>{stem}_B04</IMAGE_ID></Granules></Granule_List>"
        )
    main = re.sub("<Granule_List>.*</Granule_List>", lists, parts[0].main_xml(), flags=re.DOTALL)
    main = main.replace(f"{parts[0].name}.SAFE", "791_2016-09-05T10_37")
    (product / f"{OLD.replace('PRD_MSI', 'MTD_SAF')}.xml").write_text(main)
    return product


def test_an_old_product_gives_a_scene_per_granule(tmp_path: Path) -> None:
    product = old_product(tmp_path, [("T33UUU", "20160905T010424"), ("T33UVU", "20160905T010424")])
    for path in (product, pack(product, tmp_path / "x.zip")):
        scenes = find_scenes([path]).scenes
        assert [f"{OLD}_T33UUU", f"{OLD}_T33UVU"] == [scene.id for scene in scenes]
        assert [["B04"], ["B04"]] == [[band.name for band in scene.bands] for scene in scenes]
        assert [["CLOUDS"], ["CLOUDS"]] == [[mask.kind for mask in scene.masks] for scene in scenes]
        assert [(), ()] == [scene.notes for scene in scenes]


def test_a_tile_that_comes_twice_in_an_old_product_gives_two_scenes(tmp_path: Path) -> None:
    product = old_product(tmp_path, [("T33UUU", "20160905T010424"), ("T33UUU", "20160905T010502")])
    catalogue = find_scenes([product])
    assert [f"{OLD}_T33UUU_20160905T010424", f"{OLD}_T33UUU_20160905T010502"] == ids(catalogue)
    assert catalogue.scenes[0].band("B04").asset != catalogue.scenes[1].band("B04").asset


def test_one_granule_of_an_old_product_is_read_by_its_folder_and_all_together_are_not(tmp_path: Path) -> None:
    product = old_product(tmp_path, [("T33UUU", "20160905T010424"), ("T33UVU", "20160905T010424")])
    folder = next(product.glob("GRANULE/*T33UVU*"))
    assert f"{OLD}_T33UVU" == read_scene(folder).id == read_scene(next(folder.glob("*.xml"))).id
    with pytest.raises(BrokenProduct, match=r"it holds 2 tiles .* name one folder in its GRANULE"):
        read_scene(product)


# --- duplicates -----------------------------------------------------------------------------------------------------

OLDER = Safe(baseline="02.14", generated="20230608T120000")
NEWER = Safe(baseline="05.10", generated="20240101T000000")
USER_MADE = Safe(baseline="99.99", generated="20250101T000000")
LATER = Safe(baseline="05.10", generated="20240601T000000")
WIDER = Safe(baseline="05.10", generated="20230701T000000", east=(0, 1))
NARROWER = Safe(baseline="05.10", generated="20240801T000000", east=(0, 0.6))
WITHOUT_IMAGES = Safe(baseline="05.11", generated="20240901T000000", images=())
WEST = Safe(east=(0, 0.55), strip="20230608T101033", generated="20230608T130001")
EAST = Safe(east=(0.5, 1), strip="20230608T101041", generated="20230608T130002")
INSIDE = Safe(east=(0.1, 0.4), strip="20230608T101041", generated="20230608T130003")
LEVEL_2A = Safe(level="L2A", images=("B04_10m",))


@pytest.mark.parametrize(
    ("given_", "kept"),
    [
        ((OLDER, NEWER), {NEWER}),
        ((USER_MADE, OLDER), {OLDER}),
        ((NEWER, LATER), {LATER}),
        ((WIDER, NARROWER), {WIDER}),
        ((WITHOUT_IMAGES, OLDER), {OLDER}),
        ((WEST, EAST), {WEST, EAST}),
        ((WEST, INSIDE), {WEST}),
        ((WEST, EAST, OLDER), {WEST, EAST}),
        ((NEWER, LEVEL_2A), {NEWER, LEVEL_2A}),
        ((NEWER, Safe(spacecraft="S2B"), Safe(tile="T33UVU"), Safe(datatake="20230609T101031")), None),
    ],
    ids=lambda value: "",
)
def test_of_one_acquisition_the_best_is_kept(given_: tuple[Safe, ...], kept: set[Safe] | None, tmp_path: Path) -> None:
    for safe in given_:
        safe.write(tmp_path)
    catalogue = find_scenes([tmp_path])
    expected = {safe.name for safe in (given_ if kept is None else kept)}
    assert expected == set(ids(catalogue))
    assert {safe.name for safe in given_} - expected == {duplicate.scene.id for duplicate in catalogue.duplicates}
    assert all(duplicate.replaced_by in catalogue.scenes for duplicate in catalogue.duplicates)


def test_what_was_left_out_is_in_the_notes_of_what_was_kept(tmp_path: Path) -> None:
    older, _ = OLDER.write(tmp_path), NEWER.write(tmp_path)
    (scene,) = find_scenes([tmp_path]).scenes
    assert f"preferred to {OLDER.name} ({older})" in scene.notes


def test_a_folder_and_its_own_zip_are_one_scene(tmp_path: Path) -> None:
    pack(Safe().write(tmp_path), tmp_path / "x.zip")
    catalogue = find_scenes([tmp_path])
    assert ([ID], 1) == (ids(catalogue), len(catalogue.duplicates))


@pytest.fixture(scope="module")
def acquisitions(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("acquisitions")
    safes = (OLDER, NEWER, USER_MADE, LATER, WIDER, NARROWER, WITHOUT_IMAGES, WEST, EAST, INSIDE, LEVEL_2A)
    paths = [safe.write(folder / "folders") for safe in safes]
    return [*paths, pack(paths[1], folder / "a.zip"), pack(paths[3], folder / "b.zip")]


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_duplicates_collapse_alike_in_any_order(acquisitions: list[Path], data: st.DataObject) -> None:
    some = data.draw(st.lists(st.sampled_from(acquisitions), unique=True, min_size=2))
    shuffled = data.draw(st.permutations(some))

    def told(catalogue: Catalogue) -> object:
        left_out = [(d.scene.id, d.scene.path, d.replaced_by.id, d.replaced_by.path) for d in catalogue.duplicates]
        return [(scene.id, scene.path, scene.notes) for scene in catalogue.scenes], left_out

    assert told(find_scenes(some)) == told(find_scenes(shuffled))
    catalogue = find_scenes(some)
    assert len(some) == len(catalogue.scenes) + len(catalogue.duplicates)


def test_scenes_come_in_the_order_of_their_time(tmp_path: Path) -> None:
    times = ["20230613T101031", "20220608T101031", "20230608T101031"]
    for time in times:
        Safe(datatake=time, strip=time).write(tmp_path)
    (tmp_path / "loose.jp2").write_bytes(jp2("B04", Safe()))
    names = ids(find_scenes([tmp_path]))
    assert [*(f"_{time}_" for time in sorted(times)), "loose"] == [
        re.search(r"_\d{8}T\d{6}_|loose", name)[0] for name in names
    ]


# --- loose images ---------------------------------------------------------------------------------------------------


def test_a_copied_band_keeps_its_name_tile_and_time(tmp_path: Path) -> None:
    path = write(tmp_path / "T33UUU_20180904T083549_B04.jp2", jp2("B04", Safe()))
    scene = read_scene(path)
    assert ("", "T33UUU", "raster", path) == (scene.level, scene.tile, scene.footprint_source, scene.path)
    assert datetime(2018, 9, 4, 8, 35, 49, tzinfo=UTC) == scene.sensing_time
    (band,) = scene.bands
    assert ("B04", 10.0, 0.0, 0.0, 1.0, 1) == (
        band.name, band.resolution, band.nodata, band.offset, band.quantification, band.index,
    )  # fmt: skip
    assert pytest.approx(1.44, rel=1e-3) == scene.footprint.area_km2
    assert (120, 120) == scene.geobox.shape == band.geobox.shape


def test_any_raster_has_numbered_bands_and_its_own_nodata(tmp_path: Path) -> None:
    turned = Affine.translation(300_000, 5_900_000) @ Affine.rotation(20) @ Affine.scale(10, -10)
    profile = {"width": 50, "height": 40, "count": 3, "dtype": "int16", "crs": "EPSG:32633", "nodata": -9999}
    with rasterio.open(tmp_path / "field.tif", "w", driver="GTiff", transform=turned, **profile) as image:
        image.write(np.ones((3, 40, 50), np.int16))
    scene = read_scene(tmp_path / "field.tif")
    assert [("1", 1, -9999), ("2", 2, -9999), ("3", 3, -9999)] == [(b.name, b.index, b.nodata) for b in scene.bands]
    assert ("field", "", None, 10.0) == (
        scene.id,
        scene.tile,
        scene.sensing_time,
        pytest.approx(scene.bands[0].resolution),
    )
    assert pytest.approx(0.2, rel=1e-3) == scene.footprint.area_km2


def test_an_image_without_georeference_is_a_scene_without_footprint(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(tmp_path / "plain.png")
    scene = read_scene(tmp_path / "plain.png")
    assert (None, "none", None, None, 1.0) == (
        scene.footprint, scene.footprint_source, scene.geobox, scene.position, scene.bands[0].resolution,
    )  # fmt: skip


@pytest.mark.parametrize(("south", "west"), [(False, False), (True, True)])
def test_an_exif_position_is_kept(south: bool, west: bool, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x8825] = {1: "S" if south else "N", 2: (48.0, 30.0, 36.0), 3: "W" if west else "E", 4: (13.0, 15.0, 0.0)}
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(tmp_path / "drone.jpg", exif=exif)
    scene = read_scene(tmp_path / "drone.jpg")
    assert (-13.25 if west else 13.25, -48.51 if south else 48.51) == pytest.approx(scene.position)


def test_masks_previews_and_sidecars_are_no_scenes(tmp_path: Path) -> None:
    data = jp2("B04", Safe())
    names = [
        "T33UUU_20180904T083549_B04",
        "T33UUU_20180904T083549_PVI",
        "T33UUU_20180904T083549_SCL_20m",
        "MSK_CLDPRB_20m",
    ]
    names += ["MSK_DETFOO_B04", "S2A_MSIL1C_X-ql", "SCL"]
    for name in names:
        write(tmp_path / f"{name}.jp2", data)
    write(tmp_path / "T33UUU_20180904T083549_B04.jp2.aux.xml", b"<PAMDataset/>")
    write(tmp_path / "._T33UUU_20180904T083549_B05.jp2", b"mac")
    catalogue = find_scenes([tmp_path])
    assert (["T33UUU_20180904T083549"], ()) == (ids(catalogue), catalogue.refused)
    (scene,) = catalogue.scenes
    assert (["B04"], ["SCL"]) == ([band.name for band in scene.bands], [mask.kind for mask in scene.masks])


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("field_20190825", "2019-08-25T00:00:00"),
        ("2019-08-25-ndvi", "2019-08-25T00:00:00"),
        ("scene 20190825T083601 red", "2019-08-25T08:36:01"),
        ("20190825_20190830", "2019-08-25T00:00:00"),
        ("20191399_20190830", "2019-08-30T00:00:00"),
        ("20191340", None),
        ("1201908259", None),
        ("20190231", None),
        ("field", None),
    ],
)
def test_the_name_of_any_raster_may_say_when_it_was_taken(tmp_path: Path, name: str, taken: str | None) -> None:
    with rasterio.open(
        tmp_path / f"{name}.tif",
        "w",
        driver="GTiff",
        width=4,
        height=4,
        count=1,
        dtype="uint8",
        crs="EPSG:32633",
        transform=Affine(10, 0, 500_000, 0, -10, 5_000_000),
    ):
        pass
    found = read_scene(tmp_path / f"{name}.tif").sensing_time
    assert taken == (None if found is None else f"{found:%Y-%m-%dT%H:%M:%S}")


def test_a_folder_named_like_a_product_may_hold_loose_tiles(tmp_path: Path) -> None:
    folder = tmp_path / f"{ID}.SAFE"
    for band in ("B02", "TCI"):
        write(folder / f"T33UUU_20180904T083549_{band}.jp2", jp2("B04", Safe()))
    catalogue = find_scenes([folder])
    assert ["T33UUU_20180904T083549"] == ids(catalogue)
    assert ["B02", "TCI"] == [band.name for band in catalogue.scenes[0].bands]


def test_a_file_named_by_its_band_alone_is_told_from_others_by_its_folder(tmp_path: Path) -> None:
    for name in ("S2A_33TWM_20230815_0_L2A", "S2B_33TWM_20230820_0_L2A"):
        write(tmp_path / name / "B04.jp2", jp2("B04", Safe()))
    catalogue = find_scenes([tmp_path])
    assert ["S2A_33TWM_20230815_0_L2A_B04", "S2B_33TWM_20230820_0_L2A_B04"] == ids(catalogue)
    assert ["B04", "B04"] == [scene.bands[0].name for scene in catalogue.scenes]


# --- anything at all ------------------------------------------------------------------------------------------------


@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_damage_to_a_product_ends_a_listing(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("damaged", numbered=True)
    product = Safe(offsets={3: -1000}, refined="REFINED").write(folder)
    target = data.draw(
        st.sampled_from(["zip", "MTD_MSIL1C.xml", "MTD_TL.xml", "manifest.safe", "MTD_DS.xml", "_B04.jp2"])
    )
    path = (
        pack(product, folder / "x.zip")
        if target == "zip"
        else next(p for p in product.rglob("*") if p.name.endswith(target))
    )
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 40))] = data.draw(
            st.binary(max_size=8) | st.sampled_from([b"9" * 400, b"nan", b"-"])
        )
        content = content or bytearray(b" ")
    path.write_bytes(content)
    listed = path if target == "zip" else product
    catalogue = find_scenes([listed])
    assert 1 == len(catalogue.scenes) + len(catalogue.refused)
    assert all(isinstance(refused.error, SentinelMatchError) for refused in catalogue.refused)
    shutil.rmtree(folder)


# --- real products --------------------------------------------------------------------------------------------------


def told(scene: Scene) -> tuple[str, str, str, int, tuple[float, ...], int]:
    offsets = tuple(sorted({band.offset for band in scene.bands}))
    area = round(scene.footprint.area_km2)
    return scene.level, scene.baseline, scene.tile, area, offsets, len(scene.bands)


@pytest.mark.real
def test_every_real_product_is_listed_or_refused_for_its_documented_reason(shared: Path) -> None:
    catalogue = find_scenes(sorted(shared.glob("safe_*")))
    assert {
        # level, baseline, tile, km², offsets, images
        ("L1C", "02.01", "T36UYA", 12046, (), 0), ("L1C", "02.02", "T33UUU", 589, (0,), 1),
        ("L1C", "02.02", "T33UUU", 579, (0,), 1), ("L1C", "02.04", "T53HLA", 4447, (), 0),
        ("L1C", "02.04", "T53HMA", 7448, (), 0), ("L1C", "02.04", "T53HNA", 10106, (), 0),
        ("L1C", "02.04", "T53HNV", 85, (), 0), ("L1C", "02.04", "T53HPA", 1452, (), 0),
        ("L1C", "02.04", "T53HPV", 11, (), 0), ("L1C", "02.04", "T32TNM", 7185, (), 0),
        ("L1C", "02.06", "T31TDH", 7115, (0,), 1), ("L1C", "02.06", "T56JMM", 8755, (0,), 14),
        ("L1C", "02.06", "T36UXA", 12058, (), 0), ("L1C", "02.07", "T36UYA", 12046, (0,), 1),
        ("L1C", "02.07", "T36UXA", 12058, (), 0), ("L1C", "02.07", "T36UYA", 12046, (), 0),
        ("L1C", "02.07", "T36UYA", 12002, (), 0), ("L1C", "02.08", "T36UYA", 12046, (0,), 1),
        ("L2A", "02.12", "T01CCV", 2522, (), 0), ("L1C", "02.09", "T01LAC", 12027, (), 0),
        ("L1C", "02.09", "T53JQJ", 6712, (0,), 14), ("L2A", "02.14", "T22HBD", 11929, (), 0),
        ("L1C", "03.01", "T46RER", 3197, (), 0), ("L2A", "04.00", "T33XWJ", 161, (), 0),
        ("L2A", "04.00", "T29UNU", 7182, (-1000, 0), 4), ("L2A", "05.09", "T01KAB", 12027, (), 0),
    } == {told(scene) for scene in catalogue.scenes}  # fmt: skip
    assert (27, 0) == (len(catalogue.scenes), len(catalogue.duplicates))
    assert {"product"} == {scene.footprint_source for scene in catalogue.scenes}
    assert ["20160621T084012", "20160830T083602", "20190517T083601"] == sorted(
        re.search(r"MSIL1C_(\w{15})", refused.path.name)[1] for refused in catalogue.refused
    )
    assert all("MTD_MSIL1C.xml or MTD_MSIL2A.xml is missing" in str(refused.error) for refused in catalogue.refused)


@pytest.mark.real
def test_footprints_cover_what_level_2a_counts_as_data(shared: Path) -> None:
    scenes = [scene for scene in find_scenes(sorted(shared.glob("safe_*"))).scenes if scene.nodata_share is not None]
    assert 5 == len(scenes)
    for scene in scenes:
        rows, columns = scene.geobox.shape
        covered = scene.footprint.area_km2 / (rows * columns / 1e4)
        assert 1 - scene.nodata_share / 100 == pytest.approx(covered, abs=0.005), scene.id


@pytest.mark.real
def test_stactools_reads_the_same_from_the_same_products(shared: Path) -> None:
    expected = sorted((shared / "safe_metadata_only" / "stactools").glob("*/expected_output.json"))
    assert 6 == len(expected)
    for file in expected:
        compare(json.loads(file.read_text()), read_scene(file.parent), file.parent)


def compare(item: dict, scene: Scene, product: Path) -> None:  # type: ignore[type-arg]
    facts, red = item["properties"], item["assets"]["red"]
    code = facts.get("proj:code") or f"EPSG:{facts['proj:epsg']}"
    assert (facts["s2:product_uri"], f"MGRS-{scene.tile[1:]}") == (
        f"{scene.id}.SAFE",
        facts["grid:code"].replace("-0", "-0"),
    )
    assert facts["s2:datatake_id"] == f"{scene.datatake}_N{scene.baseline}"
    assert facts["s2:datastrip_id"] == scene.datastrip
    assert (facts["sat:relative_orbit"], facts["sat:orbit_state"]) == (
        scene.relative_orbit,
        scene.orbit_direction.lower(),
    )
    assert facts["platform"] == f"sentinel-{scene.spacecraft[1:].lower()}"
    assert facts["eo:cloud_cover"] == scene.cloud_cover
    assert facts.get("s2:nodata_pixel_percentage") == scene.nodata_share
    assert pytest.approx(facts["view:sun_elevation"], abs=1e-9) == scene.sun_elevation
    assert facts["s2:generation_time"][:19] == f"{scene.generation_time:%Y-%m-%dT%H:%M:%S}"
    start = datetime.fromisoformat(facts["datetime"].replace("Z", "+00:00"))
    assert 0 <= (scene.sensing_time - start).total_seconds() < 900  # theirs is the start of the datatake
    assert (code, red["proj:bbox"]) == (str(scene.geobox.crs), list(scene.geobox.extent.boundingbox))
    assert pytest.approx(item["bbox"], abs=0.01) == list(scene.footprint.bbox)  # theirs is not cut with the tile
    with open_archive(product) as archive:
        metadata = read_product_metadata(archive, f"MTD_MSI{scene.level}.xml")
    offset, quantification = metadata.radiometry("B04")
    assert (red["raster:bands"][0]["offset"], red["raster:bands"][0]["scale"]) == (
        offset / quantification,
        1 / quantification,
    )
    assert red["raster:bands"][0]["nodata"] == metadata.nodata


@pytest.mark.real
def test_listing_all_real_products_takes_no_time(shared: Path) -> None:
    import time

    began = time.process_time()
    find_scenes(sorted(shared.glob("safe_*")))
    assert time.process_time() - began < 2  # 0.25 s where this was written; decoding one band would take ten
