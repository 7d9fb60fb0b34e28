"""Pairing: exact lists from hand-made scenes, and the choice on real products."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from shapely.geometry import shape

from sentinel_match.errors import NoGeoreference, NoOverlap
from sentinel_match.formats.geojson import dumps, write_collection
from sentinel_match.geometry.footprint import Footprint
from sentinel_match.geometry.outlines import Outlines
from sentinel_match.products.catalogue import find_scenes
from sentinel_match.products.filters import Filters
from sentinel_match.products.pairing import Pairing, pair_of, pair_scenes, pairs_geojson
from sentinel_match.products.scene import Scene, scenes_geojson

if TYPE_CHECKING:
    from sentinel_match.products.pair import Pair

START = datetime(2019, 3, 18, 8, 37, 3, tzinfo=UTC)


def grid(epsg: int = 32633, east: float = 300_000, north: float = 5_800_020, rows: int = 10_980) -> GeoBox:
    return GeoBox((rows, 10_980), Affine(10, 0, east, 0, -10, north), f"EPSG:{epsg}")


def scene(name: str, where: GeoBox | None = None, days: float = 0, **facts: Any) -> Scene:
    """A product seen ``days`` after 2019-03-18, each in a datatake of its own unless told otherwise."""
    time = START + timedelta(days=days)
    stated = {"level": "L1C", "tile": "T33UUU", "cloud_cover": 0.0, "relative_orbit": 64, "sensing_time": time}
    stated |= {"datatake": f"GS2A_{time:%Y%m%dT%H%M%S}_0{name}", "baseline": "02.07"} | facts
    footprint = stated.pop("footprint", Footprint.from_geobox(where) if where else None)
    return Scene(
        id=name, path=Path(f"{name}.SAFE"), footprint=footprint, footprint_source="tile", geobox=where, **stated
    )


def ids(pairing: Pairing) -> list[tuple[str, str]]:
    return [(pair.left.id, pair.right.id) for pair in pairing.pairs]


def reasons(pairing: Pairing) -> dict[tuple[str, ...], str]:
    return {tuple(sorted({r.left.id, (r.right or r.left).id})): r.reason for r in pairing.refused}


def labels(*scenes: Scene) -> list[str]:
    """What the scenes are called in the names of their pairs' folders."""
    proposed = pair_scenes(scenes, Filters(all_pairs=True)).pairs
    there = {
        scene.path: label
        for pair in proposed
        for scene, label in zip((pair.left, pair.right), pair.id.split("__"), strict=True)
    }
    return [there[scene.path] for scene in scenes]


def loose(name: str, days: float, path: str = "") -> Scene:
    return replace(scene(name, grid(), days, tile="", datatake=""), path=Path(path or f"{name}.tif"))


def test_a_folder_is_named_by_its_scenes() -> None:
    assert ["T33UUU_20190318T083703", "T33UUU_20190319T083703"] == labels(scene("A", grid()), scene("B", grid(), 1))
    assert ["spring_1", "autumn-2.b"] == labels(loose("spring 1", 0), loose("autumn-2.b", 9))
    assert ["a_b", "scene"] == labels(loose("../a:b/", 0), loose("???", 9))


def test_scenes_of_one_name_are_told_apart_by_where_they_are() -> None:
    one, other = labels(loose("B04", 0, "spring/B04.tif"), loose("b04", 9, "autumn/b04.tif"))  # one file on Windows
    assert one.lower() != other.lower()
    assert re.fullmatch(r"B04-[0-9a-f]{8}", one)
    assert re.fullmatch(r"b04-[0-9a-f]{8}", other)
    assert [one, other] == labels(loose("B04", 0, "spring/B04.tif"), loose("b04", 9, "autumn/b04.tif"))


def test_names_too_long_for_a_folder_are_cut_and_stay_apart() -> None:
    """Two of them, and what is in the folder, fit into the 255 bytes of a name."""
    names = labels(loose("x" * 200 + "1", 0), loose("x" * 200 + "2", 9))
    assert len({*names}) == 2
    assert all(re.fullmatch(r"x{80}-[0-9a-f]{8}", name) for name in names)
    assert ["x" * 80, "y"] == labels(loose("x" * 80, 0), loose("y", 9))
    assert len(pair_of(loose("x" * 200, 0), loose("z" * 200, 1)).id) < 255 - len(".unfinished-")


