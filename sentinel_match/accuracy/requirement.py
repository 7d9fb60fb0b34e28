"""The verdict on a pair, and the figures that a user requires of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from sentinel_match.accuracy.ecc import silence
from sentinel_match.summary import DOUBTFUL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sentinel_match.opinions import SecondEstimate
    from sentinel_match.summary import HoldOut, ShiftStatistics, Summary

LEAST_INLIERS = 20
"""Fewer inliers promise nothing of ground they do not lie on: the largest of n errors is exceeded by 1 in n + 1."""
LEVELS = ((0.3, "Sentinel-2's own requirement"), (0.2, "what change detection over vegetation needs"))
"""Bounds of the circular error in pixels. The first: ESA, Sentinel-2 Mission Requirements Document, multi-temporal
registration at 95 %. The second: Dai & Khorram 1998, "The effects of image misregistration on the accuracy of remotely
sensed change detection", for an error below 10 %."""

POINT_BOUND = LEVELS[0][0]
"""Pixels from the model at which a map shows a point in red."""
FEW_BEYOND = 0.05
"""Share of points beyond it that contradicts no promise: 95 % is what is promised."""
LEAST_SUPPORTED, ALL_SUPPORTED = 0.5, 0.9
"""Share of the cells of clear ground that must hold points for a figure to be met, and from which it goes unsaid."""

ONE_IMAGE_PX = 0.001
"""Pixels within which no two acquisitions agree: their surest peaks scatter by 0.02."""


def is_one_image(statistics: ShiftStatistics) -> bool:
    """Tell whether both images are one and the same, or its copy: nothing else agrees so well."""
    return max(statistics.median_shift_m, statistics.rmse_m) < ONE_IMAGE_PX * statistics.gsd_m


def overruled(statistics: ShiftStatistics, second: SecondEstimate) -> str:
    """Say what points and a second estimator see where they contradict each other beyond what both are sure of."""
    points = f"{statistics.median_dx_m:+.2f} m east, {statistics.median_dy_m:+.2f} m north"
    seen = f"{second.before_dx_m:+.2f} m east, {second.before_dy_m:+.2f} m north"
    windows = f"{second.answers} of {second.looks} windows"
    return (
        f"{statistics.inliers:,} points say {points}, but a second estimator ({second.estimator} in {windows}) sees "
        f"{seen}: they contradict each other beyond what both are sure of, so neither is believed"
    )


def verdict(
    statistics: ShiftStatistics,
    hold_out: HoldOut | None,
    second: SecondEstimate | None,
    doubted: Sequence[str] = (),
    *,
    supported: float = 1.0,
    blind_below: float = 0.0,
    untouched: str = "",
) -> str:
    """Say in one sentence that nobody can misread what the figures of a pair mean for its use.

    Args:
        statistics: of the inliers.
        hold_out: errors of the transform on unseen ground.
        second: what another method sees.
        doubted: why the displacement may not be the one that the images show: see
            :meth:`~sentinel_match.opinions.Consistency.doubts`.
        supported: share of the cells of clear ground that hold points.
        blind_below: metres below which displacement is not known, for no single window was measured.
        untouched: why the transform moves nothing, where it does not.
    """
    gsd = statistics.gsd_m
    if is_one_image(statistics):
        return "both are the same image: that it agrees with itself proves nothing of two acquisitions"
    before = f"the images lie {statistics.median_shift_m:.2f} m ({statistics.median_shift_m / gsd:.2f} px) apart"
    if second is not None:
        doubted = (*doubted, *second.contradictions(hold_out.ce95_interval[1] if hold_out else 0.0, gsd))
    if doubted:
        return f"{DOUBTFUL}{before} by the points, but {'; and '.join(doubted)}, so nothing is promised"
    if hold_out is None:
        return f"{before}; the points lie too close together to prove a correction"
    if statistics.inliers < LEAST_INLIERS:
        error = f"{hold_out.rmse:.2f} m ({hold_out.rmse / gsd:.2f} px) RMSE"
        return (
            f"{before}; corrected by {statistics.inliers} points, which err {error} where they are left out in turn: "
            f"so few promise nothing of other ground, {LEAST_INLIERS} can"
        )
    low, high = (v / gsd for v in hold_out.ce95_interval)
    ce95 = f"{hold_out.ce95:.2f} m ({hold_out.ce95 / gsd:.2f} px)"
    if hold_out.allowance:
        ce95 += f", {hold_out.allowance:.2f} m of it to allow for coarse detail that lies elsewhere than fine detail"
    kept = [f"{bound:g} px ({whose})" for bound, whose in LEVELS if high <= bound]
    missed = [f"{bound:g} px ({whose})" for bound, whose in LEVELS if low > bound]
    open_ = [f"{bound:g} px ({whose})" for bound, whose in LEVELS if low <= bound < high]
    silent = second if second is not None and second.agrees is None else None
    # What nobody confirms, or hardly any ground, is no promise
    if silent is not None or blind_below or supported < LEAST_SUPPORTED:
        kept, open_ = [], kept + open_
    parts = [
        f"{word} {' and '.join(bounds)}"
        for word, bounds in (("meets", kept), ("may or may not meet", open_), ("misses", missed))
        if bounds
    ]
    done = "corrected, 95 % of unseen check points err"
    if untouched:
        done = f"nothing is corrected, {untouched}: 95 % of unseen check points differ by"
    sentence = f"{before}; {done} less than {ce95}: {', '.join(parts)}"
    if supported < ALL_SUPPORTED:
        sentence += f"; points support {100 * supported:.0f} % of the clear ground"
    if blind_below:
        sentence += f"; no single window confirms it: displacement on less than {blind_below:.0f} m is not known"
    return sentence if silent is None else f"{sentence}; a second estimator does not confirm it: {silence(silent)}"


