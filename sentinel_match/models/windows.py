"""Where in one image the ground of a window of another lies, to part of a pixel: by correlation of learned features.

The right window is cut as it is, the left one turned and scaled as the right image is; the peak of the normalised
cross-correlation (J. P. Lewis, "Fast Normalized Cross-Correlation", 1995), weighted towards its middle, says where.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from sentinel_match.models.evergreen import FEATURE_STRIDE_PX
from sentinel_match.models.peaks import parabola

if TYPE_CHECKING:
    from torch import Tensor

WINDOW, REACH = 21, 3
"""Features along a window, and by how many it may lie beside where it is looked for."""
WINDOW_SIGMA = WINDOW / 4
"""Standard deviation in features of the weight of a window."""
WINDOWS_AT_ONCE = 256
"""Windows of 12 features take 35 MB then, and what is multiplied with them a fifth of a gigabyte."""
SMALL = 1e-9


def place(features: tuple[Tensor, Tensor], at: tuple[Tensor, Tensor], linear: Tensor) -> tuple[Tensor, Tensor]:
    """Find windows of the left image in the right one.

    Args:
        features: (1, C, rows, cols) of both images, one for each 2 x 2 pixels.
        at: (N, 2) x, y in left pixels, the middles of windows, and (N, 2) in right pixels, where they are looked for.
        linear: (2, 2), what turns and scales the left image as the right one is.

    Returns:
        (N, 2) x, y in right pixels; and (N,) correlation, -1..1, 0 where none is highest within ``REACH``.
    """
    along = torch.arange(WINDOW, device=linear.device) - WINDOW // 2
    weight = torch.exp(-0.5 * (along / WINDOW_SIGMA) ** 2)
    weight = weight[:, None] * weight
    seen = _offsets(WINDOW // 2, linear.device) @ torch.linalg.inv(linear).T
    found = [
        _peaks(_cut(features[0], here, seen), _whole(features[1], there, WINDOW // 2 + REACH), weight)
        for here, there in zip(*(torch.split(points, WINDOWS_AT_ONCE) for points in at), strict=True)
    ]
    moved, height = (torch.cat(parts) for parts in zip(*found, strict=True))
    middle = (at[1] / FEATURE_STRIDE_PX).floor() + 0.5
    return torch.where(height[:, None] != 0, (middle + moved) * FEATURE_STRIDE_PX, at[1]), height


def _offsets(most: int, device: torch.device) -> Tensor:
    """List the (k, k, 2) pixels x, y from a middle to the features around it."""
    along = torch.arange(-most, most + 1, device=device) * float(FEATURE_STRIDE_PX)
    y, x = torch.meshgrid(along, along, indexing="ij")
    return torch.stack([x, y], -1)


def _cut(features: Tensor, at: Tensor, offsets: Tensor) -> Tensor:
    """Sample (N, C, k, k) features around (N, 2) pixels x, y."""
    points = at[:, None, None] + offsets
    size = points.new_tensor([features.shape[3], features.shape[2]]) * FEATURE_STRIDE_PX
    grid = (2 * points / size - 1).flatten(0, 1)[None]
    samples = functional.grid_sample(features, grid, padding_mode="border", align_corners=False)[0]
    return samples.view(len(samples), *points.shape[:3]).transpose(0, 1)


def _whole(features: Tensor, at: Tensor, most: int) -> Tensor:
    """Take (N, C, k, k) features around the one nearest to (N, 2) pixels x, y; 0 beyond the image."""
    along = torch.arange(2 * most + 1, device=at.device)
    col, row = (at / FEATURE_STRIDE_PX).floor().long().T
    row, col = row.clamp(0, features.shape[2] - 1), col.clamp(0, features.shape[3] - 1)
    framed = functional.pad(features[0], (most,) * 4)
    return framed[:, (row[:, None] + along)[:, :, None], (col[:, None] + along)[:, None]].transpose(0, 1)


def _peaks(left: Tensor, right: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Correlate (N, C, k, k) windows with (N, C, k + 2 r, k + 2 r): the (N, 2) x, y of peaks in features, their height.

    Whoever has no peak within reach stays where it is.
    """
    count, side = len(left), left.shape[-1]
    steps = right.shape[-1] - side + 1
    rows = right.unfold(3, steps, 1).permute(0, 2, 1, 3, 4).reshape(count, right.shape[2], -1, steps)
    wanted = (left * weight).transpose(1, 2).reshape(count, 1, -1)
    product = torch.stack(
        [torch.bmm(wanted, rows[:, step : step + side].reshape(count, -1, steps))[:, 0] for step in range(steps)], 1
    )
    energy = functional.conv2d((right**2).sum(1, keepdim=True), weight[None, None])[:, 0]
    own = (left**2 * weight).sum((1, 2, 3))
    surface = product / (energy * own[:, None, None]).clamp_min(SMALL).sqrt()
    best = surface.flatten(1).argmax(1)
    row, col = best // steps, best % steps
    inside = (row > 0) & (row < steps - 1) & (col > 0) & (col < steps - 1)
    row, col = row.clamp(1, steps - 2), col.clamp(1, steps - 2)
    around = surface.unfold(1, 3, 1).unfold(2, 3, 1)[torch.arange(count, device=left.device), row - 1, col - 1]
    moved = parabola(torch.stack([col, row], 1) - steps // 2, around)
    height = around[:, 1, 1]
    return torch.where(inside[:, None], moved, 0), torch.where(inside, height, 0)
