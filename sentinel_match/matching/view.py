"""Views of an image that remember where each of their pixels came from: reduced, turned, cut out, in windows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from sentinel_match.matchers.validity import filled
from sentinel_match.raster.resample import block_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from sentinel_match.geometry.transform import PlaneTransform
    from sentinel_match.raster.raster import Raster

SEARCH_WINDOW_SIDE = 640
"""Side in pixels of the windows that big images are matched in at full resolution."""


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
        """Make a view of the whole image as it is."""
        return View(pixels, valid, np.eye(3), owner)

    @property
    def scale(self) -> float:
        """Compute the side of a pixel of the view in pixels of the image."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix[:2, :2]))))

    @property
    def corners(self) -> NDArray[np.float64]:
        """List (4, 2) corners of the view in pixels of the image."""
        rows, cols = self.valid.shape
        return self.to_image(np.array([[0, 0], [cols, 0], [0, rows], [cols, rows]]))

    def to_image(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """Convert (N, 2) points of the view to pixels of the image."""
        return np.asarray(points @ self.matrix[:2, :2].T + self.matrix[:2, 2], np.float64)

    def to_view(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """Convert (N, 2) points of the image to pixels of the view."""
        return np.asarray((points - self.matrix[:2, 2]) @ np.linalg.inv(self.matrix[:2, :2]).T, np.float64)

    def crop(self, row: int, col: int, height: int, width: int) -> View:
        """Cut out a rectangle, as far as it lies inside."""
        rows, cols = (slice(max(a, 0), max(a + n, 0)) for a, n in ((row, height), (col, width)))
        pixels = np.asarray(self.pixels[rows, cols], np.float32)
        return View(pixels, np.asarray(self.valid[rows, cols]), self.matrix @ shift(cols.start, rows.start))


def no_contrast(left: View | Raster, right: View | Raster) -> str:
    """Say which of two images shows nothing, or one value, as the end of a sentence; empty where both show more."""
    sides = {"left": left, "right": right}
    if hidden := [name for name, image in sides.items() if not np.asarray(image.valid).any()]:
        return f"no pixel of {_named(hidden)} is clear"
    flat = [name for name, image in sides.items() if _is_flat(image.pixels, image.valid)]
    return f"there is no contrast in {_named(flat)}, whose clear pixels all have one value" if flat else ""


def _named(sides: Sequence[str]) -> str:
    """Name one side or both."""
    return "either image" if len(sides) == 2 else f"the {sides[0]} image"


def _is_flat(pixels: NDArray[Any], valid: NDArray[np.bool_]) -> bool:
    """Tell whether there are valid pixels, and all have one value; most images show another in the first rows."""
    first = None
    for top in range(0, len(valid), 512):
        values = np.asarray(pixels[top : top + 512])[np.asarray(valid[top : top + 512])]
        if values.size and first is None:
            first = values[0]
        if (values != first).any():
            return False
    return first is not None


def reduced(view: View, size: int | tuple[int, int] | None) -> View:
    """Reduce a view: means of the valid pixels for pixels, valid where at least half of them are; strip by strip.

    Args:
        view: of any size.
        size: pixels of the longer side, or width and height; a side that is shorter already stays. ``None`` = as is.
    """
    rows, cols = view.valid.shape
    limit = (size, size) if isinstance(size, int) else size
    ratio = (1.0, 1.0) if limit is None else (max(1.0, cols / limit[0]), max(1.0, rows / limit[1]))
    if isinstance(size, int):
        ratio = (max(ratio), max(ratio))
    block = min(int(min(ratio) + 1e-9), rows, cols)
    step = max(1, 1024 // block) * block
    height, width = rows // block * block, cols // block * block
    strips = [
        block_mean(
            _with_nan(view.pixels[top : top + step, :width], view.valid[top : top + step, :width])[: height - top],
            block,
        )
        for top in range(0, height, step)
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


def scale_of(view: View, size: int | tuple[int, int] | None) -> float:
    """Compute the side of a pixel, in pixels of the image, that :func:`reduced` would give a view."""
    rows, cols = view.valid.shape
    limit = (size, size) if isinstance(size, int) else size
    ratio = (1.0, 1.0) if limit is None else (max(1.0, cols / limit[0]), max(1.0, rows / limit[1]))
    return view.scale * (max(ratio) if isinstance(size, int) else float(np.sqrt(ratio[0] * ratio[1])))


def turned(view: View, degrees: float) -> View:
    """Turn a view clockwise, whole, on a canvas as large as it then needs: exact by quarters, else one cubic warp."""
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
    matrix = shift(canvas[0] / 2, canvas[1] / 2) @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1.0]])
    matrix = matrix @ shift(-cols / 2, -rows / 2)
    if degrees % 90:
        centred = (shift(-0.5, -0.5) @ matrix @ shift(0.5, 0.5))[:2]  # OpenCV counts from the centre of a pixel
        source = filled(view.pixels, view.valid) if view.valid.any() else view.pixels
        pixels = cv2.warpAffine(source, centred, canvas, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        pixels = np.clip(pixels, 0, 1)
        valid = cv2.warpAffine(view.valid.astype(np.float32), centred, canvas, flags=cv2.INTER_LINEAR) > 0.999
    return View(pixels, valid, view.matrix @ np.linalg.inv(matrix))


def shared_windows(
    left: View, right: View, model: PlaneTransform, count: int, radius: float
) -> Iterator[tuple[View, View]]:
    """Yield windows of the left image, each with its place in the right one, that show most of what both show.

    They lie far from one another, and no more than one at a time is in memory.

    Args:
        left: a view.
        right: a view.
        model: image pixels of the left view to image pixels of the right one.
        count: at most so many windows.
        radius: pixels of the right view by which the model may be off.
    """
    rows, cols = left.valid.shape
    side = SEARCH_WINDOW_SIDE
    starts = np.array([(y, x) for y in range(0, rows, side) for x in range(0, cols, side)])
    share = np.array([_share_valid(left, right, model, y, x) for y, x in starts.tolist()])
    chosen: list[int] = []
    while len(chosen) < min(count, int((share > 0).sum())):
        distances = [np.hypot(*(starts - starts[k]).T) for k in chosen]
        chosen.append(int(np.argmax(share * (np.min(distances, axis=0) if distances else 1))))
    for y, x in starts[chosen].tolist():
        window = left.crop(y, x, side, side)
        outline = right.to_view(model(window.corners))
        low, high = np.floor(outline.min(0) - radius).astype(int), np.ceil(outline.max(0) + radius).astype(int)
        yield window, right.crop(low[1], low[0], high[1] - low[1], high[0] - low[0])


def _share_valid(left: View, right: View, model: PlaneTransform, row: int, col: int) -> float:
    """Estimate the share of a window that is valid in both images, from a sample."""
    side = SEARCH_WINDOW_SIDE
    y, x = (n.ravel() for n in np.mgrid[row : row + side : 16, col : col + side : 16])
    x, y = (n[(y < left.valid.shape[0]) & (x < left.valid.shape[1])] for n in (x, y))
    target = np.floor(right.to_view(model(left.to_image(np.column_stack([x, y]) + 0.5)))).astype(int)
    inside = (target >= 0).all(1) & (target[:, 0] < right.valid.shape[1]) & (target[:, 1] < right.valid.shape[0])
    u, v = target[inside].T
    return float((left.valid[y[inside], x[inside]] & right.valid[v, u]).sum()) / (side / 16) ** 2


def shift(x: float, y: float) -> NDArray[np.float64]:
    """Make the (3, 3) homogeneous matrix that moves by x, y."""
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])


def _with_nan(pixels: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Fill invalid pixels with NaN."""
    return np.where(valid, np.asarray(pixels, np.float32), np.float32(np.nan))
