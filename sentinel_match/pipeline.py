"""The straight line, for one pair of scenes: read this first.

    load ×2 ─▶ match cells ─▶ coarse model ─▶ refine matches and grid ─▶ verify ─▶ TiePoints

The matcher says where the right image shows the left one, to a few pixels, in a handful of cells (learned where it is
hard). Phase correlation then measures the shift at its matches and on a regular grid over the whole overlap (classical
where it must be precise). A robust model, no richer than the geometry allows, decides what is believed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from sentinel_match import judge, matchers, raster, refine, windows
from sentinel_match.errors import MissingBand, NoGeoreference, NoOverlap, NothingClear, TooFine
from sentinel_match.execute import in_threads
from sentinel_match.lattice import (
    covering,
    jointly_valid,
    metric,
    same_lattice,
    to_metres,
    to_pixels,
)
from sentinel_match.loaded import load
from sentinel_match.masks import Masking

if TYPE_CHECKING:
    from sentinel_match.cache import Cache
    from sentinel_match.loaded import Loaded
    from sentinel_match.raster import Raster
    from sentinel_match.scene import Scene
    from sentinel_match.tiepoints import TiePoints

VERSION = 1
"""Of everything here that changes a result: part of every recipe."""

BANDS = ("B04", "B08", "B03", "B02", "B8A", "B11", "B12", "B05", "B06", "B07", "B01", "B09", "TCI", "1")
"""Which band is compared when nobody says: red first, as Sen2Like does; then by resolution and texture."""
Tell = Callable[[str, int, int], None]
"""Called with (what is being done, how many are done, of how many)."""


@dataclass(frozen=True)
class Options:
    """Everything about matching one pair that a user may choose."""

    band: str | None = None
    """Band of both scenes; the first of ``BANDS`` that both have when not given."""
    resolution: float | None = None
    """Metres per pixel; the coarser of the two native ones when not given."""
    matcher: matchers.Matcher | None = None
    """The default of ``matchers.create`` when not given."""
    model: str | None = None
    """A kind of ``verify.MINIMAL``; similarity on a common lattice and affine elsewhere when not given."""
    cells: int = 8
    """At most this many cells are given to the matcher."""
    candidates: int = 20_000
    """About this many grid points are measured, whatever the size of the overlap."""
    masking: Masking = field(default_factory=Masking)
    refinement: refine.Refinement = field(default_factory=refine.Refinement)
    seed: int = 0

    @property
    def recipe(self) -> Mapping[str, object]:
        """What a result depends on besides the inputs, JSON-able."""
        matcher = self.matcher or matchers.create()
        return {
            "version": VERSION,
            "band": self.band,
            "resolution": self.resolution,
            "matcher": {"name": matcher.name, **matcher.recipe},
            "model": self.model,
            "cells": self.cells,
            "candidates": self.candidates,
            "masking": self.masking.recipe,
            "refinement": {k: v for k, v in vars(self.refinement).items() if k != "device"},
            "seed": self.seed,
        }


def match_scenes(
    left: Scene,
    right: Scene,
    options: Options | None = None,
    cache: Cache | None = None,
    tell: Tell = lambda _what, _done, _of: None,
    clock: Clock | None = None,
) -> TiePoints:
    """Tie points between two scenes.

    Args:
        left: the reference; positions are its, shifts are right minus left.
        right: the other scene.
        options: what a user may choose.
        cache: where work on one scene is kept for other pairs; nothing is kept without.
        tell: hears of progress.
        clock: counts the seconds of each stage.

    Returns:
        All points measured, believed or not; ``inlier`` says which.

    Raises:
        NoGeoreference: one of them has no position.
        MissingBand: they have no band in common, or lack the one asked for.
        NoOverlap, NothingClear, NoMatch: there is nothing to match, and why.
        DamagedImage: pixels cannot be decoded.
        WeightsMissing, WeightsDamaged: the matcher cannot run.
    """
    options = options or Options()
    matcher = options.matcher or matchers.create()
    clock = clock or Clock()
    band = common_band(left, right, options.band)
    footprints = []
    for scene in (left, right):
        if scene.footprint is None:
            raise NoGeoreference(str(scene.path))
        footprints.append(scene.footprint)
    if footprints[0].intersection(footprints[1]) is None:
        raise NoOverlap(left.id, right.id)

    with clock("read"):
        (a, of_left), (b, of_right), aligned = load_pair(left, right, band, options, cache, tell)
        clear = jointly_valid(a, b)
        if not clear.any():
            raise NothingClear(left.id, right.id, hidden(of_left, of_right))

    with clock("match"):
        cells = windows.choose(a, b, options.cells)
        found = match_cells((a, of_left), (b, of_right), cells, matcher, cache, tell)
    kind = options.model or ("similarity" if aligned else "affine")
    with clock("verify"):
        coarse, believed = judge.coarse_model(kind, found, a, b, (left, right), options.seed)

    with clock("refine"):
        grid = refine.grid(clear, options.candidates)
        at = np.concatenate([found.left[believed], grid])
        expected = np.concatenate([found.right[believed], to_pixels(b, coarse(to_metres(a, grid)))])
        tell("refine", 0, len(at))
        measured = refine.measure(a, b, at, expected, options.refinement)
        tell("refine", len(at), len(at))

    with clock("verify"):
        ties = judge.tie_points(kind, measured, a, b, (left, right), band, options.refinement.radius, options.seed)
    method = np.where(np.arange(len(at)) < believed.sum(), matcher.name, "phase")[measured.ok]
    summary = {
        **ties.summary,
        "by_method": {str(m): int((ties.inlier & (method == m)).sum()) for m in dict.fromkeys(method)},
        "matcher": {
            "name": matcher.name,
            "cells": len(cells),
            "matches": len(found),
            "agreeing": int(believed.sum()),
        },
        "candidates": len(at),
        "jointly_clear_km2": round(float(clear.sum()) * abs(a.geobox.affine.a * a.geobox.affine.e) / 1e6, 2),
        "band": band,
        "masks": {
            side: {"clouds_from": loaded.clouds or None, "removed": dict(loaded.removed), "notes": loaded.notes}
            for side, loaded in (("left", of_left), ("right", of_right))
        },
    }
    return replace(ties, method=method, summary=summary)


def common_band(left: Scene, right: Scene, wanted: str | None) -> str:
    """The band to compare: the one asked for, or the first of ``BANDS`` that both have.

    Raises:
        MissingBand: there is none.
    """
    if wanted is not None:
        left.band(wanted)  # both must have it
        return right.band(wanted).name
    have = [{b.name for b in scene.bands} for scene in (left, right)]
    both = [name for name in BANDS if all(name in names for names in have)]
    if both:
        return both[0]
    here, there = (left, right) if not have[0] else (right, left)
    wanted = "/".join(sorted(have[there is right])) or BANDS[0]
    raise MissingBand(here.id, wanted, tuple(sorted(have[here is right])))


def load_pair(
    left: Scene, right: Scene, band: str, options: Options, cache: Cache | None, tell: Tell
) -> tuple[tuple[Raster, Loaded], tuple[Raster, Loaded], bool]:
    """Both scenes on the left one's lattice, each with what was loaded, and whether that needed no warp."""
    native = [scene.band(band).resolution for scene in (left, right)]
    resolution = options.resolution or max(native)
    for scene, metres in zip((left, right), native, strict=True):
        if resolution < 0.99 * metres:
            raise TooFine(scene.id, band, metres, resolution)
    tell("read", 0, 2)
    a = load(left, band, resolution=resolution, masking=options.masking, cache=cache)
    tell("read", 1, 2)
    b = load(right, band, resolution=resolution, masking=options.masking, cache=cache)
    tell("read", 2, 2)
    ground = metric(a.raster.geobox)
    reference = a.raster if ground is a.raster.geobox else raster.warp(a.raster, ground)
    if same_lattice(ground, b.raster.geobox):
        return (reference, a), (b.raster, b), True
    try:
        grid = covering(ground, b.raster.geobox, windows.MARGIN)
    except ValueError as error:
        raise NoOverlap(left.id, right.id) from error
    return (reference, a), (raster.warp(b.raster, grid), b), False


