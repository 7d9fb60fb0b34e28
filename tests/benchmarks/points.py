"""Keypoints and descriptors by themselves, on ground that training never saw: ours, untrained, SIFT and ALIKED.

python tests/benchmarks/points.py SUPERPOINT ARCHIVE... [--hold-out PLACE]... [--share 0.35] [--cache FOLDER]

SUPERPOINT are weights, the rest says what ground they were trained on. Each method gives its best 128 keypoints of
208-px crops of two dates, of which some are turned by up to 30 degrees; nearest neighbours are mutual, without a
threshold. Figures are means over pairs of crops with 95 % bootstrap intervals: keypoints found again within a pixel,
mutual nearest neighbours within 3 px of the truth, and how many these are.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from sentinel_match.cache import Cache
from sentinel_match.matchers.aliked import AlikedLightGlue
from sentinel_match.matchers.sift import Sift
from sentinel_match.matchers.superpoint import SuperPointLightGlue, described
from sentinel_match.models.superpoint import SeasonsPoints, load
from sentinel_match.train import gather, hold_out
from sentinel_match.train.crops import held_out_crops
from sentinel_match.train.loop import seeded
from sentinel_match.train.points import POINT_CUTTING, Mark, judge_points
from sentinel_match.train.task import EXAM_SIDE_PX

BEST = 128
"""Keypoints: of many more than these, some lie near any point by chance."""
PAIRS = 60
"""Of each kind."""


def interval(values: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    means = values[rng.integers(0, len(values), (1000, len(values)))].mean(1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("archives", type=Path, nargs="+")
    parser.add_argument("--hold-out", action="append", default=[])
    parser.add_argument("--share", type=float, default=0.35)
    parser.add_argument("--cache", type=Path)
    given = parser.parse_args()
    places, _ = gather(given.archives, cache=given.cache and Cache(given.cache))
    ground = hold_out(places, given.share, given.hold_out)
    options, ours = SuperPointLightGlue(max_keypoints=BEST, device="cpu"), load(given.weights)
    with seeded(0):
        untrained = SeasonsPoints().eval()
    methods = {
        "ours": partial(described, ours, options),
        "untrained": partial(described, untrained, options),
        "sift": Sift(max_keypoints=BEST).describe,
        "aliked": AlikedLightGlue(max_keypoints=BEST, device="cpu").describe,
    }
    rng = np.random.default_rng(0)
    for crops, kind in zip(
        held_out_crops(ground, replace(POINT_CUTTING, size=EXAM_SIDE_PX), 0),
        ("as they are", "changed as in training"),
        strict=True,
    ):
        batches = [crops.sample(6) for _ in range(PAIRS // 6)]
        print(f"{PAIRS} pairs {kind}, of {', '.join(sorted(crops.names))}")
        for name, describe in methods.items():
            marks = np.array([mark for batch in batches for mark in judge_points(batch, describe)])
            said = []
            for k, field in enumerate(Mark._fields):
                low, high = interval(marks[:, k], rng)
                said.append(f"{field} {marks[:, k].mean():.3f} ({low:.3f} to {high:.3f})")
            print(f"  {name:10s} {'   '.join(said)}", flush=True)


if __name__ == "__main__":
    main()
