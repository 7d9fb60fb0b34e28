"""``sentinel-match prepare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sentinel_match.cli import options, terminal

if TYPE_CHECKING:
    from collections.abc import Mapping


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="[LEFT RIGHT] TIES", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the stack."
)
@click.option("--bands", help="With commas: bands, indices (NDVI) (default: all spectral bands that both have).")
@click.option(
    "--resolution", type=options.METRES, help="Metres per pixel: 10, 20, 60 (default: that of the finest band)."
)
@click.option(
    "--normalise",
    type=click.Choice(["none", "irmad", "histogram"]),
    default="none",
    show_default=True,
    help="Bring the right image's radiometry to the left one's: by ground that did not change, or by distribution.",
)
@click.option(
    "--layout",
    type=click.Choice(["stack", "oscd", "chips", "pair"]),
    default="stack",
    show_default=True,
    help="What to make besides the stack: torchgeo's OSCD, A/B folders of chips, a before/after pair for OTB.",
)
@click.option(
    "--chip-size", type=click.IntRange(16, 10_980), default=256, show_default=True, help="Side of a chip in pixels."
)
@click.option("--mask", type=click.Path(path_type=Path), help="Raster (non-zero) or polygons to exclude, any CRS.")
@click.option(
    "--dilate",
    type=click.FloatRange(0, 10_000),
    default=60.0,
    show_default=True,
    help="Metres by which cloud and shadow masks grow.",
)
@options.cache_options
@options.as_json
@click.pass_context
def prepare(
    ctx: click.Context,
    /,
    files: tuple[Path, ...],
    output: Path,
    bands: str | None,
    resolution: float | None,
    normalise: str,
    layout: str,
    chip_size: int,
    mask: Path | None,
    dilate: float,
    as_json: bool,
    **values: Any,
) -> None:
    """Two dates as one change-ready stack: all bands on one grid, registered, with masks and proof.

    TIES is what `match` or `run` has written; LEFT and RIGHT may be left out where the products are still where they
    were. Leaves OUTPUT/left.tif, right.tif, valid.tif, STAC, and prepare.json.
    """
    if len(files) not in {1, 3}:
        raise click.UsageError("give TIES alone, or LEFT RIGHT TIES")
    cache = options.make_cache(values)
    from sentinel_match.formats.correction import read_ties
    from sentinel_match.formats.geojson import dumps
    from sentinel_match.products.catalogue import read_scene
    from sentinel_match.raster.bands import band_names
    from sentinel_match.raster.masks import Masking
    from sentinel_match.stack.prepare import Preparation
    from sentinel_match.stack.prepare import prepare as make

    ties = read_ties(files[-1])
    paths = files[:2] if len(files) == 3 else ties.there()
    try:
        names = band_names(bands) if bands is not None else ()
    except ValueError as error:
        raise click.UsageError(f"--bands: {error}") from error
    masking = Masking(keep=Preparation().masking.keep, dilate=dilate, user=mask)
    wanted = Preparation(names, resolution, normalise, layout, chip_size, masking)
    left, right = (read_scene(path) for path in paths)
    with terminal.progress(quiet=ctx.obj) as tell:
        facts = make(left, right, ties, output, wanted, cache, tell)
    if as_json:
        click.echo(dumps(facts))
        return
    _print(facts)
    if not ctx.obj:
        click.echo(f"wrote {output}", err=True)


def _print(facts: Mapping[str, Any]) -> None:
    shift, (rows, cols) = facts["residual"], facts["shape"]
    title = f"{', '.join(facts['bands'])} on {cols} x {rows} px; {facts['valid_share']:.0%} valid in both"
    rows_of = [
        [
            name,
            *(f"{shift[name][f'd{a}_px']:+.3f} ± {shift[name][f'sigma_d{a}_px']:.3f}" for a in "xy"),
            *(f"{shift[name][f'nmad_{a}_px']:.3f}" for a in "xy"),
        ]
        for name in ("before", "after")
        if name in shift
    ]
    columns = ["residual shift", "east px", "north px", "NMAD x", "NMAD y"]
    terminal.print_table(title, columns, rows_of, right=columns[1:])
    said = f"{shift['estimator']} on {shift['band']}, {shift['answers']} of {shift['looks']} windows alike"
    click.echo(said if rows_of else f"too few to tell the residual shift: {said}")
