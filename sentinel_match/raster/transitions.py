"""What lies on the ground, and which of it may turn into which from one season to another.

Three separable parts: classes that never correspond are masked (the gate), what lies around two positions re-weights
their assignment, and every tie point tells its classes. After SemaGlue's idea of a semantic context beside the
appearance of a keypoint, with Sentinel-2's own classes in place of a segmentation network, and nothing learned.

How alike two grounds are (:data:`LIKENESS`) is a judgement on what the same place does in a year, not a measurement:
fields are vegetation and bare soil by turns (0.8), snow falls on everything and hides contrast (0.6 to 0.7, least on
forest), SCL has no class for houses and calls them bare (0.9) or green (0.5), lakes freeze (0.3). Shores move with tide
and reservoir, and SCL takes dark ground for water now and then, so water is land with 0.05 and not with 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from sentinel_match import schema
from sentinel_match.comparison import ClassCount
from sentinel_match.raster.landcover import Class, ClassMap

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

GROUND_CLASSES = (Class.VEGETATION, Class.BARE, Class.BUILT, Class.WATER, Class.SNOW)
"""Classes that say what a place is, in the order of :data:`LIKENESS`."""
LIKENESS = np.array(
    [
        [1.00, 0.80, 0.50, 0.05, 0.60],
        [0.80, 1.00, 0.90, 0.05, 0.70],
        [0.50, 0.90, 1.00, 0.05, 0.60],
        [0.05, 0.05, 0.05, 1.00, 0.30],
        [0.60, 0.70, 0.60, 0.30, 1.00],
    ],
    np.float32,
)
"""How well ground of one class may be ground of another on another date; symmetric, positive definite."""
UNMATCHABLE = (Class.CLOUD, Class.SHADOW, Class.DEFECTIVE)
"""What corresponds to nothing, not even to its like."""
CONTEXT_RADIUS = 8
"""Pixels around a position that its context is taken from: about half of what a descriptor sees."""


@dataclass(frozen=True, eq=False)
class Context:
    """The classes around every position of one image."""

    classes: NDArray[np.uint8]
    """(rows, cols), values of :class:`~sentinel_match.raster.landcover.Class`; may be a memory map."""
    weight: float = 1.0
    """What the logarithm of the compatibility is multiplied with."""
    gate: bool = True
    """Whether a position on :data:`UNMATCHABLE` is out of question."""
    radius: int = CONTEXT_RADIUS
    """Pixels."""

    def crop(self, row: int, col: int, height: int, width: int) -> Context:
        """Crop the context of a rectangle inside the image, a view."""
        return replace(self, classes=self.classes[row : row + height, col : col + width])

    def at(self, points: NDArray[Any]) -> NDArray[np.uint8]:
        """Look up (N,) the class under each (N, 2) x, y, pixels from the outer corner; unknown outside the image."""
        return at(self.classes, points)

    def shares(self, points: NDArray[Any]) -> NDArray[np.float32]:
        """Count (N, 5) the share of each of :data:`GROUND_CLASSES` in the square around each point, 2 radius + 1 wide.

        Their sum is the share that is known: no-data, cloud, shadow and what lies outside the image say nothing.
        """
        r, side = self.radius, 2 * self.radius + 1
        table = np.zeros((len(points), len(GROUND_CLASSES)), np.float32)
        if not len(points):
            return table
        (left, top), (right, bottom) = (np.floor(edge).astype(int) for edge in (points.min(0), points.max(0)))
        rows, cols = self.classes.shape
        row, col = max(0, min(top - r, rows)), max(0, min(left - r, cols))
        classes = np.asarray(self.classes[row : max(0, bottom + r + 1), col : max(0, right + r + 1)])
        x, y = (np.floor(points).astype(int) - (col, row)).T
        inside = (x >= 0) & (y >= 0) & (x < classes.shape[1]) & (y < classes.shape[0])
        for k, ground in enumerate(GROUND_CLASSES):
            layer = (classes == ground).astype(np.float32)
            if layer.any():
                share = cv2.boxFilter(layer, cv2.CV_32F, (side, side), borderType=cv2.BORDER_CONSTANT)
                table[inside, k] = share[y[inside], x[inside]]
        return table

    def compatibility(self, left: NDArray[Any], other: Context, right: NDArray[Any]) -> NDArray[np.float32]:
        """Compare surroundings: how well may those of positions in this image be those of positions in another?

        With L the likeness and s, t the shares of ground around two positions, it is s'Lt / sqrt(s'Ls t't's Lt): 1 for
        equal surroundings, however mixed they are, so a shore is no worse a place than the middle of a forest. Where
        only a part of the surroundings is known, its logarithm counts by that part, so the unknown is neutral.

        Args:
            left: (N, 2) x, y in this image, pixels from the outer corner.
            other: the context of the right image.
            right: (M, 2) in that one.

        Returns:
            (N, M) weight times log-compatibility: 0 and below, -inf for what never corresponds.
        """
        (s, known), (t, known_there) = (_directions(c.shares(p)) for c, p in ((self, left), (other, right)))
        likeness = np.clip(s @ LIKENESS @ t.T, 1e-6, 1)
        certainty = known[:, None] * known_there[None]
        log = np.asarray(self.weight * certainty * np.log(likeness), np.float32)
        for axis, (context, points) in enumerate(((self, left), (other, right))):
            if context.gate:
                never = np.isin(context.at(points), UNMATCHABLE)
                log[(never, slice(None)) if axis == 0 else (slice(None), never)] = -np.inf
        return log


_SEMANTICS_KINDS = {
    "reweight": schema.TRUE_OR_FALSE,
    "gate": schema.TRUE_OR_FALSE,
    "maps": schema.ArgumentKind((tuple, list), "one or two paths"),
    "table": schema.ArgumentKind(str, "scl, worldcover, or the path of a CSV").or_none(),
    "weight": schema.AMOUNT,
}


@dataclass(frozen=True)
class Semantics:
    """What use is made of classes.

    Examples:
        >>> from sentinel_match import Options, Semantics
        >>> options = Options(semantics=Semantics(maps=("classes.tif",), table="worldcover"))
    """

    reweight: bool = True
    """Whether the assignment prefers what may be the same ground."""
    gate: bool = True
    """Whether classes that never correspond are masked by the user's maps, and out of question for the assignment."""
    maps: tuple[Path, ...] = ()
    """The user's class maps: one for both images (WorldCover), or one for each, left first. Else the products' own."""
    table: str | None = None
    """What the codes of the maps mean: see :class:`~sentinel_match.raster.landcover.ClassMap`."""
    weight: float = 1.0
    """Of the log-compatibility beside the logarithm of the assignment."""

    def __post_init__(self) -> None:
        """Fail now at what cannot be used; one map may be given without a tuple.

        Raises:
            TypeError, ValueError: a value is none that an option can have.
        """
        if isinstance(self.maps, (str, PathLike)):
            object.__setattr__(self, "maps", (self.maps,))
        schema.check_fields(self, _SEMANTICS_KINDS)
        for path in self.maps:
            schema.check_argument("Semantics.maps", path, schema.A_PATH)
        object.__setattr__(self, "maps", tuple(Path(path) for path in self.maps))
        if len(self.maps) > 2:
            raise ValueError(f"give one class map for both images or one for each, not {len(self.maps)}")

    def map_of(self, side: int) -> ClassMap | None:
        """Return the user's map of the left (0) or the right (1) image, as ``load.load`` takes it."""
        return ClassMap(self.maps[side if len(self.maps) > 1 else 0], self.table, self.gate) if self.maps else None

    def context(self, classes: NDArray[np.uint8]) -> Context | None:
        """Make the context that a prior uses; ``None`` where classes are not wanted, or none is known."""
        return Context(classes, self.weight, self.gate) if self.reweight and np.any(classes) else None

    @property
    def recipe(self) -> Mapping[str, object]:
        """Return what a result depends on, JSON-able: the contents of the maps instead of their names.

        Raises:
            BadClasses: a map or the table is not there.
        """
        maps = [dict(ClassMap(path, self.table, self.gate).recipe) for path in self.maps]
        return {"reweight": self.reweight, "gate": self.gate, "weight": self.weight, "maps": maps}


