"""Reflectance on grids: the common lattice, block means, the one warp, and files of it."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from odc.geo.overlap import compute_output_geobox
from PIL import Image
from pyproj import Transformer

from sentinel_match.errors import DamagedImage, MissingBand, NoGeoreference, OutputError
from sentinel_match.geometry.grids import on_lattice
from sentinel_match.products.catalogue import read_scene
from sentinel_match.products.scene import Asset, Band, Scene
from sentinel_match.raster.jp2 import Window
from sentinel_match.raster.raster import Raster, read, warp, write
from sentinel_match.raster.resample import block_mean, strips
from sentinel_match.testing.codec import whole, write_image

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

ZONE = "EPSG:32633"


def grid(rows: int, cols: int, metres: float = 10.0, east: float = 300_000, north: float = 5_900_040) -> GeoBox:
    return GeoBox((rows, cols), Affine(metres, 0, east, 0, -metres, north), ZONE)


def scene(path: Path, geobox: GeoBox | None, **facts: Any) -> Scene:
    band = Band("B04", 10.0, Asset(path), geobox, quantification=10_000.0)
    return Scene("S2", path, "L1C", None, "none", (replace(band, **facts),), geobox=geobox)


def nowhere(rows: int, cols: int) -> GeoBox:
    """A grid without a CRS."""
    return GeoBox((rows, cols), Affine(1, 0, 0, 0, -1, 0), None)


def image(path: Path, pixels: NDArray[Any], geobox: GeoBox | None = None) -> Scene:
    """A scene of one TIFF."""
    rows, cols = pixels.shape
    if geobox is None:
        Image.fromarray(pixels).save(path)
    else:
        place = {"crs": str(geobox.crs), "transform": geobox.affine}
        with rasterio.open(path, "w", width=cols, height=rows, count=1, dtype=pixels.dtype, **place) as file:
            file.write(pixels, 1)
    return scene(path, geobox)


def numbers(rows: int, cols: int, seed: int = 0) -> NDArray[np.uint16]:
    return np.random.default_rng(seed).integers(1, 8000, (rows, cols)).astype(np.uint16)


# Reflectance


def test_reflectance_is_what_the_metadata_says_and_zero_is_no_data(tmp_path: Path) -> None:
    dn = np.array([[0, 1, 500], [1000, 1500, 11000]], np.uint16)
    one = image(tmp_path / "a.tif", dn, grid(2, 3))
    found = read(replace(one, bands=(replace(one.bands[0], offset=-1000.0),)))
    assert [[False, True, True], [True, True, True]] == found.valid.tolist()
    np.testing.assert_allclose([-0.0999, -0.05, 0.0, 0.05, 1.0], found.pixels[found.valid], atol=1e-7)
    assert np.float32 == found.pixels.dtype
    assert np.isfinite(found.pixels).all()


def test_a_jpeg2000_is_read_on_its_own_grid(tmp_path: Path) -> None:
    dn = numbers(700, 600)
    write_image(tmp_path / "B04.jp2", grid(700, 600), whole(dn), "uint16")
    found = read(scene(tmp_path / "B04.jp2", grid(700, 600)))
    assert grid(700, 600) == found.geobox
    np.testing.assert_allclose(dn / 10_000, found.pixels, atol=1e-6)


def test_a_float_raster_may_have_any_no_data_and_nan(tmp_path: Path) -> None:
    values = np.array([[-9999, np.nan, 0.5], [0, -0.5, 1]], np.float32)
    loose = image(tmp_path / "ndvi.tif", values, grid(2, 3))
    found = read(replace(loose, bands=(replace(loose.bands[0], nodata=-9999.0, quantification=1.0),)))
    assert [[False, False, True], [True, True, True]] == found.valid.tolist()
    assert [0.5, 0, -0.5, 1] == found.pixels[found.valid].tolist()


def test_colours_become_one_grey_in_whatever_order_they_are_stored(tmp_path: Path) -> None:
    colours = np.random.default_rng(3).integers(0, 255, (3, 90, 80)).astype(np.uint8)
    colours[:, 0, 0] = 0
    colours[:, 0, 1] = (0, 0, 30)
    found = []
    for name, cube in (("rgb", colours), ("bgr", colours[::-1])):
        write_image(tmp_path / f"{name}.jp2", grid(90, 80), whole(cube), "uint8", bands=3)
        tci = scene(tmp_path / f"{name}.jp2", grid(90, 80), name="TCI", quantification=1.0)
        found += [read(tci, "TCI"), read(tci, "RGB")]
    for grey in found:
        np.testing.assert_allclose(colours.mean(0), grey.pixels, rtol=1e-6)
        assert [False, True] == grey.valid[0, :2].tolist()


def test_the_first_three_bands_of_a_loose_image_are_its_colours(tmp_path: Path) -> None:
    colours = np.random.default_rng(4).integers(1, 255, (3, 40, 30)).astype(np.uint8)
    with rasterio.open(
        tmp_path / "a.tif", "w", width=30, height=40, count=3, dtype="uint8", crs=ZONE, transform=grid(40, 30).affine
    ) as file:
        file.write(colours)
    np.testing.assert_allclose(colours.mean(0), read(read_scene(tmp_path / "a.tif"), "RGB").pixels, rtol=1e-6)


def test_a_missing_band_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingBand, match="no band B08"):
        read(image(tmp_path / "a.tif", numbers(5, 5), grid(5, 5)), "B08")


def test_a_file_that_cannot_be_opened_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "B04.jp2").write_bytes(b"<html>")
    with pytest.raises(DamagedImage, match=r"B04\.jp2"):
        read(scene(tmp_path / "B04.jp2", grid(5, 5)))


def test_a_truncated_file_is_refused_by_its_size_alone(tmp_path: Path) -> None:
    short = Asset(tmp_path / "B04.jp2", size=10, expected_size=20)
    with pytest.raises(DamagedImage, match="10 of 20 bytes"):
        read(scene(tmp_path / "B04.jp2", grid(5, 5), asset=short))


# The lattice

SOUTH = "EPSG:32733"


@given(
    col=st.integers(-3000, 3000),
    row=st.integers(-3000, 3000),
    rows=st.integers(1, 400),
    cols=st.integers(1, 400),
    native=st.sampled_from([10, 20, 60]),
    coarse=st.sampled_from([10, 20, 30, 60, 120]),
    south=st.booleans(),
)
def test_all_grids_of_a_zone_meet_on_one_lattice(
    col: int, row: int, rows: int, cols: int, native: int, coarse: int, *, south: bool
) -> None:
    origin = 10_000_000 if south else 0
    affine = Affine(
        native, 0, 300_000 + col * native, 0, -native, origin + 20_040 * (-1 if south else 1) + row * native
    )
    tile = GeoBox((rows, cols), affine, SOUTH if south else ZONE)
    made = on_lattice(tile, coarse)
    a, (west, south_edge, east, north) = made.affine, tile.boundingbox
    assert (coarse, -coarse) == (a.a, a.e)
    assert 0 == a.c % coarse
    assert 0 == (a.f - origin) % coarse
    assert made.boundingbox.left <= west < made.boundingbox.left + coarse
    assert made.boundingbox.top - coarse < north <= made.boundingbox.top
    assert made.boundingbox.right - coarse < east <= made.boundingbox.right
    assert made.boundingbox.bottom <= south_edge < made.boundingbox.bottom + coarse


def test_a_grid_off_the_lattice_keeps_its_own_origin() -> None:
    made = on_lattice(GeoBox((100, 90), Affine(10, 0, 123.5, 0, -10, 1007), ZONE), 20)
    assert (123.5, 1007) == (made.affine.c, made.affine.f)


def test_a_grid_in_degrees_goes_to_its_utm_zone() -> None:
    made = on_lattice(GeoBox((100, 100), Affine(1e-4, 0, 15.0, 0, -1e-4, 52.0), "EPSG:4326"), 10)
    assert ("EPSG:32633", 10.0) == (str(made.crs), made.affine.a)


def test_two_crops_of_one_image_give_the_same_coarse_pixels(tmp_path: Path) -> None:
    """The heart of it: no image of a zone is ever shifted against another by resampling."""
    dn = numbers(300, 280)
    everything = read(image(tmp_path / "whole.tif", dn, grid(300, 280)), resolution=60)
    assert everything.geobox is not None
    for row, col in ((1, 2), (7, 130), (60, 59)):
        place = grid(300, 280)[row:, col:]
        crop = read(image(tmp_path / f"{row}.tif", dn[row:, col:], place), resolution=60)
        assert crop.geobox is not None
        dx, dy = (crop.geobox.affine.c - 300_000) / 60, (5_900_040 - crop.geobox.affine.f) / 60
        assert (dx, dy) == (col // 6, row // 6)
        same = everything.pixels[row // 6 :, col // 6 :]
        np.testing.assert_allclose(same[1:, 1:], crop.pixels[1:, 1:], rtol=1e-6)  # the first row and column are partial


@pytest.mark.parametrize("size", [2, 3, 5, 6, 10, 12])
def test_a_coarse_pixel_is_the_mean_of_its_block(size: int, tmp_path: Path) -> None:
    rows, cols = 1100, 37  # more than one strip
    dn = numbers(rows, cols)
    origin = grid(rows, cols, east=300_000, north=5_900_040 - 5_900_040 % (10 * size))
    found = read(image(tmp_path / "a.tif", dn, origin), resolution=10 * size)
    padded = np.full((-(-rows // size) * size, -(-cols // size) * size), np.nan)
    padded[:rows, :cols] = dn / 10_000
    blocks = padded.reshape(padded.shape[0] // size, size, -1, size).swapaxes(1, 2).reshape(*found.pixels.shape, -1)
    enough = np.isfinite(blocks).sum(-1) * 2 >= size**2
    assert enough.tolist() == found.valid.tolist()
    np.testing.assert_allclose(np.nanmean(blocks[enough], -1), found.pixels[enough], rtol=1e-5)


@given(st.integers(2, 7), st.data())
def test_a_block_is_valid_if_at_least_half_of_it_is(size: int, data: st.DataObject) -> None:
    known = data.draw(st.integers(0, size**2))
    block = np.full(size**2, np.nan, np.float32)
    block[np.random.default_rng(known).permutation(size**2)[:known]] = 0.25
    mean = block_mean(block.reshape(size, size), size)[0, 0]
    assert (2 * known >= size**2) == bool(np.isfinite(mean))
    assert not np.isfinite(mean) or mean == pytest.approx(0.25)


def test_a_window_is_that_part_of_the_whole(tmp_path: Path) -> None:
    one = image(tmp_path / "a.tif", numbers(300, 200), grid(300, 200))
    for resolution in (None, 20, 25):
        everything, part = (
            read(one, resolution=resolution),
            read(one, resolution=resolution, window=Window(30, 20, 50, 40)),
        )
        assert everything.geobox is not None
        assert everything.geobox[30:80, 20:60] == part.geobox
        np.testing.assert_allclose(everything.pixels[30:80, 20:60], part.pixels, atol=1e-6)


def test_a_crop_is_a_view_that_knows_where_it_is() -> None:
    one = Raster(np.arange(12, dtype=np.float32).reshape(3, 4), np.ones((3, 4), bool), grid(3, 4))
    part = one.crop(1, 2, 2, 2)
    assert [[6, 7], [10, 11]] == part.pixels.tolist()
    assert np.shares_memory(one.pixels, part.pixels)
    assert (300_020, 5_900_030) == (part.geobox.affine.c, part.geobox.affine.f)
    half = Raster(one.pixels.astype(np.float16), one.valid, nowhere(3, 4)).crop(0, 0, 1, 2)
    assert (np.float32, None) == (half.pixels.dtype, half.geobox.crs)


def test_without_georeference_pixels_are_the_unit(tmp_path: Path) -> None:
    dn = numbers(40, 30)
    one = image(tmp_path / "a.tif", dn, None)
    assert None is read(one).geobox.crs
    np.testing.assert_allclose(
        dn.reshape(20, 2, 15, 2).mean((1, 3)) / 10_000, read(one, resolution=2).pixels, rtol=1e-5
    )
    assert (27, 20) == read(one, resolution=1.5).pixels.shape
    with pytest.raises(NoGeoreference, match=r"a\.tif"):
        read(one, geobox=grid(4, 4))
    with pytest.raises(NoGeoreference):
        warp(read(one), grid(4, 4))


# The warp


def ground(east: NDArray[Any], north: NDArray[Any]) -> NDArray[Any]:
    """Smooth, known everywhere: metres of zone 33 to reflectance."""
    return 0.5 + 0.2 * np.sin(east / 83) * np.cos(north / 71) + 0.1 * np.sin((east + north) / 157)


def shown(geobox: GeoBox, crs: str = ZONE) -> NDArray[np.float32]:
    """What an image on a grid shows of that ground, at pixel centres."""
    cols, rows = np.meshgrid(np.arange(geobox.shape.x) + 0.5, np.arange(geobox.shape.y) + 0.5)
    east, north = geobox.affine * (cols, rows)
    to = Transformer.from_crs(str(geobox.crs), crs, always_xy=True)
    return ground(*to.transform(east, north)).astype(np.float32)


def displacement(pixels: NDArray[Any], valid: NDArray[np.bool_], truth: NDArray[Any]) -> tuple[NDArray[Any], float]:
    """(x, y) by which an image is displaced against the truth, in pixels, and the RMS of what that leaves."""
    gy, gx = np.gradient(truth)
    inner = valid & (np.abs(gx) + np.abs(gy) > 0)
    slopes = np.stack([gx[inner], gy[inner]], 1)
    difference = (pixels - truth)[inner]
    shift, *_ = np.linalg.lstsq(slopes, -difference, rcond=None)
    return shift, float(np.sqrt(np.mean((difference + slopes @ shift) ** 2)))


def test_a_warp_across_zones_is_exact() -> None:
    source = GeoBox((1500, 1400), Affine(10, 0, 705_000, 0, -10, 5_700_000), "EPSG:32632")
    target = compute_output_geobox(source, ZONE, resolution=10)[300:800, 400:900]
    made = warp(Raster(shown(source), np.ones(source.shape, bool), source), target)
    truth = shown(target)
    assert made.valid.mean() > 0.9
    shift, rest = displacement(made.pixels, made.valid, truth)
    assert np.abs(shift).max() < 0.005
    assert rest < 2e-4
    np.testing.assert_allclose(truth[made.valid], made.pixels[made.valid], atol=2e-3)


@pytest.mark.parametrize(("metres", "cols"), [(10.0, 10_980), (60.0, 1830)])
def test_a_warp_of_a_whole_tile_across_zones_is_exact_everywhere(metres: float, cols: int) -> None:
    source = GeoBox((900, cols), Affine(metres, 0, 300_000, 0, -metres, 5_600_040), ZONE)
    long = Affine.scale(10 / metres)  # the same ground in pixels, whatever their size
    pixels = shown(GeoBox(source.shape, long * source.affine, ZONE))
    middle = compute_output_geobox(source, "EPSG:32632", resolution=metres)
    target = middle[middle.shape.y // 2 - 40 : middle.shape.y // 2 + 40, :]
    made = warp(Raster(pixels, np.ones(source.shape, bool), source), target)
    east, north = target.affine * tuple(np.meshgrid(np.arange(target.shape.x) + 0.5, np.arange(target.shape.y) + 0.5))
    east, north = Transformer.from_crs("EPSG:32632", ZONE, always_xy=True).transform(east, north)
    truth = ground(east * 10 / metres, north * 10 / metres)
    for left in range(0, target.shape.x - 300, 300):
        part = np.s_[:, left : left + 300]
        if made.valid[part].mean() > 0.5:
            assert np.abs(displacement(made.pixels[part], made.valid[part], truth[part])[0]).max() < 0.012


@pytest.mark.parametrize("resolution", [5, 15, 25, 107.2])
def test_an_odd_resolution_is_exact_too(resolution: float, tmp_path: Path) -> None:
    source = grid(2200, 120)  # a few strips
    one = image(tmp_path / "a.tif", np.rint(shown(source) * 10_000).astype(np.uint16), source)
    made = read(one, resolution=resolution)
    assert made.geobox is not None
    truth = shown(made.geobox) if resolution < 50 else read(one, geobox=made.geobox).pixels
    shift, rest = displacement(made.pixels, made.valid, truth)
    assert np.abs(shift).max() < 0.02
    assert rest < 0.005
    assert made.valid[6:-6, 6:-6].all()


def test_a_coarse_warp_has_no_bias() -> None:
    source = GeoBox((1000, 1000), Affine(10, 0, 300_000, 0, -10, 5_900_040), ZONE)
    target = GeoBox((60, 60), Affine(107.2, 0, 301_234.5, 0, -107.2, 5_899_321.0), ZONE)
    long = Affine.scale(1 / 12)  # the same ground, twelve times as large: smooth at 107 m
    pixels = shown(GeoBox(source.shape, long * source.affine, ZONE))
    made = warp(Raster(pixels, np.ones(source.shape, bool), source), target)
    shift, _ = displacement(made.pixels, made.valid, shown(GeoBox(target.shape, long * target.affine, ZONE)))
    assert np.abs(shift).max() < 0.01


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.sampled_from([5.0, 10.0, 17.0, 40.0]), st.floats(0, 10))
def test_no_invalid_pixel_has_any_weight_in_a_warp(seed: int, metres: float, offset: float) -> None:
    random = np.random.default_rng(seed)
    source = grid(120, 110)
    valid = random.random(source.shape) > 0.002
    pixels = np.where(valid, shown(source), np.float32(1e6))
    target = GeoBox((150, 140), Affine(metres, 0, 299_990 + offset, 0, -metres, 5_900_050 - offset), ZONE)
    made = warp(Raster(pixels, valid, source), target)
    if metres < 20:  # a mean of 4 x 4 is valid if half of it is, and then without the others
        assert made.valid.any()
    assert made.pixels[made.valid].size == 0 or made.pixels[made.valid].max() < 1
    assert np.isfinite(made.pixels).all()


def test_a_warp_to_where_nothing_is_is_empty() -> None:
    source = grid(50, 50)
    made = warp(Raster(shown(source), np.ones(source.shape, bool), source), grid(40, 30, 7.0, east=500_000))
    assert ((40, 30), 0) == (made.pixels.shape, int(made.valid.sum()))


def test_strips_of_any_height_make_the_same_image() -> None:
    source = grid(5000, 40)
    pixels = shown(source)

    def part(window: Window) -> NDArray[np.float32]:
        asked.append(window.height)
        out = np.full((window.height, window.width), np.nan, np.float32)
        rows, cols = window.roi
        inside = pixels[max(rows.start, 0) : max(rows.stop, 0), max(cols.start, 0) : max(cols.stop, 0)]
        top, left = max(-rows.start, 0), max(-cols.start, 0)
        out[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
        return out

    for target in (source, on_lattice(source, 30), on_lattice(source, 12), source[700:4900, 3:30]):
        asked: list[int] = []
        made = np.vstack([strip for _, strip in strips(part, source, target)])
        assert tuple(target.shape) == made.shape
        assert max(asked) <= 3200  # bounded memory
        truth = warp(Raster(pixels, np.ones(source.shape, bool), source), target)
        np.testing.assert_array_equal(truth.valid, np.isfinite(made))


# Files


@pytest.fixture
def chip() -> Raster:
    pixels = np.random.default_rng(5).random((300, 200), dtype=np.float32)
    valid = np.random.default_rng(6).random((300, 200)) > 0.1
    return Raster(pixels, valid, grid(300, 200))


def test_a_geotiff_keeps_values_place_and_validity(chip: Raster, tmp_path: Path) -> None:
    write(chip, tmp_path / "new" / "chip.tif")
    with rasterio.open(tmp_path / "new" / "chip.tif") as file:
        assert ("float32", "COG") == (file.dtypes[0], file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"])
        assert chip.geobox == GeoBox.from_rio(file)
        assert np.isnan(file.nodata)
        np.testing.assert_array_equal(np.where(chip.valid, chip.pixels, np.nan), file.read(1))


@pytest.mark.parametrize(("suffix", "world"), [(".png", ".pgw"), (".jpg", ".jgw")])
def test_a_picture_says_where_it_is(suffix: str, world: str, chip: Raster, tmp_path: Path) -> None:
    write(chip, tmp_path / f"chip{suffix}", limits=(0.0, 1.0))
    assert [f"chip{world}", f"chip{suffix}", f"chip{suffix}.aux.xml"] == sorted(f.name for f in tmp_path.iterdir())
    assert 300_005.0 == float((tmp_path / f"chip{world}").read_text().split()[4])
    with rasterio.open(tmp_path / f"chip{suffix}") as file:
        assert chip.geobox == GeoBox.from_rio(file)
        assert 0 == file.nodata
        if suffix == ".png":
            np.testing.assert_array_equal(np.where(chip.valid, np.rint(1 + 254 * chip.pixels), 0), file.read(1))


def test_a_chip_without_georeference_or_valid_pixels_is_a_file_all_the_same(tmp_path: Path) -> None:
    nothing = Raster(np.zeros((20, 30), np.float16), np.zeros((20, 30), bool), nowhere(20, 30))
    for suffix in (".tif", ".png", ".jpg"):
        write(nothing, tmp_path / f"a{suffix}")
        assert (20, 30) == read(read_scene(tmp_path / f"a{suffix}"), "1").pixels.shape


def test_a_suffix_without_a_format_is_refused(chip: Raster, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"its suffix '\.gif' is none of \.tif"):
        write(chip, tmp_path / "chip.gif")


def test_a_folder_that_cannot_be_made_is_named(chip: Raster, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "chip.png"
    with pytest.raises(OutputError, match=re.escape(f"{path} could not be written")):
        write(chip, path)


@pytest.mark.unix("sets no limit on the size of a file")
@pytest.mark.parametrize("name", ["chip.tif", "chip.png", "chip.jpg"])
def test_a_full_disk_leaves_the_old_file_whole(name: str, chip: Raster, tmp_path: Path) -> None:
    """GDAL itself reports success for a GeoTIFF whose last bytes found no room."""
    write(chip, tmp_path / name)
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    size = len(before[name]) - 1000
    script = f"""
