"""Loose: an image outside any product, a copied Sentinel-2 band as well as any raster, as a Scene."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sentinel_match.errors import BrokenProduct, NotAProduct
from sentinel_match.products.archive import what_it_is_instead
from sentinel_match.products.files import real_path
from sentinel_match.products.header import read_header
from sentinel_match.products.layers import (
    COLOUR,
    day_above,
    identity_of,
    known_numbers,
    layer_of,
    spacecraft_of,
    stacked,
    taken,
)
from sentinel_match.products.opening import RefusedRaster
from sentinel_match.products.placement import footprint_of
from sentinel_match.products.scene import REFLECTANCE, Band, Scene
from sentinel_match.products.tiling import TILE_PATTERN
from sentinel_match.products.variables import read_variables, variables_of
from sentinel_match.products.zipped import asset_at

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from sentinel_match.products.header import ImageHeader
    from sentinel_match.products.layers import Layer
    from sentinel_match.products.scene import Asset

SENTINEL2 = re.compile(
    rf"(?:L2A_)?(?P<tile>{TILE_PATTERN})_(?P<time>\d{{8}}T\d{{6}})_(?P<band>B\d[\dA]|TCI|AOT|WVP)(?:_[126]0m)?"
)
"""Stem of an image copied out of a compact product: ``T36UXA_20180904T083549_TCI``."""

DESCRIBED = re.compile(r"\s*(B\d{1,2}|B8A|ND[VWS]I)(?!\w)", re.I)
"""Beginning of a band's description that says which one it is."""


def read_loose(path: Path) -> Scene:
    """Read one raster file as a scene: without level, and with offset and quantification only where the file says so.

    Its bands are ``1``, ``2``, …, or what the file calls them where that is a Sentinel-2 band or an index (``B8`` and
    GDAL's own ``B8, central wavelength 842 nm`` are ``B08``) and no other is called so; one of them is what the name
    of the file says, if it says a band (:mod:`sentinel_match.products.layers`). A band of opacity (alpha) is none. An
    image named as Sentinel-2 names them has one band of that name, the tile, the start of the datatake as its time,
    and no-data 0 unless the file says otherwise. Of any other the first date in the name is when it was taken, at
    midnight; without one in it, that which is the name of its folder.

    Raises:
        NotAProduct: GDAL cannot open it.
        BrokenProduct: it is not opened, whatever GDAL would make of it.
    """
    asset = asset_at(path)
    try:
        header = open_header(path, asset)
    except NotAProduct:
        scene = read_variables(path, variables_of(path)) if asset.member is None else None
        if scene is None:
            raise
        return scene
    if "SHIFT" in header.tags and header.tags.get("GENERATOR", "").startswith("sentinel-match"):
        raise NotAProduct(path, "it is a displacement of two images, and shows no ground: name those")
    layer = layer_of(path)
    match = SENTINEL2.fullmatch(path.stem)
    named = layer if layer and layer.kind == "band" and layer.product != COLOUR else None
    day = "" if taken(path.stem) else day_above(real_path(path))
    bare = named is not None and not named.stem  # B04.tif exists in every folder
    footprint, notes = footprint_of(header.geobox)
    return Scene(
        id=f"{identity_of(path.parent, '').id}_{named.name}"
        if named and bare
        else "_".join(filter(None, (day, path.stem))),
        path=path,
        level="",
        footprint=footprint,
        footprint_source="raster" if footprint else "none",
        bands=bands_of(path, asset, header, named or layer, is_tile=match is not None),
        sensing_time=identity_of(named.folder, "").time if named and bare else taken(day or path.stem),
        tile=match["tile"] if match else "",
        spacecraft=identity_of(named.folder, "").spacecraft if named and bare else spacecraft_of(path.stem),
        geobox=header.geobox,
        position=None if header.geobox else _exif_position(header.tags),
        notes=notes + header.notes,
        remedy=header.remedy,
    )


def open_header(path: Path, asset: Asset) -> ImageHeader:
    """Read the header of an image.

    Args:
        path: what the user calls it.
        asset: where its bytes are.

    Raises:
        NotAProduct: GDAL cannot open it.
        BrokenProduct: it is not opened, whatever GDAL would make of it.
    """
    try:
        return read_header(asset.gdal)
    except RefusedRaster as error:
        raise BrokenProduct(path, str(error)) from None
    except ValueError:
        reason = what_it_is_instead(path) if asset.member is None else "GDAL cannot open it"
        raise NotAProduct(path, reason) from None


def bands_of(path: Path, asset: Asset, header: ImageHeader, layer: Layer | None, *, is_tile: bool) -> tuple[Band, ...]:
    """List the bands of a file.

    Args:
        path: of the file.
        asset: where its bytes are.
        header: its header.
        layer: what its name says of it.
        is_tile: whether it is of a Sentinel-2 tile, where 0 is no data unless the file says otherwise.
    """
    known = known_numbers(path.stem)
    indices = [i for i in range(1, header.count + 1) if i != header.alpha]
    names = dict(zip(indices, _names([header.descriptions[i - 1] for i in indices], indices), strict=True))
    if layer and layer.kind == "band":
        rest = {} if layer.name == "TCI" or is_tile else names
        names = {i: names[i] for i in rest if i != 1 and names[i] != layer.name} | {1: layer.name}
    elif layer and (stack := stacked(layer, len(indices))):
        names = dict(zip(indices, stack, strict=True))
    bands = []
    for index, name in sorted(names.items()):
        nodata = header.nodata[index - 1]
        offset, quantification = header.numbers(index)
        is_stated = (offset, quantification) != (0.0, 1.0)
        is_reflectance = name != "TCI" and "reflectance" in header.units[index - 1].lower()
        if REFLECTANCE.fullmatch(name):
            is_reflectance |= is_stated or known is not None
            if known and not is_stated:
                offset, quantification = known.offset, known.quantification
            if known and nodata is None:
                nodata = known.nodata
        if nodata is None and is_tile:
            nodata = 0.0
        bands.append(
            Band(
                name,
                header.resolution,
                asset,
                header.geobox,
                offset=offset,
                quantification=quantification,
                nodata=nodata,
                index=index,
                alpha=header.alpha,
                is_masked=header.is_masked,
                is_reflectance=is_reflectance,
                alias=header.descriptions[index - 1],
                palette=header.palettes[index - 1],
            )
        )
    return tuple(bands)


def _names(descriptions: Sequence[str], indices: Sequence[int]) -> list[str]:
    """Name the bands of a file by what it calls them, or else by their places in it."""
    matches = [DESCRIBED.match(text) for text in descriptions]
    names = [re.sub(r"^B(\d)$", r"B0\1", match[1].upper()) if match else "" for match in matches]
    return [name if name and names.count(name) == 1 else str(i) for name, i in zip(names, indices, strict=True)]


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
