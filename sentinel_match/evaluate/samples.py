"""A pair as methods are given it: both images on one lattice, the right one displaced, and the truth."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sentinel_match.errors import NoGeoreference, NoOverlap, NothingClear, UnknownTruth
from sentinel_match.evaluate import displaced
from sentinel_match.evaluate.metrics import Bent, Box, PixelMapping, common_box, covisible
from sentinel_match.geometry.grids import covering, metric, pixel_size, same_lattice, working_resolution
from sentinel_match.matching.cascade import correspond
from sentinel_match.matching.correspondences import MatchInput, Method
from sentinel_match.raster import raster as rasters
from sentinel_match.raster.bands import band_names, source_of
from sentinel_match.raster.flags import Reason
from sentinel_match.raster.load import load
from sentinel_match.raster.masks import Masking, at_centres
from sentinel_match.raster.raster import Raster
from sentinel_match.raster.transitions import Semantics

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from sentinel_match.cache import Cache
    from sentinel_match.evaluate.displaced import Matrix
    from sentinel_match.evaluate.listing import ListedPair
    from sentinel_match.evaluate.record import SampleKind
    from sentinel_match.products.scene import Scene


log = logging.getLogger(__name__)

TRUTH_BOUNDS_PX = (0.1, 0.2, 0.3)
"""Standard deviations of the truth, by the least of which that holds figures are given apart: of those above the first
some points that are right count as wrong at one pixel."""

MODELS_OF_WARPS = {"affine": "affine", "perspective": "homography"}
"""Kinds of transform that these views need; a similarity would refuse what is right."""


@dataclass(frozen=True)
class Sampling:
    """How listed pairs become samples."""

    displacement: float = 3.0
    """Pixels by which the right content is moved at most, each axis; at least 1."""
    resolution: float | None = None
    """Metres per pixel; the coarser of the two native ones when not given."""
    masking: Masking = field(default_factory=Masking)
    seed: int = 0


@dataclass(frozen=True, eq=False)
class SampleView:
    """One image of a sample, with all that may be known of it."""

    images: tuple[Raster, ...]
    """One per band, on one grid; valid where nothing masks them."""
    known: NDArray[np.bool_]
    """(rows, cols), where there is data, whatever lies on it."""
    classes: NDArray[np.uint8] | None
    """(rows, cols) values of :class:`~sentinel_match.raster.landcover.Class`; ``None`` where nothing tells."""

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Combine the validity of all bands: (rows, cols), valid in every one."""
        return np.asarray(np.logical_and.reduce([image.valid for image in self.images]), np.bool_)

    @property
    def geobox(self) -> GeoBox:
        """Return the grid of every band."""
        return self.images[0].geobox

    def side(self, *, masks: bool = True, semantics: bool = True) -> MatchInput:
        """Return what a method sees of it."""
        valid = self.valid if masks else self.known
        images = tuple(Raster(i.pixels, valid, i.geobox) for i in self.images)
        classes = self.classes if semantics else None
        return MatchInput(images, None if classes is None else Semantics(gate=masks).context(classes), {})


@dataclass(frozen=True, eq=False)
class Sample:
    """A pair with its truth."""

    name: str
    set: str
    place: str
    strata: Mapping[str, str]
    left: SampleView
    right: SampleView
    truth: PixelMapping
    """(3, 3) homogeneous, pixels of the left images to pixels of the right ones, corner origin; or with a field."""
    kind: SampleKind = "pair"
    """``pair``; ``hidden``, which shares no clear ground; or a control, ``identity`` or ``unrelated``."""
    warped: bool = False
    model: str = "similarity"
    """Kind of transform by which points of this pair are verified, whoever found them."""

    @cached_property
    def box(self) -> Box:
        """Find the part of the left image that the right one reaches."""
        return common_box(self.left.valid.shape, self.right.valid.shape, self.truth)

    @cached_property
    def covisible(self) -> NDArray[np.bool_]:
        """Mark, in (rows, cols) of the left image, the ground valid in both."""
        return covisible(self.left.valid, self.right.valid, self.truth)

    @property
    def prior(self) -> Matrix:
        """Compute the (3, 3) by which the georeference alone puts left pixels in the right image."""
        return _georeference(self.left.geobox, self.right.geobox)


