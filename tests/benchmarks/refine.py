"""Figures behind the constants of sentinel_match/refine.py, on the real pairs of the shared data.

python tests/benchmarks/refine.py [DATA]     windows and low-passes compared; NMAD by height of the peak; the bias curve
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from sentinel_match import correlation, refine, verify
from sentinel_match.lattice import jointly_valid, to_metres, to_pixels
from sentinel_match.loaded import load
from sentinel_match.raster import Raster
from sentinel_match.refine import Refinement, measure
from sentinel_match.safe import read_scene
from sentinel_match.tiepoints import nmad

DATA = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parents[3] / "shared" / "data")
PAIRS = {
    "T33UUU": ("safe_pair_T33UUU_B04", "20160608", "20160529", (6.4, 18.1)),
    "T36UYA": ("safe_pair_T36UYA_B01", "20190318", "20190825", (0.0, 0.0)),
}


def rasters(name: str) -> tuple[Raster, Raster]:
    folder, *dates, _ = PAIRS[name]
    scenes = [read_scene(next((DATA / folder).glob(f"*MSIL1C_{date}*"))) for date in dates]
    band = scenes[0].bands[0].name
    KEEP.extend(load(scene, band) for scene in scenes)
    return KEEP[-2].raster, KEEP[-1].raster


KEEP: list = []


def measured(name: str, a: Raster, b: Raster, **options: int) -> tuple[refine.Measured, np.ndarray, float]:
    grid = refine.grid(jointly_valid(a, b), 20_000)
    expected = to_pixels(b, to_metres(a, grid) + PAIRS[name][3])
    start = time.process_time()
    found = measure(a, b, grid, expected, Refinement(**options))
    cpu = time.process_time() - start
    ok = found.ok
    left, right, sigma, quality = (v[ok] for v in (found.left, found.right, found.sigma, found.quality))
    model = verify.robust_fit("affine", left, right, sigma, tolerance=1.0, quality=quality)
    return found, found.right - model(found.left), cpu


def best(found: refine.Measured, residual: np.ndarray, count: int) -> str:
    order = np.argsort(-np.where(found.ok, found.quality, -1))[:count]
    e = residual[order]
    share = 100 * (np.hypot(*e.T) < 0.5).mean()
    return f"best {count}: NMAD {nmad(e[:, 0]):.3f} {nmad(e[:, 1]):.3f} px, {share:.2f} % < 0.5 px"


refine.ATTEMPTS = refine.ATTEMPTS[:1]  # intensity alone
for name in PAIRS:
    a, b = rasters(name)
    count = 10_000 if name == "T33UUU" else 600
    for window in (32, 48, 64, 96, 128):
        found, residual, cpu = measured(name, a, b, window=window, radius=4)
        figures = best(found, residual, count)
        print(f"{name} window {window}: {found.ok.sum()} ok of {len(found)}, {figures}, {cpu:.1f} CPU-s")
    usual = correlation.SPECTRAL_SIGMA["intensity"]
    for sigma in (0.1, 0.15, 0.2, 0.25, 0.3):
        correlation.SPECTRAL_SIGMA["intensity"] = sigma
        found, residual, cpu = measured(name, a, b)
        print(f"{name} low-pass {sigma}: {found.ok.sum()} ok, {best(found, residual, count)}")
    correlation.SPECTRAL_SIGMA["intensity"] = usual
    found, residual, _ = measured(name, a, b)
    for low, high in ((0.15, 0.2), (0.2, 0.3), (0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (0.6, 0.7), (0.7, 1.0)):
        chosen = found.ok & (found.quality >= low) & (found.quality < high) & (np.hypot(*residual.T) < 1)
        scatter = np.mean([nmad(residual[chosen, k]) for k in (0, 1)])
        predicted = np.mean(found.sigma[chosen])
        print(f"{name} peak {low}-{high}: {chosen.sum()} points, NMAD {scatter:.3f}, predicted {predicted:.3f} px")

image = np.asarray(rasters("T33UUU")[0].pixels[:1024, 800:1824], np.float32)
fy, fx = np.fft.fftfreq(1024)[:, None], np.fft.fftfreq(1024)[None]
grid = np.array([(x, y) for y in range(96, 930, 16) for x in range(96, 930, 16)], float)
place = GeoBox(image.shape, Affine(10, 0, 0, 0, -10, 0), "EPSG:32633")
valid = np.ones(image.shape, bool)
for shift in np.arange(0, 1.01, 0.125):
    moved = np.fft.ifft2(np.fft.fft2(image) * np.exp(-2j * np.pi * (fx * shift + fy * 0.3))).real.astype(np.float32)
    rng = np.random.default_rng(0)
    noisy = [Raster(im + rng.normal(0, 0.02, im.shape).astype(np.float32), valid, place) for im in (image, moved)]
    found = measure(*noisy, grid, grid)
    error = (found.right - found.left)[found.ok] - (shift, 0.3)
    print(f"true shift {shift:.3f} px: bias {np.median(error[:, 0]):+.4f}, NMAD {nmad(error[:, 0]):.3f}")
