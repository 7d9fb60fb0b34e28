"""SuperPoint, written from the paper; it takes the tensors of the authors' ``superpoint_v1.pth``.

D. DeTone, T. Malisiewicz, A. Rabinovich: SuperPoint: Self-Supervised Interest Point Detection and Description, CVPRW
2018, https://arxiv.org/abs/1712.07629. Sections in the comments are the paper's.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

CELL = 8
"""Pixels along one side of a cell, after three poolings (3.1)."""


class SuperPoint(nn.Module):
    """One encoder, two heads: a score for every pixel, a descriptor for every cell of 8 x 8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 64, 64, 128, 128)
        for stage, (before, width) in enumerate(pairwise(widths), start=1):
            self.add_module(f"conv{stage}a", nn.Conv2d(before, width, 3, padding=1))
            self.add_module(f"conv{stage}b", nn.Conv2d(width, width, 3, padding=1))
        for head, out in (("P", CELL**2 + 1), ("D", 256)):
            self.add_module(f"conv{head}a", nn.Conv2d(128, 256, 3, padding=1))
            self.add_module(f"conv{head}b", nn.Conv2d(256, out, 1))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and descriptors of grey images.

        Args:
            image: (B, 1, rows, cols), 0..1; any size (the last cells are completed by repeating the border).

        Returns:
            (B, rows, cols) probability that a pixel is a keypoint, and (B, 256, ceil(rows / 8), ceil(cols / 8)) unit
            descriptors.
        """
        rows, cols = image.shape[-2:]
        x = functional.pad(image, (0, -cols % CELL, 0, -rows % CELL), mode="replicate")
        for stage in (1, 2, 3, 4):
            x = x if stage == 1 else functional.max_pool2d(x, 2)
            x = self._relu(f"conv{stage}b", self._relu(f"conv{stage}a", x))
        # 3.2: 64 channels are the pixels of a cell, row by row; the 65th says "no keypoint here"
        cells = self.get_submodule("convPb")(self._relu("convPa", x)).softmax(1)[:, :-1]
        descriptors = self.get_submodule("convDb")(self._relu("convDa", x))
        return functional.pixel_shuffle(cells, CELL)[:, 0, :rows, :cols], functional.normalize(descriptors, dim=1)

    def _relu(self, layer: str, x: Tensor) -> Tensor:
        return functional.relu(self.get_submodule(layer)(x), inplace=True)


def sample(descriptors: Tensor, points: Tensor) -> Tensor:
    """Descriptors at points, bilinear between the centres of the cells and of unit length again (3.3).

    The authors' code stretches the grid by 3.5 pixels over the image; here a cell's descriptor is at its centre.

    Args:
        descriptors: (256, R, C), of one image.
        points: (N, 2) x, y in pixels, corner origin.

    Returns:
        (N, 256).
    """
    size = points.new_tensor([descriptors.shape[2], descriptors.shape[1]]) * CELL
    grid = (2 * points / size - 1)[None, None]
    found = functional.grid_sample(descriptors[None], grid, mode="bilinear", padding_mode="border", align_corners=False)
    return functional.normalize(found[0, :, 0].T, dim=1)
