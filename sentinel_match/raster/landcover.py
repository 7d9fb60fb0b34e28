"""What lies on the ground, class by class: SCL, MSK_CLASSI, ESA WorldCover, or any raster of codes with a table."""

from __future__ import annotations

import csv
import io
import logging
import re
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from odc.geo.overlap import compute_reproject_roi
from rasterio.enums import Resampling

from sentinel_match.errors import BadClasses, DamagedImage
from sentinel_match.geometry.grids import ground_resolution
from sentinel_match.products.files import read_text
from sentinel_match.products.header import read_header
from sentinel_match.products.scene import Asset
from sentinel_match.raster.flags import Reason
from sentinel_match.raster.jp2 import Window, read_rasterio
from sentinel_match.raster.masks import place
from sentinel_match.wording import in_words

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from sentinel_match.products.scene import Mask, Scene

log = logging.getLogger(__name__)


class Class(IntEnum):
    """What a pixel shows, as coarsely as seasons need it."""

    UNKNOWN = 0
    """No data, not classified, or dark: SCL 2 is terrain shadow as well as dark forest."""
    VEGETATION = 1
    BARE = 2
    """SCL calls all land so that is not vegetated, houses too."""
    BUILT = 3
    WATER = 4
    SNOW = 5
    CIRRUS = 6
    """Thin: the ground shows through, and nothing is said of which."""
    CLOUD = 7
    SHADOW = 8
    """Cast by a cloud."""
    DEFECTIVE = 9


SCL_CLASSES = {
    0: Class.UNKNOWN,
    1: Class.DEFECTIVE,
    2: Class.UNKNOWN,
    3: Class.SHADOW,
    4: Class.VEGETATION,
    5: Class.BARE,
    6: Class.WATER,
    7: Class.UNKNOWN,
    8: Class.CLOUD,
    9: Class.CLOUD,
    10: Class.CIRRUS,
    11: Class.SNOW,
}
"""Scene classification of L2A: Sentinel-2 Products Specification Document, table of SCL."""
WORLDCOVER_CLASSES = {
    0: Class.UNKNOWN,
    10: Class.VEGETATION,  # trees
    20: Class.VEGETATION,  # shrubs
    30: Class.VEGETATION,  # grass
    40: Class.VEGETATION,  # crops
    50: Class.BUILT,
    60: Class.BARE,
    70: Class.SNOW,
    80: Class.WATER,
    90: Class.VEGETATION,  # wetland
    95: Class.VEGETATION,  # mangroves
    100: Class.VEGETATION,  # moss and lichen
}
"""ESA WorldCover 10 m v200: Product User Manual, table of map codes."""
CLASS_TABLES = {"scl": SCL_CLASSES, "worldcover": WORLDCOVER_CLASSES}

_REASONS = {
    Class.DEFECTIVE: Reason.DEFECTIVE,
    Class.CLOUD: Reason.CLOUD,
    Class.CIRRUS: Reason.CIRRUS,
    Class.SHADOW: Reason.SHADOW,
    Class.SNOW: Reason.SNOW,
    Class.WATER: Reason.WATER,
}


@dataclass(frozen=True)
class ClassMap:
    """A user's map of classes."""

    path: Path
    """Raster of whole numbers, in any CRS and on any grid; its no-data is unknown."""
    table: str | None = None
    """``scl``, ``worldcover``, or a CSV of ``code,class``; without one the first table that has all its codes."""
    gate: bool = True
    """Whether its cloud, shadow, defects and open water are masked like the product's own."""

    @property
    def recipe(self) -> Mapping[str, object]:
        """Return what the result depends on, JSON-able: contents instead of names.

        Raises:
            BadClasses: a file is not there.
        """
        files = (
            [self.path] if self.table is None or self.table.lower() in CLASS_TABLES else [self.path, Path(self.table)]
        )
        try:
            hashes = [Asset(file).sha256() for file in files]
        except DamagedImage as error:
            raise BadClasses(self.path, f"{error.path}: {error.reason}") from error
        return {"files": hashes, "table": (self.table or "").lower() if len(files) == 1 else "", "gate": self.gate}


@dataclass(frozen=True, eq=False)
class Classified:
    """Classes on one grid."""

    codes: NDArray[np.uint8]
    """(rows, cols), values of :class:`Class`."""
    origin: str
    """Where they are known from: ``SCL``, ``CLASSI``, the name of the user's file, or empty when from nowhere."""
    notes: tuple[str, ...] = ()

    def reasons(self) -> NDArray[np.uint8]:
        """Return (rows, cols) the ``flags.Reason`` of each class that has one, else ``VALID``."""
        table = np.zeros(len(Class), np.uint8)
        table[list(_REASONS)] = list(_REASONS.values())
        codes: NDArray[np.uint8] = table[self.codes]
        return codes


def classify(scene: Scene, geobox: GeoBox, given: ClassMap | None = None) -> Classified:
    """Tell what lies on each pixel of a grid: by the user's map, else SCL, else MSK_CLASSI (snow and cloud only).

    On a coarser grid each pixel gets the class that most of it has; on a finer one that at its centre.

    Args:
        scene: the product.
        geobox: any grid; without a CRS nothing can be placed on it.
        given: the user's map, which goes before what the product has.

    Raises:
        BadClasses: the user's map or table cannot be used.
    """
    if given:
        return _given(scene, geobox, given)
    codes, origin = np.zeros(geobox.shape, np.uint8), ""
    for mask in sorted((m for m in scene.masks if m.kind in _CLASS_READERS), key=_rank):
        try:
            codes, origin = _CLASS_READERS[mask.kind](mask, geobox), mask.kind
            break
        except DamagedImage:  # which the masks, made of the same files, tell
            continue
    return Classified(codes, origin)


