"""Deliveries of one file per band: the files of an acquisition are one scene, dated, and never paired with itself."""

from __future__ import annotations

import re
import shutil
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image

from sentinel_match.errors import BrokenProduct, NotAProduct
from sentinel_match.products.catalogue import find_scenes, read_scene
from sentinel_match.products.filters import Filters
from sentinel_match.products.pairing import pair_scenes
from sentinel_match.raster.bands import source_of
from sentinel_match.raster.flags import Reason
from sentinel_match.raster.masks import Masking, reasons
from sentinel_match.raster.raster import read

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sentinel_match.products.scene import Scene

THEIA = "SENTINEL2A_{}-101037-460_L2A_T33UUU_D_V1-1"
LANDSAT = "LC08_L2SP_193023_{}_20200906_02_T1"

DELIVERIES = {
    "EO Browser": [
        "{1}-00_00_{1}-23_59_Sentinel-2_L2A_B04_(Raw).tiff",
        "{1}-00_00_{1}-23_59_Sentinel-2_L2A_B08_(Raw).tiff",
        "{1}-00_00_{1}-23_59_Sentinel-2_L2A_True_color.tiff",
        "{1}-00_00_{1}-23_59_Sentinel-2_L2A_NDVI.tiff",
    ],
    "Copernicus Browser": [
        "{1}-00:00_{1}-23:59_Sentinel-2_L2A_B04_(Raw).tiff",
        "{1}-00:00_{1}-23:59_Sentinel-2_L2A_B8A_(Raw).tiff",
    ],
    "earth-search": [f"S2A_33UUU_{{0}}_0_L2A/{n}.tif" for n in ("B04", "B08", "TCI", "SCL")],
    "earth-search, by colour": [f"S2A_33UUU_{{0}}_0_L2A/{n}.tif" for n in ("red", "nir", "visual", "scl", "thumbnail")],
    "AWS": [
        "33/U/UU/{2}/0/R10m/B08.tif",
        "33/U/UU/{2}/0/R20m/SCL.tif",
        "33/U/UU/{2}/0/qi/CLD_20m.tif",
        "33/U/UU/{2}/0/preview/B04.tif",
        "33/U/UU/{2}/0/preview.jpg",
    ],
    "sentinelhub": ["33UUU,{1},0/B04.tif", "33UUU,{1},0/B08.tif"],
    "Google": ["T33UUU_{0}T101032_B04.tif", "T33UUU_{0}T101032_B08.tif", "T33UUU_{0}T101032_TCI.tif"],
    "sen2cor": [
        "IMG_DATA/R10m/T33UUU_{0}T101032_B04_10m.tif",
        "IMG_DATA/R20m/T33UUU_{0}T101032_B04_20m.tif",
        "IMG_DATA/R20m/T33UUU_{0}T101032_SCL_20m.tif",
    ],
    "cut-outs": ["T33UUU_{0}T101032_B04_10m_clip.tif", "T33UUU_{0}T101032_SCL_20m_clip.tif"],
    "Earth Engine": [
        "{0}T101032_{0}T101215_T33UUU.B4.tif",
        "{0}T101032_{0}T101215_T33UUU.B8A.tif",
        "{0}T101032_{0}T101215_T33UUU.QA60.tif",
    ],
    "Theia": [
        *(f"{THEIA}/{THEIA}_{n}.tif".replace("{}", "{0}") for n in ("FRE_B4", "SRE_B4", "FRE_B8", "ATB_R1")),
        *(f"{THEIA}/MASKS/{THEIA}_{n}.tif".replace("{}", "{0}") for n in ("CLM_R1", "MG2_R1", "EDG_R1", "SAT_R1")),
        f"{THEIA}/{THEIA}_QKL_ALL.jpg".replace("{}", "{0}"),
    ],
    "FORCE": [f"X0056_Y0032/{{0}}_LEVEL2_SEN2A_{n}.tif" for n in ("BOA", "QAI", "OVV")],
    "HLS": [f"HLS.S30.T33UUU.{{3}}T101032.v2.0.{n}.tif" for n in ("B04", "B8A", "Fmask", "SZA")],
    "HLS, Landsat": [f"HLS.L30.T33UUU.{{3}}T101032.v2.0.{n}.tif" for n in ("B04", "B05", "B10", "Fmask")],
    "Landsat": [
        f"{LANDSAT}_{n}.TIF".replace("{}", "{0}")
        for n in ("SR_B4", "SR_B5", "ST_B10", "QA_PIXEL", "QA_RADSAT", "SR_QA_AEROSOL")
    ],
    "Terrascope": [
        f"S2A_{{0}}T101032_33UUU_TOC_V210/S2A_{{0}}T101032_33UUU_{n}_V210.tif"
        for n in ("TOC-B04_10M", "TOC-B8A_20M", "SCENECLASSIFICATION_20M", "CLOUDMASK_10M", "SHADOWMASK_10M")
    ],
    "AppEEARS": [f"HLSS30.020_{n}_doy{{3}}_aid0001_33N.tif" for n in ("B04", "B8A", "Fmask", "SZA")],
    "MAJA by itself": [
        f"S2A_OPER_SSC_L2VALD_33UUU____{{0}}.DBL.DIR/S2A_OPER_SSC_PDT{n}.DBL.TIF"
        for n in ("IMG_L2VALD_33UUU____{0}_FRE_R1", "IMG_L2VALD_33UUU____{0}_FRE_R2", "ANX_L2VALD_33UUU____{0}_CLD_R1")
    ],
    "by hand": ["{0}_B04.tif", "{0}_B08.tif"],
    "a folder for each date": ["{1}/clip_B04.tif", "{1}/clip_B08.tif"],
    "folders in that of each date": ["{0}/T33UUU/S2A/B04.tif", "{0}/T33UUU/S2A/B08.tif"],
    "folders in that of each day": ["{2}/T33UUU/B04.tif", "{2}/T33UUU/B08.tif"],
    "colours first": ["red_{1}.tif", "nir_{1}.tif"],
    "a folder for each band": ["B04/{0}.tif", "B08/{0}.tif"],
    "with a mask": ["field_{0}.tif", "field_{0}_SCL.tif"],
}
SEVERAL = {"BOA": 10, "TCI": 3, "FRE_R1": 4, "FRE_R2": 6}
DATES = (("20160529", "2016-05-29", "2016/5/29", "2016150"), ("20160608", "2016-06-08", "2016/6/8", "2016160"))


