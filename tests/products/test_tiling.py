"""The tiling grid from names alone, against the grids that real products state."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from sentinel_match.products.archive import open_archive
from sentinel_match.products.metadata import read_tile_metadata
from sentinel_match.products.tiling import tile_geobox

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("tile", "epsg", "left", "top"),
    [  # from MTD_TL.xml of real products
        ("T33UUU", 32633, 300_000, 5_900_040),
        ("T36UYA", 32636, 699_960, 5_600_040),
        ("T01KAB", 32701, 99_960, 8_200_000),
        ("T01LAC", 32701, 99_960, 8_300_020),
        ("T01CCV", 32701, 300_000, 2_000_020),
        ("T33XWJ", 32633, 499_980, 8_900_040),
        ("T53HPV", 32753, 600_000, 6_000_040),
    ],
)
def test_a_tile_lies_where_its_metadata_say(tile: str, epsg: int, left: int, top: int) -> None:
    expected = GeoBox((10_980, 10_980), Affine(10, 0, left, 0, -10, top), f"EPSG:{epsg}")
    assert expected == tile_geobox(tile)


@pytest.mark.real
def test_the_grid_of_every_real_full_tile_follows_from_its_name(shared: Path) -> None:
    wrong, full = [], 0
    for path in sorted(shared.rglob("*MTD*TL*.xml")):
        with open_archive(path.parent) as archive:
            stated = read_tile_metadata(archive, path.name).grids
        tile = next(part for part in path.parent.name.split("_") if re.fullmatch(r"T\d\d[A-Z]{3}", part))
        if stated[10].shape == (10_980, 10_980):  # T33UUU is a crop
            full += 1
            wrong += [(tile, m) for m, grid in stated.items() if grid != tile_geobox(tile, m)]
    assert [] == wrong
    assert 16 <= full


@pytest.mark.parametrize("name", ["", "T33UU", "33UUU", "T61UUU", "T00UUU", "T33IUU", "T33UUW", "t33uuu", "T33UUUU"])
def test_what_is_no_tile_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no Sentinel-2 tile"):
        tile_geobox(name)
