"""The second estimator: what shift remains between two images, by a method that no tie point was made with.

It shares nothing with ``correlation``: the enhanced correlation coefficient, maximised by Gauss-Newton steps on
intensities (Evangelidis & Psarakis 2008, "Parametric Image Alignment Using ECC Maximization"), as OpenCV has it, in
windows of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sentinel_match.comparison import SecondEstimate
from sentinel_match.geometry.grids import pixel_size, to_metres, to_pixels
from sentinel_match.geometry.robust import nmad
from sentinel_match.wording import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.geometry.transform import Transform
    from sentinel_match.raster.raster import Raster

ECC_WINDOWS, ECC_SIDE = 36, 128
"""Windows of the second estimator, at most, and their side in pixels."""
CLEAR = 0.9
"""Least share of such a window that is valid in both images."""
ALIKE = 0.6
"""Least correlation coefficient at which the second estimator has an answer."""
FEWEST_ANSWERS = 6
"""Answers that make a median."""
DISAGREES = 0.1
"""Pixels between the two estimators from which they contradict each other."""


class MaskedWindow(NamedTuple):
    """A square of an image."""

    pixels: NDArray[np.float32]
    """(SIDE, SIDE), 0 where not valid."""
    valid: NDArray[np.bool_]


def second_estimate(left: Raster, right: Raster, transform: Transform) -> SecondEstimate:
    """Measure the shift between two images before a transform's correction, and what remains after it.

    Args:
        left: the reference.
        right: the other image, on the same lattice.
        transform: left metres to right metres.
    """
    gsd = pixel_size(left.geobox)
    rows, cols = left.valid.shape
    corners = places(left.valid, max(ECC_SIDE, int(np.sqrt(rows * cols / ECC_WINDOWS))))
    centre = to_metres(left.geobox, corners + ECC_SIDE / 2)
    expected = to_pixels(right.geobox, transform(centre)) - ECC_SIDE / 2
    corner_there = np.full((len(corners), 2), np.nan)
    for k, ((x, y), there) in enumerate(zip(corners, np.round(expected).astype(int), strict=True)):
        shift = aligned(_cut(left, x, y), _cut(right, *there))
        if shift is not None:
            corner_there[k] = there + shift
    answered = np.isfinite(corner_there).all(1)
    looks, answers = len(corners), int(answered.sum())
    if answers < FEWEST_ANSWERS:
        return SecondEstimate(looks=looks, answers=answers)
    measured = to_metres(right.geobox, corner_there[answered] + ECC_SIDE / 2)
    before, after = measured - centre[answered], measured - transform(centre[answered])
    medians = [[round(float(np.median(values[:, k])), 3) for k in (0, 1)] for values in (before, after)]
    error = [1.2533 * nmad(after[:, k]) / np.sqrt(len(after)) for k in (0, 1)]
    bounds = [max(DISAGREES * gsd, 4 * e) for e in error]
    return SecondEstimate(
        looks=looks,
        answers=answers,
        before_dx_m=medians[0][0],
        before_dy_m=medians[0][1],
        after_dx_m=medians[1][0],
        after_dy_m=medians[1][1],
        sigma_dx_m=round(error[0], 3),
        sigma_dy_m=round(error[1], 3),
        agrees=bool(abs(medians[1][0]) <= bounds[0] and abs(medians[1][1]) <= bounds[1]),
    )


def silence(second: SecondEstimate) -> str:
    """Say why the second estimator has no answer, as the end of a sentence."""
    if second.looks < FEWEST_ANSWERS:
        room = f"{counted(second.looks, 'window')} of {ECC_SIDE} pixels fit{'s' * (second.looks == 1)}"
        return f"only {room} into what is clear in both, and it takes {FEWEST_ANSWERS}"
    return f"the images are alike in {second.answers} of its {second.looks} windows"


def places(valid: NDArray[np.bool_], step: int) -> NDArray[np.int_]:
    """Spread windows evenly on clear ground: (N, 2) x, y of their corners.

    Args:
        valid: (rows, cols) in the images that are compared; a memory map is read window by window.
        step: pixels from one to the next.
    """
    rows, cols = valid.shape
    if min(rows, cols) < ECC_SIDE:
        return np.empty((0, 2), int)
    corners = [
        (x, y)
        for y in range((rows - ECC_SIDE) % step // 2, rows - ECC_SIDE + 1, step)
        for x in range((cols - ECC_SIDE) % step // 2, cols - ECC_SIDE + 1, step)
        if np.asarray(valid[y : y + ECC_SIDE, x : x + ECC_SIDE]).mean() >= CLEAR
    ]
    return np.array(corners, int).reshape(-1, 2)


def _cut(image: Raster, x: int, y: int) -> MaskedWindow | None:
    rows, cols = image.valid.shape
    if not (0 <= x <= cols - ECC_SIDE and 0 <= y <= rows - ECC_SIDE):
        return None
    window = np.s_[y : y + ECC_SIDE, x : x + ECC_SIDE]
    valid = np.asarray(image.valid[window], bool)
    return MaskedWindow(np.where(valid, np.asarray(image.pixels[window]), 0).astype(np.float32), valid)


def aligned(one: MaskedWindow | None, other: MaskedWindow | None) -> NDArray[np.float64] | None:
    """Measure (2,) x, y by which the second window's content lies off the first; ``None`` where they are not alike."""
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
    return moved if alike >= ALIKE and np.hypot(*moved) < ECC_SIDE / 8 else None