def promise(summary: Summary, beyond: float | None) -> str:
    """Say in one sentence what the figures of a pair promise of its model, and what of single points.

    Check points are the surest peaks; all points that are believed scatter more, and a map shows them all.

    Args:
        summary: of the pair.
        beyond: share of its inliers that lie :data:`POINT_BOUND` pixels or more from the model; ``None`` where that is
            not known.
    """
    gsd = summary.gsd_m
    if beyond is None:
        near = summary.ce90_m <= POINT_BOUND * gsd
        scatter = (
            f"one in ten of the {summary.inliers:,} believed points lies more than "
            f"{summary.ce90_m:.2f} m ({summary.ce90_m / gsd:.2f} px) from it"
        )
    else:
        near = beyond < FEW_BEYOND
        share = "less than 1 %" if beyond < 0.01 else f"{100 * beyond:.0f} %"
        scatter = f"{share} of the {summary.inliers:,} believed points lie {POINT_BOUND:g} px or more from it"
    if summary.hold_out is None:
        return f"the model is not proven on unseen ground; {scatter}, which tells how single points scatter and no more"
    ce95 = f"{summary.hold_out.ce95 / gsd:.2f} px"
    if summary.doubtful:
        return f"by the points alone, which the images contradict, the model would err less than {ce95}, and {scatter}"
    model = f"{ce95} is what the model promises, by the {summary.hold_out.points:,} surest points"
    if near:
        return f"{model}, and single points bear it out: {scatter}"
    red = "" if beyond is None else " (red in QGIS)"
    return (
        f"{model}; single points promise less: {scatter}{red}, so correct by the model, and weigh single points by "
        "their sigma_m"
    )


class Requirement(NamedTuple):
    """A figure that a pair must reach."""

    name: str
    """A key of ``FIGURES``."""
    bound: float
    unit: str
    """``m``, ``px``, ``%``, or empty for a count."""

    def failed(self, summary: Summary) -> str:
        """Say why a pair does not meet it, in a sentence; empty where it does."""
        value_of, least = FIGURES[self.name]
        value = value_of(summary)
        wanted = f"{self.name}{'>' if least else '<'}={self.bound:g}{self.unit}"
        if value is None:
            return f"{wanted} is required, and there is no such figure: the points do not suffice"
        scale = {"px": summary.gsd_m, "%": 0.01}.get(self.unit, 1.0)
        reached = value / scale
        met = reached >= self.bound if least else reached <= self.bound
        return "" if met else f"{wanted} is required, and it is {reached:.3g}{self.unit}"


def _held(name: str) -> Callable[[Summary], float | None]:
    """Return what takes a figure of the check points from a summary."""
    return lambda summary: getattr(summary.hold_out, name, None)


def _promised(name: str) -> Callable[[Summary], float | None]:
    """Return what takes a circular error from a summary, if it has inliers enough to promise one."""
    return lambda summary: _held(name)(summary) if summary.inliers >= LEAST_INLIERS else None


FIGURES: Mapping[str, tuple[Callable[[Summary], float | None], bool]] = {
    "CE90": (_promised("ce90"), False),
    "CE95": (_promised("ce95"), False),
    "RMSE": (_held("rmse"), False),
    "GROSS": (_held("gross_share"), False),
    "POINTS": (lambda summary: summary.inliers, True),
    "CELLS": (lambda summary: summary.km_cells, True),
    "COVERAGE": (lambda summary: summary.comparison.coverage.share if summary.comparison else None, True),
}
"""What can be required: how to take it from a summary, and whether it must be at least so much."""
_UNITS = {"CE90": ("m", "px"), "CE95": ("m", "px"), "RMSE": ("m", "px"), "GROSS": ("%",), "COVERAGE": ("%",)}


def requirement(text: str) -> Requirement:
    """Parse ``CE90=3m``, ``CE95=0.3px``, ``POINTS=1000`` or ``COVERAGE=50%``.

    Raises:
        ValueError: it is none; in words for the user.
    """
    match = re.fullmatch(r"([A-Za-z0-9]+)=([0-9.]+)(m|px|%)?", text.strip())
    name = match[1].upper() if match else ""
    if match is None or name not in FIGURES:
        raise ValueError(f"{text!r} is no requirement: write one of {', '.join(FIGURES)}, as in CE90=3m or POINTS=1000")
    unit, units = match[3] or "", _UNITS.get(name, ("",))
    if unit not in units:
        raise ValueError(f"{text!r}: {name} is in {' or '.join(units) if units != ('',) else 'plain numbers'}")
    try:
        return Requirement(name, float(match[2]), unit)
    except ValueError:
        raise ValueError(f"{text!r}: {match[2]} is no number") from None
