"""Why a pixel is not valid, and what the bits of others' masks mean of it."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

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
        (1 << 5, 1 << 5, Reason.SHADOW),
        (1 << 6, 1 << 6, Reason.SHADOW),
        (1 << 7, 1 << 7, Reason.CIRRUS),
        (1 << 1, 1 << 1, Reason.CLOUD),
    ),
    "QA60": ((1 << 11, 1 << 11, Reason.CIRRUS), (1 << 10, 1 << 10, Reason.CLOUD)),
}
"""Bits, what they are, and what that means, by kind of mask; later ones go before earlier ones.

HLS User Guide v2.0, table of Fmask; Landsat Collection 2 Data Format Control Book, QA_PIXEL; FORCE, Level 2 output
format, QAI (less confident cloud counts as cloud); CESBIO, MAJA output format and ``majamask``; Earth Engine, QA60."""
