"""Styles are whole documents, and their legends say by how much arrows are longer. QGIS itself is in test_qgis.py."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from sentinel_match.formats import qgis_style


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
