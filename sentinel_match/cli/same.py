"""``sentinel-match same``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sentinel_match.cli import options
from sentinel_match.cli.paths import AnyPath, OutputPath
from sentinel_match.cli.progress import show_progress
from sentinel_match.cli.repeats import summed_up
from sentinel_match.cli.tables import print_sentence, print_table
from sentinel_match.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sentinel_match.locating.likeness import Likeness
    from sentinel_match.locating.separation import Separation

MOST_ROWS = 40
"""Pairs in the table, the likeliest."""


@click.command()
@click.argument("pictures", nargs=-1, required=True, type=AnyPath(path_type=Path))
@click.option(
    "--prior",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Probability that two of them show the same place, before they are looked at.",
)
@click.option(
    "--matcher", "matcher_name", help="Scores of this matcher instead, which compares the pictures as they lie."
)
@click.option(
    "--figure",
    type=OutputPath(".png", ".svg", ".pdf"),
    help="Draw how well each score tells places apart; needs folders that are places.",
)
@options.as_json
@click.pass_context
def same(
    ctx: click.Context,
    /,
    pictures: tuple[Path, ...],
    prior: float,
    matcher_name: str | None,
    figure: Path | None,
    as_json: bool,
) -> None:
    """Tell how probable it is that pictures show the same place.

    PICTURES are two pictures, or a folder whose pictures are all compared with one another; folders in it
    are taken for names of places, and then it is told how well each score separates pairs of one place from pairs of
    two (area under the curve, Wasserstein distance). Pictures may be of any season, angle and scale. Exits with 1
    where no two show the same place.
    """
    from sentinel_match.formats.geojson import dumps
    from sentinel_match.locating.figure import draw_separations
    from sentinel_match.locating.likeness import all_pairs
    from sentinel_match.locating.separation import clusters, separations

    with summed_up(), show_progress(quiet=ctx.obj) as progress:
        pairs = all_pairs(pictures, matcher=matcher_name, prior=prior, progress=progress)
    if not pairs:
        raise click.ClickException(f"{' '.join(map(str, pictures))}: these are not two pictures that can be read")
    found, groups = separations(pairs), clusters(pairs)
    if figure is not None and found:
        draw_separations(figure, found)
    if as_json:
        scores = {one.name: one.to_dict() for one in found}
        click.echo(dumps({"pairs": [pair.to_dict() for pair in pairs], "scores": scores, "clusters": groups}))
    else:
        _print_pairs(pairs)
        _print_scores(found)
        for group in (group for group in groups if len(group) > 1 and len(pairs) > 1):
            print_sentence(f"one place: {', '.join(group)}")
    if figure is not None and not found:
        raise click.ClickException("--figure: nothing says which pictures show one place; a folder a place does")
    if figure is not None and not ctx.obj:
        click.echo(f"wrote {figure}", err=True)
    if not any(pair.found for pair in pairs):
        ctx.exit(1)


def _print_pairs(pairs: Sequence[Likeness]) -> None:
    """Print the likeliest pairs."""
    name = next(iter(pairs[0].scores))
    best = sorted(pairs, key=lambda pair: (-pair.found, -pair.scores[name]))[:MOST_ROWS]
    rows = [
        [
            pair.left,
            pair.right,
            "same" if pair.found else "no",
            f"{pair.probability:.4f}" if pair.probability == pair.probability else None,
            f"{round(pair.scores[name], 1) + 0.0:.1f}",
            None if pair.angle is None else f"{pair.angle:.1f}°",
            None if pair.scale is None else f"{pair.scale:.3g}",
        ]
        for pair in best
    ]
    title = f"{counted(len(pairs), 'pair')}, {sum(pair.found for pair in pairs):,} of the same place"
    columns = ["left", "right", "place", "probability", name, "turned", "scale"]
    print_table(title, columns, rows, right=("probability", name, "turned", "scale"))


def _print_scores(found: Sequence[Separation]) -> None:
    """Print how well scores separate, where it is known what is to be separated."""
    if found:
        rows = [[one.name, f"{one.auc:.3f}", f"{one.above_all:.0%}", f"{one.distance:.2f}"] for one in found]
        title = f"{counted(len(found[0].same), 'pair')} of one place, {len(found[0].other):,} of two"
        print_table(title, ["score", "AUC", "above all others", "Wasserstein"], rows, right=("AUC",))
