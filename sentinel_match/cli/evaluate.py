"""``sentinel-match evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sentinel_match.cli import options

if TYPE_CHECKING:
    from sentinel_match.evaluate import Listed, Tested
    from sentinel_match.evaluate.report import Unavailable


@click.command()
@click.argument("sources", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of results."
)
@click.option(
    "--method",
    "methods",
    multiple=True,
    default=("auto",),
    show_default=True,
    help="auto or a matcher, with switches: sift:unguided:nomasks:nosemantics. Again for more.",
)
@click.option(
    "--warp",
    "warps",
    multiple=True,
    help="Every pair once more with a known warp: rotation:45, scale:0.7, affine, perspective. Again for more.",
)
@click.option(
    "--displacement",
    type=click.FloatRange(1, 1000),
    default=3.0,
    show_default=True,
    help="Pixels by which right images are moved at most, each axis.",
)
@click.option("--limit", type=click.IntRange(1), help="At most so many pairs of each set.")
@click.option("--band", help="Band or index of pairs from archives (default: as `match` chooses).")
@click.option("--resolution", type=options.METRES, help="Metres per pixel (default: native).")
@click.option("--device", default="cpu", show_default=True, help="Of the matchers: cpu, cuda, or auto.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of displacements and fits.")
@click.option("--figures", is_flag=True, help="Draw sets.png and corners.png (needs matplotlib).")
@options.as_json
@options.mask_options
@options.cache_options
@options.filter_options
@click.pass_context
def evaluate(
    ctx: click.Context,
    /,
    sources: tuple[Path, ...],
    output: Path,
    methods: tuple[str, ...],
    warps: tuple[str, ...],
    displacement: float,
    limit: int | None,
    band: str | None,
    resolution: float | None,
    device: str,
    seed: int,
    figures: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """How good methods are, measured on pairs whose truth is known.

    SOURCES is a CSV of pairs (set, place, left, right, band, dx_px, dy_px; optional left_classes, right_classes, warp,
    hidden, and any strata), or archives, whose georeference is then the truth. Every right image is displaced by a
    known part of a pixel and more. OUTPUT gets records.csv, summary.csv and controls.csv; run it again after changing
    the list or the methods: pairs already measured are kept. Delete OUTPUT after changing the code of a method.
    """
    cache, masking, filters = options.make_cache(values), options.make_masking(values), options.make_filters(values)
    from sentinel_match import evaluate as room
    from sentinel_match.evaluate import figures as pictures
    from sentinel_match.evaluate import report
    from sentinel_match.export import dumps

    tested, missing = _methods(methods, device, seed)
    if len(sources) == 1 and sources[0].suffix.lower() == ".csv":
        listed = room.read_list(sources[0])
    else:
        listed, refused = room.list_archives(sources, filters, band)
        for error in refused:
            click.echo(f"refused: {error}", err=True)
    try:
        listed = room.warped(_limited(listed, limit), warps)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if not listed:
        raise click.ClickException("No pair to evaluate; `sentinel-match pairs ARCHIVES --refused` says why.")
    how = room.Preparation(displacement, resolution, masking, seed)
    with options.progress(quiet=ctx.obj) as tell:
        records = room.run(
            listed,
            tested,
            how,
            cache=cache,
            tell=tell,
            done=report.kept(output),
            keep=lambda key, record: report.keep(output, key, record),
        )
    report.write(output, records, missing, seed)
    if figures:
        pictures.draw(output, records)
    if as_json:
        click.echo(dumps(report.as_json(records, missing, seed)))
        return
    summaries, controls = room.summarise(records, seed), room.controls(records)
    title = (
        "Believed: correct points, precision at 1 px, coverage. Delivered: correct of all, precision. Transforms: AUC"
    )
    options.print_table(title, report.TABLE, report.table(summaries), right=report.TABLE[2:])
    options.print_table("Controls", report.CONTROLS, report.control_table(controls))
    for method in missing:
        click.echo(f"not available: {method.method}: {method.reason}", err=True)
    if not ctx.obj:
        click.echo(f"wrote {output}", err=True)


def _methods(names: tuple[str, ...], device: str, seed: int) -> tuple[list[Tested], list[Unavailable]]:
    """Methods that can run, and those whose weights or device are not here."""
    from sentinel_match.errors import DeviceMissing, WeightsDamaged, WeightsMissing
    from sentinel_match.evaluate import parse_method
    from sentinel_match.evaluate.report import Unavailable

    tested: list[Tested] = []
    missing: list[Unavailable] = []

    def sort(name: str) -> None:
        try:
            tested.append(parse_method(name, device, seed))
        except (WeightsMissing, WeightsDamaged, DeviceMissing) as error:
            missing.append(Unavailable(name, str(error)))
        except ValueError as error:
            raise click.UsageError(str(error)) from error

    for name in dict.fromkeys(names):
        sort(name)
    return tested, missing


def _limited(listed: tuple[Listed, ...], limit: int | None) -> list[Listed]:
    """The first pairs of each set."""
    counts: dict[str, int] = {}
    chosen = []
    for pair in listed:
        counts[pair.set] = counts.get(pair.set, 0) + 1
        if limit is None or counts[pair.set] <= limit:
            chosen.append(pair)
    return chosen
