"""Judging: which scene of a pair is the reference, what speaks against it and how promising it is; millions at once.

``Pair`` says the same of one pair, and a test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np

from sentinel_match.products.moments import SHORT
from sentinel_match.products.pair import LEVEL_FACTORS, ORBIT_FACTORS, SCORE_DIGITS, season_factor
from sentinel_match.products.refusals import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from sentinel_match.products.candidates import Candidates
    from sentinel_match.products.facts import Facts
    from sentinel_match.products.filters import Filters

MICROSECOND = timedelta(microseconds=1)
A_DAY = timedelta(days=1) // MICROSECOND


@dataclass(frozen=True, eq=False)
class Drafts:
    """Pairs (K,) with an estimated overlap, good enough to filter and rank: numbers of their scenes."""

    left: NDArray[np.intp]
    right: NDArray[np.intp]
    km2: NDArray[np.float64]
    km: NDArray[np.float64]
    """Between two positions; not a number of footprints."""
    key: NDArray[np.int64]
    """The least is the best: by score, then by name; 20 bits of the score and two numbers of up to 2 million scenes."""

    def of(self, which: NDArray[np.intp] | NDArray[np.bool_]) -> Drafts:
        """Take some of them."""
        return Drafts(*(column[which] for column in vars(self).values()))

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return what a refusal records of each."""
        return {"left": self.left, "right": self.right, "km2": self.km2, "km": self.km}

    @staticmethod
    def together(parts: list[Drafts]) -> Drafts:
        """Join several; at least one."""
        return Drafts(*map(np.concatenate, zip(*(vars(part).values() for part in parts), strict=True)))

    @staticmethod
    def none() -> Drafts:
        """Make no drafts."""
        numbers, figures = np.zeros(0, np.intp), np.zeros(0)
        return Drafts(numbers, numbers, figures, figures, np.zeros(0, np.int64))


