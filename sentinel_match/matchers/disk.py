"""``disk+lightglue``: DISK, trained by what gets matched; free weights that are installed along.

M. Tyszkiewicz, P. Fua, E. Trulls: DISK: Learning local features with policy gradient, NeurIPS 2020,
https://arxiv.org/abs/2006.13566. kornia runs the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - whoever asks for the type hints of the fields must find it
from typing import TYPE_CHECKING, Any, ClassVar

from sentinel_match import models
from sentinel_match.matchers import lightglue
from sentinel_match.matchers.validity import filled, inside
from sentinel_match.models.released import DISK_DEPTH, DISK_LIGHTGLUE
from sentinel_match.models.weights import Weights, remembered

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from sentinel_match.matchers import Arrays, Matches
    from sentinel_match.matchers.prior import GeometricPrior

MULTIPLE = 32
"""The coarsest map has 1/16 of the resolution, and to be normalised it needs more than one pixel."""
LEAN = (0.3, 0.55)
"""Pixels that DISK's keypoints lie right of and below their things; the weights learnt that, the layers have no side.
Images of half the size say (0.32, 0.60) over 16 mirrored crops of 10 and 107 m, and the two ends of a thing between
which mirroring moves a keypoint lie around (0.25, 0.5)."""


@dataclass(frozen=True)
class DiskLightGlue:
    """DISK keypoints, matched by LightGlue."""

    max_keypoints: int = 1536
    """The best so many of an image are kept. On cells of 576 x 576 pixels 1536 find almost twice as many right matches
    across seasons as 1024 (snow to summer 704 against 375) for 3 instead of 1.5 CPU seconds a pair of cells."""
    detection_threshold: float = 0.0
    """Lowest score of a keypoint, a logit; kornia's value. Of snow, summer and haze even 5 takes nothing away."""
    nms_radius: int = 2
    """A keypoint is the best within so many pixels, 1 or more, in rows and columns."""
    min_score: float = 0.1
    """Lowest probability of a match, 0..1."""
    device: str = "auto"
    """``cpu``, ``cuda``, or ``auto`` = CUDA where there is some."""
    weights_file: Path | None = None
    """DISK tensors of your own."""
    lightglue_file: Path | None = None
    """LightGlue tensors of your own, for 128 channels."""

    name: ClassVar[str] = "disk+lightglue"
    summary: ClassVar[str] = "DISK keypoints, matched by LightGlue; many and evenly spread"
    weights: ClassVar[tuple[Weights, ...]] = (DISK_DEPTH, DISK_LIGHTGLUE)

    @property
    def recipe(self) -> Mapping[str, object]:
        """Everything a result depends on; the device is no part of it."""
        return lightglue.recipe(self)

    def check(self) -> None:
        """Fail now if the weights are absent or wrong; see :meth:`sentinel_match.matchers.Matcher.check`."""
        lightglue.files(self)

    def describe(self, pixels: NDArray[np.float32], valid: NDArray[np.bool_]) -> Arrays:
        """Keypoints and descriptors; see :meth:`sentinel_match.matchers.Matcher.describe`.

        Returns:
            ``keypoints`` (N, 2) float32 x, y, corner origin, best first; ``scores`` (N,) float32, as logits;
            ``descriptors`` (N, 128) float16; ``image_size`` (2,) width, height.
        """
        import torch
        from torch.nn import functional

        from sentinel_match.models.peaks import parabola, peaks

        allowed = inside(pixels, valid, lightglue.MARGIN)
        if not allowed.any():
            return lightglue.nothing(pixels, 128)
        device, (rows, cols) = models.device(self.device), pixels.shape
        network = _network(lightglue.files(self)[0], str(device))
        with torch.inference_mode():
            image = models.tensor(filled(pixels, valid), device).float().expand(1, 3, -1, -1)
            whole = functional.pad(image, (0, -cols % MULTIPLE, 0, -rows % MULTIPLE), mode="replicate")
            score, descriptors = network.heatmap_and_dense_descriptors(whole)
            area = models.tensor(allowed, device)
            points, around = peaks(
                score[0, 0, :rows, :cols], area, self.nms_radius, self.detection_threshold, self.max_keypoints
            )
            if not len(points):
                return lightglue.nothing(pixels, 128)
            found = functional.normalize(descriptors[0, :, points[:, 1], points[:, 0]].T, dim=1)
            keypoints = parabola(points, around) + 0.5 - points.new_tensor(LEAN, dtype=torch.float32)
            return lightglue.described(pixels, keypoints, around[:, self.nms_radius, self.nms_radius], found)

    def match(self, left: Arrays, right: Arrays, prior: GeometricPrior | None = None) -> Matches:
        """Mutual matches; see :meth:`sentinel_match.matchers.Matcher.match`. ``score`` is LightGlue's probability."""
        return lightglue.match(self, "disk", left, right, prior)


@remembered(2)
def _network(path: Path, device: str) -> Any:
    from kornia.feature import DISK

    from sentinel_match.models.tensors import fill, read

    network = DISK()
    fill(network, read(path), path)
    return network.to(device)
