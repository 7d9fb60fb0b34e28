"""Figures of a training: numbers under their names, as ``curves.csv`` has them and as people read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True)
class Figure:
    """A number with its name; a share over pairs of crops also with its interval, and place by place."""

    name: str
    value: float
    interval: tuple[float, float] | None = None
    """Low and high end of 95 %."""
    places: tuple[tuple[str, float], ...] = ()
    """The name of each place, and the figure there."""

    def to_dict(self) -> dict[str, float]:
        """Flatten the figure into columns ``NAME``, ``NAME_low``, ``NAME_high`` and ``NAME in PLACE``."""
        ends = () if self.interval is None else zip(("low", "high"), self.interval, strict=True)
        return {
            self.name: self.value,
            **{f"{self.name}_{end}": value for end, value in ends},
            **{f"{self.name} in {place}": value for place, value in self.places},
        }

    @classmethod
    def from_dict(cls, name: str, columns: Mapping[str, float]) -> Figure:
        """Make the figure of that name from columns, among which those of others may be."""
        prefix = f"{name} in "
        return cls(
            name,
            columns[name],
            (columns[f"{name}_low"], columns[f"{name}_high"]) if f"{name}_low" in columns else None,
            tuple((key.removeprefix(prefix), value) for key, value in columns.items() if key.startswith(prefix)),
        )


class FigureText(NamedTuple):
    """How people read a figure."""

    name: str
    """Of the figure."""
    words: str
    """What it is."""
    pattern: str
    """How its numbers are written."""

    def text(self, figure: Figure | None) -> str:
        """Write a figure with its interval, where it has one; nothing where there is no figure."""
        if figure is None:
            return ""
        interval = f" ({self.pattern} to {self.pattern})".format(*figure.interval) if figure.interval else ""
        return self.pattern.format(figure.value) + interval


def columns_of(figures: Iterable[Figure]) -> dict[str, float]:
    """Flatten several figures into the columns of all."""
    return {name: value for figure in figures for name, value in figure.to_dict().items()}


def find_figure(figures: Iterable[Figure], name: str) -> Figure | None:
    """Find the figure of that name; ``None`` where there is none."""
    return next((figure for figure in figures if figure.name == name), None)
