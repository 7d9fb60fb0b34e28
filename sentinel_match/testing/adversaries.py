"""Pairs of images that share something besides the ground, with what is true of them: witnesses that lie.

    ground = Ground(rendered_or_real, of_another_place)
    pair = adversary("pattern", ground, np.random.default_rng(7))
    pair.left, pair.right, pair.said
    pair.errors(points, measured)         # how far each is wrong, as far as it can be known

Every kind is a function of some ground and a generator of random numbers, so parameters and seeds are free. What it
returns knows the truth: where each point of the left image went, that it cannot be told along some direction, or that
the images show nothing in common.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from sentinel_match.testing.patterns import PATTERNS, fractal
from sentinel_match.testing.witness import Adversary, Field, Ground, Image, by, shift_of, shown, still, wave

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray


def speckle(image: Image, rng: np.random.Generator, size: float = 0.01) -> Image:
    """Add a sensor's noise."""
    return image + rng.normal(0, size, image.shape)


def _patterned(ground: Ground, rng: np.random.Generator, *, other: bool) -> Adversary:
    name = str(rng.choice(list(PATTERNS)))
    share = float(rng.choice((0.1, 0.2, 0.3, 0.6)))
    pattern = share * float(np.std(ground.here)) * PATTERNS[name](ground.side, rng)
    shift = shift_of(rng)
    right = shown(ground.elsewhere) if other else shown(ground.later, by(shift))
    said = f"{name} of {share:g} of the ground's deviation, " + ("other ground" if other else _told(shift))
    moved = None if other else by(shift)
    return Adversary("", said, shown(ground.here) + pattern, right + pattern, moved)


def _told(shift: NDArray[np.float64]) -> str:
    return f"moved by {shift[0]:+.2f} {shift[1]:+.2f}"


def _nearest(ground: Ground, rng: np.random.Generator) -> Adversary:
    """Show both from a coarser grid, each pixel the nearest of it."""
    factor, shift = float(np.exp(rng.uniform(np.log(1.3), np.log(6)))), shift_of(rng)
    blurred = [ndimage.gaussian_filter(image, 0.4 * factor) for image in (ground.here, ground.later)]
    rows, cols = ground.side

    def coarse(image: Image, moved: Field) -> Image:
        fine = shown(image, moved)
        y, x = ((np.floor((np.arange(n) + 0.5) / factor) + 0.5) * factor - 0.5 for n in (rows, cols))
        sampled = ndimage.map_coordinates(fine, np.meshgrid(y, x, indexing="ij"), order=3, mode="nearest")
        return np.asarray(sampled)

    return Adversary(
        "",
        f"from pixels {factor:.2f} times as large, {_told(shift)}",
        coarse(blurred[0], still),
        coarse(blurred[1], by(shift)),
        by(shift),
    )


def _jpeg(ground: Ground, rng: np.random.Generator, *, other: bool) -> Adversary:
    """Compress both hard."""
    import cv2

    quality, shift = int(rng.choice((3, 5, 10, 20, 40))), shift_of(rng)

    def packed(image: Image) -> Image:
        grey = np.clip(30 + 190 * image, 0, 255).astype(np.uint8)
        file = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return (np.asarray(cv2.imdecode(file, cv2.IMREAD_GRAYSCALE), np.float64) - 30) / 190

    right = shown(ground.elsewhere) if other else shown(ground.later, by(shift))
    said = f"JPEG of quality {quality}, " + ("other ground" if other else _told(shift))
    return Adversary("", said, packed(shown(ground.here)), packed(right), None if other else by(shift))


def _border(ground: Ground, rng: np.random.Generator, *, other: bool) -> Adversary:
    """Give both the same slanted border of undeclared zeros."""
    rows, cols = ground.side
    y, x = np.mgrid[0:rows, 0:cols]
    angle, share, shift = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.5), shift_of(rng)
    along = x * np.cos(angle) + y * np.sin(angle)
    outside = along < np.quantile(along, share)
    if rng.random() < 0.5:
        outside |= along > np.quantile(along, 1 - rng.uniform(0.02, 0.2))
    right = shown(ground.elsewhere) if other else shown(ground.later, by(shift))
    said = f"a border of zeros over {outside.mean():.0%}, " + ("other ground" if other else _told(shift))
    left, right = (np.where(outside, -0.15, image) for image in (shown(ground.here), right))
    return Adversary("", said, left, right, None if other else by(shift), burnt=outside)


