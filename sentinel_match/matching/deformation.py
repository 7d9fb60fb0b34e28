"""An image laid back by a displacement field, so that windows at one place show one ground."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sentinel_match.matchers.correlation import FADE, Part, faded, orientation
from sentinel_match.matching.nodes import NODE_SPACING

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.geometry.grids import Points
    from sentinel_match.raster.raster import Raster

STEPS = 32
"""Fractions of a pixel to which OpenCV rounds positions when it interpolates."""
TAPER = 33
"""Pixels over which the rounding is averaged, as a window of 32 weighs them."""
RIM = 4
"""Pixels on either side that interpolation looks at."""


def laid_back(
    right: tuple[Raster, ...],
    at: Points,
    margin: int,
    field: NDArray[np.float64],
    low: NDArray[np.int_],
    kind: str,
    device: torch.device,
) -> tuple[Part, Points]:
    """Cut the part of the right images that left points need, laid back by a field onto the left image's pixels.

    Returns:
        The part, and (N, 2) by how much the mean position around each point was rounded.
    """
    import cv2

    x0, y0 = (np.floor(at.min(0)) - margin).astype(int)
    x1, y1 = (np.ceil(at.max(0)) + margin).astype(int)
    axes = np.arange(x0, x1), np.arange(y0, y1)
    across, down = (_weights((p + 0.5) / NODE_SPACING - low[k], field.shape[1 - k]) for k, p in enumerate(axes))
    mean = np.round(field.mean((0, 1)))  # whole pixels, so that single precision is enough for the rest
    moved = np.stack([down @ (field[..., k] - mean[k]).astype(np.float32) @ across.T for k in (0, 1)], -1)
    exact = moved + np.stack(np.meshgrid(*(axis - axis[0] for axis in axes)), -1).astype(np.float32)
    rounded = np.round(exact * STEPS) / STEPS
    spread = cv2.GaussianBlur(rounded - exact, (TAPER, TAPER), TAPER / 6)
    rows, cols = right[0].valid.shape
    first = (np.array([x0, y0]) + mean).astype(int)
    lowest, highest = rounded.reshape(-1, 2).min(0), rounded.reshape(-1, 2).max(0)
    left, top = np.clip(first + np.floor(lowest).astype(int) - RIM, 0, (cols, rows))
    end, bottom = np.clip(first + np.ceil(highest).astype(int) + RIM + 1, 0, (cols, rows))
    clear = np.zeros(exact.shape[:2], bool)
    views = [torch.zeros(exact.shape[:2], device=device) for _ in right]
    if left < end and top < bottom:
        window = np.s_[top:bottom, left:end]
        place = rounded + (first - (left, top)).astype(np.float32)
        valid = np.ascontiguousarray(right[0].valid[window], np.uint8)
        inner = cv2.erode(valid, np.ones((2 * RIM - 1,) * 2, np.uint8), borderType=cv2.BORDER_REPLICATE)
        clear = _remapped(inner, place, cv2.INTER_NEAREST) > 0
        for k, image in enumerate(right):
            content = np.where(valid > 0, np.asarray(image.pixels[window], np.float32), 0)
            content = _remapped(content, place, cv2.INTER_LANCZOS4)
            content[~clear] = 0
            views[k] = torch.from_numpy(content).to(device)
    mask = known = torch.from_numpy(clear).to(device)
    if kind == "orientation":
        turned = [orientation(view, known) for view in views]
        views, mask = [view for view, _ in turned], turned[0][1]
    index = (at - (x0, y0)).astype(int)
    origin = torch.tensor([x0, y0], device=device)
    made = Part(tuple(views), mask, origin, faded(clear, kind, FADE, device))
    return made, spread[index[:, 1], index[:, 0]].astype(np.float64)


def _remapped(image: NDArray[Any], place: NDArray[np.float32], how: int) -> NDArray[Any]:
    """Sample an image at (rows, cols, 2) positions of pixel centres, 0 outside."""
    import cv2

    return np.asarray(cv2.remap(image, place, None, how, borderMode=cv2.BORDER_CONSTANT))  # type: ignore[call-overload]


def _weights(place: NDArray[np.float64], count: int) -> NDArray[np.float32]:
    """Compute (N, count) by which values at whole positions make those between: a cubic spline, of three lines."""
    from scipy.interpolate import CubicSpline

    place = np.clip(place, 0, count - 1)
    if count > 3:
        return np.asarray(CubicSpline(np.arange(count), np.eye(count))(place), np.float32)
    return np.asarray(np.clip(1 - np.abs(place[:, None] - np.arange(count)), 0, 1), np.float32)


def sampled(field: NDArray[np.float64], points: Points, low: NDArray[np.int_]) -> Points:
    """Interpolate a field at (N, 2) pixels of the left image; beyond its rim it goes on unchanged."""
    from scipy.ndimage import map_coordinates

    place = (points / NODE_SPACING - low)[:, ::-1].T
    return np.column_stack([map_coordinates(field[..., k], place, order=3, mode="nearest") for k in (0, 1)])
