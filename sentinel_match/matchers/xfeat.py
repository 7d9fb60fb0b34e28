"""``xfeat+lighterglue``: XFeat, small enough for a CPU, and the smaller LightGlue its authors trained for it.

G. Potje, F. Cadar, A. Araujo, R. Martins, E. Nascimento: XFeat: Accelerated Features for Lightweight Image Matching,
CVPR 2024, https://arxiv.org/abs/2404.19174. kornia runs the network. Its keypoints lie within a third of a pixel of
their things: mirrors say 0.2 px to the right, images of half the size 0.3 px to the left, so nothing is taken off.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from sentinel_match import models
from sentinel_match.matchers.keypoints import Keypoints, describe
from sentinel_match.matchers.lightglue import LightGlueMethod
from sentinel_match.models.released import XFEAT, XFEAT_LIGHTERGLUE
from sentinel_match.models.weights import Weights, remembered

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from sentinel_match.matchers import Arrays
    from sentinel_match.matchers.keypoints import ImageTensors, KeypointMethod

XFEAT_MULTIPLE, XFEAT_CELL_PX = 32, 8
"""The coarsest map has 1/32 of the resolution; keypoints are told in cells of 8 x 8 pixels."""


@dataclass(frozen=True)
class XFeatLighterGlue(LightGlueMethod):
    """XFeat keypoints, matched by LighterGlue."""

    max_keypoints: int = 4096
    """The best so many of an image are kept; the authors' number. On cells of 576 x 576 pixels it finds almost three
    times as many right matches across seasons as 2048 (snow to summer 1306 against 466) for 4 instead of 1 CPU seconds
    a pair of cells."""
    detection_threshold: float = 0.01
    """Lowest probability of a keypoint, 0..1. The authors' 0.05 is the same but in haze: on two cells of the T33UUU
    pair 2722 right matches, against 2832 with this."""

    name: ClassVar[str] = "xfeat+lighterglue"
    summary: ClassVar[str] = "XFeat keypoints, matched by LighterGlue; the quickest learned method"
    weights: ClassVar[tuple[Weights, ...]] = (XFEAT, XFEAT_LIGHTERGLUE)
    features: ClassVar[str] = "xfeat"

    def describe(self, pixels: NDArray[np.float32], valid: NDArray[np.bool_]) -> Arrays:
        """Find keypoints and describe them; see :func:`sentinel_match.matchers.keypoints.describe`.

        Returns:
            ``keypoints``; ``scores``, probabilities times the network's opinion of their reliability; ``descriptors``
            of 64 channels; ``image_size``.
        """
        device = models.device(self.device)
        network = _network(self.files()[0], str(device))
        return describe(pixels, valid, 64, device, partial(_detect, network, self))


def _detect(network: Any, options: KeypointMethod, image: ImageTensors) -> Keypoints:
    from kornia.feature.xfeat import InterpolateSparse2d
    from torch.nn import functional

    from sentinel_match.models.peaks import parabola, peaks

    rows, cols = image.pixels.shape
    # kornia shrinks an image to a multiple of 32, and leaves its keypoints off by up to half a pixel
    border = (0, -cols % XFEAT_MULTIPLE, 0, -rows % XFEAT_MULTIPLE)
    whole = functional.pad(image.pixels[None, None], border, mode="replicate")
    height, width = whole.shape[-2:]
    features, cells, reliability = network.net(whole)
    score = functional.pixel_shuffle(cells.softmax(1)[:, :-1], XFEAT_CELL_PX)[0, 0, :rows, :cols]
    points, around = peaks(score, image.allowed, options.nms_radius, options.detection_threshold, score.numel())
    trust = InterpolateSparse2d("bilinear")(reliability, points[None], height, width)[0, :, 0]
    rank = around[:, options.nms_radius, options.nms_radius] * trust
    best = rank.argsort(descending=True, stable=True)[: options.max_keypoints]
    points, around, rank = points[best], around[best], rank[best]
    descriptors = network.interpolator(functional.normalize(features, dim=1), points[None], height, width)[0]
    return Keypoints(parabola(points, around.log()) + 0.5, rank, functional.normalize(descriptors, dim=1))


@remembered(2)
def _network(path: Path, device: str) -> Any:
    from kornia.feature import XFeat

    from sentinel_match.models.tensors import fill, read

    network = XFeat()
    fill(network.net, read(path), path)
    return network.to(device)
