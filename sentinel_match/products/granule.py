"""Granule: which files in the folder of one tile are images and quality layers, and on which grid each lies.

Told by their names, which changed over the years, and by their headers: a name alone may belong to a web page.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from sentinel_match.geometry.grids import ground_resolution
from sentinel_match.products.header import jp2_shape, read_header

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from odc.geo.geobox import GeoBox

    from sentinel_match.products.archive import Archive

IMAGE_STEM = re.compile(
    r"(?:\w+_)?(?:(?P<name>B\d[\dA]|TCI|AOT|WVP|SCL)|USER_(?P<user>SCL|AOT|WVP)_L2A_TL_\w+?)(?:_(?P<metres>[126]0)m)?"
)
"""Stem of an image: ``T33UUU_…_B04``, ``L2A_T29UMV_…_B02_10m``, ``S2A_USER_SCL_L2A_TL_…_20m``."""

MASK_STEMS = {
    "CLASSI": re.compile(r"MSK_CLASSI_B00"),
    "CLOUDS": re.compile(r"(?:S2\w_OPER_)?MSK_CLOUDS_(?:\w+_)?B00(?:_MSIL1C)?"),
    "CLDPRB": re.compile(r"(?:MSK_CLDPRB|(?:\w+_)?CLD|S2\w_USER_CLD_L2A_TL_\w+)_(?P<metres>[26]0)m"),
    "DETFOO": re.compile(r"(?:S2\w_OPER_)?MSK_DETFOO_(?:\w+_)?(?P<band>B\d[\dA])(?:_MSIL1C)?"),
    "QUALIT": re.compile(r"MSK_QUALIT_(?P<band>B\d[\dA])"),
}
"""Stems of the quality layers that are of use, compact and long-named."""

NATIVE_METRES = dict.fromkeys(("B02", "B03", "B04", "B08", "TCI"), 10) | dict.fromkeys(("B01", "B09", "B10"), 60)
"""Native resolution in metres of the images that Level-1C names without it; 20 for the others."""

RASTER_SUFFIXES = {".jp2", ".tif", ".tiff"}
"""``.tif`` is the Planetary Computer's."""


@dataclass(frozen=True)
class GranuleLayer:
    """One image or quality layer of a granule."""

    member: str
    """Name in the archive."""
    name: str
    """``B04``, ``TCI``, … of an image; the kind of a mask, ``SCL`` or one of ``MASK_STEMS``."""
    metres: int
    """Nominal resolution."""
    is_mask: bool = False
    band: str | None = None
    """The band that a mask belongs to."""
    grid: GeoBox | None = None
    """Grid of the file; ``None`` for polygons, and for an image with neither georeference nor the tile's size."""
    is_other: bool = False
    """Whether its header disagrees with the metadata: it was made again since, and is not the file they speak of."""

    @property
    def label(self) -> str:
        """Name it for notes: ``B04``, ``B04_60m``, ``DETFOO_B04``."""
        metres = f"{self.metres}m" if PurePosixPath(self.member).stem.endswith("0m") else None
        return "_".join(filter(None, (self.name, self.band, metres)))


def read_layers(
    archive: Archive, files: Iterable[str], grids: Mapping[int, GeoBox]
) -> tuple[list[GranuleLayer], list[str]]:
    """Read which members of a granule's folder are usable layers, and note those that are not.

    Args:
        archive: where the files are.
        files: names of the granule's members.
        grids: the tile's grids by resolution in metres, as its metadata has them. Where the header of an image
            disagrees, the header is right, and a note says so.
    """
    layers, empty, strange, differing = [], [], [], defaultdict(list)
    for layer in filter(None, map(_recognised, files)):
        expected = grids.get(layer.metres)
        if archive.sizes[layer.member] == 0:
            empty.append(layer.label)
            continue
        try:
            grid = None if layer.member.endswith(".gml") else _grid(archive, layer.member, expected)
        except ValueError:
            strange.append(layer.label)
            continue
        is_other = grid != expected and not layer.member.endswith(".gml")
        layers.append(replace(layer, grid=grid, is_other=is_other))
        if is_other:
            differing[_described(grid), _described(expected)].append(layer.label)
    notes = [f"left out, because the file is empty: {listing(empty)}"] if empty else []
    notes += [f"left out, because the file is no image: {listing(strange)}"] if strange else []
    notes += [
        f"the images give the grid, not the metadata: {actual}, not {stated} ({listing(labels)})"
        for (actual, stated), labels in differing.items()
    ]
    return layers, notes


def listing(labels: Iterable[str]) -> str:
    """List labels in reading order, each once; the first 14, if there are more."""
    names = sorted(set(labels))
    return ", ".join(names[:14]) + (f" and {len(names) - 14} more" if len(names) > 14 else "")


def _recognised(member: str) -> GranuleLayer | None:
    """Recognise the layer that a file should be by its name."""
    path = PurePosixPath(member)
    suffix, folders = path.suffix.lower(), path.parts[:-1]
    if "IMG_DATA" in folders and suffix in RASTER_SUFFIXES and (match := IMAGE_STEM.fullmatch(path.stem)):
        name = match["name"] or match["user"]
        return GranuleLayer(member, name, int(match["metres"] or NATIVE_METRES.get(name, 20)), is_mask=name == "SCL")
    if "QI_DATA" in folders and suffix in {*RASTER_SUFFIXES, ".gml"}:
        for kind, pattern in MASK_STEMS.items():
            if match := pattern.fullmatch(path.stem):
                parts = match.groupdict()
                band = parts.get("band")
                metres = parts.get("metres") or (NATIVE_METRES.get(band, 20) if band else 60)
                return GranuleLayer(member, kind, int(metres), is_mask=True, band=band)
    return None


def _grid(archive: Archive, member: str, expected: GeoBox | None) -> GeoBox | None:
    """Read the grid of an image. Only one of unexpected size is opened by GDAL, which takes 200 times longer.

    Raises:
        ValueError: that is no image.
    """
    if member.lower().endswith(".jp2"):
        with archive.open(member) as stream:
            shape = jp2_shape(stream)
        if shape is None:
            raise ValueError(f"{member} is no JPEG2000 image")
        if expected is not None and shape == tuple(expected.shape):
            return expected
    header = read_header(archive.asset(member).gdal)
    if header.geobox is None and expected is not None and header.shape == tuple(expected.shape):
        return expected
    return header.geobox


def _described(grid: GeoBox | None) -> str:
    if grid is None:
        return "no georeference"
    rows, columns = grid.shape
    west, north = grid.affine.c, grid.affine.f
    return f"{columns} x {rows} pixels of {ground_resolution(grid):.6g} m from {west:.7g}, {north:.8g}"
