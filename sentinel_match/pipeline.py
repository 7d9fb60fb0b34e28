"""The straight line, for one pair of scenes: read this first.

    load ×2 ─▶ correspond ─▶ coarse model ─▶ refine matches and grid ─▶ verify ─▶ TiePoints

``correspond`` says where the right image shows the left one, in a handful of cells, by one method or by the cascade
``auto``. Phase correlation then measures the shift at its matches and on a regular grid over the whole overlap. A
robust model, no richer than the geometry allows, decides what is believed.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from sentinel_match.accuracy import assess, ecc, requirement
from sentinel_match.accuracy.coverage import cover
from sentinel_match.errors import NoGeoreference, NoMatch, NoOverlap, NothingClear
from sentinel_match.geometry import robust, transform
from sentinel_match.geometry.grids import pixel_size, same_lattice, to_metres, to_pixels
from sentinel_match.geometry.transform import Transform
from sentinel_match.matchers.phase import Phase
from sentinel_match.matching import cells, consensus, subpixel
from sentinel_match.matching.cascade import correspond
from sentinel_match.matching.correspondences import Method
from sentinel_match.matching.inputs import InputOptions, common_band, hidden_shares, load_pair
from sentinel_match.raster import landcover
from sentinel_match.raster.masks import Masking
from sentinel_match.raster.raster import jointly_valid
from sentinel_match.raster.transitions import Semantics, by_class

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from sentinel_match import matchers
    from sentinel_match.cache import Cache
    from sentinel_match.matching.correspondences import Correspondences
    from sentinel_match.matching.inputs import Progress
    from sentinel_match.matching.subpixel import Measurements
    from sentinel_match.products.scene import Scene
    from sentinel_match.tiepoints import TiePoints

VERSION = 2
"""Of everything here that changes a result: part of every recipe."""

UPRIGHT = 0.05
"""Rotation (radians) and stretching beyond which windows of the two images cannot be compared as they are: 0.05 moves
the rim of a window of 64 pixels by 1.6. Then the matches stay as they were found."""
SPACING = 16
"""Least pixels between the points of ``phase`` alone: refinement measures the same ones again, on its own grid. With 8
px it takes four times as long for the same inliers within 2 % (T33UUU, T36UYA, snow to June, half cloudy). In ``auto``,
whose unrefined points are kept where weak texture cannot be refined, 16 px would lose a sixth of them."""
UNREFINED = {"phase": 0.2, "evergreen": 0.4, "sift": 0.4}
UNREFINED_OTHER = 0.7
"""Standard deviation per axis in pixels of matches that refinement could not improve, by method: measured between
seasons for phase, and for SIFT and ALIKED+LightGlue on T33UUU."""


@dataclass(frozen=True)
class Options:
    """Everything about matching one pair that a user may choose."""

    band: str | None = None
    """Band, index or gradient of both scenes, or several with commas: see
    :func:`sentinel_match.raster.bands.source_of`; the first of ``BANDS`` that both have when not given."""
    resolution: float | None = None
    """Metres per pixel; the coarser of the two native ones when not given."""
    matcher: matchers.Matcher | None = None
    """``auto``, the cascade of ``correspond``, when not given."""
    guided: bool = True
    """Whether to look only where the georeference says, or everywhere and at every rotation."""
    reach: float = 500.0
    """Metres by which the georeference may be off."""
    model: str | None = None
    """A kind of ``warp.KINDS``. When not given, a similarity on a common lattice, an affine elsewhere, must find most
    points agreeing, and the model is then chosen by what it predicts."""
    cells: int = 8
    """At most this many cells are given to the matcher."""
    candidates: int = 20_000
    """About this many grid points are measured, whatever the size of the overlap."""
    masking: Masking = field(default_factory=Masking)
    semantics: Semantics = field(default_factory=Semantics)
    refinement: subpixel.Refinement = field(default_factory=subpixel.Refinement)
    seed: int = 0

    def inputs(self, band: str) -> InputOptions:
        """Say how two scenes are loaded, for a band that both have."""
        return InputOptions(band, self.resolution, self.masking, self.semantics)

    def method(self, kind: str) -> Method:
        """How ``correspond`` shall look, for a kind of model."""
        matcher = self.matcher
        if isinstance(matcher, Phase):
            matcher = replace(matcher, spacing=max(matcher.spacing, SPACING))
        return Method(
            matcher,
            guided=self.guided,
            everywhere=not self.guided,
            reach=self.reach,
            cells=self.cells,
            model=kind,
            seed=self.seed,
            device=self.refinement.device,
        )

    @property
    def recipe(self) -> Mapping[str, object]:
        """What a result depends on besides the inputs, JSON-able."""
        return {
            "version": VERSION,
            "band": self.band,
            "resolution": self.resolution,
            "method": self.method(self.model or "").recipe,
            "candidates": self.candidates,
            "masking": self.masking.recipe,
            "semantics": self.semantics.recipe,
            "refinement": {k: v for k, v in vars(self.refinement).items() if k != "device"},
        }


def match_scenes(
    left: Scene,
    right: Scene,
    options: Options | None = None,
    cache: Cache | None = None,
    tell: Progress = lambda _what, _done, _of: None,
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
        BadMask, BadClasses: the user's mask or map of classes cannot be used.
        WeightsMissing, WeightsDamaged: the matcher cannot run.
    """
    options = options or Options()
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
        a, b = load_pair(left, right, options.inputs(band), cache, tell)
        clear = jointly_valid(a.raster, b.raster)
        if not clear.any():
            raise NothingClear(left.id, right.id, hidden_shares(a.loaded, b.loaded))
    kind = (
        options.model
        if options.model in transform.MINIMAL
        else ("similarity" if same_lattice(a.raster.geobox, b.loaded.raster.geobox) else "affine")
    )
    with clock("match"):
        found = correspond(a.side, b.side, options.method(kind), cache, tell)
        if found.model is None:
            raise NoMatch(left.id, right.id, found.why)
        coarse, agreeing = found.model, int(found.inlier.sum())

    with clock("refine"):
        grid = subpixel.grid(clear, options.candidates)
        found = thinned(found, float(np.sqrt(clear.sum() / max(len(grid), 1))))
        upright = np.abs(coarse.matrix[:2, :2] - np.eye(2)).max() <= UPRIGHT
        matched = subpixel.nearest_nodes(found.left[found.inlier])
        places, place = np.unique(np.concatenate([matched, grid]), axis=0, return_inverse=True)
        method = np.full(len(places), "grid", "U64")
        method[place.ravel()[: len(matched)]] = found.method[found.inlier]
        tell("refine", 0, len(places))
        if upright:
            there = to_pixels(b.raster.geobox, coarse(to_metres(a.raster.geobox, places)))
            measured = subpixel.measure(a.side.images, b.side.images, places, there, options.refinement)
        else:  # windows cannot be compared as they are: what a match is worth, its company says
            measured = subpixel.Measurements.nothing(places, places)
            found = replace(found, score=consensus.probabilities(coarse, found, a.raster, b.raster))
        measured, method = with_matches(measured, method, found, place.ravel()[: len(matched)])
        tell("refine", len(places), len(places))

    with clock("verify"):
        ties = assess.tie_points(
            kind,
            options.model,
            measured,
            a.raster,
            b.raster,
            (left, right),
            band,
            options.refinement.radius,
            options.seed,
        )
        second = ecc.second(a.raster, b.raster, Transform.from_plain(ties.summary["model"]))
    method = method[measured.ok]
    believed = to_pixels(a.raster.geobox, ties.left_xy)[ties.inlier]
    lies = [side.classes_at(p)[measured.ok] for side, p in ((a, measured.left), (b, measured.right))]
    summary = {
        **ties.summary,
        "by_method": {str(m): int((ties.inlier & (method == m)).sum()) for m in dict.fromkeys(method)},
        "matcher": {
            "name": options.method(kind).name,
            "cells": found.cells,
            "matches": len(found),
            "agreeing": agreeing,
            "verdict": found.why or "agrees with itself",
        },
        "regions": cells.methods_by_cell(a.raster, believed, method[ties.inlier]),
        "candidates": len(places),
        "coverage": cover(clear, believed, pixel_size(a.raster.geobox)),
        "second": second,
        "jointly_clear_km2": round(float(clear.sum()) * pixel_size(a.raster.geobox) ** 2 / 1e6, 2),
        "band": band,
        "crs": ties.crs,
        "limits": {"left": a.loaded.limits, "right": b.loaded.limits},
        "masks": {
            side: {"clouds_from": of.clouds or None, "removed": dict(of.removed), "notes": of.notes}
            for side, of in (("left", a.loaded), ("right", b.loaded))
        },
    }
    if any(codes.any() for codes in lies):
        summary["classes"] = {
            "from": {"left": a.loaded.classes_from, "right": b.loaded.classes_from},
            "counts": by_class(lies[0], lies[1], ties.inlier),
        }
        names = [np.array([landcover.Class(c).name.lower() for c in codes]) for codes in lies]
        ties = replace(ties, left_class=names[0], right_class=names[1])
    summary["verdict"] = requirement.verdict(summary)
    return replace(ties, method=method, summary=summary)


