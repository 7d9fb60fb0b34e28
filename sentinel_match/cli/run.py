"""``sentinel-match run``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sentinel_match.cli import options, terminal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sentinel_match.batch import Outcome, Run
    from sentinel_match.proof import Requirement


@click.command()
@options.archives
@click.option(
    "-o", "--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of results."
)
@click.option("--no-geopackage", is_flag=True, help="Write no tiepoints.gpkg.")
@options.as_json
@options.require
@options.match_options
@options.filter_options
@click.pass_context
def run(
    ctx: click.Context,
    /,
    archives: tuple[Path, ...],
    output: Path,
    no_geopackage: bool,
    as_json: bool,
    required: tuple[Requirement, ...],
    **values: Any,
) -> None:
    """Everything: from archives to tie points, no parameter chosen.

    Finds the products, proposes pairs, matches each and leaves OUTPUT/scenes.geojson, pairs.geojson, one folder a
    pair with tiepoints.geojson, its style for QGIS and tiepoints.gpkg, series.json for three acquisitions or more, and
    run.json. Run it again: what is done is kept. Exits with 1 if anything failed, or a figure that is required is not
    reached.
    """
    chosen, cache = options.make_options(values), options.make_cache(values)
    filters = options.make_filters(values)
    from sentinel_match import batch

    with terminal.progress(quiet=ctx.obj) as tell:
        result = batch.run(archives, output, chosen, filters, cache, tell, geopackage=not no_geopackage)
    report(result, output, as_json=as_json)
    matched = [o for o in result.outcomes if o.summary]
    missed = [f"{o.id}: {said}" for o in matched for said in options.unmet(required, o.summary)]
    for said in missed:
        click.echo(f"not met: {said}", err=True)
    if missed or not result.clean:
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
            "model",
            "NMAD x y px",
            "CE90 m",
            "1 km cells hit",
        ]
        title = f"{len(result.outcomes)} pairs of {len(result.catalogue.scenes)} scenes"
        terminal.print_table(title, columns, [_row(o) for o in result.outcomes], right=columns[3:])
        for series in result.series:
            _print_series(series)
    for name in (row["id"] for series in result.series for row in series["acquisitions"] if row["disagrees"]):
        click.echo(f"disagrees with the other acquisitions: {name}, see {output / 'series.json'}", err=True)
    for outcome in result.outcomes:
        if outcome.summary.get("second", {}).get("agrees") is False:
            click.echo(f"doubtful: {outcome.id}: {outcome.summary['verdict']}", err=True)
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
        s["model"]["kind"],
        f"{s['nmad_x_px']:.3f} {s['nmad_y_px']:.3f}",
        f"{s['hold_out']['ce90']:.2f}" if s["hold_out"] else None,
        s["km_cells"],
    ]


def _print_series(series: Mapping[str, Any]) -> None:
    """Where each acquisition lies against the others."""
    rows = [
        [
            row["id"],
            f"{row['dx_m']:+.2f} ± {row['sigma_dx_m']:.2f}",
            f"{row['dy_m']:+.2f} ± {row['sigma_dy_m']:.2f}",
            f"{row['dx_px']:+.3f} {row['dy_px']:+.3f}",
            row["pairs"],
            "disagrees" if row["disagrees"] else "",
        ]
        for row in series["acquisitions"]
    ]
    columns = ["acquisition", "east m", "north m", "east north px", "pairs", ""]
    closures = [float(sum(v * v for v in loop["closure_m"]) ** 0.5) for loop in series["loops"]]
    worst = f"; {len(closures)} triangles close to {max(closures):.2f} m or better" if closures else ""
    title = f"One series: offset of each acquisition from the median of {len(rows)}{worst}"
    terminal.print_table(title, columns, rows, right=columns[1:5])
