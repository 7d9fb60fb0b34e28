"""Work in parallel: order, and no more threads than cores."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import cv2
import psutil
import pytest
import torch
from chores import Chore, doubled, sleepy, threads_of_libraries
from click.testing import CliRunner

from sentinel_match.cli import main
from sentinel_match.parallel import CORES_PER_POOL, ONE_THREAD, cores, in_processes, in_threads, one_thread


def test_results_come_in_the_order_of_the_items() -> None:
    assert list(in_threads(lambda k: k * k, range(20), workers=4)) == [k * k for k in range(20)]


def test_work_inside_work_stays_on_the_thread_of_its_worker() -> None:
    def outer(_: int) -> set[int]:
        return {threading.get_ident(), *in_threads(lambda _: threading.get_ident(), range(8), workers=4)}

    assert all(len(threads) == 1 for threads in in_threads(outer, range(4), workers=2))


def test_a_single_item_leaves_the_cores_to_its_pieces() -> None:
    barrier = threading.Barrier(2, timeout=20)

    def outer(_: int) -> list[int]:
        return list(in_threads(lambda _: barrier.wait(), range(2), workers=2))

    assert sorted(*in_threads(outer, range(1), workers=2)) == [0, 1]


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc has pools of memory to share")
def test_threads_share_pools_of_memory() -> None:
    """glibc counts them on stderr: as many as there are threads, or as many as the cores share."""
    program = """
import ctypes, sys, threading
from sentinel_match.parallel import share_memory
if len(sys.argv) > 1:
    share_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
begun = threading.Barrier(12)
def use():
    libc.malloc(4000)
    begun.wait()
threads = [threading.Thread(target=use) for _ in range(12)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc.malloc_stats()
"""
    own, shared = (
        subprocess.run([sys.executable, "-c", program, *more], capture_output=True, text=True, check=True).stderr.count(
            "Arena"
        )
        for more in ([], ["share"])
    )
    assert shared <= max(cores() // CORES_PER_POOL, 1) < own


def lost(chore: Chore) -> tuple[int, int]:
    return -chore.number, 0


def nobody(_: object) -> None:
    return


def test_processes_do_everything_and_say_what_is_begun() -> None:
    begun: list[Chore] = []
    chores = [Chore(k) for k in range(6)]
    results = list(in_processes(doubled, chores, 2, begun.append, lost))
    assert [0, 2, 4, 6, 8, 10] == sorted(number for number, _ in results)
    assert chores == sorted(begun)
    assert len({process for _, process in results} - {os.getpid()}) <= 2


@pytest.mark.skipif(sys.platform == "win32", reason="nothing is killed like that on Windows")
def test_a_process_that_is_killed_costs_only_another_try(tmp_path: Path) -> None:
    chores = [Chore(1), Chore(2, tmp_path / "once"), Chore(3, tmp_path / "always", always=True), Chore(4)]
    results = list(in_processes(doubled, chores, 2, nobody, lost))
    assert [-3, 2, 4, 8] == sorted(number for number, _ in results)


def test_processes_end_with_who_has_begun_them() -> None:
    results = in_processes(sleepy, [0.0, 600.0, 600.0], 2, nobody, lambda _: None)
    next(results)
    children = psutil.Process().children(recursive=True)
    ours = [process for process in children if "spawn_main" in " ".join(process.cmdline())]
    results.close()
    _, alive = psutil.wait_procs(ours, timeout=20)
    assert 2 == len(ours)
    assert [] == alive


def test_a_process_has_one_thread_whatever_the_environment_of_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ONE_THREAD:
        monkeypatch.setenv(name, "7")  # what is there is put back
        monkeypatch.delenv(name)
    assert [(1, 1, 2)] == list(in_processes(threads_of_libraries, [0], 1, nobody, lambda _: (0, 0, 0)))
    assert not set(ONE_THREAD) & set(os.environ)


@pytest.mark.parametrize(("command", "threads"), [("run", "1"), ("prepare", "1"), ("train", None), ("images", None)])
def test_a_command_has_one_thread_but_where_one_network_has_all_cores(
    command: str, threads: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ONE_THREAD:
        monkeypatch.setenv(name, "7")  # what is there is put back
        monkeypatch.delenv(name)
    CliRunner().invoke(main, [command, "--help"])
    assert {threads} == {os.environ.get(name) for name in ONE_THREAD}


def test_the_threads_that_a_user_has_set_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ONE_THREAD:
        monkeypatch.setenv(name, "7")
    CliRunner().invoke(main, ["run", "--help"])
    assert {"7"} == {os.environ[name] for name in ONE_THREAD}


def test_one_thread_is_kept_to_and_what_was_set_before_comes_back() -> None:
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(2)
    cv2.setNumThreads(2)
    try:
        with one_thread():
            assert (1, 1) == (torch.get_num_threads(), cv2.getNumThreads())
        assert (2, 2) == (torch.get_num_threads(), cv2.getNumThreads())
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])
