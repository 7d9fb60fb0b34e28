"""``sentinel-match demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sentinel_match.cli import options, terminal
from sentinel_match.cli.paths import NamedPath
from sentinel_match.cli.progress import show_progress


@click.command()
@click.argument("folder", type=NamedPath(file_okay=False, path_type=Path))
@options.cache_options
@click.pass_context
def demo(ctx: click.Context, /, folder: Path, **values: Any) -> None:
    """Invent an archive and run the whole line on it, offline, in about a minute.

    FOLDER/archive gets real SAFE products of a landscape that does not exist, in several seasons, one displaced by a
    known amount, one all cloud, one damaged; FOLDER/out gets what `run` makes of them.
    """
    from sentinel_match import batch, testing
    from sentinel_match.errors import OutputError
    from sentinel_match.products.catalogue import read_scene
    from sentinel_match.products.filters import Filters

    cache, out = options.make_cache(values), folder / "out"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(folder, error.strerror or str(error)) from error
    if not ctx.obj:
        click.echo(f"inventing an archive in {folder / 'archive'}", err=True)
    truths = testing.write_archive(folder / "archive")
    displacement = {read_scene(t.path).id: t.displacement for t in truths if not t.flaw}
    with show_progress(quiet=ctx.obj) as progress:
        result = batch.run(folder / "archive", out, filters=Filters(mixed_levels=True), cache=cache, progress=progress)
    terminal.print_run(out)
    for scene in {r.right.id for r in result.pairing.refused if r.right and "clear in both" in r.reason}:
        click.echo(f"not paired: {scene}, under cloud")
    click.echo("")
    for outcome in result.matched:
        (left_x, left_y), (right_x, right_y) = displacement[outcome.left], displacement[outcome.right]
        truth = f"{right_x - left_x:+.2f} m east {right_y - left_y:+.2f} m north"
        if s := outcome.summary:
            click.echo(f"{outcome.id}: truth {truth}, found {s.median_dx_m:+.2f} {s.median_dy_m:+.2f}")
    if not ctx.obj:
        click.echo(f"Open {out / 'report.html'} in a browser, {out / 'inspect.qgs'} in QGIS.", err=True)
