"""Warnings that many pictures share, said once and counted."""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Once(logging.Filter):
    """Lets the first of each warning through, whatever it is of, and counts the others."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self._known: dict[object, str] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Let a record through unless it differs from an earlier one in its first value alone."""
        values = record.args if isinstance(record.args, tuple) else ()
        key = record.name, record.msg, values[1:] or type(next(iter(values), None))
        if key not in self._known:
            self._known[key] = record.getMessage()
            return True
        self.counts[self._known[key]] += 1
        return False


@contextmanager
def summed_up() -> Iterator[None]:
    """Say each warning of the block once, and at its end of how many more it is true."""
    once = _Once()
    handlers = logging.getLogger().handlers[:1]
    for handler in handlers:
        handler.addFilter(once)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(once)
        for said, count in once.counts.items():
            click.echo(f"{count:,} more like this: {said}", err=True)
