"""Which ground of a lattice is stable: as a mask says, or as the displacement itself shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import cv2
import numpy as np

from sentinel_match.errors import BadMask
from sentinel_match.geometry import lattice
from sentinel_match.matching.nodes import NODE_SPACING
from sentinel_match.raster.masks import user_mask

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from sentinel_match.matching.displacement import Displacement

AUTO = "auto"
Stable: TypeAlias = "NDArray[np.bool_] | str"
"""(rows, cols) of the left image where ground is stable, or :data:`AUTO`."""
MOVES = 4.0
"""Standard deviations from the plane that all ground shares beyond which ground moves, if its neighbours do too."""
MOVES_PX = 0.15
"""Pixels from it, at least: errors of one half of the image against the other are none of motion."""
FEWEST_MOVING = 4
"""Nodes beside one another that move: fewer are one window's error."""
LOCAL_SHARE = 0.25
"""Share of all ground beyond which a deviation is not local, and no motion: a wave of jitter, or of terrain."""
RIM_NODES = 2
"""Nodes by which motion is widened: windows there see some of it."""


def stable_ground(wanted: Path | str | None, grid: GeoBox) -> Stable | None:
    """Find where ground is stable on the left image's grid, as a user's mask says; or that it is to be found.

    Raises:
        BadMask: the mask cannot be used, or no ground of that grid is stable.
    """
    if wanted is None or wanted == AUTO:
        return wanted
    mask = user_mask(Path(wanted), grid)
    if not mask.any():
        raise BadMask(Path(wanted), "it marks no ground of the left image as stable")
    return mask


def stable_nodes(displacement: Displacement, stable: Stable) -> NDArray[np.bool_]:
    """Tell (rows, cols) which nodes see stable ground alone.

    Args:
        displacement: of the lattice.
        stable: as a mask says, off the rim of which half a window is lost; or to be found.
    """
    if isinstance(stable, str):
        return _found(displacement)
    side = displacement.window + 1
    moving = cv2.dilate((~stable).astype(np.uint8), np.ones((side, side), np.uint8), borderValue=0)
    col, row = np.floor(displacement.nodes).astype(int).T
    inside = (row >= 0) & (col >= 0) & (row < stable.shape[0]) & (col < stable.shape[1])
    nodes = inside.copy()
    nodes[inside] = moving[row[inside], col[inside]] == 0
    return np.asarray(nodes.reshape(displacement.measured.shape))


def moving_ground(stable: Stable | None, still: NDArray[np.bool_], *, measured: bool) -> str:
    """Say in one sentence what became of ground that moves; empty where nobody asked, or a mask says it.

    Args:
        stable: what was asked for.
        still: (N,) points on stable ground.
        measured: whether the displacement was measured on a lattice, which alone tells it.
    """
    if stable is None or (measured and not isinstance(stable, str)):
        return ""
    if not measured:
        fitted = "all ground" if isinstance(stable, str) else "the points on stable ground"
        return f"it cannot be told: too few single windows could be measured, so {fitted} was fitted, without motion"
    if still.all():
        return "none was found: no patch of less than a quarter of the ground lies off its plane beyond what is unsure"
    return f"{100 * (1 - still.mean()):.1f} % of the points lie on it or beside it, and the correction leaves them out"


def _found(displacement: Displacement) -> NDArray[np.bool_]:
    """Find stable nodes: all but patches that lie off the plane which the others share, beyond their sigma."""
    from scipy.ndimage import binary_dilation, label

    field, answers = displacement.field, displacement.answers
    off = field.whole - lattice.plane_of(answers.whole, answers.weight)
    moving = (np.hypot(*np.moveaxis(off / np.sqrt(field.variance), -1, 0)) > MOVES) & answers.single
    moving &= np.hypot(*np.moveaxis(off, -1, 0)) > MOVES_PX
    number, _ = label(moving, np.ones((3, 3)))
    moving &= np.bincount(number.ravel())[number] >= FEWEST_MOVING
    if moving[answers.single].mean() > LOCAL_SHARE:
        return np.ones(moving.shape, bool)
    return np.asarray(~binary_dilation(moving, np.ones((2 * RIM_NODES + 1,) * 2)))


def on_stable(displacement: Displacement, nodes: NDArray[np.bool_]) -> Displacement:
    """Estimate the displacement anew from stable nodes alone: over the others it goes on from them."""
    answers = displacement.answers
    answers = answers._replace(weight=answers.weight * nodes, single=answers.single & nodes)
    return replace(
        displacement,
        measured=displacement.measured & nodes,
        covered=displacement.covered & nodes,
        answers=answers,
        field=lattice.estimate(answers, NODE_SPACING),
    )
