"""``sentinel-match fit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sentinel_match.cli import options
from sentinel_match.cli.paths import LocalPath

if TYPE_CHECKING:
    from sentinel_match.accuracy.requirement import Requirement


def _mapped(_ctx: click.Context, _param: click.Parameter, text: str | None) -> dict[str, str]:
    pairs = [part.partition("=") for part in (text or "").split(",") if part.strip()]
    if not all(ours.strip() and equals and theirs.strip() for ours, equals, theirs in pairs):
        raise click.BadParameter(f"{text!r} is no list of columns: write left_x=E,left_y=N,right_x=E2,right_y=N2")
    return {ours.strip(): theirs.strip() for ours, _, theirs in pairs}


@click.command()
@click.argument("edited", type=LocalPath(dir_okay=False, path_type=Path))
@options.outputs
@options.displacement
@click.option(
    "--columns",
    callback=_mapped,
    metavar="OURS=THEIRS,…",
    help="What the file calls left_x, left_y, right_x, right_y, inlier, score, sigma_m.",
)
@click.option("--crs", help="Of the coordinates in the columns, where the file does not say it: EPSG:32633.")
@click.option("--gsd", type=options.METRES, help="Metres per pixel of the images (default: the file's own, else 10).")
@click.option("--layer", help="Layer of a file with several.")
@options.model
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@options.require
@click.pass_context
def fit(
    ctx: click.Context,
    /,
    edited: Path,
    outputs: tuple[Path, ...],
    displacement: Path | None,
    as_json: bool,
    required: tuple[Requirement, ...],
    **values: Any,
) -> None:
    """Fit again after points were edited in QGIS, or fit points of another program.

    Delete points, move them (the left end moves, the right one stays), or change `inlier`; save, and give the GeoJSON
    or GeoPackage. Points of other programs come as CSV, .points of the QGIS Georeferencer, or whatever GDAL opens.
    """
    from sentinel_match import fitting
    from sentinel_match.formats import write

    for output in outputs:
        write.writer(output)
    ties = fitting.fit(edited, **values)
    options.deliver(ctx, ties, outputs, required, as_json=as_json, displacement=displacement)
