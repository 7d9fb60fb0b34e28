"""Ground seen on several dates, and the part of it that training never sees.

A place is what lies on one lattice: the dates of a tile, whatever their extents. Ground is held out by where it is on
the Earth and never by image: a crop that touches held-out ground serves no training, whichever tile, band or date it is
cut from. That is what makes a figure on held-out ground worth something, for neighbouring tiles overlap, and two
products of one tile show the same fields.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import shapely

from sentinel_match.errors import InputError, NothingToLearn
from sentinel_match.geometry.grids import crs_name, ground_resolution, same_lattice, working_resolution
from sentinel_match.matchers.phase import Phase
from sentinel_match.matching.cascade import correspond
from sentinel_match.matching.correspondences import MatchInput, Method
from sentinel_match.matching.inputs import silent
from sentinel_match.products.catalogue import find_scenes
from sentinel_match.products.scene import band_name
from sentinel_match.raster.bands import source_of
from sentinel_match.raster.load import load
from sentinel_match.raster.masks import Masking

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox
    from shapely.geometry.base import BaseGeometry

    from sentinel_match.cache import Cache
    from sentinel_match.matching.inputs import Progress
    from sentinel_match.products.scene import Scene
    from sentinel_match.raster.load import PreparedImage

log = logging.getLogger(__name__)

TRAINING_BANDS = ("B02", "B03", "B04", "B08", "B11")
"""What is learned from where nobody says: other bands are other seasons. Of an image without such bands, all it has."""
GROUND_CELL_PX = 8
"""Pixels along a cell of the map of what training may see."""
LEAST_HELD_OUT_PX = 256
"""A side of held-out ground in pixels below which a place is not divided: no crop would fit."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One band of one scene."""

    scene: str
    date: str
    """YYYY-MM-DD; the scene's name where nothing tells."""
    band: str
    image: PreparedImage
    """What a matcher sees of it."""
    shift: tuple[float, float] = (0.0, 0.0)
    """Pixels (x right, y down) by which its content lies beside its georeference, as measured against the place's
    first scene."""

    @property
    def geobox(self) -> GeoBox:
        """Return its grid."""
        return self.image.raster.geobox


@dataclass(frozen=True, eq=False)
class Place:
    """Ground on one lattice, in several pictures."""

    name: str
    pictures: tuple[Picture, ...]

    @property
    def gsd(self) -> float:
        """Return its metres per pixel."""
        return ground_resolution(self.pictures[0].geobox)

    @property
    def dates(self) -> tuple[str, ...]:
        """List the dates of its scenes, sorted, each once."""
        return tuple(sorted({p.date for p in self.pictures}))

    @property
    def scenes(self) -> tuple[str, ...]:
        """List the names of its scenes, in their order, each once."""
        return tuple(dict.fromkeys(p.scene for p in self.pictures))


