"""``sentinel-match pairs``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sentinel_match.cli import options
from sentinel_match.cli.paths import OutputPath
from sentinel_match.cli.tables import print_table
from sentinel_match.wording import counted

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@options.archives
@options.as_json
@click.option("--geojson", type=OutputPath(".geojson", ".json"), help="Write the overlaps here.")
@click.option(
    "--refused",
    "show_refused",
    is_flag=True,
    help="List every refused pair too, not only how many; in JSON all of them, not only examples of very many.",
)
@options.filter_options
@options.cache_options
@click.pass_context
def pairs(
    ctx: click.Context,
    /,
    archives: tuple[Path, ...],
    as_json: bool,
    geojson: Path | None,
    show_refused: bool,
    **values: Any,
) -> None:
    """List which acquisitions to compare, ranked, with the reason of each choice and refusal.

    Only metadata is read, no pixel. The clear share is an estimate from the products' cloud cover.
    """
    from sentinel_match.formats.geojson import dumps, write_collection
    from sentinel_match.products.catalogue import find_scenes
    from sentinel_match.products.pairing import pair_scenes, pairs_geojson
    from sentinel_match.products.refusals import MOST_REFUSALS

    catalogue = find_scenes(archives, options.make_cache(values))
    scenes = [scene for scene in catalogue.scenes if scene.bands]
    most = None if show_refused else MOST_REFUSALS
    pairing = pair_scenes(scenes, options.make_filters(values), most_refusals=most)
    if geojson:
        write_collection(pairs_geojson(pairing), geojson)
    if as_json:
        click.echo(dumps(pairs_geojson(pairing)))
    else:
        rows = [[k, p.id, f"{p.score:.2f}", "; ".join(p.reasons)] for k, p in enumerate(pairing.pairs, 1)]
        print_table(
            f"{counted(len(rows), 'pair')} of {counted(len(scenes), 'scene')}",
            ["", "pair", "score", "why"],
            rows,
        )
        if show_refused:
            refusals = [[r.left.id, r.right.id if r.right else None, r.reason] for r in pairing.refused]
            print_table(f"{len(refusals)} refused", ["left", "right", "why not"], refusals)
        elif pairing.refused and not ctx.obj:
            click.echo(f"{sum(pairing.refused_counts.values())} refused; --refused says why", err=True)
    if len(scenes) < len(catalogue.scenes):
        click.echo(f"left out: {len(catalogue.scenes) - len(scenes)} scenes of which no image is here", err=True)
    for refusal in catalogue.refused:
        click.echo(f"refused: {refusal.error}", err=True)
    if catalogue.refused:
        ctx.exit(1)
