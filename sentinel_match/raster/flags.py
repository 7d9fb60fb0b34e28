"""Why a pixel is not valid, and what the bits of others' masks mean of it."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

OWN_MASK = "; `match` and `run` take one of yours, --mask (Masking(user=…) in Python)"
"""What to do where a product has no mask of clouds."""
SHORE_METRES = 60.0
"""Metres of water kept along every shore: banks, rivers and ponds are among the most lasting texture there is."""


class Reason(IntEnum):
    """Why a pixel is not valid; where several apply, the first."""

    VALID = 0
    NODATA = 1
    """Outside the swath."""
    DEFECTIVE = 2
    """Saturated or defective (SCL 1)."""
    CLOUD = 3
    """Opaque cloud (SCL 8 and 9, OPAQUE, or a cloud probability above the limit)."""
    CIRRUS = 4
    SHADOW = 5
    """Cast by a cloud (SCL 3). What terrain casts (SCL 2) stays valid."""
    SNOW = 6
    WATER = 7
    """Open water (SCL 6): further than :data:`SHORE_METRES` from any shore. Waves and glint have no lasting texture."""
    USER = 8
    """Excluded by the user's own mask."""
    BRIGHT = 9
    """Bright like a cloud, where no cloud mask exists."""


FLAGS: Mapping[str, tuple[tuple[int, int, Reason], ...]] = {
    "FMASK": (
        (1 << 5, 1 << 5, Reason.WATER),
        (1 << 4, 1 << 4, Reason.SNOW),
        (1 << 3, 1 << 3, Reason.SHADOW),
        (1 << 0, 1 << 0, Reason.CIRRUS),
        (1 << 1, 1 << 1, Reason.CLOUD),
        (255, 255, Reason.NODATA),
    ),
    "QA_PIXEL": (
        (1 << 7, 1 << 7, Reason.WATER),
        (1 << 5, 1 << 5, Reason.SNOW),
        (1 << 4, 1 << 4, Reason.SHADOW),
        (1 << 2, 1 << 2, Reason.CIRRUS),
        (1 << 3, 1 << 3, Reason.CLOUD),
        (1 << 0, 1 << 0, Reason.NODATA),
    ),
    "QAI": (
        (1 << 5, 1 << 5, Reason.WATER),
        (1 << 4, 1 << 4, Reason.SNOW),
        (1 << 3, 1 << 3, Reason.SHADOW),
        (3 << 1, 3 << 1, Reason.CIRRUS),
        (3 << 1, 1 << 1, Reason.CLOUD),
        (3 << 1, 2 << 1, Reason.CLOUD),
        (1 << 0, 1 << 0, Reason.NODATA),
    ),
    "MG2": (
        (1 << 0, 1 << 0, Reason.WATER),
        (1 << 2, 1 << 2, Reason.SNOW),
        (1 << 3, 1 << 3, Reason.SHADOW),
        (1 << 1, 1 << 1, Reason.CLOUD),
    ),
    "CLM": (
        (3 << 0, 1 << 0, Reason.SHADOW),
        (1 << 7, 1 << 7, Reason.CIRRUS),
        (1 << 1, 1 << 1, Reason.CLOUD),
    ),
    "QA60": ((1 << 11, 1 << 11, Reason.CIRRUS), (1 << 10, 1 << 10, Reason.CLOUD)),
}
"""Bits, what they are, and what that means, by kind of mask; later ones go before earlier ones.

- FMASK: HLS User Guide v2.0 (bit 0, cirrus, is reserved there and was used in v1). Pixels adjacent to cloud (bit 2) and
  QA_PIXEL's dilated cloud (bit 1) stay: clouds grow here anyway, by what the user says.
- QA_PIXEL: Landsat 8-9 Collection 2 Level 2 Science Product Guide (USGS, LSDS-1619).
- QAI: FORCE, Level 2 output format (force-eo.readthedocs.io). Its less confident cloud, a buffer of 300 m, counts as
  cloud: it is all that FORCE says of thin edges.
- MG2: CESBIO's ``majamask`` (cesbio.cnrs.fr/maja/2024/04/16/majamask-a-new-standalone-raster-mask-tool).
- CLM: CESBIO (labo.obs-mip.fr/multitemp/sentinel-2: theias-sentinel-2-l2a-product-format,
  majas-native-sentinel-2-format, where it is ``CLD``). In both, bit 0 is all clouds but the thinnest and all shadows,
  bit 1 all clouds but the thinnest, bit 7 high clouds. Shadows by themselves are bits 5 and 6 at Theia, and 2 and 3 of
  MAJA's own, which at Theia are tests of clouds; so a shadow is what bit 0 has and bit 1 has not.
- QA60: Earth Engine, ``COPERNICUS/S2_SR_HARMONIZED``."""


def flagged(values: NDArray[Any], kind: str) -> NDArray[np.uint8]:
    """Read what the flags of a mask mean, of a kind in :data:`FLAGS`.

    Args:
        values: of any type: exports of several bands have all in the type of the widest, often in floats, and tools
            squeeze what is small into bytes. NaN has no flag.
        kind: of the mask.

    Raises:
        ValueError: they are no whole numbers; as the end of a sentence.
    """
    if values.dtype.kind not in "iu":
        values = np.nan_to_num(values, posinf=0, neginf=0)
        if (values != np.round(values)).any():
            raise ValueError("flags are whole numbers, and its values are not")
    flags: NDArray[Any] = values.astype(np.int16 if values.itemsize == 1 else np.int32)  # some flags are above a byte
    codes = np.zeros(flags.shape, np.uint8)
    for bits, value, reason in FLAGS[kind]:
        codes[(flags & bits) == value] = reason
    return codes
