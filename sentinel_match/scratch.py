"""Folders of what is not yet whole, each held by the process that fills it.

Processes of several machines, containers and process-id namespaces share folders, and none can ask for another's by
its number: where nobody has that number, or somebody else, what is being written looks left behind. So each folder has
a file that its process keeps locked. The kernel frees the lock when the process ends, however it ends, and servers of
network file systems pass it on to other machines. Where they do not, the file's time of change tells: it is renewed
every minute. A free lock proves only processes of this very machine gone; those of others must have been silent too.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import math
import os
import platform
import re
import shutil
import sys
import tempfile
import threading
import time
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

UNFINISHED = ".unfinished-"
"""How the names of these folders begin; the machine follows."""
MAKING = ".making-"
"""How the names of files begin that are locked by who makes what is named behind the machine."""
LOCK, CONTENT = "lock", "new"
"""Names of what is in such a folder: the file that is locked, and what is filled."""
HEARTBEAT_S = 60.0
"""How often a process says that it lives, where locks do not."""
SILENT_S = 3600.0
"""What nobody locks or renews for so long is left behind: sixty heartbeats, so that a machine may sleep meanwhile."""
ABANDONED_S = 24 * 3600.0
"""What has no lock, of versions that made none or of a process killed right then, is left behind when it is so old."""
WAIT_S = 0.05
"""Between two looks at what another process makes: most of it takes a second or more."""
LONGEST_WAIT_S = 900.0
"""After so long what another process makes is made a second time: it may hang, and a whole tile takes a minute."""
_NAME = re.compile(rf"{re.escape(UNFINISHED)}(?:\d{{1,9}}|(?P<machine>m[0-9a-f]{{8}}))-.+")
"""Ours: those of earlier versions have the number of a process in place of the machine."""
_HELD_BY_ANOTHER = {errno.EAGAIN, errno.EACCES, errno.EDEADLK}
_HELD: dict[str, Path] = {}
"""The locks of this process by the name of their folder."""
_HEART: list[threading.Thread] = []


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


@dataclass(frozen=True)
class Scratch:
    """A folder to fill and to rename, of this process until it is removed."""

    content: Path
    """The folder to fill; it may be moved away."""
    _handle: int
    """Of the file that is locked."""

    @staticmethod
    def make(parent: Path) -> Scratch:
        """Make one in a folder.

        Raises:
            OSError: it cannot be made.
        """
        folder = Path(tempfile.mkdtemp(prefix=f"{UNFINISHED}{_machine()}-", dir=parent))
        try:
            handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        scratch = Scratch(folder / CONTENT, handle)
        _HELD[folder.name] = folder / LOCK
        try:
            if _locked(handle):
                os.write(handle, b"+")  # from now on the lock says whether we live; before, nobody tries it
            scratch.content.mkdir(mode=0o700)
        except OSError:
            scratch.remove()
            raise
        _live()
        return scratch

    def remove(self) -> None:
        """Remove what is left of it; what Windows does not remove, because it is open, stays ours."""
        folder = self.content.parent
        shutil.rmtree(self.content, ignore_errors=True)
        if not self.content.exists() and _HELD.pop(folder.name, None) is not None:
            os.close(self._handle)
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait until no other process or thread of this machine makes a path, and let others wait while the block runs.

    Where the file system has no locks, or another machine makes it, nobody waits, nor longer than
    :data:`LONGEST_WAIT_S`, and it is made twice. The empty file that a killed process leaves is nobody's, and goes with
    the next one that makes the same.
    """
    file = path.with_name(f"{MAKING}{_machine()}-{path.name}")
    handle = _waited(file)
    try:
        yield
    finally:
        if handle is not None:
            with contextlib.suppress(OSError):  # first, so that who waits finds the name free; Windows keeps it
                file.unlink()
            os.close(handle)


