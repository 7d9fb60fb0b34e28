"""Tables of the terminal: words whole, whatever the width."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import replace
from typing import Any

import click
import pytest

from sentinel_match.cli.tables import print_table
from sentinel_match.cli.terminal import print_summary
from sentinel_match.tiepoints import TiePoints

PAIR = "T33UUU_20160608T153123__T33UUU_20160529T153633"
COLUMNS = ["pair", "outcome", "verdict", "band", "tie points", "east m", "north m", "model", "NMAD x y px", "CE90 m"]
ROW = [PAIR, "matched", "meets 0.3 px", "B04 10 m", "19,127", "+6.43", "+18.25", "polynomial2", "0.041 0.048", "1.28"]


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a table is on a terminal of some width."""

    def show(width: int, *table: Any) -> str:
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((width, 24)))
        print_table(*table)
        return click.unstyle(capsys.readouterr().out)

    return show


@pytest.mark.parametrize("width", [50, 60, 80, 100, 120, 160, 200])
def test_words_stay_whole_and_no_line_is_wider_than_the_terminal(printed: Any, width: int) -> None:
    text = printed(width, "2 pairs of 3 scenes", COLUMNS, [ROW, [f"{PAIR}-2", "failed"]])
    assert max(map(len, text.splitlines())) <= width
    words = text.replace(";", " ").split()
    assert {word for cell in ROW for word in cell.split()} <= set(words)
    assert f"{PAIR}-2" in words


def test_a_table_in_a_pipe_has_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("2 pairs of 3 scenes", COLUMNS, [ROW, [f"{PAIR}-2", "failed"]])
    assert max(map(len, capsys.readouterr().out.splitlines())) in range(60, 81)


def test_a_table_that_fits_has_one_line_a_row(printed: Any) -> None:
    title, head, row = printed(200, "1 pair", COLUMNS, [ROW], COLUMNS[4:]).splitlines()
    assert "1 pair" == title
    assert COLUMNS == [name for name in COLUMNS if name in head]
    assert ROW == [cell for cell in ROW if cell in row]


def test_sentences_are_broken_at_blanks_and_names_are_not(printed: Any) -> None:
    why = "the same relative orbit, 10 days apart, 97 % clear in both"
    text = printed(90, "1 pair", ["", "pair", "score", "why"], [[1, PAIR, "0.93", why]])
    assert PAIR in text
    assert set(why.split()) <= set(text.split())


def test_a_word_wider_than_the_terminal_is_not_torn(printed: Any) -> None:
    assert PAIR in printed(30, "1 pair", COLUMNS, [ROW]).splitlines()


def test_a_table_without_rows_is_its_title(printed: Any) -> None:
    assert "0 pairs\n" == printed(80, "0 pairs", COLUMNS, [])


@pytest.mark.parametrize(("more", "said"), [(-1, "measured"), (0, "measured"), (1, "measured (660 tried)")])
def test_no_fewer_points_are_said_to_be_tried_than_measured(
    ties: TiePoints, capsys: pytest.CaptureFixture[str], more: int, said: str
) -> None:
    """It said "659 measured (658 tried)": two matches of one place are tried once."""
    assert ties.summary.comparison is not None
    comparison = replace(ties.summary.comparison, candidates=659 + more)
    print_summary("L", "R", replace(ties.summary, points=659, comparison=comparison))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "tie points" in line]
    assert line.rstrip().endswith(f"believed of 659 {said}")


def test_points_that_a_field_says_are_not_said_to_have_no_scatter(
    ties: TiePoints, capsys: pytest.CaptureFixture[str]
) -> None:
    """It said "NMAD 0.000 px": each point is what the field made of all of them says there."""
    print_summary("L", "R", replace(ties.summary, nmad_x_m=0.0, nmad_y_m=0.0, nmad_x_px=0.0, nmad_y_px=0.0))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "scatter" in line]
    assert "not known" in line
    assert "0.000" not in line
