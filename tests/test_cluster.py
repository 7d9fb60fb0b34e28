"""Runs on a dask cluster: what one process does, whichever worker or scheduler is lost."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from test_parallel import Chore, doubled, lost
from test_runs import ALL, BARE, QUICK, archive, serial, told

from sentinel_match import Cache, SentinelMatchError, run
from sentinel_match.cli import main
from sentinel_match.cluster import on_cluster

__all__ = ["archive", "serial"]
distributed = pytest.importorskip("distributed", reason="dask is an optional library: sentinel-match[dask]")
pytestmark = pytest.mark.filterwarnings("ignore")  # of dask's own


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A scheduler with a worker in a process of its own."""
    quiet = {"dashboard_address": None, "worker_dashboard_address": None, "silence_logs": logging.CRITICAL}
    with distributed.LocalCluster(1, threads_per_worker=1, **quiet) as cluster:
        yield cluster.scheduler_address


def no_steps(_: object) -> dict[str, object]:
    return {}


def noted(folder: Path, number: int) -> None:
    """Leave a file that says that this was done, and how often."""
    with (folder / str(number)).open("a") as file:
        file.write(".")


class Note:
    """Work that leaves a note."""

    def __init__(self, folder: Path, number: int) -> None:
        self.folder, self.number = folder, number

    def __call__(self) -> None:
        noted(self.folder, self.number)


def test_a_cluster_does_and_records_what_one_process_does(
    archive: Path, serial: Path, address: str, tmp_path: Path
) -> None:
    said: list[tuple[str, int, int]] = []
    cache = Cache(tmp_path / "cache")
    run(archive, tmp_path, QUICK, ALL, cache=cache, files=BARE, workers=address, progress=lambda *w: said.append(w))
    assert told(serial) == told(tmp_path)
    assert [(k, 6) for k in range(6)] == [(done, of) for _, done, of in said]
    assert sorted(e.path.name for e in Cache(serial.parent / "cache").entries()) == sorted(
        e.path.name for e in cache.entries()
    )


def test_what_several_items_need_is_done_once_and_first(address: str, tmp_path: Path) -> None:
    def steps(number: int) -> dict[str, Note]:
        return {str(k): Note(tmp_path, k) for k in (number % 3, number % 4)}

    def seen(number: int) -> bool:
        return all((tmp_path / str(k)).exists() for k in (number % 3, number % 4))

    assert [True] * 12 == list(on_cluster(seen, range(12), address, steps, lambda _: False))
    assert ["."] * 4 == [(tmp_path / str(k)).read_text() for k in range(4)]


@pytest.mark.skipif(sys.platform == "win32", reason="nothing is killed like that on Windows")
def test_a_worker_that_is_killed_costs_only_another_try(address: str, tmp_path: Path) -> None:
    chores = [Chore(1), Chore(2, tmp_path / "once"), Chore(4)]
    results = list(on_cluster(doubled, chores, address, no_steps, lost))
    assert [2, 4, 8] == sorted(number for number, _ in results)


@contextmanager
def started(*command: object) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program of dask's until the block ends, without a word."""
    with subprocess.Popen(
        [sys.executable, "-m", *map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def cluster_at(port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Start a scheduler and a worker of it, as one does by hand."""
    scheduler = ("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard")
    worker = ("distributed.cli.dask_worker", f"tcp://127.0.0.1:{port}", "--no-dashboard", "--no-nanny")
    with started(*scheduler) as process, started(*worker, "--nthreads", 1, "--death-timeout", 60):
        yield process


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="nothing is killed like that on Windows")
def test_a_scheduler_that_is_killed_is_waited_for_and_nothing_is_lost(
    archive: Path, serial: Path, tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kept, done, again = cluster_at(port), [], cluster_at(port)

    def kill(_what: str, number: int, _of: int) -> None:
        done.append(number)
        if number == 2:
            scheduler.send_signal(signal.SIGKILL)
            kept.__exit__(None, None, None)
            again.__enter__()

    scheduler = kept.__enter__()
    try:
        run(
            archive,
            tmp_path,
            QUICK,
            ALL,
            cache=Cache(tmp_path / "cache"),
            files=BARE,
            workers=f"tcp://127.0.0.1:{port}",
            progress=kill,
        )
    finally:
        again.__exit__(None, None, None)
    assert list(range(6)) == done
    assert told(serial) == told(tmp_path)


def test_where_no_scheduler_answers_one_sentence_says_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentinel_match.cluster.ANSWER_S", 0.2)
    for address in ("tcp://127.0.0.1:1", "nonsense://x"):
        with pytest.raises(SentinelMatchError, match=rf"The scheduler {address} cannot be used: .*\.$"):
            list(on_cluster(abs, [1], address, no_steps, abs))


def test_without_dask_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(SentinelMatchError, match=r"need dask.distributed: pip install 'sentinel-match\[dask\]'"):
        list(on_cluster(abs, [1], "tcp://127.0.0.1:1", no_steps, abs))


def test_a_scheduler_has_its_own_workers(tmp_path: Path) -> None:
    said = CliRunner().invoke(main, ["run", os.devnull, "-o", "out", "--workers", "2", "--scheduler", "tcp://a:1"])
    assert 2 == said.exit_code
    assert "--workers and --scheduler exclude each other" in said.stderr
