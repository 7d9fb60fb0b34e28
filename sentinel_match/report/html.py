"""One self-contained page of a run: what was found, refused and matched, and how good each pair is, with pictures.

Of more pairs than a phone can open it is a table, and each pair has such a page in its own folder.

Everything is read from the folder of results, so the page can be written again at any time. It loads nothing: pictures
are data URIs, and a content security policy forbids the rest. Names of files are untrusted and escaped.
"""

from __future__ import annotations

import json
import os
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sentinel_match import __version__
from sentinel_match.accuracy.ecc import silence
from sentinel_match.accuracy.requirement import LEAST_SUPPORTED, LEVELS, is_one_image, promise
from sentinel_match.atomic import write_text
from sentinel_match.errors import NotARun
from sentinel_match.formats.fields import DISPLACEMENT, MOTION
from sentinel_match.report import svg
from sentinel_match.report.pictures import read_quicklook
from sentinel_match.report.qgis_overview import OVERVIEW
from sentinel_match.report.qgis_project import PROJECT
from sentinel_match.run_folder import (
    GEOPACKAGE,
    MASKS_FILE,
    PAIR_PAGE,
    PAIR_RECORD,
    RUN_RECORD,
    SERIES,
    STYLE,
    TIES,
    read_run,
    read_series,
)
from sentinel_match.wording import in_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from jinja2 import Environment

    from sentinel_match.run_folder import Outcome
    from sentinel_match.summary import Summary

REPORT = "report.html"
TEMPLATE = "report.html"
BUDGET = 4_000_000
"""Characters of pictures and drawings in one page, so that a phone opens it; of more, each pair has its own page."""
ALARMS = 10
"""Doubtful and failed pairs named at the top; the table has all."""
MOST_ROWS = 1000
"""Of acquisitions and refused files; ``scenes.geojson`` and ``run.json`` have all."""
COLUMNS = (
    "Pair, left → right",
    "CE95 of unseen points",
    "Shift east, north (m)",
    "Tie points",
    "Model",
    "CE95 (px)",
    "CE90 (m)",
    "Coverage",
)
PAIR_FILES = (PROJECT, GEOPACKAGE, TIES, STYLE, DISPLACEMENT, MOTION, MASKS_FILE, PAIR_RECORD)
RUN_FILES = (PROJECT, OVERVIEW, RUN_RECORD, SERIES, "scenes.geojson", "pairs.geojson")
"""What the page links to, where it is there."""
REQUIRED = LEVELS[0][0]
"""Pixels of CE95 by which the table tells pairs apart: Sentinel-2's own requirement."""


def write(out: Path) -> Path:
    """Write the report of a run that has been, from its folder alone.

    Returns:
        The file: ``OUT/report.html``.

    Raises:
        NotARun: the folder is none of a run.
        OutputError: it cannot be written.
    """
    rows, facts = _gathered(out)
    beside = sum(row["weight"] for row in rows) > BUDGET
    environment = _environment()
    for row in rows:
        page = out / row["id"] / PAIR_PAGE
        if not beside or not row["summary"]:
            page.unlink(missing_ok=True)
            continue
        there = {**row, "files": _links(out / row["id"], PAIR_FILES)}
        row["page"] = f"./{quote(os.fsencode(row['id']))}/{PAIR_PAGE}"
        _write(page, environment.get_template(PAIR_PAGE).render(version=__version__, pair=there))
    template = environment.get_template(TEMPLATE)
    kinds = sorted({row["grade"][1] for row in rows})
    limits = {"alarms": ALARMS, "most": MOST_ROWS, "columns": COLUMNS}
    _write(out / REPORT, template.render(pairs=rows, beside=beside, kinds=kinds, **facts, **limits))
    return out / REPORT


def _write(path: Path, text: str) -> None:
    """Write a page; a file name in it may hold bytes that are no text.

    Raises:
        OutputError: it cannot be written.
    """
    write_text(path, text.encode("utf-8", "replace").decode("utf-8"))


