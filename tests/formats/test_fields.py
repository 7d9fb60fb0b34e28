"""The fitted displacement as an image, with its uncertainty."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from builders import summary_of
from test_geojson import ties

from sentinel_match import read_scene, read_ties, write, write_displacement
from sentinel_match.errors import NotAProduct, OutputError
from sentinel_match.formats.fields import DISPLACEMENT_BANDS
from sentinel_match.geometry.transform import PlaneTransform, Transform, bend_through
from sentinel_match.geometry.uncertainty import Uncertainty
from sentinel_match.tiepoints import TiePoints


def waved() -> TiePoints:
    """Points of a field, its uncertainty known but in one corner."""
    x, y = np.meshgrid(399_960 + 140.0 * np.arange(40), 5_805_020 - 140.0 * np.arange(30))
    at = np.stack([x, y], -1)
    shift = np.stack([3 * np.sin(x / 400), 2 * np.cos(y / 500)], -1)
    plane = PlaneTransform("translation", np.eye(3), np.zeros(2))
    field = Transform(plane, bend_through(shift[::-1], at[-1, 0], at[0, -1]))
    sigma = np.linspace(0.2, 2, 1200).reshape(30, 40)
    sigma[:5, :5] = np.nan
    points = ties(50)
    figures = {name: getattr(points.summary, name) for name in ("points", "inliers")}
    summary = summary_of(field, **figures, uncertainty=Uncertainty.of(at, sigma, np.full(sigma.shape, 250.0)))
    return replace(points, summary=summary)


def test_it_is_a_cog_in_the_left_images_crs_with_a_pixel_a_node_and_says_what_its_bands_are(tmp_path: Path) -> None:
    points, path = waved(), tmp_path / "displacement.tif"
    write_displacement(points, path)
    with rasterio.open(path) as file:
        bands = file.read()
        assert tuple(DISPLACEMENT_BANDS) == file.descriptions
        assert {"m"} == set(file.units)
        assert ("EPSG:32633", "float32") == (str(file.crs), file.dtypes[0])
        assert np.isnan(file.nodata)
        assert "COG" == file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"]
        assert "field" == file.tags()["MODEL"]
        x, y = file.xy(12, 7)
    with pytest.raises(NotAProduct, match="it is a displacement of two images"):
        read_scene(path)
    assert np.isnan(bands[:, :5, :5]).sum() == 3 * 25  # the support is known there too
    assert np.allclose(points.transform.shift(np.array([x, y])), bands[:2, 12, 7], atol=1e-4)
    assert np.allclose(np.linspace(0.2, 2, 1200)[12 * 40 + 7], bands[2, 12, 7], rtol=0.01)
    assert np.allclose(250, bands[3], rtol=1e-5)


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg"])
def test_a_file_of_points_makes_the_same_image(suffix: str, tmp_path: Path) -> None:
    points = waved()
    write(points, tmp_path / f"ties{suffix}")
    write_displacement(points, tmp_path / "one.tif")
    write_displacement(read_ties(tmp_path / f"ties{suffix}"), tmp_path / "other.tif")
    assert (tmp_path / "one.tif").read_bytes() == (tmp_path / "other.tif").read_bytes()


def test_no_image_is_written_under_the_name_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"shift\.png could not be written: .*must end in \.tif or \.tiff"):
        write_displacement(waved(), tmp_path / "shift.png")
    assert [] == list(tmp_path.iterdir())


def test_points_without_a_lattice_have_one_laid_out_around_them_and_no_support(tmp_path: Path) -> None:
    shift = np.eye(3)
    shift[:2, 2] = (6.4, 18.1)
    points = replace(ties(50), summary=summary_of(Transform(PlaneTransform("translation", shift, np.zeros(2)))))
    write_displacement(points, tmp_path / "displacement.tif")
    with rasterio.open(tmp_path / "displacement.tif") as file:
        bands = file.read()
        assert (140.0, 140.0) == file.res
    assert np.allclose(6.4, bands[0], atol=1e-4)
    assert np.isnan(bands[2:]).all()  # nothing is proven


def test_in_python_the_field_tells_its_uncertainty_too() -> None:
    field = waved().displacement(spacing=280)
    assert {"dx_m", "dy_m", "sigma_m", "support_m", "extrapolated"} == set(field.data_vars)
    assert 0.2 <= float(field.sigma_m.min()) <= float(field.sigma_m.max()) <= 2.01


def test_what_is_no_tie_points_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="write_displacement takes TiePoints"):
        write_displacement("ties.gpkg", tmp_path / "a.tif")  # type: ignore[arg-type]
