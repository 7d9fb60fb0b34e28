"""What a name stands for: bands, indices, components, gradients, and what is missing for them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from sentinel_match.errors import MissingBand
from sentinel_match.matching.nodes import grid
from sentinel_match.matching.subpixel import Refinement, measure
from sentinel_match.products.catalogue import read_scene
from sentinel_match.products.scene import Asset, Band, Scene
from sentinel_match.raster.bands import available, band_names, source_of
from sentinel_match.raster.jp2 import Window
from sentinel_match.raster.load import load
from sentinel_match.raster.masks import Masking
from sentinel_match.raster.raster import read

ORIGIN = (300_000, 5_900_040)


def place(shape: tuple[int, int], metres: float) -> GeoBox:
    return GeoBox(shape, Affine(metres, 0, ORIGIN[0], 0, -metres, ORIGIN[1]), "EPSG:32633")


def product(folder: Path, offset: float = 0.0, **reflectance: tuple[NDArray[np.float64], float]) -> Scene:
    """A scene of bands given as (reflectance, metres); NaN is no-data."""
    folder.mkdir(exist_ok=True)
    bands = []
    for name, (values, metres) in reflectance.items():
        geobox = place(values.shape, metres)
        numbers = np.nan_to_num(np.rint(values * 10_000 - offset), nan=0).astype(np.uint16)
        with rasterio.open(folder / f"{name}.tif", "w", width=values.shape[1], height=values.shape[0], count=1,
                           dtype="uint16", crs="EPSG:32633", transform=geobox.affine) as file:  # fmt: skip
            file.write(numbers, 1)
        bands.append(Band(name, metres, Asset(folder / f"{name}.tif"), geobox, offset, 10_000.0))
    return Scene("S2", folder, "L2A", None, "none", tuple(bands), geobox=bands[0].geobox)


def values(seed: int, shape: tuple[int, int] = (60, 48)) -> NDArray[np.float64]:
    return np.random.default_rng(seed).uniform(0.02, 0.6, shape)


def several(path: Path, cube: NDArray[np.uint16], descriptions: tuple[str, ...] = ()) -> Scene:
    count, rows, cols = cube.shape
    with rasterio.open(path, "w", width=cols, height=rows, count=count, dtype="uint16", crs="EPSG:32633",
                       transform=place((rows, cols), 10).affine) as file:  # fmt: skip
        file.write(cube)
        for i, text in enumerate(descriptions):
            file.set_band_description(i + 1, text)
    return read_scene(path)


# Indices


@pytest.mark.parametrize(("name", "first", "second"), [("NDVI", "B08", "B04"), ("NDWI", "B03", "B08")])
def test_an_index_is_of_reflectance_not_of_numbers(name: str, first: str, second: str, tmp_path: Path) -> None:
    a, b = values(1), values(2)
    for offset in (0.0, -1000.0):
        one = product(tmp_path / str(offset), offset, **{first: (a, 10), second: (b, 10)})
        np.testing.assert_allclose((a - b) / (a + b), read(one, name).pixels, atol=3e-3)


def test_bands_of_different_resolution_meet_on_the_coarser_grid(tmp_path: Path) -> None:
    green, swir = values(1), values(2, (30, 24))
    one = product(tmp_path, B03=(green, 10), B11=(swir, 20))
    mean = green.reshape(30, 2, 24, 2).mean((1, 3))
    found = read(one, "NDSI")
    assert place((30, 24), 20) == found.geobox
    np.testing.assert_allclose((mean - swir) / (mean + swir), found.pixels, atol=2e-3)


def test_an_index_at_a_coarser_resolution_is_of_the_mean_reflectance(tmp_path: Path) -> None:
    nir, red = values(1), values(2)
    found = read(product(tmp_path, B08=(nir, 10), B04=(red, 10)), "NDVI", resolution=60)
    a, b = (v.reshape(10, 6, 8, 6).mean((1, 3)) for v in (nir, red))
    np.testing.assert_allclose((a - b) / (a + b), found.pixels, atol=1e-3)


def test_where_a_part_is_unknown_or_the_sum_is_not_positive_an_index_is_undefined(tmp_path: Path) -> None:
    nir, red = values(1), values(2)
    nir[3, 4], red[10, 11] = np.nan, np.nan
    nir[20, 20], red[20, 20] = -0.05, 0.01
    nir[30, 30], red[30, 30] = -0.01, 0.02
    found = read(product(tmp_path, -1000.0, B08=(nir, 10), B04=(red, 10)), "NDVI")
    expected = np.ones((60, 48), bool)
    expected[[3, 10, 20], [4, 11, 20]] = False
    np.testing.assert_array_equal(expected, found.valid)
    assert -1 == found.pixels[30, 30]


# Gradients


def test_a_gradient_is_blind_to_inverted_contrast(tmp_path: Path) -> None:
    ramp = np.add.outer(0.004 * np.arange(60), 0.003 * np.arange(48)) + 0.05
    up, down = (read(product(tmp_path / n, B04=(v, 10)), "B04-gradient") for n, v in (("a", ramp), ("b", 0.6 - ramp)))
    np.testing.assert_allclose(0.005, up.pixels[1:-1, 1:-1], atol=1e-4)
    np.testing.assert_allclose(up.pixels, down.pixels, atol=1e-4)


def test_a_gradient_is_unknown_where_a_neighbour_is(tmp_path: Path) -> None:
    red = values(1)
    red[20, 20] = np.nan
    found = read(product(tmp_path, B04=(red, 10)), "B04-gradient")
    expected = np.zeros((60, 48), bool)
    expected[1:-1, 1:-1] = True
    expected[19:22, 19:22] = False
    np.testing.assert_array_equal(expected, found.valid)


@pytest.mark.parametrize("name", ["NDVI", "B04-gradient", "NDVI-gradient", "NDSI-gradient", "PCA", "PCA-gradient"])
def test_a_window_is_a_part_of_the_whole(name: str, tmp_path: Path) -> None:
    one = product(
        tmp_path, B04=(values(1), 10), B08=(values(2), 10), B03=(values(3), 10), B11=(values(4, (30, 24)), 20)
    )
    everything, part = read(one, name), read(one, name, window=Window(5, 3, 21, 18))
    np.testing.assert_allclose(everything.pixels[5:26, 3:21], part.pixels, atol=1e-6)
    np.testing.assert_array_equal(everything.valid[5:26, 3:21], part.valid)
    over = source_of(one, name).read(Window(-4, 6, 12, 9))
    assert np.isnan(over[:4]).all()
    np.testing.assert_allclose(everything.pixels[2:8, 6:15], over[6:], atol=1e-6)


# Components


def test_the_first_component_is_what_varies_most_and_bright_is_bright(tmp_path: Path) -> None:
    common, weights = np.random.default_rng(0).normal(size=(60, 48)), (0.01, 0.02, -0.01, 0.05)
    noise = np.random.default_rng(1).normal(size=(4, 60, 48)) * 1e-4
    names = ("B02", "B03", "B04", "B08")
    one = product(tmp_path, **{n: (0.3 + w * common + e, 10) for n, w, e in zip(names, weights, noise, strict=True)})
    found = read(one, "PCA").pixels
    assert 0.999 < np.corrcoef(found.ravel(), common.ravel())[0, 1]
    assert np.linalg.norm(weights) == pytest.approx(found.std() / common.std(), rel=0.01)


def test_an_empty_scene_has_a_component_too(tmp_path: Path) -> None:
    nothing = np.full((60, 48), np.nan)
    assert not read(product(tmp_path, B04=(nothing, 10), B08=(nothing, 10)), "PCA").valid.any()


# Names


def test_names_are_tidied_and_each_comes_once() -> None:
    assert ("B04", "B08", "NDVI-gradient") == band_names("b04, B08,,ndvi-Gradient,B04")
    with pytest.raises(ValueError, match="names no band"):
        band_names(" , ")


def test_available_names_can_all_be_read(tmp_path: Path) -> None:
    one = product(tmp_path, B04=(values(1), 10), B08=(values(2), 10), B11=(values(4, (30, 24)), 20))
    assert ("B04", "B08", "B11", "NDVI", "PCA") == available(one)
    for name in available(one):
        assert read(one, name).valid.all()
        assert read(one, f"{name}-gradient").valid[1:-1, 1:-1].all()
    assert ("B04",) == available(product(tmp_path / "red", B04=(values(1), 10)))


@pytest.mark.parametrize(
    ("name", "missing"),
    [("NDVI", "B08 for NDVI"), ("NDSI-gradient", "B03 for NDSI"), ("PCA", "besides the one for PCA"), ("B05", "B05")],
)
def test_what_is_missing_is_named_with_what_is_there(name: str, missing: str, tmp_path: Path) -> None:
    one = product(tmp_path, B04=(values(1), 10))
    with pytest.raises(MissingBand, match=rf"has no band {missing} \(it has B04\)"):
        source_of(one, name)


def test_bands_may_be_named_by_their_description_and_by_their_number(tmp_path: Path) -> None:
    cube = np.random.default_rng(0).integers(1, 5000, (4, 60, 48)).astype(np.uint16)
    one = several(tmp_path / "a.tif", cube, ("B4, central wavelength 665 nm", "b8", "something", "B8A"))
    assert ["B04", "B08", "3", "B8A"] == [band.name for band in one.bands]
    for name, k in (("B04", 0), ("1", 0), ("B08", 1), ("2", 1), ("3", 2), ("b8a", 3)):
        np.testing.assert_array_equal(cube[k], read(one, name).pixels)
    red, nir = cube[:2].astype(float)
    np.testing.assert_allclose((nir - red) / (nir + red), read(one, "NDVI").pixels, atol=1e-6)
    np.testing.assert_allclose(cube[:3].mean(0), read(one, "RGB").pixels, rtol=1e-6)


def test_a_description_that_comes_twice_names_nothing(tmp_path: Path) -> None:
    cube = np.ones((3, 20, 20), np.uint16)
    assert ["1", "2", "B03"] == [b.name for b in several(tmp_path / "a.tif", cube, ("B4", "B04", "B3")).bands]


def test_an_index_in_the_file_goes_before_a_computed_one(tmp_path: Path) -> None:
    cube = np.random.default_rng(0).integers(1, 5000, (3, 20, 20)).astype(np.uint16)
    one = several(tmp_path / "a.tif", cube, ("B04", "B08", "NDVI"))
    assert ("B04", "B08", "NDVI", "PCA") == available(one)
    np.testing.assert_array_equal(cube[2], read(one, "NDVI").pixels)


# In use


def test_edges_that_only_the_near_infrared_sees(tmp_path: Path) -> None:
    """Row 1.12: fields that differ in B08 alone; red is noise of its own on every date."""
    fields = np.random.default_rng(0).uniform(0.2, 0.5, (28, 28)).repeat(8, 0).repeat(8, 1)
    scenes = []
    for date in (1, 2):
        noise = np.random.default_rng(date).normal(size=(2, 224, 224))
        scenes.append(
            product(tmp_path / str(date), B04=(0.08 + 0.01 * noise[0], 10), B08=(fields + 0.01 * noise[1], 10))
        )
    share = {}
    for name in ("B04", "B08", "NDVI", "PCA", "B08-gradient"):
        a, b = (load(one, name, masking=Masking(brightness=False)).raster for one in scenes)
        found = measure(a, b, at := grid(a.valid & b.valid, 60), at, Refinement(radius=8))
        share[name] = (found.ok & (np.hypot(*(found.right - found.left).T) < 1)).mean()
    assert share.pop("B04") < 0.05
    assert min(share.values()) > 0.7


def test_memory_is_bounded_for_what_is_computed(tmp_path: Path) -> None:
    rows = 6_000
    product(tmp_path, B04=(values(1, (rows, 400)), 10), B08=(values(2, (rows, 400)), 10))
    script = f"""
import psutil
from affine import Affine
from odc.geo.geobox import GeoBox
from pathlib import Path
from sentinel_match import memory
from sentinel_match.raster.jp2 import Window
from sentinel_match.raster.resample import strips
from sentinel_match.products.scene import Asset, Band, Scene
from sentinel_match.raster.bands import source_of
g = GeoBox(({rows}, 400), Affine(10, 0, 300000, 0, -10, 5900040), "EPSG:32633")
bands = tuple(Band(n, 10.0, Asset(Path({str(tmp_path)!r}) / f"{{n}}.tif"), g, 0.0, 10000.0) for n in ("B04", "B08"))
source = source_of(Scene("S2", Path("."), "L2A", None, "none", bands, geobox=g), "NDVI-gradient")
source.read(Window(0, 0, 64, 400))
memory.INTERVAL_S = 0.001
before = psutil.Process().memory_info().rss
with memory.PeakMemory() as peak:
    rows = sum(len(strip) for _, strip in strips(source.read, source.grid, source.target(None)))
print(rows, peak.bytes - before)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    read_rows, held = map(int, done.stdout.split())
    assert rows == read_rows
    assert held < 25_000_000  # the whole of it at once takes 50 MB
