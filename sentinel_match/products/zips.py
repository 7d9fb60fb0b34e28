"""Zips as GDAL reads them: the names that it gives their members, the packings that it can unpack, its path to one."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from sentinel_match.products.files import real_path

GDAL_PACKINGS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}

PACKINGS = {9: "deflate64", zipfile.ZIP_BZIP2: "bzip2", zipfile.ZIP_LZMA: "LZMA", 93: "zstd", 95: "xz", 98: "PPMd"}
"""What a zip's members may be packed by, besides deflate (APPNOTE.TXT, 4.4.5)."""


MOST_END = 22 + 2**16
"""Most bytes after which the end of a zip begins: its record, and a comment."""


def open_zip(path: Path) -> zipfile.ZipFile:
    """Open a zip with its members called as GDAL calls them: without ``./`` before them, folders joined by ``/``.

    Raises:
        zipfile.BadZipFile, ValueError, EOFError, NotImplementedError: it is none, or its end is missing.
    """
    opened = zipfile.ZipFile(path)
    for info in opened.infolist():
        info.filename = info.filename.removeprefix("./").replace("\\", "/")  # and in this order
    opened.NameToInfo = {info.filename: info for info in opened.infolist()}
    return opened


def is_last_part(path: Path) -> bool:
    """Tell whether a zip was split and this is its last part: its end counts disks from 0 (APPNOTE.TXT, 4.3.16)."""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - MOST_END))
        tail = stream.read(MOST_END)
    end = tail.rfind(b"PK\5\6")
    return end >= 0 and tail[end + 4 : end + 6] not in {b"\0\0", b"\xff\xff", b""}


def packing(info: zipfile.ZipInfo) -> str:
    """Name what a member is packed by."""
    return PACKINGS.get(info.compress_type, f"method {info.compress_type}")


def gdal_path(path: Path, member: str) -> str:
    """Write the path by which GDAL opens a member of a zip.

    The braces let a zip have any suffix (a ``.SAFE`` that is a zip), but GDAL counts those of the path itself, too.
    """
    place = real_path(path).as_posix()
    return f"/vsizip/{{{place}}}/{member}" if _balanced(place) else f"/vsizip/{place}/{member}"


def why_gdal_cannot_find(path: Path) -> str:
    """Tell why GDAL finds no member of a zip at this path, as the end of a sentence; empty where it does."""
    place = real_path(path).as_posix()
    if _balanced(place) or place.lower().endswith(".zip"):
        return ""
    return "GDAL finds no zip by a path with a brace alone and another suffix than .zip: rename it to end in .zip"


def member_of(gdal: str) -> tuple[Path, str] | None:
    """Find the zip on this machine and the member that a path of GDAL's leads to; ``None`` where it leads elsewhere."""
    place = gdal.removeprefix("/vsizip/")
    if place.startswith("{"):
        parts = [(place[1 : match.start()], place[match.end() :]) for match in re.finditer(r"\}/", place)]
    else:
        ends = [match.end() for match in re.finditer(r"\.zip/", place, re.IGNORECASE)]
        parts = [(place[: end - 1], place[end:]) for end in ends]
    candidates = [(Path(name), member) for name, member in parts if not name.startswith("/vsi")]
    return next(((path, member) for path, member in candidates if path.is_absolute() and path.is_file()), None)


def _balanced(text: str) -> bool:
    """Check whether every brace is closed, and none before it is opened."""
    depth = 0
    for letter in re.sub(r"[^{}]", "", text):
        depth += 1 if letter == "{" else -1
        if depth < 0:
            return False
    return depth == 0