@pytest.fixture
def eight() -> list[Scene]:
    """Six tiles on a grid in zone 32, one far away, one in zone 33 over the east of the grid, one with no CRS."""
    placed = {f"r{r}c{c}": grid(32632, 499_980 + 99_960 * c, 5_500_020 - 99_960 * r) for r in (0, 1) for c in (0, 1, 2)}
    placed |= {"far": grid(32632, 499_980, 4_500_000), "next": grid(32633, 199_980, 5_500_020)}
    scenes = [scene(name, where, days, tile=f"T32{name}") for days, (name, where) in enumerate(placed.items())]
    return [*scenes, scene("lost", days=99)]


# --- which pairs --------------------------------------------------------------------------------------------------


def test_the_pairs_of_a_grid_are_those_whose_footprints_overlap(eight: list[Scene]) -> None:
    pairing = pair_scenes(eight, Filters(all_pairs=True))
    expected = {
        ("r0c0", "r0c1"), ("r0c1", "r0c2"), ("r1c0", "r1c1"), ("r1c1", "r1c2"),  # beside one another
        ("r0c0", "r1c0"), ("r0c1", "r1c1"), ("r0c2", "r1c2"),  # above one another
        ("next", "r0c1"), ("next", "r0c2"), ("next", "r1c1"), ("next", "r1c2"),  # across the zones
    }  # fmt: skip
    assert expected == {tuple(sorted(pair)) for pair in ids(pairing)}
    assert len(expected) == len(pairing.pairs)
    corner = "overlap 0.8 % of the smaller footprint, less than 2.0 %"
    assert {
        ("r0c0", "r1c1"): corner,
        ("r0c1", "r1c0"): corner,
        ("r0c1", "r1c2"): corner,
        ("r0c2", "r1c1"): corner,
        ("far",): "its footprint meets no other",
        ("lost",): "it has neither a footprint nor a position, so nothing tells what ground it shows",
    } == reasons(pairing)


def test_the_overlap_across_zones_is_that_of_the_squares_in_one_projection(eight: list[Scene]) -> None:
    def in_zone_32(tile: GeoBox) -> Any:
        project = Transformer.from_crs(str(tile.crs), "EPSG:32632", always_xy=True).transform
        return shapely.transform(tile.extent.geom.segmentize(1000), lambda xy: np.column_stack(project(*xy.T)))

    for pair in pair_scenes(eight, Filters(all_pairs=True)).pairs:
        one, other = in_zone_32(pair.left.geobox), in_zone_32(pair.right.geobox)
        assert (one & other).area / min(one.area, other.area) == pytest.approx(pair.share, abs=0.002)
        assert (one & other).area / (one | other).area == pytest.approx(pair.iou, abs=0.002)


@settings(max_examples=20)
@given(st.randoms())
def test_the_result_does_not_depend_on_the_order_of_the_scenes(shuffle: random.Random) -> None:
    scenes = [
        scene(f"s{n}", grid(east=300_000 + 30_000 * (n % 3)), 5 * n, cloud_cover=10.0 * (n % 4)) for n in range(6)
    ]
    shuffled = scenes.copy()
    shuffle.shuffle(shuffled)
    assert pair_scenes(scenes) == pair_scenes(shuffled)


def test_a_scene_given_twice_is_one_scene_and_never_its_own_partner() -> None:
    one, other = scene("a", grid()), scene("b", grid(), 5)
    assert [("a", "b")] == ids(pair_scenes([one, other, one, replace(other)], Filters(all_pairs=True)))
    assert () == pair_scenes([one, one]).pairs


def test_a_pair_is_found_across_the_antimeridian() -> None:
    east = scene("east", grid(32701, 99_960, 8_300_020), tile="T01LAC")
    west = scene("west", grid(32760, 699_960, 8_300_020), 3, tile="T60LYH")
    (pair,) = pair_scenes([east, west]).pairs
    assert 0.60 < pair.share < 0.66
    assert pair.overlap is not None
    assert 0 < pair.overlap.bbox[0] < pair.overlap.bbox[2] < 180


