"""One method on some cells of a pair: what it delivers there, and the model that its correspondences agree on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sentinel_match.geometry import transform
from sentinel_match.geometry.grids import origin_of
from sentinel_match.matchers import Matches
from sentinel_match.matching import consensus
from sentinel_match.matching.cells import CELL_MARGIN, CELL_SIDE
from sentinel_match.matching.correspondences import Correspondences
from sentinel_match.parallel import in_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from sentinel_match import matchers
    from sentinel_match.cache import Cache
    from sentinel_match.matchers.prior import GeometricPrior
    from sentinel_match.matching.cells import Cell
    from sentinel_match.matching.correspondences import MatchInput, Method
    from sentinel_match.raster.raster import Raster

PRECISE = 1.0
"""Pixels within which a point of ``phase``, or of the cascade, must lie of the model: such points are right to that."""
DENSE = ("phase", "evergreen")
"""Those that look at every point of one grid. They correlate alike, so one is no witness of the other."""


@dataclass(frozen=True, eq=False)
class CellMatching:
    """Two sides, the way they are looked at, and what all methods share."""

    left: MatchInput
    right: MatchInput
    method: Method
    cache: Cache | None
    tell: Callable[[str, int, int], None]
    prior: GeometricPrior
    """Of infinite radius where nothing is known but what lies where."""
    cells: Sequence[Cell]

    def nothing(self, why: str) -> Correspondences:
        """No correspondence at all."""
        none = Matches.none()
        return Correspondences(
            none.left,
            none.right,
            none.score,
            np.empty(0, "U64"),
            (none.left, none.right),
            np.empty(0, bool),
            None,
            why,
            len(self.cells),
        )

    def radius(self, matcher: matchers.Matcher) -> float:
        """Pixels over which a matcher's wrong correspondences spread: those it can reach of those the prior allows."""
        return min(self.prior.radius, CELL_SIDE / 2, float(getattr(matcher, "farthest", np.inf)))

    def confirms(self, model: transform.PlaneTransform, found: Correspondences) -> bool:
        """Whether a method that had no part in a model supports it."""
        return consensus.confirms(model, found, self.left.first, self.right.first)

    def look(self, matcher: matchers.Matcher, cells: Sequence[Cell]) -> Correspondences:
        """What one matcher finds in some cells, in pixels of the two rasters; nothing is judged yet."""
        parts, looked = [], [(np.empty((0, 2)), np.empty((0, 2)))]
        for k, (matches, seen) in enumerate(in_threads(lambda cell: self._cell(matcher, cell), list(cells))):
            self.tell(f"match ({matcher.name})", k, len(cells))
            parts.append(matches)
            looked.append(seen)
        self.tell(f"match ({matcher.name})", len(cells), len(cells))
        parts = parts or [Matches.none()]
        left, right, score = (np.concatenate([getattr(p, name) for p in parts]) for name in ("left", "right", "score"))
        return Correspondences(
            left,
            right,
            score,
            method=np.full(len(score), matcher.name, "U64"),
            seen=(np.concatenate([s[0] for s in looked]), np.concatenate([s[1] for s in looked])),
            believed=np.zeros(len(score), bool),
            cells=len(cells),
            witness=np.concatenate([p.witnesses for p in parts]),
            radius=self.radius(matcher),
        )

    def _cell(
        self, matcher: matchers.Matcher, cell: Cell
    ) -> tuple[Matches, tuple[NDArray[np.float64], NDArray[np.float64]]]:
        a, b = self.left.first, self.right.first
        frames = [cell.window(image.geobox) for image in (a, b)]
        # Where the right image's content lies far from where it should, its window goes along
        row, col, height, width = frames[0]
        middle = np.array([[col + width / 2, row + height / 2]])
        lattice = np.subtract(origin_of(a.geobox), origin_of(b.geobox))[::-1]
        far = self.prior.expected(middle)[0] - middle[0] - lattice
        # In coarse steps: cells that lie a little off serve other pairs too, and their margins make up for it
        cols, rows = (CELL_MARGIN // 2 * np.round(far / (CELL_MARGIN // 2))).astype(int)
        frames[1] = cell.window(b.geobox, (int(rows), int(cols)))
        origins = [np.array([frame[1], frame[0]], float) for frame in frames]
        prior = self.prior.within_cell(frames[0], frames[1])
        if np.isfinite(prior.radius):
            prior = replace(prior, radius=self.radius(matcher))
        found: list[Matches] = []
        seen: tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]] = ([], [])
        for images in zip(self.left.images, self.right.images, strict=True):
            described = [
                self._described(matcher, side, image, frame)
                for side, image, frame in zip((self.left, self.right), images, frames, strict=True)
            ]
            found.append(matcher.match(described[0], described[1], prior))
            for k, arrays in enumerate(described):
                if k == 0 or "keypoints" in arrays:
                    seen[k].append(_looked_at(arrays, getattr(matcher, "spacing", 8)) + origins[k])
        left, right, score = (np.concatenate([getattr(m, name) for m in found]) for name in ("left", "right", "score"))
        inside = cell.holds(left + origins[0], a.geobox)
        witness = np.concatenate([m.witnesses for m in found])[inside]
        matches = Matches((left + origins[0])[inside], (right + origins[1])[inside], score[inside], witness)
        here = np.concatenate(seen[0])
        there = np.concatenate(seen[1]) if seen[1] else np.empty((0, 2))
        return matches, (here[cell.holds(here, a.geobox)], there)

    def _described(
        self, matcher: matchers.Matcher, side: MatchInput, image: Raster, frame: tuple[int, int, int, int]
    ) -> matchers.Arrays:
        view = image.crop(*frame)

        def describe() -> matchers.Arrays:
            return matcher.describe(np.asarray(view.pixels, np.float32), np.asarray(view.valid))

        if self.cache is None or not side.recipe:
            return describe()
        recipe = {
            "kind": "features",
            "scene": side.recipe,
            "image": next(k for k, other in enumerate(side.images) if other is image),
            "grid": [str(image.geobox.crs), list(view.geobox.affine)[:6], list(frame[2:])],
            "matcher": {"name": matcher.name, **matcher.recipe},
        }
        return self.cache.arrays(recipe, describe)

    def judged(self, found: Correspondences, tolerance: float | None = None) -> Correspondences:
        """The same with the model its correspondences agree on, or with the reason why there is none."""
        kind = self.method.model or "similarity"
        if tolerance is None:
            tolerance = PRECISE if len(found) and np.isin(found.method, DENSE).all() else consensus.COARSE_TOLERANCE
        try:
            model, believed, chance = consensus.coarse_model(
                kind, found, self.left.first, self.right.first, tolerance, self.method.seed
            )
        except transform.NoModel as error:
            return replace(found, why=str(error))
        return replace(found, model=model, believed=believed, chance=chance)


def _looked_at(arrays: matchers.Arrays, spacing: int) -> NDArray[np.float64]:
    """(K, 2) keypoints of a described image, or points of the grid of a method without any."""
    if "keypoints" in arrays:
        return np.asarray(arrays["keypoints"], np.float64)
    area = next((arrays[name] for name in ("valid", "allowed") if name in arrays), np.empty((0, 0)))
    rows, cols = np.nonzero(np.asarray(area[spacing // 2 :: spacing, spacing // 2 :: spacing]))
    grid = (spacing // 2 + spacing * np.column_stack([cols, rows])).astype(np.float64)
    return np.asarray(grid * arrays.get("scale", 1.0))
