"""What `evergreen` costs and finds beside `phase`, on the same grid of the same pairs.

python tests/benchmarks/evergreen.py cost                    work per megapixel and per 20,000 points, one thread
python tests/benchmarks/evergreen.py find LIST [WEIGHTS]     LIST: OUT/pairs.csv of `seasons.py SHARED OUT unseen`

``find``: of the points of a grid of 16 px, how many are within 1 px of the truth in single windows and in the widest
support; how many of the surest can be taken so that 95 % of them are (and 98 % within half a pixel); the median error
of those within 1.5 px; and how sure the method was of what it delivers against how much of that is right.
"""

from __future__ import annotations

import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from sentinel_match.evaluate.listing import read_list
from sentinel_match.evaluate.samples import Sampling, prepare
from sentinel_match.matchers import dense
from sentinel_match.matchers import evergreen as ever
from sentinel_match.matchers.evergreen import Evergreen
from sentinel_match.matchers.phase import PEAK_LOG_ODDS, Phase
from sentinel_match.matchers.prior import GeometricPrior
from sentinel_match.memory import PeakMemory
from sentinel_match.models.evergreen import FEATURE_STRIDE_PX, load
from sentinel_match.raster.masks import Masking
from sentinel_match.testing import Landscape

RADIUS = 12.0
SPACING = 16
CPU = torch.device("cpu")


def cost() -> None:
    """Measure work, CPU seconds and memory on an invented image of 1024 x 1024 px."""
    from affine import Affine
    from odc.geo.geobox import GeoBox

    torch.set_num_threads(1)
    box = GeoBox((1024, 1024), Affine(10, 0, 300_000, 0, -10, 5_600_000), "EPSG:32633")
    image = np.clip(Landscape(1).render(box) * 3, 0, 1).astype(np.float32)
    network = load(_weights())
    layers = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    work = sum(m.weight.numel() for m in layers) / FEATURE_STRIDE_PX**2
    parameters = sum(p.numel() for p in network.parameters())
    print(
        f"{parameters:,} parameters, {work / 1e3:.1f} thousand multiply-adds a pixel = {2 * work / 1e3:.1f} GFLOP/Mpx"
    )
    with PeakMemory() as memory:
        for matcher in (Phase(device="cpu"), Evergreen(device="cpu")):
            matcher.describe(image[:64, :64], image[:64, :64] >= 0)
            start = time.process_time()
            arrays = matcher.describe(image, image >= 0)
            described = (time.process_time() - start) / (image.size / 1e6)
            start = time.process_time()
            found = matcher.match(arrays, arrays, GeometricPrior(np.eye(3), 8.0))
            points = (1024 // matcher.spacing) ** 2
            matched = (time.process_time() - start) * 20_000 / points
            print(
                f"{matcher.name:10} features {described:.2f} CPU-s/Mpx, "
                f"{matched:.1f} CPU-s for 20,000 points within 8 px, "
                f"{len(found):,} of {points:,} found, peak {memory.bytes / 1e9:.1f} GB"
            )


def _weights() -> Path:
    from sentinel_match.models.shipped import EVERGREEN
    from sentinel_match.models.weights import verified

    return verified(EVERGREEN)


def find(listing: Path, weights: Path | None) -> None:
    """Print one row per pair, method and support."""
    network = load(weights or _weights())
    methods = {
        "phase": (dense.Grid(SPACING, 64, "orientation"), PEAK_LOG_ODDS),
        "evergreen": (
            dense.Grid(SPACING, ever.FEATURE_WINDOW, "intensity", FEATURE_STRIDE_PX),
            dict(zip(ever.FEATURE_SUPPORTS_PX, network.logit.tolist(), strict=True)),
        ),
    }
    delivered: dict[str, list[np.ndarray]] = {name: [] for name in methods}
    line = "{:52} {:10} {:>6} {:>6} {:>12} {:>9} {:>10} {:>6}"
    print(line.format("pair", "method", "grid", "right", "right, 48 px", "95 % @ 1", "98 % @ .5", "error"))
    for listed in read_list(listing):
        if listed.hidden or listed.warp != "none":
            continue
        sample = prepare(listed, Sampling(masking=Masking(brightness=False)))
        sides = [view.side(semantics=False).first for view in (sample.left, sample.right)]
        # The prior is off by the displacement
        prior = GeometricPrior(sample.prior, RADIUS)
        for name, (grid, odds) in methods.items():
            samples = []
            for image in sides:
                pixels = np.where(image.valid, image.pixels, 0).astype(np.float32)
                if name == "phase":
                    samples.append(dense.Samples([pixels], image.valid))
                else:
                    arrays = ever.described(network, pixels, image.valid, CPU)
                    samples.append(dense.Samples(list(arrays["features"]), arrays["sampled"]))
            found = dense.surfaces(samples[0], samples[1], sides[0].valid, prior, grid, CPU)
            clear = (found.clear.flatten() > 0.9).numpy()
            truth = found.points @ sample.truth[:2, :2].T + sample.truth[:2, 2] - found.expected
            answers = []
            for support in odds:
                top = found.tops(support, SPACING)
                answers.append((support, top.shift, dense.probability(top, odds[support]) * top.inside))
            miss = [np.hypot(*(shift - truth).T)[clear] for _, shift, _ in answers]
            score, shift, _ = dense.surest(iter(answers))
            error, score = np.hypot(*(shift - truth).T)[clear], score[clear]
            figures = (clear.sum(), (miss[0] < 1).sum(), (miss[-1] < 1).sum())
            sure = (surest(score, error < 1, 0.95), surest(score, error < 0.5, 0.98))
            typical = f"{np.median(error[error < 1.5]):.2f}" if (error < 1.5).any() else ""
            print(line.format(listed.name[:52], name, *figures, *sure, typical), flush=True)
            delivered[name].append(np.column_stack([score, error < 1]))
    print("\nof what a method calls so sure, so much is right:")
    for name, parts in delivered.items():
        score, right = np.concatenate(parts).T
        for low, high in pairwise((0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1.01)):
            inside = (score >= low) & (score < high)
            if inside.any():
                print(f"{name:10} {low:.2f} to {min(high, 1):.2f}: {right[inside].mean():.3f} of {inside.sum():,}")


def surest(score: np.ndarray, right: np.ndarray, share: float) -> int:
    """Count the most of the surest of which this share is right."""
    order = np.argsort(-score, kind="stable")
    good = np.flatnonzero(np.cumsum(right[order]) >= share * np.arange(1, len(order) + 1))
    return int(good.max() + 1) if len(good) else 0


if __name__ == "__main__":
    if sys.argv[1] == "cost":
        cost()
    else:
        find(Path(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
