"""``sentinel-match images``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sentinel_match.cli import terminal

if TYPE_CHECKING:
    from sentinel_match.images import ImageMatcher

IMAGES = {".jp2", ".tif", ".tiff", ".jpg", ".jpeg", ".png"}


@click.command()
@click.argument("names", nargs=-1, metavar="[LEFT RIGHT]", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of results."
)
@click.option(
    "--pairs",
    "listing",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Two names a line, separated by blanks or a comma, then the quarter turns that set each upright, if any.",
)
@click.option("--input-dir", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Where the names are.")
@click.option(
    "--indexes-of-images", nargs=2, type=int, help="Two of the images of --input-dir, counted from 0 in order of name."
)
@click.option("--shuffle", is_flag=True, help="Take the pairs in an order drawn with --seed.")
@click.option("--max-length", type=click.IntRange(0), help="Take so many pairs at most.")
@click.option(
    "--resize", default="1024", show_default=True, help="Longer side in pixels, or WIDTHxHEIGHT, or -1 for as is."
)
@click.option("--matcher", default="aliked+lightglue", show_default=True, help="See `sentinel-match matchers`.")
@click.option("--max-keypoints", type=click.IntRange(1), help="Of each image (default: the matcher's).")
@click.option("--keypoint-threshold", type=float, help="Lowest score of a keypoint (default: the matcher's).")
@click.option("--nms-radius", type=click.IntRange(1), help="Pixels to the next keypoint (default: the matcher's).")
@click.option("--confidence", type=click.FloatRange(0, 1), help="Lowest of a match (default: the matcher's).")
@click.option("--no-rotation", is_flag=True, help="Both images are upright: try no other angle.")
@click.option(
    "--model",
    type=click.Choice(["translation", "similarity", "affine", "homography"]),
    default="similarity",
    show_default=True,
    help="What the matches must agree on.",
)
@click.option("--windows", type=click.IntRange(0), default=0, help="Windows to match again at full resolution.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, or auto: cuda where there is one.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of --shuffle and the robust fit.")
@click.option("--force", is_flag=True, help="Match again what is already done the same way.")
@click.option("--viz", is_flag=True, help="Write a figure of each pair.")
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

    summary: dict[str, Any] = {}
    for k, (left, right, turns) in enumerate(pairs):
        name = f"{left.stem}_{right.stem}_matches"
        if name in summary:  # two folders with files of the same names
            name = f"{name}_{k}"
        if not ctx.obj:
            click.echo(f"[{k + 1}/{len(pairs)}] {left.name} {right.name}", err=True)
        summary[name] = {"left": str(left), "right": str(right)} | _one(
            matcher, left, right, turns, output / f"{name}.npz", force=values["force"], viz=values["viz"]
        )
        write_text(output / "summary.json", json.dumps(summary, indent=1) + "\n")
    rows = [
        [n, s["status"], s.get("matches"), s.get("believed"), s.get("angle"), s.get("why")] for n, s in summary.items()
    ]
    terminal.print_table(
        f"{len(rows)} pairs", ["pair", "outcome", "matches", "believed", "angle", "why"], rows, ["matches", "believed"]
    )
    lost = any(s["status"] == "no match" for s in summary.values())
    if lost and not ctx.obj and values["matcher"] != "phase":
        click.echo("images that lie nearly on each other already: try --matcher phase", err=True)
    if lost or any(s["status"] == "failed" for s in summary.values()):
        ctx.exit(1)


def _one(
    matcher: ImageMatcher, left: Path, right: Path, turns: tuple[int, int], target: Path, *, force: bool, viz: bool
) -> dict[str, Any]:
    """Match one pair, or find it done; what goes wrong is told, not raised."""
    from sentinel_match.cache import digest
    from sentinel_match.errors import InputError, OutputError
    from sentinel_match.images import visualize_matches
    from sentinel_match.products.catalogue import read_scene

    try:
        scenes = read_scene(left), read_scene(right)
        # As it comes back from the file
        bands = [[b.asset.sha256() for b in scene.bands] for scene in scenes]
        recipe = json.dumps([matcher.recipe, bands, turns], default=str, sort_keys=True)
        done = None if force else _done(target, digest({"recipe": recipe}))
        figure = target.with_suffix(".png")
        if done is not None and (figure.exists() or not viz):
            return {"status": "kept" if done["matrix"] else "no match", **done}
        result = matcher.match_images(*scenes, quarter_turns=turns)
        result.save(target, digest({"recipe": recipe}))
        if viz:
            visualize_matches(matcher.view(scenes[0]), matcher.view(scenes[1]), result, figure)
    except OutputError:
        raise
    except InputError as error:
        return {"status": "failed", "why": str(error)}
    return {"status": "no match" if result.model is None else "matched", **result.summary}


def _done(path: Path, key: str) -> dict[str, Any] | None:
    """The summary of a pair that was matched in the same way, or ``None``."""
    import zipfile

    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as stored:
            if str(stored["key"]) != key:
                return None
            summary: dict[str, Any] = json.loads(str(stored["summary"]))
            return summary
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _matcher(values: dict[str, Any]) -> ImageMatcher:
    from sentinel_match.images import ImageMatcher
    from sentinel_match.matching.unguided import ROTATIONS

    given = values["resize"].lower().split("x")
    try:
        sides = tuple(int(n) for n in given)
    except ValueError:
        raise click.UsageError("--resize is one number, WIDTHxHEIGHT, or -1") from None
    if len(sides) > 2 or (min(sides) < 1 and sides != (-1,)):
        raise click.UsageError("--resize is one number, WIDTHxHEIGHT, or -1")
    resize = None if sides == (-1,) else sides[0] if len(sides) == 1 else (sides[0], sides[1])
    same = ("matcher", "device", "max_keypoints", "keypoint_threshold", "nms_radius", "confidence", "model", "seed")
    rotations = (0.0,) if values["no_rotation"] else ROTATIONS
    chosen = {name: values[name] for name in (*same, "windows")}
    return ImageMatcher(resize=resize, rotations=rotations, **chosen)


def _pairs(names: tuple[Path, ...], values: dict[str, Any]) -> list[tuple[Path, Path, tuple[int, int]]]:
    """The pairs to match, in order, with the quarter turns of each image."""
    folder = values["input_dir"] or Path()
    ways = [bool(names), values["listing"] is not None, bool(values["indexes_of_images"])]
    if sum(ways) != 1 or len(names) not in {0, 2}:
        raise click.UsageError("give LEFT and RIGHT, or --pairs, or --input-dir with --indexes-of-images")
    if names:
        return [(folder / names[0], folder / names[1], (0, 0))]
    if values["listing"]:
        pairs = [(folder / a, folder / b, turns) for a, b, turns in _listed(values["listing"])]
        if values["shuffle"]:
            import random

            random.Random(values["seed"]).shuffle(pairs)  # noqa: S311 - an order, no secret
        return pairs[: values["max_length"]]
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGES)
    said = "\n".join(f"{k:4d} {path.name}" for k, path in enumerate(found))
    click.echo(said, err=True)
    i, j = values["indexes_of_images"]
    if not (0 <= i < len(found) and 0 <= j < len(found)):
        raise click.UsageError(f"{folder} has {len(found)} images, numbered from 0 as listed")
    return [(found[i], found[j], (0, 0))]


def _listed(path: Path) -> list[tuple[str, str, tuple[int, int]]]:
    from sentinel_match.errors import BadList

    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split("#")[0].replace(",", " ").split()
        if not words:
            continue
        turns = words[2:4]
        if len(words) < 2 or len(turns) == 1 or not all(t in {"0", "1", "2", "3"} for t in turns):
            raise BadList(path, f"line {number} is not two names, then nothing or the quarter turns 0 to 3 of both")
        one, other = (int(t) for t in turns) if turns else (0, 0)
        pairs.append((words[0], words[1], (one, other)))
    return pairs
