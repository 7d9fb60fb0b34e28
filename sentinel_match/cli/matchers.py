"""``sentinel-match matchers``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sentinel_match.cli import options
from sentinel_match.cli.tables import print_table

if TYPE_CHECKING:
    from sentinel_match.models.weights import Weights


@click.command()
@options.as_json
@click.option("--download", metavar="MATCHER", help="Fetch this matcher's weights, checked by their sha256.")
@click.pass_context
def matchers(ctx: click.Context, /, as_json: bool, download: str | None) -> None:
    """List the matchers, their licences, and where their weights are or how to get them."""
    from sentinel_match.formats.geojson import dumps
    from sentinel_match.matchers import matcher_class, names

    if download:
        for weights in matcher_class(download).weights:
            fetch(weights, quiet=ctx.obj)
    rows = [row for name in names() for row in status(name)]
    if as_json:
        click.echo(dumps(rows))
        return
    cells = []
    for k, row in enumerate(rows):
        first = k == 0 or rows[k - 1]["matcher"] != row["matcher"]
        if first and row["file"] != "none":
            cells.append([row["matcher"], "", "", "", matcher_class(row["matcher"]).summary])
            first = False
        cells.append([row["matcher"] if first else "", row["state"], row["file"], row["licence"], row["where"]])
    print_table("", ["matcher", "", "weights", "licence", "where, or what to do"], cells)


def status(name: str) -> list[dict[str, str]]:
    """List the weights files of a matcher, a row each, or one row for a method without any."""
    from sentinel_match.errors import MatcherError
    from sentinel_match.matchers import matcher_class
    from sentinel_match.models.weights import verified

    kind = matcher_class(name)
    if not kind.weights:
        return [{"matcher": name, "state": "ready", "file": "none", "licence": "", "where": kind.summary}]
    rows = []
    for weights in kind.weights:
        try:
            state, where = "ready", str(verified(weights))
        except MatcherError as error:
            state, where = "missing", getattr(error, "remedy", str(error))
        rows.append({"matcher": name, "state": state, "file": weights.file, "licence": weights.licence, "where": where})
    return rows


def fetch(weights: Weights, *, quiet: bool) -> None:
    """Download one weights file, its licence shown first, unless a verified one is here."""
    from sentinel_match.errors import MatcherError
    from sentinel_match.models.weights import download, verified

    try:
        verified(weights)
    except MatcherError:
        click.echo(weights.notice or f"{weights.file}: {weights.licence}, {weights.licence_url}", err=True)
        path = download(weights)
        if not quiet:
            click.echo(f"fetched {path}", err=True)
