"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sentinel_match.cli.paths import AnyPath, LocalPath, NamedPath, OutputPath, StableGround
from sentinel_match.geometry.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sentinel_match.accuracy.requirement import Requirement
    from sentinel_match.cache import Cache
    from sentinel_match.matchers import Matcher
    from sentinel_match.options import Options
    from sentinel_match.products.filters import Filters
    from sentinel_match.raster.masks import Masking
    from sentinel_match.summary import Summary
    from sentinel_match.tiepoints import TiePoints

F = TypeVar("F", bound="Callable[..., Any]")

METRES = click.FloatRange(0.01, 10_000)


def _required(_ctx: click.Context, _param: click.Parameter, texts: tuple[str, ...]) -> tuple[Requirement, ...]:
    from sentinel_match.accuracy.requirement import requirement

    try:
        return tuple(requirement(text) for text in texts)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


require = click.option(
    "--require",
    "required",
    multiple=True,
    callback=_required,
    metavar="FIGURE",
    help="A figure that every pair must reach, or exit with 1: CE90=3m, CE95=0.3px, RMSE=, GROSS=1%, POINTS=1000, "
    "CELLS=400, COVERAGE=50%; again for more.",
)

outputs = click.option(
    "-o",
    "--output",
    "outputs",
    required=True,
    multiple=True,
    type=NamedPath(dir_okay=False, path_type=Path),
    help="What to write, by suffix: .geojson, .geojsonl, .gpkg, .fgb, .csv, .points (QGIS Georeferencer), .vrt (GDAL); "
    "again for more.",
)
displacement = click.option(
    "--displacement",
    type=OutputPath(".tif", ".tiff"),
    metavar="FILE.tif",
    help="Also write the fitted displacement as a GeoTIFF (m), and motion.tif beside it where --stable is given.",
)
archives = click.argument("archives", nargs=-1, required=True, type=AnyPath(path_type=Path))
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


