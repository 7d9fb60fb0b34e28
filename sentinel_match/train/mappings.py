"""Mappings between the pixels of two crops: (..., 3, 3) homogeneous and affine, corner origin."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor


class Waves(NamedTuple):
    """Displacements that change from place to place: one wave for each of N pairs."""

    along: Tensor
    """(N, 2) radians per pixel, x and y."""
    begin: Tensor
    """(N,) radians at the origin."""
    height: Tensor
    """(N, 2) pixels x, y at its top."""

    @classmethod
    def none(cls, count: int) -> Waves:
        """Make waves that displace nothing."""
        return cls(torch.zeros(count, 2), torch.zeros(count), torch.zeros(count, 2))

    def at(self, points: Tensor) -> Tensor:
        """Compute (N, P, 2) displacements in pixels at (N, P, 2) or (1, P, 2) points x, y."""
        phase = (points * self.along[:, None]).sum(-1) + self.begin[:, None]
        return phase.sin()[..., None] * self.height[:, None]


def turn(angle: Tensor) -> Tensor:
    """Make the (N, 2, 2) that turn by (N,) radians."""
    cosine, sine = angle.cos(), angle.sin()
    return torch.stack([torch.stack([cosine, -sine], 1), torch.stack([sine, cosine], 1)], 1)


def about(middle: float, linear: Tensor, shift: Tensor) -> Tensor:
    """Make the (N, 3, 3) that do what (N, 2, 2) do about the point (middle, middle), and then move by (N, 2) pixels."""
    point = torch.full((2,), middle)
    result = torch.eye(3).repeat(len(linear), 1, 1)
    result[:, :2, :2] = linear
    result[:, :2, 2] = shift + (point - linear @ point)
    return result


def map_points(points: Tensor, mapping: Tensor) -> Tensor:
    """Map (..., P, 2) points x, y by (..., 3, 3) mappings."""
    return points @ mapping[..., :2, :2].transpose(-1, -2) + mapping[..., None, :2, 2]


def grid_points(along: Tensor) -> Tensor:
    """List the (P * P, 2) points x, y of a square grid, row by row, of its (P,) rows and columns."""
    y, x = torch.meshgrid(along, along, indexing="ij")
    return torch.stack([x, y], -1).flatten(0, 1)


def nearest_cells(mapping: Tensor, side: int, cell_px: int) -> tuple[Tensor, Tensor, Tensor]:
    """Find for each of side x side cells, row by row, the cell of the other image that its corner falls next to.

    Args:
        mapping: (N, 3, 3) pixels to those of the other image, which has as many cells.
        side: cells along a row and a column.
        cell_px: pixels along a cell.

    Returns:
        (N, side * side, 2) column, row, whole numbers, also beyond the other image; (N, side * side) its number there,
        or that of the nearest there is; and (N, side * side) whether it lies inside.
    """
    at = grid_points(torch.arange(side, device=mapping.device) * float(cell_px))
    cell = (map_points(at[None].expand(len(mapping), -1, -1), mapping) / cell_px).round()
    col, row = cell.clamp(0, side - 1).long().unbind(-1)
    return cell, row * side + col, ((cell >= 0) & (cell < side)).all(-1)


def overlay(image: Tensor, mapping: Tensor) -> Tensor:
    """Sample (N, C, H, W): what an image shows where a mapping leads from each pixel; 0 where nothing is known."""
    _, _, rows, cols = image.shape
    y, x = (torch.arange(side, device=image.device) + 0.5 for side in (rows, cols))
    y, x = torch.meshgrid(y, x, indexing="ij")
    at = map_points(torch.stack([x, y], -1).flatten(0, 1), mapping).view(-1, rows, cols, 2)
    at = 2 * at / at.new_tensor([cols, rows]) - 1
    return functional.grid_sample(image, at, mode="bilinear", padding_mode="zeros", align_corners=False)
