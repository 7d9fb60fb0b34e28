"""View angles: from where the instrument saw a tile, as its ``MTD_TL.xml`` has it for each band and detector.

The grids have nodes 5 km apart from the tile's corner. The detectors of Sentinel-2 are staggered and look up to two
degrees ahead or behind by turns, so that a tile has up to seven grids a band, each with numbers where its detector saw
ground, and a node more. Here they are one: the mean of those that say something. Azimuths lead from the ground to the
satellite, clockwise from true north (the same file's sun angles are the sun's from true north to .01 degree, where grid
north lies 1.7 degrees off it), and are turned to grid north.
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from sentinel_match.errors import BrokenProduct
from sentinel_match.products.archive import Archive
from sentinel_match.products.metadata import BANDS_BY_ID, UTM
from sentinel_match.products.scene import NIR, band_name
from sentinel_match.products.xml import Document
from sentinel_match.products.zips import open_zip

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.products.scene import Asset, Scene

MOST_ANGLE_NODES = 512
"""Most nodes along a side of a grid; a tile has 23."""
MOST_ZENITH = 89.0
"""Degrees from the zenith beyond which no satellite is seen."""


@dataclass(frozen=True, eq=False)
class ViewAngles:
    """Direction from the ground to the satellite for one band, at nodes of a regular grid over a tile."""

    tangent: NDArray[np.float64]
    """(rows, cols, 2) tangent of the zenith angle, as a vector east, north of the grid; NaN where nothing was seen."""
    corner: tuple[float, float]
    """Easting and northing of the first node, metres."""
    step: tuple[float, float]
    """Metres from a node to the next, eastwards and southwards."""
    crs: str
    """UTM zone of the tile."""

    def towards(self, points: NDArray[np.float64], crs: str | None = None) -> NDArray[np.float64]:
        """Interpolate (N, 2) the tangent of the zenith angle, as a vector east, north towards the satellite.

        A height model that is a metre too high shows the ground by so many metres off, in this direction.

        Args:
            points: (N, 2) metres.
            crs: of the metres; that of the tile when not given.

        Returns:
            NaN off the grid, and where none of the nodes around says anything.
        """
        from pyproj import Transformer

        if crs is not None and crs != self.crs:
            points = np.column_stack(Transformer.from_crs(crs, self.crs, always_xy=True).transform(*points.T))
        rows, cols = self.tangent.shape[:2]
        place = (points - self.corner) / (self.step[0], -self.step[1])
        inside = np.all((place >= 0) & (place <= (cols - 1, rows - 1)), axis=1)  # False for NaN and infinity
        place = np.where(inside[:, None], place, 0.0)
        first = np.minimum(place.astype(int), np.maximum((cols - 2, rows - 2), 0))
        part = place - first
        total, weight = np.zeros((len(points), 2)), np.zeros((len(points), 1))
        for right in (0, 1):
            for down in (0, 1):
                col, row = np.minimum(first + (right, down), (cols - 1, rows - 1)).T
                share = np.abs(1 - right - part[:, :1]) * np.abs(1 - down - part[:, 1:])
                node = self.tangent[row, col]
                share = np.where(np.isfinite(node).all(1)[:, None], share, 0)
                total += share * np.nan_to_num(node)
                weight += share
        known = inside[:, None] & (weight > 1e-9)
        return np.where(known, total / np.where(known, weight, 1), np.nan)

    def at(self, points: NDArray[np.float64], crs: str | None = None) -> NDArray[np.float64]:
        """Interpolate (N, 2) zenith and azimuth at points, degrees; NaN where nothing was seen.

        Args:
            points: (N, 2) metres.
            crs: of the metres; that of the tile when not given.

        Returns:
            The azimuth leads to the satellite, clockwise from grid north, 0 to 360.
        """
        east, north = self.towards(points, crs).T
        zenith = np.degrees(np.arctan(np.hypot(east, north)))
        return np.column_stack([zenith, np.degrees(np.arctan2(east, north)) % 360])


def read_view_angles(scene: Scene, band: str) -> ViewAngles | None:
    """Read from where a scene was seen.

    Args:
        scene: of a Sentinel-2 product; others say nothing.
        band: what was compared; of a true-colour image its red.

    Returns:
        ``None`` where the metadata does not say it, or cannot be read any more: nothing else depends on it.
    """
    if scene.tile_metadata is None:
        return None
    name = {NIR: "B08", "TCI": "B04"}.get(band.upper(), band_name(band))
    if name not in BANDS_BY_ID:
        return None
    try:
        return _view_angles(_document(scene.tile_metadata), BANDS_BY_ID.index(name))
    except (BrokenProduct, OSError, KeyError, BadZipFile):
        return None


def _document(asset: Asset) -> Document:
    """Parse the metadata of a tile, with the care that any file of a download takes."""
    with ExitStack() as stack:
        name, zipped = asset.path.name, None
        if asset.member is not None:
            name, zipped = asset.member, stack.enter_context(open_zip(asset.path))
        size = zipped.getinfo(name).file_size if zipped else asset.path.stat().st_size
        return Document.read(Archive(asset.path if zipped else asset.path.parent, {name: size}, zipped), name)


def _view_angles(xml: Document, band_id: int) -> ViewAngles | None:
    """Merge the grids of all detectors of a band; those that are none, or lie otherwise than the first, say nothing."""
    total, count, steps = None, None, None
    for element in xml.root.iterfind(".//{*}Viewing_Incidence_Angles_Grids"):
        if element.get("bandId") != str(band_id):
            continue
        try:
            (zenith, spacing), (azimuth, other) = (_grid(element.find(f"{{*}}{n}")) for n in ("Zenith", "Azimuth"))
        except (AttributeError, TypeError, ValueError):
            continue
        if zenith.shape != azimuth.shape or spacing != other or steps not in {None, spacing}:
            continue
        zenith = np.where((zenith >= 0) & (zenith < MOST_ZENITH), zenith, np.nan)
        direction = np.radians(azimuth)
        vector = np.tan(np.radians(zenith))[..., None] * np.stack([np.sin(direction), np.cos(direction)], -1)
        known = np.isfinite(vector).all(-1)
        if total is None or count is None:
            total, count, steps = np.zeros_like(vector), np.zeros(known.shape), spacing
        if vector.shape == total.shape:
            total, count = total + np.where(known[..., None], vector, 0), count + known
    crs = UTM.fullmatch(xml.text("HORIZONTAL_CS_CODE"))
    if total is None or count is None or steps is None or crs is None or not count.any():
        return None
    try:
        corner = (float(xml.text("ULX")), float(xml.text("ULY")))
    except ValueError:
        return None
    mean = np.where(count[..., None] > 0, total / np.maximum(count, 1)[..., None], np.nan)
    return ViewAngles(_to_grid_north(mean, corner, steps, crs[0]), corner, steps, crs[0])


def _grid(element: Any) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Read a grid of angles and the metres between its nodes, eastwards and southwards.

    Raises:
        AttributeError, TypeError, ValueError: it is none.
    """
    spacing = (float(element.findtext("{*}COL_STEP")), float(element.findtext("{*}ROW_STEP")))
    rows = [row.text.split() for row in element.iterfind("{*}Values_List/{*}VALUES")]
    values = np.array(rows, np.float64)
    if values.ndim != 2 or not values.size or max(values.shape) > MOST_ANGLE_NODES:
        raise ValueError("no grid of angles")
    if not all(math.isfinite(metres) and metres > 0 for metres in spacing):
        raise ValueError("no distance between nodes")
    return values, spacing


def _to_grid_north(
    tangent: NDArray[np.float64], corner: tuple[float, float], step: tuple[float, float], crs: str
) -> NDArray[np.float64]:
    """Turn (rows, cols, 2) vectors east, north of the meridian to east, north of the grid."""
    from pyproj import Proj

    rows, cols = tangent.shape[:2]
    x, y = np.meshgrid(corner[0] + step[0] * np.arange(cols), corner[1] - step[1] * np.arange(rows))
    projection = Proj(crs)
    turn = np.radians(projection.get_factors(*projection(x, y, inverse=True)).meridian_convergence)
    east, north = tangent[..., 0], tangent[..., 1]
    return np.stack([east * np.cos(turn) - north * np.sin(turn), east * np.sin(turn) + north * np.cos(turn)], -1)
