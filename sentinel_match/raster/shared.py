"""Pixels that two images share to the last digit: frames, legends, fillings, borders; no two looks at the ground do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import cv2
import numpy as np

from sentinel_match.geometry.grids import origin_of, same_lattice
from sentinel_match.raster.npy import release

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.raster.raster import Raster

Limits: TypeAlias = tuple[tuple[float, float], tuple[float, float]]
Part: TypeAlias = tuple[slice, slice]
SAME = 1e-3
"""Of the range of an image: half-precision numbers, in which images are kept, are as exact."""
AROUND, SHARE = 7, 0.9
"""Side in pixels of what is looked at around each, and share of it that must be the same. Of two looks at real ground
one pixel in some hundreds is."""
EVERY_ROW, STRIP_ROWS = 8, 1024
"""One row in so many is looked at first, and all of so many at once."""
FEWEST = 0.002
"""Share of the ground from which there is something to be left out."""
ONE_IMAGE = 0.95
"""Share from which both are one image, which the verdict says."""


def shared_pixels(left: Raster, right: Raster, limits: Limits) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
    """Mark (rows, cols) of each image what the other has at the same place, to the last digit; ``None`` for nothing.

    Ground that is seen twice has noise. What has none was drawn into both images, or copied from one into the other.

    Args:
        left: 0..1 between its limits.
        right: on the same lattice; on another one pixels are not the same.
        limits: values that became 0 and 1 of either.
    """
    parts = _overlap(left, right)
    if parts is None:
        return None
    one, other = (np.asarray(image.pixels)[part] for image, part in zip((left, right), parts, strict=True))
    here, there = (np.asarray(image.valid)[part] for image, part in zip((left, right), parts, strict=True))
    runs = known = 0
    for top in range(EVERY_ROW // 2, len(one), STRIP_ROWS):
        rows = slice(top, top + STRIP_ROWS, EVERY_ROW)
        clear = here[rows] & there[rows]
        same = (_same(one[rows], other[rows], limits) & clear).astype(np.float32)
        runs, known = runs + int((cv2.blur(same, (AROUND, 1)) >= SHARE).sum()), known + int(clear.sum())
        release(one, other, here, there)
    if runs < FEWEST * max(known, 1):
        return None
    valid = here & there
    same = np.concatenate([
        _same(one[k : k + STRIP_ROWS], other[k : k + STRIP_ROWS], limits) for k in range(0, len(one), STRIP_ROWS)
    ])
    core = cv2.blur(same.astype(np.float32), (AROUND, AROUND)) >= SHARE
    side = 2 * AROUND - 1
    whole = cv2.dilate(core.astype(np.uint8), np.ones((side, side), np.uint8)) > 0
    if not FEWEST <= (whole & valid).sum() / max(valid.sum(), 1) <= ONE_IMAGE:
        return None
    masks = [np.zeros(image.valid.shape, bool) for image in (left, right)]
    for mask, part in zip(masks, parts, strict=True):
        mask[part] = whole
    return masks[0], masks[1]


def _overlap(left: Raster, right: Raster) -> tuple[Part, Part] | None:
    """Cut what both show on one lattice: rows and columns of either; ``None`` where there is no such part."""
    if not same_lattice(left.geobox, right.geobox):
        return None
    row, col = (int(a) - int(b) for a, b in zip(origin_of(left.geobox), origin_of(right.geobox), strict=True))
    spans = []
    for start, here, there in zip((row, col), left.valid.shape, right.valid.shape, strict=True):
        first, last = max(0, -start), min(here, there - start)
        if last - first < AROUND:
            return None
        spans.append((slice(first, last), slice(first + start, last + start)))
    return (spans[0][0], spans[1][0]), (spans[0][1], spans[1][1])


def _same(left: NDArray[Any], right: NDArray[Any], limits: Limits) -> NDArray[np.bool_]:
    """Tell which pixels have one value, as far as both ranges reach."""
    low, high = (f(own[k] for own in limits) for f, k in ((max, 0), (min, 1)))
    one, other = (
        np.clip(np.asarray(image, np.float32) * (own[1] - own[0]) + own[0], low, high)
        for image, own in zip((left, right), limits, strict=True)
    )
    return np.asarray(np.abs(one - other) <= SAME * (high - low))
