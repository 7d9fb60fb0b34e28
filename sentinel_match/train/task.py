"""The task that all trainings share: crops to learn from, pairs to be judged by, and all that the result depends on."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from sentinel_match.train.crops import Crops, held_out_crops
from sentinel_match.train.figures import Figure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray
    from torch import Tensor, nn

    from sentinel_match.train.crops import Batch, Cutting
    from sentinel_match.train.places import Ground

EXAM_PAIRS = 96
"""Pairs of held-out crops by which a network is judged, as many of each place, half of them changed as in training:
calm skies alone would flatter it."""
EXAM_SIDE_PX = 208
"""Their side in pixels: neighbours must be there to help."""
EXAM_DRAWS = 500
"""Of the bootstrap."""


@dataclass(frozen=True)
class TrainingSetup:
    """What a training depends on, besides its network, its ground and how crops are cut."""

    origin: str = "scratch"
    """What the network is before."""
    batch: int = 8
    """Pairs of crops a step."""
    seed: int = 0
    """Of everything random."""
    device: torch.device | str = "cpu"
    """Where it computes."""


class Exam(NamedTuple):
    """One pair of crops that training never sees."""

    place: str
    batch: Batch
    """Of this pair alone."""


class Task(ABC):
    """A network and the ground it learns from; what it learns there, and how it is judged, is said by each network."""

    name: str
    """Of the network, and of its files."""

    def __init__(self, network: Any, ground: Ground, setup: TrainingSetup, cutting: Cutting) -> None:
        """Prepare the crops.

        Args:
            network: what learns.
            ground: what is learned from, and what is kept apart.
            setup: batch, seed and device.
            cutting: how crops are cut.

        Raises:
            NothingToLearn: no ground is large enough.
        """
        self.setup, self.cutting = setup, cutting
        self.device = torch.device(setup.device)
        self.network: Any = network.to(self.device)
        self.crops = Crops(ground, cutting, seed=setup.seed)
        streams = held_out_crops(ground, replace(cutting, size=EXAM_SIDE_PX), setup.seed)
        self.exams = [exam for crops in streams for exam in draw_exams(crops, EXAM_PAIRS // len(streams))]
        self._ground = _digest(ground)

    @property
    def judged_by(self) -> set[str]:
        """Name the places with held-out ground."""
        return {exam.place for exam in self.exams}

    @property
    def recipe(self) -> Mapping[str, object]:
        """Collect everything the result depends on besides the steps; JSON-able."""
        return {
            "batch": self.setup.batch,
            "seed": self.setup.seed,
            "size": self.cutting.size,
            "farthest": self.cutting.farthest,
            "bent": self.cutting.bent_share,
            "start": self.setup.origin,
            "ground": self._ground,
        }

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield all that is learned: of the network, and of the loss."""
        yield from self.network.parameters()

    def state(self) -> dict[str, Any]:
        """Return what ``resume`` needs besides the network, for a file: random generators, parameters of the loss."""
        return {"crops": self.crops.state()}

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.crops.resume(state["crops"])

    @abstractmethod
    def step(self) -> tuple[Tensor, tuple[Figure, ...]]:
        """Compute the loss of the next batch, and figures for the curves, the same ones at every step."""

    def calibrate(self) -> None:  # noqa: B027 - most networks have nothing to fit
        """Fit what is not learned step by step, on training ground, before the weights are written."""

    @abstractmethod
    def examine(self) -> tuple[Figure, ...]:
        """Judge the network on ground that training never sees; it stays as it is.

        Returns:
            The figures that :data:`sentinel_match.train.networks.TRAINABLE` has for the network.
        """


def draw_exams(crops: Crops, count: int) -> list[Exam]:
    """Draw so many pairs of a stream, one by one."""
    batch = crops.sample(count)
    return [Exam(crops.places[int(batch.place[k])][0].name, batch.one(k)) for k in range(count)]


def share_of_pairs(name: str, exams: Sequence[Exam], parts: ArrayLike, wholes: ArrayLike) -> Figure:
    """Compute a share over all pairs, with its 95 % bootstrap interval over pairs, and place by place.

    Args:
        name: of the figure.
        exams: the pairs.
        parts: what was right in each.
        wholes: out of so much; a share of nothing is 0.
    """
    part, whole = np.asarray(parts, float), np.asarray(wholes, float)
    picks = np.random.default_rng(0).integers(0, len(part), (EXAM_DRAWS, len(part)))
    low, high = np.percentile(_ratio(part[picks].sum(1), whole[picks].sum(1)), (2.5, 97.5))
    places = np.array([exam.place for exam in exams])
    by_place = tuple(
        (str(place), float(_ratio(part[places == place].sum(), whole[places == place].sum())))
        for place in sorted(set(places))
    )
    return Figure(name, float(_ratio(part.sum(), whole.sum())), (float(low), float(high)), by_place)


def _ratio(part: Any, whole: Any) -> NDArray[np.float64]:
    return np.asarray(part / np.maximum(whole, 1e-9))


def _digest(ground: Ground) -> str:
    """Hash what is learned from and what is kept apart: areas, pictures, grids, shifts and pixels."""
    digest = hashlib.sha256(ground.held_out.normalize().wkb)
    for place in ground.places:
        for picture in place.pictures:
            box, raster = picture.geobox, picture.image.raster
            digest.update(repr((place.name, picture.scene, picture.band, tuple(box.affine), box.shape)).encode())
            digest.update(np.asarray(picture.shift, np.float64).tobytes())
            digest.update(np.ascontiguousarray(raster.pixels[::97, ::89]).tobytes())
    return digest.hexdigest()[:12]
