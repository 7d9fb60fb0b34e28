"""Relative pose of two cameras, judged as SuperGlue's ``match_pairs.py`` does.

P.-E. Sarlin et al.: SuperGlue, CVPR 2020, section 5.2 and its supplement; formulas as in docs/evaluation.md, 1.1.
Positions are in the frame of the intrinsics: for the published pair files x, y count from the centre of the first
pixel, half a pixel less than everywhere else in this package.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sentinel_match.errors import BadList
from sentinel_match.evaluate.metrics import auc

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Points = NDArray[np.float64]

EPIPOLAR = 5e-4
"""Symmetric epipolar distance, normalised coordinates, below which a match is correct."""
RANSAC_PIXELS = 1.0
"""Divided by the mean focal length: the threshold of the essential matrix."""
CONFIDENCE = 0.99999
DEGREES = (5.0, 10.0, 20.0)


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
    """What came of one pair."""

    error: float
    """Degrees, the larger of rotation and translation direction; infinity where no pose was found."""
    precision: float
    """Share of the matches that fit the true epipolar geometry; 0 without matches."""
    matching_score: float
    """The same per keypoint of the left image."""
    matches: int


@dataclass(frozen=True)
class PoseSummary:
    """What came of a whole file, in percent as published."""

    pairs: int
    auc: tuple[float, ...]
    """At ``DEGREES``."""
    precision: float
    matching_score: float


def read_pose_pairs(path: Path) -> tuple[PosePair, ...]:
    """Pairs of a file with 38 fields a line: name0 name1 rot0 rot1 K0 (9) K1 (9) T_0to1 (16), matrices row by row.

    Args:
        path: text file; image names are relative to its folder.

    Raises:
        BadList: the file is not there, empty, or a line is not of that form.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadList(path, f"it cannot be read ({error})") from error
    pairs = []
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 38:
            raise BadList(path, f"line {number} has {len(fields)} fields, and a pose needs 38")
        try:
            numbers = np.array(fields[4:], float)
            turns = int(fields[2]) % 4, int(fields[3]) % 4
        except ValueError as error:
            raise BadList(path, f"line {number} holds something that is no number ({error})") from error
        K_left, K_right = numbers[:9].reshape(3, 3), numbers[9:18].reshape(3, 3)
        names = path.parent / fields[0], path.parent / fields[1]
        pairs.append(PosePair(*names, turns, K_left, K_right, numbers[18:].reshape(4, 4)))
    if not pairs:
        raise BadList(path, "it lists no pair")
    return tuple(pairs)


def epipolar_distance(pair: PosePair, left: Points, right: Points) -> NDArray[np.float64]:
    """Squared symmetric epipolar distance of each match under the true pose, in normalised coordinates.

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


def pose_error(pair: PosePair, left: Points, right: Points) -> float:
    """Degrees between the pose that the matches give and the true one: the larger of rotation and direction.

    The essential matrix comes from OpenCV's RANSAC; the sign of the translation, which it leaves open, is folded away.

    Returns:
        0 to 180; infinity where no pose was found.
    """
    import cv2

    if len(left) < 5:
        return float("inf")
    focal = np.mean([pair.K_left[0, 0], pair.K_left[1, 1], pair.K_right[0, 0], pair.K_right[1, 1]])
    p, q = _normalised(left, pair.K_left), _normalised(right, pair.K_right)
    cv2.setRNGSeed(0)
    candidates, mask = cv2.findEssentialMat(
        p, q, np.eye(3), threshold=RANSAC_PIXELS / focal, prob=CONFIDENCE, method=cv2.RANSAC
    )
    best, error = 0, float("inf")
    # RANSAC on five points may leave several solutions one below the other
    for E in () if candidates is None else np.split(candidates, len(candidates) // 3):
        count, R, t, *_ = cv2.recoverPose(E, p, q, np.eye(3), 1e9, mask=mask.copy())
        if count > best:
            turned = _rotation_apart(np.asarray(R, np.float64), pair.pose[:3, :3])
            aside = _direction_apart(np.asarray(t, np.float64)[:, 0], pair.pose[:3, 3])
            best, error = count, max(turned, aside)
    return error


def judge_pose(pair: PosePair, left: Points, right: Points, keypoints: int) -> PoseRecord:
    """Error, precision and matching score of one pair's matches.

    Args:
        pair: with the true pose.
        left: (N, 2) in the left image as stored, frame of ``K_left``.
        right: (N, 2).
        keypoints: of the left image.
    """
    correct = int((epipolar_distance(pair, left, right) < EPIPOLAR).sum()) if len(left) else 0
    share = correct / len(left) if len(left) else 0.0
    score = correct / keypoints if keypoints else 0.0
    return PoseRecord(pose_error(pair, left, right), share, score, len(left))


def summarise_pose(records: Sequence[PoseRecord]) -> PoseSummary:
    """AUC over all pairs, failures included; means of precision and matching score; in percent."""
    areas = auc([r.error for r in records], DEGREES)
    means = (float(np.mean([getattr(r, name) for r in records])) for name in ("precision", "matching_score"))
    return PoseSummary(len(records), tuple(100 * a for a in areas), *(100 * m for m in means))


def _normalised(points: Points, K: NDArray[np.float64]) -> Points:
    return np.asarray((points - K[:2, 2]) / (K[0, 0], K[1, 1]))


def _rotation_apart(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(np.degrees(np.arccos(np.clip((np.trace(one.T @ other) - 1) / 2, -1, 1))))


def _direction_apart(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    cosine = one @ other / (np.linalg.norm(one) * np.linalg.norm(other))
    angle = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    return min(angle, 180 - angle)