def image(path: Path, value: float = 7, count: int = 1, dtype: str = "uint16") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jpg":
        Image.fromarray(np.zeros((20, 30), np.uint8)).save(path)
        return path
    place = {"crs": "EPSG:32633", "transform": Affine(10, 0, 500_000, 0, -10, 5_000_000)}
    with rasterio.open(path, "w", driver="GTiff", width=120, height=120, count=count, dtype=dtype, **place) as file:
        file.write(np.full((count, 120, 120), value, dtype))
    return path


def delivered(folder: Path, names: list[str], dates: tuple[tuple[str, ...], ...] = DATES) -> list[Path]:
    return [
        image(folder / name.format(*date), count=next((n for part, n in SEVERAL.items() if part in name), 1))
        for date in dates
        for name in names
    ]


def kinds(scene: Scene) -> list[str]:
    return sorted({mask.kind for mask in scene.masks})


@pytest.mark.parametrize("maker", DELIVERIES)
def test_the_files_of_an_acquisition_are_one_scene_and_two_dates_are_one_pair(maker: str, tmp_path: Path) -> None:
    delivered(tmp_path, DELIVERIES[maker])
    catalogue = find_scenes(tmp_path)
    assert ["2016-05-29", "2016-06-08"] == [f"{scene.sensing_time:%Y-%m-%d}" for scene in catalogue.scenes]
    assert not catalogue.refused
    assert 1 == len(pair_scenes(catalogue.scenes, Filters(all_pairs=True)).pairs)


@pytest.mark.parametrize("maker", DELIVERIES)
def test_naming_all_files_is_naming_their_folder(maker: str, tmp_path: Path) -> None:
    files = delivered(tmp_path, DELIVERIES[maker])
    folder = find_scenes(tmp_path).scenes
    assert folder == tuple(s for s in find_scenes(files).scenes if s.bands and s.id in {scene.id for scene in folder})


@pytest.mark.parametrize("maker", DELIVERIES)
def test_an_acquisition_may_be_named_by_the_path_it_is_listed_with(maker: str, tmp_path: Path) -> None:
    delivered(tmp_path, DELIVERIES[maker])
    for scene in find_scenes(tmp_path).scenes:
        assert scene == read_scene(scene.path)


