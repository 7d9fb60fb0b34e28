"""What all trainings have in common: crops to learn from, pairs to be judged by, and all that the result depends on."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from sentinel_match.train.crops import Batch, Crops, unseen

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray
    from torch import Tensor, nn

    from sentinel_match.train.places import Ground

Figures = dict[str, float]
EXAM_PAIRS = 96
"""Pairs of held-out crops by which a network is judged, as many of each place, half of them changed as in training:
calm skies alone would flatter it."""
EXAM_SIDE_PX = 208
"""Their side in pixels: neighbours must be there to help."""
EXAM_DRAWS = 500
"""Of the bootstrap."""


class Exam(NamedTuple):
    """One pair of crops that training never sees."""

    place: str
    batch: Batch
    """Of this pair alone."""


class Task(ABC):
    """A network and the ground it learns from; what it learns there, and how it is judged, is said by each network."""

    name: str
    """Of the network, and of its files."""

    def __init__(
        self,
        network: Any,
        ground: Ground,
        *,
        origin: str = "scratch",
        batch: int = 8,
        seed: int = 0,
        device: torch.device | str = "cpu",
        size: int = 160,
        farthest: float = 8.0,
        turned: float = 0.0,
        zoom: float = 1.0,
        again: float = 0.0,
    ) -> None:
        """Prepare the crops.

        Args:
            network: what learns.
            ground: what is learned from, and what is kept apart.
            origin: what the network is before.
            batch: pairs of crops a step.
            seed: of everything random.
            device: where it computes.
            size: side of a crop, pixels.
            farthest: largest displacement, pixels.
            turned: see ``Crops``, as for the next two.
            zoom: of the right side.
            again: share of pairs that show one picture twice.

        Raises:
            NothingToLearn: no ground is large enough.
        """
        self.device = torch.device(device)
        self.network: Any = network.to(self.device)
        self.batch, self.seed, self.size, self.farthest, self.origin = batch, seed, size, farthest, origin
        self.crops = Crops(ground, size=size, farthest=farthest, seed=seed, turned=turned, zoom=zoom, again=again)
        kept = unseen(ground, EXAM_SIDE_PX, farthest, seed, turned=turned, zoom=zoom)
        self.exams = [exam for crops in kept for exam in exams(crops, EXAM_PAIRS // len(kept))]
        self._ground = _digest(ground)

    @property
    def judged_by(self) -> set[str]:
        """Names of the places with held-out ground."""
        return {exam.place for exam in self.exams}

    @property
    def recipe(self) -> Mapping[str, object]:
        """Everything the result depends on besides the steps; JSON-able."""
        return {
            "batch": self.batch,
            "seed": self.seed,
            "size": self.size,
            "farthest": self.farthest,
            "start": self.origin,
            "ground": self._ground,
        }

    def parameters(self) -> Iterator[nn.Parameter]:
        """All that is learned: of the network, and of the loss."""
        yield from self.network.parameters()

    def state(self) -> dict[str, Any]:
        """What ``resume`` needs besides the network: random generators, parameters of the loss."""
        return {"crops": self.crops.state()}

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.crops.resume(state["crops"])

    @abstractmethod
    def step(self) -> tuple[Tensor, Figures]:
        """Loss of the next batch, and figures for the curves."""

    def calibrate(self) -> None:  # noqa: B027 - most networks have nothing to fit
        """Fit what is not learned step by step, on training ground, before the weights are written."""

    @abstractmethod
    def examine(self) -> Figures:
        """Figures on ground that training never sees; the network stays as it is."""


def exams(crops: Crops, count: int) -> list[Exam]:
    """So many pairs of a stream, one by one."""
    batch = crops.sample(count)
    return [
        Exam(crops.places[int(batch.place[k])][0].name, Batch(*(field[k : k + 1] for field in batch)))
        for k in range(count)
    ]


def share(name: str, exams: Sequence[Exam], parts: ArrayLike, wholes: ArrayLike) -> Figures:
    """A share over all pairs, with its 95 % bootstrap interval over pairs, and place by place.

    Args:
        name: of the figure; ``NAME_low``, ``NAME_high`` and ``NAME in PLACE`` are added.
        exams: the pairs.
        parts: what was right in each.
        wholes: out of so much; a share of nothing is 0.
    """
    part, whole = np.asarray(parts, float), np.asarray(wholes, float)
    picks = np.random.default_rng(0).integers(0, len(part), (EXAM_DRAWS, len(part)))
    low, high = np.percentile(_ratio(part[picks].sum(1), whole[picks].sum(1)), (2.5, 97.5))
    figures = {name: float(_ratio(part.sum(), whole.sum())), f"{name}_low": float(low), f"{name}_high": float(high)}
    places = np.array([exam.place for exam in exams])
    for place in sorted(set(places)):
        own = places == place
        figures[f"{name} in {place}"] = float(_ratio(part[own].sum(), whole[own].sum()))
    return figures


def _ratio(part: Any, whole: Any) -> NDArray[np.float64]:
    return np.asarray(part / np.maximum(whole, 1e-9))


def _digest(ground: Ground) -> str:
    """Of what is learned from and what is kept apart: areas, pictures, grids, shifts and pixels."""
    digest = hashlib.sha256(ground.held_out.normalize().wkb)
    for place in ground.places:
        for picture in place.pictures:
            box, raster = picture.geobox, picture.loaded.raster
            digest.update(repr((place.name, picture.scene, picture.band, tuple(box.affine), box.shape)).encode())
            digest.update(np.asarray(picture.shift, np.float64).tobytes())
            digest.update(np.ascontiguousarray(raster.pixels[::97, ::89]).tobytes())
    return digest.hexdigest()[:12]