import resource, signal, numpy as np
from pathlib import Path
from affine import Affine
from odc.geo.geobox import GeoBox
from sentinel_match.errors import OutputError
from sentinel_match.raster.raster import Raster, write
place = GeoBox((300, 200), Affine(1, 0, 0, 0, -1, 0), None)
pixels = np.random.default_rng(5).random((300, 200), dtype=np.float32)
valid = np.random.default_rng(6).random((300, 200)) > 0.1
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))
try:
    place = GeoBox((300, 200), Affine(1, 0, 0, 0, -1, 0), None)
    write(Raster(pixels, valid, place), Path({str(tmp_path / name)!r}))
except OutputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "could not be written" in done.stdout
    assert before == {f.name: f.read_bytes() for f in tmp_path.iterdir()}


# Real products


def test_a_real_product_reads_at_any_resolution(shared: Path) -> None:
    one = read_scene(next((shared / "safe_pair_T33UUU_B04").glob("*.zip")))
    full, half = (read(one, resolution=r, window=Window(2000 * 10 // r, 100, 40, 50)) for r in (10, 20))
    assert full.geobox is not None
    assert half.geobox is not None
    assert (336_440, 5_846_490, 337_440, 5_846_500) == (*full.geobox.affine[2:6:3], *half.geobox.affine[2:6:3])
    coarse = read(one, resolution=20, window=Window(1001, 50, 18, 25))
    np.testing.assert_allclose(full.pixels[1:37].reshape(18, 2, 25, 2).mean((1, 3)), coarse.pixels, rtol=1e-5)
