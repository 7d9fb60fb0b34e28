"""This tool and its peers on the same real pairs in one go: points, precision, cloud, cells, CPU, memory, what remains.

python tests/benchmarks/peers.py [DATA] [--arosics PYTHON] [--grids 100 50] [--auto] [--pairs T33UUU T36UYA]

PYTHON is the interpreter of an environment with AROSICS, outside the repository; without one this tool runs alone. On
Debian 12 the newest release that installs beside the system's GDAL is 1.12.1:

    apt-get install libgdal-dev g++ python3-dev
    python3 -m venv VENV
    VENV/bin/pip install 'numpy<2.4' 'setuptools<81' wheel
    VENV/bin/pip install --no-cache-dir --no-build-isolation gdal==3.6.2          # gdal-config --version
    VENV/bin/pip install gdal==3.6.2 arosics==1.12.1
    VENV/bin/pip install --no-cache-dir --no-build-isolation --force-reinstall --no-deps gdal==3.6.2

KARIOS is on no index that pip knows: its tracker is written anew from its published parameters (8 bits between minimum
and maximum, Laplacian of 7, 20,000 corners of quality .1 at least 10 px apart in blocks of 15, Lucas and Kanade in
windows of 25 and two levels, tracked back to within .1 px, score of at least .4), on what both images cover. It
corrects nothing, and neither KARIOS' statistics nor its reports are counted.

Each tool runs in a process of its own, on one core, and its CPU seconds and peak memory are those of the process, with
all imports. So does decoding both bands alone, the measure of all others. What AROSICS reads was decoded before, which
is not counted. Then all are judged alike. Residuals are those of kept points to a robust affine through themselves.
Cloud is what is bright in one image alone, on blocks of 60 m. What remains after correction by that affine,
scikit-image's ``phase_cross_correlation`` measures in windows of 128 or 64 pixels: no code of any of the tools.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import rasterio
from scipy.ndimage import binary_dilation
from skimage.registration import phase_cross_correlation

from sentinel_match.geometry import robust, transform
from sentinel_match.geometry.grids import to_metres, to_pixels
from sentinel_match.geometry.robust import error_of_median, nmad
from sentinel_match.products.catalogue import read_scene
from sentinel_match.products.scene import Scene
from sentinel_match.raster.raster import Raster, read

HERE = Path(__file__).resolve()
PAIRS = {
    "T33UUU": ("safe_pair_T33UUU_B04", "*MSIL1C_20160608*", "*MSIL1C_20160529*", "arosics_T33UUU_10m", "B04"),
    "T36UYA": ("safe_pair_T36UYA_B01", "*MSIL1C_20190318*", "*MSIL1C_20190825*", "t36uya_b01_60m", "B01"),
}
OURS = """
import json, sys
import numpy as np
from pathlib import Path
from sentinel_match import Options, pipeline
left, right, out, matcher = sys.argv[1:]
clock = pipeline.Clock()
ties = pipeline.match_scenes(left, right, Options(matcher=matcher), clock=clock)
np.savez(out, left=ties.left_xy, right=ties.right_xy, kept=ties.inlier)
summary = ties.summary.to_dict()
said = {"stages": clock.cpu_seconds, "ce95_m": summary["hold_out"].get("ce95"), "second": summary["second"]}
"""
DECODE = """
import sys, time
from sentinel_match import read_scene
from sentinel_match.raster.jp2 import read_rasterio
left, right, out, name = sys.argv[1:]
said = {"imports": time.process_time()}
for path in (left, right):
    read_rasterio(next(band.asset for band in read_scene(path).bands if band.name == name))
"""
AROSICS = """
import sys, warnings
import numpy as np
warnings.simplefilter("ignore")
from arosics import COREG_LOCAL
left, right, out, grid = sys.argv[1:]
tool = COREG_LOCAL(left, right, grid_res=int(grid), nodata=(0, 0), CPUs=1, progress=False, q=True)
tool.calculate_spatial_shifts()
table = tool.CoRegPoints_table
table = table[table.ABS_SHIFT > 0]  # -9999: not matched
at = table[["X_MAP", "Y_MAP"]].to_numpy(float)
# Its shift is the correction, and its points lie on the grid of the target
np.savez(out, left=at + table[["X_SHIFT_M", "Y_SHIFT_M"]].to_numpy(float), right=at,
         kept=~table.OUTLIER.astype(bool).to_numpy())
