"""Names of files in deliveries of one file per band: which acquisition one is of, and which band or mask it is.

Known by name: EO Browser, earth-search and AWS (``B04.tif`` in a folder), Google and sen2cor
(``T33UUU_…_B04_10m.jp2``), Earth Engine, Theia and MAJA (``…_FRE_B4.tif``, ``MASKS/…_CLM_R1.tif``), FORCE
(``…_BOA.tif``, ``…_QAI.tif``), HLS (``HLS.S30.….B04.tif``), Landsat Collection 2 (``…_SR_B4.TIF``), and whatever else
says its band between separators.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sentinel_match.products.tiling import TILE_PATTERN

if TYPE_CHECKING:
    from pathlib import Path

COLOURS = {
    "coastal": "B01",
    "blue": "B02",
    "green": "B03",
    "red": "B04",
    "rededge": "B05",
    "rededge1": "B05",
    "rededge2": "B06",
    "rededge3": "B07",
    "nir": "B08",
    "nir08": "B8A",
    "nir09": "B09",
    "cirrus": "B10",
    "swir16": "B11",
    "swir1": "B11",
    "swir22": "B12",
    "swir2": "B12",
    "visual": "TCI",
}
"""Sentinel-2 bands by the common names of STAC, as earth-search and Digital Earth call their files."""
COLOUR = "colour"
"""Said of a band that is only named by its colour, which among other files may be a word like any other."""

MASK_NAMES = {
    "SCL": "SCL",
    "FMASK": "FMASK",
    "QA_PIXEL": "QA_PIXEL",
    "QAI": "QAI",
    "CLM": "CLM",
    "MG2": "MG2",
    "QA60": "QA60",
    "CLD": "CLDPRB",
    "CLDPRB": "CLDPRB",
    "MSK_CLDPRB": "CLDPRB",
    "MSK_CLASSI_B00": "CLASSI",
}
"""Kinds of masks whose values are known, by their names in deliveries."""

_SEPARATED = r"(?<![A-Za-z0-9]){}(?![A-Za-z0-9])"
_AROUND = (
    r"[ ._-]*(?:(?P<product>FRE|SRE|SR|TOA|BOA)[._-])?{}(?:[ ._-]*\(raw\))?(?:[._-](?:[126]0m|R[123])(?![A-Za-z0-9]))?"
)

_MASK = re.compile(_AROUND.format(_SEPARATED.format(f"(?P<name>{'|'.join(sorted(MASK_NAMES, key=len)[::-1])})")), re.I)
_OTHER = re.compile(
    _AROUND.format(
        _SEPARATED.format(
            r"(?P<name>(?:MSK_)\w+|PVI|SNW|QA_RADSAT|SR_QA_AEROSOL|SR_CLOUD_QA|SR_ATMOS_OPACITY|ST_\w+|pixel_qa|BQA|[SV][ZA]A"
            r"|EDG|SAT|IAB|DFP|DTF|ATB|WVC|QKL(?:_ALL)?|thumb(?:nail)?(?:_small|_large)?|preview|quicklook|browse|ql)"
        )
    ),
    re.I,
)
"""Layers of a delivery that show no ground, or of a kind that is not read."""
_BAND = re.compile(
    _AROUND.format(_SEPARATED.format(r"(?P<name>(?:B|Band[ _-]?)(?:0?[1-9]|1[0-2]|8A)|TCI|AOT|WVP|True[_ -]colou?r)")),
    re.I,
)
_COLOUR = re.compile(rf"(?:.*[._-])?(?P<name>{'|'.join(sorted(COLOURS, key=len)[::-1])})", re.I)
_FORCE = re.compile(r"(?P<stem>\d{8}_LEVEL2_(?:SEN|LND)\w{2})_(?P<name>[A-Z]{3})")

_WITHIN = re.compile(r"R?[126]0m|IMG_DATA|qi|QI_DATA|MASKS?|preview", re.I)
"""Folders inside that of an acquisition."""

NOT_A_SCENE = re.compile(
    r"(?:.*_)?(?:MSK_\w+|PVI|SCL|CLD|SNW)(?:_[126]0m)?|(?:.*[-_.])?(?:ql|quicklook|preview|thumbnail|thumb_small|thumb_large)"
    r"|(?:.*[._])?(?:QA_PIXEL|QA_RADSAT|SR_QA_AEROSOL|pixel_qa|BQA|Fmask|QA60)|HLS\..*\.[SV][ZA]A|\d{8}_LEVEL2_\w+_(?:QAI|OVV)"
    r"|.*_(?:CLM|MG2|EDG|SAT|IAB|DFP|ATB)_R[123]|.*_QKL_ALL",
    re.I,
)
"""Stems of masks and previews, which a search passes over where they are of no acquisition."""

_TIMES = re.compile(
    r"(?<!\d)(?:"
    r"(?P<day>(?:19[89]|20\d)\d(?:0[1-9]|1[0-2])[0-3]\d)(?:T|-(?=\d{6}-\d{3}(?!\d)))(?P<clock>\d{6})"
    r"|(?P<ordinal>20\d\d[0-3]\d\d)T(?P<time>\d{6})"
    r"|(?P<year>(?:19[89]|20\d)\d)(?P<sep>[-_.]?)(?P<month>0[1-9]|1[0-2])(?P=sep)(?P<date>[0-3]\d)"
    r")(?!\d)"
)
"""When an image was taken, in a name: to the second, by the day of the year (HLS), or to the day."""
_DAILY_FOLDERS = re.compile(r"(?:/(\d{1,2})/([C-X])/([A-Z]{2}))?/((?:19|20)\d\d)/(\d{1,2})/(\d{1,2})(?:/(\d+))?$")
"""Folders of AWS: ``tiles/33/U/UU/2016/5/29/0``."""

_SPACECRAFT = (
    (re.compile(r"(?:S2|SENTINEL-?2|SEN2)([A-D])(?![A-Za-z0-9])", re.I), "S2"),
    (re.compile(r"(?:Sentinel-?2|HLS\.S30|(?<![A-Za-z0-9])S2)()(?![A-Za-z0-9])", re.I), "S2"),
    (re.compile(r"(?<![A-Za-z0-9])L(?:[COTEM]0|ND0)([4-9])(?!\d)"), "L"),
    (re.compile(r"(?:HLS\.L30|Landsat)()(?![A-Za-z0-9])", re.I), "L"),
)


@dataclass(frozen=True)
class Layer:
    """One file of a delivery, by its name."""

    path: Path
    folder: Path
    """Of the acquisition."""
    stem: str
    """What the files of the acquisition have in common; empty where the folder alone tells it."""
    kind: str
    """``band``, ``bands`` (several in one file), ``mask``, or ``other``."""
    name: str
    """``B04``; a kind of mask; empty for ``bands``."""
    product: str = ""
    """Theia's ``FRE`` or ``SRE``, where the same band comes twice; Landsat's ``SR``; :data:`COLOUR`."""


def layer_of(path: Path) -> Layer | None:
    """Tell what a file is by its name; ``None`` where that says no one band and no mask."""
    folder = path.parent
    within = ""
    while _WITHIN.fullmatch(folder.name) and folder != folder.parent:
        within, folder = folder.name.lower(), folder.parent
    stem = path.stem
    if force := _FORCE.fullmatch(stem):
        kind = {"BOA": "bands", "TOA": "bands", "QAI": "mask"}.get(force["name"], "other")
        name = force["name"] if kind != "bands" else ""
        return Layer(path, folder, force["stem"], kind, name, force["name"])
    for kind, pattern in (("mask", _MASK), ("other", _OTHER), ("band", _BAND)):
        if matches := list(pattern.finditer(stem)):
            if kind == "band" and len({match["name"].upper() for match in matches}) > 1:
                return None  # a composite of several bands
            match = matches[-1]
            rest = (stem[: match.start()] + stem[match.end() :]).strip(" ._-")
            name = _name(kind, match["name"].upper(), stem)
            shown = kind if name and within != "preview" else "other"
            return Layer(path, folder, rest, shown, name, (match["product"] or "").upper())
    if colour := _COLOUR.fullmatch(stem):
        rest = stem[: colour.start("name")].strip(" ._-")
        return Layer(path, folder, rest, "band", COLOURS[colour["name"].lower()], COLOUR)
    if by_folder := _BAND.fullmatch(path.parent.name):  # a folder for each band: B04/20160608.tif
        name = spectral_name(by_folder["name"].upper(), stem)
        return Layer(path, path.parent.parent, stem, "band", name) if name else None
    return None


def is_within(folder: str) -> bool:
    """Tell whether a folder of that name lies inside that of an acquisition, or holds one band of several."""
    return bool(_WITHIN.fullmatch(folder) or _BAND.fullmatch(folder))


def _name(kind: str, name: str, stem: str) -> str:
    """Name a layer; empty where its values are not known."""
    if kind == "band":
        return spectral_name(name, stem)
    if name == "FMASK" and not stem.startswith("HLS."):
        return ""  # each maker has values of its own
    return MASK_NAMES.get(name, "other")


def spectral_name(name: str, stem: str) -> str:
    """Name a band as Sentinel-2 does, by its wavelength; empty for a thermal one.

    Args:
        name: as the file has it: ``B4``, ``B04``, ``BAND_4``, ``True_color``.
        stem: tells whose bands these are.
    """
    if name.startswith("TRUE"):
        return "TCI"
    if not (number := re.fullmatch(r"B(?:AND[ _-]?)?0?(\d+|8A)", name)):
        return name
    bands = next((bands for sensor, bands in _OTHER_SENSORS if sensor.search(stem)), None)
    if bands is not None:
        return bands.get(number[1], "")
    return f"B{number[1]:0>2}"


_OLI = {"1": "B01", "2": "B02", "3": "B03", "4": "B04", "5": "B8A", "6": "B11", "7": "B12", "8": "PAN", "9": "B10"}
_TM = {"1": "B02", "2": "B03", "3": "B04", "4": "B08", "5": "B11", "7": "B12", "8": "PAN"}
_OTHER_SENSORS = (
    (re.compile(r"(?<![A-Za-z0-9])L[CO]0[89]_|HLS\.L30\.|Landsat[ _-]?[89]", re.I), _OLI),
    (re.compile(r"(?<![A-Za-z0-9])L[ET]0[4-7]_|Landsat[ _-]?[4-7]", re.I), _TM),
)
"""Landsat's numbers are of other wavelengths: B5 of Landsat 8 is B8A, not a red edge."""


