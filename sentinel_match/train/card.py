"""The card beside a network's weights: what it learned from, what it can do, and how to make it again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sentinel_match import __version__, atomic
from sentinel_match.models.weights import sha256
from sentinel_match.train.figures import find_figure
from sentinel_match.train.networks import TRAINABLE

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from torch import nn

    from sentinel_match.train.loop import Schedule, TrainingState
    from sentinel_match.train.places import Ground, Place

CREDIT = "Contains modified Copernicus Sentinel data {years}."


@dataclass(frozen=True)
class Card:
    """What is known of a training."""

    name: str
    ground: Ground
    schedule: Schedule
    recipe: Mapping[str, object]
    learned: Collection[str]
    """Names of the places that were learned from."""
    start: str
    """Where it began: ``scratch``, or the SHA-256 of other weights."""
    command: str
    """That makes it again."""

    def write(self, network: nn.Module, weights: Path, state: TrainingState) -> Path:
        """Write the card of some weights beside them.

        Raises:
            OutputError: it could not be written.
        """
        path = weights.with_suffix(".md")
        figures, texts = state.curve[-1].examination, TRAINABLE[self.name].figures
        first = find_figure(figures, texts[0].name)
        by_place = () if first is None else first.places
        learned = [place for place in self.ground.places if place.name in self.learned]
        parameters = sum(p.numel() for p in network.parameters())
        lines = [
            f"# {self.name}",
            "",
            TRAINABLE[self.name].about,
            "",
            f"- file: `{weights.name}`, {weights.stat().st_size:,} bytes, half precision, SHA-256 `{sha256(weights)}`",
            f"- {parameters:,} parameters, {state.step:,} of {self.schedule.steps:,} steps, began from {self.start}",
            f"- made by sentinel_match {__version__}: `{self.command}`",
            f"- settings: {', '.join(f'{k} {v}' for k, v in self.recipe.items())}",
            "- licence of the weights: Apache-2.0",
            f"- {CREDIT.format(years=_years(learned))}",
            "",
            "## Learned from",
            "",
            "| place | metres per pixel | dates | pictures | bands |",
            "|---|---|---|---|---|",
            *(_row(place) for place in learned),
            "",
            "Truth is the georeference, corrected by the measured shift of each date.",
            f"Held out, by where it is on the Earth: {self._held_out()}",
            "",
            "## On held-out ground, with 95 % intervals",
            "",
            *(f"- {text.words}: {text.text(find_figure(figures, text.name))}" for text in texts),
            f"- the first, place by place: {', '.join(f'{place} {value:.1%}' for place, value in by_place)}",
            "",
        ]
        atomic.write_text(path, "\n".join(lines))
        return path

    def _held_out(self) -> str:
        area = self.ground.held_out
        if area.is_empty:
            return "nothing."
        boxes = [part.bounds for part in getattr(area, "geoms", [area])]
        return "; ".join("{:.2f} {:.2f} to {:.2f} {:.2f}".format(*box) for box in boxes) + " (longitude, latitude)."


def _row(place: Place) -> str:
    dates = place.dates
    span = dates[0] if len(dates) == 1 else f"{len(dates)}: {dates[0]} to {dates[-1]}"
    bands = ", ".join(dict.fromkeys(p.band for p in place.pictures))
    return f"| {place.name} | {place.gsd:g} | {span} | {len(place.pictures)} | {bands} |"


def _years(places: Sequence[Place]) -> str:
    years = sorted({d[:4] for place in places for d in place.dates if d[:2] == "20"})
    return years[0] if len(years) == 1 else f"{years[0]}-{years[-1]}" if years else "(year unknown)"
