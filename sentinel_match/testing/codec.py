"""Images as Sentinel-2 stores them: JPEG 2000 with its own coding parameters, written in bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.windows import Window

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

JP2_TILE_SIDE = {10: 1024, 20: 640, 60: 192}
"""Side of a JPEG 2000 tile by resolution, in pixels, as in real products."""

_GDAL_FOR_WRITING = {"GDAL_CACHEMAX": 64 << 20, "GDAL_PAM_ENABLED": "NO"}


def write_image(
    path: Path, geobox: GeoBox, pieces: Iterable[tuple[tuple[slice, slice], NDArray[Any]]], dtype: str, bands: int = 1
) -> None:
    """Write pieces of an image as they come: JPEG 2000 where ``path`` ends in ``.jp2``, else tiled GeoTIFF.

    The JPEG 2000 has the parameters that reproduce a real Sentinel-2 file: tiles, 5 resolutions, 256 x 256 precincts,
    64 x 64 code-blocks, LRCP, one lossless layer, 15 bits, PLT and TLM markers, georeference in a GMLJP2 box
    (https://github.com/uclouvain/openjpeg/pull/1246, https://github.com/OSGeo/gdal/issues/14516).

    Args:
        path: file to write.
        geobox: its grid.
        pieces: windows (rows, cols) and their pixels, (rows, cols) or (bands, rows, cols).
        dtype: ``uint16`` or ``uint8``.
        bands: number of bands.
    """
    rows, cols = geobox.shape
    tiff = path if path.suffix == ".tif" else path.with_suffix(".part.tif")
    shape = {"width": cols, "height": rows, "count": bands, "dtype": dtype}
    blocks = {"tiled": True, "blockxsize": 512, "blockysize": 512, "interleave": "pixel"}
    place = {"crs": str(geobox.crs), "transform": geobox.affine}
    with rasterio.Env(**_GDAL_FOR_WRITING):
        with rasterio.open(tiff, "w", driver="GTiff", **shape, **blocks, **place) as file:
            for (r, c), pixels in pieces:
                cube = pixels[None] if pixels.ndim == 2 else pixels
                file.write(cube, window=Window(c.start, r.start, c.stop - c.start, r.stop - r.start))
        if tiff != path:
            _transcode(tiff, path, JP2_TILE_SIDE[round(geobox.affine.a)], {"NBITS": 15} if dtype == "uint16" else {})
            tiff.unlink()


def _transcode(tiff: Path, path: Path, tile: int, depth: dict[str, int]) -> None:
    """Copy a GeoTIFF to JPEG 2000."""
    rasterio.shutil.copy(
        tiff,
        path,
        driver="JP2OpenJPEG",
        QUALITY=100,
        REVERSIBLE="YES",
        YCC="NO",
        BLOCKXSIZE=tile,
        BLOCKYSIZE=tile,
        RESOLUTIONS=5,
        PRECINCTS=",".join(["{256,256}"] * 5),
        CODEBLOCK_WIDTH=64,
        CODEBLOCK_HEIGHT=64,
        PROGRESSION="LRCP",
        PLT="YES",
        TLM="YES",
        GMLJP2="YES",
        GeoJP2="NO",
        **depth,
    )


def whole(image: NDArray[Any]) -> list[tuple[tuple[slice, slice], NDArray[Any]]]:
    """Pass an image (rows, cols) or (bands, rows, cols) that is at hand on as the one piece it is."""
    rows, cols = image.shape[-2:]
    return [((slice(0, rows), slice(0, cols)), np.ascontiguousarray(image))]
