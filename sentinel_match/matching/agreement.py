"""Answers of a lattice beside one another: how far each lies off its surroundings, and how reliable peaks are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sentinel_match.geometry import calibration, lattice, smoothing

if TYPE_CHECKING:
    from numpy.typing import NDArray

AGREES = (0.5, 1.0)
"""Bounds of the pixels from what the surroundings say within which one speaks for peaks of its kind; between them five
times what the most distinct quarter scatters."""


def off_surroundings(values: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute (rows, cols) pixels between an answer and what its wide surroundings say, the surest most.

    Ground may bend and break by more than a plane allows, but what hides it does not spread over 500 pixels.

    Args:
        values: (rows, cols, 2).
        weight: (rows, cols), 0 where there is no answer.
    """
    around = smoothing.average(values, weight, lattice.WIDTHS[-1], lattice.plane_of(values, weight))
    return np.asarray(np.hypot(*np.moveaxis(values - around, -1, 0)))


def reliability(off: NDArray[np.float64], distinct: NDArray[np.float64], reach: float) -> NDArray[np.float64]:
    """Estimate (N,) the share of right ones among peaks so distinct.

    Args:
        off: (N,) pixels from what their surroundings say.
        distinct: (N,) how distinct each peak is.
        reach: pixels within which wrong ones spread.
    """
    surest = off[distinct >= np.percentile(distinct, 75)]
    agrees = float(np.clip(5 * 1.4826 * np.median(surest), *AGREES))
    return calibration.reliability(off, distinct, agrees, reach)
