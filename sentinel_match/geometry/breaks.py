"""Lines along which a displacement on a lattice jumps, told from waves by what lies beside them.

A window that a line runs through averages both sides of it: the field climbs from one to the other within the window's
side, and errs by up to half of the jump next to the line, however little noise there is. Neither half of the spectrum
knows more, so what is measured does not show it. The profile does: it climbs between the nodes on either side of the
line and nearly nowhere else, while a wave climbs on, or comes back at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BESIDE, FULLY = 5.0, 0.2
"""Times the most that a field climbs in the two steps on either side by which it must climb across a node, and by what
share of the climb it must do more for all of it to be a jump's. Across a jump windows of 32 px every 14 climb by .05,
.45, .45, .05 of it; of waves, those of 110 px climb most, 4.8 times as much as beside."""
SEEN = 0.9
"""Share of a jump that is climbed from the node before to the node after."""
WRONG = 0.25
"""Root mean square of a field's error within half a node of a line, as a share of the jump: single windows over steps
of .3 to 3 px on eight images; a Hann window of 32 px would make it .3 on the line, and less aside."""


def variance_beside(field: NDArray[np.float64]) -> NDArray[np.float64]:
    """Estimate (rows, cols, 2) the squared error of a field next to a line that it jumps at; 0 elsewhere.

    Args:
        field: (rows, cols, 2) of windows a little more than twice as wide as nodes lie apart.
    """
    jump = np.zeros(field.shape)
    for axis in (0, 1):
        along = np.moveaxis(field, axis, 0)
        count = len(along)
        padded = np.pad(along, ((3, 3), (0, 0), (0, 0)), mode="edge")
        # Six around each node, from the third before it to the third after
        steps = _length(np.diff(padded, axis=0))
        across = padded[4:-2] - padded[2:-4]
        beside = np.max([steps[k : k + count] for k in (0, 1, 4, 5)], axis=0)
        climb = np.maximum(_length(across), 1e-12)
        share = np.clip((climb - BESIDE * beside) / (FULLY * climb), 0, 1)[..., None]
        jump = np.maximum(jump, np.moveaxis((share * across / SEEN) ** 2, 0, axis))
    return np.asarray(WRONG**2 * jump)


def _length(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.hypot(vectors[..., 0], vectors[..., 1]))
