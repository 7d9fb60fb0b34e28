"""The second estimator: what shift remains between two images, by a method that no tie point was made with.

It shares nothing with ``correlation``: the enhanced correlation coefficient, maximised by Gauss-Newton steps on
intensities, or on the strength of edges (Evangelidis & Psarakis 2008, "Parametric Image Alignment Using ECC
Maximization"), as OpenCV has it, in windows of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sentinel_match.accuracy.windows import MaskedWindow, cut, independent, places, step_between
from sentinel_match.geometry.grids import pixel_size, to_metres, to_pixels
from sentinel_match.geometry.robust import error_of_median, nmad
from sentinel_match.opinions import SecondEstimate
from sentinel_match.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sentinel_match.geometry.transform import Transform
    from sentinel_match.raster.raster import Raster

CLEAR = 0.9
"""Least share of a window that is valid in both images."""
ALIKE = 0.6
"""Least correlation coefficient at which windows of intensities have an answer."""
WITNESS = 0.9
"""The same at which it may tell how far the ground moves from window to window: clouds and shadows are less alike."""
CORNERED = 0.2
"""Least ratio of the eigenvalues of such a window's structure tensor."""
FEWEST_ANSWERS = 6
"""Answers that make a median."""
DISAGREES, MOST_UNSURE = 0.1, 0.3
"""Pixels between the two estimators from which they contradict each other, where the second is as sure; and up to
which its own uncertainty may excuse it: beyond, and beyond what is promised, it is no witness."""
FEWEST_WITNESSES = 16
"""Windows that tell how far the ground moves from one to another."""
CHECKER, HALF_BLUR, RIM = 8, 0.8, 2
"""Side in pixels of the squares of which either half of a window has every other one, without their rims: their noise
is not one, and after a blur of that standard deviation, pixels, hardly; and pixels along the rim of a window that are
left out, which hold what lies beyond it."""
SCATTER_CLIP = 0.5
"""Pixels of an estimate's departure up to which it counts whatever the others say: of two parts, one is no outlier."""
SCATTER_RESAMPLES = 200


class Look(NamedTuple):
    """How the second estimator looks."""

    name: str
    side: int
    """Of a window, pixels."""
    windows: int
    """How many there are, at most."""
    alike: float
    """Least correlation coefficient of an answer."""
    share: float
    """Of the looks that must have an answer: a few of many are chance, or a corner of the ground."""
    edges: bool
    """Whether the strength of edges is compared, instead of intensities."""


LOOKS = (
    Look("ECC", 32, 196, ALIKE, 0.15, edges=False),
    Look("ECC of edges", 64, 144, 0.35, 0.05, edges=True),
)
"""Intensities in windows small enough to see a wave of 64 pixels; where those say nothing, the strength of edges, which
seasons leave where it is: from winter to summer, and through scattered cloud, 9 to 97 % of its windows have an answer,
over unrelated ground (nine pairs, under patterns that both share) 5 of 1,000."""
EDGE_BLUR, EDGE_AROUND, EDGE_FLOOR, EDGE_MOST = 1.0, 8.0, 0.005, 3.0
"""Standard deviations in pixels before gradients are taken, and of what their strength is a multiple of; least of that;
and the largest multiple."""


class Alignment(NamedTuple):
    """What one window says."""

    shift: NDArray[np.float64]
    """(2,) x, y by which the second window's content lies off the first."""
    alike: float
    """Correlation coefficient."""


def second_estimate(
    left: Raster,
    right: Raster,
    transform: Transform,
    promised_m: float,
    wanted_m: NDArray[np.float64] | None = None,
) -> SecondEstimate:
    """Measure the shift between two images before a transform's correction, and what remains after it.

    Args:
        left: the reference.
        right: the other image, on the same lattice.
        transform: left metres to right metres.
        promised_m: circular error that is promised: an estimate less sure than that confirms nothing.
        wanted_m: (2,) east, north that shall remain, where a user wants the transform to leave them; nothing when not
            given.
    """
    first = _looked(left, right, transform, promised_m, wanted_m, LOOKS[0])
    if first.agrees is not None:
        return first
    other = _looked(left, right, transform, promised_m, wanted_m, LOOKS[1])
    seen = other.after_dx_m is not None and not first.sees_more(promised_m, pixel_size(left.geobox))
    return other if seen else first  # edges do not take back how far intensities surely vary


