"""How often scenes are read while pairs are matched one after the other, and only the last used ones are kept."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sentinel_match.products.pair import Pair


def reads(pairs: Iterable[Pair], kept: int) -> int:
    """Count the scenes that are read when the last used ones are kept.

    Args:
        pairs: in the order in which they are matched.
        kept: scenes.
    """
    at_hand: OrderedDict[int, None] = OrderedDict()
    count = 0
    for pair in pairs:
        for scene in (id(pair.left), id(pair.right)):
            count += scene not in at_hand
            at_hand[scene] = None
            at_hand.move_to_end(scene)
            if len(at_hand) > kept:
                at_hand.popitem(last=False)
    return count
