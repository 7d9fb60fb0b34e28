"""LoFTR: kornia's network, released or compact, also with what is known of a pair added to the likeness of its cells.

J. Sun et al.: LoFTR: Detector-Free Local Feature Matching with Transformers, CVPR 2021,
https://arxiv.org/abs/2104.00680; numbered equations are the paper's. kornia's own forward takes no prior, so its parts
are called here in its order; without a bias the result is kornia's. The compact network is the coarse part of it: where
in its cell a match lies is told by windows of the features that it stands on (``windows``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from sentinel_match.models.evergreen import Block
from sentinel_match.models.tensors import fill, read
from sentinel_match.models.trunk import (
    CELL_CHANNELS,
    TRUNK_CHANNELS,
    Convolved,
    WindowedTrunk,
    unit,
    whole_detail,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

BIAS_BLOCK_CELLS = 256
"""Left cells whose bias is asked for at a time: 100 x 100 cells squared are 100 million numbers."""

COMPACT = {
    "backbone_type": "ResNetFPN",
    "resolution": (8, 2),
    "fine_window_size": 5,
    "fine_concat_coarse_feat": False,
    "resnetfpn": {"initial_dim": 8, "block_dims": [8, 8, CELL_CHANNELS]},
    "coarse": {
        "d_model": CELL_CHANNELS,
        "d_ffn": CELL_CHANNELS,
        "nhead": 8,
        "layer_names": ["self", "cross", "self", "cross"],
        "attention": "linear",
        "temp_bug_fix": True,
    },
    "match_coarse": {
        "thr": 0.0,
        "border_rm": 0,
        "match_type": "dual_softmax",
        "dsmax_temperature": 0.4,
        "train_coarse_percent": 0.4,
        "train_pad_num_gt_min": 200,
    },
    "fine": {
        "d_model": 8,
        "d_ffn": 8,
        "nhead": 1,
        "layer_names": ["self"],
        "attention": "linear",
    },
}
"""Configuration of kornia's class for the network trained here; its backbone and its fine part are not kept."""


class SeasonsBackbone(WindowedTrunk):
    """Features of one image for LoFTR: windows of the features that a trunk has learned, and what is added to them."""

    def __init__(self) -> None:
        super().__init__()
        width = 2 * TRUNK_CHANNELS
        last = nn.Conv2d(width, CELL_CHANNELS, 1)
        self.coarse = nn.Sequential(Convolved(TRUNK_CHANNELS, width, stride=2), Block(width, 1), last)
        self.length = nn.Parameter(torch.tensor(32.0))
        for parameter in last.parameters():  # nothing is added at first
            nn.init.zeros_(parameter)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Compute (N, 128, H / 8, W / 8) and (N, 12, H / 2, W / 2), of (N, 1, H, W) extended to multiples of 8."""
        features, _, far = self.known(whole_detail(image))
        return self.length * unit(self.wide(self.cell_samples(features))) + self.coarse(far), features


def compact() -> Any:
    """Make the network that is trained here: kornia's class, with fewer channels and a trunk of its own."""
    from kornia.feature import LoFTR

    network: Any = LoFTR(pretrained=None, config=COMPACT)
    network.backbone = SeasonsBackbone()
    # Log-odds that a match is right: constant, factors of the logarithm of its confidence and of its likeness
    network.register_buffer("logit", torch.tensor([0.0, 1.0, 10.0]))
    del network.fine_preprocess, network.loftr_fine, network.fine_matching
    for layer in network.loftr_coarse.layers:
        nn.init.zeros_(layer.norm2.weight)  # nothing is said at first: it begins as nearest neighbours of windows
    return network


def is_compact(network: Any) -> bool:
    """Tell whether a network is of those that are trained here."""
    return isinstance(network.backbone, SeasonsBackbone)


