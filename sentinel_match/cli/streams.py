"""The standard streams as a user may leave them: full, closed, or read by one who has gone.

stdout is data: what cannot be written to it is one sentence and exit status 1, and silence where the reader has gone
(``| head``). stderr is talk: what cannot be said there is left unsaid, and the work goes on.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sentinel_match.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO


class _Data(io.RawIOBase):
    """Raw stdout that says in one sentence what is wrong with it; ``None`` below is a stdout that is closed."""

    def __init__(self, below: io.RawIOBase | None) -> None:
        self._below = below

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._below is not None and self._below.isatty()

    def fileno(self) -> int:
        if self._below is None:
            raise io.UnsupportedOperation("fileno")
        return self._below.fileno()

    def write(self, content: bytes, /) -> int:  # type: ignore[override]
        """Write all of the content.

        Raises:
            BrokenPipeError: who read it has gone.
            OutputError: it cannot be written for another reason.
        """
        if self._below is None:
            raise OutputError(Path("standard output"), "it is closed; give it a file, or -o where the command has one")
        try:
            _write_all(self._below, content)
        except BrokenPipeError:
            raise
        except OSError as error:
            reason = f"{error.strerror or error}; free some space, or send it elsewhere"
            raise OutputError(Path("standard output"), reason) from error
        return len(content)


class _Talk(_Data):
    """Raw stderr that loses what it cannot write."""

    def write(self, content: bytes, /) -> int:  # type: ignore[override]
        """Write as much of the content as can be written."""
        if self._below is not None:
            with contextlib.suppress(OSError):
                _write_all(self._below, content)
        return len(content)


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Have the streams of this process behave while the block runs; those that a test or a notebook put there stay."""
    before = sys.stdout, sys.stderr
    _plug()
    try:
        sys.stdout, sys.stderr = _wrapped(sys.stdout, _Data), _wrapped(sys.stderr, _Talk)
        yield
    finally:
        sys.stdout, sys.stderr = before


def _wrapped(stream: TextIO | None, kind: type[_Data]) -> TextIO:
    if stream is None:
        return io.TextIOWrapper(kind(None), "utf-8", "backslashreplace", write_through=True)  # type: ignore[type-var]
    buffer = getattr(stream, "buffer", None)
    below = getattr(buffer, "raw", buffer)  # itself raw where PYTHONUNBUFFERED is set
    if not isinstance(below, io.RawIOBase) or isinstance(below, _Data):
        return stream
    # Names that are not UTF-8 come with escapes that JSON has too
    return io.TextIOWrapper(kind(below), stream.encoding, "backslashreplace", write_through=True)  # type: ignore[type-var]


def _plug() -> None:
    """Open the null device where a standard stream is closed: else the next file would get its number, and its talk."""
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
        while null < 3:
            null = os.open(os.devnull, os.O_RDWR)
        os.close(null)


def _write_all(below: io.RawIOBase, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        written = below.write(rest)
        if written is None:  # a pipe that does not block, and is full
            time.sleep(0.01)
        rest = rest[written or 0 :]
