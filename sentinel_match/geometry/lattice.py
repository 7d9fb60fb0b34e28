"""Displacement on a lattice: as fine as the answers at its nodes bear out, and no finer.

Single answers are noisy, averages of neighbours smooth away what is short. Both are wrong somewhere, so the field is
taken apart into details between one width of average and the next (à trous: Starck & Murtagh 1994, "Image restoration
with noise suppression using the wavelet transform"), and each detail is kept, around each node, by the share of its
energy that is not noise (the local Wiener filter: Lee 1980). What noise is, is not assumed: every answer comes with two
that were made from one half of the spectrum each. The ground moves both; half of their difference is noise as strong,
and as correlated between neighbours, as that of the answer itself.

The same halves prove the field, see :mod:`sentinel_match.geometry.halves`: what one says is compared with the other.

Figures behind the constants: ``tests/benchmarks/distortions.py``, known fields on real pixels of T33UUU at 10 m. They
were fitted on its first crop and seed, and hold on the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sentinel_match.geometry.breaks import variance_beside
from sentinel_match.geometry.halves import NOISE_RATIO, distance_to_window, structure
from sentinel_match.geometry.smoothing import average, without_own

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from sentinel_match.geometry.halves import Answers

WIDTHS = (0.8, 1.3, 2.0, 3.2, 5.0, 8.0)
"""Standard deviations in nodes of the averages between which details lie."""
NEIGHBOURHOOD = 2.5
"""Widths of a detail's average over which its energy is averaged, and one and a half times that for noise's."""
DOUBT = 1.0
"""Standard errors of its own energy by which a detail must exceed noise."""
CENTROID = 1.2
"""Pixels by which the texture of a window lies off its middle, root mean square: what is strained is misplaced by so
much of the strain."""
RATIO_VARIES = 0.2
"""By how much of itself noise differs from that of the halves from place to place: still ground of seven images."""
ALONG = 0.6
"""Correlation of the parts that two details leave out. Whole details of terrain have 0.65 to 0.9, of a step 0.6."""
MOST_ROUGH = 6.0
"""Energy of a detail over that of the next coarser one: 3 to 5.6 on ground of k^-2, and less on any other."""
OVERLAP = 1.6
"""Nodes that have one independent value of noise between them, as windows of 32 pixels every 14 overlap."""
ROUGH = 1.0
"""Squared error of single windows on rough ground over the energy by which the finest detail exceeds what a smooth
field has there: fields from k^-2 to k^-3.5 on seven images, 0.5 to 1, and steps 1 to 1.5."""
FLOOR = 0.005
"""Pixels: what no noise explains, as of interpolation."""
ROBUST_LIMIT = 4.0
"""Times what its neighbourhood scatters by which an answer contradicts it."""
ALIKE_NODES, ALIKE_PX, FEWEST_ALIKE = 3, 0.3, 5
"""So many answers that say the same within so many nodes and pixels, not the next, bear out one beyond an edge."""
PLANE_NODES = 50_000
"""Nodes, about, of which a plane is fitted to every one."""
AT_ONCE = 20_000
"""Nodes whose neighbours are in memory at once."""
LOCAL = 5.0
"""Nodes, standard deviation of the averages by which errors are estimated around each."""


@dataclass(frozen=True, eq=False)
class LatticeField:
    """The displacement estimated at every node of a lattice; pixels, or metres."""

    whole: NDArray[np.float64]
    """(rows, cols, 2) x, y; between answers and beyond them as the widest average has it."""
    one: NDArray[np.float64]
    """(rows, cols, 2) the same from one half of the spectrum."""
    other: NDArray[np.float64]
    """(rows, cols, 2) from the other half."""
    variance: NDArray[np.float64]
    """(rows, cols, 2) predicted, of ``whole``."""
    unseen: NDArray[np.float64]
    """(rows, cols, 2) what of it is too short for a window to see."""
    between: NDArray[np.float64]
    """(rows, cols, 2) what of it lies between single windows and beyond them."""
    width: NDArray[np.float64]
    """(rows, cols) standard deviation in nodes of the average that each estimate amounts to."""


def estimate(answers: Answers, spacing: float) -> LatticeField:
    """Estimate the field that answers bear out.

    Args:
        answers: at least one.
        spacing: pixels between nodes.
    """
    plane = plane_of(answers.whole, answers.weight)
    kept = _denoised(answers, plane)
    fields = [each + plane for each in np.split(kept.estimates.astype(np.float64), 3, -1)]
    between = np.zeros_like(plane)
    if answers.single.any():
        speak, between, beyond = _reach(answers, plane, kept.widest + plane)
        fields = [beyond + speak * (each - beyond) for each in fields]
    variance = FLOOR**2 + average(kept.noise**2, _present(answers).astype(float), LOCAL) + kept.left_out + between
    unseen = ROUGH * _rough(kept.signals) + (CENTROID * strain(fields[0], spacing)[..., None]) ** 2
    unseen += variance_beside(np.where(answers.single[..., None], answers.whole, fields[0]))
    return LatticeField(fields[0], fields[1], fields[2], variance + unseen, unseen, between, kept.width)


class _Denoised(NamedTuple):
    """What is kept of the details of a field."""

    estimates: NDArray[np.float32]
    """(rows, cols, 6) of the whole and of both halves, without the plane."""
    noise: NDArray[np.float32]
    """(rows, cols, 2) of the first."""
    left_out: NDArray[np.float32]
    """(rows, cols, 2) energy of the ground that is not kept."""
    signals: list[NDArray[np.float32]]
    """(rows, cols, 2) energy of the ground in each detail, the finest last."""
    widest: NDArray[np.float32]
    """(rows, cols, 2) the widest average."""
    width: NDArray[np.float64]
    """(rows, cols) as of :class:`LatticeField`."""


def _present(answers: Answers) -> NDArray[np.bool_]:
    """Tell (rows, cols) the nodes that know of details."""
    return answers.single if answers.single.any() else answers.weight > 0


def _denoised(answers: Answers, plane: NDArray[np.float64]) -> _Denoised:
    """Keep of each detail of answers, less the plane that all share, the part that is not noise."""
    present = _present(answers)
    count = present.astype(float)
    # All at once, and in single precision: a tile has 600,000 nodes, and displacements are no finer than a thousandth
    values = np.empty((*present.shape, 8), np.float32)
    for k, each in enumerate((answers.whole, answers.one, answers.other)):
        values[..., 2 * k : 2 * k + 2] = each - plane
    values[..., 6:] = np.sqrt(NOISE_RATIO) * (answers.one - answers.other) / 2
    details = _details(values, answers.weight, answers.single)
    estimates, kept = np.split(next(details), (6,), -1)
    widest = estimates[..., :2].copy()
    signals: list[NDArray[Any]] = []
    below = left_out = np.zeros_like(kept)
    expected = np.where(present, 1 / np.maximum(answers.weight, 1e-12), 1.0)[..., None].astype(np.float32)
    width = np.zeros(present.shape)
    for k, detail in zip(reversed(range(len(WIDTHS))), details, strict=True):
        step = WIDTHS[k]
        whole, noises = detail[..., :2], detail[..., 6:]
        reach = NEIGHBOURHOOD * max(step, 1.0)
        energy = average(whole**2, count, reach)
        heard = average(noises**2, count, 1.5 * reach)
        # Independent values that the average of energies has: details of one width are alike over its area
        alike = 1 + 4 * math.pi * (WIDTHS[k - 1] ** 2 if k else 0)
        doubt = DOUBT * math.sqrt(2 / max(4 * math.pi * reach**2 / alike, 1.0))
        signal = np.maximum(energy - heard * (1 + doubt), 0)
        if k == 0:  # each window by the height of its own peak; averages of neighbours are alike
            heard = average(noises**2 / expected, count, 1.5 * reach) * expected
        share = signal / np.maximum(signal + heard, 1e-12)
        estimates = estimates + np.tile(share, 3) * detail[..., :6]
        sure = np.ones_like(expected) if k else expected
        signal = _signal(whole, noises, present, sure, 2 * reach, max(alike, OVERLAP))
        signals.append(np.minimum(signal, MOST_ROUGH * signals[-1]) if signals else signal)
        kept = kept + share * noises
        # What one detail lacks, the next lacks, too
        lack = (1 - share) * np.sqrt(signals[-1])
        left_out = left_out + lack**2 + 2 * ALONG * lack * below
        below = lack + ALONG * below
        width += (1 - share.mean(-1)) * (step**2 - (WIDTHS[k - 1] ** 2 if k else 0))
    return _Denoised(estimates, kept, left_out, signals, widest, np.sqrt(width))


def _reach(
    answers: Answers, plane: NDArray[np.float64], widest: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Tell how far single windows speak for the ground around them: of a wave, not a quarter of its length.

    Args:
        answers: with a single window at least.
        plane: (rows, cols, 2) that all of the field shares.
        widest: (rows, cols, 2) as the widest average has it.

    Returns:
        (rows, cols, 2) the share of what the nearest window knows beyond the averages of wider windows that holds of
        each node, 1 at single windows (simple kriging from one place: Matheron 1963); squared error of what is left;
        and the field as those averages have it.
    """
    weight = np.where(answers.single, 0, answers.weight)
    beyond = widest
    if weight.any():
        beyond = plane + average(answers.whole - plane, weight, WIDTHS[1], widest - plane)
    distance, near = distance_to_window(answers.single), 2 * WIDTHS[-1]
    (away, _), (apart, most) = (structure(answers, field, distance, near) for field in (plane, beyond))
    alike = np.clip(1 - apart / np.maximum(2 * most, 1e-12), 0, 1)
    alike[answers.single] = 1
    return alike, np.maximum(away - apart, 0) + most * (1 - alike**2), beyond


