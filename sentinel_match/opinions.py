"""What speaks for or against a displacement besides its tie points: frozen parts of a comparison of two images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from sentinel_match.schema import plain

PULLED_PX = 0.1
"""Pixels between what coarse and fine detail say from which nothing is promised; less widens sigma, and is no more."""
LEAST_SCATTER_PX, SCATTER_BEYOND = 0.25, 1.5
"""Pixels that a second estimator must see things vary by to contradict, and how far beyond a promise: less may be its
own faults, shadows that moved, or houses seen from two sides."""
SURE_BEYOND, OVERRULES_PX = 4.0, 0.3
"""Standard errors, of the length, and pixels, at least, beyond which what remains contradicts a promise of less."""
RAYLEIGH95 = 1.73
"""CE95 over the root mean square of two-dimensional normal errors."""


@dataclass(frozen=True, kw_only=True)
class SecondEstimate:
    """What a second estimator measures, which no tie point was made with: see :mod:`sentinel_match.accuracy.ecc`.

    Where too few windows are alike there are no shifts: all that follow ``answers`` are ``None``.
    """

    estimator: str = "ECC"
    looks: int
    """Windows tried."""
    answers: int
    """Windows that gave a shift."""
    before_dx_m: float | None = None
    """Median shift before the correction, right minus left, east."""
    before_dy_m: float | None = None
    """North."""
    after_dx_m: float | None = None
    """Median shift that remains after the correction."""
    after_dy_m: float | None = None
    sigma_dx_m: float | None = None
    """Standard error of what remains."""
    sigma_dy_m: float | None = None
    scatter_m: float | None = None
    """How far what remains varies from window to window, root mean square, free of the estimator's own noise."""
    least_scatter_m: float | None = None
    """Lower end of its 95 % interval."""
    agrees: bool | None = None
    """Whether what remains is small enough for both estimators to be right; ``None`` where the second cannot tell."""

    def sees_more(self, ce95_m: float, gsd: float) -> bool:
        """Tell whether what remains surely varies by more than a circular error allows.

        Args:
            ce95_m: upper end of the interval of what is promised.
            gsd: metres per pixel.
        """
        least = self.least_scatter_m or 0.0
        return least > LEAST_SCATTER_PX * gsd and RAYLEIGH95 * least > SCATTER_BEYOND * ce95_m

    def contradictions(self, promised_m: float, gsd: float) -> tuple[str, ...]:
        """List what it sees that contradicts a correction, each as the end of a sentence.

        Args:
            promised_m: upper end of the interval of the circular error that is promised.
            gsd: metres per pixel.
        """
        reasons = []
        if self.agrees is False:
            known = self.after_dx_m is not None and self.after_dy_m is not None  # a file may not say it
            remains = f"{self.after_dx_m:+.2f} m east, {self.after_dy_m:+.2f} m north" if known else "a shift"
            reasons.append(f"a second estimator sees {remains} remain in {self.answers} windows")
        if self.sees_more(promised_m, gsd):
            scatter = self.scatter_m or self.least_scatter_m
            reasons.append(f"a second estimator sees what remains vary by {scatter:.2f} m root mean square")
        return tuple(reasons)

    def overrules(self, ce95_m: float, gsd: float) -> bool:
        """Tell whether what remains lies beyond what both are sure of together: then no point is believed."""
        if self.agrees is not False or self.after_dx_m is None or self.after_dy_m is None:
            return False
        unsure = SURE_BEYOND * math.hypot(self.sigma_dx_m or 0.0, self.sigma_dy_m or 0.0)
        return math.hypot(self.after_dx_m, self.after_dy_m) > unsure + max(ce95_m, OVERRULES_PX * gsd)


@dataclass(frozen=True, kw_only=True)
class Octave:
    """What detail of some wavelengths says; no displacement where the images are not alike in it."""

    longest_px: float
    """Longest wavelength, pixels."""
    shortest_px: float
    coherence: float
    """Correlation of both images in this detail: 1 = the same."""
    dx_m: float | None = None
    """By how far it would have the right image elsewhere than the points, median, east."""
    dy_m: float | None = None
    """North."""
    sigma_m: float | None = None
    """Standard error of that, of its length."""


@dataclass(frozen=True, kw_only=True)
class Rival:
    """Another displacement that the images bear out nearly as well."""

    dx_m: float
    """How far it lies from the one believed, east."""
    dy_m: float
    """North."""
    share: float
    """Height of its peak, as a share of that of the one believed."""


@dataclass(frozen=True, kw_only=True)
class Population:
    """A part of the matches that agree on another displacement than the rest."""

    share: float
    """Of the matches."""
    dx_m: float
    """Median shift, right minus left, east."""
    dy_m: float
    """North."""
    bounds: tuple[float, float, float, float]
    """West, south, east, north of where they lie."""


@dataclass(frozen=True, kw_only=True)
class OneWay:
    """That most points are known along one direction only, as on dunes, ripples and stripes."""

    share: float
    """Of the inliers."""
    azimuth_deg: float | None = None
    """The direction along which they are not known, degrees clockwise from grid north, 0 to 180; ``None`` where it
    differs from place to place."""


