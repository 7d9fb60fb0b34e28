"""Labels: points that are points in every season, which a detector is taught.

Homographic adaptation (DeTone, Malisiewicz & Rabinovich 2018, "SuperPoint", section 5): a seed detector looks at warped
copies of an image, and what it finds again and again is a point. Here the copies are of all dates and bands of a place,
which lie on each other, so a point is also what many seasons show. Orthorectified images have no perspective: the warps
turn, scale and stretch.

The seed is the smaller eigenvalue of the structure tensor (Shi & Tomasi 1994, "Good Features to Track"): the corner of
a field is one whether the field is darker than its neighbours or brighter, where a blob (DoG) changes its sign, and its
size, with the season.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sentinel_match.geometry.grids import origin_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.train.places import Picture, Place

LOOKS_AT_PLACE = 64
"""Warped looks at a place, at least."""
LOOKS_AT_SCENE = 8
"""And at each of its pictures' scenes."""
LOOK_ZOOMS = 0.7, 1.4
LOOK_STRETCH = 1.15
"""Of one axis against the other."""
LABEL_RADIUS_PX = 4
"""A point is the best within so many pixels, in rows and columns."""
CORNER_CONTRAST = 2.0
"""A corner's response is so many times the mean around it."""
BACKGROUND_PX = 33
"""Pixels of that mean."""
AGREEMENT_SIGMA_PX = 1.0
"""Standard deviation in pixels within which looks agree."""
LEAST_AGREEMENT = 0.15
"""Share of the looks in which a point was found, the agreement of all at one pixel being 1; four times what chance
gives."""
LEAST_VISIBLE_SHARE = 0.25
"""Share of the looks in which a point's ground was visible, at least."""
LABEL_MARGIN_PX = 6
"""Pixels kept clear of points beside invalid ones."""


def labels(place: Place, reduction: int, seed: int) -> NDArray[np.float32]:
    """Label the season-stable points of a place.

    Args:
        place: its pictures lie on each other but for their shifts.
        reduction: pixels are means of so many by so many.
        seed: of the warps.

    Returns:
        (N, 2) x, y in pixels of its first picture, not reduced, surest first.
    """
    import cv2

    rng = np.random.default_rng((seed, reduction))
    offsets = [_offset(picture, place.pictures[0]) for picture in place.pictures]
    shapes = [np.array(picture.image.raster.valid.shape) for picture in place.pictures]
    least = np.min(offsets, 0)
    rows, cols = -(-(np.max([o + s for o, s in zip(offsets, shapes, strict=True)], 0) - least) // reduction) + 1
    votes, visible = np.zeros((2, rows, cols), np.float32)
    for k, looks in sorted(_deal_looks(place, rng).items()):
        picture = place.pictures[k]
        pixels, allowed = _reduced(picture, reduction)
        aside = (offsets[k] - least)[::-1] / reduction - np.divide(picture.shift, reduction)
        for _ in range(looks):
            points = _look(pixels, allowed, rng) + aside
            x, y = np.floor(points).astype(int).clip(0, (cols - 1, rows - 1)).T
            np.add.at(votes, (y, x), 1)
        x, y = np.round(aside).astype(int)
        window = visible[max(y, 0) :, max(x, 0) :][: allowed.shape[0] + min(y, 0), : allowed.shape[1] + min(x, 0)]
        window += looks * allowed[max(-y, 0) :, max(-x, 0) :][: window.shape[0], : window.shape[1]]
    agreed = (
        2 * np.pi * AGREEMENT_SIGMA_PX**2 * cv2.GaussianBlur(votes, (0, 0), AGREEMENT_SIGMA_PX) / np.maximum(visible, 1)
    )
    agreed[visible < LEAST_VISIBLE_SHARE * visible.max()] = 0
    best = (agreed == cv2.dilate(agreed, np.ones((2 * LABEL_RADIUS_PX + 1,) * 2, np.uint8))) & (
        agreed > LEAST_AGREEMENT
    )
    at = np.argwhere(best)[np.argsort(-agreed[best], kind="stable")]
    return np.asarray((at[:, ::-1] + 0.5) * reduction + least[::-1], np.float32)


def _offset(picture: Picture, first: Picture) -> NDArray[np.int_]:
    """Find (row, col) of its first pixel in the first picture."""
    return np.subtract(origin_of(picture.geobox), origin_of(first.geobox))


def _deal_looks(place: Place, rng: np.random.Generator) -> dict[int, int]:
    """Deal looks to the pictures: as many for every scene, of any of its bands."""
    looks: dict[int, int] = {}
    each = max(LOOKS_AT_SCENE, -(-LOOKS_AT_PLACE // len(place.scenes)))
    for scene in place.scenes:
        bands = [k for k, picture in enumerate(place.pictures) if picture.scene == scene]
        for k in rng.choice(bands, each):
            looks[int(k)] = looks.get(int(k), 0) + 1
    return looks


def _reduced(picture: Picture, reduction: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Reduce the pixels, and mark where a point may be."""
    import cv2

    valid = np.asarray(picture.image.raster.valid)
    rows, cols = (n // reduction for n in valid.shape)
    blocks = np.s_[: rows * reduction, : cols * reduction]
    shape = rows, reduction, cols, reduction
    pixels = np.where(valid, np.asarray(picture.image.raster.pixels, np.float32), 0)[blocks].reshape(shape)
    share = valid[blocks].reshape(shape).mean((1, 3), dtype=np.float32)
    clear = cv2.erode((share == 1).astype(np.uint8), np.ones((2 * LABEL_MARGIN_PX + 1,) * 2), borderValue=0) > 0
    return pixels.mean((1, 3)), clear


def _look(pixels: NDArray[np.float32], allowed: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float64]:
    """Find (N, 2) x, y of the corners that a warped copy shows, in the pixels of the image."""
    import cv2

    angle, stretch = rng.uniform(0, 2 * np.pi), LOOK_STRETCH ** rng.uniform(-1, 1)
    zoom, along = rng.uniform(*LOOK_ZOOMS), rng.uniform(0, np.pi)
    linear = zoom * _turn(angle) @ _turn(-along) @ np.diag([stretch, 1 / stretch]) @ _turn(along)
    rows, cols = pixels.shape
    corners = np.array([[0, 0], [cols, 0], [0, rows], [cols, rows]]) @ linear.T
    low, high = corners.min(0), corners.max(0)
    warp = np.column_stack([linear, -low])
    wide, tall = (int(n) for n in np.ceil(high - low))
    copy = cv2.warpAffine(pixels, warp, (wide, tall), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    response = cv2.cornerMinEigenVal(cv2.GaussianBlur(copy, (0, 0), 1.0), 5)
    mean = cv2.blur(response, (BACKGROUND_PX, BACKGROUND_PX))
    best = (response == cv2.dilate(response, np.ones((2 * LABEL_RADIUS_PX + 1,) * 2))) & (
        response > CORNER_CONTRAST * mean
    )
    at = (np.argwhere(best)[:, ::-1] + low) @ np.linalg.inv(linear).T + 0.5  # OpenCV's pixels are their centres
    inside = ((at >= 0) & (at < (cols, rows))).all(1)
    at = at[inside]
    x, y = at.astype(int).T
    return np.asarray(at[allowed[y, x]])


def _turn(angle: float) -> NDArray[np.float64]:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
