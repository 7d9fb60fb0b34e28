"""Heights: a user's height model, of any CRS and resolution, at the nodes of a lattice, with its slope."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.warp import reproject

from sentinel_match.errors import BadHeights, DamagedImage
from sentinel_match.products.opening import RefusedRaster, open_raster
from sentinel_match.products.scene import Asset

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from affine import Affine
    from numpy.typing import NDArray
    from rasterio.io import DatasetReader

FINER = 4
"""Places along the side of a node's square where height and slope are looked at, and averaged."""
DEEPEST, HIGHEST = -12_000.0, 9_000.0
"""Metres between which ground lies: others are no heights, whatever a file declares."""


def content_of(path: Path) -> str:
    """Hash a height model, so that a result knows which it was made with.

    Raises:
        BadHeights: it is not there.
    """
    try:
        return Asset(path).sha256()
    except DamagedImage as error:
        raise BadHeights(path, error.reason) from error


class Heights(NamedTuple):
    """Height and slope of the ground at nodes, NaN where the model has none."""

    altitude: NDArray[np.float64]
    """(rows, cols) metres, as the model has them."""
    slope: NDArray[np.float64]
    """(rows, cols) degrees."""


def check_heights(path: Path) -> None:
    """Check that a height model can be opened and laid on images, before anything is done with them.

    Raises:
        BadHeights: it cannot.
    """
    with _opened(path):
        pass


def read_heights(path: Path, at: NDArray[np.float64], crs: str) -> Heights:
    """Read a height model at the nodes of a regular, north-up lattice.

    Args:
        path: of a raster; its first band is metres.
        at: (rows, cols, 2) east, north of the nodes, in metres; at least two along either side.
        crs: of the nodes.

    Raises:
        BadHeights: the file cannot be used.
    """
    rows, cols = at.shape[:2]
    step = (at[-1, -1] - at[0, 0]) / (max(cols - 1, 1), max(rows - 1, 1))
    corner = at[0, 0] - step / 2
    transform = rasterio.Affine(step[0] / FINER, 0, corner[0], 0, step[1] / FINER, corner[1])
    fine = _laid(path, GeoBox((rows * FINER, cols * FINER), transform, crs))
    down, across = np.gradient(fine, abs(step[1]) / FINER, abs(step[0]) / FINER)
    slope = np.degrees(np.arctan(np.hypot(down, across)))
    return Heights(*(part.reshape(rows, FINER, cols, FINER).mean((1, 3)) for part in (fine, slope)))


def _laid(path: Path, grid: GeoBox) -> NDArray[np.float64]:
    """Lay a height model onto a grid: averaged where it is finer, interpolated where it is coarser."""
    heights = np.full(grid.shape, np.nan)
    with _opened(path) as source:
        nodata = -32768.0 if source.nodata is None and source.dtypes[0] == "int16" else source.nodata
        is_finer = _is_finer(source.transform, source.crs.is_geographic, grid)
        reproject(
            rasterio.band(source, 1),
            heights,
            dst_transform=grid.affine,
            dst_crs=str(grid.crs),
            src_nodata=nodata,
            dst_nodata=np.nan,
            resampling=Resampling.average if is_finer else Resampling.bilinear,
        )
        heights = heights * source.scales[0] + source.offsets[0]
    return np.where((heights > DEEPEST) & (heights < HIGHEST), heights, np.nan)


@contextmanager
def _opened(path: Path) -> Iterator[DatasetReader]:
    """Open a height model that has a place on the map.

    Raises:
        BadHeights: it cannot be opened, or not be read by what the context does.
    """
    try:
        with open_raster(path) as source:
            if source.crs is None:
                raise BadHeights(path, "it has no georeference, so it cannot be laid on the images")
            yield source
    except RefusedRaster as error:
        raise BadHeights(path, str(error)) from error
    except RasterioError as error:
        raise BadHeights(path, f"it is no raster that can be read ({' '.join(str(error).split())})") from error


def _is_finer(transform: Affine, is_geographic: bool, grid: GeoBox) -> bool:
    """Tell whether a model has pixels less than half as large as those of a grid."""
    metres = abs(transform.e) * (111_320 if is_geographic else 1)
    return metres < abs(grid.affine.e) / 2