def is_landsat(stem: str) -> bool:
    """Tell whether a name says that Landsat took it."""
    return any(sensor.search(stem) for sensor, _ in _OTHER_SENSORS)


FORCE_BANDS = {
    10: ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"),
    6: ("B02", "B03", "B04", "B8A", "B11", "B12"),
}
"""Bands of FORCE's ``BOA`` by how many there are: Sentinel-2, Landsat."""


@dataclass(frozen=True)
class Numbers:
    """How the numbers of a delivery become reflectance: (DN + offset) / quantification."""

    offset: float
    quantification: float
    nodata: float


KNOWN_NUMBERS = (
    (re.compile(r"SENTINEL2[A-D]_\d{8}-\d{6}-\d{3}_L2A_.*_[FS]RE_B\w+"), Numbers(0.0, 10_000.0, -10_000.0)),
    (re.compile(r"\d{8}_LEVEL2_(?:SEN|LND)\w{2}_(?:BOA|TOA)"), Numbers(0.0, 10_000.0, -9999.0)),
    (re.compile(r"HLS\.[SL]30\..*\.B\w+"), Numbers(0.0, 10_000.0, -9999.0)),
    (re.compile(r"L[COTEM]0\d_L2S[PR]_\d{6}_\d{8}_\d{8}_02_T\d_SR_B\d"), Numbers(-0.2 / 2.75e-5, 1 / 2.75e-5, 0.0)),
)
"""Deliveries whose makers define it: Theia and MAJA, FORCE, HLS, Landsat Collection 2 Level-2, by stems of files."""


