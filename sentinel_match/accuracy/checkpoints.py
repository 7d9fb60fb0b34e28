"""Check points: how far a model errs on ground that it has not seen.

Check points are measured points that were held out with their whole neighbourhood, whether they agree with the model or
not: only their own peak must be of a quality of which 95 % are right, or a check would tell of itself. Circular errors
CE90 and CE95 are the radii within which 90 and 95 % of them lie; their intervals come from drawing blocks, not points:
neighbours err together (block bootstrap, Künsch 1989).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sentinel_match.accuracy.edited import EditedField
from sentinel_match.geometry import calibration
from sentinel_match.summary import HoldOut

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from sentinel_match.accuracy.evidence import Evidence
    from sentinel_match.geometry.motion import Motion
    from sentinel_match.geometry.selection import Selection
    from sentinel_match.geometry.transform import Transform
    from sentinel_match.geometry.uncertainty import Uncertainty

RELIABLE = 0.95
"""Share of right ones among peaks of the quality that check points have: a check that errs itself proves little."""
ENOUGH_WINDOWS = 100
"""Single windows from which what they say of the ground is all the proof."""
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


def check_points(
    evidence: Evidence,
    distance: NDArray[np.float64],
    likely: NDArray[np.float64],
    tolerance: float,
    radius: float,
) -> NDArray[np.bool_]:
    """Tell (N,) which are check points: peaks of a quality that hardly ever errs.

    Those that disagree are counted, not left out.
    """
    refined = evidence.refined
    if not refined.any():
        return np.asarray(evidence.kept | (likely >= calibration.LEAST_SCORE))
    checks = evidence.kept.copy()
    share = calibration.reliability(distance[refined], evidence.quality[refined], tolerance, radius)
    checks[refined] |= share >= RELIABLE
    return checks


def on_ground(
    evidence: Evidence,
    chosen: Selection,
    model: Transform,
    seed: int,
    by_points: Callable[[], HoldOut | None],
) -> tuple[HoldOut | None, Uncertainty | None, Motion | None]:
    """Prove a transform by the ground between the points, where it was measured; by the points alone elsewhere.

    Args:
        evidence: of the points.
        chosen: of the kinds that points choose from.
        model: left metres to right metres.
        seed: of the draws.
        by_points: proves it by the points; asked only where the ground does not say enough.
    """
    ground = evidence.lattice
    if ground is None:
        return by_points(), None, None
    spread = chosen.spread if model is chosen.transform else None
    proof, uncertainty = ground.hold_out(model, seed, spread), ground.uncertainty(model, spread)
    # A few windows hardly know how far they err together: then the worse of both
    if proof.points < ENOUGH_WINDOWS and (other := by_points()) is not None and other.ce95 >= proof.ce95:
        proof = other
    if isinstance(ground, EditedField):
        return proof, uncertainty, ground.motion if spread is None else None
    return proof, uncertainty, evidence.whole.motion(ground, model, uncertainty) if evidence.whole is not None else None
