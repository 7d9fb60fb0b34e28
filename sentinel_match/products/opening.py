"""Opening: the one place where GDAL opens a raster that a user gave, by drivers of real rasters and nothing else.

Some of GDAL's formats are programs: text that names hosts to ask or other files to read (VRT, WMS, WCS, STAC, …), and
GDAL knows them by their content, whatever the suffix. None is opened but a VRT that calls itself so, and only where it
puts together rasters of its own folder.
"""

from __future__ import annotations

import os
import re
import zipfile
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import rasterio
from lxml import etree
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from sentinel_match.products.files import ONLY_LOCAL, why_no_file
from sentinel_match.products.xml import UNTRUSTED
from sentinel_match.products.zips import member_of, open_zip

if TYPE_CHECKING:
    from collections.abc import Iterator

DRIVERS = re.findall(
    r"\w+",
    """
    GTiff JP2OpenJPEG JP2KAK JP2ECW ECW JP2MrSID MrSID JPEG JPEGXL PNG WEBP GIF BIGGIF BMP HEIF AVIF HFA ENVI EHdr
    netCDF HDF5 HDF5Image HDF4 HDF4Image KEA BAG NITF GRIB GPKG AAIGrid GRASSASCIIGrid SRTMHGT DTED USGSDEM SAGA RST BT
    RMF PNM SGI TGA XPM LAN ISCE ROI_PAC SNAP_TIFF GSAG GSBG GS7BG GXF HF2 ZMap XYZ RIK SIGDEM Terragen PCRaster RRASTER
    """,
)
"""Formats whose file holds the pixels, or says where they are in a file of the same stem."""

VARIABLE_DRIVERS = {"netcdf": "netCDF", "hdf5": "HDF5Image", "hdf4_sds": "HDF4Image", "gpkg": "GPKG"}
"""Formats of several images in a file, by how GDAL's name of one of them begins."""

PROGRAM = (b"<vrtdataset", b"<gdal_", b"<wcs_", b"<wms", b"<wmts", b"<ogr", b"<gdaltileindexdataset", b"<mrf_meta")
"""How text begins that tells GDAL what to read elsewhere."""

TIFF = (b"ii*\0", b"mm\0*", b"ii+\0", b"mm\0+")
"""How the overviews and the mask beside an image begin, in small letters."""

OF_THEIR_OWN = {".jp2", ".tif", ".tiff", ".jpg", ".jpeg", ".png", ".img", ".vrt", ".zip", ".safe"}
"""Suffixes of files of the same stem that are no part of an image."""

MOST_NOTES = 2**26
"""Most bytes read of what GDAL has noted of an image (``.aux.xml``), which may unpack to any size."""

MOST_SIDE = 2**20
"""Most pixels along a side, a world of 40 m; a header of 500 bytes can claim any number."""

MOST_PIXELS = 2**34
"""Most pixels of an image: 140 whole tiles. More are a mistake or meant to fill memory and disk."""

TRUST_VARIABLE = "SENTINEL_MATCH_TRUST_VRT"
"""Variable of the environment by which every VRT that a user names is opened, and the network is in reach."""

TRUSTING = f"make a raster of it by `gdal_translate`, or set {TRUST_VARIABLE}=1 if you trust it"

VRT_PARTS = re.findall(
    r"\w+",
    """
    VRTDataset SRS GeoTransform GCPList GCP Metadata MDI BlockXSize BlockYSize OverviewList MaskBand VRTRasterBand
    NoDataValue HideNoDataValue ColorInterp ColorTable Entry Description UnitType Offset Scale CategoryNames Category
    Histograms HistItem HistMin HistMax BucketCount IncludeOutOfRange Approximate HistCounts
    SimpleSource ComplexSource AveragedSource SourceFilename SourceBand SourceProperties SrcRect DstRect UseMaskBand
    NODATA ScaleOffset ScaleRatio SrcMin SrcMax DstMin DstMax Exponent LUT ColorTableComponent
    """,
)
"""Elements of a VRT that puts rasters or their bands together: none names a file but ``SourceFilename``."""


