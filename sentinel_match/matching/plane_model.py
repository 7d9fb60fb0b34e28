"""What a plane transform does to an image: its matrix, its derivative, its rotation, and whether it is plausible."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from sentinel_match.matchers.validity import filled
from sentinel_match.matching.view import View, reduced, shift

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.geometry.grids import Points
    from sentinel_match.geometry.transform import PlaneTransform

LARGEST_ZOOM = 4.0
"""A model that shrinks or stretches by more is an artefact: everything agrees with one that maps it onto a spot."""
FINER = 1.2
"""Ratio of pixel sizes from which the finer view is reduced."""


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


def overlaid(left: View, right: View, model: PlaneTransform) -> tuple[View, View]:
    """Lay the right view over the left one as a model has it at the middle: turned, scaled, moved, not bent.

    Args:
        left: a view; reduced first where it is finer than the right one.
        right: a view; reduced first where it is finer than the left one.
        model: pixels of the left image to pixels of the right one.
    """
    middle = left.corners.mean(0)
    excess = zoom(model, middle) * left.scale / right.scale
    rows, cols = left.valid.shape
    if excess < 1 / FINER:
        left = reduced(left, (max(1, round(cols * excess)), max(1, round(rows * excess))))
    elif excess > FINER:
        height, width = right.valid.shape
        right = reduced(right, (max(1, round(width / excess)), max(1, round(height / excess))))
    turn, stretch = np.radians(rotation_angle(model, middle)), zoom(model, middle)
    similarity = np.eye(3)
    similarity[:2, :2] = stretch * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    to_right = shift(*model(middle[None])[0]) @ similarity @ shift(*-middle) @ left.matrix
    onto = shift(-0.5, -0.5) @ np.linalg.inv(to_right) @ right.matrix @ shift(0.5, 0.5)  # OpenCV's origin is a centre
    canvas = left.valid.shape[::-1]
    source = filled(np.asarray(right.pixels, np.float32), right.valid) if right.valid.any() else right.pixels
    pixels = cv2.warpAffine(np.asarray(source, np.float32), onto[:2], canvas, flags=cv2.INTER_CUBIC)
    valid = cv2.warpAffine(right.valid.astype(np.float32), onto[:2], canvas, flags=cv2.INTER_LINEAR)
    return left, View(np.clip(np.asarray(pixels, np.float32), 0, 1), np.asarray(valid) > 0.999, to_right)