def _waited(file: Path) -> int | None:
    """Lock the file of this name, when nobody else does; nothing where there are no locks, or none is got for long."""
    latest = time.monotonic() + LONGEST_WAIT_S
    while True:
        try:
            handle = os.open(file, os.O_RDWR | os.O_CREAT)
        except OSError:  # whatever forbids it will forbid the rest, too, and that says why
            return None
        try:
            _lock(handle)
            with contextlib.suppress(OSError):
                if os.path.samestat(os.fstat(handle), file.stat()):
                    return handle
            os.close(handle)  # who had it has removed it: it is another one now
        except OSError as error:
            os.close(handle)
            if error.errno not in _HELD_BY_ANOTHER or time.monotonic() > latest:
                return None
            time.sleep(WAIT_S)
        except BaseException:
            os.close(handle)
            raise


@contextlib.contextmanager
def scratch_folder(parent: Path | None = None) -> Iterator[Path]:
    """Yield a new folder of this process that is removed when the block ends, or by the next one if it is killed.

    Args:
        parent: where; the system's folder for temporary files when not given.

    Raises:
        OSError: it cannot be made.
    """
    parent = parent or Path(tempfile.gettempdir())
    sweep(parent)
    scratch = Scratch.make(parent)
    try:
        yield scratch.content
    finally:
        scratch.remove()


def sweep(parent: Path) -> None:
    """Remove the unfinished files and folders that killed processes have left in a folder."""
    with contextlib.suppress(OSError):
        with os.scandir(parent) as entries:
            others = [Path(e.path) for e in entries if _NAME.fullmatch(e.name) and e.name not in _HELD]
        if not others:
            return
        now = time_of(parent)
        for unfinished in others:
            with contextlib.suppress(OSError):
                if not _abandoned(unfinished, now):
                    continue
                # Moved first: whoever held it and comes to life again finds nothing, instead of half of it
                aside = Scratch.make(parent)
                try:
                    unfinished.replace(aside.content / unfinished.name)
                finally:
                    aside.remove()


def time_of(parent: Path) -> float:
    """Tell the time by the clock that gives the files in a folder theirs, maybe a server's; seconds since 1970.

    Long ago, where no file can be made.
    """
    try:
        with tempfile.TemporaryFile(prefix=f"{UNFINISHED}{_machine()}-", dir=parent) as file:
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return -math.inf


def _abandoned(unfinished: Path, now: float) -> bool:
    """Tell whether nobody fills this any more.

    Raises:
        OSError: it is gone, or may not be looked at.
    """
    name = _NAME.fullmatch(unfinished.name)
    try:
        handle = os.open(unfinished / LOCK, os.O_RDWR)
    except (FileNotFoundError, NotADirectoryError):
        return now - unfinished.lstat().st_mtime > ABANDONED_S
    try:
        before = os.fstat(handle)
        silent = now - before.st_mtime > SILENT_S
        if not before.st_size:  # no lock was got: it may be sought right now, or there are none on this file system
            return silent
        here = name is not None and name["machine"] == _machine()
        if not (here or silent):
            return False
        try:
            _lock(handle)
        except OSError as error:
            return silent and error.errno not in _HELD_BY_ANOTHER
        return True
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    """Lock a file of ours, and tell whether the file system has locks."""
    try:
        _lock(handle)
    except OSError:
        return False
    return True


def _live() -> None:
    """Renew the locks of this process from time to time, from now on; a forked one needs its own thread."""
    if not (_HEART and _HEART[-1].is_alive()):
        _HEART[:] = [threading.Thread(target=_beat, name="sentinel-match scratch", daemon=True)]
        with contextlib.suppress(RuntimeError):  # the interpreter ends
            _HEART[-1].start()


def _beat() -> None:
    while True:
        time.sleep(HEARTBEAT_S)
        for lock in list(_HELD.values()):
            with contextlib.suppress(OSError):
                os.utime(lock)


@cache
def _machine() -> str:
    """Name the machine whose kernel can tell of a lock that its process is gone.

    Machines and containers may be called alike, so the kernel's name since it was started belongs to it on Linux, and
    elsewhere the address on the network. A letter begins it, because earlier versions take a number for a process.
    """
    try:
        kernel = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    except OSError:
        kernel = str(uuid.getnode())
    return f"m{hashlib.sha256(f'{platform.node()} {kernel}'.encode()).hexdigest()[:8]}"
