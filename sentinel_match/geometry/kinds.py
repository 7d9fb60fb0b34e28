"""Kinds of transforms, from the most constrained to the most pliant."""

from __future__ import annotations

MINIMAL = {"translation": 1, "similarity": 2, "affine": 3, "homography": 4}
"""Points that determine each model, from the most constrained to the least."""
BENDS = ("polynomial2", "polynomial3", "track", "field")
"""Kinds beyond a plane transform, from stiff to pliant: surfaces of second and third degree, a curve along the track,
and a smooth surface."""
NONE = "none"
"""The kind of no transform at all: nothing is fitted, the images stay as they lie."""
KINDS = (NONE, *MINIMAL, *BENDS)


def whole_overlap(kind: str) -> str:
    """Say of a kind of transform that it holds for the whole overlap; empty of a field, which does not."""
    kinds = {"field": "", NONE: "nothing is corrected", "translation": "one shift for the whole overlap"}
    return kinds.get(kind, f"one {kind} for the whole overlap")
