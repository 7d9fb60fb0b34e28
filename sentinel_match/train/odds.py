"""How likely a match is right: logistic regression on what is known of it, over pairs of known truth and of strangers.

Where all is right nothing tells good evidence from bad, so pairs of unrelated ground are among them: one in
``PAIRS_PER_STRANGER``, as heavy as that together. The ground is that of training: the unseen is for judging.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sentinel_match.train.crops import Crops
from sentinel_match.train.task import Exam, draw_exams

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.train.crops import Cutting
    from sentinel_match.train.places import Ground

CALIBRATION_PAIRS = 64
"""Pairs of crops of training ground, half of them changed as in training."""
PAIRS_PER_STRANGER = 8
"""One in so many of them is shown with a stranger."""
START_WEIGHT = 10.0
"""How firmly the odds that a training began with are kept: as by some forty matches that might be either."""
NEWTON_STEPS = 30


def calibration_pairs(ground: Ground, cutting: Cutting, seed: int) -> tuple[list[Exam], list[Exam]]:
    """Draw pairs of training ground, and pairs of strangers among them.

    Args:
        ground: what is learned from.
        cutting: how pairs are cut.
        seed: of everything random.
    """
    streams = [Crops(ground, cutting, seed=seed + 3 + k, augment=k > 0) for k in (0, 1)]
    related = [exam for stream in streams for exam in draw_exams(stream, CALIBRATION_PAIRS // 2)]
    few = related[::PAIRS_PER_STRANGER]
    strangers = [
        Exam("", one.batch._replace(right=other.batch.right, right_valid=other.batch.right_valid))
        for one, other in zip(few, few[1:] + few[:1], strict=True)
        if len(few) > 1
    ]
    return related, strangers


def fit_odds(
    related: NDArray[np.float64],
    right: NDArray[np.bool_],
    strangers: NDArray[np.float64],
    start: NDArray[np.float64],
) -> NDArray[np.float32]:
    """Fit "is right" by logistic regression (Newton's method).

    Args:
        related: (N, K) facts of matches of one ground.
        right: (N,) which of them are.
        strangers: (M, K) facts of matches of unrelated ground, of which none is.
        start: (K + 1,) what is kept to where the matches say little.

    Returns:
        (K + 1,) constant and factors of the log-odds.
    """
    facts = np.concatenate([related, strangers])
    facts = np.column_stack([np.ones(len(facts)), facts])
    right = np.concatenate([right, np.zeros(len(strangers), bool)])
    weight = np.ones(len(facts))
    weight[len(related) :] = len(related) / PAIRS_PER_STRANGER / max(len(strangers), 1)
    factors = start.copy()
    for _ in range(NEWTON_STEPS):
        probability = 1 / (1 + np.exp(-np.clip(facts @ factors, -30, 30)))
        gradient = facts.T @ (weight * (right - probability)) - START_WEIGHT * (factors - start)
        curvature = (facts * (weight * probability * (1 - probability))[:, None]).T @ facts
        step = np.linalg.solve(curvature + START_WEIGHT * np.eye(len(start)), gradient)
        factors = factors + step * min(1, 2 / max(np.abs(step).max(), 1e-9))
    return np.asarray(factors, np.float32)
