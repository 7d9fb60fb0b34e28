"""Check points: how far a model errs on ground that it has not seen.

Check points are measured points that were held out with their whole neighbourhood, whether they agree with the model or
not: only their own peak must be of a quality of which 95 % are right, or a check would tell of itself. Circular errors
CE90 and CE95 are the radii within which 90 and 95 % of them lie; their intervals come from drawing blocks, not points:
neighbours err together (block bootstrap, Künsch 1989).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

DRAWS = 200
"""Of the bootstrap."""
BINS = 4000


def held_out(
    error: NDArray[np.float64], believed: NDArray[np.bool_], block: NDArray[np.int_], seed: int = 0
) -> dict[str, Any]:
    """Figures of errors at check points.

    Args:
        error: (N, 2) of each, in metres.
        believed: (N,) whether it agrees with the model: those that do not are gross errors of a measurement.
        block: (N,) what was held out together.
        seed: of the bootstrap.

    Returns:
        ``points``, ``gross_share``; ``bias_x``, ``bias_y``, ``rmse`` (2-D) of the believed ones; ``ce90``, ``ce95`` of
        all, each with its 95 % interval; metres. Empty without points.
    """
    known = np.isfinite(error).all(1)
    error, believed, block = error[known], believed[known], block[known]
    if not believed.any():
        return {}
    distance = np.hypot(*error.T)
    # Bins by rank: one far outlier must not make all the others one bin
    edges = np.quantile(distance, np.linspace(0, 1, min(BINS, len(distance)) + 1)[1:])
    _, block = np.unique(block, return_inverse=True)
    blocks = int(block.max()) + 1
    counts = np.zeros((blocks, len(edges)))
    np.add.at(counts, (block.ravel(), np.searchsorted(edges, distance).clip(max=len(edges) - 1)), 1)
    drawn = np.random.default_rng(seed).multinomial(blocks, np.full(blocks, 1 / blocks), DRAWS) @ counts
    share = np.cumsum(drawn, 1) / np.maximum(drawn.sum(1, keepdims=True), 1)
    figures: dict[str, Any] = {
        "points": len(error),
        "gross_share": round(float(1 - believed.mean()), 4),
        "bias_x": float(error[believed, 0].mean()),
        "bias_y": float(error[believed, 1].mean()),
        "rmse": float(np.sqrt((distance[believed] ** 2).mean())),
    }
    for percent in (90, 95):
        each = edges[(share < percent / 100 - 1e-9).sum(1).clip(max=len(edges) - 1)]
        figures[f"ce{percent}"] = float(np.percentile(distance, percent))
        figures[f"ce{percent}_interval"] = [float(v) for v in np.percentile(each, (2.5, 97.5))]
    return figures
