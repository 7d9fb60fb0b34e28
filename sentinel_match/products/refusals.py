"""Refusals: why two scenes are no pair to compare, counted by reason, with examples where there are very many."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from sentinel_match.products.filters import Filters
    from sentinel_match.products.pair import Pair
    from sentinel_match.products.scene import Scene

MOST_REFUSALS = 1_000
"""Refusals that are all listed; of more, a few examples of each reason: every second date of a tile refuses another."""

EXAMPLES = 5
"""Of each reason."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A pair that is not proposed, or a scene that cannot be in any."""

    left: Scene
    right: Scene | None
    """``None`` where the reason lies in one scene alone."""
    reason: str
    """One sentence, without its full stop."""


class Reason(IntEnum):
    """What speaks against a pair, or a scene; the first that does is the one that is told."""

    NONE = 0
    SAME_DATATAKE = 1
    TWO_LEVELS = 2
    COMPLEMENTARY = 3
    TWICE = 4
    UNDATED = 5
    TOO_CLOSE = 6
    TOO_LONG = 7
    OTHER_SEASON = 8
    MIXED_LEVELS = 9
    OTHER_TILE = 10
    OTHER_ORBIT = 11
    UNKNOWN_ORBIT = 12
    CLOUD = 13
    UNCLEAR = 14
    SMALL = 15
    THIN = 16
    MEETS_NONE = 17
    NONE_NEAR = 18
    NOWHERE = 19
    TWIN = 20
    SURPLUS = 21
    TOUCHING = 22


OF_ONE_SCENE = (Reason.MEETS_NONE, Reason.NONE_NEAR, Reason.NOWHERE)

_KINDS: dict[Reason, Callable[[Filters], str]] = {
    Reason.SAME_DATATAKE: lambda _: "same datatake: nothing has changed between them",
    Reason.TWO_LEVELS: lambda _: "same acquisition: its L1C and its L2A",
    Reason.COMPLEMENTARY: lambda _: "same acquisition: two complementary datastrips of one datatake",
    Reason.TWICE: lambda _: "same acquisition: processed or stored twice",
    Reason.UNDATED: lambda _: "a date is not known, so the limits on days cannot be checked",
    Reason.TOO_CLOSE: lambda f: f"less than {f.min_days:g} days apart",
    Reason.TOO_LONG: lambda f: f"more than {f.max_days:g} days apart",
    Reason.OTHER_SEASON: lambda f: f"more than {f.max_season_gap_days:g} days of the year apart",
    Reason.MIXED_LEVELS: lambda _: "L1C and L2A: mixed levels are not asked for",
    Reason.OTHER_TILE: lambda _: "different tiles",
    Reason.OTHER_ORBIT: lambda _: "different relative orbits",
    Reason.UNKNOWN_ORBIT: lambda _: "a relative orbit is not known",
    Reason.CLOUD: lambda f: f"more than {f.max_cloud:g} % cloud",
    Reason.UNCLEAR: lambda f: f"less than {_percent(f.min_joint_clear)} clear in both",
    Reason.SMALL: lambda f: f"overlap less than {f.min_overlap_km2:g} km²",
    Reason.THIN: lambda f: f"overlap less than {_percent(f.min_share)} of the smaller footprint",
    Reason.MEETS_NONE: lambda _: "its footprint meets no other",
    Reason.NONE_NEAR: lambda f: f"no other image of known position is within {f.max_distance_km:g} km",
    Reason.NOWHERE: lambda _: "it has neither a footprint nor a position, so nothing tells what ground it shows",
    Reason.TWIN: lambda _: "the same two acquisitions are compared in another processing",
    Reason.SURPLUS: lambda _: "better partners exist for both",
    Reason.TOUCHING: lambda _: "their footprints only touch",
}

