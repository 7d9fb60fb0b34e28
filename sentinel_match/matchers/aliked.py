"""``aliked+lightglue``: free weights of photographs, an install away."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from sentinel_match import models
from sentinel_match.matchers.keypoints import Keypoints, describe
from sentinel_match.matchers.lightglue import LightGlueMethod
from sentinel_match.models.released import ALIKED_LIGHTGLUE, ALIKED_N16ROT
from sentinel_match.models.weights import Weights, remembered

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from sentinel_match.matchers import Arrays
    from sentinel_match.matchers.keypoints import ImageTensors, KeypointMethod

ALIKED_LEAN_PX = (0.40, 0.0)
"""Pixels that ALIKED-n16rot's keypoints lie right of and below their things: half of what mirroring an image moves
them by. The weights learnt that, the layers have no side. Median of 16 crops of 10, 60 and 107 m, 0.36 to 0.43."""


@dataclass(frozen=True)
class AlikedLightGlue(LightGlueMethod):
    """ALIKED-n16rot keypoints, matched by LightGlue: weights that are free, and an install away."""

    max_keypoints: int = 1536
    """The best so many of an image are kept. On cells of 640 x 640 pixels 1536 find half as many right matches again as
    1024 across seasons (snow to summer 354 against 218) for 4.7 instead of 3.0 CPU seconds a pair of cells."""
    detection_threshold: float = 0.01
    """Lowest probability of a keypoint, 0..1. The authors' 0.2 leaves a tenth of the keypoints of a hazy image: on two
    cells of the T33UUU pair 164 right matches, against 1183 with this."""

    name: ClassVar[str] = "aliked+lightglue"
    summary: ClassVar[str] = "learned keypoints and matcher; holds across seasons and up to 25 degrees of rotation"
    weights: ClassVar[tuple[Weights, ...]] = (ALIKED_N16ROT, ALIKED_LIGHTGLUE)
    features: ClassVar[str] = "aliked"

    def describe(self, pixels: NDArray[np.float32], valid: NDArray[np.bool_]) -> Arrays:
        """Find keypoints and describe them; see :func:`sentinel_match.matchers.keypoints.describe`.

        Returns:
            ``keypoints``; ``scores`` as logits; ``descriptors`` of 128 channels; ``image_size``.
        """
        device = models.device(self.device)
        network = _network(self.files()[0], str(device))
        return describe(pixels, valid, 128, device, partial(_detect, network, self))


def _detect(network: Any, options: KeypointMethod, image: ImageTensors) -> Keypoints:
    import torch

    from sentinel_match.models import aliked
    from sentinel_match.models.peaks import parabola, peaks

    maps, score = aliked.dense(network, image.pixels.expand(1, 3, -1, -1))
    lowest = float(torch.tensor(options.detection_threshold).logit())
    points, around = peaks(score, image.allowed, options.nms_radius, lowest, options.max_keypoints)
    keypoints = parabola(points, around)
    descriptors = aliked.describe(network, maps, keypoints)
    centred = keypoints + 0.5 - keypoints.new_tensor(ALIKED_LEAN_PX)
    return Keypoints(centred, around[:, options.nms_radius, options.nms_radius], descriptors)


@remembered(2)
def _network(path: Path, device: str) -> Any:
    from kornia.feature import ALIKED

    from sentinel_match.models.tensors import fill, read

    return fill(ALIKED("aliked-n16rot"), read(path), path).to(device)
