"""Progress of long work on stderr: bars on a terminal, lines with time and share elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sentinel_match.matching.inputs import Progress

WORKING_S = 10.0
"""Seconds after which a stage that goes on says how far it is."""
WAITING_S = 30.0
"""Seconds after which a stage that says nothing is said to be still at work."""


@contextmanager
def show_progress(*, quiet: bool) -> Iterator[Progress]:
    """Show progress of long work: bars on a terminal; elsewhere a line per stage, and more while it lasts."""
    if quiet:
        yield lambda _what, _done, _of: None
        return
    if not sys.stderr.isatty():
        with _Lines().beating() as lines:
            yield lines.say
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        overall = bars.add_task("", visible=False)
        current = bars.add_task("", total=1)

        def show(what: str, done: int, of: int) -> None:
            if what.startswith("pair "):
                bars.update(overall, description=what, completed=done, total=of, visible=True)
            else:
                bars.update(current, description=what, completed=done, total=max(of, 1))

        yield show


class _Lines:
    """Progress as lines: minutes and seconds since the beginning, the stage, and its share."""

    def __init__(self) -> None:
        self._began = self._last = time.monotonic()
        self._stage, self._done, self._of = "", 0, 0
        self._end, self._lock = threading.Event(), threading.Lock()

    def say(self, what: str, done: int, of: int) -> None:
        """Say a new stage at once, and an old one now and then."""
        with self._lock:
            is_new = what != self._stage
            self._stage, self._done, self._of = what, done, of
            if is_new or time.monotonic() - self._last >= WORKING_S:
                self._write()

    @contextmanager
    def beating(self) -> Iterator[_Lines]:
        """Say that a stage is still at work, while the block runs."""
        thread = threading.Thread(target=self._beat, name="progress", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._end.set()
            thread.join()

    def _beat(self) -> None:
        while not self._end.wait(WAITING_S / 10):
            with self._lock:
                if time.monotonic() - self._last >= WAITING_S:
                    self._write()

    def _write(self) -> None:
        self._last = time.monotonic()
        minutes, seconds = divmod(int(self._last - self._began), 60)
        if self._stage.startswith("pair "):
            text = f"[{self._done + 1}/{self._of}] {self._stage}"
        else:
            text = f"{self._stage or 'at work'}{f' {self._done / self._of:.0%}' if self._of > 1 else ''}"
        click.echo(f"{minutes:3d}:{seconds:02d}  {text}", err=True)
