"""Peers on the known displacement fields of ``distortions.py``, each in a process of its own on one core.

AROSICS (1.12.1) runs in an environment of its own, as ``peers.py`` says, or on Debian 12 beside the system's GDAL:

    apt-get install python3-gdal
    /usr/bin/python3 -m venv --system-site-packages VENV
    VENV/bin/pip install 'numpy<2' arosics==1.12.1 gdal==3.6.2

satalign and s2cube in another: ``pip install satalign s2cube torchvision scikit-image``.

- **AROSICS**: ``COREG_LOCAL``, a point every 100 px, else as it comes; its correction is what ``DESHIFTER`` does to two
  ramps, which say from where it took each pixel.
- **KARIOS**: its tracker, as ``peers.py`` has it. It corrects nothing.
- **satalign**: ``PCC`` and ``ECC``, one translation; its correction is what its own ``warp_feature`` does to the ramps
  (in 0.1.17 that turns the matrix of ``ECC`` the wrong way round, which doubles a shift instead of taking it back).
- **s2cube**: its matching functions, called as its ``measure`` calls them: gradients on a grid of a fifth of a pixel
  within 3 px, in windows of 100 px as its sites have, and the median of them.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import peers

if TYPE_CHECKING:
    from distortions import Case

CORNER = (400_000, 5_000_000)
OURS = """
import sys
import numpy as np
from sentinel_match import Options, match_scenes
left, right, out, places = sys.argv[1:]
ties = match_scenes(left, right, Options(matcher="phase"))
np.savez(out, left=ties.left_xy, right=ties.right_xy, kept=ties.inlier,
         correction=ties.transform.shift(np.load(places)))
said = {}
"""
AROSICS = """
import sys, warnings
import numpy as np
warnings.simplefilter("ignore")
from arosics import COREG_LOCAL, DESHIFTER
from geoarray import GeoArray
left, right, out, places = sys.argv[1:]
tool = COREG_LOCAL(left, right, grid_res=100, nodata=(0, 0), CPUs=1, progress=False, q=True)
tool.calculate_spatial_shifts()
table = tool.CoRegPoints_table
table = table[table.ABS_SHIFT > 0]  # -9999: not matched
at = table[["X_MAP", "Y_MAP"]].to_numpy(float)
image = GeoArray(right)
gt, proj = image.geotransform, image.projection
rows, cols = image.shape[:2]
x, y = np.meshgrid(np.arange(cols) + 0.5, np.arange(rows) + 0.5)
places = np.load(places)
col, row = ((places - (gt[0], gt[3])) / (gt[1], gt[5])).T
taken = []
for ramp in (gt[0] + x * gt[1] - gt[0] + 1000, (y + 0) * -gt[5] + 1000):
    moved = DESHIFTER(GeoArray(ramp.astype("f4"), gt, proj, nodata=0), tool.coreg_info, align_grids=True,
                      min_points_local_corr=5, resamp_alg="bilinear", nodata=0, CPUs=1, progress=False,
                      q=True).correct_shifts()
    into, values = moved["updated geotransform"], moved["arr_shifted"]
    c = np.clip(((places[:, 0] - into[0]) / into[1]).astype(int), 0, values.shape[1] - 1)
    r = np.clip(((places[:, 1] - into[3]) / into[5]).astype(int), 0, values.shape[0] - 1)
    # the centre of the pixel that was looked at, not the place itself
    here = (into[0] + (c + 0.5) * into[1] - gt[0], gt[3] - (into[3] + (r + 0.5) * into[5]))
    value = values[r, c].astype(float)
    taken.append(np.where(value == 0, np.nan, value - 1000) - here[len(taken)])
np.savez(out, left=at + table[["X_SHIFT_M", "Y_SHIFT_M"]].to_numpy(float), right=at,
         kept=~table.OUTLIER.astype(bool).to_numpy(), correction=np.column_stack(taken) * (1, -1))
said = {}
"""
SATALIGN = """
import sys
import numpy as np
import rasterio
import satalign
left, right, out, places, which = sys.argv[1:]
with rasterio.open(left) as file:
    reference, grid = file.read().astype("f4") / 1e4, file.transform
with rasterio.open(right) as file:
    moving = file.read().astype("f4") / 1e4
