"""How much memory there is, and how much a run takes at most, measured alike on every system."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import sys
from threading import Event, Thread

import psutil

INTERVAL_S = 0.05
"""Seconds between two looks: one takes 40 µs, so a run spends a thousandth of one core on them."""
LISTING = 20
"""Looks between two listings of the processes that were started: that takes 25 µs for each process of the machine."""


def require(size: int) -> None:
    """Check that the machine has room for so many bytes: Linux grants more than there is, and ends processes later.

    Raises:
        MemoryError: it has not.
    """
    free = psutil.virtual_memory().available + psutil.swap_memory().free
    if size > free:
        raise MemoryError(f"{size / 1e9:.3g} GB are needed, and {free / 1e9:.3g} GB are free")


def give_back() -> None:
    """Give the system back freed memory that glibc keeps: of a whole tile up to 0.8 GB; nothing with another C library.

    It grows its own threshold for what it gives back by itself with the arrays it sees, up to 32 MB.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


class PeakMemory:
    """The most memory that this process, and those it starts, hold together while the block runs.

    Sampled, every system being asked the same: psutil tells everywhere what is held now, but the peak that the system
    itself remembers on Windows alone, and the module ``resource``, which does on Linux and macOS, is not there on
    Windows. That peak is also of a process's whole life, even of what its parent held when it forked. In four runs of
    1.5 GB each the samples came within 0.3 % of Linux's own peak (``VmHWM``).
    """

    def __init__(self) -> None:
        self.bytes = 0
        """Resident bytes, the highest so far; what processes share counts in each."""
        self._process = psutil.Process()
        self._end = Event()
        self._thread = Thread(target=self._watch, name="peak memory", daemon=True)

    def __enter__(self) -> PeakMemory:
        self._look([])
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        """Look again and again until the block ends."""
        children: list[psutil.Process] = []
        for number in itertools.count():
            if number % LISTING == 0:
                children = self._process.children(recursive=True)
            self._look(children)
            if self._end.wait(INTERVAL_S):
                return

    def _look(self, children: list[psutil.Process]) -> None:
        """Add up what the processes hold now."""
        total = 0
        for process in (self._process, *children):
            with contextlib.suppress(psutil.Error):  # it may have ended meanwhile
                total += process.memory_info().rss
        self.bytes = max(self.bytes, total)
