"""Sub-pixel refinement: phase correlation around positions that are already roughly known.

Points lie on the nodes of a lattice. Small windows around the nodes are correlated, and the *surfaces* of neighbours
are averaged before a peak is looked for: what they agree on adds up, noise and false peaks do not (Meinhart, Wereley &
Santiago 2000, "A PIV Algorithm for Estimating Time-Averaged Velocity Fields", average correlation). What each window
says by itself is kept: see :mod:`sentinel_match.matching.averages`.

Figures behind the constants (tests/benchmarks/refine.py; 19,000 points of T33UUU at 10 m, residuals to a smooth field):
single windows of 32, 48, 64 px leave an NMAD per axis of 0.12, 0.09, 0.07 px for 1.5, 3.3, 7.1 CPU seconds. Averaged
over 7 x 7 nodes, windows of 32 px leave 0.042 and 0.050 px for 2.0 seconds. Over T36UYA, 60 m, March to August, the
ranking is the same.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sentinel_match.matching.averages import AVERAGING_SIGMA, SURE_DISTINCTNESS, Images, attempt
from sentinel_match.matching.nodes import NODE_SPACING, blocks, nearest_nodes
from sentinel_match.matching.singles import Singles
from sentinel_match.schema import A_SHARE, ANY_WHOLE, ANY_WORD, check_fields

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.matchers.correlation import Points
    from sentinel_match.raster.raster import Raster

ATTEMPTS = (("intensity", (1,)), ("orientation", (1, 2)))
"""Feature that is correlated, and over how many times the reach and sigma it is averaged: the next where those before
are not sure."""
FEW_UNSURE = 0.1
"""Share of the points of a block below which the next feature is averaged as widely as it can be, and no less: a few
unsure points here and there make nearly the whole block be correlated again (on T33UUU 2 % of the points took three
quarters of the time). Every other window is too few, even for them: a step of the ground of 0.4 px is then predicted
0.18 px off, not 0.07."""
INTENSITY_SIGMA = (0.024, 0.006)
"""sigma = a sqrt(1 - q^2) / q + b pixels, q the height of the peak of intensities: on eleven pairs of one season and of
several, at 10 to 120 m, the NMAD in bins of q from 0.1 to 0.9 is 0.8 to 1.05 of it, and the same in all but one."""
ORIENTATION_SIGMA = {1: (0.030, 0.75), 2: (0.0215, 0.67)}
"""sigma = a / q^b for orientation, by how much more is averaged: on the same pairs."""


@dataclass(frozen=True)
class Refinement:
    """Options of the sub-pixel measurement.

    Examples:
        >>> from sentinel_match import Options, Refinement
        >>> options = Options(refinement=Refinement(window=64))
    """

    window: int = 32
    """Side of a correlated window in pixels."""
    radius: int = 4
    """Largest difference to the expected position, in pixels; at most a quarter of the window."""
    min_clear: float = 0.6
    """Least share of the tapered window that must be valid in both images."""
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_fields(self, _REFINEMENT_KINDS)
        if self.window < 16 or self.window % 4:
            raise ValueError(f"window must be a multiple of 4 and at least 16, not {self.window}")
        if not 2 <= self.radius <= self.window // 4:
            raise ValueError(f"radius must lie between 2 and a quarter of the window, not {self.radius}")


_REFINEMENT_KINDS = {"window": ANY_WHOLE, "radius": ANY_WHOLE, "min_clear": A_SHARE, "device": ANY_WORD}


@dataclass(frozen=True, eq=False)
class Measurements:
    """Where the content around each left point lies in the right image."""

    left: Points
    """Left points as measured (nodes), pixels."""
    right: Points
    """The same ground in the right image, pixels; meaningless where not ``ok``."""
    sigma: NDArray[np.float64]
    """(N,) standard deviation per axis in pixels, predicted from the peak's height."""
    quality: NDArray[np.float64]
    """(N,) height of the correlation peak, 0 to 1."""
    distinct: NDArray[np.float64]
    """(N,) how far the peak stands out, 0 to 1: 1 less the strongest other extremum as a share of it. It tells right
    from wrong better than the height does."""
    ok: NDArray[np.bool_]
    """(N,) measured inside the search, on clear ground, with a distinct peak."""
    refined: NDArray[np.bool_]
    """(N,) measured here; ``False`` = kept as a matcher found it."""
    feature: NDArray[np.str_]
    """(N,) what was correlated, and over how many times the usual reach it was averaged: ``intensity 1``; the matcher
    where a point is kept as it found it."""
    independence: NDArray[np.float64]
    """(N,) pixels from a point beyond which another is evidence of its own: closer ones share most of what they saw."""
    singles: Singles | None = None
    """(N) what the window of each says by itself, of the feature that its answer has, or of the first."""

    def __len__(self) -> int:
        return len(self.ok)

    @staticmethod
    def nothing(left: Points, right: Points) -> Measurements:
        """Make an entry for each of some points of which none could be measured."""
        zeros, no = np.zeros(len(left)), np.zeros(len(left), bool)
        arrays = zeros.copy(), zeros.copy(), zeros.copy(), no, no.copy(), np.full(len(left), "", "U16"), zeros
        return Measurements(left, right, *arrays)

    def where(self, index: NDArray[np.intp]) -> Measurements:
        """Take some of the points; what single windows say is left out."""
        arrays: dict[str, Any] = {name: getattr(self, name)[index] for name in _OF_POINTS}
        return Measurements(**arrays)

    def joined(self, other: Measurements) -> Measurements:
        """Join the points of both; what single windows say is left out."""
        arrays: dict[str, Any] = {
            name: np.concatenate([getattr(each, name) for each in (self, other)]) for name in _OF_POINTS
        }
        return Measurements(**arrays)


