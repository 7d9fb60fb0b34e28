"""What ``quicklook.json`` holds of a pair: pictures as data URIs, close-ups, and the figures that are drawn."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from sentinel_match.report.svg import CellMap, ResidualHistogram
from sentinel_match.run_folder import QUICKLOOK

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

QUICKLOOK_VERSION = 1
"""Of what is made from the same tie points: raise it when that changes."""


@dataclass(frozen=True, kw_only=True)
class CloseUp:
    """Native pixels of a small window before and after correction, as data URIs."""

    centre: tuple[float, float]
    """East, north in metres."""
    side: tuple[int, int]
    """Columns, rows."""
    metres: float
    """Of a pixel."""
    alike: tuple[float | None, float | None]
    """How the edges of both dates correlate, before and after; ``None`` where there are none."""
    left: str
    right: str
    corrected: str
    before: str
    """Both overlaid, left red, right cyan."""
    after: str
    """The same with the corrected right image."""


@dataclass(frozen=True, kw_only=True)
class QuickLook:
    """What a pair looks like."""

    limits: Mapping[str, tuple[float, float]]
    """Of each side: values that became 0 and 1."""
    bounds: tuple[float, ...]
    """West, south, east, north."""
    size: tuple[int, int]
    """Columns, rows."""
    metres: float
    """Of a pixel of the small images."""
    left: str
    right: str
    close_ups: tuple[CloseUp, ...]
    cells: CellMap
    residuals: ResidualHistogram
    recipe: str = ""
    """Of all that it was made from."""

    @property
    def weight(self) -> int:
        """Count the characters of all pictures."""
        texts = [value for part in (self, *self.close_ups) for value in vars(part).values() if isinstance(value, str)]
        return sum(map(len, texts))

    def to_dict(self) -> dict[str, Any]:
        """Return what the file says."""
        return {
            "version": QUICKLOOK_VERSION,
            "recipe": self.recipe,
            "limits": {side: list(limits) for side, limits in self.limits.items()},
            "bounds": list(self.bounds),
            "size": list(self.size),
            "metres": self.metres,
            "left": self.left,
            "right": self.right,
            "close_ups": [vars(close_up) for close_up in self.close_ups],
            "cells": self.cells.to_dict(),
            "residuals": self.residuals.to_dict(),
        }

    @staticmethod
    def from_dict(record: Mapping[str, Any]) -> QuickLook:
        """Read back what ``to_dict`` has made.

        Raises:
            KeyError, TypeError, ValueError: a member is missing, or is none of its kind.
        """
        close_ups = []
        for one in record["close_ups"]:
            members: dict[str, Any] = {f.name: one[f.name] for f in fields(CloseUp)}
            members |= {name: tuple(members[name]) for name in ("centre", "side", "alike")}
            close_ups.append(CloseUp(**members))
        columns, rows = record["size"]
        return QuickLook(
            limits={side: (low, high) for side, (low, high) in record["limits"].items()},
            bounds=tuple(record["bounds"]),
            size=(columns, rows),
            metres=record["metres"],
            left=record["left"],
            right=record["right"],
            close_ups=tuple(close_ups),
            cells=CellMap.from_dict(record["cells"]),
            residuals=ResidualHistogram.from_dict(record["residuals"]),
            recipe=record["recipe"],
        )


def read_quicklook(folder: Path) -> QuickLook | None:
    """Read the quick-look of a pair; ``None`` where there is none of this version."""
    try:
        record = json.loads((folder / QUICKLOOK).read_text(encoding="utf-8"))
        return QuickLook.from_dict(record) if record["version"] == QUICKLOOK_VERSION else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
