"""Loose: an image outside any product, a copied Sentinel-2 band as well as any raster, as a Scene."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sentinel_match.errors import BrokenProduct, NotAProduct
from sentinel_match.geometry.footprint import Footprint
from sentinel_match.products.archive import what_it_is_instead
from sentinel_match.products.header import read_header
from sentinel_match.products.opening import RefusedRaster
from sentinel_match.products.scene import Asset, Band, Scene
from sentinel_match.products.tiling import TILE_PATTERN

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from odc.geo.geobox import GeoBox

BAND = r"B\d[\dA]|TCI|AOT|WVP"

SENTINEL2 = re.compile(rf"(?:L2A_)?(?P<tile>{TILE_PATTERN})_(?P<time>\d{{8}}T\d{{6}})_(?P<band>{BAND})(?:_[126]0m)?")
"""Stem of an image copied out of a compact product: ``T36UXA_20180904T083549_TCI``."""

DATED = re.compile(r"(?<!\d)(20\d\d)-?(0[1-9]|1[0-2])-?([0-3]\d)(?:T(\d{6}))?(?!\d)")
"""What a name says of when an image was taken, to the day or to the second."""

DESCRIBED = re.compile(r"\s*(B\d{1,2}|B8A|ND[VWS]I)(?!\w)", re.I)
"""Beginning of a band's description that says which one it is."""

NOT_A_SCENE = re.compile(
    r"(?:.*_)?(?:MSK_\w+|PVI|SCL|CLD|SNW)(?:_[126]0m)?|.*[-_](?:ql|quicklook|preview|thumbnail)", re.I
)
"""Stems of masks and previews, which a search passes over."""


def read_loose(path: Path) -> Scene:
    """Read one raster file as a scene: without level, offset and quantification, because nothing states them.

    Its bands are ``1``, ``2``, …, or what the file calls them where that is a Sentinel-2 band or an index (``B8`` and
    GDAL's own ``B8, central wavelength 842 nm`` are ``B08``) and no other is called so. An image named as Sentinel-2
    names them has one band of that name, the tile, the start of the datatake as its time, and no-data 0 unless the file
    says otherwise. Of any other the name may hold one date, which is then when it was taken, at midnight.

    Raises:
        NotAProduct: GDAL cannot open it.
        BrokenProduct: it is not opened, whatever GDAL would make of it.
    """
    try:
        header = read_header(str(path))
    except RefusedRaster as error:
        raise BrokenProduct(path, str(error)) from None
    except ValueError:
        raise NotAProduct(path, what_it_is_instead(path)) from None
    match = SENTINEL2.fullmatch(path.stem)
    single = match["band"] if match else path.stem if re.fullmatch(BAND, path.stem) else None
    names = [single] if single else _names(header.descriptions)
    nodata = 0.0 if match and header.nodata is None else header.nodata
    asset = Asset(path, size=path.stat().st_size)
    footprint, notes = _footprint(header.geobox)
    return Scene(
        id=path.stem if match or not single else f"{path.parent.name}_{single}",  # B04.tif exists in every folder
        path=path,
        level="",
        footprint=footprint,
        footprint_source="raster" if footprint else "none",
        bands=tuple(
            Band(name, header.resolution, asset, header.geobox, nodata=nodata, index=i + 1)
            for i, name in enumerate(names)
        ),
        sensing_time=_time(match["time"]) if match else _dated(path.stem),
        tile=match["tile"] if match else "",
        geobox=header.geobox,
        position=None if header.geobox else _exif_position(header.tags),
        notes=notes,
    )


def _names(descriptions: tuple[str, ...]) -> list[str]:
    """Name the bands of a file by what it calls them."""
    matches = [DESCRIBED.match(text) for text in descriptions]
    names = [re.sub(r"^B(\d)$", r"B0\1", match[1].upper()) if match else "" for match in matches]
    return [name if name and names.count(name) == 1 else str(i + 1) for i, name in enumerate(names)]


def _footprint(geobox: GeoBox | None) -> tuple[Footprint | None, tuple[str, ...]]:
    if geobox is None:
        return None, ()
    try:
        return Footprint.from_geobox(geobox), ()
    except (ValueError, RuntimeError) as error:  # pyproj's own error is a RuntimeError
        return None, (f"its place on the globe is unknown: {error}",)


def _time(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:  # 20189904T083549
        return None


def _dated(name: str) -> datetime | None:
    dates = DATED.findall(name)
    if len(dates) != 1:
        return None
    *day, clock = dates[0]
    return _time(f"{''.join(day)}T{clock or '000000'}")


def _exif_position(tags: Mapping[str, str]) -> tuple[float, float] | None:
    """Read (lon, lat) from EXIF: GDAL gives ``(48) (30) (12.5)`` and the hemisphere apart."""
    degrees = []
    for axis, negative in (("Longitude", "W"), ("Latitude", "S")):
        parts = [float(part) for part in re.findall(r"\(([\d.]+)\)", tags.get(f"EXIF_GPS{axis}", ""))]
        if not parts:
            return None
        size = sum(part / 60**i for i, part in enumerate(parts))
        degrees.append(-size if tags.get(f"EXIF_GPS{axis}Ref", "").strip().upper() == negative else size)
    return degrees[0], degrees[1]
