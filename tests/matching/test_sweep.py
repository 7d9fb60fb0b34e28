"""How one picture lies on another, of which nothing is known."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel_match.matching.looks import best_offset, fast_size, transformed
from sentinel_match.matching.orientation import Described, describe
from sentinel_match.matching.sweep import Sighting, sweep
from sentinel_match.matching.view import View, shift
from sentinel_match.testing.checks import example_pair

PAIR = example_pair(shift=(0.0, 0.0), size=256)
SCALES = (0.8, 1.25)
MIDDLE = shift(128, 128)


def described(pixels: np.ndarray, valid: np.ndarray | None = None) -> Described:
    known = np.ones(pixels.shape, bool) if valid is None else valid
    return describe(View.of(pixels.astype(np.float32), known))


def similarity(angle: float, scale: float, x: float, y: float) -> np.ndarray:
    """Turned clockwise and enlarged about the middle of the left picture, then moved."""
    cos, sin = scale * np.cos(np.radians(angle)), scale * np.sin(np.radians(angle))
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1.0]])
    return np.asarray(shift(x, y) @ MIDDLE @ turn @ np.linalg.inv(MIDDLE))


def seen_through(matrix: np.ndarray, pixels: np.ndarray) -> Described:
    """Describe pixels as a picture of 256 px shows them."""
    centred = (shift(-0.5, -0.5) @ matrix @ shift(0.5, 0.5))[:2]
    image = cv2.warpAffine(pixels.astype(np.float32), centred, (256, 256), flags=cv2.INTER_AREA)
    valid = cv2.warpAffine(np.ones(pixels.shape, np.float32), centred, (256, 256)) > 0.99
    return described(np.clip(image, 0, 1), valid)


def corner_error(sighting: Sighting, truth: np.ndarray) -> float:
    corners = np.array([[64, 64, 1], [192, 64, 1], [64, 192, 1], [192, 192, 1]])
    there, true = (corners @ matrix.T for matrix in (sighting.matrix, truth))
    return float(np.hypot(*(there[:, :2] / there[:, 2:] - true[:, :2])[:, :2].T).max())


LEFT = described(PAIR.left)


@given(st.floats(-180, 180), st.floats(*SCALES), st.floats(-50, 50), st.floats(-50, 50))
@settings(max_examples=3, deadline=None, derandomize=True)
def test_a_picture_is_found_at_any_angle_scale_and_offset(angle: float, scale: float, x: float, y: float) -> None:
    truth = similarity(angle, scale, x, y)
    sighting = sweep(LEFT, seen_through(truth, PAIR.right), SCALES)
    assert sighting.found
    assert corner_error(sighting, truth) < 2
    assert (sighting.angle - angle + 180) % 360 == pytest.approx(180, abs=1)
    assert sighting.scale == pytest.approx(scale, rel=0.02)


@pytest.mark.parametrize("scale", [0.4, 2.4])
def test_a_much_larger_or_smaller_picture_is_found(scale: float) -> None:
    ground = example_pair(shift=(0.0, 0.0), size=512)
    left, right = (ground.left, ground.right) if scale < 1 else (ground.right, ground.left)
    matrix = similarity(35, min(scale, 1 / scale), -128 * min(scale, 1 / scale), -128 * min(scale, 1 / scale))
    whole, small = described(left), seen_through(matrix, right)
    sighting = sweep(whole, small, (0.35, 0.5)) if scale < 1 else sweep(small, whole, (2, 2.9))
    assert sighting.found
    assert sighting.scale == pytest.approx(scale if scale < 1 else 2.4, rel=0.03)


def test_fine_fields_tell_how_a_picture_is_turned_though_a_coarse_map_cannot_show_them() -> None:
    ground = example_pair(shift=(0.0, 0.0), size=512)
    pictures = []
    for pixels, seed in ((ground.left, 21), (ground.right, 22)):  # coarse detail is another one in each
        fine = pixels - cv2.GaussianBlur(pixels, (0, 0), 2.5)
        coarse = cv2.GaussianBlur(example_pair(shift=(0.0, 0.0), size=512, seed=seed).left, (0, 0), 4)
        pictures.append(0.5 + 0.1 * fine / fine.std() + 0.1 * coarse / coarse.std())
    middle, (cos, sin) = shift(256, 256), (np.cos(np.radians(37)), np.sin(np.radians(37)))
    truth = middle @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ np.linalg.inv(middle)
    centred = (shift(-0.5, -0.5) @ truth @ shift(0.5, 0.5))[:2]
    turned, valid = (
        cv2.warpAffine(np.asarray(image, np.float32), centred, (512, 512))
        for image in (pictures[1], np.ones((512, 512)))
    )
    sighting = sweep(described(pictures[0]), described(turned, valid > 0.99), (0.95, 1.05))
    assert sighting.found
    assert corner_error(sighting, truth) < 1


def test_agreement_is_divided_by_the_energy_that_meets() -> None:
    rng = np.random.default_rng(0)
    known = np.ones((40, 40), bool)
    left, right = (rng.normal(size=(5, 40, 40)).astype(np.float32) * rng.random((40, 40)) ** 4 for _ in range(2))
    size = fast_size(80)
    a, b = (transformed(maps.astype(np.float32), known, size) for maps in (left, right))
    found = best_offset(a._replace(planes=a.planes.conj()), b, size, opposite=False)
    assert found is not None
    _, _, (x, y), spread, scores = found
    x, y = (n - size if n > size // 2 else n for n in (x, y))
    here = left[:, max(0, -y) : 40 - max(0, y), max(0, -x) : 40 - max(0, x)]
    there = right[:, max(0, y) : 40 + min(0, y), max(0, x) : 40 + min(0, x)]
    energy = np.sqrt(((here**2).sum(0) * (there**2).sum(0)).sum())
    assert scores[0] == pytest.approx((here * there)[:2].sum() / energy / spread[0], rel=1e-3)
    assert scores[1] == pytest.approx((here * there)[2:].sum() / energy / spread[1], rel=1e-3)


def test_a_negative_is_found_and_said_to_be_one() -> None:
    truth = similarity(70, 1, 10, -20)
    sighting = sweep(LEFT, seen_through(truth, 1 - PAIR.right), (1, 1))
    assert sighting.found
    assert sighting.negative
    assert corner_error(sighting, truth) < 2


def test_a_mirror_image_is_refused() -> None:
    assert not sweep(LEFT, described(PAIR.right[:, ::-1]), SCALES).found


def test_other_ground_is_refused() -> None:
    assert not sweep(LEFT, described(example_pair(size=256, seed=11).right), SCALES).found


def test_a_frame_and_a_legend_are_no_ground() -> None:
    pictures = []
    for pixels in (PAIR.left, example_pair(size=256, seed=11).right):
        framed = np.array(pixels * 255).astype(np.uint8)
        cv2.rectangle(framed, (8, 8), (248, 248), 255, 2)
        framed[200:240, 16:80] = 255
        cv2.putText(framed, "Sentinel", (16, 225), 0, 0.4, 0, 1)
        pictures.append(described(framed / 255))
    assert not sweep(*pictures, (1, 1)).found


def figure_of(pixels: np.ndarray, paper: int) -> np.ndarray:
    """Show pixels of 256 x 256 with axes, labels, a title and a colour bar, on paper of a grey level."""
    ink = 255 if paper < 128 else 0
    page = np.full((376, 416), paper, np.uint8)
    page[60:316, 60:316] = pixels * 230
    cv2.rectangle(page, (60, 60), (316, 316), ink, 2)
    for k in range(0, 257, 32):
        cv2.line(page, (60 + k, 316), (60 + k, 324), ink, 1)
        cv2.putText(page, str(k), (50 + k, 340), 0, 0.4, ink, 1)
        cv2.putText(page, str(k), (15, 64 + k), 0, 0.4, ink, 1)
        cv2.putText(page, f"{k / 256:.1f}", (360, 64 + k), 0, 0.4, ink, 1)
    cv2.putText(page, "Sentinel-2 Level-2A true colour", (40, 40), 0, 0.6, ink, 2)
    cv2.putText(page, "Copernicus data, UTM 33N, scale 1 : 50 000", (40, 365), 0, 0.4, ink, 1)
    page[60:316, 335:355] = np.linspace(255, 0, 256)[:, None]
    cv2.rectangle(page, (335, 60), (355, 316), ink, 1)
    return page


def screenshot_of(pixels: np.ndarray) -> np.ndarray:
    """Show pixels in the window of a program: buttons, a list of layers, a line of state, and the map to the rim."""
    window = np.full((350, 430), 45, np.uint8)
    window[40:] = 60
    for k in range(20):
        cv2.rectangle(window, (6 + 20 * k, 10), (20 + 20 * k, 30), 100 + 37 * k % 150, -1)
        cv2.circle(window, (13 + 20 * k, 20), 4, 53 * k % 100, -1)
    for k in range(14):
        cv2.putText(window, f"T33UUU_{k * 7}_B0{k % 8}", (6, 60 + 20 * k), 0, 0.35, 210, 1)
    cv2.putText(window, "EPSG:32633 scale 1:50000 coordinate 500000, 5400000", (6, 340), 0, 0.35, 220, 1)
    window[45:301, 174:] = pixels * 230
    return window


def outlined(pixels: np.ndarray) -> np.ndarray:
    """Draw the ragged border of a district on pixels of 256 x 256."""
    shown = (pixels * 230).astype(np.uint8)
    angles = np.linspace(0, 2 * np.pi, 40)
    reach = 95 * (1 + 0.3 * np.random.default_rng(2).normal(size=40))
    border = np.stack([128 + reach * np.cos(angles), 128 + reach * np.sin(angles)], 1).astype(np.int32)
    return np.asarray(cv2.polylines(shown, [border], True, 255, 2))


@pytest.mark.parametrize("drawn", [partial(figure_of, paper=p) for p in (255, 128, 0)] + [screenshot_of, outlined])
def test_what_is_drawn_alike_beside_two_maps_or_on_them_shows_the_same_only_where_the_ground_does(
    drawn: Callable[[np.ndarray], np.ndarray],
) -> None:
    grounds = PAIR.left, PAIR.right, example_pair(size=256, seed=11).right
    left, same, other = (
        described(cv2.imdecode(cv2.imencode(".jpg", drawn(ground), [cv2.IMWRITE_JPEG_QUALITY, 80])[1], 0) / 255)
        for ground in grounds
    )
    assert not sweep(left, other, (1, 1)).found
    sighting = sweep(left, same, (1, 1))
    assert sighting.found
    assert corner_error(sighting, np.eye(3)) < 1


def test_stripes_that_agree_everywhere_prove_nothing() -> None:
    y, x = np.mgrid[:256, :256]
    stripes = 0.5 + 0.2 * np.sin((x + 0.3 * y) / 3)
    noise = np.random.default_rng(5).normal(0, 0.02, (2, 256, 256))
    assert not sweep(described(stripes + noise[0]), described(stripes + noise[1]), (1, 1)).found


def test_fields_on_one_grid_are_no_place() -> None:
    """Circles of different brightness each 55 pixels: their grids fit one another at many offsets."""
    random = np.random.default_rng([77, 0])
    pictures = []
    for left, top in ((0, 0), (20, 9)):
        fields = np.full((400, 400), 120.0)
        y, x = np.mgrid[:400, :400]
        for row in range(-1, 10):
            for col in range(-1, 10):
                fields[np.hypot(x - 55 * col - left, y - 55 * row - top) < 24] = random.uniform(40, 220)
        noise = 15 * cv2.GaussianBlur(random.normal(size=fields.shape), (0, 0), 1.5)
        pictures.append(np.clip(cv2.GaussianBlur(fields, (0, 0), 1) + noise, 0, 255).astype(np.uint8) / 255)
    assert not sweep(described(pictures[0]), described(pictures[1]), SCALES).found


def test_what_is_not_valid_has_no_say() -> None:
    valid = np.ones((256, 256), bool)
    valid[:, :100] = False
    rubbish = np.where(valid, PAIR.right, np.random.default_rng(3).random((256, 256)))
    sighting = sweep(LEFT, described(rubbish, valid), (1, 1))
    assert sighting.found
    assert corner_error(sighting, np.eye(3)) < 1


@pytest.mark.parametrize("side", [3, 40, 256])
def test_a_picture_with_nothing_to_see_is_refused(side: int) -> None:
    for valid in (np.zeros((side, side), bool), np.ones((side, side), bool)):
        assert not sweep(LEFT, described(np.full((side, side), 0.5), valid), (1, 1)).found


def test_a_description_comes_back_from_arrays_and_from_a_pickle() -> None:
    oblong = described(PAIR.left[:100])
    for copy in (Described.of_arrays(oblong.to_arrays()), pickle.loads(pickle.dumps(oblong))):  # noqa: S301 - our own
        assert copy.size == oblong.size
        for one, other in zip(copy.levels, oblong.levels, strict=True):
            assert one.step == other.step
            assert np.array_equal(one.maps, other.maps)
            assert np.array_equal(one.known, other.known)


def test_a_line_of_pixels_is_not_searched() -> None:
    for shape in ((1, 600), (600, 2), (4000, 64)):
        assert () == described(np.random.default_rng(1).random(shape)).levels
