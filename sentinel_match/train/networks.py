"""The networks that can be trained: what each is for, how it is judged, and how long and fast it learns."""

from __future__ import annotations

from typing import NamedTuple

from sentinel_match.train.figures import FigureText


class Trainable(NamedTuple):
    """A network that can be trained."""

    about: str
    """What it is for."""
    figures: tuple[FigureText, ...]
    """Figures on ground that training never sees; the first one is told place by place too."""
    steps: int
    """Batches to learn from, where nobody says."""
    batch: int
    """Pairs of crops in each."""
    rate: float
    """Learning rate of a new network; one that knows something is changed by a third of it."""


_ASSIGNED = (
    FigureText("recall", "keypoints matched to their partner", "{:.1%}"),
    FigureText("precision", "matches within 1.5 px", "{:.1%}"),
    FigureText("guided_recall", "the same with a prior of 16 px", "{:.1%}"),
    FigureText("guided_precision", "matches within 1.5 px with it", "{:.1%}"),
)
_DENSE = (
    FigureText("found", "points within 1 px of the truth", "{:.1%}"),
    FigureText("delivered", "points delivered as likely", "{:.1%}"),
    FigureText("precision", "of those within 1 px", "{:.1%}"),
    FigureText("error_px", "median error of the right ones", "{:.2f} px"),
)
TRAINABLE = {
    "evergreen": Trainable(
        "Features of a Sentinel-2 band, one per 2 x 2 pixels, that look alike in every season.",
        _DENSE,
        steps=1000,
        batch=8,
        rate=3e-3,
    ),
    "trunk": Trainable(
        "What loftr stands on: features as those of evergreen, coarser, for half the cost.",
        _DENSE,
        steps=2400,
        batch=8,
        rate=3e-3,
    ),
    "loftr": Trainable(
        "Which cells of two dates show the same ground, without keypoints and without a prior (LoFTR).",
        (
            FigureText("found", "cells whose match is within 2 px", "{:.1%}"),
            FigureText("precision", "matches within 2 px", "{:.1%}"),
            FigureText("error_px", "median error of the right ones", "{:.2f} px"),
        ),
        steps=2000,
        batch=4,
        rate=1e-3,
    ),
    "superpoint": Trainable(
        "Keypoints of a Sentinel-2 band that every season shows, and descriptors that stay alike.",
        (
            FigureText("repeated", "keypoints found again within 1 px", "{:.1%}"),
            FigureText("precision", "mutual nearest neighbours within 3 px", "{:.1%}"),
            FigureText("right", "how many of a pair of crops", "{:.0f}"),
        ),
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
