"""How QGIS draws what :mod:`geopackage` writes: one QML document a layer.

Whatever is drawn has a rim, so that it stays visible on dark images and on bright ones.

Shifts of metres cannot be seen on a tile of 110 km, so arrows are drawn longer than they are and the legend says by
how much: ``shift × 200``. Arrows at points are vector-field markers on the attributes ``dx_m`` and ``dy_m``, their
lengths in metres at scale: right in a map of any CRS. Lines keep their true geometry and are drawn longer by a geometry
generator, and as they are where the map is closer than 1:``TRUE_SCALE``.

QML is what QGIS 3 saves by itself (QgsRuleBasedRenderer, QgsVectorFieldSymbolLayer, …), in the form of 3.18 and later.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from sentinel_match.formats.qgis_form import FORM_CATEGORIES, form

if TYPE_CHECKING:
    from collections.abc import Iterable

TRUE_SCALE = 2500
"""Denominator of the scale from which a line is drawn as it is: an arrow of 10 m is 4 mm."""
CLASSES = (0.05, 0.1, 0.2, 0.3)
"""Bounds of the classes of residuals, pixels; the last is Sentinel-2's requirement on registration."""
CLASS_COLOURS = ("#2c7bb6", "#7fb8d4", "#ffd166", "#f08a4b", "#d7191c")
"""Of the classes, from exact to doubtful: told apart by the colour-blind (ColorBrewer RdYlBu)."""
COUNTS = (1, 2, 4, 8, 16)
"""Lower bounds of the classes of points in a cell."""
GREENS = ("#edf8e9", "#c7e9c0", "#a1d99b", "#41ab5d", "#006d2c")
LEFT, RIGHT, GREY, INK, PAPER = "#2c7bb6", "#d7191c", "#8c8c8c", "#1a1a1a", "#ffffff"
HALO_MM = 0.2
"""Width of the light rim of what is dark; half of it is the dark rim of what is light. An image below may be either."""
DOT_PX = 7
"""Pixels of the image that a dot covers: half of the way to the next point."""
DOT_MM = (0.6, 1.6)
"""Least and largest size of a dot."""
LIGHT_FROM = 0.75
"""Luminance (ITU-R BT.709, of the colour as it is written) from which a rim is dark."""
SEEN = 0.03
"""Share of the longer side of a map that an arrow should take."""
ARROWS = 1000
"""More of them on a map hide one another."""

Rule = tuple[str, str, Element]
"""Label, filter (empty: all), symbol."""


def qml(layer: str, exaggeration: float = 1.0, gsd: float = 10.0, every: int = 1) -> str:
    """Write the style of a layer, a whole QML document.

    Args:
        layer: one of ``STYLED_LAYERS``; ``tiepoints`` also draws the GeoJSON, one layer of inliers and rejected points.
        exaggeration: how many times longer than they are arrows are drawn; see :func:`exaggeration_for`.
        gsd: metres per pixel, of the classes of residuals.
        every: arrows at every so many-th point only; see :func:`every_for`.

    Raises:
        KeyError: there is no such layer.
    """
    root = Element("qgis", version="3.22", styleCategories=f"Symbology|{FORM_CATEGORIES}")
    root.append(STYLED_LAYERS[layer](exaggeration, gsd, every))
    root.extend(form(layer))
    geometry = {"footprints": "2", "coverage": "2", "matches": "1", "residuals": "1"}.get(layer, "0")
    SubElement(root, "layerGeometryType").text = geometry
    indent(root, " ")
    return "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n" + tostring(root, encoding="unicode") + "\n"


def exaggeration_for(length: float, extent: float) -> float:
    """Choose the number, 1, 2 or 5 times a power of ten, by which arrows of a length become visible.

    Args:
        length: of a typical arrow, metres.
        extent: longer side of the ground, metres.
    """
    wanted = SEEN * extent / max(length, 1e-3)
    steps = [m * 10.0**e for e in range(7) for m in (1, 2, 5)]
    return max([step for step in steps if step <= wanted], default=1.0)


