"""What the methods that end in LightGlue share: ``aliked+``, ``superpoint+``, ``disk+`` and ``xfeat+``.

Each finds its keypoints in a module of its own; the assignment, and the prior's part in it, is here and in
``models.lightglue``.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path  # noqa: TC003 - whoever asks for the type hints of the fields must find it
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sentinel_match import models
from sentinel_match.matchers import Matches
from sentinel_match.matchers.keypoints import KeypointMethod, bias_of, check_channels

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from sentinel_match.matchers import Arrays
    from sentinel_match.matchers.prior import GeometricPrior
    from sentinel_match.models.lightglue import KeypointSide


@dataclass(frozen=True)
class LightGlueMethod(KeypointMethod):
    """Options of a method whose keypoints LightGlue assigns."""

    lightglue_file: Path | None = None
    """LightGlue tensors of your own, for as many channels as a descriptor has."""

    features: ClassVar[str]
    """kornia's name of the keypoints that its LightGlue was trained for."""

    @property
    def libraries(self) -> Mapping[str, str]:
        """Name kornia, whose layers all these networks are made of."""
        return {"kornia": version("kornia")}

    def match(self, left: Arrays, right: Arrays, prior: GeometricPrior | None = None) -> Matches:
        """Find mutual matches; see :meth:`sentinel_match.matchers.Matcher.match`.

        The bias of the prior is added to the similarity of every two keypoints. ``score`` is LightGlue's probability.

        Raises:
            WeightsDamaged: LightGlue's weights are of none, or for another detector.
        """
        if not len(left["keypoints"]) or not len(right["keypoints"]):
            return Matches.none()
        from sentinel_match.models.lightglue import load

        _, path = self.files()
        network = load(path, self.features, str(models.device(self.device)))
        check_channels(path, network.conf.input_dim, left)
        return matched(network, self.min_score, left, right, prior)


def matched(network: Any, min_score: float, left: Arrays, right: Arrays, prior: GeometricPrior | None) -> Matches:
    """Match as a method does, by a network that is there; neither side is empty."""
    import torch

    from sentinel_match.models.lightglue import assign

    device = next(network.parameters()).device
    with torch.inference_mode():
        bias = bias_of(prior, left, right, device)
        pairs, score = assign(network, side(left, device), side(right, device), bias, min_score)
    rows, cols = pairs.cpu().numpy().T
    return Matches.of_keypoints(left, right, rows, cols, score.cpu().numpy())


def side(arrays: Arrays, device: torch.device) -> KeypointSide:
    """Turn what ``describe`` gave into what LightGlue takes."""
    from sentinel_match.models.lightglue import KeypointSide

    return KeypointSide(
        models.tensor(arrays["keypoints"] - np.float32(0.5), device),
        models.tensor(arrays["descriptors"], device).float(),
        models.tensor(arrays["image_size"], device),
    )
