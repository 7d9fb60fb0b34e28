"""``sentinel-match match``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sentinel_match.cli import options
from sentinel_match.cli.paths import AnyPath
from sentinel_match.cli.progress import show_progress

if TYPE_CHECKING:
    from sentinel_match.accuracy.requirement import Requirement


@click.command()
@click.argument("left", type=AnyPath(path_type=Path))
@click.argument("right", type=AnyPath(path_type=Path))
@options.outputs
@options.displacement
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@options.require
@options.match_options
@click.pass_context
def match(
    ctx: click.Context,
    /,
    left: Path,
    right: Path,
    outputs: tuple[Path, ...],
    displacement: Path | None,
    as_json: bool,
    required: tuple[Requirement, ...],
    **values: Any,
) -> None:
    """Tie points between two products, or any two georeferenced rasters.

    LEFT is the reference: points are at its positions, and a shift is right minus left. Exits with 1 if the images
    contradict the points, or a figure that is required is not reached; the files are written all the same.
    """
    chosen, cache = options.make_options(values), options.make_cache(values)
    from sentinel_match import pipeline
    from sentinel_match.formats import write
    from sentinel_match.products.catalogue import read_scene

    for output in outputs:
        write.writer(output)  # a suffix that says nothing is known before any image is read
    scenes = read_scene(left), read_scene(right)
    with show_progress(quiet=ctx.obj) as progress:
        ties = pipeline.match_scenes(*scenes, chosen, cache, progress)
    options.deliver(ctx, ties, outputs, required, as_json=as_json, displacement=displacement)
