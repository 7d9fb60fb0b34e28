"""Paths that commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


class AnyPath(click.Path):
    """A path that is not empty: an empty one is a variable of the shell that is not set, and would mean this folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Check a path."""
        if str(value) == "":
            self.fail("it is empty; a dot is the folder you are in", param, ctx)
        return super().convert(value, param, ctx)


class NamedPath(AnyPath):
    """A path whose name every result can say."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Check a path."""
        from sentinel_match.atomic import why_unnamable

        if value and (reason := why_unnamable(Path(value))):
            self.fail(f"{value}: {reason}", param, ctx)
        return super().convert(value, param, ctx)


class OutputPath(NamedPath):
    """A path of a file to write, whose suffix says what it will be: another one would name it wrongly."""

    def __init__(self, *suffixes: str) -> None:
        """Take the suffixes that such a file may have."""
        super().__init__(dir_okay=False, path_type=Path)
        self.suffixes = suffixes

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Check a path and its suffix."""
        path = super().convert(value, param, ctx)
        if path.suffix.lower() not in self.suffixes:
            self.fail(f"{value}: what is written ends in {' or '.join(self.suffixes)}", param, ctx)
        return path


class LocalPath(AnyPath):
    """A path that exists on this machine; an address is told so in the words used everywhere."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Check a path."""
        from sentinel_match.products.files import why_not_there

        if value and (reason := why_not_there(Path(value))):
            self.fail(f"{value}: {reason}", param, ctx)
        return super().convert(value, param, ctx)


class StableGround(LocalPath):
    """A mask of stable ground that exists on this machine, or the word that has it found."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Check a path."""
        from sentinel_match.matching.stable import AUTO

        return value if value == AUTO else super().convert(value, param, ctx)
