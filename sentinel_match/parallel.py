"""Work in parallel: an executor is a map; and one policy for threads: whatever works, works on one.

torch's own threads meet at a barrier after every small operation. When the machine is busy with anything else each
barrier waits for whoever was put aside: measured with other processes on two cores, refining 8,600 points took 26
CPU-seconds and 66 s with two such threads, 3 CPU-seconds and 6 s with one; all of T33UUU by ``phase`` 24 and 10. So the
pieces run side by side, and each on one thread, or the pairs do, each in a process.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children, get_context, parent_process
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")
R = TypeVar("R")

CORES_PER_POOL = 2
"""Cores to a pool of memory that threads share. glibc gives each thread its own, eight a core, and keeps what it frees:
matching T33UUU on two cores peaked at 0.67 GB, with one pool at 0.59, for the same CPU time."""
LARGE_BYTES, KEPT_BYTES = 8 << 20, 64 << 20
"""What is so large is given back once it is freed; of what is smaller so much is kept. By itself glibc raises both to
what it sees: a whole tile then takes 0.5 GB more."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""Of glibc's ``malloc.h``."""
TRIES = 2
"""Processes that may die of one item: one that needs more memory than there is would end every other too."""
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "OPENCV_FOR_THREADS_NUM"),
    "1",
)
"""What torch, the BLAS of numpy and scipy, and OpenCV read when they are loaded; GDAL has one thread by itself, and
:mod:`sentinel_match.raster.jp2` keeps it to that."""
_BEGINNING = threading.Lock()
_THREAD = threading.local()
"""Knows whether a thread is a worker of :func:`in_threads`, of :func:`in_processes` or of others, and at work."""


def cores() -> int:
    """Count the processor cores that this process may use; only Linux can set some apart from it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def settle() -> None:
    """Give this process one thread, besides those of :func:`in_threads`; call it before numpy or torch are loaded.

    For processes of one's own, like :func:`share_memory`. What the user has set stays.
    """
    for name, value in ONE_THREAD.items():
        os.environ.setdefault(name, value)
    share_memory()


def share_memory() -> None:
    """Let the threads of this process share pools of memory, and keep little; another C library than glibc decides.

    For processes of one's own: a library leaves its host's memory alone.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "gnu_get_libc_version"):
        libc.mallopt(_M_ARENA_MAX, max(cores() // CORES_PER_POOL, 1))
        libc.mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)


def in_threads(work: Callable[[T], R], items: Iterable[T], workers: int | None = None) -> Iterator[R]:
    """Run work on several items at a time, each with torch on one thread; yield results in order, as ``map`` does.

    Work that itself has pieces does them one by one: its cores are busy already, and each thread more keeps memory of
    its own (30 to 100 MB on T33UUU).

    Args:
        work: what to do with each item.
        items: taken up at once.
        workers: at most this many at a time; the machine's cores when not given.
    """
    items = list(items)
    workers = min(workers or cores(), len(items))
    if workers <= 1 or getattr(_THREAD, "works", False):
        with one_thread():
            yield from map(work, items)
        return
    with one_thread(), ThreadPoolExecutor(workers, initializer=_begin) as pool:
        try:
            yield from pool.map(work, items)
        except BaseException:
            # Ctrl-C must not wait for what has not begun
            pool.shutdown(cancel_futures=True)
            raise


def _begin() -> None:
    _THREAD.works = True


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch and OpenCV to one thread while the block runs, or a function that this decorates."""
    import cv2
    import torch

    before = torch.get_num_threads(), cv2.getNumThreads()
    if before != (1, 1):
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
    try:
        yield
    finally:
        if before != (1, 1):
            torch.set_num_threads(before[0])
            cv2.setNumThreads(before[1])


@contextmanager
def one_core() -> Iterator[None]:
    """Let what this thread does while the block runs take no other core: others are at work there."""
    before, _THREAD.works = getattr(_THREAD, "works", False), True
    try:
        yield
    finally:
        _THREAD.works = before


def in_processes(
    work: Callable[[T], R],
    items: Iterable[T],
    workers: int,
    begin: Callable[[T], None],
    lost: Callable[[T], R],
) -> Iterator[R]:
    """Run work on several items at a time, each in a process of its own on one thread; yield results as they come.

    A process that dies, killed because memory is short or for whatever reason, costs no other its work: another takes
    its place and its item. All end when this one does.

    Args:
        work: what to do with each item; it, the items and the results can be pickled.
        items: taken up one by one, in this order.
        workers: as many processes.
        begin: is told, here, each item that is begun.
        lost: makes the result of an item whose process died each time that it was tried.

    Raises:
        RuntimeError: no process can be begun.
    """
    items, processes, free = list(items), [_Process() for _ in range(workers)], SimpleQueue[_Process]()
    for process in processes:
        free.put(process)

    def one(item: T) -> R:
        process = free.get()
        try:
            begin(item)
            return process.run(work, item, lost)
        finally:
            free.put(process)

    with ThreadPoolExecutor(workers) as threads:
        try:
            for future in as_completed([threads.submit(one, item) for item in items]):
                yield future.result()
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.stop()
            raise
        finally:
            for process in processes:
                process.close()


class _Process:
    """A process that does one thing after another, and is begun again when it has died."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._id = 0
        self._stopped = False

    def run(self, work: Callable[[T], R], item: T, lost: Callable[[T], R]) -> R:
        """Do work there, again if it dies.

        Raises:
            RuntimeError: none can be begun.
        """
        for _ in range(TRIES):
            pool = self._begun()
            if self._stopped:
                raise KeyboardInterrupt
            with contextlib.suppress(BrokenProcessPool):
                return pool.submit(_busy, work, item).result()
            self.close()
        return lost(item)

    def _begun(self) -> ProcessPoolExecutor:
        if self._pool is None:
            about = logging.getLogger().getEffectiveLevel()
            pool = self._pool = ProcessPoolExecutor(1, get_context("spawn"), _serve, (about,))
            try:
                with _BEGINNING, _environment():
                    self._id = pool.submit(os.getpid).result()
            except BrokenProcessPool as error:
                raise RuntimeError(
                    "a process of its own ends as soon as it begins: a script must do its work under "
                    '`if __name__ == "__main__":`, because such processes begin by importing it'
                ) from error
        return self._pool

    def stop(self) -> None:
        """Ask it to leave what it does."""
        self._stopped = True
        for process in active_children():
            if self._pool is not None and process.pid == self._id:
                process.terminate()

    def close(self) -> None:
        """End it when it has done what it does."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(cancel_futures=True)


def _serve(about: int) -> None:
    """Make this process one that serves another: on one thread, ended by it alone, and no longer than it."""
    logging.basicConfig(level=about, format="%(levelname)s %(name)s: %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal: the first one decides
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    share_memory()
    _THREAD.works = True


def _busy(work: Callable[[T], R], item: T) -> R:
    _THREAD.busy = True
    try:
        return work(item)
    finally:
        _THREAD.busy = False


def _leave(_number: int, _frame: object) -> None:
    if not getattr(_THREAD, "busy", False):
        os._exit(1)
    raise KeyboardInterrupt  # nothing half made stays


@contextmanager
def _environment() -> Iterator[None]:
    """Let a process that begins now take what :data:`ONE_THREAD` says; what the user has set stays."""
    absent = {name: value for name, value in ONE_THREAD.items() if name not in os.environ}
    os.environ.update(absent)
    try:
        yield
    finally:
        for name in absent:
            del os.environ[name]


def _end_with_parent() -> None:
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)