def thinned(found: Correspondences, spacing: float) -> Correspondences:
    """Believed matches no closer together than points of the grid; the others are believed no longer.

    Args:
        found: may be far denser in the few cells that were looked at.
        spacing: of the grid, pixels.
    """
    inlier = np.zeros(len(found), bool)
    index = np.flatnonzero(found.inlier)
    inlier[index[robust.decluster(found.left[index], found.score[index], spacing)]] = True
    return replace(found, inlier=inlier)


def with_matches(
    measured: Measurements, method: NDArray[np.str_], found: Correspondences, place: NDArray[np.intp]
) -> tuple[Measurements, NDArray[np.str_]]:
    """Where a believed match could not be measured any better, it is added as it was found.

    Args:
        measured: places.
        method: (N,) what made each a place.
        found: matches.
        place: (M,) index of the place of each believed match.
    """
    bare = np.flatnonzero(found.inlier)[~measured.ok[place]]
    added = subpixel.Measurements(
        left=found.left[bare],
        right=found.right[bare],
        sigma=np.array([UNREFINED.get(name, UNREFINED_OTHER) for name in found.method[bare]]),
        quality=np.zeros(len(bare)),
        distinct=found.score[bare].astype(np.float64),
        ok=np.ones(len(bare), bool),
        refined=np.zeros(len(bare), bool),
        feature=found.method[bare],
        independence=np.broadcast_to(found.independence, len(found))[bare],
    )
    joined = {
        f.name: np.concatenate([getattr(m, f.name) for m in (measured, added)]) for f in fields(subpixel.Measurements)
    }
    return subpixel.Measurements(**joined), np.concatenate([method, found.method[bare]])


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
