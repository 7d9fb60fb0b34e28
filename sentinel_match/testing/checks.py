"""Prove that a matcher keeps the contract of ``sentinel_match.matchers``: for plug-in authors and the built-ins."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from scipy.ndimage import binary_dilation
from scipy.spatial import cKDTree

from sentinel_match.matchers.prior import GeometricPrior
from sentinel_match.testing.landscape import Landscape

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.matchers import Arrays, Matcher, Matches
    from sentinel_match.testing.covers import Season

FEWEST_FOR_MEDIAN = 20
"""Matches, or keypoints, that a median needs to be worth anything."""
GROSS_MATCH_PX = 2.0
"""Pixels beyond which a match is simply wrong."""
BIAS_TOLERANCE_PX = 0.25
"""Pixels: half of the half pixel that a wrong convention shifts by."""
SYMMETRIC_SHARE = 0.6
"""Share of keypoints seen again in a mirror from which a detector counts as indifferent to mirrors."""


class MatcherContractError(AssertionError):
    """A matcher that breaks the contract; the message says how."""


@dataclass(frozen=True, eq=False)
class ExamplePair:
    """Two looks at one invented ground, as a matcher gets them."""

    left: NDArray[np.float32]
    """(rows, cols), normalised to 0..1."""
    left_valid: NDArray[np.bool_]
    right: NDArray[np.float32]
    right_valid: NDArray[np.bool_]
    shift: tuple[float, float]
    """(x, y) pixels of the right image: the left point (x, y) is at (x, y) / zoom + shift."""
    zoom: float = 1.0
    """Size of a right pixel in left pixels."""

    def error(self, matches: Matches) -> NDArray[np.float64]:
        """Compute the (N, 2) pixels of the right image by which each match misses the truth."""
        truth: NDArray[np.float64] = matches.left / self.zoom + np.asarray(self.shift)
        return matches.right - truth


def example_pair(
    shift: tuple[float, float] = (7.3, -4.6),
    *,
    size: int = 320,
    zoom: float = 1.0,
    seasons: tuple[Season, Season] = ("summer", "summer"),
    seed: int = 3,
) -> ExamplePair:
    """Render a pair of 10 m images of which the right one is displaced by exactly ``shift`` pixels.

    Args:
        shift: x and y, pixels of the right image.
        size: side of the left image, pixels.
        zoom: resolution of the right image relative to the left one's; it shows the same ground with fewer pixels.
        seasons: of the left and of the right image.
        seed: of the landscape.
    """
    left = _image(seed, size, 10.0, seasons[0], (0.0, 0.0)).copy()
    right = _image(seed, round(size / zoom), 10 * zoom, seasons[1], shift).copy()
    return ExamplePair(left, np.ones(left.shape, bool), right, np.ones(right.shape, bool), shift, zoom)


@lru_cache(maxsize=32)
def _image(seed: int, side: int, metres: float, season: Season, shift: tuple[float, float]) -> NDArray[np.float32]:
    box = GeoBox((side, side), Affine(metres, 0, 399_960, 0, -metres, 5_800_020), "EPSG:32633")
    image = Landscape(seed).render(box, season, displacement=(shift[0] * metres, -shift[1] * metres))
    low, high = np.percentile(image, (1, 99))
    image -= low
    image /= high - low
    return image.clip(0, 1)


def check_matcher(matcher: Matcher) -> None:
    """Try a matcher on invented images.

    It finds known shifts, whole and sub-pixel; detects nothing on or beside invalid pixels; finds nothing in an empty
    image; puts the centre of the first pixel at (0.5, 0.5); looks where a prior says and nowhere else; and a pickled
    copy of it does exactly the same.

    Raises:
        MatcherContractError: what it does instead.
    """
    _check_description(matcher)
    _check_pickling(matcher)
    _check_shift(matcher, _match(matcher, pair := example_pair((23.0, -11.0))), pair)
    _check_validity(matcher)
    _check_empty(matcher)
    _check_convention(matcher)
    _check_prior(matcher)
    _check_ambiguity(matcher)


def _check_description(matcher: Matcher) -> None:
    for field in ("name", "summary"):
        if not isinstance(getattr(matcher, field, None), str):
            raise MatcherContractError(f"{type(matcher).__name__} has no {field}")
    if not isinstance(matcher.weights, tuple):
        raise MatcherContractError(f"{matcher.name}: weights is not a tuple")
    try:
        json.dumps(dict(matcher.recipe))
    except (TypeError, ValueError) as error:
        raise MatcherContractError(f"{matcher.name}: its recipe cannot be written as JSON ({error})") from error
    matcher.check()


def _check_shift(matcher: Matcher, matches: Matches, pair: ExamplePair) -> None:
    if len(matches) < FEWEST_FOR_MEDIAN:
        raise MatcherContractError(f"{matcher.name} finds {len(matches)} matches at a shift of {pair.shift} pixels")
    error = pair.error(matches)
    good = np.abs(error).max(axis=1) < GROSS_MATCH_PX
    if good.mean() < 0.5:
        raise MatcherContractError(
            f"{matcher.name}: {np.mean(~good):.0%} of the matches miss a shift of {pair.shift} by over "
            f"{GROSS_MATCH_PX:g} pixels"
        )
    x, y = np.median(error[good], axis=0)
    if max(abs(x), abs(y)) > BIAS_TOLERANCE_PX:
        raise MatcherContractError(
            f"{matcher.name} measures a shift of {pair.shift} wrong by ({x:.2f}, {y:.2f}) pixels"
        )


def _check_validity(matcher: Matcher) -> None:
    pair = example_pair((7.37, -4.62))
    for pixels, valid, hole, fill in (
        (pair.left, pair.left_valid, (slice(80, 190), slice(100, 250)), 0.0),
        (pair.right, pair.right_valid, (slice(170, 290), slice(30, 150)), 1.0),
    ):
        pixels[hole], valid[hole] = fill, False
    described = _describe(matcher, pair.left, pair.left_valid), _describe(matcher, pair.right, pair.right_valid)
    matches = _matched(matcher, *described, pair)
    places = [(matches.left, pair.left_valid, "matches"), (matches.right, pair.right_valid, "matches")]
    for arrays, valid in zip(described, (pair.left_valid, pair.right_valid), strict=True):
        if "keypoints" in arrays:
            places.append((np.asarray(arrays["keypoints"], np.float64), valid, "keypoints"))
    for points, valid, kind in places:
        column, row = np.clip(np.floor(points).astype(int), 0, np.array(valid.shape)[::-1] - 1).T
        forbidden = binary_dilation(~valid, np.ones((3, 3), bool))[row, column]
        if forbidden.any():
            raise MatcherContractError(f"{matcher.name}: {forbidden.sum()} {kind} lie on or beside invalid pixels")
    _check_shift(matcher, matches, pair)


def _check_empty(matcher: Matcher) -> None:
    pair = example_pair()
    good = _describe(matcher, pair.left, pair.left_valid)
    for what, pixels, valid in (
        ("an image without a valid pixel", pair.right, ~pair.right_valid),
        ("an image of one grey", np.full_like(pair.right, 0.5), pair.right_valid),
    ):
        empty = _describe(matcher, pixels, valid)
        for left, right in ((good, empty), (empty, good), (empty, empty)):
            try:
                count = len(matcher.match(left, right))
            except Exception as error:
                raise MatcherContractError(f"{matcher.name} fails on {what}: {error!r}") from error
            if count:
                raise MatcherContractError(f"{matcher.name} finds {count} matches in {what}")


def _check_convention(matcher: Matcher) -> None:
    """Check where pixel (0.5, 0.5) is: a wrong answer is the same in both images of a pair and cancels in every shift.

    A mirror turns the sense of x, and with it the sign of an offset: x' should be width - x. From side to side only,
    and only where a detector sees the same points again: photographs have an up and a down, and what learned from them
    may prefer one end of a thing.
    """
    pair = example_pair()
    arrays = _describe(matcher, pair.left, pair.left_valid)
    mirrored = _describe(matcher, np.ascontiguousarray(pair.left[:, ::-1]), pair.left_valid)
    if "keypoints" in arrays and len(mirrored["keypoints"]):
        points, back = np.array(arrays["keypoints"], np.float64), np.array(mirrored["keypoints"], np.float64)
        back[:, 0] = pair.left.shape[1] - back[:, 0]
        distance, partner = cKDTree(back).query(points)
        near = distance < GROSS_MATCH_PX
        if near.mean() > SYMMETRIC_SHARE:
            offset = np.median((points - back[partner])[near, :1], axis=0) / 2
            _check_offset(matcher, offset, BIAS_TOLERANCE_PX, "a mirrored image")
            return
    _check_zoom(matcher)


def _check_zoom(matcher: Matcher) -> None:
    """Check that pixels of twice the size halve a coordinate from the outer corner, not an offset: x' should be x / 2.

    For matchers without keypoints of their own. Several grounds are pooled and more is forgiven, because what learned
    to see finds other corners of a thing when it is half as large.
    """
    pairs = [example_pair((0.0, 0.0), size=448, zoom=2.0, seed=seed) for seed in (3, 4, 5)]
    error = np.concatenate([pair.zoom * pair.error(_match(matcher, pair)) for pair in pairs])
    good = np.abs(error).max(axis=1, initial=0.0) < 2 * GROSS_MATCH_PX
    if good.sum() < FEWEST_FOR_MEDIAN:
        raise MatcherContractError(f"{matcher.name} finds {good.sum()} right matches between 10 m and 20 m pixels")
    _check_offset(matcher, np.median(error[good], axis=0), 1.6 * BIAS_TOLERANCE_PX, "an image of larger pixels")


def _check_offset(matcher: Matcher, offset: NDArray[np.float64], tolerance: float, witness: str) -> None:
    if np.abs(offset).max() > tolerance:
        raise MatcherContractError(
            f"{matcher.name} is off by {', '.join(f'{value:.2f}' for value in offset)} pixels, as {witness} shows: "
            "the centre of the first pixel is (0.5, 0.5)"
        )


def _check_prior(matcher: Matcher) -> None:
    """Check matches under priors: none out of reach, those in reach right, and all of them where a prior allows any."""
    pair = example_pair((23.0, -11.0))
    left, right = (_describe(matcher, *side) for side in ((pair.left, pair.left_valid), (pair.right, pair.right_valid)))
    free = _matched(matcher, left, right, pair)
    for shift, radius in ((pair.shift, 8.0), ((pair.shift[0] - 40, pair.shift[1]), 8.0), ((90.0, 90.0), np.inf)):
        prior = GeometricPrior(_moved(shift), radius)
        matches = _matched(matcher, left, right, pair, prior)
        beyond = np.hypot(*(matches.right - prior.expected(matches.left)).T) > radius + 0.01
        if beyond.any():
            raise MatcherContractError(f"{matcher.name}: {beyond.sum()} matches lie out of the prior's reach")
        same = np.array_equal(free.left, matches.left) and np.array_equal(free.right, matches.right)
        if np.isinf(radius) and not same:
            raise MatcherContractError(f"{matcher.name} finds other matches with a prior that allows everything")
        if shift == pair.shift:
            _check_shift(matcher, matches, pair)


def _check_ambiguity(matcher: Matcher) -> None:
    """Match fields that are all alike, moved by about half a field: nobody can tell which is which but the prior.

    A matcher that only drops what lies out of reach when it is done has nothing left here.
    """
    field = example_pair().left[100:140, 60:100]
    left = np.tile(field, (8, 8))
    shift = (23, -17)
    right = np.roll(left, shift, (1, 0))
    valid = np.ones(left.shape, bool)
    pair = ExamplePair(left, valid, right, valid, shift)
    described = _describe(matcher, left, valid), _describe(matcher, right, valid)
    prior = GeometricPrior(_moved((shift[0] + 2, shift[1] - 1)), 8.0)
    free, bound = (_matched(matcher, *described, pair, knowledge) for knowledge in (None, prior))
    free_good, good = (
        np.abs(pair.error(matches)).max(axis=1, initial=0.0) < GROSS_MATCH_PX for matches in (free, bound)
    )
    if good.sum() < max(FEWEST_FOR_MEDIAN, free_good.sum()) or good.mean() < 0.5:
        raise MatcherContractError(
            f"{matcher.name}: in a grid of like fields {good.sum()} of {len(bound)} matches are right with a prior, "
            f"{free_good.sum()} of {len(free)} without one"
        )


def _moved(shift: tuple[float, float]) -> NDArray[np.float64]:
    return np.array([[1.0, 0.0, shift[0]], [0.0, 1.0, shift[1]], [0.0, 0.0, 1.0]])


def _check_pickling(matcher: Matcher) -> None:
    try:
        copy: Matcher = pickle.loads(pickle.dumps(matcher))  # noqa: S301
    except Exception as error:
        raise MatcherContractError(f"{matcher.name} does not survive pickling: {error!r}") from error
    pair = example_pair((-0.45, 0.21))
    first, second = _match(matcher, pair), _match(copy, pair)
    _check_shift(matcher, first, pair)
    if dict(copy.recipe) != dict(matcher.recipe):
        raise MatcherContractError(f"{matcher.name} has another recipe after pickling")
    if not (np.array_equal(first.left, second.left) and np.array_equal(first.right, second.right)):
        raise MatcherContractError(f"{matcher.name} finds other matches after pickling")


def _describe(matcher: Matcher, pixels: NDArray[np.float32], valid: NDArray[np.bool_]) -> Arrays:
    copies = pixels.copy(), valid.copy()
    try:
        arrays = matcher.describe(*copies)
    except Exception as error:
        raise MatcherContractError(f"{matcher.name} cannot describe an image: {error!r}") from error
    if not (np.array_equal(copies[0], pixels) and np.array_equal(copies[1], valid)):
        raise MatcherContractError(f"{matcher.name} changes the image it is given")
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):
        raise MatcherContractError(f"{matcher.name} describes an image by something else than arrays")
    return arrays


def _match(matcher: Matcher, pair: ExamplePair) -> Matches:
    left = _describe(matcher, pair.left, pair.left_valid)
    return _matched(matcher, left, _describe(matcher, pair.right, pair.right_valid), pair)


def _matched(
    matcher: Matcher, left: Arrays, right: Arrays, pair: ExamplePair, prior: GeometricPrior | None = None
) -> Matches:
    """Match and check the form of what comes."""
    matches = matcher.match(left, right, prior)
    count = len(matches)
    for name, points, image in (("left", matches.left, pair.left), ("right", matches.right, pair.right)):
        if points.shape != (count, 2) or points.dtype != np.float64:
            raise MatcherContractError(f"{matcher.name}: {name} is {points.dtype} {points.shape}, not float64 (N, 2)")
        if not ((points >= 0) & (points <= np.array(image.shape)[::-1])).all():
            raise MatcherContractError(f"{matcher.name}: some {name} points lie outside their image")
    if matches.score.shape != (count,) or not ((matches.score >= 0) & (matches.score <= 1)).all():
        raise MatcherContractError(f"{matcher.name}: score is not (N,) values from 0 to 1")
    return matches
