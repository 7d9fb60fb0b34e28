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

from sentinel_match.products.files import real_path
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
    "SCENECLASSIFICATION": "SCL",
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
    r"[ ._-]*(?:(?P<product>FRE|SRE|SR|TOA|BOA|TOC)[._-])?{}(?:[ ._-]*\(raw\))?"
    r"(?:[._-](?:[126]0m|R[123])(?![A-Za-z0-9]))?"
)

_MASK = re.compile(_AROUND.format(_SEPARATED.format(f"(?P<name>{'|'.join(sorted(MASK_NAMES, key=len)[::-1])})")), re.I)
_OTHER = re.compile(
    _AROUND.format(
        _SEPARATED.format(
            r"(?P<name>(?:MSK_)\w+|PVI|SNW|QA_RADSAT|SR_QA_AEROSOL|SR_CLOUD_QA|SR_ATMOS_OPACITY|ST_\w+|pixel_qa|BQA|[SV][ZA]A"
            r"|EDG|SAT|IAB|DFP|DTF|ATB|WVC|(?:CLOUD|SHADOW)[ _-]?MASK"
            r"|QKL(?:_ALL)?|thumb(?:nail)?(?:_small|_large)?|preview|quicklook|browse|ql)"
        )
    ),
    re.I,
)
"""Layers of a delivery that show no ground, or of a kind that is not read."""
_BAND = re.compile(
    _AROUND.format(_SEPARATED.format(r"(?P<name>(?:B|Band[ _-]?)(?:0?[1-9]|1[0-2]|8A)|TCI|AOT|WVP|True[_ -]colou?r)")),
    re.I,
)
_COLOUR = re.compile(rf"(?:.*[ ._-])?(?P<name>{'|'.join(sorted(COLOURS, key=len)[::-1])})(?:[ ._-].*)?", re.I)
_MAKERS = (
    (
        re.compile(r"(\d{8}_LEVEL2_(?:SEN|LND)\w{2})_(?P<name>[A-Z]{3})"),
        {"BOA": ("bands", ""), "TOA": ("bands", ""), "QAI": ("mask", "QAI")},
    ),
    (
        re.compile(r"(S2[A-D]_\w+_SSC)_PDT[A-Z]{3}_(L2VALD_\w+_\d{8})_(?P<name>[A-Z]{3})(?:_R[123])?\.DBL"),
        {"FRE": ("bands", ""), "SRE": ("bands", ""), "CLD": ("mask", "CLM")},
    ),
)
"""Makers who put several bands in a file: FORCE (``20160608_LEVEL2_SEN2A_BOA.tif``); MAJA by itself, and so Sen2Agri
(``S2A_OPER_SSC_PDTIMG_L2VALD_33UUU____20160608_FRE_R1.DBL.TIF``)."""

_WITHIN = re.compile(r"R?[126]0m|IMG_DATA|qi|QI_DATA|MASKS?|preview", re.I)
"""Folders inside that of an acquisition."""

IMAGE_SUFFIXES = {".jp2", ".tif", ".tiff", ".jpg", ".jpeg", ".png", ".img"}
"""Suffixes that a search through folders and zips takes for images; a file that is named outright may have any."""

NOT_A_SCENE = re.compile(
    r"(?:.*_)?(?:MSK_\w+|PVI|SCL|CLD|SNW)(?:_[126]0m)?|(?:.*[-_.])?(?:ql|quicklook|preview|thumbnail|thumb_small|thumb_large)"
    r"|(?:.*[._])?(?:QA_PIXEL|QA_RADSAT|SR_QA_AEROSOL|pixel_qa|BQA|Fmask|QA60)|HLS\..*\.[SV][ZA]A|\d{8}_LEVEL2_\w+_(?:QAI|OVV)"
    r"|(?:.*[ ._-])?(?:(?:cloud|shadow|snow|water)[ _-]?)?masks?(?:_[126]0m)?(?:_V\d+)?|.*_SCENECLASSIFICATION_20M_V\d+"
    r"|.*_(?:CLM|MG2|EDG|SAT|IAB|DFP|ATB)_R[123]|.*_QKL_ALL|.*_SSC_PDT(?:ANX|QLK)_L2VALD_.*",
    re.I,
)
"""Stems of masks and previews, which a search passes over where they are of no acquisition."""

