"""Which score tells pictures of one place from those of two, across seasons, and is the probability right?

python tests/benchmarks/same_place.py [DATA] [--same 60] [--other 120] [--size 256] [--places report|tune|all]
    [--matchers sift aliked+lightglue phase] [--share LOW HIGH] [--first 0] [--figure PNG] [--json FILE]

Pairs are drawn as ``global_search.py`` draws them: two dates with a season between, any rotation, scales of .5 to 2, a
shared .3 to 1 of the smaller picture, gain, gamma, JPEG, frames, negatives; or two places. The search looks at each as
it is. Matchers hold to some degrees only, so each sees the right picture laid over the left one as the search has
it, rightly or not, for pairs of one place and of two alike; ``NAME, as they lie`` (for the first of them) does not.
Prints each score's area under the curve and the shares of true pairs above all others, and in bins of the probability
of ``same`` how many pairs it is said of and how many are of one place; its prior is the share of such pairs.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from global_search import SHARED, TUNED, drawn, shots

from sentinel_match.geometry.transform import PlaneTransform
from sentinel_match.images.matcher import ImageMatcher
from sentinel_match.locating.figure import draw_separations
from sentinel_match.locating.likeness import Likeness, _compared_by, _likeness
from sentinel_match.locating.separation import Separation, separations
from sentinel_match.matching.orientation import describe
from sentinel_match.matching.plane_model import overlaid
from sentinel_match.matching.sweep import sweep
from sentinel_match.matching.view import View

BINS = (0.0, 0.05, 0.2, 0.5, 0.8, 0.95, 0.999, 1.0)
AS_THEY_LIE = ", as they lie"
DRAWN = 2
"""Scores of each method in the figure, the best."""


def seen(image: np.ndarray, valid: np.ndarray) -> View:
    """Make a view of eight bits."""
    return View.of((image / 255).astype(np.float32), valid)


def judged(case: object, number: int, prior: float, matchers: dict[str, ImageMatcher]) -> dict[str, Likeness]:
    """Compare the two pictures of a case by the search and by each matcher."""
    places = case.facts["place"], case.facts["other"] or case.facts["place"]
    names = f"{number} left", f"{number} right"
    left, right = (seen(*one) for one in zip((case.left, case.right), case.valid, strict=True))
    sighting = sweep(describe(left), describe(right))
    told = {"search": _likeness(names, places, sighting, prior)}
    model = PlaneTransform("similarity", sighting.matrix, np.zeros(2))
    laid = overlaid(left, right, model)
    for name, matcher in matchers.items():
        views = (left, right) if name.endswith(AS_THEY_LIE) else laid
        named = [(n, place, view) for n, place, view in zip(names, places, views, strict=True)]
        told[name] = _compared_by(matcher, named)(0, 1)
    return told


def reliability(pairs: list[Likeness]) -> list[tuple[float, float, int, float, float]]:
    """List of each bin its ends, how many pairs it holds, the mean that is said of them, and the share that is so."""
    said, truth = np.array([p.probability for p in pairs]), np.array([p.is_same for p in pairs])
    bins = np.clip(np.searchsorted(BINS, said, "right") - 1, 0, len(BINS) - 2)
    return [
        (BINS[k], BINS[k + 1], int((bins == k).sum()), float(said[bins == k].mean()), float(truth[bins == k].mean()))
        for k in range(len(BINS) - 1)
        if (bins == k).any()
    ]


def draw_reliability(path: Path, rows: list[tuple[float, float, int, float, float]]) -> None:
    """Draw what is said against what is so, with intervals of Wilson."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    panel = figure.subplots()
    for _, _, count, said, true in rows:
        middle = (true + 2 / count) / (1 + 4 / count)
        half = 2 * np.sqrt(true * (1 - true) / count + 1 / count**2) / (1 + 4 / count)
        panel.plot([said, said], [middle - half, middle + half], color="tab:blue")
        panel.plot(said, true, "o", color="tab:blue")
        panel.annotate(f"{count}", (said, true), textcoords="offset points", xytext=(6, -10), fontsize=8)
    panel.plot((0, 1), (0, 1), color="grey", linewidth=0.8, linestyle=":")
    panel.set(xlabel="probability that is said", ylabel="share of pairs of one place", xlim=(-0.02, 1.05))
    panel.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="?", type=Path, default=SHARED)
    for name, value in (("same", 60), ("other", 120), ("size", 256), ("first", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--places", choices=("report", "tune", "all"), default="report")
    parser.add_argument("--matchers", nargs="*", default=["sift", "aliked+lightglue", "phase"])
    parser.add_argument("--share", type=float, nargs=2, default=(0.3, 1.0))
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    wanted = {"report": (False,), "tune": (True,), "all": (False, True)}[given.places]
    all_shots = [shot for shot in shots(given.data) if (shot.place in TUNED) in wanted]
    named = [*given.matchers, *(name + AS_THEY_LIE for name in given.matchers[:1])]
    matchers = {name: ImageMatcher(name.removesuffix(AS_THEY_LIE), rotations=(0.0,)) for name in named}
    prior = given.same / (given.same + given.other)
    kinds = [(k / given.same, k, False) for k in range(given.same)]
    kinds += [(k / given.other, k, True) for k in range(given.other)]
    pairs: dict[str, list[Likeness]] = {}
    began = time.process_time()
    for done, (_, k, unrelated) in enumerate(sorted(kinds), 1):  # both kinds by turns: a part is a sample too
        case = drawn(all_shots, given.first + k, given.size, (0.5, 2.0), tuple(given.share), unrelated)
        for name, likeness in judged(case, done, prior, matchers).items():
            pairs.setdefault(name, []).append(likeness)
        if done % 20 == 0 or done == len(kinds):
            report(pairs, time.process_time() - began, given)
    return 0


def report(pairs: dict[str, list[Likeness]], seconds: float, given: argparse.Namespace) -> None:
    """Print and draw what is known so far."""
    count, true = len(pairs["search"]), sum(pair.is_same for pair in pairs["search"])
    print(f"\n{true} pairs of one place, {count - true} of two, {seconds / count:.1f} CPU s each")
    scores: list[Separation] = []
    drawn_scores: list[Separation] = []
    for method, likenesses in pairs.items():
        for k, one in enumerate(separations(likenesses)):
            name = one.name if method == "search" else f"{method}: {one.name}"
            scores.append(replace(one, name=name))
            drawn_scores += scores[-1:] if k < DRAWN else []
    for one in sorted(scores, key=lambda one: -one.auc):
        print(f"{one.name:32s} AUC {one.auc:.3f}  above all others {one.above_all:.2f}  apart {one.distance:.2f}")
    rows = reliability(pairs["search"])
    for low, high, held, said, share in rows:
        print(f"said {low:g} to {high:g}: {held} pairs, {said:.3f} said, {share:.3f} are of one place")
    accepted = [pair for pair in pairs["search"] if pair.found]
    print(
        f"accepted: {sum(p.is_same for p in accepted)} of one place, {sum(not p.is_same for p in accepted)} of two",
        flush=True,
    )
    if given.figure:
        draw_separations(given.figure, sorted(drawn_scores, key=lambda one: -one.auc))
        draw_reliability(given.figure.with_stem(given.figure.stem + "_reliability"), rows)
    if given.json:
        given.json.write_text(json.dumps({one.name: one.to_dict() for one in scores}, indent=1))


if __name__ == "__main__":
    sys.exit(main())
