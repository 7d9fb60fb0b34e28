"""A picture laid over many scenes, coarsely: which of them are worth a sweep, at which scale.

The picture is turned to every angle and scale once, and its spectra serve all scenes; a scene's serve all angles. What
is compared is that of :mod:`sentinel_match.matching.looks`, on smaller maps and without what only a proof needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sentinel_match.matching.looks import LEAST_OFFSETS, Spectra, agreements, fast_size, transformed
from sentinel_match.matching.orientation import PLANES, UNITS, Described, Level, upright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

ROOM = 0.8
"""Share of both extents that a canvas has room for: maps wrap around it only where they hardly meet."""
LEAST_GLANCE_SHARE = 0.15
"""Of what there is to see in the smaller one that must overlap."""
ANGLES_AT_ONCE = 4
"""Looks that are computed together: more leave the processor's cache. Ten take 1.4 times the CPU."""
KEPT_SPECTRA = 64
"""Scales and canvases whose spectra of the picture are kept, 2 to 8 MB each."""


class Grain(NamedTuple):
    """How coarse a look is."""

    side: int
    """Pixels of the smaller one's maps."""
    angle: float
    """Degrees between looks."""
    scale: float
    """Ratio between scales."""


COARSE, FINE = Grain(32, 7.5, 1.2), Grain(48, 6.0, 1.15)
"""All scenes are seen at the first, a fifth of them at the second. Of 16 pictures of places tuned on, the scene was
among the best 6 of a hundred others at the first 15 times, and 17th once; at the second first 14 times, and 4th once
among sixty. They take .02 and .06 CPU seconds a scene of 256 px."""


class Glance(NamedTuple):
    """The best that a coarse look at one scene shows."""

    height: float
    """Half its squared score: grows by one where unrelated ground shows as much e times as rarely."""
    scale: float
    """Pixels of the picture per pixel of what is described of the scene."""
    angle: float
    """Degrees by which the picture is turned clockwise."""


@dataclass(frozen=True, eq=False)
class TurnedPicture:
    """A picture of which scenes are searched."""

    described: Described
    grain: Grain = FINE

    def __post_init__(self) -> None:
        """Remember spectra, by scale and canvas."""
        object.__setattr__(self, "spectra", lru_cache(KEPT_SPECTRA)(self._spectra))

    @property
    def angles(self) -> NDArray[np.float64]:
        """List the degrees by which the picture is turned, up to half a turn."""
        return np.arange(0, 180, self.grain.angle)

    def glance(self, scene: Described, scales: tuple[float, float]) -> Glance:
        """Look at a scene at all angles and at scales between two, in pixels of what is described."""
        best = Glance(0.0, 1.0, 0.0)
        for level, step in self._looks(scene, scales):
            own, turned = max(level.known.shape), float(np.hypot(*self.described.size)) / step
            side = fast_size(max(ROOM * (own + 1.15 * max(self.described.size) / step), own, turned + 2))
            found = _best(level, self.spectra(round(step, 6), side), side)  # type: ignore[attr-defined]
            if found is not None and found[0] > best.height:
                height, k, opposite = found
                angle = float(self.angles[k]) + 180 * opposite
                best = Glance(height, step / level.step[0], angle)
        return best

    def _looks(self, scene: Described, scales: tuple[float, float]) -> Iterator[tuple[Level, float]]:
        """List a level of the scene and the picture's pixels per pixel of its maps, of each scale.

        Steps are powers of one number, so that scenes of any size find the same spectra.
        """
        if not scene.levels or not self.described.levels:
            return
        own, (side, _, ratio) = max(self.described.size), self.grain
        finest = self.described.levels[0].step[0] / 1.1
        low, high = (np.log(s) / np.log(ratio) for s in scales)
        for k in range(round(high - low) + 1):
            scale = ratio ** (low + k)
            fitting = [
                level
                for level in scene.levels
                if min(level.side, own / (level.step[0] * scale)) >= side / 1.1 and level.step[0] * scale >= finest
            ]
            usable = [level for level in scene.levels if level.step[0] * scale >= finest]
            if not usable:
                continue
            level = (fitting or usable[:1])[-1]
            yield level, float(ratio ** round(np.log(level.step[0] * scale) / np.log(ratio)))

    def _spectra(self, step: float, side: int) -> Spectra:
        """Turn the picture to every angle, at so many of its pixels per pixel of the maps; (A, 6, …), conjugated."""
        there = [level for level in self.described.levels if level.step[0] <= 1.1 * step]
        level = there[-1] if there else self.described.levels[0]
        planes = np.empty((len(self.angles), PLANES + 1, side, side // 2 + 1), np.complex64)
        density = area = 0.0
        for k, angle in enumerate(self.angles):
            turned, known, _ = upright(level, float(angle), 1.0, step)
            one = transformed(turned, known, side)
            planes[k], density, area = one.planes.conj(), one.density, one.area
        return Spectra(planes, density, area)


def _best(level: Level, turned: Spectra, side: int) -> tuple[float, int, bool] | None:
    """Find the best angle and offset of a picture over one level of a scene.

    Returns:
        Half the squared score, the index of the angle, and whether it is turned by 180 degrees more.
    """
    scene = transformed(level.maps.astype(np.float32) / UNITS, level.known, side)
    ways = (False, scene.planes), (True, scene.planes.conj())  # mirrored twice: turned by half a turn
    least = scene.least_energy(turned, LEAST_GLANCE_SHARE)
    best: tuple[float, int, bool] | None = None
    for first in range(0, len(turned.planes), ANGLES_AT_ONCE):
        picture = turned.planes[first : first + ANGLES_AT_ONCE]
        for opposite, here in ways:
            signed, doubled, variance = (part.reshape(len(part), -1) for part in agreements(here * picture, side))
            enough = variance > least
            weight = np.where(enough, 1 / np.maximum(variance, 1e-3), 0).astype(np.float32)
            count = enough.sum(1)
            joint = _joint(signed, doubled, weight, count)
            joint[count < LEAST_OFFSETS] = 0
            k = int(joint.argmax())
            if joint[k] > 0 and (best is None or joint[k] / 2 > best[0]):
                best = float(joint[k]) / 2, first + k, opposite
    return best


def _joint(
    signed: NDArray[np.float32], doubled: NDArray[np.float32], weight: NDArray[np.float32], count: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Find each angle's highest squared score; (A, N * N) sums and weights, of which the sums are used up."""
    positive = np.maximum(doubled, 0)
    squares = [np.multiply(part, part, out=part) for part in (signed, doubled, positive)]
    here, there = (
        np.maximum(count, 1) / (np.matmul(part[:, None], weight[:, :, None])[:, 0, 0] + 1e-9) for part in squares[:2]
    )
    joint = np.multiply(signed, here[:, None].astype(np.float32), out=signed)
    joint += np.multiply(positive, there[:, None].astype(np.float32), out=positive)
    joint *= weight
    return np.asarray(joint.max(1))
