"""Files of several images: the variables of a netCDF or HDF5, each a band by its own name."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING

from rasterio.errors import NotGeoreferencedWarning, RasterioError

from sentinel_match.products.header import read_header
from sentinel_match.products.opening import RefusedRaster, open_raster
from sentinel_match.products.placement import footprint_of
from sentinel_match.products.scene import REFLECTANCE, Asset, Band, Scene, band_name

if TYPE_CHECKING:
    from pathlib import Path

    from sentinel_match.products.header import ImageHeader


def variables_of(path: Path) -> tuple[str, ...]:
    """List the images within a file that is none itself, as GDAL names them; empty where there are none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with open_raster(path) as source:
                return tuple(source.subdatasets)
    except (RasterioError, RefusedRaster):
        return ()


def read_variables(path: Path, variables: tuple[str, ...]) -> Scene | None:
    """Read a file of several images as a scene: each variable is a band of its name; ``None`` where none can be read.

    A variable of several layers has a band for each, ``name.1``, ``name.2``, ….

    Args:
        path: of the file.
        variables: what :func:`variables_of` lists.
    """
    size, bands = path.stat().st_size, []
    headers: list[ImageHeader] = []
    for variable in variables:
        try:
            header = read_header(variable)
        except ValueError:
            continue
        headers.append(header)
        name = re.split(r"[:/]", variable)[-1]
        names = [name] if header.count == 1 else [f"{name}.{i + 1}" for i in range(header.count)]
        asset = Asset(path, size=size, variable=variable)
        for index, name in enumerate(names, 1):
            offset, quantification = header.numbers(index)
            is_stated = (offset, quantification) != (0.0, 1.0)
            is_reflectance = bool(is_stated and REFLECTANCE.fullmatch(band_name(name)))
            is_reflectance |= "reflectance" in header.units[index - 1].lower()
            bands.append(
                Band(
                    name,
                    header.resolution,
                    asset,
                    header.geobox,
                    offset=offset,
                    quantification=quantification,
                    nodata=header.nodata[index - 1],
                    index=index,
                    is_reflectance=is_reflectance,
                )
            )
    if not bands:
        return None
    listed = ", ".join(band.name for band in bands)
    grids = [band.geobox for band in bands if band.geobox is not None]
    footprint, notes = footprint_of(grids[0] if grids else None)
    notes += tuple(dict.fromkeys(note for header in headers for note in header.notes))
    remedies = [header.remedy for header in headers if header.remedy]
    unplaced = (
        f"none of its variables ({listed}) has a CRS that GDAL understands; give the one you want one: "
        f"`gdal_translate -a_srs EPSG:326ZZ {bands[0].asset.gdal} {bands[0].name}.tif`"
    )
    return Scene(
        id=path.stem,
        path=path,
        level="",
        footprint=footprint,
        footprint_source="raster" if footprint else "none",
        bands=tuple(bands),
        geobox=grids[0] if grids else None,
        notes=(f"it holds the variables {listed}; --band (band= in Python) names one", *notes),
        remedy="" if grids else remedies[0] if remedies else unplaced,
    )
