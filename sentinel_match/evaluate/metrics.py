"""How good correspondences and transforms are, as pure functions on arrays.

Points are (N, 2) x, y in pixels, origin at the outer corner of the first pixel; the truth is a (3, 3) homogeneous
matrix from pixels of image 0 (left) to pixels of image 1 (right), or such a matrix and a field. Nothing here divides by
zero into a good mark: no matches are a precision of 0, no result is an error of infinity, and what is not defined is
NaN. The definitions are also on a page of the documentation, docs/pages/evaluation.md, whose headings the docstrings
here name.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Points = NDArray[np.float64]
Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of image 0."""

CELLS_PER_SIDE = 8
"""Cells along each side for coverage (evaluation page, "Coverage")."""
CHECK_POINTS_PER_SIDE = 128
"""Check points and gaps are looked for on a grid of about this many positions along the longer side."""


class Bent(NamedTuple):
    """A mapping of pixels that bends: a matrix, and behind it a wave along each axis."""

    matrix: NDArray[np.float64]
    """(3, 3) homogeneous."""
    length: float
    """Of the waves, pixels."""
    size: float
    """Amplitude of each, pixels; so small against the length that nothing folds."""
    way: NDArray[np.float64]
    """(2, 2) unit vectors, along which the x and the y displacement change."""
    phase: NDArray[np.float64]
    """(2,) radians."""

    def wave(self, at: Points) -> Points:
        """Compute (N, 2) the displacement at (N, 2) places to which the matrix maps."""
        return np.asarray(self.size * np.sin(2 * np.pi / self.length * (at @ self.way.T) + self.phase))

    def after(self, matrix: NDArray[np.float64]) -> Bent:
        """Return the mapping that first maps by a matrix."""
        return self._replace(matrix=self.matrix @ matrix)

    def forward(self, points: Points) -> Points:
        """Map (N, 2) points."""
        at = project(self.matrix, points)
        return at + self.wave(at)

    def back(self, points: Points) -> Points:
        """Map (N, 2) points back, by fixed-point iteration."""
        at = points
        for _ in range(BACK_STEPS):
            at = points - self.wave(at)
        return project(np.asarray(np.linalg.inv(self.matrix), np.float64), at)


PixelMapping = NDArray[np.float64] | Bent
"""Of pixels of image 0 to pixels of image 1."""
BACK_STEPS = 60
"""Of the iteration: each makes the error the steepest slope of the wave smaller, half at most."""


def project(mapping: PixelMapping, points: NDArray[Any]) -> Points:
    """Map (N, 2) points by a (3, 3) homogeneous matrix, or one with a field."""
    if isinstance(mapping, Bent):
        return mapping.forward(points)
    homogeneous = np.column_stack([points, np.ones(len(points))]) @ mapping.T
    return np.asarray(homogeneous[:, :2] / homogeneous[:, 2:])


def project_back(mapping: PixelMapping, points: NDArray[Any]) -> Points:
    """Map (N, 2) points back."""
    return (
        mapping.back(points)
        if isinstance(mapping, Bent)
        else project(np.asarray(np.linalg.inv(mapping), np.float64), points)
    )


def errors(left: Points, right: Points, truth: PixelMapping, *, symmetric: bool = False) -> NDArray[np.float64]:
    """Measure how far each match lies from the truth, in pixels (evaluation page, "Error of a match").

    Args:
        left: (N, 2) in image 0.
        right: (N, 2) in image 1, where a method says the same ground is.
        truth: (3, 3), image 0 to image 1.
        symmetric: mean of the errors in both images instead of the one in image 1, for warps that change scale
            (glue-factory, ``eval/hpatches.py``: symmetric reprojection error).

    Returns:
        (N,).
    """
    forward = np.linalg.norm(right - project(truth, left), axis=1)
    if not symmetric:
        return np.asarray(forward)
    backward = np.linalg.norm(left - project_back(truth, right), axis=1)
    return np.asarray((forward + backward) / 2)


def precision(error: NDArray[np.float64], threshold: float) -> float:
    """Compute the share of the matches with an error below the threshold; 0 where there is no match."""
    return float((error < threshold).mean()) if len(error) else 0.0


def matching_score(error: NDArray[np.float64], keypoints: int, threshold: float = 3.0) -> float:
    """Count correct matches per keypoint of image 0 (SuperGlue, ``match_pairs.py``); 0 where there is no keypoint."""
    return float((error < threshold).sum() / keypoints) if keypoints else 0.0


