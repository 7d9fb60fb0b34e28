"""What can be trained: a table of networks, in words and figures, and where each begins."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from sentinel_match.train.places import Ground
    from sentinel_match.train.task import Task


class Trainable(NamedTuple):
    """A network that can be trained."""

    about: str
    """What it is for."""
    units: Mapping[str, tuple[str, str]]
    """Figures on ground that training never sees, in words, and how they are written; the first one is told
    place by place too."""
    steps: int
    """Batches to learn from, where nobody says."""
    batch: int
    """Pairs of crops in each."""
    rate: float
    """Learning rate of a new network; one that knows something is changed by a third of it."""


_ASSIGNED = {
    "recall": ("keypoints matched to their partner", "{:.1%}"),
    "precision": ("matches within 1.5 px", "{:.1%}"),
    "guided_recall": (
        "the same with a prior of 16 px",
        "{:.1%}",
    ),
    "guided_precision": (
        "matches within 1.5 px with it",
        "{:.1%}",
    ),
}
TRAINABLE = {
    "evergreen": Trainable(
        "Features of a Sentinel-2 band, one per 2 x 2 pixels, that look alike in every season.",
        {
            "found": ("points within 1 px of the truth", "{:.1%}"),
            "delivered": ("points delivered as likely", "{:.1%}"),
            "precision": ("of those within 1 px", "{:.1%}"),
            "error_px": ("median error of the right ones", "{:.2f} px"),
        },
        steps=1000,
        batch=8,
        rate=3e-3,
    ),
    "superpoint": Trainable(
        "Keypoints of a Sentinel-2 band that every season shows, and descriptors that stay alike.",
        {
            "repeated": (
                "keypoints found again within 3 px",
                "{:.1%}",
            ),
            "precision": (
                "mutual nearest neighbours within 3 px",
                "{:.1%}",
            ),
            "right": ("how many of a pair of crops", "{:.0f}"),
        },
        steps=2000,
        batch=8,
        rate=2e-3,
    ),
    "lightglue": Trainable(
        "Who belongs to whom among the keypoints of two dates, by attention (LightGlue).",
        _ASSIGNED,
        steps=2000,
        batch=4,
        rate=1e-3,
    ),
    "superglue": Trainable(
        "Who belongs to whom among the keypoints of two dates, by optimal transport (SuperGlue).",
        _ASSIGNED,
        steps=2000,
        batch=4,
        rate=1e-3,
    ),
}


def told(figures: Mapping[str, float], name: str, pattern: str) -> str:
    """A figure as people read it, with its interval where it has one; empty where it is none of these."""
    if name not in figures:
        return ""
    low, high = f"{name}_low", f"{name}_high"
    within = f" ({pattern} to {pattern})".format(figures[low], figures[high]) if low in figures else ""
    return pattern.format(figures[name]) + within


def begun(name: str, start: str, keypoints: Path | None, **options: Any) -> tuple[Callable[[Ground], Task], str]:
    """A training that wants nothing but ground, and what its network is.

    Args:
        name: a key of ``TRAINABLE``.
        start: ``scratch``, ``shipped``, or a file of weights.
        keypoints: SuperPoint's weights, for a network that assigns its keypoints; the shipped ones when not given.
        options: of every task: ``batch``, ``seed``, ``device``.

    Raises:
        WeightsMissing, WeightsDamaged: a file is not there, or is none of its network.
    """
    from sentinel_match.models import shipped
    from sentinel_match.train.loop import started

    if name == "evergreen":
        from sentinel_match.matchers.evergreen import load
        from sentinel_match.train import dense

        evergreen, origin = started(start, shipped.EVERGREEN, load)
        return partial(dense.Dense, network=evergreen, origin=origin, **options), origin
    if name == "superpoint":
        from sentinel_match.matchers.superpoint import load
        from sentinel_match.train import points

        superpoint, origin = started(start, shipped.SUPERPOINT, load)
        return partial(points.Points, network=superpoint, origin=origin, **options), origin
    from sentinel_match.train import assignment

    detector, network, origin = assignment.beginning(name, start, keypoints)
    return lambda ground: assignment.Assignment(name, ground, detector, network, origin=origin, **options), origin