_OF_POINTS = tuple(f.name for f in fields(Measurements) if f.name != "singles")


def measure(
    left: Raster | tuple[Raster, ...],
    right: Raster | tuple[Raster, ...],
    at: Points,
    expected: Points,
    options: Refinement | None = None,
) -> Measurements:
    """Measure to sub-pixel precision where the ground at left points lies in the right image.

    Args:
        left: normalised pixels and validity, of several bands if there are; memory maps are read block by block.
        right: the other image, at the same ground sampling distance.
        at: (N, 2) x, y in ``left``. A point is moved to the nearest node of the lattice.
        expected: (N, 2) x, y in ``right`` where each point should be, to ``options.radius`` pixels; between neighbours
            it must vary smoothly.
        options: window, search radius and thresholds.

    Returns:
        One entry per point, in the order given; points of one node have one answer.
    """
    options = options or Refinement()
    one, other = (side if isinstance(side, tuple) else (side,) for side in (left, right))
    images = Images(one, other, options.window, options.radius, options.min_clear, options.device)
    points = nearest_nodes(at)
    nodes = np.round(points / NODE_SPACING).astype(np.int64)
    offset = expected - at
    measurements = Measurements.nothing(points, points + offset)
    singles = Singles.nothing(len(at))
    measurements = replace(measurements, refined=np.ones(len(at), bool), singles=singles)
    rows, cols = images.left[0].valid.shape
    inside = np.asarray(((points >= 0) & (points <= (cols, rows))).all(1))
    for index in blocks(nodes, inside, (*one, *other)):
        for number, (feature, times) in enumerate(ATTEMPTS):
            unsure = index[~_sure(measurements, index)]
            if number > 0:  # what is hidden is so whatever is correlated
                unsure = unsure[singles.clear[unsure] >= options.min_clear]
            if not len(unsure):
                break
            few = number > 0 and len(unsure) < FEW_UNSURE * len(index)
            averages, alone = attempt(images, nodes[unsure], offset[unsure], feature, times[-1:] if few else times)
            best = np.full(len(unsure), number == 0)
            for each, answers in averages.items():
                better = answers.ok & (~measurements.ok[unsure] | (answers.distinct > measurements.distinct[unsure]))
                better &= ~_sure(measurements, unsure)
                best |= better
                chosen = unsure[better]
                measurements.right[chosen] = points[chosen] + answers.shift[better]
                for name in ("quality", "distinct", "ok"):
                    getattr(measurements, name)[chosen] = getattr(answers, name)[better]
                measurements.sigma[chosen] = predicted_sigma(answers.quality[better], feature, each)
                measurements.feature[chosen] = f"{feature} {each}"
                measurements.independence[chosen] = options.window + 2 * AVERAGING_SIGMA * each
            singles.put(unsure[best], alone.where(best))
    return measurements


def _sure(measurements: Measurements, index: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Tell (N,) which points of an index need no other attempt."""
    return np.asarray(measurements.ok[index] & (measurements.distinct[index] >= SURE_DISTINCTNESS))


def predicted_sigma(quality: NDArray[np.float64], feature: str = "intensity", times: int = 1) -> NDArray[np.float64]:
    """Predict the standard deviation per axis, in pixels, from the height of a peak (see ``INTENSITY_SIGMA``)."""
    q = np.clip(quality, 0.01, 1.0)
    if feature == "intensity":
        return np.asarray(INTENSITY_SIGMA[0] * np.sqrt(1 - q**2) / q + INTENSITY_SIGMA[1])
    scale, power = ORIENTATION_SIGMA[times]
    return np.asarray(scale / q**power)


def features(names: NDArray[np.str_]) -> NDArray[np.uint8]:
    """Return (N,) the index among ``ATTEMPTS`` of what was correlated, by :attr:`Measurements.feature`; 0 without."""
    kinds = np.zeros(len(names), np.uint8)
    for number, (feature, times) in enumerate(ATTEMPTS[1:], 1):
        kinds[np.isin(names, [f"{feature} {each}" for each in times])] = number
    return kinds
