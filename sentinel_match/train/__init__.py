"""Networks trained on one ground seen on many dates: the truth is the georeference, and it is known for every pixel.

``places`` gathers what shows the same ground and keeps some ground apart, ``crops`` cuts pairs of it and changes them
as seasons, skies and sensors do (``mappings`` says where a pixel went). What a network must learn from them is said by
``dense`` (``surfaces`` is how it compares), by ``points`` (``labels`` are what it should find) and by ``assignment``;
``networks`` is the table of what can be trained. ``loop`` does it step by step, and ``card`` writes down what came of
it.
"""

from __future__ import annotations

from sentinel_match.train.places import Ground, Picture, Place, gather, hold_out

__all__ = ["Ground", "Picture", "Place", "gather", "hold_out"]
