"""What a matcher sees of a scene, made once whatever pairs it is in: normalised pixels, validity, reasons, classes."""

from __future__ import annotations

import json
import logging
import math
import shutil
import tempfile
import weakref
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from sentinel_match import memory
from sentinel_match.errors import OutputError, TooLarge
from sentinel_match.geometry.grids import pixel_sides
from sentinel_match.products.catalogue import as_scene
from sentinel_match.raster import masks
from sentinel_match.raster.bands import Source, source_of
from sentinel_match.raster.border import UNDECLARED, border_notes
from sentinel_match.raster.clouds import bright, white_level
from sentinel_match.raster.fingerprints import fingerprint, told_data
from sentinel_match.raster.flags import Reason
from sentinel_match.raster.landcover import classify
from sentinel_match.raster.mask_grid import enlarged, filled_up, mask_grid, mask_size, metres_of
from sentinel_match.raster.masks import Masked, Masking
from sentinel_match.raster.morphology import dilate
from sentinel_match.raster.npy import begin_npy, read_rows, sample_npy
from sentinel_match.raster.raster import Raster
from sentinel_match.raster.resample import block_mean, strips
from sentinel_match.schema import ANY_WORD, check_argument, check_given
from sentinel_match.scratch import Scratch, sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from sentinel_match.products.scene import Scene
    from sentinel_match.raster.bands import Computed
    from sentinel_match.raster.landcover import ClassMap

log = logging.getLogger(__name__)

PREPARATION_VERSION = 3
"""Part of every recipe: raise it whenever other pixels are made from the same files."""

LIMIT_PERCENTILES = (0.5, 99.5)
"""Of the clear pixels of the whole scene: what becomes 0 and 1."""
PERCENTILE_SAMPLE = 1_000_000
"""Pixels, about, that the percentiles are taken from."""
BRIGHT_METRES = 60.0
"""Resolution at which brightness is judged."""
KEPT_BYTES, SCRATCH_BYTES = 5, 4
"""A pixel of a prepared image: what stays of it, and what is needed besides while it is made."""
CELL_BYTES, STRIP_BYTES, ROWS_AT_ONCE = 10, 16, 1024
"""Memory taken, about: by a cell of the masks' grid, and by a pixel of a strip of at most so many rows."""


@dataclass(frozen=True, eq=False)
class PreparedImage:
    """What a matcher sees of a scene.

    Examples:
        >>> from sentinel_match import load, read_scene
        >>> image = load(read_scene("LEFT.SAFE"), "B04", resolution=20.0)
        >>> image.reasons.shape
        (180, 180)
    """

    raster: Raster
    """float16 memory map, 0..1 between the limits, 0 where there is no data; masked pixels keep what they show."""
    reasons: NDArray[np.uint8]
    """(rows, cols) memory map of :class:`~sentinel_match.raster.flags.Reason`; valid is where it is 0."""
    classes: NDArray[np.uint8]
    """(rows, cols) memory map of ``landcover.Class``; all unknown where nothing tells them."""
    limits: tuple[float, float]
    """Reflectance that became 0 and 1; (0, 0) for a scene without any data."""
    removed: Mapping[str, float]
    """Share of the pixels with data that each reason removed, by its lower-case name."""
    nodata: float
    """Share of the grid without data."""
    clouds: str
    """Where clouds are known from: see :attr:`sentinel_match.raster.masks.Masked.clouds`; or ``brightness``."""
    classes_from: str
    """Where the classes are known from: ``SCL``, ``CLASSI``, the name of the user's map, or empty."""
    notes: tuple[str, ...]
    """What a user should know of the masks."""
    recipe: Mapping[str, object]
    """What all this was made from, and how: names the cache entry, and what is made from it in turn."""


class Store(Protocol):
    """Keeps folders by the recipe of their content, like :class:`sentinel_match.cache.Cache`."""

    def folder(
        self, recipe: Mapping[str, object], make: Callable[[Path], None], *, size: int = 0, scratch: int = 0
    ) -> Path:
        """Return the folder that ``make`` fills for this recipe.

        Args:
            recipe: what the content depends on.
            make: fills the empty folder it is given.
            size: bytes that the content takes.
            scratch: bytes that it takes besides while it is made.
        """
        ...


