"""What is reported of a series of acquisitions: where each lies, and what of its pairs remains unexplained."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sentinel_match.accuracy.adjustment import Loop, adjust, loops

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sentinel_match.accuracy.adjustment import Link, Series


@dataclass(frozen=True)
class Acquisition:
    """Where one acquisition of a series lies against the others."""

    id: str
    sensing_time: datetime | None
    dx_m: float
    """East of the datum."""
    dy_m: float
    """North of it."""
    sigma_dx_m: float
    sigma_dy_m: float
    dx_px: float
    dy_px: float
    pairs: int
    """That it takes part in."""
    disagrees: bool
    """Whether it contradicts the others."""


@dataclass(frozen=True)
class LinkResidual:
    """What one pair of a series measured, and what of it the offsets do not explain."""

    left: str
    right: str
    dx_m: float
    dy_m: float
    residual_dx_m: float
    residual_dy_m: float
    contradicts: bool
    """Whether it contradicts the other pairs."""


@dataclass(frozen=True)
class SeriesReport:
    """What ``series.json`` says of one series, in metres and pixels."""

    gsd_m: float
    datum: str
    """What offsets count from, in words."""
    unit_weight: tuple[float, float]
    """Standard deviation of unit weight, east and north."""
    redundancy: int
    """Pairs beyond those that link the acquisitions."""
    acquisitions: tuple[Acquisition, ...]
    pairs: tuple[LinkResidual, ...]
    loops: tuple[Loop, ...]
    """Triangles of pairs, the worst first."""

    @property
    def caveat(self) -> str:
        """Say what no triangle of pairs checks; empty where there is one."""
        if self.loops:
            return ""
        none = "no triangle: no three acquisitions are all paired with one another"
        if not self.redundancy:
            return f"{none}, so nothing checks these offsets, and an acquisition that is wrong cannot be told"
        return f"{none}; the offsets are checked by {self.redundancy} pair{'s'[: self.redundancy > 1]} to spare alone"

    def to_dict(self) -> dict[str, Any]:
        """Return what the file says."""
        caveat = {"caveat": self.caveat} if self.caveat else {}
        return {
            "gsd_m": self.gsd_m,
            "datum": self.datum,
            "unit_weight": list(self.unit_weight),
            "redundancy": self.redundancy,
            "acquisitions": [vars(acquisition) for acquisition in self.acquisitions],
            "pairs": [vars(pair) for pair in self.pairs],
            "loops": [{"acquisitions": list(loop.names), "closure_m": list(loop.closure)} for loop in self.loops],
            **caveat,
        }

    @staticmethod
    def from_dict(record: Mapping[str, Any]) -> SeriesReport:
        """Read back what ``to_dict`` has made.

        Raises:
            KeyError, TypeError, ValueError: a member is missing, or is none of its kind.
        """
        acquisitions = []
        for one in record["acquisitions"]:
            time = one["sensing_time"]
            acquisitions.append(Acquisition(**{**one, "sensing_time": datetime.fromisoformat(time) if time else None}))
        loops = []
        for loop in record["loops"]:
            (first, second, third), (east, north) = loop["acquisitions"], loop["closure_m"]
            loops.append(Loop((first, second, third), (east, north)))
        east, north = record["unit_weight"]
        return SeriesReport(
            gsd_m=float(record["gsd_m"]),
            datum=str(record["datum"]),
            unit_weight=(float(east), float(north)),
            redundancy=int(record["redundancy"]),
            acquisitions=tuple(acquisitions),
            pairs=tuple(LinkResidual(**pair) for pair in record["pairs"]),
            loops=tuple(loops),
        )


def series_reports(links: Sequence[Link], times: Mapping[str, datetime | None]) -> tuple[SeriesReport, ...]:
    """Adjust all series of some pairs, and report on each.

    Args:
        links: pairs.
        times: when each acquisition was taken.
    """
    return tuple(_report(series, times) for series in adjust(links))


def _report(series: Series, times: Mapping[str, datetime | None]) -> SeriesReport:
    acquisitions = [
        Acquisition(
            id=name,
            sensing_time=times.get(name),
            dx_m=round(float(series.offset[k, 0]), 3),
            dy_m=round(float(series.offset[k, 1]), 3),
            sigma_dx_m=round(float(series.sigma[k, 0]), 3),
            sigma_dy_m=round(float(series.sigma[k, 1]), 3),
            dx_px=round(float(series.offset[k, 0]) / series.gsd, 4),
            dy_px=round(float(series.offset[k, 1]) / series.gsd, 4),
            pairs=int(series.pairs[k]),
            disagrees=bool(series.apart[k].any()),
        )
        for k, name in enumerate(series.names)
    ]
    pairs = [
        LinkResidual(
            left=link.left,
            right=link.right,
            dx_m=round(link.shift[0], 3),
            dy_m=round(link.shift[1], 3),
            residual_dx_m=round(float(series.residual[k, 0]), 3),
            residual_dy_m=round(float(series.residual[k, 1]), 3),
            contradicts=bool(series.doubtful[k]),
        )
        for k, link in enumerate(series.links)
    ]
    return SeriesReport(
        gsd_m=series.gsd,
        datum="the median offset of these acquisitions",
        unit_weight=(round(series.unit[0], 3), round(series.unit[1], 3)),
        redundancy=series.redundancy,
        acquisitions=tuple(acquisitions),
        pairs=tuple(pairs),
        loops=tuple(
            Loop(loop.names, (round(loop.closure[0], 3), round(loop.closure[1], 3))) for loop in loops(series.links)
        ),
    )
