"""Two scenes made ready to be compared: which band, on which lattice, what is valid and what lies where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sentinel_match.errors import MissingBand, NoOverlap, TooFine
from sentinel_match.geometry.grids import covering, ground_resolution, metric, same_lattice
from sentinel_match.matching import cells
from sentinel_match.matching.correspondences import MatchInput
from sentinel_match.raster import landcover, raster
from sentinel_match.raster.bands import band_names, source_of
from sentinel_match.raster.load import load
from sentinel_match.raster.raster import Raster
from sentinel_match.raster.transitions import at

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from sentinel_match.cache import Cache
    from sentinel_match.products.scene import Scene
    from sentinel_match.raster.load import PreparedImage
    from sentinel_match.raster.masks import Masking
    from sentinel_match.raster.transitions import Semantics

BANDS = ("B04", "B08", "B03", "B02", "B8A", "B11", "B12", "B05", "B06", "B07", "B01", "B09", "TCI", "1")
"""Which band is compared when nobody says: red first, as Sen2Like does; then by resolution and texture."""
Progress = Callable[[str, int, int], None]
"""Called with (what is being done, how many are done, of how many)."""


def common_band(left: Scene, right: Scene, wanted: str | None) -> str:
    """What to compare: what was asked for, or the first of ``BANDS`` that both have.

    Raises:
        MissingBand: there is none.
    """
    if wanted is not None:
        names = band_names(wanted)
        for scene in (left, right):
            for name in names:
                source_of(scene, name)  # both must have it
        return ",".join(names)
    have = [{b.name for b in scene.bands} for scene in (left, right)]
    both = [name for name in BANDS if all(name in names for names in have)]
    if both:
        return both[0]
    here, there = (left, right) if not have[0] else (right, left)
    wanted = "/".join(sorted(have[there is right])) or BANDS[0]
    raise MissingBand(here.id, wanted, tuple(sorted(have[here is right])))


@dataclass(frozen=True, eq=False)
class PairSide:
    """One scene of a pair on the pair's lattice, and what it was made from."""

    side: MatchInput
    loaded: PreparedImage
    """Of the first band."""
    classes: NDArray[np.uint8] | None
    """(rows, cols) of what lies where; ``None`` where nothing says so."""

    @property
    def raster(self) -> Raster:
        """The image whose grid and validity stand for all bands."""
        return self.side.first

    def classes_at(self, points: NDArray[np.float64]) -> NDArray[np.uint8]:
        """(N,) class under each pixel position; unknown everywhere where nothing says so."""
        return np.zeros(len(points), np.uint8) if self.classes is None else at(self.classes, points)


def load_both(
    left: Scene,
    right: Scene,
    band: str,
    resolution: float | None,
    masking: Masking,
    semantics: Semantics,
    cache: Cache | None,
    tell: Progress,
) -> list[list[PreparedImage]]:
    """The bands of both scenes, each on its own lattice; from the cache where they have been loaded before.

    Raises:
        TooFine: more resolution asked for than an image has.
    """
    names = band_names(band)
    native = [max(ground_resolution(source_of(s, name).grid) for name in names) for s in (left, right)]
    resolution = resolution or max(native)
    for scene, metres in zip((left, right), native, strict=True):
        if resolution < 0.99 * metres:
            raise TooFine(scene.id, band, metres, resolution)
    loaded = []
    for k, scene in enumerate((left, right)):
        tell("read", k, 2)
        given = semantics.map_of(k)
        loaded.append([
            load(scene, name, resolution=resolution, masking=masking, classes=given, cache=cache) for name in names
        ])
    tell("read", 2, 2)
    return loaded


def load_pair(
    left: Scene,
    right: Scene,
    band: str,
    resolution: float | None,
    masking: Masking,
    semantics: Semantics,
    cache: Cache | None,
    tell: Progress,
) -> tuple[PairSide, PairSide]:
    """Both scenes on the left one's lattice; the right one is warped only where it is on another.

    Raises:
        TooFine: more resolution asked for than an image has.
        NoOverlap: the grids do not meet.
    """
    loaded = load_both(left, right, band, resolution, masking, semantics, cache, tell)
    here, there = loaded[0][0].raster.geobox, loaded[1][0].raster.geobox
    ground = metric(here)
    if same_lattice(ground, there):
        grid = there
    else:
        try:
            grid = covering(ground, there, cells.CELL_MARGIN)
        except ValueError as error:
            raise NoOverlap(left.id, right.id) from error
    return prepared(loaded[0], ground, semantics), prepared(loaded[1], grid, semantics)


def prepared(loaded: list[PreparedImage], grid: GeoBox, semantics: Semantics) -> PairSide:
    """Bands of one scene on a grid, valid where all are."""
    own = loaded[0].raster.geobox
    images = [one.raster if grid == own else raster.warp(one.raster, grid) for one in loaded]
    if len(images) > 1:
        valid = np.logical_and.reduce([np.asarray(image.valid) for image in images])
        images = [Raster(image.pixels, valid, image.geobox) for image in images]
    known = loaded[0].classes if loaded[0].classes_from else None
    if known is not None and grid != own:
        known = landcover.reproject(known, own, grid)
    context = semantics.context(known) if known is not None else None
    recipe = {"of": [one.recipe for one in loaded]}
    return PairSide(MatchInput(tuple(images), context, recipe), loaded[0], known)


def hidden(a: PreparedImage, b: PreparedImage) -> str:
    """What hides each image, for a message: ``left: nodata 40 %; right: cloud 98 %``."""
    sides = []
    for side, loaded in (("left", a), ("right", b)):
        shares = {"nodata": loaded.nodata, **loaded.removed}
        sides.append(
            f"{side}: " + (", ".join(f"{k} {100 * v:.0f} %" for k, v in shares.items() if v >= 0.005) or "clear")
        )
    return "; ".join(sides)
