"""What the terminal shows of results: tables on stdout, what a user should know of them on stderr."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from sentinel_match.accuracy.ecc import silence
from sentinel_match.accuracy.requirement import LEAST_INLIERS
from sentinel_match.cli.tables import print_sentence, print_table
from sentinel_match.geometry.kinds import whole_overlap
from sentinel_match.wording import counted

if TYPE_CHECKING:
    from pathlib import Path

    from sentinel_match.accuracy.series_report import SeriesReport
    from sentinel_match.comparison import Comparison, TerrainEffect
    from sentinel_match.opinions import SecondEstimate
    from sentinel_match.run_folder import Outcome, RunRecord
    from sentinel_match.summary import HoldOut, Summary


MOST_REFUSALS = 5
"""Refused pairs that a run without any pair lists."""


ON_MODEL = "not known: each point is where the model has it"


def print_summary(left: str, right: str, summary: Summary) -> None:
    """Print the figures of one pair, in words a user cannot misread."""
    s, held = summary, summary.hold_out
    rows = [
        ["tie points", f"{s.inliers:,} believed of {s.points:,} {_tried(s)}"],
        ["shift, right minus left", f"{s.median_dx_m:+.2f} m east, {s.median_dy_m:+.2f} m north (median)"],
        ["model", f"{_model(s.transform.kind)}, measured in band {s.band} at {s.gsd_m:g} m a pixel"],
        ["scatter around it", ON_MODEL if s.on_model else f"NMAD {s.nmad_x_px:.3f} px in x, {s.nmad_y_px:.3f} px in y"],
        ["unseen check points", _checked(held) if held and s.inliers >= LEAST_INLIERS else "too few"],
        ["verdict", s.verdict],
    ]
    if compared := s.comparison:  # points alone, without their images, say no more
        rows[1:1] = [["found by", f"{compared.matcher.name}: {compared.matcher.verdict}"]]
        rows[-1:-1] = [["second estimator", _second(compared.second)], ["coverage", _covered(s.km_cells, compared)]]
        if compared.moving_ground:
            rows[-1:-1] = [["moving ground", compared.moving_ground]]
        if compared.terrain:
            rows[-1:-1] = [["terrain", compared.terrain.verdict], *_relief(compared.terrain)]
    print_table(f"{left} (left) and {right} (right)", ["", ""], rows)


def _model(kind: str) -> str:
    """Name a kind of transform; of a translation say that it is one shift, which no user shall take for a field."""
    return f"{kind}: {whole_overlap(kind)}" if kind == "translation" else kind


def _relief(terrain: TerrainEffect) -> list[list[str]]:
    """Write what the shift has to do with the heights of the user's model."""
    if terrain.dem is None:
        return []
    if not terrain.relations:
        return [["relief", f"{terrain.dem} says nothing: the ground is flat there, or it covers too little"]]
    return [
        [of, "; ".join(one.verdict for one in terrain.relations if one.of == of)]
        for of in dict.fromkeys(one.of for one in terrain.relations)
    ]


def _tried(summary: Summary) -> str:
    if summary.comparison and summary.edits is None:
        tried = summary.comparison.candidates  # fewer where two matches are tried at one place
        return f"measured ({tried:,} tried)" if tried > summary.points else "measured"
    if summary.edits is None:
        return "measured"
    edits = summary.edits
    counts = {
        "deleted": edits.deleted,
        "moved": edits.moved,
        "rejected by hand": edits.rejected_by_hand,
        "kept by hand": edits.kept_by_hand,
    }
    words = [f"{count:,} {word}" for word, count in counts.items() if count]
    return f"in {edits.source} ({', '.join(words) or 'nothing edited'})"


def _checked(held: HoldOut) -> str:
    low, high = held.ce90_interval
    gross = f"{100 * held.gross_share:.1f} % of {held.points:,} grossly wrong"
    bias = f"bias {held.bias_x:+.2f} east, {held.bias_y:+.2f} m north"
    ce95 = f"CE95 {held.ce95:.2f} m"
    if held.allowance:
        ce95 += f", {held.allowance:.2f} m of each allow for coarse detail that lies elsewhere than fine detail"
    return f"CE90 {held.ce90:.2f} m ({low:.2f} to {high:.2f}), {ce95}, {bias}; {gross}"


def _second(second: SecondEstimate) -> str:
    if second.agrees is None:
        return f"no answer: {silence(second)}"
    before = f"{second.before_dx_m:+.2f} m east, {second.before_dy_m:+.2f} m north before correction"
    after = f"{second.after_dx_m:+.2f} m east, {second.after_dy_m:+.2f} m north after"
    return f"{second.estimator} in {second.answers} windows: {before}; {after}"


