"""What ``evergreen`` learns: to name the displacement between two crops at every point, to a part of a pixel.

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

from sentinel_match.correlation import Peaks
from sentinel_match.guide import Guide
from sentinel_match.matchers import dense
from sentinel_match.matchers.evergreen import STRIDE, SUPPORTS, WINDOW, described
from sentinel_match.models.evergreen import Evergreen
from sentinel_match.train.crops import Crops, unseen
from sentinel_match.train.loop import seeded
from sentinel_match.train.surfaces import SIGMA, peak, phase, template, window

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from sentinel_match.train.crops import Batch
    from sentinel_match.train.loop import Figures
    from sentinel_match.train.places import Ground

WAYS = ("template", "phase", "neighbours")
"""How surfaces are made that are learned from; the last are averages over neighbouring windows, as in matching."""
NEIGHBOURS = 3
SPREAD = 0.5
"""Standard deviation in features of the distribution that is asked for."""
NEAR = 2.0
"""Features within which a peak is taught to be exact."""
EXACT = 1.0
"""Weight of exactness against finding."""
RIGHT = 1.0
"""Pixels within which a point counts as found."""
EXAMINED = 24
"""Pairs of crops by which a network is judged, half of them changed as in training: calm skies alone would make it
too sure of itself."""
LARGE = 208
"""Their side in pixels: neighbours must be there to help."""
CLEAR = 0.9
"""Share of the surroundings of an examined point that can be seen."""
DAMPING = 1e-3
SPACING = 8
"""Pixels between the points that are examined, as between those of the method."""


class Dense:
    """The task of ``evergreen``."""

    name = "evergreen"

    def __init__(
        self,
        ground: Ground,
        network: Evergreen | None = None,
        *,
        batch: int = 8,
        seed: int = 0,
        device: torch.device | str = "cpu",
        size: int = 160,
        farthest: float = 8.0,
    ) -> None:
        """Prepare the task.

        Args:
            ground: what is learned from, and what is kept apart.
            network: where it begins; a new one when not given.
            batch: pairs of crops a step.
            seed: of new networks and crops.
            device: where it computes.
            size: side of a crop, pixels.
            farthest: largest displacement, pixels.

        Raises:
            NothingToLearn: no ground is large enough.
        """
        if network is None:
            with seeded(seed):
                network = Evergreen()
        self.device = torch.device(device)
        self.network: Evergreen = network.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # How sharply the surfaces are read; learned
        self.sharpness = nn.Parameter(torch.full((len(WAYS),), 2.5, device=self.device))
        self.crops = Crops(ground, size=size, farthest=farthest, seed=seed)
        self.batch, self.seed, self.size, self.farthest = batch, seed, size, farthest
        self.radius = int(np.ceil(farthest / STRIDE)) + 1
        edge = max(int(np.ceil(2.5 * SIGMA)) + self.radius, WINDOW // 2)
        self.grid = torch.arange(edge, size // STRIDE - edge, 4, device=self.device)
        kept = unseen(ground, LARGE, farthest, seed)
        self.judged_by = kept[0].names
        self.unseen = [crops.sample(EXAMINED // 4) for crops in kept for _ in range(2)]

    @property
    def recipe(self) -> Mapping[str, object]:
        """See :class:`sentinel_match.train.loop.Task`."""
        return {
            "batch": self.batch,
            "seed": self.seed,
            "size": self.size,
            "places": {place.name: len(sources) for place, sources in self.crops.places},
        }

    def parameters(self) -> Iterator[nn.Parameter]:
        """Of the network and the sharpness."""
        yield from self.network.parameters()
        yield self.sharpness

    def state(self) -> dict[str, Any]:
        """Sharpness and random generators."""
        return {"sharpness": self.sharpness.detach().cpu(), "crops": self.crops.state()}

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.sharpness.data.copy_(state["sharpness"])
        self.crops.resume(state["crops"])

    def step(self) -> tuple[Tensor, Figures]:
        """Loss of the next batch, and by window the share of points near the truth."""
        batch = self.crops.sample(self.batch)
        left, right = self._features(batch)
        # A window of the second way costs as much as a hundred displacements of the first: every other point will do
        few = self.grid[::2]
        windows = phase(left, right, few, self.radius, WINDOW)
        # What neighbours agree on counts in the end: they must not err alike
        together = functional.avg_pool3d(windows[:, None], (NEIGHBOURS, NEIGHBOURS, 1), 1)[:, 0]
        ways = (
            (self.grid, template(left, right, self.grid, self.radius)),
            (few, windows),
            (few[NEIGHBOURS // 2 : -(NEIGHBOURS // 2)], together),
        )
        loss, figures = left.new_zeros(()), {}
        for k, (name, (grid, way)) in enumerate(zip(WAYS, ways, strict=True)):
            surface = way.flatten(0, 2)
            truth = (batch.shift / STRIDE).to(self.device).repeat_interleave(len(grid) ** 2, 0)
            weight, target = self._clear(batch, grid).flatten() ** 2, self._target(truth)
            read = torch.log_softmax(surface * self.sharpness[k].exp(), 1)
            finding = -((target * read).sum(1) * weight).sum() / weight.sum().clamp_min(1)
            shift, inside = peak(surface)
            error = shift - truth
            near = inside & (error.detach().norm(dim=1) < NEAR)
            exact = (error[near].abs().sum(1) * weight[near]).sum() / weight[near].sum().clamp_min(1)
            loss = loss + finding + EXACT * exact
            figures[name] = float(near.float().mean())
        return loss, figures

    def examine(self) -> Figures:
        """What the method would find on unseen ground; the probability of a match is fitted to the same points.

        Returns:
            ``found``: share of all clear points within a pixel of the truth; ``delivered``: share delivered as likely;
            ``precision`` of those; ``error_px``: median error of those that are right.
        """
        missed = self._examined()
        for k, top in enumerate(missed.values()):
            self.network.logit[k] = torch.from_numpy(fitted(top, np.hypot(*top.shift.T) < RIGHT))
        odds = dict(zip(SUPPORTS, self.network.logit.tolist(), strict=True))
        score, miss, _ = dense.surest(
            (s, top.shift, dense.probability(top, odds[s]) * top.inside) for s, top in missed.items()
        )
        error, likely = np.hypot(*miss.T), score >= 0.5
        right = error < RIGHT
        return {
            "found": float(right.mean()),
            "delivered": float(likely.mean()),
            "precision": float(right[likely].mean()) if likely.any() else float("nan"),
            "error_px": float(np.median(error[right])) if right.any() else float("nan"),
        }

    def _examined(self) -> dict[float, Peaks]:
        """By support, the peaks at every clear point of the unseen crops; a shift is what misses the truth."""
        grid = dense.Grid(SPACING, WINDOW, "intensity", STRIDE)
        guide = Guide(np.eye(3), self.farthest * np.sqrt(2))
        parts: dict[float, list[Peaks]] = {s: [] for s in SUPPORTS}
        for batch in self.unseen:
            for k in range(len(batch.left)):
                known = [v[k, 0].numpy() > 0 for v in (batch.left_valid, batch.right_valid)]
                arrays = [
                    described(self.network, image[k, 0].numpy(), valid, self.device)
                    for image, valid in zip((batch.left, batch.right), known, strict=True)
                ]
                here, there = (dense.Samples(list(a["features"]), a["sampled"]) for a in arrays)
                found = dense.surfaces(here, there, known[0], guide, grid, self.device)
                clear = functional.avg_pool2d(batch.clear[k], SPACING).flatten().numpy() > CLEAR
                for support, rows in parts.items():
                    top = found.tops(support, SPACING)
                    miss = top.shift - batch.shift[k].numpy()
                    rows.append(Peaks(miss[clear], top.quality[clear], top.second[clear], top.inside[clear]))
        together = {}
        for support, rows in parts.items():
            miss, quality, second, inside = (np.concatenate(values) for values in zip(*rows, strict=True))
            together[support] = Peaks(miss, quality, second, inside)
        return together

    def _features(self, batch: Batch) -> tuple[Tensor, Tensor]:
        pixels, valid = (torch.cat(p).to(self.device) for p in (batch[:2], batch[2:4]))
        features = self.network(pixels, valid)
        return features[: len(batch.left)], features[len(batch.left) :]

    def _clear(self, batch: Batch, grid: Tensor) -> Tensor:
        """(N, points, points) how much of each window can be seen in both crops."""
        clear = functional.avg_pool2d(batch.clear.to(self.device), STRIDE)[:, 0]
        along = window(clear.shape[-1], grid)
        along = along / along.sum(1, keepdim=True)
        return torch.einsum("rh,nhw,sw->nrs", along, clear, along).clamp(0, 1)

    def _target(self, truth: Tensor) -> Tensor:
        """(points, K) what the surfaces should say."""
        steps = torch.arange(-self.radius, self.radius + 1, device=self.device)
        x, y = (torch.exp(-0.5 * ((steps[None] - truth[:, k, None]) / SPREAD) ** 2) for k in (0, 1))
        wanted = (y[:, :, None] * x[:, None, :]).flatten(1)
        return wanted / wanted.sum(1, keepdim=True)


def fitted(top: Peaks, right: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Logistic regression of "is right" on the logarithms of a peak's height and of the second (Newton, damped).

    Returns:
        (3,) constant and factors, see :func:`sentinel_match.matchers.dense.probability`.
    """
    facts = np.column_stack([np.ones(len(right)), np.log(top.quality.clip(1e-3)), np.log(top.second.clip(1e-3))])
    facts, right = facts[top.inside], right[top.inside]
    factors = np.zeros(3)
    for _ in range(30):
        sure = 1 / (1 + np.exp(-np.clip(facts @ factors, -30, 30)))
        slope = facts.T @ (right - sure) - DAMPING * factors
        bend = (facts * (sure * (1 - sure))[:, None]).T @ facts + DAMPING * np.eye(3)
        factors = factors + np.linalg.solve(bend, slope)
    return factors.astype(np.float32)
