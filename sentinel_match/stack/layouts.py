"""The finished stack as other tools want it: torchgeo's OSCD, chips in A/B folders, a before/after pair for OTB.

None of these knows NaN, so 0 stands in both images wherever either has no data.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from odc.geo.geobox import GeoBox

from sentinel_match.atomic import write_text
from sentinel_match.errors import OutputError
from sentinel_match.raster.flags import Reason
from sentinel_match.stack import render

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from numpy.typing import NDArray

LAYOUTS = ("stack", "oscd", "chips", "pair")
OSCD = "Onera Satellite Change Detection dataset"
"""How folders of that data set begin (Caye Daudt et al. 2018); ``torchgeo.datasets.OSCD`` looks for them."""
OSCD_QUANTIFICATION = 10_000
"""OSCD's integers per unit of reflectance, as in the products themselves."""
OSCD_LARGEST = 32767
"""Of them."""
LEAST_CLEAR_CHIP = 0.5
"""Share of a chip that is valid in both images; chips with less are left out."""
ZERO = np.float32(1e-6)
"""Stands for a reflectance of exactly 0, where 0 means no data."""


class NotReflectance(ValueError):
    """Values that no OSCD root can hold; says which, and what to do."""


@dataclass(frozen=True)
class PairFiles:
    """The images of a before/after pair, as paths in the stack's folder."""

    before: str
    after: str


@dataclass(frozen=True)
class ChipFiles:
    """Chips in A/B folders."""

    size: int
    """Side in pixels."""
    chips: int
    """Places of which chips were written."""
    left_out: int
    """Places that are mostly hidden."""


@dataclass(frozen=True)
class OscdFiles:
    """A region of a root for ``torchgeo.datasets.OSCD``."""

    root: str
    """In the stack's folder."""
    region: str
    """Name of the place."""
    labels: str = "all 0: a place for yours, nobody labelled it"
    """What ``cm.png`` holds."""
    note: str | None = None
    """What a user of the class has to know."""


@dataclass(frozen=True)
class Layout:
    """What was made of the stack for another tool."""

    name: str
    """One of ``LAYOUTS``."""
    order: tuple[str, str] = ("left", "right")
    """Which of ``left`` and ``right`` is the earlier, and the later."""
    files: PairFiles | ChipFiles | OscdFiles | None = None
    """``None`` where the stack itself is all."""

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        if self.files is None:
            return {"name": self.name}
        facts = {"name": self.name, "first": self.order[0], "second": self.order[1], **asdict(self.files)}
        return {name: fact for name, fact in facts.items() if fact is not None}


def in_order(left: datetime | None, right: datetime | None) -> tuple[str, str]:
    """Tell which of ``left`` and ``right`` is the earlier, and the later: as given where a time is missing."""
    return ("right", "left") if left and right and right < left else ("left", "right")


def write_pair(folder: Path, order: tuple[str, str], bands: tuple[str, ...]) -> PairFiles:
    """Write ``pair/before.tif`` and ``pair/after.tif``: the same grid and bands, 0 where there is no data in either.

    Args:
        folder: holds ``left.tif``, ``right.tif`` and ``valid.tif``.
        order: which of ``left`` and ``right`` is before.
        bands: of the images.

    Raises:
        OutputError: the disk is full.
    """
    for name, side in zip(("before", "after"), order, strict=True):
        with rasterio.open(folder / f"{side}.tif") as file:
            target, tags, unit = GeoBox.from_rio(file), file.tags(), file.units[0] or ""
        scratch, path = folder / f"{name}.scratch.tif", folder / "pair" / f"{name}.tif"
        path.parent.mkdir(exist_ok=True)
        with render.created(scratch, target, len(bands), "float32", nodata=0) as file:
            for k, top, pixels in _filled(folder, side, len(bands)):
                file.write(pixels, k, window=rasterio.windows.Window(0, top, *pixels.shape[::-1]))
        render.finish(scratch, path, bands, unit, tags)
    return PairFiles("pair/before.tif", "pair/after.tif")


def write_chips(folder: Path, order: tuple[str, str], size: int) -> ChipFiles:
    """Write ``chips/A`` (earlier), ``chips/B`` (later), ``chips/valid`` (1 or 0): GeoTIFFs of one name for one place.

    Args:
        folder: holds the stack.
        order: which of ``left`` and ``right`` is A.
        size: side in pixels. What is left at the right and below is dropped, as are chips that are mostly hidden.

    Raises:
        OutputError: the disk is full.
    """
    for name in ("A", "B", "valid"):
        (folder / "chips" / name).mkdir(parents=True, exist_ok=True)
    with ExitStack() as files:
        files.enter_context(rasterio.Env(GDAL_CACHEMAX=render.GDAL_CACHE_BYTES))
        first, second, valid = (files.enter_context(rasterio.open(folder / f"{s}.tif")) for s in (*order, "valid"))
        (rows, cols), target, written = valid.shape, GeoBox.from_rio(valid), 0
        places = [(top, left) for top in range(0, rows - size + 1, size) for left in range(0, cols - size + 1, size)]
        for top, left in places:
            window = rasterio.windows.Window(left, top, size, size)
            clear, codes = valid.read(window=window)
            if clear.mean() < LEAST_CLEAR_CHIP:
                continue
            written += 1
            box, name = target[top : top + size, left : left + size], f"{top // size:03d}_{left // size:03d}.tif"
            for part, file in (("A", first), ("B", second)):
                pixels = file.read(window=window)
                pixels = np.where(_known(codes), np.where(pixels == 0, ZERO, pixels), np.float32(0))
                _write(folder / "chips" / part / name, pixels, box)
            _write(folder / "chips" / "valid" / name, clear[None], box)
    return ChipFiles(size, written, len(places) - written)


