"""``sentinel-match prepare``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sentinel_match.cli import options
from sentinel_match.cli.paths import LocalPath, NamedPath
from sentinel_match.cli.progress import show_progress
from sentinel_match.cli.tables import print_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sentinel_match.stack.plan import Preparation
    from sentinel_match.stack.prepared import PreparedStack


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="[LEFT RIGHT] TIES", type=NamedPath(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=NamedPath(file_okay=False, path_type=Path),
    help="Folder of the stack.",
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
    default=("stack",),
    show_default=True,
    multiple=True,
    help="What to make besides the stack: torchgeo's OSCD, A/B folders of chips, a before/after pair for OTB; again "
    "for more.",
)
@click.option(
    "--chip-size", type=click.IntRange(16, 10_980), default=256, show_default=True, help="Side of a chip in pixels."
)
@click.option("--mask", type=LocalPath(path_type=Path), help="Raster (non-zero) or polygons to exclude, any CRS.")
@click.option(
    "--dilate",
    type=click.FloatRange(0, 10_000),
    default=60.0,
    show_default=True,
    help="Metres by which cloud and shadow masks grow.",
)
@options.nodata
@options.cache_options
@options.as_json
@click.pass_context
def prepare(
    ctx: click.Context, /, files: tuple[Path, ...], output: Path, mask: Path | None, as_json: bool, **values: Any
) -> None:
    """Make one change-ready stack of two dates: all bands on one grid, registered, with masks and proof.

    TIES is what `match` or `run` has written; LEFT and RIGHT may be left out where the products are still where they
    were. Leaves OUTPUT/left.tif, right.tif, valid.tif, displacement.tif, STAC, and prepare.json.
    """
    if len(files) not in {1, 3}:
        raise click.UsageError("give TIES alone, or LEFT RIGHT TIES")
    wanted, cache = _make_preparation(values, mask), options.make_cache(values)
    from sentinel_match.formats.geojson import dumps
    from sentinel_match.stack.prepare import prepare as make

    left, right = files[:2] if len(files) == 3 else (None, None)
    with show_progress(quiet=ctx.obj) as progress:
        stack = make(files[-1], output, wanted, left=left, right=right, cache=cache, progress=progress)
    if as_json:
        click.echo(dumps(stack.to_dict()))
    else:
        _print(stack)
        if not ctx.obj:
            click.echo(f"wrote {output}", err=True)
    if {*wanted.layout_names} - {layout.name for layout in stack.layouts}:
        ctx.exit(1)


def _make_preparation(values: Mapping[str, Any], mask: Path | None) -> Preparation:
    """Make a preparation of the options as click gives them.

    Raises:
        click.UsageError: they name no band.
    """
    from sentinel_match.stack.plan import Preparation

    chosen = {name: values[name] for name in ("bands", "resolution", "normalise", "layout", "chip_size", "nodata")}
    if chosen["bands"] is None:
        del chosen["bands"]
    masking = replace(Preparation().masking, dilate=values["dilate"], user=mask)
    try:
        return Preparation(**chosen, masking=masking)
    except ValueError as error:
        raise click.UsageError(f"--bands: {error}") from error


def _print(stack: PreparedStack) -> None:
    (rows, cols), shift = stack.grid.shape, stack.residual
    title = f"{', '.join(stack.bands)} on {cols} x {rows} px; {stack.valid_share:.0%} valid in both"
    table = [
        [
            name,
            f"{version.dx_px:+.3f} ± {version.sigma_dx_px:.3f}",
            f"{version.dy_px:+.3f} ± {version.sigma_dy_px:.3f}",
            f"{version.nmad_x_px:.3f}",
            f"{version.nmad_y_px:.3f}",
        ]
        for name, version in (("before", shift.before), ("after", shift.after))
        if version
    ]
    columns = ["residual shift", "east px", "north px", "NMAD x", "NMAD y"]
    print_table(title, columns, table, right=columns[1:])
    answers = f"{shift.estimator} on {stack.residual_band}, {shift.answers} of {shift.looks} windows alike"
    click.echo(f"verdict on the tie points: {stack.verdict}")
    click.echo(answers if table else f"too few to tell the residual shift: {answers}")
