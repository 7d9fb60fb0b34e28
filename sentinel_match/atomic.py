"""Files appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from sentinel_match.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator

LATER = 2.0
"""Seconds after a result was made from which a file in it was changed by somebody else."""


@contextlib.contextmanager
def whole(path: Path | str) -> Iterator[Path]:
    """A temporary name beside ``path`` to write to; renamed to it when the block ends well, removed when not.

    Raises:
        OutputError: the disk is full, the folder cannot be written, …
    """
    path, temporary = Path(path), None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".unfinished-", suffix=path.suffix, dir=path.parent)
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
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: Path, mark: str, size: int) -> Iterator[Path]:
    """A new folder beside ``path`` to fill; it takes that name when the block ends well, and is removed when not.

    Args:
        path: the folder to make. One that is empty, or holds ``mark``, is replaced; it becomes ``PATH~`` where files in
            it are newer than that.
        mark: name of a file that only folders of this kind hold.
        size: bytes that will be needed, at most.

    Raises:
        OutputError: the folder is somebody else's, cannot be made, or the disk is full.
    """
    if path.exists() and not (path.is_dir() and ((path / mark).exists() or not any(path.iterdir()))):
        raise OutputError(path, f"it is there, and is no folder with a {mark}: choose another")
    folder = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
        if free < size:
            raise OutputError(path, f"it takes up to {size / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free")
        folder = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=path.parent))
        yield folder
        folder.chmod(0o777 & ~_umask())
        if path.exists():
            _put_aside(path, path / mark)
        folder.rename(path)
    except OSError as error:
        raise OutputError(path, error.strerror or str(error)) from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _put_aside(path: Path, mark: Path) -> None:
    """Remove a folder of ours; one in which somebody has worked since gets a ``~`` behind its name."""
    made = mark.stat().st_mtime if mark.exists() else float("inf")
    aside = path.with_name(f"{path.name}~")
    if any(file.stat().st_mtime > made + LATER for file in path.rglob("*") if file.is_file()):
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
    else:
        shutil.rmtree(path)


def write_text(path: Path | str, text: str) -> None:
    """Write a text file whole.

    Raises:
        OutputError: it could not be written.
    """
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
