"""Whole 10980 x 10980 tiles, end to end: CPU seconds, peak memory, and what the tie points are worth.

    python tests/benchmarks/full_tile.py FOLDER [days] [seasons]      invents products in FOLDER unless they are there
    python tests/benchmarks/full_tile.py FOLDER profile days          where one run spends its time, by function
    python tests/benchmarks/full_tile.py FOLDER peers days [PYTHON]   beside KARIOS' tracker and AROSICS

Two pairs of one landscape: ten days apart, and February with May. The right image is displaced by long waves of some
metres, so that the truth is known at every point. Decoding alone is measured beside, in a process of its own.

Beside peers all run one after another on the same core, this tool with all that it writes; ``peers.py`` says what the
others are and how AROSICS is installed, for PYTHON. The JP2 files are decoded for AROSICS before, which is not counted.
Its points are 200 px apart: at 100 px there would be four times as many, for more than ten CPU-minutes.
"""

from __future__ import annotations

import json
import os
import pstats
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import peers

from sentinel_match import find_scenes, read_ties
from sentinel_match.testing import Landscape, write_product

if TYPE_CHECKING:
    from sentinel_match.testing.noise import Position

LEFT = "2023-05-14"
RIGHT = {"days": "2023-05-24", "seasons": "2023-02-10"}
MOVED = (6.4, 18.1)
"""Metres east and north of the ground in February; ten days apart, waves besides."""
PROGRAM = """
import sys
from sentinel_match.cli import main
main(sys.argv[4:], standalone_mode=False)
said = {}
"""
AROSICS_GRID = 200
"""Pixels between its points."""


def shown(x: Position, y: Position) -> tuple[Position, Position]:
    """Displace the ground by metres east and north, in waves of 17 to 60 km."""
    turn = 2 * np.pi
    east = MOVED[0] + 2.0 * np.sin(turn * x / 23_000 + turn * y / 41_000)
    return east, MOVED[1] + 2.0 * np.sin(turn * y / 17_000 - turn * x / 60_000)


def truth(name: str, left: np.ndarray) -> np.ndarray:
    """Compute the shift of a pair at (N, 2) left points, metres: right minus left."""
    return np.column_stack(shown(*left.T)) if name == "days" else -np.array(MOVED)  # February is the left one


def product(folder: Path, date: str) -> Path:
    """Find the product of a date, or invent it."""
    archive = folder / "archive"
    found = list(archive.glob(f"*{date.replace('-', '')}T*.SAFE"))
    if found:
        return found[0]
    began = time.process_time()
    displacement = {LEFT: (0.0, 0.0), RIGHT["days"]: shown}.get(date, MOVED)
    path = write_product(archive, Landscape(7), date=date, pixels=10980, displacement=displacement, sky=0.1)
    print(f"invented {date}: {time.process_time() - began:.0f} CPU-s", flush=True)
    return path


def spent(*command: object) -> tuple[float, float]:
    """Run Python with some arguments; CPU seconds, and the most memory it held in GB, mapped files included."""
    process = subprocess.Popen([sys.executable, *map(str, command)], env={**os.environ, "OMP_NUM_THREADS": "1"})
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"it failed: {command}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / (1 << 20)


def prepared(folder: Path, name: str) -> tuple[Path, list[object]]:
    """Return a folder for results, and the arguments of a run of one pair whose scenes are in no cache."""
    pair, out = folder / name, folder / f"out-{name}"
    for leftover in (pair, out, folder / "cache"):
        shutil.rmtree(leftover, ignore_errors=True)
    pair.mkdir()
    for date in (LEFT, RIGHT[name]):
        path = product(folder, date)
        (pair / path.name).symlink_to(path.resolve())
    return out, ["-m", "sentinel_match", "-q", "run", pair, "-o", out, "--cache", folder / "cache"]


