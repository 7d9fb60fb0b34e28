"""Everything about matching one pair that a user may choose."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from sentinel_match import schema
from sentinel_match.errors import BadMask, DamagedImage
from sentinel_match.geometry import kinds
from sentinel_match.matchers.phase import Phase
from sentinel_match.matching import subpixel
from sentinel_match.matching.correspondences import Method, named_matcher
from sentinel_match.matching.inputs import InputOptions
from sentinel_match.matching.stable import AUTO
from sentinel_match.products.scene import Asset
from sentinel_match.raster.heights import content_of
from sentinel_match.raster.masks import Masking
from sentinel_match.raster.transitions import Semantics

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sentinel_match import matchers

OPTIONS_VERSION = 3
"""Of everything in matching that changes a result: part of every recipe."""

PHASE_SPACING = 24
"""Least pixels between the points of ``phase`` alone: refinement measures the same ones again, on its own grid. With 8
px it takes nine times as long for the same inliers within 2 % (T33UUU, T36UYA, snow to June, half cloudy), with 16 px
twice as long for the same within 1 % (3 % at 60 m). In ``auto``, whose unrefined points are kept where weak texture
cannot be refined, 16 px would lose a sixth of them."""
_OPTION_KINDS = {
    "band": schema.ArgumentKind(str, "the name of a band").or_none(),
    "resolution": schema.ArgumentKind(schema.IN_METRES.types, "metres per pixel", *schema.IN_METRES[2:]).or_none(),
    "guided": schema.TRUE_OR_FALSE,
    "reach": schema.IN_METRES,
    "model": schema.one_of(kinds.KINDS).or_none(),
    "cells": schema.COUNTING,
    "candidates": schema.COUNTING.or_none(),
    "masking": schema.instance(Masking),
    "semantics": schema.instance(Semantics),
    "refinement": schema.instance(subpixel.Refinement),
    "seed": schema.ANY_WHOLE,
    "nodata": schema.ANY_NUMBER.or_none(),
    "dem": schema.A_PATH.or_none(),
    "stable": schema.A_PATH.or_none(),
}


@dataclass(frozen=True)
class Options:
    """Everything about matching one pair that a user may choose.

    Examples:
        >>> from sentinel_match import Options, match_scenes
        >>> ties = match_scenes("LEFT.SAFE", "RIGHT.SAFE", Options(matcher="phase", model="translation"))
        >>> ties.transform.kind
        'translation'
    """

    band: str | None = None
    """Band, index or gradient of both scenes, or several with commas: see
    :func:`sentinel_match.raster.bands.source_of`; the first of ``PREFERRED_BANDS`` that both have when not given."""
    resolution: float | None = None
    """Metres per pixel; the coarser of the two native ones when not given."""
    matcher: matchers.Matcher | str | None = None
    """A matcher, or the name of one; ``auto``, the cascade of ``matching.cascade``, when not given."""
    guided: bool = True
    """Whether to look only where the georeference says, or everywhere and at every rotation."""
    reach: float = 500.0
    """Metres by which the georeference may be off."""
    model: str | None = None
    """A kind of ``warp.KINDS``. When not given, a similarity on a common lattice, an affine elsewhere, must find most
    points agreeing, and the model is then chosen by what it predicts."""
    cells: int = 8
    """At most this many cells are given to the matcher."""
    candidates: int | None = None
    """About this many points of the grid are handed on; all are measured. Every one when not given, of a large overlap
    every other one each way."""
    masking: Masking = field(default_factory=Masking)
    semantics: Semantics = field(default_factory=Semantics)
    refinement: subpixel.Refinement = field(default_factory=subpixel.Refinement)
    seed: int = 0
    """Of the robust fit."""
    nodata: float | None = None
    """Number in both images that is no data, besides what their files declare."""
    dem: Path | None = None
    """Height model in metres, in any CRS: the shift is related to its altitude and slope. It changes no tie point."""
    stable: Path | str | None = None
    """Raster (non-zero) or polygons of stable ground, any CRS, or ``auto``: the correction is fitted on it alone, and
    what moves against it stays in ``motion.tif``. All ground when not given."""

    def __post_init__(self) -> None:
        """Fail now at what cannot be used, and make the matcher that is named.

        Raises:
            TypeError, ValueError: a value is none that an option can have.
            UnknownMatcher, WeightsMissing, WeightsDamaged: see :func:`sentinel_match.matchers.create`.
        """
        schema.check_fields(self, _OPTION_KINDS)
        if self.dem is not None:
            object.__setattr__(self, "dem", Path(self.dem))
        if isinstance(self.matcher, str):
            object.__setattr__(self, "matcher", named_matcher(self.matcher, self.refinement.device))
        elif self.matcher is not None and not callable(getattr(self.matcher, "describe", None)):
            raise TypeError(f"Options.matcher is {self.matcher!r}, and must be the name of a matcher or a matcher")

    def inputs(self, band: str) -> InputOptions:
        """Say how two scenes are loaded, for a band that both have."""
        return InputOptions(band, self.resolution, self.masking, self.semantics)

    def method(self, kind: str) -> Method:
        """Return how ``correspond`` shall look, for a kind of plane transform."""
        matcher = cast("matchers.Matcher | None", self.matcher)
        if isinstance(matcher, Phase):
            matcher = replace(matcher, spacing=max(matcher.spacing, PHASE_SPACING))
        return Method(
            matcher,
            guided=self.guided,
            everywhere=not self.guided,
            reach=self.reach,
            cells=self.cells,
            model=kind,
            seed=self.seed,
            device=self.refinement.device,
        )

    @property
    def recipe(self) -> Mapping[str, object]:
        """List what a result depends on besides the inputs, JSON-able.

        Raises:
            BadMask, BadHeights: a file of the user's is not there.
        """
        return {
            "version": OPTIONS_VERSION,
            "band": self.band,
            "resolution": self.resolution,
            "method": self.method(self.model or "").recipe,
            "candidates": self.candidates,
            "masking": self.masking.recipe,
            "semantics": self.semantics.recipe,
            "refinement": {k: v for k, v in vars(self.refinement).items() if k != "device"},
            **({} if self.nodata is None else {"nodata": self.nodata}),
            **({} if self.dem is None else {"dem": content_of(self.dem)}),
            **({} if self.stable is None else {"stable": _content(self.stable)}),
        }


def _content(stable: Path | str) -> str:
    """Name a mask of stable ground by what it holds.

    Raises:
        BadMask: it is not there.
    """
    try:
        return str(stable) if stable == AUTO else Asset(Path(stable)).sha256()
    except DamagedImage as error:
        raise BadMask(Path(stable), error.reason) from error
