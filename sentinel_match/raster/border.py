"""One exact value around an image, which is no data that nobody has declared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from sentinel_match.raster.bands import Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.raster.bands import Computed

UNDECLARED = "is not declared as no data"
"""Said of a value in notes."""

BORDER_SHARE = 0.05
"""Of the border: as much of one exact value is no chance, if it goes on inwards."""
AREA_SHARE = 0.01
"""Of the image: as much of one exact value that touches the border."""
WHOLE_BORDER = 0.5
"""Of the border: as much of one exact value is a frame, however thin."""
CONSTANT_SHARE = 0.99
"""Of the image: as much of one exact value is an image without contrast, and no border."""


def border_value(pixels: NDArray[np.float32]) -> tuple[float, float] | None:
    """Find the exact value that fills the border of what an image shows, and the share of the image that it fills.

    Real ground has noise: of two real pixels side by side few are the same to the last digit.

    Args:
        pixels: (rows, cols), NaN where there is no data.
    """
    known = np.isfinite(pixels)
    outside = np.pad(~known, 1, constant_values=True).astype(np.uint8)
    rim = known & (cv2.dilate(outside, np.ones((3, 3), np.uint8))[1:-1, 1:-1] > 0)
    if not rim.any():
        return None
    values, counts = np.unique(pixels[rim], return_counts=True)
    value, border = float(values[counts.argmax()]), counts.max() / rim.sum()
    _, labels = cv2.connectedComponents((pixels == value).astype(np.uint8), connectivity=4)
    touching = np.unique(labels[rim & (labels > 0)])
    share = float(np.isin(labels, touching).sum() / known.sum())
    if share > CONSTANT_SHARE or border < BORDER_SHARE or (share < AREA_SHARE and border < WHOLE_BORDER):
        return None
    return value, share


def border_notes(source: Source | Computed, pixels: NDArray[np.float32]) -> tuple[str, ...]:
    """Note which number of a file fills the border without being declared, and what to do.

    Args:
        source: what was read; of what is computed of several bands nothing is known.
        pixels: (rows, cols) of it, about evenly spread, NaN where there is no data.
    """
    border = border_value(pixels) if isinstance(source, Source) else None
    if border is None:
        return ()
    (value, share), band = border, source.bands[0]
    exact = value * band.quantification - band.offset  # of float32, which scale and offset make inexact
    if (band.offset, band.quantification) == (0.0, 1.0):
        number = str(int(value)) if value == int(value) else str(np.float32(value))
    else:
        number = f"{round(exact) if abs(exact - round(exact)) < 1e-3 else exact:.6g}"
    filled = f"{100 * share:.1f} %" if share < 0.1 else f"{100 * share:.0f} %"
    advice = f"if nothing was seen there, say --nodata {number} (nodata={number} in Python)"
    return (f"{number} fills the border, {filled} of {band.asset.name}, and {UNDECLARED}: {advice}",)
