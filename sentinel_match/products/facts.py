"""Facts: what scenes say of themselves as arrays, so that millions of pairs are judged at once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from sentinel_match.products.moments import has_clock, is_of_bands, moment, part
from sentinel_match.products.pair import day_of_year

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from numpy.typing import NDArray

    from sentinel_match.geometry.footprint import Footprint
    from sentinel_match.products.scene import Scene

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, eq=False)
class Facts:
    """Columns (N,) of N scenes; a number that stands for a text or a thing is equal where that is equal."""

    scenes: Sequence[Scene]
    footprints: tuple[Footprint, ...]
    """Those that differ, F of them."""
    footprint: NDArray[np.intp]
    """Its number among ``footprints``, or -1."""
    area_km2: NDArray[np.float64]
    clear_km2: NDArray[np.float64]
    """100 times the ground free of clouds, as the product says; not a number where it does not."""
    refined: NDArray[np.bool_]
    microseconds: NDArray[np.int64]
    """Since 2000."""
    day: NDArray[np.int64]
    """The date; 0 where there is none."""
    day_of_year: NDArray[np.int64]
    """1 to 365; 0 where there is no date."""
    clock: NDArray[np.bool_]
    """Whether the time of day is known."""
    of_bands: NDArray[np.bool_]
    craft: NDArray[np.intp]
    crafts: tuple[str, ...]
    """The names that ``craft`` numbers."""
    moment: NDArray[np.intp]
    """The pass in which it was seen; negative, and of no other scene, where nothing tells."""
    sight: NDArray[np.intp]
    """Tile and pass: complementary datastrips have it in common."""
    acquisition: NDArray[np.intp]
    """Alike in all processings, see `part`; sorted by tile and pass."""
    level: NDArray[np.intp]
    """0 where there is none."""
    is_l2a: NDArray[np.bool_]
    tile: NDArray[np.intp]
    strip: NDArray[np.bool_]
    """Whether the datastrip is known."""
    orbit: NDArray[np.int64]
    """Relative orbit, or -1."""
    cloud: NDArray[np.float64]
    """Percent; 0 where it is not known."""
    stated: NDArray[np.bool_]
    """Whether it is."""
    processing: NDArray[np.intp]
    """Rank of the baseline, the newest last."""

    @staticmethod
    def of(scenes: Sequence[Scene]) -> Facts:
        """Gather the facts of scenes."""
        count = len(scenes)
        outlined = np.array([scene.footprint is not None for scene in scenes], bool)
        footprints: dict[bytes, Footprint] = {}
        footprint = np.full(count, -1)
        polygons = [scene.footprint for scene in scenes if scene.footprint]
        texts: list[bytes] = [one.polygon.wkb for one in polygons]
        for text, one in zip(texts, polygons, strict=True):
            footprints.setdefault(text, one)
        footprint[outlined] = _numbered(texts)
        area = np.append([one.area_km2 for one in footprints.values()], np.nan)[footprint]
        cover = np.array([np.nan if scene.cloud_cover is None else scene.cloud_cover for scene in scenes], np.float64)
        times = [scene.sensing_time for scene in scenes]
        moments = [moment(scene) for scene in scenes]
        names = _numbered(moments)
        alone = np.array([not name for name in moments], bool)
        sights = [(s.tile, name, -1 if name else n) for n, (s, name) in enumerate(zip(scenes, moments, strict=True))]
        parts = [(*sight, str(part(s)[2] or "") if sight[1] else "") for sight, s in zip(sights, scenes, strict=True)]
        baselines = [[int(number) for number in re.findall(r"\d+", scene.baseline)] for scene in scenes]
        crafts = tuple(dict.fromkeys(scene.spacecraft for scene in scenes))
        return Facts(
            scenes=scenes,
            footprints=tuple(footprints.values()),
            footprint=footprint,
            area_km2=area,
            clear_km2=area * (100 - cover),
            refined=np.array([scene.refined is True for scene in scenes], bool),
            microseconds=np.array([_microseconds(time) for time in times], np.int64),
            day=np.array([time.date().toordinal() if time else 0 for time in times], np.int64),
            day_of_year=np.array([day_of_year(scene) for scene in scenes], np.int64),
            clock=np.array([has_clock(scene) for scene in scenes], bool),
            of_bands=np.array([is_of_bands(scene) for scene in scenes], bool),
            craft=_numbered(scene.spacecraft for scene in scenes),
            crafts=crafts,
            moment=np.where(alone, -1 - np.arange(count), names),
            sight=_ranked(sights),
            acquisition=_ranked(parts),
            level=_numbered(["", *(scene.level for scene in scenes)])[1:],
            is_l2a=np.array([scene.level == "L2A" for scene in scenes], bool),
            tile=_numbered(scene.tile for scene in scenes),
            strip=np.array([bool(scene.datastrip) for scene in scenes], bool),
            orbit=np.array([-1 if s.relative_orbit is None else s.relative_orbit for s in scenes], np.int64),
            cloud=np.nan_to_num(cover, nan=0.0),
            stated=~np.isnan(cover),
            processing=_ranked([tuple(numbers) for numbers in baselines]),
        )

    def clear(self, unknown: float) -> NDArray[np.float64]:
        """Compute the share of each scene that is clear, as ``Pair.clear`` does."""
        return np.where(self.stated, 1 - self.cloud / 100, unknown)


def _microseconds(time: datetime | None) -> int:
    if time is None:
        return 0
    return ((time if time.tzinfo else time.replace(tzinfo=UTC)) - EPOCH) // timedelta(microseconds=1)


def _numbered(values: Iterable[Hashable]) -> NDArray[np.intp]:
    """Number equal values alike, in the order in which they first appear."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], np.intp)


def _ranked(values: Sequence[tuple[object, ...]]) -> NDArray[np.intp]:
    """Number equal values alike, in their order."""
    numbers = {value: number for number, value in enumerate(sorted(set(values)))}
    return np.array([numbers[value] for value in values], np.intp)