said = {}
"""
KARIOS = """
import sys
import cv2
import numpy as np
import rasterio
left, right, out, *_ = sys.argv[1:]
cv2.setNumThreads(1)
images = []
with rasterio.open(left) as one, rasterio.open(right) as other:
    # It takes images of one size alone
    lows, highs = (list(map(pick, one.bounds, other.bounds)) for pick in (max, min))
    both = (*lows[:2], *highs[2:])
    grid = one.window_transform(one.window(*both))
    bands = [file.read(1, window=file.window(*both).round_offsets().round_lengths()) for file in (one, other)]
for pixels in bands:
    known = pixels > 0
    low, high = float(pixels.min()), float(pixels.max())
    eight = ((pixels - low) / (high - low) * 255).astype(np.uint8)
    images.append((cv2.Laplacian(eight, cv2.CV_8U, ksize=7), known))
(a, one), (b, other) = images
start = cv2.goodFeaturesToTrack(a, mask=(one & other).astype(np.uint8), maxCorners=20000, qualityLevel=0.1,
                                minDistance=10, blockSize=15)
how = dict(winSize=(25, 25), maxLevel=1, criteria=(cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 0.03))
end, *_ = cv2.calcOpticalFlowPyrLK(a, b, start, None, **how)
back, *_ = cv2.calcOpticalFlowPyrLK(b, a, end, None, **how)
away = np.abs(start - back).reshape(-1, 2).max(-1)
found = away < 0.1
start, end, score = start[found, 0], end[found, 0], 1 - away[found] / 0.1
metres = [np.column_stack([grid.c + (p[:, 0] + 0.5) * grid.a, grid.f + (p[:, 1] + 0.5) * grid.e])
          for p in (start.astype(float), end.astype(float))]
