"""Records and summaries as files, as JSON, and as tables for people.

OUT/records.jsonl    one line a record as soon as it is there, with its key: see ``diary``
OUT/records.csv      one row per method and sample
OUT/summary.csv      one row per method, set and stratum
OUT/controls.csv     identity, unrelated, hidden and shuffled
OUT/poses.csv        of camera poses: one row per method and pair
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sentinel_match.atomic import write_text
from sentinel_match.evaluate.pose import POSE_THRESHOLDS_DEG, summarise_pose
from sentinel_match.evaluate.summary import controls, summarise

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from sentinel_match.evaluate.pose import PoseRecord, PoseSummary
    from sentinel_match.evaluate.record import Record
    from sentinel_match.evaluate.summary import Control, MethodSummary


@dataclass(frozen=True)
class Unavailable:
    """A method that could not run at all: reported as such, never as zero."""

    method: str
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Return the columns of its row."""
        return {"method": self.method, "status": "not available", "reason": self.reason}


def write(folder: Path, records: Sequence[Record], missing: Sequence[Unavailable] = (), seed: int = 0) -> None:
    """Write ``records.csv``, ``summary.csv`` and ``controls.csv``.

    A value that is not defined is empty, one that is infinite (a failure) is ``inf``. Methods that could not run have
    a row with nothing but status and reason.

    Raises:
        OutputError: a file cannot be written.
    """
    tables = {
        "records.csv": [_record_row(record) for record in records],
        "summary.csv": [summary.to_dict() for summary in summarise(records, seed)],
        "controls.csv": [control.to_dict() for control in controls(records)],
    }
    for name, rows in tables.items():
        write_text(folder / name, csv_text([*rows, *(method.to_dict() for method in missing)]))


def write_poses(folder: Path, records: Sequence[PoseRecord], missing: Sequence[Unavailable] = ()) -> None:
    """Write ``poses.csv``: degrees of error (``inf`` where there is no pose), shares, counts, reasons.

    Raises:
        OutputError: the file cannot be written.
    """
    rows = [*(record.to_dict() for record in records), *(method.to_dict() for method in missing)]
    write_text(folder / "poses.csv", csv_text(rows))


def _record_row(record: Record) -> dict[str, Any]:
    """Flatten a record for a table: its strata become columns of their own, behind the others."""
    columns = record.to_dict()
    del columns["strata"]
    return {**columns, **{f"stratum {name}": value for name, value in record.strata.items()}}


def as_json(records: Sequence[Record], missing: Sequence[Unavailable], seed: int = 0) -> dict[str, Any]:
    """Collect everything but the single records, JSON-able with :func:`sentinel_match.formats.geojson.dumps`."""
    return {
        "summary": [summary.to_dict() for summary in summarise(records, seed)],
        "controls": [control.to_dict() for control in controls(records)],
        "not_available": {method.method: method.reason for method in missing},
    }


def poses_as_json(records: Sequence[PoseRecord], missing: Sequence[Unavailable]) -> dict[str, Any]:
    """Collect everything but the single records of camera poses, JSON-able."""
    return {
        "summary": [summary.to_dict() for summary in summarise_pose(records)],
        "not_available": {method.method: method.reason for method in missing},
    }


POSES = (
    "method",
    "pairs",
    "failed",
    *(f"AUC@{degrees:g}°" for degrees in POSE_THRESHOLDS_DEG),
    "precision",
    "score",
    "matches",
)
"""In percent, as SuperGlue's ``match_pairs.py`` prints them; score is the matching score."""


def pose_table(rows: Iterable[PoseSummary]) -> list[list[object]]:
    """Format the rows of ``POSES``."""
    return [
        [
            s.method,
            s.pairs,
            s.failed,
            *(f"{v:.2f}" for v in (*s.auc, s.precision, s.matching_score)),
            f"{s.matches:,.0f}",
        ]
        for s in rows
    ]


TABLE = (
    "method",
    "set",
    "pairs",
    "no match",
    "wrong",
    "correct",
    "precision",
    "coverage",
    "delivered",
    "precision ",
    "AUC@3 T/S/H",
    "AUC@3",
    "RMSE m",
    "CPU s",
)
"""First what is believed (points right to 1 px, their share, cells), then what was delivered, then transforms."""


CONTROLS = ("method", "identity", "unrelated", "hidden", "shuffled, precision at 3 px")


def table(summaries: Iterable[MethodSummary]) -> list[list[object]]:
    """Format the rows of ``TABLE``, of whole sets."""
    rows: list[list[object]] = []
    for s in summaries:
        if s.stratum:
            continue
        trio = "/".join(f"{100 * area.at_3:.0f}" for area in (s.auc.translation, s.auc.similarity, s.auc.homography))
        rows.append([
            s.method,
            s.set,
            s.pairs,
            s.no_match + s.failed,
            round(s.wrong * s.pairs),
            f"{s.believed_correct_1:,.0f}",
            _interval(s.believed_precision_1, s.believed_precision_1_low, s.believed_precision_1_high),
            f"{s.believed_coverage:.2f}",
            f"{s.correct_1:,.0f}/{s.matches:,.0f}",
            _interval(s.precision_1, s.precision_1_low, s.precision_1_high),
            trio,
            f"{100 * s.auc.believed.at_3:.0f}",
            f"{s.median_rmse_m:.1f}",
            f"{s.cpu_seconds:.1f}",
        ])
    return rows


def control_table(rows: Iterable[Control]) -> list[list[object]]:
    """Format the rows of ``CONTROLS``."""
    return [
        [
            c.method,
            f"{c.perfect} of {c.identical} perfect",
            f"{c.refused} of {c.unrelated} refused",
            f"{c.hidden_wrong} of {c.hidden} wrong",
            f"{c.shuffled_3:.4f}",
        ]
        for c in rows
    ]


def _interval(value: float, low: float, high: float) -> str:
    return f"{value:.2f}" if math.isnan(low) else f"{value:.2f} ({low:.2f}-{high:.2f})"


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write rows as CSV, with every column that one of them has."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return value
