"""The displacement fields of ``distortions.py``: by name, and by chance."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import map_coordinates, spline_filter

from sentinel_match.testing.witness import Field, still, wave

FIELDS = ("flat", *(f"wave{n}" for n in (64, 96, 128, 192, 256, 384)), "y96", "o96", "k2", "k3", "step", "quad")


def rough(
    power: float, side: tuple[int, int], rng: np.random.Generator, rms: tuple[float, float], turn: float
) -> Field:
    """Make a random field, 16 to 1600 px long."""
    n = max(side)
    k = np.hypot(*np.meshgrid(np.fft.fftfreq(n), np.fft.rfftfreq(n), indexing="ij"))
    size = np.where((k > 1 / 1600) & (k < 1 / 16), np.maximum(k, 1e-6) ** (-power / 2 - 0.5), 0)
    layers = []
    for strength in rms:
        values = np.fft.irfft2(size * np.exp(2j * np.pi * rng.random(k.shape)), s=(n, n))
        values = values[: side[0], : side[1]]
        layers.append(spline_filter(values / values.std() * strength))
    c, s = np.cos(turn), np.sin(turn)

    def at(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        u, v = (map_coordinates(layer, [y, x], prefilter=False, mode="mirror") for layer in layers)
        return np.stack([c * u - s * v, s * u + c * v])

    return at


def step(size: float, normal: float, middle: tuple[float, float], along: float) -> Field:
    c, s = np.cos(normal), np.sin(normal)
    unit = np.array([np.cos(along), np.sin(along)])
    return lambda x, y: np.multiply.outer(size * unit, ((x - middle[0]) * c + (y - middle[1]) * s > 0).astype(float))


def quad(matrix: np.ndarray, side: tuple[int, int]) -> Field:
    """Make a second-order field of (2, 3) pixels times x², xy, y² from the middle, in half sides."""

    def at(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        u, v = 2 * x / side[1] - 1, 2 * y / side[0] - 1
        return np.tensordot(matrix, np.stack([u * u, u * v, v * v]), 1)

    return at


def named(name: str, side: tuple[int, int], rng: np.random.Generator) -> tuple[Field, np.ndarray | None]:
    """Make the field of a name."""
    rows, cols = side
    if name == "flat":
        return still, None
    if name == "step":
        return step(0.4, np.arctan(0.2), (0.46 * cols, 0.5 * rows), 0), None
    if name == "quad":
        return quad(np.array([[1.0, 0, 0], [0, 0.5, 0]]), side), None
    if name.startswith("k"):
        return rough(float(name[1:]), side, rng, (0.30, 0.05), 0), None
    length = float(name.lstrip("waveyo"))
    towards, along = {"w": (0.0, 0.0), "y": (np.pi / 2, np.pi / 2), "o": (np.pi / 6, np.pi / 6 + np.pi / 2)}[name[0]]
    return wave(length, towards, along, 0.75), np.array([np.cos(along), np.sin(along)])


def drawn(kind: str, side: tuple[int, int], rng: np.random.Generator) -> tuple[Field, np.ndarray | None, str]:
    """Draw a field of a kind; also say which."""
    a, b = rng.uniform(0, 2 * np.pi, 2)
    if kind == "wave":
        length, size = float(np.exp(rng.uniform(np.log(64), np.log(384)))), float(rng.uniform(0.1, 0.9))
        unit = np.array([np.cos(b), np.sin(b)])
        return wave(length, a, b, size), unit, f"wave of {length:.0f} px, {size:.2f} px"
    if kind == "k":
        power, rms = rng.uniform(2, 3.5), rng.uniform(0.1, 0.45)
        return rough(power, side, rng, (rms, rms / 6), a), None, f"k^-{power:.1f}, {rms:.2f} px"
    if kind == "step":
        size = rng.uniform(0.1, 0.8)
        middle = tuple(rng.uniform(0.3, 0.7, 2) * side[::-1])
        return step(size, a, middle, b), None, f"step of {size:.2f} px"
    if kind == "quad":
        matrix = rng.normal(0, 0.6, (2, 3))
        return quad(matrix, side), None, f"quad up to {np.abs(matrix).sum(1).max():.1f} px"
    return still, None, "flat"