def test_nothing_comes_of_nothing() -> None:
    assert Pairing((), ()) == pair_scenes([])


@given(st.integers(-9_000, 9_000), st.integers(-9_000, 9_000), st.sampled_from([60, 1, 33]), st.booleans())
def test_estimated_overlaps_agree_with_exact_ones(dx: int, dy: int, zone: int, south: bool) -> None:
    epsg, north = (32_700 + zone, 1_800_000) if south else (32_600 + zone, 8_900_000)
    one, other = Footprint.from_geobox(grid(epsg, 300_000, north)), Footprint.from_geobox(
        grid(epsg, 300_000 + 10 * dx, north + 10 * dy)
    )  # fmt: skip
    exact = one.intersection(other)
    estimate = Outlines.of([one, other]).common_km2(np.array([0]), np.array([1]))[0]
    assert (exact.area_km2 if exact else 0) == pytest.approx(estimate, rel=0.005, abs=0.005 * one.area_km2)


# --- one acquisition ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"baseline": "05.00"}, "same acquisition: processed or stored twice"),
        ({"level": "L2A"}, "same acquisition: its L1C and its L2A"),
        ({"tile": "T33UVU"}, "same datatake: nothing has changed between them"),
        (
            {"datastrip": "S2A_OPER_MSI_L1C_DS_SGS__20190318T105200_S20190318T084000_N02.07"},
            "same acquisition: two complementary datastrips of one datatake",
        ),
        ({"datatake": ""}, "same acquisition: processed or stored twice"),  # a loose band beside its product
    ],
)
def test_two_products_of_one_datatake_are_never_a_pair(facts: dict[str, Any], reason: str) -> None:
    strip = "S2A_OPER_MSI_L1C_DS_EPAE_20190318T104000_S20190318T083701_N02.07"
    one = scene("a", grid(), datastrip=strip)
    facts = {"datatake": one.datatake, "datastrip": strip} | facts
    other = scene("b", grid(), **facts)
    pairing = pair_scenes([one, other], Filters(all_pairs=True, mixed_levels=True))
    assert () == pairing.pairs
    assert {("a", "b"): reason} == reasons(pairing)


def test_complementary_datastrips_that_do_not_meet_have_their_reason_and_their_own_partners() -> None:
    upper = scene("upper", grid(rows=4_000), datastrip="DS_SGS__20190318T104000_S20190318T083701_N02.07")
    lower = replace(
        scene("lower", grid(north=5_800_020 - 50_000, rows=5_980), datatake=upper.datatake),
        datastrip="DS_EPAE_20190318T105200_S20190318T084000_N02.07",
    )
    whole = scene("whole", grid(), 10)
    pairing = pair_scenes([lower, whole, upper])
    assert {("whole", "upper"), ("whole", "lower")} == set(ids(pairing))
    assert {("lower", "upper"): "same acquisition: two complementary datastrips of one datatake"} == reasons(pairing)


def test_two_acquisitions_are_compared_once_as_l2a_in_the_newest_processing() -> None:
    dates = [
        [scene("a1", grid()), scene("a2", grid(), level="L2A"), scene("a3", grid(), level="L2A", baseline="05.00")],
        [scene("b1", grid(), 30), scene("b2", grid(), 30, level="L2A", baseline="05.00")],
    ]
    same = [[replace(s, datatake=f"GS2A_{s.sensing_time:%Y%m%dT%H%M%S}_1") for s in date] for date in dates]
    pairing = pair_scenes([s for date in same for s in date], Filters(all_pairs=True))
    assert [("a3", "b2")] == ids(pairing)
    why = reasons(pairing)
    assert "the same two acquisitions are compared as L2A 05.00" == why["a1", "b1"] == why["a2", "b2"]
    assert "L1C and L2A: mixed levels are not asked for" == why["a1", "b2"]


def test_an_acquisition_at_both_levels_meets_a_partner_of_either() -> None:
    both = [scene("a1", grid()), scene("a2", grid(), level="L2A")]
    both = [replace(s, datatake="GS2A_20190318T083701_1") for s in both]
    partners = [scene("old", grid(), 30), scene("new", grid(), 60, level="L2A")]
    assert {("a1", "old"), ("a2", "new")} == set(ids(pair_scenes(both + partners)))