def _covered(cells: int, compared: Comparison) -> str:
    share, beyond = compared.coverage.share, compared.coverage.extrapolated_share
    text = f"{cells:,} cells of 1 km; {share:.0%} of {compared.jointly_clear_km2:,.0f} km² clear in both"
    return f"{text}; over {beyond:.0%} the model extrapolates" if beyond else text


def print_run(output: Path, *, as_json: bool = False) -> None:
    """Print what a run did, from its folder: tables on stdout, refusals and failures on stderr.

    Raises:
        NotARun: the folder is none of a run.
    """
    from sentinel_match.formats.geojson import dumps
    from sentinel_match.run_folder import SERIES, read_run, read_series

    record, series = read_run(output), read_series(output)
    outcomes = record.pairs
    if as_json:
        click.echo(json.dumps(json.loads(dumps(record.to_dict())), indent=1))
    else:
        measured = ["band", "tie points", "east m", "north m", "model", "NMAD x y px", "CE90 m", "1 km cells hit"]
        title = f"{counted(len(outcomes), 'pair')} of {counted(len(record.scenes), 'scene')}"
        rows = [_outcome_row(outcome) for outcome in outcomes]
        print_table(title, ["pair", "outcome", "verdict", *measured], rows, right=measured[1:])
        compared = [(one.id, one.summary.comparison) for one in outcomes if one.summary and one.summary.comparison]
        for name, comparison in ((n, c) for n, c in compared if c.moving_ground):
            print_sentence(f"moving ground of {name}: {comparison.moving_ground}")
        for one in series:
            _print_series(one)
    for name in (acquisition.id for one in series for acquisition in one.acquisitions if acquisition.disagrees):
        click.echo(f"disagrees with the other acquisitions: {name}, see {output / SERIES}", err=True)
    for outcome in outcomes:
        if outcome.summary and outcome.summary.doubtful:
            click.echo(f"doubtful: {outcome.id}: {outcome.summary.doubt}", err=True)
    for refused in record.refused:
        click.echo(f"refused: {refused.reason}", err=True)
    for outcome in outcomes:
        if outcome.status == "failed":
            click.echo(f"failed: {outcome.id}: {outcome.error}", err=True)
    _print_undone(output, record)


def _print_undone(output: Path, record: RunRecord) -> None:
    """Say which pairs are still to be matched, or why there is none."""
    from sentinel_match.run_folder import count_left, read_refusals

    if left := count_left(output, record):
        click.echo(f"stopped: {counted(left, 'pair')} still to be matched; the same run goes on", err=True)
    elif not record.pairs:
        refusals, count = read_refusals(output)
        for refusal in refusals[:MOST_REFUSALS]:
            click.echo(f"refused: {refusal}", err=True)
        more = f"{count - MOST_REFUSALS:,} more refused, " if count > MOST_REFUSALS else ""
        remedy = "`sentinel-match pairs ARCHIVES --refused` lists all reasons, `sentinel-match run --help` the limits"
        click.echo(f"no pair to match: {more}{remedy}", err=True)


def _outcome_row(outcome: Outcome) -> list[object]:
    from sentinel_match.report.html import grade

    s = outcome.summary
    if s is None:
        return [outcome.id, outcome.status]
    return [
        outcome.id,
        outcome.status,
        grade(s)[1],
        f"{s.band} {s.gsd_m:g} m",
        f"{s.inliers:,}",
        f"{s.median_dx_m:+.2f}",
        f"{s.median_dy_m:+.2f}",
        s.transform.kind,
        None if s.on_model else f"{s.nmad_x_px:.3f} {s.nmad_y_px:.3f}",
        f"{s.hold_out.ce90:.2f}" if s.hold_out else None,
        s.km_cells,
    ]


def _print_series(series: SeriesReport) -> None:
    """Print where each acquisition lies against the others."""
    rows = [
        [
            row.id,
            f"{row.dx_m:+.2f} ± {row.sigma_dx_m:.2f}",
            f"{row.dy_m:+.2f} ± {row.sigma_dy_m:.2f}",
            f"{row.dx_px:+.3f} {row.dy_px:+.3f}",
            row.pairs,
            "disagrees" if row.disagrees else "",
        ]
        for row in series.acquisitions
    ]
    columns = ["acquisition", "east m", "north m", "east north px", "pairs", ""]
    closures = [float(sum(v * v for v in loop.closure) ** 0.5) for loop in series.loops]
    worst = f"{counted(len(closures), 'triangle')} closed to {max(closures):.2f} m or better" if closures else ""
    title = f"One series: offset of each acquisition from the median of {len(rows)}; {worst or series.caveat}"
    print_table(title, columns, rows, right=columns[1:5])
