"""Check points: how far a model errs on ground that it has not seen.

Check points are measured points that were held out with their whole neighbourhood, whether they agree with the model or
not: only their own peak must be of a quality of which 95 % are right, or a check would tell of itself. Circular errors
CE90 and CE95 are the radii within which 90 and 95 % of them lie; their intervals come from drawing blocks, not points:
neighbours err together (block bootstrap, Künsch 1989).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sentinel_match.summary import HoldOut

if TYPE_CHECKING:
    from numpy.typing import NDArray

BOOTSTRAP_DRAWS = 200
"""Of the bootstrap."""
DISTANCE_BINS = 4000


def held_out(
    error: NDArray[np.float64], inlier: NDArray[np.bool_], block: NDArray[np.int_], seed: int = 0
) -> HoldOut | None:
    """Compute the figures of errors at check points; ``None`` without any point that agrees with the model.

    Args:
        error: (N, 2) of each, in metres.
        inlier: (N,) whether it agrees with the model: those that do not are gross errors of a measurement.
        block: (N,) what was held out together.
        seed: of the bootstrap.
    """
    known = np.isfinite(error).all(1)
    error, inlier, block = error[known], inlier[known], block[known]
    if not inlier.any():
        return None
    distance = np.hypot(*error.T)
    # Bins by rank: one far outlier must not make all the others one bin
    edges = np.quantile(distance, np.linspace(0, 1, min(DISTANCE_BINS, len(distance)) + 1)[1:])
    _, block = np.unique(block, return_inverse=True)
    blocks = int(block.max()) + 1
    counts = np.zeros((blocks, len(edges)))
    np.add.at(counts, (block.ravel(), np.searchsorted(edges, distance).clip(max=len(edges) - 1)), 1)
    drawn = np.random.default_rng(seed).multinomial(blocks, np.full(blocks, 1 / blocks), BOOTSTRAP_DRAWS) @ counts
    share = np.cumsum(drawn, 1) / np.maximum(drawn.sum(1, keepdims=True), 1)
    quantiles: dict[str, Any] = {}
    for percent in (90, 95):
        each = edges[(share < percent / 100 - 1e-9).sum(1).clip(max=len(edges) - 1)]
        quantiles[f"ce{percent}"] = round(float(np.percentile(distance, percent)), 4)
        low, high = (round(float(v), 4) for v in np.percentile(each, (2.5, 97.5)))
        quantiles[f"ce{percent}_interval"] = (low, high)
    return HoldOut(
        points=len(error),
        gross_share=round(float(1 - inlier.mean()), 4),
        bias_x=round(float(error[inlier, 0].mean()), 4),
        bias_y=round(float(error[inlier, 1].mean()), 4),
        rmse=round(float(np.sqrt((distance[inlier] ** 2).mean())), 4),
        **quantiles,
    )