def load(
    scene: Scene | Path | str,
    band: str = "B04",
    *,
    resolution: float | None = None,
    limits: tuple[float, float] | None = None,
    masking: Masking | None = None,
    classes: ClassMap | None = None,
    cache: Store | None = None,
) -> PreparedImage:
    """Decode, mask and normalise a whole scene on its own lattice, in bounded memory.

    The limits are those of the scene and never of an overlap, so a scene looks the same in all its pairs.

    Args:
        scene: the product, or its path.
        band: a band, an index or a gradient: see :func:`sentinel_match.raster.bands.source_of`.
        resolution: metres (pixels without georeference); default that of the finest file.
        limits: reflectances that become 0 and 1; default the percentiles 0.5 and 99.5 of the clear pixels.
        masking: what to mask.
        classes: the user's map of classes, which goes before the product's own.
        cache: keeps the result; without one it lives in a temporary folder for as long as the value returned.

    Raises:
        TypeError, NotAProduct, BrokenProduct, MissingBand: there is no such scene, or it has no such band.
        DamagedImage, BadMask, BadClasses: its file, or the user's mask or class map, cannot be used.
        OutputError, TooLarge: the disk is full; the memory is.

    Examples:
        >>> from sentinel_match import load, read_scene
        >>> image = load(read_scene("LEFT.SAFE"), "B04")
        >>> image.raster.pixels.shape
        (360, 360)
    """
    check_argument("band", band, ANY_WORD)
    check_given(masking=(masking, Masking))
    source = source_of(scene := as_scene(scene), band, resolution)
    request = _Request(scene, band, source, source.target(resolution), limits, masking or Masking(), classes)
    recipe = request.recipe
    size, besides = (n * request.target.shape.y * request.target.shape.x for n in (KEPT_BYTES, SCRATCH_BYTES))
    if cache is not None:
        return _opened(cache.folder(recipe, request.fill, size=size, scratch=besides), request, recipe)
    temporary = Path(tempfile.gettempdir())
    sweep(temporary)
    free = shutil.disk_usage(temporary).free
    if free < size + besides:
        reason = f"{scene.name} takes {(size + besides) / 1e9:.3g} GB there, and {free / 1e9:.3g} GB are free"
        raise OutputError(temporary, f"{reason}; free some space or set TMPDIR")
    scratch = Scratch.make(temporary)  # held, so that the next process knows whether this one was killed
    try:
        request.fill(scratch.content)
        prepared = _opened(scratch.content, request, recipe)
    except BaseException as error:
        scratch.remove()
        if isinstance(error, OSError):
            raise OutputError(scratch.content, f"{error.strerror or error}; free some space or set TMPDIR") from error
        raise
    for image in (prepared.raster.pixels, prepared.raster.valid, prepared.reasons, prepared.classes):
        # After the maps and not after ``prepared``, whose end comes first: Windows removes no file that is mapped
        weakref.finalize(image.base, scratch.remove)
    return prepared