def together(*options: Callable[[Any], Any]) -> Callable[[F], F]:
    """Make one decorator of several, in the order the help shall show them."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


results = together(
    click.option("--no-report", is_flag=True, help="Write no report.html."),
    click.option("--no-project", is_flag=True, help="Write no inspect.qgs."),
)

cache_options = together(
    click.option(
        "--cache",
        "cache_folder",
        type=NamedPath(file_okay=False, path_type=Path),
        help="Folder that keeps what is known of single scenes (default: the user's cache, or SENTINEL_MATCH_CACHE).",
    ),
    click.option("--cache-limit", default=20.0, show_default=True, help="Gigabytes the cache may take."),
)

mask_options = together(
    click.option("--mask", type=LocalPath(path_type=Path), help="Raster (non-zero) or polygons to exclude, any CRS."),
    click.option(
        "--dilate",
        type=click.FloatRange(0, 10_000),
        default=60.0,
        show_default=True,
        help="Metres by which cloud and shadow masks grow.",
    ),
    click.option("--keep-water", is_flag=True, help="Match on water too."),
    click.option("--drop-snow", is_flag=True, help="Do not match on snow."),
    click.option(
        "--cloud-probability",
        type=click.FloatRange(0, 100),
        help="Also exclude where an L2A product's cloud probability reaches this percentage.",
    ),
    click.option(
        "--no-brightness", is_flag=True, help="Do not guess clouds by brightness where a product has no mask."
    ),
)

nodata = click.option(
    "--nodata",
    type=float,
    help="Number in the images that is no data, besides what the files declare: 0 or 255 around an image.",
)

model = click.option(
    "--model",
    type=click.Choice(KINDS),
    help="How the images may differ (default: the simplest that predicts unseen ground as well as any).",
)

match_options = together(
    click.option(
        "--band",
        help="Band, index (NDVI, NDWI, NDSI, PCA) or either with -gradient; several with commas "
        "(default: B04, else the first both have).",
    ),
    click.option("--resolution", type=METRES, help="Metres per pixel (default: native)."),
    click.option(
        "--matcher",
        "matcher_name",
        default="auto",
        show_default=True,
        help="One of `sentinel-match matchers`, or auto: phase, checked and helped by others.",
    ),
    click.option(
        "--weights",
        multiple=True,
        type=LocalPath(dir_okay=False, path_type=Path),
        help="A weights file of the matcher; again for its second one, told apart by name.",
    ),
    model,
    click.option(
        "--reach",
        type=METRES,
        default=500.0,
        show_default=True,
        help="Metres by which the georeference may be off.",
    ),
    click.option(
        "--no-prior",
        is_flag=True,
        help="Trust no georeference: search both images whole, at every rotation. Their footprints must still overlap.",
    ),
    click.option(
        "--classes",
        multiple=True,
        type=LocalPath(path_type=Path),
        help="Raster of land cover classes (default: a product's own SCL); twice: the left's and the right's.",
    ),
    click.option("--class-table", help="What its codes mean: scl, worldcover, or a CSV of code,class."),
    click.option(
        "--no-semantics",
        is_flag=True,
        help="Let classes not guide the matching, nor your own map mask it (a product's masks stay).",
    ),
    click.option("--dem", type=LocalPath(path_type=Path), help="Height model: relate the shift to altitude and slope."),
    click.option("--cells", default=8, show_default=True, type=click.IntRange(1), help="Cells given to the matcher."),
    click.option(
        "--candidates", type=click.IntRange(1), help="Grid points written, about.  [default: all, or every other one]"
    ),
    click.option(
        "--window",
        type=click.IntRange(16, 512),
        default=32,
        show_default=True,
        help="Side of a correlation window in pixels; neighbours are averaged.",
    ),
    click.option("--radius", default=4, show_default=True, help="Search radius of the correlation in pixels."),
    click.option("--device", default="cpu", show_default=True, help="cpu, cuda, or auto: cuda where there is one."),
    click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the robust fit."),
    click.option(
        "--stable", type=StableGround(), help="Stable ground to fit on: raster (non-zero), polygons, or auto."
    ),
    nodata,
    mask_options,
    cache_options,
)

filter_options = together(
    click.option("--min-overlap", "min_overlap_km2", default=1.0, show_default=True, help="Square kilometres."),
    click.option("--min-share", default=0.02, show_default=True, help="Overlap as a share of the smaller footprint."),
    click.option("--max-cloud", default=100.0, show_default=True, help="Percent, of either scene."),
    click.option("--min-joint-clear", default=0.02, show_default=True, help="Estimated share clear in both."),
    click.option("--min-days", default=0.0, show_default=True, help="Least days between the two."),
    click.option("--max-days", type=float, default=float("inf"), help="Most days between the two."),
    click.option(
        "--max-season-gap", "max_season_gap_days", type=float, default=float("inf"), help="In days of the year."
    ),
    click.option("--same-orbit", "same_orbit_only", is_flag=True, help="Only pairs of one relative orbit."),
    click.option("--same-tile", "same_tile_only", is_flag=True, help="Only pairs of one tile."),
    click.option("--mixed-levels", is_flag=True, help="Accept L1C with L2A."),
    click.option("--per-scene", default=2, show_default=True, type=click.IntRange(1), help="Partners of each scene."),
    click.option("--all-pairs", is_flag=True, help="Every acceptable pair, not only each scene's best."),
    click.option(
        "--max-distance",
        "max_distance_km",
        default=1.0,
        show_default=True,
        help="Kilometres between images that carry only a GPS position.",
    ),
)


def make_filters(values: dict[str, Any]) -> Filters:
    """Take the filters out of a command's values."""
    from dataclasses import fields

    from sentinel_match.products.filters import Filters

    return Filters(**{f.name: values.pop(f.name) for f in fields(Filters)})


def make_masking(values: dict[str, Any]) -> Masking:
    """Take the masking out of a command's values."""
    from sentinel_match.raster.flags import Reason
    from sentinel_match.raster.masks import Masking

    keep = set(Masking().keep)
    if values.pop("keep_water"):
        keep.add(Reason.WATER)
    if values.pop("drop_snow"):
        keep.discard(Reason.SNOW)
    return Masking(
        keep=frozenset(keep),
        dilate=values.pop("dilate"),
        cloud_probability=values.pop("cloud_probability"),
        brightness=not values.pop("no_brightness"),
        user=values.pop("mask"),
    )


