"""``sentinel-match run``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sentinel_match.cli import options

if TYPE_CHECKING:
    from sentinel_match.batch import Outcome, Run


@click.command()
@options.archives
@click.option(
    "-o", "--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of results."
)
@options.as_json
@options.match_options
@options.filter_options
@click.pass_context
def run(ctx: click.Context, /, archives: tuple[Path, ...], output: Path, as_json: bool, **values: Any) -> None:
    """Everything: from archives to tie points, no parameter chosen.

    Finds the products, proposes pairs, matches each and leaves OUTPUT/scenes.geojson, pairs.geojson, one folder a
    pair with tiepoints.geojson, and run.json. Run it again: what is done is kept. Exits with 1 if anything failed.
    """
    chosen, cache = options.make_options(values), options.make_cache(values)
    filters = options.make_filters(values)
    from sentinel_match import batch

    with options.progress(quiet=ctx.obj) as tell:
        result = batch.run(archives, output, chosen, filters, cache, tell)
    report(result, output, as_json=as_json)
    if not result.clean:
        ctx.exit(1)


def report(result: Run, output: Path, *, as_json: bool) -> None:
    """Say what a run did: a table on stdout, refusals and failures on stderr."""
    if as_json:
        click.echo((output / "run.json").read_text(encoding="utf-8"), nl=False)
    else:
        columns = [
            "pair",
            "outcome",
            "band",
            "tie points",
            "east m",
            "north m",
            "NMAD x y px",
            "CE90 m",
            "1 km cells hit",
        ]
        title = f"{len(result.outcomes)} pairs of {len(result.catalogue.scenes)} scenes"
        options.print_table(title, columns, [_row(o) for o in result.outcomes], right=columns[3:])
    for refused in result.catalogue.refused:
        click.echo(f"refused: {refused.error}", err=True)
    for outcome in result.outcomes:
        if outcome.status == "failed":
            click.echo(f"failed: {outcome.id}: {outcome.error}", err=True)
    if not result.outcomes:
        click.echo("no pair to match: see above, and `sentinel-match pairs ARCHIVES --refused`", err=True)


def _row(outcome: Outcome) -> list[object]:
    s = outcome.summary
    if not s:
        return [outcome.id, outcome.status]
    return [
        outcome.id,
        outcome.status,
        f"{s['band']} {s['gsd_m']:g} m",
        f"{s['inliers']:,}",
        f"{s['median_dx_m']:+.2f}",
        f"{s['median_dy_m']:+.2f}",
        f"{s['nmad_x_px']:.3f} {s['nmad_y_px']:.3f}",
        f"{s['hold_out']['ce90']:.2f}" if s["hold_out"] else None,
        s["km_cells"],
    ]
