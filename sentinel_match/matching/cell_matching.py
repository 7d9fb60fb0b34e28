"""One method on some cells of a pair: what it finds there, and the model that its correspondences agree on."""

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
from sentinel_match.raster.npy import release

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from sentinel_match import matchers
    from sentinel_match.cache import Cache
    from sentinel_match.matchers.prior import GeometricPrior
    from sentinel_match.matching.cells import Cell
    from sentinel_match.matching.correspondences import MatchInput, Method
    from sentinel_match.raster.raster import Raster

PRECISE_TOLERANCE = 1.0
"""Pixels within which a point of ``phase``, or of the cascade, must lie of the model: such points are right to that."""
DENSE_METHODS = ("phase", "evergreen")
"""Methods that look at every point of one grid. They correlate alike, so neither confirms the other."""


@dataclass(frozen=True, eq=False)
class CellMatching:
    """Two images, how correspondences are looked for, and what all methods share: the prior and the cells."""

    left: MatchInput
    right: MatchInput
    method: Method
    cache: Cache | None
    progress: Callable[[str, int, int], None]
    prior: GeometricPrior
    """Of infinite radius where nothing is known but what lies where."""
    cells: Sequence[Cell]

    def nothing(self, why: str) -> Correspondences:
        """Make correspondences without any, with the reason."""
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
        """Compute the pixels over which wrong correspondences of a matcher spread: its reach within the prior."""
        return min(self.prior.radius, CELL_SIDE / 2, float(getattr(matcher, "farthest", np.inf)))

    def confirms(self, model: transform.PlaneTransform, matches: Correspondences) -> bool:
        """Tell whether a method that had no part in a model supports it."""
        return consensus.confirms(model, matches, self.left.first, self.right.first)

    def match(self, matcher: matchers.Matcher, cells: Sequence[Cell]) -> Correspondences:
        """Run one matcher on some cells; correspondences in pixels of the two rasters, without a model yet."""
        parts, keypoints = [], [(np.empty((0, 2)), np.empty((0, 2)))]
        for k, (matches, places) in enumerate(in_threads(lambda cell: self._match_cell(matcher, cell), list(cells))):
            self.progress(f"match ({matcher.name})", k, len(cells))
            parts.append(matches)
            keypoints.append(places)
        self.progress(f"match ({matcher.name})", len(cells), len(cells))
        parts = parts or [Matches.none()]
        left, right, score = (np.concatenate([getattr(p, name) for p in parts]) for name in ("left", "right", "score"))
        return Correspondences(
            left,
            right,
            score,
            method=np.full(len(score), matcher.name, "U64"),
            keypoints=(np.concatenate([k[0] for k in keypoints]), np.concatenate([k[1] for k in keypoints])),
            inlier=np.zeros(len(score), bool),
            cells=len(cells),
            independence=np.concatenate([p.witnesses for p in parts]),
            radius=self.radius(matcher),
        )

    def _match_cell(
        self, matcher: matchers.Matcher, cell: Cell
    ) -> tuple[Matches, tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Match one cell; also return everything that was looked at in both images, in pixels of the rasters."""
        a, b = self.left.first, self.right.first
        frames = [cell.window(image.geobox) for image in (a, b)]
        # Where the right image's content lies far from where it should, its window goes along
        row, col, height, width = frames[0]
        middle = np.array([[col + width / 2, row + height / 2]])
        lattice_offset = np.subtract(origin_of(a.geobox), origin_of(b.geobox))[::-1]
        offset = self.prior.expected(middle)[0] - middle[0] - lattice_offset
        # In coarse steps: cells that lie a little off serve other pairs too, and their margins make up for it
        cols, rows = (CELL_MARGIN // 2 * np.round(offset / (CELL_MARGIN // 2))).astype(int)
        frames[1] = cell.window(b.geobox, (int(rows), int(cols)))
        origins = [np.array([frame[1], frame[0]], float) for frame in frames]
        prior = self.prior.within_cell(frames[0], frames[1])
        if np.isfinite(prior.radius):
            prior = replace(prior, radius=self.radius(matcher))
        parts: list[Matches] = []
        keypoints: tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]] = ([], [])
        for images in zip(self.left.images, self.right.images, strict=True):
            descriptions = [
                self._describe(matcher, side, image, frame)
                for side, image, frame in zip((self.left, self.right), images, frames, strict=True)
            ]
            parts.append(matcher.match(descriptions[0], descriptions[1], prior))
            for k, arrays in enumerate(descriptions):
                if k == 0 or "keypoints" in arrays:
                    keypoints[k].append(_keypoints(arrays, getattr(matcher, "spacing", 8)) + origins[k])
        left, right, score = (np.concatenate([getattr(p, name) for p in parts]) for name in ("left", "right", "score"))
        inside = cell.holds(left + origins[0], a.geobox)
        support = np.concatenate([p.witnesses for p in parts])[inside]
        matches = Matches((left + origins[0])[inside], (right + origins[1])[inside], score[inside], support)
        left_keypoints = np.concatenate(keypoints[0])
        right_keypoints = np.concatenate(keypoints[1]) if keypoints[1] else np.empty((0, 2))
        return matches, (left_keypoints[cell.holds(left_keypoints, a.geobox)], right_keypoints)

    def _describe(
        self, matcher: matchers.Matcher, side: MatchInput, image: Raster, frame: tuple[int, int, int, int]
    ) -> matchers.Arrays:
        """Describe a frame (row, col, height, width) of an image, or take its description from the cache."""
        view = image.crop(*frame)

        def describe() -> matchers.Arrays:
            pixels, valid = np.array(view.pixels, np.float32), np.array(view.valid)
            release(image.pixels, image.valid)
            return matcher.describe(pixels, valid)

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

    def with_model(self, matches: Correspondences, tolerance: float | None = None) -> Correspondences:
        """Add the model that correspondences agree on, or the reason why there is none.

        Args:
            matches: found by one method or by several.
            tolerance: pixels within which one agrees; by default what their methods are precise to.
        """
        kind = self.method.model or "similarity"
        if tolerance is None:
            precise = len(matches) and np.isin(matches.method, DENSE_METHODS).all()
            tolerance = PRECISE_TOLERANCE if precise else consensus.COARSE_TOLERANCE
        try:
            model, inlier, chance = consensus.coarse_model(
                kind, matches, self.left.first, self.right.first, tolerance, self.method.seed
            )
        except transform.NoModel as error:
            return replace(matches, why=str(error))
        return replace(matches, model=model, inlier=inlier, chance=chance)


def _keypoints(arrays: matchers.Arrays, spacing: int) -> NDArray[np.float64]:
    """List (K, 2) keypoints of a described image, or points of the grid of a method without any."""
    if "keypoints" in arrays:
        return np.asarray(arrays["keypoints"], np.float64)
    area = next((arrays[name] for name in ("valid", "allowed") if name in arrays), np.empty((0, 0)))
    rows, cols = np.nonzero(np.asarray(area[spacing // 2 :: spacing, spacing // 2 :: spacing]))
    grid = (spacing // 2 + spacing * np.column_stack([cols, rows])).astype(np.float64)
    return np.asarray(grid * arrays.get("scale", 1.0))