def load(path: Path) -> Any:
    """Load the network of a weights file, for inference: the compact one, or kornia's with released weights.

    Raises:
        WeightsDamaged: it fits neither.
    """
    from kornia.feature import LoFTR

    tensors = {name.removeprefix("matcher."): tensor for name, tensor in read(path).items()}
    if "backbone.down.0.weight" in tensors:
        return fill(compact(), tensors, path)
    network: Any = LoFTR(pretrained=None)
    network.coarse_matching.thr = 0.0  # min_score decides, outside
    return fill(network, tensors, path)


class Cells(NamedTuple):
    """Coarse cells that match, and what of the images is compared finely."""

    left: Tensor
    """(N, 2) x, y in LoFTR's frame."""
    right: Tensor
    confidence: Tensor
    """(N,)."""
    fine: tuple[Tensor, Tensor]
    """(1, C, rows, cols) of both images."""
    data: dict[str, Any]
    """What kornia's fine part is told."""


def match_cells(
    network: Any,
    left: tuple[Tensor, Tensor],
    right: tuple[Tensor, Tensor],
    bias: Callable[[slice], Tensor] | None = None,
) -> Cells:
    """Match coarse cells that may be the same. A cell with nothing in reach has no match.

    Args:
        network: ``kornia.feature.LoFTR`` with dual softmax, in inference mode.
        left: image (rows, cols), 0..1, and mask of the same shape, ``True`` where a cell may lie.
        right: the same.
        bias: given a slice of the L left cells, row by row of the image, the (l, S) numbers to be added to the
            similarity of those with all right cells; -inf forbids a pair.
    """
    coarse_step, fine_step = network.config["resolution"]
    (coarse_a, fine_a), (coarse_b, fine_b) = (
        network.extract_features(image[None, None]).values() for image, _ in (left, right)
    )
    masks = [mask[None, ::coarse_step, ::coarse_step].flatten(1) for _, mask in (left, right)]
    data: dict[str, Any] = {"bs": 1, "stride_c": coarse_step, "stride_f": fine_step}
    data |= {"hw0_c": coarse_a.shape[2:], "hw1_c": coarse_b.shape[2:]}
    a, b = network.loftr_coarse(*(c.flatten(2).transpose(1, 2).contiguous() for c in (coarse_a, coarse_b)), *masks)

    similarity = torch.einsum("nlc,nsc->nls", a, b).div_(a.shape[2] * network.coarse_matching.temperature)  # (1)
    for start in range(0, similarity.shape[1] if bias is not None else 0, BIAS_BLOCK_CELLS):
        block = slice(start, start + BIAS_BLOCK_CELLS)
        similarity[0, block] += bias(block)  # type: ignore[misc]
    similarity[0, ~masks[0][0]] = -torch.inf
    similarity[0, :, ~masks[1][0]] = -torch.inf
    data |= network.coarse_matching.get_coarse_match(_dual_softmax(similarity), data)
    data |= {"coarse": (a, b)}
    return Cells(data["mkpts0_c"], data["mkpts1_c"], data["mconf"], (fine_a, fine_b), data)


def refine_cells(network: Any, cells: Cells) -> tuple[Tensor, Tensor, Tensor]:
    """Refine matches in the right image by kornia's fine part, which the compact network does not have.

    Returns:
        (N, 2) x, y in the left image, (N, 2) in the right one, both in LoFTR's frame, and (N,) confidence.
    """
    data = dict(cells.data)
    patches = network.fine_preprocess(*cells.fine, *data.pop("coarse"), data)
    if len(data["b_ids"]):
        patches = network.loftr_fine(*patches)
    network.fine_matching(*patches, data)
    return data["mkpts0_f"], data["mkpts1_f"], data["mconf"]


def _dual_softmax(similarity: Tensor) -> Tensor:
    """Multiply the softmax over rows by that over columns (2), in place; 0 where a row or column is all -inf."""
    rows, columns = (
        similarity.logsumexp(axis, keepdim=True).clamp(min=torch.finfo(similarity.dtype).min) for axis in (2, 1)
    )
    return similarity.mul_(2).sub_(rows).sub_(columns).exp_()
