"""What a stack is to be made of, all found and checked before a pixel is read."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sentinel_match.errors import BadPoints, MissingBand, NoGeoreference, NoOverlap, NotAProduct, OutputError
from sentinel_match.fitting import read_ties
from sentinel_match.geometry.grids import crs_name, ground_resolution, metric, transformed
from sentinel_match.products.catalogue import as_scene, find_scenes, read_scene
from sentinel_match.raster.bands import NOT_GROUND, band_names, is_reflectance, source_of
from sentinel_match.raster.flags import Reason
from sentinel_match.raster.jp2 import Window
from sentinel_match.raster.masks import Masking
from sentinel_match.schema import (
    ANY_NUMBER,
    COUNTING,
    IN_METRES,
    ArgumentKind,
    check_argument,
    check_fields,
    instance,
    one_of,
)
from sentinel_match.stack.layouts import LAYOUTS, NotReflectance, check_reflectance
from sentinel_match.stack.prepared import TiesFile
from sentinel_match.stack.radiometry import METHODS
from sentinel_match.stack.stac import SPECTRAL_BANDS
from sentinel_match.stack.warp import move_by
from sentinel_match.tiepoints import TiePoints

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from sentinel_match.geometry.transform import Transform
    from sentinel_match.products.scene import Scene
from sentinel_match.raster.bands import Computed, Source

log = logging.getLogger(__name__)

SAMPLE_SIDE = 512
"""Pixels in the middle of a band by which it is told that it holds no reflectance."""


@dataclass(frozen=True)
class Preparation:
    """Everything about a stack that a user may choose.

    Examples:
        >>> from sentinel_match import Preparation, prepare
        >>> stack = prepare("ties.gpkg", "chips", wanted=Preparation(bands="B04,B08", layout="chips", chip_size=64))
        >>> stack.bands
        ('B04', 'B08')
    """

    bands: str | Sequence[str] = ()
    """As :func:`sentinel_match.raster.bands.source_of` takes them, ``"B04,NDVI"`` or several; all spectral bands that
    both have when empty."""
    resolution: float | None = None
    """Metres per pixel; that of the finest band when not given."""
    normalise: str = "none"
    """One of ``radiometry.METHODS``."""
    layout: str | Sequence[str] = "stack"
    """One of ``layouts.LAYOUTS``, or several, besides the stack itself."""
    chip_size: int = 256
    """Pixels."""
    masking: Masking = field(default_factory=lambda: Masking(keep=frozenset({Reason.SNOW, Reason.WATER})))
    """Water and snow stay valid: they are no worse ground to see changes on."""
    nodata: float | None = None
    """Number in both images that is no data, besides what their files declare."""

    def __post_init__(self) -> None:
        """Fail now at what cannot be used.

        Raises:
            TypeError, ValueError: a value is none that can be chosen.
        """
        check_fields(self, _PREPARATION_KINDS)
        if isinstance(self.bands, str):
            band_names(self.bands)
        elif not all(isinstance(name, str) for name in self.bands):
            raise TypeError(f"Preparation.bands is {self.bands!r}, and must be names of bands")
        for one in self.layout_names:
            check_argument("Preparation.layout", one, one_of(LAYOUTS))

    @property
    def layout_names(self) -> tuple[str, ...]:
        """List the layouts, each once; ``stack`` where there is no other."""
        names = dict.fromkeys((self.layout,) if isinstance(self.layout, str) else self.layout)
        return tuple(name for name in names if name != "stack") or ("stack",)


_PREPARATION_KINDS = {
    "bands": ArgumentKind((str, Sequence), "names of bands"),
    "resolution": ArgumentKind(IN_METRES.types, "metres per pixel", *IN_METRES[2:]).or_none(),
    "normalise": one_of(METHODS),
    "layout": ArgumentKind((str, Sequence), "names of layouts"),
    "chip_size": COUNTING,
    "masking": instance(Masking),
    "nodata": ANY_NUMBER.or_none(),
}


@dataclass(frozen=True, eq=False, kw_only=True)
class StackPlan:
    """A stack that can be made: of what, on which grid, and how."""

    left: Scene
    right: Scene
    bands: tuple[str, ...]
    left_sources: tuple[Source | Computed, ...]
    """One a band."""
    right_sources: tuple[Source | Computed, ...]
    points: TiePoints
    """In the CRS of the grid."""
    ties: TiesFile | None
    """Of which the transform is; ``None`` where the tie points were given themselves."""
    grid: GeoBox
    wanted: Preparation
    layouts: tuple[str, ...]
    """Those wanted that can be made."""

    @property
    def transform(self) -> Transform:
        """Return left metres to right metres in the CRS of the grid."""
        return self.points.transform

    @property
    def unit(self) -> str:
        """Name the unit of the pixels, where the products say what they are."""
        sides = ((self.left, self.left_sources), (self.right, self.right_sources))
        known = all(is_reflectance(scene, source) for scene, sources in sides for source in sources)
        return "reflectance" if known else ""


def plan_stack(
    ties: TiePoints | Path | str,
    wanted: Preparation,
    left: Scene | Path | str | None = None,
    right: Scene | Path | str | None = None,
) -> StackPlan:
    """Find scenes, bands, their sources and the common grid, and check that the tie points are those of the scenes.

    Args:
        ties: the tie points, or their file.
        wanted: what a user may choose.
        left: the left product; where it was when the points were found when not given.
        right: the right product.

    Raises:
        TypeError: an argument is none that can be used.
        BadPoints: the file cannot be used, or is that of other scenes.
        ValueError: the points are those of other scenes.
        NotAProduct, BrokenProduct: a product cannot be read.
        MissingBand: one scene lacks a band.
        NoGeoreference: one of them has no position.
        NoOverlap: the grids do not meet.
        OutputError: the only layout that is wanted is none for such values.
    """
    if isinstance(ties, TiePoints):
        file, points = None, ties
    elif isinstance(ties, (str, PathLike)):
        points = read_ties(ties)  # it says first what is no file to read: a pipe would never end
        file = TiesFile.of(Path(ties))
    else:
        raise TypeError(f"ties is {ties!r}, and must be TiePoints or the path of their file")
    left_scene, right_scene = (
        _scene(named, given, side, file).with_nodata(wanted.nodata)
        for named, given, side in ((points.left, left, "left"), (points.right, right, "right"))
    )
    bands = _bands(left_scene, right_scene, wanted)
    left_sources, right_sources = (_sources(scene, bands, wanted.resolution) for scene in (left_scene, right_scene))
    finest = min(left_sources, key=lambda source: ground_resolution(source.grid))
    lattice = metric(finest.target(wanted.resolution))
    _check_belonging(points, left_scene, right_scene, crs_name(lattice.crs), file)
    try:
        grid = common_grid(lattice, [source.grid for source in right_sources], points.transform)
    except ValueError as error:
        raise NoOverlap(left_scene.id, right_scene.id) from error
    return StackPlan(
        left=left_scene,
        right=right_scene,
        bands=bands,
        left_sources=left_sources,
        right_sources=right_sources,
        points=points,
        ties=file,
        grid=grid,
        wanted=wanted,
        layouts=_layouts(wanted, ((left_scene, left_sources), (right_scene, right_sources))),
    )


def _layouts(wanted: Preparation, sides: Sequence[tuple[Scene, tuple[Source | Computed, ...]]]) -> tuple[str, ...]:
    """List the layouts that can be made, and warn of one that cannot, by the middle of each band.

    Raises:
        OutputError: there is no other.
    """
    if "oscd" not in wanted.layout_names:
        return wanted.layout_names
    try:
        for scene, sources in sides:
            for source in sources:
                if not is_reflectance(scene, source):
                    (row, col), side = (n // 2 - SAMPLE_SIDE // 2 for n in source.grid.shape), SAMPLE_SIDE
                    name = ",".join(dict.fromkeys(band.name for band in source.bands))
                    check_reflectance(scene.id, name, source.read(Window(row, col, side, side)))
    except NotReflectance as error:
        return left_out("oscd", wanted.layout_names, error)
    return wanted.layout_names


def left_out(name: str, names: tuple[str, ...], error: NotReflectance) -> tuple[str, ...]:
    """Leave out a layout that cannot be made, and say so.

    Raises:
        OutputError: there is no other.
    """
    others = tuple(other for other in names if other != name)
    if not others:
        raise OutputError(Path(name), str(error)) from error
    log.error("%s is left out: %s", name, error)  # it was asked for
    return others


def _scene(named: Scene, given: Scene | Path | str | None, side: str, file: TiesFile | None) -> Scene:
    """Take the scene that a user gives, or else the one that the tie points name, if its product is still there.

    Of several scenes in a folder that is given, it is the one that the tie points name.
    """
    if isinstance(given, (str, PathLike)) and Path(given).is_dir():
        candidates = [scene for scene in find_scenes(Path(given)).scenes if scene.id == named.id]
        if len(candidates) == 1:
            return candidates[0]
    if given is not None:
        return as_scene(given, side)
    if named.bands:
        return named
    if not _is_named(named):
        raise _unusable(
            file,
            f"they do not say of which {side} scene they are: give the left and the right product too, `prepare LEFT "
            "RIGHT TIES`, or the GeoPackage or GeoJSON that `match` and `run` have written, which names them",
        )
    try:
        return read_scene(named.path)
    except NotAProduct:
        if named.path.exists():
            raise
        reason = f"{named.path} is not there any more: give the left and the right product too"
        raise _unusable(file, reason) from None


def _check_belonging(points: TiePoints, left: Scene, right: Scene, crs: str, file: TiesFile | None) -> None:
    """Refuse points of other scenes; some files do not name theirs."""
    named = _is_named(points.left) and _is_named(points.right)
    if named and (points.left.id, points.right.id) == (right.id, left.id):
        raise _unusable(file, f"their left scene is {right.id} and their right one {left.id}: swap left and right")
    if named and (points.left.id, points.right.id) != (left.id, right.id):
        raise _unusable(
            file, f"they are those of {points.left.id} and {points.right.id}, not of {left.id} and {right.id}"
        )
    if points.crs != crs:
        raise _unusable(file, f"they are in {points.crs}, and {left.id} is in {crs}")


def _is_named(scene: Scene) -> bool:
    """Tell whether a file of points says where a scene is: a table of numbers names none."""
    return scene.path not in {Path(), Path(scene.id)}


def _unusable(file: TiesFile | None, reason: str) -> Exception:
    return BadPoints(file.path, reason) if file else ValueError(f"The tie points cannot be used: {reason}.")


def _bands(left: Scene, right: Scene, wanted: Preparation) -> tuple[str, ...]:
    """List what was asked for, or all bands that both have and that show the ground, in the order of wavelengths."""
    if wanted.bands:
        return band_names(wanted.bands if isinstance(wanted.bands, str) else ",".join(wanted.bands))
    both = {b.name for b in left.bands} & {b.name for b in right.bands}
    spectral = [name for name in SPECTRAL_BANDS if name in both]
    names = spectral or [b.name for b in left.bands if b.name in both - NOT_GROUND]
    if not names:
        raise MissingBand(right.id, "that the left image has", tuple(dict.fromkeys(b.name for b in right.bands)))
    return tuple(dict.fromkeys(names))


def _sources(scene: Scene, bands: tuple[str, ...], resolution: float | None) -> tuple[Source | Computed, ...]:
    sources = tuple(source_of(scene, name, resolution) for name in bands)
    for source in sources:
        if source.grid.crs is None:
            raise NoGeoreference(str(scene.path), scene.remedy)
    return sources


def common_grid(lattice: GeoBox, others: Sequence[GeoBox], transform: Transform) -> GeoBox:
    """Cut the left lattice to the part that the right image reaches after the correction.

    Args:
        lattice: of the left image.
        others: grids of the right image's bands.
        transform: left metres to right metres in the lattice's CRS.

    Raises:
        ValueError: it reaches none.
    """
    low, high = np.zeros(2), np.array([lattice.shape.x, lattice.shape.y], float)
    for grid in others:
        rows, cols = grid.shape
        t = np.linspace(0, 1, 65)
        ends = np.zeros_like(t), np.ones_like(t)
        rim = np.concatenate([np.column_stack(p) for e in ends for p in ((t, e), (e, t))]) * (cols, rows)
        there = move_by(None, grid.crs, lattice.crs)(transformed(grid.affine, rim))
        here = transformed(~lattice.affine, transform.back(there))
        low, high = np.maximum(low, here.min(0)), np.minimum(high, here.max(0))
    start, stop = np.floor(low + 1e-3).astype(int), np.ceil(high - 1e-3).astype(int)
    if (stop <= start).any():
        raise ValueError("the grids do not meet")
    return lattice[start[1] : stop[1], start[0] : stop[0]]
