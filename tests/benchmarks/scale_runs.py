"""What many pairs cost besides matching them: the cache, the run's record, processes and threads; CPU seconds.

python tests/benchmarks/scale_runs.py cache                      a new entry among 500, 4,000 and 8,000
python tests/benchmarks/scale_runs.py record                     the record of 125, 250 and 500 pairs
python tests/benchmarks/scale_runs.py order                      scenes read by a small cache
python tests/benchmarks/scale_runs.py growth FOLDER              runs of 4 to 64 dates, of chosen and of all pairs
python tests/benchmarks/scale_runs.py workers ARCHIVE FOLDER     a run by 1 and by 2 processes
python tests/benchmarks/scale_runs.py threads LEFT RIGHT FOLDER  one pair with ever so many threads, and beside others
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sentinel_match import Cache, Files, Options, batch
from sentinel_match import cache as cache_module
from sentinel_match.cache import digest
from sentinel_match.job import Done, Work
from sentinel_match.memory import PeakMemory
from sentinel_match.parallel import ONE_THREAD
from sentinel_match.pipeline import Clock
from sentinel_match.products.catalogue import Catalogue
from sentinel_match.products.order import in_reach
from sentinel_match.products.pairing import Pairing
from sentinel_match.run_folder import Outcome, Run
from sentinel_match.testing import Landscape, write_product
from sentinel_match.testing.reads import reads

KINDS = ("scene", "features", "moments")
ENTRY_BYTES = 2000
NEW = 40


def cache() -> None:
    """Add entries to caches that are full, where all may go and where all are in use."""
    for count in (500, 4000, 8000):
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            for k in range(count):
                recipe = {"kind": KINDS[k % 3], "k": k}
                entry = root / KINDS[k % 3] / digest(recipe)
                entry.mkdir(parents=True)
                (entry / "a").write_bytes(bytes(ENTRY_BYTES // 2))
                (entry / "b").write_bytes(bytes(ENTRY_BYTES // 2))
                (entry / "recipe.json").write_text(json.dumps({"recipe": recipe}))
                os.utime(entry / "recipe.json", (k + 1, k + 1))
            full = Cache(root, count * ENTRY_BYTES + ENTRY_BYTES // 2)
            first, more = added(full, "first", 1), added(full, "more", NEW)
            for entry in full.entries():
                os.utime(entry.path / "recipe.json")
            cache_module._COUNTS.clear()
            used = added(Cache(root, count * ENTRY_BYTES // 2), "used", NEW)
            print(f"{count} entries: first {first:.3f}, then {more:.4f} each; all in use {used:.4f} each", flush=True)


def added(to: Cache, name: str, count: int) -> float:
    """Add new entries; CPU seconds for each."""
    began = time.process_time()
    for k in range(count):
        to.folder({"kind": "scene", name: k}, lambda folder: (folder / "x").write_bytes(bytes(ENTRY_BYTES)) and None)
    return (time.process_time() - began) / count


def record() -> None:
    """Record runs of pairs that take no time at all, and of what a real run would write in 2.5 s a pair."""
    for count in (125, 250, 500):
        with tempfile.TemporaryDirectory() as folder, PeakMemory() as memory:
            pairs: Any = tuple(SimpleNamespace(id=f"pair {k}") for k in range(count))
            work = Work(Path(folder), Options(matcher="phase"), Cache(Path(folder)), Files())
            recorder = batch._Recorder(Run(Catalogue((), (), ()), Pairing(pairs, ()), ()), work, Clock(), memory)
            began = time.process_time()
            for k, pair in enumerate(pairs):
                recorder._due = 0.0 if k % 8 == 0 else float("inf")  # each 20 s
                hashes = {f"{pair.id} {file}": "0" * 64 for file in range(4)}
                recorder.add(Done(Outcome(pair.id, "failed", "a", "b", None, error="no reason " * 600), hashes))
            recorder.write()
            size = (Path(folder) / "run.json").stat().st_size / 1e6
            print(f"{count} pairs: {time.process_time() - began:.2f} CPU-s in all, run.json {size:.1f} MB", flush=True)


def order() -> None:
    """Count the scenes read by a cache that keeps the last 16 of 64."""
    scenes = [SimpleNamespace(id=k) for k in range(64)]
    series = [(k, k + step) for step in (1, 2) for k in range(64 - step)]
    for name, links in (("all pairs", list(combinations(range(64), 2))), ("series", series)):
        pairs: Any = [SimpleNamespace(left=scenes[a], right=scenes[b]) for a, b in links]
        print(f"{name}: {reads(pairs, 16)} as they come, {reads(in_reach(pairs), 16)} in reach", flush=True)


def growth(folder: Path) -> None:
    """Run ever more dates of a place; what a scene costs is told by the stage that reads, the first time."""
    for count in (4, 8, 16, 32, 64):
        for more in ((), ("--all-pairs",)) if count <= 16 else ((),):
            archive, out = folder / f"archive{count}", folder / f"out{count}{len(more)}"
            if not archive.exists():
                for k in range(count):
                    day = f"202{k % 16 // 4}-0{5 + k % 4}-{20 - 5 * (k // 16):02}"
                    write_product(archive, Landscape(7), date=day, pixels=510, displacement=(k % 5, 2.0 * (k % 3)))
            for leftover in (out, folder / "kept"):
                shutil.rmtree(leftover, ignore_errors=True)
            command = ["run", archive, "-o", out, "--cache", folder / "kept", "--matcher", "phase", *more]
            cpu, _ = spent(*command, "--no-report", "--no-project")
            done = json.loads((out / "run.json").read_text())["pairs"]
            read = sum(pair["cpu_seconds"].get("read", 0) for pair in done)
            scenes = sum(entry.kind == "scene" for entry in Cache(folder / "kept").entries())
            print(
                f"{count} dates, {len(done)} pairs: {cpu:.1f} CPU-s; {scenes} scenes made, "
                f"{read / count:.2f} CPU-s each; {(cpu - read) / len(done):.2f} a pair besides",
                flush=True,
            )


def workers(archive: Path, folder: Path) -> None:
    """Run an archive by one process and by two."""
    for count in (1, 2):
        out, kept = folder / f"out{count}", folder / f"cache{count}"
        for leftover in (out, kept):
            shutil.rmtree(leftover, ignore_errors=True)
        command = ["run", archive, "-o", out, "--cache", kept, "--matcher", "phase", "--workers", count]
        cpu, wall = spent(*command, "--no-report", "--no-project")
        told = json.loads((out / "run.json").read_text())
        print(
            f"{count} workers: {len(told['pairs'])} pairs, {cpu:.1f} CPU-s, {wall:.0f} s, "
            f"{told['peak_memory_bytes'] / 1e6:.0f} MB, {len(list(Cache(kept).entries()))} entries",
            flush=True,
        )


def threads(left: Path, right: Path, folder: Path) -> None:
    """Match a pair with the threads that libraries take by themselves, with one, and as the program is.

    The last again while each core has something else to do.
    """
    env = {name: value for name, value in os.environ.items() if name not in ONE_THREAD}
    cores = dict.fromkeys(ONE_THREAD, str(os.cpu_count()))
    ways: tuple[tuple[str, dict[str, str], int], ...] = (
        ("threads of the libraries", cores, 0),
        ("one thread", ONE_THREAD, 0),
        ("default", {}, 0),
        ("default, busy machine", {}, os.cpu_count() or 1),
    )
    for name, more, others in ways:
        shutil.rmtree(folder / "cache", ignore_errors=True)
        command = ["match", left, right, "-o", folder / "ties.geojson", "--matcher", "phase"]
        with busy(others):
            cpu, wall = spent(*command, "--cache", folder / "cache", env={**env, **more})
        print(f"{name}: {cpu:.1f} CPU-s, {wall:.0f} s", flush=True)


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep so many processes at work that never rest."""
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def spent(*command: object, env: dict[str, str] | None = None) -> tuple[float, float]:
    """Run the program; CPU seconds and seconds."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([sys.executable, "-m", "sentinel_match", "-q", *map(str, command)], env=env, stdout=-3, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, time.monotonic() - began


if __name__ == "__main__":
    {f.__name__: f for f in (cache, record, order, growth, workers, threads)}[sys.argv[1]](*map(Path, sys.argv[2:]))  # type: ignore[operator]
