"""``disk+lightglue``: DISK, trained by what gets matched; free weights, an install away.

M. Tyszkiewicz, P. Fua, E. Trulls: DISK: Learning local features with policy gradient, NeurIPS 2020,
https://arxiv.org/abs/2006.13566. kornia runs the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from sentinel_match import models
from sentinel_match.matchers.keypoints import Keypoints, describe
from sentinel_match.matchers.lightglue import LightGlueMethod
from sentinel_match.models.released import DISK_DEPTH, DISK_LIGHTGLUE
from sentinel_match.models.weights import Weights, remembered

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from sentinel_match.matchers import Arrays
    from sentinel_match.matchers.keypoints import ImageTensors, KeypointMethod

DISK_MULTIPLE = 32
"""The coarsest map has 1/16 of the resolution, and to be normalised it needs more than one pixel."""
DISK_LEAN_PX = (0.3, 0.55)
"""Pixels that DISK's keypoints lie right of and below their things; the weights learnt that, the layers have no side.
Images of half the size say (0.32, 0.60) over 16 mirrored crops of 10 and 107 m, and the two ends of a thing between
which mirroring moves a keypoint lie around (0.25, 0.5)."""


@dataclass(frozen=True)
class DiskLightGlue(LightGlueMethod):
    """DISK keypoints, matched by LightGlue."""

    max_keypoints: int = 1536
    """The best so many of an image are kept. On cells of 576 x 576 pixels 1536 find almost twice as many right matches
    across seasons as 1024 (snow to summer 704 against 375) for 3 instead of 1.5 CPU seconds a pair of cells."""
    detection_threshold: float = 0.0
    """Lowest score of a keypoint, a logit; kornia's value. Of snow, summer and haze even 5 takes nothing away."""

    name: ClassVar[str] = "disk+lightglue"
    summary: ClassVar[str] = "DISK keypoints, matched by LightGlue; many and evenly spread"
    weights: ClassVar[tuple[Weights, ...]] = (DISK_DEPTH, DISK_LIGHTGLUE)
    features: ClassVar[str] = "disk"

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
    from torch.nn import functional

    from sentinel_match.models.peaks import parabola, peaks

    (rows, cols), radius = image.pixels.shape, options.nms_radius
    border = (0, -cols % DISK_MULTIPLE, 0, -rows % DISK_MULTIPLE)
    whole = functional.pad(image.pixels.expand(1, 3, -1, -1), border, mode="replicate")
    score, descriptors = network.heatmap_and_dense_descriptors(whole)
    lowest, limit = options.detection_threshold, options.max_keypoints
    points, around = peaks(score[0, 0, :rows, :cols], image.allowed, radius, lowest, limit)
    keypoints = parabola(points, around) + 0.5 - points.new_tensor(DISK_LEAN_PX, dtype=torch.float32)
    at_points = functional.normalize(descriptors[0, :, points[:, 1], points[:, 0]].T, dim=1)
    return Keypoints(keypoints, around[:, radius, radius], at_points)


@remembered(2)
def _network(path: Path, device: str) -> Any:
    from kornia.feature import DISK

    from sentinel_match.models.tensors import fill, read

    return fill(DISK(), read(path), path).to(device)
