"""The proof: how far a model errs on ground it has not seen, what a second estimator says, and the verdict.

Check points are measured points that were held out with their whole neighbourhood, whether they agree with the model or
not: only their own peak must be of a quality of which 95 % are right, or a check would tell of itself. Circular errors
CE90 and CE95 are the radii within which 90 and 95 % of them lie; their intervals come from drawing blocks, not points:
neighbours err together (block bootstrap, Künsch 1989).

The second estimator shares nothing with ``correlation``: the enhanced correlation coefficient, maximised by
Gauss-Newton steps on intensities (Evangelidis & Psarakis 2008, "Parametric Image Alignment Using ECC Maximization"), as
OpenCV has it, in windows of its own.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sentinel_match.lattice import pixel_size, to_metres, to_pixels
from sentinel_match.tiepoints import nmad

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from sentinel_match.raster import Raster
    from sentinel_match.warp import Warp

LEVELS = ((0.3, "Sentinel-2's own requirement"), (0.2, "what change detection over vegetation needs"))
"""Bounds of the circular error in pixels. The first: ESA, Sentinel-2 Mission Requirements Document, multi-temporal
registration at 95 %. The second: Dai & Khorram 1998, "The effects of image misregistration on the accuracy of remotely
sensed change detection", for an error below 10 %."""
DRAWS = 200
"""Of the bootstrap."""
BINS = 4000
LOOKS, SIDE = 36, 128
"""Windows of the second estimator, at most, and their side in pixels."""
CLEAR = 0.9
"""Least share of such a window that is valid in both images."""
ALIKE = 0.6
"""Least correlation coefficient at which the second estimator has an answer."""
FEWEST = 6
"""Answers that make a median."""
DISAGREES = 0.1
"""Pixels between the two estimators from which they contradict each other."""


def held_out(
    error: NDArray[np.float64], believed: NDArray[np.bool_], block: NDArray[np.int_], seed: int = 0
) -> dict[str, Any]:
    """Figures of errors at check points.

    Args:
        error: (N, 2) of each, in metres.
        believed: (N,) whether it agrees with the model: those that do not are gross errors of a measurement.
        block: (N,) what was held out together.
        seed: of the bootstrap.

    Returns:
        ``points``, ``gross_share``; ``bias_x``, ``bias_y``, ``rmse`` (2-D) of the believed ones; ``ce90``, ``ce95`` of
        all, each with its 95 % interval; metres. Empty without points.
    """
    known = np.isfinite(error).all(1)
    error, believed, block = error[known], believed[known], block[known]
    if not believed.any():
        return {}
    distance = np.hypot(*error.T)
    # Bins by rank: one far outlier must not make all the others one bin
    edges = np.quantile(distance, np.linspace(0, 1, min(BINS, len(distance)) + 1)[1:])
    _, block = np.unique(block, return_inverse=True)
    blocks = int(block.max()) + 1
    counts = np.zeros((blocks, len(edges)))
    np.add.at(counts, (block.ravel(), np.searchsorted(edges, distance).clip(max=len(edges) - 1)), 1)
    drawn = np.random.default_rng(seed).multinomial(blocks, np.full(blocks, 1 / blocks), DRAWS) @ counts
    share = np.cumsum(drawn, 1) / np.maximum(drawn.sum(1, keepdims=True), 1)
    figures: dict[str, Any] = {
        "points": len(error),
        "gross_share": round(float(1 - believed.mean()), 4),
        "bias_x": float(error[believed, 0].mean()),
        "bias_y": float(error[believed, 1].mean()),
        "rmse": float(np.sqrt((distance[believed] ** 2).mean())),
    }
    for percent in (90, 95):
        each = edges[(share < percent / 100 - 1e-9).sum(1).clip(max=len(edges) - 1)]
        figures[f"ce{percent}"] = float(np.percentile(distance, percent))
        figures[f"ce{percent}_interval"] = [float(v) for v in np.percentile(each, (2.5, 97.5))]
    return figures


