"""The task of ``lightglue`` and ``superglue``: who belongs to whom among keypoints of two crops, and who to nobody.

The keypoints are those of a SuperPoint that does not change any more; the truth is where the ground of each lies in
the other crop. The loss is the negative log-likelihood of the assignment, the dustbins of keypoints without a partner
included (Lindenberger, Sarlin & Pollefeys 2023, "LightGlue", section 3.4, with a head on every layer; Sarlin, DeTone,
Malisiewicz & Rabinovich 2020, "SuperGlue", section 3.3). Half of the pairs are guided as the product guides a match:
what is out of reach of a prior, which is off by some pixels itself, has no part in the assignment, nor in the loss.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from sentinel_match.matchers import lightglue, superglue, superpoint
from sentinel_match.matchers.prior import GeometricPrior
from sentinel_match.models import lightglue as layers
from sentinel_match.models.released import SUPERGLUE_OUTDOOR
from sentinel_match.models.shipped import LIGHTGLUE
from sentinel_match.models.superglue import COMPACT_SUPERGLUE, SuperGlue
from sentinel_match.models.superglue import load as load_superglue
from sentinel_match.train.figures import Figure
from sentinel_match.train.loop import seeded
from sentinel_match.train.mappings import map_points
from sentinel_match.train.points import DESCRIPTOR_SHARPNESS, POINT_CUTTING, clear_at
from sentinel_match.train.task import Task, TrainingSetup, share_of_pairs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor, nn

    from sentinel_match.matchers import Arrays, Matches
    from sentinel_match.models.superpoint import SeasonsPoints, SuperPoint
    from sentinel_match.models.weights import Weights
    from sentinel_match.train.crops import Batch, Cutting
    from sentinel_match.train.places import Ground

ASSIGNMENT_CUTTING = replace(POINT_CUTTING, size=320, farthest=32.0)
ASSIGNMENT_BATCH = 4
MOST_KEYPOINTS = 384
"""Of a crop."""
LIGHTGLUE_SHAPE: dict[str, int] = {"descriptor_dim": 128, "n_layers": 4, "num_heads": 4}
"""LightGlue's shape here; its authors have 256, 9 and 4."""
PARTNER_PX, NO_PARTNER_PX = 1.5, 4.0
"""Pixels within which two keypoints are one, and beyond which they are not; what lies between teaches nothing."""
GUIDED_SHARE = 0.5
"""Share of the pairs with a prior."""
PRIOR_REACH_PX = 4.0, 64.0
"""Pixels by which a prior may be wrong, at least and at most."""
PRIOR_ERROR_SHARE = 0.7
"""Share of that by which it is wrong, at most: keypoints are not exact either."""
FEWEST_KEYPOINTS = 2
"""Keypoints of a crop that teach something: a norm takes the spread of several."""
OUT_OF_REACH = -1e4
"""Log-probability of what is out of reach: minus infinity has no gradient."""
LARGEST_IMAGE = 2.5
"""Crops are learned from as parts of images up to so many times as wide: a method is given those."""
TRAINING_SINKHORN_STEPS = 20
"""Steps of the transport in training; matching takes a hundred."""
EXAM_PRIOR_PX = 16.0
"""Pixels by which the prior may be wrong when a network is judged with one."""


def _lightglue_assignments(network: Any, left: Arrays, right: Arrays, bias: Tensor | None) -> list[Tensor]:
    device = next(network.parameters()).device
    a, b = (lightglue.side(arrays, device) for arrays in (left, right))
    return [score[0] for score in layers.assignments(network, a, b, bias, len(network.transformers))]


def _superglue_assignments(network: SuperGlue, left: Arrays, right: Arrays, bias: Tensor | None) -> list[Tensor]:
    a, b = (superglue.side(arrays, network.bin_score.device) for arrays in (left, right))
    return [network.assignment(a, b, bias, TRAINING_SINKHORN_STEPS)]


def _new_lightglue(channels: int) -> Any:
    network = layers.new(input_dim=channels, **LIGHTGLUE_SHAPE)
    last = [block.ffn[-1] for layer in network.transformers for block in (layer.self_attn, layer.cross_attn)]
    return _as_nearest_neighbour(network, last, [head.final_proj for head in network.log_assignment])


def _new_superglue(channels: int) -> Any:
    network = SuperGlue(COMPACT_SUPERGLUE._replace(encoder=(*COMPACT_SUPERGLUE.encoder[:-1], channels)))
    last = [network.kenc.encoder[-1], *(layer.mlp[-1] for layer in network.gnn.layers)]  # type: ignore[index, union-attr]
    return _as_nearest_neighbour(network, last, [network.final_proj])


