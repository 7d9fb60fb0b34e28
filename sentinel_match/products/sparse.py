"""Sparse: of all acceptable pairs those that a series needs, each scene's best partners and what links the scenes.

Both can be chosen a chunk at a time: a pair that is not needed among some of the pairs is not needed among more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import minimum_spanning_tree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.products.judging import Drafts


def needed(drafts: Drafts, scenes: int, per_scene: int) -> NDArray[np.bool_]:
    """Tell which pairs (K,) are among the best ``per_scene`` of one of their scenes, or in the spanning forest.

    The forest is Kruskal's, best first: of all the paths between two scenes it has that whose worst pair is best. Going
    through the pairs best first, and taking those of which a scene has too few or that link what is not linked, gives
    the same: the first pairs of a scene are always taken, and pairs that are taken besides link nothing anew.
    """
    order = np.argsort(drafts.key)
    left, right = drafts.left[order], drafts.right[order]
    there = np.zeros(len(order), bool)
    # The places of each scene's pairs, best first, one scene after the other
    places = np.sort(np.concatenate([left, right]) * len(order) + np.tile(np.arange(len(order)), 2))
    scene = places // max(len(order), 1)
    rank = np.arange(len(places)) - np.searchsorted(scene, np.arange(scenes))[scene]
    there[(places - scene * len(order))[rank < per_scene]] = True
    graph = csr_array((np.arange(1.0, len(order) + 1), (left, right)), shape=(scenes, scenes))
    there[minimum_spanning_tree(graph).data.astype(np.intp) - 1] = True
    return there[np.argsort(order)]
