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
    by_satellite = scene.tile or (_has_clock(scene) and (scene.spacecraft or _is_of_bands(scene)))
    return scene.datatake or (f"{time:%Y%m%dT%H%M%S}" if time and by_satellite else "")


def same_moment(one: Scene, other: Scene) -> bool:
    """Tell whether two scenes are of one pass.

    Where a name says no more than the day, one day is one moment of one satellite: none sees a place twice a day but
    near the poles, where that is refused too. Of pictures that no satellite is known to have taken, one day tells
    nothing.
    """
    if moment(one) and moment(one) == moment(other) and _has_clock(one):
        return True
    if one.sensing_time is None or other.sensing_time is None:
        return False
    crafts = one.spacecraft, other.spacecraft
    compatible = all(crafts) and (crafts[0].startswith(crafts[1]) or crafts[1].startswith(crafts[0]))
    if _has_clock(one) and _has_clock(other):
        return compatible and abs(one.sensing_time - other.sensing_time) < SHORT
    of_bands = all(_is_of_bands(scene) for scene in (one, other)) and not any(crafts)
    return one.sensing_time.date() == other.sensing_time.date() and (compatible or of_bands)


def _has_clock(scene: Scene) -> bool:
    """Tell whether the time of day is known: a day alone is its midnight."""
    return bool(scene.datatake) or (scene.sensing_time is not None and f"{scene.sensing_time:%H%M%S}" != "000000")


def _is_of_bands(scene: Scene) -> bool:
    """Tell whether a scene is a delivery of several files, or a file of one band of a satellite."""
    return len({band.asset for band in scene.bands}) > 1 or bool(scene.masks)


def part(scene: Scene) -> tuple[object, ...]:
    """Identify the acquisition, alike in all its processings; a datastrip's own time tells complementary ones apart."""
    strip = re.search(r"_S(\d{8}T\d{6})", scene.datastrip)
    return (moment(scene), scene.tile, strip and strip[1]) if moment(scene) else (id(scene),)