def _signal(
    detail: NDArray[Any],
    noise: NDArray[Any],
    present: NDArray[np.bool_],
    expected: NDArray[Any],
    reach: float,
    alike: float,
) -> NDArray[Any]:
    """Estimate (rows, cols, 2) the energy of the ground in a detail: what is expected of one that cannot be negative.

    Of every node its neighbourhood tells, and all of the lattice as far as neighbourhoods differ by no more than chance
    (empirical Bayes: Efron & Morris 1975). On still ground a single neighbourhood leaves a tenth of the noise possible,
    and the whole lattice a hundredth.

    Args:
        detail: (rows, cols, 2).
        noise: (rows, cols, 2) of it.
        present: (rows, cols) nodes that know of it.
        expected: (rows, cols, 1) variance of noise that is expected of each, in any unit: the surest know most.
        reach: nodes, standard deviation of a neighbourhood.
        alike: nodes that have one independent value between them.
    """
    from scipy.special import log_ndtr  # scipy.stats takes a third of a second to import, and 25 MB

    energy, precision = detail**2 - noise**2, present / expected[..., 0].astype(float) ** 2
    # Variance of a square of either, whose tails are those of noise, over that expected
    loud, known, every = noise**2 / expected, present.astype(float), float(precision.sum())
    grown = _mean(detail**2, known) / np.maximum(_mean(noise**2, known), 1e-12)
    single = (1 + grown**2) * _mean((loud - _mean(loud, known)) ** 2, known) * np.float32(alike)
    both, close = np.concatenate([energy, noise**2], -1), precision[..., None].astype(energy.dtype)
    middle: NDArray[Any] = _mean(energy, precision)
    spread: NDArray[Any] = single / max(every, 1e-12)
    for width in (reach, reach / 2, reach / 4):
        around, heard = np.split(average(both, precision, width), 2, -1)
        near = 4 * np.pi * width**2 * average(close, np.ones(present.shape), width)
        chance = single / np.clip(near, 1e-12, every) + (RATIO_VARIES * heard) ** 2
        differs = np.maximum(_mean((around - middle) ** 2 - chance, precision), 0)
        share = differs / np.maximum(differs + chance, 1e-18)
        middle = middle + share * (around - middle)
        spread = share * chance + (1 - share) ** 2 * spread
    deviation = np.sqrt(spread) + 1e-12
    beyond = np.maximum(middle / deviation, -30)
    density = -(beyond**2) / 2 - math.log(2 * np.pi) / 2
    return np.asarray(middle + deviation * np.exp(density - log_ndtr(beyond))).clip(0)


