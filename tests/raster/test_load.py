"""What a matcher sees of a scene: normalised once, masked with reasons, kept by recipe."""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from PIL import Image

from sentinel_match import memory
from sentinel_match.cache import Cache
from sentinel_match.errors import BadMask, DamagedImage, OutputError, TooLarge
from sentinel_match.products.catalogue import read_scene
from sentinel_match.products.scene import Asset, Band, Mask, Scene
from sentinel_match.products.tiling import tile_geobox
from sentinel_match.raster.flags import Reason
from sentinel_match.raster.landcover import Class, ClassMap
from sentinel_match.raster.load import load
from sentinel_match.raster.masks import Masking
from sentinel_match.raster.raster import read
from sentinel_match.testing import Landscape, swath_part, write_product

SIDE = 720


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A cloudy L2A product with a swath edge, 7.2 km wide."""
    grid = tile_geobox("T33UUU")[:SIDE, :SIDE]
    folder = tmp_path_factory.mktemp("product")
    return read_scene(
        write_product(
            folder, Landscape(seed=3), date="2023-05-14", level="L2A", pixels=SIDE, sky=0.3, swath=swath_part(grid, 0.8)
        )
    )


def plain(path: Path, values: np.ndarray, metres: float = 10.0, level: str = "L1C") -> Scene:
    """A scene without masks, reflectance times 10,000."""
    rows, cols = values.shape
    grid = GeoBox((rows, cols), Affine(metres, 0, 300_000, 0, -metres, 5_900_040), "EPSG:32633")
    with rasterio.open(path, "w", width=cols, height=rows, count=1, dtype="uint16", crs="EPSG:32633",
                       transform=grid.affine) as file:  # fmt: skip
        file.write(np.rint(values * 10_000).astype(np.uint16), 1)
    band = Band("B04", metres, Asset(path), grid, quantification=10_000.0)
    return Scene("S2", path, level, None, "none", (band,), geobox=grid)


def test_pixels_are_reflectance_between_the_limits(product: Scene) -> None:
    seen, raw = load(product), read(product)
    low, high = seen.limits
    assert np.float16 == seen.raster.pixels.dtype
    assert product.band("B04").geobox == seen.raster.geobox
    expected = np.where(raw.valid, np.clip((raw.pixels - low) / (high - low), 0, 1), 0)
    np.testing.assert_allclose(expected, seen.raster.pixels, atol=5e-4)  # the step of float16 below 1
    np.testing.assert_array_equal(seen.reasons == Reason.VALID, seen.raster.valid)
    nodata = seen.reasons == Reason.NODATA
    assert nodata[~raw.valid].all()
    assert nodata[raw.valid].mean() < 0.001  # the edge of SCL, whose pixels are 20 m


def test_limits_are_percentiles_of_the_clear_pixels(product: Scene) -> None:
    seen, raw = load(product), read(product)
    clear = raw.pixels[seen.raster.valid]
    assert np.percentile(clear, (0.5, 99.5)) == pytest.approx(seen.limits, abs=0.002)
    assert seen.limits[1] < np.percentile(raw.pixels[raw.valid], 99.5) - 0.2  # that is cloud


def test_limits_may_be_given(product: Scene) -> None:
    seen = load(product, limits=(0.0, 1.0))
    raw = read(product)
    assert (0.0, 1.0) == seen.limits
    np.testing.assert_allclose(np.clip(raw.pixels, 0, 1), seen.raster.pixels, atol=5e-4)


def test_shares_of_what_was_removed_add_up(product: Scene) -> None:
    seen = load(product)
    assert {"cloud", "shadow", "cirrus"} <= seen.removed.keys()
    kept = seen.raster.valid.sum() / (seen.reasons != Reason.NODATA).sum()
    assert 1 == pytest.approx(sum(seen.removed.values()) + kept)
    assert (seen.reasons == Reason.NODATA).mean() == pytest.approx(seen.nodata)
    assert 0.15 < seen.nodata < 0.25
    assert ("SCL", ()) == (seen.clouds, seen.notes)


@pytest.mark.parametrize("resolution", [20, 60, 35])
def test_other_resolutions_are_what_read_gives(resolution: float, product: Scene) -> None:
    seen, raw = load(product, resolution=resolution), read(product, resolution=resolution)
    assert raw.geobox == seen.raster.geobox
    low, high = seen.limits
    expected = np.where(raw.valid, np.clip((raw.pixels - low) / (high - low), 0, 1), 0)
    np.testing.assert_allclose(expected, seen.raster.pixels, atol=5e-4)
    assert seen.removed["cloud"] > 0.1


def test_the_image_may_be_taller_than_one_strip(tmp_path: Path) -> None:
    values = np.random.default_rng(0).uniform(0.05, 0.15, (2500, 60))
    seen = load(plain(tmp_path / "a.tif", values), limits=(0.0, 0.2))
    np.testing.assert_allclose(values / 0.2, seen.raster.pixels, atol=8e-4)


def test_clouds_are_found_by_brightness_where_no_mask_is(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    values = np.repeat(np.repeat(random.normal(0.1, 0.015, (70, 61)), 9, 0), 9, 1)[:601, :541]
    values[200:300, 100:250] = 0.5
    one = plain(tmp_path / "a.tif", values)
    seen = load(one, masking=Masking(dilate=100))
    assert ("brightness", ("no cloud mask", "bright areas are taken for cloud")) == (seen.clouds, seen.notes)
    cloud = seen.reasons == Reason.BRIGHT
    assert cloud[200:300, 100:250].all()
    assert cloud[195, 175]
    assert not cloud[:180].any()
    assert cloud.mean() == pytest.approx(seen.removed["bright"])
    for masking in (Masking(brightness=False), Masking(frozenset({Reason.BRIGHT}))):
        assert ("", {}) == (load(one, masking=masking).clouds, load(one, masking=masking).removed)


def test_a_snowy_scene_is_not_taken_for_cloud(tmp_path: Path) -> None:
    seen = load(plain(tmp_path / "a.tif", np.random.default_rng(2).uniform(0.3, 0.8, (300, 300))))
    assert ("", {}) == (seen.clouds, seen.removed)
    assert "most of it is bright: snow or cloud, so nothing is masked for that" == seen.notes[1]


def test_a_damaged_mask_is_a_note_not_the_end(product: Scene, tmp_path: Path) -> None:
    (tmp_path / "SCL.jp2").write_bytes(b"nothing")
    broken = Mask("SCL", Asset(tmp_path / "SCL.jp2"), product.geobox)
    seen = load(replace(product, masks=(broken,)))
    assert "brightness" == seen.clouds
    assert seen.notes[0].startswith("without the mask SCL.jp2: ")


def test_a_scene_without_any_data_is_all_invalid(tmp_path: Path) -> None:
    seen = load(plain(tmp_path / "a.tif", np.zeros((300, 200))))
    assert ((0.0, 0.0), 1.0, {}) == (seen.limits, seen.nodata, seen.removed)
    assert not seen.raster.valid.any()
    assert not seen.raster.pixels.any()


def test_an_even_scene_is_no_division_by_zero(tmp_path: Path) -> None:
    seen = load(plain(tmp_path / "a.tif", np.full((300, 200), 0.1)))
    assert seen.raster.valid.all()
    assert not seen.raster.pixels.any()


def test_an_image_without_georeference_is_loaded_too(tmp_path: Path) -> None:
    colours = np.random.default_rng(3).integers(40, 90, (300, 200, 3)).astype(np.uint8)
    colours[50:100, 50:100] = 250
    Image.fromarray(colours).save(tmp_path / "T36UYA_20190611T083609_TCI.png")
    seen = load(read_scene(tmp_path / "T36UYA_20190611T083609_TCI.png"), "TCI")
    assert None is seen.raster.geobox.crs
    assert "brightness" == seen.clouds
    assert (seen.reasons[50:100, 50:100] == Reason.BRIGHT).all()


# Classes


def test_classes_are_those_of_the_product_on_the_grid_of_the_pixels(product: Scene) -> None:
    for resolution in (10, 20, 60, 35):
        seen = load(product, resolution=resolution)
        assert ("SCL", seen.raster.valid.shape, np.uint8) == (seen.classes_from, seen.classes.shape, seen.classes.dtype)
        assert np.isin(seen.reasons[seen.classes == Class.CLOUD], (Reason.CLOUD, Reason.NODATA)).mean() > 0.99
        assert 0.3 < (seen.classes == Class.VEGETATION).mean()


def test_without_any_class_all_is_unknown(tmp_path: Path) -> None:
    seen = load(plain(tmp_path / "a.tif", np.full((300, 200), 0.1)))
    assert ("", False) == (seen.classes_from, bool(seen.classes.any()))


def cover(path: Path, codes: np.ndarray) -> Path:
    """A map of 20 m pixels where :func:`plain` has 10 m."""
    rows, cols = codes.shape
    with rasterio.open(path, "w", width=cols, height=rows, count=1, dtype="uint8", crs="EPSG:32633",
                       transform=Affine(20, 0, 300_000, 0, -20, 5_900_040)) as file:  # fmt: skip
        file.write(codes.astype(np.uint8), 1)
    return path


def test_cloud_in_a_users_map_is_masked_like_the_products_own(tmp_path: Path) -> None:
    codes = np.full((150, 100), 4)
    codes[50:80, 40:60], codes[120:], codes[:3, :3] = 9, 5, 1
    path = cover(tmp_path / "scl.tif", codes)
    one = plain(tmp_path / "a.tif", np.random.default_rng(0).uniform(0.05, 0.15, (300, 200)))
    seen = load(one, classes=ClassMap(path), masking=Masking(dilate=40))
    assert ("scl.tif", "classes", ()) == (seen.classes_from, seen.clouds, seen.notes)
    assert {"cloud", "defective"} == seen.removed.keys()
    assert [Reason.CLOUD, Reason.CLOUD, Reason.VALID] == seen.reasons[[130, 97, 93], 100].tolist()
    assert Class.CLOUD == seen.classes[130, 100]
    assert Class.VEGETATION == seen.classes[97, 100]  # which the mask's margin is on
    opened = load(one, classes=ClassMap(path, gate=False))
    assert opened.raster.valid.all()
    np.testing.assert_array_equal(seen.classes, opened.classes)
    kept = load(one, classes=ClassMap(path), masking=Masking(keep=frozenset({Reason.CLOUD, Reason.DEFECTIVE})))
    assert kept.raster.valid.all()


def test_another_map_or_input_is_another_recipe(tmp_path: Path) -> None:
    one = plain(tmp_path / "a.tif", np.random.default_rng(0).uniform(0.05, 0.15, (120, 100)))
    maps = [ClassMap(cover(tmp_path / f"{k}.tif", np.full((60, 50), k)), "scl") for k in (4, 5)]
    loaded = [load(one), load(one, "B04-gradient"), *(load(one, classes=m) for m in maps)]
    assert 4 == len({json.dumps(seen.recipe, sort_keys=True) for seen in loaded})


def test_a_computed_input_is_normalised_between_its_own_percentiles(product: Scene) -> None:
    seen, raw = (get(product, "B04-gradient", resolution=20) for get in (load, read))
    low, high = seen.limits
    expected = np.where(raw.valid, np.clip((raw.pixels - low) / (high - low), 0, 1), 0)
    np.testing.assert_allclose(expected, seen.raster.pixels, atol=5e-4)
    assert np.percentile(raw.pixels[seen.raster.valid], (0.5, 99.5)) == pytest.approx(seen.limits, rel=0.05)


# Keeping


def test_without_a_cache_the_files_go_with_the_value(product: Scene) -> None:
    seen = load(product, resolution=60)
    folder = Path(seen.raster.pixels.filename).parent  # type: ignore[union-attr]
    assert ["classes.npy", "facts.json", "pixels.npy", "reasons.npy", "valid.npy"] == sorted(
        f.name for f in folder.iterdir()
    )
    del seen
    gc.collect()
    assert not folder.exists()


def test_a_cached_scene_is_made_once(product: Scene, tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    first = load(product, cache=cache)
    made = {f: f.stat().st_mtime_ns for f in tmp_path.rglob("*.npy")}
    again = load(product, cache=cache)
    assert made == {f: f.stat().st_mtime_ns for f in tmp_path.rglob("*.npy")}
    assert 4 == len(made)
    np.testing.assert_array_equal(first.raster.pixels, again.raster.pixels)
    for name in ("limits", "removed", "nodata", "clouds", "classes_from", "notes", "recipe"):
        assert getattr(first, name) == getattr(again, name)


@pytest.mark.parametrize("name", ["pixels.npy", "valid.npy", "reasons.npy", "classes.npy", "facts.json", "recipe.json"])
def test_a_cached_scene_that_is_damaged_is_made_again(product: Scene, tmp_path: Path, name: str) -> None:
    cache = Cache(tmp_path)
    whole = np.array(load(product, cache=cache, resolution=60).raster.pixels)
    (file,) = tmp_path.rglob(name)
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    again = load(product, cache=cache, resolution=60)
    np.testing.assert_array_equal(whole, again.raster.pixels)
    assert again.raster.valid.any()


def test_a_scene_larger_than_what_is_free_is_refused_before_it_is_read(
    product: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6, 1000))
    for cache, remedy in ((None, "TMPDIR"), (Cache(tmp_path), "--cache")):
        with pytest.raises(OutputError, match=remedy):
            load(product, cache=cache)
    with pytest.raises(OutputError, match="--cache-limit"):
        load(product, cache=Cache(tmp_path, limit=1000))


def test_whatever_changes_the_result_changes_the_recipe(product: Scene, tmp_path: Path) -> None:
    (tmp_path / "mask.geojson").write_text(json.dumps({
        "type": "FeatureCollection",
        "features": [{"type": "Feature", "properties": {}, "geometry": {
            "type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}}],
    }))  # fmt: skip
    band = product.band("B04")
    offset = replace(product, bands=(replace(band, offset=0.0),))
    edited = tmp_path / "B04.jp2"
    edited.write_bytes(band.asset.path.read_bytes() + b"\0")
    changed = replace(product, bands=(replace(band, asset=Asset(edited)),))
    recipes = [
        json.dumps(load(one, resolution=60, **options).recipe, sort_keys=True)
        for one, options in (
            (product, {}),
            (product, {"limits": (0.0, 1.0)}),
            (product, {"masking": Masking(dilate=61)}),
            (product, {"masking": Masking(user=tmp_path / "mask.geojson")}),
            (replace(product, masks=product.masks[:1]), {}),
            (offset, {}),
            (changed, {}),
        )
    ]
    assert len(recipes) == len(set(recipes))
    assert recipes[0] == json.dumps(load(product, resolution=60).recipe, sort_keys=True)


def test_a_damaged_band_leaves_nothing_behind(product: Scene, tmp_path: Path) -> None:
    band = product.band("B04")
    cut = tmp_path / "B04.jp2"
    cut.write_bytes(band.asset.path.read_bytes()[:100_000])
    with pytest.raises(DamagedImage, match=r"B04\.jp2 is damaged"):
        load(replace(product, bands=(replace(band, asset=Asset(cut)),)), cache=Cache(tmp_path / "cache"))
    assert [] == list((tmp_path / "cache").rglob("*.npy"))


def test_a_mask_that_is_not_there_is_told_first(product: Scene, tmp_path: Path) -> None:
    with pytest.raises(BadMask, match="absent"):
        load(product, masking=Masking(user=tmp_path / "absent"))


@pytest.mark.unix("sets no limit on the size of a file")
def test_a_full_disk_is_one_sentence_and_leaves_nothing(product: Scene, tmp_path: Path) -> None:
    script = f"""
import resource, signal
from pathlib import Path
from sentinel_match.errors import OutputError
from sentinel_match.raster.load import load
from sentinel_match.products.catalogue import read_scene
scene = read_scene(Path({str(product.path)!r}))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    load(scene)
except OutputError as error:
    print(error)
"""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert "could not be written: File too large; free some space or set TMPDIR." in done.stdout
    assert [] == list(tmp_path.iterdir())


def test_an_image_that_does_not_fit_into_memory_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=10_000))
    monkeypatch.setattr(memory.psutil, "swap_memory", lambda: SimpleNamespace(free=0))
    product = plain(tmp_path / "B04.tif", np.ones((60, 80)))
    for cache in (None, Cache(tmp_path / "cache")):
        with pytest.raises(TooLarge, match=r"has 60 x 80 pixels, which do not fit into the memory of this machine \("):
            load(product, cache=cache)
