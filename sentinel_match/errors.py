"""Everything that can go wrong, as one tree.

    SentinelMatchError
    ├── InputError                 something about a file the user gave
    │   ├── TooFine                more resolution asked for than the image has
    │   ├── TooLarge               more pixels than this machine's memory bears
    │   ├── NotAProduct            neither a Sentinel-2 product nor a raster (an HTML page, an empty folder, …)
    │   ├── BrokenProduct          a product, but its archive or its XML is damaged, incomplete or hostile
    │   ├── MissingBand            the product has no such band, or its file is absent
    │   ├── BandNotChosen          two images share several bands, and none was named
    │   ├── DamagedImage           a JP2 or raster whose pixels cannot be decoded
    │   ├── DecoderMissing         glymur finds no OpenJPEG library
    │   ├── NoGeoreference         an image without a position where one is needed
    │   ├── BadMask                a user's mask that cannot be used
    │   ├── BadClasses             a user's class map, or the table of its codes, that cannot be used
    │   ├── BadHeights             a user's height model that cannot be used
    │   ├── BadList                a list of pairs that cannot be used
    │   ├── BadPoints              tie points that cannot be used, or are those of other scenes
    │   └── NotARun                a folder that no run has filled
    ├── PairError                  two good inputs that cannot be matched
    │   ├── NoOverlap              their valid footprints do not meet
    │   ├── NothingClear           they meet only under cloud, shadow or no-data
    │   ├── NoMatch                they show no common ground that could be verified
    │   ├── UnknownTruth           nothing says where one shows the other, to judge methods by
    │   └── NotComparable          their reflectances cannot be brought together
    ├── MatcherError
    │   ├── UnknownMatcher         no matcher of that name
    │   ├── WeightsMissing         its weights are not on this machine
    │   ├── WeightsDamaged         a weights file that is not the file it should be
    │   └── DeviceMissing          it cannot compute where it was told to
    │       └── SchedulerMissing   nobody answers there
    ├── TrainingError
    │   ├── NothingToLearn         no ground that is seen twice
    │   └── BadCheckpoint          a training that cannot be taken up again
    ├── ExtraMissing               an optional library that is not installed
    └── OutputError                a result that could not be written

Each is a dataclass that survives pickling: its fields are the facts, ``str()`` is a sentence: what, where, what to do.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar

from sentinel_match.wording import suggestion

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(eq=False)
class SentinelMatchError(Exception):
    """Base of every error this package raises on purpose.

    Examples:
        >>> from sentinel_match import SentinelMatchError, read_scene
        >>> try:
        ...     read_scene("nothing.SAFE")
        ... except SentinelMatchError as error:
        ...     print(error)
        nothing.SAFE ...
    """

    sentence: ClassVar[str] = ""
    """What ``str()`` says, with the names of the fields in braces."""

    def __str__(self) -> str:
        """Say it in one sentence."""
        return self.sentence.format_map(vars(self)) or super().__str__()

    def __reduce__(self) -> tuple[type[SentinelMatchError], tuple[object, ...]]:
        """Rebuild from the fields: exceptions pickle their ``args``, which a dataclass leaves empty."""
        return type(self), tuple(getattr(self, f.name) for f in fields(self))


@dataclass(eq=False)
class _OneFile:
    """The facts of an error about one file: which, and why."""

    path: Path
    reason: str
    """As the end of a sentence."""


@dataclass(eq=False)
class _TwoScenes:
    """The facts of an error about two scenes: which."""

    left: str
    right: str


@dataclass(eq=False)
class _TwoScenesAndWhy(_TwoScenes):
    reason: str
    """As the end of a sentence."""


class InputError(SentinelMatchError):
    """Something about a file the user gave."""


class NotAProduct(_OneFile, InputError):
    """Neither a Sentinel-2 product nor a raster; the reason says what it is instead."""

    sentence = "{path} is neither a Sentinel-2 product nor another image: {reason}."


class BrokenProduct(_OneFile, InputError):
    """A product whose archive or XML is damaged, incomplete or hostile."""

    sentence = "{path} cannot be read: {reason}."


@dataclass(eq=False)
class MissingBand(InputError):
    """The product has no such band, or its file is absent."""

    product: str
    band: str
    available: tuple[str, ...]

    def __str__(self) -> str:
        """Say it in one sentence, with the bands there are."""
        have, near = ", ".join(self.available) or "none at all", suggestion(self.band, self.available)
        return f"{self.product} has no band {self.band} (it has {have}){near}: choose one, or download it again."


@dataclass(eq=False)
class BandNotChosen(_TwoScenes, InputError):
    """Two images share several bands, and nothing says which is to be compared."""

    shared: str
    sentence = "{left} and {right} share several bands ({shared}): name the one to compare by --band (band= in Python)."


@dataclass(eq=False)
class DamagedImage(InputError):
    """A JP2 or raster whose pixels cannot be decoded."""

    path: str
    reason: str
    sentence = "{path} is damaged: {reason}. Download it again."


class DecoderMissing(InputError):
    """glymur finds no OpenJPEG library."""

    sentence = "glymur finds no OpenJPEG library: install one (Debian: libopenjp2-7), or read with rasterio."


@dataclass(eq=False)
class NoGeoreference(InputError):
    """An image without a position where one is needed."""

    path: str
    remedy: str = ""
    """What would give it one, as the end of a sentence."""

    def __str__(self) -> str:
        """Say it in one sentence, with what would give it one, or do without."""
        remedy = self.remedy or "`sentinel-match images` compares images without one"
        return f"{self.path} has no georeference (CRS and transform) to place it on the ground by: {remedy}."


@dataclass(eq=False)
class TooFine(InputError):
    """More resolution asked for than the image has."""

    product: str
    band: str
    native: float
    """Metres, as what is wanted."""
    wanted: float
    sentence = (
        "{band} of {product} has pixels of {native} m, and --resolution {wanted} (resolution= in Python) is finer: "
        "upsampled pixels would draw every shift towards whole ones."
    )


@dataclass(eq=False)
class TooLarge(_OneFile, InputError):
    """More pixels than this machine's memory bears."""

    rows: int
    cols: int
    sentence = (
        "{path} has {rows} x {cols} pixels, which do not fit into the memory of this machine ({reason}): cut out a "
        "part by `gdal_translate -srcwin`, or choose a coarser --resolution (resolution= in Python)."
    )


