"""A field on a lattice is as fine as its answers bear out, and says how sure it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel_match.geometry import halves, lattice, smoothing

SHAPE = (40, 44)
SPACING = 14.0
ROW, COL = np.indices(SHAPE).astype(float)


def answers(field: np.ndarray, noise: float, seed: int = 0, known: np.ndarray | None = None) -> halves.Answers:
    """Answers of single windows: the halves err by themselves and, a little, together, as windows of real pixels do."""
    rng = np.random.default_rng(seed)
    # Variances of what the halves share and of what each has alone: the whole is their mean
    both, own = noise**2 * (1 - 1 / halves.NOISE_RATIO), 2 * noise**2 / halves.NOISE_RATIO
    shared = rng.normal(0, np.sqrt(both), (*SHAPE, 2))
    one, other = (field + shared + rng.normal(0, np.sqrt(own), (*SHAPE, 2)) for _ in range(2))
    known = np.ones(SHAPE, bool) if known is None else known
    return halves.Answers((one + other) / 2, one, other, known / max(noise, 0.02) ** 2, known)


def along_x(values: np.ndarray) -> np.ndarray:
    return np.stack([values, np.zeros(SHAPE)], -1)


def wave(nodes: float, size: float = 0.75) -> np.ndarray:
    return along_x(size * np.sin(2 * np.pi * COL / nodes))


def rms(values: np.ndarray) -> float:
    return float(np.sqrt((values**2).mean()))


@pytest.mark.parametrize("seed", range(2))
def test_noise_alone_is_shrunk_to_next_to_nothing(seed: int) -> None:
    field = lattice.estimate(answers(np.zeros((*SHAPE, 2)), 0.08, seed), SPACING)
    assert rms(field.whole) < 0.08 / 5
    assert np.median(field.width) > 4


def test_a_wave_of_five_nodes_is_kept() -> None:
    truth = np.repeat(wave(5)[..., :1], 2, -1)  # along both axes
    field = lattice.estimate(answers(truth, 0.08), SPACING)
    inner = np.s_[3:-3, 3:-3]
    followed = (field.whole[inner] * truth[inner]).sum((0, 1)) / (truth[inner] ** 2).sum((0, 1))
    assert (followed > 0.93).all()
    assert np.median(field.width) < 4


def test_what_is_long_is_averaged_more_than_what_is_short() -> None:
    error = {
        nodes: rms(lattice.estimate(answers(wave(nodes), 0.08), SPACING).whole - wave(nodes)) for nodes in (5, 12, 36)
    }
    assert error[36] < error[12] < error[5] < 0.08


@pytest.mark.parametrize("truth", [wave(5), wave(36), wave(7, 0.2), np.zeros((*SHAPE, 2))])
def test_the_predicted_variance_is_that_of_the_errors(truth: np.ndarray) -> None:
    field = lattice.estimate(answers(truth, 0.08), SPACING)
    ratio = (field.whole - truth) / np.sqrt(field.variance)
    assert 0.25 < ratio.std() < 1.3


@pytest.mark.parametrize("seed", range(3))
def test_still_ground_hides_next_to_nothing(seed: int) -> None:
    """The whole lattice says so, where a single neighbourhood could not."""
    field = lattice.estimate(answers(np.zeros((*SHAPE, 2)), 0.08, seed), SPACING)
    assert np.sqrt(field.unseen.mean()) < 0.08 / 6


def rough(seed: int) -> np.ndarray:
    """Terrain-like ground: energy falls by k^-3, and never ends."""
    rng = np.random.default_rng(seed)
    k = np.hypot(*np.meshgrid(np.fft.fftfreq(SHAPE[0]), np.fft.rfftfreq(SHAPE[1]), indexing="ij"))
    size = np.where(k > 0, np.maximum(k, 1e-6) ** -1.5, 0)
    layer = np.fft.irfft2(size * np.exp(2j * np.pi * rng.random(k.shape)), s=SHAPE)
    return along_x(0.4 * layer / layer.std())


@pytest.mark.parametrize("seed", range(3))
def test_ground_without_an_end_to_its_spectrum_hides_more_than_a_wave(seed: int) -> None:
    """However good its texture: windows see an average of it, and no half of a spectrum sees another."""
    uneven, smooth = (lattice.estimate(answers(truth, 0.02), SPACING) for truth in (rough(seed), wave(14, 0.57)))
    noticed = [np.sqrt(field.unseen[..., 0].mean()) for field in (uneven, smooth)]
    assert noticed[0] > 0.05 > 2 * noticed[1]


def test_what_noise_alone_cannot_do_is_the_grounds_however_little_windows_share() -> None:
    """White from node to node, and forty times its noise: no season does that to the content of a window."""
    ground = np.random.default_rng(2).normal(0, 0.4, (*SHAPE, 2))
    least, greatest = halves.shared_with_neighbours(answers(ground, 0.05), np.zeros((*SHAPE, 2)))
    assert (least > 0.5 * 0.4**2).all()
    assert (greatest <= 1.1 * 0.4**2).all()


def test_a_gap_gets_a_sigma_that_covers_what_nobody_measured() -> None:
    truth = wave(12)
    known = np.ones(SHAPE, bool)
    known[12:26, 14:30] = False
    field = lattice.estimate(answers(truth, 0.05, known=known), SPACING)
    gap, around = np.s_[16:22, 18:26, 0], np.s_[2:10, 2:12, 0]
    sigma = np.sqrt(field.variance)
    assert np.median(sigma[gap]) > 3 * np.median(sigma[around])
    assert rms(((field.whole - truth) / sigma)[gap]) < 1.5


@pytest.mark.parametrize("seed", range(3))
def test_far_from_every_window_a_short_wave_is_not_made_up(seed: int) -> None:
    """Between seasons one window in ten answers: what it says holds of a quarter of the wave, and no further."""
    truth, rng = wave(6), np.random.default_rng(seed)
    known = rng.random(SHAPE) < 0.1
    field = lattice.estimate(answers(truth, 0.08, seed, known), SPACING)
    off, far = field.whole - truth, ~known
    assert rms(off[known][:, 0]) < 0.15
    assert rms(off[far][:, 0]) < 1.02 * rms(truth[far][:, 0])
    assert rms((off / np.sqrt(field.variance))[far][:, 0]) == pytest.approx(1, abs=0.2)


def test_far_from_every_window_a_long_wave_is_known_from_them_all() -> None:
    truth, known = wave(30), np.random.default_rng(0).random(SHAPE) < 0.1
    field = lattice.estimate(answers(truth, 0.08, known=known), SPACING)
    assert rms(field.whole - truth) < rms(truth) / 3


@settings(deadline=None, max_examples=8)
@given(
    st.floats(-3, 3),
    st.floats(-3, 3),
    st.floats(-0.05, 0.05),
    st.floats(-0.05, 0.05),
    st.floats(0.1, 1.0),
    st.integers(0, 99),
)
def test_constants_and_planes_are_reproduced(x: float, y: float, a: float, b: float, share: float, seed: int) -> None:
    truth = np.stack([x + a * COL + b * ROW, y - b * COL + a * ROW], -1)
    known = np.random.default_rng(seed).random(SHAPE) < share
    known[::8, ::8] = True
    field = lattice.estimate(answers(truth, 0.0, known=known), SPACING)
    assert np.abs(field.whole - truth).max() < 0.02


@settings(deadline=None, max_examples=3)
@given(st.floats(-2, 2), st.floats(-2, 2), st.integers(0, 99))
def test_a_shift_of_all_answers_shifts_the_field_and_nothing_else(x: float, y: float, seed: int) -> None:
    given_ = answers(wave(9), 0.06, seed)
    moved = given_._replace(whole=given_.whole + (x, y), one=given_.one + (x, y), other=given_.other + (x, y))
    one, other = (lattice.estimate(each, SPACING) for each in (given_, moved))
    assert np.abs(other.whole - one.whole - (x, y)).max() < 0.002
    assert other.variance == pytest.approx(one.variance, rel=0.05, abs=1e-5)


@pytest.mark.parametrize("away", [1.0, 2.0, -5.0])
def test_a_lone_wrong_answer_is_not_borne_out(away: float) -> None:
    values = answers(wave(9), 0.05).whole
    values[20, 21] += (0.0, away)
    known, expected, _ = lattice.company(values, np.ones(SHAPE, bool), np.full(SHAPE, 0.05))
    assert not known[20, 21]
    assert known.mean() > 0.98
    assert abs(expected[20, 21, 1]) < 0.1


def test_answers_that_move_together_are_borne_out() -> None:
    """Ground that moves against its surroundings is no error: six nodes on a side, five times as far as noise goes."""
    values = answers(np.zeros((*SHAPE, 2)), 0.05).whole
    values[16:24, 16:24] += (0.3, 0.0)
    known, _, _ = lattice.company(values, np.ones(SHAPE, bool), np.full(SHAPE, 0.05))
    assert known[18:22, 18:22].all()


@pytest.mark.parametrize("error", [0.0, 0.1, 0.4])
def test_the_squared_error_of_an_estimate_is_what_it_truly_is(error: float) -> None:
    truth, check = wave(9), answers(wave(9), 0.15, seed=3)
    estimate = truth + along_x(error * np.sin(2 * np.pi * ROW / 6))
    found = halves.squared_error(check, estimate).mean((0, 1))
    assert found == pytest.approx(((estimate - truth) ** 2).mean((0, 1)), abs=0.006)


def test_what_windows_beside_one_another_share_is_told_from_what_each_has_alone() -> None:
    rng = np.random.default_rng(5)
    content = answers(np.zeros((*SHAPE, 2)) + rng.normal(0, 0.2, (*SHAPE, 2)), 0.05)
    ground = answers(wave(12, 0.3), 0.05)
    alone, shared = (halves.shared_with_neighbours(each, np.zeros((*SHAPE, 2))) for each in (content, ground))
    assert alone[0].max() < 0.1 * 0.2**2
    assert shared[1][0] > 0.6 * 0.3**2 / 2


def test_windows_too_few_to_have_neighbours_may_share_all_that_they_show() -> None:
    known = np.zeros(SHAPE, bool)
    known[::8, ::8] = True
    least, greatest = halves.shared_with_neighbours(answers(wave(9), 0.05, known=known), np.zeros((*SHAPE, 2)))
    assert least.max() == 0
    assert greatest[0] > 0.6 * 0.75**2 / 2


def test_gaps_are_filled_smoothly_and_what_is_known_stays() -> None:
    truth = np.stack([1 + 0.1 * COL, 0.05 * ROW], -1)
    known = np.ones(SHAPE, bool)
    known[15:20, 15:20] = False
    filled = smoothing.filled(np.where(known[..., None], truth, 99.0), known)
    assert filled[known] == pytest.approx(truth[known])
    assert np.abs(filled - truth).max() < 0.4