def read_table(path: Path) -> dict[int, Class]:
    """Read ``code,class`` lines: whole numbers and names of :class:`Class` in any case; a header may come first.

    Raises:
        BadClasses: it cannot be read, a line is no such pair, or a code comes twice.
    """
    try:
        rows = csv.reader(io.StringIO(read_text(path, "utf-8-sig")))
        lines = [[cell.strip() for cell in line] for line in rows if any(cell.strip() for cell in line)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadClasses(path, f"it is no CSV table ({in_words(error)})") from error
    if lines and [cell.lower() for cell in lines[0]] == ["code", "class"]:
        lines = lines[1:]
    table: dict[int, Class] = {}
    for line in lines:
        code, name = line if len(line) == 2 else ("", "")
        if not re.fullmatch(r"-?\d+", code) or name.upper() not in Class.__members__:
            names = ", ".join(c.name.lower() for c in Class)
            raise BadClasses(path, f"the line {','.join(line)!r} is no pair code,class with a class of {names}")
        table[int(code)] = Class[name.upper()]
    if len(table) != len(lines) or not table:
        raise BadClasses(path, "it lists a code twice" if table else "it lists no code")
    return table


def _scl(mask: Mask, geobox: GeoBox) -> NDArray[np.uint8]:
    return _placed(_coded(read_rasterio(mask.asset), SCL_CLASSES), _grid(mask, geobox), geobox)


def _classi(mask: Mask, geobox: GeoBox) -> NDArray[np.uint8]:
    """Read MSK_CLASSI_B00.jp2: layers of cloud, cirrus and snow, each 0 and 1."""
    grid = _grid(mask, geobox)
    codes = np.zeros(grid.shape, np.uint8)
    for index, name in ((3, Class.SNOW), (2, Class.CIRRUS), (1, Class.CLOUD)):
        codes[read_rasterio(mask.asset, index=index) > 0] = name
    return _placed(codes, grid, geobox)


_CLASS_READERS = {"SCL": _scl, "CLASSI": _classi}
"""Readers of what products have, best first."""


def _rank(mask: Mask) -> tuple[int, float]:
    """Rank the best kind first, then the finest."""
    return list(_CLASS_READERS).index(mask.kind), ground_resolution(mask.geobox) if mask.geobox else 0.0


def _grid(mask: Mask, geobox: GeoBox) -> GeoBox:
    if mask.geobox is None or geobox.crs is None:
        raise DamagedImage(str(mask.asset), "it has no georeference")
    return mask.geobox


def _given(scene: Scene, geobox: GeoBox, given: ClassMap) -> Classified:
    path = given.path
    if geobox.crs is None:
        raise BadClasses(path, "the image has no georeference, so nothing can be laid on it")
    try:
        header = read_header(str(path))
    except ValueError as error:
        raise BadClasses(path, f"it is no raster ({in_words(error)})") from error
    if header.geobox is None:
        raise BadClasses(path, "it has no georeference, so it cannot be laid on the image")
    rows, cols = compute_reproject_roi(header.geobox, geobox).roi_src
    if rows.stop <= rows.start or cols.stop <= cols.start:
        note = f"the class map {path.name} shows nothing of it"
        log.warning("%s: %s", scene.id, note)
        return Classified(np.zeros(geobox.shape, np.uint8), "", (note,))
    window = Window(rows.start, cols.start, rows.stop - rows.start, cols.stop - cols.start)
    try:
        codes = read_rasterio(Asset(path), window)
    except DamagedImage as error:
        raise BadClasses(path, error.reason) from error
    if codes.dtype.kind not in "iu":
        raise BadClasses(path, f"classes are whole numbers, and its values are {codes.dtype}")
    nodata = None if header.nodata[0] is None or np.isnan(header.nodata[0]) else int(header.nodata[0])
    present = {int(code) for code in np.unique(codes)} - {nodata}
    table = _table(given, present)
    unknown = sorted(present - table.keys())
    if nodata is not None:
        table = {**table, nodata: Class.UNKNOWN}
    note = f"{path.name}: {', '.join(map(str, unknown))} not in the table of classes, so unknown"
    grid = header.geobox[window.roi]
    return Classified(_placed(_coded(codes, table), grid, geobox), path.name, (note,) if unknown else ())


def _table(given: ClassMap, codes: set[int]) -> Mapping[int, Class]:
    """Choose the table that the user named, or the only one that explains the codes."""
    if given.table:
        return CLASS_TABLES.get(given.table.lower()) or read_table(Path(given.table))
    candidates = [table for table in CLASS_TABLES.values() if codes <= table.keys()]
    if len(candidates) == 1 or codes <= {0}:
        return candidates[0]
    listing = ", ".join(map(str, sorted(codes)[:12]))
    why = "are of more than one table" if candidates else "are neither SCL's nor WorldCover's"
    raise BadClasses(
        given.path, f"its codes ({listing}) {why}: name the table, which is scl, worldcover or a CSV file of code,class"
    )


def _coded(codes: NDArray[Any], table: Mapping[int, Class]) -> NDArray[np.uint8]:
    keys = np.array(sorted(table))
    classes = np.array([table[code] for code in keys], np.uint8)
    index = np.searchsorted(keys, codes).clip(0, len(keys) - 1)
    return np.where(keys[index] == codes, classes[index], Class.UNKNOWN).astype(np.uint8)


def _placed(codes: NDArray[Any], grid: GeoBox, geobox: GeoBox) -> NDArray[np.uint8]:
    coarser = ground_resolution(geobox) >= 1.5 * ground_resolution(grid)
    out = np.zeros(geobox.shape, np.uint8)
    place(codes.astype(np.uint8), grid, out, geobox, Resampling.mode if coarser else Resampling.nearest)
    return out
