"""What else is an image: several variables in a file, complex values, ground control points, bands by other names."""

from __future__ import annotations

import logging
import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from pyproj import Transformer
from rasterio import CRS
from rasterio.control import GroundControlPoint
from rasterio.errors import NotGeoreferencedWarning
from rasterio.rpc import RPC

from sentinel_match.errors import BandNotChosen, MissingBand, NoGeoreference, NotAProduct
from sentinel_match.matching.inputs import common_band
from sentinel_match.pipeline import match_scenes
from sentinel_match.products.catalogue import find_scenes, read_scene
from sentinel_match.raster.bands import available, band_names, source_of
from sentinel_match.raster.load import load
from sentinel_match.raster.raster import read

if TYPE_CHECKING:
    from numpy.typing import NDArray

ZONE, PLACE = "EPSG:32633", Affine(10, 0, 343000, 0, -10, 5851000)
NUMBERS = np.random.default_rng(0).integers(1, 5000, (2, 40, 50)).astype(np.uint16)


def written(path: Path, pixels: NDArray[Any], descriptions: tuple[str, ...] = (), **profile: Any) -> Path:
    count, rows, cols = pixels.shape
    profile = {"driver": "GTiff", "dtype": pixels.dtype, "crs": ZONE, "transform": PLACE, **profile}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", height=rows, width=cols, count=count, **profile) as file:
            file.write(pixels)
            for k, text in enumerate(descriptions, 1):
                file.set_band_description(k, text)
    return path


def netcdf(path: Path) -> Path:
    rasterio.shutil.copy(written(path.with_suffix(".tif"), NUMBERS), path, driver="netCDF")
    return path


def test_each_variable_is_a_band_of_its_name_with_its_grid(tmp_path: Path) -> None:
    scene = read_scene(netcdf(tmp_path / "two.nc"))
    assert ["Band1", "Band2"] == [band.name for band in scene.bands]
    assert (scene.geobox.crs, scene.geobox.affine) == (ZONE, PLACE)
    assert "it holds the variables Band1, Band2" in scene.notes[0]
    for k, name in enumerate(("Band1", "band2")):
        image = read(scene, name)
        np.testing.assert_array_equal(NUMBERS[k], image.pixels)
    with pytest.raises(MissingBand, match=r"no band RED \(it has Band1, Band2\)"):
        source_of(scene, "red")


def test_where_nothing_says_which_variable_is_compared_they_are_listed(tmp_path: Path) -> None:
    scene = read_scene(netcdf(tmp_path / "two.nc"))
    with pytest.raises(BandNotChosen, match=r"share several bands \(Band1, Band2\): name the one to compare by --band"):
        common_band(scene, scene, None)
    assert common_band(scene, scene, "Band2").lower() == "band2"


def test_variables_without_a_position_are_named_with_how_to_give_one(shared: Path) -> None:
    path = shared.parent / "cases" / "two.nc"
    if not path.exists():
        pytest.skip(f"no {path}")
    with pytest.raises(NoGeoreference, match=r"its variables \(B04, B08\).*gdal_translate -a_srs .*two.nc:B04 B04.tif"):
        match_scenes(path, path)


