"""Pairs that share something besides the ground: who believes them?

python tests/benchmarks/tribunal.py [DATA] [--seeds 200] [--first N] [--kinds KIND …] [--append FILE.csv]
python tests/benchmarks/tribunal.py --count FILE.csv

Each seed is a pair: a kind of ``sentinel_match.testing.adversaries``, its parameters, a crop of 512 px of a real image
(or of two dates of it, or of invented ground) drawn by chance; matched as a user would, with nothing chosen.
What comes of it:

* **right**: believed, and true within what is said: nine of ten inliers lie within 3 sigma of the truth along both axes
  of their ellipse (or a twentieth of a pixel), and the true CE95 of the correction over all ground is no larger than
  the upper end of its interval (or a tenth of a pixel);
* **refused**: no points, exit status 1;
* **warned**: points, and a verdict that withholds its promise (contradicted, not confirmed, not proven, or that may or
  may not meet anything), or exit status 1;
* **SILENT**: believed, and wrong.

Where the displacement cannot be known along some direction, errors along it do not count for the CE95, and for points
where sigma says so. Where the images show nothing in common, all that is not refused or warned is silent. Of honest
pairs, ``right`` is what counts.
"""

from __future__ import annotations

import argparse
import csv
import logging
import os
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rasterio
from distortions import BETWEEN, SHARED, WITHIN, crop
from rasterio.transform import from_origin
from scipy import ndimage

from sentinel_match.testing.adversaries import KINDS, adversary
from sentinel_match.testing.witness import MARGIN, Adversary, Ground

if TYPE_CHECKING:
    from sentinel_match import TiePoints

SIDE, GSD, RIM = 512, 10.0, 40
FIELDS = ("number", "kind", "place", "said", "outcome", "points", "z", "ce95", "claim", "high", "cpu", "why")
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


def write(folder: Path, pair: Adversary) -> tuple[Path, Path]:
    """Write a pair as 16 bits without a declared no-data value."""
    out = []
    for name, image in (("left", pair.left), ("right", pair.right)):
        path = folder / f"{name}.tif"
        rows, cols = image.shape
        profile = {"driver": "GTiff", "height": rows, "width": cols, "count": 1, "dtype": "uint16"}
        grid = from_origin(400_000, 5_000_000, GSD, GSD)
        with rasterio.open(path, "w", crs="EPSG:32633", transform=grid, **profile) as target:
            target.write(np.rint(300 + 2000 * image).clip(0, 65535).astype("u2"), 1)
        out.append(path)
    return out[0], out[1]


def by_axis(ties: TiePoints, errors: np.ndarray, good: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Take (N, 2) errors along and across the major axis of each inlier's ellipse; also return sigma, pixels."""
    said = {name: values[good] for name, values in ties.columns().items()}
    turn = np.radians(said["sigma_azimuth_deg"])
    unit = np.column_stack([np.sin(turn), -np.cos(turn)])  # rows run south
    across = unit[:, ::-1] * (1, -1)
    axes = np.column_stack([(errors * unit).sum(1), (errors * across).sum(1)])
    return axes, np.column_stack([said["sigma_major_m"], said["sigma_minor_m"]]) / GSD


def judged(pair: Adversary, left: Path, right: Path, season: bool, matcher: str) -> dict[str, object]:
    """Match a pair in this process, and say what came of it."""
    from sentinel_match import Options, match_scenes
    from sentinel_match.errors import PairError

    clock = time.process_time()
    try:
        ties = match_scenes(left, right, Options(matcher=matcher))
    except PairError as error:
        return {"outcome": "refused", "why": str(error), "cpu": round(time.process_time() - clock, 2)}
    cpu = round(time.process_time() - clock, 2)
    summary, good = ties.summary, ties.inlier
    row: dict[str, object] = {"points": int(good.sum()), "cpu": cpu, "why": summary.verdict}
    proof = summary.hold_out
    claim, high = (proof.ce95 / GSD, proof.ce95_interval[1] / GSD) if proof else (np.nan, np.nan)
    row |= {"claim": round(claim, 3), "high": round(high, 3)}
    open_ = not (" meets " in summary.verdict or " misses " in summary.verdict)
    withheld = summary.doubtful or proof is None or summary.second.agrees is None or open_
    wrong = True
    if pair.moved is not None:
        measured = ties.shift / GSD * (1, -1)
        errors = measured[good] - pair.true(ties.left_px[good])
        rows, cols = pair.left.shape
        x, y = np.meshgrid(np.arange(RIM, cols - RIM, 8.0), np.arange(RIM, rows - RIM, 8.0))
        places = np.column_stack([x.ravel(), y.ravel()]) + 0.5
        if pair.burnt is not None:  # no ground is there, or that of the left image
            places = places[~pair.burnt[tuple((places[:, ::-1] - 0.5).astype(int).T)]]
        metres = np.array([400_000, 5_000_000]) + places * GSD * (1, -1)
        left_over = pair.errors(places, ties.transform.shift(metres) / GSD * (1, -1))
        loose = pair.tolerance + SEASON * season
        axes, sigma = by_axis(ties, errors, good)
        off = np.abs(axes)
        z = float(np.median(np.hypot(*(axes / sigma).T)) / 1.1774)
        ce95 = float(np.percentile(np.hypot(*left_over.T), 95))
        row |= {"z": round(z, 2), "ce95": round(ce95, 3)}
        beyond = float((off > np.maximum(3 * sigma, 0.05 + loose)).any(1).mean())
        over = ce95 > max(high, 0.1 + loose) if np.isfinite(high) else False
        wrong = beyond > 0.1 or over
    if not wrong:
        row["outcome"] = "warned" if withheld else "right"
    else:
        row["outcome"] = "warned" if withheld else "SILENT"
    return row


def count(rows: list[dict[str, str]]) -> None:
    """Print how often each came of each kind."""
    outcomes = ("right", "warned", "refused", "SILENT")
    print(f"{'kind':24s}" + "".join(f"{name:>9s}" for name in outcomes))
    table: dict[str, Counter[str]] = {}
    for row in rows:
        for kind in (row["kind"], "all"):
            table.setdefault(kind, Counter())[row["outcome"]] += 1
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
            row = judged(pair, *write(Path(folder), pair), "two dates" in name, given.matcher)
        row = {"number": number, "kind": kind, "place": name, "said": pair.said, **row}
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
    sys.exit(0)
