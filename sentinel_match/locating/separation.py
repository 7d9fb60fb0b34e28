"""How well scores tell the same place from others, over pairs of which folders say whether they are: ROC and more."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sentinel_match.locating.likeness import Likeness

DISTANCE = "wasserstein"
"""Name of the score that compares a pair's match confidences with those of unrelated pairs."""


@dataclass(frozen=True, eq=False)
class Separation:
    """How well one score tells pairs of the same place from pairs of two."""

    name: str
    """Of the score."""
    same: NDArray[np.float64]
    """(S,) scores of pairs of one place, ascending."""
    other: NDArray[np.float64]
    """(D,) scores of pairs of two places, ascending."""

    @property
    def auc(self) -> float:
        """Compute the probability that a pair of one place scores higher than one of two, ties counting half."""
        below = np.searchsorted(self.other, self.same, "left") + np.searchsorted(self.other, self.same, "right")
        return float(below.mean() / (2 * len(self.other)))

    @property
    def above_all(self) -> float:
        """Compute the share of pairs of one place that score higher than every pair of two."""
        return float((self.same > self.other.max()).mean())

    @property
    def distance(self) -> float:
        """Compute the Wasserstein distance of both distributions, in standard deviations of all scores together."""
        from scipy.stats import wasserstein_distance

        spread = float(np.concatenate([self.same, self.other]).std())
        return float(wasserstein_distance(self.same, self.other)) / spread if spread else 0.0

    @property
    def roc(self) -> NDArray[np.float64]:
        """List (K, 2) shares of pairs of two places and of one that score at least as high as each threshold."""
        thresholds = np.unique(np.concatenate([self.same, self.other]))[::-1]
        shares = [1 - np.searchsorted(scores, thresholds, "left") / len(scores) for scores in (self.other, self.same)]
        return np.vstack([(0.0, 0.0), np.column_stack(shares)])

    def to_dict(self) -> dict[str, Any]:
        """Write the figures and the curve, JSON-able."""
        figures = {"auc": self.auc, "above_all": self.above_all, "wasserstein": self.distance}
        rounded = {name: round(value, 4) for name, value in figures.items()}
        return {
            **rounded,
            "same": len(self.same),
            "other": len(self.other),
            "roc": np.round(self.roc, 4).tolist(),
        }


def separations(likenesses: Sequence[Likeness]) -> list[Separation]:
    """Compare the scores of pairs of one place with those of two, the best separation first.

    Args:
        likenesses: of all pairs; those without names of places are left out.

    Returns:
        One for each score; none where the names do not tell pairs of both kinds.
    """
    labelled = _with_distance([likeness for likeness in likenesses if likeness.labelled])
    is_same = np.array([likeness.is_same for likeness in labelled], bool)
    if not is_same.any() or is_same.all():
        return []
    found = []
    for name in labelled[0].scores:
        scores = np.array([likeness.scores[name] for likeness in labelled])
        found.append(Separation(name, np.sort(scores[is_same]), np.sort(scores[~is_same])))
    return sorted(found, key=lambda separation: -separation.auc)


def _with_distance(likenesses: Sequence[Likeness]) -> list[Likeness]:
    """Add how far the confidences of each pair's matches lie from those of unrelated pairs, in the direction of sure.

    The null of a pair has neither of its pictures in it.
    """
    if not any(len(likeness.confidences) for likeness in likenesses):
        return list(likenesses)
    from scipy.stats import wasserstein_distance

    more = []
    for likeness in likenesses:
        ends = {likeness.left, likeness.right}
        null = [o.confidences for o in likenesses if not o.is_same and not ends & {o.left, o.right}]
        unrelated = np.concatenate([np.zeros(0), *null])
        distance = 0.0
        if len(unrelated) and len(likeness.confidences):
            distance = float(wasserstein_distance(likeness.confidences, unrelated))
            distance *= float(np.sign(likeness.confidences.mean() - unrelated.mean()))
        more.append(replace(likeness, scores={**likeness.scores, DISTANCE: distance}))
    return more


def clusters(likenesses: Sequence[Likeness]) -> list[list[str]]:
    """Gather pictures that are found to show the same place, directly or through others; the largest first."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    names = sorted({name for likeness in likenesses for name in (likeness.left, likeness.right)})
    index = {name: k for k, name in enumerate(names)}
    ends = np.array([(index[o.left], index[o.right]) for o in likenesses if o.found], int).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(names),) * 2)
    count, label = connected_components(graph, directed=False)
    groups = [[names[k] for k in np.flatnonzero(label == g)] for g in range(count)]
    return sorted(groups, key=lambda group: (-len(group), group))