def _looked(
    left: Raster,
    right: Raster,
    transform: Transform,
    promised_m: float,
    wanted_m: NDArray[np.float64] | None,
    look: Look,
) -> SecondEstimate:
    """Look at windows in one way."""
    gsd, side = pixel_size(left.geobox), look.side
    step = step_between(left.valid.shape, side, look.windows)
    corners = places(left.valid, side, step, CLEAR)
    centre = to_metres(left.geobox, corners + side / 2)
    expected = to_pixels(right.geobox, transform(centre)) - side / 2
    halves = _checkers(side)
    shifts = np.full((len(corners), 3, 2), np.nan)  # by a whole window, and by each half of its pixels
    for k, ((x, y), there) in enumerate(zip(corners, expected, strict=True)):
        corner = np.round(there).astype(int)
        one, other = _cut(left, (x, y), look), _cut(right, corner, look)
        whole = aligned(one, other, there - corner, look.alike)
        if one is None or other is None or whole is None:
            continue
        shifts[k, 0] = corner + whole.shift - there
        if look.edges or whole.alike < WITNESS or not _cornered(one):
            continue
        shifts[k, 1:] = shifts[k, 0] + _steps(one, other, whole.shift, halves)
    answered = np.isfinite(shifts[:, 0]).all(1)
    looks, answers = len(corners), int(answered.sum())
    if answers < max(FEWEST_ANSWERS, look.share * looks):
        return SecondEstimate(estimator=look.name, looks=looks, answers=answers)
    here = expected[answered] + side / 2
    after = to_metres(right.geobox, here + shifts[answered, 0]) - to_metres(right.geobox, here)
    before = after + transform(centre[answered]) - centre[answered]
    medians = [[round(float(np.median(values[:, k])), 3) for k in (0, 1)] for values in (before, after)]
    count = independent(answers, side, step)
    error = [error_of_median(nmad(after[:, k]), count) for k in (0, 1)]
    scatter, least = _scatter(shifts[np.isfinite(shifts).all((1, 2)), 1:], int(count))
    agrees: bool | None = None
    if 4 * max(error) <= max(MOST_UNSURE * gsd, promised_m):
        off = np.abs(medians[1] - (np.zeros(2) if wanted_m is None else wanted_m))
        agrees = bool((off <= np.maximum(DISAGREES * gsd, 4 * np.array(error))).all())
    return SecondEstimate(
        estimator=look.name,
        looks=looks,
        answers=answers,
        before_dx_m=medians[0][0],
        before_dy_m=medians[0][1],
        after_dx_m=medians[1][0],
        after_dy_m=medians[1][1],
        sigma_dx_m=round(error[0], 3),
        sigma_dy_m=round(error[1], 3),
        scatter_m=round(scatter * gsd, 3),
        least_scatter_m=round(least * gsd, 3),
        agrees=agrees,
    )


def _cornered(window: MaskedWindow) -> bool:
    """Tell whether a window has texture along every direction: along an edge alone it slides, and both halves alike."""
    down, across = np.gradient(np.where(window.valid, window.pixels, np.mean(window.pixels)))
    tensor = np.array([[(across**2).sum(), (across * down).sum()], [(across * down).sum(), (down**2).sum()]])
    least, most = np.linalg.eigvalsh(tensor)
    return bool(least >= CORNERED * most)


