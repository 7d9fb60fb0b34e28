"""``sentinel-match cache``."""

from __future__ import annotations

from typing import Any

import click

from sentinel_match.cli import options
from sentinel_match.cli.tables import print_table


@click.command()
@options.cache_options
@click.option(
    "--prune", type=float, metavar="GB", help="Remove the least recently used until this much remains; 0 empties it."
)
@options.as_json
def cache(prune: float | None, as_json: bool, **values: Any) -> None:
    """Show what the cache holds, and empty it.

    Entries are named by what they depend on, so nothing in it is ever out of date: pruning only costs time.
    """
    from sentinel_match.formats.geojson import dumps

    store = options.make_cache(values)
    freed = store.prune(int(prune * 1e9)) if prune is not None else 0
    kinds: dict[str, list[int]] = {}
    for entry in store.entries():
        kinds.setdefault(entry.kind, []).append(entry.size)
    if as_json:
        content = {kind: {"entries": len(sizes), "bytes": sum(sizes)} for kind, sizes in sorted(kinds.items())}
        click.echo(dumps({"folder": str(store.root), "limit": store.limit, "freed": freed, "kinds": content}))
        return
    rows = [[kind, len(sizes), f"{sum(sizes) / 1e6:,.1f}"] for kind, sizes in sorted(kinds.items())]
    print_table(str(store.root), ["kind", "entries", "MB"], rows, right=("entries", "MB"))
    if prune is not None:
        click.echo(f"freed {freed / 1e6:,.1f} MB", err=True)