def write_oscd(
    folder: Path, order: tuple[str, str], bands: tuple[str, ...], dates: tuple[str, str], region: str
) -> OscdFiles:
    """Write ``oscd/``: a root for ``torchgeo.datasets.OSCD(root, split="test")`` with one region.

    Each band is a file of int16, 10,000 to a reflectance of 1, negative values kept. Nobody has labelled the changes:
    ``cm.png`` is all 0 so that the class loads, and is to be replaced by labels.

    Args:
        folder: holds the stack.
        order: which of ``left`` and ``right`` is image 1.
        bands: of the images.
        dates: of the two, ``20160529``.
        region: name of the place.

    Raises:
        OutputError: the disk is full.
        NotReflectance: the values are none.
    """
    root = folder / "oscd"
    images, labels = root / f"{OSCD} - Images" / region, root / f"{OSCD} - Test Labels" / region / "cm"
    with rasterio.open(folder / "valid.tif") as file:
        target = GeoBox.from_rio(file)
    for i, side in enumerate(order, 1):
        (images / f"imgs_{i}_rect").mkdir(parents=True)
        for k, name in enumerate(bands, 1):
            with render.created(images / f"imgs_{i}_rect" / f"{name}.tif", target, 1, "int16") as file:
                for top, pixels, known in _strips(folder, side, k):
                    counts = np.rint(np.where(known, pixels, 0) * OSCD_QUANTIFICATION)
                    check_reflectance(side, name, counts / OSCD_QUANTIFICATION)
                    counts = np.where(known & (counts == 0), 1, counts).astype(np.int16)  # 0 is no data
                    file.write(counts, 1, window=rasterio.windows.Window(0, top, *pixels.shape[::-1]))
    write_text(images / "dates.txt", f"date_1: {dates[0]}\ndate_2: {dates[1]}\n")
    labels.mkdir(parents=True)
    _write_png(labels / "cm.png", np.zeros(target.shape, np.uint8))
    note = "torchgeo takes the 2nd to 4th file for bands='rgb', so without B01 only bands='all' is right"
    return OscdFiles("oscd", region, note=None if bands[:1] == ("B01",) else note)


def check_reflectance(image: str, band: str, values: NDArray[Any]) -> None:
    """Check that values fit into OSCD's integers.

    Raises:
        NotReflectance: they do not.
    """
    largest = float(np.nanmax(np.abs(values), initial=0))
    if largest * OSCD_QUANTIFICATION > OSCD_LARGEST:
        raise NotReflectance(
            f"band {band} of {image} holds {largest:,.6g}, and that layout takes reflectance to "
            f"{OSCD_LARGEST / OSCD_QUANTIFICATION:g}: ask for another (--layout pair; layout= in Python), or make "
            "a copy that says its scale (gdal_translate -a_scale 0.0001 …)"
        )


def _filled(folder: Path, side: str, count: int) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
    """Yield (band, first row, strip) with 0 only where either image has no data, in any band."""
    for k in range(1, count + 1):
        for top, pixels, known in _strips(folder, side, k):
            yield k, top, np.where(known, np.where(pixels == 0, ZERO, pixels), np.float32(0))


def _strips(folder: Path, side: str, index: int) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.bool_]]]:
    """Yield (first row, strip, where both images have data) of a band."""
    images = render.strips(folder / f"{side}.tif", index), render.strips(folder / "valid.tif", 2)
    for (top, pixels), (_, codes) in zip(*images, strict=True):
        yield top, pixels, _known(codes)


def _known(codes: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell where both images have data, by the second band of ``valid.tif``."""
    nodata = int(Reason.NODATA)
    return np.asarray((codes % render.RIGHT_FACTOR != nodata) & (codes // render.RIGHT_FACTOR != nodata))


def _write(path: Path, pixels: NDArray[Any], box: GeoBox) -> None:
    with render.created(path, box, len(pixels), str(pixels.dtype)) as file:
        file.write(pixels)


def _write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    import cv2

    done, data = cv2.imencode(".png", pixels)
    if not done:
        raise OutputError(path, "it is too large for PNG")
    try:
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise OutputError(path, error.strerror or str(error)) from error
