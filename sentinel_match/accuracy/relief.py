"""Relief: whether the displacement goes with altitude or slope, as a user's height model has them.

An image laid on the map by a wrong height model is wrong where the relief is. The relation of the shift to the altitude
is that of a plane that leans with height besides leaning over the map; it is fitted with little regard for what lies
off it, and its standard error is what heights of other ground would give.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sentinel_match.accuracy.terrain import Parallax, split, terrain_effect
from sentinel_match.comparison import HeightBin, HeightRelation, TerrainEffect
from sentinel_match.geometry.robust import error_of_median, nmad
from sentinel_match.products.angles import read_view_angles
from sentinel_match.raster.bands import band_names
from sentinel_match.raster.heights import read_heights

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from sentinel_match.accuracy.ground import Ground
    from sentinel_match.products.scene import Scene
    from sentinel_match.raster.heights import Heights

HEIGHT_BINS, FEWEST_BIN_POINTS = 8, 20
"""Bins of equal counts, and the points that make one."""
FEWEST_RELIEF_BLOCKS = 6
"""Blocks of ground that tell how sure a relation is."""
FLAT = {"altitude": 5.0, "slope": 0.5}
"""Metres and degrees of standard deviation below which the ground is too flat to tell."""
UNITS = {"altitude": 100.0, "slope": 10.0}
"""Metres and degrees for which the change of the shift is told."""
TUNING = 3.5
"""Times the median of what is left by which it loses half its weight: 95 % efficient on a normal distribution."""
CHANCES = 4
"""Steps along either axis by which the heights are moved about to learn what chance does."""


def terrain_of(
    ground: Ground | None, scenes: tuple[Scene, Scene], place: tuple[str, str], dem: Path | None, seed: int = 0
) -> TerrainEffect | None:
    """Tell what terrain does to the displacement of a pair.

    Args:
        ground: the displacement; ``None`` where it was not measured on a lattice.
        scenes: left and right.
        place: the band that was compared, and the CRS of the metres.
        dem: the user's height model.
        seed: of the draws.

    Returns:
        ``None`` where nothing says how the shift varies, or from where the images were seen and what its heights are.

    Raises:
        BadHeights: the height model cannot be used.
    """
    if ground is None:
        return None
    band, crs = place
    effect, parallax = None, None
    views = [read_view_angles(scene, band_names(band)[0]) for scene in scenes]
    if views[0] is not None and views[1] is not None:
        parallax = Parallax.of(ground.at, views[0], views[1], crs)
        effect = terrain_effect(ground, parallax, seed)
    if dem is None:
        return effect
    if parallax is not None and effect is not None and effect.shift_per_metre is not None:
        directions = dict(zip(("along", "across"), split(ground, parallax).directions, strict=True))
    else:
        units = {"east": (1.0, 0.0), "north": (0.0, 1.0)}
        directions = {name: np.broadcast_to(unit, ground.at.shape) for name, unit in units.items()}
    relations = height_relations(ground, directions, read_heights(dem, ground.at, crs))
    effect = effect or TerrainEffect(verdict="nothing says from where both images were seen")
    return replace(effect, dem=dem.name, relations=relations)


def height_relations(
    ground: Ground, directions: Mapping[str, NDArray[np.float64]], heights: Heights
) -> tuple[HeightRelation, ...]:
    """Relate the shift along each direction to altitude and slope.

    Args:
        ground: the displacement.
        directions: (rows, cols, 2) unit vectors by their name; NaN where one is not known.
        heights: at the nodes of the ground.

    Returns:
        None of a ground that is flat, or of which the model covers too little.
    """
    block, place = ground.blocks(), (ground.at - ground.at.mean((0, 1))) / 1e4
    relations = []
    for of in ("altitude", "slope"):
        values = getattr(heights, of)
        for name, direction in directions.items():
            known = ground.answers.single & np.isfinite(values) & np.isfinite(direction).all(-1)
            number, member = np.unique(block[known], return_inverse=True)
            if len(number) < FEWEST_RELIEF_BLOCKS or values[known].std() < FLAT[of]:
                continue
            shift = (ground.answers.whole * direction).sum(-1)[known]
            design = np.column_stack([np.ones(len(shift)), place[known], values[known] / UNITS[of]])
            fit = _Fit.of(design, shift)
            gain, sigma = float(fit.values[-1]), _chance_gain(fit, design[:, :3], values / UNITS[of], known)
            relations.append(
                HeightRelation(
                    of=of,
                    part=name,
                    unit=UNITS[of],
                    gain_m=round(gain, 4),
                    gain_sigma_m=round(sigma, 4),
                    related=abs(gain) > 2 * sigma,
                    bins=_bins(
                        values[known], shift - design[:, :3] @ fit.values[:3] - gain * design[:, 3].mean(), member
                    ),
                )
            )
    return tuple(relations)


class _Fit(NamedTuple):
    """A plane fitted with little regard for what lies off it (Cauchy weights); the height is its last column."""

    values: NDArray[np.float64]
    weight: NDArray[np.float64]
    left: NDArray[np.float64]
    """What the plane leaves."""
    slack: float
    """By how much it errs more than a fit whose weights were known before (Huber 1981, "Robust Statistics", 7.6)."""

    @staticmethod
    def of(design: NDArray[np.float64], shift: NDArray[np.float64]) -> _Fit:
        """Fit (N,) a shift to (N, K) columns."""
        weight, fit, slack = np.ones(len(shift)), np.zeros(design.shape[1]), 1.0
        fit[0] = np.median(shift)
        for _ in range(8):
            off = np.abs(shift - design @ fit)
            weight = 1 / (1 + (off / max(TUNING * float(np.median(off)), 1e-6)) ** 2)
            fit = _solved(design, shift, weight)
            slack = float(weight.mean() / max((weight * (2 * weight - 1)).mean(), 0.1))
        return _Fit(fit, weight, shift - design @ fit, slack)


def _solved(
    design: NDArray[np.float64], shift: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    weighted = design * weight[:, None]
    return np.asarray(np.linalg.lstsq(design.T @ weighted, weighted.T @ shift, rcond=None)[0], np.float64)


def _chance_gain(fit: _Fit, place: NDArray[np.float64], values: NDArray[np.float64], known: NDArray[np.bool_]) -> float:
    """Estimate the standard error of a gain: that of what the fit leaves with heights of other ground.

    Heights are smooth, and so is what moves the ground: over some kilometres any two such fields agree a little by
    chance, and no block of ground is independent of the next. The heights themselves, turned over and moved about, are
    as smooth, and have nothing to do with the ground (random shifts: Upton & Fingleton 1985, "Spatial Data Analysis by
    Example", 1.6). Where few such fields fit into the ground it is larger, by Student's law, so that two of it hold 95
    percent.

    Args:
        fit: of the right heights.
        place: (N, K) columns besides the height.
        values: (rows, cols) heights, NaN where there are none.
        known: (rows, cols) the N nodes.
    """
    from scipy.stats import t

    rows, cols = values.shape
    gains = []
    for flipped in (values, values[::-1], values[:, ::-1], values[::-1, ::-1]):
        for down in range(CHANCES):
            for across in range(CHANCES):
                if flipped is values and not (down or across):
                    continue
                other = np.roll(flipped, (rows * down // CHANCES, cols * across // CHANCES), (0, 1))[known]
                finite = np.isfinite(other)
                design = np.column_stack([place, other])[finite]
                gains.append(_solved(design, fit.left[finite], fit.weight[finite])[-1])
    variance = float(np.mean(np.square(gains)))
    # As many values of what is left as would make gains scatter so; the fit has taken some of them
    own = values[known]
    own = own - place @ _solved(place, own, np.ones(len(own)))
    count = float(fit.left.var()) / max(variance * float(own.var()), 1e-12)
    free = max(count - place.shape[1] - 1, 1.0)
    return float(fit.slack * np.sqrt(variance * max(count / free, 1.0)) * t.ppf(0.97725, free) / 2)


def _bins(values: NDArray[np.float64], shift: NDArray[np.float64], member: NDArray[np.intp]) -> tuple[HeightBin, ...]:
    """Find the median shift of each of some bins of as many points, with its 95 % interval."""
    count = max(1, min(HEIGHT_BINS, len(values) // FEWEST_BIN_POINTS))
    edges = np.quantile(values, np.linspace(0, 1, count + 1))
    number = np.clip(np.searchsorted(edges, values, "right") - 1, 0, count - 1)
    bins = []
    for k in range(count):
        own, blocks = shift[number == k], member[number == k]
        if len(own) < 2:
            continue
        medians = np.array([np.median(own[blocks == b]) for b in np.unique(blocks)])
        several = len(medians) >= FEWEST_RELIEF_BLOCKS
        sigma = error_of_median(nmad(medians), len(medians)) if several else nmad(own)
        middle = float(np.median(own))
        bins.append(
            HeightBin(
                low=round(float(edges[k]), 2),
                high=round(float(edges[k + 1]), 2),
                median_m=round(middle, 3),
                interval_m=(round(middle - 1.96 * sigma, 3), round(middle + 1.96 * sigma, 3)),
                points=len(own),
            )
        )
    return tuple(bins)
