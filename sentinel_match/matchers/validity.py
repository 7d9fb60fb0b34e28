"""What invalid pixels may not do: carry a keypoint, or make one by the edge of their mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLEAR_MARGIN_PX = 4
"""Pixels kept clear of keypoints beside invalid pixels and the border; SuperPoint's authors drop 4 at the border."""


def inside(pixels: NDArray[np.float32], valid: NDArray[np.bool_], margin: int = CLEAR_MARGIN_PX) -> NDArray[np.bool_]:
    """Find where a keypoint may be: further than ``margin`` pixels from invalid pixels and from the border.

    An image that is the same everywhere shows nothing: then it is nowhere.

    Args:
        pixels: (rows, cols).
        valid: (rows, cols), ``True`` = usable; pixels that are not finite are never usable.
        margin: pixels, in rows and columns.
    """
    from scipy.ndimage import minimum_filter

    usable = valid & np.isfinite(pixels)
    if not usable.any() or np.ptp(pixels[usable]) == 0:
        return np.zeros_like(usable)
    clear: NDArray[np.bool_] = minimum_filter(usable, size=2 * margin + 1, mode="constant", cval=0)
    return clear


def filled(pixels: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Give every invalid pixel of an image the value of the nearest valid one, so that a mask has no edge.

    Args:
        pixels: (rows, cols).
        valid: (rows, cols), ``True`` = usable; at least one is.
    """
    from scipy.ndimage import distance_transform_edt

    usable = valid & np.isfinite(pixels)
    if usable.all():
        return pixels
    rows, cols = distance_transform_edt(~usable, return_distances=False, return_indices=True)
    nearest: NDArray[np.float32] = pixels[rows, cols]
    return nearest


def on_allowed(allowed: NDArray[np.bool_], points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which of (N, 2) points x, y lie on a pixel that is allowed; none beyond the image is."""
    cols, rows = np.floor(points).astype(int).T
    inner: NDArray[np.bool_] = (rows >= 0) & (rows < allowed.shape[0]) & (cols >= 0) & (cols < allowed.shape[1])
    inner[inner] = allowed[rows[inner], cols[inner]]
    return inner
