"""Files appear whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sentinel_match.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator

UNFINISHED = ".unfinished-"
"""How the names of what is not yet whole begin; the process that fills it follows, then its machine."""
ABANDONED_S = 24 * 3600
"""What a process of another machine has not finished for so long belongs to one that was killed; of this machine, what
is so much older than the process that has its number."""
LATER = 2.0
"""Seconds after a result was made from which a file in it was changed by somebody else."""


def why_unnamable(path: Path) -> str:
    """Tell why no result could name a path, nor GDAL open it, as the end of a sentence; empty where they can."""
    try:
        str(path.absolute()).encode("utf-8")
    except UnicodeEncodeError as error:
        at = "its name" if error.end > len(str(path.absolute())) - len(path.name) else "the name of a folder above it"
        return f"{at} is not UTF-8, so no result could say it; rename it"
    return ""


@contextlib.contextmanager
def whole(path: Path | str) -> Iterator[Path]:
    """Yield a temporary name beside ``path`` to write to; it is renamed when the block ends well, removed when not.

    Raises:
        OutputError: the disk is full, the folder cannot be written, …
    """
    path, temporary = Path(path), None
    if reason := why_unnamable(path):
        raise OutputError(path, reason)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
        handle, name = tempfile.mkstemp(prefix=_prefix(), suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        # mkstemp makes private files; a result is as readable as any other file the user writes
        temporary.chmod(0o666 & ~_umask())
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise OutputError(path, error.strerror or str(error)) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):  # open still, on Windows: what went wrong is told, not that
                temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: Path, mark: str, size: int) -> Iterator[Path]:
    """Yield a new folder beside ``path`` to fill; it takes that name when the block ends well, is removed when not.

    Args:
        path: the folder to make. One that is empty, or holds ``mark``, is replaced; it becomes ``PATH~`` where files in
            it are newer than that.
        mark: name of a file that only folders of this kind hold.
        size: bytes that will be needed, at most.

    Raises:
        OutputError: the folder is somebody else's, cannot be made, or the disk is full.
    """
    if reason := why_unnamable(path):
        raise OutputError(path, reason)
    if path.exists() and not (path.is_dir() and ((path / mark).exists() or not any(path.iterdir()))):
        raise OutputError(path, f"it is there already and is no folder with a {mark} in it: choose another name")
    folder = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
        free = shutil.disk_usage(path.parent).free
        if free < size:
            raise OutputError(
                path, f"it takes up to {size / 1e9:.1f} GB, and only {free / 1e9:.1f} GB of the disk are free"
            )
        folder = unfinished_in(path.parent)
        yield folder
        folder.chmod(0o777 & ~_umask())
        if path.exists():
            _put_aside(path, path / mark)
        folder.replace(path)
    except OSError as error:
        raise OutputError(path, error.strerror or str(error)) from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def unfinished_in(parent: Path) -> Path:
    """Make a new folder of this process, to fill and then to rename.

    Raises:
        OSError: it cannot be made.
    """
    return Path(tempfile.mkdtemp(prefix=_prefix(), dir=parent))


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
    folder = unfinished_in(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(parent: Path) -> None:
    """Remove the unfinished files and folders that killed processes have left in a folder."""
    with contextlib.suppress(OSError), os.scandir(parent) as entries:
        leavings = [Path(entry.path) for entry in entries if entry.name.startswith(UNFINISHED)]
        for leaving in filter(_abandoned, leavings):
            if leaving.is_dir() and not leaving.is_symlink():
                shutil.rmtree(leaving, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    leaving.unlink()


def _prefix() -> str:
    """Begin the name of what this process fills."""
    return f"{UNFINISHED}{os.getpid()}-{_machine()}-"


def _machine() -> str:
    """Name this machine: processes of others, which share a folder with it, cannot be asked whether they live."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _abandoned(unfinished: Path) -> bool:
    """Tell whether nobody fills this any more: its process is gone, or is of another machine and it is very old."""
    import psutil

    process, *others = unfinished.name.removeprefix(UNFINISHED).split("-")
    if not (process.isdecimal() and len(process) < 10 and others):
        return False  # none of ours
    with contextlib.suppress(OSError, psutil.AccessDenied):
        if others[:-1] not in ([], [_machine()]):
            return time.time() - unfinished.stat().st_mtime > ABANDONED_S
        try:  # not os.kill(process, 0), by which Unix asks and Windows ends the process
            began = psutil.Process(int(process)).create_time()
        except psutil.NoSuchProcess:
            return True
        # Another process has the number now; clocks are set meanwhile, but not by a day
        return bool(began > unfinished.stat().st_mtime + ABANDONED_S)
    return False


def _put_aside(path: Path, mark: Path) -> None:
    """Remove a folder of ours; one in which somebody has worked since gets a ``~`` behind its name."""
    made = mark.stat().st_mtime if mark.exists() else float("inf")
    aside = path.with_name(f"{path.name}~")
    if any(file.stat().st_mtime > made + LATER for file in path.rglob("*") if file.is_file()):
        shutil.rmtree(aside, ignore_errors=True)
        path.replace(aside)
    else:
        shutil.rmtree(path)


def write_text(path: Path | str, text: str) -> None:
    """Write a text file whole, in UTF-8 and with the line ends that the text has, on every system.

    Raises:
        OutputError: it could not be written.
    """
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def _umask() -> int:
    """Tell which permissions the user takes from new files; none but the write bit means anything to Windows."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
