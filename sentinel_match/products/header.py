"""What an image file says in its header: size and grid. No pixel is decoded."""

from __future__ import annotations

import re
import struct
import warnings
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from sentinel_match.geometry.grids import TURNED_NORTH, grid_north, ground_resolution, pixel_sides, plain
from sentinel_match.products.opening import open_raster
from sentinel_match.products.placement import place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from odc.geo.geobox import GeoBox

_DATASET_MASK = {MaskFlags.per_dataset}
"""What GDAL says of a mask of its own; of an alpha band it says ``alpha`` besides."""

TOLD_NORTH = 10.0
"""Degrees between the north of a CRS and north from which users are told."""
_SAYS_OPACITY = re.compile(r"(?:data|valid(?:ity)?)[ _-]?mask|alpha|opacity", re.I)
"""What bands of opacity are called where no colour says what they are: Sentinel Hub's ``dataMask``."""

Palette: TypeAlias = tuple[float, ...]
"""Brightness by number, NaN where a colour is transparent."""


@dataclass(frozen=True)
class ImageHeader:
    """The header of one image file."""

    shape: tuple[int, int]
    """(rows, columns)."""
    geobox: GeoBox | None
    """``None`` without CRS and transform, or control points that lie on a grid."""
    count: int
    """Number of bands."""
    nodata: tuple[float | None, ...]
    """By band."""
    tags: Mapping[str, str]
    descriptions: tuple[str, ...] = ()
    """What the file calls its bands; empty where it does not."""
    scales: tuple[float, ...] = ()
    """value = DN * scale + offset, by band; 1 where the file says nothing."""
    offsets: tuple[float, ...] = ()
    units: tuple[str, ...] = ()
    """What the file says its values are in; empty where it does not."""
    alpha: int | None = None
    """1-based band that says how opaque the others are: none of what was seen."""
    is_masked: bool = False
    """Whether a mask inside the file, or beside it (``.msk``), says what is data."""
    palettes: tuple[Palette, ...] = ()
    """By band; empty where its values are no colours."""
    is_complex: bool = False
    """Whether its values are complex numbers."""
    remedy: str = ""
    """What would give it a grid where it has none, as the end of a sentence."""
    notes: tuple[str, ...] = ()
    """What a user should know of its grid and its values."""

    def numbers(self, index: int) -> tuple[float, float]:
        """Return offset and quantification, of value = (DN + offset) / quantification, as the file states them."""
        scale = self.scales[index - 1] or 1.0
        return self.offsets[index - 1] / scale, 1 / scale

    @property
    def resolution(self) -> float:
        """Compute the pixel size in metres; 1 where nothing is georeferenced."""
        return 1.0 if self.geobox is None else ground_resolution(self.geobox)


def read_header(path: str) -> ImageHeader:
    """Read the header of any raster by GDAL.

    Args:
        path: a file, or GDAL's path to a member of a zip.

    Raises:
        RefusedRaster: a ValueError, see :func:`open_raster`.
        ValueError: GDAL cannot open it, or there is no band in it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # the header says it: geobox is None
            with open_raster(path) as source:
                placement = place(source)
                is_complex = any(name.startswith("complex") for name in source.dtypes)
                palettes = tuple(_palette(source, index) for index in source.indexes)
                notes = (
                    placement.note,
                    _shape_note(placement.geobox),
                    _north_note(placement.geobox),
                    "its values are numbers of colours: the brightness of these is taken" if any(palettes) else "",
                    "its values are complex: their amplitude is taken" if is_complex else "",
                )
                alpha = _alpha(source.colorinterp, source.descriptions)
                header = ImageHeader(
                    source.shape,
                    placement.geobox,
                    source.count,
                    source.nodatavals,
                    source.tags(),
                    descriptions=tuple(text or "" for text in source.descriptions),
                    scales=source.scales,
                    offsets=source.offsets,
                    units=tuple(text or "" for text in source.units),
                    alpha=alpha if source.count > 1 else None,
                    is_masked=any(set(flags) == _DATASET_MASK for flags in source.mask_flag_enums),
                    palettes=palettes,
                    is_complex=is_complex,
                    remedy=placement.remedy,
                    notes=tuple(filter(None, notes)),
                )
    except RasterioError as error:
        raise ValueError(str(error)) from error
    if header.count == 0:
        raise ValueError("there is no raster band in it")
    return header


def _alpha(colours: Sequence[ColorInterp], descriptions: Sequence[str | None]) -> int | None:
    """Find the 1-based band of opacity, by its colour or by what it is called."""
    for index, (colour, text) in enumerate(zip(colours, descriptions, strict=True), 1):
        if colour == ColorInterp.alpha or _SAYS_OPACITY.fullmatch((text or "").strip()):
            return index
    return None


def _palette(source: Any, index: int) -> Palette:
    """Read the brightness of each colour of a band (Rec. 601), NaN where it is transparent; empty where none are."""
    if source.colorinterp[index - 1] != ColorInterp.palette or source.dtypes[index - 1] not in {"uint8", "uint16"}:
        return ()
    try:
        colours = source.colormap(index)
    except ValueError:  # said to have colours, and has none
        return ()
    table = [float("nan")] * (max(colours, default=-1) + 1)
    for number, (red, green, blue, opacity) in colours.items():
        if opacity:
            table[number] = round(0.299 * red + 0.587 * green + 0.114 * blue, 3)
    return tuple(table)


def _shape_note(geobox: GeoBox | None) -> str:
    """Note that pixels are longer than wide, and what is done about it."""
    height, width = (1.0, 1.0) if geobox is None else pixel_sides(geobox)
    if geobox is None or height == width:
        return ""
    size = f"its pixels are {width:.3g} x {height:.3g} m on the ground"
    if plain(geobox):
        return f"{size}: they are compared as they are, and a pixel counts as one of {ground_resolution(geobox):.3g} m"
    return f"{size}: it is worked on at the longer side"


def _north_note(geobox: GeoBox | None) -> str:
    """Note that the directions of a grid, in which shifts are given, are far from those on the ground."""
    azimuth = 0.0 if geobox is None else grid_north(geobox)
    if not TOLD_NORTH <= abs(azimuth) <= TURNED_NORTH:
        return ""
    side = "east" if azimuth > 0 else "west"
    return f"north of its CRS lies {abs(azimuth):.0f} degrees {side} of north: shifts are east and north in that CRS"


def jp2_shape(stream: IO[bytes]) -> tuple[int, int] | None:
    """Read (rows, columns) from the ``ihdr`` box of a JP2 (ISO/IEC 15444-1, annex I); ``None`` where that is no JP2.

    Two hundred times faster than opening the file, and enough to know whether its grid is the expected one.
    """
    if stream.read(12) != b"\0\0\0\x0cjP  \r\n\x87\n":
        return None
    for _ in range(16):
        head = stream.read(8)
        if len(head) < 8:
            return None
        length, kind = struct.unpack(">I4s", head)
        if kind == b"ihdr":
            body = stream.read(8)
            return struct.unpack(">II", body) if len(body) == 8 else None
        if kind != b"jp2h":  # a box of boxes, entered instead of skipped
            if length < 8:
                return None
            stream.seek(length - 8, 1)
    return None