@dataclass(frozen=True, eq=False)
class _Request:
    """What is asked for: all that a prepared image depends on."""

    scene: Scene
    band: str
    """As it was named."""
    source: Source | Computed
    target: GeoBox
    limits: tuple[float, float] | None
    masking: Masking
    classes: ClassMap | None

    @property
    def recipe(self) -> Mapping[str, object]:
        """Return all that the result depends on, JSON-able; reads the files, for their hashes."""
        bands, target = self.source.bands, self.target
        hashes = {asset: asset.sha256() for asset in {b.asset for b in bands}}
        return {
            "kind": "scene",
            "version": PREPARATION_VERSION,
            "scene": self.scene.id,
            "input": self.band.upper(),
            "bands": [
                (b.name, b.index, b.offset, b.quantification, b.nodata, hashes[b.asset], *told_data(b)) for b in bands
            ],
            "grid": [tuple(target.shape), tuple(target.affine)[:6], str(target.crs)],
            **({} if len({*pixel_sides(self.source.grid)}) == 1 else {"sides": pixel_sides(self.source.grid)}),
            "limits": self.limits,
            "masks": [(m.kind, fingerprint(m.asset)) for m in self.scene.masks if m.kind in masks.MASK_KINDS],
            "masking": self.masking.recipe,
            "classes": self.classes.recipe if self.classes else None,
        }

    def fill(self, folder: Path) -> None:
        """Fill a folder with what :func:`_opened` reads.

        Raises:
            TooLarge: it needs more memory than there is.
        """
        (rows, cols), cells = self.target.shape, math.prod(mask_grid(self.target).shape)
        try:
            memory.require(CELL_BYTES * cells + STRIP_BYTES * cols * min(rows, ROWS_AT_ONCE))
            self._fill(folder)
        except MemoryError as error:
            raise TooLarge(self.scene.path, str(error), rows, cols) from error

    def _fill(self, folder: Path) -> None:
        """Fill a folder, strip by strip.

        Nothing is written through a memory map: on a full disk that would kill the process instead of raising.
        """
        source, target, classes = self.source, self.target, self.classes
        shape = (target.shape.y, target.shape.x)
        scratch = folder / "reflectance.npy"
        with ExitStack() as stack:
            write = begin_npy(stack, scratch, shape, np.float32)
            for _, strip in strips(source.read, source.grid, target):
                write(strip)
        ground = classify(self.scene, mask_grid(target), classes)
        masked = self._masked(scratch, ground.reasons() if classes and classes.gate else None)
        undeclared = () if self.scene.level else border_notes(source, sample_npy(scratch, PERCENTILE_SAMPLE)[0])
        size = mask_size(target)
        low, high = self.limits or _limits(scratch, masked.codes, size)
        scale = 1 / (high - low) if high > low else 0.0
        counts = np.zeros(len(Reason), np.int64)
        with ExitStack() as stack:
            write_pixels = begin_npy(stack, folder / "pixels.npy", shape, np.float16)
            write_valid = begin_npy(stack, folder / "valid.npy", shape, np.bool_)
            write_reasons = begin_npy(stack, folder / "reasons.npy", shape, np.uint8)
            write_classes = begin_npy(stack, folder / "classes.npy", shape, np.uint8)
            for top, strip in read_rows(scratch, -(-512 // size) * size):
                blocks = slice(top // size, -(-(top + len(strip)) // size))
                codes = enlarged(masked.codes[blocks], size, strip.shape)
                write_classes(enlarged(ground.codes[blocks], size, strip.shape))
                unknown = np.isnan(strip)
                codes[unknown] = Reason.NODATA
                strip[unknown] = low
                # By OpenCV: NumPy would make whole numbers of 64 bits of all codes first
                counts += cv2.calcHist([codes], [0], None, [len(Reason)], [0, len(Reason)]).ravel().astype(np.int64)
                write_pixels(np.clip((strip - low) * scale, 0, 1))
                write_valid(codes == Reason.VALID)
                write_reasons(codes)
        scratch.unlink()
        known = counts.sum() - counts[Reason.NODATA]
        facts = {
            "limits": (low, high),
            "removed": {r.name.lower(): int(counts[r]) / int(known) for r in Reason if r > Reason.NODATA and counts[r]},
            "nodata": int(counts[Reason.NODATA]) / int(counts.sum()),
            "clouds": masked.clouds,
            "classes_from": ground.origin,
            "notes": (*masked.notes, *ground.notes, *undeclared),
        }
        (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")

    def _masked(self, scratch: Path, classes: NDArray[np.uint8] | None) -> Masked:
        """Gather the reasons on the grid of the masks."""
        masking, target = self.masking, self.target
        size, metres, grid = mask_size(target), metres_of(target), mask_grid(target)
        masked = masks.reasons(self.scene, grid, masking, classes)
        by_brightness = masking.brightness and Reason.BRIGHT not in masking.keep and not masked.clouds
        # Of what is computed nothing says how bright cloud is
        white = (
            white_level(self.scene, self.source.bands[0]) if by_brightness and isinstance(self.source, Source) else None
        )
        if white is None:
            return masked
        times = min(max(1, round(BRIGHT_METRES / (metres * size))), -(-max(target.shape) // size))
        wide = size * times
        blocks = [block_mean(filled_up(strip, wide), wide) for _, strip in read_rows(scratch, -(-512 // wide) * wide)]
        cores = bright(np.vstack(blocks), metres * wide, white)
        if cores is None:
            note = "most of it is bright: snow or cloud, so nothing is masked for that"
            return replace(masked, notes=(*masked.notes, note))
        cloud = dilate(enlarged(cores, times, (grid.shape.y, grid.shape.x)), masking.dilate / (metres * size))
        cloud &= masked.codes == Reason.VALID
        masked.codes[cloud] = Reason.BRIGHT
        return Masked(masked.codes, "brightness", (*masked.notes, "bright areas are taken for cloud"))


def _opened(folder: Path, request: _Request, recipe: Mapping[str, object]) -> PreparedImage:
    """Open a prepared image, and say each time, cached or not, what would spoil its matches."""
    names = ("pixels", "valid", "reasons", "classes")
    pixels, valid, reasons, classes = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in names)
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    for note in filter(lambda note: UNDECLARED in note, facts["notes"]):
        log.warning("%s: %s", request.scene.id, note)
    return PreparedImage(
        Raster(pixels, valid, request.target),
        reasons,
        classes,
        limits=tuple(facts["limits"]),
        removed=facts["removed"],
        nodata=facts["nodata"],
        clouds=facts["clouds"],
        classes_from=facts["classes_from"],
        notes=tuple(facts["notes"]),
        recipe=recipe,
    )


def _limits(scratch: Path, codes: NDArray[np.uint8], size: int) -> tuple[float, float]:
    """Compute percentiles of the clear pixels, or of all with data where none is clear."""
    sample, stride = sample_npy(scratch, PERCENTILE_SAMPLE, codes.size * size**2)
    rows, cols = (np.arange(n) * stride // size for n in sample.shape)
    known = np.isfinite(sample)
    clear = known & (codes[np.ix_(rows, cols)] == Reason.VALID)
    values = sample[clear if clear.any() else known]
    if not values.size:
        return 0.0, 0.0
    low, high = np.percentile(values, LIMIT_PERCENTILES)
    return float(low), float(high)