_TIMES = re.compile(
    r"(?<!\d)(?:"
    r"(?P<day>(?:19[89]|20\d)\d(?:0[1-9]|1[0-2])[0-3]\d)(?:T|-(?=\d{6}-\d{3}(?!\d)))(?P<clock>\d{6})"
    r"|(?P<ordinal>20\d\d[0-3]\d\d)T(?P<time>\d{6})"
    r"|doy(?P<doy>(?:19[89]|20\d)\d[0-3]\d\d)"
    r"|(?P<year>(?:19[89]|20\d)\d)(?P<sep>[-_.]?)(?P<month>0[1-9]|1[0-2])(?P=sep)(?P<date>[0-3]\d)"
    r")(?!\d)"
)
"""When an image was taken, in a name: to the second, by the day of the year (HLS, AppEEARS), or to the day."""
_DAILY_FOLDERS = re.compile(r"(?:/(\d{1,2})/([C-X])/([A-Z]{2}))?/((?:19|20)\d\d)/(\d{1,2})/(\d{1,2})(?:/(\d+))?$")
"""Folders of AWS: ``tiles/33/U/UU/2016/5/29/0``."""
_DAY = re.compile(r"(?:19[89]|20\d)\d([-_.]?)(?:0[1-9]|1[0-2])\1[0-3]\d(?:T\d{6})?")
"""Name of a folder that is a date and nothing else."""
_ABOVE = 3
"""Folders above one in which such a one dates it: ``20160608/T33UUU/S2A/B04.tif``."""

_SPACECRAFT = (
    (re.compile(r"(?:S2|SENTINEL-?2|SEN2)([A-D])(?![A-Za-z0-9])", re.I), "S2"),
    (re.compile(r"(?:Sentinel-?2|HLS\.?S30|(?<![A-Za-z0-9])S2)()(?![A-Za-z0-9])", re.I), "S2"),
    (re.compile(r"(?<![A-Za-z0-9])L(?:[COTEM]0|ND0)([4-9])(?!\d)"), "L"),
    (re.compile(r"(?:HLS\.?L30|Landsat)()(?![A-Za-z0-9])", re.I), "L"),
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
    for makers, kinds in _MAKERS:
        if match := makers.fullmatch(stem):
            kind, name = kinds.get(match["name"], ("other", match["name"]))
            return Layer(path, folder, "_".join(match.groups()[:-1]), kind, name, match["name"])
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
        rest = (stem[: colour.start("name")] + stem[colour.end("name") :]).strip(" ._-")
        return Layer(path, folder, rest, "band", COLOURS[colour["name"].lower()], COLOUR)
    if by_folder := _BAND.fullmatch(path.parent.name):  # a folder for each band: B04/20160608.tif
        name = spectral_name(by_folder["name"].upper(), stem)
        return Layer(path, path.parent.parent, stem, "band", name) if name else None
    return None


def is_passed_over(file: Path) -> bool:
    """Tell whether a file is a mask or a preview, which is no scene by itself."""
    return file.suffix.lower() in IMAGE_SUFFIXES and NOT_A_SCENE.fullmatch(file.stem) is not None


def is_within(folder: str) -> bool:
    """Tell whether a folder of that name lies inside that of an acquisition, or holds one band of several."""
    return bool(_WITHIN.fullmatch(folder) or _BAND.fullmatch(folder))


def _name(kind: str, name: str, stem: str) -> str:
    """Name a layer; empty where its values are not known."""
    if kind == "band":
        return spectral_name(name, stem)
    if name == "FMASK" and not re.match("HLS[SL.]", stem):
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
    (re.compile(r"(?<![A-Za-z0-9])L[CO]0[89]_|HLS\.?L30\.|Landsat[ _-]?[89]", re.I), _OLI),
    (re.compile(r"(?<![A-Za-z0-9])L[ET]0[4-7]_|Landsat[ _-]?[4-7]", re.I), _TM),
)
"""Landsat's numbers are of other wavelengths: B5 of Landsat 8 is B8A, not a red edge."""


