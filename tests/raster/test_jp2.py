"""Decoding: two readers that agree to the bit, any window and level, and no damaged file read as zeros."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from PIL import Image

from sentinel_match.errors import DamagedImage
from sentinel_match.products.scene import Asset
from sentinel_match.raster.jp2 import Reader, Window, level_geobox, read_glymur, read_rasterio
from sentinel_match.testing.codec import whole, write_image

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

ROWS, COLS = 1100, 1050
"""At 60 m, tiles are 192 px: 36 of them, eleven of them cut."""
READERS = pytest.mark.parametrize("read", [read_rasterio, read_glymur])


def grid(rows: int = ROWS, cols: int = COLS, metres: float = 60.0) -> GeoBox:
    return GeoBox((rows, cols), Affine(metres, 0, 300_000, 0, -metres, 5_900_040), "EPSG:32633")


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint16]:
    noise = np.random.default_rng(0).integers(1, 3000, (ROWS, COLS))
    return (noise + 20 * np.arange(COLS)).astype(np.uint16)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory, pixels: NDArray[np.uint16]) -> Path:
    path = tmp_path_factory.mktemp("jp2") / "T33UUU_B01.jp2"
    write_image(path, grid(), whole(pixels), "uint16")
    return path


@READERS
def test_a_file_is_read_as_it_was_written(read: Reader, image: Path, pixels: NDArray[np.uint16]) -> None:
    decoded = read(Asset(image))
    assert np.uint16 == decoded.dtype
    np.testing.assert_array_equal(pixels, decoded)


@pytest.mark.parametrize("level", [0, 1, 2, 3, 4])
def test_both_readers_agree_to_the_bit_at_every_level(image: Path, level: int) -> None:
    decoded = read_rasterio(Asset(image), level=level)
    assert (-(-ROWS // 2**level), -(-COLS // 2**level)) == decoded.shape
    np.testing.assert_array_equal(decoded, read_glymur(Asset(image), level=level))


@pytest.fixture(scope="module")
def levels(image: Path) -> dict[int, NDArray[np.uint16]]:
    return {level: read_rasterio(Asset(image), level=level) for level in (0, 1, 3)}


@settings(max_examples=40)
@given(st.data())
def test_any_window_is_that_part_of_the_whole(
    image: Path, levels: dict[int, NDArray[np.uint16]], data: st.DataObject
) -> None:
    level = data.draw(st.sampled_from(sorted(levels)))
    everything = levels[level]
    rows, cols = everything.shape
    row, col = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, cols - 1))
    window = Window(row, col, data.draw(st.integers(1, rows - row)), data.draw(st.integers(1, cols - col)))
    read = data.draw(st.sampled_from([read_rasterio, read_glymur]))
    np.testing.assert_array_equal(everything[window.roi], read(Asset(image), window, level))


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@READERS
def test_a_member_of_a_zip_is_read_whatever_the_zip_is_called(
    read: Reader, compression: int, image: Path, pixels: NDArray[np.uint16], tmp_path: Path
) -> None:
    archive = tmp_path / "S2A_MSIL1C.SAFE"
    with zipfile.ZipFile(archive, "w", compression) as packed:
        packed.write(image, "S2A.SAFE/IMG_DATA/B01.jp2")
    asset = Asset(archive, "S2A.SAFE/IMG_DATA/B01.jp2")
    np.testing.assert_array_equal(pixels[100:300, 50:90], read(asset, Window(100, 50, 200, 40)))


@READERS
def test_a_band_of_several_is_told_apart(read: Reader, tmp_path: Path) -> None:
    colours = np.random.default_rng(1).integers(0, 255, (3, 150, 130)).astype(np.uint8)
    write_image(tmp_path / "TCI.jp2", grid(150, 130), whole(colours), "uint8", bands=3)
    for index in (1, 2, 3):
        np.testing.assert_array_equal(colours[index - 1], read(Asset(tmp_path / "TCI.jp2"), index=index))


@READERS
def test_pixels_are_decoded_into_the_array_given(
    read: Reader, image: Path, pixels: NDArray[np.uint16], tmp_path: Path
) -> None:
    out = np.lib.format.open_memmap(tmp_path / "out.npy", "w+", np.uint16, (ROWS, COLS))
    assert out is read(Asset(image), out=out)
    np.testing.assert_array_equal(pixels, np.load(tmp_path / "out.npy"))


def test_readers_work_from_several_threads_at_once(image: Path, pixels: NDArray[np.uint16]) -> None:
    found: list[bool] = []
    part = Window(100, 200, 400, 500)

    def read_all() -> None:
        found.extend(
            np.array_equal(pixels[part.roi], read(Asset(image), part)) for read in (read_rasterio, read_glymur) * 2
        )

    threads = [threading.Thread(target=read_all) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [True] * 12 == found


def test_real_files_are_read_alike_by_both(shared: Path) -> None:
    path = shared / "arosics_T33UUU_10m" / "tgt_S2A_20160529T153631_T33UUU_sub.jp2"
    for level, window in ((0, Window(900, 1000, 300, 200)), (2, None)):
        decoded = read_rasterio(Asset(path), window, level)
        assert decoded.any()
        np.testing.assert_array_equal(decoded, read_glymur(Asset(path), window, level))


# Damage


@pytest.mark.parametrize("level", [0, 2])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.99, 0.99999])
@READERS
def test_a_truncated_jp2_is_never_read_as_zeros(
    read: Reader, kept: float, level: int, image: Path, tmp_path: Path
) -> None:
    content = image.read_bytes()
    cut = tmp_path / "cut.jp2"
    cut.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(DamagedImage, match=r"cut\.jp2"):
        read(Asset(cut), level=level)


def test_what_a_truncated_jp2_still_has_is_right(image: Path, pixels: NDArray[np.uint16], tmp_path: Path) -> None:
    content = image.read_bytes()
    cut = tmp_path / "cut.jp2"
    cut.write_bytes(content[: len(content) // 2])
    np.testing.assert_array_equal(pixels[:192], read_rasterio(Asset(cut), Window(0, 0, 192, COLS)))
    # OpenJPEG before 2.5.2 gives up on the whole file; what matters is that it says so
    with contextlib.suppress(DamagedImage):
        np.testing.assert_array_equal(pixels[:192], read_glymur(Asset(cut), Window(0, 0, 192, COLS)))


@READERS
def test_a_hole_in_the_middle_is_noticed(read: Reader, image: Path, tmp_path: Path) -> None:
    content = bytearray(image.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 60_000] = bytes(60_000)
    (tmp_path / "hole.jp2").write_bytes(content)
    with pytest.raises(DamagedImage, match=r"hole\.jp2"):
        read(Asset(tmp_path / "hole.jp2"))


@READERS
def test_a_file_shorter_than_its_manifest_says_is_refused_before_decoding(read: Reader, image: Path) -> None:
    with pytest.raises(DamagedImage, match="it has only 1,000 of 2,000 bytes"):
        read(Asset(image, size=1000, expected_size=2000))


@pytest.mark.parametrize("content", [b"", b"<html>Service unavailable</html>", b"\0\0\0\x0cjP  \r\n\x87\n"])
@READERS
def test_what_is_no_image_is_damaged(read: Reader, content: bytes, tmp_path: Path) -> None:
    (tmp_path / "B04.jp2").write_bytes(content)
    with pytest.raises(DamagedImage, match=r"B04\.jp2"):
        read(Asset(tmp_path / "B04.jp2"))


@READERS
def test_a_file_that_is_not_there_is_named(read: Reader, tmp_path: Path) -> None:
    with pytest.raises(DamagedImage, match=r"absent\.jp2"):
        read(Asset(tmp_path / "absent.jp2"))


def test_unpacking_notices_a_damaged_zip(image: Path, tmp_path: Path) -> None:
    archive = tmp_path / "product.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(image, "B01.jp2")
    content = bytearray(archive.read_bytes())
    content[20_000:20_100] = bytes(100)
    archive.write_bytes(content)
    for unpack in (read_glymur, Asset.sha256):
        with pytest.raises(DamagedImage, match=r"product\.zip"):
            unpack(Asset(archive, "B01.jp2"))


@pytest.mark.parametrize("suffix", ["tif", "jpg", "png"])
def test_other_formats_are_read_and_their_damage_noticed(suffix: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(2).integers(0, 255, (900, 800)).astype(np.uint8)
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(pixels).save(path)
    assert (900, 800) == read_rasterio(Asset(path)).shape
    if suffix != "jpg":
        np.testing.assert_array_equal(pixels[13:800, 5:700], read_rasterio(Asset(path), Window(13, 5, 787, 695)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DamagedImage, match=f"image.{suffix}"):
        read_rasterio(Asset(path))  # GDAL reads a whole PNG at once without noticing


@READERS
def test_a_level_that_the_file_has_not_is_a_mistake_of_the_caller(read: Reader, image: Path) -> None:
    with pytest.raises(ValueError, match="no reduced level 9"):
        read(Asset(image), level=9)


@READERS
def test_a_window_outside_the_image_is_a_mistake_of_the_caller(read: Reader, image: Path) -> None:
    with pytest.raises(ValueError, match="not inside"):
        read(Asset(image), Window(1000, 0, 200, 10))


# glymur's library


def in_a_clean_process(script: str, home: Path) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("XDG")}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env={**kept, "HOME": str(home)},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )


def test_glymur_finds_an_openjpeg_after_plain_pip_and_leaves_the_user_alone(image: Path, tmp_path: Path) -> None:
    script = f"""
