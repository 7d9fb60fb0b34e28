"""A series of acquisitions: offsets from the shifts of pairs, and what does not close."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel_match.accuracy.adjustment import Link, adjust, loops
from sentinel_match.accuracy.series_report import series_reports

GSD = 10.0


def links(offsets: np.ndarray, pairs: list[tuple[int, int]], noise: float = 0.2, seed: int = 0) -> list[Link]:
    rng = np.random.default_rng(seed)
    shifts = [offsets[b] - offsets[a] + rng.normal(0, noise, 2) for a, b in pairs]
    return [
        Link(f"{a:02d}", f"{b:02d}", (float(s[0]), float(s[1])), (noise, noise), GSD)
        for (a, b), s in zip(pairs, shifts, strict=True)
    ]


def network(n: int, reach: int = 3) -> list[tuple[int, int]]:
    return [(a, b) for a, b in combinations(range(n), 2) if b - a <= reach]


@given(seed=st.integers(0, 10_000), n=st.integers(3, 15))
@settings(max_examples=30, deadline=None)
def test_offsets_come_back_up_to_the_datum(seed: int, n: int) -> None:
    offsets = np.random.default_rng(seed).normal(0, 3, (n, 2))
    (series,) = adjust(links(offsets, network(n), noise=1e-6, seed=seed))
    assert np.allclose(series.offset, offsets - np.median(offsets, axis=0), atol=1e-4)
    assert tuple(f"{k:02d}" for k in range(n)) == series.names


def test_the_stated_uncertainty_is_the_real_one() -> None:
    n, errors = 12, []
    for seed in range(200):
        offsets = np.zeros((n, 2))
        (series,) = adjust(links(offsets, network(n), noise=0.5, seed=seed))
        errors.append((series.offset - series.offset.mean(0)) / series.sigma)
    assert 0.8 < np.std(errors) < 1.1


def test_an_acquisition_that_lies_off_is_named_and_no_other() -> None:
    offsets = np.random.default_rng(1).normal(0, 0.2, (20, 2))
    offsets[7, 1] -= 4
    (series,) = adjust(links(offsets, network(20)))
    assert {(7, 1)} == set(zip(*np.nonzero(series.apart), strict=True))
    assert abs(series.offset[7, 1] + 4) < 0.5


def test_a_pair_that_contradicts_the_others_is_named_and_moves_nothing() -> None:
    offsets = np.zeros((10, 2))
    measured = links(offsets, network(10))
    wrong = measured[5]._replace(shift=(9.0, 0.0))
    (series,) = adjust([*measured[:5], wrong, *measured[6:]])
    assert [5] == np.flatnonzero(series.doubtful).tolist()
    assert np.abs(series.offset).max() < 0.6
    assert not series.apart.any()


def test_triangles_that_do_not_close_come_first() -> None:
    offsets = np.zeros((5, 2))
    measured = links(offsets, network(5, 4), noise=0.01)
    assert 10 == len(loops(measured))
    wrong = [
        m._replace(shift=(m.shift[0] + 5, m.shift[1])) if (m.left, m.right) == ("01", "03") else m for m in measured
    ]
    worst = loops(wrong)[:3]
    assert all({"01", "03"} <= set(loop.names) for loop in worst)
    assert all(abs(np.hypot(*loop.closure) - 5) < 0.2 for loop in worst)
    assert np.hypot(*loops(wrong)[3].closure) < 0.2


def test_a_chain_has_no_redundancy_and_says_what_was_measured() -> None:
    offsets = np.array([[0, 0], [1, 2], [3, 3.0]])
    (series,) = adjust(links(offsets, [(0, 1), (1, 2)], noise=1e-6))
    assert 0 == series.redundancy
    assert (1.0, 1.0) == series.unit
    assert [] == loops(series.links)


def test_deviations_are_those_of_full_matrices_off_the_mean_of_all() -> None:
    pairs = network(40, 2)
    measured = [link._replace(sigma=(0.1 + k % 5, 0.1)) for k, link in enumerate(links(np.zeros((40, 2)), pairs))]
    (series,) = adjust(measured)
    design = np.zeros((len(pairs), 40))
    for k, (a, b) in enumerate(pairs):
        design[k, a], design[k, b] = -1, 1
    weight = 1 / (np.array([link.sigma[0] for link in measured]) ** 2 + (0.02 * GSD) ** 2)
    sigma = np.sqrt(np.diag(np.linalg.pinv(design.T @ (weight[:, None] * design))))
    np.testing.assert_allclose(series.sigma[:, 0], sigma, rtol=1e-6)  # these pairs contradict each other by less


def test_an_archive_of_thousands_is_adjusted_in_seconds() -> None:
    offsets = np.random.default_rng(1).normal(0, 3, (2000, 2))
    measured = links(offsets, [(k - d, k) for k in range(2000) for d in (1, 7) if k >= d], noise=1e-3)
    began = time.process_time()
    (series,) = adjust(measured)
    assert time.process_time() - began < 10  # full matrices take minutes
    true = (offsets - np.median(offsets, axis=0))[[int(name) for name in series.names]]
    assert np.abs(series.offset - true).max() < 0.1


def test_sets_that_no_pair_links_are_adjusted_apart_and_two_are_no_series() -> None:
    first, second = links(np.zeros((4, 2)), network(4)), links(np.zeros((3, 2)), network(3))
    second = [m._replace(left="x" + m.left, right="x" + m.right) for m in second]
    lone = Link("p", "q", (1.0, 1.0), (0.1, 0.1), GSD)
    assert [4, 3] == [len(s.names) for s in adjust([lone, *second, *first])]
    assert [] == adjust([lone])
    assert [] == adjust([])


def test_the_report_is_in_metres_and_pixels() -> None:
    offsets = np.zeros((6, 2))
    offsets[2] = (0, -20)
    taken = datetime(2016, 3, 30, tzinfo=UTC)
    (said,) = series_reports(links(offsets, network(6)), {"02": taken})
    row = said.acquisitions[2]
    assert ("02", taken, True) == (row.id, row.sensing_time, row.disagrees)
    assert row.dy_m == pytest.approx(-20, abs=0.5)
    assert row.dy_px == pytest.approx(-2, abs=0.05)
    assert len(said.pairs) == len(network(6))
    assert said.loops
