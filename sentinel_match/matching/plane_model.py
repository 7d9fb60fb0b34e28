"""What a plane transform does to an image: its matrix, its derivative, its rotation, and whether it is plausible."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sentinel_match.matching.view import shift

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.geometry.grids import Points
    from sentinel_match.geometry.transform import PlaneTransform

LARGEST_ZOOM = 4.0
"""A model that shrinks or stretches by more is an artefact: everything agrees with one that maps it onto a spot."""


def homogeneous(model: PlaneTransform) -> NDArray[np.float64]:
    """Write a model as one (3, 3) matrix, without the origin it keeps apart."""
    return np.asarray(shift(*model.origin) @ model.matrix @ shift(*-model.origin))


def derivative(model: PlaneTransform, at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the (2, 2) derivative of a model at one point (2,)."""
    here, right, below = model(at + np.array([[0, 0], [1.0, 0], [0, 1.0]]))
    return np.column_stack([right - here, below - here])


def rotation_angle(model: PlaneTransform, at: NDArray[np.float64]) -> float:
    """Compute the degrees clockwise, -180 to 180, by which a model turns what is at a point (2,): nearest rotation."""
    (a, b), (c, d) = derivative(model, at)
    return float(np.degrees(np.arctan2(c - b, a + d)))


def zoom(model: PlaneTransform, at: NDArray[np.float64]) -> float:
    """Compute by how much a model stretches what is at a point (2,)."""
    return float(np.sqrt(abs(np.linalg.det(derivative(model, at)))))


def is_plausible(model: PlaneTransform, points: Points) -> bool:
    """Tell whether a model shows the same ground wherever the points are: no mirror, no collapse, no fold."""
    low, high = points.min(0), points.max(0)
    corners = [low, high, np.array([low[0], high[1]]), np.array([high[0], low[1]])]
    derivatives = np.stack([derivative(model, at) for at in corners])
    strain = np.linalg.svd(derivatives, compute_uv=False)
    bounded = (strain.max() <= LARGEST_ZOOM) & (strain.min() >= 1 / LARGEST_ZOOM)
    return bool(np.isfinite(derivatives).all() and (np.linalg.det(derivatives) > 0).all() and bounded)
