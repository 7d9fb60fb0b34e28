"""Relative pose of two cameras, measured as SuperGlue's ``match_pairs.py`` does.

P.-E. Sarlin et al.: SuperGlue, CVPR 2020, section 5.2 and its supplement; the formulas are on the documentation's
evaluation page (docs/pages/evaluation.md), under "Camera poses".
Positions are in the frame of the intrinsics: for the published pair files x, y count from the centre of the first
pixel, half a pixel less than everywhere else in this package.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentinel_match.errors import BadList, SentinelMatchError
from sentinel_match.evaluate.metrics import auc
from sentinel_match.matching.view import reduced, turned
from sentinel_match.products.files import read_text
from sentinel_match.wording import in_words

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sentinel_match.images import ImageMatcher
    from sentinel_match.matchers import Arrays
    from sentinel_match.matching.view import View

log = logging.getLogger(__name__)

Points = NDArray[np.float64]

EPIPOLAR_LIMIT = 5e-4
"""Symmetric epipolar distance, normalised coordinates, below which a match is correct."""
RANSAC_PIXELS = 1.0
"""Of the images as matched; divided by their mean focal length: the threshold of the essential matrix."""
RANSAC_CONFIDENCE = 0.99999
POSE_THRESHOLDS_DEG = (5.0, 10.0, 20.0)
KEYPOINT_CELL_PX = 8
"""A method without keypoints looks at one cell of so many pixels each way where others have a keypoint."""


@dataclass(frozen=True, eq=False)
class PosePair:
    """One line of a pair file: two images with what is known of their cameras."""

    left: Path
    right: Path
    turns: tuple[int, int]
    """Quarter turns counter-clockwise that put each image upright; the intrinsics are those of the file as stored."""
    K_left: NDArray[np.float64]
    """(3, 3) intrinsics."""
    K_right: NDArray[np.float64]
    pose: NDArray[np.float64]
    """(4, 4) from the left camera's coordinates to the right one's."""


@dataclass(frozen=True)
class PoseRecord:
    """What one method made of one pair."""

    method: str
    left: str
    right: str
    status: str
    """``matched``, or ``failed``: an image could not be read, or the method raised an error."""
    error: float = float("inf")
    """Degrees, the larger of rotation and translation direction; infinity where no pose was found."""
    precision: float = 0.0
    """Share of the matches that fit the true epipolar geometry; 0 without matches."""
    matching_score: float = 0.0
    """The same per keypoint of the left image."""
    matches: int = 0
    keypoints: int = 0
    """Of the left image."""
    reason: str = ""
    """Why it failed, one sentence."""

    def to_dict(self) -> dict[str, Any]:
        """Return the columns of its row."""
        return asdict(self)


class PoseAreas(NamedTuple):
    """Areas under the curve of the pose error, at each of ``POSE_THRESHOLDS_DEG``, percent."""

    at_5: float
    at_10: float
    at_20: float


@dataclass(frozen=True)
class PoseSummary:
    """What one method made of a whole file, in percent as published."""

    method: str
    pairs: int
    failed: int
    """Of those; they count as any pair without a pose does."""
    auc: PoseAreas
    precision: float
    matching_score: float
    matches: float
    """Mean a pair."""

    def to_dict(self) -> dict[str, Any]:
        """Flatten the summary into columns; each area has one, ``auc_5``, behind the others."""
        columns = {name: value for name, value in asdict(self).items() if name != "auc"}
        areas = {f"auc_{degrees:g}": area for degrees, area in zip(POSE_THRESHOLDS_DEG, self.auc, strict=True)}
        return {**columns, **areas}


def read_pose_pairs(path: Path, folder: Path | None = None) -> tuple[PosePair, ...]:
    """Read pairs from a file with 38 fields a line: name0 name1 rot0 rot1 K0 (9) K1 (9) T_0to1 (16), rows first.

    Args:
        path: text file.
        folder: of the images; that of the file when not given.

    Raises:
        BadList: the file is not there, empty, or a line is not of that form.
    """
    folder = folder or path.parent
    try:
        lines = read_text(path, "utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadList(path, f"it cannot be read ({in_words(error)})") from error
    pairs = [_pose_pair(path, number, line.split(), folder) for number, line in enumerate(lines, 1) if line.strip()]
    if not pairs:
        raise BadList(path, "it lists no pair")
    return tuple(pairs)


def _pose_pair(path: Path, number: int, fields: Sequence[str], folder: Path) -> PosePair:
    if len(fields) != 38:
        raise BadList(path, f"line {number} has {len(fields)} fields, and a pose needs 38")
    try:
        numbers = np.array(fields[4:], float)
        turns = int(fields[2]) % 4, int(fields[3]) % 4
    except ValueError as error:
        raise BadList(path, f"line {number} holds something that is no number ({error})") from error
    K_left, K_right, pose = numbers[:9].reshape(3, 3), numbers[9:18].reshape(3, 3), numbers[18:].reshape(4, 4)
    if not np.isfinite(numbers).all():
        raise BadList(path, f"line {number} holds a number that is not finite")
    if min(K_left[0, 0], K_left[1, 1], K_right[0, 0], K_right[1, 1]) <= 0:
        raise BadList(path, f"line {number} has a camera without a focal length")
    R = pose[:3, :3]
    if np.abs(R @ R.T - np.eye(3)).max() > 0.01 or np.linalg.det(R) < 0:
        raise BadList(path, f"line {number} has a pose that is no rotation")
    if not pose[:3, 3].any():
        raise BadList(path, f"line {number} has both cameras in one place, where no direction can be measured")
    return PosePair(folder / fields[0], folder / fields[1], turns, K_left, K_right, pose)


def run_pair(pair: PosePair, label: str, matcher: ImageMatcher) -> PoseRecord:
    """Match one pair and judge all that the method delivers; what goes wrong is a failed record, never raised.

    Nothing verifies or guides the matches: agreement on one transform of the plane would favour flat scenes.

    Args:
        pair: two images with their cameras.
        label: of the method in the record.
        matcher: whose method, size, band and masks are used.
    """
    names = str(pair.left), str(pair.right)
    try:
        a, left = _described(matcher, pair.left, pair.turns[0])
        b, right = _described(matcher, pair.right, pair.turns[1])
        matches = matcher.search.matcher.match(left, right)
        keypoints = len(left["keypoints"]) if "keypoints" in left else int(a.valid.sum()) // KEYPOINT_CELL_PX**2
        p, q = a.to_image(matches.left) - 0.5, b.to_image(matches.right) - 0.5
        return judge_pose(pair, p, q, keypoints, label, (a.scale, b.scale))
    except SentinelMatchError as error:
        return PoseRecord(label, *names, "failed", reason=str(error))
    except Exception as error:  # whatever one pair meets, the others are still to be measured
        log.exception("%s on %s and %s", label, *names)
        return PoseRecord(label, *names, "failed", reason=f"unexpected {type(error).__name__}: {error}")


def _described(matcher: ImageMatcher, path: Path, quarters: int) -> tuple[View, Arrays]:
    """Reduce an image and set it upright; return it, and what the method keeps of it."""
    view = turned(reduced(matcher.view(path), matcher.resize), -90 * quarters)
    return view, matcher.search.matcher.describe(view.pixels, view.valid)


def epipolar_distance(pair: PosePair, left: Points, right: Points) -> NDArray[np.float64]:
    """Compute the squared symmetric epipolar distance of each match under the true pose, in normalised coordinates.

    d = (p1ᵀ E p0)² (1/((E p0)₁² + (E p0)₂²) + 1/((Eᵀ p1)₁² + (Eᵀ p1)₂²)), with E = [t]ₓ R.
    """
    p, q = (
        np.column_stack([_normalised(points, K), np.ones(len(points))])
        for points, K in ((left, pair.K_left), (right, pair.K_right))
    )
    x, y, z = pair.pose[:3, 3]
    E = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]]) @ pair.pose[:3, :3]
    Ep, Etq = p @ E.T, q @ E
    product = (q * Ep).sum(1)
    return np.asarray(product**2 * (1 / (Ep[:, :2] ** 2).sum(1) + 1 / (Etq[:, :2] ** 2).sum(1)))


def pose_error(pair: PosePair, left: Points, right: Points, scales: tuple[float, float] = (1.0, 1.0)) -> float:
    """Measure the degrees between the pose from the matches and the true one: the larger of rotation and direction.

    The essential matrix comes from OpenCV's RANSAC; the sign of the translation, which it leaves open, is folded away.

    Args:
        pair: with the true pose.
        left: (N, 2) in the left image as stored, frame of ``K_left``.
        right: (N, 2).
        scales: pixels of each image as stored per pixel of it as matched.

    Returns:
        0 to 180; infinity where no pose was found.
    """
    import cv2

    if len(left) < 5:
        return float("inf")
    focal = np.mean([
        K[k, k] / scale for K, scale in zip((pair.K_left, pair.K_right), scales, strict=True) for k in (0, 1)
    ])
    p, q = _normalised(left, pair.K_left), _normalised(right, pair.K_right)
    cv2.setRNGSeed(0)
    candidates, mask = cv2.findEssentialMat(
        p, q, np.eye(3), threshold=RANSAC_PIXELS / focal, prob=RANSAC_CONFIDENCE, method=cv2.RANSAC
    )
    best, error = 0, float("inf")
    # RANSAC on five points may leave several solutions one below the other
    for E in () if candidates is None else np.split(candidates, len(candidates) // 3):
        count, R, t, *_ = cv2.recoverPose(E, p, q, np.eye(3), 1e9, mask=mask.copy())
        if count > best:
            rotation = _rotation_apart(np.asarray(R, np.float64), pair.pose[:3, :3])
            direction = _direction_apart(np.asarray(t, np.float64)[:, 0], pair.pose[:3, 3])
            best, error = count, max(rotation, direction)
    return error


def judge_pose(
    pair: PosePair,
    left: Points,
    right: Points,
    keypoints: int,
    method: str = "",
    scales: tuple[float, float] = (1.0, 1.0),
) -> PoseRecord:
    """Measure error, precision and matching score of one pair's matches.

    Args:
        pair: with the true pose.
        left: (N, 2) in the left image as stored, frame of ``K_left``.
        right: (N, 2).
        keypoints: of the left image.
        method: who found them.
        scales: pixels of each image as stored per pixel of it as matched.
    """
    correct = int((epipolar_distance(pair, left, right) < EPIPOLAR_LIMIT).sum()) if len(left) else 0
    return PoseRecord(
        method=method,
        left=str(pair.left),
        right=str(pair.right),
        status="matched",
        error=pose_error(pair, left, right, scales),
        precision=correct / len(left) if len(left) else 0.0,
        matching_score=correct / keypoints if keypoints else 0.0,
        matches=len(left),
        keypoints=keypoints,
    )


def summarise_pose(records: Sequence[PoseRecord]) -> tuple[PoseSummary, ...]:
    """Summarise each method in percent: AUC over all pairs, failures included; mean precision and matching score."""
    rows = []
    for method in dict.fromkeys(r.method for r in records):
        group = [r for r in records if r.method == method]
        precision, score, matches = np.mean([(r.precision, r.matching_score, r.matches) for r in group], axis=0)
        rows.append(
            PoseSummary(
                method=method,
                pairs=len(group),
                failed=sum(r.status == "failed" for r in group),
                auc=PoseAreas(*(100 * area for area in auc([r.error for r in group], POSE_THRESHOLDS_DEG))),
                precision=100 * float(precision),
                matching_score=100 * float(score),
                matches=float(matches),
            )
        )
    return tuple(rows)


def _normalised(points: Points, K: NDArray[np.float64]) -> Points:
    return np.asarray((points - K[:2, 2]) / (K[0, 0], K[1, 1]))


def _rotation_apart(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(np.degrees(np.arccos(np.clip((np.trace(one.T @ other) - 1) / 2, -1, 1))))


def _direction_apart(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    cosine = one @ other / (np.linalg.norm(one) * np.linalg.norm(other))
    angle = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    return min(angle, 180 - angle)
