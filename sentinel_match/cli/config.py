"""A TOML file as click's ``default_map``: the command line wins, then the file, then the built-in defaults."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import click

from sentinel_match.products.files import read_text
from sentinel_match.schema import shown

if TYPE_CHECKING:
    from pathlib import Path


def load(path: Path, group: click.Group) -> dict[str, dict[str, Any]]:
    """Read defaults, a table per command; keys may be written with dashes or underscores.

    Raises:
        click.BadParameter: the file is no TOML, or has a table or key that is no command or option.
    """
    try:
        content = tomllib.loads(read_text(path))
    except RecursionError:
        reason = "is nested too deeply: a table per command, with values, is all it needs"
        raise click.BadParameter(f"{path} {reason}") from None
    except ValueError as error:  # no TOML, no UTF-8, or a number of thousands of digits
        raise click.BadParameter(f"{path} is not TOML: {error}") from error
    except OSError as error:
        raise click.BadParameter(f"{path} cannot be read: {error.strerror or error}") from error
    defaults: dict[str, dict[str, Any]] = {}
    with click.Context(group) as ctx:
        for table, values in content.items():
            command = group.get_command(ctx, table)
            if command is None or not isinstance(values, dict):
                raise click.BadParameter(
                    f"{path} has {table!r} at top level; tables are named after commands: "
                    + ", ".join(group.list_commands(ctx))
                )
            options = {str(p.name): p for p in command.params if isinstance(p, click.Option)}
            defaults[table] = {}
            for key, value in values.items():
                name = _parameter(key, options)
                if name is None:
                    known = ", ".join(sorted(max(p.opts, key=len).lstrip("-") for p in options.values()))
                    raise click.BadParameter(f"{path}: [{table}] has no option {key!r}; it has {known}")
                items = value if isinstance(value, list) else [value]
                if any(isinstance(item, (dict, list)) for item in items):
                    reason = f"{key} of [{table}] is {shown(value)}, and must be one value or a list"
                    raise click.BadParameter(f"{path}: {reason}")
                several = options[name].multiple and not isinstance(value, list)
                defaults[table][name] = [value] if several else value
    return defaults


def _parameter(key: str, options: dict[str, click.Option]) -> str | None:
    """Find the parameter that a key names, by its flag (``no-water`` too) or its name."""
    flag = "--" + key.replace("_", "-")
    for name, option in options.items():
        if flag in (*option.opts, *option.secondary_opts) or key == name:
            return name
    return None