def _checkers(side: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Share the pixels of a window among two halves, square by square, which leave out what lies beside each other."""
    place = np.indices((side, side))
    inner = ((place % CHECKER > 0) & (place % CHECKER < CHECKER - 1) & (place >= RIM) & (place < side - RIM)).all(0)
    odd = (place // CHECKER).sum(0) % 2 > 0
    return odd & inner, ~odd & inner


def _steps(
    one: MaskedWindow,
    other: MaskedWindow,
    shift: NDArray[np.float64],
    halves: tuple[NDArray[np.bool_], NDArray[np.bool_]],
) -> NDArray[np.float64]:
    """Compute (2, 2) how much further than a whole window each half of its pixels would move: one Gauss-Newton step.

    From where the whole converged the step leads to each half's own answer, whatever the whole erred; no search, so no
    half slides away.

    Args:
        one: a window.
        other: as large.
        shift: (2,) x, y by which the second one's content lies off the first.
        halves: (side, side) each.
    """
    import cv2

    images = [cv2.GaussianBlur(window.pixels, (0, 0), HALF_BLUR) for window in (one, other)]
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    laid = cv2.warpAffine(images[1], matrix, images[1].shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
    down, across = np.gradient(laid)
    steps = np.full((2, 2), np.nan)
    for row, half in zip(steps, halves, strict=True):
        use = half & one.valid & other.valid
        columns = np.column_stack([across[use], down[use], laid[use], np.ones(use.sum())])
        step, _, rank, _ = np.linalg.lstsq(columns, images[0][use], rcond=None)
        if rank == columns.shape[1] and step[2] > 0:
            row[:] = step[:2] / step[2]
    return steps


def _scatter(halves: NDArray[np.float64], count: int) -> tuple[float, float]:
    """Estimate how far what remains varies over the ground, free of the estimator's noise, and what it surely does.

    What both halves of the pixels of a window say together is of the ground, what they say apart is noise: their
    covariance is the variance of the ground. Gross errors count no more than four times the usual departure.

    Args:
        halves: (N, 2, 2) pixels by either half.
        count: of how many of them no two share ground.

    Returns:
        Root mean square of the two-dimensional displacement, and the lower end of its 95 % interval; pixels.
    """
    halves = halves[np.hypot(*(halves[:, 0] - halves[:, 1]).T) <= MOST_UNSURE]  # the others see haze, not ground
    if len(halves) < FEWEST_WITNESSES:
        return 0.0, 0.0
    off = halves - np.median(halves, (0, 1))
    most = np.maximum(4 * np.array([nmad(off[..., k].ravel()) for k in (0, 1)]), SCATTER_CLIP)
    together = np.clip(off, -most, most).prod(1).sum(1)
    rng = np.random.default_rng(0)
    drawn = [rng.choice(together, min(max(count, 2), len(halves))).mean() for _ in range(SCATTER_RESAMPLES)]
    whole, least = (np.sqrt(max(float(v), 0.0)) for v in (together.mean(), np.percentile(drawn, 2.5)))
    return float(whole), float(least)


def silence(second: SecondEstimate) -> str:
    """Say why the second estimator has no answer, as the end of a sentence."""
    if second.looks < FEWEST_ANSWERS:
        side = next((look.side for look in LOOKS if look.name == second.estimator), LOOKS[0].side)
        room = f"{counted(second.looks, 'window')} of {side} pixels fit{'s' * (second.looks == 1)}"
        return f"only {room} into what is clear in both, and it takes {FEWEST_ANSWERS}"
    if second.after_dx_m is not None:
        return f"what it sees in {second.answers} windows scatters too much to tell"
    return f"the images are alike in {second.answers} of its {second.looks} windows"


def _cut(image: Raster, corner: Sequence[int] | NDArray[np.int_], look: Look) -> MaskedWindow | None:
    """Cut what a look compares; ``None`` where the window does not lie in the image."""
    window = cut(image, corner, look.side)
    if window is None or not look.edges:
        return window
    return window._replace(pixels=_edges(window.pixels))


def _edges(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute the strength of edges as a multiple of that around them, whichever side is the brighter."""
    import cv2

    smooth = cv2.GaussianBlur(pixels, (0, 0), EDGE_BLUR)
    strength = np.hypot(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
    around = cv2.GaussianBlur(strength, (0, 0), EDGE_AROUND)
    return np.asarray(np.minimum(strength / (around + np.float32(EDGE_FLOOR)), EDGE_MOST), np.float32)


def aligned(
    one: MaskedWindow | None,
    other: MaskedWindow | None,
    start: NDArray[np.float64] | None = None,
    least: float = ALIKE,
) -> Alignment | None:
    """Measure by how much the second window's content lies off the first; ``None`` where they are not alike.

    Args:
        one: a window.
        other: as large.
        start: (2,) where the search begins; at nothing when not given.
        least: correlation coefficient of windows that are alike.
    """
    import cv2

    if one is None or other is None:
        return None
    both = one.valid & other.valid
    if both.mean() < CLEAR * one.valid.mean() or not both.any():
        return None
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-5)
    matrix = np.eye(2, 3, dtype=np.float32)
    start = np.zeros(2) if start is None else start
    matrix[:, 2] = start
    mask = both.astype(np.uint8)
    try:
        alike, found = cv2.findTransformECC(one.pixels, other.pixels, matrix, cv2.MOTION_TRANSLATION, criteria, mask, 3)
    except cv2.error:  # it does not converge: the windows have nothing in common
        return None
    moved = np.asarray(found, float)[:, 2]
    near = np.hypot(*(moved - start)) < len(one.valid) / 8
    return Alignment(moved, float(alike)) if alike >= least and near else None
