"""The notebooks, each alone, cell by cell, on invented products; what they print is what their pages show, to 5 %."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def code_cells(path: Path) -> list[dict[str, Any]]:
    return [c for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code"]


ERRORS = re.compile(r"(?:less than|CE90) [\d.]+ m(?: \([^)]*\))?")


def without_verdict(text: str) -> str:
    """Text without what is concluded of a CE95: near a limit it is another on another kind of processor."""
    return re.sub(r"(points (?:err|differ by) less than [\d.]+ m \([\d.]+ px\)): .*$", r"\1", text, flags=re.M)


def without_figures(text: str) -> str:
    """Text with every number as one sign: the last digits are another machine's business."""
    return re.sub(r"[-+]?\d[\d.,]*", "#", " ".join(text.split()))


def errors(text: str) -> str:
    """Radii of error in a text: of one small pair they differ by 14 % between two kinds of processors."""
    return "\n".join(ERRORS.findall(text))


def besides_errors(text: str) -> str:
    """Text without its radii of error."""
    return ERRORS.sub("", text)


def figures(text: str) -> list[float]:
    """Every number of a text but seconds, which are those of the machine: at the ends of lines under ``CPU s``."""
    head, cpu, rows = text.partition("CPU s\n")
    text = head + re.sub(r" [\d.]+$", "", rows, flags=re.M) if cpu else text
    return [float(number.replace(",", "")) for number in re.findall(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?!\w)", text)]


def test_there_are_notebooks() -> None:
    assert len(NOTEBOOKS) >= 5


def test_the_newcomer_needs_ten_lines() -> None:
    _invention, *cells = code_cells(NOTEBOOKS[0])
    lines = [line for cell in cells for line in "".join(cell["source"]).splitlines() if line.strip()]
    assert 10 == len(lines)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_its_first_cell_to_its_last_and_prints_what_it_shows(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib").use("Agg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SENTINEL_MATCH_ARCHIVES", raising=False)
    monkeypatch.setenv("SENTINEL_MATCH_CACHE", str(tmp_path / "cache"))
    names: dict[str, object] = {"__name__": "__main__"}
    for cell in code_cells(path):
        source = ast.parse("".join(cell["source"]))
        last = source.body.pop() if isinstance(source.body[-1], ast.Expr) else None
        exec(compile(source, path.name, "exec"), names)  # noqa: S102 - ours
        if last is not None:  # what a notebook shows by itself
            shown = eval(compile(ast.Expression(last.value), path.name, "eval"), names)  # noqa: S307
            repr(shown)
            getattr(shown, "_repr_html_", str)()
        printed = without_verdict("".join("".join(o["text"]) for o in cell["outputs"] if o.get("name") == "stdout"))
        now = without_verdict(capsys.readouterr().out)
        assert without_figures(printed) == without_figures(now)
        for part, tolerance in ((errors, 0.15), (besides_errors, 0.05)):
            assert figures(part(printed)) == pytest.approx(figures(part(now)), rel=tolerance, abs=0.06), (
                f"{printed}\nis now\n{now}"
            )
