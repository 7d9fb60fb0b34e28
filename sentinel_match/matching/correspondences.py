"""Values of matching: an image ready to be matched, how correspondences are looked for, and those that come of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from sentinel_match import matchers
from sentinel_match.errors import UnknownMatcher, WeightsDamaged, WeightsMissing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from sentinel_match.geometry import transform
    from sentinel_match.raster.raster import Raster
    from sentinel_match.raster.transitions import Context

AUTO = "auto"
CASCADE = ("phase", "sift", "evergreen", "loftr")
"""Matchers of ``auto``: the one that starts, the one that checks it, the one that helps where little was found, and the
one that decides if nothing is confirmed, and searches where there is no prior."""


@dataclass(frozen=True, eq=False)
class MatchInput:
    """One image of a pair, ready to be matched."""

    images: tuple[Raster, ...]
    """One per band or index, on one lattice with one validity."""
    context: Context | None = None
    """What lies where; ``None`` = not known or not wanted."""
    recipe: Mapping[str, object] = field(default_factory=dict)
    """What it was made from; empty = keep nothing in the cache."""

    @property
    def first(self) -> Raster:
        """Return the image whose grid and validity stand for all."""
        return self.images[0]


@dataclass(frozen=True)
class Method:
    """How correspondences are looked for."""

    matcher: matchers.Matcher | None = None
    """``None`` = ``auto``, the cascade."""
    guided: bool = True
    """Take the georeference as the prior."""
    everywhere: bool = False
    """Take none: search both images whole and at every rotation."""
    reach: float = 500.0
    """Metres by which the georeference may be off; taken as ``cascade.LEAST_PRIOR_RADIUS`` pixels at least."""
    cells: int = 8
    """At most this many cells of 512 pixels are looked at."""
    model: str | None = None
    """Kind of transform, a key of ``transform.MINIMAL``; similarity when not given."""
    seed: int = 0
    """Of the robust fit."""
    device: str = "auto"
    """Of the matchers that ``auto`` makes."""

    @property
    def name(self) -> str:
        """Return the matcher's name, or ``auto``."""
        return self.matcher.name if self.matcher else AUTO

    @property
    def recipe(self) -> Mapping[str, object]:
        """List everything a result depends on, JSON-able."""
        used = (self.matcher,) if self.matcher else tuple(available_matcher(n, self.device) for n in CASCADE)
        return {
            "matchers": [{"name": m.name, **m.recipe} for m in used if m],
            **{k: v for k, v in vars(self).items() if k not in {"matcher", "device"}},
        }


@dataclass(frozen=True, eq=False)
class Correspondences:
    """All that a method found on a pair, the model it supports, and what judging them takes; N rows in every array."""

    left: NDArray[np.float64]
    """(N, 2) x, y in pixels of the left raster, corner origin: everything that was delivered, right or wrong."""
    right: NDArray[np.float64]
    """(N, 2) x, y in pixels of the right raster."""
    score: NDArray[np.float64]
    """(N,) the method's own probability that each is right."""
    method: NDArray[np.str_]
    """(N,) name of the matcher."""
    keypoints: tuple[NDArray[np.float64], NDArray[np.float64]]
    """(K, 2) and (L, 2): everything that was looked at in the left and in the right image, keypoints or points of a
    grid; none in the right one where a method may answer with any position."""
    inlier: NDArray[np.bool_]
    """(N,) whether each agrees with the model; all ``False`` where there is none."""
    model: transform.PlaneTransform | None = None
    """Left metres to right metres; ``None`` = no match."""
    why: str = ""
    """Why there is no match, or who confirmed it."""
    cells: int = 0
    """Number of cells that were looked at."""
    independence: NDArray[np.float64] | float = matchers.WITNESS_DISTANCE_PX
    """(N,), or one for all: pixels from a correspondence beyond which another is evidence of its own. Closer ones share
    what they looked at and are right or wrong together."""
    radius: float = np.inf
    """Pixels over which wrong correspondences spread."""
    chance: float = np.inf
    """Expected number of models as good as this one that chance alone would give."""
    contradicted: bool = False
    """Whether there is no match because methods find different shifts and nothing decides between them."""

    def __len__(self) -> int:
        return len(self.score)


def named_matcher(name: str, device: str, **options: object) -> matchers.Matcher | None:
    """Create the matcher of a name, or of ``auto`` none, which stands for the cascade: see :func:`create_on`.

    Raises:
        UnknownMatcher, WeightsMissing, WeightsDamaged: see :func:`sentinel_match.matchers.create`.
    """
    if name == AUTO:
        return None
    try:
        return create_on(name, device, **options)
    except UnknownMatcher as error:
        raise UnknownMatcher(name, (AUTO, *error.known)) from None


def create_on(name: str, device: str, **options: object) -> matchers.Matcher:
    """Create a matcher that computes on a device, where it has a choice.

    Raises:
        UnknownMatcher, WeightsMissing, WeightsDamaged: see :func:`sentinel_match.matchers.create`.
    """
    chooses = "device" in getattr(matchers.matcher_class(name), "__dataclass_fields__", {})
    return matchers.create(name, **({"device": device} if chooses else {}), **options)


def available_matcher(name: str, device: str) -> matchers.Matcher | None:
    """Make a matcher of the cascade; ``None`` where its weights are not on this machine."""
    try:
        return create_on(name, device)
    except (WeightsMissing, WeightsDamaged):
        return None