_FIGURES: dict[Reason, Callable[[Pair, Filters], str]] = {
    Reason.TOO_CLOSE: lambda p, f: f"{p.days:.1f} days apart, less than {f.min_days:g}",
    Reason.TOO_LONG: lambda p, f: f"{p.days:.1f} days apart, more than {f.max_days:g}",
    Reason.OTHER_SEASON: lambda p, f: (
        f"{p.day_of_year_gap} days of the year apart, more than {f.max_season_gap_days:g}"
    ),
    Reason.OTHER_TILE: lambda p, _: f"different tiles, {p.left.tile or 'unknown'} and {p.right.tile or 'unknown'}",
    Reason.CLOUD: lambda p, f: (
        f"{max(p.left.cloud_cover or 0.0, p.right.cloud_cover or 0.0):.0f} % cloud, more than {f.max_cloud:g} %"
    ),
    Reason.UNCLEAR: lambda p, f: (
        f"only about {_percent(p.clear(unknown=1.0))} is clear in both, less than {_percent(f.min_joint_clear)}"
    ),
    Reason.SMALL: lambda p, f: f"overlap {p.overlap_km2:.3g} km², less than {f.min_overlap_km2:g} km²",
    Reason.THIN: lambda p, f: (
        f"overlap {_percent(p.share)} of the smaller footprint, less than {_percent(f.min_share)}"
    ),
}


def kind(reason: Reason, filters: Filters) -> str:
    """Word a reason for all the pairs that it refuses."""
    return _KINDS[reason](filters)


def why(reason: Reason, pair: Pair, filters: Filters, better: Pair | None) -> str:
    """Word why a pair is refused, with its own figures.

    Args:
        reason: the first that speaks against it.
        pair: with an estimated overlap.
        filters: what it was held against.
        better: that by which the same two acquisitions are compared, for ``Reason.TWIN``.
    """
    if better is not None:
        return f"the same two acquisitions are compared as {better.processing}"
    return _FIGURES[reason](pair, filters) if reason in _FIGURES else kind(reason, filters)


RECORD = np.dtype([
    *((name, np.uint8) for name in ("stage", "reason")),
    *((name, np.int64) for name in ("rank", "within")),
    *((name, np.int32) for name in ("left", "right", "better_left", "better_right")),
    *((name, np.float64) for name in ("km2", "km")),
])
"""A refusal in 50 bytes: sorted by ``stage``, ``rank`` and ``within``; scenes are numbers, -1 is none."""


class Tally:
    """Refusals counted by reason; kept while there are no more than ``most``, beyond that a few of each reason."""

    def __init__(self, most: float) -> None:
        self.most = most
        self.counts = np.zeros(max(Reason) + 1, np.int64)
        self._kept: list[NDArray[np.void]] = []

    def add(self, reasons: NDArray[np.uint8], columns: Mapping[str, NDArray[Any] | int]) -> None:
        """Count refusals by their `Reason` (K,), 0 for none.

        Args:
            reasons: one for each.
            columns: fields of `RECORD`, (K,) or one number for all; what is left out is 0 or none.
        """
        complete = self.counts.sum() <= self.most
        before = self.counts
        counts = np.bincount(reasons, minlength=len(before))
        counts[Reason.NONE] = 0
        self.counts = before + counts
        if self.counts.sum() <= self.most:
            which = np.flatnonzero(reasons)
        else:
            if complete:
                every = self.kept()
                self._kept = [every[_first(every["reason"], np.zeros_like(before))]]
            which = _first(reasons, before)
        if len(which):
            record = np.zeros(len(which), RECORD)
            record["reason"] = reasons[which]
            record["better_left"] = record["better_right"] = record["right"] = -1
            record["km"] = np.nan
            for name, values in columns.items():
                record[name] = values[which] if isinstance(values, np.ndarray) else values
            self._kept.append(record)

    def kept(self) -> NDArray[np.void]:
        """Return what is kept, as `RECORD`, in its order."""
        records = np.concatenate([np.zeros(0, RECORD), *self._kept])
        return records[np.lexsort((records["within"], records["rank"], records["stage"]))]


def _first(reasons: NDArray[np.uint8], before: NDArray[np.int64]) -> NDArray[np.intp]:
    """Find the first few of each reason, of which there have been some before."""
    few = [np.flatnonzero(reasons == r)[: EXAMPLES - before[r]] for r in Reason if r and before[r] < EXAMPLES]
    return np.concatenate([np.zeros(0, np.intp), *few])


def _percent(share: float) -> str:
    return f"{share:.1%}".replace("%", " %")
