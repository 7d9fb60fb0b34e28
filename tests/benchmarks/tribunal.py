"""Pairs that share something besides the ground: who believes them?

python tests/benchmarks/tribunal.py [DATA] [--seeds 200] [--first N] [--kinds KIND …] [--append FILE.csv]
python tests/benchmarks/tribunal.py --count FILE.csv

Each seed is a pair: a kind of ``sentinel_match.testing.adversaries``, its parameters, a crop of 512 px of a real image
(or of two dates of it, or of invented ground) drawn by chance; matched as a user would, with nothing chosen.
What comes of it, ``right``, ``refused``, ``warned`` or ``SILENT``, is said in ``sentinel_match.testing.tribunal``.
"""

from __future__ import annotations

import argparse
import csv
import logging
import os
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from distortions import BETWEEN, SHARED, WITHIN, crop
from scipy import ndimage

from sentinel_match.testing.adversaries import KINDS, adversary
from sentinel_match.testing.tribunal import tried
from sentinel_match.testing.witness import MARGIN, Ground

SIDE, GSD = 512, 10.0
FIELDS = ("number", "kind", "place", "said", "name", "points", "z", "ce95", "claim", "high", "cpu", "why")
OWN_SHIFT = {"boadella_10m/20200113": (0.5, -0.35), "boadella_10m/20200202": (0.2, -0.45), "biomassters": (-0.1, 1.07)}
"""Pixels by which the later image of two dates lies off the first by itself, as ``phase`` and three estimators say."""
SEASON = 0.25
"""Pixels by which two dates differ besides: shadows, changed ground."""
INVENTED = 0.1
"""Share of seeds on invented ground."""


def scaled(image: np.ndarray) -> np.ndarray:
    """Bring percentiles 1 and 99 to 0 and 1; what is no data becomes their middle."""
    known = image > 0
    low, high = np.percentile(image[known], (1, 99))
    return np.where(known, np.clip((image - low) / (high - low), -0.2, 2), 0.5)


def invented(seed: int, side: int) -> np.ndarray:
    """Render invented ground."""
    from sentinel_match.testing.noise import octaves

    x = np.arange(side) * GSD
    return 0.5 + 0.2 * np.asarray(octaves(seed, 20, 2560, 0.7).at(x, x), float)


def grounds(data: Path, rng: np.random.Generator) -> tuple[Ground, str]:
    """Draw ground: of one date, of two dates, or invented; and ground of another place."""
    side = SIDE + 2 * MARGIN
    if rng.random() < INVENTED:
        here, other = (invented(int(rng.integers(1 << 30)), side) for _ in range(2))
        return Ground(here, here, other), "invented"
    if rng.random() < 0.25:
        dates = BETWEEN[rng.integers(len(BETWEEN))]
        name = f"{dates[0].path.split('/')[0]} two dates"
        own = next((shift for part, shift in OWN_SHIFT.items() if dates[0].path.startswith(part)), (0.0, 0.0))
    else:
        dates = (WITHIN[rng.integers(len(WITHIN))],) * 2
        name = dates[0].path.split("/")[0]
    parts = [scaled(part) for part in crop(data, dates, rng, side)]
    if "two dates" in name:
        parts[1] = ndimage.shift(parts[1], (-own[1], -own[0]), order=5, mode="mirror")
    while True:
        other = WITHIN[rng.integers(len(WITHIN))]
        if other.path != dates[0].path:
            break
    elsewhere = scaled(crop(data, (other,), rng, side)[0])
    n = min(*parts[0].shape, *elsewhere.shape)
    return Ground(*(image[:n, :n] for image in (*parts, elsewhere))), name


def count(rows: list[dict[str, str]]) -> None:
    """Print how often each came of each kind."""
    outcomes = ("right", "warned", "refused", "SILENT")
    print(f"{'kind':24s}" + "".join(f"{name:>9s}" for name in outcomes))
    table: dict[str, Counter[str]] = {}
    for row in rows:
        for kind in (row["kind"], "all"):
            table.setdefault(kind, Counter())[row["name"]] += 1
    for kind in (*(k for k in KINDS if k in table), "all"):
        print(f"{kind:24s}" + "".join(f"{table[kind][name]:9d}" for name in outcomes))


def main(given: argparse.Namespace) -> None:
    """Judge, and count."""
    if given.count:
        with given.count.open(encoding="utf-8") as file:
            count(list(csv.DictReader(file)))
        return
    done: list[dict[str, str]] = []
    kinds = given.kinds or list(KINDS)
    for number in range(given.first, given.first + given.seeds):
        rng = np.random.default_rng(number)
        kind = kinds[number % len(kinds)]
        ground, name = grounds(given.data, rng)
        pair = adversary(kind, ground, rng)
        with tempfile.TemporaryDirectory() as folder:
            outcome = tried(pair, Path(folder), matcher=given.matcher, loose=SEASON * ("two dates" in name))
        row = {"number": number, "kind": kind, "place": name, "said": pair.said, **vars(outcome)}
        done.append({key: str(row.get(key, "")) for key in FIELDS})
        if given.append:
            new = not given.append.exists()
            with given.append.open("a", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, FIELDS)
                if new:
                    writer.writeheader()
                writer.writerow(done[-1])
        shown = {key: value for key, value in done[-1].items() if value and key != "why"}
        print(*shown.values(), "|", done[-1]["why"][:230], flush=True)
    count(done)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    warnings.simplefilter("ignore")
    logging.disable()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=SHARED)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS))
    parser.add_argument("--matcher", default="phase")
    parser.add_argument("--append", type=Path, metavar="FILE.csv")
    parser.add_argument("--count", type=Path, metavar="FILE.csv")
    main(parser.parse_args())
