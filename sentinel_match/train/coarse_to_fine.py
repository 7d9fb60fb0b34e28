"""The task of ``loftr``: which coarse cells of two crops show the same ground.

J. Sun et al. (LoFTR, CVPR 2021, https://arxiv.org/abs/2104.00680) supervise the double softmax over all pairs of cells
by the nearest mutual ones; so it is here. Where in its cell a match lies needs no lesson, for windows of the trunk's
features say that. The two sides are turned, scaled and displaced by themselves, and each position code begins anywhere:
crops are small, images are not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sentinel_match.matchers import loftr
from sentinel_match.models.loftr import compact, match_cells
from sentinel_match.models.trunk import CELL_PX
from sentinel_match.train.crops import Crops, Cutting
from sentinel_match.train.figures import Figure
from sentinel_match.train.loop import seeded
from sentinel_match.train.mappings import grid_points, map_points, nearest_cells, overlay
from sentinel_match.train.odds import calibration_pairs, fit_odds
from sentinel_match.train.projection import SEEN_SHARE, begin_windows, filled
from sentinel_match.train.task import Task, TrainingSetup, share_of_pairs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from sentinel_match.train.crops import Batch
    from sentinel_match.train.places import Ground
    from sentinel_match.train.task import Exam

CELL_CUTTING = Cutting(size=224, farthest=48, turned_share=0.75, turn=30, zoom=1.4, slant=0.1)
CODE_CELLS = 128
"""A position code begins anywhere below: the first cells of an image of some 1,000 pixels are not all there is."""
NEVER = -1e4
"""Likeness of cells of which one is not valid."""
MATCHED_REACH_PX = 2.0
"""Pixels within which a match counts as right."""


class CoarseToFine(Task):
    """The task of ``loftr``."""

    name = "loftr"

    def __init__(
        self,
        ground: Ground,
        network: Any = None,
        *,
        trunk: Mapping[str, Tensor] | None = None,
        setup: TrainingSetup | None = None,
        cutting: Cutting = CELL_CUTTING,
    ) -> None:
        """Prepare the task.

        Args:
            ground: what is learned from, and what is kept apart.
            network: where it begins, of :func:`sentinel_match.models.loftr.compact`; a new one when not given.
            trunk: tensors of one, by name, for a new network.
            setup: batch, seed and device.
            cutting: how crops are cut; their side is a multiple of 8.

        Raises:
            NothingToLearn: no ground is large enough.
        """
        setup = setup or TrainingSetup(batch=4)
        if network is None:
            with seeded(setup.seed):
                network = compact()
            if trunk is not None:
                begin_windows(network.backbone, trunk, Crops(ground, cutting, seed=setup.seed + 3))
        network.backbone.to(memory_format=torch.channels_last)
        super().__init__(network, ground, setup, cutting)
        self.start = self.network.logit.double().cpu().numpy()
        self.calibration = calibration_pairs(ground, cutting, setup.seed)

    def calibrate(self) -> None:
        """Fit the probability of a match by how confident its cells are and how alike its windows."""
        (known, right), (strangers, _) = (self._judged(pairs) for pairs in self.calibration)
        self.network.logit.copy_(torch.from_numpy(fit_odds(known, right, strangers, self.start)))

    def _judged(self, pairs: Sequence[Exam]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """List (N, 2) facts of all that might match, and (N,) whether it is right."""
        facts, right = [np.empty((0, 2))], [np.empty(0, bool)]
        for batch in (exam.batch for exam in pairs):
            one, other = (
                (filled(image, known)[0, 0].to(self.device), known[0, 0].to(self.device) > 0)
                for image, known in ((batch.left, batch.left_valid), (batch.right, batch.right_valid))
            )
            with torch.inference_mode():
                near = loftr.placed(match_cells(self.network, one, other))
                facts.append(near.facts().double().cpu().numpy())
                truth = map_points(near.left.cpu(), batch.mapping[0])
                right.append((truth - near.right.cpu()).norm(dim=1).numpy() < MATCHED_REACH_PX)
        return np.concatenate(facts), np.concatenate(right)

    def step(self) -> tuple[Tensor, tuple[Figure, ...]]:
        """Compute the loss of the next batch, and how confident it is of the right cells, in the geometric mean."""
        batch = self.crops.sample(self.setup.batch)
        pixels, valid = (torch.cat(p).to(self.device) for p in (batch[:2], batch[2:4]))
        coarse, _ = self.network.backbone(filled(pixels, valid))
        at = valid[:, 0, ::CELL_PX, ::CELL_PX].flatten(1) > 0
        masks = at.chunk(2)
        sides = [self._coded(side).flatten(2).transpose(1, 2).contiguous() for side in coarse.chunk(2)]
        left, right = self.network.loftr_coarse(*sides, *masks)
        likeness = torch.einsum("nlc,nsc->nls", left, right) / (
            left.shape[2] * self.network.coarse_matching.temperature
        )
        likeness = likeness.masked_fill(~(masks[0][:, :, None] & masks[1][:, None]), NEVER)
        confidence = likeness.log_softmax(2) + likeness.log_softmax(1)
        pair, one, other = self._partners(batch, masks)
        found = confidence[pair, one, other]
        finding = -found.mean() if len(pair) else confidence.sum() * 0
        sure = torch.zeros(2, len(batch.left)).index_add_(
            1, pair, torch.stack([found.detach().cpu().exp(), torch.ones(len(pair))])
        )
        self.crops.heed(batch, (sure[1] - sure[0]) / (sure[1] + 1))
        return finding, (Figure("confidence", float(np.exp(-float(finding.detach())))),)

    def examine(self) -> tuple[Figure, ...]:
        """Measure what the method finds on unseen ground, without a prior.

        Returns:
            ``found``: share of the cells of clear ground whose match is right; ``precision``: of the matches;
            ``error_px``: median error of those that are right.
        """
        method = loftr.LoFTR(device=str(self.device))
        found, delivered, cells, errors = [], [], [], []
        for batch in (exam.batch for exam in self.exams):
            left, right = (
                method.describe(image[0, 0].numpy(), known[0, 0].numpy() > 0)
                for image, known in ((batch.left, batch.left_valid), (batch.right, batch.right_valid))
            )
            matches = method.matched(self.network, left, right)
            truth = map_points(torch.from_numpy(matches.left).float(), batch.mapping[0]).numpy()
            error = np.hypot(*(matches.right - truth).T)
            errors.append(error[error < MATCHED_REACH_PX])
            found.append(len(errors[-1]))
            delivered.append(len(error))
            cells.append(int((batch.clear[0, 0, ::CELL_PX, ::CELL_PX] > SEEN_SHARE).sum()))
        error = np.concatenate(errors)
        return (
            share_of_pairs("found", self.exams, found, cells),
            share_of_pairs("precision", self.exams, found, delivered),
            Figure("error_px", float(np.median(error)) if len(error) else float("nan")),
        )

    def _coded(self, coarse: Tensor) -> Tensor:
        """Add a position code that begins anywhere."""
        code: Tensor = self.network.pos_encoding.pe
        row, col = self.crops.rng.integers(0, CODE_CELLS, 2)
        return coarse + code[:, :, row : row + coarse.shape[2], col : col + coarse.shape[3]]

    def _partners(self, batch: Batch, masks: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """List pairs of cells that show the same ground, each the other's nearest.

        Returns:
            (M,) which pair of crops, (M,) left cell, and (M,) right cell.
        """
        side = self.cutting.size // CELL_PX
        at = grid_points(torch.arange(side) * float(CELL_PX))
        cell, index, inside = nearest_cells(batch.mapping, side, CELL_PX)
        back = (map_points(cell * CELL_PX, torch.linalg.inv(batch.mapping)) / CELL_PX).round()
        clear = torch.minimum(batch.clear, overlay(torch.ones_like(batch.clear), batch.mapping))
        seen = (clear[:, 0, ::CELL_PX, ::CELL_PX].flatten(1) > SEEN_SHARE) & masks[0].cpu()
        seen &= masks[1].cpu().gather(1, index) & inside & (back * CELL_PX == at).all(-1)
        pair, one = seen.nonzero(as_tuple=True)
        return pair, one, index[pair, one]
