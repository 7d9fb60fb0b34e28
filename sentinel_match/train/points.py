"""The task of ``superpoint``: to find the points that another season shows again.

No label says what a point is. Each cell of 8 x 8 pixels has one point, somewhere; what is rewarded is that the other
crop of the pair, which no grid of cells is shared with, has one at the same ground (as DISK, Tyszkiewicz, Fua & Trulls
2020, and DaD, Edstedt et al. 2025, reward keypoints; here no point is drawn, the expectation over all is computed), the
more, the surer the descriptors of this ground find each other among all. How often that comes true is learned besides:
points are ranked by it. Descriptors are windows of what a trunk knows of seasons, which learn no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from sentinel_match.matchers import superpoint
from sentinel_match.models.superpoint import SeasonsPoints
from sentinel_match.models.trunk import CELL_PX
from sentinel_match.train.crops import Crops, Cutting
from sentinel_match.train.figures import Figure
from sentinel_match.train.loop import seeded
from sentinel_match.train.mappings import map_points, nearest_cells, overlay
from sentinel_match.train.projection import SEEN_SHARE, begin_windows, filled
from sentinel_match.train.task import Task, TrainingSetup, share_of_pairs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from sentinel_match.matchers import Arrays
    from sentinel_match.train.crops import Batch
    from sentinel_match.train.places import Ground

POINT_CUTTING = Cutting(size=192, farthest=16.0, turned_share=0.5, turn=30, zoom=1.3, slant=0.05)
DESCRIPTOR_SHARPNESS = 20.0
"""Factor of the cosine of two descriptors before the softmax."""
CLEAR_SHARE = 0.5
"""Share of a point's pixel that must be seen in both crops."""
MEETING_SIGMA_PX = 0.8
"""Standard deviation in pixels within which two points are one."""
BEST_MEETING = 0.25
"""How surely two points meet that are told to a pixel, each at most: chance gives a sixteenth of it."""
LEAST_MEETING = 1e-4
LEAST_REWARD = 0.25
"""For a point whose descriptors do not find each other, against one whose do: they may learn to."""
EXAM_KEYPOINTS = 512
"""Keypoints of each that count."""
REPEATED_PX, RIGHT_PX = 1.0, 3.0
"""Pixels within which a keypoint is found again, and within which a match is right."""


class Points(Task):
    """The task of ``superpoint``."""

    name = "superpoint"

    def __init__(
        self,
        ground: Ground,
        network: SeasonsPoints | None = None,
        *,
        trunk: Mapping[str, Tensor] | None = None,
        setup: TrainingSetup | None = None,
        cutting: Cutting = POINT_CUTTING,
    ) -> None:
        """Prepare the task.

        Args:
            ground: what is learned from, and what is kept apart.
            network: where it begins; a new one when not given.
            trunk: tensors of the trunk that a new one stands on, and of its windows where they are known.
            setup: batch, seed and device.
            cutting: how crops are cut; their side is a multiple of 8.

        Raises:
            NothingToLearn: no ground is large enough.
        """
        setup = setup or TrainingSetup()
        if network is None:
            with seeded(setup.seed):
                network = SeasonsPoints()
            if trunk is not None and "wide.weight" in trunk:
                network.load_state_dict({k: v for k, v in trunk.items() if k in network.state_dict()}, strict=False)
            elif trunk is not None:
                begin_windows(network, trunk, Crops(ground, cutting, seed=setup.seed + 3))
        for part in (network.stem, network.down, network.body, network.up, network.join, network.out, network.wide):
            part.requires_grad_(requires_grad=False)
        super().__init__(network.to(memory_format=torch.channels_last), ground, setup, cutting)  # type: ignore[call-overload]

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """Yield what is learned: where points are, and what they are worth."""
        yield from self.network.detail.parameters()
        yield from self.network.near.parameters()
        yield from self.network.worth.parameters()

    def step(self) -> tuple[Tensor, tuple[Figure, ...]]:
        """Compute the loss of the next batch, how surely points meet, and how surely their descriptors do."""
        batch = self.crops.sample(self.setup.batch)
        pixels, valid = (torch.cat(p).to(self.device) for p in (batch[:2], batch[2:4]))
        heads = (head.float().chunk(2) for head in self.network.heads(filled(pixels, valid))[:3])
        sides = list(zip(*heads, strict=True))
        back = torch.linalg.inv(batch.mapping)
        ways = [
            tuple(tensor.to(self.device) for tensor in way)
            for way in ((batch.mapping, batch.clear), (back, overlay(batch.clear, back)))
        ]
        loss, figures = pixels.new_zeros(()), []
        for (to, clear), (own, value, looks), (others, _, others_look) in zip(ways, sides, sides[::-1], strict=True):
            seen = (functional.avg_pool2d(clear, CELL_PX) > SEEN_SHARE).float()
            met, again = meeting(own, others, to), known_again(looks, others_look, to)
            reward = (LEAST_REWARD + (1 - LEAST_REWARD) * again) * seen
            finding = -((met + LEAST_MEETING).log() * reward).sum() / reward.sum().clamp_min(1)
            truth = ((met / BEST_MEETING).clamp(0, 1) * again).detach()
            valuing = functional.binary_cross_entropy_with_logits(value, truth, weight=seen, reduction="sum")
            loss = loss + finding + valuing / seen.sum().clamp_min(1)
            figures.append([float((x.detach() * seen).sum() / seen.sum().clamp_min(1)) for x in (met, again)])
        means = np.mean(figures, 0)
        return loss, (Figure("meeting", float(means[0])), Figure("known", float(means[1])))

    def examine(self) -> tuple[Figure, ...]:
        """Measure what the network does by itself on unseen ground; see :func:`judge_points`."""
        options = superpoint.SuperPointLightGlue(max_keypoints=EXAM_KEYPOINTS)

        def describe(pixels: NDArray[np.float32], valid: NDArray[np.bool_]) -> Arrays:
            return superpoint.described(self.network, options, pixels, valid)

        marks = [mark for exam in self.exams for mark in judge_points(exam.batch, describe)]
        ones = np.ones(len(marks))
        return (
            share_of_pairs("repeated", self.exams, [m.repeated for m in marks], ones),
            share_of_pairs("precision", self.exams, [m.precision for m in marks], ones),
            Figure("right", float(np.mean([m.right for m in marks]))),
        )