class Judge:
    """What the filters accept, and in which order."""

    def __init__(self, facts: Facts, filters: Filters, labels: list[str]) -> None:
        self.facts, self.filters = facts, filters
        # ``id`` of pairs sorts likewise, unless one label begins with another one and ``__``
        self.left_rank, self.right_rank = _ranks([f"{label}__" for label in labels]), _ranks(labels)
        self.bits = max(len(labels), 1).bit_length()
        gap = np.abs(np.subtract.outer(np.arange(366), np.arange(366)))
        self.gap = np.minimum(gap, 365 - gap)
        factors = np.array([season_factor(gap) for gap in range(183)])
        self.season = factors[self.gap]
        self.season[0] = self.season[:, 0] = season_factor(None)  # day 0 is that of no date
        self.half_clear, self.all_clear = facts.clear(0.5), facts.clear(1.0)
        names = facts.crafts
        self.compatible = np.array(
            [[bool(a and b) and (a.startswith(b) or b.startswith(a)) for b in names] for a in names], bool
        ).reshape(len(names), len(names))

    def references(self, pairs: Candidates) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Order each two scenes as the better reference and the other; see `pair_scenes`."""
        facts, first, second = self.facts, pairs.first, pairs.second
        one, other = facts.clear_km2[first], facts.clear_km2[second]
        unknown = np.flatnonzero(np.isnan(one) | np.isnan(other))
        one[unknown], other[unknown] = facts.area_km2[first[unknown]], facts.area_km2[second[unknown]]
        better = facts.refined[second]
        swap = np.where(facts.refined[first] != better, better, other - one > 0.01 * other)
        return np.where(swap, second, first), np.where(swap, first, second)

    def objections(self, pairs: Candidates, left: NDArray[np.intp], right: NDArray[np.intp]) -> NDArray[np.uint8]:
        """Find the first `Reason` that speaks against each pair (K,), 0 where none does."""
        reasons = np.zeros(len(left), np.uint8)
        for where, reason in self._limits(pairs, left, right):
            if where.any():
                reasons[where & (reasons == Reason.NONE)] = reason
        same, why = self._nothing_between(left, right)
        reasons[same] = why
        return reasons

    def drafts(
        self, pairs: Candidates, which: NDArray[np.intp], left: NDArray[np.intp], right: NDArray[np.intp]
    ) -> Drafts:
        """Score some of the pairs, exactly as ``Pair.score`` does.

        Args:
            pairs: K of them.
            which: (M,) places among them.
            left: (K,) references.
            right: (K,) targets.
        """
        facts, left, right = self.facts, left[which], right[which]
        share, iou = np.minimum(1.0, pairs.km2 / pairs.smaller_km2), pairs.km2 / (pairs.both_km2 - pairs.km2)
        overlap, km = pairs.overlap[which], pairs.km[which]
        score = np.append(np.sqrt(share * np.minimum(1.0, iou)), 0.0)[overlap]
        distant = np.flatnonzero(overlap < 0)
        score[distant] = 1 / (1 + km[distant])
        score *= self.half_clear[left] * self.half_clear[right]
        score *= self.season[facts.day_of_year[left], facts.day_of_year[right]]
        one, other = facts.orbit[left], facts.orbit[right]
        score *= np.where(
            (one < 0) | (other < 0),
            ORBIT_FACTORS[None],
            np.where(one == other, ORBIT_FACTORS[True], ORBIT_FACTORS[False]),
        )
        score *= np.where(self._mixed(left, right), LEVEL_FACTORS[True], LEVEL_FACTORS[False])
        key = (10**SCORE_DIGITS - millionths(score) << self.bits | self.left_rank[left]) << self.bits
        return Drafts(left, right, np.append(pairs.km2, 0.0)[overlap], km, key | self.right_rank[right])

    def _mixed(self, left: NDArray[np.intp], right: NDArray[np.intp]) -> NDArray[np.bool_]:
        one, other = self.facts.level[left], self.facts.level[right]
        mixed: NDArray[np.bool_] = (one != other) & (one > 0) & (other > 0)
        return mixed

    def _nothing_between(
        self, left: NDArray[np.intp], right: NDArray[np.intp]
    ) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
        """Find the pairs seen in one pass, by their places, and why there is nothing between them.

        Where a name says no more than the day, one day is one moment of one satellite: none sees a place twice a day
        but near the poles, where that is refused too. Of pictures that no satellite is known to have taken, one day
        tells nothing.
        """
        facts = self.facts
        apart = np.abs(facts.microseconds[left] - facts.microseconds[right])
        near = np.flatnonzero((facts.moment[left] == facts.moment[right]) | (apart < 3 * A_DAY))
        left, right, apart = left[near], right[near], apart[near]
        dated = (facts.day[left] > 0) & (facts.day[right] > 0)
        compatible = self.compatible[facts.craft[left], facts.craft[right]]
        nameless = np.array([not name for name in facts.crafts], bool)
        of_bands = facts.of_bands[left] & facts.of_bands[right]
        of_bands &= nameless[facts.craft[left]] & nameless[facts.craft[right]]
        same = np.where(
            facts.clock[left] & facts.clock[right],
            compatible & (apart < SHORT // MICROSECOND),
            (facts.day[left] == facts.day[right]) & (compatible | of_bands),
        )
        same = (dated & same) | ((facts.moment[left] == facts.moment[right]) & facts.clock[left])
        near, left, right = near[same], left[same], right[same]
        complementary = facts.strip[left] & facts.strip[right] & (facts.acquisition[left] != facts.acquisition[right])
        why = np.select(
            [facts.tile[left] != facts.tile[right], self._mixed(left, right), complementary],
            [Reason.SAME_DATATAKE, Reason.TWO_LEVELS, Reason.COMPLEMENTARY],
            Reason.TWICE,
        )
        return near, why.astype(np.uint8)

    def _limits(
        self, pairs: Candidates, left: NDArray[np.intp], right: NDArray[np.intp]
    ) -> Iterator[tuple[NDArray[np.bool_], Reason]]:
        """Find what lies outside the limits, the limit that is told first before the others."""
        facts, limits = self.facts, self.filters
        if not (limits.min_days <= 0 and limits.max_days == limits.max_season_gap_days == inf):
            dated = (facts.day[left] > 0) & (facts.day[right] > 0)
            yield ~dated, Reason.UNDATED
            days = np.abs(facts.microseconds[left] - facts.microseconds[right]) / 1e6 / 86_400
            yield days < limits.min_days, Reason.TOO_CLOSE
            yield days > limits.max_days, Reason.TOO_LONG
            gap = self.gap[facts.day_of_year[left], facts.day_of_year[right]]
            yield gap > limits.max_season_gap_days, Reason.OTHER_SEASON
        if not limits.mixed_levels:
            yield self._mixed(left, right), Reason.MIXED_LEVELS
        if limits.same_tile_only:
            yield facts.tile[left] != facts.tile[right], Reason.OTHER_TILE
        if limits.same_orbit_only:
            one, other = facts.orbit[left], facts.orbit[right]
            yield (one < 0) | (other < 0), Reason.UNKNOWN_ORBIT
            yield one != other, Reason.OTHER_ORBIT
        cloudy = facts.cloud > limits.max_cloud
        yield cloudy[left] | cloudy[right], Reason.CLOUD
        yield self.all_clear[left] * self.all_clear[right] < limits.min_joint_clear, Reason.UNCLEAR
        yield np.append(pairs.km2 < limits.min_overlap_km2, False)[pairs.overlap], Reason.SMALL
        share = np.minimum(1.0, pairs.km2 / pairs.smaller_km2)
        yield np.append(share < limits.min_share, False)[pairs.overlap], Reason.THIN


def _ranks(texts: list[str]) -> NDArray[np.int64]:
    ranks = {text: rank for rank, text in enumerate(sorted(set(texts)))}
    return np.array([ranks[text] for text in texts], np.int64)


def millionths(score: NDArray[np.float64]) -> NDArray[np.int64]:
    """Round scores as Python's ``round`` does, half-way cases included, which numpy's takes for the even one."""
    scale = 10**SCORE_DIGITS
    rounded: NDArray[np.float64] = np.rint(score * scale)
    for k in np.flatnonzero(np.abs(np.abs(score * scale - rounded) - 0.5) < 1e-6):
        rounded[k] = np.rint(round(float(score[k]), SCORE_DIGITS) * scale)
    return np.asarray(rounded, np.int64)
