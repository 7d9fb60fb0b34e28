"""Figures of two images: side by side with lines between what matches, and the one laid over the other."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from sentinel_match.atomic import whole
from sentinel_match.errors import ExtraMissing
from sentinel_match.images.matches import ImageMatches
from sentinel_match.images.source import view_of
from sentinel_match.matching.plane_model import homogeneous, zoom
from sentinel_match.matching.view import View, reduced, shift

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from sentinel_match.geometry.transform import PlaneTransform
    from sentinel_match.images.source import Image

FIGURE_SIDE = 1000
"""Pixels of the longer side of an image in a figure."""
SQUARES = 8
"""Squares of the checkerboard along the longer side of what both images show."""
LEAST_REACH = 1.0
"""Pixels of residual that the colours of matches span at least: less is right to the eye."""


def visualize_matches(
    a: Image | View, b: Image | View, result: ImageMatches, path: Path | str | None = None, most: int = 100
) -> Figure:
    """Draw both images side by side, and lines between matches that are spread over them, with a colour bar.

    Drawn are the inliers, from cyan (on the model) to magenta (off it, by the residual); where there is no model all
    matches, from magenta (unsure) to cyan (sure). No window is opened; notebooks show what is returned.

    Args:
        a: the left image.
        b: the right image, drawn as high as the left one.
        result: of :meth:`ImageMatcher.match_images`.
        path: where to write it, .png, .pdf or .svg; nowhere when absent.
        most: lines at most; of each part of the left image the surest.

    Raises:
        TypeError, ValueError: these are not the matches of these images.
        ExtraMissing: matplotlib is not installed.
        OutputError: the file cannot be written.

    Examples:
        >>> from sentinel_match import ImageMatcher, visualize_matches
        >>> result = ImageMatcher("sift").match_images("a.jpg", "b.jpg")
        >>> figure = visualize_matches("a.jpg", "b.jpg", result, "matches.png")
    """
    views = _views_of(a, b, result)
    (width, height), (other_width, other_height) = result.sizes
    magnification = height / other_height
    start = width * 1.02
    end = start + other_width * magnification
    figure = _empty_figure(12, 12 * height / end + 1)
    from matplotlib import colormaps
    from matplotlib.collections import LineCollection

    axes, grey = figure.add_subplot(), colormaps["gray"].with_extremes(bad="#cfdcea")
    for view, west, east in zip(views, (0.0, start), (width, end), strict=True):
        small = reduced(view, FIGURE_SIDE)
        picture = np.ma.masked_where(~small.valid, small.pixels)
        axes.imshow(picture, cmap=grey, extent=(west, east, height, 0), vmin=0, vmax=1, interpolation="bilinear")
    shown = np.flatnonzero(result.inlier if result.model is not None else np.ones(len(result.score), bool))
    shown = shown[_spread(result.left[shown], result.score[shown], np.sqrt(width * height / max(most, 1)))][:most]
    left, right = result.left[shown], result.right[shown]
    label, colours, values, farthest = "confidence", "cool_r", result.score[shown], 1.0
    if result.model is not None:
        label, colours, values = (
            "residual, pixels of the right image",
            "cool",
            np.hypot(*(right - result.model(left)).T),
        )
        farthest = max(LEAST_REACH, float(values.max(initial=0.0)))
    ends = np.stack([left, right * magnification + (start, 0)], axis=1)
    lines = LineCollection(list(ends), array=values, cmap=colours, clim=(0, farthest), linewidths=0.8)
    axes.add_collection(lines)
    x, y = ends.reshape(-1, 2).T
    axes.scatter(x, y, s=3, c=np.repeat(values, 2), cmap=colours, vmin=0, vmax=farthest)
    axes.set(xlim=(0, end), ylim=(height, 0), xticks=[], yticks=[], facecolor="white")
    figure.colorbar(lines, ax=axes, label=label, shrink=0.8)
    counts = f"{result.inlier.sum():,} believed of {len(result.score):,} matches"
    axes.set_title(f"No match: {result.why}" if result.model is None else f"{counts}; turned by {result.angle:.1f}°")
    return _saved(figure, path)


def visualize_overlay(a: Image | View, b: Image | View, result: ImageMatches, path: Path | str | None = None) -> Figure:
    """Draw the right image laid over the left one by the model: in squares of the one and the other, and red and cyan.

    Where they lie right, lines run on from square to square, and what both show has no fringe of either colour.

    Args:
        a: the left image, red.
        b: the right image, cyan.
        result: of :meth:`ImageMatcher.match_images`, with a model.
        path: where to write it, .png, .pdf or .svg; nowhere when absent.

    Raises:
        TypeError, ValueError: these are not the matches of these images, or there is no model.
        ExtraMissing: matplotlib is not installed.
        OutputError: the file cannot be written.

    Examples:
        >>> from sentinel_match import ImageMatcher, visualize_overlay
        >>> result = ImageMatcher("sift").match_images("a.jpg", "b.jpg")
        >>> figure = visualize_overlay("a.jpg", "b.jpg", result, "overlay.png")
    """
    views = _views_of(a, b, result)
    if result.model is None:
        raise ValueError(f"nothing can be laid over the left image: {result.why}")
    left = reduced(views[0], FIGURE_SIDE)
    ground = np.where(left.valid, left.pixels, np.float32(np.nan))
    other = _laid_over(left, views[1], result.model)
    shared = np.isfinite(ground) & np.isfinite(other)
    row, col = (np.flatnonzero(shared.any(axis)) if shared.any() else np.arange(2) for axis in (1, 0))
    part = slice(row[0], row[-1] + 1), slice(col[0], col[-1] + 1)
    figure = _empty_figure(12, 6 * (np.ptp(row) + 1) / (np.ptp(col) + 1) + 0.5)
    panels = figure.subplots(1, 2)
    titles = ("squares of both", "left red, right cyan")
    for panel, picture, title in zip(panels, overlays(ground[part], other[part]), titles, strict=True):
        panel.imshow(picture, interpolation="none")
        panel.set(xticks=[], yticks=[], title=title)
    return _saved(figure, path)


def overlays(left: NDArray[np.float32], right: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Lay two images of one shape, NaN where they show nothing, over one another.

    Returns:
        (rows, cols, 3) colours, 0 to 1, twice: squares of the one and the other; the left one red and the right cyan.
    """
    shared = np.isfinite(left) & np.isfinite(right)
    red, cyan = (np.where(np.isfinite(pixels), _equalised(pixels, shared), np.float32(0)) for pixels in (left, right))
    y, x = np.indices(shared.shape) // (max(shared.shape) / SQUARES)
    taken = ((y + x) % 2 > 0) & np.isfinite(right) | ~np.isfinite(left)
    return np.repeat(np.where(taken, cyan, red)[..., None], 3, -1), np.dstack([red, cyan, cyan])


