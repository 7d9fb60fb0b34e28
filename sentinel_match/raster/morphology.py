"""Masks that grow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_DISC = 16
"""Pixels up to which a mask grows by a disc: 3 to 20 times faster than distances are, and equal."""
ROUNDING = 1e-6
"""Share of a distance in pixels by which it may be rounded: of 60 m in pixels of 20 m no pixel of the rim is lost."""


def dilate(mask: NDArray[np.bool_], pixels: float) -> NDArray[np.bool_]:
    """Grow a (rows, cols) mask to all within a distance of it, in pixels; distances are exact."""
    if pixels <= 0 or not mask.any():
        return mask
    pixels *= 1 + ROUNDING
    if (reach := int(pixels)) <= MOST_DISC:
        down, along = np.ogrid[-reach : reach + 1, -reach : reach + 1]
        disc = (down**2 + along**2 <= pixels**2).astype(np.uint8)
        grown = cv2.dilate(mask.astype(np.uint8), disc, borderType=cv2.BORDER_CONSTANT, borderValue=0)
        return np.asarray(grown.view(np.bool_))
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance <= pixels)
