"""``sentinel-match report``."""

from __future__ import annotations

from pathlib import Path

import click

from sentinel_match.cli import options, terminal
from sentinel_match.cli.paths import NamedPath


@click.command()
@click.argument("output", type=NamedPath(exists=True, file_okay=False, path_type=Path))
@options.as_json
@click.pass_context
def report(ctx: click.Context, /, output: Path, as_json: bool) -> None:
    """Show what a run did, from its folder: in the terminal, and as a page for the browser.

    Prints what `run` printed and writes OUTPUT/report.html again. Archives are not needed.
    """
    from sentinel_match.report import html as page

    terminal.print_run(output, as_json=as_json)
    path = page.write(output)
    if not ctx.obj:
        click.echo(f"wrote {path}", err=True)
