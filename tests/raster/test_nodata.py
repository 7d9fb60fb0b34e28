"""What is no data: alpha, masks inside and beside the file, a value that a user names; scale and offset of a file."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner
from PIL import Image

from sentinel_match.cli import main
from sentinel_match.options import Options
from sentinel_match.products.catalogue import read_scene
from sentinel_match.raster import raster
from sentinel_match.raster.bands import available, is_reflectance, source_of
from sentinel_match.raster.load import load
from sentinel_match.stack.plan import Preparation

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SIDE = 120
RNG = np.random.default_rng(3)
GROUND = RNG.integers(300, 2000, (SIDE, SIDE)).astype(np.uint16)
INSIDE = np.zeros((SIDE, SIDE), bool)
INSIDE[20:90, 30:110] = True


def image(path: Path, bands: list[NDArray[np.generic]], **facts: object) -> Path:
    place = {"crs": "EPSG:32633", "transform": Affine(10, 0, 500_000, 0, -10, 5_000_000)}
    mask, beside = facts.pop("mask", None), facts.pop("beside", False)
    scale, offset = facts.pop("scale", 1.0), facts.pop("offset", 0.0)
    names, unit = facts.pop("names", None), facts.pop("unit", "")
    with ExitStack() as stack:
        stack.enter_context(rasterio.Env(GDAL_TIFF_INTERNAL_MASK=not beside))
        kind = {"driver": "GTiff", "width": SIDE, "height": SIDE, "count": len(bands), "dtype": bands[0].dtype}
        file = stack.enter_context(rasterio.open(path, "w", **kind, **place, **facts))
        file.write(np.stack(bands))
        file.scales, file.offsets = (scale,) * len(bands), (offset,) * len(bands)
        if names:
            file.descriptions = names
        if unit:
            file.units = (unit,) * len(bands)
        if mask is not None:
            file.write_mask(mask)
    return path


def framed(value: int, dtype: str = "uint16") -> NDArray[np.generic]:
    return np.where(INSIDE, GROUND if dtype == "uint16" else GROUND // 8, value).astype(dtype)


def visible(collar: int) -> list[NDArray[np.generic]]:
    return [framed(collar, "uint8")] * 3


@pytest.mark.parametrize("collar", [0, 255])
@pytest.mark.parametrize("opaque", [255, 1])
def test_what_is_transparent_is_no_data_and_alpha_is_no_band(collar: int, opaque: int, tmp_path: Path) -> None:
    alpha = np.where(INSIDE, opaque, 0).astype(np.uint8)
    scene = read_scene(image(tmp_path / "a.tif", [*visible(collar), alpha], photometric="RGB", alpha="YES"))
    assert ["1", "2", "3"] == [band.name for band in scene.bands]
    assert ("1", "2", "3", "PCA") == available(scene)
    for name in ("1", "3", "RGB", "PCA"):
        assert np.array_equal(INSIDE, raster.read(scene, name).valid)
    assert np.array_equal(INSIDE, load(scene, "1").raster.valid)


def test_grey_with_alpha_is_one_band(tmp_path: Path) -> None:
    alpha = np.where(INSIDE, 255, 0).astype(np.uint8)
    pixels = np.dstack([framed(0, "uint8"), alpha])
    Image.fromarray(pixels, "LA").save(tmp_path / "grey.png")
    scene = read_scene(tmp_path / "grey.png")
    assert ["1"] == [band.name for band in scene.bands]
    assert np.array_equal(INSIDE, raster.read(scene, "1").valid)


@pytest.mark.parametrize("beside", [False, True])
def test_a_mask_inside_the_file_or_beside_it_says_what_is_data(beside: bool, tmp_path: Path) -> None:
    scene = read_scene(image(tmp_path / "m.tif", [framed(7), framed(9)], mask=INSIDE, beside=beside))
    assert beside == (tmp_path / "m.tif.msk").exists()
    for name in ("1", "2"):
        assert np.array_equal(INSIDE, raster.read(scene, name).valid)


def test_a_mask_beside_the_file_is_part_of_the_recipe(tmp_path: Path) -> None:
    path = image(tmp_path / "m.tif", [GROUND], mask=INSIDE, beside=True)
    before = load(read_scene(path), "1").recipe
    image(tmp_path / "m.tif", [GROUND], mask=~INSIDE, beside=True)
    assert before != load(read_scene(path), "1").recipe


def test_without_masks_of_its_own_an_image_has_the_recipe_it_always_had(tmp_path: Path) -> None:
    recipe = load(read_scene(image(tmp_path / "a.tif", [GROUND], nodata=0)), "1").recipe
    assert [6] == [len(band) for band in recipe["bands"]]  # type: ignore[attr-defined]


def test_a_user_may_name_what_is_no_data_besides_what_the_file_declares(tmp_path: Path) -> None:
    pixels = framed(0)
    pixels[50, 60] = 9999
    scene = read_scene(image(tmp_path / "a.tif", [pixels], nodata=9999)).with_nodata(0)
    valid = INSIDE.copy()
    valid[50, 60] = False
    assert np.array_equal(valid, raster.read(scene, "1").valid)
    assert scene == scene.with_nodata(None)


@pytest.mark.parametrize(
    ("value", "dtype", "said"), [(0, "uint16", "0"), (255, "uint8", "255"), (65535, "uint16", "65535")]
)
def test_one_value_around_an_image_is_told_with_the_option_that_mends_it(
    value: int, dtype: str, said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scene = read_scene(image(tmp_path / "a.tif", [framed(value, dtype)]))
    with caplog.at_level(logging.WARNING):
        prepared = load(scene, "1")
    assert f"--nodata {said} " in caplog.text
    assert any(f"{said} fills the border" in note for note in prepared.notes)
    assert not any("fills" in note for note in load(scene.with_nodata(value), "1").notes)


def test_the_value_is_that_of_the_file_whatever_its_scale(tmp_path: Path) -> None:
    scene = read_scene(image(tmp_path / "a.tif", [framed(0)], scale=1e-4, offset=-0.1))
    assert any("--nodata 0 " in note for note in load(scene, "1").notes)


def test_a_thin_frame_is_told_and_ground_up_to_the_edge_is_not(tmp_path: Path) -> None:
    thin = GROUND.copy()
    thin[0], thin[-1], thin[:, 0], thin[:, -1] = 0, 0, 0, 0
    dull = (GROUND // 100).astype(np.uint8)  # of 17 values
    for name, pixels, is_told in (("thin", thin, True), ("full", GROUND, False), ("dull", dull, False)):
        notes = load(read_scene(image(tmp_path / f"{name}.tif", [pixels])), "1").notes
        assert is_told == any("fills the border" in note for note in notes)
    flat = load(read_scene(image(tmp_path / "flat.tif", [np.full_like(GROUND, 7)])), "1").notes
    assert not any("fills the border" in note for note in flat)


def test_the_option_is_there_wherever_pixels_are_read(tmp_path: Path) -> None:
    for command in ("match", "run", "chip", "prepare"):
        assert "--nodata" in CliRunner().invoke(main, [command, "--help"]).output
    assert (0, 0) == (Options(nodata=0).nodata, Preparation(nodata=0).nodata)
    assert Options().recipe == Options(nodata=None).recipe
    assert Options().recipe != Options(nodata=0).recipe
    with pytest.raises(TypeError, match="nodata"):
        Options(nodata="0")  # type: ignore[arg-type]
    path = image(tmp_path / "a.tif", [framed(0)])
    made = CliRunner().invoke(
        main, ["chip", str(path), "--reflectance", "--nodata", "0", "-o", str(tmp_path / "o.tif")]
    )
    assert 0 == made.exit_code
    with rasterio.open(tmp_path / "o.tif") as file:
        assert np.array_equal(INSIDE, np.isfinite(file.read(1)))


@pytest.mark.parametrize("declared", [(1, 2), (None, 2), (1, None)])
def test_each_band_has_no_data_of_its_own(declared: tuple[int | None, ...], tmp_path: Path) -> None:
    names = [image(tmp_path / f"{value}.tif", [framed(value)]).name for value in (1, 2)]
    bands = "".join(
        f'<VRTRasterBand dataType="UInt16" band="{k}">'
        + (f"<NoDataValue>{value}</NoDataValue>" if value is not None else "")
        + f'<SimpleSource><SourceFilename relativeToVRT="1">{name}</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource></VRTRasterBand>"
        for k, (name, value) in enumerate(zip(names, declared, strict=True), 1)
    )
    place = "<SRS>EPSG:32633</SRS><GeoTransform>500000, 10, 0, 5000000, 0, -10</GeoTransform>"
    text = f'<VRTDataset rasterXSize="{SIDE}" rasterYSize="{SIDE}">{place}{bands}</VRTDataset>'
    (tmp_path / "a.vrt").write_text(text)
    scene = read_scene(tmp_path / "a.vrt")
    for name, value in zip(("1", "2"), declared, strict=True):
        assert np.array_equal(INSIDE if value else INSIDE | True, raster.read(scene, name).valid)


@pytest.mark.parametrize("called", ["dataMask", "data_mask", "Alpha", "validity mask"])
def test_a_band_that_is_called_a_mask_of_data_is_one(called: str, tmp_path: Path) -> None:
    names = ("B04", "B08", called)
    scene = read_scene(image(tmp_path / "a.tif", [framed(0), framed(0), INSIDE.astype(np.uint16)], names=names))
    assert ["B04", "B08"] == [band.name for band in scene.bands]
    assert np.array_equal(INSIDE, raster.read(scene, "B08").valid)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_largest_floats_and_what_is_no_number_are_no_data_undeclared(
    dtype: str, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    for k, value in enumerate((np.finfo(dtype).min, np.finfo(dtype).max, 9.96921e36, np.nan, -np.inf)):
        pixels = np.where(INSIDE, GROUND, value).astype(dtype)
        prepared = load(read_scene(image(tmp_path / f"{k}.tif", [pixels])), "1")
        assert np.array_equal(INSIDE, prepared.raster.valid)
        assert not any("fills" in note for note in prepared.notes)
    assert not [w for w in recwarn if issubclass(w.category, RuntimeWarning)]


def test_the_value_that_is_told_can_be_named(tmp_path: Path) -> None:
    pixels = np.where(INSIDE, GROUND, -32768.123).astype(np.float32)
    scene = read_scene(image(tmp_path / "a.tif", [pixels]))
    (note,) = (note for note in load(scene, "1").notes if "fills" in note)
    value = float(note.split("--nodata ")[1].split()[0])
    assert np.array_equal(INSIDE, raster.read(scene.with_nodata(value), "1").valid)


@pytest.mark.parametrize("transparent", [False, True])
def test_of_colours_by_number_the_brightness_is_read(transparent: bool, tmp_path: Path) -> None:
    order = np.random.default_rng(5).permutation(256)
    grey = framed(0, "uint8")
    palette = {
        int(number): (int(v), int(v), int(v), 0 if transparent and v == 0 else 255) for v, number in enumerate(order)
    }
    path = image(tmp_path / "a.tif", [order[grey].astype(np.uint8)], photometric="palette")
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, palette)
        if transparent:
            file.nodata = int(order[0])
    scene = read_scene(path)
    assert "numbers of colours" in scene.notes[0]
    seen = raster.read(scene, "1")
    assert np.array_equal(grey[INSIDE], np.rint(seen.pixels[INSIDE]))
    assert np.array_equal(INSIDE, seen.valid) == transparent


# --- scale and offset ------------------------------------------------------------------------------------------------


def test_scale_and_offset_of_the_file_make_its_values(tmp_path: Path) -> None:
    path = image(tmp_path / "s.tif", [GROUND, GROUND[::-1]], scale=1e-4, offset=-0.1, names=("B04", "B08"), nodata=0)
    scene = read_scene(path)
    expected = GROUND * 1e-4 - 0.1
    assert expected == pytest.approx(raster.read(scene, "B04").pixels, abs=1e-6)
    assert is_reflectance(scene, source_of(scene, "B04"))
    assert not is_reflectance(scene, source_of(scene, "NDVI"))


@pytest.mark.parametrize(
    ("facts", "known"),
    [
        ({}, False),
        ({"names": ("B04",)}, False),
        ({"scale": 1e-4}, False),
        ({"scale": 1e-4, "names": ("B04",)}, True),
        ({"unit": "reflectance"}, True),
    ],
)
def test_only_what_is_known_to_be_reflectance_is_called_so(
    facts: dict[str, object], known: bool, tmp_path: Path
) -> None:
    path = image(tmp_path / "a.tif", [GROUND], **facts)
    name = "B04" if "names" in facts else "1"
    scene = read_scene(path)
    assert known == is_reflectance(scene, source_of(scene, name))
    made = CliRunner().invoke(main, ["chip", str(path), "--reflectance", "-o", str(tmp_path / "o.tif")])
    assert ("; reflectance" in made.output) == known


# --- real ------------------------------------------------------------------------------------------------------------


def case(shared: Path, name: str) -> Path:
    folder = shared.parent / "cases" / name
    if not folder.is_dir():
        pytest.skip(f"no case in {folder}")
    return folder


def test_real_scaled_bands_have_real_reflectance(shared: Path) -> None:
    scene = read_scene(case(shared, "scaled") / "left.tif")
    for name, median in (("B04", 0.0896), ("NDVI", 0.333)):
        image = raster.read(scene, name)
        assert median == pytest.approx(np.median(image.pixels[image.valid]), abs=5e-4)


@pytest.mark.parametrize("name", ["alpha_black", "alpha_white"])
def test_a_real_collar_told_by_alpha_is_no_data(name: str, shared: Path) -> None:
    for side in ("left", "right"):
        path = case(shared, name) / f"{side}.tif"
        scene = read_scene(path)
        with rasterio.open(path) as file:
            alpha = file.read(4) > 0
        assert 3 == len(scene.bands)
        assert np.array_equal(alpha, raster.read(scene, "1").valid)


def test_a_real_collar_that_is_not_declared_is_told(shared: Path) -> None:
    for side in ("left", "right"):
        scene = read_scene(case(shared, "zero_undeclared") / f"{side}.tif")
        assert any("--nodata 0 " in note for note in load(scene, "1").notes)
    assert not any("--nodata" in note for note in load(read_scene(case(shared, "plain") / "left.tif"), "1").notes)
