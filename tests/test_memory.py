"""The peak of memory: of this process and its children, while the block runs."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pytest

from sentinel_match import memory
from sentinel_match.memory import PeakMemory

MB = 2**20
CHILD = "import sys; held = b'x' * (200 * 2**20); print('held', flush=True); sys.stdin.read()"


def held_now() -> int:
    held: int = psutil.Process().memory_info().rss
    return held


def test_what_is_held_for_a_moment_only_counts() -> None:
    gc.collect()
    before = held_now()
    with PeakMemory() as peak:
        pixels = np.ones(200 * MB, np.uint8)
        time.sleep(5 * memory.INTERVAL_S)
        del pixels
    assert 190 * MB < peak.bytes - before < 260 * MB


def test_what_was_held_before_does_not_count() -> None:
    pixels = np.ones(400 * MB, np.uint8)
    del pixels
    gc.collect()
    with PeakMemory() as peak:
        time.sleep(2 * memory.INTERVAL_S)
    assert abs(peak.bytes - held_now()) < 100 * MB


def test_what_a_child_holds_counts_and_its_end_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "LISTING", 2)
    before = held_now()
    with PeakMemory() as peak:
        with subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(10 * memory.INTERVAL_S)
            child.communicate()
        time.sleep(4 * memory.INTERVAL_S)
    assert peak.bytes - before > 190 * MB


def test_the_thread_ends_with_the_block_whatever_ends_it() -> None:
    with pytest.raises(KeyboardInterrupt), PeakMemory() as peak:
        raise KeyboardInterrupt
    assert "peak memory" not in {thread.name for thread in threading.enumerate()}
    assert peak.bytes > 10 * MB
