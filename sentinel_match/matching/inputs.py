"""Two scenes made ready to be compared: which band, on which lattice, what is valid and what lies where."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sentinel_match.errors import BandNotChosen, MissingBand, NoOverlap, TooFine
from sentinel_match.geometry.grids import covering, metric, same_pixels, working_resolution
from sentinel_match.matching import cells
from sentinel_match.matching.correspondences import MatchInput
from sentinel_match.raster import raster
from sentinel_match.raster.bands import band_names, source_of
from sentinel_match.raster.flags import Reason
from sentinel_match.raster.load import load
from sentinel_match.raster.masks import at_centres
from sentinel_match.raster.npy import MaskView, release
from sentinel_match.raster.raster import Raster
from sentinel_match.raster.shared import shared_pixels
from sentinel_match.raster.transitions import at

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from sentinel_match.cache import Cache
    from sentinel_match.products.scene import Scene
    from sentinel_match.raster.landcover import ClassMap
    from sentinel_match.raster.load import PreparedImage
    from sentinel_match.raster.masks import Masking
    from sentinel_match.raster.transitions import Semantics

log = logging.getLogger(__name__)
PREFERRED_BANDS = ("B04", "B08", "B03", "B02", "B8A", "B11", "B12", "B05", "B06", "B07", "B01", "B09", "TCI", "1")
"""Which band is compared when nobody says, the best first: red, as Sen2Like does; then by resolution and texture."""
Progress = Callable[[str, int, int], None]
"""Called with (what is being done, how many are done, of how many)."""


def silent(_what: str, _done: int, _of: int) -> None:
    """Hear of progress, and say nothing; unlike a lambda it can be pickled."""


def common_band(left: Scene, right: Scene, wanted: str | None) -> str:
    """Choose what to compare: what was asked for, or the first of ``PREFERRED_BANDS`` that both have.

    Raises:
        MissingBand: there is none.
        BandNotChosen: there are several, of which none is a band of Sentinel-2.
    """
    if wanted is not None:
        names = band_names(wanted)
        for scene in (left, right):
            for name in names:
                source_of(scene, name)  # both must have it
        return ",".join(names)
    available = [{b.name for b in scene.bands} for scene in (left, right)]
    common = [name for name in PREFERRED_BANDS if all(name in names for names in available)]
    if common:
        return common[0]
    shared = [name for name in dict.fromkeys(b.name for b in left.bands) if name in available[1]]
    if len(shared) == 1:
        return shared[0]
    if shared:
        raise BandNotChosen(left.id, right.id, ", ".join(shared))
    lacking, other = (left, right) if not available[0] else (right, left)
    wanted = "/".join(sorted(available[other is right])) or PREFERRED_BANDS[0]
    raise MissingBand(lacking.id, wanted, tuple(sorted(available[lacking is right])))


@dataclass(frozen=True)
class InputOptions:
    """What of two scenes is compared, and what of it counts."""

    band: str
    """Bands, indices or gradients, with commas between: what :func:`common_band` returns."""
    resolution: float | None
    """Metres per pixel; ``None`` = the coarser of the two native ones."""
    masking: Masking
    semantics: Semantics


@dataclass(frozen=True, eq=False)
class PairSide:
    """One scene of a pair on the pair's lattice, and what it was made from."""

    side: MatchInput
    loaded: PreparedImage
    """Of the first band."""
    classes: NDArray[np.uint8] | None
    """(rows, cols) of what lies where; ``None`` where nothing says so."""
    shared: NDArray[np.bool_] | None = None
    """(rows, cols) what both images of the pair show to the last digit, and is not valid here; ``None`` for none."""

    @property
    def raster(self) -> Raster:
        """Return the image whose grid and validity stand for all bands."""
        return self.side.first

    @property
    def seen(self) -> MaskView:
        """Tell (rows, cols) where the image shows something, clear or only taken for cloud because it is bright."""
        valid, reasons = self.raster.valid, self.loaded.reasons
        if self.raster.geobox != self.loaded.raster.geobox:
            return MaskView(valid.shape, lambda index: np.array(valid[index]))
        return self._own(lambda index: np.asarray(valid[index] | (reasons[index] == Reason.BRIGHT)))

    @property
    def data(self) -> MaskView:
        """Tell (rows, cols) where the image has data, clear or not; everywhere where it was warped, which masks it."""
        valid, reasons = self.raster.valid, self.loaded.reasons
        if self.raster.geobox != self.loaded.raster.geobox:
            return MaskView(valid.shape, lambda index: np.ones(valid[index].shape, bool))
        return self._own(lambda index: np.asarray(reasons[index] != Reason.NODATA))

    def _own(self, mask: Callable[[Any], NDArray[np.bool_]]) -> MaskView:
        """Leave out of a mask what both images share."""
        shared = self.shared
        own = mask if shared is None else lambda index: np.asarray(mask(index) & ~shared[index])
        return MaskView(self.raster.valid.shape, own, (self.raster.valid, self.loaded.reasons))

    def release(self) -> None:
        """Give back what reading the images has taken of memory."""
        pixels = [array for image in self.side.images for array in (image.pixels, image.valid)]
        release(*pixels, self.loaded.reasons, self.loaded.classes)

    def without(self, shared: NDArray[np.bool_], note: str) -> PairSide:
        """Return the same without (rows, cols) what both images share; a cache keeps nothing of it for other pairs."""
        images = tuple(Raster(i.pixels, np.asarray(i.valid) & ~shared, i.geobox) for i in self.side.images)
        loaded = replace(self.loaded, notes=(*self.loaded.notes, note))
        return replace(self, side=replace(self.side, images=images, recipe={}), loaded=loaded, shared=shared)

    def classes_at(self, points: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Look up (N,) the class under each pixel position; unknown everywhere where nothing says so."""
        if self.classes is None:
            return np.zeros(len(points), np.uint8)
        codes = at(self.classes, points)
        release(self.classes)
        return codes


@dataclass(frozen=True)
class SceneInput:
    """What of one scene is compared: all that the work on it depends on, in whichever pairs it is."""

    scene: Scene
    names: tuple[str, ...]
    """Of its bands, indices or gradients."""
    resolution: float
    """Metres per pixel."""
    masking: Masking
    classes: ClassMap | None

    def load(self, cache: Cache | None) -> list[PreparedImage]:
        """Load the bands on the scene's own lattice; from the cache where they have been loaded before."""
        how = {"resolution": self.resolution, "masking": self.masking, "classes": self.classes, "cache": cache}
        return [load(self.scene, name, **how) for name in self.names]  # type: ignore[arg-type]


def scene_inputs(left: Scene, right: Scene, options: InputOptions) -> tuple[SceneInput, SceneInput]:
    """Say what of each scene of a pair is compared, as far as metadata tell.

    Raises:
        MissingBand: one has no such band.
        TooFine: more resolution asked for than an image has.
    """
    names = band_names(options.band)
    native = [max(working_resolution(source_of(s, name).grid) for name in names) for s in (left, right)]
    resolution = options.resolution or max(native)
    for scene, metres in zip((left, right), native, strict=True):
        if resolution < 0.99 * metres:
            raise TooFine(scene.id, options.band, float(f"{metres:.4g}"), resolution)
    a, b = (
        SceneInput(scene, tuple(names), resolution, options.masking, options.semantics.map_of(k))
        for k, scene in enumerate((left, right))
    )
    return a, b


def load_both(
    left: Scene, right: Scene, options: InputOptions, cache: Cache | None, progress: Progress
) -> list[list[PreparedImage]]:
    """Load the bands of both scenes, each on its own lattice; from the cache where they have been loaded before.

    Raises:
        TooFine: more resolution asked for than an image has.
    """
    images = []
    for k, part in enumerate(scene_inputs(left, right, options)):
        progress("read", k, 2)
        images.append(part.load(cache))
    progress("read", 2, 2)
    return images


def load_pair(
    left: Scene, right: Scene, options: InputOptions, cache: Cache | None, progress: Progress
) -> tuple[PairSide, PairSide]:
    """Load both scenes on the left one's lattice; the right one is warped only where it is on another.

    Raises:
        TooFine: more resolution asked for than an image has.
        NoOverlap: the grids do not meet.
    """
    left_bands, right_bands = load_both(left, right, options, cache, progress)
    left_grid, right_grid = metric(left_bands[0].raster.geobox), right_bands[0].raster.geobox
    # Pixels that lie a fraction aside stay as they are: interpolated, they would draw the shift towards whole ones
    if not same_pixels(left_grid, right_grid):
        try:
            right_grid = covering(left_grid, right_grid, cells.CELL_MARGIN)
        except ValueError as error:
            raise NoOverlap(left.id, right.id) from error
    a, b = (
        prepare_side(bands, grid, options.semantics)
        for bands, grid in ((left_bands, left_grid), (right_bands, right_grid))
    )
    shared = shared_pixels(a.raster, b.raster, (a.loaded.limits, b.loaded.limits))
    a.release()
    b.release()
    if shared is None:
        return a, b
    share = shared[0].mean()
    note = f"{share:.0%} is the same in both images to the last digit, as frames, borders and fillings are: left out"
    log.warning("%s, %s: %s", left.id, right.id, note)
    return a.without(shared[0], note), b.without(shared[1], note)


def prepare_side(bands: list[PreparedImage], grid: GeoBox, semantics: Semantics) -> PairSide:
    """Bring the bands of one scene to a grid, valid where all are."""
    geobox = bands[0].raster.geobox
    images = [band.raster if grid == geobox else raster.warp(band.raster, grid) for band in bands]
    if len(images) > 1:
        valid = np.logical_and.reduce([np.asarray(image.valid) for image in images])
        images = [Raster(image.pixels, valid, image.geobox) for image in images]
    classes = bands[0].classes if bands[0].classes_from else None
    if classes is not None and grid != geobox:
        classes = at_centres(classes, geobox, grid)
    context = semantics.context(classes) if classes is not None else None
    recipe = {"of": [band.recipe for band in bands]}
    return PairSide(MatchInput(tuple(images), context, recipe), bands[0], classes)


def hidden_shares(left: PreparedImage, right: PreparedImage) -> str:
    """Write out what hides each image, for a message: ``left: nodata 40 %; right: cloud 98 %``."""
    sides = []
    for side, image in (("left", left), ("right", right)):
        shares = {"nodata": image.nodata, **image.removed}
        sides.append(
            f"{side}: " + (", ".join(f"{k} {100 * v:.0f} %" for k, v in shares.items() if v >= 0.005) or "clear")
        )
    return "; ".join(sides)
