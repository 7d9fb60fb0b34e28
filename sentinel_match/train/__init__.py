"""Networks trained on one ground seen on many dates: the truth is the georeference, and it is known for every pixel.

``places`` gathers what shows the same ground and keeps some ground apart, ``crops`` cuts pairs of it and changes them
as seasons, skies and sensors do (``mappings`` says where a pixel went). What a network must learn from them is a
``task``: ``dense`` (``surfaces`` is how it compares), ``coarse_to_fine``, ``points`` or ``assignment``; ``odds`` say
how likely what it finds is right. ``networks`` is the table of what can be trained, ``begin`` prepares one of them,
``loop`` trains it step by step, ``figures`` say how good it is, and ``card`` writes down what came of it.
"""

from __future__ import annotations

from sentinel_match.train.places import Ground, Picture, Place, gather, hold_out

__all__ = ["Ground", "Picture", "Place", "gather", "hold_out"]
