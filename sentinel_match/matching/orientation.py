"""A picture as the directions of its gradients, at many resolutions: what survives a change of season.

The direction is kept twice: with its sign (bright to dark), and doubled, which forgets the sign: fields turn from dark
to bright between spring and autumn, and their edges stay where they are. Weighted by the root of the size of the
gradient and clipped, so that no coast or road has all the say. The doubled direction, and how much there is of any, is
summed over three octaves: a coarse map so holds how the fine fields, streets and slopes run that it cannot show, which
is still seen when a picture is turned by a few degrees more. Between seasons half the squared score so exceeds that of
the next best offset by 1.4 to 5 times as much. As small whole numbers a picture takes about a megabyte.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from sentinel_match.matchers.validity import filled
from sentinel_match.matching.view import View, reduced, shift

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

LONGEST_SIDE = 512
"""Pixels of the longer side at which a scene of an archive is described."""
FINEST_SIDE = 1024
"""Pixels of the longer side at which a picture is described, at most; it is enlarged twice at most."""
OCTAVES = 3
"""Doubled directions are summed over so many, from the resolution of the maps to finer ones."""
PLANES = 5
"""Maps of a level: direction (2), doubled direction (2), strength."""
SHORTEST_SIDE = 48
"""No level has a longer side below."""
THINNEST = 4
"""No picture is searched whose coarsest level would have a shorter side below: a line of pixels."""
SMOOTHING = 1.0
"""Standard deviation in pixels of a level, before the gradient."""
STRONGEST = 3.0
"""A direction's weight is at most so many times the mean of its level."""
BACKGROUND = 8.0
"""Pixels of the maps: the mean direction over so far is taken off, such as that of slopes in the sun."""
DRAWN_LENGTH, DRAWN_SLOPE = 12, 0.15
"""Pixels of an edge along rows or columns, at least (or an eighth of the side), and how little it may lean."""
FLAT = 1
"""Grey levels of 256 by which neighbours on paper differ, at most."""
PAPER = 0.02
"""Of the picture: a flat area at its rim that is as large is paper, a panel, a margin or a calm sea."""
PART = 0.1
"""Of the largest part between paper: smaller ones are text, scales and symbols. These three: figures and screenshots of
``tests/benchmarks/drawings.py``, and 240 pictures without any, of which 97 % keep 98 % and more."""
UNITS = 40.0
"""Whole numbers per unit of weight."""


@dataclass(frozen=True, eq=False)
class Level:
    """The directions of one picture at one resolution."""

    maps: NDArray[np.int8]
    """(5, rows, cols): x and y of the direction, x and y of the doubled one, weighted, strength; in :data:`UNITS`."""
    known: NDArray[np.bool_]
    """(rows, cols) whether the direction is known."""
    step: tuple[float, float]
    """Pixels of the picture per pixel of the maps, along x and y."""

    @property
    def side(self) -> int:
        """Return the longer side in pixels of the maps."""
        return int(max(self.known.shape))


@dataclass(frozen=True, eq=False)
class Described:
    """What the search keeps of one picture; made by :func:`describe`, pickles, and can be cached as arrays."""

    size: tuple[int, int]
    """Width and height of the picture in pixels."""
    levels: tuple[Level, ...]
    """The finest first, each 0.71 times the one before."""

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """List everything as named arrays, for an ``.npz``."""
        arrays: dict[str, NDArray[Any]] = {"size": np.array(self.size, np.int64)}
        for k, level in enumerate(self.levels):
            arrays |= {f"maps{k}": level.maps, f"known{k}": np.packbits(level.known, axis=1)}
            arrays[f"step{k}"] = np.array(level.step)
        return arrays

    @staticmethod
    def of_arrays(arrays: Mapping[str, NDArray[Any]]) -> Described:
        """Read what :meth:`to_arrays` listed."""
        levels: list[Level] = []
        while f"maps{len(levels)}" in arrays:
            k = len(levels)
            maps = arrays[f"maps{k}"]
            known = np.unpackbits(arrays[f"known{k}"], axis=1, count=maps.shape[2]).astype(bool)
            step_x, step_y = arrays[f"step{k}"].tolist()
            levels.append(Level(maps, known, (step_x, step_y)))
        width, height = arrays["size"].tolist()
        return Described((width, height), tuple(levels))