def known_numbers(stem: str) -> Numbers | None:
    """Find how the numbers of a file become reflectance, where its name says whose they are."""
    return next((numbers for pattern, numbers in KNOWN_NUMBERS if pattern.fullmatch(stem)), None)


@dataclass(frozen=True)
class AcquisitionName:
    """What the name of an acquisition says of it."""

    id: str
    time: datetime | None
    tile: str
    spacecraft: str
    """``S2A``, ``S2`` (one of them), ``L8``, or empty."""


def identity_of(folder: Path, stem: str) -> AcquisitionName:
    """Read an acquisition's name, the folder's where it has none of its own; a date may be in either."""
    place = folder.resolve().as_posix()
    daily = _DAILY_FOLDERS.search(place)
    name, texts = stem or folder.resolve().name, (stem, folder.resolve().name)
    time = next((when for text in texts if (when := taken(text))), None)
    tile = next((t for text in texts if (t := _tile(text))), "")
    if daily:
        zone, latitude, square, year, month, day, part = daily.groups()
        time = time or _time(f"{year}{int(month):02}{int(day):02}", "000000")
        if zone and not tile:
            tile = _tile(f"T{int(zone):02}{latitude}{square}")
        if not stem:
            name = "_".join(filter(None, (tile, f"{year}{int(month):02}{int(day):02}", part)))
    spacecraft = next((craft for text in texts if (craft := spacecraft_of(text))), "S2" if tile else "")
    return AcquisitionName(name, time, tile, spacecraft)


def taken(name: str) -> datetime | None:
    """Read the first date of a name that is one."""
    for match in _TIMES.finditer(name):
        if match["day"]:
            when = _time(match["day"], match["clock"])
        elif match["ordinal"]:
            when = _time(match["ordinal"], match["time"], "%Y%j%H%M%S")
        else:
            when = _time(f"{match['year']}{match['month']}{match['date']}", "000000")
        if when:
            return when
    return None


def spacecraft_of(name: str) -> str:
    """Read which satellite a name is of: ``S2A``, ``S2`` (one of them), ``L8``; empty where it says none."""
    return next((f"{craft}{match[1].upper()}" for pattern, craft in _SPACECRAFT if (match := pattern.search(name))), "")


def _tile(text: str) -> str:
    match = re.search(rf"(?<![A-Za-z0-9])(T?)({TILE_PATTERN[1:]})(?![A-Za-z0-9])", text)
    return f"T{match[2]}" if match else ""


def _time(day: str, clock: str, how: str = "%Y%m%d%H%M%S") -> datetime | None:
    try:
        return datetime.strptime(f"{day}{clock}", how).replace(tzinfo=UTC)
    except ValueError:  # 20189904T083549
        return None