import os, glymur
from pathlib import Path
from sentinel_match.raster.jp2 import read_glymur
from sentinel_match.products.scene import Asset
before = dict(os.environ)
print(read_glymur(Asset(Path({str(image)!r}))).shape, before == dict(os.environ))
"""
    done = in_a_clean_process(script, tmp_path)
    assert (f"({ROWS}, {COLS}) True\n", "") == (done.stdout, done.stderr)
    assert [] == list(tmp_path.iterdir())


def test_without_any_openjpeg_one_sentence_says_so(image: Path, tmp_path: Path) -> None:
    (tmp_path / "glymurrc").write_text(f"[library]\nopenjp2: {tmp_path}/no_such_library.so\n")  # glymur obeys it first
    script = f"""
import warnings; warnings.simplefilter("ignore")
from pathlib import Path
from sentinel_match.errors import DecoderMissing
from sentinel_match.raster.jp2 import read_glymur
from sentinel_match.products.scene import Asset
try:
    read_glymur(Asset(Path({str(image)!r})))
except DecoderMissing as error:
    print(error)
"""
    done = in_a_clean_process(script, tmp_path)
    assert "glymur finds no OpenJPEG library: install one" in done.stdout


# The phase of reduced levels


def blob_image(path: Path, side: int, centres: list[tuple[float, float]], sigma: float) -> None:
    x = np.arange(side) + 0.5
    blobs = sum(
        np.exp(-((x - cx) ** 2) / (2 * sigma**2)) * np.exp(-((x[:, None] - cy) ** 2) / (2 * sigma**2))
        for cx, cy in centres
    )
    write_image(path, grid(side, side, 10.0), whole(np.rint(20_000 * np.asarray(blobs)).astype(np.uint16)), "uint16")


def centroid(pixels: NDArray[Any], geobox: GeoBox) -> tuple[float, float]:
    weight = pixels.astype(float)
    rows, cols = np.indices(pixels.shape) + 0.5
    col, row = (float((weight * axis).sum() / weight.sum()) for axis in (cols, rows))
    return tuple(geobox.affine * (col, row))


@pytest.mark.parametrize("level", [1, 2, 3])
@READERS
def test_a_reduced_level_lies_where_its_grid_says(read: Reader, level: int, tmp_path: Path) -> None:
    centre = (547.3, 562.9)
    blob_image(tmp_path / "blob.jp2", 1104, [centre], 90.0)
    full = grid(1104, 1104, 10.0)
    reduced = read(Asset(tmp_path / "blob.jp2"), level=level)
    east, north = centroid(reduced, level_geobox(full, level))
    truth_east, truth_north = full.affine * centre
    assert abs(east - truth_east) < 0.2  # metres: 0.02 px
    assert abs(north - truth_north) < 0.2


@pytest.mark.parametrize("level", [1, 2, 3])
def test_gdal_itself_places_a_reduced_level_wrongly(level: int, tmp_path: Path) -> None:
    """The reason for ``level_geobox``; should GDAL ever change, this says so."""
    blob_image(tmp_path / "blob.jp2", 1104, [(547.3, 562.9)], 90.0)
    with rasterio.open(tmp_path / "blob.jp2", overview_level=level - 1) as overview:
        east, _ = centroid(overview.read(1), GeoBox.from_rio(overview))
    assert (2**level - 1) / 2 * 10 == pytest.approx(east - (300_000 + 5473), abs=0.2)


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(0, 4))
def test_samples_of_a_level_are_centres_of_full_resolution_pixels(rows: int, cols: int, level: int) -> None:
    full = grid(rows, cols, 10.0)
    reduced = level_geobox(full, level)
    assert (-(-rows // 2**level), -(-cols // 2**level)) == tuple(reduced.shape)
    last = tuple(n - 1 for n in reduced.shape)
    assert reduced.affine * (last[1] + 0.5, last[0] + 0.5) == pytest.approx(
        full.affine * (last[1] * 2**level + 0.5, last[0] * 2**level + 0.5)
    )
