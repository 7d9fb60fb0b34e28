"""What a run of very many pairs takes on a cluster, by a queue model of tasks as they were measured.

    python tests/benchmarks/scale_cluster.py measure FOLDER   what tasks of invented pairs of 1020 pixels cost here
    python tests/benchmarks/scale_cluster.py simulate         1,000 and 100,000 pairs on 10 and 100 workers

The model: workers take the first task that is ready, as dask does; the work on a scene is a task before those of its
pairs; the scheduler serves one task after another, and so does the file system, by bytes; the process that runs lists
and pairs the products before, takes results one by one, and writes report and project in the end. At most a thousand
pairs are known to the scheduler at a time. Seconds of tasks vary log-normally.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from pathlib import Path

import numpy as np
from distributed import LocalCluster

from sentinel_match import Cache, Files, Filters, Options, find_scenes, pair_scenes, run
from sentinel_match.cluster import AHEAD, on_cluster
from sentinel_match.job import Work, scene_steps
from sentinel_match.testing import Landscape, write_product

QUICK = Options(matcher="phase")
BARE = Files(report=False, project=False)


@dataclass(frozen=True)
class Costs:
    """Seconds of a core, and bytes through the file system."""

    scene: float
    """Decoding, masking and normalising one."""
    pair: float
    spread: float
    """Standard deviation of the logarithm of both."""
    scene_bytes: float
    """Read of the product and written to the cache."""
    pair_bytes: float
    """Read of the cache and written."""
    scheduled: float
    """Of the scheduler for a task."""
    result: float
    """Of the process that runs, for a result."""
    product: float
    """Of the same, to list and to pair a product."""
    page: float
    """Of the same, for the report and the project of a pair."""
    bandwidth: float = 1e9
    """Bytes a second of the shared file system."""


SMALL = Costs(0.21, 2.28, 0.28, 7e6, 12e6, 0.002, 0.0008, 0.008, 0.033)
"""Invented pairs of 1020 pixels: ``measure``, ``scale.py``, ``scale_views.py``, on the machine of the other figures."""
WHOLE = replace(SMALL, scene=22.0, pair=60.0, scene_bytes=0.7e9, pair_bytes=1.25e9)
"""Whole tiles: ``full_tile.py``; prepared images have 600 MB, and a worker reads both of a pair once."""


def simulate_run(pairs: int, workers: int, costs: Costs, *, viewed: bool = True) -> dict[str, float]:
    """Play a run of pairs of each scene with the next two of its tile.

    Returns:
        Seconds until all is matched, until all is done, and the share of the first that each part is at work.
    """
    chance = np.random.default_rng(17)
    scenes = pairs // 2 + 2
    links = [(k, k + step) for k in range(scenes) for step in (1, 2) if k + step < scenes][:pairs]
    noise = np.exp(costs.spread * chance.standard_normal(pairs + scenes) - costs.spread**2 / 2)
    waits = [2] * len(links)  # scenes that a pair still waits for
    users: list[list[int]] = [[] for _ in range(scenes)]
    for number, link in enumerate(links):
        for scene in link:
            users[scene].append(number)
    known: set[int] = set()
    ready: list[tuple[int, int, int]] = []  # order of submission, is a pair, number
    running: list[tuple[float, int, int]] = []
    now = scheduler = files = client = 0.0
    busy = {"workers": 0.0, "scheduler": 0.0, "file system": 0.0, "process that runs": 0.0}
    free, submitted, done, made = workers, 0, 0, set[int]()

    def submit() -> None:
        nonlocal submitted
        if submitted < len(links):
            for scene in links[submitted]:
                if scene not in known:
                    known.add(scene)
                    heappush(ready, (2 * submitted, 0, scene))
            submitted += 1

    for _ in range(AHEAD):
        submit()
    while done < len(links):
        while free and ready:
            _, is_pair, number = heappop(ready)
            free -= 1
            scheduler = max(now, scheduler) + costs.scheduled
            size = costs.pair_bytes if is_pair else costs.scene_bytes
            files = max(scheduler, files) + size / costs.bandwidth
            cpu = (costs.pair if is_pair else costs.scene) * noise[number + (scenes if is_pair else 0)]
            heappush(running, (files + cpu, is_pair, number))
            busy["workers"] += cpu
            busy["scheduler"] += costs.scheduled
            busy["file system"] += size / costs.bandwidth
        now, is_pair, number = heappop(running)
        free += 1
        if is_pair:
            done += 1
            client = max(now, client) + costs.result
            busy["process that runs"] += costs.result
            submit()
        else:
            made.add(number)
            for user in users[number]:
                waits[user] -= 1
        for user in users[number] if not is_pair else ():
            if not waits[user]:
                heappush(ready, (2 * user + 1, 1, user))
    matched = max(now, client)
    alone = scenes * costs.product + (len(links) * costs.page if viewed else 0)
    shares = {name: spent / matched / (workers if name == "workers" else 1) for name, spent in busy.items()}
    return {"matched": matched, "whole": matched + alone, **shares}


def simulate() -> None:
    """Play runs of small pairs and of whole tiles, these from a file system of 1 and of 10 GB a second."""
    print("| pairs | workers | matched in | all done in | workers busy | file system | scheduler | bound by |")
    print("|---|--:|--:|--:|--:|--:|--:|---|")
    for name, costs in (
        ("small", SMALL),
        ("whole tiles", WHOLE),
        ("whole tiles, 10 GB/s", replace(WHOLE, bandwidth=1e10)),
    ):
        for pairs in (1000, 100_000):
            for workers in (10, 100):
                told = simulate_run(pairs, workers, costs)
                parts = {k: told[k] for k in ("workers", "file system", "scheduler", "process that runs")}
                bound = max(parts, key=parts.__getitem__)
                if told["whole"] > 2 * told["matched"]:
                    bound = "listing, report and project, by one process"
                print(
                    f"| {pairs:,} {name} | {workers} | {_time(told['matched'])} | {_time(told['whole'])} | "
                    f"{told['workers']:.0%} | {told['file system']:.0%} | {told['scheduler']:.0%} | {bound} |",
                    flush=True,
                )


def _time(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )


def nothing(number: int) -> int:
    """Do nothing: what is left is what the scheduler takes."""
    return number


def no_steps(_: int) -> dict[str, object]:
    return {}


def archive_in(folder: Path) -> Path:
    """Invent six dates of a place."""
    archive = folder / "archive"
    if not archive.exists():
        for k in range(6):
            write_product(archive, Landscape(7), date=f"2021-0{4 + k}-20", pixels=1020, displacement=(k, 3.0 * k))
    return archive


def measure(folder: Path) -> None:
    """Measure tasks in this process, and what a scheduler takes of each."""
    archive, cache = archive_in(folder), Cache(folder / f"cache{time.time_ns()}")
    pairs = pair_scenes(find_scenes(archive).scenes, Filters(all_pairs=True)).pairs
    steps: dict[str, object] = {}
    spent = []
    for pair in pairs:
        for name, step in scene_steps(pair, Work(folder / "out", QUICK, cache, BARE)).items():
            if name not in steps:
                steps[name] = step
                began = time.process_time()
                step()
                spent.append(time.process_time() - began)
    size = sum(entry.size for entry in cache.entries()) / len(spent)
    print(f"scene: {np.median(spent):.2f} CPU-s, {size / 1e6:.0f} MB kept", flush=True)
    out = folder / f"out{time.time_ns()}"
    run(archive, out, QUICK, Filters(all_pairs=True), cache=cache, files=BARE)
    cpu = [sum(p["cpu_seconds"].values()) for p in json.loads((out / "run.json").read_text())["pairs"]][1:]
    print(f"pair: {np.median(cpu):.2f} CPU-s, log-sd {np.std(np.log(cpu)):.2f}, of {len(cpu)}", flush=True)
    quiet = {"dashboard_address": None, "worker_dashboard_address": None, "silence_logs": logging.CRITICAL}
    with LocalCluster(1, threads_per_worker=1, **quiet) as workers:
        list(on_cluster(nothing, range(100), workers.scheduler_address, no_steps, nothing))
        began = time.process_time()
        list(on_cluster(nothing, range(3000), workers.scheduler_address, no_steps, nothing))
        print(f"task: {(time.process_time() - began) / 3000 * 1e3:.2f} CPU-ms of scheduler and client", flush=True)


if __name__ == "__main__":
    {f.__name__: f for f in (measure, simulate)}[sys.argv[1]](*map(Path, sys.argv[2:]))
