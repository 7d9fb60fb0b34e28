"""The straight line, for one pair of scenes: read this first.

    load ×2 ─▶ correspond ─▶ coarse model ─▶ refine matches and grid ─▶ assess ─▶ TiePoints

``correspond`` says where the right image shows the left one, in a handful of cells, by one method or by the cascade
``auto``. Phase correlation then measures the shift at its matches and on a regular grid over the whole overlap. A
robust model, no richer than the geometry allows, decides what is believed.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sentinel_match.accuracy.assess import assess
from sentinel_match.accuracy.consistency import consistency, one_way
from sentinel_match.accuracy.coverage import cover
from sentinel_match.accuracy.drawn import drawn_px
from sentinel_match.accuracy.ecc import second_estimate
from sentinel_match.accuracy.evidence import Evidence, turned
from sentinel_match.accuracy.relief import terrain_of
from sentinel_match.accuracy.requirement import overruled
from sentinel_match.cache import Cache
from sentinel_match.comparison import Comparison, ImageUse, MatcherReport
from sentinel_match.errors import NoGeoreference, NoMatch, NoOverlap, NothingClear
from sentinel_match.geometry import kinds
from sentinel_match.geometry.grids import crs_name, native_pixels, pixel_size, same_pixels, to_pixels
from sentinel_match.geometry.transform import azimuth_of_track
from sentinel_match.matching import cells, consensus, nodes
from sentinel_match.matching.cascade import correspond
from sentinel_match.matching.inputs import common_band, hidden_shares, load_pair, silent
from sentinel_match.matching.refining import refined
from sentinel_match.matching.stable import moving_ground, stable_ground
from sentinel_match.options import Options
from sentinel_match.parallel import one_thread
from sentinel_match.products.catalogue import as_scene
from sentinel_match.raster import landcover
from sentinel_match.raster.bands import band_names, source_of
from sentinel_match.raster.heights import check_heights
from sentinel_match.raster.raster import jointly_valid
from sentinel_match.raster.transitions import by_class
from sentinel_match.schema import HEARS, check_argument, check_given
from sentinel_match.summary import Fitting
from sentinel_match.tiepoints import TiePoints

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from sentinel_match.matching.inputs import PairSide, Progress
    from sentinel_match.products.scene import Scene

ONLY_FINE = (
    "what agrees is finer than ground, and lies on the same pixels of both: a pattern of the sensor or of the file, "
    "such as stripes, a watermark or fixed noise"
)


@one_thread()
def match_scenes(
    left: Scene | Path | str,
    right: Scene | Path | str,
    options: Options | None = None,
    cache: Cache | None = None,
    progress: Progress = silent,
    clock: Clock | None = None,
) -> TiePoints:
    """Find tie points between two scenes.

    Args:
        left: the reference, or its path: positions are its, shifts are right minus left.
        right: the other scene, or its path.
        options: what a user may choose.
        cache: where work on one scene is kept for other pairs; nothing is kept without.
        progress: hears of progress.
        clock: counts the seconds of each stage.

    Returns:
        All points measured, inliers or not; ``inlier`` says which.

    Raises:
        NotAProduct, BrokenProduct: a path leads to no scene.
        NoGeoreference: one of them has no position.
        MissingBand: they have no band in common, or lack the one asked for.
        NoOverlap, NothingClear, NoMatch: there is nothing to match, and why.
        DamagedImage: pixels cannot be decoded.
        BadMask, BadClasses, BadHeights: the user's mask, map of classes or height model cannot be used.
        WeightsMissing, WeightsDamaged: the matcher cannot run.

    Examples:
        >>> from sentinel_match import match_scenes
        >>> ties = match_scenes("LEFT.SAFE", "RIGHT.SAFE")
        >>> print(f"{ties.summary.median_dx_m:.0f} m east, {ties.summary.median_dy_m:.0f} m north")
        6 m east, 18 m north
    """
    check_given(options=(options, Options), cache=(cache, Cache), clock=(clock, Clock))
    check_argument("progress", progress, HEARS)
    options, clock = options or Options(), clock or Clock()
    left, right = (as_scene(s, name).with_nodata(options.nodata) for s, name in ((left, "left"), (right, "right")))
    band = common_band(left, right, options.band)
    _check_overlap(left, right)
    if options.dem is not None:
        check_heights(options.dem)
    with clock("read"):
        a, b = load_pair(left, right, options.inputs(band), cache, progress)
        places = _clear_nodes(a, b, (left.id, right.id), options.candidates)
        stable = stable_ground(options.stable, a.raster.geobox)  # what cannot be used is told before any work
    kind = (
        options.model
        if options.model in kinds.MINIMAL
        else ("similarity" if same_pixels(a.raster.geobox, b.loaded.raster.geobox) else "affine")
    )
    with clock("match"):
        correspondences = correspond(a.side, b.side, options.method(kind), cache, progress)
        if correspondences.model is None:
            raise NoMatch(left.id, right.id, correspondences.why)
    with clock("refine"):
        points = refined(a, b, correspondences, places, options.refinement, progress)
    with clock("verify"):
        gsd, crs, ids = pixel_size(a.raster.geobox), a.raster.geobox.crs, (left.id, right.id)
        evidence = Evidence.of(points.measurements, a.raster.geobox, b.raster.geobox, ids, points.displacement, stable)
        if points.texture is not None:
            all_alike = np.broadcast_to(turned(points.texture, a.raster.geobox), (len(evidence.left), 2, 2))
            evidence = replace(evidence, curvature=all_alike)
        radius = options.refinement.radius * gsd
        assessment = assess(evidence, Fitting(kind, options.model, radius, _azimuth(left), options.seed), gsd, ids)
        promised = assessment.hold_out.ce95_interval[1] if assessment.hold_out else 0.0
        off = np.median((assessment.right - assessment.transform(evidence.left))[assessment.inlier], 0)
        wanted = off if options.model == kinds.NONE else np.zeros(2)
        second = second_estimate(a.raster, b.raster, assessment.transform, promised, wanted)
        if second.overrules(promised, gsd):
            raise NoMatch(*ids, overruled(assessment.statistics, second))
        agreement = consistency(a.raster, b.raster, assessment.transform, off, second.least_scatter_m or 0.0)
        if agreement.only_fine:
            raise NoMatch(left.id, right.id, ONLY_FINE)
        assessment = assessment.widened(agreement.pull_m)
        other = consensus.other_population(correspondences, a.raster, b.raster, assessment.transform, options.seed)
        terrain = terrain_of(evidence.ground, (left, right), (band, crs_name(crs)), options.dem, options.seed)
    clear = jointly_valid(a.raster, b.raster)  # again: of a tile it takes 120 MB, and no time
    ok, inlier, method = points.measurements.ok, assessment.inlier, points.method[points.measurements.ok]
    inlier_px = to_pixels(a.raster.geobox, evidence.left)[inlier]
    codes = [side.classes_at(p)[ok] for side, p in ((a, points.measurements.left), (b, points.measurements.right))]
    classified = any(code.any() for code in codes)
    names = [np.array([landcover.Class(c).name.lower() for c in code]) for code in codes] if classified else [None] * 2
    comparison = Comparison(
        by_method={str(m): int((inlier & (method == m)).sum()) for m in dict.fromkeys(method)},
        matcher=MatcherReport(
            name=options.method(kind).name,
            cells=correspondences.cells,
            matches=len(correspondences),
            agreeing=int(correspondences.inlier.sum()),
            verdict=correspondences.why or "agrees with itself",
        ),
        regions=cells.methods_by_cell(a.raster, inlier_px, method[inlier]),
        candidates=points.candidates,
        coverage=cover(clear, inlier_px, gsd),
        second=second,
        consistency=replace(
            agreement,
            other=other,
            one_way=one_way(assessment.ellipse, inlier, radius),
            blind_below_m=round(evidence.blind_below, 1),
            drawn_m=round(drawn_px(evidence.ground, a.raster, b.raster, agreement.octaves) * gsd, 3),
        ),
        jointly_clear_km2=round(float(clear.sum()) * gsd**2 / 1e6, 2),
        left=_use(a),
        right=_use(b),
        classes=by_class(codes[0], codes[1], inlier) if classified else None,
        terrain=terrain,
        moving_ground=moving_ground(stable, evidence.still, measured=evidence.whole is not None),
    )
    grids = [source_of(scene, band_names(band)[0], gsd).grid for scene in (left, right)]
    return TiePoints(
        left=left,
        right=right,
        left_xy=evidence.left,
        right_xy=assessment.right,
        left_px=native_pixels(evidence.left, crs, grids[0]),
        right_px=native_pixels(assessment.right, crs, grids[1]),
        sigma_m=assessment.sigma,
        ellipse=assessment.ellipse,
        score=assessment.score,
        residual_m=assessment.residual_m,
        inlier=inlier,
        method=method,
        summary=assessment.summary(band, crs_name(crs), comparison=comparison),
        left_class=names[0],
        right_class=names[1],
        quality=evidence.quality,
        support_m=evidence.support,
        feature=evidence.feature,
        reason=assessment.reason,
    )


def _check_overlap(left: Scene, right: Scene) -> None:
    """Refuse scenes without a position, and footprints that do not meet."""
    footprints = []
    for scene in (left, right):
        if scene.footprint is None:
            raise NoGeoreference(str(scene.path), scene.remedy)
        footprints.append(scene.footprint)
    if footprints[0].intersection(footprints[1]) is None:
        raise NoOverlap(left.id, right.id)


def _clear_nodes(
    a: PairSide, b: PairSide, ids: tuple[str, str], candidates: int | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """List (N, 2) the nodes on ground that both images show clear, pixels, and those of them that become points.

    Raises:
        NothingClear: there is no such ground.
    """
    clear = jointly_valid(a.raster, b.raster)
    if not clear.any():
        raise NothingClear(*ids, hidden_shares(a.loaded, b.loaded))
    return nodes.grid(clear, clear.size), nodes.grid(clear, candidates)


def _azimuth(scene: Scene) -> float:
    """Compute the direction of the satellite's track over a scene."""
    latitude = 0.0 if scene.footprint is None else float(scene.footprint.polygon.centroid.y)
    return azimuth_of_track(latitude, ascending=scene.orbit_direction == "ASCENDING")


def _use(side: PairSide) -> ImageUse:
    """Say how an image was used."""
    image = side.loaded
    return ImageUse(
        limits=image.limits,
        clouds_from=image.clouds or None,
        removed=dict(image.removed),
        notes=image.notes,
        classes_from=image.classes_from,
    )


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

    def add_cpu(self, stage: str, seconds: float) -> None:
        """Count CPU seconds of another process towards a stage."""
        self.cpu_seconds[stage] = round(self.cpu_seconds.get(stage, 0) + seconds, 2)
