"""Learned keypoints and LightGlue: ``aliked+lightglue``, the default, and ``superpoint+lightglue``.

P. Lindenberger, P.-E. Sarlin, M. Pollefeys: LightGlue: Local Feature Matching at Light Speed, ICCV 2023,
https://arxiv.org/abs/2306.13643. kornia runs it. Its two short cuts are off: on pairs across seasons leaving early
saved a third of the time and lost up to a fifth of the right matches; dropping points lost as many and saved little.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path  # noqa: TC003 - whoever asks for the type hints of the fields must find it
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sentinel_match import models
from sentinel_match.matchers import Matches
from sentinel_match.matchers.validity import filled, inside
from sentinel_match.weights import (
    ALIKED_LIGHTGLUE,
    ALIKED_N16ROT,
    SUPERPOINT,
    SUPERPOINT_LIGHTGLUE,
    Weights,
    announce,
    sha256,
    verified,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from sentinel_match.matchers import Arrays
    from sentinel_match.models.superpoint import SuperPoint

MARGIN = 4
"""Pixels kept clear of keypoints beside invalid pixels and the border; SuperPoint's authors drop 4 at the border."""
ALIKED_LEAN = (0.40, 0.0)
"""Pixels that ALIKED-n16rot's keypoints lie right of and below their things: half of what mirroring an image moves
them by. The weights learnt that, the layers have no side. Median of 16 crops of 10, 60 and 107 m, 0.36 to 0.43."""


@dataclass(frozen=True)
class AlikedLightGlue:
    """ALIKED-n16rot keypoints, matched by LightGlue: the default, with weights that are free and installed along."""

    max_keypoints: int = 1536
    """The best so many of an image are kept. On cells of 640 x 640 pixels 1536 find half as many right matches again as
    1024 across seasons (snow to summer 354 against 218) for 4.7 instead of 3.0 CPU seconds a pair of cells."""
    detection_threshold: float = 0.01
    """Lowest probability of a keypoint, 0..1. The authors' 0.2 leaves a tenth of the keypoints of a hazy image: on two
    cells of the T33UUU pair 164 right matches, against 1183 with this."""
    min_score: float = 0.1
    """Lowest probability of a match, 0..1."""
    device: str = "auto"
    """``cpu``, ``cuda``, or ``auto`` = CUDA where there is some."""
    weights_file: Path | None = None
    """ALIKED-n16rot tensors of your own."""
    lightglue_file: Path | None = None
    """LightGlue tensors of your own, for 128 channels."""

    name: ClassVar[str] = "aliked+lightglue"
    summary: ClassVar[str] = "learned keypoints and matcher; holds across seasons and up to 25 degrees of rotation"
    weights: ClassVar[tuple[Weights, ...]] = (ALIKED_N16ROT, ALIKED_LIGHTGLUE)

    @property
    def recipe(self) -> Mapping[str, object]:
        """Everything a result depends on; the device is no part of it."""
        return _recipe(self)

    def check(self) -> None:
        """Fail now if the weights are absent or wrong; see :meth:`sentinel_match.matchers.Matcher.check`."""
        _files(self)

    def describe(self, pixels: NDArray[np.float32], valid: NDArray[np.bool_]) -> Arrays:
        """Keypoints and descriptors; see :meth:`sentinel_match.matchers.Matcher.describe`.

        Returns:
            ``keypoints`` (N, 2) float32 x, y, corner origin, best first; ``scores`` (N,) float32, as logits;
            ``descriptors`` (N, 128) float16; ``image_size`` (2,) width, height.
        """
        import torch

        from sentinel_match.models import aliked
        from sentinel_match.models.peaks import peaks

        allowed = inside(pixels, valid, MARGIN)
        if not allowed.any():
            return _no_keypoints(pixels, 128)
        device = models.device(self.device)
        network = _aliked(_files(self)[0], str(device))
        with torch.inference_mode():
            image = models.tensor(filled(pixels, valid), device).float()
            maps, score = aliked.dense(network, image.expand(1, 3, -1, -1))
            lowest = float(torch.tensor(self.detection_threshold).logit())
            points, around = peaks(score, models.tensor(allowed, device), 2, lowest, self.max_keypoints)
            if not len(points):
                return _no_keypoints(pixels, 128)
            keypoints = aliked.refine(points, around)
            descriptors = aliked.describe(network, maps, keypoints)
            centred = keypoints + 0.5 - keypoints.new_tensor(ALIKED_LEAN)
            return _arrays(pixels, centred, around[:, 2, 2], descriptors)

    def match(self, left: Arrays, right: Arrays) -> Matches:
        """Mutual matches; see :meth:`sentinel_match.matchers.Matcher.match`. ``score`` is LightGlue's probability."""
        return _match(self, left, right)


