"""Believed points as the control points of other programs, few and well spread.

A control point says where a position of the right image belongs: at the left one.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np

from sentinel_match.atomic import write_text
from sentinel_match.errors import OutputError, SentinelMatchError
from sentinel_match.geometry import robust
from sentinel_match.raster.bands import band_names, source_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sentinel_match.tiepoints import TiePoints

MOST = 1000
"""Control points at most: a thin plate spline through n of them takes n³ steps to make and n at every pixel."""
_GDAL_TYPES = {"uint8": "Byte", "int16": "Int16", "uint16": "UInt16", "int32": "Int32", "uint32": "UInt32"} | {
    "float32": "Float32",
    "float64": "Float64",
}


def spread(ties: TiePoints, most: int = MOST) -> NDArray[np.intp]:
    """Choose the most exact inlier of every square, by index; squares such that there are at most so many."""
    own = np.flatnonzero(ties.inlier)
    if len(own) <= most:
        return own
    points, exact = ties.left_xy[own], -ties.sigma_m[own]
    side = float(np.sqrt(np.prod(np.ptp(points, axis=0)) / most))
    while len(best := robust.decluster(points, exact, side)) > most:
        side *= 1.1
    return own[best]


def write_points(ties: TiePoints, path: Path | str) -> None:
    """Write control points for the Georeferencer of QGIS: open the right image in it and load them.

    Source positions are map coordinates of the right image in its own CRS, as QGIS has them for rasters that are
    georeferenced already (since 3.26: QgsGcpPoint, ``qgsgeoreftransform.cpp``, pull request 47141); map positions are
    the left ones.

    Raises:
        OutputError: the file could not be written.
    """
    own = spread(ties)
    source = ties.right_xy[own]
    native = ties.right.geobox.crs if ties.right.geobox is not None else None
    if native is not None and native != ties.crs:
        from pyproj import Transformer

        source = np.column_stack(Transformer.from_crs(ties.crs, str(native), always_xy=True).transform(*source.T))
    _write_points(ties, own, source, path)


def write_picture_points(ties: TiePoints, path: Path | str) -> None:
    """Write control points for the Georeferencer of QGIS, of a right image that has no georeference of its own.

    Source positions are columns and negative rows, as QGIS has them for such rasters.

    Raises:
        OutputError: the file could not be written.
    """
    own = spread(ties)
    _write_points(ties, own, ties.right_px[own] * (1, -1), path)


def _write_points(ties: TiePoints, own: NDArray[np.intp], source: NDArray[np.float64], path: Path | str) -> None:
    """Write the (N, 2) sources of the chosen points beside their left positions."""
    lines = io.StringIO()
    lines.write(f"#CRS: {ties.crs}\nmapX,mapY,sourceX,sourceY,enable,dX,dY,residual\n")
    table = csv.writer(lines, lineterminator="\n")
    for left, right in zip(ties.left_xy[own].tolist(), source.tolist(), strict=True):
        table.writerow([*(f"{v:.4f}" for v in (*left, *right)), 1, 0, 0, 0])
    write_text(path, lines.getvalue())


def write_vrt(ties: TiePoints, path: Path | str) -> None:
    """Write the right image as a GDAL VRT whose control points place it on the left one, for ``gdalwarp``.

    Pixel and line have their origin at the outer corner of the first pixel, as GDAL counts them.

    Raises:
        OutputError: the file could not be written, or where the right image lies is not known.
    """
    from rasterio.errors import RasterioError

    from sentinel_match.products.opening import RefusedRaster, open_raster

    try:
        band = source_of(ties.right, band_names(ties.band)[0], ties.gsd).bands[0]
        with open_raster(band.asset.gdal) as image:
            size, kind, nodata = (image.width, image.height), image.dtypes[band.index - 1], image.nodata
    except (SentinelMatchError, RefusedRaster, RasterioError) as error:
        raise OutputError(Path(path), f"the right image cannot be opened ({str(error).rstrip('.')})") from error
    root = Element("VRTDataset", rasterXSize=str(size[0]), rasterYSize=str(size[1]))
    listed = SubElement(root, "GCPList", Projection=ties.crs, dataAxisToSRSAxisMapping="1,2")
    for k in spread(ties).tolist():
        (column, row), (east, north) = ties.right_px[k], ties.left_xy[k]
        at = {"Pixel": f"{column:.4f}", "Line": f"{row:.4f}", "X": f"{east:.4f}", "Y": f"{north:.4f}", "Z": "0"}
        SubElement(listed, "GCP", {"Id": str(k), "Info": "", **at})
    raster = SubElement(root, "VRTRasterBand", dataType=_GDAL_TYPES[kind], band="1")
    empty = band.nodata if nodata is None else nodata
    if empty is not None:
        SubElement(raster, "NoDataValue").text = f"{empty:g}"
    source = SubElement(raster, "SimpleSource")
    name = band.asset.gdal if band.asset.member is not None else str(band.asset.path.resolve())
    SubElement(source, "SourceFilename", relativeToVRT="0").text = name
    SubElement(source, "SourceBand").text = str(band.index)
    indent(root, " ")
    write_text(path, tostring(root, encoding="unicode") + "\n")
