"""The verdict on a pair, and the figures that a user requires of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

LEVELS = ((0.3, "Sentinel-2's own requirement"), (0.2, "what change detection over vegetation needs"))
"""Bounds of the circular error in pixels. The first: ESA, Sentinel-2 Mission Requirements Document, multi-temporal
registration at 95 %. The second: Dai & Khorram 1998, "The effects of image misregistration on the accuracy of remotely
sensed change detection", for an error below 10 %."""


def verdict(summary: Mapping[str, Any]) -> str:
    """What the figures of a pair mean for its use, in one sentence nobody can misread."""
    proof, gsd = summary["hold_out"], summary["gsd_m"]
    before = f"the images lie {summary['median_shift_m']:.2f} m ({summary['median_shift_m'] / gsd:.2f} px) apart"
    if not proof:
        return f"{before}; the points lie too close together to prove a correction"
    low, high = (v / gsd for v in proof["ce95_interval"])
    after = f"corrected, 95 % of unseen check points err less than {proof['ce95']:.2f} m ({proof['ce95'] / gsd:.2f} px)"
    kept = [f"{bound:g} px ({whose})" for bound, whose in LEVELS if high <= bound]
    missed = [f"{bound:g} px ({whose})" for bound, whose in LEVELS if low > bound]
    open_ = [f"{bound:g} px ({whose})" for bound, whose in LEVELS if low <= bound < high]
    parts = [
        f"{word} {' and '.join(bounds)}"
        for word, bounds in (("meets", kept), ("may or may not meet", open_), ("misses", missed))
        if bounds
    ]
    said = f"{before}; {after}: {', '.join(parts)}"
    if summary.get("second", {}).get("agrees") is False:
        off = summary["second"]
        said += (
            f"; BUT a second estimator sees {off['after_dx_m']:+.2f} m east, {off['after_dy_m']:+.2f} m north remain"
        )
    return said


class Requirement(NamedTuple):
    """A figure that a pair must reach."""

    name: str
    """A key of ``FIGURES``."""
    bound: float
    unit: str
    """``m``, ``px``, ``%``, or empty for a count."""

    def failed(self, summary: Mapping[str, Any]) -> str:
        """Why a pair does not meet it, a sentence; empty where it does."""
        path, least = FIGURES[self.name]
        value: Any = summary
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        wanted = f"{self.name}{'>' if least else '<'}={self.bound:g}{self.unit}"
        if value is None:
            return f"{wanted} is required, and there is no such figure: the points do not suffice"
        scale = {"px": summary["gsd_m"], "%": 0.01}.get(self.unit, 1.0)
        found = value / scale
        met = found >= self.bound if least else found <= self.bound
        return "" if met else f"{wanted} is required, and it is {found:.3g}{self.unit}"


FIGURES: Mapping[str, tuple[tuple[str, ...], bool]] = {
    "CE90": (("hold_out", "ce90"), False),
    "CE95": (("hold_out", "ce95"), False),
    "RMSE": (("hold_out", "rmse"), False),
    "GROSS": (("hold_out", "gross_share"), False),
    "POINTS": (("inliers",), True),
    "CELLS": (("km_cells",), True),
    "COVERAGE": (("coverage", "share"), True),
}
"""What can be required: where it is in a summary, and whether it must be at least so much."""
_UNITS = {"CE90": ("m", "px"), "CE95": ("m", "px"), "RMSE": ("m", "px"), "GROSS": ("%",), "COVERAGE": ("%",)}


def requirement(text: str) -> Requirement:
    """``CE90=3m``, ``CE95=0.3px``, ``POINTS=1000``, ``COVERAGE=50%`` as a value.

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
