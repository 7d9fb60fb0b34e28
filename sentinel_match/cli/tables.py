"""Tables on stdout: words stay whole, whatever the width; where columns do not fit, a block a row."""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import TYPE_CHECKING

import click
from rich.cells import cell_len

if TYPE_CHECKING:
    from collections.abc import Sequence

PIPE_WIDTH = 80
"""Characters of a line where no terminal says how wide it is."""
GAP = 2
"""Blanks between columns."""
MOST_LINES = 3
"""Of a cell: a table whose cells are taller is read row by row, so it is written so."""


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], right: Sequence[str] = ()
) -> None:
    """Print a table no wider than the terminal; without rows its title alone.

    Args:
        title: above it.
        columns: their names.
        rows: their cells; a short row has none in the last columns.
        right: columns that are written to the right.
    """
    if not rows:
        click.echo(title)
        return
    width = _width()
    cells = [["" if cell is None else str(cell) for cell in row] + [""] * (len(columns) - len(row)) for row in rows]
    widths = column_widths([list(columns), *cells], width)
    if widths is None or any(
        len(_wrapped(cell, size)) > MOST_LINES
        for row in cells
        for cell, size in zip(row, widths, strict=True)
        if len(columns) > 2
    ):
        lines = _blocks(columns, cells, width)
    else:
        lines = [line for row in cells for line in _row(row, widths, [name in right for name in columns])]
        if any(columns):
            head = _row(list(columns), widths, [name in right for name in columns])
            lines = [*(click.style(line, bold=True) for line in head), *lines]
    titles = _wrapped(title, width) if title else []
    click.echo("\n".join([*titles, *lines]))


def print_sentence(text: str) -> None:
    """Print a sentence below a table, no wider than that."""
    click.echo("\n".join(_wrapped(text, _width())))


def column_widths(table: Sequence[Sequence[str]], width: int) -> list[int] | None:
    """Share the width among columns, none narrower than its longest word; ``None`` where they do not fit."""
    columns = list(zip(*table, strict=True))
    natural = [max(map(cell_len, column)) for column in columns]
    least = [max((cell_len(word) for cell in column for word in cell.split()), default=0) for column in columns]
    room = width - GAP * (len(columns) - 1) - sum(least)
    if room < 0:
        return None
    widths = least
    # The shortest wishes first, so that numbers and names stand on one line and only sentences are broken
    for wish, k in sorted((full - part, k) for k, (full, part) in enumerate(zip(natural, least, strict=True))):
        more = min(wish, room)
        widths[k] += more
        room -= more
    return widths


def _width() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPE_WIDTH


def _row(cells: Sequence[str], widths: Sequence[int], rightwards: Sequence[bool]) -> list[str]:
    parts = [_wrapped(cell, size) for cell, size in zip(cells, widths, strict=True)]
    lines = []
    for k in range(max(map(len, parts))):
        line = []
        for part, size, is_right in zip(parts, widths, rightwards, strict=True):
            text = part[k] if k < len(part) else ""
            blanks = " " * (size - cell_len(text))
            line.append(blanks + text if is_right else text + blanks)
        lines.append((" " * GAP).join(line).rstrip())
    return lines


def _blocks(columns: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> list[str]:
    """Write each row as lines: the first cell as their head, then as many of the others on a line as there is room."""
    lines: list[str] = []
    for first, *others in cells:
        lines += [click.style(line, bold=True) for line in _wrapped(first, width)]
        line = ""
        for name, cell in zip(columns[1:], others, strict=True):
            text = f"{name}: {cell}" if name else cell
            if cell and line and cell_len(f"  {line}; {text}") <= width:
                line = f"{line}; {text}"
            elif cell:
                lines += _indented(line, width)
                line = text
        lines += _indented(line, width)
    return lines


def _indented(text: str, width: int) -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent="  ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(width, 1), break_long_words=False, break_on_hyphens=False) or [""]
