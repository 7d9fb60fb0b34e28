"""Every suffix holds the same points, where they are, and GDAL agrees."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from pyproj import Transformer
from rasterio.transform import GCPTransformer
from test_geojson import ties as invented

from sentinel_match.errors import OutputError
from sentinel_match.formats import gcps, qgis_style, write
from sentinel_match.tiepoints import TiePoints

# The grammar of RFC 7946 for the objects that are written here (geojson.org/schema/FeatureCollection.json)
FEATURE = {
    "type": "object",
    "required": ["type", "properties", "geometry"],
    "properties": {
        "type": {"const": "Feature"},
        "id": {"type": ["number", "string"]},
        "properties": {"type": ["object", "null"]},
        "geometry": {
            "type": "object",
            "required": ["type", "coordinates"],
            "properties": {
                "type": {"const": "Point"},
                "coordinates": {
                    "type": "array",
                    "prefixItems": [
                        {"type": "number", "minimum": -180, "maximum": 180},
                        {"type": "number", "minimum": -90, "maximum": 90},
                    ],
                    "minItems": 2,
                    "maxItems": 2,
                },
            },
        },
    },
    "not": {"anyOf": [{"required": ["coordinates"]}, {"required": ["features"]}, {"required": ["geometries"]}]},
}
COLLECTION = {
    "type": "object",
    "required": ["type", "features"],
    "properties": {
        "type": {"const": "FeatureCollection"},
        "features": {"type": "array", "items": FEATURE},
        "bbox": {"type": "array", "minItems": 4, "items": {"type": "number"}},
    },
    "not": {
        "anyOf": [
            {"required": ["crs"]},
            {"required": ["coordinates"]},
            {"required": ["geometries"]},
            {"required": ["geometry"]},
            {"required": ["properties"]},
        ]
    },
}


def read(path: Path, layer: str | None = None) -> tuple[dict[str, object], np.ndarray, dict[str, np.ndarray]]:
    meta, _, wkb, values = pyogrio.raw.read(path, layer=layer)
    return meta, shapely.from_wkb(wkb), dict(zip(meta["fields"].tolist(), values, strict=True))


@pytest.mark.parametrize("suffix", write.WRITERS)
def test_every_suffix_is_written_whole_under_a_plain_name(ties: TiePoints, tmp_path: Path, suffix: str) -> None:
    write.write(ties, str(tmp_path / f"ties{suffix}"))
    assert [f"ties{suffix}"] == [p.name for p in tmp_path.iterdir()]


def test_an_unknown_suffix_is_one_sentence_that_names_the_known_ones(ties: TiePoints, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"ties\.parquet could not be written.*\.gpkg"):
        write.write(ties, tmp_path / "ties.parquet")
    assert [] == list(tmp_path.iterdir())


def test_a_geopackage_holds_each_subject_as_a_layer_in_the_native_zone(ties: TiePoints, tmp_path: Path) -> None:
    write.write(ties, tmp_path / "ties.gpkg")
    believed = int(ties.inlier.sum())
    counts = {"footprints": 2, "residuals": believed, "matches": believed, "rejected": len(ties) - believed}
    for layer, count in {**counts, "tiepoints": believed}.items():
        info = pyogrio.read_info(tmp_path / "ties.gpkg", layer=layer)
        assert (layer, count, "EPSG:32633") == (layer, info["features"], info["crs"])
    _, points, fields = read(tmp_path / "ties.gpkg", "tiepoints")
    assert np.array_equal(ties.left_xy[fields["id"]], shapely.get_coordinates(points))
    assert np.array_equal(ties.right_xy[fields["id"], 0], fields["right_x"])
    facts = json.loads(
        pyogrio.read_info(tmp_path / "ties.gpkg", layer="tiepoints")["dataset_metadata"]["sentinel_match"]
    )
    assert ties.summary.verdict == facts["summary"]["verdict"]


def test_lines_have_their_true_length_and_residuals_begin_where_the_model_says(ties: TiePoints, tmp_path: Path) -> None:
    write.write(ties, tmp_path / "ties.gpkg")
    _, lines, fields = read(tmp_path / "ties.gpkg", "matches")
    ends = shapely.get_coordinates(lines).reshape(-1, 2, 2)
    assert np.array_equal(ties.left_xy[fields["id"]], ends[:, 0])
    assert np.array_equal(ties.right_xy[fields["id"]], ends[:, 1])
    _, lines, fields = read(tmp_path / "ties.gpkg", "residuals")
    warp = ties.transform
    ends = shapely.get_coordinates(lines).reshape(-1, 2, 2)
    assert np.allclose(warp(ties.left_xy[fields["id"]]), ends[:, 0], atol=1e-6)
    assert np.allclose(ties.residual_m[fields["id"]], shapely.length(lines), atol=1e-6)
    assert np.allclose(ends[:, 1] - ends[:, 0], np.column_stack([fields["rx_m"], fields["ry_m"]]), atol=1e-6)


def test_every_rejected_point_has_its_reason(ties: TiePoints, tmp_path: Path) -> None:
    write.write(ties, tmp_path / "ties.gpkg")
    _, _, fields = read(tmp_path / "ties.gpkg", "rejected")
    assert set(fields["reason"]) <= {"outlier", "unsure"}
    assert "outlier" in fields["reason"]
    _, _, fields = read(tmp_path / "ties.gpkg", "tiepoints")
    assert {None} == set(fields["reason"])


def test_coverage_counts_every_point_once_in_cells_of_a_kilometre(ties: TiePoints, tmp_path: Path) -> None:
    write.write(ties, tmp_path / "ties.gpkg")
    _, cells, fields = read(tmp_path / "ties.gpkg", "coverage")
    assert (ties.inlier.sum(), len(ties)) == (fields["points"].sum(), fields["measured"].sum())
    assert np.allclose(1e6, shapely.area(cells))
    inside = [int(shapely.contains_xy(cell, *ties.left_xy.T).sum()) for cell in cells]
    assert all(a <= b for a, b in zip(inside, fields["measured"], strict=True))  # rims belong to one cell


def test_each_layer_has_its_default_style_inside(ties: TiePoints, tmp_path: Path) -> None:
    write.write(ties, tmp_path / "ties.gpkg")
    meta, _, _, values = pyogrio.raw.read(tmp_path / "ties.gpkg", layer="layer_styles", read_geometry=False)
    fields = dict(zip(meta["fields"].tolist(), values, strict=True))
    assert set(qgis_style.STYLED_LAYERS) == set(fields["f_table_name"])
    assert fields["useAsDefault"].astype(bool).all()
    assert all("<renderer-v2" in document for document in fields["styleQML"])


def test_nothing_believed_or_nothing_known_still_makes_files_that_open(tmp_path: Path) -> None:
    for n, points in ((0, invented(0)), (5, replace(invented(5), inlier=np.zeros(5, bool)))):
        for suffix in (".geojson", ".geojsonl", ".gpkg", ".csv", ".points", ".fgb"):
            write.write(points, tmp_path / f"ties{n}{suffix}")
        assert 0 == pyogrio.read_info(tmp_path / f"ties{n}.gpkg", layer="tiepoints")["features"]
        assert n == pyogrio.read_info(tmp_path / f"ties{n}.gpkg", layer="rejected")["features"]


def test_geojson_and_its_lines_obey_the_grammar_of_rfc_7946(ties: TiePoints, tmp_path: Path) -> None:
    write.write(ties, tmp_path / "ties.geojson")
    write.write(ties, tmp_path / "ties.geojsonl")
    collection = json.loads((tmp_path / "ties.geojson").read_text())
    jsonschema.Draft202012Validator(COLLECTION).validate(collection)
    lines = (tmp_path / "ties.geojsonl").read_text().splitlines()
    assert collection["features"] == [json.loads(line) for line in lines]
    _, points, fields = read(tmp_path / "ties.geojsonl")
    to_metres = Transformer.from_crs("EPSG:4326", ties.crs, always_xy=True)
    there = np.column_stack(to_metres.transform(*shapely.get_coordinates(points).T))
    assert np.abs(there - ties.left_xy[fields["id"]]).max() < 0.01


def test_flatgeobuf_is_in_metres_and_holds_all_points(ties: TiePoints, tmp_path: Path) -> None:
    write.write(ties, tmp_path / "ties.fgb")
    meta, points, fields = read(tmp_path / "ties.fgb")
    assert "EPSG:32633" == meta["crs"]
    assert np.array_equal(ties.left_xy[fields["id"]], shapely.get_coordinates(points))
    assert ties.inlier[fields["id"]].tolist() == fields["inlier"].tolist()


def test_a_table_has_one_header_line_metres_and_degrees(ties: TiePoints, tmp_path: Path) -> None:
    write.write(ties, tmp_path / "ties.csv")
    with (tmp_path / "ties.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(ties) == len(rows)
    to_metres = Transformer.from_crs("EPSG:4326", rows[0]["crs"], always_xy=True)
    for k in (0, len(ties) - 1):
        east, north = to_metres.transform(float(rows[k]["lon"]), float(rows[k]["lat"]))
        assert np.hypot(east - float(rows[k]["left_x"]), north - float(rows[k]["left_y"])) < 0.01
        assert ("true" if ties.inlier[k] else "false") == rows[k]["inlier"]


def test_control_points_of_qgis_lead_from_the_right_image_to_the_left_ground(ties: TiePoints, tmp_path: Path) -> None:
    write.write(ties, tmp_path / "ties.points")
    lines = (tmp_path / "ties.points").read_text().splitlines()
    assert ["#CRS: EPSG:32633", "mapX,mapY,sourceX,sourceY,enable,dX,dY,residual"] == lines[:2]
    rows = np.array([[float(v) for v in line.split(",")] for line in lines[2:]])
    assert (rows[:, 4] == 1).all()
    # QGIS turns source positions of a georeferenced raster into pixels by the raster's own transform
    affine = ties.right.band("B04").geobox.affine
    pixels = np.column_stack(~affine * (rows[:, 2], rows[:, 3]))
    own = gcps.spread(ties)
    assert np.abs(pixels - ties.right_px[own]).max() < 0.001
    assert np.abs(rows[:, :2] - ties.left_xy[own]).max() < 0.001


def test_gdal_warps_the_right_image_onto_the_left_one_by_the_vrt(ties: TiePoints, tmp_path: Path) -> None:
    from rasterio.enums import Resampling
    from rasterio.warp import reproject
    from skimage.registration import phase_cross_correlation

    write.write(ties, tmp_path / "ties.vrt")
    with rasterio.open(tmp_path / "ties.vrt") as image:
        points, crs = image.gcps
        assert "EPSG:32633" == crs.to_string()
        own = gcps.spread(ties)
        assert np.allclose([[p.col, p.row] for p in points], ties.right_px[own], atol=1e-3)
        with GCPTransformer(points) as by_gdal:  # a polynomial through displaced points
            xs, ys = by_gdal.xy(ties.right_px[own, 1], ties.right_px[own, 0], offset="ul")
        assert np.median(np.hypot(np.array(xs) - ties.left_xy[own, 0], np.array(ys) - ties.left_xy[own, 1])) < 3
        left, moved = ties.left.band("B04"), np.zeros((360, 360))
        how = {"gcps": points, "src_crs": crs, "dst_crs": crs, "resampling": Resampling.cubic}
        reproject(image.read(1).astype(float), moved, dst_transform=left.geobox.affine, **how)
    with rasterio.open(left.asset.gdal) as image:
        there = image.read(1).astype(float)
    middle = np.s_[40:-40, 40:-40]
    shift, *_ = phase_cross_correlation(there[middle], moved[middle], upsample_factor=20)
    assert np.abs(shift).max() <= 0.15


def test_control_points_are_few_and_spread(ties: TiePoints) -> None:
    own = gcps.spread(ties, 60)
    assert 30 <= len(own) <= 60
    assert ties.inlier[own].all()
    cells = np.unique(np.floor(ties.left_xy[own] / 1000), axis=0)
    assert len(cells) >= 9


def test_a_right_image_that_is_gone_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"ties\.vrt could not be written: the right image cannot be opened"):
        write.write(invented(), tmp_path / "ties.vrt")
    assert [] == list(tmp_path.iterdir())


def test_a_style_lies_beside_files_that_have_none_inside(ties: TiePoints, tmp_path: Path) -> None:
    assert tmp_path / "ties.qml" == write.write_style(ties, tmp_path / "ties.geojson")
    assert "shift × " in (tmp_path / "ties.qml").read_text(encoding="utf-8")
    assert write.write_style(ties, tmp_path / "ties.gpkg") is None


def test_a_geopackage_that_cannot_be_written_leaves_the_old_one(ties: TiePoints, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="could not be written"):
        write.write(ties, tmp_path / "file" / "ties.gpkg")
    (tmp_path / "ties.gpkg").write_text("old")
    broken = replace(ties, summary=replace(ties.summary, crs="EPSG:1"))
    with pytest.raises(Exception, match="EPSG"):
        write.write(broken, tmp_path / "ties.gpkg")
    assert "old" == (tmp_path / "ties.gpkg").read_text()
    assert ["file", "ties.gpkg"] == sorted(p.name for p in tmp_path.iterdir())