def grade(summary: Summary) -> tuple[str, str]:
    """Grade a pair: a class of the style sheet, and a word or two; what only one estimator says is not good yet."""
    if is_one_image(summary):
        return "open", "same image"
    if summary.doubtful:
        return "bad", "doubtful"
    if summary.hold_out is None:
        return "open", "unproven"
    low, high = (v / summary.gsd_m for v in summary.hold_out.ce95_interval)
    if high <= REQUIRED:
        if summary.second is None or not summary.second.agrees:
            return "open", f"meets {REQUIRED:g} px, unconfirmed"
        covered = summary.comparison is not None and summary.comparison.coverage.share >= LEAST_SUPPORTED
        return ("good", f"meets {REQUIRED:g} px") if covered else ("open", f"meets {REQUIRED:g} px in places")
    return ("bad", f"misses {REQUIRED:g} px") if low > REQUIRED else ("open", f"may meet {REQUIRED:g} px")


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("sentinel_match"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "signed": lambda v: f"{v:+.2f}",
        "percent": lambda v: f"{100 * v:.0f} %",
        "day": _day,
        "silence": silence,
        "pretty": lambda v: json.dumps(v, indent=1, ensure_ascii=False),
    }
    return environment


def _gathered(out: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Gather what the page shows of each pair, and of the run."""
    record = read_run(out)
    scenes = {f["id"]: f["properties"] for f in _collection(out / "scenes.geojson")["features"]}
    proposed = _collection(out / "pairs.geojson")
    facts = {feature["id"]: feature["properties"] for feature in proposed["features"]}
    rows = [_row(out, outcome, facts.get(outcome.id, {}), scenes, k) for k, outcome in enumerate(record.pairs, 1)]
    return rows, {
        "version": __version__,
        "name": out.resolve().name,
        "record": record,
        "scenes": scenes,
        "unpaired": proposed.get("refused", []),
        "unpaired_counts": proposed.get("refused_counts", {}),
        "series": read_series(out),
        "files": _links(out, RUN_FILES),
    }


def _row(
    out: Path, outcome: Outcome, facts: Mapping[str, Any], scenes: Mapping[str, Any], number: int
) -> dict[str, Any]:
    """Gather what the page shows of a pair."""
    from markupsafe import Markup

    summary = outcome.summary
    compared = summary.comparison if summary else None
    related = compared.terrain.relations if compared and compared.terrain else ()
    look = read_quicklook(out / outcome.id) if summary else None
    figures: dict[str, Any] = {}
    if look:
        figures = {
            "shift": Markup(svg.field(look.cells, relative=False)),  # noqa: S704 drawn from numbers alone
            "shape": Markup(svg.field(look.cells, relative=True)),  # noqa: S704
            "coverage": Markup(svg.coverage(look.cells)),  # noqa: S704
            "residuals": Markup(svg.bars(look.residuals)),  # noqa: S704
        }
    return {
        **vars(outcome),
        "anchor": f"pair-{number}",
        "page": f"#pair-{number}",
        "relief": Markup(svg.relations(related)) if related else "",  # noqa: S704
        "dates": [_day(scenes.get(scene, {}).get("sensing_time") or scene) for scene in (outcome.left, outcome.right)],
        "facts": facts,
        "grade": grade(summary) if summary else ("bad", "failed"),
        "look": look,
        "figures": figures,
        "weight": (look.weight if look else 0) + sum(map(len, figures.values())),
        "promise": promise(summary, look.residuals.beyond if look else None) if summary else "",
        "files": _links(out, PAIR_FILES, outcome.id),
    }


def _links(out: Path, names: Sequence[str], folder: str = "") -> list[tuple[str, str]]:
    """List those files that are there, by name and by address from the page; names may hold bytes that are no text."""
    there = [name for name in names if (out / folder / name).exists()]
    # With a dot in front nothing can be taken for a scheme
    return [(name, f"./{quote(os.fsencode(f'{folder}/{name}' if folder else name))}") for name in there]


def _day(text: str | datetime | None) -> str:
    """Write a time as ``2021-05-20``; what is none stays as it is."""
    if isinstance(text, datetime):
        return text.strftime("%Y-%m-%d")
    try:
        return datetime.fromisoformat(text or "").strftime("%Y-%m-%d")
    except ValueError:
        return text or ""


def _collection(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        return {**value, "features": list(value["features"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotARun(path.parent, f"its {path.name} cannot be read ({in_words(error)})") from error
