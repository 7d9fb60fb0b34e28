"""Archive: a product's files as one flat listing, whether they lie in a folder or in a zip. Nothing is ever extracted.

A download is not to be trusted: a zip whose names lead out of it, whose members are links or encrypted, or that unpacks
to absurd sizes is refused here, before anything reads it.
"""

from __future__ import annotations

import lzma
import os
import re
import stat
import zipfile
import zlib
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from sentinel_match.errors import BrokenProduct, NotAProduct
from sentinel_match.products.files import EMPTY, whose_results, why_no_file
from sentinel_match.products.scene import Asset
from sentinel_match.products.zips import GDAL_PACKINGS, is_last_part, open_zip, packing, why_gdal_cannot_find

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

MOST_MEMBERS = 100_000
"""Most members of a believable zip: the largest old multi-granule products hold about 15,000."""

MOST_TEXT_BYTES = 16 * 2**20
"""Most bytes read of one metadata file. Real ones: up to 0.5 MB, a manifest of many granules 5 MB."""

MOST_GROWTH = 100
"""Most times a metadata file of over 1 MiB may grow when unpacked. Real XML reaches 15; a bomb of zeros 1000."""

PACKED = re.compile(
    r".+\.(?:(?:tar|cpio)(?:\.\w+)?|tgz|tbz2?|txz|tzst|rar|(?:7z|zip)\.\d+|7z|z\d\d"
    r"|(?:zip|safe|jp2|tiff?|img|png|jpe?g)\.(?:gz|bz2|xz|zst|z|lz4|lzma)"
    r"|(?:zip|safe)\.(?:part|partial|crdownload|incomplete|download))",
    re.IGNORECASE,
)
"""Names of archives of which nothing is read in place, of parts of one, of packed single files, of broken downloads."""