class RefusedRaster(ValueError):
    """A raster that is not opened, whatever GDAL would make of it; says why, as the end of a sentence."""


def offline() -> dict[str, str]:
    """Return settings that keep GDAL on this machine, whatever a file beside an image says, unless VRTs are trusted."""
    return {} if _trusting() else {"CPL_VSIL_CURL_ALLOWED_FILENAME": "none", "GDAL_VRT_ENABLE_PYTHON": "NO"}


@contextmanager
def reading_vectors() -> Iterator[None]:
    """Keep GDAL, as pyogrio has it, on this machine, and from writing what it learns of a file beside it."""
    import pyogrio

    settings = {"GDAL_PAM_ENABLED": "NO", "GML_DOWNLOAD_SCHEMA": "NO", **offline()}
    before = {name: pyogrio.get_gdal_config_option(name) for name in settings}
    pyogrio.set_gdal_config_options(settings)
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options(before)


@contextmanager
def open_raster(path: Path | str, **options: Any) -> Iterator[DatasetReader]:
    """Open a raster for reading.

    Args:
        path: a file on this machine, or GDAL's path to a member of a zip or to one of several images in a file on this
            machine.
        options: GDAL's, for opening.

    Raises:
        RefusedRaster: it is no local file, a program, or claims an absurd size.
        RasterioError: GDAL cannot open it.
    """
    try:
        name, drivers = _checked(path)
    except OSError as error:
        raise RefusedRaster(f"it cannot be read ({error.strerror or error})") from error
    with rasterio.Env(**offline()), DatasetReader(name, driver=drivers, **options) as dataset:
        if max(dataset.shape) > MOST_SIDE or dataset.width * dataset.height > MOST_PIXELS:
            raise RefusedRaster(
                f"it claims {dataset.width:,} x {dataset.height:,} pixels, more than any image that can be matched: "
                "cut out a part by `gdal_translate -srcwin`"
            )
        yield dataset


def refuse_program(path: Path) -> None:
    """Refuse text that tells GDAL what to read elsewhere, whatever its suffix.

    Raises:
        RefusedRaster: see above, or it is no file.
    """
    if reason := why_no_file(path):
        raise RefusedRaster(reason)
    head = _head(path)
    if head.startswith(PROGRAM):
        raise RefusedRaster(
            "it holds no pixels but text that tells GDAL which other files or hosts to read: use the raster "
            "itself, or make one by `gdal_translate`"
        )


def _trusting() -> bool:
    return os.environ.get(TRUST_VARIABLE, "0") not in {"", "0"}


def _checked(path: Path | str) -> tuple[Path | str, list[str]]:
    """Return the name for GDAL and the drivers that may open it."""
    if str(path).startswith("/vsizip/"):
        if (place := member_of(str(path))) is None:
            raise RefusedRaster(ONLY_LOCAL)
        status = place[0].stat()
        _check_beside_member(*place, status.st_size, status.st_mtime_ns)
        return path, DRIVERS
    if (file := _file_of_variable(str(path))) is not None:
        refuse_program(file)
        return path, [VARIABLE_DRIVERS[str(path).partition(":")[0].lower()]]
    if reason := why_no_file(Path(path)):
        raise RefusedRaster(reason)
    path = Path(path).absolute()  # so that GDAL takes no name for a connection
    if path.suffix.lower() == ".vrt" and _head(path).startswith(b"<vrtdataset"):
        if not _trusting():
            _check_vrt(path)
        return path, ["VRT"]
    refuse_program(path)
    _check_beside(path)
    return path, DRIVERS


def _file_of_variable(name: str) -> Path | None:
    """Find the file of which GDAL names one of several images; ``None`` where it is no such name."""
    driver, _, rest = name.partition(":")
    if driver.lower() not in VARIABLE_DRIVERS:
        return None
    ends = [k for k, letter in enumerate(rest) if letter == ":"]
    files = (Path(rest[:end].strip('"')) for end in ends)  # a name of a drive or a file may have a colon too
    return next((file for file in files if file.is_file()), None)