def recall(
    keypoints: tuple[Points, Points],
    left: Points,
    right: Points,
    truth: PixelMapping,
    both: NDArray[np.bool_],
    threshold: float = 3.0,
) -> float:
    """Compute the share of the matchable keypoints that were matched correctly (evaluation page, "Recall").

    A keypoint of image 0 is matchable if it and a keypoint of image 1 are each other's nearest under the truth, and
    nearer than the threshold (ground-truth matches of the MegaDepth evaluation in glue-factory, 3 px). Where a method
    has no keypoints in image 1, because it may answer with any position, a point of image 0 is matchable where its
    ground is covisible, and a match counts for the point nearest to it.

    Args:
        keypoints: of image 0 and image 1, (N, 2) and (M, 2).
        left: (K, 2) matches, a subset of the keypoints of image 0 (another position counts for none).
        right: (K, 2).
        truth: (3, 3).
        both: (rows, cols) of image 0, its covisible pixels.
        threshold: pixels of image 1.

    Returns:
        0 to 1; NaN where nothing is matchable.
    """
    from scipy.spatial import cKDTree

    sources, targets = keypoints
    if not len(sources):
        return float("nan")
    if len(targets):
        projected = project(truth, sources)
        distance, nearest = cKDTree(targets).query(projected)
        _, back = cKDTree(projected).query(targets)
        matchable = (distance < threshold) & (back[nearest] == np.arange(len(sources)))
    else:
        cols, rows = np.floor(sources).astype(int).T
        matchable = both[rows.clip(0, both.shape[0] - 1), cols.clip(0, both.shape[1] - 1)]
    if not matchable.any():
        return float("nan")
    correct = left[errors(left, right, truth) < threshold]
    if not len(correct):
        return 0.0
    distance, nearest = cKDTree(sources).query(correct)
    hits = np.unique(nearest[distance < 1e-3] if len(targets) else nearest)
    return float(matchable[hits].sum() / matchable.sum())


def covisible(left: NDArray[np.bool_], right: NDArray[np.bool_], truth: PixelMapping) -> NDArray[np.bool_]:
    """Mark where ground is valid in both images.

    Args:
        left: (rows, cols) validity of image 0.
        right: validity of image 1.
        truth: (3, 3).

    Returns:
        (rows, cols) of image 0: valid there, and valid in the pixel of image 1 in which the truth puts its centre.
    """
    both = np.zeros(left.shape, bool)
    cols = np.arange(left.shape[1]) + 0.5
    for row in np.flatnonzero(left.any(1)):
        x, y = np.floor(project(truth, np.column_stack([cols, np.full(len(cols), row + 0.5)]))).T.astype(np.int64)
        inside = (x >= 0) & (y >= 0) & (x < right.shape[1]) & (y < right.shape[0])
        both[row, inside] = left[row, inside] & right[y[inside], x[inside]]
    return both


def common_box(left: tuple[int, ...], right: tuple[int, ...], truth: PixelMapping) -> Box:
    """Find the part of image 0 that image 1 reaches, whatever is valid there: all of it for two images of one window.

    Corners and coverage cells are taken of it, so that a strip two tiles share is not judged by what lies 100 km away.

    Args:
        left: (rows, cols) of image 0.
        right: (rows, cols) of image 1.
        truth: (3, 3).

    Returns:
        Box around it; empty (all zero) where the images do not meet.
    """
    import shapely

    def rectangle(shape: tuple[int, ...]) -> Points:
        rows, cols = shape
        return np.array([(0.0, 0.0), (cols, 0.0), (cols, rows), (0.0, rows)])

    outline = shapely.Polygon(project_back(truth, rectangle(right)))
    shared = shapely.intersection(shapely.make_valid(outline), shapely.Polygon(rectangle(left)))
    # A displacement of a few pixels cuts a rim off; the frame meant is still that of the window
    if shared.area > 0.9 * left[0] * left[1]:
        return 0.0, 0.0, float(left[1]), float(left[0])
    return (0.0, 0.0, 0.0, 0.0) if shared.is_empty else tuple(float(v) for v in shared.bounds)  # type: ignore[return-value]


