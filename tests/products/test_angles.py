"""From where a tile was seen: grids of angles as real metadata have them, and what is no grid."""

from __future__ import annotations

import re
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pyproj import Proj, Transformer

from sentinel_match.products.angles import ViewAngles, read_view_angles
from sentinel_match.products.catalogue import read_scene
from sentinel_match.testing import Landscape, write_product
from sentinel_match.testing.terrain import Orbit

if TYPE_CHECKING:
    from collections.abc import Callable

GROUND = Landscape(3)


@pytest.fixture(scope="module")
def seen_from_the_west(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("angles")
    return write_product(folder, GROUND, date="2023-05-14", pixels=1020, view=-9.0, masks=False)


def middle(product: Path) -> np.ndarray:
    box = read_scene(product).geobox
    assert box is not None
    bounds = box.boundingbox
    return np.array([[(bounds.left + bounds.right) / 2, (bounds.bottom + bounds.top) / 2]])


def test_angles_are_those_of_the_orbit(seen_from_the_west: Path) -> None:
    views, points = read_view_angles(read_scene(seen_from_the_west), "B04"), middle(seen_from_the_west)
    assert views is not None
    assert [9.0, 283.0] == pytest.approx(views.at(points)[0], abs=1e-3)
    around = points + [[0, 0], [2500, -3100], [-4000, 800]]
    expected = np.stack(Orbit(-9.0, tuple(points[0])).towards(*around.T), -1)
    assert views.towards(around) == pytest.approx(expected, abs=2e-6)


def test_a_tile_of_another_zone_is_asked_in_its_own_metres(seen_from_the_west: Path) -> None:
    views, points = read_view_angles(read_scene(seen_from_the_west), "B04"), middle(seen_from_the_west)
    assert views is not None
    beside = np.column_stack(Transformer.from_crs(views.crs, 32632, always_xy=True).transform(*points.T))
    assert views.at(points) == pytest.approx(views.at(beside, "EPSG:32632"))


def test_metadata_counts_azimuths_from_true_north(seen_from_the_west: Path) -> None:
    scene = read_scene(seen_from_the_west)
    assert scene.tile_metadata is not None
    text = scene.tile_metadata.path.read_text()
    first = float(text.partition("<Azimuth>")[2].partition("<VALUES>")[2].split()[0])
    assert scene.geobox is not None
    x, y = scene.geobox.boundingbox.left, scene.geobox.boundingbox.top
    turn = Proj(32633).get_factors(*Proj(32633)(x, y, inverse=True)).meridian_convergence
    assert abs(turn) > 1
    assert first == pytest.approx(283 + turn, abs=0.01)


def test_off_the_grid_and_in_other_scenes_nothing_is_said(seen_from_the_west: Path, tmp_path: Path) -> None:
    views = read_view_angles(read_scene(seen_from_the_west), "B04")
    assert views is not None
    assert np.isnan(views.at(np.array([[0.0, 0.0], [np.nan, 0.0], [np.inf, 1.0]]))).all()
    assert read_view_angles(read_scene(seen_from_the_west), "NDVI") is None
    bare = read_scene(write_product(tmp_path, GROUND, date="2023-05-14", pixels=96, masks=False))
    assert read_view_angles(bare, "B04") is None


def test_angles_are_read_from_a_zip(seen_from_the_west: Path, tmp_path: Path) -> None:
    packed = tmp_path / "product.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in sorted(p for p in seen_from_the_west.rglob("*") if p.is_file()):
            archive.write(file, file.relative_to(seen_from_the_west.parent))
    inside, outside = (read_view_angles(read_scene(p), "B04") for p in (packed, seen_from_the_west))
    assert inside is not None
    assert outside is not None
    assert np.array_equal(inside.tangent, outside.tangent, equal_nan=True)


def changed(seen: Path, folder: Path, how: Callable[[str], str]) -> object:
    """What is read of a product whose metadata of the tile was changed after it was listed."""
    product = folder / seen.name
    shutil.copytree(seen, product)
    scene = read_scene(product)
    assert scene.tile_metadata is not None
    path = scene.tile_metadata.path
    path.write_text(how(path.read_text()))
    return read_view_angles(scene, "B04")


NO_GRIDS: dict[str, Callable[[str], str]] = {
    "entities": lambda t: t.replace("?>", '?><!DOCTYPE a [<!ENTITY b "c">]>', 1),
    "cut off": lambda t: t[: len(t) // 2],
    "words": lambda t: t.replace("<VALUES>", "<VALUES>none "),
    "ragged": lambda t: t.replace("<Values_List>", "<Values_List><VALUES>1</VALUES>"),
    "no step": lambda t: t.replace(">5000<", ">0<"),
    "infinite step": lambda t: t.replace(">5000<", ">1e999<"),
    "empty": lambda t: t.replace("VALUES", "NOTHING"),
    "from below": lambda t: re.sub(r"(?<=<VALUES>)[^<]*", "95 95 95 95", t),
    "thousands": lambda t: t.replace("<VALUES>", "<VALUES>" + "1 " * 600),
    "another zone": lambda t: t.replace("EPSG:32633", "EPSG:4326"),
}


@pytest.mark.parametrize("how", NO_GRIDS)
def test_what_is_no_grid_says_nothing(seen_from_the_west: Path, tmp_path: Path, how: str) -> None:
    assert changed(seen_from_the_west, tmp_path, NO_GRIDS[how]) is None


def test_detectors_are_one_where_both_saw(seen_from_the_west: Path, tmp_path: Path) -> None:
    def twice(text: str) -> str:  # another detector looks as far beyond the zenith as the first before it
        start = text.index('<Viewing_Incidence_Angles_Grids bandId="3"')
        end = text.index("</Viewing_Incidence_Angles_Grids>", start) + len("</Viewing_Incidence_Angles_Grids>")
        zenith, _, azimuth = text[start:end].partition("<Azimuth>")
        opposite = re.sub(r"2\d\d(\.\d+)?", lambda angle: str(float(angle[0]) - 180), azimuth)
        return text[:start] + zenith + "<Azimuth>" + opposite + text[start:]

    views = changed(seen_from_the_west, tmp_path, twice)
    assert isinstance(views, ViewAngles)
    both = np.hypot(*np.moveaxis(views.tangent, -1, 0)) < 1e-5
    assert both.any()
