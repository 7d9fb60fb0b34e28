"""Everything that can go wrong, as one tree.

    SentinelMatchError
    ├── InputError                 something about a file the user gave
    │   ├── TooFine                more resolution asked for than the image has
    │   ├── NotAProduct            neither a Sentinel-2 product nor a raster (an HTML page, an empty folder, …)
    │   ├── BrokenProduct          a product, but its archive or its XML is damaged, incomplete or hostile
    │   ├── MissingBand            the product has no such band, or its file is absent
    │   ├── DamagedImage           a JP2 or raster whose pixels cannot be decoded
    │   ├── DecoderMissing         glymur finds no OpenJPEG library
    │   ├── NoGeoreference         an image without a position where one is needed
    │   ├── BadMask                a user's mask that cannot be used
    │   ├── BadClasses             a user's class map, or the table of its codes, that cannot be used
    │   ├── BadList                a list of pairs that cannot be used
    │   ├── BadPoints              a file of points that cannot be used
    │   └── NotARun                a folder that no run has filled
    ├── PairError                  two good inputs that cannot be matched
    │   ├── NoOverlap              their valid footprints do not meet
    │   ├── NothingClear           they meet only under cloud, shadow or no-data
    │   └── NoMatch                they show no common ground that could be verified
    ├── MatcherError
    │   ├── UnknownMatcher         no matcher of that name
    │   ├── WeightsMissing         its weights are not on this machine
    │   ├── WeightsDamaged         a weights file that is not the file it should be
    │   └── DeviceMissing          it cannot compute where it was told to
    ├── TrainingError
    │   ├── NothingToLearn         no ground that is seen twice
    │   └── BadCheckpoint          a training that cannot be taken up again
    ├── ExtraMissing               an optional library that is not installed
    └── OutputError                a result that could not be written

Each is a dataclass: its fields are the facts, ``str()`` is one sentence that says what, which file and what to do.
They survive pickling, so a worker process can report them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(eq=False)
class SentinelMatchError(Exception):
    """Base of every error this package raises on purpose."""

    def __reduce__(self) -> tuple[type[SentinelMatchError], tuple[object, ...]]:
        """Rebuild from the fields: exceptions pickle their ``args``, which a dataclass leaves empty."""
        return type(self), tuple(getattr(self, f.name) for f in fields(self))


class InputError(SentinelMatchError):
    """Something about a file the user gave."""


@dataclass(eq=False)
class NotAProduct(InputError):
    """Neither a Sentinel-2 product nor a raster."""

    path: Path
    reason: str
    """What it is instead, as the end of a sentence."""

    def __str__(self) -> str:
        return f"{self.path} is neither a Sentinel-2 product nor another image: {self.reason}."


@dataclass(eq=False)
class BrokenProduct(InputError):
    """A product whose archive or XML is damaged, incomplete or hostile."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path} cannot be read: {self.reason}."


@dataclass(eq=False)
class MissingBand(InputError):
    """The product has no such band, or its file is absent."""

    product: str
    band: str
    available: tuple[str, ...]

    def __str__(self) -> str:
        have = ", ".join(self.available) or "none at all"
        return f"{self.product} has no band {self.band} (it has {have}): choose one of its own, or download it again."


@dataclass(eq=False)
class DamagedImage(InputError):
    """A JP2 or raster whose pixels cannot be decoded."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path} is damaged: {self.reason}. Download it again."


@dataclass(eq=False)
class DecoderMissing(InputError):
    """glymur finds no OpenJPEG library."""

    def __str__(self) -> str:
        return "glymur finds no OpenJPEG library: install one (Debian: libopenjp2-7), or read with rasterio."


@dataclass(eq=False)
class NoGeoreference(InputError):
    """An image without a position where one is needed."""

    path: str

    def __str__(self) -> str:
        return (
            f"{self.path} has no georeference (CRS and transform), so its position on the ground is unknown; "
            "`sentinel-match images` compares images without one."
        )


@dataclass(eq=False)
class TooFine(InputError):
    """More resolution asked for than the image has."""

    product: str
    band: str
    native: float
    """Metres."""
    wanted: float
    """Metres."""

    def __str__(self) -> str:
        sizes = f"has pixels of {self.native} m, and --resolution {self.wanted} is finer"
        return f"{self.band} of {self.product} {sizes}: upsampled pixels would draw every shift towards whole ones."


@dataclass(eq=False)
class BadMask(InputError):
    """A user's mask that cannot be used."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"The mask {self.path} cannot be used: {self.reason}."


