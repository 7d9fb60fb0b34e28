"""What ``lightglue`` and ``superglue`` learn: who belongs to whom among the keypoints of two crops, and who to nobody.

The keypoints are those of a SuperPoint that does not change any more; the truth is where the ground of each lies in
the other crop. The loss is the negative log-likelihood of the assignment, the dustbins of keypoints without a partner
included (Lindenberger, Sarlin & Pollefeys 2023, "LightGlue", section 3.4, with a head on every layer; Sarlin, DeTone,
Malisiewicz & Rabinovich 2020, "SuperGlue", section 3.3). Half of the pairs are guided as the product guides a match:
what is out of reach of a prior, which is off by some pixels itself, has no part in the assignment, nor in the loss.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from sentinel_match.matchers import lightglue, superglue, superpoint
from sentinel_match.matchers.prior import GeometricPrior
from sentinel_match.models import lightglue as layers
from sentinel_match.models import weights
from sentinel_match.models.released import SUPERGLUE_OUTDOOR
from sentinel_match.models.shipped import LIGHTGLUE, SUPERPOINT
from sentinel_match.models.superglue import COMPACT, SuperGlue
from sentinel_match.models.superpoint import fused
from sentinel_match.models.weights import Weights, verified
from sentinel_match.train.loop import seeded, started
from sentinel_match.train.mappings import mapped
from sentinel_match.train.points import DESCRIPTOR_SHARPNESS, RIGHT_ZOOM, SAME_PICTURE_SHARE, TURNED_SHARE, clear_at
from sentinel_match.train.task import Task, share

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor, nn

    from sentinel_match.matchers import Arrays, Matches
    from sentinel_match.models.superpoint import SuperPoint
    from sentinel_match.train.crops import Batch
    from sentinel_match.train.places import Ground
    from sentinel_match.train.task import Figures

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


def _by_lightglue(network: Any, left: Arrays, right: Arrays, bias: Tensor | None) -> list[Tensor]:
    device = next(network.parameters()).device
    a, b = (lightglue.side(arrays, device) for arrays in (left, right))
    return [score[0] for score in layers.assignments(network, a, b, bias, len(network.transformers))]


def _by_superglue(network: SuperGlue, left: Arrays, right: Arrays, bias: Tensor | None) -> list[Tensor]:
    a, b = (superglue.side(arrays, network.bin_score.device) for arrays in (left, right))
    return [network.assignment(a, b, bias, TRAINING_SINKHORN_STEPS)]


def _new_lightglue(channels: int) -> Any:
    network = layers.new(input_dim=channels, **LIGHTGLUE_SHAPE)
    last = [block.ffn[-1] for layer in network.transformers for block in (layer.self_attn, layer.cross_attn)]
    return _neighbourly(network, last, [head.final_proj for head in network.log_assignment])


def _new_superglue(channels: int) -> Any:
    network = SuperGlue(COMPACT._replace(encoder=(*COMPACT.encoder[:-1], channels)))
    last = [network.kenc.encoder[-1], *(layer.mlp[-1] for layer in network.gnn.layers)]  # type: ignore[index, union-attr]
    return _neighbourly(network, last, [network.final_proj])


def _neighbourly(network: Any, messages: Sequence[nn.Module], heads: Sequence[nn.Module]) -> Any:
    """A new network that takes the nearest neighbour: no message changes a keypoint yet, and heads compare descriptors.

    150 steps from here taught LightGlue more than 600 from random weights. Residual branches that begin at zero:
    Bachlechner et al. 2021, "ReZero is All You Need".
    """
    with torch.no_grad():
        for layer in messages:
            layer.weight.zero_()  # type: ignore[operator]
            layer.bias.zero_()  # type: ignore[operator]
        for head in heads:
            width = len(head.bias)  # type: ignore[arg-type]
            eye = (DESCRIPTOR_SHARPNESS * width**0.5) ** 0.5 * torch.eye(
                width
            )  # both methods divide by the root of the width
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
        _by_lightglue,
        lightglue.matched,
        superpoint.SuperPointLightGlue,
    ),
    "superglue": Assigner(
        SUPERGLUE_OUTDOOR,
        _new_superglue,
        superglue.load,
        _by_superglue,
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
        points: SuperPoint,
        network: Any = None,
        *,
        keypoints: int = 384,
        **options: Any,
    ) -> None:
        """Prepare the task.

        Args:
            name: ``lightglue`` or ``superglue``.
            ground: what is learned from, and what is kept apart.
            points: finds and describes the keypoints; it stays as it is.
            network: where it begins; a new one when not given.
            keypoints: of a crop, at most.
            options: see :class:`sentinel_match.train.task.Task`.

        Raises:
            NothingToLearn: no ground is large enough.
        """
        if network is None:
            with seeded(options.get("seed", 0)):
                network = ASSIGNERS[name].new(points.shape.channels)
        options = {
            "size": 320,
            "farthest": 32.0,
            "batch": 4,
            "turned": TURNED_SHARE,
            "zoom": RIGHT_ZOOM,
            "again": SAME_PICTURE_SHARE,
        } | options
        super().__init__(network, ground, **options)
        self.name, self.keypoints = name, keypoints
        self.points = points.to(self.device).eval()
        state = b"".join(tensor.cpu().numpy().tobytes() for tensor in points.state_dict().values())
        self._fingerprint = sha256(state).hexdigest()[:12]
        self.unseen = [self._described(exam.batch, 0) for exam in self.exams]

    @property
    def recipe(self) -> Mapping[str, object]:
        """See :class:`sentinel_match.train.task.Task`."""
        return {**super().recipe, "keypoints": self.keypoints, "points": self._fingerprint}

    def step(self) -> tuple[Tensor, Figures]:
        """Loss of the next batch, and how many keypoints had a partner."""
        batch = self.crops.sample(self.batch)
        losses, partners = [], []
        for k in range(self.batch):
            left, right = self._described(batch, k)
            prior = draw_prior(batch.mapping[k], self.crops.rng) if self.crops.rng.random() < GUIDED_SHARE else None
            if min(len(left["keypoints"]), len(right["keypoints"])) < FEWEST_KEYPOINTS:
                continue
            truth = known(batch, k, left, right, prior)
            bias = None
            if prior is not None:
                bias = torch.from_numpy(prior.bias(left["keypoints"], right["keypoints"])).clamp_min(OUT_OF_REACH)
                bias = bias.to(self.device)
            heads = ASSIGNERS[self.name].assignments(self.network, *enlarged(left, right, self.crops.rng), bias)
            losses.append(torch.stack([unlikelihood(one.float(), truth) for one in heads]).mean())
            partners.append(len(truth.pairs))
        if not losses:
            losses = [next(self.network.parameters()).sum() * 0]
        return torch.stack(losses).mean(), {"partners": float(np.mean(partners)) if partners else 0.0}

    def examine(self) -> Figures:
        """What the network finds on unseen ground, with a prior and without.

        Returns:
            ``recall``: share of the keypoints with a partner that are matched to it; ``precision``: share of the
            matches that are within ``PARTNER_PX`` pixels of the truth; and ``guided_`` both.
        """
        figures: Figures = {}
        for prefix in ("", "guided_"):
            marks = [
                self._marks(exam.batch, *sides, guided=bool(prefix))
                for exam, sides in zip(self.exams, self.unseen, strict=True)
            ]
            right, found, there = zip(*marks, strict=True)
            figures |= share(f"{prefix}recall", self.exams, right, there)
            figures |= share(f"{prefix}precision", self.exams, right, found)
        return figures

    def _marks(self, batch: Batch, left: Arrays, right: Arrays, *, guided: bool) -> tuple[int, int, int]:
        """Right matches, matches, and keypoints with a partner."""
        if not len(left["keypoints"]) or not len(right["keypoints"]):
            return 0, 0, 0
        prior = GeometricPrior(batch.mapping[0].double().numpy(), EXAM_PRIOR_PX) if guided else None
        kind = ASSIGNERS[self.name]
        found = kind.matched(self.network, kind.method().min_score, left, right, prior)
        truly = mapped(torch.from_numpy(found.left).float(), batch.mapping[0]).numpy()
        right_ones = int((np.hypot(*(found.right - truly).T) < PARTNER_PX).sum())
        return right_ones, len(found), len(known(batch, 0, left, right, None).pairs)

    def _described(self, batch: Batch, k: int) -> tuple[Arrays, Arrays]:
        options = ASSIGNERS[self.name].method(max_keypoints=self.keypoints)
        with torch.autocast(self.device.type, enabled=False):  # keypoints are to be those of matching
            one, other = (
                superpoint.described(self.points, options, image[k, 0].numpy(), valid[k, 0].numpy() > 0)
                for image, valid in ((batch.left, batch.left_valid), (batch.right, batch.right_valid))
            )
        return one, other


def draw_prior(mapping: Tensor, rng: np.random.Generator) -> GeometricPrior:
    """A prior as a product might have it: of some reach, and wrong by less."""
    reach = float(np.exp(rng.uniform(*np.log(PRIOR_REACH_PX))))
    angle, off = rng.uniform(0, 2 * np.pi), PRIOR_ERROR_SHARE * reach * np.sqrt(rng.random())
    transform = mapping.double().numpy().copy()
    transform[:2, 2] += off * np.cos(angle), off * np.sin(angle)
    return GeometricPrior(transform, reach)


def enlarged(left: Arrays, right: Arrays, rng: np.random.Generator) -> tuple[Arrays, Arrays]:
    """The keypoints of two crops as if each were the same part of a larger image: positions are relative to that."""
    size = left["image_size"]
    whole = (size * LARGEST_IMAGE ** rng.random()).astype(np.float32)
    corner = rng.random(2) * (whole - size)
    one, other = (
        {**arrays, "keypoints": (arrays["keypoints"] + corner).astype(np.float32), "image_size": whole}
        for arrays in (left, right)
    )
    return one, other


def known(batch: Batch, k: int, left: Arrays, right: Arrays, prior: GeometricPrior | None) -> TrueAssignment:
    """Which keypoints of a pair of crops are the same, and which have no partner.

    Those on ground that one of the crops does not show are no partners of anything, whatever lies near by.
    """
    a, b = (torch.from_numpy(arrays["keypoints"]) for arrays in (left, right))
    apart = torch.cdist(mapped(a, batch.mapping[k]), b)
    back = mapped(b, torch.linalg.inv(batch.mapping[k]))
    seen = clear_at(batch, k, a)[:, None] & clear_at(batch, k, back)[None]
    rows = torch.arange(len(a))
    partner = apart.argmin(1)
    same = (apart.argmin(0)[partner] == rows) & (apart[rows, partner] < PARTNER_PX) & seen[rows, partner]
    pairs = torch.stack([rows[same], partner[same]], 1)
    if prior is not None:
        within = torch.from_numpy(prior.within(left["keypoints"], right["keypoints"]))
        pairs = pairs[within[pairs[:, 0], pairs[:, 1]]]
    return TrueAssignment(pairs, apart.min(1).values > NO_PARTNER_PX, apart.min(0).values > NO_PARTNER_PX)


def unlikelihood(assignment: Tensor, truth: TrueAssignment) -> Tensor:
    """Negative log-likelihood of what is known; partners and their absence count alike.

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
    return -torch.stack([weight * found.sum() / max(len(found), 1) for found, weight in parts]).sum()


def beginning(name: str, start: str, points: Path | None) -> tuple[SuperPoint, Any, str]:
    """SuperPoint, the network to begin with, and what they are.

    Args:
        name: ``lightglue`` or ``superglue``.
        start: ``scratch``, ``shipped``, or a file of weights.
        points: SuperPoint's weights; the shipped ones when not given.

    Raises:
        WeightsMissing, WeightsDamaged: a file is not there, or is none of its network.
    """
    path = verified(SUPERPOINT, points)
    detector = fused(superpoint.load(path))
    about = f", for the keypoints of {path.name} ({weights.sha256(path)[:12]})"
    network, origin = started(start, ASSIGNERS[name].weights, ASSIGNERS[name].load)
    return detector, network, origin + about