def _head(path: Path) -> bytes:
    """Read how a file begins, without what may stand before it, in small letters."""
    with path.open("rb") as stream:
        return _head_of(stream)


def _head_of(stream: IO[bytes]) -> bytes:
    text = stream.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"<?xml"):
        text = text.partition(b"?>")[2].lstrip()
    while text.startswith(b"<!--"):
        text = text.partition(b"-->")[2].lstrip()
    return text.lower()


def _check_beside(path: Path) -> None:
    """Check the files that GDAL reads along with an image: its overviews and mask are opened by any driver."""
    try:
        entries = list(os.scandir(path.parent))
    except PermissionError:  # then GDAL sees none of them either
        return
    for beside in (Path(entry.path) for entry in entries if entry.name != path.name):
        follows = beside.name.lower().startswith(f"{path.name.lower()}.")
        if not follows and (beside.stem.lower() != path.stem.lower() or beside.suffix.lower() in OF_THEIR_OWN):
            continue
        if beside.is_dir() or not os.access(beside, os.R_OK):  # nor does GDAL read it
            continue
        if reason := why_no_file(beside, may_be_empty=True):
            raise RefusedRaster(f"of {beside.name} beside it, which GDAL would read too, {reason}")
        if follows:
            with beside.open("rb") as stream:
                _check_follower(beside.name, stream)


@lru_cache(maxsize=1024)
def _check_beside_member(path: Path, member: str, _size: int, _modified: int) -> None:
    """Check the members of a zip that GDAL reads along with one, as :func:`_check_beside` does files."""
    try:
        with open_zip(path) as archive:
            for name in archive.namelist():
                if name.lower().startswith(f"{member.lower()}."):
                    with archive.open(name) as stream:
                        _check_follower(name, stream)
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        if isinstance(error, RefusedRaster):
            raise
        raise RefusedRaster(f"its zip is damaged ({error})") from error


def _check_follower(name: str, stream: IO[bytes]) -> None:
    """Check a file that is named after an image: its overviews, its mask, or what GDAL has noted of it."""
    suffix = Path(name).suffix.lower()
    leads = suffix in {".ovr", ".msk"} and not _head_of(stream).startswith(TIFF)
    leads |= suffix == ".xml" and b"overview_file" in stream.read(MOST_NOTES).lower()
    if leads:
        raise RefusedRaster(f"{Path(name).name} beside it may tell GDAL to read other files or hosts: delete it")


def _check_vrt(path: Path) -> None:
    """Check that a VRT puts together real rasters of its own folder, and does nothing else."""
    try:
        root = etree.fromstring(path.read_bytes(), etree.XMLParser(**UNTRUSTED, remove_comments=True, remove_pis=True))
    except etree.XMLSyntaxError as error:
        raise RefusedRaster(f"it is a VRT whose text is damaged ({error})") from None
    for element in root.iter():
        kind = element.get("subClass", "").removeprefix("VRTSourcedRasterBand")
        domain = element.get("domain", "")
        if (
            element.tag not in VRT_PARTS
            or kind
            or domain.upper() in {"GEOLOCATION", "OVERVIEWS", "DERIVED_SUBDATASETS"}
        ):
            raise RefusedRaster(f"it is a VRT that computes ({kind or domain or element.tag}): {TRUSTING}")
    for element in root.iter("SourceFilename"):
        _check_source(path, element.text or "", relative=element.get("relativeToVRT") == "1")


def _check_source(vrt: Path, name: str, *, relative: bool) -> None:
    folder = vrt.parent.resolve()
    source = (folder / name if relative else Path(name)).resolve()
    if ":" in name[2:] or not source.is_relative_to(folder):
        raise RefusedRaster(f"it is a VRT that reads {name}, outside its folder: {TRUSTING}")
    try:
        refuse_program(source)
        with open_raster(source):
            pass
    except (RefusedRaster, RasterioError) as error:
        raise RefusedRaster(f"it is a VRT that reads {name}, and that cannot be used: {error}") from None
