"""What QGIS calls the columns, how it edits them, and what it says where the mouse rests: parts of a QML document."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement

if TYPE_CHECKING:
    from collections.abc import Iterator

FORM_CATEGORIES = "Fields|Forms|MapTips"
"""Parts of a style that are made here, as QGIS names them."""
ALIASES = {
    "id": "number",
    "inlier": "believed (inlier)",
    "reason": "why not believed",
    "dx_m": "shift east (m)",
    "dy_m": "shift north (m)",
    "shift_m": "shift (m)",
    "azimuth_deg": "direction of the shift (° from north)",
    "rx_m": "residual east (m)",
    "ry_m": "residual north (m)",
    "residual_m": "residual (m)",
    "sigma_m": "predicted standard deviation (m)",
    "sigma_major_m": "the same along the least certain direction (m)",
    "sigma_minor_m": "the same across it (m)",
    "sigma_azimuth_deg": "least certain direction (° from north)",
    "score": "probability of being right",
    "quality": "how distinct the peak is, 0 to 1",
    "support_m": "ground that is averaged (m)",
    "method": "found by",
    "view": "what was correlated",
    "left_class": "land cover, left",
    "right_class": "land cover, right",
    "left_x": "left east (m)",
    "left_y": "left north (m)",
    "right_x": "right east (m)",
    "right_y": "right north (m)",
    "left_col": "left column (px)",
    "left_row": "left row (px)",
    "right_col": "right column (px)",
    "right_row": "right row (px)",
    "side": "image",
    "product": "product",
    "tile": "tile",
    "sensing_time": "taken at",
    "points": "believed points",
    "measured": "measured points",
    "median_dx_m": "median shift east (m)",
    "median_dy_m": "median shift north (m)",
}
"""Columns of all layers, as a user would call them."""
_JUDGED = "if(\"inlier\", 'believed', concat('not believed: ', attribute($currentfeature, 'reason')))"
_NUMBER = '<b>tie point [% "id" %]</b>'
_POINT_TIP = (
    f"{_NUMBER}, [% {_JUDGED} %]<br>"
    'shift [% round("dx_m", 2) %] m east, [% round("dy_m", 2) %] m north<br>'
    'residual [% round("residual_m", 2) %] m, sigma [% round("sigma_m", 2) %] m, score [% round("score", 2) %]<br>'
    'found by [% "method" %]'
)
MAP_TIPS = {
    "tiepoints": _POINT_TIP,
    "rejected": _POINT_TIP,
    "matches": _NUMBER + '<br>shift [% round("dx_m", 2) %] m east, [% round("dy_m", 2) %] m north',
    "residuals": _NUMBER + '<br>residual [% round("rx_m", 2) %] m east, [% round("ry_m", 2) %] m north',
    "footprints": '<b>[% "side" %] image</b><br>[% "product" %]',
    "coverage": (
        '<b>[% "points" %] believed of [% "measured" %] measured points</b>'
        "[% if(\"points\" > 0, concat('<br>median shift ', round(\"median_dx_m\", 2), ' m east, ', "
        "round(\"median_dy_m\", 2), ' m north'), '') %]"
    ),
}
"""By layer, HTML with expressions of QGIS: shown while the pointer rests (View, Show Map Tips)."""


def form(layer: str) -> Iterator[Element]:
    """Make the parts of a layer's style that no drawing is: names of columns, a check box, the map tip."""
    fields = Element("fieldConfiguration")
    if layer in {"tiepoints", "rejected"}:
        field = SubElement(fields, "field", name="inlier", configurationFlags="None")
        config = SubElement(SubElement(field, "editWidget", type="CheckBox"), "config")
        options = SubElement(config, "Option", type="Map")
        for state in ("CheckedState", "UncheckedState"):  # empty: those of a column of true and false
            SubElement(options, "Option", type="QString", name=state, value="")
    yield fields
    aliases = Element("aliases")
    for name, alias in ALIASES.items():
        SubElement(aliases, "alias", field=name, name=alias)
    yield aliases
    tip = Element("mapTip")
    tip.text = MAP_TIPS[layer]
    yield tip
