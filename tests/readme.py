"""Check README against the program: its commands and options exist, and its reference is what ``--help`` says.

``python tests/readme.py`` fails when README is stale; ``--write`` brings the reference up to date.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

import click

os.environ["COLUMNS"] = "110"

from sentinel_match.cli import COMMANDS, main

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = "<!-- reference: written by `python tests/readme.py --write` -->", "<!-- end of reference -->"


def reference() -> str:
    """The help of every command, as README shows it."""
    parts = []
    with click.Context(main, info_name="sentinel-match") as top:
        for name in COMMANDS:
            command = main.get_command(top, name)
            assert command is not None
            with click.Context(command, info_name=name, parent=top, max_content_width=110) as ctx:
                parts.append(f"```text\n{ctx.get_help()}\n```")
    return "\n\n".join(parts)


def console_lines(text: str) -> list[str]:
    """Every ``sentinel-match …`` line of the console and bash blocks."""
    blocks = re.findall(r"```(?:console|bash)\n(.*?)```", text, re.S)
    lines = [line.removeprefix("$ ").split(" #")[0].strip() for block in blocks for line in block.splitlines()]
    return [part for line in lines for part in line.split(" && ") if "sentinel-match " in part]


def unknown(line: str) -> list[str]:
    """Options of a command line that the program does not have, or the command itself."""
    words = shlex.split(line)
    words = words[next(i for i, w in enumerate(words) if w.endswith("sentinel-match")) + 1 :]
    known: dict[str, click.Command | None] = {}
    with click.Context(main) as ctx:
        options = {o for p in main.params for o in (*p.opts, *p.secondary_opts)} | {"--help", "-h"}
        missing = []
        for word in words:
            if not known and not word.startswith("-") and word in COMMANDS:
                known[word] = main.get_command(ctx, word)
                command = known[word]
                assert command is not None
                options |= {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
            elif word.startswith("-") and word.split("=")[0] not in options:
                missing.append(word)
    return missing if known or "--version" in words or "--help" in words else [line]


def check() -> list[str]:
    """What is wrong with README, one sentence each."""
    text = README.read_text(encoding="utf-8")
    wrong = [
        f"README says `{line}`, but {', '.join(bad)} does not exist"
        for line in console_lines(text)
        if (bad := unknown(line))
    ]
    if text.split(BEGIN)[1].split(END)[0].strip() != reference():
        wrong.append("README's reference is stale: run `python tests/readme.py --write`")
    for block in re.findall(r"```python\n(.*?)```", text, re.S):
        compile(block, "README.md", "exec")
    links = re.findall(r"\]\((?!http|#)([^)]+)\)", text)
    wrong += [f"README links to {link}, which does not exist" for link in links if not (README.parent / link).exists()]
    return wrong


if __name__ == "__main__":
    if "--write" in sys.argv:
        before, rest = README.read_text(encoding="utf-8").split(BEGIN)
        README.write_text(f"{before}{BEGIN}\n\n{reference()}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")
    problems = check()
    sys.stderr.write("\n".join(problems) + "\n" * bool(problems))
    sys.exit(bool(problems))
