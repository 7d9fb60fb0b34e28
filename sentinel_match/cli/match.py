"""``sentinel-match match``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sentinel_match.cli import options, terminal

if TYPE_CHECKING:
    from sentinel_match.proof import Requirement


@click.command()
@click.argument("left", type=click.Path(path_type=Path))
@click.argument("right", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="GeoJSON to write."
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@options.require
@options.match_options
@click.pass_context
def match(
    ctx: click.Context,
    /,
    left: Path,
    right: Path,
    output: Path,
    as_json: bool,
    required: tuple[Requirement, ...],
    **values: Any,
) -> None:
    """Tie points between two products, or any two georeferenced rasters.

    LEFT is the reference: points are at its positions, and a shift is right minus left. Exits with 1 if a figure that
    is required is not reached; the file is written all the same.
    """
    chosen, cache = options.make_options(values), options.make_cache(values)
    from sentinel_match import export, pipeline
    from sentinel_match.safe import read_scene

    scenes = read_scene(left), read_scene(right)
    with terminal.progress(quiet=ctx.obj) as tell:
        ties = pipeline.match_scenes(*scenes, chosen, cache, tell)
    export.write_geojson(ties, output)
    if as_json:
        click.echo(export.dumps(ties.summary))
    else:
        terminal.print_summary(ties.left.name, ties.right.name, ties.summary)
        if not ctx.obj:
            click.echo(f"wrote {output}", err=True)
    missed = options.unmet(required, ties.summary)
    for said in missed:
        click.echo(f"not met: {said}", err=True)
    if missed:
        ctx.exit(1)