tool = getattr(satalign, which)(datacube=moving[None], reference=reference, channel="mean", num_threads=1)
_, (matrix,) = tool.run()
rows, cols = reference.shape[1:]
y, x = np.mgrid[0:rows, 0:cols].astype("f4")
taken = tool.warp_feature(np.stack([x, y]), matrix) - np.stack([x, y])
col, row = ((np.load(places) - (grid.c, grid.f)) / (grid.a, grid.e)).astype(int).T
none = np.zeros((0, 2))
np.savez(out, left=none, right=none, kept=np.zeros(0, bool), correction=taken[:, row, col].T * (grid.a, grid.e))
said = {}
"""
S2CUBE = """
import sys
import numpy as np
import rasterio
from scipy import ndimage
from s2cube.coreg import fine_coords, gradient, ncc_shift, to_fine
from s2cube.geo import Grid
left, right, out, places = sys.argv[1:]
arrays = []
for path in (left, right):
    with rasterio.open(path) as file:
        arrays.append(file.read(1).astype("f4"))
        grid = file.transform
SIDE, FINE, REACH = 100, 5, 3
here, moved = [], []
for top in range(0, arrays[0].shape[0] - SIDE + 1, SIDE):
    for start in range(0, arrays[0].shape[1] - SIDE + 1, SIDE):
        parts = [array[top:top + SIDE, start:start + SIDE] for array in arrays]
        if min((part > 0).mean() for part in parts) < 0.9:
            continue
        place = Grid(0, SIDE * 10, SIDE, SIDE, 10)
        _, _, rr, cc = fine_coords(place, 10 / FINE)
        reference, image = (ndimage.gaussian_filter(to_fine(part, rr, cc), 1) for part in parts)
        dx, dy, ncc = ncc_shift(gradient(image), gradient(reference), REACH * FINE)
        if ncc >= 0.3:  # by so much the image must move
            here.append((start + SIDE / 2, top + SIDE / 2))
            moved.append((-dx / FINE, -dy / FINE))
here, moved = np.array(here), np.array(moved)
at = np.column_stack([grid.c + here[:, 0] * grid.a, grid.f + here[:, 1] * grid.e])
shift = moved * (grid.a, grid.e)
correction = np.broadcast_to(np.median(shift, 0), np.load(places).shape)
np.savez(out, left=at, right=at + shift, kept=np.ones(len(at), bool), correction=correction)
said = {}
"""


def compare(case: Case, left: Path, right: Path, arosics: str | None, others: str | None) -> None:
    """Print a row of each tool: RMSE of its points, true CE95 of its correction, CPU seconds of its process."""
    with tempfile.TemporaryDirectory() as folder:
        places = Path(folder, "places.npy")
        np.save(places, case.places * case.gsd * (1, -1) + CORNER)
        tools = [("this tool, phase", sys.executable, OURS, ()), ("KARIOS' tracker", sys.executable, peers.KARIOS, ())]
        if arosics:
            tools.append(("AROSICS, 100 px", arosics, AROSICS, ()))
        if others:
            tools += [(f"satalign {which}", others, SATALIGN, (which,)) for which in ("PCC", "ECC")]
            tools.append(("s2cube", others, S2CUBE, ()))
        runs = [(name, peers.run(name, python, code, left, right, places, *more)) for name, python, code, more in tools]
    raw = case.true(case.places)
    raw = np.percentile(np.hypot(*(raw - np.median(raw, 0)).T), 95)
    print(f"{case.name}: by one shift CE95 {raw:.3f}")
    for name, run in runs:
        if run is not None:
            print(f"  {name:18s}{_judged(case, run)}, {run.cpu:.1f} CPU-s", flush=True)


def _judged(case: Case, run: peers.Run) -> str:
    """Say how far points and correction err, pixels."""
    said = "no points"
    if len(run.left):
        at = (run.left - CORNER) / case.gsd * (1, -1)
        error = (run.right - run.left) / case.gsd * (1, -1) - case.true(at)
        if case.season:
            error = error - np.median(error[run.kept], 0)
        error = error[run.kept]
        wrong = (np.hypot(*error.T) > 1).mean()
        said = f"{run.kept.sum():5d} points, RMSE {np.sqrt((error**2).mean()):.3f}, {wrong:.1%} off by more than 1 px"
    if run.correction is None:
        return f"{said}; no correction"
    off = run.correction / case.gsd * (1, -1) - case.true(case.places)
    known = np.isfinite(off).all(1)
    if case.season:
        off = off - np.median(off[known], 0)
    return f"{said}; CE95 {np.percentile(np.hypot(*off[known].T), 95):.3f} on {known.mean():.0%}"
