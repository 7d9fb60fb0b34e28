"""Check README and the pages of docs/ against the program.

``python tests/documentation.py`` fails when something they name does not exist: a command, an option, a file, a link, a
public name; or when the command line's reference is not what ``--help`` says.
``--write`` writes that reference anew, ``--run`` runs the notebooks and keeps what they show. (Examples are run by
``tests/test_documentation.py``.)
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click

os.environ["COLUMNS"] = "92"  # what a page of the site shows without scrolling

import sentinel_match
import sentinel_match.errors
from sentinel_match.cli import COMMANDS, main

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "pages"
README = ROOT / "README.md"
BESIDE = [README, *(ROOT / name for name in ("CHANGELOG.md", ".github/CONTRIBUTING.md", "sentinel_match/README.md"))]
"""Pages that are not in docs/."""
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
REFERENCE = PAGES / "reference" / "cli.md"
NOT_OURS = {"--index-url", "--no-deps", "--strict", "--write", "--run"}
"""Options of other programs that pages name by themselves."""
HEAD = """# Command line

<!-- written by `python tests/documentation.py --write` -->

What `--help` says of every command. Options can also stand in a TOML file, `sentinel-match --config FILE.toml …`, with
a table for each command; what stands on the command line counts more. Exit status: 0 well, 1 something failed, a pair
is doubtful or a required figure is not reached, 2 a mistake in the command.
"""


def reference() -> str:
    """Return the page of the command line: the help of every command."""
    parts = [HEAD.rstrip("\n")]
    with click.Context(main, info_name="sentinel-match", max_content_width=92) as top:
        parts.append(f"```text\n{main.get_help(top)}\n```")
        for name in COMMANDS:
            command = main.get_command(top, name)
            assert command is not None
            with click.Context(command, info_name=name, parent=top, max_content_width=92) as ctx:
                parts.append(f"## {name}\n\n```text\n{ctx.get_help()}\n```")
    return "\n\n".join(parts) + "\n"


@cache
def options(command: str | None) -> frozenset[str]:
    """List the options of a command, of the program itself, or (None) of all commands."""
    found = {"--help", "-h"}
    with click.Context(main) as ctx:
        kinds: list[click.Command | None] = [main]
        kinds += [main.get_command(ctx, name) for name in COMMANDS if command in {None, name}]
    for kind in kinds:
        assert kind is not None
        found |= {o for p in kind.params for o in (*p.opts, *p.secondary_opts)}
    return frozenset(found)


def unknown(line: str) -> list[str]:
    """List the options of a command line that the program does not have, or the line itself without a command."""
    words = shlex.split(line)
    words = words[next(i for i, w in enumerate(words) if w.endswith("sentinel-match")) + 1 :]
    command = next((w for w in words if w in COMMANDS), None)
    if command is None and words and not words[0].startswith("-"):
        return [line]
    return [w for w in words if w.startswith("-") and w.split("=")[0] not in options(command or "")]


def texts() -> Iterator[tuple[Path, str]]:
    """Yield every page with its text, notebooks included (their code in blocks)."""
    for path in (*BESIDE, *sorted(PAGES.rglob("*.md"))):
        yield path, path.read_text(encoding="utf-8")
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        yield path, "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def blocks(text: str, *languages: str) -> list[str]:
    """List the fenced blocks of some languages."""
    return [m[2] for m in re.finditer(r"^```(\w+)\n(.*?)^```", text, re.S | re.M) if m[1] in languages]


def spans(text: str) -> list[str]:
    """List what stands in backticks within the prose."""
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M))


def commands(text: str) -> list[str]:
    """List every ``sentinel-match …`` of the console blocks and of the prose."""
    lines = [line for block in blocks(text, "console", "bash") for line in block.splitlines()] + spans(text)
    parts = [p for line in lines for p in line.removeprefix("$ ").split(" #")[0].strip().split(" && ")]
    return [part for part in parts if re.match(r"(\S*/)?sentinel-match( |$)", part)]


def wrong_in(path: Path, text: str) -> list[str]:
    """List what one page names that does not exist, one sentence each."""
    name = path.relative_to(ROOT).as_posix()
    wrong = [
        f"{name} says `{line}`, but {', '.join(bad)} does not exist"
        for line in commands(text)
        if (bad := unknown(line))
    ]
    for span in spans(text):
        first = re.split(r"[\s=]", span)[0]
        if re.fullmatch(r"--[a-z][\w-]*", first) and first not in options(None) | NOT_OURS:
            wrong.append(f"{name} names the option {first}, which no command has")
    files = re.findall(r"(?<![\w./-])((?:tests|docs|notebooks|sentinel_match)/[\w./-]*\w)", "\n".join(spans(text)))
    wrong += [
        f"{name} names {file}, which is not there"
        for file in files
        if not (ROOT / file).exists() and "NAME" not in file
    ]
    links = re.findall(r"\]\((?!\w+:|#)([^)#\s]+)", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M))
    missing = [link for link in links if not (path.parent / link).exists()]
    return wrong + [f"{name} links to {link}, which does not exist" for link in missing]


def check() -> list[str]:
    """List what is wrong with README and the pages, one sentence each."""
    wrong = [problem for path, text in texts() for problem in wrong_in(path, text)]
    if not REFERENCE.exists() or REFERENCE.read_text(encoding="utf-8") != reference():
        wrong.append("docs/pages/reference/cli.md is stale: run `python tests/documentation.py --write`")
    pages = [p.read_text(encoding="utf-8") for p in (PAGES / "reference" / "python").glob("*.md")]
    shown = {name.rpartition(".")[2] for page in pages for name in re.findall(r"^::: (\S+)$", page, re.M)}
    lacking = set(sentinel_match.__all__) - shown - set(vars(sentinel_match.errors))
    wrong += [f"the Python reference lacks {name}" for name in sorted(lacking)]
    lines = len(README.read_text(encoding="utf-8").splitlines())
    if lines > 200:
        wrong.append(f"README has {lines} lines: ten minutes' reading are 200")
    return wrong


def run_notebooks() -> None:
    """Run every notebook in an empty folder and keep what its cells print and draw."""
    import nbformat  # with the extra ``docs``
    from nbclient import NotebookClient

    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        with tempfile.TemporaryDirectory() as folder:
            NotebookClient(notebook, resources={"metadata": {"path": folder}}, record_timing=False).execute()
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
        notebook.metadata = {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
        nbformat.write(notebook, path)


if __name__ == "__main__":
    if "--run" in sys.argv:
        run_notebooks()
    if "--write" in sys.argv:
        REFERENCE.write_text(reference(), encoding="utf-8")
    problems = check()
    sys.stderr.write("\n".join(problems) + "\n" * bool(problems))
    sys.exit(bool(problems))
