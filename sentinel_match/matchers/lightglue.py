"""What the methods that end in LightGlue have in common: ``aliked+``, ``superpoint+``, ``disk+`` and ``xfeat+``.

Each detects in a room of its own; the assignment, and the prior's part in it, is here and in ``models.lightglue``.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from sentinel_match import models
from sentinel_match.errors import WeightsDamaged
from sentinel_match.matchers import Matches
from sentinel_match.models.weights import Weights, sha256, verified

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from sentinel_match.matchers import Arrays
    from sentinel_match.matchers.prior import GeometricPrior
    from sentinel_match.models.lightglue import KeypointSide

MARGIN = 4
"""Pixels kept clear of keypoints beside invalid pixels and the border; SuperPoint's authors drop 4 at the border."""


class Detector(Protocol):
    """Options that every learned detector has."""

    @property
    def max_keypoints(self) -> int:
        """The best so many of an image are kept."""
        ...

    @property
    def detection_threshold(self) -> float:
        """Lowest score of a keypoint."""
        ...

    @property
    def nms_radius(self) -> int:
        """A keypoint is the best within so many pixels, 1 or more, in rows and columns."""
        ...

    @property
    def device(self) -> str:
        """``cpu``, ``cuda`` or ``auto``."""
        ...


class Learned(Detector, Protocol):
    """Options of a method that ends in LightGlue."""

    name: ClassVar[str]
    weights: ClassVar[tuple[Weights, ...]]

    @property
    def min_score(self) -> float:
        """Lowest probability of a match."""
        ...

    @property
    def weights_file(self) -> Path | None:
        """The detector's tensors, where they are a user's own."""
        ...

    @property
    def lightglue_file(self) -> Path | None:
        """The matcher's."""
        ...


def files(matcher: Learned) -> tuple[Path, Path]:
    """The weights of the detector and of LightGlue, verified.

    Raises:
        WeightsMissing, WeightsDamaged: one of them is absent or is not the right one.
    """
    network, lightglue = matcher.weights
    return verified(network, matcher.weights_file), verified(lightglue, matcher.lightglue_file)


def recipe(matcher: Learned) -> Mapping[str, object]:
    """Everything a result depends on: the options and the weights, not where it is computed."""
    options = {k: v for k, v in vars(matcher).items() if k != "device" and not k.endswith("_file")}
    return {
        "matcher": matcher.name,
        "version": 1,
        "kornia": version("kornia"),
        **options,
        "weights": [sha256(path) for path in files(matcher)],
    }


def described(pixels: NDArray[np.float32], keypoints: Tensor, scores: Tensor, descriptors: Tensor) -> Arrays:
    """What is kept of an image.

    Args:
        pixels: (rows, cols).
        keypoints: (N, 2) x, y, corner origin, best first.
        scores: (N,).
        descriptors: (N, D).
    """
    return {
        "keypoints": keypoints.float().cpu().numpy(),
        "scores": scores.cpu().numpy(),
        "descriptors": descriptors.half().cpu().numpy(),
        "image_size": np.array(pixels.shape[::-1]),
    }


def nothing(pixels: NDArray[np.float32], channels: int) -> Arrays:
    """What is kept of an image without a keypoint."""
    return {
        "keypoints": np.empty((0, 2), np.float32),
        "scores": np.empty(0, np.float32),
        "descriptors": np.empty((0, channels), np.float16),
        "image_size": np.array(pixels.shape[::-1]),
    }


def match(matcher: Learned, features: str, left: Arrays, right: Arrays, prior: GeometricPrior | None) -> Matches:
    """Mutual matches; see :meth:`sentinel_match.matchers.Matcher.match`. ``score`` is LightGlue's probability.

    Args:
        matcher: the options.
        features: kornia's name of what its LightGlue was trained for.
        left: from ``describe``.
        right: from ``describe``.
        prior: its bias is added to the similarity of every two keypoints.

    Raises:
        WeightsDamaged: LightGlue's weights are of none, or for another detector.
    """
    if not len(left["keypoints"]) or not len(right["keypoints"]):
        return Matches.none()
    from sentinel_match.models.lightglue import load

    path = files(matcher)[1]
    network = load(path, features, str(models.device(matcher.device)))
    if network.conf.input_dim != (channels := left["descriptors"].shape[1]):
        raise WeightsDamaged(path, f"they assign {network.conf.input_dim} channels where the keypoints have {channels}")
    return matched(network, matcher.min_score, left, right, prior)


def matched(network: Any, min_score: float, left: Arrays, right: Arrays, prior: GeometricPrior | None) -> Matches:
    """As ``match``, by a network that is there; neither side is empty."""
    import torch

    from sentinel_match.models.lightglue import assign

    device = next(network.parameters()).device
    bias = None if prior is None else models.tensor(prior.bias(left["keypoints"], right["keypoints"]), device)
    with torch.inference_mode():
        pairs, score = assign(network, side(left, device), side(right, device), bias, min_score)
    a, b = pairs.cpu().numpy().T
    return Matches(
        left["keypoints"][a].astype(np.float64),
        right["keypoints"][b].astype(np.float64),
        score.cpu().numpy().astype(np.float64),
    )


def side(arrays: Arrays, device: torch.device) -> KeypointSide:
    """What ``describe`` gave, as LightGlue takes it."""
    from sentinel_match.models.lightglue import KeypointSide

    return KeypointSide(
        models.tensor(arrays["keypoints"] - np.float32(0.5), device),
        models.tensor(arrays["descriptors"], device).float(),
        models.tensor(arrays["image_size"], device),
    )