class BadMask(_OneFile, InputError):
    """A user's mask that cannot be used."""

    sentence = "The mask {path} cannot be used: {reason}."


class BadClasses(_OneFile, InputError):
    """A user's class map, or the table of its codes, that cannot be used."""

    sentence = "The class map {path} cannot be used: {reason}."


class BadHeights(_OneFile, InputError):
    """A user's height model that cannot be used."""

    sentence = "The height model {path} cannot be used: {reason}."


class BadList(_OneFile, InputError):
    """A list of pairs that cannot be used."""

    sentence = "The list of pairs {path} cannot be used: {reason}."


@dataclass(eq=False)
class BadPoints(_OneFile, InputError):
    """A file of points that cannot be used."""

    row: str = ""
    """Which row, ``row 17``; empty where it is the whole file."""

    def __str__(self) -> str:
        """Say it in one sentence, of the row where it is one."""
        where = f"{self.row[:1].upper()}{self.row[1:]} of {self.path}" if self.row else f"The points {self.path}"
        return f"{where} cannot be used: {self.reason}."


class NotARun(_OneFile, InputError):
    """A folder that no run has filled."""

    sentence = "{path} holds no results of `sentinel-match run`: {reason}."


class PairError(SentinelMatchError):
    """Two good inputs that cannot be matched with one another."""


class NoOverlap(_TwoScenes, PairError):
    """The valid footprints do not meet."""

    sentence = "{left} and {right} show no common ground: their valid footprints do not overlap."


@dataclass(eq=False)
class NothingClear(_TwoScenes, PairError):
    """The overlap is hidden: cloud, shadow, no-data."""

    reasons: str
    """What hides each image, e.g. ``left: nodata 40 %; right: cloud 98 %``: shares of the whole image."""

    sentence = "{left} and {right} overlap, but nowhere is it clear in both ({reasons})."


class NoMatch(_TwoScenesAndWhy, PairError):
    """No common ground that could be verified."""

    sentence = "No match between {left} and {right}: {reason}."


class UnknownTruth(_TwoScenesAndWhy, PairError):
    """Nothing says where the right image shows the left one, and it cannot be measured."""

    sentence = (
        "Nothing can be judged on {left} and {right}, whose true shift could not be measured ({reason}): "
        "list the pair in a CSV with its dx_px and dy_px."
    )


class NotComparable(_TwoScenesAndWhy, PairError):
    """Their reflectances cannot be brought together."""

    sentence = "The radiometry of {right} cannot be brought to that of {left}: {reason}."


class MatcherError(SentinelMatchError):
    """Something about a matcher, whatever the images."""


@dataclass(eq=False)
class UnknownMatcher(MatcherError):
    """No matcher of that name."""

    name: str
    known: tuple[str, ...]

    def __str__(self) -> str:
        """Say it in one sentence, with the matchers there are."""
        known = ", ".join(self.known) + suggestion(self.name, self.known)
        return f"There is no matcher {self.name!r}: the known ones are {known}."


@dataclass(eq=False)
class WeightsMissing(MatcherError):
    """The weights of a matcher are not on this machine."""

    matcher: str
    file: str
    licence: str
    remedy: str
    """What to do, as a sentence without its full stop."""
    sentence = "{matcher} needs the weights {file} ({licence}), which are not here: {remedy}."


class WeightsDamaged(_OneFile, MatcherError):
    """A weights file that is not the file it should be."""

    sentence = "The weights {path} are refused: {reason}."


@dataclass(eq=False)
class DeviceMissing(MatcherError):
    """A matcher cannot compute where it was told to."""

    device: str
    reason: str
    sentence = "The device {device!r} cannot be used: {reason}."


class SchedulerMissing(DeviceMissing):
    """No scheduler answers where pairs were to be matched."""

    sentence = "The scheduler {device} cannot be used: {reason}."


class TrainingError(SentinelMatchError):
    """Training cannot begin or go on."""


@dataclass(eq=False)
class NothingToLearn(TrainingError):
    """No ground that is seen twice."""

    reason: str
    sentence = "There is nothing to learn from: {reason}; training needs two dates of a place, georeferenced."


class BadCheckpoint(_OneFile, TrainingError):
    """A training that cannot be taken up again."""

    sentence = "{path} cannot be taken up again: {reason}."


@dataclass(eq=False)
class ExtraMissing(SentinelMatchError):
    """An optional library that is not installed."""

    what: str
    """What needs it, in the plural."""
    library: str
    extra: str
    sentence = "{what} need {library}: pip install 'sentinel-match[{extra}]', or '.[{extra}]' in a checkout."


class OutputError(_OneFile, SentinelMatchError):
    """A result that could not be written."""

    sentence = "{path} could not be written: {reason}."
