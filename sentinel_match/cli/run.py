"""``sentinel-match run``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sentinel_match.cli import options, terminal
from sentinel_match.cli.paths import AnyPath, NamedPath
from sentinel_match.cli.progress import show_progress

if TYPE_CHECKING:
    from sentinel_match.accuracy.requirement import Requirement


@click.command()
@options.archives
@click.option(
    "-o", "--output", required=True, type=NamedPath(file_okay=False, path_type=Path), help="Folder of results."
)
@click.option("--no-geopackage", is_flag=True, help="Write no tiepoints.gpkg.")
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Pairs matched at a time, each by a process of its own on one core, with the memory of a run.",
)
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Workers of this dask scheduler, tcp://host:8786, match the pairs; they reach all folders by these paths.",
)
@click.option(
    "--locate",
    "pictures",
    multiple=True,
    type=AnyPath(path_type=Path),
    help="A picture of an unknown place: it is located among the scenes and matched as one. May be given repeatedly.",
)
@options.as_json
@options.results
@options.require
@options.match_options
@options.filter_options
@click.pass_context
def run(
    ctx: click.Context,
    /,
    archives: tuple[Path, ...],
    output: Path,
    workers: int,
    scheduler: str | None,
    pictures: tuple[Path, ...],
    as_json: bool,
    required: tuple[Requirement, ...],
    **values: Any,
) -> None:
    """Do everything: from archives to tie points, no parameter chosen.

    Finds the products, proposes pairs, matches each and leaves OUTPUT/scenes.geojson, pairs.geojson, one folder a
    pair with tiepoints.geojson, its style for QGIS, tiepoints.gpkg and displacement.tif, series.json for three
    acquisitions or more, run.json, report.html to read in a browser and inspect.qgs to open in QGIS. Run it again: what
    is done is kept. With --locate OUTPUT/located has pictures of unknown places as maps. Exits with 1 if anything
    failed, no scene shows a picture, there is no pair to match, a pair is doubtful, or a figure that is required is
    not reached.
    """
    if scheduler is not None and not scheduler.strip():
        raise click.UsageError("--scheduler is empty: give the address of one, tcp://host:8786, or leave it out")
    if scheduler is not None and workers > 1:
        raise click.UsageError("--workers and --scheduler exclude each other: a scheduler has its own workers")
    chosen, cache = options.make_options(values), options.make_cache(values)
    filters = options.make_filters(values)
    from sentinel_match import batch, job

    files = job.Files(**{name: not values.pop(f"no_{name}") for name in ("geopackage", "report", "project")})
    with show_progress(quiet=ctx.obj) as progress:
        result = batch.run(
            archives, output, chosen, filters, cache=cache, progress=progress, files=files,
            workers=scheduler or workers, pictures=pictures,
        )  # fmt: skip
    terminal.print_run(output, as_json=as_json)
    missed = [f"{o.id}: {said}" for o in result.matched if o.summary for said in options.unmet(required, o.summary)]
    for said in missed:
        click.echo(f"not met: {said}", err=True)
    doubtful = any(o.summary is not None and o.summary.doubtful for o in result.matched)
    if missed or doubtful or not result.outcomes or not result.clean:
        ctx.exit(1)