def meeting(one: Tensor, other: Tensor, mapping: Tensor) -> Tensor:
    """Compute how surely the point of each cell has one of the other image at the same ground.

    Args:
        one: (N, 64, rows, cols) log-probabilities of the pixels of each cell.
        other: the same of the other image.
        mapping: (N, 3, 3) pixels to those of the other image.

    Returns:
        (N, 1, rows, cols), 0..1.
    """
    reach = torch.arange(-3.0, 4.0, device=one.device)
    bell = torch.exp(-0.5 * (reach / MEETING_SIGMA_PX) ** 2)
    bell = bell / bell.sum()
    there = functional.pixel_shuffle(other.exp(), CELL_PX)
    there = functional.conv2d(there, bell[None, None, :, None], padding=(3, 0))
    there = functional.conv2d(there, bell[None, None, None], padding=(0, 3))
    there = functional.pixel_unshuffle(overlay(there, mapping), CELL_PX)
    return (one.exp() * there).sum(1, keepdim=True)


@torch.no_grad()
def known_again(one: Tensor, other: Tensor, mapping: Tensor) -> Tensor:
    """Compute how surely the descriptors of each cell and of the same ground in the other image find each other.

    Args:
        one: (N, C, side, side) unit descriptors.
        other: the same of the other image.
        mapping: (N, 3, 3) pixels to those of the other image.

    Returns:
        (N, 1, side, side), 0..1: the root of the product of both softmaxes, 0 beyond the other image.
    """
    side = one.shape[-1]
    _, index, inside = nearest_cells(mapping, side, CELL_PX)
    likeness = DESCRIPTOR_SHARPNESS * torch.einsum("ncl,ncs->nls", one.flatten(2), other.flatten(2))
    sure = ((likeness.log_softmax(2) + likeness.log_softmax(1)) / 2).exp()
    found: Tensor = sure.gather(2, index[..., None])[..., 0] * inside
    return found.view(len(one), 1, side, side)


class Mark(NamedTuple):
    """What a detector and its descriptors are worth on a pair."""

    repeated: float
    """Share of the keypoints on ground shown by both crops to which the other has one within ``REPEATED_PX`` pixels."""
    precision: float
    """Share of the mutual nearest neighbours that lie within ``RIGHT_PX`` pixels of the truth."""
    right: float
    """How many these are."""


def judge_points(batch: Batch, describe: Any) -> Iterator[Mark]:
    """Yield what somebody's keypoints and descriptors are worth on each pair of a batch.

    Args:
        batch: pairs of crops.
        describe: as a sparse :class:`sentinel_match.matchers.Matcher` does.
    """
    back = torch.linalg.inv(batch.mapping)
    for k in range(len(batch.left)):
        one, other = (
            describe(image[k, 0].numpy(), valid[k, 0].numpy() > 0)
            for image, valid in ((batch.left, batch.left_valid), (batch.right, batch.right_valid))
        )
        left, right = (torch.from_numpy(arrays["keypoints"]) for arrays in (one, other))
        if not len(left) or not len(right):
            yield Mark(0.0, 0.0, 0.0)
            continue
        distance = torch.cdist(map_points(left, batch.mapping[k]), right)
        clear = [clear_at(batch, k, at) for at in (left, map_points(right, back[k]))]
        repeated = torch.cat([
            distance.min(axis).values[shown] < REPEATED_PX for axis, shown in zip((1, 0), clear, strict=True)
        ])
        likeness = torch.from_numpy(one["descriptors"].astype(np.float32) @ other["descriptors"].astype(np.float32).T)
        partner = likeness.argmax(1)
        mutual = likeness.argmax(0)[partner] == torch.arange(len(left))
        right_ones = distance[torch.arange(len(left)), partner][mutual] < RIGHT_PX
        yield Mark(
            float(repeated.float().mean()) if len(repeated) else 0.0,
            float(right_ones.float().mean()),
            float(right_ones.sum()),
        )


def clear_at(batch: Batch, k: int, at: Tensor) -> Tensor:
    """Tell for each of (N,) left points whether both crops show its ground."""
    size = batch.clear.shape[-1]
    x, y = at.floor().long().clamp(0, size - 1).T
    return ((at >= 0) & (at < size)).all(1) & (batch.clear[k, 0, y, x] > CLEAR_SHARE)
