"""Two images side by side, and lines between what matches."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sentinel_match.atomic import whole
from sentinel_match.errors import ExtraMissing
from sentinel_match.images.matches import ImageMatches
from sentinel_match.images.source import view_of
from sentinel_match.matching.view import View, reduced

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sentinel_match.images.source import Image

FIGURE_SIDE = 1000
"""Pixels of the longer side of an image in a figure."""


def visualize_matches(
    a: Image | View, b: Image | View, result: ImageMatches, path: Path | str | None = None, most: int = 100
) -> Figure:
    """Draw both images side by side, and a line for each match from red (unsure) to green (sure), with a colour bar.

    Drawn are the inliers, or all matches where there is no model. No window is opened;
    notebooks show what is returned.

    Args:
        a: the left image.
        b: the right image, drawn as high as the left one.
        result: of :meth:`ImageMatcher.match_images`.
        path: where to write it, .png, .pdf or .svg; nowhere when absent.
        most: lines at most, the surest.

    Raises:
        TypeError, ValueError: these are not the matches of these images.
        ExtraMissing: matplotlib is not installed.
        OutputError: the file cannot be written.

    Examples:
        >>> from sentinel_match import ImageMatcher, visualize_matches
        >>> result = ImageMatcher("sift").match_images("a.jpg", "b.jpg")
        >>> figure = visualize_matches("a.jpg", "b.jpg", result, "matches.png")
    """
    try:
        from matplotlib import colormaps
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.collections import LineCollection
        from matplotlib.figure import Figure
    except ImportError:
        raise ExtraMissing("Figures", "matplotlib", "plot") from None

    class ShownFigure(Figure):
        """A figure that notebooks show though no window belongs to it."""

        def _repr_png_(self) -> bytes:
            picture = io.BytesIO()
            self.savefig(picture, format="png")
            return picture.getvalue()

    views = _views_of(a, b, result)
    (width, height), (other_width, other_height) = result.sizes
    zoom = height / other_height
    start = width * 1.02
    figure = ShownFigure(figsize=(12, 12 * height / (start + other_width * zoom) + 1), layout="constrained")
    FigureCanvasAgg(figure)
    axes, grey = figure.add_subplot(), colormaps["gray"].with_extremes(bad="#cfdcea")
    for view, west, east in zip(views, (0.0, start), (width, start + other_width * zoom), strict=True):
        small = reduced(view, FIGURE_SIDE)
        picture = np.ma.masked_where(~small.valid, small.pixels)
        axes.imshow(picture, cmap=grey, extent=(west, east, height, 0), vmin=0, vmax=1, interpolation="bilinear")
    drawn = np.flatnonzero(result.inlier if result.model is not None else np.ones(len(result.score), bool))
    drawn = drawn[np.argsort(-result.score[drawn], kind="stable")][:most][::-1]
    ends = np.stack([result.left[drawn], result.right[drawn] * zoom + (start, 0)], axis=1)
    lines = LineCollection(list(ends), array=result.score[drawn], cmap="RdYlGn", clim=(0, 1), linewidths=0.8)
    axes.add_collection(lines)
    axes.set(xlim=(0, start + other_width * zoom), ylim=(height, 0), xticks=[], yticks=[], facecolor="white")
    figure.colorbar(lines, ax=axes, label="confidence", shrink=0.8)
    counts = f"{result.inlier.sum():,} believed of {len(result.score):,} matches"
    axes.set_title(f"No match: {result.why}" if result.model is None else f"{counts}; turned by {result.angle:.1f}°")
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