np.savez(out, left=metres[0], right=metres[1], kept=score >= 0.4)
said = {}
"""
LAST = """
import json
# Not the maxrss of the process: that begins with what its parent had when it forked
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({**said, "peak_mb": int(status["VmHWM"].split()[0]) / 1024}))
"""


class Run(NamedTuple):
    """What a tool delivered, and what it cost."""

    name: str
    left: np.ndarray
    """(N, 2) metres: all that was matched."""
    right: np.ndarray
    kept: np.ndarray
    cpu: float
    """Seconds of the process."""
    memory: float
    """Megabytes at its peak."""
    said: dict[str, Any]
    correction: np.ndarray | None = None
    """(P, 2) metres: the displacement that is taken back at the places asked for, where the tool takes any."""


def run(name: str, python: str, code: str, *arguments: object) -> Run | None:
    """Run a tool in a process of its own; ``None`` if it fails, which is said."""
    with tempfile.TemporaryDirectory() as folder:
        out, log = Path(folder, "points.npz"), Path(folder, "log")
        left, right, *others = map(str, arguments)
        one_core = {**os.environ, **{f"{lib}_NUM_THREADS": "1" for lib in ("OMP", "MKL", "OPENBLAS")}}
        with log.open("w") as heard:
            core = str(max(os.sched_getaffinity(0)))
            command = ["taskset", "-c", core, python, "-c", code + LAST, left, right, str(out), *others]
            child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=heard, text=True, env=one_core)
            printed = child.stdout.read() if child.stdout else ""
            _, status, usage = os.wait4(child.pid, 0)
        if status:
            print(f"{name}: failed: {log.read_text().strip().splitlines()[-1:]}", flush=True)
            return None
        points = np.load(out) if out.exists() else {}
        none = {"left": np.zeros((0, 2)), "right": np.zeros((0, 2)), "kept": np.zeros(0, bool)}
        arrays = ({**none, **points}[key] for key in none)
        said = json.loads(printed.strip().splitlines()[-1])
        return Run(name, *arrays, usage.ru_utime + usage.ru_stime, said["peak_mb"], said, points.get("correction"))


def cloud(left: Raster, right: Raster) -> np.ndarray:
    """Mark in the left raster what is bright (reflectance above 0.2) in one image and darker by 0.07 in the other."""
    x, y = np.round(to_pixels(left.geobox, to_metres(right.geobox, np.zeros((1, 2))))[0]).astype(int)
    there = np.zeros(left.valid.shape, np.float32)
    rows, cols = right.valid.shape
    top, start, bottom, stop = max(y, 0), max(x, 0), min(y + rows, there.shape[0]), min(x + cols, there.shape[1])
    there[top:bottom, start:stop] = right.pixels[top - y : bottom - y, start - x : stop - x]
    size = max(1, round(60 / abs(left.geobox.affine.a)))
    one, other = (cv2.blur(np.where(image > 0, image, 0), (size, size)) for image in (left.pixels, there))
    known = (left.pixels > 0) & (there > 0)
    bright = (np.maximum(one, other) > 0.2) & (np.abs(one - other) > 0.07) & known
    return binary_dilation(bright, iterations=size)


def remaining(left: Raster, right: Raster, model: transform.PlaneTransform | None, cloudy: np.ndarray) -> str:
    """Measure the median displacement left after correction, per axis, in pixels, and its standard error."""
    rows, cols = left.valid.shape
    x, y = np.meshgrid(np.arange(cols) + 0.5, np.arange(rows) + 0.5)
    at = to_metres(left.geobox, np.column_stack([x.ravel(), y.ravel()]))
    there = to_pixels(right.geobox, at if model is None else model(at)).reshape(rows, cols, 2).astype(np.float32) - 0.5
    pixels, valid = (
        cv2.remap(image, there[..., 0], there[..., 1], how)
        for image, how in ((right.pixels, cv2.INTER_CUBIC), (right.valid.astype(np.uint8), cv2.INTER_NEAREST))
    )
    clear = left.valid & (valid > 0) & ~cloudy
    side = 128 if min(rows, cols) > 2000 else 64
    taper, found = np.outer(np.hanning(side), np.hanning(side)), []
    for top in range(0, rows - side, side):
        for start in range(0, cols - side, side):
            window = np.s_[top : top + side, start : start + side]
            if clear[window].mean() > 0.95:
                a, b = ((image[window] - image[window].mean()) * taper for image in (left.pixels, pixels))
                moved, error, _ = phase_cross_correlation(a, b, upsample_factor=200, normalization=None)
                if error < 0.7:
                    found.append(-moved[::-1])
    if len(found) < 5:
        return f"only {len(found)} windows"
    e = np.array(found)
    sigma = error_of_median(max(nmad(e[:, k]) for k in (0, 1)), len(e))
    return f"{np.median(e[:, 0]):+.3f} {np.median(e[:, 1]):+.3f} ±{sigma:.3f} px ({len(e)} windows)"


def judge(tool: Run, left: Raster, right: Raster, cloudy: np.ndarray, decoding: float) -> None:
    """Print one paragraph of figures."""
    gsd = abs(left.geobox.affine.a)
    even = np.full(len(tool.left), 0.1 * gsd)
    model = robust.robust_fit(
        "affine", robust.PointPairs(tool.left[tool.kept], tool.right[tool.kept], even[tool.kept]), tolerance=gsd
    )
    every = (tool.right - model(tool.left)) / gsd
    residual, off = every[tool.kept], np.hypot(*every.T)
    x, y = np.clip(to_pixels(left.geobox, tool.left).astype(int), 0, np.array(left.valid.shape[::-1]) - 1).T
    under, kept = cloudy[y, x] & tool.kept, tool.kept
    shift = np.median((tool.right - tool.left)[kept], axis=0)
    cells = len(np.unique(np.floor(tool.left[kept] / 1000), axis=0))
    scatter, rmse = [nmad(residual[:, k]) for k in (0, 1)], np.sqrt((residual**2).mean())
    print(
        f"{tool.name}\n"
        f"  matched {len(kept)}, kept {kept.sum()}; median shift {shift[0]:+.2f} {shift[1]:+.2f} m; {cells} km cells\n"
        f"  NMAD {scatter[0]:.3f} {scatter[1]:.3f} px, RMSE {rmse:.3f} px; "
        f"< 0.5 px: {(off[kept] < 0.5).mean():.2%} of kept, {(off < 0.5).mean():.2%} of matched; "
        f"> 1 px: {(off[kept] > 1).sum()} kept\n"
        f"  in cloud: {under.sum()} kept, {(off[under] > 1).sum()} of them off by more than 1 px\n"
        f"  process {tool.cpu:.1f} CPU-s, {tool.cpu / decoding:.1f} of decoding; {tool.memory:.0f} MB"
        + (
            f"; stages {sum(tool.said['stages'].values()):.1f} CPU-s {tool.said['stages']}"
            if "stages" in tool.said
            else ""
        )
        + f"\n  remains after correction: {remaining(left, right, model, cloudy)}",
        flush=True,
    )
    if "stages" in tool.said:
        second = {key: tool.said["second"].get(key) for key in ("answers", "after_dx_m", "after_dy_m")}
        print(f"  its own word: CE95 of unseen points {tool.said['ce95_m']} m; second estimator {second}")


def tiff(scene: Scene, band: str, path: Path) -> Path:
    """Write the raw numbers of a band: AROSICS reads windows, and of a JP2 each takes half a second."""
    source = next(one for one in scene.bands if one.name == band or len(scene.bands) == 1).asset.path
    with rasterio.open(source) as file:
        pixels, profile = file.read(), file.profile
    profile = {k: profile[k] for k in ("width", "height", "count", "dtype", "crs", "transform")}
    with rasterio.open(path, "w", driver="GTiff", nodata=0, **profile) as file:
        file.write(pixels)
    return path


def main(data: Path, names: list[str], arosics: str | None, grids: list[int], *, auto: bool) -> None:
    """Run all tools on all pairs."""
    for name in names:
        folder, first, second, loose, band = PAIRS[name]
        products = [next((data / folder).glob(pattern)) for pattern in (first, second)]
        left, right = (read(read_scene(path), band) for path in products)
        cloudy = cloud(left, right)
        print(f"\n{name}: cloud on {cloudy.mean():.1%}; before: {remaining(left, right, None, cloudy)}", flush=True)
        decoding = run("decoding", sys.executable, DECODE, *products, band)
        if decoding is None:
            continue
        print(f"decoding both bands: {decoding.cpu:.2f} CPU-s, {decoding.said['imports']:.2f} of them imports")
        files = sorted((data / loose).glob("*.jp2"))
        runs = [run("this tool, --matcher phase", sys.executable, OURS, *products, "phase")]
        if auto:
            runs.append(run("this tool, auto", sys.executable, OURS, *products, "auto"))
        runs.append(run("KARIOS' tracker", sys.executable, KARIOS, *files))
        if arosics:
            with tempfile.TemporaryDirectory() as scratch:
                inputs = [tiff(read_scene(path), "1", Path(scratch, f"{path.stem}.tif")) for path in files]
                runs += [run(f"AROSICS, grid of {grid} px", arosics, AROSICS, *inputs, grid) for grid in grids]
        for tool in runs:
            if tool is not None:
                judge(tool, left, right, cloudy, decoding.cpu)
    if not arosics:
        print("\nAROSICS: not run; see --arosics")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=HERE.parents[3] / "shared" / "data")
    parser.add_argument("--arosics", metavar="PYTHON")
    parser.add_argument("--grids", type=int, nargs="+", default=[100, 50], help="spacings of AROSICS' points, px")
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=list(PAIRS))
    parser.add_argument("--auto", action="store_true", help="also the cascade with learned matchers")
    given = parser.parse_args()
    main(given.data, given.pairs, given.arosics, given.grids, auto=given.auto)
