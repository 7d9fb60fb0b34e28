"""What two images have in common: the matches, the model they agree on, and the file of both."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sentinel_match.atomic import whole
from sentinel_match.matching.plane_model import homogeneous

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from sentinel_match.geometry.grids import Points
    from sentinel_match.geometry.transform import PlaneTransform

PIXEL_CONVENTION = (
    "x right, y down, in pixels of the file; (0, 0) is the outer corner of the first pixel, (0.5, 0.5) its centre"
)
"""The frame of every position, as it is written into every file."""


@dataclass(frozen=True)
class ImageSummary:
    """The figures of a pair of images."""

    keypoints: tuple[int, int]
    """Number of everything looked at in the left and in the right image."""
    matches: int
    """Number of matches, inliers or not."""
    inliers: int
    """Number of those that agree with the model."""
    angle: float | None
    """Degrees, -180 to 180, by which the right image is turned clockwise against the left one; ``None`` = no match."""
    matrix: tuple[tuple[float, ...], ...] | None
    """(3, 3) homogeneous: left pixels to right pixels; ``None`` = no match."""
    why: str = ""
    """Why there is no model."""
    model: str = ""
    """``translation``, ``similarity``, ``affine`` or ``homography``: the kind of the model; empty = no match."""

    def to_dict(self) -> dict[str, Any]:
        """Write the figures as files have them, JSON-able."""
        return {
            "keypoints": list(self.keypoints),
            "matches": self.matches,
            "believed": self.inliers,
            "angle": None if self.angle is None else round(self.angle, 3),
            "matrix": None if self.matrix is None else [list(row) for row in self.matrix],
            "why": self.why,
            "model": self.model,
        }

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> ImageSummary:
        """Read back what ``to_dict`` has made.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        left, right = values["keypoints"]
        matrix = None if values["matrix"] is None else tuple(tuple(row) for row in values["matrix"])
        matches, believed, angle, why = (values[name] for name in ("matches", "believed", "angle", "why"))
        return ImageSummary((left, right), matches, believed, angle, matrix, why, values["model"])


@dataclass(frozen=True, eq=False, repr=False)
class ImageMatches:
    """What two images have in common. Positions are pixels of the images as given, corner origin.

    See ``PIXEL_CONVENTION``.
    """

    keypoints0: Points
    """(N, 2) everything looked at in the left image."""
    keypoints1: Points
    """(M, 2) and in the right one."""
    matches0: NDArray[np.int64]
    """(N,) which right keypoint each left one matches; -1 = none."""
    match_confidence: NDArray[np.float64]
    """(N,) the matcher's confidence, 0 to 1; 0 where there is no match."""
    inliers0: NDArray[np.bool_]
    """(N,) whether the match of each left keypoint agrees with the model; ``False`` where there is no match."""
    model: PlaneTransform | None
    """Left pixels to right pixels; ``None`` = no match: nothing in common could be verified."""
    angle: float | None
    """Degrees, -180 to 180, by which the right image is turned clockwise against the left one."""
    sizes: tuple[tuple[int, int], tuple[int, int]]
    """Width and height of both."""
    why: str = ""
    """Why there is no model."""
    recipe: Mapping[str, object] = field(default_factory=dict)
    """How they were matched."""

    def __repr__(self) -> str:
        """Say in a line what was found."""
        if self.angle is None:
            return f"<ImageMatches: no match, {self.why}>"
        return f"<ImageMatches: {self.inlier.sum()} of {len(self.score)} matches agree, turned by {self.angle:.1f}°>"

    @property
    def left(self) -> Points:
        """Return (K, 2) the matched keypoints of the left image, inliers or not."""
        return self.keypoints0[self.matches0 >= 0]

    @property
    def right(self) -> Points:
        """Return (K, 2) their partners in the right image."""
        return self.keypoints1[self.matches0[self.matches0 >= 0]]

    @property
    def score(self) -> NDArray[np.float64]:
        """Return (K,) the matcher's confidence in each match, 0 to 1."""
        return self.match_confidence[self.matches0 >= 0]

    @property
    def inlier(self) -> NDArray[np.bool_]:
        """Tell (K,) whether each match agrees with the model."""
        return self.inliers0[self.matches0 >= 0]

    @property
    def matrix(self) -> NDArray[np.float64] | None:
        """Write the model as one (3, 3) homogeneous matrix: left pixels to right pixels."""
        return None if self.model is None else homogeneous(self.model)

    @property
    def summary(self) -> ImageSummary:
        """Count the figures of the pair."""
        matrix = None if self.matrix is None else tuple(tuple(row) for row in self.matrix.tolist())
        keypoints, kind = (len(self.keypoints0), len(self.keypoints1)), "" if self.model is None else self.model.kind
        return ImageSummary(keypoints, len(self.score), int(self.inlier.sum()), self.angle, matrix, self.why, kind)

    def save(self, path: Path | str, key: str = "") -> None:
        """Write ``keypoints0``, ``keypoints1``, ``matches`` and ``match_confidence`` as SuperGlue's demos do, and more.

        The rest: ``believed`` (``inliers0``), ``matrix`` (NaN where there is no match), ``image_sizes``,
        ``pixel_convention``, ``summary`` and ``recipe`` (both JSON), and ``key``, a name for what it was made from.
        Unlike SuperGlue's, whose pixel centres are whole numbers, positions count from the outer corner of the first
        pixel.

        Raises:
            OutputError: it cannot be written.
        """
        with whole(Path(path)) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                keypoints0=self.keypoints0.astype(np.float32),
                keypoints1=self.keypoints1.astype(np.float32),
                matches=self.matches0,
                match_confidence=self.match_confidence.astype(np.float32),
                believed=self.inliers0,
                matrix=np.full((3, 3), np.nan) if self.matrix is None else self.matrix,
                image_sizes=np.array(self.sizes),
                pixel_convention=PIXEL_CONVENTION,
                summary=json.dumps(self.summary.to_dict()),
                recipe=json.dumps(self.recipe, default=str, sort_keys=True),
                key=key,
            )


def saved_summary(path: Path, key: str) -> ImageSummary | None:
    """Read the summary of matches that were saved under a key; ``None`` where there are none."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            if str(stored["key"]) != key:
                return None
            return ImageSummary.from_dict(json.loads(str(stored["summary"])))
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None