def _as_nearest_neighbour(network: Any, messages: Sequence[nn.Module], heads: Sequence[nn.Module]) -> Any:
    """Make a new network take the nearest neighbour: no message changes a keypoint yet, and heads compare descriptors.

    150 steps from here taught LightGlue more than 600 from random weights. Residual branches that begin at zero:
    Bachlechner et al. 2021, "ReZero is All You Need".
    """
    with torch.no_grad():
        for layer in messages:
            layer.weight.zero_()  # type: ignore[operator]
            layer.bias.zero_()  # type: ignore[operator]
        for head in heads:
            width = len(head.bias)  # type: ignore[arg-type]
            # Both methods divide by the root of the width
            eye = (DESCRIPTOR_SHARPNESS * width**0.5) ** 0.5 * torch.eye(width)
            head.weight.copy_(eye.view_as(head.weight))  # type: ignore[operator]
            head.bias.zero_()  # type: ignore[operator]
    return network


class Assigner(NamedTuple):
    """A network that assigns keypoints."""

    weights: Weights
    """What a file of one's own takes the place of."""
    new: Callable[[int], Any]
    """One that has learnt nothing but to take the nearest neighbour, for descriptors of so many channels."""
    load: Callable[[Path], Any]
    assignments: Callable[[Any, Arrays, Arrays, Tensor | None], list[Tensor]]
    """(N + 1, M + 1) log-probabilities by each head; the last row and column are of no partner."""
    matched: Callable[[Any, float, Arrays, Arrays, GeometricPrior | None], Matches]
    """As the method matches."""
    method: Callable[..., Any]
    """Whose options are those of the method: how keypoints are found, and how likely a match must be."""


ASSIGNERS = {
    "lightglue": Assigner(
        LIGHTGLUE,
        _new_lightglue,
        lambda path: layers.fresh(path, "superpoint"),
        _lightglue_assignments,
        lightglue.matched,
        superpoint.SuperPointLightGlue,
    ),
    "superglue": Assigner(
        SUPERGLUE_OUTDOOR,
        _new_superglue,
        load_superglue,
        _superglue_assignments,
        superglue.matched,
        superglue.SuperPointSuperGlue,
    ),
}


class TrueAssignment(NamedTuple):
    """What is known of two sets of keypoints; what is in none of these is not known."""

    pairs: Tensor
    """(K, 2) indices of a left and a right one that are the same."""
    left: Tensor
    """(N,) bool: has no partner."""
    right: Tensor
    """(M,) bool."""


class Assignment(Task):
    """The task of ``lightglue`` and of ``superglue``."""

    def __init__(
        self,
        name: str,
        ground: Ground,
        points: SuperPoint | SeasonsPoints,
        network: Any = None,
        *,
        setup: TrainingSetup | None = None,
        cutting: Cutting = ASSIGNMENT_CUTTING,
    ) -> None:
        """Prepare the task.

        Args:
            name: ``lightglue`` or ``superglue``.
            ground: what is learned from, and what is kept apart.
            points: finds and describes the keypoints; it stays as it is.
            network: where it begins; a new one when not given.
            setup: batch, seed and device.
            cutting: how crops are cut.

        Raises:
            NothingToLearn: no ground is large enough.
        """
        setup = setup or TrainingSetup(batch=ASSIGNMENT_BATCH)
        if network is None:
            with seeded(setup.seed):
                network = ASSIGNERS[name].new(points.channels)
        super().__init__(network, ground, setup, cutting)
        self.name = name
        self.points = points.to(self.device).eval()
        state = b"".join(tensor.cpu().numpy().tobytes() for tensor in points.state_dict().values())
        self._fingerprint = sha256(state).hexdigest()[:12]
        self.unseen = [self._described(exam.batch, 0) for exam in self.exams]

    @property
    def recipe(self) -> Mapping[str, object]:
        """Collect what :class:`sentinel_match.train.task.Task` does, and whose keypoints are assigned."""
        return {**super().recipe, "keypoints": MOST_KEYPOINTS, "points": self._fingerprint}

    def step(self) -> tuple[Tensor, tuple[Figure, ...]]:
        """Compute the loss of the next batch, and how many keypoints had a partner."""
        batch = self.crops.sample(self.setup.batch)
        losses, partners = [], []
        for k in range(self.setup.batch):
            left, right = self._described(batch, k)
            prior = draw_prior(batch.mapping[k], self.crops.rng) if self.crops.rng.random() < GUIDED_SHARE else None
            if min(len(left["keypoints"]), len(right["keypoints"])) < FEWEST_KEYPOINTS:
                continue
            truth = true_assignment(batch, k, left, right, prior)
            bias = None
            if prior is not None:
                bias = torch.from_numpy(prior.bias(left["keypoints"], right["keypoints"])).clamp_min(OUT_OF_REACH)
                bias = bias.to(self.device)
            heads = ASSIGNERS[self.name].assignments(self.network, *enlarge(left, right, self.crops.rng), bias)
            losses.append(torch.stack([unlikelihood(one.float(), truth) for one in heads]).mean())
            partners.append(len(truth.pairs))
        if not losses:
            losses = [next(self.network.parameters()).sum() * 0]
        return torch.stack(losses).mean(), (Figure("partners", float(np.mean(partners)) if partners else 0.0),)

    def examine(self) -> tuple[Figure, ...]:
        """Measure what the network finds on unseen ground, with a prior and without.

        Returns:
            ``recall``: share of the keypoints with a partner that are matched to it; ``precision``: share of the
            matches that are within ``PARTNER_PX`` pixels of the truth; and ``guided_`` both.
        """
        figures = []
        for prefix in ("", "guided_"):
            marks = [
                self._marks(exam.batch, *sides, guided=bool(prefix))
                for exam, sides in zip(self.exams, self.unseen, strict=True)
            ]
            right, matches, partners = zip(*marks, strict=True)
            figures.append(share_of_pairs(f"{prefix}recall", self.exams, right, partners))
            figures.append(share_of_pairs(f"{prefix}precision", self.exams, right, matches))
        return tuple(figures)

    def _marks(self, batch: Batch, left: Arrays, right: Arrays, *, guided: bool) -> tuple[int, int, int]:
        """Count right matches, matches, and keypoints with a partner."""
        if not len(left["keypoints"]) or not len(right["keypoints"]):
            return 0, 0, 0
        prior = GeometricPrior(batch.mapping[0].double().numpy(), EXAM_PRIOR_PX) if guided else None
        assigner = ASSIGNERS[self.name]
        matches = assigner.matched(self.network, assigner.method().min_score, left, right, prior)
        truth = map_points(torch.from_numpy(matches.left).float(), batch.mapping[0]).numpy()
        right_ones = int((np.hypot(*(matches.right - truth).T) < PARTNER_PX).sum())
        return right_ones, len(matches), len(true_assignment(batch, 0, left, right, None).pairs)

    def _described(self, batch: Batch, k: int) -> tuple[Arrays, Arrays]:
        """Find and describe the keypoints of both crops of a pair."""
        options = ASSIGNERS[self.name].method(max_keypoints=MOST_KEYPOINTS)
        with torch.autocast(self.device.type, enabled=False):  # keypoints are to be those of matching
            one, other = (
                superpoint.described(self.points, options, image[k, 0].numpy(), valid[k, 0].numpy() > 0)
                for image, valid in ((batch.left, batch.left_valid), (batch.right, batch.right_valid))
            )
        return one, other