@dataclass(frozen=True)
class SuperPointLightGlue:
    """SuperPoint keypoints, matched by LightGlue; the licence of SuperPoint's weights is non-commercial."""

    max_keypoints: int = 1536
    """The best so many of an image are kept."""
    detection_threshold: float = 0.0005
    """Lowest probability of a keypoint, 0..1; LightGlue's authors' value."""
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
        return _recipe(self)

    def check(self) -> None:
        """Fail now if the weights are absent or wrong; see :meth:`sentinel_match.matchers.Matcher.check`."""
        _files(self)

    def describe(self, pixels: NDArray[np.float32], valid: NDArray[np.bool_]) -> Arrays:
        """Keypoints and descriptors; see :meth:`sentinel_match.matchers.Matcher.describe`.

        Returns:
            As :meth:`AlikedLightGlue.describe`, with 256 channels. Keypoints are the centres of pixels, ``scores``
            probabilities.
        """
        import torch

        from sentinel_match.models.peaks import peaks
        from sentinel_match.models.superpoint import sample

        allowed = inside(pixels, valid, MARGIN)
        if not allowed.any():
            return _no_keypoints(pixels, 256)
        device = models.device(self.device)
        network = _superpoint(_files(self)[0], str(device))
        with torch.inference_mode():
            score, descriptors = network(models.tensor(filled(pixels, valid), device).float()[None, None])
            area = models.tensor(allowed, device)
            points, around = peaks(score[0], area, 4, self.detection_threshold, self.max_keypoints)
            if not len(points):
                return _no_keypoints(pixels, 256)
            keypoints = points + 0.5
            return _arrays(pixels, keypoints, around[:, 4, 4], sample(descriptors[0], keypoints))

    def match(self, left: Arrays, right: Arrays) -> Matches:
        """Mutual matches; see :meth:`sentinel_match.matchers.Matcher.match`. ``score`` is LightGlue's probability."""
        return _match(self, left, right)


def _files(matcher: AlikedLightGlue | SuperPointLightGlue) -> tuple[Path, Path]:
    network, lightglue = matcher.weights
    return verified(network, matcher.weights_file), verified(lightglue, matcher.lightglue_file)


def _recipe(matcher: AlikedLightGlue | SuperPointLightGlue) -> Mapping[str, object]:
    return {
        "matcher": matcher.name,
        "version": 1,
        "kornia": version("kornia"),
        "max_keypoints": matcher.max_keypoints,
        "detection_threshold": matcher.detection_threshold,
        "min_score": matcher.min_score,
        "weights": [sha256(path) for path in _files(matcher)],
    }


def _arrays(pixels: NDArray[np.float32], keypoints: Tensor, scores: Tensor, descriptors: Tensor) -> Arrays:
    return {
        "keypoints": keypoints.float().cpu().numpy(),
        "scores": scores.cpu().numpy(),
        "descriptors": descriptors.half().cpu().numpy(),
        "image_size": np.array(pixels.shape[::-1]),
    }


def _no_keypoints(pixels: NDArray[np.float32], channels: int) -> Arrays:
    return {
        "keypoints": np.empty((0, 2), np.float32),
        "scores": np.empty(0, np.float32),
        "descriptors": np.empty((0, channels), np.float16),
        "image_size": np.array(pixels.shape[::-1]),
    }


def _match(matcher: AlikedLightGlue | SuperPointLightGlue, left: Arrays, right: Arrays) -> Matches:
    import torch

    if not len(left["keypoints"]) or not len(right["keypoints"]):
        return Matches.none()
    device = models.device(matcher.device)
    network = _lightglue(_files(matcher)[1], left["descriptors"].shape[1], str(device))

    def side(arrays: Arrays) -> dict[str, Tensor]:
        return {
            "keypoints": models.tensor(arrays["keypoints"] - np.float32(0.5), device)[None],  # as it was trained
            "descriptors": models.tensor(arrays["descriptors"], device).float()[None],
            "image_size": models.tensor(arrays["image_size"], device)[None],
        }

    with torch.inference_mode():
        found = network({"image0": side(left), "image1": side(right)})
    indices, score = found["matches"][0].cpu().numpy(), found["scores"][0].cpu().numpy().astype(np.float64)
    sure = score > matcher.min_score
    points = (left["keypoints"][indices[sure, 0]], right["keypoints"][indices[sure, 1]])
    return Matches(points[0].astype(np.float64), points[1].astype(np.float64), score[sure])


@lru_cache(maxsize=2)
def _aliked(path: Path, device: str) -> Any:
    from kornia.feature import ALIKED

    from sentinel_match.models.tensors import fill, read

    network = ALIKED("aliked-n16rot")
    fill(network, read(path), path)
    return network.to(device)


@lru_cache(maxsize=2)
def _superpoint(path: Path, device: str) -> SuperPoint:
    from sentinel_match.models.superpoint import SuperPoint
    from sentinel_match.models.tensors import fill, read

    announce(SUPERPOINT)
    network = SuperPoint()
    fill(network, read(path), path)
    return network.to(device)


@lru_cache(maxsize=2)
def _lightglue(path: Path, channels: int, device: str) -> Any:
    import torch
    from kornia.feature import LightGlue

    from sentinel_match.models.tensors import fill, read

    flash = torch.backends.cuda.flash_sdp_enabled()  # type: ignore[no-untyped-call]
    options: dict[str, Any] = {"features": None, "input_dim": channels, "flash": False, "filter_threshold": 0.0}
    network: Any = LightGlue(**options, depth_confidence=-1, width_confidence=-1)
    torch.backends.cuda.enable_flash_sdp(flash)  # kornia has just switched it off for everybody in this process
    fill(network, _renamed(read(path)), path)
    return network.to(device)


def _renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' first release names layers the other way round, and holds ``r``, which nothing ever reads."""
    return {
        re.sub(r"^(self_attn|cross_attn)\.(\d+)\.", r"transformers.\2.\1.", name): tensor
        for name, tensor in tensors.items()
        if not re.fullmatch(r"log_assignment\.\d+\.r", name)
    }
