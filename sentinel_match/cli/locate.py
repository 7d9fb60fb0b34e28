"""``sentinel-match locate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sentinel_match.cli import options
from sentinel_match.cli.paths import AnyPath, NamedPath
from sentinel_match.cli.progress import show_progress
from sentinel_match.cli.repeats import summed_up
from sentinel_match.cli.tables import print_sentence, print_table
from sentinel_match.wording import counted

if TYPE_CHECKING:
    from sentinel_match.locating.location import Location

SMALL = (
    "not searched for: pictures that show less than a fifth of a scene's length; cut scenes into tiles,"
    " and search those"
)
"""Said where nothing is found."""
MOST_LEFT_OUT = 5
"""Sentences about scenes that are left out; all are in the record."""


@click.command()
@click.argument("picture", type=AnyPath(path_type=Path))
@options.archives
@click.option("-o", "--output", type=NamedPath(file_okay=False, path_type=Path), help="Folder of results.")
@click.option("--bbox", type=float, nargs=4, metavar="W S E N", help="Only scenes that meet this box, degrees.")
@click.option(
    "--near", type=float, nargs=3, metavar="LON LAT KM", help="Only scenes within so many kilometres of a place."
)
@click.option(
    "--pixel", type=options.METRES, nargs=2, metavar="LOW HIGH", help="Metres per pixel of the picture, if known."
)
@click.option("--band", help="Band of the scenes (default: B04, else the first there is).")
@click.option("--no-check", is_flag=True, help="Do not match picture.tif with its scene once more, for the report.")
@click.option("--picture-band", help="Band of the picture (default: the mean of its colours).")
@options.nodata
@options.model
@options.as_json
@options.cache_options
@click.pass_context
def locate(
    ctx: click.Context,
    /,
    picture: Path,
    archives: tuple[Path, ...],
    output: Path | None,
    as_json: bool,
    nodata: float | None,
    no_check: bool,
    **values: Any,
) -> None:
    """Find which scene of an archive shows a picture of an unknown place.

    PICTURE is any image: a quicklook, a JPEG, a screenshot, a photograph from orbit, a product whose georeference
    cannot be trusted. ARCHIVES are searched whole, at every angle: each scene is described once and kept in the
    cache. Names the best three with their probabilities (half of all pictures are taken to be of ground that is in no
    scene). OUTPUT gets the picture as a GeoTIFF with its control points, tie points and proof, and in OUTPUT/check the
    report and the QGIS project of that GeoTIFF matched with its scene. Exits with 1 where no scene shows it.
    """
    cache = options.make_cache(values)
    from sentinel_match.atomic import require_ours
    from sentinel_match.batch import check_located
    from sentinel_match.formats.geojson import dumps
    from sentinel_match.locating.delivery import CHECK, MARK, deliver
    from sentinel_match.locating.search import locate as find
    from sentinel_match.locating.whereabouts import Whereabouts
    from sentinel_match.products.catalogue import read_scene

    try:
        known = Whereabouts(**values)
    except ValueError as error:
        raise click.UsageError(str(error).replace("Whereabouts.", "--")) from error
    if output is not None:
        require_ours(output, MARK)
    with summed_up(), show_progress(quiet=ctx.obj) as progress:
        location = find(read_scene(picture).with_nodata(nodata), archives, known, cache=cache, progress=progress)
        written = deliver(location, output) if output is not None else []
        if output is not None and location.found and not no_check:
            check_located(location, output, known.band, cache, progress)
            written.append(output / CHECK)
    if as_json:
        click.echo(dumps(location.to_dict()))
    else:
        _print(location)
    if not ctx.obj:
        _talk(location, is_size_known=known.pixel is not None)
        if written:
            click.echo(f"wrote {output}: {', '.join(path.name for path in written)}", err=True)
    if not location.found:
        if as_json:
            click.echo(location.sentence, err=True)
        ctx.exit(1)


def _print(location: Location) -> None:
    """Print the candidates as a table, and what is known of the best."""
    rows = [
        [
            candidate.scene.name,
            f"{candidate.scene.sensing_time:%Y-%m-%d}" if candidate.scene.sensing_time else None,
            _shown(candidate.probability),
            f"{round(candidate.angle, 1) + 0.0:.1f}°",
            f"{candidate.pixel_m:.3g}",
            "{:.4f},{:.4f}".format(*candidate.center),
        ]
        for candidate in location.candidates
    ]
    columns = ["scene", "date", "probability", "turned", "m/px", "lon,lat"]
    print_table(location.sentence, columns, rows, right=("probability", "turned", "m/px"))
    if location.measured is not None:
        ties = location.measured.ties
        print_sentence(location.measured.why if ties is None else ties.summary.verdict)


def _talk(location: Location, *, is_size_known: bool) -> None:
    """Say on stderr what was not searched, and what the search cost."""
    for sentence in location.left_out[:MOST_LEFT_OUT]:
        click.echo(f"left out: {sentence}", err=True)
    if len(location.left_out) > MOST_LEFT_OUT:
        click.echo(f"left out: {len(location.left_out) - MOST_LEFT_OUT:,} more, see --json", err=True)
    if not location.searched:
        return
    if not location.found and not is_size_known:
        click.echo(SMALL, err=True)
    searching, scenes = location.cost.searching / location.searched, counted(location.searched, "scene")
    click.echo(f"{scenes}, {searching:.3f} CPU seconds each; {location.cost.total:.0f} s in all", err=True)


def _shown(probability: float) -> str:
    """Write a probability with as many nines as it is sure of."""
    if probability > 0.9999:
        return "> 99.99 %"
    return f"{100 * probability:.2f} %" if probability >= 0.0001 else "< 0.01 %"
