"""Values of matching: an image ready to be matched, how to look, and the correspondences that come of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from sentinel_match import matchers
from sentinel_match.errors import WeightsDamaged, WeightsMissing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from sentinel_match.geometry import transform
    from sentinel_match.raster.raster import Raster
    from sentinel_match.raster.transitions import Context

AUTO = "auto"
CASCADE = ("phase", "sift", "evergreen", "aliked+lightglue")
"""Of ``auto``: what starts, what checks it, what helps where little was found, and what is asked if nothing is
confirmed."""


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
        """The image whose grid and validity stand for all."""
        return self.images[0]


@dataclass(frozen=True)
class Method:
    """How to look."""

    matcher: matchers.Matcher | None = None
    """``None`` = ``auto``, the cascade."""
    guided: bool = True
    """Take the georeference as the prior."""
    everywhere: bool = False
    """Take none: search both images whole and at every rotation."""
    reach: float = 500.0
    """Metres by which the georeference may be off; never less than ``NEAREST`` pixels."""
    cells: int = 8
    """At most this many cells of 512 pixels are looked at."""
    model: str | None = None
    """Kind of transform, see ``verify.MINIMAL``; similarity when not given."""
    seed: int = 0
    device: str = "auto"
    """Of the matchers that ``auto`` makes."""

    @property
    def name(self) -> str:
        """``auto``, or the matcher's."""
        return self.matcher.name if self.matcher else AUTO

    @property
    def recipe(self) -> Mapping[str, object]:
        """Everything a result depends on, JSON-able."""
        chosen = (self.matcher,) if self.matcher else tuple(made(n, self.device) for n in CASCADE)
        return {
            "matchers": [{"name": m.name, **m.recipe} for m in chosen if m],
            **{k: v for k, v in vars(self).items() if k not in {"matcher", "device"}},
        }


@dataclass(frozen=True, eq=False)
class Correspondences:
    """What a method says of a pair."""

    left: NDArray[np.float64]
    """(N, 2) x, y in pixels of the left raster, corner origin: everything that was delivered."""
    right: NDArray[np.float64]
    """(N, 2) in pixels of the right raster."""
    score: NDArray[np.float64]
    """(N,) the method's own probability that each is right."""
    method: NDArray[np.str_]
    """(N,) name of the matcher."""
    seen: tuple[NDArray[np.float64], NDArray[np.float64]]
    """(K, 2) and (L, 2): keypoints, or points of the grid, that were looked at in the left and the right image; none
    in the right one where a method may answer with any position."""
    believed: NDArray[np.bool_]
    """(N,) agree with the model; all ``False`` where there is none."""
    model: transform.PlaneTransform | None = None
    """Left metres to right metres; ``None`` = no match."""
    why: str = ""
    """Why there is no match, or who confirmed it."""
    cells: int = 0
    """Cells that were looked at."""
    witness: NDArray[np.float64] | None = None
    """(N,) pixels within which correspondences share what they looked at."""
    radius: float = np.inf
    """Pixels over which wrong ones spread."""
    chance: float = np.inf
    """How many models as good chance alone would give."""

    def __len__(self) -> int:
        return len(self.score)


def made(name: str, device: str) -> matchers.Matcher | None:
    """A matcher of the cascade; ``None`` where its weights are not here."""
    kind = matchers.matcher_class(name)
    options = {"device": device} if "device" in getattr(kind, "__dataclass_fields__", {}) else {}
    try:
        return matchers.create(name, **options)
    except (WeightsMissing, WeightsDamaged):
        return None