# --- facts --------------------------------------------------------------------------------------------------------


def test_a_pair_states_its_facts_and_its_reasons() -> None:
    spring = scene("spring", grid(), cloud_cover=44.0, refined=False)
    summer = scene("summer", grid(), 160, cloud_cover=1.0, refined=False)
    (pair,) = pair_scenes([spring, summer]).pairs
    assert ("summer", "spring") == (pair.left.id, pair.right.id)
    assert (1.0, 1.0) == pytest.approx((pair.share, pair.iou))
    assert 12_059 == pytest.approx(pair.overlap_km2, rel=0.001)
    assert 0.5544 == pytest.approx(pair.joint_clear)
    assert (160, 160) == (pair.days, pair.day_of_year_gap)
    assert pair.same_orbit
    assert "none" == pair.refined
    assert 0 < pair.score < 1
    assert (
        "overlap 12 059 km², 100 % of the smaller",
        "about 55 % jointly clear",
        "160 days apart, 160 days of the year",
        "same tile T33UUU",
        "same relative orbit R064",
        "neither refined",
    ) == pair.reasons


def test_what_is_not_known_stays_unknown() -> None:
    loose = {"level": "", "tile": "", "datatake": "", "baseline": "", "relative_orbit": None}
    one = scene("a", grid(), **loose, sensing_time=None, cloud_cover=None)
    (pair,) = pair_scenes([one, replace(one, id="b", path=Path("b.tif"))]).pairs
    assert (None, None, None, None) == (pair.joint_clear, pair.days, pair.day_of_year_gap, pair.same_orbit)
    assert "unknown" == pair.refined
    assert ("overlap 12 059 km², 100 % of the smaller",) == pair.reasons


@pytest.mark.parametrize(
    ("one", "other", "gap"),
    [
        ("2019-03-18", "2019-08-25", 160),
        ("2018-12-31", "2019-01-01", 1),
        ("2016-02-29", "2017-03-01", 1),
        ("2016-12-31", "2019-12-31", 0),
        ("2019-01-01", "2019-07-02", 182),
        ("2019-01-01", "2019-07-03", 182),
    ],
)
def test_the_day_of_year_distance_is_circular(one: str, other: str, gap: int) -> None:
    a, b = (
        replace(scene(day, grid()), sensing_time=datetime.fromisoformat(f"{day}T10:00:00+00:00"))
        for day in (one, other)
    )
    assert gap == pair_of(a, b).day_of_year_gap == pair_of(b, a).day_of_year_gap


@pytest.mark.parametrize(
    ("facts", "left"),
    [
        ({}, "early"),
        ({"cloud_cover": 30.0}, "early"),
        ({"footprint": Footprint.from_geobox(grid(rows=8_000))}, "early"),
        ({"refined": True}, "late"),
        ({"refined": True, "cloud_cover": 90.0}, "late"),
    ],
)
def test_the_left_scene_is_the_better_reference(facts: dict[str, Any], left: str) -> None:
    early, late = scene("early", grid()), scene("late", grid(), 20, **facts)
    (pair,) = pair_scenes([late, early]).pairs
    assert left == pair.left.id


def test_less_than_one_percent_of_clear_ground_decides_nothing() -> None:
    for cloud, left in ((0.9, "early"), (1.1, "late")):
        (pair,) = pair_scenes([scene("early", grid(), cloud_cover=cloud), scene("late", grid(), 20)]).pairs
        assert left == pair.left.id


def test_ids_are_file_names_and_unique_even_for_images_of_one_name() -> None:
    loose = {"level": "", "tile": "", "datatake": "", "sensing_time": None}
    named = scene("new/ img: é?", grid(), **loose)
    images = [replace(named, path=Path(folder) / "img.tif") for folder in ("a", "b", "c")]
    images.append(replace(named, id="NEW/ IMG: é?", path=Path("d/img.tif")))
    pairs = pair_scenes(images, Filters(all_pairs=True)).pairs
    assert 6 == len({pair.id.casefold() for pair in pairs})
    assert all(set('/\\:?*"<>| ').isdisjoint(pair.id) for pair in pairs)
    (plain,) = pair_scenes([scene("x", grid()), scene("y", grid(), 1)]).pairs
    assert "T33UUU_20190318T083703__T33UUU_20190319T083703" == plain.id


