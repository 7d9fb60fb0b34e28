"""The folder of a run: its files, what is recorded in them, and how to read that back.

OUT/scenes.geojson   OUT/pairs.geojson   OUT/series.json   OUT/run.json
OUT/<pair id>/tiepoints.geojson, tiepoints.qml, tiepoints.gpkg, displacement.tif, pair.json
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sentinel_match.accuracy.series_report import SeriesReport
from sentinel_match.errors import NotARun
from sentinel_match.summary import Summary
from sentinel_match.wording import counted, in_words

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sentinel_match.products.catalogue import Catalogue
    from sentinel_match.products.pairing import Pairing

TIES, STYLE, GEOPACKAGE = "tiepoints.geojson", "tiepoints.qml", "tiepoints.gpkg"
PICTURES = QUICKLOOK, MASKS_FILE = "quicklook.json", "masks.tif"
PAIR_PAGE = "pair.html"
PAIR_RECORD, RUN_RECORD, SERIES, PAIRS = "pair.json", "run.json", "series.json", "pairs.geojson"


@dataclass(frozen=True, repr=False)
class Outcome:
    """What became of one pair."""

    id: str
    status: str
    """``matched``, ``kept`` (done by an earlier run), or ``failed``."""
    left: str
    right: str
    summary: Summary | None
    """Of its tie points, abridged: its files have a field over a large lattice. ``None`` when it failed."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall seconds of each stage of the run that matched it."""
    cpu_seconds: Mapping[str, float] = field(default_factory=dict)
    """Empty unless it was matched now."""
    error: str = ""
    """Why it failed, one sentence."""

    def __repr__(self) -> str:
        """Say in one line what became of it, and what it measured."""
        return f"<Outcome {self.id}: {self.status}, {self.error or (self.summary and self.summary.figures)}>"

    def to_dict(self) -> dict[str, Any]:
        """Return what ``run.json`` says of it."""
        return {**vars(self), "summary": self.summary.to_dict() if self.summary else {}}

    @staticmethod
    def from_dict(record: Mapping[str, Any]) -> Outcome:
        """Read back what ``to_dict`` has made.

        Raises:
            KeyError, TypeError, ValueError: a member is missing, or is none of its kind.
        """
        summary = Summary.from_abridged(record["summary"]).abridged if record["summary"] else None
        return Outcome(**{**record, "summary": summary})


@dataclass(frozen=True, repr=False)
class Run:
    """What a whole run found and did."""

    catalogue: Catalogue
    pairing: Pairing
    outcomes: tuple[Outcome, ...]
    series: tuple[SeriesReport, ...] = ()
    """Acquisitions that pairs link, three or more."""

    def __repr__(self) -> str:
        """Count in one line what was found and done."""
        counts = f"{counted(len(self.outcomes), 'pair')} of {counted(len(self.catalogue.scenes), 'scene')}"
        failed = sum(outcome.status == "failed" for outcome in self.outcomes)
        first = f" ({self.catalogue.refused[0].error})" if self.catalogue.refused else ""
        return f"<Run: {counts}, {failed} failed, {counted(len(self.catalogue.refused), 'file')} refused{first}>"

    @property
    def clean(self) -> bool:
        """Tell whether every product could be read and every pair matched."""
        return not self.catalogue.refused and all(o.status != "failed" for o in self.outcomes)

    @property
    def matched(self) -> tuple[Outcome, ...]:
        """List the pairs that have tie points, from now or from an earlier run."""
        return tuple(outcome for outcome in self.outcomes if outcome.summary is not None)


@dataclass(frozen=True)
class InputFile:
    """A file that results depend on."""

    file: str
    bytes: int | None
    sha256: str


