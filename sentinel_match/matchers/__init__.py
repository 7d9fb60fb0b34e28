"""The seam where matching methods plug in: a Protocol and a registry of entry points.

A matcher is a frozen dataclass of its options, registered in the entry-point group ``sentinel_match.matchers`` (the
built-ins by the same path; see this project's ``pyproject.toml``). Work on one image (``describe``) is apart from
work on two (``match``), so that a scene is described once, whatever pairs it is in. Networks are not fields: a
matcher pickles as its options.

Every coordinate that leaves a matcher is (x, y) = (column, row) in pixels, float64, **origin at the outer corner of
the first pixel**, so the centre of the first pixel is (0.5, 0.5). Converting a network's own convention is the
matcher's job.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sentinel_match.errors import UnknownMatcher

if TYPE_CHECKING:
    from sentinel_match.matchers.prior import GeometricPrior
    from sentinel_match.models.weights import Weights

GROUP = "sentinel_match.matchers"
DEFAULT = "superpoint+lightglue"
WITNESS_DISTANCE_PX = 64.0
"""Pixels within which correspondences share what they look at, unless their method says otherwise."""

Arrays: TypeAlias = Mapping[str, NDArray[Any]]
"""What ``describe`` keeps of one image: named arrays, cacheable as they are."""


@dataclass(frozen=True, eq=False)
class Matches:
    """Correspondences between two images."""

    left: NDArray[np.float64]
    """(N, 2) x, y in the left image, pixels, corner origin."""
    right: NDArray[np.float64]
    """(N, 2) x, y in the right image."""
    score: NDArray[np.float64]
    """(N,) confidence, 0 to 1."""
    support: NDArray[np.float64] | None = None
    """(N,) side in pixels of what each looked at; closer ones are no independent witnesses. Where it is unknown,
    ``WITNESS_DISTANCE_PX``."""

    def __len__(self) -> int:
        return len(self.score)

    @property
    def witnesses(self) -> NDArray[np.float64]:
        """Compute the (N,) pixels within which correspondences share what they looked at."""
        return np.full(len(self), WITNESS_DISTANCE_PX) if self.support is None else self.support

    def where(self, keep: NDArray[np.bool_] | NDArray[np.int_]) -> Matches:
        """Keep some of them.

        Args:
            keep: (N,), ``True`` for those that stay; or the indices of those.
        """
        support = None if self.support is None else self.support[keep]
        return Matches(self.left[keep], self.right[keep], self.score[keep], support)

    @staticmethod
    def none() -> Matches:
        """Make an empty one: no correspondence at all."""
        return Matches(np.empty((0, 2)), np.empty((0, 2)), np.empty(0))

    @staticmethod
    def of_keypoints(
        left: Arrays, right: Arrays, rows: NDArray[Any], cols: NDArray[Any], score: NDArray[np.floating[Any]]
    ) -> Matches:
        """Pair keypoints of two described images.

        Args:
            left: from ``describe``.
            right: from ``describe``.
            rows: (N,) which keypoints of the left image.
            cols: (N,) and which of the right one.
            score: (N,) confidence, 0 to 1.
        """
        return Matches(
            left["keypoints"][rows].astype(np.float64),
            right["keypoints"][cols].astype(np.float64),
            score.astype(np.float64),
        )


class Matcher(Protocol):
    """A method that finds correspondences between two images."""

    name: ClassVar[str]
    """Registered name, ``superpoint+lightglue``."""
    summary: ClassVar[str]
    """One line for the table of matchers."""
    weights: ClassVar[tuple[Weights, ...]]
    """Weight files it needs; empty for a classical method."""

    @property
    def recipe(self) -> Mapping[str, object]:
        """Name everything ``describe`` depends on (options, hash of the weights, version of the method): JSON-able."""
        ...

    def check(self) -> None:
        """Fail now, in milliseconds and without loading anything, if it could not run.

        Raises:
            WeightsMissing, WeightsDamaged: a weights file is absent or is not the right one.
        """
        ...

    def describe(self, pixels: NDArray[np.float32], valid: NDArray[np.bool_]) -> Arrays:
        """Keep of one image what matching needs.

        Args:
            pixels: (rows, cols), normalised to 0..1.
            valid: (rows, cols), ``True`` = usable; nothing may be detected on or next to invalid pixels.

        Returns:
            Named arrays; sparse methods hold ``keypoints`` (N, 2), ``scores`` (N,) and ``descriptors`` (N, D).
        """
        ...

    def match(self, left: Arrays, right: Arrays, prior: GeometricPrior | None = None) -> Matches:
        """Find correspondences between two described images. An empty image has none; that is no error.

        Args:
            left: what ``describe`` kept of the left image.
            right: and of the right one.
            prior: where to look and what may correspond; it takes part in the assignment. Anywhere when absent.
        """
        ...


@cache
def _entries() -> dict[str, EntryPoint]:
    return {e.name: e for e in sorted(entry_points(group=GROUP), key=lambda e: e.name)}


def names() -> tuple[str, ...]:
    """List the names of all registered matchers, built-in and plugged in."""
    return tuple(_entries())


def matcher_class(name: str) -> type[Matcher]:
    """Import the class registered under a name; that loads neither torch nor weights.

    Raises:
        UnknownMatcher: no matcher of that name.
    """
    try:
        entry = _entries()[name]
    except KeyError:
        raise UnknownMatcher(name, names()) from None
    loaded: type[Matcher] = entry.load()
    return loaded


def create(name: str = DEFAULT, **options: object) -> Matcher:
    """Make a matcher with the given options and check that what it needs is on this machine.

    Raises:
        UnknownMatcher: no matcher of that name.
        WeightsMissing, WeightsDamaged: see :meth:`Matcher.check`.
    """
    matcher = matcher_class(name)(**options)
    matcher.check()
    return matcher
