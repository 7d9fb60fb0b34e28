"""The XML of a product, laid out as ESA's: element names, nesting, namespaces and number formats of real ones."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from lxml import etree
from lxml.builder import E, ElementMaker

from sentinel_match.products.metadata import BANDS_BY_ID
from sentinel_match.testing.covers import RESOLUTION, SUN_AZIMUTH, SUN_ELEVATION, Season
from sentinel_match.testing.identity import Identity, stamp
from sentinel_match.testing.swath import epsg_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox
    from shapely.geometry import Polygon

XSI = "http://www.w3.org/2001/XMLSchema-instance"
GML, EOP = "http://www.opengis.net/gml/3.2", "http://www.opengis.net/eop/2.0"

_CENTRAL_WAVELENGTHS = (442.7, 492.7, 559.8, 664.6, 704.1, 740.5, 782.8, 832.8, 864.7, 945.1, 1373.5, 1613.7, 2202.4)
_IRRADIANCE = (
    *(1884.69, 1959.66, 1823.24, 1512.06, 1424.64, 1287.61, 1162.08),
    *(1041.63, 955.32, 812.92, 367.15, 245.59, 85.25),
)
_CONTENT_CLASSES = {
    "NODATA_PIXEL_PERCENTAGE": 0,
    "SATURATED_DEFECTIVE_PIXEL_PERCENTAGE": 1,
    "DARK_FEATURES_PERCENTAGE": 2,
    "CLOUD_SHADOW_PERCENTAGE": 3,
    "VEGETATION_PERCENTAGE": 4,
    "NOT_VEGETATED_PERCENTAGE": 5,
    "WATER_PERCENTAGE": 6,
    "UNCLASSIFIED_PERCENTAGE": 7,
    "MEDIUM_PROBA_CLOUDS_PERCENTAGE": 8,
    "HIGH_PROBA_CLOUDS_PERCENTAGE": 9,
    "THIN_CIRRUS_PERCENTAGE": 10,
    "SNOW_ICE_PERCENTAGE": 11,
}


@dataclass(frozen=True)
class Content:
    """How many pixels show what."""

    counts: tuple[int, ...]
    """Pixels of each SCL class, 0 to 11."""

    @staticmethod
    def of(images: Iterable[NDArray[np.uint8]]) -> Content:
        """Count the classes of some scene classifications."""
        counts = np.sum([np.bincount(image.ravel(), minlength=12) for image in images], axis=0)
        return Content(tuple(int(n) for n in counts))

    def percent(self, *classes: int) -> float:
        """Compute the percentage of the valid pixels that show some classes; of all pixels for class 0 (no data)."""
        total = sum(self.counts) if classes == (0,) else sum(self.counts[1:])
        return 100 * sum(self.counts[c] for c in classes) / total if total else 0.0

    @property
    def cloud(self) -> float:
        """Compute the percentage of valid pixels under cloud of any kind, as ``Cloud_Coverage_Assessment`` has it."""
        return self.percent(8, 9, 10)


@dataclass(frozen=True)
class Scale:
    """How digital numbers become reflectance: (DN + offset) / quantification."""

    quantification: int
    offsets: Mapping[int, int]
    """By ``band_id`` (0-based); a band that is absent has none, and an empty mapping leaves the list out."""

    def offset(self, band: str) -> int:
        """Look up the offset of a band, by name."""
        return self.offsets.get(BANDS_BY_ID.index(band), 0)


def psd(identity: Identity) -> int:
    """Tell which version of the format a baseline writes: psd-15 since 05.11; user-made 99.99 stays with 14."""
    baseline = 0.0 if identity.baseline == "99.99" else float(identity.baseline)
    return 15 if baseline >= 5.11 else 14 if baseline >= 2.06 or not baseline else 13 if baseline >= 2.04 else 12


@dataclass(frozen=True)
class MainMetadata:
    """What the main metadata of a product say."""

    identity: Identity
    """Of the product."""
    granules: Sequence[tuple[Identity, Sequence[str]]]
    """Of each granule its identity and its images, without suffix, as listed."""
    footprint: str
    """Text of ``EXT_POS_LIST``."""
    scale: Scale
    """Quantification and offsets."""
    content: Content
    """What the pixels show."""
    image_format: str
    """``JPEG2000``, or ``GeoTIFF`` as the Planetary Computer has it."""
    old: bool
    """Whether the granules are listed as in the old layout."""


def product_xml(metadata: MainMetadata) -> bytes:
    """Write ``MTD_MSIL1C.xml``, ``MTD_MSIL2A.xml``, or their long-named ancestor."""
    identity = metadata.identity
    level, l2a = identity.level[1:], identity.level == "L2A"
    ring = E.Product_Footprint(E.Product_Footprint(E.Global_Footprint(E.EXT_POS_LIST(metadata.footprint))))
    quality = [E.Cloud_Coverage_Assessment(f"{metadata.content.cloud:.6f}")]
    if l2a:
        shares = {tag: metadata.content.percent(code) for tag, code in _CONTENT_CLASSES.items()}
        quality += [E.Image_Content_QI(*(E(tag, repr(share)) for tag, share in shares.items()))]
    characteristics = E.Product_Image_Characteristics(*_characteristics(metadata.scale, l2a))
    return _document(
        identity,
        f"Level-{level}_User_Product",
        f"User_Product_Level-{level}",
        General_Info=[_product_info(metadata), characteristics],
        Geometric_Info=[ring],
        Quality_Indicators_Info=quality,
    )


def _product_info(metadata: MainMetadata) -> etree._Element:
    """Write the names, times and granules of a product."""
    identity, old = metadata.identity, metadata.old
    level = identity.level[1:]
    listed, item = (E.Granules, E.IMAGE_ID) if old else (E.Granule, E.IMAGE_FILE)
    organisation = [
        E.Granule_List(
            listed(
                *(item(name) for name in images),
                datastripIdentifier=granule.datastrip,
                granuleIdentifier=granule.granule,
                imageFormat=metadata.image_format,
            )
        )
        for granule, images in metadata.granules
    ]
    info: etree._Element = E.Product_Info(
        E.PRODUCT_START_TIME(stamp(identity.start)),
        E.PRODUCT_STOP_TIME(stamp(identity.start)),
        E.PRODUCT_URI(f"{identity.old_name if old else identity.name}.SAFE"),
        E.PROCESSING_LEVEL(f"Level-{level}"),
        E.PRODUCT_TYPE(f"S2MSI{level}"),
        E.PROCESSING_BASELINE(identity.baseline),
        E.GENERATION_TIME(stamp(identity.made)),
        E.Datatake(
            E.SPACECRAFT_NAME(f"Sentinel-{identity.spacecraft[1:]}"),
            E.DATATAKE_TYPE("INS-NOBS"),
            E.DATATAKE_SENSING_START(stamp(identity.start)),
            E.SENSING_ORBIT_NUMBER(str(identity.orbit)),
            E.SENSING_ORBIT_DIRECTION("DESCENDING"),
            datatakeIdentifier=identity.datatake,
        ),
        E.Query_Options(E.PRODUCT_FORMAT("SAFE" if old else "SAFE_COMPACT")),
        E.Product_Organisation(*organisation),
    )
    return info


def _characteristics(scale: Scale, l2a: bool) -> list[etree._Element]:
    """Write what turns digital numbers into reflectance, and the bands."""
    quantification = str(scale.quantification)
    special = [
        E.Special_Values(E.SPECIAL_VALUE_TEXT(text), E.SPECIAL_VALUE_INDEX(value))
        for text, value in (("NODATA", "0"), ("SATURATED", "65535"))
    ]
    if l2a:
        divisor = E.QUANTIFICATION_VALUES_LIST(
            E.BOA_QUANTIFICATION_VALUE(quantification, unit="none"),
            E.AOT_QUANTIFICATION_VALUE("1000.0", unit="none"),
            E.WVP_QUANTIFICATION_VALUE("1000.0", unit="cm"),
        )
        offsets, offset = E.BOA_ADD_OFFSET_VALUES_LIST, E.BOA_ADD_OFFSET
    else:
        divisor = E.QUANTIFICATION_VALUE(quantification, unit="none")
        offsets, offset = E.Radiometric_Offset_List, E.RADIO_ADD_OFFSET
    listed = [offsets(*(offset(str(v), band_id=str(k)) for k, v in scale.offsets.items()))] if scale.offsets else []
    sun = [E.SOLAR_IRRADIANCE(f"{v}", bandId=str(k), unit="W/m²/µm") for k, v in enumerate(_IRRADIANCE)]
    spectral = [
        E.Spectral_Information(
            E.RESOLUTION(str(RESOLUTION[band])),
            E.Wavelength(E.CENTRAL(str(_CENTRAL_WAVELENGTHS[k]), unit="nm")),
            bandId=str(k),
            physicalBand=band.replace("B0", "B"),
        )
        for k, band in enumerate(BANDS_BY_ID)
    ]
    return [
        *special,
        divisor,
        *listed,
        E.Reflectance_Conversion(E.U("1.0"), E.Solar_Irradiance_List(*sun)),
        E.Spectral_Information_List(*spectral),
    ]


def tile_xml(
    identity: Identity,
    geobox: GeoBox,
    season: Season,
    content: Content,
    masks: Mapping[str, str],
    views: Sequence[etree._Element] = (),
) -> bytes:
    """Write ``MTD_TL.xml`` of a granule: its grid at 10, 20 and 60 m, the sun, the masks (file name -> type), views."""
    epsg = epsg_of(geobox)
    level = identity.level[1:]
    l1c = E.L1C_TILE_ID(identity.granule.replace("_L2A_", "_L1C_"), metadataLevel="Brief")
    size = [
        E.Size(E.NROWS(str(geobox.shape[0] * 10 // r)), E.NCOLS(str(geobox.shape[1] * 10 // r)), resolution=str(r))
        for r in (10, 20, 60)
    ]
    left, top = f"{geobox.affine.c:.0f}", f"{geobox.affine.f:.0f}"
    position = [
        E.Geoposition(E.ULX(left), E.ULY(top), E.XDIM(str(r)), E.YDIM(str(-r)), resolution=str(r)) for r in (10, 20, 60)
    ]
    geocoding = E.Tile_Geocoding(
        E.HORIZONTAL_CS_NAME(f"WGS84 / UTM zone {epsg % 100}{'S' if epsg > 32700 else 'N'}"),
        E.HORIZONTAL_CS_CODE(f"EPSG:{epsg}"),
        *size,
        *position,
        metadataLevel="Brief",
    )
    sun = E.Mean_Sun_Angle(
        E.ZENITH_ANGLE(f"{90 - SUN_ELEVATION[season]}", unit="deg"), E.AZIMUTH_ANGLE(f"{SUN_AZIMUTH}", unit="deg")
    )
    inventory = [E.CLOUDY_PIXEL_PERCENTAGE(f"{content.cloud:.6f}"), E.DEGRADED_MSI_DATA_PERCENTAGE("0")]
    if identity.level == "L2A":
        inventory += [E.NODATA_PIXEL_PERCENTAGE(f"{content.percent(0):.6f}")]
    files = [E.MASK_FILENAME(name, type=kind) for name, kind in masks.items()]
    return _document(
        identity,
        f"Level-{level}_Tile_ID",
        f"S2_PDI_Level-{level}_Tile_Metadata",
        General_Info=[
            *([l1c] if identity.level == "L2A" else []),
            E.TILE_ID(identity.granule, metadataLevel="Brief"),
            E.DATASTRIP_ID(identity.datastrip, metadataLevel="Standard"),
            E.SENSING_TIME(stamp(identity.sensing), metadataLevel="Standard"),
        ],
        Geometric_Info=[geocoding, E.Tile_Angles(sun, *views, metadataLevel="Standard")],
        Quality_Indicators_Info=[
            E.Image_Content_QI(*inventory),
            E.Pixel_Level_QI(*files, geometry="FULL_RESOLUTION"),
        ],
    )


def datastrip_xml(identity: Identity, refined: bool) -> bytes:
    """Write ``MTD_DS.xml``, which says whether the geometry was refined."""
    level = identity.level[1:]
    flag = E.Image_Refining(flag="REFINED" if refined else "NOT_REFINED")
    return _document(
        identity,
        f"Level-{level}_DataStrip_ID",
        f"S2_PDI_Level-{level}_Datastrip_Metadata",
        General_Info=[E.Datatake_Info(datatakeIdentifier=identity.datatake)],
        Image_Data_Info=[E.Geometric_Info(E.RGM("COMPUTED"), flag, metadataLevel="Standard")],
    )


def manifest_xml(root: Path, algorithm: str) -> bytes:
    """Write ``manifest.safe`` of the files below ``root``: size and checksum (``MD5`` or ``SHA3-256``) of each.

    As in real manifests hex digits come in both cases, and a GeoTIFF of the Planetary Computer is stated with the 744
    bytes of a stub.
    """
    xfdu = "urn:ccsds:schema:xfdu:1"
    objects = []
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        digest = _digest(path, algorithm)
        image = path.suffix in {".jp2", ".tif"}
        stream = E.byteStream(
            E.fileLocation(href=f"./{path.relative_to(root).as_posix()}", locatorType="URL"),
            E.checksum(digest.upper() if image else digest, checksumName=algorithm),
            mimeType="application/octet-stream" if image else "text/xml",
            size="744" if path.suffix == ".tif" else str(path.stat().st_size),
        )
        objects.append(E.dataObject(stream, ID=path.stem))
    manifest = ElementMaker(namespace=xfdu, nsmap={"xfdu": xfdu}).XFDU(
        E.dataObjectSection(*objects), version="esa/safe/sentinel/1.1/sentinel-2/msi/archive_user_product"
    )
    return _serialise(manifest)


def _digest(path: Path, algorithm: str) -> str:
    """Compute the checksum of a file, in hex."""
    checksum = hashlib.new(algorithm.lower())
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            checksum.update(chunk)
    return checksum.hexdigest()


def clouds_gml(name: str, epsg: int, polygons: Sequence[tuple[str, Polygon]]) -> bytes:
    """Write ``MSK_CLOUDS_B00.gml`` (before baseline 04.00): (``OPAQUE`` or ``CIRRUS``, polygon in UTM metres) each."""
    gml = ElementMaker(namespace=GML, nsmap={"eop": EOP, "xsi": XSI, "gml": GML})
    eop = ElementMaker(namespace=EOP, nsmap={"eop": EOP, "xsi": XSI, "gml": GML})
    identifier = f"{{{GML}}}id"

    def ring(coordinates: Iterable[tuple[float, ...]]) -> etree._Element:
        line: etree._Element = gml.LinearRing(
            gml.posList(" ".join(f"{v:.0f}" for p in coordinates for v in p), srsDimension="2")
        )
        return line

    members = [
        eop.MaskFeature(
            eop.maskType(kind, codeSpace="urn:gs2:S2PDGS:maskType"),
            eop.extentOf(
                gml.Polygon(
                    gml.exterior(ring(polygon.exterior.coords)),
                    *(gml.interior(ring(hole.coords)) for hole in polygon.interiors),
                    {identifier: f"{kind}.{k}_Polygon"},
                )
            ),
            {identifier: f"{kind}.{k}"},
        )
        for k, (kind, polygon) in enumerate(polygons)
    ]
    head = [gml.name(f"MSK_CLOUDS pixels mask from data-strip {name}")]
    if polygons:
        bounds = np.array([polygon.bounds for _, polygon in polygons])
        low, high = bounds[:, :2].min(axis=0), bounds[:, 2:].max(axis=0)
        corners = [gml.lowerCorner(f"{low[0]:.0f} {low[1]:.0f}"), gml.upperCorner(f"{high[0]:.0f} {high[1]:.0f}")]
        head += [gml.boundedBy(gml.Envelope(*corners, srsName=f"urn:ogc:def:crs:EPSG:8.7:{epsg}"))]
    return _serialise(eop.Mask(*head, eop.maskMembers(*members), {identifier: name}))


def _document(identity: Identity, root: str, schema: str, **sections: list[etree._Element]) -> bytes:
    """Write a metadata file: root and sections in the namespace of the baseline, everything below them in none."""
    namespace = f"https://psd-{psd(identity)}.sentinel2.eo.esa.int/PSD/{schema}.xsd"
    n1 = ElementMaker(namespace=namespace, nsmap={"n1": namespace, "xsi": XSI})
    return _serialise(n1(root, *(n1(name, *children) for name, children in sections.items())))


def _serialise(root: etree._Element) -> bytes:
    """Write a document as UTF-8."""
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8", standalone=False, pretty_print=True)