def match_cells(
    left: tuple[Raster, Loaded],
    right: tuple[Raster, Loaded],
    cells: list[windows.Cell],
    matcher: matchers.Matcher,
    cache: Cache | None,
    tell: Tell,
) -> matchers.Matches:
    """Correspondences of all cells, in pixels of the two rasters."""

    def one(cell: windows.Cell) -> matchers.Matches:
        sides = []
        for image, loaded in (left, right):
            row, col, height, width = cell.window(image.geobox)
            view = image.crop(row, col, height, width)
            recipe = {
                "kind": "features",
                "scene": loaded.recipe,
                "grid": [str(image.geobox.crs), list(view.geobox.affine)[:6], [height, width]],
                "matcher": {"name": matcher.name, **matcher.recipe},
            }

            def describe(view: Raster = view) -> matchers.Arrays:
                return matcher.describe(np.asarray(view.pixels, np.float32), np.asarray(view.valid))

            features = describe() if cache is None else cache.arrays(recipe, describe)
            sides.append((features, np.array([col, row], float)))
        (features_a, origin_a), (features_b, origin_b) = sides
        m = matcher.match(features_a, features_b)
        inside = cell.holds(m.left + origin_a, left[0].geobox)
        return matchers.Matches((m.left + origin_a)[inside], (m.right + origin_b)[inside], m.score[inside])

    parts: list[matchers.Matches] = []
    for part in in_threads(one, cells):
        tell(f"match ({matcher.name})", len(parts), len(cells))
        parts.append(part)
    tell(f"match ({matcher.name})", len(cells), len(cells))
    if not parts:
        return matchers.Matches.none()
    return matchers.Matches(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("left", "right", "score")))


def hidden(a: Loaded, b: Loaded) -> str:
    """What hides each image, for a message: ``left: nodata 40 %; right: cloud 98 %``."""
    sides = []
    for side, loaded in (("left", a), ("right", b)):
        shares = {"nodata": loaded.nodata, **loaded.removed}
        sides.append(
            f"{side}: " + (", ".join(f"{k} {100 * v:.0f} %" for k, v in shares.items() if v >= 0.005) or "clear")
        )
    return "; ".join(sides)


class Clock:
    """Wall and CPU seconds of each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.cpu_seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Count what happens inside towards a stage."""
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.seconds[stage] = round(self.seconds.get(stage, 0) + time.perf_counter() - wall, 2)
            self.cpu_seconds[stage] = round(self.cpu_seconds.get(stage, 0) + time.process_time() - cpu, 2)