def measure(folder: Path, name: str) -> None:
    """Run one pair as anybody would, and compare its tie points with the truth."""
    out, command = prepared(folder, name)
    scenes = [scene.path for scene in find_scenes(folder / name).scenes]
    decode, _ = spent("-c", peers.DECODE, *scenes, "", "B04")
    cpu, peak = spent(*command)
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    (result,) = record["pairs"]
    ties = read_ties(next(out.glob("*/tiepoints.geojson")))
    error = (ties.shift - truth(name, ties.left_xy))[ties.inlier] / ties.gsd
    sigma = ties.sigma_m[ties.inlier] / ties.gsd
    off = np.hypot(*error.T)
    sizes = {path.suffix: path.stat().st_size / 1e6 for path in out.glob("*/tiepoints.*")}
    within = [(off < most).mean() for most in (0.1, 0.3)]
    rmse, claimed = np.sqrt((error**2).mean()), [(np.abs(error) < k * sigma[:, None]).mean() for k in (1, 2)]
    print(
        f"{name}: {cpu:.1f} CPU-s ({cpu / decode:.2f} of decoding, {decode:.1f}), {peak:.2f} GB "
        f"({record['peak_memory_bytes'] / 1e9:.2f} sampled)\n"
        f"  {int(ties.inlier.sum()):,} inliers of {len(ties):,} points; RMSE per axis {rmse:.4f} px, "
        f"{within[0]:.2%} within .1 px, {within[1]:.2%} within .3\n"
        f"  |error| < sigma {claimed[0]:.1%} (68.3), < 2 sigma {claimed[1]:.1%} (95.4); "
        f"median sigma {np.median(sigma):.4f} px\n"
        f"  CPU-s by stage {result['cpu_seconds']}; MB of files { ({k: round(v, 1) for k, v in sizes.items()}) }\n"
        f"  {result['summary']['verdict']}",
        flush=True,
    )


def profile(folder: Path, name: str) -> None:
    """Say where a run spends its time."""
    _, command = prepared(folder, name)
    spent("-m", "cProfile", "-o", folder / "profile", *command)
    pstats.Stats(str(folder / "profile")).sort_stats("tottime").print_stats(45)
    pstats.Stats(str(folder / "profile")).sort_stats("cumtime").print_stats("sentinel_match", 70)


def beside_peers(folder: Path, name: str, arosics: str | None) -> None:
    """Run this tool and its peers on one pair; the points that each keeps are compared with the truth."""
    decoding = 0.0
    for title, more in (("this tool", ()), ("this tool, --matcher phase", ("--matcher", "phase"))):
        out, command = prepared(folder, name)
        scenes = sorted(find_scenes(folder / name).scenes, key=lambda scene: scene.sensing_time)
        products = [scene.path for scene in scenes]
        if not decoding:
            decoding = _tell(peers.run("decoding", sys.executable, peers.DECODE, *products, "B04"), name, decoding)
        tool = peers.run(title, sys.executable, PROGRAM, *products, *command[2:], *more)
        if tool is not None:
            ties = read_ties(next(out.glob("*/tiepoints.geojson")))
            tool = tool._replace(left=ties.left_xy, right=ties.right_xy, kept=ties.inlier)
        _tell(tool, name, decoding)
    bands = [next(band.asset.path for band in scene.bands if band.name == "B04") for scene in scenes]
    _tell(peers.run("KARIOS' tracker", sys.executable, peers.KARIOS, *bands), name, decoding)
    if arosics:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            files = [peers.tiff(scene, "B04", Path(scratch, f"{k}.tif")) for k, scene in enumerate(scenes)]
            title = f"AROSICS, grid of {AROSICS_GRID} px"
            _tell(peers.run(title, arosics, peers.AROSICS, *files, AROSICS_GRID), name, decoding)


def _tell(tool: peers.Run | None, name: str, decoding: float) -> float:
    """Print what a tool cost and how far its points are from the truth; its CPU seconds."""
    if tool is None:
        return decoding
    ratio = f", {tool.cpu / decoding:.2f} of decoding" if decoding else ""
    cost = f"{tool.cpu:.1f} CPU-s{ratio}; {tool.memory / 1024:.2f} GB"
    print(f"{tool.name}: {cost}{_erring(tool, name)}", flush=True)
    return tool.cpu


def _erring(tool: peers.Run, name: str) -> str:
    """Say how far the points of a tool are from the truth."""
    if not tool.kept.any():
        return ""
    left, right = tool.left[tool.kept], tool.right[tool.kept]
    error = (right - left - truth(name, left)) / 10
    off = np.hypot(*error.T)
    rmse, typical = np.sqrt((error**2).mean()), np.sqrt((error[off < 1] ** 2).mean())
    return (
        f"; {len(error):,} points, RMSE per axis {rmse:.3f} px, {(off < 0.1).mean():.1%} within .1 px; "
        f"{(off > 1).sum()} off by more than 1 px, RMSE of the others {typical:.3f} px"
    )


if __name__ == "__main__":
    folder, *names = Path(sys.argv[1]), *sys.argv[2:]
    work = measure
    if names[:1] == ["profile"]:
        work, names = profile, names[1:]
    if names[:1] == ["peers"]:
        _, name, *python = names
        beside_peers(folder, name, python[0] if python else None)
        sys.exit()
    for name in names or RIGHT:
        work(folder, name)
