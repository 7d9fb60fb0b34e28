"""Two images in, matches out: the small face for those who have pictures rather than products.

>>> from sentinel_match.images import ImageMatcher, visualize_matches
>>> from sentinel_match.testing.checks import example_pair
>>> pair = example_pair(shift=(7.3, -4.6))
>>> matcher = ImageMatcher("sift")
>>> result = matcher.match_images(pair.left, pair.right)
>>> result.matrix[:2, 2].round(1)
array([ 7.3, -4.6])
>>> result.save("matches.npz")  # doctest: +SKIP
>>> figure = visualize_matches(pair.left, pair.right, result, "matches.png")  # doctest: +SKIP

Where both images are georeferenced, :func:`sentinel_match.pipeline.match_scenes` is the precise way: it knows where to
look. What is here works in pixels and takes nothing for granted.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from sentinel_match import matchers
from sentinel_match.atomic import whole
from sentinel_match.errors import ExtraMissing
from sentinel_match.matching.inputs import common_band
from sentinel_match.matching.plane_model import homogeneous
from sentinel_match.matching.unguided import ROTATIONS, Search, relate
from sentinel_match.matching.view import View, reduced, turned
from sentinel_match.products.catalogue import read_scene
from sentinel_match.products.scene import Scene
from sentinel_match.raster.load import PERCENTILES, load
from sentinel_match.raster.masks import Masking

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from sentinel_match.geometry.grids import Points
    from sentinel_match.geometry.transform import PlaneTransform

Image: TypeAlias = "NDArray[Any] | Path | str | Scene"
"""Pixels, (rows, cols) or (rows, cols, 3); or any raster or product; or a scene."""

PIXELS = "x right, y down, in pixels of the file; (0, 0) is the outer corner of the first pixel, (0.5, 0.5) its centre"
"""The frame of every position, as it is written into every file."""
DRAWN = 1000
"""Pixels of the longer side of an image in a figure."""


@dataclass(frozen=True, eq=False)
class ImageMatches:
    """What two images have in common. Positions are pixels of the images as given, corner origin: see ``PIXELS``."""

    keypoints0: Points
    """(N, 2) everything looked at in the left image."""
    keypoints1: Points
    """(M, 2) and in the right one."""
    matches0: NDArray[np.int64]
    """(N,) which right keypoint each left one matches; -1 = none."""
    match_confidence: NDArray[np.float64]
    """(N,) the matcher's confidence, 0 to 1; 0 where there is no match."""
    believed: NDArray[np.bool_]
    """(N,) whether the match agrees with the model."""
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

    @property
    def left(self) -> Points:
        """(K, 2) the matched keypoints of the left image, believed or not."""
        return self.keypoints0[self.matches0 >= 0]

    @property
    def right(self) -> Points:
        """(K, 2) and their partners."""
        return self.keypoints1[self.matches0[self.matches0 >= 0]]

    @property
    def score(self) -> NDArray[np.float64]:
        """(K,) the matcher's confidence in each, 0 to 1."""
        return self.match_confidence[self.matches0 >= 0]

    @property
    def inlier(self) -> NDArray[np.bool_]:
        """(K,) whether each agrees with the model."""
        return self.believed[self.matches0 >= 0]

    @property
    def matrix(self) -> NDArray[np.float64] | None:
        """(3, 3) homogeneous: left pixels to right pixels."""
        return None if self.model is None else homogeneous(self.model)

    @property
    def summary(self) -> dict[str, Any]:
        """The figures of the pair, JSON-able."""
        return {
            "keypoints": [len(self.keypoints0), len(self.keypoints1)],
            "matches": len(self.score),
            "believed": int(self.inlier.sum()),
            "angle": None if self.angle is None else round(self.angle, 3),
            "matrix": None if self.matrix is None else self.matrix.tolist(),
            "why": self.why,
        }

    def save(self, path: Path | str, key: str = "") -> None:
        """Write ``keypoints0``, ``keypoints1``, ``matches`` and ``match_confidence`` as SuperGlue's demos do, and more.

        The rest: ``believed``, ``matrix`` (NaN where there is no match), ``image_sizes``, ``pixel_convention``,
        ``summary`` and ``recipe`` (both JSON), and ``key``, a name for what it was made from. Unlike SuperGlue's, whose
        pixel centres are whole numbers, positions count from the outer corner of the first pixel.

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
                believed=self.believed,
                matrix=np.full((3, 3), np.nan) if self.matrix is None else self.matrix,
                image_sizes=np.array(self.sizes),
                pixel_convention=PIXELS,
                summary=json.dumps(self.summary),
                recipe=json.dumps(self.recipe, default=str, sort_keys=True),
                key=key,
            )


@dataclass(frozen=True, eq=False)
class ImageMatcher:
    """Matches pairs of images of unknown place, angle and relation.

    Making one fails at once where weights are missing or an option fits no field of the matcher.

    Raises:
        UnknownMatcher, WeightsMissing, WeightsDamaged, DeviceMissing: see :func:`sentinel_match.matchers.create`.
        ValueError: the matcher has no such option.
    """

    matcher: str | matchers.Matcher = matchers.DEFAULT
    """A registered name, or a matcher with options of its own."""
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
    model: str = "similarity"
    """``translation``, ``similarity``, ``affine`` or ``homography``: what the matches must agree on."""
    windows: int = 0
    """Big images: match again at full resolution in so many windows under the model found."""
    band: str | None = None
    """Band of products; default the first of ``matching.inputs.PREFERRED_BANDS``, or the mean of a picture's RGB."""
    masking: Masking = field(default_factory=Masking)
    """What is masked in files and scenes; arrays bring their own ``valid``."""
    seed: int = 0
    """Of the robust fit."""

    def __post_init__(self) -> None:
        _ = self.search

    @cached_property
    def search(self) -> Search:
        """How pairs are searched, with the matcher that was made."""
        kind = self.matcher
        known = {f.name for f in fields(matchers.matcher_class(kind) if isinstance(kind, str) else kind)}  # type: ignore[arg-type]
        wanted = {
            "max_keypoints": (self.max_keypoints, ("max_keypoints",)),
            "keypoint_threshold": (self.keypoint_threshold, ("detection_threshold", "contrast_threshold")),
            "nms_radius": (self.nms_radius, ("nms_radius",)),
            "confidence": (self.confidence, ("min_score",)),
        }
        options: dict[str, Any] = {"device": self.device} if "device" in known and isinstance(kind, str) else {}
        for name, (value, spelled) in wanted.items():
            if value is None:
                continue
            fitting = [s for s in spelled if s in known]
            if not fitting:
                raise ValueError(f"{kind if isinstance(kind, str) else kind.name} has no {name.replace('_', ' ')}")
            options[fitting[0]] = value
        made = matchers.create(kind, **options) if isinstance(kind, str) else replace(kind, **options)  # type: ignore[type-var]
        return Search(made, self.resize, self.rotations, self.model, self.windows, self.seed)

    @property
    def recipe(self) -> Mapping[str, object]:
        """Everything a result depends on but the images; JSON-able."""
        return {**self.search.recipe, "band": self.band, "masking": self.masking.recipe, "kind": "images"}

    def match_images(
        self,
        a: Image,
        b: Image,
        *,
        valid: tuple[NDArray[np.bool_] | None, NDArray[np.bool_] | None] = (None, None),
        quarter_turns: tuple[int, int] = (0, 0),
    ) -> ImageMatches:
        """What two images have in common.

        Arrays are normalised between the percentiles 0.5 and 99.5 of their valid pixels; those that are not finite are
        not valid, zeros are data. Files and scenes keep their own no-data and masks and are read in bounded memory.

        Args:
            a: the left image, the reference.
            b: the right image.
            valid: (rows, cols) of each, ``True`` = usable; for arrays.
            quarter_turns: counter-clockwise turns that set each image upright, as in SuperGlue's pair lists. The points
                are those of the image as it is given all the same.

        Raises:
            NotAProduct, DamagedImage, MissingBand: an image cannot be read.
        """
        views = [self.view(image, mask) for image, mask in zip((a, b), valid, strict=True)]
        upright = [turned(v, -90 * k) if k % 4 else v for v, k in zip(views, quarter_turns, strict=True)]
        found = relate(upright[0], upright[1], self.search)
        matches0 = np.full(len(found.keypoints[0]), -1, np.int64)
        confidence, believed = np.zeros(len(matches0)), np.zeros(len(matches0), bool)
        for k in np.argsort(found.score, kind="stable"):  # the surest last: it stays where several share a keypoint
            i, j = found.pairs[k]
            matches0[i], confidence[i], believed[i] = j, found.score[k], found.inlier[k]
        sizes = [(v.valid.shape[1], v.valid.shape[0]) for v in views]
        return ImageMatches(
            *found.keypoints, matches0, confidence, believed, found.model, found.angle, (sizes[0], sizes[1]),
            found.why, self.recipe,
        )  # fmt: skip

    def view(self, image: Image, valid: NDArray[np.bool_] | None = None) -> View:
        """An image as the matcher gets it: 0..1 with validity; see :meth:`match_images`."""
        if isinstance(image, np.ndarray):
            return _normalised(image, valid)
        if valid is not None:
            raise ValueError("a mask goes with an array; files and scenes are masked by `masking`")
        scene = image if isinstance(image, Scene) else read_scene(image)
        picture = self.band is None and {b.name for b in scene.bands} in ({"1", "2", "3"}, {"1", "2", "3", "4"})
        band = "RGB" if picture else common_band(scene, scene, self.band)
        loaded = load(scene, band, masking=self.masking)
        return View.of(loaded.raster.pixels, loaded.raster.valid, loaded)

    def extract(self, image: Image, path: Path | str, valid: NDArray[np.bool_] | None = None) -> None:
        """Write the keypoints of one image: ``keypoints``, ``scores``, ``descriptors``, ``image_size``, ``recipe``, ….

        Raises:
            ValueError: the matcher looks at both images at once and has no keypoints.
            OutputError: it cannot be written.
        """
        view = self.view(image, valid)
        seen = reduced(view, self.resize)
        found = dict(self.search.matcher.describe(seen.pixels, seen.valid))
        if "keypoints" not in found:
            raise ValueError(f"{self.search.matcher.name} has no keypoints")
        found["keypoints"] = seen.to_image(found["keypoints"])
        found["image_size"] = np.array(view.valid.shape[::-1])
        with whole(Path(path)) as temporary, temporary.open("wb") as file:
            recipe = json.dumps(self.recipe, default=str, sort_keys=True)
            np.savez_compressed(file, **found, pixel_convention=PIXELS, recipe=recipe)  # type: ignore[arg-type]

    def visualize_matches(self, a: Image, b: Image, result: ImageMatches, path: Path | str | None = None) -> Figure:
        """A figure of what was found: see :func:`visualize_matches`."""
        return visualize_matches(self.view(a), self.view(b), result, path)


