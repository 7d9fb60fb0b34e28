"""``superpoint+lightglue``: SuperPoint, whose weights are for non-commercial research only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path  # noqa: TC003 - whoever asks for the type hints of the fields must find it
from typing import TYPE_CHECKING, ClassVar

from sentinel_match import models
from sentinel_match.matchers import lightglue
from sentinel_match.matchers.validity import filled, inside
from sentinel_match.weights import SUPERPOINT, SUPERPOINT_LIGHTGLUE, Weights, announce

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from sentinel_match.guide import Guide
    from sentinel_match.matchers import Arrays, Matches
    from sentinel_match.models.superpoint import SuperPoint


@dataclass(frozen=True)
class SuperPointLightGlue:
    """SuperPoint keypoints, matched by LightGlue; the licence of SuperPoint's weights is non-commercial."""

    max_keypoints: int = 1536
    """The best so many of an image are kept."""
    detection_threshold: float = 0.0005
    """Lowest probability of a keypoint, 0..1; LightGlue's authors' value."""
    nms_radius: int = 4
    """A keypoint is the best within so many pixels, 1 or more, in rows and columns."""
    min_score: float = 0.1
    """Lowest probability of a match, 0..1."""
    device: str = "auto"
    """``cpu``, ``cuda``, or ``auto`` = CUDA where there is some."""
    weights_file: Path | None = None
    """SuperPoint tensors of your own."""
    lightglue_file: Path | None = None
    """LightGlue tensors of your own, for 256 channels."""

    name: ClassVar[str] = "superpoint+lightglue"
    summary: ClassVar[str] = "SuperPoint keypoints, matched by LightGlue; weights for non-commercial research only"
    weights: ClassVar[tuple[Weights, ...]] = (SUPERPOINT, SUPERPOINT_LIGHTGLUE)

    @property
    def recipe(self) -> Mapping[str, object]:
        """Everything a result depends on; the device is no part of it."""
        return lightglue.recipe(self)

    def check(self) -> None:
        """Fail now if the weights are absent or wrong; see :meth:`sentinel_match.matchers.Matcher.check`."""
        lightglue.files(self)

    def describe(self, pixels: NDArray[np.float32], valid: NDArray[np.bool_]) -> Arrays:
        """Keypoints and descriptors; see ``detect``."""
        return detect(self, lightglue.files(self)[0], pixels, valid)

    def match(self, left: Arrays, right: Arrays, guide: Guide | None = None) -> Matches:
        """Mutual matches; see :meth:`sentinel_match.matchers.Matcher.match`. ``score`` is LightGlue's probability."""
        return lightglue.match(self, "superpoint", left, right, guide)


def detect(options: lightglue.Detector, weights: Path, pixels: NDArray[np.float32], valid: NDArray[np.bool_]) -> Arrays:
    """SuperPoint's keypoints and descriptors; see :meth:`sentinel_match.matchers.Matcher.describe`.

    Args:
        options: how many keypoints, how good, how far apart, and where to compute.
        weights: SuperPoint's, verified.
        pixels: (rows, cols), 0..1.
        valid: (rows, cols), ``True`` = usable.

    Returns:
        ``keypoints`` (N, 2) float32 x, y, corner origin, best first; ``scores`` (N,) float32,
        probabilities; ``descriptors`` (N, 256) float16; ``image_size`` (2,) width, height.
    """
    import torch

    from sentinel_match.models.peaks import parabola, peaks
    from sentinel_match.models.superpoint import sample

    allowed = inside(pixels, valid, lightglue.MARGIN)
    if not allowed.any():
        return lightglue.nothing(pixels, 256)
    device, radius = models.device(options.device), options.nms_radius
    network = _network(weights, str(device))
    with torch.inference_mode():
        score, descriptors = network(models.tensor(filled(pixels, valid), device).float()[None, None])
        area = models.tensor(allowed, device)
        points, around = peaks(score[0], area, radius, options.detection_threshold, options.max_keypoints)
        if not len(points):
            return lightglue.nothing(pixels, 256)
        keypoints = parabola(points, around.log()) + 0.5
        return lightglue.described(pixels, keypoints, around[:, radius, radius], sample(descriptors[0], keypoints))


@lru_cache(maxsize=2)
def _network(path: Path, device: str) -> SuperPoint:
    from sentinel_match.models.superpoint import SuperPoint
    from sentinel_match.models.tensors import fill, read

    announce(SUPERPOINT)
    network = SuperPoint()
    fill(network, read(path), path)
    return network.to(device)
