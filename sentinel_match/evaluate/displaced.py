"""The right image with its content moved by a known amount, so that answering "no shift" is never right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from sentinel_match.evaluate.metrics import Bent, PixelMapping, project_back
from sentinel_match.raster.raster import Raster

if TYPE_CHECKING:
    from collections.abc import Iterator

Matrix = NDArray[np.float64]
"""(3, 3) homogeneous, pixels to pixels, corner origin."""

PIECE_SIDE_PX = 1024
"""Side of the pieces made at a time."""
SPLINE_REACH_PX = 3
"""Pixels around an invalid one that are made invalid: the spline has two on each side, and one more of its ringing."""
SPLINE_CONTEXT_PX = 16
"""Pixels read around a piece; the poles of the cubic spline (0.27 per pixel) have died out over them."""
KNOWN_WARPS = ("rotation:DEGREES", "scale:FACTOR", "affine", "perspective", "field:LENGTH:PIXELS")
STEEPEST = 0.5
"""Largest slope of a field: beyond 1 it would fold."""
CORNER_SHARE = 0.1
"""Share of the image by which each corner moves at most, for ``affine`` and ``perspective``."""


def displacement(largest: float, seed: int, name: str) -> tuple[float, float]:
    """Draw a seeded shift (x right, y down) in pixels that is never whole: each axis is 0.2 to 0.8 off a whole pixel.

    Args:
        largest: bound of each axis, at least 1.
        seed: of the whole evaluation.
        name: of the pair: each has its own shift, whatever others are evaluated with it.
    """
    rng = np.random.default_rng([seed, crc32(name.encode())])
    whole = rng.integers(min(1, int(largest) - 1), int(largest), 2)
    x, y = (whole + rng.uniform(0.2, 0.8, 2)) * rng.choice([-1, 1], 2)
    return float(x), float(y)


def warp_matrix(warp: str, shape: tuple[int, ...], seed: int, name: str) -> Matrix:
    """Make the matrix of a known warp about the centre of an image.

    Args:
        warp: ``none``; ``rotation:45`` (degrees, clockwise on the screen); ``scale:0.7``; ``affine``, ``perspective``
            (three or four corners moved at random by up to a tenth of the image).
        shape: (rows, cols).
        seed: of the whole evaluation.
        name: of the pair.

    Raises:
        ValueError: there is no such warp.
    """
    kind, _, value = warp.partition(":")
    rows, cols = shape[:2]
    middle = np.array([[1, 0, -cols / 2], [0, 1, -rows / 2], [0, 0, 1.0]])
    if kind == "none":
        return np.eye(3)
    if kind == "rotation" and value:
        angle = np.radians(float(value))
        c, s = np.cos(angle), np.sin(angle)
        core = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    elif kind == "scale" and value and 0.1 <= float(value) <= 10:
        core = np.diag([float(value), float(value), 1.0])
    elif kind in {"affine", "perspective"}:
        import cv2

        rng = np.random.default_rng([seed, crc32(f"{name} {kind}".encode())])
        corners = np.array([(-cols, -rows), (cols, -rows), (cols, rows), (-cols, rows)]) / 2
        targets = corners + rng.uniform(-CORNER_SHARE, CORNER_SHARE, (4, 2)) * (cols, rows)
        p, q = corners.astype(np.float32), targets.astype(np.float32)
        affine = np.vstack([cv2.getAffineTransform(p[:3], q[:3]), [0, 0, 1]])
        core = affine if kind == "affine" else cv2.getPerspectiveTransform(p, q)
    else:
        raise ValueError(f"there is no warp {warp!r}: the known ones are none, {', '.join(KNOWN_WARPS)}")
    return np.asarray(np.linalg.inv(middle) @ core @ middle, np.float64)


def warp_of(warp: str, shape: tuple[int, ...], seed: int, name: str, before: Matrix) -> PixelMapping:
    """Make a known warp, with a matrix behind it: a displacement.

    Args:
        warp: as of :func:`warp_matrix`, or ``field:LENGTH:PIXELS``: waves of that length and amplitude in pixels along
            each axis, in directions and phases drawn at random.
        shape: (rows, cols).
        seed: of the whole evaluation.
        name: of the pair.
        before: (3, 3) matrix that moves what was warped; a field lies over what was moved.

    Raises:
        ValueError: there is no such warp.
    """
    kind, *values = warp.split(":")
    if kind != "field":
        return before @ warp_matrix(warp, shape, seed, name)
    try:
        length, size = map(float, values)
    except ValueError:
        raise ValueError(f"there is no warp {warp!r}: a field has a length and pixels, as field:300:2") from None
    if not (length >= 4 and 0 < size * 2 * np.pi / length <= STEEPEST):
        raise ValueError(f"there is no warp {warp!r}: its slope, 2 pi pixels / length, must be {STEEPEST} at most")
    rng = np.random.default_rng([seed, crc32(f"{name} field".encode())])
    angle, phase = rng.uniform(0, 2 * np.pi, (2, 2))
    return Bent(before, length, size, np.column_stack([np.cos(angle), np.sin(angle)]), phase)


def moved(raster: Raster, matrix: PixelMapping) -> Raster:
    """Move the content of an image on its own grid: what was at p is at ``matrix`` p.

    By one cubic spline (OpenCV's own interpolation counts in 1/32 px), after a Gaussian where the content shrinks.

    Args:
        raster: any image.
        matrix: (3, 3), pixels to pixels, or such a one with a field.
    """
    from scipy.ndimage import gaussian_filter, map_coordinates

    pixels, sigma = np.zeros(raster.valid.shape, np.float32), _blur(matrix)
    for window, at, source in _pieces(raster.valid.shape, matrix, SPLINE_CONTEXT_PX + int(np.ceil(4 * sigma))):
        known = np.asarray(raster.valid[source])
        if not known.any():
            continue
        # What is no data must not ring into the image: it takes the value of the nearest valid pixel
        part = _filled(np.asarray(raster.pixels[source], np.float32), known)
        if sigma:
            part = gaussian_filter(part, sigma, mode="nearest")
        pixels[window] = map_coordinates(part, _indices(at, source), order=3, mode="nearest")
    valid = moved_validity(raster.valid, matrix)
    return Raster(np.where(valid, pixels, np.float32(0)), valid, raster.geobox)


def moved_validity(valid: NDArray[np.bool_], matrix: PixelMapping) -> NDArray[np.bool_]:
    """Move validity likewise: true only where no invalid pixel, and nothing outside the image, has any weight."""
    import cv2

    reach = SPLINE_REACH_PX + int(np.ceil(2 * _blur(matrix)))
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    framed = np.pad(np.asarray(valid, np.uint8), 1)  # outside the image nothing is valid
    return moved_labels(cv2.erode(framed, kernel)[1:-1, 1:-1] > 0, matrix, False)


def moved_labels(labels: NDArray[Any], matrix: PixelMapping, outside: int = 0) -> NDArray[Any]:
    """Move classes or a mask likewise: each pixel takes the label at its centre, or ``outside`` beyond the image."""
    result = np.full(labels.shape, outside, labels.dtype)
    rows, cols = labels.shape
    for window, at, _ in _pieces(labels.shape, matrix, 0):
        y, x = np.floor(at).astype(np.int64)
        inside = (y >= 0) & (x >= 0) & (y < rows) & (x < cols)
        result[window][inside] = labels[y[inside], x[inside]]
    return result


def _pieces(
    shape: tuple[int, ...], matrix: PixelMapping, margin: int
) -> Iterator[tuple[tuple[slice, slice], NDArray[np.float64], tuple[slice, slice]]]:
    """Yield windows of the result, the (2, rows, cols) y, x that each shows, and the image's window around those."""
    rows, cols = shape[:2]
    for top in range(0, rows, PIECE_SIDE_PX):
        for start in range(0, cols, PIECE_SIDE_PX):
            bottom, stop = min(top + PIECE_SIDE_PX, rows), min(start + PIECE_SIDE_PX, cols)
            y, x = np.mgrid[top:bottom, start:stop] + 0.5
            at = project_back(matrix, np.column_stack([x.ravel(), y.ravel()]))[:, ::-1].T.reshape(2, *y.shape)
            low = np.clip(np.floor(at.min((1, 2))).astype(int) - margin, 0, (rows, cols))
            high = np.clip(np.ceil(at.max((1, 2))).astype(int) + margin, 0, (rows, cols))
            if (high - low > 0).all():
                window = np.s_[top:bottom, start:stop]
                yield window, at, (slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1])))


def _filled(part: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    if valid.all():
        return part
    from scipy.ndimage import distance_transform_edt

    nearest = distance_transform_edt(~valid, return_distances=False, return_indices=True)
    return np.asarray(part[tuple(nearest)])


def _indices(at: NDArray[np.float64], source: tuple[slice, slice]) -> NDArray[np.float64]:
    """Convert positions with corner origin to indices into a window of the image, whose first pixel's centre is 0."""
    return np.asarray(at - 0.5 - np.array([source[0].start, source[1].start])[:, None, None])


def _blur(matrix: PixelMapping) -> float:
    """Compute the width in pixels of the Gaussian that takes a pixel's area to that of the larger one it goes into."""
    linear = (matrix.matrix if isinstance(matrix, Bent) else matrix)[:2, :2]
    scale = np.sqrt(abs(np.linalg.det(linear)))
    return float(0.5 * np.sqrt(scale**-2 - 1)) if scale < 0.95 else 0.0