def visualize_matches(
    a: Image | View, b: Image | View, result: ImageMatches, path: Path | str | None = None, most: int = 300
) -> Figure:
    """Both images side by side, a line for each match from red (unsure) to green (sure), with a colour bar.

    Drawn are the believed matches, or all of them where there is no model. No window is opened.

    Args:
        a: the left image.
        b: the right image, drawn as high as the left one.
        result: of :meth:`ImageMatcher.match_images`.
        path: where to write it, .png, .pdf or .svg; nowhere when absent.
        most: lines at most, the surest.

    Raises:
        ExtraMissing: matplotlib is not installed.
        OutputError: the file cannot be written.
    """
    try:
        from matplotlib import colormaps
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.collections import LineCollection
        from matplotlib.figure import Figure
    except ImportError:
        raise ExtraMissing("Figures", "matplotlib", "plot") from None
    (width, height), (other_width, other_height) = result.sizes
    zoom = height / other_height
    start = width * 1.02
    figure = Figure(figsize=(12, 12 * height / (start + other_width * zoom) + 1), layout="constrained")
    FigureCanvasAgg(figure)
    axes, grey = figure.add_subplot(), colormaps["gray"].with_extremes(bad="#cfdcea")
    for image, west, east in ((a, 0.0, width), (b, start, start + other_width * zoom)):
        view = image if isinstance(image, View) else ImageMatcher("sift").view(image)
        small = reduced(view, DRAWN)
        picture = np.ma.masked_where(~small.valid, small.pixels)
        axes.imshow(picture, cmap=grey, extent=(west, east, height, 0), vmin=0, vmax=1, interpolation="bilinear")
    shown = np.flatnonzero(result.inlier if result.model is not None else np.ones(len(result.score), bool))
    shown = shown[np.argsort(-result.score[shown], kind="stable")][:most][::-1]
    ends = np.stack([result.left[shown], result.right[shown] * zoom + (start, 0)], axis=1)
    lines = LineCollection(list(ends), array=result.score[shown], cmap="RdYlGn", clim=(0, 1), linewidths=0.8)
    axes.add_collection(lines)
    axes.set(xlim=(0, start + other_width * zoom), ylim=(height, 0), xticks=[], yticks=[], facecolor="white")
    figure.colorbar(lines, ax=axes, label="confidence", shrink=0.8)
    said = f"{result.inlier.sum():,} believed of {len(result.score):,} matches"
    axes.set_title(f"No match: {result.why}" if result.model is None else f"{said}; turned by {result.angle:.1f}°")
    if path is not None:
        with whole(Path(path)) as temporary:
            figure.savefig(temporary, dpi=120)
    return figure


def _normalised(image: NDArray[Any], valid: NDArray[np.bool_] | None) -> View:
    if image.ndim == 3 and image.shape[2] == 3:
        pixels = image.astype(np.float32).mean(2)
    elif image.ndim == 2:
        pixels = image.astype(np.float32)
    else:
        raise ValueError(f"an image is (rows, cols) or (rows, cols, 3), not {image.shape}")
    usable = np.isfinite(pixels)
    if valid is not None:
        if valid.shape != pixels.shape:
            raise ValueError(f"the mask is {valid.shape}, the image {pixels.shape}")
        usable &= valid
    low, high = np.percentile(pixels[usable], PERCENTILES) if usable.any() else (0.0, 0.0)
    scale = 1 / (high - low) if high > low else 0.0
    normal = np.clip((np.where(usable, pixels, low) - low) * scale, 0, 1).astype(np.float32)
    return View.of(normal, usable)
