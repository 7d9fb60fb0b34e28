"""Records and summaries as files, and records read back so that an evaluation can go on where it stopped.

OUT/records.jsonl    one line a record as soon as it is there, with its key
OUT/records.csv      one row per method and sample
OUT/summary.csv      one row per method, set and stratum
OUT/controls.csv     identity, unrelated, hidden and shuffled
OUT/poses.csv        of camera poses: one row per method and pair
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from sentinel_match.atomic import write_text
from sentinel_match.errors import OutputError
from sentinel_match.evaluate.pose import POSE_THRESHOLDS_DEG, summarise_pose
from sentinel_match.evaluate.protocol import Record
from sentinel_match.evaluate.summary import CORNER_THRESHOLDS_PX, MODELS, Control, Summary, controls, summarise

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from sentinel_match.evaluate.pose import PoseRecord, PoseSummary

DIARY = "records.jsonl"


@dataclass(frozen=True)
class Unavailable:
    """A method that could not run at all: reported as such, never as zero."""

    method: str
    reason: str


def keep(folder: Path, key: str, record: Record) -> None:
    """Write down one record at once.

    Raises:
        OutputError: the file cannot be written.
    """
    line = json.dumps({"key": key, **{f.name: getattr(record, f.name) for f in fields(record)}})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / DIARY).open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        raise OutputError(folder / DIARY, error.strerror or str(error)) from error


def kept(folder: Path) -> dict[str, Record]:
    """Records of an earlier run by key; a line cut short by its end is left out."""
    found: dict[str, Record] = {}
    try:
        lines = (folder / DIARY).read_text(encoding="utf-8").splitlines()
    except OSError:
        return found
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            values = json.loads(line)
            key = values.pop("key")
            found[key] = Record(**values)
    return found


def write(folder: Path, records: Sequence[Record], missing: Sequence[Unavailable] = (), seed: int = 0) -> None:
    """Write ``records.csv``, ``summary.csv`` and ``controls.csv``.

    A value that is not defined is empty, one that is infinite (a failure) is ``inf``. Methods that could not run have
    a row with nothing but status and reason.

    Raises:
        OutputError: a file cannot be written.
    """
    absent = _absent(missing)
    rows = [record_row(r) for r in records]
    write_text(folder / "records.csv", _csv([*rows, *absent]))
    write_text(folder / "summary.csv", _csv([*map(summary_row, summarise(records, seed)), *absent]))
    write_text(folder / "controls.csv", _csv([*map(vars, controls(records)), *absent]))


def write_poses(folder: Path, records: Sequence[PoseRecord], missing: Sequence[Unavailable] = ()) -> None:
    """Write ``poses.csv``: degrees of error (``inf`` where there is no pose), shares, counts, reasons.

    Raises:
        OutputError: the file cannot be written.
    """
    write_text(folder / "poses.csv", _csv([*map(vars, records), *_absent(missing)]))


def _absent(missing: Iterable[Unavailable]) -> list[dict[str, Any]]:
    return [{"method": m.method, "status": "not available", "reason": m.reason} for m in missing]


def record_row(record: Record) -> dict[str, Any]:
    """A record as columns; its strata become columns of their own."""
    plain = {f.name: getattr(record, f.name) for f in fields(record) if f.name != "strata"}
    return {**plain, **{f"stratum {k}": v for k, v in record.strata.items()}}


def summary_row(summary: Summary) -> dict[str, Any]:
    """A summary as columns; each area has one, ``auc_similarity_3``."""
    plain = {f.name: getattr(summary, f.name) for f in fields(summary) if f.name != "auc"}
    areas = {
        f"auc_{model}_{pixels:g}": area
        for model, curve in zip(MODELS, summary.auc, strict=True)
        for pixels, area in zip(CORNER_THRESHOLDS_PX, curve, strict=True)
    }
    return {**plain, **areas}


def as_json(records: Sequence[Record], missing: Sequence[Unavailable], seed: int = 0) -> dict[str, Any]:
    """Everything but the single records, JSON-able with :func:`sentinel_match.formats.geojson.dumps`."""
    return {
        "summary": [summary_row(s) for s in summarise(records, seed)],
        "controls": [vars(c) for c in controls(records)],
        "not_available": {m.method: m.reason for m in missing},
    }


def poses_as_json(records: Sequence[PoseRecord], missing: Sequence[Unavailable]) -> dict[str, Any]:
    """Everything but the single records of camera poses, JSON-able."""
    rows = []
    for s in summarise_pose(records):
        areas = {f"auc_{degrees:g}": area for degrees, area in zip(POSE_THRESHOLDS_DEG, s.auc, strict=True)}
        rows.append({k: v for k, v in vars(s).items() if k != "auc"} | areas)
    return {"summary": rows, "not_available": {m.method: m.reason for m in missing}}


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
    """Rows of ``POSES``."""
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


def table(summaries: Iterable[Summary]) -> list[list[object]]:
    """Rows of ``TABLE`` for whole sets."""
    rows: list[list[object]] = []
    for s in summaries:
        if s.stratum:
            continue
        areas = dict(zip(MODELS, s.auc, strict=True))
        trio = "/".join(f"{100 * areas[m][1]:.0f}" for m in ("translation", "similarity", "homography"))
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
            f"{100 * areas['believed'][1]:.0f}",
            f"{s.median_rmse_m:.1f}",
            f"{s.cpu_seconds:.1f}",
        ])
    return rows


def control_table(rows: Iterable[Control]) -> list[list[object]]:
    """Rows of ``CONTROLS``."""
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


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
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
