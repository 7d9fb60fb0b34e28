"""In which order pairs are matched: a scene that has been read is used again while it is at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sentinel_match.products.pair import Pair

BITS = 32
"""Of the number of a scene: more than there are on Earth."""


def in_reach(pairs: Sequence[Pair]) -> list[Pair]:
    """Sort pairs so that those of the same scenes follow each other, whatever number of scenes is kept.

    Scenes are numbered so that partners have close numbers (Cuthill & McKee 1969), and the pairs, as points of the
    plane of two such numbers, are visited along Morton's curve, which is close to the best for caches of every size
    (Bader 2013): a square of it needs as many scenes as it has rows and columns, and has as many pairs as cells.

    Args:
        pairs: in any order.

    Returns:
        The same pairs; the order is the same every time.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import reverse_cuthill_mckee

    if not pairs:
        return []
    numbers: dict[int, int] = {}
    ends = np.array([[numbers.setdefault(id(scene), len(numbers)) for scene in (p.left, p.right)] for p in pairs])
    ones = np.ones(len(ends), np.int8)
    links = coo_array((ones, (ends[:, 0], ends[:, 1])), shape=(len(numbers),) * 2).tocsr()
    rank = np.argsort(reverse_cuthill_mckee((links + links.T).tocsr(), symmetric_mode=True))
    low, high = np.sort(rank[ends], axis=1).T
    return [pairs[k] for k in np.argsort(_interleaved(low, high), kind="stable")]


def _interleaved(x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.uint64]:
    """Compute (N,) Morton's numbers of points with whole coordinates: their bits by turns."""
    number = np.zeros(len(x), np.uint64)
    for bit in range(BITS):
        for k, axis in enumerate((y, x)):
            number |= ((axis.astype(np.uint64) >> np.uint64(bit)) & np.uint64(1)) << np.uint64(2 * bit + k)
    return number