@dataclass(frozen=True)
class RefusedFile:
    """A file that could not be used, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class DuplicateScene:
    """A product that was left out, because another shows the same acquisition."""

    id: str
    path: str
    replaced_by: str


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What ``run.json`` says of a run that has been."""

    version: str
    """Of this package."""
    started: str | datetime
    finished: str | datetime
    machine: str
    versions: Mapping[str, str]
    """Of the libraries."""
    options: Mapping[str, object]
    inputs: tuple[InputFile, ...]
    scenes: tuple[str, ...]
    refused: tuple[RefusedFile, ...]
    duplicates: tuple[DuplicateScene, ...]
    seconds: Mapping[str, float]
    cpu_seconds: Mapping[str, float]
    peak_memory_bytes: int
    pairs: tuple[Outcome, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return what the file says."""
        parts = {
            "inputs": [vars(one) for one in self.inputs],
            "refused": [vars(one) for one in self.refused],
            "duplicates": [vars(one) for one in self.duplicates],
            "pairs": [outcome.to_dict() for outcome in self.pairs],
        }
        members = {**vars(self), **parts}
        return {"sentinel_match": members.pop("version"), **members}

    @staticmethod
    def from_dict(record: Mapping[str, Any]) -> RunRecord:
        """Read back what ``to_dict`` has made.

        Raises:
            KeyError, TypeError, ValueError: a member is missing, or is none of its kind.
        """
        members = dict(record)
        return RunRecord(
            version=str(members.pop("sentinel_match")),
            inputs=tuple(InputFile(**one) for one in members.pop("inputs")),
            scenes=tuple(members.pop("scenes")),
            refused=tuple(RefusedFile(**one) for one in members.pop("refused")),
            duplicates=tuple(DuplicateScene(**one) for one in members.pop("duplicates")),
            pairs=tuple(Outcome.from_dict(one) for one in members.pop("pairs")),
            **members,
        )


@dataclass(frozen=True)
class PairRecord:
    """What ``pair.json`` says of one pair."""

    recipe: str
    """Of all that its results depend on."""
    summary: Summary | None
    """``None`` where it failed."""
    files: Mapping[str, int] = field(default_factory=dict)
    """Bytes of its files."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    cpu_seconds: Mapping[str, float] = field(default_factory=dict)
    error: str = ""
    run: str = ""
    """Which run matched it, by a name that no other has."""

    def outcome(self, pair: str, left: str, right: str, *, now: bool) -> Outcome:
        """Say what became of the pair, whether in the run that is told of or in an earlier one."""
        status = "failed" if self.error else "matched" if now else "kept"
        summary = self.summary and self.summary.abridged
        return Outcome(pair, status, left, right, summary, self.seconds, self.cpu_seconds if now else {}, self.error)

    def to_dict(self) -> dict[str, Any]:
        """Return what the file says."""
        if self.summary is None:
            return {"recipe": self.recipe, "summary": {}, "error": self.error}
        return {
            "recipe": self.recipe,
            "files": dict(self.files),
            "summary": self.summary.to_dict(),
            "seconds": dict(self.seconds),
            "cpu_seconds": dict(self.cpu_seconds),
            "run": self.run,
        }


def read_pair(folder: Path) -> PairRecord:
    """Read what is recorded of a pair.

    Raises:
        OSError, KeyError, TypeError, ValueError: it is not there, or is none.
    """
    record = json.loads((folder / PAIR_RECORD).read_text(encoding="utf-8"))
    return PairRecord(
        recipe=str(record["recipe"]),
        summary=Summary.from_dict(record["summary"]) if record["summary"] else None,
        files=dict(record.get("files", {})),
        seconds=dict(record.get("seconds", {})),
        cpu_seconds=dict(record.get("cpu_seconds", {})),
        error=str(record.get("error", "")),
        run=str(record.get("run", "")),
    )


def read_run(out: Path) -> RunRecord:
    """Read what ``run.json`` says of a run that has been; of one that was killed, what its pairs say since.

    Raises:
        NotARun: there is none, or it cannot be read.
    """
    record = _json(out, RUN_RECORD, "pairs")
    try:
        run = RunRecord.from_dict(record)
        return replace(run, pairs=run.pairs + _unrecorded(out, run))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise NotARun(out, f"its {RUN_RECORD} is none of this version ({error!r}): run it again") from error


def _unrecorded(out: Path, run: RunRecord) -> tuple[Outcome, ...]:
    """Read what became of pairs that ``run.json`` does not know yet, because the run was killed."""
    known, started = {outcome.id for outcome in run.pairs}, datetime.fromisoformat(str(run.started)).timestamp()
    found = []
    for feature in _proposed(out):
        name, facts = str(feature["id"]), feature["properties"]
        with contextlib.suppress(OSError, KeyError, TypeError, ValueError):  # not begun, or of an earlier version
            if name not in known and (out / name / PAIR_RECORD).stat().st_mtime >= started:
                found.append(read_pair(out / name).outcome(name, facts["left"], facts["right"], now=True))
    return tuple(found)


def count_left(out: Path, run: RunRecord) -> int:
    """Count the pairs that a run proposed and did not come to, because it was stopped.

    Raises:
        NotARun: what it proposed cannot be read.
    """
    return len({str(feature.get("id")) for feature in _proposed(out)} - {outcome.id for outcome in run.pairs})


def _proposed(out: Path) -> list[dict[str, Any]]:
    """Return the features of the pairs that a run proposed; none where nothing says it."""
    return list(_json(out, PAIRS, "features")["features"]) if (out / PAIRS).exists() else []


def read_series(out: Path) -> tuple[SeriesReport, ...]:
    """Read what ``series.json`` says; empty where no three acquisitions are linked.

    Raises:
        NotARun: it cannot be read.
    """
    if not (out / SERIES).exists():
        return ()
    record = _json(out, SERIES, "series")
    try:
        return tuple(SeriesReport.from_dict(one) for one in record["series"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NotARun(out, f"its {SERIES} is none of this version ({error!r}): run it again") from error


def read_refusals(out: Path) -> tuple[tuple[str, ...], int]:
    """List why pairs were not proposed, ``A and B: reason``, and count them; empty where nothing says it.

    Where very many were refused the file has only examples, and the number of all.

    Raises:
        NotARun: it cannot be read.
    """
    if not (out / PAIRS).exists():
        return (), 0
    record = _json(out, PAIRS, "refused")
    try:
        sentences = [f"{' and '.join(filter(None, (r['left'], r['right'])))}: {r['reason']}" for r in record["refused"]]
        return tuple(sentences), sum(record.get("refused_counts", {}).values()) or len(sentences)
    except (KeyError, TypeError, AttributeError) as error:
        raise NotARun(out, f"its {PAIRS} is none of this version ({error!r}): run it again") from error


def _json(out: Path, name: str, member: str) -> dict[str, Any]:
    try:
        record = json.loads((out / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotARun(out, f"it has no {name}") from None
    except (OSError, ValueError) as error:
        raise NotARun(out, f"its {name} cannot be read ({in_words(error)})") from error
    if not isinstance(record, dict) or member not in record:
        raise NotARun(out, f"its {name} says nothing of {member}")
    return record
