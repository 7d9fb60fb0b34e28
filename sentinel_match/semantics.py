"""What lies on the ground, and which of it may turn into which from one season to another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Context:
    """The classes around every position of one image."""

    classes: NDArray[np.uint8]

    def compatibility(self, left: NDArray[Any], other: Context, right: NDArray[Any]) -> NDArray[np.float32]:
        """(N, M) log-compatibility."""
        raise NotImplementedError
