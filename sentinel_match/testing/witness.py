"""Pairs of images with what is true of them, where one shift of the whole is not the answer, or there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

if TYPE_CHECKING:
    from sentinel_match.geometry.grids import Points

Image: TypeAlias = NDArray[np.float64]
"""(rows, cols), the ground's percentiles 1 and 99 at about 0 and 1; ``nan`` for nothing there."""
Field: TypeAlias = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]
"""From x, y in pixels of the right image to (2, ...) pixels by which the ground that lies there has moved."""

MARGIN = 48
"""Pixels of ground beyond each rim of an image, which come into view where it moves."""


class Ground(NamedTuple):
    """What pairs are made of: images of one side, with :data:`MARGIN` all round."""

    here: Image
    """The ground."""
    later: Image
    """The same ground on another date, or once more."""
    elsewhere: Image
    """Other ground."""

    @property
    def side(self) -> tuple[int, int]:
        """Return rows and columns of an image cut from it."""
        rows, cols = self.here.shape
        return rows - 2 * MARGIN, cols - 2 * MARGIN


@dataclass(frozen=True, eq=False)
class Adversary:
    """A pair of images, and what is true of it."""

    kind: str
    said: str
    """Its parameters, for people."""
    left: Image
    right: Image
    moved: Field | None
    """``None`` where the images show nothing in common: whoever finds a match is wrong."""
    across: NDArray[np.float64] | None = None
    """(2,) unit vector along which alone the displacement can be known; ``None``: along every one."""
    knowable: bool = True
    """Whether the images decide between the true displacement and others at all."""

    tolerance: float = 0.0
    """Pixels up to which the truth of a single point is not defined: stairs of an image move by whole steps."""

    burnt: NDArray[np.bool_] | None = None
    """(rows, cols) what is the same in both to the last digit."""

    def true(self, points: Points) -> Points:
        """Compute (N, 2) by how many pixels the ground at points of the left image has moved."""
        assert self.moved is not None  # noqa: S101
        at = (points - 0.5).T
        there = at.copy()
        for _ in range(40):
            there = at + self.moved(*there)
        return np.asarray((there - at).T)

    def errors(self, points: Points, measured: Points) -> Points:
        """Compute (N, 2) by how many pixels displacements are wrong, along the axes that can be known, else 0.

        Args:
            points: (N, 2) x, y in the left image, pixels from its corner.
            measured: (N, 2) right minus left.
        """
        if self.moved is None:
            return np.full(points.shape, np.inf)
        wrong = measured - self.true(points)
        return wrong if self.across is None else np.outer(wrong @ self.across, self.across)


def still(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move nothing: a field."""
    return np.zeros((2, *np.broadcast_shapes(np.shape(x), np.shape(y))))


def by(shift: NDArray[np.float64]) -> Field:
    """Make the field of one shift, (2,) x and y."""
    return lambda x, y: np.multiply.outer(shift, np.ones(np.broadcast_shapes(np.shape(x), np.shape(y))))


def wave(length: float, towards: float, along: float, size: float) -> Field:
    """Make the field of a sinusoid whose phase runs towards one angle, and which moves along another."""
    k = 2 * np.pi / length * np.array([np.cos(towards), np.sin(towards)])
    unit = np.array([np.cos(along), np.sin(along)])
    return lambda x, y: np.multiply.outer(size * unit, np.sin(k[0] * x + k[1] * y))


def shown(ground: Image, moved: Field = still) -> Image:
    """Show ground, displaced by a field, within its margins."""
    rows, cols = (n - 2 * MARGIN for n in ground.shape)
    y, x = np.mgrid[0:rows, 0:cols].astype(float)
    dx, dy = moved(x, y)
    if not (dx.any() or dy.any()):
        return ground[MARGIN:-MARGIN, MARGIN:-MARGIN].copy()
    coefficients = ndimage.spline_filter(ground, order=5)
    at = [y - dy + MARGIN, x - dx + MARGIN]
    return np.asarray(ndimage.map_coordinates(coefficients, at, order=5, prefilter=False, mode="mirror"))


def shift_of(rng: np.random.Generator, most: float = 6.0) -> NDArray[np.float64]:
    """Draw a shift, in x and in y, of at least a fifth of a pixel."""
    length, angle = np.exp(rng.uniform(np.log(0.2), np.log(most))), rng.uniform(0, 2 * np.pi)
    return np.asarray(length * np.array([np.cos(angle), np.sin(angle)]))
