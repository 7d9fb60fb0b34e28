"""What was read of the products of a big archive, kept: listing it again reads those alone that have changed.

Products are kept some together, by their names and the sizes and times of all their files, so that a product that was
changed, added or removed costs reading its bucket again. What could not be read is not kept.
"""

from __future__ import annotations

import datetime as dt
import io
import logging
import math
import os
import pathlib
import pickle
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import affine
from odc.geo import crs, geobox, types
from shapely import io as shapely_io

from sentinel_match.cache import Cache, digest
from sentinel_match.errors import OutputError, SentinelMatchError
from sentinel_match.geometry import footprint
from sentinel_match.products import scene
from sentinel_match.products.scene import Scene

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Found = tuple[list[Scene], list[SentinelMatchError]]
"""The scenes of one source, and what is wrong with it."""

log = logging.getLogger(__name__)

LISTING_VERSION = 1
"""Of what is read from the same files: raise it when that changes."""
LEAST_KEPT = 100
"""Products that are worth it: so many are read in a second or two."""
BUCKET = 32
"""Products kept together, about: an entry takes 5 ms to make, a product 6 to read where its files are in memory."""
KNOWN = {
    (named.__module__, named.__qualname__): named
    for named in (
        *(scene.Scene, scene.Band, scene.Asset, scene.Mask, footprint.Footprint),
        *(geobox.GeoBox, types.Shape2d, crs.CRS, affine.Affine, shapely_io.from_wkb),
        *(dt.datetime, dt.timezone, dt.timedelta, type(Path())),
    )
} | {("pathlib", type(Path()).__name__): type(pathlib.Path())}
"""All that a kept scene is made of: a pickle that names anything else is none of ours, and does nothing."""


def read_each(sources: Iterable[Path], read: Callable[[Path], Found], cache: Cache | None) -> dict[Path, Found]:
    """Read each source, or take what was read of it while it was as it is now.

    Args:
        sources: products and images.
        read: reads one of them.
        cache: keeps what was read of products; without one, or of few of them, nothing is kept.
    """
    sources = list(sources)
    whole = [source for source in sources if _is_whole(source)]
    buckets: dict[str, list[Path]] = {}
    if cache is not None and len(whole) >= LEAST_KEPT:
        many = -(-len(whole) // BUCKET)
        for source in whole:
            buckets.setdefault(_bucket(source, many), []).append(source)
    found: dict[Path, Found] = {}
    for bucket in buckets.values():
        found |= _kept(bucket, read, cache)  # type: ignore[arg-type]
    return {source: found[source] if source in found else read(source) for source in sources}


def _is_whole(source: Path) -> bool:
    """Tell whether all that is read of a source lies in it: of a granule some lies above, of an image beside it."""
    return source.parent.name != "GRANULE" and (source.suffix.lower() in {".zip", ".safe"} or source.is_dir())


def _bucket(source: Path, many: int) -> str:
    """Name the bucket of a source; it stays the same until the archive has grown fourfold or more."""
    return digest({"source": str(source)})[: max(1, round(math.log(many, 16)))]


def _kept(sources: list[Path], read: Callable[[Path], Found], cache: Cache) -> dict[Path, Found]:
    """Read some sources, unless that is kept."""
    shape = [field.name for kind in (scene.Scene, scene.Band, scene.Asset, scene.Mask) for field in fields(kind)]
    states = [[str(source), state(source)] for source in sources]
    recipe = {"kind": "listing", "version": LISTING_VERSION, "shape": shape, "sources": states}
    found: dict[Path, Found] = {}

    def make(folder: Path) -> None:
        found.update((source, read(source)) for source in sources)
        kept = [scenes if not errors else None for scenes, errors in found.values()]
        (folder / "scenes.pickle").write_bytes(pickle.dumps(kept))

    try:
        path = cache.folder(recipe, make)
        if not found:
            kept = _Reader(io.BytesIO((path / "scenes.pickle").read_bytes())).load()
            for source, scenes in zip(sources, kept, strict=True):
                found[source] = read(source) if scenes is None else (scenes, [])
    except (OutputError, OSError, ValueError, pickle.UnpicklingError) as error:
        log.warning("what was read of products is not kept: %s", error)
    return found


def state(source: Path) -> str:
    """Name a product as it is now: by the size and the time of all its files."""
    files: list[tuple[str, int, int]] = []
    folders = [os.fspath(source)] if source.is_dir() else []
    if not folders:
        status = source.stat()
        files.append(("", status.st_size, status.st_mtime_ns))
    while folders:
        with os.scandir(folders.pop()) as within:
            for one in within:
                if one.is_dir():
                    folders.append(one.path)
                else:
                    status = one.stat()
                    files.append((one.path, status.st_size, status.st_mtime_ns))
    return digest({"files": sorted(files)})


class _Reader(pickle.Unpickler):  # noqa: S301 it makes nothing but scenes
    """Reads what scenes are made of, and nothing else (docs.python.org/3/library/pickle, Restricting Globals)."""

    def find_class(self, module: str, name: str) -> Any:
        """Find what a pickle names.

        Raises:
            UnpicklingError: no scene is made of it.
        """
        if (module, name) not in KNOWN:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of a scene")
        return KNOWN[module, name]
