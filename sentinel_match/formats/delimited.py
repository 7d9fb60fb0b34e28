"""Tables as text, as spreadsheets of many countries write them: their separators, decimal commas and encodings."""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING

from sentinel_match.errors import BadPoints
from sentinel_match.formats.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

POINTS_COLUMNS = {"left_x": "mapX", "left_y": "mapY", "right_x": "sourceX", "right_y": "sourceY", "inlier": "enable"}
"""Of a file of the QGIS Georeferencer, whose header nobody reads: the order counts."""
GROUPED = re.compile(r"[+-]?\d{1,3}(([ '’\u00a0\u202f]\d{3})+([.,]\d+)?|(,\d{3})+\.\d+)([eE][+-]?\d+)?")
"""With blanks or apostrophes between thousands, or with commas there and a point behind them."""
BETWEEN_THOUSANDS = re.compile("[ '’\u00a0\u202f]|,(?=.*\\.)")
NOT_AVAILABLE = {"na", "n/a", "#n/a", "null", "none", "<na>"}
"""Words that R, pandas and databases write where there is no value."""
SEPARATORS = ",;\t|"
BLANK = " "
LEAST_COLUMNS = 4
DECIMAL_COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+),\d+([eE][+-]?\d+)?")
"""With dots between thousands or without."""
SURELY_DECIMAL = re.compile(r"[+-]?(\d{4,},\d+|\d+,(\d{1,2}|\d{4,}))([eE][+-]?\d+)?")
"""Also where commas may stand between thousands, as in a table that commas separate."""
BYTE_ORDER = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
"""Marks with which files begin, and what they mean."""


def decoded(content: bytes) -> str:
    """Decode text: by its mark, as UTF-16 where every other byte is nothing, as UTF-8, or else as Windows does.

    Raises:
        UnicodeDecodeError: it is none of these.
    """
    for mark, encoding in BYTE_ORDER:
        if content.startswith(mark):
            return content.decode(encoding)
    start = content[:200]
    if start.count(0) > len(start) // 3:
        return content.decode("utf-16-le" if start[1::2].count(0) > start[::2].count(0) else "utf-16-be")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def read_delimited(path: Path) -> Table:
    """Read a table with a line of names above its rows, or the control points of QGIS.

    Raises:
        BadPoints: it has no such line, or a row has another number of values.
        OSError, UnicodeDecodeError, csv.Error: it cannot be read.
    """
    lines = decoded(path.read_bytes()).splitlines()
    remarks, skipped = [], 0
    if not any(map(str.strip, lines)):
        raise BadPoints(path, "it is empty")
    while skipped < len(lines) and (lines[skipped].startswith(("#", "; ")) or lines[skipped].strip() in {"", ";"}):
        remarks.append(lines[skipped].lstrip("#;").strip())
        skipped += 1
    separator = ""
    if skipped < len(lines) and (declared := re.fullmatch(r"(?i)sep=(.)", lines[skipped].strip())):  # of Excel
        separator, skipped = declared[1], skipped + 1
    first = lines[skipped] if skipped < len(lines) else ""
    separator = separator or _separator(first)
    header = [name.strip() for name in next(iter(_cells([first], separator)), (0, []))[1]]
    if path.suffix.lower() == ".points":
        header = [*POINTS_COLUMNS, *header[len(POINTS_COLUMNS) :]]
    elif len(header) >= LEAST_COLUMNS and 2 * sum(map(_is_number, header)) > len(header):
        header = _named_in(remarks, len(header), path, skipped + 1)
        skipped -= 1
    while header and not header[-1]:
        header.pop()
    if len(header) < LEAST_COLUMNS:
        raise BadPoints(
            path,
            f"its first line names {len(header)} column{'s' * (len(header) != 1)}, {_start(first)}: left_x, left_y, "
            "right_x and right_y at least must stand there, with commas, semicolons, tabs or blanks between them",
        )
    rows, names = [], []
    for number, cells in _cells(lines[skipped + 1 :], separator):
        while len(cells) > len(header) and not cells[-1].strip():
            cells.pop()
        name = f"row {number + skipped + 1}"
        if len(cells) < LEAST_COLUMNS or len(cells) > len(header):
            commas = " (decimal commas need semicolons between the columns)" if len(cells) > len(header) else ""
            values = f"{len(cells)} value{'s' * (len(cells) != 1)}"
            raise BadPoints(path, f"it has {values} where the header has {len(header)}{commas}", name)
        rows.append(cells)
        names.append(name)
    pattern = SURELY_DECIMAL if separator == "," else DECIMAL_COMMA
    columns = _columns(path, header, [[_plain_number(cell, pattern) for cell in cells] for cells in rows])
    listed = {crs for crs in columns.get("crs", ()) if crs}
    if len(listed) > 1:
        raise BadPoints(path, f"its points are in {len(listed)} CRSs")
    named = next((line.removeprefix("CRS:").strip() for line in remarks if line.startswith("CRS:")), "")
    return Table(path, columns, names, crs=named or next(iter(listed), ""))


def _columns(path: Path, header: Sequence[str], rows: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    """Turn rows into columns by name; what a row lacks is empty."""
    columns: dict[str, list[str]] = {}
    for k, name in enumerate(header):
        column = [cells[k] if k < len(cells) else "" for cells in rows]
        if columns.setdefault(name, column) != column:
            raise BadPoints(path, f"two of its columns are called {name!r} and hold different values: rename one")
    return columns


def _separator(line: str) -> str:
    """Find what stands between the names of a header."""
    bare = re.sub(r'"[^"]*"', "", line)
    best = max(SEPARATORS, key=bare.count)
    return best if bare.count(best) else BLANK


def _cells(lines: Sequence[str], separator: str) -> Iterator[tuple[int, list[str]]]:
    """Split lines into cells, each with the number of its last line; empty ones are passed over."""
    if separator == BLANK and not any('"' in line for line in lines):
        yield from ((number, line.split()) for number, line in enumerate(lines, 1) if line.strip())
        return
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    for cells in reader:
        if any(cell.strip() for cell in cells):
            yield reader.line_num, cells


def _plain_number(cell: str, pattern: re.Pattern[str]) -> str:
    """Write a number as Python reads it, and nothing for no value; other cells stay, without the blanks around them."""
    cell = cell.strip()
    if cell.replace(".", "", 1).isdecimal():  # nearly all
        return cell
    if "," in cell and pattern.fullmatch(cell):
        return cell.replace(".", "").replace(",", ".")
    if GROUPED.fullmatch(cell):
        return BETWEEN_THOUSANDS.sub("", cell).replace(",", ".")
    return "" if cell.lower() in NOT_AVAILABLE else cell


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return False
    return True


def _named_in(remarks: Sequence[str], count: int, path: Path, row: int) -> list[str]:
    """Find the names of the columns in a remark above numbers."""
    for line in reversed(remarks):
        names = [name.strip() for name in next(iter(_cells([line], _separator(line))), (0, []))[1]]
        if len(names) == len(set(names)) == count:
            return names
    raise BadPoints(
        path,
        "it holds numbers where the names of the columns must stand: left_x, left_y, right_x, right_y",
        f"row {row}",
    )


def _start(line: str) -> str:
    return repr(line[:40] + "…" * (len(line) > 40))
