"""How far a transform errs on the ground is told, whatever noise checks it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from sentinel_match.accuracy.assess import assess
from sentinel_match.accuracy.evidence import Evidence
from sentinel_match.accuracy.ground import Ground
from sentinel_match.geometry import halves, lattice
from sentinel_match.geometry.kinds import MINIMAL
from sentinel_match.geometry.transform import PlaneTransform, Transform
from sentinel_match.summary import Fitting

SHAPE = (40, 44)
GSD, SPACING = 10.0, 140.0
ROW, COL = np.indices(SHAPE).astype(float)
AT = np.stack([400_000 + COL * SPACING, 5_000_000 - ROW * SPACING], -1)
NOISE = 0.8
"""Metres, of a single window."""
NO_SPREAD = np.zeros((0, 2))
"""Of a shift that is given, not fitted."""


def ground(truth: np.ndarray, noise: float = NOISE, seed: int = 0, known: np.ndarray | None = None) -> Ground:
    """Answers and field of invented ground; the halves err by themselves and, a little, together."""
    rng = np.random.default_rng(seed)
    both, own = noise**2 * (1 - 1 / halves.NOISE_RATIO), 2 * noise**2 / halves.NOISE_RATIO
    shared = rng.normal(0, np.sqrt(both), (*SHAPE, 2))
    one, other = (truth + shared + rng.normal(0, np.sqrt(own), (*SHAPE, 2)) for _ in range(2))
    known = np.ones(SHAPE, bool) if known is None else known
    in_pixels = halves.Answers((one + other) / 2 / GSD, one / GSD, other / GSD, known / (noise / GSD) ** 2, known)
    field = lattice.estimate(in_pixels, SPACING / GSD)
    answers = in_pixels._replace(whole=(one + other) / 2, one=one, other=other)
    metres = lattice.LatticeField(
        field.whole * GSD,
        field.one * GSD,
        field.other * GSD,
        field.variance * GSD**2,
        field.unseen * GSD**2,
        field.between * GSD**2,
        field.width,
    )
    full = np.ones(SHAPE, bool)
    return Ground(AT, known, full, answers, metres, GSD, (0, 0), full, np.full(SHAPE, 320.0))


def shift(x: float = 0.0, y: float = 0.0) -> Transform:
    matrix = np.eye(3)
    matrix[:2, 2] = x, y
    return Transform(PlaneTransform("translation", matrix, np.zeros(2)))


def wave(nodes: float, size: float, turn: float = 0.0) -> np.ndarray:
    """A sinusoid in metres along x, or turned: displacement and phase run along one direction."""
    unit = np.array([np.cos(turn), np.sin(turn)])
    return np.multiply.outer(size * np.sin(2 * np.pi * (COL * unit[0] + ROW * unit[1]) / nodes), unit)


def ce95(error: np.ndarray) -> float:
    return float(np.percentile(np.hypot(*np.moveaxis(error, -1, 0)), 95))


@pytest.mark.parametrize("size", [0.0, 2.0, 7.5])
@pytest.mark.parametrize("noise", [0.3, 1.5])
def test_the_squared_error_of_a_transform_is_what_it_truly_is(size: float, noise: float) -> None:
    truth = wave(9, size) + (3.0, -1.0)
    found = ground(truth, noise).squared_error(shift(3.0, -1.0)).mean((0, 1))
    assert found == pytest.approx(((truth - (3.0, -1.0)) ** 2).mean((0, 1)), abs=0.05 * size**2 + 0.12 * noise**2)


@pytest.mark.parametrize("nodes", [5, 7, 12, 30])
def test_the_variance_of_the_field_is_that_of_its_errors(nodes: float) -> None:
    truth = wave(nodes, 7.5)
    one = ground(truth)
    true = ((one.field.whole - truth) ** 2).sum(-1).mean()
    assert 0.9 * true < one.variance().sum(-1).mean() < 3 * true + 0.1


def test_a_gross_error_counts_as_a_pixel() -> None:
    truth = wave(9, 0.0)
    one = ground(truth)
    one.answers.one[3, 3] += 500
    one.answers.other[3, 3] += 500
    assert one.squared_error(shift()).max() == pytest.approx(GSD**2)


@pytest.mark.parametrize("size", [2.0, 7.5])
@pytest.mark.parametrize("nodes", [5, 7, 14, 28])
def test_the_claim_of_one_shift_is_not_below_the_truth_of_a_wave(nodes: float, size: float) -> None:
    truth = wave(nodes, size)
    proof = ground(truth).hold_out(shift(), 0, NO_SPREAD)
    assert proof.ce95_interval[1] >= ce95(truth)
    assert proof.ce95 < 1.8 * ce95(truth) + 0.5


@pytest.mark.parametrize("nodes", [5, 7, 14, 28])
def test_the_claim_of_the_field_is_not_below_the_truth_of_a_wave(nodes: float) -> None:
    truth = wave(nodes, 7.5)
    one = ground(truth)
    proof = one.hold_out(one.transform(shift()), 0)
    assert proof.ce95_interval[1] >= ce95(one.field.whole - truth)


def test_the_transform_of_a_field_goes_through_its_nodes_and_fades_to_what_is_beyond() -> None:
    truth = wave(9, 7.5)
    known = COL < 20
    one = ground(truth, known=known)
    transform = one.transform(shift(100.0))
    there = transform.shift(AT.reshape(-1, 2)).reshape(truth.shape)
    inner = np.s_[4:-4, 2:12]
    assert there[inner] == pytest.approx(one.field.whole[inner], abs=0.01)
    assert there[:, -3:, 0] == pytest.approx(100, abs=1)


def evidence(one: Ground) -> Evidence:
    """The points of a lattice, one on each node."""
    left, count = AT.reshape(-1, 2), SHAPE[0] * SHAPE[1]
    sigma = np.sqrt(one.field.variance.mean(-1)).ravel()
    return Evidence(
        left,
        left + one.answers.whole.reshape(-1, 2),
        sigma,
        np.full(count, 0.9),
        np.ones(count, bool),
        np.full(count, "intensity"),
        np.full(count, 1160.0),
        np.zeros(count, bool),
        expected=left + one.field.whole.reshape(-1, 2),
        ground=one,
    )


def assessed(one: Ground) -> Transform:
    fitting = Fitting("similarity", None, 40.0, 3.4)
    return assess(evidence(one), fitting, GSD, ("left", "right")).transform


@pytest.mark.parametrize("seed", range(2))
def test_flat_ground_gets_no_field(seed: int) -> None:
    one = ground(np.zeros((*SHAPE, 2)) + (4.0, -2.0), seed=seed)
    assert not one.follows_better(shift(4.0, -2.0))
    transform = assessed(one)
    assert transform.kind in MINIMAL
    assert np.abs(transform.shift(AT.reshape(-1, 2)) - (4.0, -2.0)).max() < 0.2


def test_flat_ground_with_hardly_any_noise_gets_a_translation() -> None:
    assert assessed(ground(np.zeros((*SHAPE, 2)) + (4.0, -2.0), noise=0.2)).kind == "translation"


def test_a_wave_gets_a_field() -> None:
    one = ground(wave(9, 5.0) + (4.0, -2.0))
    assert one.follows_better(shift(4.0, -2.0))
    assert assessed(one).kind == "field"


def test_a_wave_longer_and_larger_than_a_stiff_kind_bears_is_no_reason_to_refuse() -> None:
    assert assessed(ground(wave(15, 8.0))).kind == "field"


def test_what_a_season_does_to_each_window_by_itself_is_no_field() -> None:
    """Both halves see it, and no neighbour does."""
    content = np.random.default_rng(4).normal(0, 2.0, (*SHAPE, 2))
    assert not ground(content).follows_better(shift())


def test_what_seasons_may_do_to_windows_is_no_field_and_is_in_the_sigma_of_the_points() -> None:
    """Shadows fall the same way over a whole slope: neighbours share what they see."""
    shadows = gaussian_filter(np.random.default_rng(4).normal(size=(*SHAPE, 2)), (2, 2, 0))
    shadows *= 2.0 / shadows.std()
    same, other = ground(shadows), replace(ground(shadows), content=8.0)
    assert same.follows_better(shift())
    assert not other.follows_better(shift())
    off = (other.field.whole**2).mean()
    assert other.beside(shift()).mean() > 0.6 * off
    assert same.variance().mean() < 0.3 * off


def test_the_points_of_ground_that_seasons_may_have_displaced_say_so() -> None:
    shadows = gaussian_filter(np.random.default_rng(4).normal(size=(*SHAPE, 2)), (2, 2, 0))
    one = replace(ground(shadows * 2.0 / shadows.std()), content=8.0)
    points = replace(evidence(one), node=np.arange(SHAPE[0] * SHAPE[1]))
    found = assess(points, Fitting("similarity", None, 40.0, 3.4), GSD, ("left", "right"))
    assert found.transform.kind != "field"
    error = (found.right - found.transform(points.left))[found.inlier]
    assert 0.7 < (error / found.sigma[found.inlier, None]).std() < 1.3


def test_ground_that_all_answers_show_displaced_is_in_the_claim_of_one_shift_though_no_window_lies_there() -> None:
    """A step, and single windows on one side of it alone."""
    truth = np.where((COL > 22)[..., None], (7.0, 0.0), (0.0, 0.0))
    one = ground(truth)
    single = one.answers.single & (COL < 20)
    one = replace(one, answers=one.answers._replace(single=single))
    assert one.hold_out(one.transform(shift()), 0).points == single.sum()
    assert one.hold_out(shift(), 0, NO_SPREAD).ce95 > 6


def test_motion_is_not_told_where_nothing_was_measured() -> None:
    one = ground(wave(20, 7.5), known=COL < 20)
    correction = shift()
    motion = one.motion(one, correction, one.uncertainty(correction, NO_SPREAD))
    told = np.isfinite(motion.uncertainty.arrays()[0])
    assert told[:, :18].all()
    assert not told[:, -10:].any()
