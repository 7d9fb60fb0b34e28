"""The shift that is left between two images on one grid, by an estimator that no tie point was made with.

In windows of its own the enhanced correlation coefficient is maximised: see :mod:`sentinel_match.accuracy.ecc`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sentinel_match.accuracy import ecc
from sentinel_match.accuracy.windows import MaskedWindow, independent, places, step_between
from sentinel_match.geometry.robust import error_of_median, nmad
from sentinel_match.raster.jp2 import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.raster.resample import Pixels, ReadWindow

RESIDUAL_LOOKS, RESIDUAL_SIDE = 400, 128
"""Windows, at most, about, and their side in pixels."""


@dataclass(frozen=True, kw_only=True)
class VersionShift:
    """How far one version of the right image lies off the left one: medians over windows, in pixels of the grid."""

    dx_px: float
    """Right minus left, east."""
    dy_px: float
    """North."""
    sigma_dx_px: float
    """Standard error of the median."""
    sigma_dy_px: float
    nmad_x_px: float
    """Scatter of single windows: normalised median absolute deviation."""
    nmad_y_px: float


@dataclass(frozen=True, kw_only=True)
class ResidualShift:
    """How far the right image lies off the left one before its correction and after, over the same windows.

    Where too few windows are alike there are no shifts.
    """

    estimator: str = "ECC"
    looks: int
    """Windows tried."""
    answers: int
    """Windows in which both versions could be measured."""
    before: VersionShift | None = None
    after: VersionShift | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it; a version that could not be measured is left out."""
        shifts = {"before": self.before, "after": self.after}
        return {
            "estimator": self.estimator,
            "window_px": RESIDUAL_SIDE,
            "looks": self.looks,
            "answers": self.answers,
            **{name: asdict(shift) for name, shift in shifts.items() if shift},
        }


def residual(left: ReadWindow, before: ReadWindow, after: ReadWindow, clear: NDArray[np.bool_]) -> ResidualShift:
    """Measure how far two versions of the right image lie off the left one, in windows where both can be measured.

    Args:
        left: gives a window of the left image, NaN where there is nothing.
        before: gives one of the right image by its georeference alone.
        after: gives one of the right image as it was corrected.
        clear: (rows, cols) valid in both images.
    """
    step = step_between(clear.shape, RESIDUAL_SIDE, RESIDUAL_LOOKS)
    corners = places(clear, RESIDUAL_SIDE, step, ecc.CLEAR)
    windows = [Window(int(y), int(x), RESIDUAL_SIDE, RESIDUAL_SIDE) for x, y in corners]
    shifts = np.full((2, len(windows), 2), np.nan)
    for k, window in enumerate(windows):
        reference = _cut(left(window), clear[window.roi])
        for j, version in enumerate((before, after)):
            shift = ecc.aligned(reference, _cut(version(window), clear[window.roi]))
            if shift is None:
                break
            shifts[j, k] = shift.shift * (1, -1)
    answered = np.isfinite(shifts).all((0, 2))
    looks, answers = len(windows), int(answered.sum())
    if answers < ecc.FEWEST_ANSWERS:
        return ResidualShift(looks=looks, answers=answers)
    count = independent(answers, RESIDUAL_SIDE, step)
    medians = [_median_shift(values, count) for values in shifts[:, answered]]
    return ResidualShift(looks=looks, answers=answers, before=medians[0], after=medians[1])


def _median_shift(shifts: NDArray[np.float64], count: float) -> VersionShift:
    """Summarise the (N, 2) shifts of windows, of which so many are independent."""
    dx, dy = np.median(shifts, axis=0)
    scatter = [nmad(shifts[:, k]) for k in (0, 1)]
    error = [error_of_median(s, count) for s in scatter]
    return VersionShift(
        dx_px=round(float(dx), 4),
        dy_px=round(float(dy), 4),
        sigma_dx_px=round(error[0], 4),
        sigma_dy_px=round(error[1], 4),
        nmad_x_px=round(scatter[0], 4),
        nmad_y_px=round(scatter[1], 4),
    )


def _cut(pixels: Pixels, clear: NDArray[np.bool_]) -> MaskedWindow:
    valid = clear & np.isfinite(pixels)
    return MaskedWindow(np.where(valid, pixels, np.float32(0)), valid)
