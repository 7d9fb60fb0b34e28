"""Fields as images: the displacement that a transform says, with its uncertainty, as a Cloud Optimized GeoTIFF."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sentinel_match.atomic import whole
from sentinel_match.errors import OutputError
from sentinel_match.geometry.kinds import whole_overlap
from sentinel_match.schema import A_PATH, check_argument, shown
from sentinel_match.tiepoints import TiePoints

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from sentinel_match.geometry.uncertainty import Uncertainty

DISPLACEMENT, MOTION = "displacement.tif", "motion.tif"
GEOTIFF = (".tif", ".tiff")
"""Suffixes of such images."""
DISPLACEMENT_BANDS = {
    "east": "shift to the east, right minus left",
    "north": "shift to the north, right minus left",
    "sigma": "standard deviation per axis of the shift",
    "support": "ground that the shift averages, full width at half maximum; none of one shift for the whole overlap",
}
"""Bands of ``displacement.tif``, metres, and what each is."""
MOTION_BANDS = ("east", "north", "sigma")
"""Bands of ``motion.tif``, metres."""


def write_displacement(ties: TiePoints, path: Path | str) -> None:
    """Write the fitted transform as an image: east, north, sigma and support in metres at its nodes.

    In the left image's CRS, a pixel a node: 14 pixels of the images, where windows were correlated. Right minus left,
    as everywhere; to correct the right image, subtract it. NaN where one of the images has no data, and where nothing
    is known: of the uncertainty of points that are too close together to prove anything, of the support of points of
    other programs. No support has a model that holds for the whole overlap, one translation or one affine: tags say so.

    Raises:
        TypeError: these are no tie points.
        OutputError: the file could not be written.

    Examples:
        >>> from sentinel_match import read_ties, write_displacement
        >>> write_displacement(read_ties("ties.gpkg"), "displacement.tif")
    """
    if not isinstance(ties, TiePoints):
        raise TypeError(f"write_displacement takes TiePoints, not {shown(ties)}")
    check_argument("path", path, A_PATH)
    lattice = ties.uncertainty
    sigma, support = lattice.arrays()
    known = np.isfinite(sigma) | ~np.isfinite(sigma).any()
    shift = ties.transform.shift(lattice.nodes.reshape(-1, 2)).reshape(*known.shape, 2)
    shift[~known] = np.nan
    tags = field_tags(ties)
    if said := whole_overlap(ties.transform.kind):  # older files have its length, which reads as a resolution
        support, tags["SUPPORT"] = np.full(sigma.shape, np.nan), said
    bands = [shift[..., 0], shift[..., 1], sigma, support]
    write_field(path, lattice, ties.crs, dict(zip(DISPLACEMENT_BANDS, bands, strict=True)), tags)


def write_motion(ties: TiePoints, path: Path | str) -> None:
    """Write how ground moved against stable ground, as an image: east, north and sigma in metres.

    The displacement less the correction, which was fitted on stable ground alone. Tags say what of it stable ground
    shows, mean and root mean square: how far it is from the truth.

    Raises:
        TypeError: these are no tie points.
        ValueError: they do not tell stable ground from other.
        OutputError: the file could not be written.

    Examples:
        >>> from sentinel_match import Options, match_scenes, write_motion
        >>> ties = match_scenes("LEFT.SAFE", "RIGHT.SAFE", Options(stable="auto"))
        >>> write_motion(ties, "motion.tif")
    """
    if not isinstance(ties, TiePoints):
        raise TypeError(f"write_motion takes TiePoints, not {shown(ties)}")
    check_argument("path", path, A_PATH)
    motion = ties.summary.motion
    if motion is None:
        raise ValueError("these points do not tell stable ground from other: match them with stable=")
    sigma, _ = motion.uncertainty.arrays()
    moved = motion.at(motion.uncertainty.nodes, ties.transform)
    moved[~np.isfinite(sigma)] = np.nan
    bands = dict(zip(MOTION_BANDS, (moved[..., 0], moved[..., 1], sigma), strict=True))
    tags = {f"STABLE_{name.upper()}": f"{value:g}" for name, value in vars(motion.stable).items()}
    write_field(path, motion.uncertainty, ties.crs, bands, field_tags(ties) | {"SHIFT": "of ground, metres"} | tags)


def write_fields(ties: TiePoints, path: Path) -> list[Path]:
    """Write the displacement, and ``motion.tif`` beside it where stable ground is told from other; what was written.

    Raises:
        OutputError: a file could not be written.
    """
    write_displacement(ties, path)
    if ties.summary.motion is None:
        return [path]
    write_motion(ties, path.with_name(MOTION))
    return [path, path.with_name(MOTION)]


def field_tags(ties: TiePoints) -> dict[str, str]:
    """Say in an image of which pair it is, and of which transform."""
    from sentinel_match import __version__

    return {
        "GENERATOR": f"sentinel-match {__version__}",
        "LEFT": ties.left.id,
        "RIGHT": ties.right.id,
        "MODEL": ties.transform.kind,
        "SHIFT": "right minus left, metres",
    }


def write_field(
    path: Path | str,
    lattice: Uncertainty,
    crs: str,
    bands: Mapping[str, NDArray[np.float64]],
    tags: Mapping[str, str],
) -> None:
    """Write arrays at the nodes of a lattice, metres, as a Cloud Optimized GeoTIFF of float32.

    Args:
        path: of the file.
        lattice: a node a pixel.
        crs: of the lattice.
        bands: (rows, cols) each by its name.
        tags: of the file.

    Raises:
        OutputError: the file could not be written, or its suffix is another's.
    """
    import rasterio.shutil
    from affine import Affine
    from rasterio.errors import RasterioError
    from rasterio.io import MemoryFile

    if Path(path).suffix.lower() not in GEOTIFF:
        raise OutputError(Path(path), f"it will be a GeoTIFF, and its name must end in {' or '.join(GEOTIFF)}")
    (x, y), (east, south), (rows, cols) = lattice.origin, lattice.spacing, lattice.shape
    affine = Affine(east, 0, x - east / 2, 0, -south, y + south / 2)
    profile = {"width": cols, "height": rows, "count": len(bands), "dtype": "float32", "nodata": math.nan}
    creation = {"compress": "DEFLATE", "predictor": 3, "overview_resampling": "AVERAGE", "bigtiff": "IF_SAFER"}
    with MemoryFile() as memory:
        with memory.open(driver="GTiff", crs=crs, transform=affine, **profile) as file:
            for k, (name, values) in enumerate(bands.items(), 1):
                file.write(values.astype(np.float32), k)
                file.set_band_description(k, name)
                file.update_tags(k, LONG_NAME=DISPLACEMENT_BANDS.get(name, name))
            file.units = ["m"] * len(bands)
            file.update_tags(**tags)
        with whole(path) as temporary, memory.open() as file:
            try:
                rasterio.shutil.copy(file, temporary, driver="COG", **creation)
            except RasterioError as error:
                raise OutputError(Path(path), f"GDAL gave up ({error}); is the disk full?") from error
