"""Terrain: what of the displacement is the parallax of errors of heights, told by its direction.

An image is orthorectified by a height model. Where that is h metres too high, it shows the ground by h times the
tangent of the view's zenith angle off, towards the satellite. Two images differ by the difference of these vectors: its
direction is known at every place, and so is the height error that a displacement along it amounts to. Across it no
error of heights moves anything (Stumpf et al. 2018, "Improved co-registration of Sentinel-2 and Landsat-8", Remote
Sensing 10, 160: 3 m along the parallax between neighbouring orbits).

Noise, seasons and motion have no such direction: the displacement along the parallax and across it is compared as two
halves of the spectrum have it, each by itself, so that noise takes no part (see
:func:`sentinel_match.geometry.halves.squared_error`). What is a plane over the whole ground is left out: that is the
shift of the pair, and the swath's own attitude. One thing looks like terrain and is none: a platform that rolls moves
the ground across its track, which is the direction of parallax of orbits beside one another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sentinel_match.comparison import TerrainEffect
from sentinel_match.geometry import halves, lattice
from sentinel_match.geometry.robust import nmad

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.accuracy.ground import Ground
    from sentinel_match.products.angles import ViewAngles

LEAST_VIEWS_DEG = 1.0
"""Degrees between two views below which no error of heights shows: 16 m would move the ground by .3 m."""
TERRAIN_DRAWS = 400
"""Of the bootstrap over blocks."""
FEWEST_TERRAIN_BLOCKS = 6
"""Blocks of ground that tell how sure a figure is."""


class Parallax(NamedTuple):
    """The shift that a metre of height makes between two views, at (rows, cols) nodes."""

    vector: NDArray[np.float64]
    """(rows, cols, 2) east, north, right minus left, where the model is a metre too high; NaN where nothing says it."""
    angle: NDArray[np.float64]
    """(rows, cols) degrees between the two views."""

    @staticmethod
    def of(at: NDArray[np.float64], left: ViewAngles, right: ViewAngles, crs: str) -> Parallax:
        """Compute it.

        Args:
            at: (rows, cols, 2) metres.
            left: views of the left image.
            right: of the right one.
            crs: of the metres.
        """
        points = at.reshape(-1, 2)
        here, there = (views.towards(points, crs) for views in (left, right))
        cosine = (1 + (here * there).sum(1)) / np.sqrt((1 + (here**2).sum(1)) * (1 + (there**2).sum(1)))
        angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
        return Parallax((there - here).reshape(at.shape), angle.reshape(at.shape[:2]))


class Split(NamedTuple):
    """The displacement of a ground, less its plane, along the parallax and across it; NaN where one is not known."""

    height: NDArray[np.float64]
    """(rows, cols) metres by which the height model is too high, if what lies along the parallax comes from that."""
    along: NDArray[np.float64]
    """(rows, cols) metres, right minus left, of the shift towards where a model that is too high moves it."""
    across: NDArray[np.float64]
    """(rows, cols) metres of it at right angles, clockwise."""
    length: NDArray[np.float64]
    """(rows, cols) metres of shift that a metre of height makes."""
    directions: tuple[NDArray[np.float64], NDArray[np.float64]]
    """(rows, cols, 2) unit vectors along and across."""


def split(ground: Ground, parallax: Parallax) -> Split:
    """Split the displacement by direction, as smooth as its field bears out."""
    known = ground.measured & np.isfinite(parallax.vector).all(-1)
    vector = np.where(known[..., None], parallax.vector, np.nan)
    length = np.hypot(*np.moveaxis(vector, -1, 0))
    along = vector / np.maximum(length, 1e-9)[..., None]
    across = np.stack([along[..., 1], -along[..., 0]], -1)
    varies = ground.field.whole - lattice.plane_of(ground.field.whole, known.astype(float))
    parts = [(varies * direction).sum(-1) for direction in (along, across)]
    return Split(parts[0] / np.maximum(length, 1e-9), parts[0], parts[1], length, (along, across))


def terrain_effect(ground: Ground, parallax: Parallax, seed: int = 0) -> TerrainEffect | None:
    """Split the displacement into the part along the parallax and the part across it.

    Args:
        ground: the displacement.
        parallax: at its nodes.
        seed: of the draws.

    Returns:
        ``None`` where nothing says from where the measured ground was seen.
    """
    known = ground.measured & np.isfinite(parallax.vector).all(-1)
    if not known.any():
        return None
    views = round(float(np.median(parallax.angle[known])), 2)
    if views < LEAST_VIEWS_DEG:
        verdict = f"errors of heights cannot show: both images look from the same side, {views:.1f} degrees apart"
        return TerrainEffect(views_deg=views, verdict=verdict)
    parts = split(ground, parallax)
    sigma = np.sqrt((ground.field.variance * parts.directions[0] ** 2).sum(-1))[known] / parts.length[known]
    figures = _Energies.of(ground, known, parts.directions, seed)
    height, per_metre, vector = parts.height[known], float(np.median(parts.length[known])), parallax.vector
    east, north = np.median(vector[known], axis=0)
    limit, share, correlation = figures.limit / per_metre, figures.share, figures.correlation
    # What seasons do to windows has no direction: it lies along the parallax as much as across it
    rms = float(np.sqrt(max(figures.along**2 - figures.across**2, 0))) / per_metre
    detected = figures.detected
    rounded: dict[str, Any] = {
        "shift_per_metre": round(per_metre, 4),
        "azimuth_deg": round(float(np.degrees(np.arctan2(east, north)) % 360), 1),
        "median_m": round(float(np.median(height)), 2),
        "nmad_m": round(nmad(height), 2),
        "rms_m": None if np.isnan(rms) else round(rms, 2),
        "sigma_m": round(float(np.median(sigma)), 2),
        "limit_m": None if np.isnan(limit) else round(limit, 2),
        "along_m": None if np.isnan(figures.along) else round(figures.along, 3),
        "across_m": None if np.isnan(figures.across) else round(figures.across, 3),
    }
    names = ("share", "share_sigma", "correlation", "correlation_sigma")
    rounded |= {n: None if np.isnan(v) else round(v, 3) for n, v in zip(names, (*share, *correlation), strict=True)}
    return TerrainEffect(
        views_deg=views,
        detected=detected,
        **rounded,
        verdict=_verdict(views, rms, limit, share, detected),
    )


def _verdict(views: float, rms: float, limit: float, share: tuple[float, float], detected: bool) -> str:
    """Say what the figures mean."""
    seen = f"the parallax of views {views:.0f} degrees apart"
    if detected:
        varies = f"{share[0]:.0%} ± {share[1]:.0%} of what the shift varies"
        return f"the height model errs by {rms:.1f} m (root mean square): {varies} lies along {seen}"
    bound = "" if np.isnan(limit) else f": if any, they scatter by less than {limit:.1f} m"
    return f"no errors of heights show along {seen}{bound}"


class _Energies(NamedTuple):
    """How much the displacement varies along the parallax and across it, free of noise."""

    along: float
    """Root mean square, metres."""
    across: float
    share: tuple[float, float]
    """Of the square that lies along, and its standard error; NaN where nothing varies."""
    correlation: tuple[float, float]
    """Between the halves along the parallax, and its standard error."""
    limit: float
    """Root mean square along the parallax that is still possible at 95 %."""
    detected: bool
    """Whether more lies along than across, and windows that share no pixel share it, both by two standard errors."""

    @staticmethod
    def of(
        ground: Ground,
        known: NDArray[np.bool_],
        directions: tuple[NDArray[np.float64], NDArray[np.float64]],
        seed: int,
    ) -> _Energies:
        """Estimate it from the single windows; NaN where there are too few.

        Args:
            ground: the displacement.
            known: (rows, cols) where it was measured and the parallax is known.
            directions: (rows, cols, 2) unit vectors along the parallax and across it.
            seed: of the draws.
        """
        answers = ground.answers
        single, block = answers.single & known, ground.blocks()
        number, member = np.unique(block[single], return_inverse=True)
        if len(number) < FEWEST_TERRAIN_BLOCKS:
            return _Energies(np.nan, np.nan, (np.nan, np.nan), (np.nan, np.nan), np.nan, detected=False)
        plane = lattice.plane_of(answers.whole, answers.weight * single)
        one, other = (answers.one - plane)[single], (answers.other - plane)[single]
        one_sided = [((half - plane) * directions[0]).sum(-1) for half in (answers.one, answers.other)]
        columns = []
        for direction in (field[single] for field in directions):
            a, b = (one * direction).sum(1), (other * direction).sum(1)
            noise = halves.SHARED_NOISE * halves.NOISE_RATIO * ((a - b) / 2) ** 2
            columns += [a * b - noise, a**2, b**2, a * b]
        sums = np.column_stack([np.bincount(member, column) for column in columns])
        count = np.bincount(member)

        def figures(pick: NDArray[np.intp]) -> NDArray[np.float64]:
            """Compute (draws, 5) energy along and across, share, correlation, energy with noise, of draws of blocks."""
            means = sums[pick].sum(-2) / count[pick].sum(-1)[..., None]
            energy = np.maximum(means[..., [0, 4]], 0)
            total = energy.sum(-1)
            share = np.divide(energy[..., 0], total, out=np.full(total.shape, 0.5), where=total > 0)
            correlation = means[..., 0] / np.sqrt(np.maximum(means[..., 1] * means[..., 2], 1e-24))
            return np.stack([means[..., 0], means[..., 4], share, correlation, means[..., 3]], -1)

        rng = np.random.default_rng(seed)
        found = figures(np.arange(len(number))[None])[0]
        draws = figures(rng.integers(0, len(number), (TERRAIN_DRAWS, len(number))))
        spread = draws.std(0)
        excess = float(found[0] - found[1])
        varies = found[:2].sum() > 2 * (draws[:, 0] + draws[:, 1]).std()
        company, doubt = _company(one_sided[0], one_sided[1], single, block, seed)
        along_m, across_m = np.sqrt(np.maximum(found[:2], 0)).tolist()
        return _Energies(
            along_m,
            across_m,
            (float(found[2]), float(spread[2])) if varies else (np.nan, np.nan),
            (float(found[3]), float(spread[3])),
            float(np.sqrt(max(found[4], 0) + 2 * spread[4])),
            bool(varies and excess > 2 * (draws[:, 0] - draws[:, 1]).std() and company > 2 * doubt),
        )


def _company(
    one: NDArray[np.float64],
    other: NDArray[np.float64],
    single: NDArray[np.bool_],
    block: NDArray[np.int_],
    seed: int,
) -> tuple[float, float]:
    """Estimate the covariance between the nearest windows that share no pixel, and its standard error.

    What the texture of a window does to both halves of its spectrum is not its neighbour's: it made two of three
    pairs of flat ground within a season show .7 m of heights.

    Args:
        one: (rows, cols) displacement in one direction by one half of the spectrum.
        other: by the other half.
        single: (rows, cols) where there are single windows.
        block: (rows, cols) see :meth:`Ground.blocks`.
        seed: of the draws.
    """
    products, members, lag = [], [], halves.APART[0]
    for here, there, pair in halves.pairs(single, lag):
        products.append(((one[here] * other[there] + other[here] * one[there]) / 2)[pair])
        members.append(block[here][pair])
    number, member = np.unique(np.concatenate(members), return_inverse=True)
    if len(number) < FEWEST_TERRAIN_BLOCKS:
        return 0.0, np.inf
    total, count = np.bincount(member, np.concatenate(products)), np.bincount(member)
    pick = np.random.default_rng(seed).integers(0, len(number), (TERRAIN_DRAWS, len(number)))
    return float(total.sum() / count.sum()), float((total[pick].sum(1) / count[pick].sum(1)).std())
