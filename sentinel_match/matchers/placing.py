"""Matches placed to part of a pixel: windows around them, turned and scaled as most of them agree, are correlated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sentinel_match.geometry import robust
from sentinel_match.geometry.transform import NoModel

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from sentinel_match.geometry.grids import Points

MATCH_SIGMA_PX, MATCH_TOLERANCE_PX = 3.3, 8.0
"""Standard deviation of where in their cells two matches lie, and how far one may lie beside what others say."""
LEAST_AGREEING_SHARE, FEWEST_AGREEING = 0.25, 12
"""Of sure matches, those that must agree before windows are turned and scaled as they say."""
LARGEST_SCALE = 4.0
"""What matches agree on that is more, or less than one over it, is no scale of images."""


def placed(features: tuple[Tensor, Tensor], left: Tensor, right: Tensor, sure: Tensor) -> tuple[Tensor, Tensor]:
    """Find where the ground of left points lies around right ones; see :func:`sentinel_match.models.windows.place`.

    Args:
        features: (1, C, rows, cols) of both images, one for each 2 x 2 pixels.
        left: (N, 2) x, y.
        right: (N, 2) x, y, to some pixels.
        sure: (N,) bool, those that are asked how the images are turned and scaled.

    Returns:
        (N, 2) x, y in the right image; and (N,) correlation, 0 where there is no peak.
    """
    import torch

    from sentinel_match.models.windows import place

    if not len(left):
        return right, right[:, 0]
    linear = agreed_turn(*(points[sure].double().cpu().numpy() for points in (left, right)))
    return place(features, (left, right), torch.as_tensor(linear, dtype=left.dtype).to(left.device))


def agreed_turn(left: Points, right: Points) -> NDArray[np.float64]:
    """Compute the (2, 2) that turns and scales as most matches agree; that of images set alike where they do not."""
    pairs = robust.PointPairs(left, right, np.full(len(left), MATCH_SIGMA_PX))
    try:
        model = robust.robust_fit("similarity", pairs, tolerance=MATCH_TOLERANCE_PX)
    except NoModel:
        return np.eye(2)
    near = np.hypot(*(right - model(left)).T) < MATCH_TOLERANCE_PX
    if len(near) < FEWEST_AGREEING or near.mean() < LEAST_AGREEING_SHARE:
        return np.eye(2)
    linear = np.asarray(model.matrix[:2, :2], np.float64)
    scale = float(np.sqrt(abs(np.linalg.det(linear))))
    return linear if 1 / LARGEST_SCALE < scale < LARGEST_SCALE else np.eye(2)
