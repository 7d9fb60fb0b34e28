"""A transform read back is the one that was written, however many coefficients it has."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentinel_match.geometry.transform import PlaneTransform, Transform, bend_through
from sentinel_match.schema import Unfit


def field(rows: int, cols: int, seed: int, size: float) -> Transform:
    values = np.random.default_rng(seed).normal(0, size, (rows, cols, 2))
    low, high = (
        np.array([500_000.0, 5_600_000.0]),
        np.array([500_000.0 + 140 * (cols - 1), 5_600_000.0 + 140 * (rows - 1)]),
    )
    return Transform(PlaneTransform("translation", np.eye(3), np.zeros(2)), bend_through(values, low, high))


def written(transform: Transform) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(json.dumps(transform.to_dict()))
    return made


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 60), st.integers(2, 60), st.integers(0, 5), st.sampled_from([1e-3, 1.0, 1e4, 1e6]))
def test_any_field_is_read_back_to_the_last_digit(rows: int, cols: int, seed: int, size: float) -> None:
    transform = field(rows, cols, seed, size)
    back = Transform.from_dict(written(transform))
    assert transform.bend is not None
    assert back.bend is not None
    assert np.array_equal(transform.bend.coefficients, back.bend.coefficients)


def test_a_field_of_many_nodes_is_small_in_a_file() -> None:
    assert len(json.dumps(field(300, 300, 0, 0.1).to_dict())) < 8 * 302**2


@pytest.mark.parametrize("wrong", ["", "no base64!", "AAAA"])
def test_coefficients_that_are_none_are_refused(wrong: str) -> None:
    made = written(field(60, 60, 0, 1.0))
    made["bend"]["coefficients"] = wrong
    with pytest.raises(Unfit, match="coefficients"):
        Transform.from_dict(made)


def test_coefficients_of_another_grid_are_refused() -> None:
    made = written(field(60, 60, 0, 1.0))
    made["bend"]["intervals"] = [60, 59]
    with pytest.raises(Unfit, match="bytes"):
        Transform.from_dict(made)


def test_a_large_field_can_be_told_of_without_its_values_and_then_moves_nothing() -> None:
    short = field(60, 60, 0, 1.0).abridged
    assert "pair.json" == written(short)["bend"]["coefficients"]
    back = Transform.from_dict(written(short))
    assert ("field", False, False) == (back.kind, short.whole, back.whole)
    with pytest.raises(ValueError, match=r"not here but in pair\.json"):
        back([500_000.0, 5_600_000.0])


def test_a_small_field_is_told_whole() -> None:
    small = field(20, 20, 0, 1.0)
    assert small is small.abridged
    assert small.whole