def prepare(pair: ListedPair, sampling: Sampling, cache: Cache | None = None) -> Sample:
    """Read both images of a pair, and displace the right one.

    The geobox of the right image stays, so the prior is wrong by the displacement.

    Args:
        pair: as it is listed.
        sampling: displacement, resolution, masks.
        cache: keeps the decoded scenes.

    Raises:
        NoGeoreference, NoOverlap, MissingBand, DamagedImage, BadMask: it cannot be read.
        NothingClear: nothing is clear in both, and the list does not say so.
        UnknownTruth: nothing lists the true shift, and it cannot be measured.
        ValueError: its warp is none.
    """
    scenes = pair.left, pair.right
    for scene in scenes:
        if scene.geobox is None:
            raise NoGeoreference(str(scene.path), scene.remedy)
    names = band_names(pair.band)
    resolution = sampling.resolution or max(
        working_resolution(source_of(scene, name).grid) for scene in scenes for name in names
    )
    left, right = (_view(scene, names, resolution, sampling.masking, cache) for scene in scenes)
    ground = metric(left.geobox)
    left = left if left.geobox is ground else _onto(left, ground)
    if not same_lattice(ground, right.geobox):
        try:
            right = _onto(right, covering(ground, right.geobox, 0))
        except ValueError as error:
            raise NoOverlap(pair.left.id, pair.right.id) from error
    gsd = pixel_size(ground)
    shift = _measured_shift(pair, left, right) if pair.is_measured else pair.shift
    if pair.shift_m is not None:
        shift = pair.shift_m[0] / gsd, -pair.shift_m[1] / gsd
    draw = displaced.displacement(sampling.displacement, sampling.seed, pair.name)
    # Away from where the georeference already errs, or the two would cancel and "no shift" be nearly right
    dx, dy = (math.copysign(d, s) if s else d for d, s in zip(draw, shift, strict=True))
    change = displaced.warp_of(pair.warp, right.known.shape, sampling.seed, pair.name, _translation(dx, dy))
    before = _translation(*shift) @ _georeference(ground, right.geobox)
    truth = change.after(before) if isinstance(change, Bent) else change @ before
    sample = Sample(
        name=pair.name,
        set=pair.set,
        place=pair.place,
        strata={**dict(pair.strata), **_of_truth(pair, gsd)},
        left=left,
        right=_moved(right, change),
        truth=truth,
        kind="hidden" if pair.hidden else "pair",
        warped=pair.warp != "none",
        model=MODELS_OF_WARPS.get(pair.warp, "similarity"),
    )
    if not pair.hidden and not sample.covisible.any():
        raise NothingClear(pair.left.id, pair.right.id, "after displacement")
    return sample


def _of_truth(pair: ListedPair, gsd: float) -> dict[str, str]:
    """Name the strata of a pair's truth: its warp, and how well it is known."""
    strata = {"warp": pair.warp} if pair.warp != "none" else {}
    if pair.truth_m is not None:
        known = next((bound for bound in TRUTH_BOUNDS_PX if pair.truth_m <= bound * gsd), None)
        strata["truth"] = f"above {TRUTH_BOUNDS_PX[-1]} px" if known is None else f"{known} px"
    return strata


def identity(sample: Sample, sampling: Sampling) -> Sample:
    """Make the control in which the right image is the left one, displaced: anything but perfect is an error."""
    change = _translation(*displaced.displacement(sampling.displacement, sampling.seed, sample.name))
    return replace(
        sample,
        right=_moved(sample.left, change),
        truth=change,
        kind="identity",
        strata={},
        warped=False,
        model="similarity",
    )


def unrelated(sample: Sample) -> Sample:
    """Make the control without common ground: the right image mirrored, and shifted along the mirror by half.

    A glide reflection keeps every statistic of the image and leaves no place as it was; no transform that verification
    accepts, and no descriptor, sees through it.
    """

    def glide(array: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(np.roll(array[:, ::-1], array.shape[0] // 2, axis=0))

    right = sample.right
    images = tuple(Raster(glide(i.pixels), glide(i.valid), i.geobox) for i in right.images)
    reflection = SampleView(images, glide(right.known), None if right.classes is None else glide(right.classes))
    return replace(sample, right=reflection, kind="unrelated", strata={})


def _measured_shift(pair: ListedPair, left: SampleView, right: SampleView) -> tuple[float, float]:
    """Measure by how many pixels the right content lies beside its georeference: two acquisitions differ by one or two.

    Raises:
        UnknownTruth: no shift is found that another method confirms.
    """
    matches = correspond(left.side(), right.side(), Method(cells=4, model="translation"))
    if matches.model is None:
        raise UnknownTruth(pair.left.id, pair.right.id, matches.why)
    east, north = matches.model.shift(np.asarray([matches.model.origin]))[0] / pixel_size(left.geobox)
    log.info("%s: the georeference is corrected by %.2f, %.2f pixels (%s)", pair.name, east, -north, matches.why)
    return float(east), float(-north)


def _view(scene: Scene, names: tuple[str, ...], resolution: float, masking: Masking, cache: Cache | None) -> SampleView:
    bands = [load(scene, name, resolution=resolution, masking=masking, cache=cache) for name in names]
    known = np.asarray(np.logical_and.reduce([np.asarray(b.reasons) != Reason.NODATA for b in bands]), np.bool_)
    # Copies: what was loaded without a cache is gone with the value returned
    images = tuple(
        Raster(np.array(b.raster.pixels, np.float32), np.array(b.raster.valid), b.raster.geobox) for b in bands
    )
    return SampleView(images, known, np.array(bands[0].classes) if np.any(bands[0].classes) else None)


def _onto(view: SampleView, geobox: GeoBox) -> SampleView:
    """Resample a view to another grid; classes and what is known by the nearest pixel."""
    return SampleView(
        tuple(rasters.warp(image, geobox) for image in view.images),
        at_centres(view.known.astype(np.uint8), view.geobox, geobox) > 0,
        None if view.classes is None else at_centres(view.classes, view.geobox, geobox),
    )


def _moved(view: SampleView, change: PixelMapping) -> SampleView:
    # What masks hide is moved as well: without masks a method sees the clouds where they really lie
    images = [displaced.moved(Raster(i.pixels, view.known, i.geobox), change) for i in view.images]
    valid = displaced.moved_validity(view.valid, change)
    return SampleView(
        tuple(Raster(image.pixels, valid, image.geobox) for image in images),
        images[0].valid,
        None if view.classes is None else displaced.moved_labels(view.classes, change),
    )


def _georeference(left: GeoBox, right: GeoBox) -> Matrix:
    both = ~right.affine * left.affine
    return np.array([[both.a, both.b, both.c], [both.d, both.e, both.f], [0, 0, 1.0]])


def _translation(x: float, y: float) -> Matrix:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])
