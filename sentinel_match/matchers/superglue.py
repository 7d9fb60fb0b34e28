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
from sentinel_match.errors import WeightsDamaged
from sentinel_match.matchers import Matches, superpoint
from sentinel_match.models.released import SUPERGLUE_OUTDOOR, SUPERPOINT
from sentinel_match.models.weights import Weights, announce, remembered, sha256, verified

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from sentinel_match.matchers import Arrays
    from sentinel_match.matchers.prior import GeometricPrior
    from sentinel_match.models.superglue import SuperGlue


@dataclass(frozen=True)
class SuperPointSuperGlue:
    """SuperPoint keypoints, assigned by SuperGlue; the licence of the weights of both is non-commercial."""

    max_keypoints: int = 2048
    """The best so many of an image are kept; the authors take 1024 indoors."""
    detection_threshold: float = 0.005
    """Lowest score of a keypoint, as SuperPoint gives it."""
    nms_radius: int = 3
    """A keypoint is the best within so many pixels, 1 or more, in rows and columns; the authors take 4 indoors."""
    min_score: float = 0.2
    """Lowest probability of a match, 0..1."""
    device: str = "auto"
    """``cpu``, ``cuda``, or ``auto`` = CUDA where there is some."""
    weights_file: Path | None = None
    """SuperPoint tensors of your own."""
    superglue_file: Path | None = None
    """SuperGlue tensors of your own: ``superglue_indoor.pth``, or what you trained."""

    name: ClassVar[str] = "superpoint+superglue"
    summary: ClassVar[str] = "SuperPoint keypoints, assigned by SuperGlue; weights for non-commercial research only"
    weights: ClassVar[tuple[Weights, ...]] = (SUPERPOINT, SUPERGLUE_OUTDOOR)

    @property
    def recipe(self) -> Mapping[str, object]:
        """Everything a result depends on; the device is no part of it."""
        return {
            "matcher": self.name,
            "version": 1,
            "max_keypoints": self.max_keypoints,
            "detection_threshold": self.detection_threshold,
            "nms_radius": self.nms_radius,
            "min_score": self.min_score,
            "weights": [sha256(path) for path in self._files()],
        }

    def check(self) -> None:
        """Fail now if the weights are absent or wrong; see :meth:`sentinel_match.matchers.Matcher.check`."""
        self._files()

    def describe(self, pixels: NDArray[np.float32], valid: NDArray[np.bool_]) -> Arrays:
        """Keypoints and descriptors; see :func:`sentinel_match.matchers.superpoint.detect`."""
        return superpoint.detect(self, self._files()[0], pixels, valid)

    def match(self, left: Arrays, right: Arrays, prior: GeometricPrior | None = None) -> Matches:
        """Mutual best matches; see :meth:`sentinel_match.matchers.Matcher.match`.

        The bias of the prior is added to the scores before the transport, the dustbins stay as they are: where nothing
        is in reach, a keypoint has no partner. ``score`` is the transport's probability.
        """
        if not len(left["keypoints"]) or not len(right["keypoints"]):
            return Matches.none()
        path = self._files()[1]
        network = _network(path, str(models.device(self.device)))
        if network.shape.width != (channels := left["descriptors"].shape[1]):
            raise WeightsDamaged(path, f"they assign {network.shape.width} channels where keypoints have {channels}")
        return matched(network, self.min_score, left, right, prior)

    def _files(self) -> tuple[Path, Path]:
        network, superglue = self.weights
        return verified(network, self.weights_file), verified(superglue, self.superglue_file)


def matched(network: SuperGlue, min_score: float, left: Arrays, right: Arrays, prior: GeometricPrior | None) -> Matches:
    """As ``match``, by a network that is there; neither side is empty."""
    import torch

    device = network.bin_score.device
    bias = None if prior is None else models.tensor(prior.bias(left["keypoints"], right["keypoints"]), device)
    with torch.inference_mode():
        probability = network(side(left, device), side(right, device), bias).exp().cpu().numpy()
    rows, partner = np.arange(len(probability)), probability.argmax(1)
    score = probability[rows, partner].clip(0, 1).astype(np.float64)  # the last step is over the columns
    good = (probability.argmax(0)[partner] == rows) & (score > min_score)
    return Matches(
        left["keypoints"][good].astype(np.float64),
        right["keypoints"][partner[good]].astype(np.float64),
        score[good],
    )


def side(arrays: Arrays, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """What ``describe`` gave, as SuperGlue takes it."""
    from sentinel_match.models.superglue import normalised

    centred = models.tensor(arrays["keypoints"] - np.float32(0.5), device)  # as it was trained
    return (
        normalised(centred, models.tensor(arrays["image_size"], device)),
        models.tensor(arrays["scores"], device).float(),
        models.tensor(arrays["descriptors"], device).float(),
    )


def load(path: Path) -> SuperGlue:
    """The network of a weights file, for inference; its shape is that of the tensors.

    Raises:
        WeightsDamaged: they are of no SuperGlue.
    """
    from sentinel_match.models.superglue import ORIGINAL, SuperGlue, shape_of
    from sentinel_match.models.tensors import fill, read

    tensors = read(path)
    network = SuperGlue(shape_of(tensors))
    if network.shape == ORIGINAL:
        announce(SUPERGLUE_OUTDOOR)
    fill(network, tensors, path)
    return network


@remembered(2)
def _network(path: Path, device: str) -> SuperGlue:
    return load(path).to(device)