def _spread(points: NDArray[np.float64], score: NDArray[np.float64], side: float) -> NDArray[np.intp]:
    """Order points so that any first of them are spread: the surest of every square, then the second of every one."""
    squares = np.unique(np.floor(points / side), axis=0, return_inverse=True)[1].reshape(-1)
    order = np.lexsort((-score, squares))
    first = np.searchsorted(squares[order], squares[order])  # of its square
    return order[np.lexsort((-score[order], np.arange(len(order)) - first))]


def _laid_over(left: View, right: View, model: PlaneTransform) -> NDArray[np.float32]:
    """Warp the right image onto the pixels of a left view by the whole model; NaN where it shows nothing."""
    rows, cols = right.valid.shape
    excess = max(1.0, zoom(model, left.corners.mean(0)) * left.scale / right.scale)
    small = reduced(right, (max(1, round(cols / excess)), max(1, round(rows / excess))))
    matrix = np.linalg.inv(small.matrix) @ homogeneous(model) @ left.matrix
    centred = shift(-0.5, -0.5) @ matrix @ shift(0.5, 0.5)  # OpenCV counts from the centre of a pixel
    known = np.where(small.valid, small.pixels, np.float32(np.nan)).astype(np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    warped = cv2.warpPerspective(known, centred, left.valid.shape[::-1], flags=flags, borderValue=float("nan"))
    return np.asarray(warped, np.float32)


def _equalised(pixels: NDArray[np.float32], shared: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Bring pixels to their rank, 0..1, among those where both images show something, so that neither outshines."""
    known = np.sort(pixels[shared])
    return (np.searchsorted(known, np.nan_to_num(pixels)) / max(len(known), 1)).astype(np.float32)


def _empty_figure(width: float, height: float) -> Figure:
    """Make a figure of so many inches that notebooks show though no window belongs to it.

    Raises:
        ExtraMissing: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ExtraMissing("Figures", "matplotlib", "plot") from None

    class ShownFigure(Figure):
        """A figure that notebooks show."""

        def _repr_png_(self) -> bytes:
            picture = io.BytesIO()
            self.savefig(picture, format="png")
            return picture.getvalue()

    figure = ShownFigure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _saved(figure: Figure, path: Path | str | None) -> Figure:
    """Write a figure, where it is said where to."""
    if path is not None:
        with whole(Path(path)) as temporary:
            figure.savefig(temporary, dpi=120, format=Path(path).suffix.removeprefix(".") or "png")
    return figure


def _views_of(a: Image | View, b: Image | View, result: ImageMatches) -> list[View]:
    """Read both images, and check that the matches are theirs."""
    if not isinstance(result, ImageMatches):
        raise TypeError(f"matches are what match_images returns, not of type {type(result).__name__}")
    views = [image if isinstance(image, View) else view_of(image) for image in (a, b)]
    for side, view, (width, height) in zip(("left", "right"), views, result.sizes, strict=True):
        rows, cols = view.valid.shape
        if (cols, rows) != (width, height):
            raise ValueError(f"the {side} image has {cols} x {rows} pixels, and the matches are of {width} x {height}")
    return views
