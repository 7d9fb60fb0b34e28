"""The second estimator: what shift remains between two images, by a method that no tie point was made with.

It shares nothing with ``correlation``: the enhanced correlation coefficient, maximised by Gauss-Newton steps on
intensities (Evangelidis & Psarakis 2008, "Parametric Image Alignment Using ECC Maximization"), as OpenCV has it, in
windows of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sentinel_match.geometry.grids import pixel_size, to_metres, to_pixels
from sentinel_match.geometry.robust import nmad

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.geometry.transform import Transform
    from sentinel_match.raster.raster import Raster

LOOKS, SIDE = 36, 128
"""Windows of the second estimator, at most, and their side in pixels."""
CLEAR = 0.9
"""Least share of such a window that is valid in both images."""
ALIKE = 0.6
"""Least correlation coefficient at which the second estimator has an answer."""
FEWEST = 6
"""Answers that make a median."""
DISAGREES = 0.1
"""Pixels between the two estimators from which they contradict each other."""


class MaskedWindow(NamedTuple):
    """A square of an image."""

    pixels: NDArray[np.float32]
    """(SIDE, SIDE), 0 where not valid."""
    valid: NDArray[np.bool_]


def second(left: Raster, right: Raster, warp: Transform) -> dict[str, Any]:
    """What the second estimator measures, before a model's correction and after.

    Args:
        left: the reference.
        right: the other image, on the same lattice.
        warp: left metres to right metres.

    Returns:
        ``looks`` (windows tried), ``answers``; where these are enough, the medians ``before_dx_m``, ``before_dy_m``,
        ``after_dx_m``, ``after_dy_m`` and the standard errors ``sigma_dx_m``, ``sigma_dy_m`` of the latter.
    """
    gsd = pixel_size(left.geobox)
    rows, cols = left.valid.shape
    corners = places(left.valid, max(SIDE, int(np.sqrt(rows * cols / LOOKS))))
    centre = to_metres(left.geobox, corners + SIDE / 2)
    expected = to_pixels(right.geobox, warp(centre)) - SIDE / 2
    found = np.full((len(corners), 2), np.nan)
    for k, ((x, y), there) in enumerate(zip(corners, np.round(expected).astype(int), strict=True)):
        moved = aligned(_cut(left, x, y), _cut(right, *there))
        if moved is not None:
            found[k] = there + moved
    answered = np.isfinite(found).all(1)
    said: dict[str, Any] = {"estimator": "ECC", "looks": len(corners), "answers": int(answered.sum())}
    if answered.sum() < FEWEST:
        return said
    truly = to_metres(right.geobox, found[answered] + SIDE / 2)
    before, after = truly - centre[answered], truly - warp(centre[answered])
    for name, values in (("before", before), ("after", after)):
        said |= {f"{name}_d{axis}_m": round(float(np.median(values[:, k])), 3) for k, axis in enumerate("xy")}
    error = [1.2533 * nmad(after[:, k]) / np.sqrt(len(after)) for k in (0, 1)]
    said |= {f"sigma_d{axis}_m": round(error[k], 3) for k, axis in enumerate("xy")}
    off = [abs(said[f"after_d{axis}_m"]) for axis in "xy"]
    bounds = [max(DISAGREES * gsd, 4 * e) for e in error]
    return said | {"agrees": bool(off[0] <= bounds[0] and off[1] <= bounds[1])}


def places(valid: NDArray[np.bool_], step: int) -> NDArray[np.int_]:
    """(N, 2) x, y of the corners of windows on clear ground, spread evenly.

    Args:
        valid: (rows, cols) in the images that are compared; a memory map is read window by window.
        step: pixels from one to the next.
    """
    rows, cols = valid.shape
    if min(rows, cols) < SIDE:
        return np.empty((0, 2), int)
    corners = [
        (x, y)
        for y in range((rows - SIDE) % step // 2, rows - SIDE + 1, step)
        for x in range((cols - SIDE) % step // 2, cols - SIDE + 1, step)
        if np.asarray(valid[y : y + SIDE, x : x + SIDE]).mean() >= CLEAR
    ]
    return np.array(corners, int).reshape(-1, 2)


def _cut(image: Raster, x: int, y: int) -> MaskedWindow | None:
    rows, cols = image.valid.shape
    if not (0 <= x <= cols - SIDE and 0 <= y <= rows - SIDE):
        return None
    window = np.s_[y : y + SIDE, x : x + SIDE]
    valid = np.asarray(image.valid[window], bool)
    return MaskedWindow(np.where(valid, np.asarray(image.pixels[window]), 0).astype(np.float32), valid)


def aligned(one: MaskedWindow | None, other: MaskedWindow | None) -> NDArray[np.float64] | None:
    """(2,) x, y by which the content of the second window lies off the first; ``None`` where they are not alike."""
    import cv2

    if one is None or other is None:
        return None
    both = one.valid & other.valid
    if both.mean() < CLEAR:
        return None
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-5)
    mask = both.astype(np.uint8)
    try:
        alike, matrix = cv2.findTransformECC(
            one.pixels, other.pixels, np.eye(2, 3, dtype=np.float32), cv2.MOTION_TRANSLATION, criteria, mask, 3
        )
    except cv2.error:  # it does not converge: the windows have nothing in common
        return None
    moved = np.asarray(matrix[:, 2], float)
    return moved if alike >= ALIKE and np.hypot(*moved) < SIDE / 8 else None
