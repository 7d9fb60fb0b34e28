"""``superpoint+lightglue``: SuperPoint and LightGlue trained here, on Sentinel-2; a user may bring Magic Leap's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - whoever asks for the type hints of the fields must find it
from typing import TYPE_CHECKING, ClassVar

from sentinel_match import models
from sentinel_match.matchers import lightglue
from sentinel_match.matchers.validity import filled, inside
from sentinel_match.models import shipped
from sentinel_match.models.released import SUPERPOINT
from sentinel_match.models.weights import Weights, announce, remembered

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from sentinel_match.matchers import Arrays, Matches
    from sentinel_match.matchers.prior import GeometricPrior
    from sentinel_match.models.superpoint import SuperPoint


@dataclass(frozen=True)
class SuperPointLightGlue:
    """SuperPoint keypoints, matched by LightGlue: both small, trained on Sentinel-2 across seasons, and shipped."""

    max_keypoints: int = 1536
    """The best so many of an image are kept."""
    detection_threshold: float = 0.0005
    """Lowest score of a keypoint, LightGlue's authors' value: Magic Leap's is a probability, the compact network's one
    times how far the corner stands out from its surroundings."""
    nms_radius: int = 4
    """A keypoint is the best within so many pixels, 1 or more, in rows and columns."""
    min_score: float = 0.1
    """Lowest probability of a match, 0..1."""
    device: str = "auto"
    """``cpu``, ``cuda``, or ``auto`` = CUDA where there is some."""
    weights_file: Path | None = None
    """SuperPoint tensors of your own, or Magic Leap's, whose licence is non-commercial."""
    lightglue_file: Path | None = None
    """LightGlue tensors of your own, for as many channels as SuperPoint gives."""

    name: ClassVar[str] = "superpoint+lightglue"
    summary: ClassVar[str] = "small keypoint network and LightGlue, trained on Sentinel-2 across seasons"
    weights: ClassVar[tuple[Weights, ...]] = (shipped.SUPERPOINT, shipped.LIGHTGLUE)

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

    def match(self, left: Arrays, right: Arrays, prior: GeometricPrior | None = None) -> Matches:
        """Mutual matches; see :meth:`sentinel_match.matchers.Matcher.match`. ``score`` is LightGlue's probability."""
        return lightglue.match(self, "superpoint", left, right, prior)


def detect(options: lightglue.Detector, weights: Path, pixels: NDArray[np.float32], valid: NDArray[np.bool_]) -> Arrays:
    """SuperPoint's keypoints and descriptors; see :meth:`sentinel_match.matchers.Matcher.describe`.

    Args:
        options: how many keypoints, how good, how far apart, and where to compute.
        weights: SuperPoint's, verified.
        pixels: (rows, cols), 0..1.
        valid: (rows, cols), ``True`` = usable.

    Returns:
        ``keypoints`` (N, 2) float32 x, y, corner origin, best first; ``scores`` (N,) float32, probabilities, the
        compact network's times how far a corner stands out; ``descriptors`` (N, channels) float16; ``image_size`` (2,)
        width, height.
    """
    return described(_network(weights, str(models.device(options.device))), options, pixels, valid)


def described(
    network: SuperPoint, options: lightglue.Detector, pixels: NDArray[np.float32], valid: NDArray[np.bool_]
) -> Arrays:
    """As ``detect``, by a network that is there."""
    import torch

    from sentinel_match.models.peaks import parabola, peaks
    from sentinel_match.models.superpoint import at_corners, sample

    allowed = inside(pixels, valid, lightglue.MARGIN)
    if not allowed.any():
        return lightglue.nothing(pixels, network.shape.channels)
    device, radius = next(network.parameters()).device, options.nms_radius
    with torch.inference_mode():
        image = models.tensor(filled(pixels, valid), device).float()[None, None]
        score, descriptors = network(image, models.tensor(valid, device).float()[None, None])
        score, place = at_corners(score[0], image[0, 0]) if network.shape.normed else (score[0], score[0].log())
        area = models.tensor(allowed, device)
        points, around = peaks(score, area, radius, options.detection_threshold, options.max_keypoints)
        if not len(points):
            return lightglue.nothing(pixels, network.shape.channels)
        cols, rows = points.T
        keypoints = parabola(points, place.unfold(0, 3, 1).unfold(1, 3, 1)[rows - 1, cols - 1]) + 0.5
        return lightglue.described(pixels, keypoints, around[:, radius, radius], sample(descriptors[0], keypoints))


def load(path: Path) -> SuperPoint:
    """The network of a weights file, for inference; its shape is that of the tensors.

    Raises:
        WeightsDamaged: they are of no SuperPoint.
    """
    from sentinel_match.models.superpoint import ORIGINAL, SuperPoint, shape_of
    from sentinel_match.models.tensors import fill, read

    tensors = read(path)
    network = SuperPoint(shape_of(tensors))
    fill(network, tensors, path)
    if network.shape == ORIGINAL:
        announce(SUPERPOINT)
    return network


@remembered(2)
def _network(path: Path, device: str) -> SuperPoint:
    import torch

    from sentinel_match.models.superpoint import fused

    return fused(load(path)).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
