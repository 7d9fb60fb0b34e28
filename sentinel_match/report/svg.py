"""The figures of a report: what of many points a figure shows, and the figure as SVG, drawn from numbers alone.

Colours are those of the page, by class, so a figure follows it from light to dark.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sentinel_match.accuracy.requirement import POINT_BOUND
from sentinel_match.geometry.grids import pixel_size, transformed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from sentinel_match.comparison import HeightRelation

MAP_CELLS = 24
"""Cells along the longer side of a map."""
FEWEST_CELL_POINTS = 3
"""Points of a cell that make a median."""
FEWER_CELLS = (12, 8, 6, 4, 3, 2)
"""Cells instead, where those would mostly hold too few points for a median: in a small image, or with few points."""
LEAST_CLEAR_CELL = 0.1
"""Share of a cell that is clear in both images where points could be."""
HISTOGRAM_BARS, LEAST_HISTOGRAM_REACH = 40, 0.25
"""Bars of a histogram, and the pixels it reaches to either side at least."""
DRAWING_WIDTH = 480
"""Of a drawing, in its own units."""
DRAWING_MARGIN = 10
"""Around it, for arrows that reach over their frame."""
LONGEST_ARROW_CELLS = 1.6
"""Cells that the arrow of a long shift (the 95th percentile) takes."""


@dataclass(frozen=True, eq=False)
class CellMap:
    """Where points lie, and their shifts, cell by cell; rows of cells from the north."""

    side_m: float
    """Metres of a cell's side."""
    points: NDArray[np.int64]
    """(R, C) points in each cell."""
    clear: NDArray[np.float64]
    """(R, C) share of each cell that is valid in both images."""
    dx_m: NDArray[np.float64]
    """(R, C) median shift to the east, metres; NaN where there are fewer than ``FEWEST_CELL_POINTS`` points."""
    dy_m: NDArray[np.float64]
    """(R, C) the same to the north."""

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it, with ``None`` where there is no median."""
        return {
            "side_m": self.side_m,
            "points": self.points.tolist(),
            "clear": self.clear.tolist(),
            "dx_m": _known_or_none(self.dx_m),
            "dy_m": _known_or_none(self.dy_m),
        }

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> CellMap:
        """Read what :meth:`to_dict` has given."""
        return CellMap(
            value["side_m"],
            np.array(value["points"], np.int64),
            np.array(value["clear"], np.float64),
            np.array(value["dx_m"], np.float64),  # None becomes NaN
            np.array(value["dy_m"], np.float64),
        )


@dataclass(frozen=True)
class ResidualHistogram:
    """Counts of residuals by size, in ``HISTOGRAM_BARS`` equal bars; the outermost hold all that lie beyond."""

    reach: float
    """Pixels to either side of 0."""
    east: tuple[int, ...]
    """Points in each bar, from the west."""
    north: tuple[int, ...]
    """Points in each bar, from the south."""
    beyond: float | None = None
    """Share of points that lie ``POINT_BOUND`` pixels or more from the model, in any direction."""

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return {"reach": self.reach, "east": list(self.east), "north": list(self.north), "beyond": self.beyond}

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> ResidualHistogram:
        """Read what :meth:`to_dict` has given."""
        return ResidualHistogram(value["reach"], tuple(value["east"]), tuple(value["north"]), value.get("beyond"))


def cells(at: NDArray[np.float64], shift: NDArray[np.float64], clear: NDArray[np.bool_], grid: GeoBox) -> CellMap:
    """Count points, and find their median shift, cell by cell.

    Args:
        at: (N, 2) metres in the CRS of the grid.
        shift: (N, 2) metres.
        clear: (rows, cols) on the grid, valid in both images.
        grid: of the map.
    """
    pixel, longest = transformed(~grid.affine, at), max(clear.shape)
    sides = [max(1, math.ceil(longest / n)) for n in (MAP_CELLS, *FEWER_CELLS)]
    side = next((side for side in sides if _hold_medians(pixel, side)), longest)
    rows, cols = (math.ceil(n / side) for n in clear.shape)
    padded = np.zeros((rows * side, cols * side), bool)
    padded[: clear.shape[0], : clear.shape[1]] = clear
    col, row = np.floor(pixel / side).astype(int).T
    index = row.clip(0, rows - 1) * cols + col.clip(0, cols - 1)
    count = np.bincount(index, minlength=rows * cols)
    order = np.argsort(index, kind="stable")
    groups = np.split(shift[order], np.cumsum(count)[:-1])
    unknown = np.full(2, np.nan)
    median = np.array([np.median(g, axis=0).round(3) if len(g) >= FEWEST_CELL_POINTS else unknown for g in groups])
    return CellMap(
        side_m=side * pixel_size(grid),
        points=count.reshape(rows, cols),
        clear=padded.reshape(rows, side, cols, side).mean((1, 3)).round(2),
        dx_m=median[:, 0].reshape(rows, cols),
        dy_m=median[:, 1].reshape(rows, cols),
    )


def _hold_medians(pixel: NDArray[np.float64], side: int) -> bool:
    """Tell whether most of the points lie in cells of a side, in pixels, that hold enough for a median."""
    _, count = np.unique(np.floor(pixel / side), axis=0, return_counts=True)
    return len(pixel) == 0 or int(count[count >= FEWEST_CELL_POINTS].sum()) * 2 >= len(pixel)


def histogram(residual: NDArray[np.float64]) -> ResidualHistogram:
    """Count residuals by size.

    Args:
        residual: (N, 2) east and north, in pixels.
    """
    reach = LEAST_HISTOGRAM_REACH
    if len(residual):
        reach = max(reach, math.ceil(20 * float(np.percentile(np.abs(residual), 99.5))) / 20)
    edges = np.linspace(-reach, reach, HISTOGRAM_BARS + 1)
    inner = residual.clip(-reach, reach)
    east, north = (tuple(np.histogram(inner[:, k], edges)[0].tolist()) for k in (0, 1))
    beyond = round(float((np.hypot(*residual.T) >= POINT_BOUND).mean()), 4) if len(residual) else None
    return ResidualHistogram(reach, east, north, beyond)


def field(figure: CellMap, relative: bool) -> str:
    """Draw the median shift of each cell as an arrow, exaggerated as its key says.

    Args:
        figure: of the points.
        relative: shifts less their median: the shape of the distortion.
    """
    dx, dy = figure.dx_m, figure.dy_m
    known = np.isfinite(dx)
    rows, cols = dx.shape
    unit, height = DRAWING_WIDTH / cols, DRAWING_WIDTH / cols * rows
    if not known.any():
        return _svg(height, '<text x="12" y="24">too few points</text>', "No shifts")
    if relative:
        dx, dy = dx - np.median(dx[known]), dy - np.median(dy[known])
    length = max(float(np.percentile(np.hypot(dx, dy)[known], 95)), 1e-3)
    scale = LONGEST_ARROW_CELLS * unit / length
    arrows = []
    for r, c in np.argwhere(known):
        x, y = (c + 0.5) * unit, (r + 0.5) * unit
        arrows.append(_arrow(x, y, float(dx[r, c]) * scale, -float(dy[r, c]) * scale))
    key = _round(length)
    exaggeration = scale * figure.side_m / unit
    legend = (
        f'<g transform="translate(0 {height + 22:.0f})"><path class="arrow" d="{_arrow(2, 0, key * scale, 0)}"/>'
        f'<text x="{12 + key * scale:.0f}" y="4">{key:g} m, drawn {exaggeration:,.0f} times longer</text></g>'
    )
    frame = f'<rect class="frame" width="{DRAWING_WIDTH}" height="{height:.1f}"/>'
    what = "Deviation of the shift from its median" if relative else "Shift, right minus left"
    return _svg(height + 36, f'{frame}<path class="arrow" d="{"".join(arrows)}"/>{legend}', what)


def coverage(figure: CellMap) -> str:
    """Draw a map of cells: those with points, by their number; clear ones without; and what is hidden."""
    points, clear = figure.points, figure.clear
    rows, cols = points.shape
    unit, height = DRAWING_WIDTH / cols, DRAWING_WIDTH / cols * rows
    most = max(int(points.max()), 1)
    squares = []
    for r in range(rows):
        for c in range(cols):
            kind = "hit" if points[r, c] else "bare" if clear[r, c] >= LEAST_CLEAR_CELL else ""
            if kind:
                strength = _strength(points[r, c], most) if kind == "hit" else ""
                squares.append(_square(kind, c * unit, r * unit, unit - 1, strength))
    frame = f'<rect class="frame" width="{DRAWING_WIDTH}" height="{height:.1f}"/>'
    bare = int(((points == 0) & (clear >= LEAST_CLEAR_CELL)).sum())
    fewest = int(points[points > 0].min(initial=most))
    keys = (
        [("hit", number, f"{number:,}") for number in sorted({fewest, (fewest + most) // 2, most})]
        if points.any()
        else []
    )
    y, x, legend = height + 10, 0, []
    for kind, number, text in (
        *keys,
        ("bare", 0, f"clear, no point ({bare:,})"),
        ("frame", 0, "hidden or outside"),
    ):
        legend.append(_square(kind, x, y, 14, _strength(number, most) if number else ""))
        legend.append(f'<text x="{x + 20}" y="{y + 12:.0f}">{text}</text>')
        x += 36 + round(7.2 * len(text))
    points_in = f'<text x="0" y="{y + 30:.0f}">numbers: points in a cell of {figure.side_m / 1000:.3g} km</text>'
    return _svg(height + 50, frame + "".join(squares + legend) + points_in, "Where the believed points lie")


def _strength(points: int, most: int) -> str:
    """Colour a cell by its number of points."""
    return f' fill-opacity="{0.3 + 0.7 * points / most:.2f}"'


def _square(kind: str, x: float, y: float, side: float, strength: str) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{side:.1f}" height="{side:.1f}"{strength}/>'


def bars(figure: ResidualHistogram) -> str:
    """Draw two histograms, residuals east and north, in pixels."""
    reach, height, gap = figure.reach, 120.0, 44.0
    parts = []
    for k, (axis, counts) in enumerate((("east", figure.east), ("north", figure.north))):
        most, width = max(*counts, 1), DRAWING_WIDTH / len(counts)
        base = 18 + height + k * (height + gap)
        parts.append(f'<text x="0" y="{base - height - 4:.0f}">{axis}</text>')
        parts += [
            f'<rect class="bar" x="{i * width:.1f}" y="{base - n / most * height:.1f}" width="{width - 1:.1f}" '
            f'height="{n / most * height:.1f}"/>'
            for i, n in enumerate(counts)
            if n
        ]
        parts.append(f'<line class="axis" x1="0" y1="{base}" x2="{DRAWING_WIDTH}" y2="{base}"/>')
        for share, anchor in ((-1.0, "start"), (-0.5, "middle"), (0.0, "middle"), (0.5, "middle"), (1.0, "end")):
            x = DRAWING_WIDTH / 2 * (1 + share)
            label = f"{share * reach:+.3g} px" if share else "0"
            parts.append(f'<text class="tick" x="{x:.0f}" y="{base + 16:.0f}" text-anchor="{anchor}">{label}</text>')
    return _svg(2 * (height + gap), "".join(parts), "Residuals of the believed points")


def relations(figures: Sequence[HeightRelation]) -> str:
    """Draw medians of the shift, with their 95 % intervals, against altitude and slope: a panel each."""
    height, gap, parts = 120.0, 60.0, []
    reach = max((abs(v) for f in figures for b in f.bins for v in b.interval_m), default=0.0) or 1e-3
    kinds = list(dict.fromkeys(figure.of for figure in figures))
    for k, of in enumerate(kinds):
        base = 18 + height / 2 + k * (height + gap)
        own = [figure for figure in figures if figure.of == of]
        low, high = min(b.low for f in own for b in f.bins), max(b.high for f in own for b in f.bins)
        words = ", ".join(f"{figure.part} {'●' if n == 0 else '○'}" for n, figure in enumerate(own))
        unit = "m" if of == "altitude" else "°"
        parts.append(f'<text x="0" y="{base - height / 2 - 4:.0f}">{of}: {words}; ±{reach:.2f} m</text>')
        parts.append(f'<line class="axis" x1="0" y1="{base}" x2="{DRAWING_WIDTH}" y2="{base}"/>')
        for n, figure in enumerate(own):
            for one in figure.bins:
                x = ((one.low + one.high) / 2 - low) / max(high - low, 1e-9) * DRAWING_WIDTH + 4 * (2 * n - 1)
                top, middle, bottom = (
                    base - v / reach * height / 2 for v in (one.interval_m[1], one.median_m, one.interval_m[0])
                )
                parts.append(f'<path class="arrow" d="M{x:.1f} {top:.1f}V{bottom:.1f}"/>')
                kind = "hit" if n == 0 else "arrow"
                parts.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{middle:.1f}" r="3.5"/>')
        for x, value, anchor in ((0, low, "start"), (DRAWING_WIDTH, high, "end")):
            place = f'x="{x}" y="{base + height / 2 + 16:.0f}" text-anchor="{anchor}"'
            parts.append(f'<text class="tick" {place}>{value:.4g} {unit}</text>')
    return _svg(len(kinds) * (height + gap), "".join(parts), "Shift against altitude and slope")


def _known_or_none(medians: NDArray[np.float64]) -> list[list[float | None]]:
    """Write medians as JSON has them, row by row, with ``None`` for NaN."""
    return [[None if math.isnan(m) else m for m in row] for row in medians.tolist()]


def _arrow(x: float, y: float, dx: float, dy: float) -> str:
    """Draw a shaft and two barbs, as path data."""
    tip, length = (x + dx, y + dy), math.hypot(dx, dy)
    barb = min(0.35 * length, 5.0)
    turned = [math.atan2(dy, dx) + side for side in (2.6, -2.6)]
    ends = [f"{tip[0] + barb * math.cos(t):.1f} {tip[1] + barb * math.sin(t):.1f}" for t in turned]
    return f"M{x:.1f} {y:.1f}L{tip[0]:.1f} {tip[1]:.1f}M{ends[0]}L{tip[0]:.1f} {tip[1]:.1f}L{ends[1]}"


def _round(value: float) -> float:
    """Find the largest of 1, 2 and 5 times a power of ten that is no more than a value."""
    power = 10.0 ** math.floor(math.log10(value))
    return max(m * power for m in (1, 2, 5) if m * power <= value * (1 + 1e-9))


def _svg(height: float, inside: str, what: str) -> str:
    """Wrap a drawing that is as wide as its place."""
    box = f"{-DRAWING_MARGIN} {-DRAWING_MARGIN} {DRAWING_WIDTH + 2 * DRAWING_MARGIN} {height + 2 * DRAWING_MARGIN:.0f}"
    return f'<svg viewBox="{box}" role="img" aria-label="{what}">{inside}</svg>'
