"""``superpoint+superglue``: SuperPoint keypoints, assigned by SuperGlue; a user brings both weights.

P.-E. Sarlin, D. DeTone, T. Malisiewicz, A. Rabinovich: SuperGlue: Learning Feature Matching with Graph Neural Networks,
CVPR 2020, https://arxiv.org/abs/1911.11763. Options are those its authors take outdoors.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - whoever asks for the type hints of the fields must find it
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from sentinel_match import models
from sentinel_match.matchers import Matches
from sentinel_match.matchers.keypoints import KeypointMethod, bias_of, check_channels
from sentinel_match.matchers.superpoint import describe_by_superpoint
from sentinel_match.models.released import SUPERGLUE_OUTDOOR, SUPERPOINT_V1
from sentinel_match.models.weights import Weights, remembered

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from sentinel_match.matchers import Arrays
    from sentinel_match.matchers.prior import GeometricPrior
    from sentinel_match.models.superglue import SuperGlue


@dataclass(frozen=True)
class SuperPointSuperGlue(KeypointMethod):
    """SuperPoint keypoints, assigned by SuperGlue; the licence of the weights of both is non-commercial."""

    max_keypoints: int = 2048
    """The best so many of an image are kept; the authors take 1024 indoors."""
    detection_threshold: float = 0.005
    """Lowest score of a keypoint, as SuperPoint gives it."""
    nms_radius: int = 3
    """A keypoint is the best within so many pixels, 1 or more, in rows and columns; the authors take 4 indoors."""
    min_score: float = 0.2
    """Lowest probability of a match, 0..1."""
    superglue_file: Path | None = None
    """SuperGlue tensors of your own: ``superglue_indoor.pth``, or what you trained."""

    name: ClassVar[str] = "superpoint+superglue"
    summary: ClassVar[str] = "SuperPoint keypoints, assigned by SuperGlue; weights for non-commercial research only"
    weights: ClassVar[tuple[Weights, ...]] = (SUPERPOINT_V1, SUPERGLUE_OUTDOOR)

    def describe(self, pixels: NDArray[np.float32], valid: NDArray[np.bool_]) -> Arrays:
        """Find keypoints and describe them; see :func:`sentinel_match.matchers.superpoint.describe_by_superpoint`."""
        return describe_by_superpoint(self, pixels, valid)

    def match(self, left: Arrays, right: Arrays, prior: GeometricPrior | None = None) -> Matches:
        """Find mutually best matches; see :meth:`sentinel_match.matchers.Matcher.match`.

        The bias of the prior is added to the scores before the transport, the dustbins stay as they are: where nothing
        is in reach, a keypoint has no partner. ``score`` is the transport's probability.

        Raises:
            WeightsDamaged: SuperGlue's weights are of none, or for descriptors of another width.
        """
        if not len(left["keypoints"]) or not len(right["keypoints"]):
            return Matches.none()
        _, path = self.files()
        network = _network(path, str(models.device(self.device)))
        check_channels(path, network.shape.width, left)
        return matched(network, self.min_score, left, right, prior)


def matched(network: SuperGlue, min_score: float, left: Arrays, right: Arrays, prior: GeometricPrior | None) -> Matches:
    """Match as the method does, by a network that is there; neither side is empty."""
    import torch

    device = network.bin_score.device
    with torch.inference_mode():
        bias = bias_of(prior, left, right, device)
        probability = network(side(left, device), side(right, device), bias).exp().cpu().numpy()
    rows, partner = np.arange(len(probability)), probability.argmax(1)
    score = probability[rows, partner].clip(0, 1).astype(np.float64)  # the last step is over the columns
    good = (probability.argmax(0)[partner] == rows) & (score > min_score)
    return Matches.of_keypoints(left, right, rows[good], partner[good], score[good])


def side(arrays: Arrays, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Turn what ``describe`` gave into what SuperGlue takes: positions, scores and descriptors."""
    from sentinel_match.models.superglue import normalised

    centred = models.tensor(arrays["keypoints"] - np.float32(0.5), device)  # as it was trained
    return (
        normalised(centred, models.tensor(arrays["image_size"], device)),
        models.tensor(arrays["scores"], device).float(),
        models.tensor(arrays["descriptors"], device).float(),
    )


@remembered(2)
def _network(path: Path, device: str) -> SuperGlue:
    from sentinel_match.models.superglue import load

    return load(path).to(device)
