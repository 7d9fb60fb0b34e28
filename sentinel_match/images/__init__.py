"""Two images in, matches out: the small face for those who have pictures rather than products.

>>> from sentinel_match.images import ImageMatcher, visualize_matches, visualize_overlay
>>> from sentinel_match.testing.checks import example_pair
>>> pair = example_pair(shift=(7.3, -4.6))
>>> matcher = ImageMatcher("sift")
>>> result = matcher.match_images(pair.left, pair.right)
>>> result.matrix[:2, 2].round(1)
array([ 7.3, -4.6])
>>> result.save("matches.npz")  # doctest: +SKIP
>>> figure = visualize_matches(pair.left, pair.right, result, "matches.png")  # doctest: +SKIP
>>> figure = visualize_overlay(pair.left, pair.right, result, "overlay.png")  # doctest: +SKIP

Where both images are georeferenced, :func:`sentinel_match.pipeline.match_scenes` is the precise way: it knows where to
look. What is here works in pixels and takes nothing for granted.
"""

from sentinel_match.images.figure import visualize_matches, visualize_overlay
from sentinel_match.images.matcher import ImageMatcher
from sentinel_match.images.matches import ImageMatches, ImageSummary

__all__ = ["ImageMatcher", "ImageMatches", "ImageSummary", "visualize_matches", "visualize_overlay"]
