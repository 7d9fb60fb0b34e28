"""Lines at which the ground jumps are told from waves of any length, by what windows say beside them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel_match.geometry.breaks import WRONG, variance_beside

SIDE, SPACING = 32, 14.0
TAPER = np.hanning(SIDE + 1)[:SIDE]


def by_windows(profile: np.ndarray) -> np.ndarray:
    """What windows of 32 px every 14 say of a displacement along x, pixel by pixel: (20, nodes, 2)."""
    averaged = np.convolve(profile, TAPER / TAPER.sum(), mode="same")
    values = averaged[40:-40:14]
    return np.stack([np.tile(values, (20, 1)), np.zeros((20, len(values)))], -1)


@given(st.floats(0.2, 4), st.floats(0, 14), st.booleans())
def test_a_jump_makes_the_field_unsure_beside_its_line_and_nowhere_else(
    size: float, aside: float, upright: bool
) -> None:
    x = np.arange(600.0)
    field = by_windows(np.where(x > 300 + aside, size, 0))
    variance = variance_beside(field if upright else field.swapaxes(0, 1))
    values = variance[..., 0] if upright else variance[..., 0].T
    at = 40 + SPACING * np.arange(values.shape[1])
    line = abs(at - 300 - aside)
    assert (values[:, line > 16] == 0).all()
    assert 0.7 * WRONG * size < np.sqrt(values[10].max()) < 1.3 * WRONG * size
    assert (variance[..., 1] == 0).all()


@pytest.mark.parametrize("length", [40, 48, 64, 72, 80, 84, 88, 96, 104, 108, 110, 112, 116, 128, 160, 192, 256, 400])
def test_waves_of_any_length_are_no_jumps(length: float) -> None:
    worst = max(
        np.sqrt(variance_beside(by_windows(np.sin(2 * np.pi * np.arange(900) / length + phase)))[:, 3:-3].max())
        for phase in np.linspace(0, 2 * np.pi, 12)
    )
    assert worst < 0.08


def test_a_plane_is_no_jump() -> None:
    y, x = np.indices((12, 15)).astype(float)
    assert (variance_beside(np.stack([0.1 * x - 0.05 * y, 0.2 * y], -1)) < 1e-12).all()