def draw_prior(mapping: Tensor, rng: np.random.Generator) -> GeometricPrior:
    """Draw a prior as a product might have it: of some reach, and wrong by less."""
    reach = float(np.exp(rng.uniform(*np.log(PRIOR_REACH_PX))))
    angle, distance = rng.uniform(0, 2 * np.pi), PRIOR_ERROR_SHARE * reach * np.sqrt(rng.random())
    transform = mapping.double().numpy().copy()
    transform[:2, 2] += distance * np.cos(angle), distance * np.sin(angle)
    return GeometricPrior(transform, reach)


def enlarge(left: Arrays, right: Arrays, rng: np.random.Generator) -> tuple[Arrays, Arrays]:
    """Place the keypoints of two crops as if each were the same part of a larger image, which they are relative to."""
    size = left["image_size"]
    whole = (size * LARGEST_IMAGE ** rng.random()).astype(np.float32)
    corner = rng.random(2) * (whole - size)
    one, other = (
        {**arrays, "keypoints": (arrays["keypoints"] + corner).astype(np.float32), "image_size": whole}
        for arrays in (left, right)
    )
    return one, other


def true_assignment(batch: Batch, k: int, left: Arrays, right: Arrays, prior: GeometricPrior | None) -> TrueAssignment:
    """Tell which keypoints of a pair of crops are the same, and which have no partner.

    Those on ground that one of the crops does not show are no partners of anything, whatever lies near by.
    """
    a, b = (torch.from_numpy(arrays["keypoints"]) for arrays in (left, right))
    distance = torch.cdist(map_points(a, batch.mapping[k]), b)
    back = map_points(b, torch.linalg.inv(batch.mapping[k]))
    clear = clear_at(batch, k, a)[:, None] & clear_at(batch, k, back)[None]
    rows = torch.arange(len(a))
    partner = distance.argmin(1)
    same = (distance.argmin(0)[partner] == rows) & (distance[rows, partner] < PARTNER_PX) & clear[rows, partner]
    pairs = torch.stack([rows[same], partner[same]], 1)
    if prior is not None:
        within = torch.from_numpy(prior.within(left["keypoints"], right["keypoints"]))
        pairs = pairs[within[pairs[:, 0], pairs[:, 1]]]
    return TrueAssignment(pairs, distance.min(1).values > NO_PARTNER_PX, distance.min(0).values > NO_PARTNER_PX)


def unlikelihood(assignment: Tensor, truth: TrueAssignment) -> Tensor:
    """Compute the negative log-likelihood of what is known; partners and their absence count alike.

    Args:
        assignment: (N + 1, M + 1) log-probabilities; the last row and column are of no partner.
        truth: of N and M keypoints.
    """
    device = assignment.device
    a, b = truth.pairs.to(device).T
    parts = [
        (assignment[a, b], 1.0),
        (assignment[:-1, -1][truth.left.to(device)], 0.5),
        (assignment[-1, :-1][truth.right.to(device)], 0.5),
    ]
    return -torch.stack([weight * known.sum() / max(len(known), 1) for known, weight in parts]).sum()