PACKED_HEADS = {
    b"\x1f\x8b": "gzip",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"Rar!\x1a\x07": "RAR",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
"""How packed files begin; a tar says it at byte 257."""

JOIN = "zip -s 0 x.zip --out whole.zip"
"""What makes one zip of those that ``zip`` has split."""
NOTHING = "the file is empty, download it again"
UNPACK = "unpack it, and use the folder that comes out of it"

IMAGE_MEMBER = re.compile(r".+\.(?:jp2|tiff?)", re.IGNORECASE)
"""Members that GDAL would be asked to unpack."""


@dataclass(frozen=True)
class Archive:
    """One folder or zip, opened by :func:`open_archive`."""

    path: Path
    """The folder, or the zip."""
    sizes: Mapping[str, int]
    """Bytes (unpacked) by member name: relative, parts joined by ``/``, in sorted order. Folders are not listed."""
    zipped: zipfile.ZipFile | None = field(default=None, repr=False)

    def asset(self, name: str) -> Asset:
        """Tell where a member's bytes are."""
        size = self.sizes.get(name)
        return Asset(self.path, name, size) if self.zipped else Asset(self.path / name, size=size)

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """Open a member as a seekable stream of bytes.

        Raises:
            BrokenProduct: it cannot be unpacked.
        """
        try:
            with self.zipped.open(name) if self.zipped else (self.path / name).open("rb") as stream:
                yield stream
        except NotImplementedError as error:
            reason = _not_unpacked(self.zipped.getinfo(name)) if self.zipped else str(error)
            raise BrokenProduct(self.path, reason) from None
        except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
            raise BrokenProduct(self.path, f"{name} is damaged ({error}): download it again") from error

    def read(self, name: str) -> bytes:
        """Read all bytes of a metadata file.

        Raises:
            BrokenProduct: it is empty, absurdly large, or cannot be unpacked.
        """
        size = self.sizes[name]
        if size == 0:
            raise BrokenProduct(self.path, f"{name} is empty: download it again")
        packed = self.zipped.getinfo(name).compress_size if self.zipped else size
        if size > MOST_TEXT_BYTES or (size > 2**20 and size > MOST_GROWTH * packed):
            raise BrokenProduct(self.path, f"{name} unpacks to {size / 1e6:.0f} MB, which no metadata file does")
        with self.open(name) as stream:
            return stream.read(MOST_TEXT_BYTES)


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open a folder or zip as one listing; the name of a zip does not matter.

    Raises:
        NotAProduct: the file is no zip.
        BrokenProduct: the zip is incomplete, encrypted, hostile, or packed or placed so that GDAL cannot read it.
    """
    if path.is_dir():
        yield Archive(path, dict(sorted(_folder_sizes(path))))
        return
    if reason := why_gdal_cannot_find(path):
        raise BrokenProduct(path, reason)
    head = _head(path)
    if not head.startswith(b"PK"):
        raise NotAProduct(path, what_it_is_instead(path))
    if is_last_part(path) or re.fullmatch(r".+\.(?:zip\.\d+|z\d\d)", path.name, re.IGNORECASE):
        raise BrokenProduct(
            path, f"it is a part of a zip that was split: put its parts together (`{JOIN}`), or {UNPACK}"
        )
    try:
        zipped = open_zip(path)
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError):
        raise BrokenProduct(path, "the archive is incomplete: download it again") from None
    with zipped:
        yield Archive(path, dict(sorted(_zip_sizes(path, zipped))), zipped)


def is_zip(path: Path) -> bool:
    """Tell whether a file begins as zips do, whatever its name and even when its end is missing."""
    return _head(path).startswith((b"PK\x03\x04", b"PK\x05\x06"))


OTHER_RASTERS = {".pix", ".mbtiles", ".ers", ".ecw", ".sid", ".mrf", ".map", ".cub", ".kea", ".til", ".rik"}
"""Suffixes of rasters in formats that are not opened, or by GDAL's plug-ins only."""
BESIDE_IMAGES = {".hdr", ".prj", ".wld", ".pgw", ".jgw", ".tfw", ".j2w", ".ovr", ".msk", ".aux", ".xml", ".stx", ".clr"}
"""Suffixes of files that only say something of an image."""


def what_it_is_instead(path: Path) -> str:
    """Tell what a file is that should have been a product or an image, as the end of a sentence."""
    if kind := _packed_by(path):
        return f"it is {kind}, which is not read in place: {UNPACK}"
    head = _head(path).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        return NOTHING
    if head.startswith((b"<!doctype", b"<html", b"<?xml", b"<error", b"{")):
        return "it is a web page or error message, likely of an expired download link, download it again"
    suffix = path.suffix.lower()
    if suffix in BESIDE_IMAGES:
        return "it belongs to an image beside it: name that one"
    if suffix in OTHER_RASTERS:
        return f"it is a raster of a format that is not read: make a GeoTIFF of it by `gdal_translate {path} image.tif`"
    return "it is neither a zip nor an image that GDAL can open"


def what_folder_it_is(folder: Path) -> str:
    """Tell what a folder is that holds neither products nor images, as the end of a sentence."""
    if any((folder / name).exists() for name in (".zgroup", ".zarray", ".zmetadata", "zarr.json")):
        command = f"gdal_translate 'ZARR:\"{folder}\":/ARRAY' image.tif"
        return f"it is a Zarr store, which is not read in place: make a GeoTIFF of one of its arrays by `{command}`"
    whose = whose_results(folder)
    if whose == "stack":
        return "it is a stack that `prepare` has made, and no archive: name left.tif or right.tif in it"
    if whose == "picture":
        return "it holds a picture that `locate` has placed, and is no archive: name picture.tif in it"
    if whose:
        return "it holds the results of a run, and no images: name those that the run was given"
    return "there is neither a Sentinel-2 product nor an image in this folder"


def what_it_holds_instead(members: Collection[str]) -> str:
    """Tell what an archive holds that holds no product, as the end of a sentence."""
    if packed := packed_members(members):
        return f"it holds another archive, {packed[0]}: {UNPACK}"
    return "there is no MTD_MSIL1C.xml or MTD_MSIL2A.xml in it, and no image of the ground"


def packed_members(members: Collection[str]) -> list[str]:
    """List the archives within an archive."""
    return [m for m in members if PACKED.fullmatch(m) or m.lower().endswith(".zip")]


def _packed_by(path: Path) -> str:
    """Tell which archive a file is, by how it begins; where it begins like nothing, by its name."""
    head = _head(path)
    if head[257:262] == b"ustar":
        return "a tar archive"
    if zipfile.is_zipfile(path):
        return "a zip that begins otherwise (the last part of one that was split, or a program that unpacks itself)"
    for signature, name in PACKED_HEADS.items():
        if head.startswith(signature):
            return f"packed by {name}"
    is_text = not head or head.lstrip()[:1] in b"<{"
    return "an archive or a part of one" if PACKED.fullmatch(path.name) and not is_text else ""


def _head(path: Path) -> bytes:
    """Read how a file begins.

    Raises:
        NotAProduct: it is no file: a pipe, a device.
    """
    if reason := why_no_file(path):
        raise NotAProduct(path, NOTHING if reason == EMPTY else reason)
    with path.open("rb") as stream:
        return stream.read(512)


def _folder_sizes(path: Path) -> Iterator[tuple[str, int]]:
    for folder, _, names in os.walk(path):
        for name in names:
            file = Path(folder, name)
            if file.is_file():  # not a dangling link
                yield file.relative_to(path).as_posix(), file.stat().st_size


def _zip_sizes(path: Path, zipped: zipfile.ZipFile) -> Iterator[tuple[str, int]]:
    members = zipped.infolist()
    if len(members) > MOST_MEMBERS:
        raise BrokenProduct(path, f"it holds {len(members):,} files, which no Sentinel-2 product does")
    name, times = Counter(m.filename for m in members).most_common(1)[0] if members else ("", 0)
    if times > 1:
        raise BrokenProduct(path, f"it holds {name} more than once, so readers may disagree on what it is")
    for member in members:
        _refuse_hostile(path, member)
        if not member.is_dir() and not member.filename.startswith("__MACOSX/"):
            yield member.filename, member.file_size


def _refuse_hostile(path: Path, member: zipfile.ZipInfo) -> None:
    """Refuse a zip slip: a name that leads out of the archive, on any system, or a link that does."""
    parts = PurePosixPath(member.filename.replace("\\", "/")).parts
    if not parts or ".." in parts or parts[0] == "/" or re.match(r"[A-Za-z]:", parts[0]):
        raise BrokenProduct(path, f"it is unsafe, because its member {member.filename!r} leads out of the archive")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise BrokenProduct(path, f"it is unsafe, because its member {member.filename!r} is a link")
    if member.flag_bits & 0x1:
        raise BrokenProduct(path, f"its member {member.filename!r} is encrypted: unzip it with its password")
    if "//" in member.filename:  # GDAL reads it once, and then no more
        raise BrokenProduct(path, f"GDAL cannot read its member {member.orig_filename!r} in place: {UNPACK}")
    if member.compress_type not in GDAL_PACKINGS and IMAGE_MEMBER.fullmatch(member.filename):
        raise BrokenProduct(path, _not_unpacked(member))


def _not_unpacked(member: zipfile.ZipInfo) -> str:
    return (
        f"its member {PurePosixPath(member.filename).name} is packed by {packing(member)}, which cannot be read in "
        "place: unpack the zip and use the folder, or repack it with deflate"
    )
