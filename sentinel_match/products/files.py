"""Files: what on this machine may be opened at all, told before anything is read from it.

A name may be an address that GDAL would fetch, and a file may be none: a pipe without a writer blocks whoever opens it.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from os import PathLike
from pathlib import Path

from sentinel_match.atomic import why_unnamable

ADDRESS = re.compile(r"/vsi\w+(?:/|$)|[A-Za-z][\w+.-]+:|[<{]")
"""Beginning of names that GDAL takes for something else than a file of that name: ``/vsicurl/``, ``https:/``,
``NETCDF:``, ``SENTINEL2_L2A:``; a drive of Windows has one letter. Text of XML or JSON is taken for the file itself."""

ONLY_LOCAL = "only local files are taken, by the path of the file or archive itself: download it first"
"""Why such a name is refused, as the end of a sentence."""

EMPTY = "it is empty"
"""Why an empty file is none, as the end of a sentence."""

FILE_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}

RECORD_START = 4096
"""Bytes of a record in which it says what it is."""
RESULT_RECORDS = {
    "run.json": (b'"sentinel_match"', "run"),
    "pair.json": (b'"recipe"', "pair"),
    "prepare.json": (b'"sentinel-match ', "stack"),
    "locate.json": (b'"picture"', "picture"),
}
"""Files that only folders of results hold, what stands in them, and what such a folder is."""


def why_not_there(path: Path) -> str:
    """Tell why there is nothing at a path that results can name, as the end of a sentence; empty where there is."""
    try:
        path.stat()
    except OSError as error:
        return _absence(path, error)
    except ValueError:  # a zero byte in the name
        return "no file can have such a name"
    return why_unnamable(path)


def why_no_file(path: Path, *, may_be_empty: bool = False) -> str:
    """Tell why a path is no file that can be read to its end, as the end of a sentence; empty where it is one.

    An empty file is none: in ``/proc`` it may block, as a pipe does.
    """
    if reason := why_not_there(path):
        return reason
    status = path.stat()
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFREG:
        return "" if status.st_size or may_be_empty else EMPTY
    return f"it is {FILE_KINDS.get(kind, 'something else')}, and only files are read"


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """Read the text of a file that a user names; an empty one gives none.

    Raises:
        OSError: it is not there, is no file (a pipe blocks, a device may have no end), or cannot be read.
        UnicodeDecodeError: it is not of that encoding.
    """
    reason = why_no_file(path)
    if reason == EMPTY:
        return ""
    if reason:
        raise OSError(reason)
    return path.read_text(encoding=encoding)


def real_path(path: Path) -> Path:
    """Follow all links of a path; where they lead in a circle, as far as they lead. ``resolve`` raises there."""
    return Path(os.path.realpath(path))


def _absence(path: Path, error: OSError) -> str:
    if ADDRESS.match(str(path)):
        return ONLY_LOCAL
    if path.is_symlink():
        return "it is a link that leads nowhere"
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "there is no such file or folder"
    return f"it cannot be read ({error.strerror or error})"


def as_path(path: object) -> Path:
    """Take what is a path.

    Raises:
        TypeError: it is none.
        ValueError: it is empty, as a variable of the shell that is not set; it would mean the current folder.
    """
    if not isinstance(path, (str, PathLike)):
        raise TypeError(f"{path!r} is no path: give a str or a Path")
    if path == "":
        raise ValueError("a path is empty: '.' is the current folder")
    return Path(path)


def whose_results(folder: Path) -> str:
    """Tell whose results a folder holds, by the record that our own commands leave in it; empty where none does."""
    for name, (mark, whose) in RESULT_RECORDS.items():
        with contextlib.suppress(OSError):
            if (record := folder / name).is_file():  # and no pipe
                with record.open("rb") as file:
                    if mark in file.read(RECORD_START):
                        return whose
    return ""
