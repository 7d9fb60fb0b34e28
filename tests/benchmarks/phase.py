"""Figures behind ``phase``: intensity against orientation, single windows against averages, and how sure a peak is.

python tests/benchmarks/seasons.py SHARED OUT
python tests/benchmarks/phase.py OUT/pairs.csv [SET …]

For each pair: grid points within 1 px of the truth, and how many of the most distinct ones are right at 95 % precision.
Then the log-odds of a right peak (``phase.PEAK_LOG_ODDS``), fitted to every second pair and checked on the others.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize

from sentinel_match.errors import PairError
from sentinel_match.evaluate.listing import read_list
from sentinel_match.evaluate.samples import Sampling, prepare
from sentinel_match.matchers.correlation import Correlator, part, peaks
from sentinel_match.matchers.phase import PEAK_LOG_ODDS
from sentinel_match.models.field import averaged

SPACING, WINDOW, RADIUS = 16, 64, 8
SUPPORTS = tuple(PEAK_LOG_ODDS)


def at_precision(error: np.ndarray, distinct: np.ndarray, least: float = 0.95) -> int:
    right = error[np.argsort(-distinct)] < 1
    share = np.cumsum(right) / np.arange(1, len(right) + 1)
    enough = np.flatnonzero(share[20:] >= least)
    return int(enough[-1]) + 21 if len(enough) else 0


def fitted(rows: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    x, y = np.concatenate([r[0] for r in rows]), np.concatenate([r[1] for r in rows])
    weight = np.concatenate([np.full(len(r[1]), 1 / len(r[1]) / len(rows)) for r in rows])

    def loss(b: np.ndarray) -> float:
        return float((weight * (np.logaddexp(0, x @ b) - y * (x @ b))).sum())

    return np.asarray(minimize(loss, [0, 1, -1]).x)


def main(pairs: Path, sets: list[str]) -> None:
    warnings.simplefilter("ignore")
    evidence: dict[float, list[tuple[np.ndarray, np.ndarray]]] = {support: [] for support in SUPPORTS}
    for listed in read_list(pairs):
        if listed.hidden or listed.warp != "none" or (sets and listed.set not in sets):
            continue
        try:
            sample = prepare(listed, Sampling())
        except PairError:
            continue
        left, right = (view.side().first for view in (sample.left, sample.right))
        rows, cols = (np.arange(SPACING // 2, n, SPACING) for n in left.valid.shape)
        grid = np.column_stack([k.ravel() for k in np.meshgrid(cols, rows)]).astype(float)
        aside = sample.truth[:2, 2] - np.round(sample.truth[:2, 2])
        to = np.round(grid + sample.truth[:2, 2])
        for view in ("intensity", "orientation"):
            a, b = (
                part([image.pixels], np.asarray(image.valid), at, WINDOW, view, torch.device("cpu"))
                for image, at in ((left, grid), (right, to))
            )
            height, clear = Correlator(a, b, WINDOW, view).surfaces(grid, to, RADIUS)
            field = (height * clear[:, None, None]).view(len(rows), len(cols), -1)
            weight = clear.view(len(rows), len(cols), 1)
            said = []
            for support in SUPPORTS:
                mean = averaged(field, support / SPACING) / averaged(weight, support / SPACING).clamp_min(1e-6)
                top = peaks(mean.reshape(height.shape))
                use = top.inside & (clear.numpy() > 0.4)
                error = np.hypot(*(top.shift - aside).T)[use]
                ratio = top.second[use] / np.maximum(top.quality[use], 1e-3)
                said.append(f"{(error < 1).sum():5d} right, {at_precision(error, -ratio):5d} at 95 %")
                if view == "orientation":
                    logs = np.log(np.clip([top.quality[use], top.second[use]], 1e-3, None))
                    evidence[support].append((np.column_stack([np.ones(use.sum()), *logs]), error < 1))
            print(f"{listed.name[-50:]:50s} {view:11s} {use.sum():5d} windows: " + " | ".join(said), flush=True)
    for support, found in evidence.items():
        some = [one for one in found if len(one[1])]
        b = fitted(some[::2])
        x, y = (np.concatenate([one[k] for one in some[1::2]]) for k in (0, 1))
        p = 1 / (1 + np.exp(-x @ b))
        bins = [
            f"{lo:.2f}: {y[k].mean():.3f} of {k.sum()}"
            for lo, hi in ((0.5, 0.8), (0.8, 0.9), (0.9, 0.95), (0.95, 1))
            if (k := (p >= lo) & (p < hi)).any()
        ]
        print(f"support {support:g}: {np.round(b, 2)}; right on the other half by probability {', '.join(bins)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