def _cloud(ground: Ground, rng: np.random.Generator) -> Adversary:
    """Move a thin cloud over still ground, or over ground that has moved a little."""
    shift = np.zeros(2) if rng.random() < 0.5 else shift_of(rng, 2.0)
    wind = shift_of(rng, 1.0)
    wind = wind / np.hypot(*wind) * rng.uniform(4, 18)
    cover, opacity = rng.uniform(0.6, 0.95), rng.uniform(0.4, 0.9)
    shape = (ground.here.shape[0], ground.here.shape[1])
    thick = fractal(shape, rng, rng.uniform(1.3, 2.0))
    thick = np.clip((thick - np.quantile(thick, 1 - cover)) / (1 - np.quantile(thick, 1 - cover) + 1e-9), 0, 1)
    textured = 0.6 + 0.5 * fractal(shape, rng, 1.4)
    veil = [opacity * np.clip(shown(thick, move), 0, 1) for move in (still, by(wind))]
    white = [shown(textured, move) for move in (still, by(wind))]
    images = [shown(ground.here), shown(ground.later, by(shift))]
    left, right = (image * (1 - a) + w * a for image, a, w in zip(images, veil, white, strict=True))
    said = f"a cloud over {cover:.0%}, {opacity:.0%} opaque, {_told(wind)}, ground {_told(shift)}"
    return Adversary("", said, left, right, by(shift))


def _crops(ground: Ground, rng: np.random.Generator) -> Adversary:
    """Change every crop of regular fields, or of stripes, that nothing else surrounds."""
    period = float(rng.choice((16, 20, 24, 40)))
    stripes, turn = bool(rng.random() < 0.4), rng.uniform(0, np.pi / 2)
    part = rng.uniform(0.3, 0.9)
    shape = (ground.here.shape[0], ground.here.shape[1])
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(float)
    c, s = np.cos(turn), np.sin(turn)
    shift = part * period * np.array([c, s])

    def fields(seed: int) -> Image:
        u, v = (x * c + y * s) / period, (-x * s + y * c) / period
        i, j = np.floor(u).astype(int), (0 if stripes else np.floor(v)) + np.zeros(shape, int)
        table = np.random.default_rng(seed).uniform(0, 1, (257, 263))
        image = table[i % 257, j.astype(int) % 263]
        rim = np.minimum(u % 1, 1 - u % 1)
        rim = rim if stripes else np.minimum(rim, np.minimum(v % 1, 1 - v % 1))
        return np.asarray(ndimage.gaussian_filter(np.where(rim * period < 1.0, -0.1, image), 0.7))

    one, other = (int(n) for n in rng.integers(0, 2**31, 2))
    what = f"{'stripes' if stripes else 'fields'} of {period:g} px, every crop changed, {_told(shift)}"
    across = np.array([c, s]) if stripes else None
    return Adversary("", what, shown(fields(one)), shown(fields(other), by(shift)), by(shift), across, knowable=False)


def _dunes(ground: Ground, rng: np.random.Generator) -> Adversary:
    """Move texture of one direction along and across itself."""
    shape = (ground.here.shape[0], ground.here.shape[1])
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(float)
    turn, length = rng.uniform(0, np.pi), rng.uniform(6, 30)
    c, s = np.cos(turn), np.sin(turn)
    u = x * c + y * s
    k = np.linspace(0.5, 2.0, 9) / length
    phases = rng.uniform(0, 2 * np.pi, 9)
    image = sum(np.sin(2 * np.pi * f * u + p) / (1 + i) for i, (f, p) in enumerate(zip(k, phases, strict=True)))
    image = 0.5 + 0.25 * np.asarray(image) / np.std(image)
    along, across = rng.uniform(1, 8) * rng.choice((-1, 1)), rng.uniform(-0.4, 0.4)
    shift = along * np.array([-s, c]) + across * np.array([c, s])
    said = f"ripples of {length:.0f} px towards {np.degrees(turn):.0f}°, {along:+.1f} px along and {across:+.2f} across"
    return Adversary("", said, shown(image), shown(image, by(shift)), by(shift), np.array([c, s]))


