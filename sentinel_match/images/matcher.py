"""The matcher of images of which neither place, angle nor relation is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sentinel_match import matchers, schema
from sentinel_match.atomic import whole
from sentinel_match.errors import DeviceMissing
from sentinel_match.geometry.kinds import MINIMAL
from sentinel_match.images.figure import visualize_matches, visualize_overlay
from sentinel_match.images.matches import PIXEL_CONVENTION, ImageMatches
from sentinel_match.images.source import view_of
from sentinel_match.matching.attempt import AUTO, ROTATIONS, Search
from sentinel_match.matching.unguided import relate
from sentinel_match.matching.view import View, reduced, turned
from sentinel_match.models import DEVICES
from sentinel_match.raster.masks import Masking

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from sentinel_match.images.source import Image


@dataclass(frozen=True, eq=False)
class ImageMatcher:
    """A matcher of pairs of images of which neither place, angle nor relation is known.

    Making one fails at once where weights are missing, or an option is none that the matcher can take.

    Raises:
        UnknownMatcher, WeightsMissing, WeightsDamaged, DeviceMissing: see :func:`sentinel_match.matchers.create`.
        TypeError, ValueError: an option is none that can be chosen, or the matcher has no such option.

    Examples:
        >>> from sentinel_match import ImageMatcher
        >>> result = ImageMatcher("sift").match_images("a.jpg", "b.jpg")
        >>> result.matrix[:2, 2].round()  # pixels by which b shows the ground of a right and down
        array([ 7., -5.])
    """

    matcher: str | matchers.Matcher | None = None
    """A registered name, or a matcher with options of its own. ``None``: ``phase``, where the images were found to lie;
    with an option of keypoints, or where no rotation is searched, :data:`sentinel_match.matchers.DEFAULT`."""
    device: str = "auto"
    """``cpu``, ``cuda``, or ``auto``; ignored by methods that know only the CPU."""
    resize: int | tuple[int, int] | None = 1024
    """Pixels of the longer side, or width and height, at which images are matched; never enlarged. ``None`` = as they
    are. Points are always in pixels of the images as given."""
    max_keypoints: int | None = None
    """The best so many of each image; ``None`` here and below: the matcher's own default."""
    keypoint_threshold: float | None = None
    """Lowest score of a keypoint, in the matcher's own measure."""
    nms_radius: int | None = None
    """Pixels to the next stronger keypoint."""
    confidence: float | None = None
    """Lowest confidence of a match."""
    rotations: tuple[float, ...] = ROTATIONS
    """Degrees clockwise that are tried; ``(0,)`` where both images are upright."""
    model: str = AUTO
    """``translation``, ``similarity``, ``affine`` or ``homography``: what the matches must agree on; ``auto``: the
    simplest of the last three that the matches bear out."""
    windows: int = 0
    """Big images: match again at full resolution in so many windows under the model found."""
    band: str | None = None
    """Band of products; default the first that ``matching.inputs`` prefers, or the mean of a picture's RGB."""
    masking: Masking = field(default_factory=Masking)
    """What is masked in files and scenes; arrays bring their own ``valid``."""
    seed: int = 0
    """Of the robust fit."""

    def __post_init__(self) -> None:
        """Fail now at what could not be used later."""
        schema.check_fields(self, _IMAGE_OPTION_KINDS)
        if self.device not in DEVICES:
            raise DeviceMissing(self.device, f"it is none of {', '.join(DEVICES)}")
        _ = self.search

    @cached_property
    def search(self) -> Search:
        """Make the matcher, and say how pairs are searched with it."""
        kind = self.matcher or self._default
        known = {f.name for f in fields(matchers.matcher_class(kind) if isinstance(kind, str) else kind)}  # type: ignore[arg-type]
        spellings = {
            "max_keypoints": (self.max_keypoints, ("max_keypoints",)),
            "keypoint_threshold": (self.keypoint_threshold, ("detection_threshold", "contrast_threshold")),
            "nms_radius": (self.nms_radius, ("nms_radius",)),
            "confidence": (self.confidence, ("min_score",)),
        }
        options: dict[str, Any] = {"device": self.device} if "device" in known and isinstance(kind, str) else {}
        for name, (value, names) in spellings.items():
            if value is None:
                continue
            fitting = [n for n in names if n in known]
            if not fitting:
                raise ValueError(f"{kind if isinstance(kind, str) else kind.name} has no {name.replace('_', ' ')}")
            options[fitting[0]] = value
        matcher = matchers.create(kind, **options) if isinstance(kind, str) else replace(kind, **options)  # type: ignore[type-var]
        return Search(matcher, self.resize, self.rotations, self.model, self.windows, self.seed)

    @property
    def _default(self) -> str:
        """Choose the matcher where none is named: ``phase`` finds most once it is known how the images lie."""
        options = (self.max_keypoints, self.keypoint_threshold, self.nms_radius, self.confidence)
        searched = len(self.rotations) > 1 and all(option is None for option in options)
        return "phase" if searched else matchers.DEFAULT

    @property
    def recipe(self) -> Mapping[str, object]:
        """List everything a result depends on but the images; JSON-able."""
        return {**self.search.recipe, "band": self.band, "masking": self.masking.recipe, "kind": "images"}

    def match_images(
        self,
        a: Image,
        b: Image,
        *,
        valid: tuple[NDArray[np.bool_] | None, NDArray[np.bool_] | None] = (None, None),
        quarter_turns: tuple[int, int] = (0, 0),
    ) -> ImageMatches:
        """Find what two images have in common.

        Arrays are normalised between the percentiles 0.5 and 99.5 of their valid pixels; those that are masked or
        not finite are not valid, zeros are data. Files and scenes keep their own no-data and masks and are read in
        bounded memory.

        Args:
            a: the left image, the reference.
            b: the right image.
            valid: (rows, cols) of each, ``True`` = usable; for arrays.
            quarter_turns: counter-clockwise turns that set each image upright, as in SuperGlue's pair lists. The points
                are those of the image as it is given all the same.

        Raises:
            TypeError, ValueError: these are no images, masks or turns.
            NotAProduct, DamagedImage, MissingBand: an image cannot be read.
        """
        for name, pair in (("valid", valid), ("quarter_turns", quarter_turns)):
            if not isinstance(pair, Sequence) or len(pair) != 2:
                raise TypeError(f"{name} must be a pair, one for the left image and one for the right")
        if not all(isinstance(turns, Integral) for turns in quarter_turns):
            raise TypeError(f"quarter_turns must be whole numbers, not {quarter_turns}")
        views = [self.view(image, mask) for image, mask in zip((a, b), valid, strict=True)]
        upright = [turned(v, -90 * k) if k % 4 else v for v, k in zip(views, quarter_turns, strict=True)]
        relation = relate(upright[0], upright[1], self.search)
        matches0 = np.full(len(relation.keypoints[0]), -1, np.int64)
        confidence, inliers0 = np.zeros(len(matches0)), np.zeros(len(matches0), bool)
        for k in np.argsort(relation.score, kind="stable"):  # the surest last: it stays where several share a keypoint
            i, j = relation.pairs[k]
            matches0[i], confidence[i], inliers0[i] = j, relation.score[k], relation.inlier[k]
        left_size, right_size = ((v.valid.shape[1], v.valid.shape[0]) for v in views)
        return ImageMatches(
            *relation.keypoints, matches0, confidence, inliers0, relation.model, relation.angle,
            (left_size, right_size), relation.why, self.recipe,
        )  # fmt: skip

    def view(self, image: Image, valid: NDArray[np.bool_] | None = None) -> View:
        """Read an image as the matcher gets it, 0..1 with validity: see :meth:`match_images`."""
        return view_of(image, valid, self.band, self.masking)

    def extract(self, image: Image, path: Path | str, valid: NDArray[np.bool_] | None = None) -> None:
        """Write the keypoints of one image: ``keypoints``, ``scores``, ``descriptors``, ``image_size``, ``recipe``, ….

        Raises:
            ValueError: the matcher looks at both images at once and has no keypoints.
            OutputError: it cannot be written.
        """
        view = self.view(image, valid)
        small = reduced(view, self.resize)
        description = dict(self.search.matcher.describe(small.pixels, small.valid))
        if "keypoints" not in description:
            raise ValueError(f"{self.search.matcher.name} has no keypoints")
        description["keypoints"] = small.to_image(description["keypoints"])
        description["image_size"] = np.array(view.valid.shape[::-1])
        with whole(Path(path)) as temporary, temporary.open("wb") as file:
            recipe = json.dumps(self.recipe, default=str, sort_keys=True)
            np.savez_compressed(file, **description, pixel_convention=PIXEL_CONVENTION, recipe=recipe)  # type: ignore[arg-type]

    def visualize_matches(self, a: Image, b: Image, result: ImageMatches, path: Path | str | None = None) -> Figure:
        """Draw what was found, with both images read as this matcher reads them: see :func:`visualize_matches`."""
        return visualize_matches(self.view(a), self.view(b), result, path)

    def visualize_overlay(self, a: Image, b: Image, result: ImageMatches, path: Path | str | None = None) -> Figure:
        """Draw one on the other, with both images read as this matcher reads them: see :func:`visualize_overlay`."""
        return visualize_overlay(self.view(a), self.view(b), result, path)


