"""Metadata: the XML of a product turned into facts. One frozen value per kind of file.

Nothing is inferred from a date or from the number of a baseline: what the XML does not say is not known.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from affine import Affine
from odc.geo.geobox import GeoBox

from sentinel_match.errors import BrokenProduct, NotAProduct
from sentinel_match.products.tiling import TILE_PATTERN
from sentinel_match.products.xml import Document, first_attribute

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sentinel_match.products.archive import Archive

BANDS_BY_ID = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
"""Bands in the order of ``band_id``, which counts from 0 and is not the band's number."""

UTM = re.compile(r"EPSG:32[67](?:0[1-9]|[1-5]\d|60)")

IN_GRANULE = re.compile(rf"_({TILE_PATTERN})(?:_|$)")


@dataclass(frozen=True)
class Granule:
    """One tile that a product lists."""

    identifier: str
    """``S2A_OPER_MSI_L1C_TL_SGS__20160905T073438_A006291_T53HLA_N02.04``."""
    tile: str
    datastrip: str
    images: tuple[str, ...]
    """Image files as listed, without suffix."""


@dataclass(frozen=True)
class ProductMetadata:
    """``MTD_MSIL1C.xml`` or ``MTD_MSIL2A.xml``, or their long-named ancestors."""

    name: str
    """``PRODUCT_URI`` without ``.SAFE``; empty where that is no product name."""
    level: str
    baseline: str
    spacecraft: str
    datatake: str
    """Identifier without baseline."""
    start_time: datetime | None
    """Start of the datatake, minutes before the tile."""
    generation_time: datetime | None
    relative_orbit: int | None
    orbit_direction: str
    cloud_cover: float | None
    nodata_share: float | None
    positions: str
    """``EXT_POS_LIST`` as written; may be empty."""
    nodata: float
    quantification: Mapping[str, float]
    """By ``""`` (reflectance), ``AOT`` and ``WVP``."""
    offsets: Mapping[str, float]
    """By band name; a band without entry has none."""
    granules: tuple[Granule, ...]

    def radiometry(self, band: str) -> tuple[float, float]:
        """Look up offset and quantification of a band: value = (DN + offset) / quantification."""
        if band in BANDS_BY_ID:
            return self.offsets.get(band, 0.0), self.quantification[""]
        return 0.0, self.quantification.get(band, 1.0)


@dataclass(frozen=True)
class TileMetadata:
    """``MTD_TL.xml``."""

    datastrip: str
    sensing_time: datetime | None
    grids: Mapping[int, GeoBox]
    """By resolution in metres: 10, 20, 60, all with the same outer corner."""
    cloud_cover: float | None
    nodata_share: float | None
    sun_elevation: float | None


@dataclass(frozen=True)
class Promise:
    """What ``manifest.safe`` says of one file."""

    size: int
    checksum: str | None
    """``MD5:hex`` or ``SHA3-256:hex``."""


def read_product_metadata(archive: Archive, member: str) -> ProductMetadata:
    """Read the facts of the product's main metadata file.

    Raises:
        NotAProduct: a level other than L1C and L2A.
        BrokenProduct: empty, damaged, hostile, or without an element that nothing can replace.
    """
    xml = Document.read(archive, member)
    level = xml.require("PROCESSING_LEVEL").removeprefix("Level-")[:2]  # early Level-2A calls itself Level-2Ap
    if level not in {"1C", "2A"}:
        raise NotAProduct(archive.path, f"it is Level-{level}, and only Level-1C and Level-2A show map tiles")
    uri = xml.text("PRODUCT_URI_2A", "PRODUCT_URI").removesuffix(".SAFE")
    datatake = xml.find("Datatake")
    return ProductMetadata(
        name=uri if re.fullmatch(r"S2[A-Z]_\w+", uri) else "",
        level=f"L{level}",
        baseline=xml.text("PROCESSING_BASELINE"),
        spacecraft=xml.text("SPACECRAFT_NAME").replace("Sentinel-", "S"),
        datatake=re.sub(r"_N[\d.]+$", "", "" if datatake is None else datatake.get("datatakeIdentifier", "")),
        start_time=xml.time("DATATAKE_SENSING_START", "PRODUCT_START_TIME"),
        generation_time=xml.time("GENERATION_TIME"),
        relative_orbit=None if (orbit := xml.number("SENSING_ORBIT_NUMBER")) is None else int(orbit),
        orbit_direction=xml.text("SENSING_ORBIT_DIRECTION"),
        cloud_cover=xml.number("Cloud_Coverage_Assessment"),
        nodata_share=xml.number("NODATA_PIXEL_PERCENTAGE"),
        positions=xml.text("EXT_POS_LIST"),
        nodata=_nodata(xml),
        quantification=_quantification(xml, f"L{level}"),
        offsets=_offsets(xml),
        granules=_granules(xml),
    )


def read_tile_metadata(archive: Archive, member: str) -> TileMetadata:
    """Read the facts of one tile.

    Raises:
        BrokenProduct: empty, damaged, hostile, or without a usable Tile_Geocoding.
    """
    xml = Document.read(archive, member)
    zenith = xml.number("Mean_Sun_Angle/{*}ZENITH_ANGLE")
    return TileMetadata(
        datastrip=xml.text("DATASTRIP_ID_2A", "DATASTRIP_ID"),
        sensing_time=xml.time("SENSING_TIME"),
        grids=_grids(xml),
        cloud_cover=xml.number("CLOUDY_PIXEL_PERCENTAGE"),
        nodata_share=xml.number("NODATA_PIXEL_PERCENTAGE"),
        sun_elevation=None if zenith is None else 90.0 - zenith,
    )


