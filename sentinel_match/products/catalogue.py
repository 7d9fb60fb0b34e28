"""Safe: what is in a folder of downloads. Finds products and loose images, and makes one catalogue of scenes.

path ──▶ sources ──▶ read ──▶ Scene … ──▶ without duplicates ──▶ Catalogue
         (folders, zips, images)     └──▶ Refused: one bad product never ends a listing
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from sentinel_match.atomic import why_unnamable
from sentinel_match.errors import BrokenProduct, NotAProduct, SentinelMatchError
from sentinel_match.products.archive import (
    PACKED,
    is_zip,
    open_archive,
    packed_members,
    what_folder_it_is,
    what_it_holds_instead,
)
from sentinel_match.products.delivery import files_named, gather, read_delivery
from sentinel_match.products.files import as_path, real_path, whose_results, why_not_there
from sentinel_match.products.layers import IMAGE_SUFFIXES, is_passed_over
from sentinel_match.products.listing import read_each
from sentinel_match.products.loose import read_loose
from sentinel_match.products.safe import MAIN_XML, TILE_XML, product_roots, read_product
from sentinel_match.products.scene import Scene
from sentinel_match.products.zipped import images_within, zip_above
from sentinel_match.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sentinel_match.cache import Cache
    from sentinel_match.products.archive import Archive

ZIP_SUFFIXES = {".zip", ".safe"}

PRODUCT_NAME = re.compile(r"S2[A-Z]_(?:MSI|OPER_PRD|USER_PRD)\w+")
"""Name of a download whose suffix was lost."""

WITHIN = "it is an archive within an archive: unpack that first"

log = logging.getLogger(__name__)

COMPLEMENTARY_SHARE = 0.5
"""Two datastrips of one datatake complement one another while they share less than this part of the smaller one."""

LATEST, EARLIEST = (moment.replace(tzinfo=UTC) for moment in (datetime.max, datetime.min))


@dataclass(frozen=True)
class Refused:
    """Something that looked like a product or an image, and why it is none that can be used."""

    path: Path
    error: SentinelMatchError


@dataclass(frozen=True)
class Duplicate:
    """A scene left out because another shows the same acquisition."""

    scene: Scene
    replaced_by: Scene


@dataclass(frozen=True, repr=False)
class Catalogue:
    """All that was found."""

    scenes: tuple[Scene, ...]
    """By sensing time, tile and id; those without a time last."""
    refused: tuple[Refused, ...]
    duplicates: tuple[Duplicate, ...]

    def __repr__(self) -> str:
        """Count in one line what was found, and say why the first file was refused."""
        counts = f"{counted(len(self.scenes), 'scene')}, {counted(len(self.duplicates), 'duplicate')}"
        first = f" ({self.refused[0].error})" if self.refused else ""
        return f"<Catalogue: {counts}, {len(self.refused)} refused{first}>"


def find_scenes(paths: Path | str | Iterable[Path | str], cache: Cache | None = None) -> Catalogue:
    """Find every scene in products, images, or folders of them: metadata and headers are read, no pixel is decoded.

    A path may be a product (folder or zip, of any name, possibly one folder deeper), a metadata file or granule folder
    of one, any raster, or a folder that holds such things at any depth. Files of one band each, and masks beside them,
    are one scene where folder and name say that they are of one acquisition, which may be named by its folder and what
    their names begin with: see :mod:`sentinel_match.products.layers`. A zip of no product is a folder of images, and
    may be named like one: ``images.zip/2022/B04.tif``. Nothing is extracted or written.

    Reprocessings of one acquisition collapse to one scene per level: that which has images, then the newest baseline
    (99.99 is user-made and counts as the oldest), then the largest footprint, then the latest generation. Two products
    of one datatake from different datastrips that show different parts of the tile are both kept, as are Level-1C and
    Level-2A of one acquisition. A path found twice is listed once. Never raises for what it finds: see ``refused``. A
    path that leads nowhere is a warning too; what is no path is a TypeError, and an empty one a ValueError. With a
    cache, those of many products are read whose files have changed.

    Examples:
        >>> from sentinel_match import find_scenes
        >>> catalogue = find_scenes("archive")
        >>> [f"{scene.sensing_time:%Y-%m-%d}" for scene in catalogue.scenes]
        ['2021-05-20', '2021-09-17']
    """
    scenes, refused = _read_all(as_paths(paths), cache)
    kept, duplicates = _without_duplicates(scenes)
    return Catalogue(tuple(sorted(kept, key=_order)), tuple(refused), tuple(duplicates))


def read_scene(path: Path | str) -> Scene:
    """Read the scene of one product, granule or image.

    Raises:
        TypeError: it is no path.
        NotAProduct: there is no scene, or there are several products.
        BrokenProduct: the product is damaged, hostile or incomplete; or it has many granules, and none was named.

    Examples:
        >>> from sentinel_match import read_scene
        >>> scene = read_scene("LEFT.SAFE")
        >>> scene.level, scene.tile, [band.name for band in scene.bands]
        ('L1C', 'T33UUU', ['B04', 'B08'])
    """
    path = as_path(path)
    scenes, refused = _read_all([path])
    if len(scenes) == 1:
        return scenes[0]
    if not scenes:
        raise refused[0].error
    names = ", ".join(sorted(scene.id for scene in scenes)[:3])
    if len({scene.path for scene in scenes}) == 1 and len({scene.datatake for scene in scenes}) == 1:
        reason = f"it holds {len(scenes)} tiles ({names}, …): name one folder in its GRANULE, or list it as a catalogue"
        raise BrokenProduct(path, reason)
    raise NotAProduct(path, f"it holds {len(scenes)} scenes ({names}, …), name one of them")


def as_paths(paths: Path | str | Iterable[Path | str]) -> list[Path]:
    """Make a list of what a user may give: one path, or several.

    Raises:
        TypeError: something is no path.
    """
    if isinstance(paths, (str, PathLike)):
        return [as_path(paths)]
    try:
        return [as_path(path) for path in paths]
    except TypeError:
        raise TypeError(f"{paths!r} is neither a path nor several: give a str, a Path, or a list of them") from None


def as_scene(scene: Scene | Path | str, name: str = "scene") -> Scene:
    """Take a scene as it is, or read the one at a path.

    Raises:
        TypeError: it is neither.
        ValueError, NotAProduct, BrokenProduct: see :func:`read_scene`.
    """
    if isinstance(scene, Scene):
        return scene
    if isinstance(scene, (str, PathLike)):
        return read_scene(scene)
    raise TypeError(f"{name} is {scene!r}, and must be a path or a Scene")


def printable(path: Path) -> str:
    r"""Write a path as text that every file can hold: bytes that are not UTF-8 as ``\xe9``."""
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _unprintable(source: Path) -> Refused:
    """Refuse a name that none of our files, and no GDAL, could hold."""
    return Refused(path := Path(printable(source)), BrokenProduct(path, why_unnamable(source)))


def _read_all(paths: Iterable[Path], cache: Cache | None = None) -> tuple[list[Scene], list[Refused]]:
    scenes: list[Scene] = []
    refused: list[Refused] = []
    sources: dict[Path, Path] = {}
    named: set[Path] = set()
    for path in map(Path, paths):
        try:
            here = [path] if why_unnamable(path) else list(_sources(path, set()))
            refused += [_unprintable(source) for source in here if why_unnamable(source)]
            if here and not (here := [source for source in here if not why_unnamable(source)]):
                continue
            if not any(source == path or not is_passed_over(source) for source in here):
                raise NotAProduct(path, what_folder_it_is(path))
        except SentinelMatchError as error:
            refused.append(Refused(path, error))
            log.warning("%s", error)  # a name is misspelt easily
            continue
        named.update({path} & {*here})
        here = [image for source in here for image in images_within(source) or [source]]
        sources.update((resolved, source) for source in here if (resolved := real_path(source)) not in sources)
    deliveries, _ = gather(
        s for s in sources.values() if s.suffix.lower() in IMAGE_SUFFIXES and (s.is_file() or zip_above(s))
    )
    gathered = {file for delivery in deliveries for file in delivery.files}
    single = [s for s in sources.values() if s not in gathered and (s in named or not is_passed_over(s))]
    for source, (found, errors) in read_each(single, _read, cache).items():
        scenes += found
        refused += [Refused(source, error) for error in errors]
    for delivery in deliveries:
        scene, faults = read_delivery(delivery)
        scenes += [scene] if scene else []
        refused += [Refused(path, fault) for path, fault in faults]
    return scenes, refused


def _sources(path: Path, visited: set[Path]) -> Iterator[Path]:
    """Find product folders, granule folders, zips and images at or below a path that the user named."""
    if reason := why_not_there(path):
        files = files_named(path)
        if not files:
            raise NotAProduct(path, reason)
        yield from files
        return
    if _is_part_of_product(path.name) or TILE_XML.fullmatch(path.name) or path.name == "GRANULE":
        path = path.parent
    if not path.is_dir() or path.parent.name == "GRANULE":
        yield path
    else:
        yield from _search(path, visited)


def _search(folder: Path, visited: set[Path]) -> Iterator[Path]:
    if whose_results(folder) in {"pair", "stack", "picture"}:
        return
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise NotAProduct(folder, f"the folder cannot be read ({error.strerror})") from None
    if any(_is_part_of_product(entry.name) or (entry.name == "GRANULE" and entry.is_dir()) for entry in entries):
        yield folder
        return
    visited.add(real_path(folder))
    for entry in entries:
        if entry.name.startswith((".", "__MACOSX")):
            continue
        if entry.is_dir():
            if entry.name not in {"QI_DATA", "AUX_DATA"} and real_path(entry) not in visited:  # a link may lead back
                yield from _search(entry, visited)
        elif _is_source(entry):
            yield entry


def _is_part_of_product(name: str) -> bool:
    return MAIN_XML.fullmatch(name) is not None or name.lower() in {"manifest.safe", "inspire.xml"}


def _is_source(file: Path) -> bool:
    suffix = file.suffix.lower()
    return suffix in {*IMAGE_SUFFIXES, *ZIP_SUFFIXES} or any(n.fullmatch(file.name) for n in (PRODUCT_NAME, PACKED))


def _read(source: Path) -> tuple[list[Scene], list[SentinelMatchError]]:
    """Read the scenes of one source, and an error for each product in it that has none."""
    scenes: list[Scene] = []
    errors: list[SentinelMatchError] = []
    try:
        if zip_above(source):
            if source.suffix.lower() not in IMAGE_SUFFIXES:
                raise NotAProduct(source, WITHIN)
            scenes.append(read_loose(source))
        elif source.parent.name == "GRANULE" and source.is_dir():
            with open_archive(source.parent.parent) as archive:
                scenes += read_product(archive, "", only=source.name)
        elif source.is_dir() or is_zip(source):
            with open_archive(source) as archive:
                roots = product_roots(archive.sizes)
                if not roots:
                    raise NotAProduct(source, what_it_holds_instead(archive.sizes))
                for root in roots:
                    found, error = _read_root(archive, root)
                    scenes += found
                    errors += error
                if others := packed_members([m for m in archive.sizes if not m.startswith(tuple(roots))]):
                    errors.append(NotAProduct(source / others[0], WITHIN))
        else:
            scenes.append(read_loose(source))
    except SentinelMatchError as error:
        errors.append(error)
    except OSError as error:
        errors.append(BrokenProduct(source, f"the file cannot be read ({error.strerror})"))
    return scenes, errors


def _read_root(archive: Archive, root: str) -> tuple[list[Scene], list[SentinelMatchError]]:
    try:
        return read_product(archive, root), []
    except SentinelMatchError as error:
        return [], [error]


def _without_duplicates(scenes: list[Scene]) -> tuple[list[Scene], list[Duplicate]]:
    """Keep the best scene of every acquisition, whatever the order of listing."""
    kept: list[Scene] = []
    duplicates: list[Duplicate] = []
    groups: dict[tuple[str, ...], list[Scene]] = {}
    for scene in scenes:
        if scene.level and scene.datatake:
            groups.setdefault((scene.level, scene.tile, scene.datatake), []).append(scene)
        else:
            kept.append(scene)
    for group in groups.values():
        best: list[Scene] = []
        worse: list[Duplicate] = []
        for scene in sorted(group, key=_worth, reverse=True):
            better = next((b for b in best if not _complementary(b, scene)), None)
            if better is None:
                best.append(scene)
            else:
                worse.append(Duplicate(scene, better))
        kept += [_with_notes(scene, [d.scene for d in worse if d.replaced_by is scene]) for scene in best]
        duplicates += worse
    names = {(scene.id, scene.path): scene for scene in kept}
    ordered = sorted(duplicates, key=lambda d: _order(d.scene))
    return kept, [Duplicate(d.scene, names[d.replaced_by.id, d.replaced_by.path]) for d in ordered]


def _with_notes(scene: Scene, worse: list[Scene]) -> Scene:
    notes = sorted(f"preferred to {w.id} ({w.path})" for w in worse)
    return replace(scene, notes=scene.notes + tuple(notes)) if notes else scene


def _worth(scene: Scene) -> tuple[bool, float, float, datetime, int, str, str]:
    """Rank a scene, larger is better; the last three only make the choice independent of the order of listing."""
    baseline = float(scene.baseline) if re.fullmatch(r"\d+\.\d+", scene.baseline) else 0.0
    return (
        bool(scene.bands),
        baseline if baseline < 99 else 0.0,
        scene.footprint.area_km2 if scene.footprint else 0.0,
        scene.generation_time or EARLIEST,
        len(scene.bands),
        scene.id,
        str(scene.path),
    )


def _complementary(one: Scene, other: Scene) -> bool:
    """Tell whether two scenes of one datatake and tile show different parts of it (stactools-sentinel2#5)."""
    if one.path == other.path and one.generation_time == other.generation_time and one.id != other.id:
        return True  # the same tile twice in one old product, which says no more of their footprints
    starts = [re.search(r"_S(\d{8}T\d{6})", scene.datastrip) for scene in (one, other)]
    if None in starts or starts[0][1] == starts[1][1] or not (one.footprint and other.footprint):  # type: ignore[index]
        return False
    shared = one.footprint.intersection(other.footprint)
    smaller = min(one.footprint.area_km2, other.footprint.area_km2)
    return shared is None or shared.area_km2 < COMPLEMENTARY_SHARE * smaller


def _order(scene: Scene) -> tuple[datetime, str, str, str]:
    return scene.sensing_time or LATEST, scene.tile, scene.id, str(scene.path)
