"""Many archives to one folder of results: find, pair, match each pair, report; keep what is already done."""

from __future__ import annotations

import itertools
import json
import platform
import time
import uuid
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from sentinel_match import __version__, pipeline
from sentinel_match.accuracy.adjustment import link_of
from sentinel_match.accuracy.series_report import series_reports
from sentinel_match.anywhere import anywhere, do_elsewhere, options_anywhere
from sentinel_match.atomic import write_text
from sentinel_match.cache import Cache
from sentinel_match.cluster import on_cluster
from sentinel_match.errors import SentinelMatchError
from sentinel_match.formats.geojson import dumps, write_collection
from sentinel_match.job import Done, Files, Work, as_folder, do, scene_steps
from sentinel_match.locating.delivery import CHECK, MARK
from sentinel_match.locating.scene import scene_of, with_pictures
from sentinel_match.matching import inputs
from sentinel_match.matching.inputs import silent
from sentinel_match.memory import PeakMemory
from sentinel_match.options import Options
from sentinel_match.parallel import in_processes
from sentinel_match.products.catalogue import Catalogue, Refused, as_paths, find_scenes
from sentinel_match.products.filters import Filters
from sentinel_match.products.order import in_reach
from sentinel_match.products.pairing import pair_scenes, pairs_geojson
from sentinel_match.products.scene import scenes_geojson
from sentinel_match.raster.bands import band_names, source_of
from sentinel_match.raster.jp2 import check_size
from sentinel_match.report import html, qgis_project
from sentinel_match.run_folder import (
    PAIRS,
    RUN_RECORD,
    SERIES,
    DuplicateScene,
    InputFile,
    Outcome,
    RefusedFile,
    Run,
    RunRecord,
)
from sentinel_match.schema import ANY_WORD, COUNTING, HEARS, check_argument, check_given

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from sentinel_match.accuracy.adjustment import Link
    from sentinel_match.accuracy.series_report import SeriesReport
    from sentinel_match.locating.location import Location
    from sentinel_match.matching.inputs import Progress
    from sentinel_match.products.pair import Pair
    from sentinel_match.products.scene import Scene

NETWORK_LIBRARIES = ("torch", "kornia")
IMAGE_LIBRARIES = ("rasterio", "glymur", "opencv-python-headless", "opencv-python", "odc-geo", "shapely", "pyproj")
LIBRARIES = (*NETWORK_LIBRARIES, *IMAGE_LIBRARIES, "numpy", "scipy")


LOCATED = "located"
"""Folder of pictures that were located."""
RECORD_S = 20.0
"""Least seconds between two records of a run that goes on: a pair says itself what became of it, in ``pair.json``."""
RECORD_SHARE = 50
"""Times the cost of a record that pass at least before the next: it is written whole, and grows with its pairs. After
each of 500 pairs that took 150 CPU seconds."""


