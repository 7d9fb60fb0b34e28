"""Which pairs a user accepts, and how many."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from sentinel_match.schema import A_SHARE, AMOUNT, COUNTING, IN_PERCENT, TRUE_OR_FALSE, check_fields


@dataclass(frozen=True)
class Filters:
    """Which pairs to accept, and how many. The defaults accept whatever could give tie points.

    Examples:
        >>> from sentinel_match import Filters
        >>> a_month_of_one_orbit = Filters(max_days=30, same_orbit_only=True)
    """

    min_overlap_km2: float = 1.0
    min_share: float = 0.02
    """Of the smaller footprint. Tiles side by side share 0.09, tiles that meet in a corner 0.008."""
    max_cloud: float = 100.0
    """Percent, of either scene."""
    min_joint_clear: float = 0.02
    min_days: float = 0.0
    max_days: float = inf
    max_season_gap_days: float = inf
    same_orbit_only: bool = False
    same_tile_only: bool = False
    mixed_levels: bool = False
    """Accept L1C with L2A. In any case two acquisitions are compared once: as L2A where both have it."""
    max_distance_km: float = 1.0
    """Between images of which only a position is known."""
    per_scene: int = 2
    """Partners proposed for each scene; as many more as keep all the scenes linked that can be."""
    all_pairs: bool = False
    """Propose every acceptable pair instead."""

    def __post_init__(self) -> None:
        """Fail now at what cannot be used.

        Raises:
            TypeError, ValueError: a value is none that a filter can have.
        """
        check_fields(self, _FILTER_KINDS)


_FILTER_KINDS = {
    **dict.fromkeys(("min_overlap_km2", "min_days", "max_days", "max_season_gap_days", "max_distance_km"), AMOUNT),
    **dict.fromkeys(("min_share", "min_joint_clear"), A_SHARE),
    "max_cloud": IN_PERCENT,
    **dict.fromkeys(("same_orbit_only", "same_tile_only", "mixed_levels", "all_pairs"), TRUE_OR_FALSE),
    "per_scene": COUNTING,
}