def is_landsat(stem: str) -> bool:
    """Tell whether a name says that Landsat took it."""
    return any(sensor.search(stem) for sensor, _ in _OTHER_SENSORS)


_STACKS = {
    ("OA", 10): ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"),
    ("OA", 6): ("B02", "B03", "B04", "B8A", "B11", "B12"),
    ("RE", 4): ("B02", "B03", "B04", "B08"),
    ("RE", 6): ("B05", "B06", "B07", "B8A", "B11", "B12"),
}
"""Bands of a file by the end of its product's name and by how many there are: FORCE's ``BOA`` and ``TOA`` of Sentinel-2
and Landsat, MAJA's own ``FRE`` and ``SRE`` of 10 m and 20 m. Their documents: see :data:`KNOWN_NUMBERS`."""


def stacked(layer: Layer, count: int) -> tuple[str, ...]:
    """Name the bands of a file of several, where its maker defines their order; empty where nothing does."""
    return _STACKS.get((layer.product[1:], count), ()) if layer.kind == "bands" else ()


@dataclass(frozen=True)
class Numbers:
    """How the numbers of a delivery become reflectance: (DN + offset) / quantification."""

    offset: float
    quantification: float
    nodata: float


KNOWN_NUMBERS = (
    (re.compile(r"SENTINEL2[A-D]_\d{8}-\d{6}-\d{3}_L2A_.*_[FS]RE_B\w+"), Numbers(0.0, 10_000.0, -10_000.0)),
    (re.compile(r"S2[A-D]_\w+_SSC_PDTIMG_L2VALD_\w+_[FS]RE_R[12]\.DBL"), Numbers(0.0, 10_000.0, -10_000.0)),
    (re.compile(r"\d{8}_LEVEL2_(?:SEN|LND)\w{2}_(?:BOA|TOA)"), Numbers(0.0, 10_000.0, -9999.0)),
    (re.compile(r"HLS(?:\.[SL]30\..*\.|[SL]30\.\d+_)B\w+"), Numbers(0.0, 10_000.0, -9999.0)),
    (re.compile(r"L[COTEM]0\d_L2S[PR]_\d{6}_\d{8}_\d{8}_02_T\d_SR_B\d"), Numbers(-0.2 / 2.75e-5, 1 / 2.75e-5, 0.0)),
)
"""Deliveries whose makers define it, by stems of files.

Theia and MAJA: "divide by 10000", "No_Data -10000" (CESBIO, cesbio.cnrs.fr/maja/sentinel-2-output-format and, for its
own format, cesbio.ups-tlse.fr/multitemp/?page_id=10464). FORCE: "scale is 10000, nodata value is -9999" (Level 2 output
format, force-eo.readthedocs.io). HLS: scale 0.0001 (hls.gsfc.nasa.gov/products-description/l30), fill -9999 (HLS User
Guide v2.0; its files say it too). Landsat Collection 2 Level-2: DN 0.0000275 - 0.2, fill 0 (usgs.gov/faqs/
how-do-i-use-a-scale-factor-landsat-level-2-science-products)."""


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
    place = real_path(folder)
    daily = _DAILY_FOLDERS.search(place.as_posix())
    named = re.sub(r"\.zip$", "", place.name, flags=re.I)
    name, texts = stem or named, (stem, named)
    time = next((when for text in texts if (when := taken(text))), None)
    if not time and not daily and (day := day_above(place)):
        name, time = f"{day}_{name}", taken(day)
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


def day_above(place: Path) -> str:
    """Find the date that is all a folder above says, or that three folders say: ``2016/06/08``; empty without one."""
    for folder in place.parents[:_ABOVE]:
        if _DAY.fullmatch(folder.name):
            return folder.name
        if daily := _DAILY_FOLDERS.search(folder.as_posix()):
            return f"{daily[4]}-{int(daily[5]):02}-{int(daily[6]):02}"
    return ""


def taken(name: str) -> datetime | None:
    """Read the first date of a name that is one."""
    for match in _TIMES.finditer(name):
        if match["doy"]:
            when = _time(match["doy"], "000000", "%Y%j%H%M%S")
        elif match["day"]:
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
