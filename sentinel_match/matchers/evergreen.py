"""``evergreen``: dense matching by features that were trained to look alike in every season, under a prior.

It answers for every point of a grid, as ``phase`` does, but correlates features in place of gradients. It finds more
where brightness and texture change with the season or hide under haze; ``phase`` measures more exactly where they stay.
What follows measures again by correlation in any case. The network was trained on Sentinel-2 alone: see ``train`` and
the card beside its weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path  # noqa: TC003 - whoever asks for the type hints of the fields must find it
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from sentinel_match import models
from sentinel_match.matchers import Matches, dense
from sentinel_match.matchers.builtin import BuiltIn
from sentinel_match.matchers.phase import WINDOW_REACH_PX, Phase
from sentinel_match.models.shipped import EVERGREEN
from sentinel_match.models.weights import Weights, remembered, sha256

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from numpy.typing import NDArray

    from sentinel_match.matchers import Arrays
    from sentinel_match.matchers.prior import GeometricPrior

FEATURE_WINDOW = 32
"""Side of the correlated windows in features."""
ASIDE_PROBABILITY, ASIDE_POINTS, ASIDE_PX = 0.9, 16, 1.0
"""Where so many points this sure lie more than so many pixels aside, windows are moved there and correlated again: what
lies 4.6 to 8 px aside is otherwise measured 0.2 to 0.4 px short of it across seasons."""
FEATURE_SUPPORTS_PX = (0.0, 24.0, 48.0)
"""Standard deviations in pixels of the averages over neighbouring surfaces."""


@dataclass(frozen=True)
class Evergreen(BuiltIn):
    """Learned correlation on a grid."""

    spacing: int = 8
    """Pixels between neighbouring points, a multiple of 4."""
    min_score: float = 0.5
    """Lowest probability of a match, 0..1."""
    min_clear: float = 0.4
    """Least share of the window that must be valid in both images."""
    weights_file: Path | None = None
    """A network of one's own, as ``sentinel-match train`` writes it."""
    device: str = "auto"
    """``cpu``, ``cuda``, or ``auto`` = CUDA where there is some."""

    farthest: ClassVar[float] = WINDOW_REACH_PX
    """Pixels: beyond it this method cannot find anything, right or wrong."""
    name: ClassVar[str] = "evergreen"
    summary: ClassVar[str] = "dense, learned on Sentinel-2 across seasons; for images that nearly lie on each other"
    weights: ClassVar[tuple[Weights, ...]] = (EVERGREEN,)

    @property
    def recipe(self) -> Mapping[str, object]:
        """Name everything a result depends on, not the device that computes it."""
        (path,) = self.files()
        return {**super().recipe, "weights": sha256(path)}

    def __post_init__(self) -> None:
        if self.spacing < 4 or self.spacing % 4:
            raise ValueError(f"spacing must be a multiple of 4, not {self.spacing}")

    def describe(self, pixels: NDArray[np.float32], valid: NDArray[np.bool_]) -> Arrays:
        """Compute features; see :meth:`sentinel_match.matchers.Matcher.describe`.

        Returns:
            ``features`` (12, rows / 2, cols / 2) float16 and ``sampled``, where they are valid; ``pixels`` (rows, cols)
            float16, by which a prior is narrowed, and ``valid`` (rows, cols).
        """
        arrays = Phase().describe(pixels, valid)
        device = models.device(self.device)
        return {**arrays, **described(self._network(), arrays["pixels"], arrays["valid"], device)}

    def match(self, left: Arrays, right: Arrays, prior: GeometricPrior | None = None) -> Matches:
        """Find grid points of the left image in the right one; see :meth:`sentinel_match.matchers.Matcher.match`.

        Without a prior the images are taken to show the same place, displaced by as much as reduced images can tell. A
        prior that is further off than ``WINDOW_REACH_PX`` and cannot be narrowed finds nothing.
        """
        prior = Phase(device=self.device).within_reach(left, right, prior)
        if prior is None:
            return Matches.none()
        return self._dense(left, right, prior)

    def _network(self) -> Any:
        return _network(self.files()[0], str(models.device(self.device)))

    def _dense(self, left: Arrays, right: Arrays, prior: GeometricPrior) -> Matches:
        matches = self._answers(left, right, prior)
        sure = matches.score >= ASIDE_PROBABILITY
        aside = (matches.right - prior.expected(matches.left))[sure]
        pull = np.median(aside, axis=0) if len(aside) >= ASIDE_POINTS else np.zeros(2)
        if np.hypot(*pull) > ASIDE_PX:
            # The taper of a window pulls what it sees to its middle: look again from where most of the ground lies
            nearer = np.eye(3)
            nearer[:2, 2] = pull
            matches = self._answers(left, right, replace(prior, transform=nearer @ prior.transform))
            matches = matches.where(prior.reached(matches.left, matches.right))
        return dense.likely(matches, right["valid"], prior, self.min_score)

    def _answers(self, left: Arrays, right: Arrays, prior: GeometricPrior) -> Matches:
        """Match every point of the grid."""
        from sentinel_match.models.evergreen import FEATURE_STRIDE_PX

        grid = dense.Grid(self.spacing, FEATURE_WINDOW, "intensity", FEATURE_STRIDE_PX)
        here, there = (dense.Samples(list(arrays["features"]), arrays["sampled"]) for arrays in (left, right))
        surfaces = dense.surfaces(here, there, left["valid"], prior, grid, models.device(self.device))
        odds = dict(zip(FEATURE_SUPPORTS_PX, self._network().logit.tolist(), strict=True))
        return dense.answered(surfaces, grid, prior, self.min_clear, odds)


def described(network: Any, pixels: NDArray[Any], valid: NDArray[np.bool_], device: torch.device) -> dict[str, Any]:
    """Compute features of an image, and where they are valid.

    Args:
        network: of :mod:`sentinel_match.models.evergreen`.
        pixels: (rows, cols), 0 where not valid.
        valid: (rows, cols).
        device: where the network is.

    Returns:
        ``features`` (12, rows / 2, cols / 2) float16 and ``sampled`` (rows / 2, cols / 2), rounded up.
    """
    import torch
    from torch.nn import functional

    from sentinel_match.models.evergreen import FEATURE_STRIDE_PX

    rows, cols = valid.shape
    with torch.inference_mode():
        border = (0, cols % FEATURE_STRIDE_PX, 0, rows % FEATURE_STRIDE_PX)
        image, mask = (
            functional.pad(models.tensor(array, device).float()[None, None], border) for array in (pixels, valid)
        )
        features = network(image, mask)[0].half().cpu().numpy()
        sampled = (functional.avg_pool2d(mask, FEATURE_STRIDE_PX)[0, 0] == 1).cpu().numpy()
    return {"features": features, "sampled": sampled}


@remembered(4)
def _network(path: Path, device: str) -> Any:
    from sentinel_match.models.evergreen import fused, load

    return fused(load(path)).to(device)
