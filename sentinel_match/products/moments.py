"""Moments: whether two scenes are of one pass of one satellite, between which nothing has changed."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sentinel_match.products.scene import Scene

SHORT = timedelta(minutes=30)
"""Less than an orbit, more than a pass: products of other makers count from other ends of it."""


def moment(scene: Scene) -> str:
    """Find the start of the datatake, which all that was seen in one pass has in common; empty where nothing tells.

    A loose tile image without XML (``T36UYA_20190825T083601_B01.jp2``) carries that start as its time.
    """
    if start := re.search(r"\d{8}T\d{6}", scene.datatake):
        return start[0]
    time = scene.sensing_time
    by_satellite = scene.tile or (has_clock(scene) and (scene.spacecraft or is_of_bands(scene)))
    return scene.datatake or (f"{time:%Y%m%dT%H%M%S}" if time and by_satellite else "")


def has_clock(scene: Scene) -> bool:
    """Tell whether the time of day is known: a day alone is its midnight."""
    return bool(scene.datatake) or (scene.sensing_time is not None and f"{scene.sensing_time:%H%M%S}" != "000000")


def is_of_bands(scene: Scene) -> bool:
    """Tell whether a scene is a delivery of several files, or a file of one band of a satellite."""
    return len({band.asset for band in scene.bands}) > 1 or bool(scene.masks)


def part(scene: Scene) -> tuple[object, ...]:
    """Identify the acquisition, alike in all its processings; a datastrip's own time tells complementary ones apart."""
    strip = re.search(r"_S(\d{8}T\d{6})", scene.datastrip)
    return (moment(scene), scene.tile, strip and strip[1]) if moment(scene) else (id(scene),)
