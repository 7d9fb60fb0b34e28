"""Cloud by its brightness alone, for images that come without any cloud mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from sentinel_match.raster.jp2 import Window, read_rasterio
from sentinel_match.raster.morphology import dilate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.products.scene import Band, Scene

VISIBLE = ("B01", "B02", "B03", "B04")
"""Bands in which all ground but snow and sand is dark."""


def white_level(scene: Scene, band: Band) -> float | None:
    """Find the value that hardly anything but cloud, snow and sand exceeds; ``None`` where the numbers do not tell.

    A reflectance of 0.25 in the visible bands; 2500 in digital numbers without metadata; 180 in an 8-bit TCI, whose
    white is a reflectance near 0.36 in Level-1C.
    """
    if band.name not in {*VISIBLE, "TCI"} and not band.name.isdigit():
        return None
    if (scene.level or band.is_reflectance) and band.name in VISIBLE:
        return 0.25
    if not scene.level and (band.offset, band.quantification) != (0.0, 1.0):
        return None
    numbers = read_rasterio(band.asset, Window(0, 0, 1, 1), index=band.index)
    white = {"uint8": 180, "uint16": 2500}.get(numbers.dtype.name)
    return None if white is None else (white + band.offset) / band.quantification


def bright(pixels: NDArray[np.float32], metres: float, white: float) -> NDArray[np.bool_] | None:
    """Find bright areas, taken for cloud where no cloud mask exists.

    The ground is described by its densest values below ``white``: centre m and spread s of the shortest interval that
    holds a quarter of them (the shorth of Andrews et al. 1972, with a quarter instead of a half, so that neither a half
    clouded scene nor two land covers mislead it). Cores brighter than white and m + 6 s, of 0.03 km² or more (so no
    single roof), grow over what is brighter than m + 4 s within 400 m. Constants were set by eye on two L1C tiles (B01,
    B04) and 48 true-colour dates.

    Limits: bright sand, salt, glaciers and patches of snow are taken for cloud; thin cirrus and cloud shadow are not
    found.

    Args:
        pixels: (rows, cols), NaN where there is no data; 60 m or coarser.
        metres: size of a pixel.
        white: what only cloud, snow and sand exceed: 0.25 as reflectance in B01 to B04, 180 in an 8-bit TCI.

    Returns:
        (rows, cols); ``None`` where more than half is brighter than white, so that snow cannot be told from cloud.
    """
    known = np.isfinite(pixels)
    values = pixels[known][:: max(1, known.sum() // 200_000)]
    if values.size == 0:
        return np.zeros(pixels.shape, np.bool_)
    if np.median(values) > white:
        return None
    values = np.sort(values[values <= white])
    quarter = max(1, values.size // 4)
    widths = values[quarter:] - values[:-quarter]
    densest = int(widths.argmin()) if widths.size else 0
    centre = (values[densest] + values[min(densest + quarter, values.size - 1)]) / 2
    spread = widths[densest] / 0.637 if widths.size else 0.0  # a quarter of a normal distribution spans 0.637 sigma
    height = np.where(known, pixels, -np.inf)
    core = (height > max(white, centre + 6 * spread)).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(core, connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= 0.03e6 / metres**2
    large[0] = False
    cloud: NDArray[np.bool_] = large[labels]
    cloud |= dilate(cloud, 400 / metres) & (height > centre + 4 * spread)
    return cloud
