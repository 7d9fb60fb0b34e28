"""``sift``: the classical baseline, RootSIFT with mutual nearest neighbours and the ratio test, by OpenCV.

D. Lowe: Distinctive Image Features from Scale-Invariant Keypoints, IJCV 2004 (method, ratio test); R. Arandjelović,
A. Zisserman: Three things everyone should know to improve object retrieval, CVPR 2012 (RootSIFT).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sentinel_match.matchers import Matches
from sentinel_match.matchers.builtin import BuiltIn
from sentinel_match.matchers.validity import filled, inside

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import cv2
    from numpy.typing import NDArray

    from sentinel_match.matchers import Arrays
    from sentinel_match.matchers.prior import GeometricPrior

CLAHE_CLIP_LIMIT = 4.0
"""Clip limit of the contrast equalisation in 8 x 8 blocks; across seasons it finds a third more of the truth."""

COSINE_TEMPERATURE = 0.1
"""What a cosine of descriptors must be divided by to be a log-probability: LoFTR's, for a dual softmax."""
STRANGER_DISTANCE = 0.65
"""Distance of two descriptors that stands for the second best where the prior leaves but one candidate: with the
default ratio that one is nearer than 0.55. Of different things one pair in a hundred is nearer than 0.58 to 0.63; of
lone candidates in 5 px nine in ten below 0.55 are right to 3 px, and of those between 0.55 and 0.6 six in ten."""

COMPARED_AT_ONCE = 512
"""Keypoints that are compared with all others at once."""


@dataclass(frozen=True)
class Sift(BuiltIn):
    """SIFT without weights: exact, quick, and weak across seasons and snow."""

    max_keypoints: int = 4096
    """The strongest so many of an image are kept."""
    detection_threshold: float = 0.005
    """Lowest contrast of a keypoint; Lowe's 0.04 leaves fields and forests empty."""
    upright: bool = True
    """Ignore orientation: better between images on one grid, useless from 30 degrees of rotation."""
    ratio: float = 0.85
    """A match must be this much nearer than the second best; its score is 1 minus the ratio found."""

    name: ClassVar[str] = "sift"
    summary: ClassVar[str] = "classical keypoints, no weights; exact and quick within one season"

    @property
    def libraries(self) -> Mapping[str, str]:
        """Name OpenCV, which finds and describes the keypoints."""
        import cv2

        return {"opencv": cv2.__version__}

    def describe(self, pixels: NDArray[np.float32], valid: NDArray[np.bool_]) -> Arrays:
        """Find keypoints and their RootSIFT descriptors; see :meth:`sentinel_match.matchers.Matcher.describe`.

        Returns:
            ``keypoints`` (N, 2) float32 x, y, corner origin, strongest first; ``scores`` (N,) float32, OpenCV's
            response; ``descriptors`` (N, 128) float16, of unit length.
        """
        import cv2

        allowed = inside(pixels, valid)
        if not allowed.any():
            return _arrays([], np.empty((0, 128), np.float32))
        grey = np.round(np.clip(filled(pixels, valid), 0, 1) * 255).astype(np.uint8)
        image = cv2.createCLAHE(CLAHE_CLIP_LIMIT, (8, 8)).apply(grey)
        # Without the precise upscale OpenCV doubles the image off by a quarter of a pixel, and so its keypoints.
        sift = cv2.SIFT.create(contrastThreshold=self.detection_threshold, enable_precise_upscale=True)
        keypoints = sift.detect(image, allowed.astype(np.uint8))
        if self.upright:
            for keypoint in keypoints:
                keypoint.angle = 0.0
            keypoints = list({(*k.pt, k.size): k for k in keypoints}.values())  # one of several orientations is enough
        keypoints = sorted(keypoints, key=lambda k: (-k.response, k.pt, k.size, k.angle))[: self.max_keypoints]
        keypoints, descriptors = sift.compute(image, keypoints)
        if descriptors is None:
            return _arrays([], np.empty((0, 128), np.float32))
        return _arrays(keypoints, descriptors)

    def match(self, left: Arrays, right: Arrays, prior: GeometricPrior | None = None) -> Matches:
        """Find mutual nearest neighbours that pass the ratio test; see :meth:`sentinel_match.matchers.Matcher.match`.

        A prior's bias, times ``COSINE_TEMPERATURE``, is added to the similarity, the cosine of two descriptors, so the
        nearest and the second nearest are those in reach. Where only one is, there is no ratio: it stands against
        ``STRANGER_DISTANCE`` instead.
        """
        if min(len(left["keypoints"]), len(right["keypoints"])) < 2:
            return Matches.none()
        partner, nearest, back = _nearest(left, right, prior)
        rows = np.arange(len(partner))
        mutual = (back[partner] == rows) & np.isfinite(nearest[:, 0])
        distance = np.sqrt(np.maximum(2 - 2 * nearest.astype(np.float64), 0))
        second = np.where(np.isinf(distance[:, 1]), STRANGER_DISTANCE, distance[:, 1])
        score = np.zeros(len(rows))
        score[mutual] = 1 - distance[mutual, 0] / np.maximum(second[mutual], 1e-9)
        good = mutual & (score > 1 - self.ratio)
        return Matches.of_keypoints(left, right, rows[good], partner[good], score[good])


def _nearest(
    left: Arrays, right: Arrays, prior: GeometricPrior | None
) -> tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.intp]]:
    """Find (N,) the right keypoint most like each left one, (N, 2) the similarities of the best two, and (M,) back."""
    count, others = len(left["keypoints"]), right["descriptors"].astype(np.float32).T
    partner, nearest = np.zeros(count, np.intp), np.zeros((count, 2), np.float32)
    back, best = np.zeros(others.shape[1], np.intp), np.full(others.shape[1], -np.inf, np.float32)
    for first in range(0, count, COMPARED_AT_ONCE):
        some = slice(first, first + COMPARED_AT_ONCE)
        similarity = left["descriptors"][some].astype(np.float32) @ others
        if prior is not None:
            similarity += COSINE_TEMPERATURE * prior.bias(left["keypoints"][some], right["keypoints"])
        partner[some], nearest[some] = similarity.argmax(1), np.partition(similarity, -2, axis=1)[:, :-3:-1]
        top = similarity.argmax(0)
        height = np.take_along_axis(similarity, top[None], 0)[0]
        better = height > best
        back[better], best[better] = top[better] + first, height[better]
    return partner, nearest, back


def _arrays(keypoints: Sequence[cv2.KeyPoint], descriptors: NDArray[Any]) -> Arrays:
    root = np.sqrt(descriptors / np.maximum(descriptors.sum(1, keepdims=True), 1))
    return {
        "keypoints": np.array([k.pt for k in keypoints], np.float32).reshape(-1, 2) + np.float32(0.5),
        "scores": np.array([k.response for k in keypoints], np.float32),
        "descriptors": root.astype(np.float16),
    }
