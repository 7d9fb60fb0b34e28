"""``sentinel-match scenes``."""

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
@click.option("--geojson", type=OutputPath(".geojson", ".json"), help="Write the footprints here.")
@options.cache_options
@click.pass_context
def scenes(
    ctx: click.Context, /, archives: tuple[Path, ...], as_json: bool, geojson: Path | None, **values: Any
) -> None:
    """List what is in these archives: level, tile, date, orbit, cloud, footprint.

    ARCHIVES are .SAFE folders, zips, loose rasters, or folders of them. Only metadata is read, no pixel.
    Exits with 1 if a product was refused.
    """
    from sentinel_match.formats.geojson import dumps, write_collection
    from sentinel_match.products.catalogue import find_scenes
    from sentinel_match.products.scene import scenes_geojson

    catalogue = find_scenes(archives, options.make_cache(values))
    collection = scenes_geojson(catalogue.scenes)
    if geojson:
        write_collection(collection, geojson)
    if as_json:
        click.echo(dumps(collection))
    else:
        rows = [
            [
                s.id,
                s.level,
                s.baseline,
                s.tile,
                f"{s.sensing_time:%Y-%m-%d}" if s.sensing_time else None,
                f"R{s.relative_orbit:03d}" if s.relative_orbit else None,
                f"{s.cloud_cover:.0f}" if s.cloud_cover is not None else None,
                f"{s.footprint.area_km2:,.0f}" if s.footprint else None,
                " ".join(dict.fromkeys(b.name for b in s.bands)) or "none",
                "; ".join(s.notes),
            ]
            for s in catalogue.scenes
        ]
        columns = ["scene", "level", "base", "tile", "date", "orbit", "cloud %", "km²", "bands", "notes"]
        print_table(counted(len(rows), "scene"), columns, rows, right=("cloud %", "km²"))
    if not ctx.obj:
        for d in catalogue.duplicates:
            click.echo(f"left out: {d.scene.id} is the same acquisition as {d.replaced_by.id}", err=True)
    for refusal in catalogue.refused:
        click.echo(f"refused: {refusal.error}", err=True)
    if catalogue.refused:
        ctx.exit(1)
