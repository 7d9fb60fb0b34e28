"""Work in parallel: order, and no more threads than cores."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from sentinel_match.parallel import CORES_PER_POOL, cores, in_threads


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