# --- filters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "facts", "reason"),
    [
        ({"min_overlap_km2": 20_000}, {}, "overlap 1.21e+04 km², less than 20000 km²"),
        ({"min_share": 0.5}, {"east": 380_000}, "overlap 27.1 % of the smaller footprint, less than 50.0 %"),
        ({"max_cloud": 20}, {"cloud_cover": 30.0}, "30 % cloud, more than 20 %"),
        ({}, {"cloud_cover": 99.0}, "only about 1.0 % is clear in both, less than 2.0 %"),
        ({"min_joint_clear": 0.5}, {"cloud_cover": 60.0}, "only about 40.0 % is clear in both, less than 50.0 %"),
        ({"min_days": 20}, {}, "10.0 days apart, less than 20"),
        ({"max_days": 5}, {}, "10.0 days apart, more than 5"),
        ({"max_season_gap_days": 9}, {}, "10 days of the year apart, more than 9"),
        ({"max_days": 5}, {"sensing_time": None}, "a date is not known, so the limits on days cannot be checked"),
        ({"same_orbit_only": True}, {"relative_orbit": 107}, "different relative orbits"),
        ({"same_orbit_only": True}, {"relative_orbit": None}, "a relative orbit is not known"),
        ({"same_tile_only": True}, {"tile": "T33UVU"}, "different tiles, T33UUU and T33UVU"),
        ({}, {"level": "L2A"}, "L1C and L2A: mixed levels are not asked for"),
    ],
)
def test_every_filter_refuses_with_its_reason(filters: dict[str, Any], facts: dict[str, Any], reason: str) -> None:
    where = grid(east=facts.pop("east", 300_000))
    scenes = [scene("a", grid()), scene("b", where, 10, **facts)]
    pairing = pair_scenes(scenes, Filters(**filters))
    assert () == pairing.pairs
    assert {("a", "b"): reason} == reasons(pairing)
    open_filters = Filters(min_joint_clear=0, mixed_levels=True)
    assert 1 == len(pair_scenes(scenes, open_filters).pairs)


def test_unstated_clouds_are_not_taken_for_a_closed_sky() -> None:
    scenes = [scene("a", grid(), cloud_cover=None), scene("b", grid(), 10, cloud_cover=None)]
    assert 1 == len(pair_scenes(scenes).pairs)
    assert 0 == len(pair_scenes([scenes[0], scene("c", grid(), 5, cloud_cover=100.0)]).pairs)


# --- the sparse choice --------------------------------------------------------------------------------------------


def linked(pairing: Pairing) -> int:
    """Number of connected groups among the scenes that are in pairs."""
    groups = [{pair.left.id, pair.right.id} for pair in pairing.pairs]
    for one, other in combinations(range(len(groups)), 2):
        if groups[one] & groups[other]:
            groups[other] |= groups[one]
            groups[one] = set()
    return sum(bool(group) for group in groups)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 95), st.integers(0, 400)), min_size=2, max_size=10))
def test_the_sparse_set_keeps_the_best_partners_and_all_links(facts: list[tuple[int, float, int]]) -> None:
    scenes = [
        scene(f"s{n}", grid(east=300_000 + 50_000 * column), days + 1000 * n, cloud_cover=cloud)
        for n, (column, cloud, days) in enumerate(facts)
    ]
    every = pair_scenes(scenes, Filters(all_pairs=True))
    sparse = pair_scenes(scenes)
    chosen = {pair.id for pair in sparse.pairs}
    assert chosen <= {pair.id for pair in every.pairs}
    assert linked(every) == linked(sparse)
    for one in scenes:
        own = [pair for pair in every.pairs if one in {pair.left, pair.right}]
        # Draft areas are estimates, so scores within 1 % of one another may change places.
        sure = [pair for pair in own if sum(other.score > 0.99 * pair.score for other in own) <= 2]
        assert {pair.id for pair in sure} <= chosen
        assert min(2, len(own)) <= sum(pair.id in chosen for pair in own)
    refused = {(r.left.id, r.right.id) for r in sparse.refused if r.right and "better partners" in r.reason}
    assert len(every.pairs) - len(sparse.pairs) == len(refused)


