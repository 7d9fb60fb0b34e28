"""The least that makes a SAFE product, for tests of the parser: every element can be left out or made strange."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import rasterio
from affine import Affine
from pyproj import Transformer

if TYPE_CHECKING:
    from pathlib import Path

BAND_IDS = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")


@dataclass(frozen=True)
class Safe:
    """What one product says. Its tile is 1.2 km wide, so that real JP2 files are small."""

    level: str = "L1C"
    baseline: str = "05.11"
    psd: int = 15
    spacecraft: str = "S2A"
    datatake: str = "20230608T101031"
    strip: str = "20230608T101033"
    generated: str = "20230608T140000"
    tile: str = "T33UUU"
    origin: tuple[int, int] = (300_000, 5_900_040)
    east: tuple[float, float] = (0.0, 1.0)
    """Part of the tile, from west to east, that the footprint covers."""
    offsets: dict[int, float] = field(default_factory=dict, hash=False)
    images: tuple[str, ...] = ("B04",)
    """Those that are there; all are listed."""
    refined: str | None = None
    positions: str | None = None
    edits: tuple[tuple[str, str], ...] = ()
    """Replacements in the text of the main metadata file."""

    @property
    def name(self) -> str:
        number = self.baseline.replace(".", "")
        return f"{self.spacecraft}_MSI{self.level}_{self.datatake}_N{number}_R022_{self.tile}_{self.generated}"

    @property
    def granule(self) -> str:
        return f"GRANULE/{self.level}_{self.tile}_A041575_{self.strip}"

    @property
    def epsg(self) -> int:
        return (32600 if self.tile[3] >= "N" else 32700) + int(self.tile[1:3])

    def image(self, name: str) -> str:
        """Name the path of an image in the product: ``B04``, or ``B04_20m`` in Level-2A."""
        folder = f"R{name[-3:]}/" if self.level == "L2A" else ""
        return f"{self.granule}/IMG_DATA/{folder}{self.tile}_{self.datatake}_{name}.jp2"

    @property
    def ring(self) -> str:
        """Write EXT_POS_LIST of the part of the tile that is covered."""
        if self.positions is not None:
            return self.positions
        west, east = (self.origin[0] + 1200 * share for share in self.east)
        north, south = self.origin[1], self.origin[1] - 1200
        to_lonlat = Transformer.from_crs(self.epsg, 4326, always_xy=True)
        corners = [to_lonlat.transform(x, y) for x, y in ((west, north), (east, north), (east, south), (west, south))]
        return " ".join(f"{lat} {lon}" for lon, lat in [*corners, corners[0]])

    def main_xml(self) -> str:
        listed = (
            [f"B{b[1:]:0>2}" for b in BAND_IDS] if self.level == "L1C" else ["B02_10m", "B04_10m", "B04_20m", "SCL_20m"]
        )
        files = "".join(f"<IMAGE_FILE>{self.image(n).removesuffix('.jp2')}</IMAGE_FILE>" for n in listed)
        add = "RADIO_ADD_OFFSET" if self.level == "L1C" else "BOA_ADD_OFFSET"
        quantification = (
            "<QUANTIFICATION_VALUE>10000</QUANTIFICATION_VALUE>"
            if self.level == "L1C"
            else "<QUANTIFICATION_VALUES_LIST><BOA_QUANTIFICATION_VALUE>10000</BOA_QUANTIFICATION_VALUE>"
            "<AOT_QUANTIFICATION_VALUE>1000.0</AOT_QUANTIFICATION_VALUE></QUANTIFICATION_VALUES_LIST>"
        )
        kind = f"Level-{self.level[1:]}"
        spectral = "".join(f'<Spectral_Information bandId="{i}" physicalBand="{b}"/>' for i, b in enumerate(BAND_IDS))
        xml = f"""<?xml version="1.0"?>
<n1:{kind}_User_Product xmlns:n1="https://psd-{self.psd}.sentinel2.eo.esa.int/PSD/User_Product_{kind}.xsd">
<n1:General_Info><Product_Info>
  <PRODUCT_START_TIME>2023-06-08T10:10:31.024Z</PRODUCT_START_TIME><PRODUCT_URI>{self.name}.SAFE</PRODUCT_URI>
  <PROCESSING_LEVEL>{kind}</PROCESSING_LEVEL><PROCESSING_BASELINE>{self.baseline}</PROCESSING_BASELINE>
  <GENERATION_TIME>{iso(self.generated)}.000000Z</GENERATION_TIME>
  <Datatake datatakeIdentifier="G{self.spacecraft}_{self.datatake}_041575_N{self.baseline}">
    <SPACECRAFT_NAME>Sentinel-{self.spacecraft[1:]}</SPACECRAFT_NAME>
    <DATATAKE_SENSING_START>{iso(self.datatake)}.024Z</DATATAKE_SENSING_START>
    <SENSING_ORBIT_NUMBER>22</SENSING_ORBIT_NUMBER>
    <SENSING_ORBIT_DIRECTION>DESCENDING</SENSING_ORBIT_DIRECTION></Datatake>
  <Product_Organisation><Granule_List><Granule datastripIdentifier="{self.datastrip}"
     granuleIdentifier="{self.spacecraft}_OPER_MSI_{self.level}_TL_2APS_{self.generated}_A041575_{self.tile}_N{self.baseline}"
     imageFormat="JPEG2000">{files}</Granule></Granule_List></Product_Organisation></Product_Info>
 <Product_Image_Characteristics>
  <Special_Values><SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT><SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX></Special_Values>
  {quantification}
  <Offsets>{"".join(f'<{add} band_id="{i}">{v}</{add}>' for i, v in self.offsets.items())}</Offsets>
  <Spectral_Information_List>{spectral}</Spectral_Information_List></Product_Image_Characteristics></n1:General_Info>
