"""The task of ``superpoint``: to find the points that every season shows, and to describe them alike.

Where is taught by labels made once for each place (``labels``): cross-entropy over the 64 pixels of a cell and "none".
How is taught by what lies at one place on two dates, at any relative angle for a share of the pairs: among all
descriptors of the other crop the right one must be the most similar, both ways (InfoNCE, van den Oord, Li & Vinyals
2018, in place of DeTone's hinge). A share of the pairs shows one picture twice, as in the paper, changed by hand only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from sentinel_match.matchers import superpoint
from sentinel_match.models.superpoint import COMPACT_SUPERPOINT, SUPERPOINT_CELL, SuperPoint, sample
from sentinel_match.train.crops import Cutting
from sentinel_match.train.figures import Figure
from sentinel_match.train.labels import labels
from sentinel_match.train.loop import seeded
from sentinel_match.train.mappings import grid_points, map_points, overlay
from sentinel_match.train.task import Task, TrainingSetup, share_of_pairs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from sentinel_match.matchers import Arrays
    from sentinel_match.models.superpoint import SuperPointShape
    from sentinel_match.train.crops import Batch
    from sentinel_match.train.places import Ground

POINT_CUTTING = Cutting(size=192, farthest=16.0, turned_share=0.3, zoom=1.3, same_picture_share=0.2)
DESCRIPTOR_SHARPNESS = 20.0
"""Factor of the cosine of two descriptors before the softmax."""
AMBIGUOUS_PX = 6.0
"""Pixels within which another point is as good an answer: it is no wrong one."""
NO_POINT = SUPERPOINT_CELL**2
"""Class of a cell without a point."""
CLEAR_SHARE = 0.5
"""Share of a cell or a point that must be seen in both crops to teach anything."""
EXAM_KEYPOINTS = 512
"""Keypoints of each that count."""
REPEATED_PX = 3.0
"""Pixels within which a keypoint is found again, and a match is right."""


class Points(Task):
    """The task of ``superpoint``."""

    name = "superpoint"

    def __init__(
        self,
        ground: Ground,
        network: SuperPoint | None = None,
        *,
        shape: SuperPointShape = COMPACT_SUPERPOINT,
        setup: TrainingSetup | None = None,
        cutting: Cutting = POINT_CUTTING,
    ) -> None:
        """Prepare the task.

        Args:
            ground: what is learned from, and what is kept apart.
            network: where it begins; a new one when not given.
            shape: of a new network.
            setup: batch, seed and device.
            cutting: how crops are cut; their side is a multiple of 8.

        Raises:
            NothingToLearn: no ground is large enough.
        """
        setup = setup or TrainingSetup()
        if network is None:
            with seeded(setup.seed):
                network = SuperPoint(shape)
        super().__init__(network.to(memory_format=torch.channels_last), ground, setup, cutting)  # type: ignore[call-overload]
        self._labels: dict[tuple[int, int], Tensor] = {}

    @property
    def recipe(self) -> Mapping[str, object]:
        """Collect what :class:`sentinel_match.train.task.Task` does, and the shape of the network."""
        widths, head, channels, _ = self.network.shape
        return {**super().recipe, "channels": " ".join(map(str, (*widths, head, channels)))}

    def step(self) -> tuple[Tensor, tuple[Figure, ...]]:
        """Compute the loss of the next batch, and its two parts."""
        batch = self.crops.sample(self.setup.batch)
        points = [self._points(batch, k) for k in range(len(batch.left))]
        back = torch.linalg.inv(batch.mapping)
        pixels, valid = (torch.cat(p).to(self.device) for p in (batch[:2], batch[2:4]))
        logits, descriptors = self.network.heads(pixels, valid)
        size = self.cutting.size
        truth = torch.stack([
            *(classes(at, size) for at in points),
            *(classes(map_points(at, m), size) for at, m in zip(points, batch.mapping, strict=True)),
        ]).to(self.device)
        clear = functional.avg_pool2d(torch.cat([batch.clear, overlay(batch.clear, back)]), SUPERPOINT_CELL)[:, 0]
        weight = (clear > CLEAR_SHARE).float().to(self.device)
        cell_loss = functional.cross_entropy(logits.float(), truth, reduction="none")
        detecting = (cell_loss * weight).sum() / weight.sum().clamp_min(1)
        describing = self._describing(batch, points, *descriptors.float().chunk(2))
        return detecting + describing, (
            Figure("detecting", float(detecting.detach())),
            Figure("describing", float(describing.detach())),
        )

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

    def _points(self, batch: Batch, k: int) -> Tensor:
        """Take (N, 2) labels within the left crop, surest first."""
        key = int(batch.place[k]), int(batch.reduction[k])
        if key not in self._labels:
            self._labels[key] = torch.from_numpy(labels(self.crops.places[key[0]][0], key[1], self.setup.seed))
        at = map_points(self._labels[key], torch.linalg.inv(batch.ground[k]))
        return at[((at > 0) & (at < self.cutting.size)).all(1)]

    def _describing(self, batch: Batch, points: list[Tensor], left: Tensor, right: Tensor) -> Tensor:
        """Compare descriptors at corresponding points, one for each cell that both crops show (a contrastive loss)."""
        losses = []
        for k, labels_of_pair in enumerate(points):
            at_left = self._point_per_cell(labels_of_pair)
            x, y = at_left.long().clamp(0, self.cutting.size - 1).T
            at_left = at_left[batch.clear[k, 0, y, x] > CLEAR_SHARE]
            at_right = map_points(at_left, batch.mapping[k])
            if len(at_left) < 2:
                continue
            a, b = sample(left[k], at_left.to(self.device)), sample(right[k], at_right.to(self.device))
            likeness = DESCRIPTOR_SHARPNESS * a @ b.T
            close = torch.cdist(at_right, at_right) < AMBIGUOUS_PX
            others = (close & ~torch.eye(len(at_left), dtype=torch.bool)).to(self.device)
            likeness = likeness.masked_fill(others, -torch.inf)
            index = torch.arange(len(at_left), device=self.device)
            losses.append((functional.cross_entropy(likeness, index) + functional.cross_entropy(likeness.T, index)) / 2)
        return torch.stack(losses).mean() if losses else left.sum() * 0

    def _point_per_cell(self, points: Tensor) -> Tensor:
        """Choose (cells, 2) a point of every cell: its label, or any."""
        along = torch.arange(self.cutting.size // SUPERPOINT_CELL) * SUPERPOINT_CELL
        corner = grid_points(along)
        at = corner + SUPERPOINT_CELL * torch.rand(corner.shape, generator=self.crops.torch)
        points = points.flip(0)  # of two in a cell the surer one, written last
        cell = (points // SUPERPOINT_CELL).long()
        at[cell[:, 1] * len(along) + cell[:, 0]] = points
        return at


def classes(points: Tensor, size: int) -> Tensor:
    """Make (size / 8, size / 8): which pixel of each cell is a point, 0..63 row by row, or 64: none.

    Args:
        points: (N, 2) x, y, surest first: of two in a cell that one counts; those outside are left out.
        size: side of the crop.
    """
    at = points[((points >= 0) & (points < size)).all(1)].floor().long().flip(0).numpy()
    result = np.full((size // SUPERPOINT_CELL,) * 2, NO_POINT)
    result[at[:, 1] // SUPERPOINT_CELL, at[:, 0] // SUPERPOINT_CELL] = (
        at[:, 1] % SUPERPOINT_CELL * SUPERPOINT_CELL + at[:, 0] % SUPERPOINT_CELL
    )
    return torch.from_numpy(result)


class Mark(NamedTuple):
    """What a detector and its descriptors are worth on a pair."""

    repeated: float
    """Share of the keypoints on ground shown by both crops to which the other has one within ``REPEATED_PX`` pixels."""
    precision: float
    """Share of the mutual nearest neighbours that lie within ``REPEATED_PX`` pixels of the truth."""
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
        right_ones = distance[torch.arange(len(left)), partner][mutual] < REPEATED_PX
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
