"""``xfeat+lighterglue``: XFeat, small enough for a CPU, and the smaller LightGlue its authors trained for it.

G. Potje, F. Cadar, A. Araujo, R. Martins, E. Nascimento: XFeat: Accelerated Features for Lightweight Image Matching,
CVPR 2024, https://arxiv.org/abs/2404.19174. kornia runs the network. Its keypoints lie within a third of a pixel of
their things: mirrors say 0.2 px to the right, images of half the size 0.3 px to the left, so nothing is taken off.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - whoever asks for the type hints of the fields must find it
from typing import TYPE_CHECKING, Any, ClassVar

from sentinel_match import models
from sentinel_match.matchers import lightglue
from sentinel_match.matchers.validity import filled, inside
from sentinel_match.models.released import XFEAT, XFEAT_LIGHTERGLUE
from sentinel_match.models.weights import Weights, remembered

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from sentinel_match.matchers import Arrays, Matches
    from sentinel_match.matchers.prior import GeometricPrior

MULTIPLE, CELL = 32, 8
"""The coarsest map has 1/32 of the resolution; keypoints are told in cells of 8 x 8 pixels."""


@dataclass(frozen=True)
class XFeatLighterGlue:
    """XFeat keypoints, matched by LighterGlue."""

    max_keypoints: int = 4096
    """The best so many of an image are kept; the authors' number. On cells of 576 x 576 pixels it finds almost three
    times as many right matches across seasons as 2048 (snow to summer 1306 against 466) for 4 instead of 1 CPU seconds
    a pair of cells."""
    detection_threshold: float = 0.01
    """Lowest probability of a keypoint, 0..1. The authors' 0.05 is the same but in haze: on two cells of the T33UUU
    pair 2722 right matches, against 2832 with this."""
    nms_radius: int = 2
    """A keypoint is the best within so many pixels, 1 or more, in rows and columns."""
    min_score: float = 0.1
    """Lowest probability of a match, 0..1."""
    device: str = "auto"
    """``cpu``, ``cuda``, or ``auto`` = CUDA where there is some."""
    weights_file: Path | None = None
    """XFeat tensors of your own."""
    lightglue_file: Path | None = None
    """LighterGlue tensors of your own, for 64 channels."""

    name: ClassVar[str] = "xfeat+lighterglue"
    summary: ClassVar[str] = "XFeat keypoints, matched by LighterGlue; the quickest learned method"
    weights: ClassVar[tuple[Weights, ...]] = (XFEAT, XFEAT_LIGHTERGLUE)

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
            ``keypoints`` (N, 2) float32 x, y, corner origin, best first; ``scores`` (N,) float32, probabilities times
            the network's opinion of their reliability; ``descriptors`` (N, 64) float16; ``image_size`` (2,) width,
            height.
        """
        import torch
        from kornia.feature.xfeat import InterpolateSparse2d
        from torch.nn import functional

        from sentinel_match.models.peaks import parabola, peaks

        allowed = inside(pixels, valid, lightglue.MARGIN)
        if not allowed.any():
            return lightglue.nothing(pixels, 64)
        device, (rows, cols) = models.device(self.device), pixels.shape
        network = _network(lightglue.files(self)[0], str(device))
        with torch.inference_mode():
            image = models.tensor(filled(pixels, valid), device).float()[None, None]
            # kornia shrinks an image to a multiple of 32, and leaves its keypoints off by up to half a pixel
            whole = functional.pad(image, (0, -cols % MULTIPLE, 0, -rows % MULTIPLE), mode="replicate")
            features, cells, reliability = network.net(whole)
            score = functional.pixel_shuffle(cells.softmax(1)[:, :-1], CELL)[0, 0, :rows, :cols]
            area = models.tensor(allowed, device)
            points, around = peaks(score, area, self.nms_radius, self.detection_threshold, score.numel())
            if not len(points):
                return lightglue.nothing(pixels, 64)
            height, width = whole.shape[-2:]
            trust = InterpolateSparse2d("bilinear")(reliability, points[None], height, width)[0, :, 0]
            rank = around[:, self.nms_radius, self.nms_radius] * trust
            best = rank.argsort(descending=True, stable=True)[: self.max_keypoints]
            points, around, rank = points[best], around[best], rank[best]
            sampled = network.interpolator(functional.normalize(features, dim=1), points[None], height, width)[0]
            keypoints = parabola(points, around.log()) + 0.5
            return lightglue.described(pixels, keypoints, rank, functional.normalize(sampled, dim=1))

    def match(self, left: Arrays, right: Arrays, prior: GeometricPrior | None = None) -> Matches:
        """Mutual matches; see :meth:`sentinel_match.matchers.Matcher.match`. ``score`` is LightGlue's probability."""
        return lightglue.match(self, "xfeat", left, right, prior)


@remembered(2)
def _network(path: Path, device: str) -> Any:
    from kornia.feature import XFeat

    from sentinel_match.models.tensors import fill, read

    network = XFeat()
    fill(network.net, read(path), path)
    return network.to(device)