def test_a_file_without_any_variable_is_no_product(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    path.write_bytes(netcdf(tmp_path / "two.nc").read_bytes()[:64])
    with pytest.raises(NotAProduct):
        read_scene(path)


@pytest.mark.parametrize("kind", ["complex64", "complex128", "complex_int16"])
def test_of_complex_values_the_amplitude_is_taken_and_said(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    angle = np.random.default_rng(1).uniform(-math.pi, math.pi, NUMBERS.shape)
    values = np.round(NUMBERS * np.exp(1j * angle)).astype(np.complex64)
    path = written(tmp_path / f"{kind}.tif", values[:1], dtype=kind)
    with caplog.at_level(logging.WARNING), warnings.catch_warnings():
        warnings.simplefilter("error", np.exceptions.ComplexWarning)
        image = read(read_scene(path), "1")
    np.testing.assert_allclose(np.abs(values[0]), image.pixels, rtol=1e-6)
    assert "its values are complex: their amplitude is taken" in caplog.text
    assert 1 == caplog.text.count("amplitude")


def points_on(affine: Affine, bend: float = 0.0) -> list[GroundControlPoint]:
    places = [(row, col) for row in (0, 20, 40) for col in (0, 25, 50)]
    return [
        GroundControlPoint(row, col, *(affine * (col + bend * 10 * math.sin(row * col), row))) for row, col in places
    ]


@pytest.mark.parametrize("turn", [0, 20])
def test_control_points_on_a_grid_are_its_place_and_that_is_said(turn: float, tmp_path: Path) -> None:
    affine = PLACE * Affine.rotation(turn)
    path = written(tmp_path / "a.tif", NUMBERS, transform=None, crs=ZONE, gcps=points_on(affine))
    scene = read_scene(path)
    assert ZONE == str(scene.geobox.crs)
    assert tuple(affine)[:6] == pytest.approx(tuple(scene.geobox.affine)[:6], rel=1e-8)
    assert turn or scene.geobox.affine == PLACE
    assert ("placed by its 9 ground control points, which lie on one grid",) == scene.notes


def test_an_image_without_a_grid_is_told_the_command_that_gives_it_one(tmp_path: Path) -> None:
    bent = written(tmp_path / "bent.tif", NUMBERS, transform=None, gcps=points_on(PLACE, 0.2))
    degrees = [GroundControlPoint(p.row, p.col, 14 + p.col**2 * 1e-5, -33 - p.row * 1e-4) for p in points_on(PLACE)]
    swath = written(tmp_path / "swath.tif", NUMBERS, transform=None, crs="EPSG:4326", gcps=degrees)
    few = written(tmp_path / "few.tif", NUMBERS, transform=None, gcps=points_on(PLACE)[:2])
    bare = written(tmp_path / "bare.tif", NUMBERS, crs=None)
    for path, command in (
        (bent, r"9 ground control points are off any grid by up to .* pixels; .*`gdalwarp -t_srs EPSG:32633 -r cubic"),
        (swath, r"`gdalwarp -t_srs EPSG:32733 -r cubic"),
        (few, r"2 ground control points do not suffice for a grid; .*`gdalwarp -t_srs EPSG:32633 "),
        (bare, r"a transform and no CRS; `rio edit-info --crs EPSG:326ZZ .*bare.tif` says which"),
    ):
        with pytest.raises(NoGeoreference, match=command):
            match_scenes(path, path)


def test_control_points_in_degrees_are_a_place_on_the_ground(tmp_path: Path) -> None:
    at = Transformer.from_crs(ZONE, "EPSG:4326", always_xy=True).transform
    degrees = [GroundControlPoint(p.row, p.col, *at(p.x, p.y)) for p in points_on(PLACE)]
    scene = read_scene(written(tmp_path / "a.tif", NUMBERS, transform=None, crs="EPSG:4326", gcps=degrees))
    assert "EPSG:4326" == str(scene.geobox.crs)
    assert 10 == pytest.approx(scene.bands[0].resolution, rel=1e-3)
    assert "POINT" not in scene.notes[0]
    grid = source_of(scene, "1", 10.0).target(10.0)
    assert (grid.crs, grid.affine.a) == (ZONE, 10)


def test_many_control_points_that_bend_are_told_the_spline_that_goes_through_them(tmp_path: Path) -> None:
    places = [(row, col) for row in np.linspace(0, 40, 21) for col in np.linspace(0, 50, 21)]
    points = [
        GroundControlPoint(row, col, *(PLACE * (col + 2 * math.sin(row / 9), row + math.cos(col / 7))))
        for row, col in places
    ]
    path = written(tmp_path / "a.tif", NUMBERS, transform=None, gcps=points)
    with pytest.raises(
        NoGeoreference, match=r"its 441 ground control points are off .*`gdalwarp -tps -t_srs EPSG:32633"
    ):
        match_scenes(path, path)


def test_a_sensor_model_and_positions_of_pixels_are_told_the_command_that_uses_them(tmp_path: Path) -> None:
    polynomial = [0.0] * 19
    model = RPC(
        height_off=50,
        height_scale=500,
        lat_off=-33.5,
        lat_scale=0.1,
        long_off=14.2,
        long_scale=0.1,
        line_off=20,
        line_scale=20,
        samp_off=25,
        samp_scale=25,
        line_num_coeff=[0, 0, -1, *polynomial[2:], 0],
        line_den_coeff=[1, *polynomial],
        samp_num_coeff=[0, 1, *polynomial[1:], 0],
        samp_den_coeff=[1, *polynomial],
    )
    sensor = written(tmp_path / "rpc.tif", NUMBERS, crs=None, transform=None, rpcs=model)
    swath = written(tmp_path / "swath.tif", NUMBERS, crs=None, transform=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(swath, "r+") as file:
            file.update_tags(ns="GEOLOCATION", X_DATASET="lon.tif", Y_DATASET="lat.tif", X_BAND="1", Y_BAND="1")
    unnamed = written(tmp_path / "points.tif", NUMBERS, crs=CRS(), transform=None, gcps=points_on(PLACE))
    for path, command in (
        (sensor, r"a sensor model \(RPC\) only; rectify it first: `gdalwarp -rpc -t_srs EPSG:32733 -r cubic .*rpc.tif"),
        (
            swath,
            r"arrays of positions only; rectify it first: `gdalwarp -geoloc -t_srs EPSG:326ZZ -r cubic .*swath.tif",
        ),
        (unnamed, r"control points have no CRS; rectify it first: `gdalwarp -s_srs EPSG:326ZZ -t_srs EPSG:326ZZ "),
    ):
        with pytest.raises(NoGeoreference, match=command):
            match_scenes(path, path)


@pytest.mark.parametrize("crs", ['LOCAL_CS["arbitrary",UNIT["metre",1]]', "EPSG:4978", "EPSG:5773"])
def test_a_crs_that_says_not_where_on_the_earth_is_none_and_ends_no_listing(crs: str, tmp_path: Path) -> None:
    written(tmp_path / "right.tif", NUMBERS)
    path = written(tmp_path / "site.tif", NUMBERS, crs=crs)
    catalogue = find_scenes(tmp_path)
    assert [True, False] == [scene.geobox is not None for scene in catalogue.scenes]
    with pytest.raises(NoGeoreference, match=r"says not where on the Earth it lies; `rio edit-info --crs EPSG:326ZZ"):
        match_scenes(path, path)


@pytest.mark.parametrize("crs", [ZONE, "EPSG:4326", "EPSG:3857", "EPSG:3035"])
@pytest.mark.parametrize(
    "transform",
    [
        Affine(10, 0, 4e5, 0, 0, 5.8e6),
        Affine(10, 10, 4e5, 10, 10, 5.8e6),
        Affine(10, 0, math.inf, 0, -10, 5.8e6),
        Affine(1e-12, 0, 10, 0, -1e-12, 50),
        Affine(1e9, 0, 10, 0, -1e9, 50),
    ],
    ids=["no height", "no area", "nowhere", "too small", "too large"],
)
def test_a_transform_that_leads_nowhere_is_told_and_ends_no_listing(
    transform: Affine, crs: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "odd.tif", NUMBERS, crs=crs, transform=transform)
    (scene,) = find_scenes(tmp_path).scenes
    assert load(scene, "1").raster.pixels.shape == NUMBERS[0].shape
    with pytest.raises(NoGeoreference, match=r"puts no image on the Earth; `rio edit-info --transform` gives"):
        match_scenes(path, path)


def test_pixels_of_a_millimetre_to_a_kilometre_are_pixels(tmp_path: Path) -> None:
    for size in (0.001, 0.01, 1000.0):
        path = written(tmp_path / "fine.tif", NUMBERS, transform=Affine(size, 0, 343000, 0, -size, 5851000))
        assert load(path, "1").raster.geobox.affine.a == size


def test_control_points_that_are_no_numbers_are_no_grid(tmp_path: Path) -> None:
    points = [
        GroundControlPoint(p.row, p.col, math.nan if k == 2 else p.x, p.y) for k, p in enumerate(points_on(PLACE))
    ]
    path = written(tmp_path / "points.tif", NUMBERS, transform=None, gcps=points, crs=ZONE)
    with pytest.raises(NoGeoreference, match="control points do not suffice for a grid"):
        match_scenes(path, path)


def test_variables_off_the_map_end_no_listing_and_their_notes_are_kept(tmp_path: Path) -> None:
    far = written(tmp_path / "far.tif", NUMBERS, transform=Affine(10, 0, 9e7, 0, -10, 9e7))
    rasterio.shutil.copy(far, tmp_path / "far.nc", driver="netCDF")
    lying = written(tmp_path / "lying.tif", NUMBERS, transform=Affine(40, 0, 343000, 0, -10, 5851000))
    rasterio.shutil.copy(lying, tmp_path / "lying.nc", driver="netCDF")
    far_scene, lying_scene = (read_scene(tmp_path / f"{name}.nc") for name in ("far", "lying"))
    assert (None, "none") == (far_scene.footprint, far_scene.footprint_source)
    assert "its place on the globe is unknown" in far_scene.notes[1]
    assert "its pixels are 40 x 10 m" in lying_scene.notes[1]


def test_scale_and_offset_of_a_variable_make_its_values(tmp_path: Path) -> None:
    path = written(tmp_path / "two.tif", NUMBERS)
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (1e-4, 2e-4), (-0.1, 0.0)
    rasterio.shutil.copy(path, tmp_path / "two.nc", driver="netCDF")
    scene = read_scene(tmp_path / "two.nc")
    for k, (scale, offset) in enumerate(((1e-4, -0.1), (2e-4, 0.0))):
        np.testing.assert_allclose(NUMBERS[k] * scale + offset, read(scene, f"Band{k + 1}").pixels, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a.hdr", "it belongs to an image beside it: name that one"),
        ("a.pix", "a raster of a format that is not read: make a GeoTIFF of it by `gdal_translate .*a.pix image.tif`"),
        ("a.bin", "neither a zip nor an image that GDAL can open"),
    ],
)
def test_what_is_no_image_is_told_what_to_name_instead(name: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("ENVI\nsamples = 3\n")
    with pytest.raises(NotAProduct, match=reason):
        read_scene(tmp_path / name)


def test_a_zarr_store_is_told_the_command_that_makes_a_geotiff(tmp_path: Path) -> None:
    for mark in (".zgroup", "zarr.json"):
        folder = tmp_path / mark / "a.zarr"
        folder.mkdir(parents=True)
        (folder / mark).write_text("{}")
        with pytest.raises(NotAProduct, match=r"a Zarr store.*`gdal_translate 'ZARR:.*a.zarr\":/ARRAY' image.tif`"):
            read_scene(folder)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        *(("B4", "B04"), ("b04", "B04"), ("red", "B04"), ("NIR", "NIR"), ("b8a", "B8A"), ("swir16", "B11"), ("1", "1")),
        *(("ndvi", "NDVI"), ("red-gradient", "B04-gradient"), ("B12", "B12"), ("B1", "B01"), ("rgb", "RGB")),
    ],
)
def test_a_band_means_what_it_says(text: str, name: str) -> None:
    assert (name,) == band_names(text)


def test_a_band_is_found_by_any_of_its_names(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif", NUMBERS, ("B4, central wavelength 665 nm", "B08"))
    for k, names in enumerate((("B4", "b04", "B04", "red", "RED", "1"), ("nir", "NIR", "b8", "2"))):
        for name in names:
            np.testing.assert_array_equal(NUMBERS[k], read(read_scene(path), name).pixels)


def test_the_near_infrared_is_that_which_a_scene_has(tmp_path: Path) -> None:
    sentinel = read_scene(written(tmp_path / "s.tif", NUMBERS, ("B08", "B8A")))
    landsat = read_scene(written(tmp_path / "l.tif", NUMBERS[::-1], ("B04", "B8A")))
    np.testing.assert_array_equal(NUMBERS[0], read(sentinel, "nir").pixels)
    np.testing.assert_array_equal(NUMBERS[0], read(landsat, "nir").pixels)
    assert "NIR" == common_band(sentinel, landsat, "nir")
    with pytest.raises(MissingBand):
        read(landsat, "B08")


def test_a_band_described_by_its_colour_is_found_by_it_and_keeps_its_number(tmp_path: Path) -> None:
    scene = read_scene(written(tmp_path / "a.tif", NUMBERS, ("Red", "nir")))
    assert ["1", "2"] == [band.name for band in scene.bands]
    for k, names in enumerate((("1", "red", "B4"), ("2", "nir", "B08"))):
        for name in names:
            np.testing.assert_array_equal(NUMBERS[k], read(scene, name).pixels)
    red, nir = NUMBERS.astype(float)
    np.testing.assert_allclose((nir - red) / (nir + red), read(scene, "NDVI").pixels, atol=1e-6)
    assert "NDVI" in available(scene)
    with pytest.raises(MissingBand, match="no band B02"):
        read(scene, "B02")
