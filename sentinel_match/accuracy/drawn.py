"""Whether windows of little texture are drawn to whole pixels: a pattern on the grid of both images draws them.

What both images share on their grids of pixels, fixed noise, marks, blocks, agrees where nothing moved, or by whole
pixels. Beside strong texture it is nothing; where the ground shows little, it is most of what agrees. So the
displacement of windows sorted by their texture wanders from that of the ground towards a whole pixel, while that of
ground is the same whatever its texture is. Where texture and displacement both change over the image, as under another
scale, windows of much texture have the plane that those of little lie on, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sentinel_match.accuracy.windows import cut
from sentinel_match.geometry.grids import same_pixels, to_pixels
from sentinel_match.geometry.lattice import plane_of
from sentinel_match.geometry.robust import error_of_median, nmad

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.accuracy.ground import Ground
    from sentinel_match.opinions import Octave
    from sentinel_match.raster.raster import Raster

SIDE, MOST_WINDOWS, PARTS, FEWEST = 32, 1500, 5, 20
"""Side in pixels of the windows whose texture is measured, how many are at most, into how many parts they are sorted,
and of how many the median of a part means something."""
APART_PX, FURTHEST_PX, SURE = 0.08, 1.0, 5.0
"""Pixels, at least and at most, and standard errors by which windows of least and of most texture must lie apart: a
pattern draws a peak that it overlaps. Over 40 pairs of one ground they lie apart by .02 at most, under patterns that
draw them by .1 to .8."""
AT_WHOLE = 0.12
"""Pixels from a whole number within which windows of least texture are drawn all the way."""
DRAWN, ASIDE = 0.2, 0.25
"""Share of the way to a whole pixel by which they must be drawn at least, and how far aside they may lie as a share of
how far they are drawn, where they are not drawn all the way."""
COHERENT = 0.95
"""Coherence of octaves from which nothing else moves windows by their texture: between seasons shadows do."""
TEXTURED, OFF_PLANE = 2, 0.5
"""Parts of most texture that a plane is fitted to, and the share of how far windows of least texture lie apart that
must lie off it: under patterns on real ground .68 to 1, where the ground is slanted 0 to .1."""


def drawn_px(ground: Ground | None, left: Raster, right: Raster, octaves: tuple[Octave, ...]) -> float:
    """Measure by how many pixels windows of little texture are drawn towards a whole pixel; 0 where they are not.

    Args:
        ground: the displacement on the lattice; ``None`` without one.
        left: the reference.
        right: the other image.
        octaves: how coherent the images are, from coarse to fine.
    """
    if ground is None or not same_pixels(left.geobox, right.geobox):
        return 0.0
    single = np.flatnonzero(ground.answers.single)
    single = single[:: -(-len(single) // MOST_WINDOWS) or 1]
    here = ground.at.reshape(-1, 2)[single]
    at = to_pixels(left.geobox, here)
    moved = to_pixels(right.geobox, here + ground.answers.whole.reshape(-1, 2)[single]) - at
    texture = np.array([_texture(left, place) for place in at])
    known = np.flatnonzero(np.isfinite(texture))
    if len(known) < PARTS * FEWEST:
        return 0.0
    parts = np.array_split(known[np.argsort(texture[known])], PARTS)
    nodes = [single[part] for part in parts]
    middle = np.array([np.median(moved[part], axis=0) for part in parts])
    errors = [error_of_median(nmad(moved[part, k]), len(part)) for part in (parts[0], parts[-1]) for k in (0, 1)]
    sigma = float(np.linalg.norm(errors))
    way = middle[0] - middle[-1]
    length = float(np.hypot(*way))
    steady = bool((np.diff(middle @ way / max(length, 1e-9)) < sigma).all())
    if (
        not max(APART_PX, SURE * sigma) <= length <= FURTHEST_PX
        or not steady
        or _off_plane(ground, nodes) < OFF_PLANE * length
    ):
        return 0.0
    whole = np.round(middle[0])
    if np.abs(middle[0] - whole).max() < AT_WHOLE:
        return length
    if min((abs(octave.coherence) for octave in octaves[1:4]), default=0.0) < COHERENT:
        return 0.0
    goal = whole - middle[-1]
    along = float(way @ goal) / max(float(np.hypot(*goal)), 1e-9)
    aside = float(np.sqrt(max(length**2 - along**2, 0)))
    far = along > DRAWN * np.hypot(*goal) and aside < ASIDE * along
    return length if far else 0.0


def _off_plane(ground: Ground, parts: list[NDArray[np.intp]]) -> float:
    """Measure how many pixels windows of least texture lie off the plane of those of most, other than these do.

    Args:
        ground: the displacement on the lattice.
        parts: indices of its nodes, from least to most texture.
    """
    textured = np.zeros(ground.answers.single.shape)
    textured.flat[np.concatenate(parts[-TEXTURED:])] = 1
    off = (ground.answers.whole - plane_of(ground.answers.whole, textured)).reshape(-1, 2)
    least, most = (np.median(off[part], axis=0) for part in (parts[0], parts[-1]))
    return float(np.hypot(*(least - most))) / ground.gsd


def _texture(image: Raster, place: NDArray[np.float64]) -> float:
    """Average the squared gradient around a place, (2,) x, y; NaN where it is not all ground."""
    window = cut(image, np.round(place).astype(int) - SIDE // 2, SIDE)
    if window is None or not window.valid.all():
        return float("nan")
    down, across = np.gradient(window.pixels)
    return float((down**2 + across**2).mean())
