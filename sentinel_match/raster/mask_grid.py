"""The grid that masks and classes are made on: its pixels are blocks of an image's, of about 20 m."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from sentinel_match.geometry.grids import ground_resolution

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.raster.resample import Pixels

MASKING_METRES = 20.0
"""Masks are made at about this resolution, SCL's own."""
ASSUMED_METRES = 10.0
"""Pixel size for masking where nothing is georeferenced."""


def enlarged(blocks: NDArray[Any], size: int, shape: tuple[int, ...]) -> NDArray[Any]:
    """Enlarge each pixel to a block of ``size`` x ``size``, cut to a shape."""
    return blocks.repeat(min(size, shape[0]), 0).repeat(min(size, shape[1]), 1)[: shape[0], : shape[1]]


def metres_of(target: GeoBox) -> float:
    """Return the side of a pixel of an image's grid, metres; assumed where it has no CRS."""
    return ASSUMED_METRES if target.crs is None else ground_resolution(target)


def mask_size(target: GeoBox) -> int:
    """Count the pixels of the target along a pixel of the masks, which need not be larger than the image."""
    return min(max(1, round(MASKING_METRES / metres_of(target))), max(target.shape))


def mask_grid(target: GeoBox) -> GeoBox:
    """Lay out the grid of masks and classes, whose pixels are blocks of the target's."""
    size, metres = mask_size(target), metres_of(target)
    affine = target.affine if target.crs is not None else Affine.scale(metres, -metres)
    shape = (-(-target.shape.y // size), -(-target.shape.x // size))
    return GeoBox(shape, affine * Affine.scale(size), target.crs)


def filled_up(strip: Pixels, size: int) -> Pixels:
    """Pad with NaN on the right and below, up to whole blocks."""
    padding = [(0, -n % size) for n in strip.shape]
    return np.pad(strip, padding, constant_values=np.float32(np.nan))
