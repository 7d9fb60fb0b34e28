"""What the records say together: means over all pairs, failures included, with intervals over places."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sentinel_match.evaluate.metrics import auc, bootstrap
from sentinel_match.evaluate.record import ByModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sentinel_match.evaluate.record import Record

CORNER_THRESHOLDS_PX = (1.0, 3.0, 5.0)
"""Thresholds of corner errors."""
RIGHT_WITHIN_PX = 1.5
"""Corner error in pixels up to which a believed model is right: less than the smallest displacement, two axes of 1.2 px
each, so the georeference alone never is."""
ALL_SETS = "all"
PERFECT = (0.95, 0.5)
"""Between an image and itself: least precision at 1 px of what is believed, largest corner error in pixels. Scattered
blobs keep SIFT from a whole: 0.98 on an invented landscape, with the model right to 0.02 px."""


class Areas(NamedTuple):
    """Areas under the curve of a model's corner errors, at each of ``CORNER_THRESHOLDS_PX``."""

    at_1: float
    at_3: float
    at_5: float


@dataclass(frozen=True)
class MethodSummary:
    """One method on one group of pairs."""

    method: str
    set: str
    """Or ``all``."""
    stratum: str
    """``season_gap=0-30 d``; empty for the whole set."""
    pairs: int
    places: int
    failed: int
    """Pairs on which it raised an error."""
    no_match: int
    """Pairs on which it said itself that there is no match."""
    matches: float
    """Mean delivered."""
    correct_1: float
    precision_1: float
    precision_1_low: float
    """Of the 95 % interval over places; NaN with a single place."""
    precision_1_high: float
    precision_3: float
    precision_5: float
    matching_score_3: float
    recall_3: float
    """Over the pairs in which anything is matchable."""
    coverage: float
    coverage_low: float
    coverage_high: float
    shuffled_3: float
    believed: float
    believed_correct_1: float
    believed_precision_1: float
    """Mean over all pairs; a pair without a believed match counts 0."""
    believed_precision_1_low: float
    believed_precision_1_high: float
    believed_precision_1_matched: float
    """Mean over the pairs in which it believes a model; NaN where there is none."""
    believed_coverage: float
    auc: ByModel[Areas]
    """Of the corner error of each model."""
    success: float
    """Share of the pairs whose believed model is right, see ``RIGHT_WITHIN_PX``."""
    wrong: float
    """Share of the pairs whose believed model is not right: a wrong answer, where "no match" is none."""
    median_rmse_m: float
    median_shift_error_m: float
    """Over all pairs, a failure being infinite."""
    cpu_seconds: float
    """Mean a pair."""
    wall_seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Flatten the summary into columns; each area has one, ``auc_similarity_3``, behind the others."""
        columns: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "auc"}
        areas = {
            f"auc_{model}_{pixels:g}": area
            for model, at in self.auc.items()
            for pixels, area in zip(CORNER_THRESHOLDS_PX, at, strict=True)
        }
        return {**columns, **areas}


@dataclass(frozen=True)
class Control:
    """How a method did where the right answer is known beforehand."""

    method: str
    identical: int
    """Pairs of an image with itself, displaced."""
    perfect: int
    """Of those: as right as ``PERFECT`` asks."""
    unrelated: int
    """Pairs without common ground."""
    refused: int
    """Of those: "no match" was said."""
    hidden: int
    """Pairs of the list in which no clear ground is shared."""
    hidden_wrong: int
    """Of those: a model was believed that is not right."""
    shuffled_3: float
    """Mean precision at 3 px of its matches in random order: the share that chance gives."""

    def to_dict(self) -> dict[str, Any]:
        """Return the columns of its row."""
        return asdict(self)


def summarise(records: Sequence[Record], seed: int = 0) -> tuple[MethodSummary, ...]:
    """Summarise each method over everything, each set and each stratum; controls and hidden pairs are left out."""
    pairs = [r for r in records if r.kind == "pair"]
    rows = []
    for method in dict.fromkeys(r.method for r in pairs):
        for name, stratum, group in _groups([r for r in pairs if r.method == method]):
            rows.append(_summary(method, name, stratum, group, seed))
    return tuple(rows)


def controls(records: Sequence[Record]) -> tuple[Control, ...]:
    """Count how each method did on the controls, one row per method."""
    rows = []
    for method in dict.fromkeys(r.method for r in records):
        identity, unrelated, hidden, pairs = (
            [r for r in records if r.method == method and r.kind == kind]
            for kind in ("identity", "unrelated", "hidden", "pair")
        )
        shuffled = [r.shuffled_3 for r in pairs]
        rows.append(
            Control(
                method=method,
                identical=len(identity),
                perfect=sum(r.believed_precision_1 >= PERFECT[0] and r.corner.believed < PERFECT[1] for r in identity),
                unrelated=len(unrelated),
                refused=sum(r.status == "no match" for r in unrelated),
                hidden=len(hidden),
                hidden_wrong=sum(map(_is_wrong, hidden)),
                shuffled_3=float(np.mean(shuffled)) if shuffled else float("nan"),
            )
        )
    return tuple(rows)


def _is_wrong(record: Record) -> bool:
    return record.status == "matched" and record.corner.believed >= RIGHT_WITHIN_PX


def _groups(records: Sequence[Record]) -> Iterator[tuple[str, str, list[Record]]]:
    """Yield the set, the stratum and the records of all, of each set, of each stratum, and of each place."""
    yield ALL_SETS, "", list(records)
    for name in dict.fromkeys(r.set for r in records):
        yield name, "", [r for r in records if r.set == name]
    for facts in sorted({(k, v) for r in records for k, v in r.strata.items()}):
        yield ALL_SETS, "=".join(facts), [r for r in records if r.strata.get(facts[0]) == facts[1]]
    for place in dict.fromkeys(r.place for r in records):
        yield ALL_SETS, f"place={place}", [r for r in records if r.place == place]


def _summary(method: str, name: str, stratum: str, records: Sequence[Record], seed: int) -> MethodSummary:
    places = [r.place for r in records]

    def column(value: Callable[[Record], float]) -> np.ndarray:
        return np.array([value(r) for r in records], np.float64)

    def mean(value: Callable[[Record], float]) -> float:
        values = column(value)
        return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")

    def interval(value: Callable[[Record], float]) -> tuple[float, float]:
        return bootstrap(column(value), places, seed)

    matched = [r.believed_precision_1 for r in records if r.status == "matched"]
    precision = interval(lambda r: r.precision_1)
    coverage = interval(lambda r: r.coverage)
    believed_precision = interval(lambda r: r.believed_precision_1)
    corners = ByModel(*(np.array(errors, np.float64) for errors in zip(*(r.corner for r in records), strict=True)))
    return MethodSummary(
        method=method,
        set=name,
        stratum=stratum,
        pairs=len(records),
        places=len(set(places)),
        failed=sum(r.status == "failed" for r in records),
        no_match=sum(r.status == "no match" for r in records),
        matches=mean(lambda r: r.matches),
        correct_1=mean(lambda r: r.correct_1),
        precision_1=mean(lambda r: r.precision_1),
        precision_1_low=precision[0],
        precision_1_high=precision[1],
        precision_3=mean(lambda r: r.precision_3),
        precision_5=mean(lambda r: r.precision_5),
        matching_score_3=mean(lambda r: r.matching_score_3),
        recall_3=mean(lambda r: r.recall_3),
        coverage=mean(lambda r: r.coverage),
        coverage_low=coverage[0],
        coverage_high=coverage[1],
        shuffled_3=mean(lambda r: r.shuffled_3),
        believed=mean(lambda r: r.believed),
        believed_correct_1=mean(lambda r: r.believed_correct_1),
        believed_precision_1=mean(lambda r: r.believed_precision_1),
        believed_precision_1_low=believed_precision[0],
        believed_precision_1_high=believed_precision[1],
        believed_precision_1_matched=float(np.mean(matched)) if matched else float("nan"),
        believed_coverage=mean(lambda r: r.believed_coverage),
        auc=ByModel(*(Areas(*auc(errors, CORNER_THRESHOLDS_PX)) for errors in corners)),
        success=float((corners.believed < RIGHT_WITHIN_PX).mean()),
        wrong=mean(_is_wrong),
        median_rmse_m=float(np.median(column(lambda r: r.rmse_m))),
        median_shift_error_m=float(np.median(column(lambda r: r.shift_error_m))),
        cpu_seconds=mean(lambda r: r.cpu_seconds),
        wall_seconds=mean(lambda r: r.wall_seconds),
    )