def _halves(ground: Ground, rng: np.random.Generator) -> Adversary:
    """Move two parts of the ground apart."""
    rows, cols = ground.side
    angle, size = rng.uniform(0, 2 * np.pi), rng.uniform(1, 4)
    unit = np.array([np.cos(angle), np.sin(angle)])
    lean, share = rng.uniform(0, np.pi), rng.uniform(0.35, 0.65)
    place = share * (np.cos(lean) * cols + np.sin(lean) * rows) if lean < np.pi / 2 else 0.0
    normal = np.array([np.cos(lean), np.sin(lean)])
    if lean >= np.pi / 2:
        place = float(np.quantile(np.add.outer(np.arange(rows) * normal[1], np.arange(cols) * normal[0]), share))

    def moved(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.multiply.outer(size * unit, np.where(x * normal[0] + y * normal[1] > place, 1.0, -1.0))

    said = f"two parts, ±{size:.1f} px towards {np.degrees(angle):.0f}°"
    return Adversary("", said, shown(ground.here), shown(ground.later, moved), moved)


def _detectors(ground: Ground, rng: np.random.Generator) -> Adversary:
    """Move stripes of the ground to and fro."""
    width, size = int(rng.choice((48, 64, 96, 128))), rng.uniform(0.5, 2.5)
    angle = rng.uniform(0, 2 * np.pi)
    unit = np.array([np.cos(angle), np.sin(angle)])

    def moved(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.multiply.outer(size * unit, np.where(np.floor((x + 0 * y) / width) % 2 > 0, 1.0, -1.0))

    said = f"stripes of {width} px, ±{size:.1f} px towards {np.degrees(angle):.0f}°"
    return Adversary("", said, shown(ground.here), shown(ground.later, moved), moved)


def _waves(ground: Ground, rng: np.random.Generator) -> Adversary:
    """Bend the ground by waves shorter than windows of correlation, or longer."""
    length = float(np.exp(rng.uniform(np.log(18), np.log(120))))
    size = min(float(rng.uniform(1, 3)), 0.12 * length)
    towards, along = rng.uniform(0, 2 * np.pi, 2)
    moved = wave(length, towards, along, size)
    return Adversary(
        "", f"waves of {length:.0f} px, {size:.1f} px", shown(ground.here), shown(ground.later, moved), moved
    )


def _blur(ground: Ground, rng: np.random.Generator) -> Adversary:
    """Blur one of them."""
    width, shift = rng.uniform(1, 4), np.zeros(2) if rng.random() < 0.4 else shift_of(rng)
    right = ndimage.gaussian_filter(shown(ground.later, by(shift)), width)
    return Adversary("", f"blurred by {width:.1f} px, {_told(shift)}", shown(ground.here), right, by(shift))


def _ghost(ground: Ground, rng: np.random.Generator) -> Adversary:
    """Mix a part of the left image into the right one, as composites and fillings of gaps do."""
    shift = shift_of(rng)
    if blended := bool(rng.random() < 0.5):  # two that lie closer are one blurred image: nobody can tell
        shift *= max(1.0, 3.0 / float(np.hypot(*shift)))
    left, right = shown(ground.here), shown(ground.later, by(shift))
    if blended:
        share = rng.uniform(0.2, 0.4)
        return Adversary(
            "", f"a ghost of {share:.0%}, {_told(shift)}", left, (1 - share) * right + share * left, by(shift)
        )
    patches = fractal(ground.side, rng, 2.0) > rng.uniform(0.5, 0.8)

    def moved(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        at = [np.clip(np.round(v), 0, n - 1).astype(int) for v, n in zip((y, x), ground.side, strict=True)]
        return np.multiply.outer(shift, np.where(patches[at[0], at[1]], 0.0, 1.0))

    said = f"{patches.mean():.0%} filled from the left image, elsewhere {_told(shift)}"
    return Adversary("", said, left, np.where(patches, left, right), moved, burnt=patches)


def _doubled(ground: Ground, rng: np.random.Generator) -> Adversary:
    """Double some columns and rows at the same places of both, as a stretch to a wider grid does."""
    every, shift = int(rng.integers(5, 20)), shift_of(rng)
    rows, cols = ground.side
    column, row = (np.arange(n) - (np.arange(n) // every) for n in (cols, rows))

    def stretched(image: Image) -> Image:
        return np.asarray(image[row][:, column])

    factor = 1 + 1 / (every - 1)
    said = f"every {every}th column and row doubled, {_told(shift * factor)}"
    left, right = stretched(shown(ground.here)), stretched(shown(ground.later, by(shift)))
    return Adversary("", said, left, right, by(shift * factor), tolerance=0.25)


def _legend(ground: Ground, rng: np.random.Generator, *, other: bool) -> Adversary:
    """Draw the same frame, scale bar and legend into both, as in a map."""
    rows, cols = ground.side
    mask, drawn = np.zeros((rows, cols), bool), np.zeros((rows, cols))
    rim = int(rng.integers(8, 30))
    mask[:rim], mask[-rim:], mask[:, :rim], mask[:, -rim:] = True, True, True, True
    box = (int(rng.integers(60, rows // 2)), int(rng.integers(60, cols // 2)))
    mask[rim : box[0], rim : box[1]] = True
    drawn[:] = 1.0
    text = ndimage.zoom((rng.random((rows // 4 + 1, cols // 4 + 1)) < 0.3).astype(float), 4, order=0)[:rows, :cols]
    drawn = np.where(text > 0, 0.0, drawn)
    shift = shift_of(rng)
    right = shown(ground.elsewhere) if other else shown(ground.later, by(shift))
    said = f"a frame and a legend over {mask.mean():.0%}, " + ("other ground" if other else _told(shift))
    left, right = (np.where(mask, drawn, image) for image in (shown(ground.here), right))
    return Adversary("", said, left, right, None if other else by(shift), burnt=mask)


def _other(ground: Ground, rng: np.random.Generator) -> Adversary:
    """Show other ground, turned or mirrored by chance."""
    image = shown(ground.elsewhere)
    square = min(image.shape)
    image = np.rot90(image[:square, :square], int(rng.integers(4)))
    return Adversary("", "other ground", shown(ground.here)[:square, :square], image, None)


def _honest(ground: Ground, rng: np.random.Generator) -> Adversary:
    """Move the ground, and no more: who refuses or warns here is too careful."""
    shift = shift_of(rng)
    return Adversary("", _told(shift), shown(ground.here), shown(ground.later, by(shift)), by(shift))


KINDS: Mapping[str, Callable[[Ground, np.random.Generator], Adversary]] = {
    "honest": _honest,
    "other ground": _other,
    "pattern": partial(_patterned, other=False),
    "pattern, other ground": partial(_patterned, other=True),
    "nearest": _nearest,
    "jpeg": partial(_jpeg, other=False),
    "jpeg, other ground": partial(_jpeg, other=True),
    "border": partial(_border, other=False),
    "border, other ground": partial(_border, other=True),
    "legend": partial(_legend, other=False),
    "legend, other ground": partial(_legend, other=True),
    "cloud": _cloud,
    "crops": _crops,
    "dunes": _dunes,
    "halves": _halves,
    "detectors": _detectors,
    "waves": _waves,
    "blur": _blur,
    "ghost": _ghost,
    "doubled": _doubled,
}
"""What pairs can share besides the ground, or do, by name."""


def adversary(kind: str, ground: Ground, rng: np.random.Generator) -> Adversary:
    """Make a pair of a kind, with a sensor's noise on either image.

    Args:
        kind: a key of :data:`KINDS`.
        ground: what it shows.
        rng: draws the parameters.
    """
    pair = replace(KINDS[kind](ground, rng), kind=kind)
    noisy = [speckle(image, rng) for image in (pair.left, 1.05 * pair.right + 0.01)]
    if pair.burnt is None:
        left, right = noisy
    else:  # what is burnt in, or filled from the other image, is the same to the last digit
        left = noisy[0] if pair.kind == "ghost" else np.where(pair.burnt, pair.left, noisy[0])
        right = np.where(pair.burnt, left, noisy[1])
    return replace(pair, left=left, right=right)
