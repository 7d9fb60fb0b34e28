"""Footprints: on every zone, on both sides of the antimeridian, and from every spelling of EXT_POS_LIST."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from odc.geo.geobox import GeoBox
from pyproj import Proj, Transformer
from shapely.geometry import MultiPolygon, Polygon, box, shape

from sentinel_match.geometry.footprint import Footprint
from sentinel_match.geometry.outlines import Outlines

if TYPE_CHECKING:
    from pathlib import Path

SIDE = 10_980


def grid(epsg: int, east: float, north: float, size: int = SIDE) -> GeoBox:
    return GeoBox((size, size), Affine(10, 0, east, 0, -10, north), f"EPSG:{epsg}")


@st.composite
def tiles(draw: st.DrawFn, zones: st.SearchStrategy[int] | None = None) -> GeoBox:
    """Grids of tile size and smaller, where Sentinel-2 looks: 82.8 degrees south to 83 north."""
    south, zone = draw(st.booleans()), draw(st.integers(1, 60) if zones is None else zones)
    north = draw(st.integers(0, 9_100)) * 1_000.0
    north = 10_000_000 - north if south else north + 109_800
    size = draw(st.sampled_from([SIDE, 5_000, 1_000]))
    return grid((32_700 if south else 32_600) + zone, draw(st.integers(100, 790)) * 1_000.0, north, size)


@st.composite
def rings(draw: st.DrawFn) -> tuple[GeoBox, np.ndarray]:
    """A tile, and a convex closed ring (lat, lon) inside it."""
    tile = draw(tiles())
    around = np.sort(draw(st.lists(st.floats(0, 6.2), min_size=3, max_size=12, unique_by=lambda a: round(a, 1))))
    radius = 0.5 * tile.extent.boundingbox.span_x
    east = tile.extent.centroid.geom.x + radius * np.cos(around)
    north = tile.extent.centroid.geom.y + radius * np.sin(around)
    lon, lat = Transformer.from_crs(str(tile.crs), "EPSG:4326", always_xy=True).transform(east, north)
    ring = np.column_stack([lat, lon])
    return tile, np.concatenate([ring, ring[:1]])


def beside(tile: GeoBox, columns: int, rows: int, size: tuple[int, int] | None = None) -> GeoBox:
    """A grid whose first pixel is that many columns and rows of ``tile`` away."""
    a = tile.affine
    return GeoBox(size or tile.shape, Affine(a.a, 0, a.c + a.a * columns, 0, a.e, a.f + a.e * rows), tile.crs)


def spelled(ring: np.ndarray, heights: list[bool]) -> str:
    """EXT_POS_LIST of a ring (lat, lon), a zero height after the vertices that want one."""
    return " ".join(f"{lat!r} {lon!r}" + " 0" * high for (lat, lon), high in zip(ring.tolist(), heights, strict=True))


def differ_km2(one: Footprint, other: Footprint) -> float:
    common = one.intersection(other)
    return one.area_km2 + other.area_km2 - 2 * (common.area_km2 if common else 0)


# --- squares ------------------------------------------------------------------------------------------------------


@given(tiles())
def test_the_area_of_any_tile_is_its_utm_area_over_the_scale_of_utm_there(tile: GeoBox) -> None:
    footprint = Footprint.from_geobox(tile)
    metres = tile.extent.geom.area / 1e6
    centre = footprint.polygon.centroid
    scale = Proj(str(tile.crs)).get_factors(centre.x, centre.y).areal_scale
    assert metres / scale == pytest.approx(footprint.area_km2, rel=1e-4)
    assert metres == pytest.approx(footprint.area_km2, rel=0.0032)


@given(tiles())
def test_a_footprint_has_one_normal_form(tile: GeoBox) -> None:
    polygon = Footprint.from_geobox(tile).polygon
    west, south, east, north = polygon.bounds
    assert polygon.is_valid
    assert polygon.exterior.is_ccw
    assert -180 <= (west + east) / 2 < 180
    assert east - west < 20
    assert -90 < south < north < 90


@given(tiles(), st.integers(0, 63), st.integers(-2, 2))
def test_neither_the_first_vertex_nor_a_turn_around_the_globe_changes_it(tile: GeoBox, first: int, turn: int) -> None:
    footprint = Footprint.from_geobox(tile)
    ring = np.asarray(footprint.polygon.exterior.coords)[:-1]
    again = Footprint.from_lonlat(Polygon(np.roll(ring, first, axis=0) + np.array([360 * turn, 0])))
    assert footprint.area_km2 == pytest.approx(again.area_km2, rel=1e-9)
    assert footprint.polygon.bounds == pytest.approx(again.polygon.bounds, abs=1e-9)
    assert differ_km2(footprint, again) == pytest.approx(0, abs=1e-4 * footprint.area_km2)


@given(tiles())
def test_jumps_at_the_antimeridian_are_undone(tile: GeoBox) -> None:
    footprint = Footprint.from_geobox(tile)
    ring = np.asarray(footprint.polygon.exterior.coords)
    jumping = Polygon(np.column_stack([(ring[:, 0] + 180) % 360 - 180, ring[:, 1]]))
    assert differ_km2(footprint, Footprint.from_lonlat(jumping)) == pytest.approx(0, abs=1e-4 * footprint.area_km2)


@given(tiles())
def test_projecting_back_gives_the_square(tile: GeoBox) -> None:
    metres = Footprint.from_geobox(tile).to_crs(tile.crs)
    assert tile.extent.geom.area == pytest.approx(metres.area, rel=1e-4)
    assert metres.symmetric_difference(tile.extent.geom).area <= 1e-4 * metres.area


def test_a_square_far_outside_a_crs_is_refused() -> None:
    tile = Footprint.from_geobox(grid(32633, 300_000, 5_800_000))
    with pytest.raises(ValueError, match="outside the area of WGS 84 / UTM zone 1N"):
        Footprint.from_lonlat(box(86, 0, 88, 1)).to_crs("EPSG:32601").area  # noqa: B018
    assert tile.to_crs("EPSG:32632").is_valid


def test_a_grid_without_crs_has_no_footprint() -> None:
    with pytest.raises(ValueError, match="without a CRS"):
        Footprint.from_geobox(GeoBox((10, 10), Affine.scale(10), None))


def test_a_raster_around_the_pole_keeps_the_pole() -> None:
    around = Footprint.from_geobox(GeoBox((100, 100), Affine(1000, 0, -50_000, 0, -1000, 50_000), "EPSG:3031"))
    assert -90 == around.polygon.bounds[1]
    assert (-180, 180) == around.bbox[::2]
    # EPSG:3031 has its true scale at 71 S: lengths at the pole are 0.9727 of the ground's.
    assert 10_000 / 0.9727**2 == pytest.approx(around.area_km2, rel=0.004)
    assert around.to_crs("EPSG:3031").contains(shapely.Point(1, 1))


# --- intersections ------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(tiles(st.sampled_from([1, 60])), tiles(st.sampled_from([1, 60])))
def test_intersection_is_symmetric_and_no_larger_than_either(one: GeoBox, other: GeoBox) -> None:
    a, b = Footprint.from_geobox(one), Footprint.from_geobox(other)
    ab, ba = a.intersection(b), b.intersection(a)
    assert (ab is None) == (ba is None)
    if ab and ba:
        assert ab.area_km2 == pytest.approx(ba.area_km2, rel=1e-6)
        assert 0 < ab.area_km2 <= min(a.area_km2, b.area_km2) * (1 + 1e-6)


@given(tiles(), st.integers(-9_000, 9_000), st.integers(-9_000, 9_000))
def test_the_overlap_of_shifted_squares_is_the_product_of_the_sides_left(tile: GeoBox, dx: int, dy: int) -> None:
    other = beside(tile, dx, dy)
    rows, columns = tile.shape
    expected = max(0, columns - abs(dx)) * max(0, rows - abs(dy)) * 1e-4
    common = Footprint.from_geobox(tile).intersection(Footprint.from_geobox(other))
    assert expected == pytest.approx(common.area_km2 if common else 0, rel=0.01, abs=1)


@given(tiles(), st.sampled_from([(1, 0), (0, 1), (-1, 0), (0, -1)]), st.integers(0, 2_000))
def test_squares_that_only_touch_do_not_meet(tile: GeoBox, side: tuple[int, int], slide: int) -> None:
    rows, columns = tile.shape
    neighbour = beside(tile, side[0] * columns + abs(side[1]) * slide, side[1] * rows + abs(side[0]) * slide)
    assert Footprint.from_geobox(tile).intersection(Footprint.from_geobox(neighbour)) is None


@given(st.integers(-70, 70), st.integers(1, 9_000))
def test_squares_meet_though_their_centres_lie_on_different_sides_of_180(lat: int, apart: int) -> None:
    crs = 32601 if lat >= 0 else 32701
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(180, lat)
    one = grid(crs, x - 54_900 - 5 * apart, y + 54_900)
    other = grid(crs, x - 54_900 + 5 * apart, y + 54_900)
    a, b = Footprint.from_geobox(one), Footprint.from_geobox(other)
    common = a.intersection(b)
    assert common is not None
    assert (SIDE - apart) / SIDE == pytest.approx(common.area_km2 / a.area_km2, rel=0.005)
    assert (SIDE - apart) / SIDE == pytest.approx(
        Outlines.of([a, b]).common_km2(np.array([0]), np.array([1]))[0] / a.area_km2, rel=0.005
    )


def test_tiles_of_zones_1_and_60_meet_across_the_antimeridian() -> None:
    east = Footprint.from_geobox(grid(32701, 99_960, 8_300_020))
    west = Footprint.from_geobox(grid(32760, 699_960, 8_300_020))
    common = east.intersection(west)
    assert common is not None
    assert 7_000 < common.area_km2 < 8_500  # 0.64 of 1.04 degrees
    assert 179.2 < common.bbox[0] < 179.3
    assert 179.8 < common.bbox[2] < 180
    assert common.bbox == pytest.approx(west.intersection(east).bbox)  # type: ignore[union-attr]


def test_neighbours_in_adjacent_zones_overlap_as_measured() -> None:
    # docs/sentinel2.md 2.4: easternmost tile of zone 32 and westernmost of zone 33 at 49 N share 43 %.
    one = Footprint.from_geobox(grid(32632, 699_960, 5_500_020))
    other = Footprint.from_geobox(grid(32633, 199_980, 5_500_020))
    common = one.intersection(other)
    assert common is not None
    assert 0.43 == pytest.approx(common.area_km2 / one.area_km2, abs=0.005)


# --- RFC 7946 -----------------------------------------------------------------------------------------------------


@given(tiles())
def test_geojson_is_closed_right_handed_within_180_and_loses_no_ground(tile: GeoBox) -> None:
    footprint = Footprint.from_geobox(tile)
    written: Any = footprint.geojson()
    polygons = written["coordinates"] if written["type"] == "MultiPolygon" else [written["coordinates"]]
    for polygon in polygons:
        for ring in polygon:
            assert ring[0] == ring[-1]
            assert all(-180 <= lon <= 180 and -90 <= lat <= 90 for lon, lat in ring)
            assert all(round(lon, 7) == lon and round(lat, 7) == lat for lon, lat in ring)
        assert Polygon(polygon[0]).exterior.is_ccw
    west, _, east, _ = footprint.bbox
    assert (west > east) == (len(polygons) == 2)
    assert shape(written).is_valid
    read = Footprint.from_lonlat(shape(written))
    assert footprint.area_km2 == pytest.approx(read.area_km2, rel=1e-4)
    assert differ_km2(footprint, read) <= 1e-4 * footprint.area_km2


def test_geojson_of_a_plain_tile_is_one_polygon_and_of_a_crossing_one_two() -> None:
    assert "Polygon" == Footprint.from_geobox(grid(32633, 300_000, 5_800_020)).geojson()["type"]
    crossing = Footprint.from_geobox(grid(32701, 99_960, 8_300_020))
    assert "MultiPolygon" == crossing.geojson()["type"]
    assert crossing.bbox[0] > 0 > crossing.bbox[2]


# --- EXT_POS_LIST -------------------------------------------------------------------------------------------------


@given(rings(), st.lists(st.booleans(), min_size=13, max_size=13))
def test_two_three_and_mixed_dimensions_give_the_same_footprint(
    tile_ring: tuple[GeoBox, np.ndarray], heights: list[bool]
) -> None:
    tile, ring = tile_ring
    flat, source = Footprint.from_positions(spelled(ring, [False] * len(ring)), tile)
    high, _ = Footprint.from_positions(spelled(ring, [True] * len(ring)), tile)
    mixed, _ = Footprint.from_positions(spelled(ring, heights[: len(ring)]), tile)
    assert "product" == source
    assert flat == high
    assert flat == mixed


def test_heights_at_0_north_0_east_are_no_coordinates() -> None:
    tile = grid(32731, 100_000, 10_000_000)
    ring = np.array([
        [-0.49617983, 0.39285483],
        [-0.07864404, 0.16640463],
        [-0.04497632, -0.30479659],
        [-0.49617983, 0.39285483],
    ])
    footprints = [
        Footprint.from_positions(spelled(ring, heights), tile)[0]
        for heights in ([False] * 4, [True] * 4, [True, False, True, False], [False, True, True, False])
    ]
    assert all(footprint == footprints[0] for footprint in footprints)


@given(rings())
def test_the_ring_is_read_the_same_without_a_tile(tile_ring: tuple[GeoBox, np.ndarray]) -> None:
    tile, ring = tile_ring
    with_tile, _ = Footprint.from_positions(spelled(ring, [True] * len(ring)), tile)
    alone, source = Footprint.from_positions(spelled(ring, [True] * len(ring)), None)
    assert "product" == source
    assert with_tile.area_km2 == pytest.approx(alone.area_km2, rel=0.05, abs=1)


def test_a_zero_latitude_on_the_equator_is_not_a_height() -> None:
    tile = grid(32743, 399_960, 10_000_000)  # T43MDV, whose upper edge is the equator
    text = "0 74.1008 0 75.0874 -0.9930 75.0871 -0.9928 74.1006 -0.0867 74.1008 0 74.1008"
    footprint, source = Footprint.from_positions(text, tile)
    assert "product" == source
    assert 0.999 < footprint.area_km2 / Footprint.from_geobox(tile).area_km2 <= 1
    high = " ".join(f"{lat} {lon} 0" for lat, lon in zip(text.split()[::2], text.split()[1::2], strict=True))
    assert footprint == Footprint.from_positions(high, tile)[0]
    assert footprint == Footprint.from_positions(high.removesuffix(" 0"), tile)[0]
    mixed = text.replace("-0.9930 75.0871", "-0.9930 75.0871 0")  # one height among latitudes of zero
    assert footprint == Footprint.from_positions(mixed, tile)[0]


def test_at_null_island_where_everything_may_be_zero_the_shortest_way_decides() -> None:
    tile = grid(32631, 166_020, 110_000)  # at 0 N, 0 E
    corners = ["0.99 0.01", "0.98 0.97", "0.01 0.98", "0.02 0.02", "0.99 0.01"]
    flat, source = Footprint.from_positions(" ".join(corners), tile)
    assert "product" == source
    assert flat == Footprint.from_positions(" 0 ".join(corners), tile)[0]
    assert flat == Footprint.from_positions(" 0 ".join(corners) + " 0", tile)[0]


def test_the_real_mixed_list_of_baseline_02_12_is_read() -> None:
    # The pattern of S2A_MSIL2A_20150826T…_T11SLT: five vertices with a height, two without.
    tile = grid(32611, 300_000, 3_900_000)
    lonlat = Footprint.from_geobox(tile).polygon.simplify(0.01).exterior.coords
    corners = [f"{lat} {lon}" for lon, lat in lonlat]
    text = " 0 ".join(corners[:-2]) + " 0 " + " ".join(corners[-2:])
    footprint, source = Footprint.from_positions(text, tile)
    assert "product" == source
    assert footprint.area_km2 == pytest.approx(Footprint.from_geobox(tile).area_km2, rel=0.002)


def test_a_ring_larger_than_the_tile_is_cut_with_it() -> None:
    tile = grid(32633, 300_000, 5_800_020)
    datastrip = "54 10 54 20 48 20 48 10 54 10"
    footprint, source = Footprint.from_positions(datastrip, tile)
    assert "product" == source
    assert differ_km2(footprint, Footprint.from_geobox(tile)) == pytest.approx(0, abs=1)


def test_a_ring_that_crosses_itself_is_repaired() -> None:
    tile = grid(32633, 300_000, 5_800_020)
    footprint, source = Footprint.from_positions("52.2 12.2 51.8 13 52.2 13 51.8 12.2 52.2 12.2", tile)
    assert "product" == source
    assert footprint.polygon.is_valid
    assert 2 == len(footprint.polygon.geoms)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no numbers at all",
        "nan nan nan nan nan nan nan nan",
        "1 2 3 4 5",
        "52 12 52 13",
        "52 12 52 13 52 12",  # encloses nothing
        "-30 140 -30 141 -31 141 -31 140 -30 140",  # on the other side of the Earth
        "152 12 152 13 151 13 151 12 152 12",
    ],
)
def test_without_a_usable_ring_the_tile_square_stands_in_and_says_so(text: str) -> None:
    tile = grid(32633, 300_000, 5_800_020)
    footprint, source = Footprint.from_positions(text, tile)
    assert "tile" == source
    assert Footprint.from_geobox(tile) == footprint


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("lost", "not a list of numbers"),
        ("", "at least three positions"),
        ("nan nan nan nan nan nan", "at least three positions"),
        ("99 12 99 13 98 13", "at least three positions"),
        ("52 12 52 13 52 12", "encloses no ground"),
        ("-80 -170 80 -60 -80 60 80 170", "km around, more than any Sentinel-2 product"),
    ],
)
def test_without_a_tile_an_absurd_list_is_an_error(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Footprint.from_positions(text, None)


def test_vertices_almost_at_180_close_the_crack_of_a_split_ring() -> None:
    east = Polygon([(179, -17), (179.99999999999994, -17), (179.99999999999994, -16), (179, -16)])
    west = Polygon([(-180, -17), (-179.5, -17), (-179.5, -16), (-180, -16)])
    footprint = Footprint.from_lonlat(MultiPolygon([west, east]))
    assert "Polygon" == footprint.polygon.geom_type
    assert (179, -17, -179.5, -16) == pytest.approx(footprint.bbox)
    assert 2 == len(footprint.geojson()["coordinates"])


def test_a_hole_stays_a_hole_on_either_side_of_180() -> None:
    ring = [(178, -17), (-178, -17), (-178, -13), (178, -13)]
    hole = [(-179.5, -16), (-179, -16), (-179, -15), (-179.5, -15)]
    footprint = Footprint.from_lonlat(Polygon(ring, [hole]))
    whole = Footprint.from_lonlat(Polygon(ring))
    gap = Footprint.from_lonlat(Polygon(hole))
    assert whole.area_km2 - gap.area_km2 == pytest.approx(footprint.area_km2)


# --- real products ------------------------------------------------------------------------------------------------


def _all(root: etree._Element, name: str) -> list[str]:
    return [e.text or "" for e in root.iter(f"{{*}}{name}")]


def _tile_of(granule: Path) -> GeoBox:
    root = etree.parse(str(granule)).getroot()
    ulx, uly = float(_all(root, "ULX")[0]), float(_all(root, "ULY")[0])
    size = next(e for e in root.iter("Size") if e.get("resolution") == "10")
    rows, columns = int(size.findtext("NROWS", "")), int(size.findtext("NCOLS", ""))
    return GeoBox((rows, columns), Affine(10, 0, ulx, 0, -10, uly), _all(root, "HORIZONTAL_CS_CODE")[0])


def real_footprints(shared: Path) -> dict[str, tuple[GeoBox, Footprint, str, etree._Element]]:
    found = {}
    for main in sorted([*shared.rglob("MTD_MSIL*.xml"), *shared.rglob("*MTD_SAFL1C*.xml")]):
        root = etree.parse(str(main)).getroot()
        for granule in sorted(main.parent.glob("GRANULE/*/*MTD*TL*.xml")):
            tile = _tile_of(granule)
            found[granule.parent.name] = (tile, *Footprint.from_positions(_all(root, "EXT_POS_LIST")[0], tile), root)
    return found


def test_every_real_product_has_its_own_footprint_within_its_tile(shared: Path) -> None:
    real = real_footprints(shared)
    assert len(real) >= 17
    for tile, footprint, source, _ in real.values():
        assert "product" == source
        assert 0 < footprint.area_km2 <= Footprint.from_geobox(tile).area_km2 * (1 + 1e-6)
        assert shape(footprint.geojson()).is_valid


def test_the_share_of_the_tile_is_what_l2a_products_say_of_their_nodata(shared: Path) -> None:
    stated = {
        name: (100 * footprint.area_km2 / Footprint.from_geobox(tile).area_km2, 100 - float(nodata[0]))
        for name, (tile, footprint, _, root) in real_footprints(shared).items()
        if (nodata := _all(root, "NODATA_PIXEL_PERCENTAGE"))
    }
    assert len(stated) >= 5
    for measured, said in stated.values():
        assert said == pytest.approx(measured, abs=0.5)


@pytest.mark.parametrize("tile", ["T01LAC", "T01KAB", "T01CCV"])
def test_real_tiles_of_zone_1_are_whole_and_split_only_for_geojson(shared: Path, tile: str) -> None:
    footprint = next(f for name, (_, f, _, _) in real_footprints(shared).items() if tile in name)
    assert "Polygon" == footprint.polygon.geom_type
    crossing = footprint.bbox[0] > footprint.bbox[2]
    assert (tile != "T01CCV") == crossing
    assert ("MultiPolygon" if crossing else "Polygon") == footprint.geojson()["type"]