def describe(view: View, longest_side: int = FINEST_SIDE) -> Described:
    """Describe a picture for :func:`sentinel_match.matching.sweep.sweep`.

    Args:
        view: of the whole picture; what it shows is described in pixels of the view.
        longest_side: pixels of the longer side at which its finest level looks. 512 takes 0.7 MB, 256 a quarter.
    """
    small = reduced(view, longest_side)
    small = replace(small, valid=_figure(small.pixels, small.valid))
    rows, cols = view.valid.shape
    if not small.valid.any() or min(small.valid.shape) * SHORTEST_SIDE < THINNEST * max(small.valid.shape):
        return Described((cols, rows), ())
    pixels = np.asarray(filled(np.asarray(small.pixels, np.float32), small.valid), np.float32)
    share = small.valid.astype(np.float32)
    side = float(max(small.valid.shape))
    scale = min(longest_side / side, 2.0)
    raw: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
    while side * scale >= SHORTEST_SIDE:
        width, height = (max(4, round(n * scale)) for n in small.valid.shape[::-1])
        how = cv2.INTER_LINEAR if scale > 1 else cv2.INTER_AREA
        image, clear = (
            np.asarray(cv2.resize(array, (width, height), interpolation=how), np.float32) for array in (pixels, share)
        )
        raw.append(_directions(image, clear > 0.99))
        scale /= 2**0.5
    levels = []
    for k, (own, known) in enumerate(raw):
        size = known.shape[::-1]
        summed = own.copy()
        for finer, _ in raw[max(k % 2, k - 2 * (OCTAVES - 1)) : k : 2]:
            summed[2:] += _shrunk(finer[2:], size)
        around = np.maximum(cv2.GaussianBlur(known, (0, 0), BACKGROUND), 1e-3)
        summed -= np.stack([cv2.GaussianBlur(plane, (0, 0), BACKGROUND) for plane in summed]) / around * known
        summed *= known > 0.5
        maps = np.clip(np.rint(summed * UNITS), -127, 127).astype(np.int8)
        levels.append(Level(maps, known > 0.5, (cols / size[0], rows / size[1])))
    return Described((cols, rows), tuple(levels))


