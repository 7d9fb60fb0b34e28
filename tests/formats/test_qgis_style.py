"""Styles are whole documents, and their legends say by how much arrows are longer. QGIS itself is in test_qgis.py."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from sentinel_match.formats import geopackage, qgis_form, qgis_style
from sentinel_match.tiepoints import TiePoints


def parsed(layer: str) -> ET.Element:
    return ET.fromstring(qgis_style.qml(layer, 200.0, every=20).partition("\n")[2])


def brightness(layer: ET.Element) -> set[bool]:
    """Whether what a layer of a symbol draws is bright, for its fill and its line."""
    options = {o.get("name"): o.get("value", "") for o in layer.findall("Option/Option")}
    drawn = [options["outline_color"]] if options.get("outline_style", "solid") == "solid" else []
    drawn += [options["color"]] if options.get("color", "").endswith(",255") else []
    channels = [[int(c) for c in colour.split(",")[:3]] for colour in drawn]
    return {0.2126 * r + 0.7152 * g + 0.0722 * b > 190 for r, g, b in channels}


@pytest.mark.parametrize("layer", qgis_style.STYLED_LAYERS)
def test_every_rule_of_a_style_has_its_symbol(layer: str) -> None:
    root = ET.fromstring(qgis_style.qml(layer, 200.0).partition("\n")[2])
    assert "qgis" == root.tag
    symbols = {symbol.get("name") for symbol in root.findall("renderer-v2/symbols/symbol")}
    used = {rule.get("symbol") for tag in ("rule", "category") for rule in root.iter(tag)}
    assert symbols == used
    assert len(used) >= 2


@pytest.mark.parametrize(
    ("layer", "said"),
    [("tiepoints", "shift × 200"), ("matches", "left to right × 200"), ("residuals", "residual × 200")],
)
def test_the_legend_states_the_exaggeration(layer: str, said: str) -> None:
    root = ET.fromstring(qgis_style.qml(layer, 200.0).partition("\n")[2])
    assert said in [rule.get("label") for rule in root.iter("rule")]
    thinned = ET.fromstring(qgis_style.qml(layer, 200.0, every=20).partition("\n")[2])
    assert f"{said}, at 1 of 20 points" in [rule.get("label") for rule in thinned.iter("rule")]


def test_arrows_are_exaggerated_to_be_seen_by_a_round_number() -> None:
    assert 200.0 == qgis_style.exaggeration_for(14.0, 110_000.0)
    assert 2000.0 == qgis_style.exaggeration_for(1.0, 110_000.0)
    assert 1.0 == qgis_style.exaggeration_for(1000.0, 5000.0)
    assert qgis_style.exaggeration_for(0.0, 110_000.0) < 1e7


def test_a_thousand_arrows_are_drawn_and_no_more() -> None:
    assert [1, 1, 2, 20] == [qgis_style.every_for(n) for n in (0, 1000, 1001, 20_000)]


def test_classes_of_residuals_follow_the_pixel() -> None:
    assert "residual &lt; 0.5 m (0.05 px)" in qgis_style.qml("tiepoints", gsd=10.0)
    assert "residual &lt; 1 m (0.05 px)" in qgis_style.qml("tiepoints", gsd=20.0)


@pytest.mark.parametrize("layer", ["tiepoints", "rejected", "matches", "residuals"])
def test_points_crosses_and_arrows_are_seen_on_dark_images_and_on_bright_ones(layer: str) -> None:
    for symbol in parsed(layer).findall("renderer-v2/symbols/symbol"):
        painted = [part for part in symbol.iter("layer") if part.get("class") in {"SimpleMarker", "SimpleFill"}]
        assert {True, False} == set().union(*map(brightness, painted)), symbol.get("name")


def test_an_arrow_has_a_swatch_in_the_legend() -> None:
    (field,) = (part for part in parsed("tiepoints").iter("layer") if part.get("class") == "VectorField")
    sizes = [float(o.get("value", "")) for o in field.findall("Option/Option") if o.get("name") == "size"]
    assert sizes[0] >= 3  # QGIS draws the swatch as large as the marker, and leaves one of no size empty
    for layer in ("matches", "residuals"):
        far = parsed(layer).find("renderer-v2/symbols/symbol")
        assert far is not None
        direct = [part for part in far.findall("layer") if part.get("class") == "ArrowLine"]
        assert direct
        for part in direct:  # in the legend alone
            (enabled,) = (o for o in part.iter("Option") if o.get("name") == "enabled")
            assert "false" in [o.get("value") for o in enabled]


def test_every_column_is_called_in_words_and_inlier_is_a_box_to_check(ties: TiePoints) -> None:
    for layer in geopackage.layers(ties):
        root = ET.fromstring(geopackage.style(ties, layer.name).partition("\n")[2])
        aliases = {alias.get("field"): alias.get("name") for alias in root.findall("aliases/alias")}
        assert set(layer.fields) <= set(aliases)
        assert all(aliases.values())
        boxes = [
            f.get("name")
            for f in root.findall("fieldConfiguration/field")
            if f.find("editWidget[@type='CheckBox']") is not None
        ]
        assert (["inlier"] if "inlier" in layer.fields else []) == boxes
        tip = root.findtext("mapTip", "")
        names = set(re.findall(r'"(\w+)"', tip)) - set(qgis_form.FORM_CATEGORIES.split("|"))
        assert names
        assert names <= set(layer.fields)
        assert "Symbology|Fields|Forms|MapTips" == root.get("styleCategories")
