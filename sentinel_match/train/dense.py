"""The task of ``evergreen`` and of trunks: to name the displacement between two crops, everywhere, to part of a pixel.

The surface of each grid point, made in three ways (``surfaces``), is read as a distribution over displacements,
and must put its weight around the true one (cross-entropy against a narrow Gaussian); the parabola through its peak
must lie on it (absolute error). Without the second part a network finds as much and measures nothing. Points under
cloud teach nothing: nobody can see there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sentinel_match.matchers import dense
from sentinel_match.matchers.correlation import Peaks
from sentinel_match.matchers.evergreen import FEATURE_SUPPORTS_PX, FEATURE_WINDOW, described
from sentinel_match.matchers.prior import GeometricPrior
from sentinel_match.models.evergreen import FEATURE_STRIDE_PX, EvergreenNetwork
from sentinel_match.models.trunk import TrunkNetwork
from sentinel_match.train.crops import Cutting
from sentinel_match.train.figures import Figure
from sentinel_match.train.loop import seeded
from sentinel_match.train.mappings import grid_points
from sentinel_match.train.odds import calibration_pairs, fit_odds
from sentinel_match.train.surfaces import WINDOW_SIGMA, peak, phase, template, window
from sentinel_match.train.task import Exam, Task, TrainingSetup, share_of_pairs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from sentinel_match.train.crops import Batch
    from sentinel_match.train.places import Ground

SURFACES = ("template", "phase", "neighbours")
"""How surfaces are made that are learned from; the last are averages over neighbouring windows, as in matching."""
TEMPLATE_MIDDLE = 0.5
"""Features by which the middle of such a window lies beyond that of the others, of even sides."""
AVERAGED_WINDOWS = 3
TARGET_SIGMA = 0.5
"""Standard deviation in features of the distribution that is asked for."""
BENT_SHARE = 0.5
"""Of the pairs, those that a wave bends: who learns from windows that all move alike smooths what does not."""
EXACT_REACH = 2.0
"""Features within which a peak is taught to be exact."""
EXACTNESS_WEIGHT = 1.0
"""Weight of exactness against finding."""
FOUND_REACH_PX = 1.0
"""Pixels within which a point counts as found."""
CLEAR_AROUND_SHARE = 0.9
"""Share of the surroundings of an examined point that can be seen."""
EXAM_SPACING_PX = 8
"""Pixels between the points that are examined, as between those of the method."""


class Dense(Task):
    """The task of ``evergreen``."""

    name = "evergreen"
    kind: type[EvergreenNetwork | TrunkNetwork] = EvergreenNetwork
    """Of a new network."""

    def __init__(
        self,
        ground: Ground,
        network: EvergreenNetwork | TrunkNetwork | None = None,
        *,
        setup: TrainingSetup | None = None,
        cutting: Cutting | None = None,
    ) -> None:
        """Prepare the task.

        Args:
            ground: what is learned from, and what is kept apart.
            network: where it begins; a new one when not given.
            setup: batch, seed and device.
            cutting: how crops are cut.

        Raises:
            NothingToLearn: no ground is large enough.
        """
        setup, cutting = setup or TrainingSetup(), cutting or Cutting(bent_share=BENT_SHARE)
        if network is None:
            with seeded(setup.seed):
                network = self.kind()
        super().__init__(network.to(memory_format=torch.channels_last), ground, setup, cutting)  # type: ignore[call-overload]
        # How sharply the surfaces are read; learned
        self.sharpness = nn.Parameter(torch.full((len(SURFACES),), 2.5, device=self.device))
        self.start = network.logit.double().cpu().numpy()
        self.radius = int(np.ceil(cutting.farthest / FEATURE_STRIDE_PX)) + 1
        edge = max(int(np.ceil(2.5 * WINDOW_SIGMA)) + self.radius, FEATURE_WINDOW // 2)
        self.grid = torch.arange(edge, cutting.size // FEATURE_STRIDE_PX - edge, 4, device=self.device)
        upright = Cutting(cutting.size, cutting.farthest)
        self.calibration = calibration_pairs(ground, upright, setup.seed)

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield those of the network, and the sharpness."""
        yield from self.network.parameters()
        yield self.sharpness

    def state(self) -> dict[str, Any]:
        """Return sharpness and random generators."""
        return {**super().state(), "sharpness": self.sharpness.detach().cpu()}

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        super().resume(state)
        self.sharpness.data.copy_(state["sharpness"])

    def step(self) -> tuple[Tensor, tuple[Figure, ...]]:
        """Compute the loss of the next batch, and by window the share of points near the truth."""
        batch = self.crops.sample(self.setup.batch)
        left, right = self._features(batch)
        # A window of the second way costs as much as a hundred displacements of the first: every other point will do
        few = self.grid[::2]
        windows = phase(left, right, few, self.radius, FEATURE_WINDOW)
        # What neighbours agree on counts in the end: they must not err alike
        together = functional.avg_pool3d(windows[:, None], (AVERAGED_WINDOWS, AVERAGED_WINDOWS, 1), 1)[:, 0]
        ways = (
            (self.grid, template(left, right, self.grid, self.radius)),
            (few, windows),
            (few[AVERAGED_WINDOWS // 2 : -(AVERAGED_WINDOWS // 2)], together),
        )
        loss, figures = left.new_zeros(()), []
        for k, (name, (grid, way)) in enumerate(zip(SURFACES, ways, strict=True)):
            surface = way.flatten(0, 2)
            truth = self._truth(batch, grid + TEMPLATE_MIDDLE if name == "template" else grid).flatten(0, 1)
            weight, target = self._clear(batch, grid).flatten() ** 2, self._target(truth)
            log_odds = torch.log_softmax(surface * self.sharpness[k].exp(), 1)
            finding = -((target * log_odds).sum(1) * weight).sum() / weight.sum().clamp_min(1)
            shift, inside = peak(surface)
            error = shift - truth
            near = inside & (error.detach().norm(dim=1) < EXACT_REACH)
            exactness = (error[near].abs().sum(1) * weight[near]).sum() / weight[near].sum().clamp_min(1)
            loss = loss + finding + EXACTNESS_WEIGHT * exactness
            figures.append(Figure(name, float(near.float().mean())))
        seen = weight.view(len(batch.left), -1)
        lost = ((1 - near.float()).view_as(seen) * seen).sum(1) / (seen.sum(1) + 1)
        self.crops.heed(batch, lost.cpu())
        return loss, tuple(figures)

    def calibrate(self) -> None:
        """Fit the probability of a match by the logarithms of a peak's height and of the second."""
        related, strangers = (self._peaks(pairs) for pairs in self.calibration)
        for k, support in enumerate(FEATURE_SUPPORTS_PX):
            top, other = related[support][0], strangers[support][0]
            right = np.hypot(*top.shift.T) < FOUND_REACH_PX
            fitted = fit_odds(_facts(top), right[top.inside], _facts(other), self.start[k])
            self.network.logit[k] = torch.from_numpy(fitted)

    def examine(self) -> tuple[Figure, ...]:
        """Measure what the method would find on unseen ground.

        Returns:
            ``found``: share of all clear points within a pixel of the truth; ``delivered``: share delivered as likely;
            ``precision`` of those; ``error_px``: median error of those that are right.
        """
        peaks = self._peaks(self.exams)
        odds = dict(zip(FEATURE_SUPPORTS_PX, self.network.logit.tolist(), strict=True))
        score, miss, _ = dense.surest(
            (s, top.shift, dense.probability(top, odds[s]) * top.inside) for s, (top, _) in peaks.items()
        )
        pair = peaks[FEATURE_SUPPORTS_PX[0]][1]
        error, likely = np.hypot(*miss.T), score >= 0.5
        right = error < FOUND_REACH_PX

        def count(points: NDArray[np.bool_]) -> NDArray[np.int_]:
            return np.bincount(pair[points], minlength=len(self.exams))

        return (
            share_of_pairs("found", self.exams, count(right), count(right | ~right)),
            Figure("delivered", float(likely.mean()) if len(likely) else float("nan")),
            share_of_pairs("precision", self.exams, count(right & likely), count(likely)),
            Figure("error_px", float(np.median(error[right])) if right.any() else float("nan")),
        )

    def _peaks(self, pairs: Sequence[Exam]) -> dict[float, tuple[Peaks, NDArray[np.int_]]]:
        """List by support the peaks at every clear point of some pairs, and whose they are; a shift is the error."""
        grid = dense.Grid(EXAM_SPACING_PX, FEATURE_WINDOW, "intensity", FEATURE_STRIDE_PX)
        prior = GeometricPrior(np.eye(3), self.cutting.farthest * np.sqrt(2))
        nothing = Peaks(np.empty((0, 2)), np.empty(0), np.empty(0), np.empty(0, bool))
        parts: dict[float, list[Peaks]] = {s: [nothing] for s in FEATURE_SUPPORTS_PX}
        numbers = []
        for batch in (exam.batch for exam in pairs):
            valid = [v[0, 0].numpy() > 0 for v in (batch.left_valid, batch.right_valid)]
            arrays = [
                described(self.network, image[0, 0].numpy(), known, self.device)
                for image, known in zip((batch.left, batch.right), valid, strict=True)
            ]
            left, right = (dense.Samples(list(a["features"]), a["sampled"]) for a in arrays)
            surfaces = dense.surfaces(left, right, valid[0], prior, grid, self.device)
            clear = functional.avg_pool2d(batch.clear[0], EXAM_SPACING_PX).flatten().numpy() > CLEAR_AROUND_SHARE
            numbers.append(int(clear.sum()))
            for support, rows in parts.items():
                top = surfaces.tops(support, EXAM_SPACING_PX)
                miss = top.shift - batch.shift[0].numpy()
                rows.append(Peaks(miss[clear], top.quality[clear], top.second[clear], top.inside[clear]))
        pair = np.repeat(np.arange(len(numbers)), numbers)
        return {
            support: (Peaks(*(np.concatenate(values) for values in zip(*rows, strict=True))), pair)
            for support, rows in parts.items()
        }

    def _features(self, batch: Batch) -> tuple[Tensor, Tensor]:
        pixels, valid = (torch.cat(p).to(self.device) for p in (batch[:2], batch[2:4]))
        features = self.network(pixels, valid)
        return features[: len(batch.left)], features[len(batch.left) :]

    def _clear(self, batch: Batch, grid: Tensor) -> Tensor:
        """Compute (N, points, points): how much of each window can be seen in both crops."""
        clear = functional.avg_pool2d(batch.clear.to(self.device), FEATURE_STRIDE_PX)[:, 0]
        along = window(clear.shape[-1], grid)
        along = along / along.sum(1, keepdim=True)
        return torch.einsum("rh,nhw,sw->nrs", along, clear, along).clamp(0, 1)

    def _truth(self, batch: Batch, grid: Tensor) -> Tensor:
        """Compute (N, points * points, 2): the displacement at the middle of each window, in features."""
        at = grid_points(grid)[None].cpu() * FEATURE_STRIDE_PX
        return ((batch.shift[:, None] + batch.waves.at(at)) / FEATURE_STRIDE_PX).to(self.device)

    def _target(self, truth: Tensor) -> Tensor:
        """Make (points, K): what the surfaces should say."""
        steps = torch.arange(-self.radius, self.radius + 1, device=self.device)
        x, y = (torch.exp(-0.5 * ((steps[None] - truth[:, k, None]) / TARGET_SIGMA) ** 2) for k in (0, 1))
        target = (y[:, :, None] * x[:, None, :]).flatten(1)
        return target / target.sum(1, keepdim=True)


class DenseTrunk(Dense):
    """The task of the trunk of ``loftr``, which is that of ``evergreen``."""

    name = "trunk"
    kind = TrunkNetwork


def _facts(top: Peaks) -> NDArray[np.float64]:
    """List the (N, 2) facts by which peaks within reach are judged, as ``dense.probability`` does."""
    heights = np.column_stack([top.quality, top.second])[top.inside]
    return np.asarray(np.log(heights.clip(1e-3)), np.float64)