def arrows(label: str) -> Element:
    """Make a renderer that draws lines as arrows."""
    return _rules([(label, "", _arrow(INK))])


def outlines(rules: Iterable[tuple[str, str, str]]) -> Element:
    """Make a renderer that draws the rims of polygons: labels, conditions, colours."""
    return _rules([(label, condition, _fill("no", colour, 0.6)) for label, condition, colour in rules])


def every_for(points: int) -> int:
    """Choose at every how many-th of so many points an arrow is drawn, so that arrows do not hide one another."""
    return max(1, -(-points // ARROWS))


def times(exaggeration: float, what: str, every: int = 1) -> str:
    """Say what a legend says of exaggerated arrows: ``shift × 200``."""
    said = f"{what} × {exaggeration:g}"
    return said if every == 1 else f"{said}, at 1 of {every} points"


def _tiepoints(exaggeration: float, gsd: float, every: int) -> Element:
    arrow = _symbol("marker")
    field = _layer(arrow, "VectorField", x_attribute="dx_m", y_attribute="dy_m", scale=exaggeration)
    _options(field, distance_unit="RenderMetersInMapUnits", vector_field_type=0, size=5)  # of the arrow in a legend
    field.append(_arrow(INK))
    thinned = "" if every == 1 else f' AND "id" % {every} = 0'
    classes = [
        (label, f'"inlier" AND {condition}', _dot(colour, gsd)) for label, condition, colour in _residual_classes(gsd)
    ]
    shifts = (times(exaggeration, "shift", every), f'"inlier"{thinned}', arrow)
    return _rules([("rejected", 'NOT "inlier"', _cross()), *classes, shifts])


def _rejected(_exaggeration: float, gsd: float, _every: int) -> Element:
    # A point that a user takes back by setting `inlier` is seen to be taken back
    taken = ("taken back", '"inlier"', _dot(CLASS_COLOURS[0], gsd))
    reasons = {
        "outlier": ("outlier: contradicts the model", "cross2"),
        "unsure": ("unsure: near the model, but a wrong one would be too", "circle"),
        "by hand": ("rejected by hand", "cross"),
    }
    rules = [
        (label, f'NOT "inlier" AND "reason" = \'{word}\'', _cross(shape)) for word, (label, shape) in reasons.items()
    ]
    return _rules([*rules, taken])


def _residual_classes(gsd: float) -> Iterable[tuple[str, str, str]]:
    """Label, condition and colour of each class of residuals."""
    bounds = [bound * gsd for bound in CLASSES]
    yield f"residual < {bounds[0]:g} m ({CLASSES[0]:g} px)", f'"residual_m" < {bounds[0]:g}', CLASS_COLOURS[0]
    for (low, high), px, colour in zip(pairwise(bounds), CLASSES[1:], CLASS_COLOURS[1:], strict=False):
        yield f"{low:g} to {high:g} m ({px:g} px)", f'"residual_m" >= {low:g} AND "residual_m" < {high:g}', colour
    yield f"{bounds[-1]:g} m and more", f'"residual_m" >= {bounds[-1]:g}', CLASS_COLOURS[-1]


def _matches(exaggeration: float, _gsd: float, every: int) -> Element:
    return _lines("left to right", "dx_m", "dy_m", exaggeration, INK, every)


def _residuals(exaggeration: float, _gsd: float, every: int) -> Element:
    return _lines("residual", "rx_m", "ry_m", exaggeration, RIGHT, every)


def _lines(what: str, x: str, y: str, exaggeration: float, colour: str, every: int) -> Element:
    """Draw lines longer than they are; as they are on a map close enough to see them."""
    longer = _symbol("line")
    tip = f'translate(start_point($geometry), "{x}" * {exaggeration:g}, "{y}" * {exaggeration:g})'
    modifier = f"make_line(start_point($geometry), {tip})"
    for layer in _arrow(colour).findall("layer"):  # a legend has no geometry to generate from
        _legend_only(layer)
        longer.append(layer)
    _layer(longer, "GeometryGenerator", geometryModifier=modifier, SymbolType="Line", units="MapUnit").append(
        _arrow(colour)
    )
    thinned = "" if every == 1 else f'"id" % {every} = 0'
    renderer = _rules([
        (times(exaggeration, what, every), thinned, longer),
        (f"{what}, true length (closer than 1:{TRUE_SCALE})", "", _arrow(colour)),
    ])
    far, near = renderer.iter("rule")
    for rule, least, most in ((far, TRUE_SCALE, 100_000_000), (near, 1, TRUE_SCALE)):
        rule.set("scalemindenom", str(least))
        rule.set("scalemaxdenom", str(most))
    return renderer


def _footprints(_exaggeration: float, _gsd: float, _every: int) -> Element:
    renderer = Element("renderer-v2", type="categorizedSymbol", attr="side", symbollevels="0", enableorderby="0")
    categories, symbols = SubElement(renderer, "categories"), SubElement(renderer, "symbols")
    for k, (side, colour) in enumerate((("left", LEFT), ("right", RIGHT))):
        SubElement(
            categories, "category", value=side, label=f"{side} image", symbol=str(k), render="true", type="string"
        )
        symbols.append(_fill("no", colour, 0.5, str(k)))
    return renderer


def _coverage(_exaggeration: float, _gsd: float, _every: int) -> Element:
    empty = ("measured, none believed", '"points" = 0', _fill("b_diagonal", GREY, 0.1, colour=GREY))
    ranges = [
        (
            f"{low} to {high - 1} points" if high - low > 1 else "1 point",
            f'"points" >= {low} AND "points" < {high}',
        )
        for low, high in pairwise(COUNTS)
    ]
    ranges.append((f"{COUNTS[-1]} points and more", f'"points" >= {COUNTS[-1]}'))
    return _rules([
        empty,
        *((*rule, _fill("solid", PAPER, HALO_MM, colour=colour)) for rule, colour in zip(ranges, GREENS, strict=True)),
    ])


STYLED_LAYERS = {
    "tiepoints": _tiepoints,
    "rejected": _rejected,
    "matches": _matches,
    "residuals": _residuals,
    "footprints": _footprints,
    "coverage": _coverage,
}
"""Layers that have a style."""


def _rules(rules: Iterable[Rule]) -> Element:
    """Make a rule-based renderer, because its legend has a line for whatever is drawn, also for the exaggeration."""
    renderer = Element("renderer-v2", type="RuleRenderer", symbollevels="0", enableorderby="0", forceraster="0")
    listed, symbols = SubElement(renderer, "rules", key="{root}"), SubElement(renderer, "symbols")
    for k, (label, condition, symbol) in enumerate(rules):
        rule = SubElement(listed, "rule", key=f"{{rule{k}}}", symbol=str(k), label=label)
        if condition:
            rule.set("filter", condition)
        symbol.set("name", str(k))
        symbols.append(symbol)
    return renderer


def _symbol(kind: str, name: str = "@0@0", alpha: float = 1.0) -> Element:
    return Element("symbol", type=kind, name=name, alpha=f"{alpha:g}", clip_to_extent="1", force_rhr="0")


def _layer(symbol: Element, kind: str, **options: object) -> Element:
    layer = SubElement(symbol, "layer", {"class": kind, "enabled": "1", "pass": "0", "locked": "0"})
    _options(layer, **options)
    return layer


def _options(layer: Element, **options: object) -> None:
    listed = layer.find("Option")
    if listed is None:
        listed = SubElement(layer, "Option", type="Map")
    for name, value in options.items():
        SubElement(listed, "Option", type="QString", name=name, value=_value(value))


def _value(value: object) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    if text.startswith("#"):  # older versions of QGIS want numbers
        return ",".join(str(int(text[k : k + 2], 16)) for k in (1, 3, 5)) + ",255"
    return text


def _legend_only(layer: Element) -> None:
    """Draw a layer of a symbol in legends alone: they ask no expression whether it is switched on."""
    _defined(layer, enabled="false")


def _defined(layer: Element, **expressions: str) -> None:
    """Let expressions decide on the map, where a legend takes what the layer says itself."""
    listed = SubElement(SubElement(layer, "data_defined_properties"), "Option", type="Map")
    SubElement(listed, "Option", name="name", type="QString", value="")
    properties = SubElement(listed, "Option", name="properties", type="Map")
    for name, expression in expressions.items():
        one = SubElement(properties, "Option", name=name, type="Map")
        SubElement(one, "Option", name="active", type="bool", value="true")
        SubElement(one, "Option", name="expression", type="QString", value=expression)
        SubElement(one, "Option", name="type", type="int", value="3")
    SubElement(listed, "Option", name="type", type="QString", value="collection")


def _dot(colour: str, gsd: float) -> Element:
    """Draw a dot that grows with the map: many side by side must not hide the image, and one alone must be seen."""
    symbol, rim = _symbol("marker"), _rim(colour)
    width = HALO_MM * (1.0 if rim == PAPER else 0.5)
    layer = _layer(
        symbol, "SimpleMarker", name="circle", color=colour, size=DOT_MM[1], size_unit="MM", outline_color=rim,
        outline_width=width, outline_width_unit="MM", outline_style="solid",
    )  # fmt: skip
    # Whatever draws without a map's scale (a canvas and a layout know it) draws small dots
    on_map = f"coalesce({1000 * DOT_PX * gsd:g} / @map_scale, 0)"
    size = f"max({DOT_MM[0]:g}, min({DOT_MM[1]:g}, {on_map}))"
    _defined(layer, size=size, outlineWidth=f"{width / DOT_MM[1]:g} * {size}")
    return symbol


def _rim(colour: str) -> str:
    """Choose the colour that keeps another one apart from an image as dark, or as light, as itself."""
    red, green, blue = (int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5))
    return INK if 0.2126 * red + 0.7152 * green + 0.0722 * blue >= LIGHT_FROM else PAPER


def _cross(shape: str = "cross2") -> Element:
    symbol = _symbol("marker", alpha=0.9)
    for colour, width in ((PAPER, 0.35 + 2 * HALO_MM), (INK, 0.35)):
        _layer(
            symbol, "SimpleMarker", name=shape, color="255,255,255,0", size=1.6, size_unit="MM", outline_color=colour,
            outline_width=width, outline_width_unit="MM", outline_style="solid",
        )  # fmt: skip
    return symbol


def _arrow(colour: str) -> Element:
    """Draw an arrow over its own halo."""
    symbol = _symbol("line")
    head = {"head_length": 1.2, "head_length_unit": "MM", "head_thickness": 0.7, "head_thickness_unit": "MM"}
    shaft = {"arrow_width": 0.25, "arrow_width_unit": "MM", "arrow_start_width": 0.25, "arrow_start_width_unit": "MM"}
    rim = {
        "outline_color": _rim(colour),
        "outline_width": 2 * HALO_MM,
        "outline_width_unit": "MM",
        "joinstyle": "round",
    }
    below: dict[str, object] = {"color": _rim(colour), "outline_style": "solid", **rim}
    above: dict[str, object] = {"color": colour, "outline_style": "no"}
    for k, inside in enumerate((below, above)):
        layer = _layer(symbol, "ArrowLine", arrow_type=0, head_type=0, is_curved=0, is_repeated=0, **head, **shaft)
        fill = _symbol("fill", f"@0@{k}")
        _layer(fill, "SimpleFill", style="solid", **inside)
        layer.append(fill)
    return symbol


def _fill(style: str, outline: str, width: float, name: str = "@0@0", *, colour: str = "#ffffff") -> Element:
    symbol = _symbol("fill", name, alpha=0.7 if style == "solid" else 1.0)
    _layer(
        symbol, "SimpleFill", color=colour, style=style, outline_color=outline, outline_width=width,
        outline_width_unit="MM", outline_style="solid",
    )  # fmt: skip
    return symbol
