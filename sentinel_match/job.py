"""One pair of a run, as a job that any process can do: it leaves a folder that is whole, or none of it counts.

A pair is done when its ``pair.json`` names the recipe that would be used now and all its files lie beside it unharmed.
"""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sentinel_match import pipeline
from sentinel_match.atomic import LATER, write_text
from sentinel_match.cache import Cache, digest
from sentinel_match.errors import OutputError, PairError, SentinelMatchError
from sentinel_match.formats import write
from sentinel_match.formats.fields import DISPLACEMENT, MOTION, write_fields
from sentinel_match.formats.geojson import dumps
from sentinel_match.matching import inputs
from sentinel_match.matching.inputs import silent
from sentinel_match.memory import give_back
from sentinel_match.options import Options
from sentinel_match.products.pair import Pair
from sentinel_match.raster.bands import band_names, source_of
from sentinel_match.raster.fingerprints import fingerprint, told_data
from sentinel_match.raster.load import PREPARATION_VERSION
from sentinel_match.raster.masks import MASK_KINDS
from sentinel_match.report import quicklook
from sentinel_match.run_folder import (
    GEOPACKAGE,
    PAIR_PAGE,
    PAIR_RECORD,
    PICTURES,
    STYLE,
    TIES,
    Outcome,
    PairRecord,
    read_pair,
)
from sentinel_match.schema import (
    A_PATH,
    HEARS,
    TRUE_OR_FALSE,
    ArgumentKind,
    check_argument,
    check_fields,
    check_given,
    instance,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sentinel_match.matching.inputs import Progress
    from sentinel_match.products.scene import Scene

log = logging.getLogger(__name__)

RUN_VERSION = 7
"""Of what ``matching`` and ``accuracy`` make of the same inputs: raise it when that changes."""


@dataclass(frozen=True)
class Files:
    """What a run writes besides the GeoJSON of each pair and the record of all.

    Examples:
        >>> from sentinel_match import Files, run
        >>> result = run("archive", "results", files=Files(report=False, project=False))
    """

    geopackage: bool = True
    """``tiepoints.gpkg`` of each pair."""
    report: bool = True
    """``report.html``, with pictures of each pair."""
    project: bool = True
    """``inspect.qgs``, for QGIS."""

    def __post_init__(self) -> None:
        """Fail now at what cannot be used.

        Raises:
            TypeError: a value is neither true nor false.
        """
        check_fields(self, dict.fromkeys(("geopackage", "report", "project"), TRUE_OR_FALSE))


@dataclass(frozen=True)
class Work:
    """What all pairs of a run share; it can be pickled."""

    out: Path
    """Folder of the run."""
    options: Options
    cache: Cache
    files: Files
    run: str = ""
    """Which run it is, by a name that no other has: a pair that is asked for again was matched by this one."""

    @property
    def pair_files(self) -> tuple[str, ...]:
        """List the files of each pair."""
        geopackage = (GEOPACKAGE,) if self.files.geopackage else ()
        return (TIES, STYLE, DISPLACEMENT, *geopackage, *((MOTION,) if self.options.stable else ()))


@dataclass(frozen=True)
class Done:
    """What one process has done for one pair."""

    outcome: Outcome
    hashes: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of the files that it depends on, as far as they are known."""
    cpu_seconds: float = 0.0


def match_pair(
    pair: Pair,
    out: Path | str,
    options: Options | None = None,
    *,
    cache: Cache | None = None,
    files: Files | None = None,
    progress: Progress = silent,
) -> Outcome:
    """Match one pair into its folder of a run, unless it is done; several processes or machines may do so at once.

    It keeps nothing in mind, so it can be pickled and called anywhere that reaches the archive and ``out``. Called
    again it changes nothing; one that is killed leaves no file half written, and its pair to be done.

    Args:
        pair: of :func:`~sentinel_match.pair_scenes`.
        out: folder of the run: results go into ``out / pair.id``.
        options: how to match.
        cache: where work on one scene is kept; the user's own when not given.
        files: what to write besides the GeoJSON.
        progress: hears of progress.

    Returns:
        What became of it: a pair that cannot be matched has failed, and says why.

    Raises:
        TypeError: an argument is none that can be used.
        OutputError: ``out`` is a file.

    Examples:
        >>> from sentinel_match import find_scenes, match_pair, pair_scenes
        >>> for pair in pair_scenes(find_scenes("archive").scenes).pairs:
        ...     print(match_pair(pair, "matched").status)
        matched
    """
    check_argument("pair", pair, instance(Pair))
    check_given(options=(options, Options), cache=(cache, Cache), files=(files, Files))
    check_argument("progress", progress, HEARS)
    work = Work(as_folder(out), options or Options(), cache or Cache.default(), files or Files())
    return do(pair, work, progress).outcome


def as_folder(out: Path | str) -> Path:
    """Take the path of a folder of results.

    Raises:
        TypeError: it is no path.
        OutputError: it is a file.
    """
    check_argument("out", out, ArgumentKind(A_PATH.types, "the path of a folder", A_PATH.is_usable))
    if Path(out).is_file():
        raise OutputError(Path(out), "it is a file, and results need a folder")
    return Path(out)


def do(pair: Pair, work: Work, progress: Progress = silent) -> Done:
    """Match one pair, unless it is done, and make its pictures where they are wanted."""
    began, hashes = time.process_time(), dict[str, str]()
    outcome = _matched(pair, work, hashes, progress)
    give_back()
    if outcome.summary is not None and (work.files.report or work.files.project):
        quicklook.make(pair, work.out / pair.id, work.options, work.cache, progress)
    return Done(outcome, hashes, time.process_time() - began)


def scene_steps(pair: Pair, work: Work) -> dict[str, Callable[[], None]]:
    """List the work on each scene of a pair, which other pairs share, by a name that says what it depends on.

    It can be pickled. A pair of which nothing can be loaded has none: matching it says why.
    """
    steps: dict[str, Callable[[], None]] = {}
    with contextlib.suppress(SentinelMatchError):
        band = inputs.common_band(pair.left, pair.right, work.options.band)
        for part in inputs.scene_inputs(pair.left, pair.right, work.options.inputs(band)):
            facts = {"path": part.scene.path, "names": part.names, "resolution": part.resolution}
            steps[f"{part.scene.id}-{digest({**facts, 'classes': part.classes})}"] = partial(prepare, part, work.cache)
    return steps


def prepare(part: inputs.SceneInput, cache: Cache) -> None:
    """Do the work on one scene; what cannot be done each of its pairs will meet, and say."""
    with contextlib.suppress(SentinelMatchError):
        part.load(cache)


def _matched(pair: Pair, work: Work, hashes: dict[str, str], progress: Progress) -> Outcome:
    names, folder, options = (pair.left.id, pair.right.id), work.out / pair.id, work.options
    recipe = ""
    try:
        band = inputs.common_band(pair.left, pair.right, options.band)
        facts = [_depends_on(scene, band, options.resolution, hashes) for scene in (pair.left, pair.right)]
        versions = {"version": RUN_VERSION, "loaded": PREPARATION_VERSION}
        recipe = digest({**versions, "options": options.recipe, "inputs": facts})
        if (record := _done(folder, recipe, work.pair_files)) is not None:
            return _recorded(pair, record, work)
        clock = pipeline.Clock()
        ties = pipeline.match_scenes(pair.left, pair.right, options, work.cache, progress, clock)
        if (record := _done(folder, recipe, work.pair_files)) is not None:  # by a worker that was taken for lost
            return _recorded(pair, record, work)
        _discard(folder)  # a file that is not wanted now would tell of other inputs
        write.write(ties, folder / TIES)
        write.write_style(ties, folder / TIES)
        write_fields(ties, folder / DISPLACEMENT)
        if work.files.geopackage:
            write.write(ties, folder / GEOPACKAGE)
        sizes = {name: path.stat().st_size for name in work.pair_files if (path := folder / name).exists()}
        record = PairRecord(recipe, ties.summary, sizes, clock.seconds, clock.cpu_seconds, run=work.run)
        _record_pair(folder, record)
        return record.outcome(pair.id, *names, now=True)
    except SentinelMatchError as error:
        reason = str(error)
        if isinstance(error, PairError) and recipe:
            # The same inputs would fail again: say so next time without trying
            _record_pair(folder, PairRecord(recipe, None, error=reason))
    except Exception as error:  # whatever one pair meets, the others are still to be matched
        log.exception("%s", pair.id)
        reason = f"unexpected {type(error).__name__}: {error}"
    # What an earlier run made of other inputs must not stand beside this failure
    _discard(folder)
    return Outcome(pair.id, "failed", *names, None, error=reason)


def _recorded(pair: Pair, record: PairRecord, work: Work) -> Outcome:
    """Say what became of a pair that is done: by this very run, or by an earlier one."""
    return record.outcome(pair.id, pair.left.id, pair.right.id, now=bool(record.run) and record.run == work.run)


def _discard(folder: Path) -> None:
    """Remove what tells of other inputs, but keep what a user has changed since, under a name with ``~``."""
    record = folder / PAIR_RECORD
    made = record.stat().st_mtime if record.exists() else float("inf")
    for name in (TIES, GEOPACKAGE):
        path = folder / name
        if path.exists() and path.stat().st_mtime > made + LATER:
            log.warning("%s was edited: it is kept as %s~", path, name)
            path.replace(path.with_name(f"{name}~"))
    for name in (TIES, STYLE, GEOPACKAGE, DISPLACEMENT, MOTION, PAIR_PAGE, *PICTURES):
        (folder / name).unlink(missing_ok=True)


def _record_pair(folder: Path, record: PairRecord) -> None:
    write_text(folder / PAIR_RECORD, dumps(record.to_dict()) + "\n")


def _done(folder: Path, recipe: str, files: Sequence[str]) -> PairRecord | None:
    """Return what an earlier run recorded for this recipe, if the files of a pair are still whole."""
    try:
        record = read_pair(folder)
        whole = bool(record.error) or all(
            (name == MOTION and name not in record.files) or _whole(folder / name, record.files[name]) for name in files
        )
        return record if whole and record.recipe == recipe else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None


def _whole(path: Path, size: int) -> bool:
    """Check that nothing of a file is lost. QGIS writes into a GeoPackage and over a style: that is no damage."""
    if path.name == GEOPACKAGE:
        with path.open("rb") as file:
            head = file.read(100)
        # The file of a database is as long as its header says (sqlite.org/fileformat2.html, 1.3.2 and 1.3.7)
        page, pages = int.from_bytes(head[16:18], "big"), int.from_bytes(head[28:32], "big")
        return head.startswith(b"SQLite format 3") and path.stat().st_size == (65536 if page == 1 else page) * pages
    return path.stat().st_size == size if path.name in {TIES, DISPLACEMENT, MOTION} else path.is_file()


def _depends_on(scene: Scene, band: str, resolution: float | None, hashes: dict[str, str]) -> list[object]:
    """List all of a scene that a result depends on: grids, radiometry, the content of its files."""
    facts: list[object] = [scene.id]
    images = dict.fromkeys(b for name in band_names(band) for b in source_of(scene, name, resolution).bands)
    for image in images:
        grids = [g and [list(g.shape), list(g.affine)[:6], str(g.crs)] for g in (image.geobox, scene.geobox)]
        facts += [image.name, image.index, image.offset, image.quantification, image.nodata, *grids, *told_data(image)]
        hashes[str(image.asset)] = image.asset.sha256()
    masks = [mask.asset for mask in scene.masks if mask.kind in MASK_KINDS]
    hashes.update((str(asset), fingerprint(asset)) for asset in masks)
    facts += [hashes[str(asset)] for asset in (*(image.asset for image in images), *masks)]
    return facts if scene.tile_metadata is None else [*facts, fingerprint(scene.tile_metadata)]  # angles of view