_ABOVE_0 = schema.ArgumentKind(Integral, "a whole number above 0", lambda number: number > 0)
_FROM_0 = schema.ArgumentKind(Integral, "a whole number, 0 or more", lambda number: number >= 0)


def _is_matcher(value: object) -> bool:
    """Tell whether it is the name of a matcher, or a dataclass that describes and matches."""
    return isinstance(value, str) or (is_dataclass(value) and hasattr(value, "describe") and hasattr(value, "match"))


def _are_sides(value: int | Sequence[int]) -> bool:
    """Tell whether it is one side in pixels, or two."""
    sides = tuple(value) if isinstance(value, Sequence) else (value, value)
    return len(sides) == 2 and all(isinstance(side, int | np.integer) and side > 0 for side in sides)


def _are_angles(value: Sequence[float] | NDArray[Any]) -> bool:
    """Tell whether there is an angle, and nothing else."""
    return len(value) > 0 and all(isinstance(angle, Real) for angle in value)


_IMAGE_OPTION_KINDS = {
    "matcher": schema.ArgumentKind(object, "the name of a matcher, or a matcher", _is_matcher).or_none(),
    "device": schema.ArgumentKind(str, "the name of a device", bool),
    "resize": schema.ArgumentKind((Integral, Sequence), "one side in pixels, (width, height)", _are_sides).or_none(),
    "max_keypoints": _ABOVE_0.or_none(),
    "keypoint_threshold": schema.ANY_NUMBER.or_none(),
    "nms_radius": _ABOVE_0.or_none(),
    "confidence": schema.A_SHARE.or_none(),
    "rotations": schema.ArgumentKind((Sequence, np.ndarray), "one or more angles in degrees", _are_angles),
    "model": schema.one_of((*MINIMAL, AUTO)),
    "windows": _FROM_0,
    "band": schema.ArgumentKind(str, "the name of a band", bool).or_none(),
    "masking": schema.instance(Masking),
    "seed": _FROM_0,
}