def run(
    paths: Path | str | Iterable[Path | str],
    out: Path | str,
    options: Options | None = None,
    filters: Filters | None = None,
    *,
    cache: Cache | None = None,
    progress: Progress = silent,
    files: Files | None = None,
    workers: int | str = 1,
    pictures: Path | str | Iterable[Path | str] = (),
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
        workers: pairs matched at a time, each by a process of its own on one core; with 1, one after the other on all
            cores of this one. Each takes the memory of a run. A script must then call this under
            ``if __name__ == "__main__":``, because Python begins such processes by importing it. Or the address of a
            ``dask.distributed`` scheduler, ``tcp://host:8786``, whose workers match them: they must reach archive,
            ``out`` and ``cache`` by the same paths.
        pictures: of unknown places; each is located among the scenes, see :func:`sentinel_match.locate`, delivered to
            ``OUT/located`` and matched like any other scene. One that no scene shows is refused.

    Raises:
        TypeError, ValueError: an argument is none that can be used.
        OutputError: results cannot be written.
        ExtraMissing, SchedulerMissing: dask is not installed, or no scheduler answers at the address.

    Examples:
        >>> from sentinel_match import run
        >>> result = run("archive", "out")
        >>> len(result.outcomes), result.clean
        (1, True)
    """
    paths, out = as_paths(paths), as_folder(out)
    check_given(options=(options, Options), filters=(filters, Filters), cache=(cache, Cache), files=(files, Files))
    check_argument("progress", progress, HEARS)
    check_argument("workers", workers, ANY_WORD if isinstance(workers, str) else COUNTING)
    options, filters, files = options or Options(), filters or Filters(), files or Files()
    cache, pictures = cache or Cache.default(), as_paths(pictures)
    if isinstance(workers, str):
        paths, pictures, out, cache = anywhere((paths, pictures, out, cache))
        options = options_anywhere(options)
    work = Work(out, options, cache, files, uuid.uuid4().hex)
    clock = pipeline.Clock()
    with clock("find"):
        catalogue = find_scenes(paths, work.cache)
    if pictures:
        with clock("locate"):
            catalogue = with_pictures(catalogue, pictures, out / LOCATED, options.band, work.cache, progress)
    result = _matched(catalogue, filters, work, workers, clock, progress)
    _report(result, out, files)
    return result


def check_located(location: Location, folder: Path, band: str | None, cache: Cache | None, progress: Progress) -> Run:
    """Match a located picture, as it was delivered, with the scene that shows it, as a run in a folder of its folder.

    Args:
        location: of a picture that was found.
        folder: to which it was delivered.
        band: of the scene; default the best that there is.
        cache: keeps what is known of scenes.
        progress: hears of progress.

    Raises:
        OutputError: results cannot be written.
    """
    work = Work(folder / CHECK, Options(band=band), cache or Cache.default(), Files())
    catalogue = Catalogue((location.candidates[0].scene, scene_of(location, folder, band)), (), ())
    result = _matched(catalogue, Filters(), work, 1, pipeline.Clock(), progress)
    _report(result, work.out, work.files)
    (folder / MARK).touch()  # or the next delivery would take the folder for one that somebody has worked in
    return result


def _report(result: Run, out: Path, files: Files) -> None:
    """Write the project and the report."""
    if files.project:
        qgis_project.make(result, out)
    if files.report:  # it links to whatever else is there
        html.write(out)


class _Recorder:
    """Writes ``run.json`` at the start of a run, now and then, and at its end."""

    def __init__(self, found: Run, work: Work, clock: pipeline.Clock, memory: PeakMemory) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self.hashes: dict[str, str] = {}
        self._found, self._work, self._clock, self._memory = found, work, clock, memory
        self._started, self._due = datetime.now(UTC), 0.0

    @property
    def result(self) -> Run:
        """Return what has been done so far, in the order of the pairs, whichever was ready first."""
        order = (self.outcomes.get(pair.id) for pair in self._found.pairing.pairs)
        return replace(self._found, outcomes=tuple(outcome for outcome in order if outcome is not None))

    def add(self, done: Done) -> None:
        """Record what became of a pair, now or later."""
        self.outcomes[done.outcome.id] = done.outcome
        self.hashes.update(done.hashes)
        if time.monotonic() >= self._due:
            self.write()

    def write(self) -> None:
        """Record everything now.

        Raises:
            OutputError: it cannot be written.
        """
        began = time.monotonic()
        facts = _record(self.result, self._work.options, self._clock, self._memory, self._started, self.hashes)
        write_text(self._work.out / RUN_RECORD, json.dumps(json.loads(dumps(facts.to_dict())), indent=1) + "\n")
        ended = time.monotonic()
        self._due = ended + max(RECORD_S, RECORD_SHARE * (ended - began))


def _matched(
    catalogue: Catalogue, filters: Filters, work: Work, workers: int | str, clock: pipeline.Clock, progress: Progress
) -> Run:
    """Choose pairs of scenes and match each, unless that is done; a run that is stopped has said what it did."""
    out, options = work.out, work.options
    with PeakMemory() as memory:
        catalogue = replace(catalogue, scenes=tuple(s.with_nodata(options.nodata) for s in catalogue.scenes))
        # A scene whose band is absent or cut short would fail in every pair and take the place of better partners
        faults = {id(scene): _fault(scene, options) for scene in catalogue.scenes}
        unusable = tuple(Refused(s.path, fault) for s in catalogue.scenes if (fault := faults[id(s)]) is not None)
        catalogue = replace(catalogue, refused=catalogue.refused + unusable)
        with clock("pair"):
            pairing = pair_scenes([s for s in catalogue.scenes if faults[id(s)] is None], filters)
        write_collection(scenes_geojson(catalogue.scenes), out / "scenes.geojson")
        write_collection(pairs_geojson(pairing), out / PAIRS)
        recorder = _Recorder(Run(catalogue, pairing, ()), work, clock, memory)
        recorder.write()
        try:
            with clock("match"):
                for done in _done_pairs(pairing.pairs, work, workers, progress):
                    recorder.add(done)
                    if workers != 1:  # whose time is not this process's
                        clock.add_cpu("match", done.cpu_seconds)
        except BaseException:
            recorder.write()
            raise
        result = recorder.result
        result = replace(result, series=_series(result))
        if result.series:
            write_text(out / SERIES, dumps({"series": [series.to_dict() for series in result.series]}) + "\n")
        else:
            (out / SERIES).unlink(missing_ok=True)
        recorder.write()
        return result


def _done_pairs(pairs: Sequence[Pair], work: Work, workers: int | str, progress: Progress) -> Iterator[Done]:
    """Do every pair, in an order that uses a scene again while it is at hand; yield each when it is done."""
    begun = itertools.count()

    def begin(pair: Pair) -> None:
        progress(f"pair {pair.id}", next(begun), len(pairs))

    if workers == 1:
        for pair in in_reach(pairs):
            begin(pair)
            yield do(pair, work, progress)
        return

    def lost(pair: Pair) -> Done:
        those = "each worker" if isinstance(workers, str) else f"{workers} at a time"
        reason = (
            f"the process that matched it was killed, and so was each that tried again: is there memory for {those}?"
        )
        return Done(Outcome(pair.id, "failed", pair.left.id, pair.right.id, None, error=reason))

    if isinstance(workers, str):
        match = partial(do_elsewhere, work=work)
        for done in on_cluster(match, in_reach(pairs), workers, partial(scene_steps, work=work), lost):
            progress(f"pair {done.outcome.id}", next(begun), len(pairs))
            yield done
        return
    yield from in_processes(partial(do, work=work), in_reach(pairs), workers, begin, lost)


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
        versions=_versions(),
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


def _versions() -> dict[str, str]:
    """List the versions of those libraries that are installed: more than one package brings OpenCV."""
    versions = {}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions
