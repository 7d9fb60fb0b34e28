"""Figures of an evaluation: what each method believes on each set, and how far its transforms are off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sentinel_match.atomic import whole
from sentinel_match.errors import ExtraMissing
from sentinel_match.evaluate.summary import ALL_SETS, summarise

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from sentinel_match.evaluate.record import Record
    from sentinel_match.evaluate.summary import MethodSummary

BAR_TITLES = ("correct points (1 px)", "precision at 1 px", "coverage")
BAR_VALUES: tuple[Callable[[MethodSummary], float], ...] = (
    lambda summary: summary.believed_correct_1,
    lambda summary: summary.believed_precision_1,
    lambda summary: summary.believed_coverage,
)
"""What the bars below each title show."""
CORNER_AXIS_PX = 10.0
"""Pixels shown of the corner errors."""


def draw(folder: Path, records: Sequence[Record]) -> tuple[Path, ...]:
    """Draw ``sets.png`` (bars per set and method) and ``corners.png`` (share of pairs over corner error).

    Raises:
        ExtraMissing: matplotlib is not installed.
        OutputError: a file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError:
        raise ExtraMissing("Figures", "matplotlib", "plot") from None
    paths = []
    for name, figure in (("sets.png", _bars(records)), ("corners.png", _corners(records))):
        FigureCanvasAgg(figure)
        with whole(folder / name) as path:
            figure.savefig(path, dpi=120)
        paths.append(folder / name)
    return tuple(paths)


def _bars(records: Sequence[Record]) -> Figure:
    """Draw what each method believes, bars by set and method."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    rows = [s for s in summarise(records) if not s.stratum]
    methods, sets = list(dict.fromkeys(s.method for s in rows)), list(dict.fromkeys(s.set for s in rows))
    sets = [*(s for s in sets if s != ALL_SETS), ALL_SETS]
    summaries = {(s.method, s.set): s for s in rows}
    height = 1.2 + len(sets) * (0.16 * len(methods) + 0.12)
    figure = Figure(figsize=(12, height), layout="constrained")
    axes = figure.subplots(1, len(BAR_TITLES), sharey=True)
    step = 0.85 / len(methods)
    colours = colormaps["tab20"](np.arange(len(methods)) % 20)
    for axis, title, value in zip(axes, BAR_TITLES, BAR_VALUES, strict=True):
        for k, method in enumerate(methods):
            at = np.arange(len(sets)) - 0.425 + (k + 0.5) * step
            numbers = [value(summaries[method, s]) if (method, s) in summaries else np.nan for s in sets]
            bars = axis.barh(at, np.nan_to_num(numbers), step * 0.95, color=colours[k], label=method)
            if title == BAR_TITLES[0]:
                axis.bar_label(bars, [f"{n:,.0f}" for n in numbers], padding=2, fontsize=7)
        axis.set_title(title, fontsize=10)
        axis.grid(axis="x", alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(np.arange(len(sets)), sets)
    axes[0].invert_yaxis()
    axes[0].margins(x=0.15)
    for axis in axes[1:]:
        axis.set_xlim(0, 1)
    figure.suptitle("What is believed, mean over all pairs of a set, failures included", fontsize=11)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    return figure


def _corners(records: Sequence[Record]) -> Figure:
    """Draw the share of pairs over the corner error of the believed transform, a curve by method."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    pairs = [r for r in records if r.kind == "pair"]
    methods = list(dict.fromkeys(r.method for r in pairs))
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axis = figure.subplots()
    for k, method in enumerate(methods):
        error = np.sort([r.corner.believed for r in pairs if r.method == method])
        share = np.arange(1, len(error) + 1) / len(error)
        shown = error <= CORNER_AXIS_PX
        x, y = np.r_[0, error[shown], CORNER_AXIS_PX], np.r_[0, share[shown], share[shown][-1] if shown.any() else 0]
        style = ("-", "--", ":")[k // 10 % 3]
        axis.step(x, y, where="post", label=method, color=colormaps["tab10"](k % 10), linestyle=style)
    axis.set(xlim=(0, CORNER_AXIS_PX), ylim=(0, 1.02), xlabel="mean corner error, pixels", ylabel="share of all pairs")
    axis.set_title("Pairs whose believed transform is at most so far off; the rest failed", fontsize=10)
    axis.grid(alpha=0.3)
    figure.legend(*axis.get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    return figure