<n1:Geometric_Info><Product_Footprint><Product_Footprint><Global_Footprint><EXT_POS_LIST>{self.ring}</EXT_POS_LIST>
  </Global_Footprint></Product_Footprint></Product_Footprint></n1:Geometric_Info>
<n1:Quality_Indicators_Info><Cloud_Coverage_Assessment>7.0E-6</Cloud_Coverage_Assessment></n1:Quality_Indicators_Info>
</n1:{kind}_User_Product>"""
        for old, new in self.edits:
            assert old in xml
            xml = xml.replace(old, new)
        return xml

    @property
    def datastrip(self) -> str:
        return f"{self.spacecraft}_OPER_MSI_{self.level}_DS_2APS_{self.generated}_S{self.strip}_N{self.baseline}"

    def tile_xml(self) -> str:
        grids = "".join(
            f'<Size resolution="{m}"><NROWS>{1200 // m}</NROWS><NCOLS>{1200 // m}</NCOLS></Size>'
            f'<Geoposition resolution="{m}"><ULX>{self.origin[0]}</ULX><ULY>{self.origin[1]}</ULY>'
            f"<XDIM>{m}</XDIM><YDIM>-{m}</YDIM></Geoposition>"
            for m in (10, 20, 60)
        )
        return f"""<n1:Tile xmlns:n1="https://psd-{self.psd}.sentinel2.eo.esa.int/PSD/Tile.xsd"><n1:General_Info>
<DATASTRIP_ID>{self.datastrip}</DATASTRIP_ID><SENSING_TIME>{iso(self.strip)}.457Z</SENSING_TIME></n1:General_Info>
<n1:Geometric_Info><Tile_Geocoding><HORIZONTAL_CS_CODE>EPSG:{self.epsg}</HORIZONTAL_CS_CODE>{grids}</Tile_Geocoding>
<Tile_Angles><Mean_Sun_Angle><ZENITH_ANGLE>33.5</ZENITH_ANGLE></Mean_Sun_Angle></Tile_Angles></n1:Geometric_Info></n1:Tile>"""

    def strip_xml(self) -> str:
        flag = f'<Image_Refining flag="{self.refined}"><Correlation_Quality/></Image_Refining>' if self.refined else ""
        return (
            '<n1:Strip xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/Strip.xsd"><n1:Image_Data_Info>'
            f"<Geometric_Info><RGM>COMPUTED</RGM>{flag}</Geometric_Info></n1:Image_Data_Info>"
            f"<n1:Satellite_Ancillary_Data_Info>{'<Attitude/>' * 9000}"  # never closed: nothing may read so far
        )

    def write(self, folder: Path, name: str | None = None) -> Path:
        """Write the product as a folder (``X.SAFE``) in ``folder``."""
        product = folder / (f"{self.name}.SAFE" if name is None else name)
        files = {self.image(image): jp2(image, self) for image in self.images}
        files[f"{self.granule}/MTD_TL.xml"] = self.tile_xml().encode()
        files[f"MTD_MSI{self.level}.xml"] = self.main_xml().encode()
        if self.refined is not None:
            files[f"DATASTRIP/DS_2APS_{self.generated}_S{self.strip}/MTD_DS.xml"] = self.strip_xml().encode()
        entries = "".join(
            f'<dataObject><byteStream size="{len(data)}"><fileLocation href="./{path}"/>'
            f'<checksum checksumName="SHA3-256">{hashlib.sha3_256(data).hexdigest().upper()}</checksum>'
            "</byteStream></dataObject>"
            for path, data in files.items()
        )
        files["manifest.safe"] = f'<xfdu:XFDU xmlns:xfdu="urn:ccsds:schema:xfdu:1">{entries}</xfdu:XFDU>'.encode()
        for path, data in files.items():
            (product / path).parent.mkdir(parents=True, exist_ok=True)
            (product / path).write_bytes(data)
        return product


def iso(stamp: str) -> str:
    """Write ``20230608T101031`` as ``2023-06-08T10:10:31``."""
    d, t = stamp.split("T")
    return f"{d[:4]}-{d[4:6]}-{d[6:]}T{t[:2]}:{t[2:4]}:{t[4:]}"


def jp2(name: str, safe: Safe, side: int = 1200) -> bytes:
    """Make a real JP2 of one image, georeferenced; a ``side`` in metres other than 1200 is not the tile's."""
    metres = int(name[-3:-1]) if name.endswith("m") else {"B01": 60, "B05": 20, "B8A": 20, "B09": 60}.get(name, 10)
    pixels = np.arange((side // metres) ** 2, dtype=np.uint16).reshape(1, side // metres, -1)
    transform = Affine(metres, 0, safe.origin[0], 0, -metres, safe.origin[1])
    with rasterio.MemoryFile(ext=".jp2") as memory:
        with memory.open(
            driver="JP2OpenJPEG",
            dtype="uint16",
            count=1,
            height=pixels.shape[1],
            width=pixels.shape[2],
            crs=f"EPSG:{safe.epsg}",
            transform=transform,
            QUALITY=100,
            REVERSIBLE="YES",
        ) as image:
            image.write(pixels)
        return bytes(memory.read())


def pack(
    product: Path, target: Path, *, prefix: str = "", method: int = zipfile.ZIP_STORED, folders: bool = False
) -> Path:
    """Zip a product folder, with its own folder on top, below ``prefix``; ``folders`` adds entries for folders."""
    with zipfile.ZipFile(target, "w", method) as archive:
        for path in [product, *sorted(product.rglob("*"))]:
            name = prefix + path.relative_to(product.parent).as_posix()
            if path.is_file():
                archive.write(path, name)
            elif folders:
                archive.writestr(f"{name}/", b"")
    return target