@pytest.mark.parametrize(
    ("maker", "bands", "masks"),
    [
        ("EO Browser", ["B04", "B08", "TCI"], []),
        ("earth-search", ["B04", "B08", "TCI"], ["SCL"]),
        ("earth-search, by colour", ["B04", "B08", "TCI"], ["SCL"]),
        ("AWS", ["B08"], ["CLDPRB", "SCL"]),
        ("Google", ["B04", "B08", "TCI"], []),
        ("Earth Engine", ["B04", "B8A"], ["QA60"]),
        ("Theia", ["B04", "B08"], ["CLM", "MG2"]),
        ("Terrascope", ["B04", "B8A"], ["SCL"]),
        ("AppEEARS", ["B04", "B8A"], ["FMASK"]),
        ("MAJA by itself", ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B11", "B12", "B8A"], ["CLM"]),
        ("colours first", ["B04", "B08"], []),
        ("FORCE", ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B11", "B12", "B8A"], ["QAI"]),
        ("HLS", ["B04", "B8A"], ["FMASK"]),
        ("HLS, Landsat", ["B04", "B8A"], ["FMASK"]),
        ("Landsat", ["B04", "B8A"], ["QA_PIXEL"]),
        ("with a mask", ["1"], ["SCL"]),
    ],
)
def test_bands_have_the_names_of_sentinel_2_and_known_layers_are_masks(
    maker: str, bands: list[str], masks: list[str], tmp_path: Path
) -> None:
    delivered(tmp_path, DELIVERIES[maker])
    for scene in find_scenes(tmp_path).scenes:
        assert (bands, masks) == ([band.name for band in scene.bands], kinds(scene))


def packed(folder: Path, name: Callable[[str], str] = str) -> Path:
    path = folder.with_name(f"{folder.name}.zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.writestr(zipfile.ZipInfo(name(file.relative_to(folder).as_posix())), file.read_bytes())
    return path


@pytest.mark.parametrize("maker", DELIVERIES)
def test_a_zip_of_a_delivery_is_the_delivery(maker: str, tmp_path: Path) -> None:
    delivered(tmp_path / "x", DELIVERIES[maker])
    zipped, folder = find_scenes(packed(tmp_path / "x")), find_scenes(tmp_path / "x")
    assert not zipped.refused
    for one, other in zip(zipped.scenes, folder.scenes, strict=True):
        assert (one.id, one.sensing_time, kinds(one)) == (other.id, other.sensing_time, kinds(other))
        assert [(b.name, b.asset.sha256()) for b in one.bands] == [(b.name, b.asset.sha256()) for b in other.bands]
        assert one == read_scene(one.path)
    assert 1 == len(pair_scenes(zipped.scenes, Filters(all_pairs=True)).pairs)


@pytest.mark.parametrize(
    "name", [lambda name: f"./{name}", lambda name: name.replace("/", "\\"), lambda name: f"ä b/{name}"]
)
def test_bands_and_masks_are_read_in_the_zip(name: Callable[[str], str], tmp_path: Path) -> None:
    for day, (date,) in enumerate(((DATES[0],), (DATES[1],))):
        for file in delivered(tmp_path / f"{day}", DELIVERIES["HLS"], (date,)):
            image(file, 8 if "Fmask" in file.name else 40 + day)
        scene = read_scene(packed(tmp_path / f"{day}", name))
        assert [40 + day] == np.unique(read(scene, "B04").pixels * 1e4).round().tolist()
        assert [Reason.SHADOW] == np.unique(reasons(scene, source_of(scene, "B04").grid, Masking()).codes).tolist()


def test_a_zip_without_a_date_in_it_may_have_it_in_its_name(tmp_path: Path) -> None:
    for date in DATES:
        delivered(tmp_path / f"S2A_{date[0]}", ["B04.tif", "B08.tif"], (date,))
    zips = [packed(tmp_path / f"S2A_{date[0]}") for date in DATES]
    assert ["S2A_20160529", "S2A_20160608"] == [scene.id for scene in find_scenes(zips).scenes]


def test_one_image_in_a_zip_is_read_by_the_zip_and_by_its_own_name(tmp_path: Path) -> None:
    image(tmp_path / "x" / "a" / "field_20160608.tif", 5, count=3)
    path = packed(tmp_path / "x")
    scene = read_scene(path)
    assert path / "a" / "field_20160608.tif" == scene.path
    assert scene == read_scene(scene.path)
    assert 5 == read(scene, "2").pixels.mean()


def test_what_a_zip_of_images_holds_besides_is_told(tmp_path: Path) -> None:
    delivered(tmp_path / "x", DELIVERIES["by hand"])
    (tmp_path / "x" / "20160608_B02.tif").write_bytes(b"nothing")
    (tmp_path / "x" / "20160708.tar.gz").write_bytes(b"nothing")
    catalogue = find_scenes(packed(tmp_path / "x"))
    assert 2 == len(catalogue.scenes)
    said = {refused.path.name: str(refused.error) for refused in catalogue.refused}
    assert {"20160608_B02.tif", "20160708.tar.gz"} == set(said)
    assert "it is an archive within an archive: unpack that first" in said["20160708.tar.gz"]
    with pytest.raises(NotAProduct, match=r"there is no such file"):
        read_scene(tmp_path / "x.zip" / "20160909")


@pytest.mark.parametrize("beside", ["B04.tif.msk", "B04.tif.ovr", "B04.tif.aux.xml"])
def test_no_program_beside_an_image_in_a_zip_is_run(beside: str, tmp_path: Path) -> None:
    image(tmp_path / "x" / "B04.tif")
    text = "<PAMDataset><Metadata domain='OVERVIEWS'><MDI key='OVERVIEW_FILE'>/a.tif</MDI></Metadata></PAMDataset>"
    (tmp_path / "x" / beside).write_text(text if "xml" in beside else "<VRTDataset/>")
    with pytest.raises(BrokenProduct, match="beside it may tell GDAL to read other files or hosts"):
        read_scene(packed(tmp_path / "x"))


def test_a_folder_of_dates_dates_its_images_and_any_other_folder_dates_none(tmp_path: Path) -> None:
    image(tmp_path / "20160608" / "composite.tif", count=3)
    image(tmp_path / "export_20200101" / "composite.tif", count=3)
    image(tmp_path / "export_20200101" / "a" / "B04.tif")
    dates = {scene.id: scene.sensing_time and f"{scene.sensing_time:%Y%m%d}" for scene in find_scenes(tmp_path).scenes}
    assert {"20160608_composite": "20160608", "composite": None, "a_B04": None} == dates


@pytest.mark.parametrize(
    "name", ["cloud_mask.tif", "S2A_20160608_CLOUDMASK_10M_V210.tif", "mask.tif", "field-mask_20m.tif"]
)
def test_a_mask_by_name_is_no_scene_unless_it_is_named(name: str, tmp_path: Path) -> None:
    image(tmp_path / "field.tif")
    mask = image(tmp_path / name)
    assert ["field"] == [scene.id for scene in find_scenes(tmp_path).scenes]
    assert mask == read_scene(mask).path


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    delivered(tmp_path / "theia", DELIVERIES["Theia"], DATES[:1])
    delivered(tmp_path / "browser", DELIVERIES["EO Browser"], DATES[:1])
    browser, theia = sorted(find_scenes(tmp_path).scenes, key=lambda scene: scene.id)
    assert any("NDVI.tiff" in note for note in browser.notes)
    assert any("SRE_B4.tif" in note for note in theia.notes)
    assert theia.band("B04").asset.name.endswith("FRE_B4.tif")


def test_images_of_a_product_without_its_metadata_are_read_by_their_folder(tmp_path: Path) -> None:
    product = tmp_path / "S2A_MSIL2A_20160608T101032_N0202_R022_T33UUU_20160608T101215.SAFE"
    folder = product / "GRANULE" / "L2A_T33UUU_A005025_20160608T101215" / "IMG_DATA"
    for name in ("R10m/T33UUU_20160608T101032_B04_10m.tif", "R20m/T33UUU_20160608T101032_B8A_20m.tif"):
        image(folder / name)
    with pytest.raises(
        BrokenProduct, match="download it again, or name the folder of its images, " + re.escape(str(folder))
    ):
        read_scene(product)
    scene = read_scene(folder)
    assert ("T33UUU", ["B04", "B8A"]) == (scene.tile, [band.name for band in scene.bands])


def test_one_damaged_file_is_refused_and_the_rest_of_its_acquisition_is_kept(tmp_path: Path) -> None:
    files = delivered(tmp_path, DELIVERIES["earth-search"])
    files[1].write_bytes(b"nothing")
    catalogue = find_scenes(tmp_path)
    assert [["B04", "TCI"], ["B04", "B08", "TCI"]] == [[b.name for b in scene.bands] for scene in catalogue.scenes]
    assert [files[1]] == [refused.path for refused in catalogue.refused]


def test_a_folder_of_masks_alone_holds_no_image(tmp_path: Path) -> None:
    image(tmp_path / "S2A_33UUU_20160608_0_L2A_SCL.tif")
    with pytest.raises(NotAProduct, match="neither"):
        read_scene(tmp_path)


def test_a_composite_of_bands_is_an_image_like_any_other(tmp_path: Path) -> None:
    image(tmp_path / "20160608_B08_B04_B03.tif", count=3)
    (scene,) = find_scenes(tmp_path).scenes
    assert ["1", "2", "3"] == [band.name for band in scene.bands]


def test_one_day_is_one_moment_of_one_satellite_whatever_was_made_of_it(tmp_path: Path) -> None:
    for name in ("S2A_33UUU_20160608_0_L2A", "S2A_33UUU_20160608_1_L2A", "S2A_33UUU_20160608_0_L1C"):
        for band in ("B04", "B08"):
            image(tmp_path / name / f"{band}.tif")
    delivered(tmp_path / "theia", DELIVERIES["Theia"], DATES[1:])
    delivered(tmp_path / "browser", DELIVERIES["EO Browser"], DATES[1:])
    delivered(tmp_path / "google", DELIVERIES["Google"], DATES[1:])
    catalogue = find_scenes(tmp_path)
    assert 6 == len(catalogue.scenes)
    assert not pair_scenes(catalogue.scenes, Filters(all_pairs=True)).pairs


def test_two_satellites_of_one_day_and_pictures_of_one_day_may_be_compared(tmp_path: Path) -> None:
    delivered(tmp_path / "force", DELIVERIES["FORCE"], DATES[1:])
    delivered(tmp_path / "landsat", DELIVERIES["Landsat"], DATES[1:])
    assert 1 == len(pair_scenes(find_scenes(tmp_path).scenes).pairs)
    for name in ("20160608_morning.tif", "20160608_evening.tif"):
        image(tmp_path / "pictures" / name)
    assert 1 == len(pair_scenes(find_scenes(tmp_path / "pictures").scenes).pairs)


def test_numbers_are_reflectance_where_their_maker_says_how(tmp_path: Path) -> None:
    for maker in ("Theia", "MAJA by itself", "FORCE", "HLS", "AppEEARS", "Landsat"):
        quantification = 1 / 2.75e-5 if maker == "Landsat" else 1e4
        delivered(tmp_path / maker, DELIVERIES[maker], DATES[1:])
        (scene,) = find_scenes(tmp_path / maker).scenes
        band = scene.band("B04")
        assert (True, pytest.approx(quantification)) == (band.is_reflectance, band.quantification)
        assert {"Theia": -10_000, "MAJA by itself": -10_000, "Landsat": 0}.get(maker, -9999) == band.nodata
    delivered(tmp_path / "browser", DELIVERIES["EO Browser"], DATES[1:])
    (scene,) = find_scenes(tmp_path / "browser").scenes
    assert not scene.band("B04").is_reflectance


@pytest.mark.parametrize(
    ("maker", "layer", "value", "reason"),
    [
        ("HLS", "Fmask", 2, Reason.CLOUD),
        ("HLS", "Fmask", 8, Reason.SHADOW),
        ("HLS", "Fmask", 64, Reason.VALID),
        ("HLS", "Fmask", 255, Reason.NODATA),
        ("Landsat", "QA_PIXEL", 21824, Reason.VALID),
        ("Landsat", "QA_PIXEL", 22280, Reason.CLOUD),
        ("Landsat", "QA_PIXEL", 23888, Reason.SHADOW),
        ("Landsat", "QA_PIXEL", 54596, Reason.CIRRUS),
        ("Landsat", "QA_PIXEL", 1, Reason.NODATA),
        ("FORCE", "QAI", 4, Reason.CLOUD),
        ("FORCE", "QAI", 6, Reason.CIRRUS),
        ("FORCE", "QAI", 8, Reason.SHADOW),
        ("FORCE", "QAI", 1, Reason.NODATA),
        ("AppEEARS", "Fmask", 8, Reason.SHADOW),
        ("Landsat", "QA_PIXEL", 21762, Reason.VALID),  # dilated cloud: clouds grow here
        ("FORCE", "QAI", 2, Reason.CLOUD),
        ("Theia", "CLM_R1", 128, Reason.CIRRUS),
        ("Theia", "CLM_R1", 1 + 32, Reason.SHADOW),
        ("Theia", "CLM_R1", 1 + 2 + 4, Reason.CLOUD),
        ("Theia", "CLM_R1", 16, Reason.VALID),  # the thinnest clouds
        ("MAJA by itself", "CLD_R1", 1 + 4, Reason.SHADOW),
        ("MAJA by itself", "CLD_R1", 1 + 8, Reason.SHADOW),
        ("MAJA by itself", "CLD_R1", 1 + 2 + 32, Reason.CLOUD),
        ("MAJA by itself", "CLD_R1", 64, Reason.VALID),
        ("Theia", "MG2_R1", 2, Reason.CLOUD),
        ("Theia", "MG2_R1", 8, Reason.SHADOW),
        ("Theia", "MG2_R1", 4, Reason.VALID),  # snow is kept
        ("Earth Engine", "QA60", 1024, Reason.CLOUD),
        ("Earth Engine", "QA60", 2048, Reason.CIRRUS),
        ("earth-search", "SCL", 9, Reason.CLOUD),
    ],
)
def test_what_the_values_of_a_mask_mean(maker: str, layer: str, value: int, reason: Reason, tmp_path: Path) -> None:
    files = delivered(tmp_path, DELIVERIES[maker], DATES[1:])
    for file in files:
        if any(name in file.name for name in ("CLM", "CLD_R", "MG2", "QA60", "QAI", "Fmask", "QA_PIXEL", "SCL")):
            image(file, value if layer in file.name else 0)
    (scene,) = find_scenes(tmp_path).scenes
    masked = reasons(scene, source_of(scene, "B04").grid, Masking())
    assert [reason] == np.unique(masked.codes).tolist()
    assert masked.clouds


@pytest.mark.parametrize(
    ("maker", "layer", "dtype", "value", "reason"),
    [
        ("Earth Engine", "QA60", "float32", 1024, Reason.CLOUD),
        ("Earth Engine", "QA60", "float64", np.nan, Reason.VALID),
        ("Earth Engine", "QA60", "uint8", 0, Reason.VALID),
        ("HLS", "Fmask", "int8", 8, Reason.SHADOW),
        ("HLS", "Fmask", "int8", -1, Reason.NODATA),
        ("Landsat", "QA_PIXEL", "int32", 22280, Reason.CLOUD),
    ],
)
def test_flags_mean_the_same_in_whatever_type_they_came(
    maker: str, layer: str, dtype: str, value: float, reason: Reason, tmp_path: Path
) -> None:
    files = delivered(tmp_path, DELIVERIES[maker], DATES[1:])
    image(next(file for file in files if layer in file.name), value, dtype=dtype)
    (scene,) = find_scenes(tmp_path).scenes
    masked = reasons(scene, source_of(scene, "B04").grid, Masking())
    assert ([reason], layer.upper()) == (np.unique(masked.codes).tolist(), masked.clouds)


def test_what_are_no_flags_is_no_mask_and_that_is_said(tmp_path: Path) -> None:
    files = delivered(tmp_path, DELIVERIES["Earth Engine"], DATES[1:])
    image(next(file for file in files if "QA60" in file.name), 0.5, dtype="float32")
    (scene,) = find_scenes(tmp_path).scenes
    masked = reasons(scene, source_of(scene, "B04").grid, Masking())
    assert not masked.clouds
    assert "flags are whole numbers, and its values are not" in masked.notes[0]


def test_ndvi_of_landsat_is_of_its_near_infrared(tmp_path: Path) -> None:
    delivered(tmp_path, DELIVERIES["Landsat"], DATES[1:])
    (scene,) = find_scenes(tmp_path).scenes
    assert ["B8A", "B04"] == [band.name for band in source_of(scene, "NDVI").bands]


@pytest.mark.parametrize("case", ["eobrowser", "eo2", "earthsearch"])
def test_real_deliveries_of_two_dates_are_two_acquisitions_and_one_pair(
    case: str, shared: Path, tmp_path: Path
) -> None:
    folder = shared.parent / "cases" / case
    if not folder.is_dir():
        pytest.skip(f"no deliveries in {folder}")
    shutil.copytree(folder, tmp_path / case)
    for place in (folder, packed(tmp_path / case)):
        catalogue = find_scenes(place)
        assert ["2016-05-29", "2016-06-08"] == [f"{scene.sensing_time:%Y-%m-%d}" for scene in catalogue.scenes]
        assert 1 == len(pair_scenes(catalogue.scenes, Filters(all_pairs=True)).pairs)
