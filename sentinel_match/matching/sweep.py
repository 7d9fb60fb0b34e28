"""How one picture lies on another, of which nothing is known: any rotation, scale and offset, by orientation alone.

left  ──▶ described ─┐  every angle and scale, all offsets at once by FFT      the best few, finer      the best, by
right ─▶ described ──┴▶ (maps of 64 px) ──────────────────────────────────▶ (128 px, 256 px) ───────▶ local optimisation

Two maps of directions are correlated over all offsets, and each sum is divided by the deviation that it would have if
the directions had nothing to do with one another: that of the energies that overlap, times what the whole surface of
that look says, so that stripes, grids of fields and JPEG blocks, which agree everywhere a little, prove nothing. With
its sign the direction gives one score, doubled another; their squares add up. The best of a whole sweep over unrelated
ground has a known distribution, hence the expected number of false alarms.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from scipy import optimize

from sentinel_match.matching.looks import Bench, Look
from sentinel_match.matching.orientation import UNITS, Described, describe
from sentinel_match.matching.support import agreement, laid, support

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from sentinel_match.matching.orientation import Level

__all__ = ["Described", "Sighting", "describe", "sweep"]

SWEEP_VERSION = 5
"""Of what a sweep finds; part of recipes."""
ANGLE_STEP = 5.0
"""Degrees between the first looks."""
SCALE_STEP = 1.12
"""Ratio between the scales of the first looks."""
SCALES = (0.5, 2.0)
"""By how much the right picture may enlarge what the left one shows."""
WIDE_SCALES = (0.3, 3.0)
"""Tried where nothing is found at :data:`SCALES`."""
STAGES = ((64, 40, 10), (128, 10, 4), (256, 4, 2), (512, 0, 0))
"""Pixels of the smaller picture's maps, where there are as many; how many of the best looks are refined by local
optimisation; how many of those are looked at again in the next stage."""
FAINT = 0.4
"""Looks whose score is below this share of the best are not looked at again: noise alone reaches 5 to 6."""
ACCEPTED_NFA = -4.0
"""Log10 of the expected number of false alarms in one sweep below which a sighting counts as found."""
LOOKS = np.log(1440)
"""Natural logarithm of the looks of a sweep."""
HEIGHT = 10.6
"""Half the square of the lesser of score and support that a sweep's best has over unrelated ground, as a rule."""
REPEATED = 0.6
"""Share of the best score above which the second one of a look says that the ground repeats itself, which tells of no
place: .52 at most of 935 pairs of the same ground that are found, .76 of two fields of circles on one grid."""
LOCATION, SPREAD = -10.6, 3.2
"""Of the tail of the surprise of a sweep's best over unrelated ground (see :func:`_log_nfa`): 308 pairs of eleven
places, 207 at 256 px and 101 at 512 px, one in ten framed. A tenth exceeded -3.2, a hundredth 2.8, none 7.4; of the
same ground in two seasons it is mostly 100 to 1000."""


@dataclass(frozen=True, eq=False)
class Sighting:
    """How the right picture lies on the left one, as far as the sweep can tell, and how sure that is."""

    matrix: NDArray[np.float64]
    """(3, 3) similarity, left pixels to right pixels, corner origin."""
    angle: float
    """Degrees, -180 to 180, by which the right picture is turned clockwise against the left one."""
    scale: float
    """Pixels of the right picture per pixel of the left one."""
    z: float
    """Score: how many deviations above what unrelated ground gives at one offset."""
    runner_up: float
    """Best score elsewhere at the same angle and scale."""
    support: float
    """Score without the fifth of the ground that agrees best: low where a frame or a legend is all that agrees."""
    nfa: float
    """Log10 of the expected number of sightings as good in a sweep over unrelated ground."""
    share: float
    """Share of the smaller picture's known ground that the other one shows."""
    negative: bool
    """Whether dark and bright are exchanged."""

    @property
    def found(self) -> bool:
        """Tell whether it is the same ground."""
        return self.nfa < ACCEPTED_NFA


def sweep(left: Described, right: Described, scales: tuple[float, float] | None = None) -> Sighting:
    """Find how one picture lies on another.

    Args:
        left: the reference.
        right: of any angle.
        scales: least and largest scale of the right picture against the left one; ``None``: :data:`SCALES`, and
            where that finds nothing :data:`WIDE_SCALES`.
    """
    if scales is not None:
        return _swept(left, right, _scales(*scales))
    first = _swept(left, right, _scales(*SCALES))
    if first.found:
        return first
    rest = [s for s in _scales(*WIDE_SCALES) if not SCALES[0] <= s <= SCALES[1]]
    return min(first, _swept(left, right, rest), key=lambda s: s.nfa)


def _scales(low: float, high: float) -> list[float]:
    """List the scales between two, evenly by their logarithm."""
    count = max(1, round(np.log(high / low) / np.log(SCALE_STEP)) + 1)
    return np.geomspace(low, high, count).tolist() if count > 1 else [float(np.sqrt(low * high))]


def _swept(left: Described, right: Described, scales: Sequence[float]) -> Sighting:
    """Look at every angle and some scales, then again at what was best."""
    if not left.levels or not right.levels:
        return _nothing()
    bench = Bench(left, right)
    angles = np.arange(0, 180, ANGLE_STEP).tolist()
    looks = [look for scale in scales for angle in angles for look in bench.look(angle, scale, STAGES[0][0])]
    for (coarse, refined, kept), (side, *_) in pairwise(STAGES):
        best = _distinct([_refined(bench, look, coarse) for look in _distinct(looks, refined)], kept)
        looks = [look for found in best for look in bench.look(found.angle, found.scale, side, both=False)]
    sighting = _nothing()
    for look in looks:  # a frame that both pictures share may agree better than the ground
        sighting = min(sighting, _sighting(bench, look), key=lambda seen: seen.nfa)
    return sighting


