"""The figures of a report: what of many points a figure shows, and the figure as SVG, drawn from numbers alone.

Colours are those of the page, by class, so a figure follows it from light to dark.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from sentinel_match.geometry.grids import transformed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

CELLS = 24
"""Cells along the longer side of a map."""
FEWEST = 3
"""Points of a cell that make a median."""
LEAST_CLEAR = 0.1
"""Share of a cell that is clear in both images where points could be."""
BARS, LEAST_REACH = 40, 0.25
"""Bars of a histogram, and the pixels it reaches to either side at least."""
WIDTH = 480
"""Of a drawing, in its own units."""
MARGIN = 10
"""Around it, for arrows that reach over their frame."""
LONGEST = 1.6
"""Cells that the arrow of a long shift (the 95th percentile) takes."""


def cells(
    at: NDArray[np.float64], shift: NDArray[np.float64], clear: NDArray[np.bool_], grid: GeoBox
) -> dict[str, Any]:
    """Where points lie, and their shifts, cell by cell.

    Args:
        at: (N, 2) metres in the CRS of the grid.
        shift: (N, 2) metres.
        clear: (rows, cols) on the grid, valid in both images.
        grid: of the map.

    Returns:
        ``side_m``; ``points`` and ``clear`` (share), rows of cells from the north; ``dx_m`` and ``dy_m``, medians,
        ``None`` where there are fewer than ``FEWEST`` points.
    """
    side = max(1, math.ceil(max(clear.shape) / CELLS))
    rows, cols = (math.ceil(n / side) for n in clear.shape)
    padded = np.zeros((rows * side, cols * side), bool)
    padded[: clear.shape[0], : clear.shape[1]] = clear
    col, row = np.floor(transformed(~grid.affine, at) / side).astype(int).T
    index = row.clip(0, rows - 1) * cols + col.clip(0, cols - 1)
    count = np.bincount(index, minlength=rows * cols)
    order = np.argsort(index, kind="stable")
    groups = np.split(shift[order], np.cumsum(count)[:-1])
    median = [np.median(g, axis=0).round(3).tolist() if len(g) >= FEWEST else [None, None] for g in groups]
    return {
        "side_m": side * abs(grid.affine.a),
        "points": count.reshape(rows, cols).tolist(),
        "clear": padded.reshape(rows, side, cols, side).mean((1, 3)).round(2).tolist(),
        "dx_m": [[m[0] for m in median[r * cols : (r + 1) * cols]] for r in range(rows)],
        "dy_m": [[m[1] for m in median[r * cols : (r + 1) * cols]] for r in range(rows)],
    }


def histogram(residual: NDArray[np.float64]) -> dict[str, Any]:
    """Counts of residuals by size.

    Args:
        residual: (N, 2) east and north, in pixels.

    Returns:
        ``reach`` to either side in pixels, ``east`` and ``north``: counts in ``BARS`` equal bars, outermost ones
        with all that lie beyond.
    """
    reach = LEAST_REACH
    if len(residual):
        reach = max(reach, math.ceil(20 * float(np.percentile(np.abs(residual), 99.5))) / 20)
    edges = np.linspace(-reach, reach, BARS + 1)
    inner = residual.clip(-reach, reach)
    east, north = (np.histogram(inner[:, k], edges)[0].tolist() for k in (0, 1))
    return {"reach": reach, "east": east, "north": north}


def field(figures: Mapping[str, Any], relative: bool) -> str:
    """Arrows of the median shift of each cell, exaggerated as its key says.

    Args:
        figures: what :func:`cells` has made.
        relative: shifts less their median: the shape of the distortion.
    """
    dx, dy = (np.array(figures[k], float) for k in ("dx_m", "dy_m"))  # None becomes NaN
    known = np.isfinite(dx)
    rows, cols = dx.shape
    unit, height = WIDTH / cols, WIDTH / cols * rows
    if not known.any():
        return _svg(height, '<text x="12" y="24">too few points</text>', "No shifts")
    if relative:
        dx, dy = dx - np.median(dx[known]), dy - np.median(dy[known])
    long = max(float(np.percentile(np.hypot(dx, dy)[known], 95)), 1e-3)
    scale = LONGEST * unit / long
    arrows = []
    for r, c in np.argwhere(known):
        x, y = (c + 0.5) * unit, (r + 0.5) * unit
        arrows.append(_arrow(x, y, float(dx[r, c]) * scale, -float(dy[r, c]) * scale))
    key = _round(long)
    times = scale * figures["side_m"] / unit
    legend = (
        f'<g transform="translate(0 {height + 22:.0f})"><path class="arrow" d="{_arrow(2, 0, key * scale, 0)}"/>'
        f'<text x="{12 + key * scale:.0f}" y="4">{key:g} m, drawn {times:,.0f} times longer</text></g>'
    )
    frame = f'<rect class="frame" width="{WIDTH}" height="{height:.1f}"/>'
    what = "Deviation of the shift from its median" if relative else "Shift, right minus left"
    return _svg(height + 36, f'{frame}<path class="arrow" d="{"".join(arrows)}"/>{legend}', what)


def coverage(figures: Mapping[str, Any]) -> str:
    """A map of cells: those with points, by their number; clear ones without; and what is hidden."""
    points, clear = np.array(figures["points"]), np.array(figures["clear"])
    rows, cols = points.shape
    unit, height = WIDTH / cols, WIDTH / cols * rows
    most = max(int(points.max()), 1)
    squares = []
    for r in range(rows):
        for c in range(cols):
            kind = "hit" if points[r, c] else "bare" if clear[r, c] >= LEAST_CLEAR else ""
            if kind:
                strength = f' fill-opacity="{0.3 + 0.7 * points[r, c] / most:.2f}"' if kind == "hit" else ""
                squares.append(
                    f'<rect class="{kind}" x="{c * unit:.1f}" y="{r * unit:.1f}" width="{unit - 1:.1f}" '
                    f'height="{unit - 1:.1f}"{strength}/>'
                )
    frame = f'<rect class="frame" width="{WIDTH}" height="{height:.1f}"/>'
    y = height + 10
    legend = "".join(
        f'<rect class="{kind}" x="{x}" y="{y:.0f}" width="14" height="14"/>'
        f'<text x="{x + 20}" y="{y + 12:.0f}">{text}</text>'
        for kind, x, text in (
            ("hit", 0, "points"),
            ("bare", 90, "clear, no point"),
            ("frame", 245, "hidden or outside"),
        )
    )
    return _svg(height + 32, frame + "".join(squares) + legend, "Where the believed points lie")


def bars(figures: Mapping[str, Any]) -> str:
    """Two histograms, residuals east and north, in pixels."""
    reach, height, gap = figures["reach"], 120.0, 44.0
    parts = []
    for k, axis in enumerate(("east", "north")):
        counts: Sequence[int] = figures[axis]
        most, width = max(*counts, 1), WIDTH / len(counts)
        base = 18 + height + k * (height + gap)
        parts.append(f'<text x="0" y="{base - height - 4:.0f}">{axis}</text>')
        parts += [
            f'<rect class="bar" x="{i * width:.1f}" y="{base - n / most * height:.1f}" width="{width - 1:.1f}" '
            f'height="{n / most * height:.1f}"/>'
            for i, n in enumerate(counts)
            if n
        ]
        parts.append(f'<line class="axis" x1="0" y1="{base}" x2="{WIDTH}" y2="{base}"/>')
        for share, anchor in ((-1.0, "start"), (-0.5, "middle"), (0.0, "middle"), (0.5, "middle"), (1.0, "end")):
            x = WIDTH / 2 * (1 + share)
            label = f"{share * reach:+.3g} px" if share else "0"
            parts.append(f'<text class="tick" x="{x:.0f}" y="{base + 16:.0f}" text-anchor="{anchor}">{label}</text>')
    return _svg(2 * (height + gap), "".join(parts), "Residuals of the believed points")


def _arrow(x: float, y: float, dx: float, dy: float) -> str:
    """A shaft and two barbs, as path data."""
    tip, length = (x + dx, y + dy), math.hypot(dx, dy)
    barb = min(0.35 * length, 5.0)
    turned = [math.atan2(dy, dx) + side for side in (2.6, -2.6)]
    ends = [f"{tip[0] + barb * math.cos(t):.1f} {tip[1] + barb * math.sin(t):.1f}" for t in turned]
    return f"M{x:.1f} {y:.1f}L{tip[0]:.1f} {tip[1]:.1f}M{ends[0]}L{tip[0]:.1f} {tip[1]:.1f}L{ends[1]}"


def _round(value: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is no more than a value."""
    power = 10.0 ** math.floor(math.log10(value))
    return max(m * power for m in (1, 2, 5) if m * power <= value * (1 + 1e-9))


def _svg(height: float, inside: str, what: str) -> str:
    """A drawing as wide as its place."""
    box = f"{-MARGIN} {-MARGIN} {WIDTH + 2 * MARGIN} {height + 2 * MARGIN:.0f}"
    return f'<svg viewBox="{box}" role="img" aria-label="{what}">{inside}</svg>'