def second(left: Raster, right: Raster, warp: Warp) -> dict[str, Any]:
    """What the second estimator measures, before a model's correction and after.

    Args:
        left: the reference.
        right: the other image, on the same lattice.
        warp: left metres to right metres.

    Returns:
        ``looks`` (windows tried), ``answers``; where these are enough, the medians ``before_dx_m``, ``before_dy_m``,
        ``after_dx_m``, ``after_dy_m`` and the standard errors ``sigma_dx_m``, ``sigma_dy_m`` of the latter.
    """
    gsd = pixel_size(left)
    rows, cols = left.valid.shape
    corners = places(left.valid, max(SIDE, int(np.sqrt(rows * cols / LOOKS))))
    centre = to_metres(left, corners + SIDE / 2)
    expected = to_pixels(right, warp(centre)) - SIDE / 2
    found = np.full((len(corners), 2), np.nan)
    for k, ((x, y), there) in enumerate(zip(corners, np.round(expected).astype(int), strict=True)):
        moved = aligned(_cut(left, x, y), _cut(right, *there))
        if moved is not None:
            found[k] = there + moved
    answered = np.isfinite(found).all(1)
    said: dict[str, Any] = {"estimator": "ECC", "looks": len(corners), "answers": int(answered.sum())}
    if answered.sum() < FEWEST:
        return said
    truly = to_metres(right, found[answered] + SIDE / 2)
    before, after = truly - centre[answered], truly - warp(centre[answered])
    for name, values in (("before", before), ("after", after)):
        said |= {f"{name}_d{axis}_m": round(float(np.median(values[:, k])), 3) for k, axis in enumerate("xy")}
    error = [1.2533 * nmad(after[:, k]) / np.sqrt(len(after)) for k in (0, 1)]
    said |= {f"sigma_d{axis}_m": round(error[k], 3) for k, axis in enumerate("xy")}
    off = [abs(said[f"after_d{axis}_m"]) for axis in "xy"]
    bounds = [max(DISAGREES * gsd, 4 * e) for e in error]
    return said | {"agrees": bool(off[0] <= bounds[0] and off[1] <= bounds[1])}


def places(valid: NDArray[np.bool_], step: int) -> NDArray[np.int_]:
    """(N, 2) x, y of the corners of windows on clear ground, spread evenly.

    Args:
        valid: (rows, cols) in the images that are compared; a memory map is read window by window.
        step: pixels from one to the next.
    """
    rows, cols = valid.shape
    if min(rows, cols) < SIDE:
        return np.empty((0, 2), int)
    corners = [
        (x, y)
        for y in range((rows - SIDE) % step // 2, rows - SIDE + 1, step)
        for x in range((cols - SIDE) % step // 2, cols - SIDE + 1, step)
        if np.asarray(valid[y : y + SIDE, x : x + SIDE]).mean() >= CLEAR
    ]
    return np.array(corners, int).reshape(-1, 2)


def _cut(image: Raster, x: int, y: int) -> Window | None:
    rows, cols = image.valid.shape
    if not (0 <= x <= cols - SIDE and 0 <= y <= rows - SIDE):
        return None
    window = np.s_[y : y + SIDE, x : x + SIDE]
    valid = np.asarray(image.valid[window], bool)
    return Window(np.where(valid, np.asarray(image.pixels[window]), 0).astype(np.float32), valid)


def aligned(one: Window | None, other: Window | None) -> NDArray[np.float64] | None:
    """(2,) x, y by which the content of the second window lies off the first; ``None`` where they are not alike."""
    import cv2

    if one is None or other is None:
        return None
    both = one.valid & other.valid
    if both.mean() < CLEAR:
        return None
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-5)
    mask = both.astype(np.uint8)
    try:
        alike, matrix = cv2.findTransformECC(
            one.pixels, other.pixels, np.eye(2, 3, dtype=np.float32), cv2.MOTION_TRANSLATION, criteria, mask, 3
        )
    except cv2.error:  # it does not converge: the windows have nothing in common
        return None
    moved = np.asarray(matrix[:, 2], float)
    return moved if alike >= ALIKE and np.hypot(*moved) < SIDE / 8 else None


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


class Window(NamedTuple):
    """A square of an image."""

    pixels: NDArray[np.float32]
    """(SIDE, SIDE), 0 where not valid."""
    valid: NDArray[np.bool_]


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
