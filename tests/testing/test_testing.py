"""The invented landscape and its products: exact where they claim to be, and read back by decoders not our own."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import cv2
import glymur
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial.distance import cdist
from skimage.registration import phase_cross_correlation

from sentinel_match.errors import OutputError
from sentinel_match.matchers import Arrays, Matches
from sentinel_match.matchers.prior import GeometricPrior
from sentinel_match.testing import (
    InventedProduct,
    Landscape,
    MatcherContractError,
    Sky,
    check_matcher,
    example_pair,
    swath_part,
    write_archive,
    write_product,
)
from sentinel_match.testing.covers import SEASONS
from sentinel_match.testing.noise import Noise, octaves
from sentinel_match.testing.terrain import Orbit, Terrain

DATE = "2023-05-14T10:05:59.024"
GROUND = Landscape(3)


def grid(size: int = 256, metres: float = 10, x: float = 399_960, y: float = 5_800_020, zone: int = 32633) -> GeoBox:
    return GeoBox((size, size), Affine(metres, 0, x, 0, -metres, y), f"EPSG:{zone}")


def measured_shift(left: Any, right: Any) -> tuple[float, float]:
    """Pixels (x, y) by which the content of the right image lies further, by scikit-image."""
    window = np.outer(np.hanning(left.shape[0]), np.hanning(left.shape[1]))
    fine = [(image - gaussian_filter(image, 8)) * window for image in (right, left)]
    (y, x), _, _ = phase_cross_correlation(*fine, upsample_factor=100, normalization=None)
    return x, y


# --- the landscape ----------------------------------------------------------------------------------------------------


def test_an_octave_is_interpolated_in_the_finest_lattice_without_loss() -> None:
    x, y = 5e5 + np.arange(200) * 7.3, 5e6 - np.arange(150) * 7.3
    alone = [Noise(5 + 101 * k, 20.0 * 2**k, (1.0,)).at(x, y) for k in range(4)]
    np.testing.assert_allclose(sum(alone) / 2, octaves(5, 20, 160).at(x, y), atol=2e-6)


def test_noise_is_the_same_on_axes_and_at_scattered_points() -> None:
    noise = octaves(5, 20, 160)
    x, y = 5e5 + np.arange(90) * 3.7, 5e6 - np.arange(60) * 3.7
    np.testing.assert_allclose(noise.at(x, y), noise.at(*np.meshgrid(x, y)), atol=2e-6)


@given(st.integers(0, 120), st.integers(0, 120), st.sampled_from(SEASONS))
@settings(max_examples=8, deadline=None)
def test_a_window_shows_the_same_ground_as_the_whole(row: int, col: int, season: Any) -> None:
    whole = grid(192)
    part = (slice(row, row + 64), slice(col, col + 64))
    np.testing.assert_allclose(GROUND.render(whole, season)[part], GROUND.render(whole[part], season), atol=1e-3)


def test_another_seed_is_another_ground() -> None:
    one, other = GROUND.render(grid()), Landscape(4).render(grid())
    assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.2


def test_a_whole_pixel_displacement_only_moves_the_pixels() -> None:
    still, moved = GROUND.render(grid()), GROUND.render(grid(), displacement=(30.0, -20.0))
    np.testing.assert_allclose(still[:-2, :-3], moved[2:, 3:], atol=1e-3)


@pytest.mark.parametrize("shift", [(0.37, -0.25), (0.5, 0.5), (-0.81, 1.13)])
@pytest.mark.parametrize("metres", [10, 20, 60])
def test_a_displacement_is_exact_to_a_fiftieth_of_a_pixel(shift: tuple[float, float], metres: int) -> None:
    box = grid({10: 256, 20: 160, 60: 96}[metres], metres)
    right = GROUND.render(box, displacement=(shift[0] * metres, -shift[1] * metres))
    assert shift == pytest.approx(measured_shift(GROUND.render(box), right), abs=0.02)


def test_a_displacement_may_depend_on_position() -> None:
    def bands(x: Any, y: Any) -> tuple[Any, Any]:
        return 12 * np.sin(y / 3000), np.full_like(y, -4.0)

    box = grid(512)[:, :224]
    left, right = GROUND.render(box), GROUND.render(box, displacement=bands)
    for row in (0, 256):
        part = slice(row, row + 256)
        x, y = measured_shift(left[part], right[part])
        middle = box.affine.f - 10 * (row + 128.0)
        expected = 1.2 * np.mean(np.sin(np.linspace(middle - 600, middle + 600) / 3000)), 0.4
        assert expected == pytest.approx((x, y), abs=0.04)


def test_a_constant_function_displaces_like_the_constant() -> None:
    box = grid(96)
    constant = GROUND.render(box, displacement=lambda x, y: (np.full_like(x, 3.3), np.full_like(y, -2.0)))
    np.testing.assert_allclose(GROUND.render(box, displacement=(3.3, -2.0)), constant, atol=1e-3)


def test_two_zones_show_one_ground_where_the_landscape_has_a_zone() -> None:
    ground = Landscape(3, crs="EPSG:32633")
    here = grid(200, x=210_000, y=5_800_020)
    rows, cols = np.mgrid[60:140, 60:140]
    x, y = here.affine @ (cols + 0.5, rows + 0.5)
    east, north = Transformer.from_crs(32633, 32632, always_xy=True).transform(x, y)
    there = grid(300, x=np.floor(east.mean() / 10) * 10 - 1500, y=np.floor(north.mean() / 10) * 10 + 1500, zone=32632)
    col, row = ~there.affine @ (east, north)
    image_there = map_coordinates(ground.render(there), (row - 0.5, col - 0.5), order=3)
    assert np.corrcoef(image_there.ravel(), ground.render(here)[60:140, 60:140].ravel())[0, 1] > 0.97


def test_a_coarse_pixel_lies_where_its_fine_pixels_lie() -> None:
    fine = GROUND.render(grid(512)).reshape(256, 2, 256, 2).mean(axis=(1, 3))
    coarse = GROUND.render(grid(256, metres=20))
    assert (0, 0) == pytest.approx(measured_shift(fine, coarse), abs=0.02)
    assert np.corrcoef(fine.ravel(), coarse.ravel())[0, 1] > 0.98


def test_the_seasons_differ_like_seasons() -> None:
    images = {season: GROUND.render(grid(480), season) for season in SEASONS}
    likeness = {
        pair: np.corrcoef(*(images[s].ravel() for s in pair))[0, 1]
        for pair in [("winter", "summer"), ("spring", "summer")]
    }
    assert likeness["winter", "summer"] < 0.5
    assert likeness["spring", "summer"] < 0.6
    assert images["winter"].mean() > 3 * images["summer"].mean()
    steps = [np.diff(images[s], axis=1) for s in ("spring", "summer")]
    edges = np.minimum(*(np.abs(step) for step in steps)) > 0.03
    assert 0.15 < np.mean(np.sign(steps[0][edges]) != np.sign(steps[1][edges])) < 0.85  # borders stay, contrast turns


@pytest.mark.parametrize("season", SEASONS)
def test_there_is_texture_everywhere(season: Any) -> None:
    windows = GROUND.render(grid(640), season).reshape(10, 64, 10, 64)
    assert windows.std(axis=(1, 3)).min() > 0.004  # ten times the sensor noise


def test_the_classes_are_what_a_season_shows() -> None:
    summer, winter = (GROUND.classes(grid(480, 20), season) for season in ("summer", "winter"))
    assert {4, 5, 6} == set(np.unique(summer))
    assert {4, 5, 6, 11} == set(np.unique(winter))
    assert 0.5 < np.mean(winter == 11) < 0.9
    assert ((summer == 6) == (winter == 6)).all()


# --- the sky ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cover", [0.0, 0.05, 0.15, 0.6, 1.0])
@pytest.mark.parametrize("share", [1.0, 0.4])
def test_clouds_cover_the_share_asked_for(cover: float, share: float) -> None:
    box = grid(480, 20)
    swath = swath_part(box, share, "west")
    in_swath = rasterio.features.geometry_mask([swath], box.shape, box.affine, invert=True)
    classes = Sky(1, cover).over(box, "spring", swath).classify(GROUND.classes(box, "spring"), box)
    assert cover == pytest.approx(np.isin(classes[in_swath], (8, 9, 10)).mean(), abs=0.02)


def test_clouds_are_bright_and_throw_shadows_away_from_the_sun() -> None:
    box = grid(480)
    clouds = Sky(1, 0.3).over(box, "summer")
    clear = GROUND.render(box)
    hidden, classes = clouds.hide(clear, box, "B04"), clouds.classify(GROUND.classes(box), box)
    assert hidden[classes == 9].mean() > 0.5
    assert 0.35 < (hidden / clear)[classes == 3].mean() < 0.8
    east, north = clouds.shadow
    assert east < 0 < north
    assert (np.degrees(np.arctan2(900, np.hypot(east, north)))) == pytest.approx(59)


# --- the product, read by others --------------------------------------------------------------------------------------


def xml(path: Path) -> Any:
    return etree.parse(path).getroot()


def texts(root: Any, tag: str) -> list[str]:
    return [e.text for e in root.iter(f"{{*}}{tag}")]


def image(product: Path, name: str = "*_B04.jp2") -> Path:
    return next(product.rglob(name))


@pytest.fixture(scope="module")
def spring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_product(tmp_path_factory.mktemp("spring"), GROUND, date=DATE, pixels=(1200, 600), sky=0.2, orbit=122)


@pytest.fixture(scope="module")
def winter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("winter")
    bands = ("B04", "B04_20m", "B11", "B09", "TCI")
    swath = swath_part(grid(360, x=300_000, y=5_900_040), 0.6, "east")
    return write_product(
        folder, GROUND, date="2024-01-09T10:04:19.024", level="L2A", bands=bands, pixels=360, sky=0.1, swath=swath
    )


def test_digital_numbers_come_back_as_the_reflectance_of_the_ground(tmp_path: Path) -> None:
    offsets = {band: -100 * band for band in range(13)}
    product = write_product(
        tmp_path, GROUND, date=DATE, pixels=300, bands=("B04", "B8A"), offsets=offsets, displacement=(6.4, 18.1)
    )
    listed = {int(e.get("band_id")): int(e.text) for e in xml(product / "MTD_MSIL1C.xml").iter("RADIO_ADD_OFFSET")}
    assert offsets == listed
    for name, band_id, metres in (("B04", 3, 10), ("B8A", 8, 20)):
        with rasterio.open(image(product, f"*_{name}.jp2")) as file:
            reflectance = (file.read(1).astype(float) + listed[band_id]) / 10_000
        box = grid(3000 // metres, metres, 300_000, 5_900_040)
        difference = reflectance - GROUND.render(box, "spring", name, (6.4, 18.1))
        assert abs(difference.mean()) < 2e-5
        assert 3e-4 < difference.std() < 1.2e-3  # the sensor noise, and nothing else


def test_a_jp2_is_coded_as_sentinel_2_codes_it(spring: Path) -> None:
    stream = glymur.Jp2k(image(spring)).get_codestream(header_only=False)
    markers = {segment.marker_id for segment in stream.segment}
    size, coding = (next(s for s in stream.segment if s.marker_id == name) for name in ("SIZ", "COD"))
    assert (600, 1200) == (size.xsiz, size.ysiz)
    assert (600, 1024) == (size.xtsiz, size.ytsiz)
    assert (15,) == size.bitdepth
    end = coding.offset + 2 + coding.length
    assert b"\x88" * 5 == image(spring).read_bytes()[end - 5 : end]  # precincts of 2^8 x 2^8, which glymur prints as 0
    assert (4, (64, 64), 1, 0) == (coding.num_res, coding.code_block_size, coding.xform, coding.prog_order)
    assert {"PLT", "TLM"} <= markers
    with rasterio.open(image(spring)) as file:
        assert (32633, Affine(10, 0, 300_000, 0, -10, 5_900_040)) == (file.crs.to_epsg(), file.transform)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # the product is a folder of images
def test_gdals_own_sentinel_2_driver_opens_the_product(spring: Path) -> None:
    with rasterio.open(spring / "MTD_MSIL1C.xml") as file:
        assert "SENTINEL2" == file.driver
        tags = file.tags()
        assert ("05.11", "122", "10000") == tuple(
            tags[k] for k in ("PROCESSING_BASELINE", "DATATAKE_1_SENSING_ORBIT_NUMBER", "QUANTIFICATION_VALUE")
        )
        assert any("10m:EPSG_32633" in name for name in file.subdatasets)


def test_the_manifest_tells_the_size_and_checksum_of_every_file(spring: Path) -> None:
    listed = {}
    for stream in xml(spring / "manifest.safe").iter("byteStream"):
        checksum = stream.find("checksum")
        assert "SHA3-256" == checksum.get("checksumName")
        listed[stream.find("fileLocation").get("href")] = int(stream.get("size")), checksum.text.lower()
    found = {
        f"./{p.relative_to(spring).as_posix()}": (p.stat().st_size, hashlib.sha3_256(p.read_bytes()).hexdigest())
        for p in spring.rglob("*")
        if p.is_file() and p.name != "manifest.safe"
    }
    assert found == listed


@pytest.mark.parametrize(
    ("baseline", "psd", "offset", "mask", "refined", "checksum"),
    [
        ("02.01", 12, None, "MSK_CLOUDS_B00.gml", "NOT_REFINED", "MD5"),
        ("02.04", 13, None, "MSK_CLOUDS_B00.gml", "NOT_REFINED", "MD5"),
        ("03.01", 14, None, "MSK_CLOUDS_B00.gml", "REFINED", "SHA3-256"),
        ("04.00", 14, ["-1000"] * 13, "MSK_CLASSI_B00.jp2", "REFINED", "SHA3-256"),
        ("05.11", 15, ["-1000"] * 13, "MSK_CLASSI_B00.jp2", "REFINED", "SHA3-256"),
        ("99.99", 14, ["-1000"] * 13, "MSK_CLASSI_B00.jp2", "REFINED", "SHA3-256"),
    ],
)
def test_every_baseline_is_written_in_its_own_way(
    tmp_path: Path, baseline: str, psd: int, offset: list[str] | None, mask: str, refined: str, checksum: str
) -> None:
    product = write_product(tmp_path, GROUND, date=DATE, baseline=baseline, pixels=96, orbit=22, sky=0.3)
    main, tile = xml(product / "MTD_MSIL1C.xml"), xml(next(product.rglob("MTD_TL.xml")))
    assert f"https://psd-{psd}.sentinel2.eo.esa.int/PSD/User_Product_Level-1C.xsd" == etree.QName(main).namespace
    assert f"S2A_MSIL1C_20230514T100559_N{baseline.replace('.', '')}_R022_T33UUU_20230514T130559.SAFE" == product.name
    assert [product.name] == texts(main, "PRODUCT_URI")
    assert (offset or []) == texts(main, "RADIO_ADD_OFFSET")
    assert [baseline] == texts(main, "PROCESSING_BASELINE")
    assert ["22"] == texts(main, "SENSING_ORBIT_NUMBER")
    assert [f"GS2A_20230514T100559_041203_N{baseline}"] == [e.get("datatakeIdentifier") for e in main.iter("Datatake")]
    assert mask == next(product.rglob("MSK_*")).name
    assert texts(tile, "MASK_FILENAME") == [next(product.rglob("MSK_*")).relative_to(product).as_posix()]
    assert [refined] == [e.get("flag") for e in xml(next(product.rglob("MTD_DS.xml"))).iter("Image_Refining")]
    assert {checksum} == {e.get("checksumName") for e in xml(product / "manifest.safe").iter("checksum")}


def test_the_tile_metadata_give_the_grid_and_the_time(spring: Path) -> None:
    tile = xml(next(spring.rglob("MTD_TL.xml")))
    assert ["EPSG:32633"] == texts(tile, "HORIZONTAL_CS_CODE")
    assert (["1200", "600", "200"], ["600", "300", "100"]) == (texts(tile, "NROWS"), texts(tile, "NCOLS"))
    assert (["300000"] * 3, ["5900040"] * 3) == (texts(tile, "ULX"), texts(tile, "ULY"))
    assert ["2023-05-14T10:10:06.024Z"] == texts(tile, "SENSING_TIME")
    assert (["43.0"], ["162.0"]) == (texts(tile, "ZENITH_ANGLE"), texts(tile, "AZIMUTH_ANGLE"))


def test_a_level_2a_product_has_its_images_classes_and_shares(winter: Path) -> None:
    names = {p.relative_to(next(winter.glob("GRANULE/*/IMG_DATA"))).as_posix() for p in winter.rglob("IMG_DATA/*/*")}
    bands = (
        "R10m/{}_B04_10m",
        "R10m/{}_TCI_10m",
        "R20m/{}_B04_20m",
        "R20m/{}_B11_20m",
        "R20m/{}_SCL_20m",
        "R60m/{}_B09_60m",
        "R60m/{}_SCL_60m",
    )
    assert {f"{b.format('T33UUU_20240109T100419')}.jp2" for b in bands} == names
    main = xml(winter / "MTD_MSIL2A.xml")
    assert {n.removesuffix(".jp2") for n in names} == {t.split("IMG_DATA/")[1] for t in texts(main, "IMAGE_FILE")}
    with rasterio.open(image(winter, "*_SCL_20m.jp2")) as file:
        scl = file.read(1)
    with rasterio.open(image(winter, "*_B04_20m.jp2")) as file:
        assert ((file.read(1) == 0) == (scl == 0)).all()
    with rasterio.open(image(winter, "*_TCI_10m.jp2")) as file:
        assert (3, "uint8") == (file.count, file.dtypes[0])
        assert ((file.read(1)[::2, ::2] == 0) == (scl == 0)).mean() > 0.99
    cloud = float(texts(main, "Cloud_Coverage_Assessment")[0])
    assert 10 == pytest.approx(cloud, abs=1)
    assert 100 * np.isin(scl[scl > 0], (8, 9, 10)).mean() == pytest.approx(cloud, abs=1e-4)
    assert 100 * np.mean(scl == 0) == pytest.approx(float(texts(main, "NODATA_PIXEL_PERCENTAGE")[0]))
    assert 100 * np.mean(scl[scl > 0] == 11) == pytest.approx(float(texts(main, "SNOW_ICE_PERCENTAGE")[0]))
    with rasterio.open(image(winter, "MSK_CLDPRB_20m.jp2")) as file:
        assert (file.read(1)[np.isin(scl, (9,))] >= 75).all()


def test_the_cloud_masks_of_both_eras_show_the_same_clouds(tmp_path: Path) -> None:
    common: dict[str, Any] = {"date": DATE, "pixels": 600, "sky": Sky(5, 0.3)}
    old = write_product(tmp_path, GROUND, baseline="02.09", **common)
    new = write_product(tmp_path, GROUND, baseline="05.11", **common)
    with rasterio.open(image(new, "MSK_CLASSI_B00.jp2")) as file:
        opaque, cirrus, snow = file.read()
        transform = file.transform
    members = list(xml(image(old, "MSK_CLOUDS_B00.gml")).iter("{*}MaskFeature"))
    for kind, layer in (("OPAQUE", opaque), ("CIRRUS", cirrus)):
        rings = [
            [np.array(ring.text.split(), float).reshape(-1, 2) for ring in member.iter("{*}posList")]
            for member in members
            if texts(member, "maskType") == [kind]
        ]
        polygons = [shapely.Polygon(outer, holes) for outer, *holes in rings]
        burnt = rasterio.features.rasterize(polygons, layer.shape, transform=transform)
        assert (burnt == layer).all()
    assert 0.3 == pytest.approx(np.mean(opaque | cirrus), abs=0.02)
    assert not snow.any()


def test_a_swath_edge_leaves_no_data_and_a_footprint_that_says_so(winter: Path) -> None:
    with rasterio.open(image(winter, "*_B04_10m.jp2")) as file:
        valid = file.read(1) > 0
    lat, lon = np.array(texts(xml(winter / "MTD_MSIL2A.xml"), "EXT_POS_LIST")[0].split(), float).reshape(-1, 2).T
    stated = shapely.Polygon(np.transpose(Transformer.from_crs(4326, 32633, always_xy=True).transform(lon, lat)))
    assert 0.6 == pytest.approx(valid.mean(), abs=0.01)
    assert valid.mean() == pytest.approx(stated.area / 3600**2, abs=0.002)
    assert valid[:, -1].all()
    assert not valid[:, 0].any()


@pytest.mark.parametrize(("style", "numbers"), [("2d", 10), ("3d", 15), ("mixed", 15)])
def test_a_footprint_may_have_heights(tmp_path: Path, style: Any, numbers: int) -> None:
    product = write_product(tmp_path, GROUND, date=DATE, pixels=96, footprint=style, masks=False)
    listed = texts(xml(product / "MTD_MSIL1C.xml"), "EXT_POS_LIST")[0].split()
    assert numbers == len(listed)
    assert not list(product.rglob("MSK_*"))


@pytest.mark.parametrize(
    ("tile", "epsg", "season_zenith", "check"),
    [
        ("T43MDV", 32743, "59.0", lambda lat, lon: lat.count("0") >= 2),
        ("T01KAB", 32701, "59.0", lambda lat, lon: min(map(float, lon)) < -179 and max(map(float, lon)) > 179),
        ("T60WWU", 32660, "43.0", lambda lat, lon: all(66 < float(v) < 67 for v in lat)),
    ],
)
def test_tiles_at_the_edges_of_the_world(tmp_path: Path, tile: str, epsg: int, season_zenith: str, check: Any) -> None:
    origin = (176_400, 8_200_000) if tile == "T01KAB" else None  # the meridian runs through tile T01KAB
    product = write_product(tmp_path, GROUND, date=DATE, tile=tile, pixels=600 if origin else 96, origin=origin)
    listed = texts(xml(product / "MTD_MSIL1C.xml"), "EXT_POS_LIST")[0].split()
    assert check(listed[::2], listed[1::2])
    assert [season_zenith] == texts(xml(next(product.rglob("MTD_TL.xml"))), "ZENITH_ANGLE")
    with rasterio.open(image(product)) as file:
        assert epsg == file.crs.to_epsg()


@pytest.mark.parametrize("how", ["stored", "deflated", "no-dir-entries", "nested"])
def test_a_zip_holds_the_same_product(tmp_path: Path, how: Any) -> None:
    folder = write_product(tmp_path / "a", GROUND, date=DATE, pixels=96)
    packed = write_product(
        tmp_path / "b", GROUND, date=DATE, pixels=96, zip=how, suffix=".SAFE" if how == "nested" else None
    )
    assert folder.name + ("" if how == "nested" else ".zip") == packed.name
    with zipfile.ZipFile(packed) as archive:
        files = [i for i in archive.infolist() if not i.is_dir()]
        assert (how == "no-dir-entries") == (len(files) == len(archive.infolist()))
        assert (zipfile.ZIP_DEFLATED if how == "deflated" else zipfile.ZIP_STORED) == files[0].compress_type
        above = "download/" if how == "nested" else ""
        for item in files:
            assert (folder.parent / item.filename.removeprefix(above)).read_bytes() == archive.read(item)
        assert len(files) == sum(p.is_file() for p in folder.rglob("*"))


def test_the_old_layout_has_long_names_and_many_granules(tmp_path: Path) -> None:
    product = write_product(
        tmp_path, GROUND, date="2016-09-05T00:57:12.026", tile=("T53HLA", "T53HMA"), layout="old", baseline="02.04",
        pixels=96, orbit=2, station="SGS_", discriminator="2016-09-05T10:48:13",
    )  # fmt: skip
    assert "S2A_OPER_PRD_MSIL1C_PDMC_20160905T104813_R002_V20160905T005712_20160905T010219.SAFE" == product.name
    main = xml(product / "S2A_OPER_MTD_SAFL1C_PDMC_20160905T104813_R002_V20160905T005712_20160905T010219.xml")
    for granule in main.iter("Granules"):
        folder = product / "GRANULE" / granule.get("granuleIdentifier")
        for name in texts(granule, "IMAGE_ID"):
            with rasterio.open(folder / "IMG_DATA" / f"{name}.jp2") as file:
                assert (96, 96) == file.shape
    first = "S2A_OPER_MSI_L1C_TL_SGS__20160905T104813_A006291_T53HLA"
    assert f"{first}_N02.04" == next(main.iter("Granules")).get("granuleIdentifier")
    assert [f"{first}_B04", f"{first.replace('HLA', 'HMA')}_B04"] == texts(main, "IMAGE_ID")


def test_the_planetary_computer_and_kaggle_have_folders_of_their_own(tmp_path: Path) -> None:
    planetary = write_product(tmp_path, GROUND, date=DATE, pixels=96, layout="planetary")
    assert "S2A_MSIL1C_20230514T100559_R022_T33UUU_20230514T130559.SAFE" == planetary.name
    assert ["GeoTIFF"] == [e.get("imageFormat") for e in xml(planetary / "MTD_MSIL1C.xml").iter("Granule")]
    with rasterio.open(image(planetary, "*_B04.tif")) as file:
        assert "GTiff" == file.driver
    kaggle = write_product(tmp_path, GROUND, date=DATE, pixels=96, layout="kaggle")
    assert [f"{kaggle.name}.SAFE"] == [p.name for p in kaggle.iterdir()]


def test_two_downlinks_of_one_datatake_make_two_complementary_products(tmp_path: Path) -> None:
    box = grid(96, x=300_000, y=5_900_040)
    common: dict[str, Any] = {"date": DATE, "pixels": 96}
    north, south = swath_part(box, 0.5, "north"), swath_part(box, 0.5, "south")
    pair = (
        write_product(tmp_path, GROUND, **common, station="EPAE", discriminator="2023-05-14T12:00:00", swath=north),
        write_product(tmp_path, GROUND, **common, station="SGS_", discriminator=datetime(2023, 5, 14, 13), swath=south),
    )
    valid = []
    for product in pair:
        with rasterio.open(image(product)) as file:
            valid.append(file.read(1) > 0)
    assert (valid[0] ^ valid[1]).all()
    assert 1 == len({e.get("datatakeIdentifier") for p in pair for e in xml(p / "MTD_MSIL1C.xml").iter("Datatake")})
    assert 2 == len({e.get("datastripIdentifier") for p in pair for e in xml(p / "MTD_MSIL1C.xml").iter("Granule")})


def test_orbits_on_either_side_show_the_errors_of_the_height_model() -> None:
    terrain = Terrain(5, error_m=20.0)
    box = grid(384)
    x, y = box.boundingbox.left + 1920, box.boundingbox.top - 1920
    east, north = Orbit(10.5, (x, y)).towards(np.array([x]), np.array([y]))
    assert np.tan(np.radians(10.5)) == pytest.approx(np.hypot(east[0], north[0]))
    images = []
    for view in (10.5, -10.5):
        product = InventedProduct(
            landscape=replace(GROUND, terrain=terrain), date=DATE, pixels=384, origin=(399_960, 5_800_020), view=view
        )
        assert callable(product.look.displacement)
        images.append(GROUND.render(box, displacement=product.look.displacement))
    place = slice(160, 224)
    error = terrain.error(x + 10.0 * np.arange(-32, 32), y - 10.0 * np.arange(-32, 32)).mean()
    expected = -2 * error * np.array([east[0], -north[0]]) / 10
    assert expected == pytest.approx(measured_shift(*(image[place, place] for image in images)), abs=0.08)


def test_errors_of_heights_are_rough_as_the_ground_is() -> None:
    position = 10.0 * np.arange(2048)
    error = Terrain(1).error(position, position)
    steps = [np.std(error[:, k:] - error[:, :-k]) for k in (16, 64, 256)]
    assert 6 < Terrain(1).error(400.0 * np.arange(400), 400.0 * np.arange(400)).std() < 10
    # Power that falls with the cube of the frequency: differences grow as the root of the distance
    assert [2, 2] == pytest.approx([steps[1] / steps[0], steps[2] / steps[1]], abs=0.5)


def test_terrain_changes_nothing_that_no_orbit_sees(tmp_path: Path) -> None:
    hills = replace(GROUND, terrain=Terrain(1))
    flat, hilly = (
        InventedProduct(landscape=ground, date=DATE, pixels=96).write(tmp_path / name)
        for name, ground in (("flat", GROUND), ("hilly", hills))
    )
    for file in (p for p in flat.rglob("*") if p.is_file()):
        assert file.read_bytes() == (hilly / file.relative_to(flat)).read_bytes()


def test_heights_are_written_as_a_raster(tmp_path: Path) -> None:
    terrain, box = Terrain(2), grid(64, 30)
    with rasterio.open(terrain.write(tmp_path / "dem.tif", box)) as dataset:
        heights = dataset.read(1)
        x, y = dataset.xy(5, 7)
    assert heights[5, 7] == pytest.approx(terrain.height(np.array([x]), np.array([y]))[0, 0], rel=1e-5)


def test_a_product_is_a_value_that_has_its_name_before_it_is_written(tmp_path: Path) -> None:
    product = InventedProduct(landscape=GROUND, date=DATE, pixels=96)
    assert f"{product.name}.SAFE" == product.write(tmp_path / "one").name
    assert f"{product.name}.SAFE" == write_product(tmp_path / "other", GROUND, date=DATE, pixels=96).name


def test_a_product_is_never_written_over_another(tmp_path: Path) -> None:
    write_product(tmp_path, GROUND, date=DATE, pixels=96)
    with pytest.raises(OutputError, match="exists already"):
        write_product(tmp_path, GROUND, date=DATE, pixels=96)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"bands": ("B04", "B99")}, "no band of Sentinel-2"),
        ({"pixels": 100}, "multiple of 6"),
        ({"tile": ("T33UUU", "T33UVU")}, "several tiles"),
        ({"layout": "old", "level": "L2A"}, "several tiles"),
        ({"swath": shapely.box(0, 0, 1, 1)}, "leaves nothing"),
    ],
)
def test_what_no_product_could_have_is_refused_and_leaves_nothing(tmp_path: Path, wrong: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        write_product(tmp_path, GROUND, **({"date": DATE, "pixels": 96} | wrong))
    assert [] == list(tmp_path.iterdir())


def test_the_demo_archive_is_what_its_truth_says(tmp_path: Path) -> None:
    truths = write_archive(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(truth.path for truth in truths)
    assert ["", "", "", "", "truncated", ""] == [truth.flaw for truth in truths]
    reference, beside, broken = truths[0], truths[5], truths[4]
    sizes = {
        e.find("fileLocation").get("href")[2:]: int(e.get("size"))
        for e in xml(broken.path / "manifest.safe").iter("byteStream")
    }
    assert ["B04"] == [n[-7:-4] for n, size in sizes.items() if (broken.path / n).stat().st_size != size]
    with rasterio.open(image(reference.path)) as left, rasterio.open(image(beside.path)) as right:
        window = rasterio.windows.Window(300, 300, 512, 512)
        there = rasterio.windows.Window(300 - 180, 300, 512, 512)
        x, y = measured_shift(left.read(1, window=window) * 1.0, right.read(1, window=there) * 1.0)
    assert beside.displacement == pytest.approx((10 * x, -10 * y), abs=0.3)


# --- the contract of matchers -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sift:
    """A right matcher in twenty lines; ``fault`` breaks it in one way."""

    fault: str = ""
    burden: Any = field(default=None, compare=False)

    name: ClassVar[str] = "test"
    summary: ClassVar[str] = "OpenCV's SIFT"
    weights: ClassVar[tuple[Any, ...]] = ()

    @property
    def recipe(self) -> dict[str, object]:
        return {"options": {1, 2} if self.fault == "recipe" else []}

    def check(self) -> None:
        """It needs nothing."""

    def describe(self, pixels: Any, valid: Any) -> Arrays:
        if self.fault == "writes":
            pixels[:] = 0
        mask = valid if self.fault == "blind" else cv2.erode(valid.astype(np.uint8), np.ones((5, 5)), borderValue=1)
        points, descriptors = cv2.SIFT_create(1000, enable_precise_upscale=True).detectAndCompute(
            (255 * pixels).astype(np.uint8), None
        )
        kept = [k for k, p in enumerate(points) if mask[int(p.pt[1]), int(p.pt[0])] or self.fault == "blind"]
        where = np.array([points[k].pt for k in kept]).reshape(-1, 2)
        where += 0.0 if self.fault == "half" else 0.5
        found = np.zeros((0, 128), np.float32) if descriptors is None else descriptors[kept]
        return {"points" if self.fault == "dense half" else "keypoints": where, "descriptors": found}

    def match(self, left: Arrays, right: Arrays, prior: GeometricPrior | None = None) -> Matches:
        a, b = (np.asarray(side.get("keypoints", side.get("points"))) for side in (left, right))
        if not (len(a) and len(b)):
            if self.fault == "inventive":
                return Matches(np.ones((3, 2)), np.ones((3, 2)), np.ones(3))
            return Matches.none()
        distance = cdist(left["descriptors"], right["descriptors"])
        if prior is not None and self.fault not in {"stubborn", "filter"}:
            distance -= prior.bias(a, b)
        i, j = np.arange(len(a)), distance.argmin(1)
        i = i[(distance.argmin(0)[j] == i) & np.isfinite(distance[i, j])]
        i = i[np.argsort(distance[i, j[i]], kind="stable")][: len(i) // 2]
        left_points, right_points = a[i], b[j[i]]
        if prior is not None and self.fault == "filter":
            near = np.isfinite(prior.bias(left_points, right_points).diagonal())
            left_points, right_points = left_points[near], right_points[near]
        if prior is not None and self.fault == "fussy":
            left_points, right_points = left_points[1:], right_points[1:]
        shift = {"dense half": (-0.5, -0.5), "wrong": (40.0, 0.0), "biased": (0.3, 0.0)}.get(self.fault, (0.0, 0.0))
        if self.fault == "dense half":
            left_points = left_points + shift
        right_points = np.minimum(right_points + shift, 320 if self.fault == "wrong" else np.inf)
        if self.fault == "single":
            right_points = right_points.astype(np.float32)
        return Matches(left_points, right_points, np.full(len(left_points), 2.0 if self.fault == "sure" else 0.5))


def test_a_right_matcher_keeps_the_contract() -> None:
    check_matcher(Sift())


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ("recipe", "recipe cannot be written as JSON"),
        ("writes", "changes the image"),
        ("blind", "on or beside invalid pixels"),
        ("half", r"off by -0.50 pixels, as a mirrored image shows"),
        ("dense half", r"off by -0.\d\d, -0.\d\d pixels, as an image of larger pixels shows"),
        ("inventive", "finds 3 matches in an image"),
        ("wrong", "miss a shift"),
        ("biased", "measures a shift"),
        ("single", "not float64"),
        ("sure", "score is not"),
        ("stubborn", "out of the prior's reach"),
        ("fussy", "with a prior that allows everything"),
        ("filter", r"in a grid of like fields \d+ of \d+ matches are right with a prior"),
    ],
)
def test_a_wrong_matcher_is_told_what_is_wrong(fault: str, complaint: str) -> None:
    with pytest.raises(MatcherContractError, match=complaint):
        check_matcher(Sift(fault))


def test_a_matcher_that_cannot_be_pickled_is_told_so() -> None:
    with pytest.raises(MatcherContractError, match="does not survive pickling"):
        check_matcher(Sift(burden=lambda: None))


def test_the_error_of_the_contract_crosses_processes() -> None:
    error = MatcherContractError("sift finds 3 matches in an image of one grey")
    assert str(error) == str(pickle.loads(pickle.dumps(error)))  # noqa: S301


def test_an_example_pair_is_displaced_by_its_shift() -> None:
    pair = example_pair((3.25, -1.5))
    assert pair.shift == pytest.approx(measured_shift(pair.left, pair.right), abs=0.05)
    assert (pair.left.dtype, True, True) == (
        np.float32,
        pair.left_valid.all(),
        0 <= pair.left.min() <= pair.left.max() <= 1,
    )
