"""Which scene of an archive shows a picture: all are glanced at, the best are swept, the best answer is measured.

archives ──▶ scenes ──▶ overview each (cached) ──▶ glance each ──▶ sweep the best 48 ──▶ match the best ──▶ Location
picture ───▶ described ─────────────────────────────┘                (how, how sure)     (tie points, proof)
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sentinel_match import schema
from sentinel_match.cache import Cache
from sentinel_match.errors import SentinelMatchError
from sentinel_match.locating.candidate import Candidate, probability
from sentinel_match.locating.glance import COARSE, FINE, Glance, TurnedPicture
from sentinel_match.locating.location import Cost, Location
from sentinel_match.locating.measure import measured
from sentinel_match.locating.overview import Overview, overview, view_on_squares
from sentinel_match.locating.whereabouts import Whereabouts
from sentinel_match.matching.inputs import silent
from sentinel_match.matching.orientation import describe
from sentinel_match.matching.sweep import sweep
from sentinel_match.parallel import in_threads
from sentinel_match.products.catalogue import as_scene, find_scenes
from sentinel_match.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import shapely

    from sentinel_match.matching.inputs import Progress
    from sentinel_match.matching.orientation import Described
    from sentinel_match.products.scene import Scene

EXTENTS = (0.5, 1.6)
"""How long a picture may be, of a scene's longer side."""
WIDE_EXTENTS = (0.2, 3.0)
"""Tried where nothing is found at :data:`EXTENTS`."""
GLANCED_SHARE, GLANCED_SCENES = 0.2, 64
"""Scenes that are glanced at more finely: so many of all, and at least so many."""
SWEPT_SCENES = 48
"""Scenes that are swept at most. Fields that lie all one way look good under many pictures: of a thousand scenes 16
missed one, eighth among 130 at the finer glance, that a sweep finds beyond doubt (10^-24 false alarms)."""
SWEPT_SCALES = 1.25
"""Ratio to the scale of the glance to which the sweep looks."""
ACCEPTED_EXPECTED = -3.0
"""Log10 of the false alarms expected in a whole archive below which the picture counts as found."""
SURE_EXPECTED = -8.0
"""Below which no further scene is swept once there are :data:`ANSWERS`."""
ANSWERS = 3
"""Candidates that are told."""


def locate(
    picture: Scene | Path | str,
    archives: Path | str | Iterable[Path | str],
    known: Whereabouts | None = None,
    *,
    cache: Cache | None = None,
    progress: Progress = silent,
) -> Location:
    """Find which scene of an archive shows a picture, where, how turned, and how sure that is.

    Whatever georeference the picture has is not used. Scenes without one are left out, and said; so is the picture
    itself, where it lies in the archive.

    Args:
        picture: any raster or product that GDAL opens.
        archives: what :func:`sentinel_match.products.catalogue.find_scenes` takes.
        known: what narrows the search.
        cache: keeps the descriptions of the scenes, two thirds of a megabyte each, for the next picture.
        progress: hears of progress.

    Returns:
        The best three candidates; the first of them measured by tie points, where it is found.

    Raises:
        TypeError, NotAProduct, DamagedImage, MissingBand: the picture cannot be read.

    Examples:
        >>> from sentinel_match import locate
        >>> location = locate("picture.png", "archive")
        >>> location.found, round(location.candidates[0].angle)
        (True, 30)
    """
    schema.check_given(known=(known, Whereabouts), cache=(cache, Cache))
    schema.check_argument("progress", progress, schema.HEARS)
    known = known or Whereabouts()
    shown, catalogue = as_scene(picture, "picture"), find_scenes(archives, cache)
    itself = shown.id, shown.path.resolve()
    others = [scene for scene in catalogue.scenes if (scene.id, scene.path.resolve()) != itself]
    alike = (f"{shown.path}: it is the picture itself",) if len(others) < len(catalogue.scenes) else ()
    location = locate_among(shown, others, known, cache=cache, progress=progress)
    refused = tuple(str(one.error) for one in catalogue.refused)
    return replace(location, left_out=location.left_out + alike + refused)


