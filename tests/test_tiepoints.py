"""Tie points show themselves in the ways that people look at them."""

from __future__ import annotations

import builtins
import html
import json
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
from lxml import etree

from sentinel_match.errors import ExtraMissing
from sentinel_match.products.scene import Scene
from sentinel_match.tiepoints import TiePoints


def test_a_line_says_whose_they_are_and_what_they_measured(ties: TiePoints) -> None:
    line = repr(ties)
    assert line.startswith("<TiePoints T33UUU 2021-05-20 → 2021-09-17: ")
    assert f"{ties.summary.inliers:,} inliers of {ties.summary.points:,}" in line
    assert f"{ties.summary.median_dx_m:+.2f} m east" in line
    assert len(line) < 160


def test_the_transform_is_the_fitted_one_and_moves_points_where_the_right_image_shows_them(ties: TiePoints) -> None:
    rest = ties.right_xy - ties.transform(ties.left_xy)
    assert np.allclose(np.hypot(*rest.T), ties.residual_m)


def test_a_notebook_shows_a_picture_and_the_verdict(ties: TiePoints) -> None:
    page = ties._repr_html_()
    tree = etree.fromstring(page)
    arrows = tree.findall(".//{http://www.w3.org/2000/svg}path")
    assert 50 < len(arrows) <= 250
    east, up = map(float, re.fullmatch(r"M\S+ \S+l(\S+) (\S+)", arrows[0].get("d")).groups())
    assert east > 0 > up  # the shift is east and north, and pictures count downwards
    assert ties.summary.verdict[1:] in html.unescape(page)
    assert len(page) < 40_000


def test_hostile_names_are_only_shown(ties: TiePoints) -> None:
    hostile = replace(ties, left=replace(ties.left, id="<script>alert(1)</script>"))
    assert "<script>" not in hostile._repr_html_()


def test_the_geo_interface_is_a_feature_collection(ties: TiePoints) -> None:
    collection = json.loads(json.dumps(ties.__geo_interface__))
    assert "FeatureCollection" == collection["type"]
    first = collection["features"][0]
    assert np.allclose(first["geometry"]["coordinates"], ties.lonlat[0])
    assert first["properties"]["dx_m"] == ties.shift[0, 0]


def test_a_geodataframe_has_a_row_a_point_in_the_pairs_crs(ties: TiePoints) -> None:
    frame = ties.to_geodataframe()
    assert len(ties) == len(frame)
    assert ties.crs == frame.crs.to_string()
    assert np.array_equal(np.column_stack([frame.geometry.x, frame.geometry.y]), ties.left_xy)
    assert ties.summary.inliers - 3 == int(frame.inlier.sum())  # the fixture rejects three more


def test_a_figure_shows_the_inliers_alone(ties: TiePoints) -> None:
    axes = ties.plot()
    (arrows,) = (c for c in axes.collections if hasattr(c, "U"))
    assert 0 < len(arrows.U) <= min(1000, int(ties.inlier.sum()))
    assert np.isclose(np.median(arrows.U), ties.summary.median_dx_m, atol=0.1)
    assert axes is ties.plot(axes)


def test_a_displacement_field_is_the_transform_and_says_where_it_only_goes_on(ties: TiePoints) -> None:
    field = ties.displacement(spacing=200)
    assert (200.0, -200.0) == (float(np.diff(field.x)[0]), float(np.diff(field.y)[0]))
    at = np.array([[float(field.x[3]), float(field.y[2])]])
    assert np.allclose(ties.transform.shift(at)[0], [float(field.dx_m[2, 3]), float(field.dy_m[2, 3])])
    assert not field.extrapolated.all()
    corner = ties.left_xy.min(0) + np.array([400, 400])
    few = replace(ties, inlier=ties.inlier & ((ties.left_xy < corner).all(1) | (ties.left_xy > corner + 2000).all(1)))
    assert few.displacement(spacing=100).extrapolated.any()
    with pytest.raises(ValueError, match="larger than 0"):
        ties.displacement(spacing=-1)


@pytest.mark.parametrize(
    ("library", "extra", "show"),
    [
        ("geopandas", "geo", TiePoints.to_geodataframe),
        ("xarray", "geo", TiePoints.displacement),
        ("matplotlib.pyplot", "plot", TiePoints.plot),
    ],
)
def test_what_is_not_installed_is_named_with_how_to_install_it(
    ties: TiePoints, library: str, extra: str, show: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: object) -> object:
        if name.startswith(library):
            raise ImportError(name)
        return real(name, *rest)

    for name in [name for name in sys.modules if name.startswith(library)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ExtraMissing, match=rf"sentinel-match\[{extra}\]"):
        show(ties)


def test_scenes_without_a_time_go_by_their_names(ties: TiePoints) -> None:
    bare = Scene("left.tif", ties.left.path, "", None, "none")
    assert "left.tif → 2021-09-17" in repr(replace(ties, left=bare))
