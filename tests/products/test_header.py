"""Image headers: the short way and GDAL's agree, and neither takes anything else for an image."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pytest
import rasterio
from affine import Affine
from minimal_safe import Safe, jp2
from rasterio.errors import NotGeoreferencedWarning

from sentinel_match.products.header import jp2_shape, read_header

if TYPE_CHECKING:
    from pathlib import Path


def tif(path: Path, transform: Affine, crs: str | None, shape: tuple[int, int] = (30, 40)) -> str:
    profile = {"height": shape[0], "width": shape[1], "count": 1, "dtype": "uint8", "transform": transform, "crs": crs}
    if crs is None:
        profile.pop("transform" if transform.is_identity else "crs")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        image = rasterio.open(path, "w", driver="GTiff", **profile)
    with image:
        image.write(np.zeros(shape, np.uint8), 1)
    return str(path)


@pytest.mark.parametrize(("name", "side"), [("B04", 1200), ("B01", 600), ("B05", 1180)])
def test_the_short_way_finds_the_size_that_gdal_finds(name: str, side: int, tmp_path: Path) -> None:
    data = jp2(name, Safe(), side)
    (tmp_path / "image.jp2").write_bytes(data)
    assert read_header(str(tmp_path / "image.jp2")).shape == jp2_shape(io.BytesIO(data))


@pytest.mark.parametrize(
    "data",
    [b"", b"<html>", b"\0" * 5000, b"\0\0\0\x0cjP  \r\n\x87\n", b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\2ftyp" + b"\0" * 99],
)
def test_what_is_no_jp2_has_no_size(data: bytes) -> None:
    assert jp2_shape(io.BytesIO(data)) is None


def test_every_beginning_of_a_jp2_either_gives_its_size_or_none() -> None:
    data = jp2("B04", Safe())
    found = {jp2_shape(io.BytesIO(data[:length])) for length in range(200)}
    assert {None, (120, 120)} == found


def test_a_header_says_what_is_alpha_what_is_masked_and_how_numbers_become_values(tmp_path: Path) -> None:
    profile = {"driver": "GTiff", "width": 8, "height": 6, "dtype": "uint8", "crs": "EPSG:32633"}
    place = Affine(10, 0, 500_000, 0, -10, 5_000_000)
    with rasterio.open(tmp_path / "a.tif", "w", count=4, photometric="RGB", alpha="YES", transform=place, **profile):
        pass
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False),  # in a .msk beside it
        rasterio.open(tmp_path / "b.tif", "w", count=1, transform=place, **profile) as image,
    ):
        image.write_mask(np.zeros((6, 8), bool))
        image.scales, image.offsets, image.units = [1e-4], [-0.1], ["reflectance"]
    alpha, masked = (read_header(str(tmp_path / name)) for name in ("a.tif", "b.tif"))
    assert (4, False, None, True) == (alpha.alpha, alpha.is_masked, masked.alpha, masked.is_masked)
    assert ((1.0,) * 4, (1e-4,), (-0.1,), ("reflectance",)) == (
        alpha.scales, masked.scales, masked.offsets, masked.units,
    )  # fmt: skip


@pytest.mark.real
def test_the_size_of_every_real_jp2_is_found_by_its_first_kilobyte(shared: Path) -> None:
    files = [path for path in shared.rglob("*.jp2") if path.stat().st_size]
    assert len(files) > 10
    for path in files:
        with path.open("rb") as stream:
            assert read_header(str(path)).shape == jp2_shape(io.BytesIO(stream.read(1024))), path


def test_a_pixel_has_its_size_in_metres_whatever_the_crs_and_the_rotation(tmp_path: Path) -> None:
    utm = tif(tmp_path / "utm.tif", Affine(10, 0, 3e5, 0, -10, 5.9e6), "EPSG:32633")
    turned = tif(
        tmp_path / "turned.tif",
        Affine.translation(3e5, 5.9e6) @ Affine.rotation(30) @ Affine.scale(20, -20),
        "EPSG:32633",
    )
    feet = tif(tmp_path / "feet.tif", Affine(100, 0, 1e6, 0, -100, 2e5), "EPSG:2263")
    quarter = tif(tmp_path / "quarter.tif", Affine(0, 10, 3e5, 10, 0, 5.9e6), "EPSG:32633")
    assert [10.0, 20.0, 30.48, 10.0] == pytest.approx(
        [read_header(path).resolution for path in (utm, turned, feet, quarter)], rel=1e-5
    )


def test_a_pixel_in_degrees_or_of_a_mercator_map_is_as_large_as_the_ground_at_the_centre_of_its_image(
    tmp_path: Path,
) -> None:
    """On the ellipsoid a degree is 111.320 by 110.574 km at the equator, 55.800 by 111.412 at 60 degrees north."""
    images = {
        "equator": (Affine(1e-3, 0, 14, 0, -1e-3, 0), "EPSG:4326", (111.320 * 110.574) ** 0.5),
        "north": (Affine(1e-3, 0, 14, 0, -1e-3, 60), "EPSG:4326", (55.800 * 111.412) ** 0.5),
        "web": (Affine(20, 0, 1.6e6, 0, -20, 8399738), "EPSG:3857", 10.0),
        "flat": (Affine(20, 0, 1.6e6, 0, -20, 6679169), "EPSG:4087", 20 * 0.5**0.5),
        "equal": (Affine(10, 0, 4.3e6, 0, -10, 3.3e6), "EPSG:3035", 10.0),
    }
    for name, (transform, crs, size) in images.items():
        path = tif(tmp_path / f"{name}.tif", transform, crs)
        assert read_header(path).resolution == pytest.approx(size, rel=4e-3), name


@pytest.mark.parametrize(("transform", "crs"), [(Affine.identity(), None), (Affine(10, 0, 5, 0, -10, 5), None)])
def test_an_image_without_crs_has_no_grid(transform: Affine, crs: str | None, tmp_path: Path) -> None:
    header = read_header(tif(tmp_path / "plain.tif", transform, crs))
    assert (None, 1.0) == (header.geobox, header.resolution)


def test_what_gdal_cannot_open_is_a_value_error(tmp_path: Path) -> None:
    (tmp_path / "x.tif").write_text("<html>")
    with pytest.raises(ValueError, match=r"x\.tif"):
        read_header(str(tmp_path / "x.tif"))
