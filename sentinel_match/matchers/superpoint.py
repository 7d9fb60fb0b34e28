"""``superpoint+lightglue``: SuperPoint and LightGlue trained here, on Sentinel-2; a user may bring Magic Leap's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path  # noqa: TC003 - whoever asks for the type hints of the fields must find it
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from sentinel_match import models
from sentinel_match.matchers import Matches, keypoints, placing
from sentinel_match.matchers.keypoints import Keypoints
from sentinel_match.matchers.lightglue import LightGlueMethod
from sentinel_match.matchers.validity import on_allowed
from sentinel_match.models import shipped
from sentinel_match.models.weights import Weights, remembered

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.matchers import Arrays
    from sentinel_match.matchers.keypoints import ImageTensors, KeypointMethod
    from sentinel_match.matchers.prior import GeometricPrior
    from sentinel_match.models.superpoint import SeasonsPoints, SuperPoint


SURE_SCORE = 0.5
"""Probability above which a match is asked how the images are turned and scaled."""


@dataclass(frozen=True)
class SuperPointLightGlue(LightGlueMethod):
    """SuperPoint keypoints, matched by LightGlue: both small, trained on Sentinel-2 across seasons, and shipped."""

    detection_threshold: float = 0.0005
    """Lowest score of a keypoint, a probability; LightGlue's authors' value."""
    nms_radius: int = 4
    """A keypoint is the best within so many pixels, 1 or more, in rows and columns."""
    weights_file: Path | None = None
    """SuperPoint tensors of your own, or Magic Leap's, whose licence is non-commercial."""

    name: ClassVar[str] = "superpoint+lightglue"
    summary: ClassVar[str] = "small keypoint network and LightGlue, trained on Sentinel-2 across seasons"
    weights: ClassVar[tuple[Weights, ...]] = (shipped.SUPERPOINT, shipped.LIGHTGLUE)
    features: ClassVar[str] = "superpoint"

    def describe(self, pixels: NDArray[np.float32], valid: NDArray[np.bool_]) -> Arrays:
        """Find keypoints and describe them; see ``describe_by_superpoint``."""
        return describe_by_superpoint(self, pixels, valid)

    def match(self, left: Arrays, right: Arrays, prior: GeometricPrior | None = None) -> Matches:
        """Find mutual matches; those of our own network are then placed by its features: keypoints are not exact."""
        found = super().match(left, right, prior)
        if not len(found) or "features" not in left or "features" not in right:
            return found
        import torch

        device = models.device(self.device)
        one, other = (models.tensor(arrays["features"], device).float() for arrays in (left, right))
        here, there = (models.tensor(points, device).float() for points in (found.left, found.right))
        sure = models.tensor(found.score > SURE_SCORE, device)
        with torch.inference_mode():
            placed, likeness = placing.placed((one, other), here, there, sure)
        found = replace(found, right=placed.cpu().numpy().astype(np.float64))
        near = (likeness > 0).cpu().numpy() & on_allowed(right["allowed"], found.right)
        if prior is not None:
            near &= prior.reached(found.left, found.right)
        return found.where(near)


def describe_by_superpoint(options: KeypointMethod, pixels: NDArray[np.float32], valid: NDArray[np.bool_]) -> Arrays:
    """Find SuperPoint's keypoints and describe them; see :func:`sentinel_match.matchers.keypoints.describe`.

    Args:
        options: how many keypoints, how good, how far apart, where to compute, and first of its files SuperPoint's.
        pixels: (rows, cols), 0..1.
        valid: (rows, cols), ``True`` = usable.

    Returns:
        ``keypoints``; ``scores``, probabilities; ``descriptors`` of as many channels as the network has;
        ``image_size``.
    """
    network = _network(options.files()[0], str(models.device(options.device)))
    return described(network, options, pixels, valid)


def described(
    network: SuperPoint | SeasonsPoints, options: KeypointMethod, pixels: NDArray[np.float32], valid: NDArray[np.bool_]
) -> Arrays:
    """Do as ``describe_by_superpoint`` does, by a network that is there."""
    device = next(network.parameters()).device
    return keypoints.describe(pixels, valid, network.channels, device, partial(_detect, network, options))


def _detect(network: SuperPoint | SeasonsPoints, options: KeypointMethod, image: ImageTensors) -> Keypoints:
    from sentinel_match.models.peaks import parabola, peaks
    from sentinel_match.models.superpoint import sample

    radius = options.nms_radius
    scores, descriptors, *features = network(image.pixels[None, None])
    points, around = peaks(scores[0], image.allowed, radius, options.detection_threshold, options.max_keypoints)
    centred = parabola(points, around.log()) + 0.5
    return Keypoints(
        centred, around[:, radius, radius], sample(descriptors[0], centred, network.descriptor_px), *features
    )


@remembered(2)
def _network(path: Path, device: str) -> SuperPoint | SeasonsPoints:
    import torch

    from sentinel_match.models.superpoint import load

    return load(path).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
