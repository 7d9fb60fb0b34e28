"""Windows of two images that are compared: where they lie on clear ground, what is cut there, how many count.

The second estimator, the residual of a stack and the spectra look through windows of their own side and number, which
all of them spread and cut alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sentinel_match.raster.npy import release

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sentinel_match.raster.raster import Raster

WINDOW, MOST_WINDOWS = 128, 64
"""Side in pixels of the windows that spectra and marks of storage are made of, and how many there are at most."""
CLEAR_SHARE = 0.75
"""Of such a window that is valid, at least."""


class MaskedWindow(NamedTuple):
    """A square of an image."""

    pixels: NDArray[np.float32]
    """(side, side), 0 where not valid."""
    valid: NDArray[np.bool_]


def step_between(shape: tuple[int, ...], side: int, most: int) -> int:
    """Choose the pixels from one window to the next: in a small image they overlap by half.

    Args:
        shape: rows and columns of the image.
        side: of a window, pixels.
        most: windows, at most, about.
    """
    return max(side // 2, int(np.sqrt(shape[0] * shape[1] / most)))


def independent(answers: int, side: int, step: int) -> float:
    """Count how many of the answers of windows err independently: what overlaps errs alike."""
    return max(1.0, answers * min(1.0, step / side) ** 2)


def places(valid: NDArray[np.bool_], side: int, step: int, clear: float) -> NDArray[np.int_]:
    """Spread windows evenly on clear ground: (N, 2) x, y of their corners.

    Args:
        valid: (rows, cols) in the images that are compared; a memory map is read window by window.
        side: of a window, pixels.
        step: pixels from one to the next.
        clear: least share of a window that is valid.
    """
    rows, cols = valid.shape
    if min(rows, cols) < side:
        return np.empty((0, 2), int)
    corners = [
        (x, y)
        for y in range((rows - side) % step // 2, rows - side + 1, step)
        for x in range((cols - side) % step // 2, cols - side + 1, step)
        if np.asarray(valid[y : y + side, x : x + side]).mean() >= clear
    ]
    release(valid)
    return np.array(corners, int).reshape(-1, 2)


def clear_corners(valid: NDArray[np.bool_]) -> NDArray[np.int_]:
    """Spread the windows of spectra and of marks of storage: see :func:`places`."""
    return places(valid, WINDOW, step_between(valid.shape, WINDOW, MOST_WINDOWS), CLEAR_SHARE)


def cut(image: Raster, corner: Sequence[int] | NDArray[np.int_], side: int) -> MaskedWindow | None:
    """Cut a window, x and y of its corner in pixels; ``None`` where it does not lie in the image."""
    (rows, cols), (x, y) = image.valid.shape, corner
    if not (0 <= x <= cols - side and 0 <= y <= rows - side):
        return None
    part = np.s_[y : y + side, x : x + side]
    valid = np.array(image.valid[part], bool)
    window = MaskedWindow(np.where(valid, np.asarray(image.pixels[part]), 0).astype(np.float32), valid)
    release(image.pixels, image.valid)
    return window
