"""``sentinel-match match``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sentinel_match.cli import options


@click.command()
@click.argument("left", type=click.Path(path_type=Path))
@click.argument("right", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="GeoJSON to write."
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@options.match_options
@click.pass_context
def match(ctx: click.Context, /, left: Path, right: Path, output: Path, as_json: bool, **values: Any) -> None:
    """Tie points between two products, or any two georeferenced rasters.

    LEFT is the reference: points are at its positions, and a shift is right minus left.
    """
    chosen, cache = options.make_options(values), options.make_cache(values)
    from sentinel_match import export, pipeline
    from sentinel_match.safe import read_scene

    scenes = read_scene(left), read_scene(right)
    with options.progress(quiet=ctx.obj) as tell:
        ties = pipeline.match_scenes(*scenes, chosen, cache, tell)
    export.write_geojson(ties, output)
    if as_json:
        click.echo(export.dumps(ties.summary))
    else:
        options.print_summary(ties.left.name, ties.right.name, ties.summary)
        if not ctx.obj:
            click.echo(f"wrote {output}", err=True)
