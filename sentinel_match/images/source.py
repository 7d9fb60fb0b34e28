"""Images as a matcher gets them: pixels from 0 to 1 with their validity, from an array, a file or a scene."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from sentinel_match.matching.inputs import common_band
from sentinel_match.matching.view import View
from sentinel_match.products.catalogue import read_scene
from sentinel_match.products.scene import Scene
from sentinel_match.raster.load import LIMIT_PERCENTILES, load
from sentinel_match.raster.masks import Masking

if TYPE_CHECKING:
    from numpy.typing import NDArray

Image: TypeAlias = "NDArray[Any] | Path | str | Scene"
"""Pixels, (rows, cols) or (rows, cols, 3); or any raster or product; or a scene."""


def picture_band(scene: Scene, band: str | None) -> str:
    """Choose what is looked at of a scene: what was asked for, the mean of a picture's colours, or the best band."""
    is_picture = {b.name for b in scene.bands} in ({"1", "2", "3"}, {"1", "2", "3", "4"})
    return "RGB" if band is None and is_picture else common_band(scene, scene, band)


def view_of(
    image: Image, valid: NDArray[np.bool_] | None = None, band: str | None = None, masking: Masking | None = None
) -> View:
    """Read an image, 0..1 with validity.

    Arrays are normalised between the percentiles 0.5 and 99.5 of their valid pixels; those that are masked or not
    finite are not valid, zeros are data. Files and scenes keep their own no-data and masks and are read in bounded
    memory.

    Args:
        image: pixels, a file or a scene.
        valid: (rows, cols), ``True`` = usable; for arrays.
        band: of files and scenes; default the first that is preferred, or the mean of a picture's RGB.
        masking: what is masked in files and scenes.

    Raises:
        TypeError, ValueError: it is no image, or the mask is not its.
        NotAProduct, DamagedImage, MissingBand: it cannot be read.
    """
    if isinstance(image, np.ndarray):
        return _normalise(image, valid)
    if not isinstance(image, str | os.PathLike | Scene):
        raise TypeError(f"an image is an array of pixels, a path or a scene, not of type {type(image).__name__}")
    if valid is not None:
        raise ValueError("a mask goes with an array; files and scenes are masked by `masking`")
    scene = image if isinstance(image, Scene) else read_scene(Path(image))
    loaded = load(scene, picture_band(scene, band), masking=masking or Masking())
    return View.of(loaded.raster.pixels, loaded.raster.valid, loaded)


def _normalise(image: NDArray[Any], valid: NDArray[np.bool_] | None) -> View:
    """Check an array and its mask, and bring its usable pixels to 0..1."""
    if image.dtype.kind not in "buif":
        raise TypeError(f"the pixels of an image are real numbers, not {image.dtype}")
    if not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        raise ValueError(f"an image is (rows, cols) or (rows, cols, 3), not {image.shape}")
    if not image.size:
        raise ValueError(f"an image has pixels, and this one is {image.shape}")
    pixels, masked = np.asarray(image, np.float32), np.ma.getmaskarray(image)
    if image.ndim == 3:
        pixels, masked = pixels.mean(2), np.asarray(masked.any(2))
    usable = np.isfinite(pixels) & ~masked
    if valid is not None:
        valid = np.asarray(valid)
        if valid.dtype != bool:
            raise TypeError(f"a mask is True where pixels are usable, else False, and holds no {valid.dtype}")
        if valid.shape != pixels.shape:
            raise ValueError(f"the mask is {valid.shape}, the image {pixels.shape}")
        usable &= valid
    low, high = np.percentile(pixels[usable], LIMIT_PERCENTILES) if usable.any() else (0.0, 0.0)
    scale = 1 / (high - low) if high > low else 0.0
    normal = np.clip((np.where(usable, pixels, low) - low) * scale, 0, 1).astype(np.float32)
    return View.of(normal, usable)
