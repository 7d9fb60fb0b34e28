"""A figure of how well scores tell the same place from others: cumulative curves, and the curves of the receiver."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sentinel_match.atomic import whole
from sentinel_match.errors import ExtraMissing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sentinel_match.locating.separation import Separation

COLUMNS = 3
"""Panels side by side."""


def draw_separations(path: Path, found: Sequence[Separation]) -> None:
    """Draw each score's cumulative curves for pairs of one place and of two, and all receiver curves in one panel.

    Args:
        path: .png, .pdf or .svg.
        found: of :func:`sentinel_match.locating.separation.separations`, at least one.

    Raises:
        ExtraMissing: matplotlib is not installed.
        OutputError: the file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ExtraMissing("Figures", "matplotlib", "plot") from None
    rows = -(-(len(found) + 1) // COLUMNS)
    figure = Figure(figsize=(4 * COLUMNS, 3.4 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for panel, one in zip(panels, found, strict=False):
        kinds = ((one.same, "one place", "tab:green"), (one.other, "two places", "tab:red"))
        low, high = one.other.min(), max(one.same.max(), one.other.max())
        for scores, name, colour in kinds:
            share = np.arange(1, len(scores) + 1) / len(scores)
            x, y = np.r_[min(low, scores[0]), scores, high], np.r_[0, share, 1]
            panel.step(x, y, where="post", color=colour, label=f"{name} ({len(scores)})")
        panel.set_title(f"{one.name}: AUC {one.auc:.3f}, Wasserstein {one.distance:.2f}", fontsize=10)
        panel.set(xlabel=one.name, ylabel="share of pairs at most so high", ylim=(0, 1.02))
        panel.legend(fontsize=8, loc="lower right")
    last = panels[len(found)]
    for one in found:
        last.step(*one.roc.T, where="post", label=f"{one.name} ({one.auc:.3f})")
    last.plot((0, 1), (0, 1), color="grey", linewidth=0.8, linestyle=":")
    last.set(
        xlabel="pairs of two places accepted", ylabel="pairs of one place accepted", xlim=(-0.02, 1), ylim=(0, 1.02)
    )
    last.set_title("which is accepted, over all thresholds", fontsize=10)
    last.legend(fontsize=8, loc="lower right")
    for panel in panels:
        panel.grid(alpha=0.3)
    for panel in panels[len(found) + 1 :]:
        panel.set_visible(False)
    with whole(path) as temporary:
        figure.savefig(temporary, dpi=120, format=path.suffix.removeprefix(".").lower())
