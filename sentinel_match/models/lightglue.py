"""LightGlue with a prior: kornia's layers, and what is known of a pair added to what they find alike.

P. Lindenberger, P.-E. Sarlin, M. Pollefeys: LightGlue: Local Feature Matching at Light Speed, ICCV 2023,
https://arxiv.org/abs/2306.13643. Its two short cuts are off: on pairs across seasons leaving early saved a third of the
time and lost up to a fifth of the right matches; dropping points lost as many and saved little.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from kornia.feature import LightGlue
from kornia.feature.lightglue import filter_matches, normalize_keypoints, sigmoid_log_double_softmax

from sentinel_match.models.tensors import fill, read
from sentinel_match.models.weights import remembered

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from torch import Tensor


@dataclass(frozen=True, eq=False)
class KeypointSide:
    """One image, as LightGlue sees it."""

    points: Tensor
    """(N, 2) x, y in pixels, the centre of the first one at (0, 0), as it was trained."""
    descriptors: Tensor
    """(N, D)."""
    size: Tensor
    """(2,) width, height."""


def assign(
    network: Any, left: KeypointSide, right: KeypointSide, bias: Tensor | None = None, min_score: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Assign keypoints to one another: mutually best, over a least score.

    Without a bias these are the numbers of the network's own ``forward``.

    Args:
        network: kornia's, in inference mode; shared between threads, and left as it is.
        left: at least one point.
        right: and here too.
        bias: (N, M) log-probabilities, -inf for what cannot be; a row or a column of nothing else has no match.
        min_score: a match exceeds this.

    Returns:
        (K, 2) indices into left and right, and (K,) probabilities.
    """
    *_, score = assignments(network, left, right, bias, layers=1)
    if bias is not None:  # a softmax over nothing at all is not a number
        score[0, :-1, :-1].masked_fill_(bias.isneginf(), -torch.inf)
    partner, _, probability, _ = filter_matches(score, min_score)
    rows = (partner[0] >= 0).nonzero()[:, 0]
    return torch.stack((rows, partner[0, rows]), 1), probability[0, rows]


def assignments(
    network: Any, left: KeypointSide, right: KeypointSide, bias: Tensor | None, layers: int
) -> Iterator[Tensor]:
    """Compute what the last layers make of two images, each by its own head.

    A bias is added to the similarity, so the two softmaxes share the probability out among the candidates in reach.

    Args:
        network: kornia's.
        left: at least one point.
        right: and here too.
        bias: (N, M) log-probabilities.
        layers: how many of the last.

    Yields:
        (1, N + 1, M + 1) log-probabilities; the last row and column are of no match.
    """
    features = [network.input_proj(side.descriptors[None]) for side in (left, right)]
    places = [network.posenc(normalize_keypoints(side.points[None], side.size[None])) for side in (left, right)]
    silent = len(network.transformers) - layers
    for k, (layer, head) in enumerate(zip(network.transformers, network.log_assignment, strict=True)):
        features = layer(*features, *places)
        if k >= silent:
            a, b = (head.final_proj(x) / x.shape[-1] ** 0.25 for x in features)
            similarity = torch.einsum("bmd,bnd->bmn", a, b)
            if bias is not None:
                similarity = similarity + bias
            yield sigmoid_log_double_softmax(similarity, *(head.matchability(x) for x in features))


@remembered(4)
def load(path: Path, features: str, device: str) -> Any:
    """Load a network from its weights file, ready to use; the same one for everybody who asks.

    Args:
        path: see ``fresh``.
        features: see ``fresh``.
        device: as torch names it.

    Raises:
        WeightsDamaged: the file does not fit such a network.
    """
    return fresh(path, features).to(device)


def fresh(path: Path, features: str) -> Any:
    """Load a network from its weights file, for nobody else, on the CPU.

    Args:
        path: in the naming of kornia, of the authors' first release, or of LighterGlue's.
        features: what it was trained for, a key of ``LightGlue.features``: that is its shape. A network for SuperPoint
            has the shape of its tensors, for there are SuperPoints of several widths.

    Raises:
        WeightsDamaged: the file does not fit such a network.
    """
    tensors = _renamed(read(path))
    shape = LightGlue.features[features] if features != "superpoint" else _shape_of(tensors)
    return fill(new(**shape), tensors, path)


def new(**shape: Any) -> Any:
    """Make a network of kornia's, without its short cuts.

    Args:
        shape: options of ``LightGlue``.
    """
    options = {**shape, "features": None, "weights": None, "flash": False}
    options |= {"depth_confidence": -1, "width_confidence": -1}
    flash = torch.backends.cuda.flash_sdp_enabled()  # type: ignore[no-untyped-call]
    network: Any = LightGlue(**options)
    torch.backends.cuda.enable_flash_sdp(flash)  # kornia has just switched it off for everybody in this process
    return network


def _shape_of(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Read the options of a network from its tensors; those of the authors' where they are of none."""
    names = ("transformers.0.self_attn.out_proj.weight", "posenc.Wr.weight")
    if any(name not in tensors for name in names):
        return dict(LightGlue.features["superpoint"])
    width, frequencies = (len(tensors[name]) for name in names)
    return {
        "input_dim": tensors["input_proj.weight"].shape[1] if "input_proj.weight" in tensors else width,
        "descriptor_dim": width,
        "n_layers": len({name.split(".")[1] for name in tensors if name.startswith("transformers.")}),
        "num_heads": width // (2 * frequencies),
    }


def _renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name tensors as kornia does.

    The authors' first release names layers the other way round, and holds ``r``, which nothing ever reads. LighterGlue
    puts everything under ``matcher``, beside the XFeat it was trained with.
    """
    return {
        re.sub(r"^(self_attn|cross_attn)\.(\d+)\.", r"transformers.\2.\1.", name.removeprefix("matcher.")): tensor
        for name, tensor in tensors.items()
        if not re.fullmatch(r"log_assignment\.\d+\.r|extractor\..*", name)
    }
