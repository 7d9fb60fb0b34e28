"""Along which directions two images have texture in common: nothing tells how they lie along any other.

The structure tensor of the correlation: how it bends down around the displacement, from products of the gradients of
one image with those of the other, so that noise and changes take no part in the mean. Along a direction in which it
vanishes, the images look the same wherever they are laid. Whitened surfaces do not tell: their windows end, and the end
is the same in both (ripples of 8 px bend them half as much along as across).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from sentinel_match.geometry import smoothing
from sentinel_match.matchers.correlation import part
from sentinel_match.matching.nodes import NODE_SPACING, blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from sentinel_match.matchers.correlation import Part, Points
    from sentinel_match.raster.raster import Raster

PATCH, PATCH_STEP = 16, 2
"""Side in pixels of the ground around a point whose gradients are compared, and the pixels from one to the next."""
AROUND = 3.0
"""Nodes, standard deviation of the average of curvatures: over so much, ground of any kind has texture along every
direction, 0.27 and more of the strongest on 24 pairs, and ripples 0.005 at most."""


def curvature(left: Part, right: Part, at: Points, to: Points) -> NDArray[np.float64]:
    """Compute (N, 5) how the correlation at a displacement bends down, by xx, xy, yx and yy, and a power.

    The power is that of the gradients of both images, their geometric mean: the trace of the curvature of what is
    identical.

    Args:
        left: of the left scene.
        right: of the right one.
        at: (N, 2) whole pixels in the left image.
        to: (N, 2) whole pixels in the right one.
    """
    device = left.valid.device
    total = torch.zeros((4, len(at)), dtype=torch.complex64, device=device)
    offset = torch.arange(-PATCH // 2 + 1, PATCH // 2, PATCH_STEP, device=device)
    places = []
    for side, points in ((left, at), (right, to)):
        x, y = (torch.from_numpy(points).to(device) - side.origin).round().long().unbind(1)
        rows, cols = side.valid.shape
        x, y = (x[:, None] + offset).clamp(0, cols - 1), (y[:, None] + offset).clamp(0, rows - 1)
        places.append((y[:, :, None], x[:, None, :]))
    for one, other in zip(left.pixels, right.pixels, strict=True):
        here, there = (
            _gradient(image, side.valid)[place]
            for image, side, place in zip((one, other), (left, right), places, strict=True)
        )
        products = here * there.conj(), here * there, here * here.conj(), there * there.conj()
        total += torch.stack([product.sum((1, 2)) for product in products])
    whole, split, *own = total.cpu().numpy().astype(complex)
    xx, yy, xy = (whole + split).real / 2, (whole - split).real / 2, split.imag / 2
    return np.column_stack([xx, xy, xy, yy, np.sqrt(own[0].real * own[1].real)])


def overall(
    left: tuple[Raster, ...], right: tuple[Raster, ...], at: Points, to: Points, device: str
) -> NDArray[np.float64]:
    """Compute (2, 2) the curvature around all of some points together, as a share of the power.

    Args:
        left: images of the left scene; memory maps are read block by block.
        right: of the right one.
        at: (N, 2) in the left image, pixels.
        to: (N, 2) the same ground in the right one.
        device: where it is computed.
    """
    total = np.zeros(5)
    at, to = np.round(at), np.round(to)
    for index in blocks(np.round(at / NODE_SPACING).astype(np.int64), np.ones(len(at), bool), (*left, *right)):
        sides = [
            part([i.pixels for i in side], side[0].valid, points[index], PATCH, "intensity", torch.device(device))
            for side, points in ((left, at), (right, to))
        ]
        total += curvature(sides[0], sides[1], at[index], to[index]).sum(0)
    return np.asarray(total[:4] / max(total[4], 1e-12)).reshape(2, 2)


def _gradient(pixels: Tensor, valid: Tensor) -> Tensor:
    """Compute gradients as complex numbers, 0 where they are not known; what is complex is one."""
    if pixels.is_complex():
        return pixels
    gradient = torch.zeros((*pixels.shape, 2), device=pixels.device)
    inner = gradient[1:-1, 1:-1]
    torch.sub(pixels[1:-1, 2:], pixels[1:-1, :-2], out=inner[..., 0])
    torch.sub(pixels[2:, 1:-1], pixels[:-2, 1:-1], out=inner[..., 1])
    if not bool(valid.all()):
        known = valid[1:-1, 2:] & valid[1:-1, :-2] & valid[2:, 1:-1] & valid[:-2, 1:-1]
        inner.mul_(known[..., None])
    return torch.view_as_complex(gradient)


def around(
    bend: NDArray[np.float64],
    known: NDArray[np.bool_],
    kind: NDArray[np.uint8],
    at: tuple[NDArray[np.intp], NDArray[np.intp]],
    shape: tuple[int, int],
) -> NDArray[np.float64]:
    """Average (rows, cols, 2, 2) the curvature around each node of a lattice, as a share of the power.

    Args:
        bend: (N, 5) of :func:`curvature`.
        known: (N,) where enough is clear.
        kind: (N,) what was correlated: gradients of each kind have a unit of their own.
        at: rows and columns of the N nodes.
        shape: of the lattice.
    """
    whole, weight = np.zeros((*shape, 5)), np.zeros(shape)
    for one in np.unique(kind):
        own = kind == one
        bend[own] /= max(float(bend[own, 4].mean()), 1e-12)
    whole[at], weight[at] = bend, known
    mean = smoothing.average(whole, weight, AROUND)
    return np.asarray(mean[..., :4] / np.maximum(mean[..., 4:], 1e-12)).reshape(*shape, 2, 2)
