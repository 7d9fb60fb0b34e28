"""Pairs judged by the million are those that looking at one pair after the other gives."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from math import inf
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pair_by_pair
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from shapely.geometry import box

from sentinel_match.geometry.footprint import Footprint
from sentinel_match.products import candidates
from sentinel_match.products.filters import Filters
from sentinel_match.products.judging import millionths
from sentinel_match.products.pairing import Pairing, pair_scenes
from sentinel_match.products.refusals import EXAMPLES
from sentinel_match.products.scene import Asset, Mask, Scene

START = datetime(2019, 3, 18, 8, 37, 3, tzinfo=UTC)
DAYS = (0, 0.01, 5, 5.5, 80, 182, 365, 366)
MASKS = (Mask("SCL", Asset(Path("scl.tif")), None),)

PLACES = {
    "T33UUU": (32633, 300_000, 5_800_020, 10_980, 10_980),
    "T33UVU": (32633, 399_960, 5_800_020, 10_980, 10_980),  # beside it
    "T33UUT": (32633, 300_000, 5_700_000, 10_980, 10_980),  # below it
    "T33UVT": (32633, 409_800, 5_690_220, 10_980, 10_980),  # touches a corner
    "north": (32633, 300_000, 5_800_020, 5_000, 10_980),
    "south": (32633, 300_000, 5_750_010, 5_979, 10_980),
    "T32UQD": (32632, 710_000, 5_800_020, 10_980, 10_980),
    "T01LAC": (32701, 99_960, 8_300_020, 10_980, 10_980),  # on both sides of the antimeridian
    "T60LYH": (32760, 699_960, 8_300_020, 10_980, 10_980),
    "far": (32645, 300_000, 5_800_020, 10_980, 10_980),
}


@cache
def ground(place: str, share: float) -> Footprint:
    """A square, or what a swath shows of it."""
    epsg, east, north, rows, columns = PLACES[place]
    square = Footprint.from_geobox(GeoBox((rows, columns), Affine(10, 0, east, 0, -10, north), f"EPSG:{epsg}"))
    west, south, end, top = square.polygon.bounds
    return (
        square
        if share == 1
        else Footprint.from_lonlat(square.polygon & box(west, south, west + share * (end - west), top))
    )


def unknown_or(*values: object) -> st.SearchStrategy[Any]:
    return st.sampled_from([*values, None])


facts = st.fixed_dictionaries({
    "place": st.sampled_from([*PLACES, *["T33UUU"] * 8, "", ""]),
    "share": st.sampled_from([1, 1, 0.4, 0.6, 0.601]),
    "day": st.sampled_from([*DAYS, *DAYS, None]),
    "midnight": st.sampled_from([False] * 5 + [True]),
    "named": st.sampled_from(["product", "product", "tile", "loose"]),
    "level": st.sampled_from(["L1C", "L2A", "L2A", ""]),
    "baseline": st.sampled_from(["02.07", "05.00", "05.10", ""]),
    "cloud_cover": unknown_or(0.0, 12.5, 12.6, 50.0, 97.0, 99.45),
    "relative_orbit": unknown_or(64, 64, 107),
    "spacecraft": st.sampled_from(["S2A", "S2A", "S2B", "S2", ""]),
    "strip": st.sampled_from(["", "DS_SGS__20190318T104000_S20190318T083701_N02.07", "DS_X_S20190318T084000_N02.07"]),
    "refined": unknown_or(True, False, False),
    "position": unknown_or((179.9995, 51.0), (-179.9995, 51.0), (179.99, 51.0), (10.0, 51.0), (10.0, 51.004)),
    "masks": st.sampled_from([(), MASKS]),
})

limits = st.fixed_dictionaries(
    {},
    optional={
        "min_overlap_km2": st.sampled_from([0.0, 3_000.0]),
        "min_share": st.sampled_from([0.0, 0.095, 0.5]),
        "max_cloud": st.sampled_from([12.5, 60.0]),
        "min_joint_clear": st.sampled_from([0.0, 0.3]),
        "min_days": st.sampled_from([1.0, 6.0]),
        "max_days": st.sampled_from([200.0, inf]),
        "max_season_gap_days": st.sampled_from([30.0, inf]),
        "same_orbit_only": st.booleans(),
        "same_tile_only": st.booleans(),
        "mixed_levels": st.booleans(),
        "max_distance_km": st.sampled_from([0.01, 500.0]),
        "per_scene": st.sampled_from([1, 3]),
        "all_pairs": st.booleans(),
    },
)


def made(number: int, said: dict[str, Any]) -> Scene:
    said = dict(said)
    place, share, day, named = said.pop("place"), said.pop("share"), said.pop("day"), said.pop("named")
    time = None if day is None else START + timedelta(days=day)
    if said.pop("midnight") and time:
        time = time.replace(hour=0, minute=0, second=0)
    take = f"GS2A_{time:%Y%m%dT%H%M%S}_019" if time and named == "product" else ""
    return Scene(
        id=f"s{number // 2}" if named == "loose" else f"s{number}",
        path=Path(f"{number}.SAFE"),
        footprint=ground(place, share) if place else None,
        footprint_source="tile",
        sensing_time=time,
        tile="" if named == "loose" else place,
        datatake=take,
        datastrip=said.pop("strip"),
        **said,
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(facts, max_size=9), limits, st.sampled_from([1, 6, 400_000]))
def test_the_choice_is_that_of_looking_at_one_pair_after_the_other(
    archive: list[dict[str, Any]], limit: dict[str, Any], chunk: int
) -> None:
    scenes = [made(number, said) for number, said in enumerate(archive)]
    filters = Filters(**limit)
    pairs, refused = pair_by_pair.choose(scenes, filters)
    with patch.object(candidates, "CHUNK", chunk):
        pairing = pair_scenes(scenes, filters, most_refusals=None)
    assert pairs == pairing.pairs
    assert refused == pairing.refused
    assert len(refused) == sum(pairing.refused_counts.values())


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32), limits, st.sampled_from([300, 400_000]))
def test_so_it_is_in_a_series_of_many_dates(seed: int, limit: dict[str, Any], chunk: int) -> None:
    """Of products that share tiles and dates: most pairs are refused, and scores are often equal."""
    chance = np.random.default_rng(seed)
    scenes = [
        made(
            number,
            {
                "place": chance.choice(["T33UUU", "T33UUU", "T33UVU"]),
                "share": float(chance.choice([1, 1, 0.6, 0.601, 0.61])),
                "day": int(chance.integers(0, 40)) * 5,
                "midnight": False,
                "named": "product",
                "level": str(chance.choice(["L1C", "L2A"])),
                "baseline": str(chance.choice(["02.07", "05.00"])),
                "cloud_cover": float(chance.choice([0, 0, 20, 50, 99])),
                "relative_orbit": int(chance.choice([64, 107])),
                "spacecraft": "S2A",
                "strip": "",
                "refined": True,
                "position": None,
                "masks": (),
            },
        )
        for number in range(48)
    ]
    filters = Filters(**limit)
    pairs, refused = pair_by_pair.choose(scenes, filters)
    with patch.object(candidates, "CHUNK", chunk):
        assert pair_scenes(scenes, filters, most_refusals=None) == Pairing(
            pairs, refused, pair_scenes(scenes, filters).refused_counts
        )


@given(st.lists(st.integers(0, 2_000_000), min_size=1))
def test_scores_are_rounded_as_python_does(halves: list[int]) -> None:
    """Half-way cases too: numpy takes 0.1234565 for even, Python for what the binary number is nearer to."""
    scores = [half / 2e6 for half in halves]
    assert [round(1e6 * round(score, 6)) for score in scores] == millionths(np.array(scores)).tolist()


def series(count: int) -> list[Scene]:
    return [
        made(
            n,
            {
                "place": "T33UUU",
                "share": 1,
                "day": 10 * n,
                "midnight": False,
                "named": "product",
                "strip": "",
                "level": "",
            }
            | {"cloud_cover": 99.0 if n % 3 == 0 else 10.0},
        )
        for n in range(count)
    ]


@pytest.mark.parametrize("chunk", [50, 400_000])
def test_of_very_many_refusals_a_few_of_each_reason_are_listed_and_all_are_counted(chunk: int) -> None:
    scenes = [*series(60), replace(series(1)[0], id="lost", path=Path("lost"), footprint=None, datatake="")]
    with patch.object(candidates, "CHUNK", chunk):
        few, every = pair_scenes(scenes), pair_scenes(scenes, most_refusals=None)
    assert few.pairs == every.pairs
    assert few.refused_counts == every.refused_counts
    assert {
        "less than 2.0 % clear in both": 60 * 59 // 2 - 40 * 39 // 2,
        "better partners exist for both": 40 * 39 // 2 - len(every.pairs),
        "it has neither a footprint nor a position, so nothing tells what ground it shows": 1,
    } == every.refused_counts
    assert sum(every.refused_counts.values()) == len(every.refused)
    assert 2 * EXAMPLES + 1 == len(few.refused)
    places = [every.refused.index(refusal) for refusal in few.refused]
    assert all(one < other for one, other in pairwise(places))


def test_the_number_of_refusals_that_are_listed_can_be_chosen() -> None:
    scenes = series(6)
    assert len(pair_scenes(scenes).refused) == len(pair_scenes(scenes, most_refusals=None).refused) == 15 - 5
    assert 2 * EXAMPLES >= len(pair_scenes(series(12), most_refusals=1).refused)
    with pytest.raises(ValueError, match="most_refusals is 0, and must be"):
        pair_scenes(scenes, most_refusals=0)


@pytest.mark.parametrize("chunk", [1, 400_000])
def test_the_forest_of_many_chunks_is_that_of_one(chunk: int) -> None:
    with patch.object(candidates, "CHUNK", chunk):
        (pair_by_pair_pairs, _), pairing = (
            pair_by_pair.choose(series(30), Filters(per_scene=1)),
            pair_scenes(series(30), Filters(per_scene=1)),
        )
    assert pair_by_pair_pairs == pairing.pairs
