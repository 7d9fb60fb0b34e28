"""Averages by a Gaussian over a lattice of which only some nodes are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

PRIOR = 0.03
"""Share of a neighbourhood that must be known for an average to be half believed against a wider one."""


def average(
    values: NDArray[Any],
    weight: NDArray[np.float64],
    width: float,
    fallback: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Average by a Gaussian what is known (normalised convolution: Knutsson & Westin 1993).

    Args:
        values: (rows, cols, K).
        weight: (rows, cols), 0 where nothing is known.
        width: standard deviation in nodes.
        fallback: (rows, cols, K) what is thought without: it weighs as ``PRIOR`` of a neighbourhood that is known.
    """
    kernel = _kernel(width)
    weight = weight.astype(np.result_type(values, np.float32))
    # As many times as there are values: over a last axis of two, what is broadcast takes three times as long
    total, each = (np.repeat(array[..., None], values.shape[-1], -1) for array in (_smoothed(weight, kernel), weight))
    summed = _smoothed(np.where(each > 0, values, 0) * each, kernel)
    if fallback is None:
        return np.asarray(summed / np.maximum(total, 1e-12))
    # Of the surer half, so that many weak ones do not make a weak prior
    prior = PRIOR * (float(np.percentile(weight[weight > 0], 90)) if (weight > 0).any() else 1.0)
    return np.asarray((summed + prior * fallback) / (total + prior))


def without_own(
    values: NDArray[np.float64], weight: NDArray[np.float64], width: float, fallback: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Average (rows, cols, 2) the neighbours of each node without itself, with a fallback as :func:`average` has it."""
    kernel = _kernel(width)
    own = kernel[len(kernel) // 2] ** 2 * weight[..., None]
    known = np.where((weight > 0)[..., None], values, 0)
    total = _smoothed(weight, kernel)[..., None] - own
    summed = _smoothed(known * weight[..., None], kernel) - own * known
    prior = PRIOR * (float(np.median(weight[weight > 0])) if (weight > 0).any() else 1.0)
    return np.asarray((summed + prior * fallback) / (np.maximum(total, 0) + prior))


def filled(values: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return (rows, cols, 2) values, where they are not known as what surrounds them has it."""
    weight = known.astype(float)
    around = np.broadcast_to(np.median(values[known], axis=0), values.shape)
    for width in (32.0, 16.0, 8.0, 4.0, 2.0):
        around = average(values, weight, width, around)
    return np.where(known[..., None], values, around)


def _kernel(width: float) -> NDArray[np.float64]:
    """Make the weights of a Gaussian, to three standard deviations on either side."""
    reach = int(3 * width + 0.5)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    return np.asarray(weights / weights.sum())


def _smoothed(values: NDArray[Any], kernel: NDArray[np.float64]) -> NDArray[Any]:
    """Average (rows, cols) or (rows, cols, K) along rows and columns, with nothing beyond the rim.

    By OpenCV, which takes a third to a half of the time of scipy and says the same to the last digits.
    """
    import cv2

    planes = np.ascontiguousarray(values).reshape(*values.shape[:2], -1)
    smooth = np.empty_like(planes)
    for first in range(0, planes.shape[2], 4):  # OpenCV takes four channels at most
        part = np.ascontiguousarray(planes[..., first : first + 4])
        made = cv2.sepFilter2D(part, -1, kernel, kernel, borderType=cv2.BORDER_CONSTANT)
        smooth[..., first : first + 4] = made.reshape(part.shape)
    return smooth.reshape(values.shape)
