"""Zipped: images in a zip of no product, each by a path as if the zip were a folder (``images.zip/2022/B04.tif``)."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from sentinel_match.errors import NotAProduct, SentinelMatchError
from sentinel_match.products.archive import is_zip, open_archive, packed_members
from sentinel_match.products.files import why_not_there
from sentinel_match.products.layers import IMAGE_SUFFIXES, is_passed_over
from sentinel_match.products.safe import product_roots
from sentinel_match.products.scene import Asset


def images_within(path: Path) -> list[Path]:
    """List the images within a zip that holds no product, and the archives beside them.

    Empty where it holds a product or no image but masks and previews, or where the path is no zip that can be read.
    """
    try:
        if not is_zip(path):
            return []
        with open_archive(path) as archive:
            members = [] if product_roots(archive.sizes) else [m for m in archive.sizes if not _is_hidden(m)]
    except (SentinelMatchError, OSError):
        return []
    images = [path / member for member in members if PurePosixPath(member).suffix.lower() in IMAGE_SUFFIXES]
    if all(map(is_passed_over, images)):
        return []
    return images + [path / member for member in packed_members(members)]


def zip_above(path: Path) -> Path | None:
    """Find the zip that a path leads into; ``None`` where it leads into none."""
    outer = next((folder for folder in path.parents if folder.is_file()), None)
    try:
        return outer if outer and is_zip(outer) else None
    except (SentinelMatchError, OSError):
        return None


def asset_at(path: Path) -> Asset:
    """Tell where the bytes of an image are, on disk or in a zip.

    Raises:
        NotAProduct: there is no such file.
        BrokenProduct: its zip is damaged or hostile.
    """
    if (outer := zip_above(path)) is not None:
        place = path.relative_to(outer).as_posix()
        with open_archive(outer) as archive:
            for member in archive.sizes:
                if PurePosixPath(member).as_posix() == place:
                    return archive.asset(member)
    if reason := why_not_there(path):
        raise NotAProduct(path, reason)
    return Asset(path, size=path.stat().st_size)


def _is_hidden(member: str) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(member).parts)