def _mean(values: NDArray[Any], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average (rows, cols, 2) values over all of a lattice, by (rows, cols) weights, as precisely as the values are."""
    mean = weight.ravel() @ values.reshape(-1, values.shape[-1]) / weight.sum()
    return np.asarray(mean.astype(values.dtype))


def _rough(signals: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Compute (rows, cols, 2) by how much the finest detail exceeds that of a smooth field.

    A long wave has less of it than of the next detail. One that is hardly longer than a window has more, but then the
    next has more than the one after by as much: only a spectrum that does not end has more than both.

    Args:
        signals: (rows, cols, 2) energy of each detail, the finest last.
    """
    finest, second, third = (np.maximum(signal, 1e-12) for signal in signals[:-4:-1])
    return np.asarray(np.maximum(finest - np.maximum(second, second**2 / third), 0))


def strain(field: NDArray[np.float64], spacing: float) -> NDArray[np.float64]:
    """Compute (rows, cols) how fast a field changes: root sum of squares of its four derivatives, smoothed.

    Args:
        field: (rows, cols, 2).
        spacing: between nodes, in the field's unit.
    """
    from scipy.ndimage import uniform_filter

    if min(field.shape[:2]) < 2:
        return np.zeros(field.shape[:2])
    total = sum((np.gradient(field[..., k], axis=axis) / spacing) ** 2 for k in (0, 1) for axis in (0, 1))
    return np.asarray(np.sqrt(np.maximum(uniform_filter(total, 5), 0)))  # a running sum may end below nothing


def company(
    values: NDArray[np.float64], known: NDArray[np.bool_], sigma: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
    """Tell which answers their neighbours bear out: of a stiff model only those are asked that have no neighbours.

    Args:
        values: (rows, cols, 2), without the plane that all of them share.
        known: (rows, cols) where there is an answer.
        sigma: (rows, cols) predicted standard deviation of each.

    Returns:
        (rows, cols) those borne out, (rows, cols, 2) what the others have there, and (rows, cols) how far those around
        lie off it.
    """
    expected, scatter, known = np.zeros_like(values), np.ones(known.shape), known.copy()
    for _ in range(3):
        weight = known / np.maximum(sigma, 1e-6) ** 2
        expected = without_own(values, weight, 1.3, without_own(values, weight, 4.0, np.zeros_like(values)))
        off = np.hypot(*np.moveaxis(values - expected, -1, 0))
        near = np.minimum(off, 1)[..., None]
        usual = np.full_like(near, np.median(off[known]) if known.any() else 1)
        scatter = average(near, known.astype(float), 4.0, usual)[..., 0]
        limit = ROBUST_LIMIT * np.maximum(scatter, sigma)
        doubted = np.nonzero(known & (off > limit))
        alike = together(values, known, doubted) <= ALIKE_PX
        known[doubted] = alike & (off[doubted] > ALIKE_PX)  # nearer it is noise that two windows share
    return known, expected, scatter


def together(values: NDArray[np.float64], known: NDArray[np.bool_], at: tuple[Any, ...]) -> NDArray[np.float64]:
    """Measure (N,) how far the fifth of the answers near some nodes lies that say the same, and see hardly its pixels.

    Ground that moves as one has an edge, and all of a small piece lies near it: an average of neighbours knows nothing
    of it. Wrong answers agree with no other but by chance.
    """
    down, along = np.indices((2 * ALIKE_NODES + 1,) * 2).reshape(2, 1, -1)
    other = (np.maximum(abs(down - ALIKE_NODES), abs(along - ALIKE_NODES)) >= 2).ravel()
    margin = ((ALIKE_NODES,) * 2, (ALIKE_NODES,) * 2, (0, 0))
    padded = np.pad(np.where(known[..., None], values, np.inf), margin, constant_values=np.inf)
    away = np.empty(len(at[0]))
    for first in range(0, len(away), AT_ONCE):
        row, col = (place[first : first + AT_ONCE] for place in at)
        near = padded[row[:, None] + down[:, other], col[:, None] + along[:, other]]
        off = np.hypot(*np.moveaxis(near - values[row, col][:, None], -1, 0))
        away[first : first + AT_ONCE] = np.partition(off, FEWEST_ALIKE - 1, axis=1)[:, FEWEST_ALIKE - 1]
    return away


def _details(values: NDArray[Any], weight: NDArray[np.float64], single: NDArray[np.bool_]) -> Iterator[NDArray[Any]]:
    """Take a field apart: yield the widest average, then each detail, down to the finest, which single windows know."""
    coarser = np.zeros_like(values)
    for width in reversed(WIDTHS):
        smooth = average(values, weight, width, coarser)
        yield smooth - coarser
        coarser = smooth
    yield np.where(single[..., None], values - coarser, 0)


def plane_of(values: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fit a plane, (rows, cols, 2), with little regard for what lies off it (Cauchy weights)."""
    rows, cols = np.indices(weight.shape)
    design = np.stack([np.ones(weight.shape), cols - cols.mean(), rows - rows.mean()], -1)
    known = np.flatnonzero(weight.ravel() > 0)
    known = known[:: 1 + len(known) // PLANE_NODES]
    weight, basis, target = weight.ravel()[known], design.reshape(-1, 3)[known], values.reshape(-1, 2)[known]
    plane, share = np.zeros((3, 2)), np.ones(len(basis))
    plane[0] = np.median(target, axis=0)
    for _ in range(6):
        off = np.hypot(*(target - basis @ plane).T)
        share = weight / (1 + (off / max(2 * float(np.median(off)), 1e-3)) ** 2)
        root = np.sqrt(share)[:, None]
        plane, *_ = np.linalg.lstsq(basis * root, target * root, rcond=None)
    return np.asarray(design @ plane)
