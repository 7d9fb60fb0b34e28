"""``aliked+lightglue``, the default: free weights that are installed along, and that hold across seasons."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - whoever asks for the type hints of the fields must find it
from typing import TYPE_CHECKING, Any, ClassVar

from sentinel_match import models
from sentinel_match.matchers import lightglue
from sentinel_match.matchers.validity import filled, inside
from sentinel_match.models.released import ALIKED_LIGHTGLUE, ALIKED_N16ROT
from sentinel_match.models.weights import Weights, remembered

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from sentinel_match.matchers import Arrays, Matches
    from sentinel_match.matchers.prior import GeometricPrior

LEAN = (0.40, 0.0)
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
    nms_radius: int = 2
    """A keypoint is the best within so many pixels, 1 or more, in rows and columns."""
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

        from sentinel_match.models import aliked
        from sentinel_match.models.peaks import parabola, peaks

        allowed = inside(pixels, valid, lightglue.MARGIN)
        if not allowed.any():
            return lightglue.nothing(pixels, 128)
        device = models.device(self.device)
        network = _network(lightglue.files(self)[0], str(device))
        with torch.inference_mode():
            image = models.tensor(filled(pixels, valid), device).float()
            maps, score = aliked.dense(network, image.expand(1, 3, -1, -1))
            lowest = float(torch.tensor(self.detection_threshold).logit())
            area = models.tensor(allowed, device)
            points, around = peaks(score, area, self.nms_radius, lowest, self.max_keypoints)
            if not len(points):
                return lightglue.nothing(pixels, 128)
            keypoints = parabola(points, around)
            descriptors = aliked.describe(network, maps, keypoints)
            centred = keypoints + 0.5 - keypoints.new_tensor(LEAN)
            return lightglue.described(pixels, centred, around[:, self.nms_radius, self.nms_radius], descriptors)

    def match(self, left: Arrays, right: Arrays, prior: GeometricPrior | None = None) -> Matches:
        """Mutual matches; see :meth:`sentinel_match.matchers.Matcher.match`. ``score`` is LightGlue's probability."""
        return lightglue.match(self, "aliked", left, right, prior)


@remembered(2)
def _network(path: Path, device: str) -> Any:
    from kornia.feature import ALIKED

    from sentinel_match.models.tensors import fill, read

    network = ALIKED("aliked-n16rot")
    fill(network, read(path), path)
    return network.to(device)