@dataclass(frozen=True, eq=False)
class Ground:
    """Places, and the ground that training must not see."""

    places: tuple[Place, ...]
    held_out: BaseGeometry
    """In longitude and latitude."""

    def cells(self, picture: Picture, *, held_out: bool) -> NDArray[np.bool_]:
        """Mark what of a picture may be used, as (rows, cols) of cells of ``GROUND_CELL_PX``.

        Args:
            picture: of one of the places.
            held_out: ``True`` = cells of which every part is held out; ``False`` = cells of which none is.
        """
        from rasterio.features import rasterize
        from rasterio.warp import transform_geom

        box = picture.geobox
        shape = -(-box.shape.y // GROUND_CELL_PX), -(-box.shape.x // GROUND_CELL_PX)
        area = self.held_out
        if held_out:
            area = shapely.difference(_outline(box).buffer(0.1), area)
        if area.is_empty:
            return np.ones(shape, bool)
        outline = transform_geom("EPSG:4326", crs_name(box.crs), shapely.geometry.mapping(area))
        touched = rasterize(
            [outline], shape, transform=box.affine * box.affine.scale(GROUND_CELL_PX), all_touched=True, dtype="uint8"
        )
        return np.asarray(touched == 0)


def gather(
    paths: Iterable[Path],
    bands: Sequence[str] = (),
    resolution: float | None = None,
    masking: Masking | None = None,
    cache: Cache | None = None,
    progress: Progress = silent,
) -> tuple[tuple[Place, ...], tuple[InputError, ...]]:
    """Gather places from archives: every scene that can be read, on the lattice it has, with its shift measured.

    Args:
        paths: products, zips, rasters, or folders of them.
        bands: which; those of ``TRAINING_BANDS`` that a scene has when not given, else all it has.
        resolution: metres per pixel; native when not given.
        masking: what counts as cloud.
        cache: keeps the decoded scenes, which are read from disk again and again.
        progress: hears of progress.

    Returns:
        The places, and what could not be read.

    Raises:
        NothingToLearn: no place has two pictures.
    """
    catalogue = find_scenes(paths)
    refused = [r.error for r in catalogue.refused if isinstance(r.error, InputError)]
    groups: list[list[Picture]] = []
    for k, scene in enumerate(catalogue.scenes):
        progress("read", k, len(catalogue.scenes))
        if scene.geobox is None:
            continue
        try:
            pictures = _pictures(scene, bands, resolution, masking or Masking(), cache)
        except InputError as error:
            refused.append(error)
            continue
        if not pictures:
            continue
        group = next((g for g in groups if _same_ground(g[0].geobox, pictures[0].geobox)), None)
        if group is None:
            groups.append(pictures)
        else:
            group += _with_shift(group[0], pictures)
    progress("read", len(catalogue.scenes), len(catalogue.scenes))
    places = _named_places(groups)
    if not places:
        reason = "no two pictures among them show the same ground on one grid"
        if not groups:
            condition = f" with band {', '.join(bands)}" if bands and catalogue.scenes else ""
            reason = f"there is no georeferenced picture{condition} among them"
        elif len(groups) == 1:
            reason = "there is one picture only"
        raise NothingToLearn("; ".join([reason, *(str(error).rstrip(".") for error in refused[:3])]))
    return tuple(places), tuple(refused)


def _named_places(groups: Iterable[Sequence[Picture]]) -> list[Place]:
    """Make a place of every group of several pictures, each under a name of its own."""
    counts: dict[str, int] = {}
    places = []
    for group in groups:
        if len(group) < 2:
            continue
        name = _name(group)
        counts[name] = counts.get(name, 0) + 1
        places.append(Place(name if counts[name] == 1 else f"{name}-{counts[name]}", tuple(group)))
    return places


def hold_out(places: Sequence[Place], share: float, names: Sequence[str] = ()) -> Ground:
    """Keep ground apart: the named places whole, and the eastern part of every other one that is large enough.

    Args:
        places: all there are.
        share: of each place's width, 0..1.
        names: of places to keep apart whole.

    Raises:
        ValueError: a name is none of a place.
    """
    unknown = sorted(set(names) - {place.name for place in places})
    if unknown:
        raise ValueError(f"no place is named {', '.join(unknown)}; there are {', '.join(p.name for p in places)}")
    parts = []
    for place in places:
        boxes = {tuple(p.geobox.affine)[:6] + tuple(p.geobox.shape): p.geobox for p in place.pictures}.values()
        for box in boxes:
            wide = round(box.shape.x * share)
            if place.name in names:
                parts.append(_outline(box))
            elif min(wide, box.shape.y) >= LEAST_HELD_OUT_PX:
                parts.append(_outline(box[:, box.shape.x - wide :]))
    return Ground(tuple(places), shapely.union_all(parts))


def _outline(box: GeoBox) -> BaseGeometry:
    return shapely.from_wkb(box.footprint("EPSG:4326").geom.wkb)


def _same_ground(one: GeoBox, other: GeoBox) -> bool:
    if not same_lattice(one, other):
        return False
    return bool((one.extent & other.extent).area >= 0.5 * min(one.extent.area, other.extent.area))


def _pictures(
    scene: Scene, bands: Sequence[str], resolution: float | None, masking: Masking, cache: Cache | None
) -> list[Picture]:
    available = {b.name for b in scene.bands}
    wanted = map(band_name, bands or TRAINING_BANDS)
    names = [b for b in wanted if b in available] or ([] if bands else sorted(available))
    sizes = [resolution or working_resolution(source_of(scene, name).grid) for name in names]  # on plain grids
    images = [
        (name, load(scene, name, resolution=size, masking=masking, cache=cache))
        for name, size in zip(names, sizes, strict=True)
    ]
    lattice = images[0][1].raster.geobox if images else None
    return [
        Picture(scene.id, _date(scene), band, image)
        for band, image in images
        if lattice is not None and same_lattice(lattice, image.raster.geobox) and image.nodata < 0.9
    ]


def _with_shift(first: Picture, pictures: list[Picture]) -> list[Picture]:
    """Give pictures of one scene the shift their first one has against another scene, where it can be proven."""
    method = Method(Phase(spacing=16), cells=4, model="translation")
    matches = correspond(MatchInput((first.image.raster,)), MatchInput((pictures[0].image.raster,)), method)
    if matches.model is None:
        log.info("%s: its georeference is taken as it is (%s)", pictures[0].scene, matches.why)
        return pictures
    east, north = matches.model.shift(np.asarray([matches.model.origin]))[0]
    affine = first.geobox.affine
    return [replace(p, shift=(float(east / affine.a), float(north / affine.e))) for p in pictures]


def _date(scene: Scene) -> str:
    return f"{scene.sensing_time:%Y-%m-%d}" if scene.sensing_time is not None else scene.id


def _name(group: Sequence[Picture]) -> str:
    """Name a place by what the names of its scenes have in common, or by where it is."""
    tiles = {m[0] for p in group if (m := re.search(r"T?\d{2}[C-X][A-Z]{2}(?![A-Za-z])", p.scene))}
    if len(tiles) == 1:
        return tiles.pop()
    middle = _outline(group[0].geobox).centroid
    return f"{abs(middle.y):.2f}{'N' if middle.y >= 0 else 'S'}{abs(middle.x):.2f}{'E' if middle.x >= 0 else 'W'}"
