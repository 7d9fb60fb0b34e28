"""What the methods of this package find in two bare pictures, without a prior: functions for ``evaluate``, and figures.

PYTHONPATH=tests/benchmarks sentinel-match evaluate PAIRS.csv -o OUT --function bare:loftr --function bare:sift ...
python tests/benchmarks/bare.py OUT/records.jsonl... : figures over the pairs that all methods were tried on
python tests/benchmarks/bare.py : CPU seconds of describing and matching two images of 640 x 640 pixels, one thread

PAIRS.csv is a list of pairs: ``seasons.py SHARED OUT unseen`` writes one; ``--benchmark seasons`` takes its place.
WEIGHTS_LOFTR, WEIGHTS_SUPERPOINT and WEIGHTS_LIGHTGLUE may name weights that are not shipped yet.
"""

from __future__ import annotations

import json
import os
import sys
import time
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from sentinel_match.matchers import create
from sentinel_match.testing.checks import example_pair

METHODS = {
    "loftr": "loftr",
    "aliked": "aliked+lightglue",
    "superpoint": "superpoint+lightglue",
    "sift": "sift",
}
RIGHT_SHARE = 0.8
"""A model is right where more of what it believes lies within 3 px."""


@cache
def method(name: str) -> Any:
    files = {"weights_file": os.environ.get(f"WEIGHTS_{name.upper()}")}
    if name == "superpoint":
        files["lightglue_file"] = os.environ.get("WEIGHTS_LIGHTGLUE")
    given = {option: Path(path) for option, path in files.items() if path}
    return create(METHODS[name], **given, **({} if name == "sift" else {"device": "cpu"}))


def ask(name: str, left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    one, other = (method(name).describe(image.astype(np.float32), image > 0) for image in (left, right))
    found = method(name).match(one, other)
    return found.left - 0.5, found.right - 0.5, found.score


loftr, aliked, superpoint, sift = (partial(ask, name) for name in METHODS)


def summarise(files: list[str]) -> None:
    records: dict[tuple[str, str], dict[str, Any]] = {}
    for file in files:
        for line in Path(file).read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            record = record.get("record", record)
            if record["kind"] in {"pair", "own"} and record["status"] != "failed":
                records[record["method"], record["sample"]] = record
    methods = sorted({name for name, _ in records if name != "prior"})
    common = set.intersection(*({sample for name, sample in records if name == m} for m in methods))
    strata = {
        "all": common,
        "unwarped": {s for s in common if "warped" not in s and "fields" not in s},
        "warped": {s for s in common if "warped" in s},
    }
    for stratum, samples in strata.items():
        for name in methods if samples else ():
            rows = [records[name, sample] for sample in samples]
            matched = [r for r in rows if r["status"] == "matched"]
            right = sum((r["believed_precision_3"] or 0) > RIGHT_SHARE for r in matched)
            mean = {
                key: np.mean([r[key] or 0 for r in rows])
                for key in ("correct_1", "precision_1", "precision_3", "cpu_seconds")
            }
            print(
                f"{stratum:9s} {name:16s} {len(rows):3d} pairs: right model {right / len(rows):.2f}, no match "
                f"{len(rows) - len(matched)}, wrong {len(matched) - right}; correct at 1 px {mean['correct_1']:.0f}; "
                f"right within 1 px {mean['precision_1']:.2f}, 3 px {mean['precision_3']:.2f}; "
                f"{mean['cpu_seconds']:.1f} CPU-s",
                flush=True,
            )


def measure() -> None:
    import torch

    torch.set_num_threads(1)
    pair = example_pair((37.3, -24.6), size=640, seasons=("spring", "summer"))
    for name, full_name in METHODS.items():
        for _ in range(2):  # the first one loads the network
            start = time.process_time()
            sides = [
                method(name).describe(*side) for side in ((pair.left, pair.left_valid), (pair.right, pair.right_valid))
            ]
            found = method(name).match(*sides)
            spent = time.process_time() - start
        error = np.hypot(*pair.error(found).T)
        print(f"{full_name:22s} {spent:5.2f} CPU-s, {len(found)} matches, {np.mean(error < 3):.2f} within 3 px")


if __name__ == "__main__":
    summarise(sys.argv[1:]) if sys.argv[1:] else measure()