@dataclass(eq=False)
class BadClasses(InputError):
    """A user's class map, or the table of its codes, that cannot be used."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"The class map {self.path} cannot be used: {self.reason}."


@dataclass(eq=False)
class BadList(InputError):
    """A list of pairs that cannot be used."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"The list of pairs {self.path} cannot be used: {self.reason}."


@dataclass(eq=False)
class BadPoints(InputError):
    """A file of points that cannot be used."""

    path: Path
    reason: str
    row: str = ""
    """Which row, ``row 17``; empty where it is the whole file."""

    def __str__(self) -> str:
        where = f"{self.row[:1].upper()}{self.row[1:]} of {self.path}" if self.row else f"The points {self.path}"
        return f"{where} cannot be used: {self.reason}."


@dataclass(eq=False)
class NotARun(InputError):
    """A folder that no run has filled."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path} holds no results of `sentinel-match run`: {self.reason}."


class PairError(SentinelMatchError):
    """Two good inputs that cannot be matched with one another."""


@dataclass(eq=False)
class NoOverlap(PairError):
    """The valid footprints do not meet."""

    left: str
    right: str

    def __str__(self) -> str:
        return f"{self.left} and {self.right} show no common ground: their valid footprints do not overlap."


@dataclass(eq=False)
class NothingClear(PairError):
    """The overlap is hidden: cloud, shadow, no-data."""

    left: str
    right: str
    reasons: str
    """What hides each image, e.g. ``left: nodata 40 %; right: cloud 98 %``: shares of the whole image."""

    def __str__(self) -> str:
        return f"{self.left} and {self.right} overlap, but nowhere is it clear in both ({self.reasons})."


@dataclass(eq=False)
class NoMatch(PairError):
    """No common ground that could be verified."""

    left: str
    right: str
    reason: str

    def __str__(self) -> str:
        return f"No match between {self.left} and {self.right}: {self.reason}."


class MatcherError(SentinelMatchError):
    """Something about a matcher, whatever the images."""


@dataclass(eq=False)
class UnknownMatcher(MatcherError):
    """No matcher of that name."""

    name: str
    known: tuple[str, ...]

    def __str__(self) -> str:
        return f"There is no matcher {self.name!r}: the known ones are {', '.join(self.known)}."


@dataclass(eq=False)
class WeightsMissing(MatcherError):
    """The weights of a matcher are not on this machine."""

    matcher: str
    file: str
    licence: str
    remedy: str
    """What to do, as a sentence without its full stop."""

    def __str__(self) -> str:
        return f"{self.matcher} needs the weights {self.file} ({self.licence}), which are not here: {self.remedy}."


@dataclass(eq=False)
class WeightsDamaged(MatcherError):
    """A weights file that is not the file it should be."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"The weights {self.path} are refused: {self.reason}."


@dataclass(eq=False)
class DeviceMissing(MatcherError):
    """A matcher cannot compute where it was told to."""

    device: str
    reason: str

    def __str__(self) -> str:
        return f"The device {self.device!r} cannot be used: {self.reason}."


class TrainingError(SentinelMatchError):
    """Training cannot begin or go on."""


@dataclass(eq=False)
class NothingToLearn(TrainingError):
    """No ground that is seen twice."""

    reason: str

    def __str__(self) -> str:
        return f"There is nothing to learn from: {self.reason}; training needs two dates of a place, georeferenced."


@dataclass(eq=False)
class BadCheckpoint(TrainingError):
    """A training that cannot be taken up again."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path} cannot be taken up again: {self.reason}."


@dataclass(eq=False)
class ExtraMissing(SentinelMatchError):
    """An optional library that is not installed."""

    what: str
    """What needs it, in the plural."""
    library: str
    extra: str

    def __str__(self) -> str:
        return f"{self.what} need {self.library}, which is not installed: pip install 'sentinel-match[{self.extra}]'."


@dataclass(eq=False)
class OutputError(SentinelMatchError):
    """A result that could not be written."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path} could not be written: {self.reason}."
