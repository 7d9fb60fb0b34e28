"""Paths that commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


class NamedPath(click.Path):
    """A path whose name every result can say."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Check a path."""
        from sentinel_match.atomic import why_unnamable

        if reason := why_unnamable(Path(value)):
            self.fail(f"{value}: {reason}", param, ctx)
        return super().convert(value, param, ctx)


class LocalPath(click.Path):
    """A path that exists on this machine; an address is told so in the words used everywhere."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Check a path."""
        from sentinel_match.products.files import why_not_there

        if reason := why_not_there(Path(value)):
            self.fail(f"{value}: {reason}", param, ctx)
        return super().convert(value, param, ctx)
