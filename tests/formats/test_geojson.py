"""GeoJSON as RFC 7946 wants it, with exactly the promised properties."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from builders import summary_of
from hypothesis import given
from hypothesis import strategies as st

from sentinel_match.accuracy.figures import shift_statistics
from sentinel_match.errors import OutputError
from sentinel_match.formats import geojson
from sentinel_match.geometry.transform import PlaneTransform, Transform
from sentinel_match.products.scene import Scene
from sentinel_match.tiepoints import TiePoints

PROPERTIES = re.findall(
    r"\w+",
    """id left_x left_y right_x right_y left_col left_row right_col right_row dx_m dy_m shift_m azimuth_deg sigma_m
    sigma_major_m sigma_minor_m sigma_azimuth_deg score residual_m inlier method""",
)


def scene(name: str) -> Scene:
    return Scene(
        id=name,
        path=Path(f"{name}.SAFE"),
        level="L1C",
        footprint=None,
        footprint_source="none",
        tile="T33UUU",
        sensing_time=datetime(2016, 6, 8, 15, 31, 23, tzinfo=UTC),
    )


def ties(n: int = 5, crs: str = "EPSG:32633", at: tuple[float, float] = (399960.0, 5800020.0)) -> TiePoints:
    rng = np.random.default_rng(0)
    left = np.array(at) + rng.uniform(0, 5000, (n, 2))
    right = left + (6.4, 18.1)
    inlier = np.arange(n) % 5 != 4
    shift = np.eye(3)
    shift[:2, 2] = (6.4, 18.1)
    summary = summary_of(Transform(PlaneTransform("translation", shift, np.zeros(2))), crs=crs)
    if n:
        summary = replace(summary, **vars(shift_statistics(left, right, np.full((n, 2), 0.3), inlier, 10.0)))
    return TiePoints(
        left=scene("left"),
        right=scene("right"),
        left_xy=left,
        right_xy=right,
        left_px=(left - at) / 10,
        right_px=(right - at) / 10,
        sigma_m=np.full(n, 0.5),
        score=np.linspace(0, 1, n),
        residual_m=np.full(n, 0.3),
        inlier=inlier,
        method=np.full(n, "phase"),
        summary=summary,
    )


def written(tmp_path: Path, points: TiePoints) -> dict[str, object]:
    geojson.write_geojson(points, str(tmp_path / "ties.geojson"))  # a plain name will do
    return json.loads((tmp_path / "ties.geojson").read_text())


def test_every_feature_has_exactly_the_promised_properties(tmp_path: Path) -> None:
    collection = written(tmp_path, ties())
    assert 5 == len(collection["features"])
    for k, feature in enumerate(collection["features"]):
        assert PROPERTIES == list(feature["properties"])
        assert k == feature["id"] == feature["properties"]["id"]
        assert isinstance(feature["properties"]["inlier"], bool)


def test_the_collection_follows_rfc_7946(tmp_path: Path) -> None:
    collection = written(tmp_path, ties())
    assert "crs" not in collection
    assert "EPSG:32633" == collection["projected_crs"]
    west, south, east, north = collection["bbox"]
    for feature in collection["features"]:
        lon, lat = feature["geometry"]["coordinates"]
        assert west <= lon <= east
        assert south <= lat <= north


def test_a_point_lies_at_the_left_ground_position(tmp_path: Path) -> None:
    from pyproj import Transformer

    points = ties()
    back = Transformer.from_crs("EPSG:4326", points.crs, always_xy=True)
    for feature, xy in zip(written(tmp_path, points)["features"], points.left_xy, strict=True):
        assert np.hypot(*(np.array(back.transform(*feature["geometry"]["coordinates"])) - xy)) < 0.01


def test_a_shift_is_right_minus_left_and_its_azimuth_turns_clockwise_from_north(tmp_path: Path) -> None:
    for feature in written(tmp_path, ties())["features"]:
        p = feature["properties"]
        assert (6.4, 18.1) == (p["dx_m"], p["dy_m"])
        assert abs(p["right_x"] - p["left_x"] - 6.4) < 0.002
        assert abs(p["azimuth_deg"] - 19.47) < 0.01
        assert abs(p["shift_m"] - 19.198) < 0.001


@given(st.floats(-50, 50), st.floats(-50, 50))
def test_azimuth_and_length_give_the_shift_back(dx: float, dy: float) -> None:
    points = replace(ties(1), right_xy=ties(1).left_xy + (dx, dy))
    length, azimuth = np.hypot(*points.shift[0]), np.radians(points.azimuth[0])
    assert np.allclose((length * np.sin(azimuth), length * np.cos(azimuth)), (dx, dy), atol=1e-6)
    assert 0 <= points.azimuth[0] < 360


def test_what_is_no_number_becomes_null(tmp_path: Path) -> None:
    collection = written(tmp_path, replace(ties(), sigma_m=np.full(5, np.nan)))
    assert collection["features"][0]["properties"]["sigma_m"] is None


def test_across_the_antimeridian_west_is_greater_than_east(tmp_path: Path) -> None:
    # Zone 1 begins at 180 degrees: 166 km west of its central meridian near the equator is beyond it
    points = ties(50, crs="EPSG:32601", at=(163_000.0, 100_000.0))
    west, _, east, _ = written(tmp_path, points)["bbox"]
    assert west > 179
    assert east < -179


def test_no_points_at_all_is_a_valid_collection(tmp_path: Path) -> None:
    collection = written(tmp_path, ties(0))
    assert [] == collection["features"]
    assert "bbox" not in collection


def test_gdal_reads_every_point_where_it_is(tmp_path: Path) -> None:
    import pyogrio
    import shapely

    points = ties()
    geojson.write_geojson(points, tmp_path / "ties.geojson")
    meta, _, geometry, fields = pyogrio.raw.read(tmp_path / "ties.geojson")
    assert "EPSG:4326" == meta["crs"]
    assert 5 == len(shapely.from_wkb(geometry))
    assert (set(PROPERTIES) - {"id"}) <= set(meta["fields"].tolist())
    assert points.inlier.tolist() == fields[meta["fields"].tolist().index("inlier")].astype(bool).tolist()


def test_points_begin_where_gdal_looks_for_them_however_long_all_else_is(tmp_path: Path) -> None:
    points = ties()
    assert points.summary is not None
    long = replace(points.left, path=Path("/archive") / ("deep/" * 1300) / "L.SAFE")
    geojson.write_geojson(replace(points, left=long), tmp_path / "far.geojson")
    many = replace(points.summary, kinds_tried={f"kind {k}": 1.0 for k in range(1000)})
    geojson.write_geojson(replace(points, summary=many), tmp_path / "ties.geojson")
    geojson.write_collection(
        {"type": "FeatureCollection", "refused": ["x"] * 9999, "features": [{}]}, tmp_path / "a.json"
    )
    for name in ("far.geojson", "ties.geojson", "a.json"):
        text = (tmp_path / name).read_text()
        assert len(text) > 6500
        assert text.index('"features":[') < 6000
        assert json.loads(text)["features"]


def test_a_file_that_cannot_be_written_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="could not be written"):
        geojson.write_geojson(ties(), tmp_path / "file" / "ties.geojson")
    assert ["file"] == [p.name for p in tmp_path.iterdir()]


def test_a_failure_while_writing_keeps_the_old_file(tmp_path: Path) -> None:
    from sentinel_match.atomic import whole

    (tmp_path / "ties.geojson").write_text("old")
    with pytest.raises(KeyboardInterrupt), whole(tmp_path / "ties.geojson") as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert "old" == (tmp_path / "ties.geojson").read_text()
    assert ["ties.geojson"] == [p.name for p in tmp_path.iterdir()]
