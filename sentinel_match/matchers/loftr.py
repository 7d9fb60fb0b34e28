"""``loftr`` and ``loftr-outdoor``: correspondences without keypoints, run by kornia.

J. Sun et al.: LoFTR: Detector-Free Local Feature Matching with Transformers, CVPR 2021,
https://arxiv.org/abs/2104.00680. The network looks at both images at once, so describing an image only keeps its
pixels; matching is where the time goes, and its memory grows with the square of the image's area. A prior takes part
in the coarse confidence (``models.loftr``); without one the released network's numbers are kornia's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path  # noqa: TC003 - whoever asks for the type hints of the fields must find it
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from sentinel_match import models
from sentinel_match.matchers import Matches, placing
from sentinel_match.matchers.builtin import BuiltIn
from sentinel_match.matchers.validity import filled, inside, on_allowed
from sentinel_match.models import shipped
from sentinel_match.models.released import LOFTR_OUTDOOR
from sentinel_match.models.weights import Weights, remembered

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from sentinel_match.matchers import Arrays
    from sentinel_match.matchers.prior import GeometricPrior
    from sentinel_match.models.loftr import Cells

LOFTR_CELL_PX = 8
"""Pixels along one side of a coarse cell."""
LEAST_CONFIDENCE, AGREEING_CONFIDENCE = 0.03, 0.1
"""Of cells whose windows are compared, and of those that are asked how the images are turned and scaled."""


@dataclass(frozen=True)
class LoFTR(BuiltIn):
    """LoFTR with fewer channels, trained on Sentinel-2 across seasons (dual-softmax)."""

    min_score: float = 0.5
    """Lowest probability of a match, 0..1."""
    max_side: int = 840
    """Images longer than this are matched at a reduced size: 840 x 840 takes 1.6 GB, 1098 x 1098 takes 3.8 GB."""
    device: str = "auto"
    """``cpu``, ``cuda``, or ``auto`` = CUDA where there is some."""
    weights_file: Path | None = None
    """LoFTR tensors of your own."""

    name: ClassVar[str] = "loftr"
    summary: ClassVar[str] = "without keypoints, learned on Sentinel-2 across seasons; turned and scaled images too"
    weights: ClassVar[tuple[Weights, ...]] = (shipped.LOFTR,)

    @property
    def libraries(self) -> Mapping[str, str]:
        """Name kornia, which runs the network."""
        return {"kornia": version("kornia")}

    def describe(self, pixels: NDArray[np.float32], valid: NDArray[np.bool_]) -> Arrays:
        """Keep the pixels as the network takes them; see :meth:`sentinel_match.matchers.Matcher.describe`.

        Returns:
            ``pixels`` (rows, cols) float16 and ``allowed`` (rows, cols) bool, both empty where nothing can be matched;
            ``scale`` (2,), pixels of the image per pixel of those, in x and y.
        """
        import cv2

        allowed = inside(pixels, valid)
        if not allowed.any():
            return {"pixels": np.empty((0, 0), np.float16), "allowed": np.empty((0, 0), bool), "scale": np.ones(2)}
        image: NDArray[Any] = filled(pixels, valid)
        rows, cols = image.shape
        shrink = min(1.0, self.max_side / max(rows, cols))
        size = (max(1, round(cols * shrink)), max(1, round(rows * shrink)))
        if shrink < 1:
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
            allowed = cv2.resize(allowed.astype(np.float32), size, interpolation=cv2.INTER_AREA) >= 1
        return {
            "pixels": image.astype(np.float16),
            "allowed": allowed,
            "scale": np.array([cols / size[0], rows / size[1]]),
        }

    def match(self, left: Arrays, right: Arrays, prior: GeometricPrior | None = None) -> Matches:
        """Match coarse cells and refine them in the right image; see :meth:`sentinel_match.matchers.Matcher.match`.

        With a prior, ``score`` is the confidence among the cells in reach; where there is but one, it says nothing.
        """
        if not left["allowed"].any() or not right["allowed"].any():  # the network need not even be loaded
            return Matches.none()
        return self.matched(_network(self.files()[0], str(models.device(self.device))), left, right, prior)

    def matched(self, network: Any, left: Arrays, right: Arrays, prior: GeometricPrior | None = None) -> Matches:
        """Match by a network: that of this method, or one that is still learning.

        Args:
            network: of :mod:`sentinel_match.models.loftr`, in inference mode.
            left: as described.
            right: the same.
            prior: where to look.
        """
        import torch

        from sentinel_match.models.loftr import is_compact, match_cells, refine_cells

        if not left["allowed"].any() or not right["allowed"].any():
            return Matches.none()
        device = models.device(self.device)

        def side(arrays: Arrays) -> tuple[Tensor, Tensor]:
            return models.tensor(arrays["pixels"], device).float(), models.tensor(arrays["allowed"], device)

        bias = None if prior is None else _bias(prior, left, right, device)
        with torch.inference_mode():
            cells = match_cells(network, side(left), side(right), bias)
            found: tuple[Tensor, Tensor, Tensor]
            if is_compact(network):
                likely = placed(cells)
                found = likely.left, likely.right, probability(likely, network.logit)
            else:
                found = refine_cells(network, cells)
        # kornia keeps LoFTR's own frame, whose origin is the outer corner: nothing to add, unlike every other matcher.
        a, b, score = (tensor.cpu().numpy().astype(np.float64) for tensor in found)
        good = (score > self.min_score) & on_allowed(left["allowed"], a) & on_allowed(right["allowed"], b)
        a, b, score = a[good] * left["scale"], b[good] * right["scale"], score[good]
        if prior is not None:  # a cell can be in reach, and what was found in it not
            near = prior.reached(a, b)
            a, b, score = a[near], b[near], score[near]
        return Matches(a, b, score)


@dataclass(frozen=True)
class LoFTROutdoor(LoFTR):
    """LoFTR with the weights its authors released for photographs."""

    min_score: float = 0.2
    """Lowest confidence of a match, 0..1."""

    name: ClassVar[str] = "loftr-outdoor"
    summary: ClassVar[str] = "LoFTR as released, for photographs; slow on a CPU"
    weights: ClassVar[tuple[Weights, ...]] = (LOFTR_OUTDOOR,)


class Placed(NamedTuple):
    """Cells that may match, and where the windows around them lie."""

    left: Tensor
    """(N, 2) x, y in LoFTR's frame."""
    right: Tensor
    confidence: Tensor
    """(N,) of the cells, 0..1."""
    likeness: Tensor
    """(N,) correlation of the windows, 0..1."""

    def facts(self) -> Tensor:
        """List the (N, 2) facts by which a match is judged: the logarithm of its confidence, and its likeness."""
        import torch

        return torch.stack([self.confidence.log(), self.likeness], 1)