def _directions(
    image: NDArray[np.float32], valid: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Compute the (5, rows, cols) maps of one level, at half its resolution, and how much of each pixel is known."""
    smooth = cv2.GaussianBlur(image, (0, 0), SMOOTHING)
    x, y = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    known = cv2.erode((valid & ~_drawn(x, y)).astype(np.uint8), np.ones((7, 7)), borderValue=0) > 0
    size = np.hypot(x, y)
    weight = np.sqrt(size)
    mean = float(weight[known].mean()) if known.any() else 0.0
    weight = np.minimum(weight / max(mean, 1e-6), STRONGEST) * known
    x, y = x / np.maximum(size, 1e-9), y / np.maximum(size, 1e-9)
    height, width = (n // 2 for n in known.shape)
    maps = np.stack([x, y, x * x - y * y, 2 * x * y, np.ones_like(x)]) * weight
    half = _shrunk(maps[:, : 2 * height, : 2 * width], (width, height))
    share = _shrunk(known[None, : 2 * height, : 2 * width].astype(np.float32), (width, height))
    return half, share[0]


def _shrunk(planes: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Average (K, rows, cols) planes to (width, height) pixels."""
    return np.stack([cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in planes])


def _figure(pixels: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the ground of a figure or a screenshot: not what stands on flat colour beside it, such as text and scales.

    Ground is nowhere flat to the last grey level, but paper and panels are. What they cut off is kept if it is not much
    smaller than the largest part, such as the land across a dark sea.
    """
    low, high = (float(pixels[valid].min()), float(pixels[valid].max())) if valid.any() else (0.0, 0.0)
    if high <= low:
        return valid
    grey = np.rint(np.clip((pixels - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    around = np.ones((3, 3), np.uint8)
    flat = cv2.dilate(grey, around).astype(int) - cv2.erode(grey, around) <= FLAT
    _, areas, sizes, _ = cv2.connectedComponentsWithStats((flat & valid).astype(np.uint8), connectivity=4)
    large = sizes[:, cv2.CC_STAT_AREA] >= PAPER * valid.size
    rim = np.unique(np.concatenate([areas[0], areas[-1], areas[:, 0], areas[:, -1]]))
    paper = (areas > 0) & large[areas] & np.isin(areas, rim)
    paper = (cv2.dilate(paper.astype(np.uint8), around) > 0) & valid
    if not paper.any():
        return valid
    _, parts, extents, _ = cv2.connectedComponentsWithStats((valid & ~paper).astype(np.uint8), connectivity=8)
    extent = extents[:, cv2.CC_STAT_AREA] * (np.arange(len(extents)) > 0)
    return np.asarray((extent > max(PART * extent.max(), 1))[parts])


def _drawn(x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell where a long edge runs exactly along rows or columns: a frame or a legend, not ground."""
    length = max(DRAWN_LENGTH, round(max(x.shape) / 8))
    drawn = np.zeros(x.shape, bool)
    for along, across, kernel in ((x, y, (1, length)), (y, x, (length, 1))):
        straight = (np.abs(along) < DRAWN_SLOPE * np.abs(across)) & (np.abs(across) > np.abs(across).mean())
        drawn |= cv2.morphologyEx(straight.astype(np.uint8), cv2.MORPH_OPEN, np.ones(kernel, np.uint8)) > 0
    return drawn


def upright(
    level: Level, angle: float, scale: float, step: float
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float64]]:
    """Turn maps back by an angle and to a step in pixels of the other picture.

    Returns:
        (5, rows, cols) maps and (rows, cols) where they are known, and the (3, 3) matrix from pixels of the picture.
    """
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    zoom = np.array(level.step) / (scale * step)
    turn = np.array([[cos, sin], [-sin, cos]]) * zoom  # maps of the picture to upright ones
    rows, cols = level.known.shape
    corners = np.array([[0, 0], [cols, 0], [0, rows], [cols, rows]]) @ turn.T
    low, high = corners.min(0), corners.max(0)
    width, height = (max(4, int(np.ceil(n))) for n in high - low)
    matrix = np.eye(3)
    matrix[:2, :2], matrix[:2, 2] = turn, -low
    maps = np.empty((PLANES, height, width), np.float32)
    for plane, turned in zip(rotated(level.maps.astype(np.float32) / UNITS, angle), maps, strict=True):
        cv2.warpAffine(plane, centred(matrix), (width, height), dst=turned, flags=cv2.INTER_LINEAR)
    known = cv2.warpAffine(level.known.astype(np.float32), centred(matrix), (width, height), flags=cv2.INTER_LINEAR)
    return maps, np.asarray(known) > 0.5, matrix @ np.diag([1 / level.step[0], 1 / level.step[1], 1])


def rotated(maps: NDArray[np.float32], angle: float) -> NDArray[np.float32]:
    """Turn the directions themselves, (5, rows, cols), back by an angle in degrees."""
    once, twice = (
        (np.float32(np.cos(k * np.radians(angle))), np.float32(np.sin(k * np.radians(angle)))) for k in (1, 2)
    )
    return np.stack([
        once[0] * maps[0] + once[1] * maps[1],
        once[0] * maps[1] - once[1] * maps[0],
        twice[0] * maps[2] + twice[1] * maps[3],
        twice[0] * maps[3] - twice[1] * maps[2],
        maps[4],
    ])


def centred(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert a matrix of corner-origin pixels to OpenCV's, which count from the centre of a pixel."""
    return np.asarray((shift(-0.5, -0.5) @ matrix @ shift(0.5, 0.5))[:2])
