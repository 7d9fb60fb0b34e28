"""``sentinel-match train``."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from sentinel_match.cli import options
from sentinel_match.cli.paths import NamedPath
from sentinel_match.cli.progress import show_progress
from sentinel_match.cli.tables import print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sentinel_match.cache import Cache
    from sentinel_match.errors import InputError
    from sentinel_match.raster.masks import Masking
    from sentinel_match.train.figures import Figure, FigureText
    from sentinel_match.train.places import Ground

NETWORK_NAMES = ("evergreen", "trunk", "loftr", "superpoint", "lightglue", "superglue")
NOT_SHIPPED = ("trunk", "superglue")
STANDING_NETWORKS = ("loftr", "superpoint")
"""Those that stand on a trunk."""
ASSIGNING_NETWORKS = ("lightglue", "superglue")
"""Those that learn from the keypoints of another."""


@dataclass(frozen=True)
class TrainOptions:
    """What is asked of the command, besides cache and masks; a field for each option."""

    archives: tuple[Path, ...]
    output: Path
    network: str
    start: str
    keypoints: Path | None
    trunk: Path | None
    steps: int | None
    batch: int | None
    rate: float | None
    every: int
    names: tuple[str, ...]
    share: float
    bands: str | None
    resolution: float | None
    device: str
    seed: int
    as_json: bool


@click.command()
@options.archives
@click.option(
    "-o",
    "--output",
    required=True,
    type=NamedPath(file_okay=False, path_type=Path),
    help="Folder of the network.",
)
@click.option(
    "--network", type=click.Choice(NETWORK_NAMES), default="evergreen", show_default=True, help="What to train."
)
@click.option(
    "--start",
    default="shipped",
    show_default=True,
    help="Weights to begin with: shipped, scratch, or a file that `train` has written.",
)
@click.option(
    "--keypoints",
    type=NamedPath(dir_okay=False, path_type=Path),
    help="SuperPoint whose keypoints lightglue and superglue learn to assign (default: shipped).",
)
@click.option(
    "--trunk",
    type=NamedPath(dir_okay=False, path_type=Path),
    help="Trunk that a new loftr or superpoint stands on (default: that of the shipped loftr).",
)
@click.option(
    "--steps",
    type=click.IntRange(1),
    help="Batches to learn from [default: 1000 evergreen, 2400 trunk, else 2000].",
)
@click.option(
    "--batch", type=click.IntRange(1), help="Pairs of crops in each [default: 8; 4 for loftr and to learn to assign]."
)
@click.option(
    "--rate",
    type=click.FloatRange(0, 1, min_open=True),
    help="Learning rate [default from scratch: 3e-3 evergreen and trunk, 2e-3 superpoint, else 1e-3; else a third].",
)
@click.option("--every", type=click.IntRange(1), default=250, show_default=True, help="Steps between examinations.")
@click.option(
    "--hold-out",
    "names",
    multiple=True,
    metavar="PLACE",
    help="Keep a place out of training whole, and judge by it; again for more. Names are in the table of places.",
)
@click.option(
    "--share",
    type=click.FloatRange(0, 0.9),
    default=0.35,
    show_default=True,
    help="Eastern part of every other place that is kept out as well, where it is large enough.",
)
@click.option("--bands", help="Bands to learn from, with commas [default: B02,B03,B04,B08,B11, or all of a raster].")
@click.option("--resolution", type=options.METRES, help="Metres per pixel (default: native).")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, or auto: cuda where there is one.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of crops and new networks.")
@options.as_json
@options.mask_options
@options.cache_options
@click.pass_context
def train(ctx: click.Context, /, **values: Any) -> None:
    """Train the network of a method on your own archives, or teach the shipped one your ground.

    ARCHIVES show the same places on several dates; their georeference, corrected by the measured shift, is the truth.
    Part of the ground is kept out, and what the network finds there before and after is printed. OUTPUT gets
    evergreen.safetensors, its card evergreen.md, curves.csv, and a checkpoint: the same command goes on where it was
    stopped. Then: sentinel-match run ARCHIVES -o OUT --matcher evergreen --weights OUTPUT/evergreen.safetensors

    Keypoints are learned first, by superpoint, and then who belongs to whom, by lightglue or superglue.
    """
    from sentinel_match import models
    from sentinel_match.train.begin import prepare_training
    from sentinel_match.train.card import Card
    from sentinel_match.train.figures import columns_of
    from sentinel_match.train.loop import Schedule, learn
    from sentinel_match.train.networks import TRAINABLE
    from sentinel_match.train.task import TrainingSetup

    cache, masking = options.make_cache(values), options.make_masking(values)
    request = TrainOptions(**values)
    name, new = request.network, request.start == "scratch"
    if request.keypoints is not None and name not in ASSIGNING_NETWORKS:
        raise click.UsageError(f"--keypoints is for {' and '.join(ASSIGNING_NETWORKS)}; {name} takes none")
    if request.trunk is not None and not (name in STANDING_NETWORKS and new):
        reason = "--trunk is for a new loftr or superpoint: add --network loftr --start scratch, or leave it out"
        raise click.UsageError(reason)
    if name in NOT_SHIPPED and request.start == "shipped":
        raise click.UsageError(f"there is no {name} in this package to go on from: take --start scratch, or a file")
    device, network = models.device(request.device), TRAINABLE[name]
    setup = TrainingSetup(batch=request.batch or network.batch, seed=request.seed, device=device)
    make_task = prepare_training(name, request.start, request.keypoints or request.trunk, setup)
    ground, refused = _ground(ctx, request, masking, cache)
    with show_progress(quiet=ctx.obj) as progress:
        progress("cut crops", 0, 1)
        task = make_task(ground)
    rate = request.rate or (network.rate if new else network.rate / 3)
    schedule = Schedule(request.steps or network.steps, rate, every=request.every)
    card = Card(name, ground, schedule, task.recipe, task.crops.names, task.setup.origin, _command(ctx))
    if not request.as_json and not ctx.obj:
        _print_places(ground, task.crops.names, task.judged_by)
    request.output.mkdir(parents=True, exist_ok=True)
    with show_progress(quiet=ctx.obj) as progress:
        if not new:
            progress(f"examine {name} as it is", 0, 1)
        before = () if new else task.examine()
        state = learn(
            task,
            schedule,
            request.output,
            device,
            progress,
            written=lambda path, now: card.write(task.network, path, now),
        )
    after = state.curve[-1].examination
    if request.as_json:
        from sentinel_match.formats.geojson import dumps

        weights = str(request.output / f"{name}.safetensors")
        click.echo(dumps({"weights": weights, "before": columns_of(before), "after": columns_of(after)}))
    else:
        _print_figures(network.figures, before, after)
    if refused:
        ctx.exit(1)


def _ground(
    ctx: click.Context, request: TrainOptions, masking: Masking, cache: Cache
) -> tuple[Ground, tuple[InputError, ...]]:
    """Gather the ground to learn from and keep a part of it apart; return it, and what could not be read."""
    from sentinel_match.train import gather, hold_out

    bands = tuple(b.strip() for b in (request.bands or "").split(",") if b.strip())
    with show_progress(quiet=ctx.obj) as progress:
        places, refused = gather(request.archives, bands, request.resolution, masking, cache, progress)
    for error in refused:
        click.echo(f"refused: {error}", err=True)
    try:
        return hold_out(places, request.share, request.names), refused
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _command(ctx: click.Context) -> str:
    """Repeat the command with every option that was asked for, wherever that was."""
    words = ["sentinel-match", "train"]
    for parameter in ctx.command.params:
        value = ctx.params.get(parameter.name or "", False)  # how much is said is no part of the recipe
        if ctx.get_parameter_source(parameter.name or "") is ParameterSource.DEFAULT or value is False:
            continue
        for one in value if isinstance(value, tuple) else (value,):
            words += ([parameter.opts[0]] if isinstance(parameter, click.Option) else []) + [str(one)] * (
                one is not True
            )
    return shlex.join(words)


def _print_places(ground: Ground, trained: set[str], judged: set[str]) -> None:
    uses = (("learned from", trained), ("judged by", judged))
    rows = [
        [
            place.name,
            f"{place.gsd:g}",
            len(place.scenes),
            ", ".join(dict.fromkeys(p.band for p in place.pictures)),
            " and ".join(words for words, named in uses if place.name in named) or "too small",
        ]
        for place in ground.places
    ]
    print_table("Places", ["place", "m/px", "scenes", "bands", ""], rows, right=["m/px", "scenes"])


def _print_figures(texts: Sequence[FigureText], before: Sequence[Figure], after: Sequence[Figure]) -> None:
    """Print every figure before and after, and the first one place by place too."""
    from sentinel_match.train.figures import find_figure

    rows = [
        [text.words, *(text.text(find_figure(figures, text.name)) for figures in (before, after))] for text in texts
    ]
    first, *_ = texts
    earlier, later = (find_figure(figures, first.name) for figures in (before, after))
    values = {} if earlier is None else dict(earlier.places)
    for place, value in () if later is None else later.places:
        old = first.pattern.format(values[place]) if place in values else ""
        rows.append([f"{first.words} in {place}", old, first.pattern.format(value)])
    print_table("On held-out ground", ["", "before", "after"], rows, right=["before", "after"])
