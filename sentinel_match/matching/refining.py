"""The shift measured at every node that both images show clear, and at matches: from a coarse model to measurements."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sentinel_match.geometry import robust
from sentinel_match.geometry.grids import to_metres, to_pixels
from sentinel_match.matching import consensus, nodes, subpixel, texture
from sentinel_match.matching.displacement import displacement
from sentinel_match.memory import give_back

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.matching.correspondences import Correspondences
    from sentinel_match.matching.displacement import Displacement
    from sentinel_match.matching.inputs import PairSide, Progress
    from sentinel_match.matching.subpixel import Refinement

UPRIGHT = 0.05
"""Rotation (radians) and stretching beyond which windows of the two images cannot be compared as they are: 0.05 moves
the rim of a window of 64 pixels by 1.6. Then the matches stay as they were found."""
UNREFINED = {"phase": 0.2, "evergreen": 0.4, "sift": 0.4}
UNREFINED_OTHER = 0.7
"""Standard deviation per axis in pixels of matches that refinement could not improve, by method: measured between
seasons for phase, and for SIFT and ALIKED+LightGlue on T33UUU."""


class Points(NamedTuple):
    """Places that were measured."""

    measurements: subpixel.Measurements
    method: NDArray[np.str_]
    """(N,) what made each a place."""
    candidates: int
    """Places that were tried."""
    displacement: Displacement | None
    """On the lattice that they lie on; ``None`` where nothing could be measured on one."""
    texture: NDArray[np.float64] | None
    """(2, 2) curvature of the correlation of all of them together, where there is no lattice that tells it of each."""


def refined(
    a: PairSide,
    b: PairSide,
    correspondences: Correspondences,
    grids: tuple[NDArray[np.float64], NDArray[np.float64]],
    refinement: Refinement,
    progress: Progress,
) -> Points:
    """Measure the shift at the matches and at every node on ground that both images show clear.

    Args:
        a: the left scene.
        b: the right one.
        correspondences: with a model.
        grids: (N, 2) all such nodes, pixels, and those of them that become points: a field is made of all.
        refinement: how to measure.
        progress: hears of progress.
    """
    coarse = correspondences.model
    assert coarse is not None  # noqa: S101 the caller has looked
    for side in (a, b):
        side.release()
    give_back()
    everywhere, grid = grids
    matches = thinned(correspondences, nodes.NODE_SPACING * float(np.sqrt(len(everywhere) / max(len(grid), 1))))
    upright = np.abs(coarse.matrix[:2, :2] - np.eye(2)).max() <= UPRIGHT
    matched = nodes.nearest_nodes(matches.left[matches.inlier])
    places, place = _distinct(np.concatenate([matched, grid]))
    place = place[: len(matched)]
    method = np.full(len(places), "grid", "U64")
    method[place] = matches.method[matches.inlier]
    progress("refine", 0, len(places))
    field = shared = None
    if upright:
        everywhere, number = _distinct(np.concatenate([places, everywhere]))
        there = to_pixels(b.raster.geobox, coarse(to_metres(a.raster.geobox, everywhere)))
        measurements = subpixel.measure(a.side.images, b.side.images, everywhere, there, refinement)
        seen, data = (a.seen, b.seen), (a.data, b.data)
        field = displacement(a.side.images, b.side.images, measurements, refinement, seen, data)
        measurements = measurements.where(number[: len(places)])
        give_back()
    else:  # windows cannot be compared as they are: what a match is worth, its company says
        measurements = subpixel.Measurements.nothing(places, places)
        matches = replace(matches, score=consensus.probabilities(coarse, matches, a.raster, b.raster))
    measurements, method = with_matches(measurements, method, matches, place)
    if upright and field is None and (ok := measurements.ok).any():
        ends = measurements.left[ok], measurements.right[ok]
        shared = texture.overall(a.side.images, b.side.images, *ends, refinement.device)
    progress("refine", len(places), len(places))
    return Points(measurements, method, len(places), field, shared)


def _distinct(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """List the distinct nodes among (N, 2) points on nodes, and (N,) which of them each is."""
    number = np.round(points / nodes.NODE_SPACING).astype(np.int64)
    column = number.max(initial=0) + 1
    _, first, which = np.unique(number[:, 1] * column + number[:, 0], return_index=True, return_inverse=True)
    return points[first], which.ravel()


def thinned(found: Correspondences, spacing: float) -> Correspondences:
    """Thin out the inliers until they are no closer together than points of the grid.

    Args:
        found: may be far denser in the few cells that were looked at.
        spacing: of the grid, pixels.
    """
    inlier = np.zeros(len(found), bool)
    index = np.flatnonzero(found.inlier)
    inlier[index[robust.decluster(found.left[index], found.score[index], spacing)]] = True
    return replace(found, inlier=inlier)


def with_matches(
    measured: subpixel.Measurements, method: NDArray[np.str_], found: Correspondences, place: NDArray[np.intp]
) -> tuple[subpixel.Measurements, NDArray[np.str_]]:
    """Add each inlier that could not be measured any better as it was found.

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
    return measured.joined(added), np.concatenate([method, found.method[bare]])
