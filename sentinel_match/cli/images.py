"""``sentinel-match images``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from sentinel_match.cli import options
from sentinel_match.cli.paths import AnyPath, NamedPath
from sentinel_match.cli.repeats import summed_up
from sentinel_match.cli.tables import print_table
from sentinel_match.wording import counted

if TYPE_CHECKING:
    from sentinel_match.images import ImageMatcher, ImageSummary

PICTURE_SUFFIXES = {".jp2", ".tif", ".tiff", ".jpg", ".jpeg", ".png", ".gif"}


class _ImagePair(NamedTuple):
    """Two images to match."""

    left: Path
    right: Path
    turns: tuple[int, int] = (0, 0)
    """Quarter turns, counter-clockwise, that set each upright."""


@dataclass(frozen=True)
class _Outcome:
    """What became of a pair."""

    status: str
    """``matched``, ``kept``, ``no match`` or ``failed``."""
    summary: ImageSummary | None = None
    """``None`` where it failed."""
    why: str = ""
    """Why it failed."""

    def to_dict(self) -> dict[str, Any]:
        """Write it as ``summary.json`` has it."""
        return {"status": self.status, **(self.summary.to_dict() if self.summary else {"why": self.why})}

    def to_row(self) -> list[Any]:
        """Write it as a row of the table: status, matches, inliers, angle, kind of the model, why."""
        s = self.summary
        if s is None:
            return [self.status, None, None, None, None, self.why]
        angle = None if s.angle is None else round(s.angle, 3)
        return [self.status, s.matches, s.inliers, angle, s.model or None, s.why]


@click.command()
@click.argument("names", nargs=-1, metavar="[LEFT RIGHT]", type=AnyPath(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=NamedPath(file_okay=False, path_type=Path), help="Folder of results."
)
@click.option(
    "--pairs",
    "listing",
    type=NamedPath(exists=True, dir_okay=False, path_type=Path),
    help="Two names a line, separated by blanks or a comma, then the quarter turns that set each upright, if any.",
)
@click.option("--input-dir", type=NamedPath(exists=True, file_okay=False, path_type=Path), help="Where the names are.")
@click.option(
    "--indexes-of-images", nargs=2, type=int, help="Two of the images of --input-dir, counted from 0 in order of name."
)
@click.option("--shuffle", is_flag=True, help="Take the pairs in an order drawn with --seed.")
@click.option("--max-length", type=click.IntRange(0), help="Take so many pairs at most.")
@click.option(
    "--resize", default="1024", show_default=True, help="Longer side in pixels, or WIDTHxHEIGHT, or -1 for as is."
)
@click.option(
    "--matcher", help="See `sentinel-match matchers` (default: phase; with the next four superpoint+lightglue)."
)
@click.option("--max-keypoints", type=click.IntRange(1), help="Of each image (default: the matcher's).")
@click.option("--keypoint-threshold", type=float, help="Lowest score of a keypoint (default: the matcher's).")
@click.option("--nms-radius", type=click.IntRange(1), help="Pixels to the next keypoint (default: the matcher's).")
@click.option("--confidence", type=click.FloatRange(0, 1), help="Lowest of a match (default: the matcher's).")
@click.option("--no-rotation", is_flag=True, help="Both images are upright: try no other angle.")
@click.option(
    "--model",
    type=click.Choice(["auto", "translation", "similarity", "affine", "homography"]),
    default="auto",
    show_default=True,
    help="What the matches must agree on; auto: the simplest of the last three that they bear out.",
)
@options.nodata
@click.option("--windows", type=click.IntRange(0), default=0, help="Windows to match again at full resolution.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, or auto: cuda where there is one.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of --shuffle and the robust fit.")
@click.option("--force", is_flag=True, help="Match again what is already done the same way.")
@click.option(
    "--viz", is_flag=True, help="Draw each pair: a hundred of its matches, and the right picture over the left one."
)
@click.pass_context
def images(ctx: click.Context, /, names: tuple[Path, ...], output: Path, **values: Any) -> None:
    """Match pictures of which nothing is known: no position, no angle.

    Writes OUTPUT/LEFT_RIGHT_matches.npz for each pair (keypoints0, keypoints1, matches, match_confidence) and
    OUTPUT/summary.json. What is done in the same way is kept. Exits with 1 if a pair could not be read or matched.
    Two products with a position: `sentinel-match match` is more precise.
    """
    pairs = _pairs(names, values)
    try:
        matcher = _matcher(values)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    from sentinel_match.atomic import write_text

    outcomes: dict[str, _Outcome] = {}
    summary: dict[str, Any] = {}
    with summed_up():
        for k, pair in enumerate(pairs):
            name = f"{pair.left.stem}_{pair.right.stem}_matches"
            if name in summary:  # two folders with files of the same names
                name = f"{name}_{k}"
            if not ctx.obj:
                click.echo(f"[{k + 1}/{len(pairs)}] {pair.left.name} {pair.right.name}", err=True)
            outcome = _match(matcher, pair, output / f"{name}.npz", values)
            outcomes[name] = outcome
            summary[name] = {"left": str(pair.left), "right": str(pair.right), **outcome.to_dict()}
            write_text(output / "summary.json", json.dumps(summary, indent=1) + "\n")
    columns = ["pair", "outcome", "matches", "believed", "angle", "model", "why"]
    rows = [[name, *outcome.to_row()] for name, outcome in outcomes.items()]
    print_table(counted(len(rows), "pair"), columns, rows, ["matches", "believed"])
    statuses = {outcome.status for outcome in outcomes.values()}
    if statuses & {"no match", "failed"}:
        ctx.exit(1)


def _match(matcher: ImageMatcher, pair: _ImagePair, target: Path, values: dict[str, Any]) -> _Outcome:
    """Match one pair, or find it done; what goes wrong is told, not raised."""
    from sentinel_match.cache import digest
    from sentinel_match.errors import InputError, OutputError
    from sentinel_match.images import visualize_matches, visualize_overlay
    from sentinel_match.images.matches import saved_summary
    from sentinel_match.products.catalogue import read_scene

    force, viz, nodata = values["force"], values["viz"], values["nodata"]
    try:
        scenes = read_scene(pair.left).with_nodata(nodata), read_scene(pair.right).with_nodata(nodata)
        bands = [[b.asset.sha256() for b in scene.bands] for scene in scenes]
        # As it comes back from the file
        recipe = json.dumps([matcher.recipe, bands, pair.turns, nodata], default=str, sort_keys=True)
        key = digest({"recipe": recipe})
        summary = None if force else saved_summary(target, key)
        figure, overlay = target.with_suffix(".png"), target.with_name(f"{target.stem}_overlay.png")
        drawn = figure.exists() and (overlay.exists() or (summary is not None and summary.matrix is None))
        if summary is not None and (drawn or not viz):
            return _Outcome("kept" if summary.matrix else "no match", summary)
        result = matcher.match_images(*scenes, quarter_turns=pair.turns)
        result.save(target, key)
        if viz:
            left, right = (matcher.view(scene) for scene in scenes)
            visualize_matches(left, right, result, figure)
            overlay.unlink(missing_ok=True)
            if result.model is not None:
                visualize_overlay(left, right, result, overlay)
    except OutputError:
        raise
    except InputError as error:
        return _Outcome("failed", why=str(error))
    return _Outcome("no match" if result.model is None else "matched", result.summary)


def _matcher(values: dict[str, Any]) -> ImageMatcher:
    """Make the matcher of the options as click gives them.

    Raises:
        click.UsageError: --resize is none.
        ValueError: the matcher has no such option.
    """
    from sentinel_match.images import ImageMatcher
    from sentinel_match.matching.attempt import ROTATIONS

    try:
        sides = tuple(int(n) for n in values["resize"].lower().split("x"))
    except ValueError:
        raise click.UsageError("--resize is one number, WIDTHxHEIGHT, or -1") from None
    if len(sides) > 2 or (min(sides) < 1 and sides != (-1,)):
        raise click.UsageError("--resize is one number, WIDTHxHEIGHT, or -1")
    resize = None if sides == (-1,) else sides[0] if len(sides) == 1 else (sides[0], sides[1])
    rotations = (0.0,) if values["no_rotation"] else ROTATIONS
    names = ("matcher", "device", "max_keypoints", "keypoint_threshold", "nms_radius", "confidence", "model", "windows")
    return ImageMatcher(resize=resize, rotations=rotations, seed=values["seed"], **{n: values[n] for n in names})


def _pairs(names: tuple[Path, ...], values: dict[str, Any]) -> list[_ImagePair]:
    """List the pairs to match, in order.

    Raises:
        click.UsageError: they are given in no way, or in several.
        BadList: a line of the list is no pair.
    """
    folder = values["input_dir"] or Path()
    ways = [bool(names), values["listing"] is not None, bool(values["indexes_of_images"])]
    if sum(ways) != 1 or len(names) not in {0, 2}:
        raise click.UsageError("give LEFT and RIGHT, or --pairs, or --input-dir with --indexes-of-images")
    if names:
        return [_ImagePair(folder / names[0], folder / names[1])]
    if values["listing"]:
        pairs = _read_list(values["listing"], folder)
        if values["shuffle"]:
            import random

            random.Random(values["seed"]).shuffle(pairs)  # noqa: S311 - an order, no secret
        return pairs[: values["max_length"]]
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
    click.echo("\n".join(f"{k:4d} {path.name}" for k, path in enumerate(paths)), err=True)
    i, j = values["indexes_of_images"]
    if not (0 <= i < len(paths) and 0 <= j < len(paths)):
        raise click.UsageError(f"{folder} has {len(paths)} images, numbered from 0 as listed")
    return [_ImagePair(paths[i], paths[j])]


def _read_list(path: Path, folder: Path) -> list[_ImagePair]:
    """Read the pairs of a list, whose names are in a folder.

    Raises:
        BadList: it cannot be read, or a line is no pair.
    """
    from sentinel_match.errors import BadList
    from sentinel_match.products.files import read_text

    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadList(path, f"it cannot be read ({error})") from error
    pairs = []
    for number, line in enumerate(lines, 1):
        words = line.split("#")[0].replace(",", " ").split()
        if not words:
            continue
        turns = words[2:4]
        if len(words) < 2 or len(turns) == 1 or not all(t in {"0", "1", "2", "3"} for t in turns):
            raise BadList(path, f"line {number} is not two names, then nothing or the quarter turns 0 to 3 of both")
        left_turns, right_turns = (int(t) for t in turns) if turns else (0, 0)
        pairs.append(_ImagePair(folder / words[0], folder / words[1], (left_turns, right_turns)))
    return pairs
