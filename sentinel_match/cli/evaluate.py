"""``sentinel-match evaluate``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from sentinel_match.cli import options
from sentinel_match.cli.paths import LocalPath, NamedPath
from sentinel_match.cli.progress import show_progress
from sentinel_match.cli.tables import print_table
from sentinel_match.matchers import DEFAULT
from sentinel_match.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from sentinel_match.cache import Cache
    from sentinel_match.evaluate import ForeignMethod, ListedPair
    from sentinel_match.evaluate.protocol import AnyMethod
    from sentinel_match.evaluate.report import Unavailable
    from sentinel_match.matching.inputs import Progress
    from sentinel_match.products.filters import Filters
    from sentinel_match.raster.masks import Masking

MethodT = TypeVar("MethodT")

POSE_OPTIONS = {"poses", "input_dir", "resize"}
WITH_POSES = POSE_OPTIONS | {"output", "methods", "limit", "device", "as_json"}
"""What has an effect there."""


@dataclass(frozen=True)
class EvaluateOptions:
    """What is asked of the command, besides cache, masks and filters; a field for each option."""

    sources: tuple[Path, ...]
    output: Path
    methods: tuple[str, ...]
    poses: Path | None
    input_dir: Path | None
    resize: int
    warps: tuple[str, ...]
    displacement: float
    limit: int | None
    band: str | None
    resolution: float | None
    device: str
    seed: int
    figures: bool
    as_json: bool
    benchmark: str | None
    data: Path | None
    splits: tuple[str, ...]
    functions: tuple[str, ...]
    matches: tuple[Path, ...]
    export: bool


@click.command()
@click.argument("sources", nargs=-1, type=LocalPath(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=NamedPath(file_okay=False, path_type=Path), help="Folder of results."
)
@click.option(
    "--method",
    "methods",
    multiple=True,
    default=("auto",),
    show_default=True,
    help="auto or a matcher, with switches: sift:unguided:nomasks:nosemantics. Again for more. "
    "With --poses: matchers, without switches (default: superpoint+lightglue).",
)
@click.option(
    "--benchmark",
    type=click.Choice(["seasons"]),
    help="Instead of SOURCES, a frozen list of pairs with known truth: 212 of 28 places, 10 to 120 m.",
)
@click.option(
    "--data",
    type=LocalPath(file_okay=False, path_type=Path),
    help="With --benchmark: folder of its files; what it lacks is fetched where that is possible.",
)
@click.option(
    "--split",
    "splits",
    type=click.Choice(["train", "validation", "test"]),
    multiple=True,
    help="With --benchmark: places of this split only. Again for more (default: all).",
)
@click.option(
    "--function",
    "functions",
    multiple=True,
    metavar="MODULE:NAME",
    help="A method that is not of this package: takes two images, returns points of both. Again for more.",
)
@click.option(
    "--matches",
    multiple=True,
    type=LocalPath(dir_okay=False, path_type=Path),
    help="Matches that another program made of the images of --export: CSV with pair, left_x, left_y, right_x, "
    "right_y. Again for more.",
)
@click.option("--export", is_flag=True, help="Write the images of all pairs to OUTPUT/samples and match nothing.")
@click.option(
    "--poses",
    type=LocalPath(dir_okay=False, path_type=Path),
    help="Instead of SOURCES, pairs of photographs with their cameras, 38 fields a line as SuperGlue has them: "
    "two names, the quarter turns that set each upright, K0, K1, T_0to1.",
)
@click.option(
    "--input-dir",
    type=LocalPath(file_okay=False, path_type=Path),
    help="With --poses: where the names are (default: beside the file).",
)
@click.option(
    "--resize",
    type=click.IntRange(16),
    default=1024,
    show_default=True,
    help="With --poses: longer side in pixels as matched; published: 640 indoor, 1600 outdoor.",
)
@click.option(
    "--warp",
    "warps",
    multiple=True,
    help="Every pair once more with a known warp: rotation:45, scale:0.7, affine, perspective. Again for more.",
)
@click.option(
    "--displacement",
    type=click.FloatRange(2, 1000),
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
def evaluate(ctx: click.Context, /, **values: Any) -> None:
    """Measure how good methods are, on pairs whose truth is known.

    SOURCES is a CSV of pairs (set, place, left, right, band, dx_px, dy_px; optional left_classes, right_classes, warp,
    hidden, truth_m, and any strata), or archives, whose georeference, corrected by the measured shift, is then the
    truth. Every right image is displaced by a known part of a pixel and more. OUTPUT gets records.csv, summary.csv and
    controls.csv; run it again after changing the list or the methods: pairs already measured are kept. Delete OUTPUT
    after changing the code of a method.

    With --benchmark, a list that does not change, on ground whose truth others have measured: figures of different
    methods and programs can be compared. --function and --matches bring methods that are not of this package.

    With --poses, how well the cameras' relative pose comes out of the matches; OUTPUT gets poses.csv. Exits with 1 if
    an image could not be read; the pair counts as one without a pose.
    """
    _refuse_idle_options(ctx, values["sources"], values["poses"])
    cache, masking, filters = options.make_cache(values), options.make_masking(values), options.make_filters(values)
    request = EvaluateOptions(**values)
    if request.device != "cpu":
        from sentinel_match.models import device as resolve

        request = replace(request, device=str(resolve(request.device)))
    poses = request.poses
    if poses is None:
        _evaluate_pairs(ctx, request, cache, masking, filters)
        return
    if ctx.get_parameter_source("methods") is ParameterSource.DEFAULT:
        request = replace(request, methods=(DEFAULT,))
    _evaluate_poses(ctx, request, poses)


def _refuse_idle_options(ctx: click.Context, sources: tuple[Path, ...], poses: Path | None) -> None:
    """Refuse what is asked for and would have no effect."""
    benchmark = ctx.params["benchmark"]
    if bool(sources) + (poses is not None) + (benchmark is not None) != 1:
        raise click.UsageError("give SOURCES, --benchmark or --poses")
    if benchmark is None and (ctx.params["data"] or ctx.params["splits"]):
        raise click.UsageError("--data and --split have no effect without --benchmark")
    for option in ctx.command.params:
        given = ctx.get_parameter_source(str(option.name)) is ParameterSource.COMMANDLINE
        idle = option.name in POSE_OPTIONS if poses is None else option.name not in WITH_POSES
        if given and idle and isinstance(option, click.Option):
            raise click.UsageError(f"{option.opts[0]} has no effect {'without' if poses is None else 'with'} --poses")


def _evaluate_pairs(
    ctx: click.Context, request: EvaluateOptions, cache: Cache, masking: Masking, filters: Filters
) -> None:
    """Evaluate on pairs of a list or of archives."""
    from sentinel_match import evaluate as room
    from sentinel_match.evaluate import figures, report
    from sentinel_match.formats.geojson import dumps

    given = ctx.get_parameter_source("methods") is not ParameterSource.DEFAULT
    names = request.methods if given or not (request.functions or request.matches) else ()
    ours, missing = _available(names, lambda name: room.parse_method(name, request.device, request.seed))
    methods: tuple[AnyMethod, ...] = (*ours.values(), *_foreign(request))
    sampling = room.Sampling(request.displacement, request.resolution, masking, request.seed)
    with show_progress(quiet=ctx.obj) as progress:
        pairs, absent = _pairs(request, filters, progress)
        if request.export:
            count = room.export(pairs, sampling, request.output / "samples", cache, progress)
            click.echo(f"wrote {counted(count, 'pair')} of images to {request.output / 'samples'}", err=True)
            ctx.exit(1 if absent else 0)
        diary = room.Diary(request.output)
        records = room.run(pairs, methods, sampling, cache=cache, diary=diary, progress=progress)
    if not records:
        raise click.ClickException(f"None of {len(pairs)} pairs could be evaluated: what each lacks is said above.")
    report.write(request.output, records, missing, request.seed)
    if request.figures:
        figures.draw(request.output, records)
    if request.as_json:
        click.echo(dumps(report.as_json(records, missing, request.seed)))
        return
    summaries, controls = room.summarise(records, request.seed), room.controls(records)
    title = (
        "Believed: correct points, precision at 1 px, coverage. Delivered: correct of all, precision. Transforms: AUC"
    )
    print_table(title, report.TABLE, report.table(summaries), right=report.TABLE[2:])
    print_table("Controls", report.CONTROLS, report.control_table(controls))
    _finish(ctx, missing, request.output)
    if absent:
        click.echo(f"{absent}: these are not the figures of the benchmark", err=True)
        ctx.exit(1)


def _foreign(request: EvaluateOptions) -> list[ForeignMethod]:
    """Make the methods that are not of this package; one that cannot be imported is a mistake of the command."""
    from sentinel_match import evaluate as room

    try:
        functions = [room.from_function(text) for text in request.functions]
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    return functions + [room.read_matches(path) for path in request.matches]


def _pairs(request: EvaluateOptions, filters: Filters, progress: Progress) -> tuple[tuple[ListedPair, ...], str]:
    """List the pairs to evaluate, with their warps; also say of how many of a benchmark files are missing."""
    from sentinel_match import evaluate as room

    absent = ""
    if request.benchmark is not None:
        folder = request.output / f"{request.benchmark}-{room.VERSIONS[request.benchmark]}"
        ready = room.ready(request.benchmark, folder, request.data, request.splits or room.SPLITS, progress)
        for file in ready.missing:
            click.echo(f"missing: {file}", err=True)
        if ready.missing:
            absent = f"{ready.listed - len(ready.pairs)} of {ready.listed} pairs of {ready.version} have no file"
        listed = ready.pairs
    elif len(request.sources) == 1 and request.sources[0].suffix.lower() == ".csv":
        listed = room.read_list(request.sources[0])
    else:
        listed, refused = room.list_archives(request.sources, filters, request.band)
        for error in refused:
            click.echo(f"refused: {error}", err=True)
    try:
        pairs = room.warped(_first_pairs(listed, request.limit), request.warps)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if not pairs:
        if absent:
            raise click.ClickException(f"No pair: {absent}; what each lacks is said above.")
        raise click.ClickException("No pair; `sentinel-match pairs ARCHIVES --refused` says why; a list ends in .csv.")
    return pairs, absent


def _evaluate_poses(ctx: click.Context, request: EvaluateOptions, poses: Path) -> None:
    """Evaluate on camera poses from photographs."""
    from sentinel_match.evaluate import pose, report
    from sentinel_match.formats.geojson import dumps
    from sentinel_match.images import ImageMatcher

    for name in request.methods:
        if name == "auto" or ":" in name:
            raise click.UsageError(
                f"{name}: photographs have no georeference; --poses takes matchers, without switches"
            )
    pairs = pose.read_pose_pairs(poses, request.input_dir)[: request.limit]
    matchers, missing = _available(
        request.methods, lambda name: ImageMatcher(name, request.device, request.resize, rotations=(0.0,))
    )
    records: list[pose.PoseRecord] = []
    with show_progress(quiet=ctx.obj) as progress:
        for k, pair in enumerate(pairs):
            progress(f"pair {pair.left.name} {pair.right.name}", k, len(pairs))
            records += [pose.run_pair(pair, name, matcher) for name, matcher in matchers.items()]
            report.write_poses(request.output, records, missing)
    if request.as_json:
        click.echo(dumps(report.poses_as_json(records, missing)))
    else:
        title = f"Camera poses of {len(pairs)} pairs, percent"
        print_table(title, report.POSES, report.pose_table(pose.summarise_pose(records)), report.POSES[1:])
    for record in records:
        if record.status == "failed":
            click.echo(f"failed: {record.method}: {record.left} {record.right}: {record.reason}", err=True)
    _finish(ctx, missing, request.output)
    if not matchers or any(record.status == "failed" for record in records):
        ctx.exit(1)


def _finish(ctx: click.Context, missing: list[Unavailable], output: Path) -> None:
    """Name the methods that could not run, and where the results are."""
    for method in missing:
        click.echo(f"not available: {method.method}: {method.reason}", err=True)
    if not ctx.obj:
        click.echo(f"wrote {output}", err=True)


def _available(names: tuple[str, ...], make: Callable[[str], MethodT]) -> tuple[dict[str, MethodT], list[Unavailable]]:
    """Make the methods that can run, by name, and list those whose weights or device are not here."""
    from sentinel_match.errors import DeviceMissing, WeightsDamaged, WeightsMissing
    from sentinel_match.evaluate.report import Unavailable

    methods: dict[str, MethodT] = {}
    missing: list[Unavailable] = []

    def sort(name: str) -> None:
        try:
            methods[name] = make(name)
        except (WeightsMissing, WeightsDamaged, DeviceMissing) as error:
            missing.append(Unavailable(name, str(error)))
        except ValueError as error:
            raise click.UsageError(str(error)) from error

    for name in dict.fromkeys(names):
        sort(name)
    return methods, missing


def _first_pairs(listed: tuple[ListedPair, ...], limit: int | None) -> list[ListedPair]:
    """Take the first pairs of each set."""
    counts: dict[str, int] = {}
    pairs = []
    for pair in listed:
        counts[pair.set] = counts.get(pair.set, 0) + 1
        if limit is None or counts[pair.set] <= limit:
            pairs.append(pair)
    return pairs