def at(classes: NDArray[np.uint8], points: NDArray[Any]) -> NDArray[np.uint8]:
    """Look up (N,) the class under each (N, 2) x, y, pixels from the outer corner; unknown outside the image."""
    x, y = np.floor(points).astype(int).reshape(-1, 2).T
    rows, cols = classes.shape
    inside = (x >= 0) & (y >= 0) & (x < cols) & (y < rows)
    found = np.zeros(len(x), np.uint8)
    found[inside] = classes[y[inside], x[inside]]
    return found


def by_class(left: NDArray[np.uint8], right: NDArray[np.uint8], inlier: NDArray[np.bool_]) -> dict[str, ClassCount]:
    """Count tie points by what lies at their ends.

    Args:
        left: (N,) class in the left image, values of :class:`~sentinel_match.raster.landcover.Class`.
        right: (N,) in the right one.
        inlier: (N,) whether it is believed.

    Returns:
        ``{"vegetation": …, "vegetation > snow": …}``: equal classes under one name, the confusions as
        ``left > right``, most points first.
    """
    pairs, index, count = np.unique(np.column_stack([left, right]), axis=0, return_inverse=True, return_counts=True)
    inliers = np.bincount(index.ravel(), weights=inlier, minlength=len(pairs)).astype(int)
    table = {}
    for k in np.argsort(-count, kind="stable"):
        here, there = (Class(code).name.lower() for code in pairs[k])
        table[here if here == there else f"{here} > {there}"] = ClassCount(int(count[k]), int(inliers[k]))
    return table


def _directions(shares: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Turn shares into vectors of length one in the metric of the likeness, and tell how much is known."""
    length = np.sqrt(np.einsum("ni,ij,nj->n", shares, LIKENESS, shares))
    return shares / np.maximum(length, 1e-6)[:, None], shares.sum(1)
