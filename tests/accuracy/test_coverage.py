"""Where on the clear ground the points lie."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel_match.accuracy.coverage import cover


def test_points_everywhere_cover_everything() -> None:
    clear = np.ones((1000, 1500), bool)
    y, x = np.mgrid[0:1000:16, 0:1500:16]
    said = cover(clear, np.column_stack([x.ravel(), y.ravel()]).astype(float), 10.0)
    assert (1.0, 0.0) == (said.share, said.extrapolated_share)
    assert 640 == said.cell_m


def test_half_an_image_without_points_is_extrapolated_but_for_its_rim() -> None:
    clear = np.ones((2048, 2048), bool)
    y, x = np.mgrid[0:2048:16, 0:1024:16]
    said = cover(clear, np.column_stack([x.ravel(), y.ravel()]).astype(float), 10.0)
    assert 0.5 == said.share
    assert abs(0.5 - 3 / 32 - said.extrapolated_share) < 1e-3


def test_ground_under_cloud_is_not_asked_for() -> None:
    clear = np.zeros((1024, 1024), bool)
    clear[:512] = True
    y, x = np.mgrid[0:512:16, 0:1024:16]
    said = cover(clear, np.column_stack([x.ravel(), y.ravel()]).astype(float), 10.0)
    assert (1.0, 0.0) == (said.share, said.extrapolated_share)


def test_no_points_cover_nothing() -> None:
    said = cover(np.ones((300, 300), bool), np.empty((0, 2)), 10.0)
    assert (0.0, 1.0) == (said.share, said.extrapolated_share)


@given(rows=st.integers(1, 700), cols=st.integers(1, 700), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_shares_are_shares_for_every_shape(rows: int, cols: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 1, (rng.integers(0, 30), 2)) * (cols, rows)
    said = cover(rng.random((rows, cols)) < 0.5, points, 10.0)
    assert 0 <= said.share <= 1
    assert 0 <= said.extrapolated_share <= 1 - said.share + 1e-3