def _nothing() -> Sighting:
    """Make the sighting of a picture on which there is nothing to see."""
    return Sighting(np.eye(3), 0.0, 1.0, 0.0, 0.0, 0.0, np.inf, 0.0, negative=False)


def _distinct(looks: Iterable[Look], count: int) -> list[Look]:
    """Keep the best looks, none of which is next to a better one or far below the best."""
    kept: list[Look] = []
    for look in sorted(looks, key=lambda found: -found.z):
        if kept and look.z < FAINT * kept[0].z:
            break
        near = any(
            abs((look.angle - other.angle + 180) % 360 - 180) < 0.6 * ANGLE_STEP
            and abs(np.log(look.scale / other.scale)) < 0.6 * np.log(SCALE_STEP)
            for other in kept
        )
        if not near:
            kept.append(look)
        if len(kept) == count:
            break
    return kept


def _sighting(bench: Bench, finest: Look) -> Sighting:
    """Tell how sure a look is."""
    level, there, here, maps = _facing(bench, finest.scale, STAGES[-1][0])
    to_left, to_right = np.diag([*level.step, 1.0]), np.diag([*there.step, 1.0])
    placed = np.linalg.inv(to_right) @ finest.matrix @ to_left
    known = laid(there.known.astype(np.float32)[None], placed, level.known.shape[::-1])[0]
    overlap = float((known * level.known).sum())
    areas = level.known.sum() * level.step[0] ** 2, there.known.sum() * (there.step[0] / finest.scale) ** 2
    share = overlap * level.step[0] ** 2 / max(min(areas), 1.0)
    held = support(here, maps, placed, finest)
    nfa = _log_nfa(min(finest.z, held), finest.runner_up)
    if finest.runner_up > REPEATED * finest.z:
        nfa = max(nfa, 0.0)
    return Sighting(
        finest.matrix, (finest.angle + 180) % 360 - 180, finest.scale, finest.z, finest.runner_up, held, nfa, share,
        negative=finest.sums[0] < 0,
    )  # fmt: skip


def _facing(bench: Bench, scale: float, side: int) -> tuple[Level, Level, NDArray[np.float32], NDArray[np.float32]]:
    """Choose the levels of both pictures for a scale, and their maps as numbers."""
    level, there = bench.levels(scale, side)
    return level, there, level.maps.astype(np.float32) / UNITS, there.maps.astype(np.float32) / UNITS


def _refined(bench: Bench, look: Look, side: int) -> Look:
    """Refine angle, scale and offset of a look by local optimisation, on maps of so many pixels."""
    level, there, here, maps = _facing(bench, look.scale, side)
    to_left, to_right = np.diag([*level.step, 1.0]), np.diag([*there.step, 1.0])
    middle = np.array([level.known.shape[1] / 2, level.known.shape[0] / 2])
    start = np.linalg.inv(to_right) @ look.matrix @ to_left
    sign = np.array([look.sums[0], max(look.sums[1], 0)]) / look.spread

    def moved(change: NDArray[np.float64]) -> NDArray[np.float64]:
        turn, stretch = change[0] / level.side * 2, np.exp(change[1] / level.side * 2)
        local = stretch * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        matrix = np.eye(3)
        matrix[:2, :2], matrix[:2, 2] = local, middle - local @ middle + change[2:]
        return start @ matrix

    def cost(change: NDArray[np.float64]) -> float:
        signed, doubled = agreement(here, maps, moved(change))
        return -float(sign[0] * signed.sum() + sign[1] * doubled.sum())

    simplex = np.vstack([np.zeros(4), np.diag([0.7, 0.7, 0.5, 0.5])])
    options = {"initial_simplex": simplex, "xatol": 0.05, "fatol": 1e-3, "maxfev": 60}
    best = moved(optimize.minimize(cost, np.zeros(4), method="Nelder-Mead", options=options).x)
    sums = [float(part.sum()) for part in agreement(here, maps, best)]
    size = level.known.shape[::-1]
    energy = float(np.vdot(laid((maps**2).sum(0)[None], best, size), (here**2).sum(0))) or 1.0
    scores = sums[0] / np.sqrt(energy) / look.spread[0], sums[1] / np.sqrt(energy) / look.spread[1]
    matrix = to_right @ best @ np.linalg.inv(to_left)
    return look._replace(
        z=float(np.hypot(scores[0], max(scores[1], 0))),
        sums=scores,
        matrix=matrix,
        angle=float(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))),
        scale=float(np.sqrt(abs(np.linalg.det(matrix[:2, :2])))),
    )


def _log_nfa(z: float, runner_up: float) -> float:
    """Compute the log10 of the expected number of sightings as good in a sweep over unrelated ground.

    Half the squared score has an exponential tail, so that of the best has a Gumbel distribution, and what lies between
    the best and the second of one look is exponential, however many there are: a picture whose pattern repeats is told
    by the latter. The surprise is what exceeds both.
    """
    surprise = z**2 / 2 - max(HEIGHT, runner_up**2 / 2 + LOOKS)
    return float(-(surprise - LOCATION) / SPREAD / np.log(10))