def coverage(both: NDArray[np.bool_], correct: Points, box: Box, cells: int = CELLS_PER_SIDE) -> float:
    """Compute the share of the covisible cells that hold a correct match (evaluation page, "Coverage").

    Args:
        both: (rows, cols), see :func:`covisible`.
        correct: (N, 2) positions in image 0 of the correct matches.
        box: what is cut into cells.
        cells: along each side; a cell counts if at least half of it is covisible.

    Returns:
        0 to 1; NaN where no cell counts.
    """
    x_edges, y_edges = np.linspace(box[0], box[2], cells + 1), np.linspace(box[1], box[3], cells + 1)
    if box[2] <= box[0]:
        return float("nan")
    rows, cols = (np.round(edges).astype(int) for edges in (y_edges, x_edges))
    share = np.array([[both[t:b, a:z].sum() for a, z in pairwise(cols)] for t, b in pairwise(rows)])
    counts = share >= 0.5 * np.diff(y_edges).mean() * np.diff(x_edges).mean()
    if not counts.any():
        return float("nan")
    hits, _, _ = np.histogram2d(correct[:, 1], correct[:, 0], bins=(y_edges, x_edges))
    return float((hits[counts] > 0).mean())


def largest_gap(both: NDArray[np.bool_], correct: Points, box: Box) -> float:
    """Measure the largest circle on covisible ground without a correct match, its radius per longer side of the box.

    Args:
        both: (rows, cols), see :func:`covisible`.
        correct: (N, 2) positions in image 0 of the correct matches.
        box: whose side is the unit.

    Returns:
        Infinity without a correct match, NaN without covisible ground.
    """
    from scipy.spatial import cKDTree

    where = check_points(both)
    if not len(where):
        return float("nan")
    if not len(correct):
        return float("inf")
    return float(cKDTree(correct).query(where)[0].max() / max(box[2] - box[0], box[3] - box[1]))


def check_points(both: NDArray[np.bool_]) -> Points:
    """List positions of a regular grid on covisible ground, at pixel centres of image 0."""
    step = max(1, max(both.shape) // CHECK_POINTS_PER_SIDE)
    y, x = np.nonzero(both[step // 2 :: step, step // 2 :: step])
    return np.asarray(np.column_stack([x, y]) * float(step) + step // 2 + 0.5)


def corner_error(estimate: Callable[[Points], Points] | None, truth: PixelMapping, box: Box) -> float:
    """Average the distances of four corners under an estimate and under the truth (SuperPoint; LightGlue on HPatches).

    Args:
        estimate: image 0 to image 1, pixels; ``None`` where there is no result.
        truth: (3, 3).
        box: whose corners.

    Returns:
        Pixels of image 1; infinity without a result.
    """
    if estimate is None:
        return float("inf")
    corners = np.array([(box[0], box[1]), (box[2], box[1]), (box[2], box[3]), (box[0], box[3])])
    error = float(np.hypot(*(estimate(corners) - project(truth, corners)).T).mean())
    return error if np.isfinite(error) else float("inf")


def auc(error: Sequence[float] | NDArray[np.float64], thresholds: Sequence[float]) -> list[float]:
    """Integrate recall over error up to each threshold, by trapezoids, and divide by the threshold.

    The rule of SuperGlue (``models/utils.py``, ``pose_auc``): recall is (1..n)/n over the sorted errors, with (0, 0)
    before and the last recall held up to the threshold. Failures are infinite errors and count in n.

    Args:
        error: one per pair.
        thresholds: in the unit of the errors.

    Returns:
        One area, 0 to 1, per threshold; NaN without any pair.
    """
    n = len(error)
    if not n:
        return [float("nan")] * len(thresholds)
    sorted_error = np.concatenate([[0.0], np.sort(np.asarray(error, np.float64))])
    reached = np.concatenate([[0.0], np.arange(1, n + 1) / n])
    areas = []
    for threshold in thresholds:
        last = int(np.searchsorted(sorted_error, threshold))
        x, y = np.append(sorted_error[:last], threshold), np.append(reached[:last], reached[last - 1])
        areas.append(float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum() / threshold))
    return areas


def bootstrap(
    values: NDArray[np.float64], places: Sequence[str], seed: int = 0, rounds: int = 2000
) -> tuple[float, float]:
    """Estimate the 95 % interval of a mean over pairs by drawing places, not pairs.

    Efron's percentile bootstrap, on clusters.

    Args:
        values: (N,) one per pair; NaN ones are left out.
        places: (N,) names: pairs of one place are no independent evidence.
        seed: of the drawing.
        rounds: how often all places are drawn.

    Returns:
        Low and high; NaN with fewer than two places, of which nothing can be drawn.
    """
    defined = np.isfinite(values)
    names, which = np.unique(np.asarray(places, str)[defined], return_inverse=True)
    if len(names) < 2:
        return float("nan"), float("nan")
    total = np.bincount(which, weights=values[defined])
    count = np.bincount(which)
    draws = np.random.default_rng(seed).integers(0, len(names), (rounds, len(names)))
    means = total[draws].sum(1) / count[draws].sum(1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)