def read_manifest(archive: Archive, member: str) -> dict[str, Promise]:
    """Read the size and checksum of every file, by its path in the product.

    Raises:
        BrokenProduct: empty, damaged or hostile.
    """
    xml, promises = Document.read(archive, member), {}
    for stream in xml.root.iterfind(".//{*}byteStream"):
        place, checksum, size = stream.find("{*}fileLocation"), stream.find("{*}checksum"), stream.get("size", "")
        if place is None or not size.isdecimal():
            continue
        digest = None
        if checksum is not None and checksum.text:  # the case of the hex digits is mixed within one manifest
            digest = f"{checksum.get('checksumName', '').upper()}:{checksum.text.strip().lower()}"
        promises[place.get("href", "").removeprefix("./")] = Promise(int(size), digest)
    return promises


def read_refined(archive: Archive, member: str) -> bool | None:
    """Tell whether the geometry was refined (``Image_Refining/@flag`` of ``MTD_DS.xml``); ``None`` if it does not say.

    The element stands in ``Image_Data_Info/Geometric_Info``, near the start of a file of 10 to 20 MB.

    Raises:
        BrokenProduct: damaged or hostile.
    """
    flag = first_attribute(archive, member, "Image_Refining", "flag", before="Geometric_Info")
    return None if flag is None else flag == "REFINED"


def _nodata(xml: Document) -> float:
    for entry in xml.root.iterfind(".//{*}Special_Values"):
        value = entry.find("{*}SPECIAL_VALUE_INDEX")
        if entry.findtext("{*}SPECIAL_VALUE_TEXT") == "NODATA" and value is not None:
            return xml.as_number(value)
    return 0.0


def _quantification(xml: Document, level: str) -> dict[str, float]:
    reflectance = "QUANTIFICATION_VALUE" if level == "L1C" else "BOA_QUANTIFICATION_VALUE"
    tags = {"": reflectance, "AOT": "AOT_QUANTIFICATION_VALUE", "WVP": "WVP_QUANTIFICATION_VALUE"}
    values = {name: value for name, tag in tags.items() if (value := xml.number(tag)) is not None}
    if not values.get("", 0) > 0 or not all(value > 0 for value in values.values()):
        raise BrokenProduct(xml.archive.path, f"{xml.member} has no positive {reflectance}: download it again")
    return values


def _offsets(xml: Document) -> dict[str, float]:
    """Read the offsets by band name. ``band_id`` is a position in ``Spectral_Information_List``: 8 is B8A, 9 is B09."""
    names = {str(position): name for position, name in enumerate(BANDS_BY_ID)}
    for entry in xml.root.iterfind(".//{*}Spectral_Information"):
        band, number = entry.get("bandId", ""), entry.get("physicalBand", "").removeprefix("B")
        if number:
            names[band] = f"B{number.zfill(2)}"
    entries = [e for tag in ("RADIO_ADD_OFFSET", "BOA_ADD_OFFSET") for e in xml.root.iterfind(f".//{{*}}{tag}")]
    return {names[e.get("band_id")]: xml.as_number(e) for e in entries if e.get("band_id") in names}


def _granules(xml: Document) -> tuple[Granule, ...]:
    """Read one granule per identifier: some products list one several times, once for each resolution."""
    images: dict[str, list[str]] = {}
    datastrips: dict[str, str] = {}
    for entry in xml.root.iterfind(".//{*}Granule_List/*"):
        identifier = entry.get("granuleIdentifier", "")
        datastrips[identifier] = entry.get("datastripIdentifier", "")
        images.setdefault(identifier, []).extend((e.text or "").strip() for e in entry.iterfind("*"))
    granules = tuple(
        Granule(identifier, tile[1], datastrips[identifier], tuple(dict.fromkeys(filter(None, files))))
        for identifier, files in images.items()
        if (tile := IN_GRANULE.search(identifier))
    )
    if not granules:
        raise BrokenProduct(xml.archive.path, f"{xml.member} lists no granule: download it again")
    return granules


def _grids(xml: Document) -> dict[int, GeoBox]:
    try:
        crs = UTM.fullmatch(xml.text("HORIZONTAL_CS_CODE"))[0]  # type: ignore[index]
        sizes = {e.get("resolution"): e for e in xml.root.iterfind(".//{*}Tile_Geocoding/{*}Size")}
        grids = {}
        for place in xml.root.iterfind(".//{*}Tile_Geocoding/{*}Geoposition"):
            left, top, dx, dy = (float(place.findtext(f"{{*}}{tag}")) for tag in ("ULX", "ULY", "XDIM", "YDIM"))
            rows, columns = (int(sizes[place.get("resolution")].findtext(f"{{*}}{tag}")) for tag in ("NROWS", "NCOLS"))
            if not (rows > 0 and columns > 0 and dx > 0 > dy and math.isfinite(left + top + dx + dy)):
                raise ValueError("no grid of a tile")
            grids[int(place.get("resolution"))] = GeoBox((rows, columns), Affine(dx, 0, left, 0, dy, top), crs)
    except (KeyError, TypeError, ValueError):
        grids = {}
    if not grids:
        raise BrokenProduct(xml.archive.path, f"{xml.member} has no usable Tile_Geocoding: download it again")
    return grids
