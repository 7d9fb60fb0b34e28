"""What the methods that find keypoints by a network share: their options, the masks, and what is kept of an image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - whoever asks for the type hints of the fields must find it
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sentinel_match import models
from sentinel_match.errors import WeightsDamaged
from sentinel_match.matchers.builtin import BuiltIn
from sentinel_match.matchers.validity import filled, inside

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from sentinel_match.matchers import Arrays
    from sentinel_match.matchers.prior import GeometricPrior


@dataclass(frozen=True)
class KeypointMethod(BuiltIn):
    """Options of a method of two networks: one finds keypoints, the other assigns them."""

    max_keypoints: int = 1536
    """The best so many of an image are kept."""
    detection_threshold: float = 0.0
    """Lowest score of a keypoint."""
    nms_radius: int = 2
    """A keypoint is the best within so many pixels, 1 or more, in rows and columns."""
    min_score: float = 0.1
    """Lowest probability of a match, 0..1."""
    device: str = "auto"
    """``cpu``, ``cuda``, or ``auto`` = CUDA where there is some."""
    weights_file: Path | None = None
    """Tensors of your own for the network that finds keypoints."""


class ImageTensors(NamedTuple):
    """One image, as a network that finds keypoints takes it; all on its device."""

    pixels: Tensor
    """(rows, cols) float32, 0..1; an invalid pixel has the value of the nearest valid one."""
    allowed: Tensor
    """(rows, cols) bool: where a keypoint may be."""


class Keypoints(NamedTuple):
    """What a network finds in one image, best first."""

    points: Tensor
    """(N, 2) x, y, corner origin."""
    scores: Tensor
    """(N,)."""
    descriptors: Tensor
    """(N, D)."""
    features: Tensor | None = None
    """(1, C, rows, cols) of the whole image, of a network whose matches are placed by them."""


def describe(
    pixels: NDArray[np.float32],
    valid: NDArray[np.bool_],
    channels: int,
    device: torch.device,
    detect: Callable[[ImageTensors], Keypoints],
) -> Arrays:
    """Find keypoints away from invalid pixels and describe them; see :meth:`sentinel_match.matchers.Matcher.describe`.

    Args:
        pixels: (rows, cols), 0..1.
        valid: (rows, cols), ``True`` = usable.
        channels: of a descriptor.
        device: where the network is.
        detect: finds the keypoints; it is not asked where none may be.

    Returns:
        ``keypoints`` (N, 2) float32 x, y, corner origin, best first; ``scores`` (N,) float32; ``descriptors``
        (N, channels) float16; ``image_size`` (2,) width, height; and of a network that has features, ``features``
        float16 and ``allowed`` (rows, cols), where a match may be.
    """
    import torch

    allowed = inside(pixels, valid)
    keypoints = Keypoints(torch.empty(0, 2), torch.empty(0), torch.empty(0, channels))
    if allowed.any():
        with torch.inference_mode():
            image = models.tensor(filled(pixels, valid), device).float()
            keypoints = detect(ImageTensors(image, models.tensor(allowed, device)))
    described = {
        "keypoints": keypoints.points.float().cpu().numpy(),
        "scores": keypoints.scores.cpu().numpy(),
        "descriptors": keypoints.descriptors.half().cpu().numpy(),
        "image_size": np.array(pixels.shape[::-1]),
    }
    if keypoints.features is not None:
        described |= {"features": keypoints.features.half().cpu().numpy(), "allowed": allowed}
    return described


def bias_of(prior: GeometricPrior | None, left: Arrays, right: Arrays, device: torch.device) -> Tensor | None:
    """Compute the (N, M) log-probabilities that a prior gives to the pairs of keypoints; none without a prior."""
    return None if prior is None else models.tensor(prior.bias(left["keypoints"], right["keypoints"]), device)


def check_channels(path: Path, channels: int, arrays: Arrays) -> None:
    """Refuse weights that assign descriptors of another width.

    Args:
        path: of the network that assigns.
        channels: that it takes.
        arrays: a described image with at least one keypoint.

    Raises:
        WeightsDamaged: its descriptors have others.
    """
    if channels != (width := arrays["descriptors"].shape[1]):
        raise WeightsDamaged(path, f"they assign {channels} channels where the keypoints have {width}")
