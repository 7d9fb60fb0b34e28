"""Files appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from sentinel_match.errors import OutputError
from sentinel_match.scratch import Scratch, sweep

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKED_BYTES = 2**20
"""Read at a time to be checked: what is mapped is in the system's memory then, and none of it in ours."""
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
    """Yield a temporary file near ``path`` to write to; it takes that name when the block ends well, removed when not.

    Raises:
        OutputError: the disk is full, the folder cannot be written, …
    """
    path, scratch = Path(path), None
    if reason := why_unnamable(path):
        raise OutputError(path, reason)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
        scratch = Scratch.make(path.parent)
        temporary = scratch.content / path.name
        temporary.touch()
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise OutputError(path, error.strerror or str(error)) from error
    finally:
        if scratch is not None:
            scratch.remove()


def require_ours(path: Path, mark: str) -> None:
    """Fail where a folder could not be made or replaced, before the work that would fill it.

    Raises:
        OutputError: it is there, neither empty nor with a file of the name ``mark``, or no result could name it.
    """
    if reason := why_unnamable(path):
        raise OutputError(path, reason)
    if path.exists() and not (path.is_dir() and ((path / mark).exists() or not any(path.iterdir()))):
        raise OutputError(path, f"it is there already and is no folder with a {mark} in it: choose another name")


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
    require_ours(path, mark)
    scratch = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent)
        free = shutil.disk_usage(path.parent).free
        if free < size:
            raise OutputError(
                path, f"it takes up to {size / 1e9:.1f} GB, and only {free / 1e9:.1f} GB of the disk are free"
            )
        scratch = Scratch.make(path.parent)
        yield scratch.content
        scratch.content.chmod(0o777 & ~_umask())
        if path.exists():
            _put_aside(path, path / mark)
        scratch.content.replace(path)
    except OSError as error:
        raise OutputError(path, error.strerror or str(error)) from error
    finally:
        if scratch is not None:
            scratch.remove()


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


def checksum(path: Path) -> int:
    """Compute the CRC-32 of a file, piece by piece, where the hashes of cryptography take four times as long.

    Reading an entry of 10980 x 10980 pixels whole costs 0.1 s of a core, so that no part of it needs one of its own.
    """
    checksum, piece = 0, bytearray(CHECKED_BYTES)
    with path.open("rb", buffering=0) as file:
        while length := file.readinto(piece):
            checksum = zlib.crc32(memoryview(piece)[:length], checksum)
    return checksum


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk; a file system that cannot say so is believed.

    Raises:
        OSError: they cannot be written.
    """
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP}:
            raise
    finally:
        os.close(handle)


def _umask() -> int:
    """Tell which permissions the user takes from new files; none but the write bit means anything to Windows."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