def make_cache(values: dict[str, Any]) -> Cache:
    """Take the cache out of a command's values."""
    from sentinel_match.cache import Cache

    folder, limit = values.pop("cache_folder"), int(values.pop("cache_limit") * 1e9)
    return Cache(folder or Cache.default().root, limit)


def make_options(values: dict[str, Any]) -> Options:
    """Take out of a command's values how to match.

    The matcher is made first: what it lacks is known before any image is read.
    """
    name, files, device = values.pop("matcher_name"), values.pop("weights"), values.pop("device")
    if device != "cpu":
        from sentinel_match.models import device as resolve

        device = str(resolve(device))
    matcher = _make_matcher(name, files, device)
    masking = make_masking(values)
    from sentinel_match.matching.subpixel import Refinement
    from sentinel_match.options import Options
    from sentinel_match.raster.transitions import Semantics

    wanted, maps, table = not values.pop("no_semantics"), values.pop("classes"), values.pop("class_table")
    try:
        refinement = Refinement(window=values.pop("window"), radius=values.pop("radius"), device=device)
        semantics = Semantics(reweight=wanted, gate=wanted, maps=tuple(maps), table=table)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    names = ("band", "resolution", "reach", "model", "cells", "candidates", "seed", "nodata", "dem", "stable")
    return Options(
        matcher=matcher,
        guided=not values.pop("no_prior"),
        masking=masking,
        semantics=semantics,
        refinement=refinement,
        **{n: values.pop(n) for n in names},
    )


def _make_matcher(name: str, files: Sequence[Path], device: str) -> Matcher | None:
    """Make the matcher of that name, with the user's weights; ``None`` for ``auto``.

    Raises:
        UnknownMatcher, WeightsMissing, WeightsDamaged: see :func:`sentinel_match.matchers.create`.
    """
    from sentinel_match import matchers
    from sentinel_match.matching.correspondences import AUTO, named_matcher

    if files and name == AUTO:
        raise click.UsageError(f"--weights {files[0]}: say which --matcher shall use it")
    chosen: dict[str, Path] = {}
    for file in files:
        kind = matchers.matcher_class(name)
        known = [w for w in kind.weights if file.name in {w.file, *w.aliases}]
        # A file of one's own says by its name whether it is the second one: superglue.safetensors
        second = [w for w in kind.weights if w.option != "weights_file" and w.option.removesuffix("_file") in file.name]
        fitting = known or second or list(kind.weights)[:1]
        if not fitting or fitting[0].option in chosen:
            raise click.UsageError(f"--weights {file}: {kind.name} has no use for it")
        chosen[fitting[0].option] = file
    return named_matcher(name, device, **chosen)


def unmet(required: Sequence[Requirement], summary: Summary) -> list[str]:
    """List the requirements that a pair does not meet, a sentence each."""
    return [said for one in required if (said := one.failed(summary))]


def deliver(
    ctx: click.Context,
    ties: TiePoints,
    outputs: Sequence[Path],
    required: Sequence[Requirement],
    *,
    as_json: bool,
    displacement: Path | None = None,
) -> None:
    """Write tie points, print what they say, and exit with 1 where they are doubtful, or a figure is not reached."""
    from sentinel_match.cli import terminal
    from sentinel_match.formats.fields import write_fields
    from sentinel_match.formats.geojson import dumps

    written = write_all(ties, outputs)
    if displacement is not None:
        written += write_fields(ties, displacement)
    if as_json:
        click.echo(dumps(ties.summary.to_dict()))
    else:
        terminal.print_summary(ties.left.name, ties.right.name, ties.summary)
        if not ctx.obj:
            click.echo(f"wrote {', '.join(map(str, written))}", err=True)
    missed = unmet(required, ties.summary)
    for said in missed:
        click.echo(f"not met: {said}", err=True)
    if ties.summary.doubtful:
        click.echo(f"doubtful: {ties.summary.doubt}", err=True)
    if missed or ties.summary.doubtful:
        ctx.exit(1)


def write_all(ties: TiePoints, outputs: Sequence[Path]) -> list[Path]:
    """Write tie points to each file, with the style of each that has none inside; what was written."""
    from sentinel_match.formats import write

    written: list[Path] = []
    for output in outputs:
        write.write(ties, output)
        beside = write.write_style(ties, output)
        written += [output] if beside is None else [output, beside]
    return written