def placed(cells: Cells) -> Placed:
    """Find where the windows around matching cells lie, turned and scaled as most of the matches say."""
    from sentinel_match.models.evergreen import FEATURE_STRIDE_PX

    possible = cells.confidence > LEAST_CONFIDENCE
    middle = FEATURE_STRIDE_PX / 2  # windows lie around features, not around their corners
    left, right = (points[possible] + middle for points in (cells.left, cells.right))
    confidence = cells.confidence[possible]
    found, likeness = placing.placed(cells.fine, left, right, confidence > AGREEING_CONFIDENCE)
    here = likeness > 0
    return Placed(left[here], found[here], confidence[here], likeness[here])


def probability(near: Placed, log_odds: Tensor) -> Tensor:
    """Compute (N,) how likely matches are right, by (3,) constant and factors of their facts."""
    return (log_odds[0] + near.facts() @ log_odds[1:]).sigmoid()


def _bias(prior: GeometricPrior, left: Arrays, right: Arrays, device: torch.device) -> Callable[[slice], Tensor]:
    # A match lies up to half a cell from where its cell stands, in x and in y
    wider = replace(prior, radius=prior.radius + float(np.hypot(*right["scale"])) * LOFTR_CELL_PX / 2)
    left_cells, right_cells = _cells(left), _cells(right)
    return lambda block: models.tensor(wider.bias(left_cells[block], right_cells), device)


def _cells(arrays: Arrays) -> NDArray[np.float64]:
    """List the (N, 2) x, y of the coarse cells in the image's own pixels, row by row."""
    rows, cols = (np.arange(0, size, LOFTR_CELL_PX) for size in arrays["pixels"].shape)
    x, y = np.meshgrid(cols, rows)
    return np.asarray(np.column_stack([x.ravel(), y.ravel()]) * arrays["scale"], np.float64)


@remembered(1)
def _network(path: Path, device: str) -> Any:
    from sentinel_match.models.loftr import load

    return load(path).to(device)