def test_two_neighbouring_series_stay_linked_though_partners_beside_are_never_the_best() -> None:
    columns = {"west": 300_000, "east": 399_960}
    scenes = [
        scene(f"{name}{n}", grid(east=east), 5 * n + len(name) * 400, cloud_cover=float(n), tile=name)
        for name, east in columns.items()
        for n in range(6)
    ]
    sparse = pair_scenes([*scenes, scene("north", grid(north=5_899_980), 9_000, tile="north")])
    across = [pair for pair in sparse.pairs if {pair.left.tile, pair.right.tile} == {"west", "east"}]
    assert 1 == linked(sparse)
    assert 1 == len(across)


def test_a_long_series_gets_about_two_pairs_a_scene() -> None:
    chance = random.Random(1)  # noqa: S311
    scenes = [scene(f"s{n:02}", grid(), 5 * n, cloud_cover=chance.uniform(0, 90)) for n in range(20)]
    sparse = pair_scenes(scenes)
    assert 19 <= len(sparse.pairs) <= 40
    assert 1 == linked(sparse)
    assert 20 * 19 // 2 == len(pair_scenes(scenes, Filters(all_pairs=True)).pairs)
    assert len(sparse.pairs) < len(pair_scenes(scenes, Filters(per_scene=4)).pairs)
    assert [pair.score for pair in sparse.pairs] == sorted((pair.score for pair in sparse.pairs), reverse=True)


def test_clear_large_overlaps_of_one_season_come_first() -> None:
    left = scene("left", grid())
    better = scene("better", grid(), 365)
    worse = [
        scene("cloudy", grid(), 365, cloud_cover=50.0),
        scene("beside", grid(east=380_000), 365),
        scene("sliver", grid(rows=1_000), 365),
        scene("season", grid(), 180),
        scene("orbit", grid(), 365, relative_orbit=107),
        scene("level", grid(), 365, level="L2A"),
    ]
    for other in worse:
        assert pair_of(left, better).score > pair_of(left, other).score > 0


# --- positions ----------------------------------------------------------------------------------------------------


def photo(name: str, lon: float, lat: float, **facts: Any) -> Scene:
    return scene(name, level="", tile="", datatake="", relative_orbit=None, position=(lon, lat), **facts)


def test_images_with_nothing_but_a_position_are_paired_by_distance() -> None:
    photos = [photo("a", 179.9995, 51.0), photo("b", -179.9995, 51.0), photo("c", 179.99, 51.0), photo("d", 10.0, 51.0)]
    pairing = pair_scenes(photos, Filters(all_pairs=True))
    assert {("a", "b"), ("a", "c"), ("b", "c")} == {tuple(sorted(pair)) for pair in ids(pairing)}
    assert ("a", "b") == tuple(sorted((pairing.pairs[0].left.id, pairing.pairs[0].right.id)))
    # One degree of longitude at 51 N is 70.2 km.
    assert 0.0702 == pytest.approx(pairing.pairs[0].distance_km, rel=0.01)
    assert ("0.07 km apart", "about 100 % jointly clear", "0 days apart, 0 days of the year") == pairing.pairs[
        0
    ].reasons
    assert {("d",): "no other image of known position is within 1 km"} == reasons(pairing)
    assert () == pair_scenes(photos, Filters(max_distance_km=0.01)).pairs
    assert 6 == len(pair_scenes(photos, Filters(max_distance_km=20_100, all_pairs=True)).pairs)


def test_positions_and_footprints_do_not_mix() -> None:
    pairing = pair_scenes([photo("a", 12.5, 52.0), scene("b", grid())])
    assert () == pairing.pairs
    assert {("a",), ("b",)} == set(reasons(pairing))


# --- two given scenes ---------------------------------------------------------------------------------------------