MARKS = {
    "repeated pixels": (
        "both images repeat pixels at the same places, as if enlarged from coarser ones or compressed hard: points are "
        "drawn to those; match the originals, or resample with interpolation"
    ),
    "blocks": (
        "both images show the blocks of JPEG and agree where these do: points may be drawn to them; match the originals"
    ),
}
"""What is said of marks that storage left, with what to do."""
OTHER_MARKS = "both images show {} where they agree: points may be drawn to them; match the originals"
"""The same of marks that a file names and this version does not know."""


@dataclass(frozen=True, kw_only=True)
class Consistency:
    """Whether one displacement is what both images show: see :mod:`sentinel_match.accuracy.consistency`."""

    windows: int = 0
    """Windows that were compared."""
    octaves: tuple[Octave, ...] = ()
    """From coarse to fine."""
    pull_m: float = 0.0
    """Metres by which coarse detail surely contradicts the points, which fine detail draws: sigma covers it."""
    pull_dx_m: float = 0.0
    """The same east."""
    pull_dy_m: float = 0.0
    """North."""
    unfollowed_m: float = 0.0
    """Metres, root mean square, by which ground moves on distances too short for any point to follow; 0: none seen."""
    only_fine: bool = False
    """Whether nothing but the finest detail agrees, at whole pixels: a pattern on the grid, and no ground."""
    on_grid: bool = False
    """Whether the images agree at whole pixels, to three hundredths, and better by fine detail than by coarse, or as
    much by detail of every length, as noise does that both share."""
    only_edges: bool = False
    """Whether fine detail agrees and some coarser one does not at all, as edges of fields whose crops have changed."""
    marks: str = ""
    """What storage left in both and draws points to where it agrees: ``repeated pixels`` of a coarser grid, or, where
    the points agree at whole pixels, ``blocks`` of JPEG; empty where there is nothing."""
    drawn_m: float = 0.0
    """Metres by which windows of little texture lie nearer a whole pixel than those of much; 0 where they do not."""
    blind_below_m: float = 0.0
    """Metres of ground that each answer averages where hardly any single window gave one: shorter displacement is not
    known; 0: single windows answered."""
    rival: Rival | None = None
    other: Population | None = None
    """Of the matches, those that agree on another displacement."""
    one_way: OneWay | None = None
    """Where most points are known along one direction only."""

    def pulled(self, gsd: float) -> bool:
        """Tell whether coarse detail contradicts fine detail by more than any user would bear."""
        return self.pull_m > PULLED_PX * gsd

    def doubts(self, gsd: float) -> tuple[str, ...]:
        """List why one displacement may not be what both images show, each as the end of a sentence.

        Args:
            gsd: metres per pixel.
        """
        reasons = []
        if self.marks:  # first, for it names a cause of what follows, and its remedy
            reasons.append(MARKS.get(self.marks, OTHER_MARKS.format(self.marks)))
        if self.pulled(gsd):
            reasons.append(
                f"coarse detail lies {self.pull_dx_m:+.2f} m east, {self.pull_dy_m:+.2f} m north of what the points "
                "say: a pattern on the grid of pixels draws them, or two things moved apart"
            )
        if self.on_grid:
            reasons.append(
                "they agree at whole pixels, to a few hundredths, and fine detail does no less than coarse: it may "
                "be a pattern on the grid of pixels that they share"
            )
        if self.only_edges:
            reasons.append(
                "fine detail agrees where coarser detail does not at all: edges alone, which may be those of the next "
                "field"
            )
        if self.drawn_m > 0:
            reasons.append(
                f"where the images show little texture they lie {self.drawn_m:.2f} m nearer to a whole pixel than "
                "where they show much: a pattern on the grid of pixels draws them, or that ground moved by itself"
            )
        if self.unfollowed_m > 0:
            reasons.append(
                f"detail fades as where ground moves by {self.unfollowed_m:.1f} m ({self.unfollowed_m / gsd:.1f} px) "
                "within a hundred pixels, which the points do not follow"
            )
        if (way := self.one_way) is not None:
            which = "the crests of their texture" if way.azimuth_deg is None else f"{way.azimuth_deg:.0f} degrees"
            reasons.append(
                f"{way.share:.0%} of the points are known in one direction only, as on ripples: what lies along "
                f"{which} is not known"
            )
        if (rival := self.rival) is not None:
            reasons.append(
                f"the images agree nearly as well ({rival.share:.0%}) {rival.dx_m:+.0f} m east, {rival.dy_m:+.0f} m "
                "north of it: the ground repeats itself, or shows two things that moved apart"
            )
        if (other := self.other) is not None:
            reasons.append(
                f"{other.share:.0%} of the matches agree on {other.dx_m:+.1f} m east, {other.dy_m:+.1f} m north instead"
            )
        return tuple(reasons)

    def to_dict(self) -> dict[str, Any]:
        """Return what files say, without what is not known."""
        members = {name: value for name, value in plain(self).items() if value is not None}
        octaves = [{k: v for k, v in plain(octave).items() if v is not None} for octave in self.octaves]
        names = ("rival", "other", "one_way")
        parts = {name: plain(part) for name in names if (part := getattr(self, name)) is not None}
        return {**members, "octaves": octaves, **parts}