def locate_among(
    shown: Scene,
    candidates: Iterable[Scene],
    known: Whereabouts,
    *,
    cache: Cache | None = None,
    progress: Progress = silent,
) -> Location:
    """Find which of some scenes shows a picture, as :func:`locate` does.

    Args:
        shown: the picture.
        candidates: the scenes.
        known: what narrows the search.
        cache: keeps the descriptions of the scenes.
        progress: hears of progress.

    Raises:
        DamagedImage, MissingBand: the picture cannot be read.
    """
    times = [time.process_time()]
    view = view_on_squares(shown, known.picture_band)
    seen = describe(view)
    candidates = list(candidates)
    scenes = _within(candidates, known.region())
    elsewhere = len(candidates) - len(scenes)
    left_out = [f"{counted(elsewhere, 'scene')} elsewhere than the picture may be"] if elsewhere else []
    times.append(time.process_time())
    overviews: list[tuple[Scene, Overview]] = []
    work = in_threads(lambda scene: _described(scene, known.band, cache), scenes)
    for k, (scene, described) in enumerate(zip(scenes, work, strict=True)):
        if isinstance(described, Overview):
            overviews.append((scene, described))
        else:
            left_out.append(described)
        progress("describe", k + 1, len(scenes))
    times.append(time.process_time())
    ranked = [candidate.through(view) for candidate in _search(seen, overviews, known, progress)]
    found = bool(ranked) and ranked[0].expected < ACCEPTED_EXPECTED
    times.append(time.process_time())
    result = measured(shown, ranked[0], known, cache, progress) if found else None
    times.append(time.process_time())
    describing, searching, measuring = np.diff(times)[1:].tolist()
    cost = Cost(describing, searching, measuring, times[-1] - times[0])
    return Location(shown, tuple(ranked[:ANSWERS]), found, len(overviews), tuple(left_out), result, cost)


def _within(scenes: Iterable[Scene], region: shapely.Geometry | None) -> list[Scene]:
    """Keep the scenes that meet a region."""
    return [s for s in scenes if region is None or (s.footprint is not None and s.footprint.polygon.intersects(region))]


def _described(scene: Scene, band: str | None, cache: Cache | None) -> Overview | str:
    """Describe a scene, or say why it cannot be."""
    try:
        return overview(scene, band, cache)
    except SentinelMatchError as error:
        return str(error)


def _search(
    seen: Described, overviews: Sequence[tuple[Scene, Overview]], known: Whereabouts, progress: Progress
) -> list[Candidate]:
    """Glance at all scenes and sweep the best; again for smaller and larger pictures where that finds nothing."""
    low, high = EXTENTS
    pictures = TurnedPicture(seen, COARSE), TurnedPicture(seen, FINE)
    first = _ranked(pictures, overviews, (low, high), known, progress)
    wider = (WIDE_EXTENTS[0], low), (high, WIDE_EXTENTS[1])
    if known.pixel is not None or (first and first[0].expected < ACCEPTED_EXPECTED):
        return first
    rest = [c for extents in wider for c in _ranked(pictures, overviews, extents, known, progress, 1 + len(wider))]
    best: dict[str, Candidate] = {}
    for candidate in sorted([*first, *rest], key=lambda c: c.expected):
        best.setdefault(str(candidate.scene.path) + candidate.scene.id, candidate)
    return list(best.values())


def _ranked(
    pictures: tuple[TurnedPicture, TurnedPicture],
    overviews: Sequence[tuple[Scene, Overview]],
    extents: tuple[float, float],
    known: Whereabouts,
    progress: Progress,
    searches: int = 1,
) -> list[Candidate]:
    """List candidates at extents between two, the best first; chance has had so many searches to find one."""
    seen = pictures[0].described

    def scales(there: Overview) -> tuple[float, float]:
        if known.pixel is not None:
            return there.pixel_m / known.pixel[1], there.pixel_m / known.pixel[0]
        ratio = max(seen.size) / max(there.described.size)
        return ratio / extents[1], ratio / extents[0]

    glances: dict[int, Glance] = {}
    order = list(range(len(overviews)))
    kept = max(GLANCED_SCENES, round(GLANCED_SHARE * len(overviews))), SWEPT_SCENES
    for picture, most in zip(pictures, kept, strict=True):

        def glance(k: int, picture: TurnedPicture = picture) -> Glance:
            return picture.glance(overviews[k][1].described, scales(overviews[k][1]))

        for k, found in zip(order, in_threads(glance, order), strict=True):
            glances[k] = found
            progress("search", k + 1, len(overviews))
        order = sorted(order, key=lambda k: -glances[k].height)[:most]

    def swept(k: int) -> Candidate:
        scene, there = overviews[k]
        scale = glances[k].scale
        sighting = sweep(there.described, seen, (scale / SWEPT_SCALES, scale * SWEPT_SCALES))
        nfa = sighting.nfa + float(np.log10(searches))
        expected, sure = nfa + float(np.log10(len(overviews))), probability(nfa, 0.5 / len(overviews))
        return Candidate.of(scene, there, seen.size, sighting, expected, sure)

    candidates = []
    for candidate in in_threads(swept, order):
        candidates.append(candidate)
        progress("sweep", len(candidates), len(order))
        if len(candidates) >= ANSWERS and min(c.expected for c in candidates) < SURE_EXPECTED:
            break
    # Scenes on which there is nothing to see are no answer
    return sorted((c for c in candidates if c.expected < np.inf), key=lambda c: c.expected)