def test_two_given_scenes_keep_their_order_whatever_speaks_against_it() -> None:
    cloudy, clear = scene("cloudy", grid(), cloud_cover=99.0), scene("clear", grid(), 10)
    pair = pair_of(cloudy, clear)
    assert ("cloudy", "clear") == (pair.left.id, pair.right.id)
    assert pair.overlap is not None
    assert 0.001 == pytest.approx(pair_of(photo("a", 0, 0), photo("b", 0, 9.04e-6)).distance_km, rel=0.01)


def test_two_given_scenes_without_common_ground_are_an_error() -> None:
    with pytest.raises(NoOverlap, match="a and b show no common ground"):
        pair_of(scene("a", grid()), scene("b", grid(east=500_000)))


@pytest.mark.parametrize("other", [scene("lost"), photo("photo", 12.5, 52.0)])
def test_a_given_scene_without_footprint_is_an_error(other: Scene) -> None:
    with pytest.raises(NoGeoreference):
        pair_of(other, scene("a", grid()))


# --- GeoJSON ------------------------------------------------------------------------------------------------------


def test_pairs_and_scenes_become_geojson(eight: list[Scene], tmp_path: Path) -> None:
    pairing = pair_scenes([*eight, photo("p", 1, 1), photo("q", 1, 1.001)], Filters(all_pairs=True))
    written = json.loads(dumps(pairs_geojson(pairing)))
    assert "FeatureCollection" == written["type"]
    assert [pair.id for pair in pairing.pairs] == [feature["id"] for feature in written["features"]]
    for pair, feature in zip(pairing.pairs, written["features"], strict=True):
        assert shape(feature["geometry"]).is_valid
        assert ("MultiPoint" if pair.distance_km else "Polygon") == feature["geometry"]["type"]
        assert pair.left.id == feature["properties"]["left"]
        assert list(pair.reasons) == feature["properties"]["reasons"]
        assert feature["properties"]["share"] == pytest.approx(pair.share, abs=1e-4)
    assert len(pairing.refused) == len(written["refused"])
    assert {"left": "lost", "right": None, "reason": reasons(pairing)["lost",]} in written["refused"]
    assert len(pairing.refused) == sum(written["refused_counts"].values())
    write_collection(pairs_geojson(pairing), tmp_path / "pairs.geojson")
    assert written == json.loads((tmp_path / "pairs.geojson").read_text(encoding="utf-8"))

    listed = json.loads(json.dumps(scenes_geojson([*eight, photo("p", 1, 1)]), allow_nan=False))
    kinds = [feature["geometry"] and feature["geometry"]["type"] for feature in listed["features"]]
    assert [*["Polygon"] * 8, None, "Point"] == kinds
    assert "2019-03-18T08:37:03+00:00" == listed["features"][0]["properties"]["sensing_time"]
    assert listed["features"][0]["properties"]["area_km2"] == pytest.approx(12_056, rel=0.002)


# --- real products ------------------------------------------------------------------------------------------------


def only_pair(folder: Path) -> Pair:
    (pair,) = pair_scenes(find_scenes([folder]).scenes).pairs
    return pair


def test_the_clear_date_is_the_reference_of_the_real_10_m_pair(shared: Path) -> None:
    pair = only_pair(shared / "safe_pair_T33UUU_B04")
    assert "T33UUU_20160608T153123__T33UUU_20160529T153633" == pair.id
    assert 0.866 == pytest.approx(pair.joint_clear, abs=0.001)
    assert (10, True) == (pair.day_of_year_gap, pair.same_orbit)
    assert 450 < pair.overlap_km2 < 465


def test_the_summer_date_is_the_reference_of_the_real_cross_season_pair(shared: Path) -> None:
    pair = only_pair(shared / "safe_pair_T36UYA_B01")
    assert "T36UYA_20190825T083603__T36UYA_20190318T083703" == pair.id
    assert 160 == pair.day_of_year_gap
    assert 12_046 == pytest.approx(pair.overlap_km2, abs=1)


def test_a_loose_band_is_never_paired_with_its_own_product(shared: Path) -> None:
    found = find_scenes([shared / "safe_pair_T36UYA_B01", shared / "t36uya_b01_60m"]).scenes
    assert 4 == len(found)
    for pair in pair_scenes(found, Filters(all_pairs=True)).pairs:
        assert pair.days is not None
        assert pair.days > 100
