"""Two orbits over wrong heights: is the parallax measured, corrected, and told?

python tests/benchmarks/terrain.py [--pixels 600] [--seeds 3] [--errors 0 8 16] [--seasons summer autumn]

An invented tile is seen from 10.5° east and west, over a height model whose errors have a spectrum of frequency to -3
from 100 m to 10 km, and so many metres at one sigma: 8 is that of the model used until 2021. The right product lies
6.4 m east and 18.1 m north besides. Truth is the ground's own, to a thousandth of a pixel.

Per case: how far the shift varies (RMS about its mean, pixels), RMSE and CE95 of the delivered correction over the
ground inside a rim of 32 px, CE95 claimed; standard deviation of the true height errors, less a plane, beside that
told; share of what the shift varies along the parallax, with its standard error; CPU seconds.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from sentinel_match import match_scenes
from sentinel_match.testing import InventedProduct, Landscape
from sentinel_match.testing.terrain import Terrain

RIM_M, STEP_M = 320.0, 20.0


def shown(image: InventedProduct, at: np.ndarray) -> np.ndarray:
    """Compute (2, rows, cols) metres by which an image shows the ground at some places away from where it is."""
    shift = image.look.displacement
    return np.array(shift(*at)) if callable(shift) else np.multiply.outer(shift, np.ones(at.shape[1:]))


def case(seed: int, error: float, season: str, pixels: int) -> str:
    """Write a pair, match it, and say what came of it."""
    ground = Landscape(seed, terrain=Terrain(seed, error_m=error))
    left = InventedProduct(landscape=ground, date="2023-05-14", view=10.5, season="summer", pixels=pixels, masks=False)
    right = replace(left, date="2023-05-17", orbit=65, view=-10.5, displacement=(6.4, 18.1), season=season)
    with tempfile.TemporaryDirectory() as scratch:
        paths = [image.write(Path(scratch)) for image in (left, right)]
        clock = time.process_time()
        ties = match_scenes(*paths)
        cpu = time.process_time() - clock
    bounds = left.grids["T33UUU"].boundingbox
    x, y = np.meshgrid(
        np.arange(bounds.left + RIM_M, bounds.right - RIM_M, STEP_M),
        np.arange(bounds.bottom + RIM_M, bounds.top - RIM_M, STEP_M),
    )
    place = at = np.array([x, y])
    for _ in range(4):  # the ground that the left image shows there
        at = place - shown(left, at)
    truth = at + shown(right, at) - place
    off = ties.transform.shift(place.reshape(2, -1).T) - truth.reshape(2, -1).T
    length = np.hypot(*off.T) / ties.gsd
    varies = np.hypot(*truth.reshape(2, -1).std(1)) / ties.gsd
    heights = ground.terrain.error(x, y).ravel() if ground.terrain else np.zeros(x.size)
    design = np.column_stack([np.ones(x.size), x.ravel() - x.mean(), y.ravel() - y.mean()])
    heights = heights - design @ np.linalg.lstsq(design, heights, rcond=None)[0]
    summary = ties.summary
    claim = summary.hold_out.ce95 / ties.gsd if summary.hold_out else np.nan
    told = summary.comparison.terrain if summary.comparison else None
    said = "nothing" if told is None else f"{told.rms_m} m" if told.detected else f"none, below {told.limit_m} m"
    share = "" if told is None or told.share is None else f", share {told.share:.2f} ± {told.share_sigma:.2f}"
    return (
        f"{summary.transform.kind:12} varies {varies:.3f} px, RMSE {np.sqrt((length**2).mean()):.3f}, "
        f"CE95 {np.percentile(length, 95):.3f} claimed {claim:.3f} | heights {heights.std():.1f} m, told {said}"
        f"{share}, {cpu:.1f} CPU-s"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pixels", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--errors", type=float, nargs="+", default=[0.0, 8.0, 16.0])
    parser.add_argument("--seasons", nargs="+", default=["summer", "autumn"])
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    for season, error, seed in product(given.seasons, given.errors, range(21, 21 + given.seeds)):
        print(f"{season:7} {error:4.0f} m, {seed}: {case(seed, error, season, given.pixels)}", flush=True)
