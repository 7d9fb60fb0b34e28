"""The best candidate measured: the picture, placed as the search found it, matched with its scene as any pair is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from odc.geo.geobox import GeoBox

from sentinel_match.errors import PairError
from sentinel_match.geometry.footprint import Footprint
from sentinel_match.geometry.grids import affine_through
from sentinel_match.images.source import picture_band
from sentinel_match.matching.orientation import LONGEST_SIDE
from sentinel_match.options import Options
from sentinel_match.pipeline import match_scenes
from sentinel_match.raster.bands import source_of
from sentinel_match.raster.masks import Masking

if TYPE_CHECKING:
    from sentinel_match.cache import Cache
    from sentinel_match.locating.candidate import Candidate
    from sentinel_match.locating.whereabouts import Whereabouts
    from sentinel_match.matching.inputs import Progress
    from sentinel_match.products.scene import Band, Scene
    from sentinel_match.tiepoints import TiePoints

REACH_PX = 12.0
"""Pixels of what was searched by which the search may be off."""


@dataclass(frozen=True, eq=False)
class Measured:
    """What tie points say of a picture on its scene."""

    ties: TiePoints | None
    """Left the scene, right the picture as the search placed it; ``None`` where none could be proven."""
    bands: tuple[Band, ...]
    """Of the picture, placed by the search, of numbers as they are stored: all of its file, or what was looked at."""
    why: str
    """Why there are no tie points; empty where there are."""

    def grid(self, searched: GeoBox) -> GeoBox:
        """Approximate where the picture lies by an affine grid: of the tie points, or else as it was searched."""
        if self.ties is None:
            return searched
        ours = self.ties.inlier
        affine = affine_through(self.ties.right_px[ours], self.ties.left_xy[ours])
        return GeoBox(searched.shape, affine, self.ties.crs)

    def to_dict(self, searched: GeoBox) -> dict[str, Any]:
        """Write what they say, JSON-able."""
        grid = self.grid(searched)
        summary = None if self.ties is None else self.ties.summary.to_dict()
        return {"why": self.why, "affine": list(grid.affine)[:6], "crs": str(grid.crs), "summary": summary}


def placed(picture: Scene, band: Band, name: str, grid: GeoBox) -> Scene:
    """Place a picture on a grid, with one band under the name of the scene's; its own georeference is dropped."""
    own = replace(band, name=name, geobox=grid, resolution=float(np.sqrt(abs(grid.affine.determinant))))
    footprint = Footprint.from_geobox(grid)
    return replace(
        picture, bands=(own,), masks=(), geobox=grid, footprint=footprint, footprint_source="raster", level=""
    )


def measured(
    picture: Scene, candidate: Candidate, known: Whereabouts, cache: Cache | None, progress: Progress
) -> Measured:
    """Match a picture with the scene that shows it, from where the search placed it.

    Args:
        picture: as it was read.
        candidate: the scene, and where.
        known: the band, and the kind of the transform.
        cache: keeps the prepared scene.
        progress: hears of progress.
    """
    scene = candidate.scene
    name = picture_band(scene, known.band)
    name = "1" if name == "RGB" else name
    shown = source_of(picture, picture_band(picture, known.picture_band)).bands
    there = placed(picture, shown[0], name, candidate.grid)
    whole = picture.bands if len({band.asset for band in picture.bands}) == 1 else shown
    bands = tuple(replace(band, geobox=candidate.grid, offset=0.0, quantification=1.0) for band in whole)
    longest = max(candidate.grid.shape)
    reach = REACH_PX * candidate.pixel_m * max(longest / LONGEST_SIDE, 1.0)
    options = Options(band=name, reach=reach, model=known.model, masking=Masking(brightness=False))
    try:
        return Measured(match_scenes(scene, there, options, cache, progress), bands, "")
    except PairError as error:
        return Measured(None, bands, str(error))
