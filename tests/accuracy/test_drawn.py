"""Windows of little texture that lie nearer a whole pixel than those of much betray a pattern on the grid."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from sentinel_match import Options, TiePoints, match_scenes
from sentinel_match.testing.noise import octaves
from sentinel_match.testing.patterns import PATTERNS
from sentinel_match.testing.witness import MARGIN, Field, by, shown

SIDE, GSD = 400, 10.0
MOVED = by(np.array([0.35, -0.3]))


def land(fading: str = "to the rims") -> np.ndarray:
    """Ground whose texture fades from the middle to the left and the right rim, or all the way to the left."""
    x = np.arange(SIDE + 2 * MARGIN) * GSD
    ground = 0.2 * np.asarray(octaves(3, 20, 2560, 0.7).at(x, x), float)
    way = np.linspace(0, 1, len(x)) if fading == "to the left" else 1 - np.abs(np.linspace(-1, 1, len(x)))
    return 0.5 + ground * 10 ** (way - 1)


def matched(
    moved: Field, tmp_path, pattern: str = "", strength: float = 0.0, ground: np.ndarray | None = None
) -> TiePoints:
    ground = land() if ground is None else ground
    rng, paths = np.random.default_rng(1), (tmp_path / "left.tif", tmp_path / "right.tif")
    shared = strength * PATTERNS[pattern]((SIDE, SIDE), rng) if pattern else 0
    for path, image in zip(paths, (shown(ground), shown(ground, moved)), strict=True):
        noisy = image + shared + rng.normal(0, 0.003, image.shape)
        profile = {"driver": "GTiff", "height": SIDE, "width": SIDE, "count": 1, "dtype": "uint16"}
        grid = from_origin(400_000, 5_000_000, GSD, GSD)
        with rasterio.open(path, "w", crs="EPSG:32633", transform=grid, **profile) as target:
            target.write(np.rint(300 + 2000 * noisy).clip(0, 65535).astype("u2"), 1)
    return match_scenes(*paths, Options(matcher="phase"))


@pytest.mark.parametrize(("pattern", "strength"), [("coarse noise", 0.1), ("blocks", 0.02)])
def test_a_pattern_draws_windows_of_little_texture_and_is_told(pattern: str, strength: float, tmp_path) -> None:
    summary = matched(MOVED, tmp_path, pattern, strength).summary
    assert summary.comparison is not None
    assert summary.comparison.consistency.drawn_m > 0.08 * GSD
    assert summary.doubtful
    assert "nearer to a whole pixel than where they show much" in summary.verdict


def test_ground_lies_where_it_lies_however_little_texture_it_has(tmp_path) -> None:
    summary = matched(MOVED, tmp_path).summary
    assert summary.comparison is not None
    assert summary.comparison.consistency.drawn_m == 0
    assert not summary.doubtful


def test_where_another_scale_changes_the_displacement_as_texture_changes_nothing_is_drawn(tmp_path) -> None:
    summary = matched(lambda x, y: np.stack([0.8 * x / SIDE, 0 * y]), tmp_path, ground=land("to the left")).summary
    assert summary.comparison is not None
    assert summary.comparison.consistency.drawn_m == 0
    assert not summary.doubtful
