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
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from test_parallel import Chore, doubled, lost
from test_runs import ALL, BARE, QUICK, archive, serial, told

from sentinel_match import (
    Cache,
    Masking,
    Options,
    Semantics,
    SentinelMatchError,
    find_scenes,
    pair_scenes,
    run,
)
from sentinel_match.anywhere import do_elsewhere, options_anywhere
from sentinel_match.cli import main
from sentinel_match.cluster import on_cluster
from sentinel_match.job import Work

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


def test_paths_mean_the_same_to_workers_that_were_begun_in_another_folder(
    archive: Path, serial: Path, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("archive").symlink_to(archive)
    run("archive", "out", QUICK, ALL, cache=Cache("cache"), files=BARE, workers=address)
    assert told(serial)["points"] == told(tmp_path / "out")["points"]
    assert any(Cache(tmp_path / "cache").entries())


def test_paths_of_options_are_those_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("codes.csv").touch()
    given = Options(
        masking=Masking(user="mask.gpkg"),
        semantics=Semantics(maps=("left.tif", "right.tif"), table="codes.csv"),
        dem=Path("dem.tif"),
        stable="ground.gpkg",
    )
    there = options_anywhere(given)
    assert tmp_path / "mask.gpkg" == there.masking.user
    assert (tmp_path / "left.tif", tmp_path / "right.tif") == there.semantics.maps
    assert str(tmp_path / "codes.csv") == there.semantics.table
    assert (tmp_path / "dem.tif", tmp_path / "ground.gpkg") == (there.dem, there.stable)
    kept = Options(stable="auto", semantics=Semantics(table="worldcover"))
    assert kept == options_anywhere(kept)


def test_a_worker_that_does_not_reach_archive_or_results_says_so(archive: Path, tmp_path: Path) -> None:
    pair = pair_scenes(find_scenes(archive).scenes, ALL).pairs[0]
    work = Work(tmp_path, QUICK, Cache(tmp_path / "cache"), BARE)
    said = do_elsewhere(pair, work).outcome
    assert "failed" == said.status
    assert f"{tmp_path / 'run.json'} is not there for the worker on {socket.gethostname()}" in said.error
    assert not (tmp_path / pair.id).exists()
    (tmp_path / "run.json").touch()
    assert "is not there" not in do_elsewhere(pair, work).outcome.error
    left = pair.left.bands[0]
    gone = replace(left, asset=replace(left.asset, path=tmp_path / "gone.jp2"))
    lacking = replace(pair, left=replace(pair.left, bands=(gone,)))
    assert f"{tmp_path / 'gone.jp2'} is not there" in do_elsewhere(lacking, work).outcome.error


def test_what_several_items_need_is_done_once_and_first(address: str, tmp_path: Path) -> None:
    def steps(number: int) -> dict[str, Note]:
        return {str(k): Note(tmp_path, k) for k in (number % 3, number % 4)}

    def seen(number: int) -> bool:
        return all((tmp_path / str(k)).exists() for k in (number % 3, number % 4))

    assert [True] * 12 == list(on_cluster(seen, range(12), address, steps, lambda _: False))
    assert ["."] * 4 == [(tmp_path / str(k)).read_text() for k in range(4)]


def broken() -> None:
    raise ValueError("what nobody has foreseen of a scene")


def test_a_step_that_fails_ends_nothing(address: str) -> None:
    results = on_cluster(abs, [-1, -2, -3], address, lambda k: {"scene": broken} if k == -2 else {}, lambda _: 0)
    assert [1, 2, 3] == sorted(results)


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
    for address in ("tcp://127.0.0.1:1", "nonsense://x", "127.0.0.1:8786x", "tcp://host"):
        with pytest.raises(SentinelMatchError, match=rf"The scheduler {address} cannot be used: .*\.$"):
            list(on_cluster(abs, [1], address, no_steps, abs))


def test_machines_without_this_version_are_named_before_any_work(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentinel_match.cluster.__version__", "9.9")
    with pytest.raises(SentinelMatchError, match=r"the scheduler has \S+ \(and \d+ more\), and all must have .* 9\.9"):
        list(on_cluster(abs, [1], address, no_steps, abs))
    monkeypatch.setattr("sentinel_match.cluster.PACKAGE", "no-such-package")
    with pytest.raises(SentinelMatchError, match="the scheduler has none"):
        list(on_cluster(abs, [1], address, no_steps, abs))


def fail(_: object) -> object:
    raise ModuleNotFoundError("no such module")


def test_what_dask_cannot_hand_out_is_said_in_one_sentence(address: str) -> None:
    with pytest.raises(SentinelMatchError, match=r"ModuleNotFoundError: no such module; do all machines have the same"):
        list(on_cluster(fail, [1], address, no_steps, abs))


def test_an_address_that_is_empty_is_none() -> None:
    said = CliRunner().invoke(main, ["run", os.devnull, "-o", "out", "--scheduler", ""])
    assert 2 == said.exit_code
    assert "--scheduler is empty" in said.stderr


def test_without_dask_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(SentinelMatchError, match=r"need dask.distributed: pip install 'sentinel-match\[dask\]'"):
        list(on_cluster(abs, [1], "tcp://127.0.0.1:1", no_steps, abs))


def test_a_scheduler_has_its_own_workers(tmp_path: Path) -> None:
    said = CliRunner().invoke(main, ["run", os.devnull, "-o", "out", "--workers", "2", "--scheduler", "tcp://a:1"])
    assert 2 == said.exit_code
    assert "--workers and --scheduler exclude each other" in said.stderr
