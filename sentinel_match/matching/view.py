"""Looks at an image that remember where each of their pixels came from: reduced, turned, cut out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from sentinel_match.matchers.validity import filled
from sentinel_match.raster.resample import block_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class View:
    """An image, or what was made of it: reduced, turned, cut out."""

    pixels: NDArray[Any]
    """(rows, cols), 0..1; may be a memory map of float16."""
    valid: NDArray[np.bool_]
    """(rows, cols), ``True`` = valid."""
    matrix: NDArray[np.float64]
    """(3, 3) homogeneous: pixels of the view to pixels of the image it is of, corner origin."""

    owner: object = field(default=None, repr=False)
    """What must live as long as the pixels, such as the temporary folder behind a memory map."""

    @staticmethod
    def of(pixels: NDArray[Any], valid: NDArray[np.bool_], owner: object = None) -> View:
        """The whole image as it is."""
        return View(pixels, valid, np.eye(3), owner)

    @property
    def scale(self) -> float:
        """Side of a pixel of the view in pixels of the image."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix[:2, :2]))))

    @property
    def corners(self) -> NDArray[np.float64]:
        """(4, 2) corners of the view in pixels of the image."""
        rows, cols = self.valid.shape
        return self.whence(np.array([[0, 0], [cols, 0], [0, rows], [cols, rows]]))

    def whence(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """(N, 2) points of the view in pixels of the image."""
        return np.asarray(points @ self.matrix[:2, :2].T + self.matrix[:2, 2], np.float64)

    def where(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """(N, 2) points of the image in pixels of the view."""
        return np.asarray((points - self.matrix[:2, 2]) @ np.linalg.inv(self.matrix[:2, :2]).T, np.float64)

    def cut(self, row: int, col: int, height: int, width: int) -> View:
        """A rectangle of it, as far as it lies inside."""
        rows, cols = (slice(max(a, 0), max(a + n, 0)) for a, n in ((row, height), (col, width)))
        pixels = np.asarray(self.pixels[rows, cols], np.float32)
        return View(pixels, np.asarray(self.valid[rows, cols]), self.matrix @ shift(cols.start, rows.start))


def reduced(view: View, size: int | tuple[int, int] | None) -> View:
    """A view with means of the valid pixels for pixels, valid where at least half are; strip by strip.

    Args:
        view: of any size.
        size: pixels of the longer side, or width and height; a side that is shorter already stays. ``None`` = as is.
    """
    rows, cols = view.valid.shape
    wanted = (size, size) if isinstance(size, int) else size
    ratio = (1.0, 1.0) if wanted is None else (max(1.0, cols / wanted[0]), max(1.0, rows / wanted[1]))
    if isinstance(size, int):
        ratio = (max(ratio), max(ratio))
    block = min(int(min(ratio) + 1e-9), rows, cols)
    step = max(1, 1024 // block) * block
    tall, wide = rows // block * block, cols // block * block
    strips = [
        block_mean(
            _with_nan(view.pixels[top : top + step, :wide], view.valid[top : top + step, :wide])[: tall - top], block
        )
        for top in range(0, tall, step)
    ]
    pixels = np.vstack(strips)
    target = tuple(max(1, round(n * block / r)) for n, r in zip(pixels.shape[::-1], ratio, strict=True))
    step_x, step_y = pixels.shape[1] / target[0], pixels.shape[0] / target[1]
    if target != pixels.shape[::-1]:
        share = cv2.resize(np.isfinite(pixels).astype(np.float32), target, interpolation=cv2.INTER_AREA)
        mean = cv2.resize(np.nan_to_num(pixels), target, interpolation=cv2.INTER_AREA)
        pixels = np.where(share >= 0.5, mean / np.maximum(share, 0.5), np.float32(np.nan)).astype(np.float32)
    valid = np.isfinite(pixels)
    scale = np.diag([step_x * block, step_y * block, 1.0])
    return View(np.nan_to_num(pixels), valid, view.matrix @ scale)


def turned(view: View, degrees: float) -> View:
    """A view turned clockwise, whole, on a canvas as large as it then needs: exact by quarters, else one cubic warp."""
    rows, cols = view.valid.shape
    if degrees % 90 == 0:
        quarter = round(degrees / 90) % 4
        cos, sin = ((1, 0), (0, 1), (-1, 0), (0, -1))[quarter]
        canvas = (cols, rows) if quarter % 2 == 0 else (rows, cols)
        pixels, valid = (np.ascontiguousarray(np.rot90(array, -quarter)) for array in (view.pixels, view.valid))
    else:
        cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        canvas = int(np.ceil(abs(cols * cos) + abs(rows * sin))), int(np.ceil(abs(cols * sin) + abs(rows * cos)))
    # y points down, so this is clockwise
    forth = shift(canvas[0] / 2, canvas[1] / 2) @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1.0]])
    forth = forth @ shift(-cols / 2, -rows / 2)
    if degrees % 90:
        centred = (shift(-0.5, -0.5) @ forth @ shift(0.5, 0.5))[:2]  # OpenCV counts from the centre of a pixel
        source = filled(view.pixels, view.valid) if view.valid.any() else view.pixels
        pixels = cv2.warpAffine(source, centred, canvas, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        pixels = np.clip(pixels, 0, 1)
        valid = cv2.warpAffine(view.valid.astype(np.float32), centred, canvas, flags=cv2.INTER_LINEAR) > 0.999
    return View(pixels, valid, view.matrix @ np.linalg.inv(forth))


def shift(x: float, y: float) -> NDArray[np.float64]:
    """(3, 3) homogeneous: moves by x, y."""
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])


def _with_nan(pixels: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    return np.where(valid, np.asarray(pixels, np.float32), np.float32(np.nan))
