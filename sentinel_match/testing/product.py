"""Write the invented landscape as a real Sentinel-2 product: XML, JPEG 2000, masks, manifest; any age, any layout."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
import zlib
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.ops import unary_union

from sentinel_match.errors import OutputError
from sentinel_match.products.tiling import tile_geobox
from sentinel_match.testing import documents
from sentinel_match.testing.covers import SEASONS, Season
from sentinel_match.testing.documents import Content, Scale
from sentinel_match.testing.granule import InventedGranule, Layout, Look, put
from sentinel_match.testing.identity import Identity, Level
from sentinel_match.testing.sky import Sky
from sentinel_match.testing.swath import FootprintStyle, epsg_of, ext_pos_list, extent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shapely.geometry import Polygon

    from sentinel_match.testing.landscape import Displacement, Landscape

Zip = Literal["stored", "deflated", "no-dir-entries", "nested"]


def write_product(
    folder: Path,
    landscape: Landscape,
    *,
    date: datetime | str,
    tile: str | Sequence[str] = "T33UUU",
    level: Level = "L1C",
    baseline: str = "05.11",
    bands: Sequence[str] = ("B04",),
    pixels: int | tuple[int, int] = 1020,
    origin: tuple[float, float] | None = None,
    displacement: Displacement = (0.0, 0.0),
    season: Season | None = None,
    sky: Sky | float = 0.0,
    swath: Polygon | None = None,
    spacecraft: str = "S2A",
    orbit: int = 22,
    discriminator: datetime | str | None = None,
    station: str = "VGS4",
    refined: bool | None = None,
    quantification: int = 10_000,
    offsets: Mapping[int, int] | None = None,
    masks: bool = True,
    footprint: FootprintStyle = "2d",
    layout: Layout = "compact",
    zip: Zip | None = None,  # noqa: A002
    suffix: str | None = None,
) -> Path:
    """One acquisition of a landscape as a product, complete: every file its metadata and manifest name is there.

    Args:
        folder: where to put it; made if need be.
        landscape: the ground.
        date: start of the datatake, UTC; it also draws the sensor noise.
        tile: MGRS tile; several for the granules of the layout ``old``.
        level: ``L1C`` or ``L2A``. Both show the same reflectance: there is no atmosphere here.
        baseline: processing baseline, ``02.01`` to ``05.11``, or ``99.99`` for N9999.
        bands: bands at their native resolution, ``TCI`` among them; for L2A also ``B04_20m``.
        pixels: side, or (rows, cols), of the granule at 10 m: multiples of 6, from 96 to 10980.
        origin: easting and northing of its upper left corner, metres; default that of the tile.
        displacement: metres east and north by which the product shows the ground away from where it is, or a function
            of position that returns them. The shift between two products is the right one's minus the left one's.
        season: default that of the date, by the tile's hemisphere.
        sky: share of the ground under cloud, or the clouds themselves.
        swath: polygon in the tile's metres outside which there is no data; default none is missing.
        spacecraft: ``S2A``, ``S2B`` or ``S2C``.
        orbit: relative orbit.
        discriminator: when the product was made; default three hours after ``date``.
        station: ground station of the datastrip, four characters.
        refined: what the datastrip says of its geometry; default what its baseline suggests.
        quantification: divisor of the digital numbers.
        offsets: radiometric offset by ``band_id``; default -1000 for all 13 since 04.00, none before.
        masks: whether to write MSK_CLOUDS or MSK_CLASSI, and for L2A SCL and MSK_CLDPRB.
        footprint: whether ``EXT_POS_LIST`` has heights.
        layout: ``compact``; ``old`` with long names and many granules (L1C); ``planetary`` with GeoTIFF images and no
            baseline in its name; ``kaggle`` one folder without suffix deeper.
        zip: pack it: with members stored or deflated, without directory entries, or one folder deeper.
        suffix: end of the name; default ``.SAFE``, or ``.SAFE.zip`` for a zip.

    Returns:
        The folder or zip written. It appears whole, or not at all.

    Raises:
        OutputError: it exists already.
        ValueError: arguments that no product could have.
    """
    tiles = (tile,) if isinstance(tile, str) else tuple(tile)
    if (level != "L1C") if layout == "old" else (len(tiles) != 1):
        raise ValueError("several tiles, and long names, are for layout='old' of L1C")
    start = _time(date)
    grids = {name: _grid(name, pixels, origin) for name in tiles}
    identity = Identity(
        spacecraft=spacecraft,
        level=level,
        baseline=baseline,
        orbit=orbit,
        tile=tiles[0],
        start=start,
        sensing=start + timedelta(minutes=4, seconds=7),
        made=start + timedelta(hours=3) if discriminator is None else _time(discriminator),
        station=station,
    )
    modern = float(baseline) >= 4
    look = Look(
        landscape=landscape,
        season=season or _season(start, south=epsg_of(grids[tiles[0]]) > 32700),
        displacement=displacement,
        sky=sky if isinstance(sky, Sky) else Sky(zlib.crc32(f"{start}".encode()), sky),
        swath=swath,
        scale=Scale(
            quantification, (dict.fromkeys(range(13), -1000) if modern else {}) if offsets is None else offsets
        ),
    )
    old = layout == "old"
    suffix = suffix if suffix is not None else ".SAFE.zip" if zip else "" if layout == "kaggle" else ".SAFE"
    name = identity.old_name if old else identity.short_name if layout == "planetary" else identity.name
    target = folder / f"{name}{suffix}"
    if target.exists():
        raise OutputError(target, "it exists already; remove it, or choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=folder) as scratch:
        root = Path(scratch) / f"{name}.SAFE"
        granules = [
            InventedGranule(replace(identity, tile=each), grid, look, tuple(bands), masks, layout)
            for each, grid in grids.items()
        ]
        contents = [granule.write(root) for granule in granules]
        seen = [extent(grid) if swath is None else extent(grid).intersection(swath) for grid in grids.values()]
        put(
            root / (identity.old_metadata if old else f"MTD_MSI{level}.xml"),
            documents.product_xml(
                identity,
                [(granule.identity, granule.images) for granule in granules],
                ext_pos_list(unary_union(seen), str(grids[tiles[0]].crs), footprint),
                look.scale,
                Content(tuple(np.sum([content.counts for content in contents], axis=0).tolist())),
                "GeoTIFF" if layout == "planetary" else "JPEG2000",
                old,
            ),
        )
        strip = identity.datastrip if old else identity.datastrip_folder
        put(
            root / "DATASTRIP" / strip / (identity.old_datastrip_metadata if old else "MTD_DS.xml"),
            documents.datastrip_xml(identity, float(baseline) >= 3 if refined is None else refined),
        )
        put(root / "manifest.safe", documents.manifest_xml(root, "SHA3-256" if float(baseline) >= 3.01 else "MD5"))
        if zip:
            packed = _pack(root, Path(scratch) / "packed.zip", zip)
        elif layout == "kaggle":
            packed = Path(scratch) / "kaggle"
            packed.mkdir()
            root.rename(packed / root.name)
        else:
            packed = root
        packed.rename(target)
    return target


def _grid(tile: str, pixels: int | tuple[int, int], origin: tuple[float, float] | None) -> GeoBox:
    full = tile_geobox(tile)
    rows, cols = (pixels, pixels) if isinstance(pixels, int) else pixels
    if not all(96 <= n <= 10980 and n % 6 == 0 for n in (rows, cols)):
        raise ValueError(f"{rows} x {cols} pixels: each side is a multiple of 6 from 96 to 10980")
    left, top = origin or (full.affine.c, full.affine.f)
    return GeoBox((rows, cols), Affine(10, 0, left, 0, -10, top), full.crs)


def _season(date: datetime, south: bool) -> Season:
    return SEASONS[((date.month + (6 if south else 0)) % 12) // 3]


def _time(value: datetime | str) -> datetime:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def _pack(root: Path, archive: Path, how: Zip) -> Path:
    """Zip a product; its tree is gone afterwards."""
    above = "download/" if how == "nested" else ""
    compression = zipfile.ZIP_DEFLATED if how == "deflated" else zipfile.ZIP_STORED
    with zipfile.ZipFile(archive, "w", compression) as packed:
        for path in sorted(root.rglob("*")):
            if path.is_file() or how != "no-dir-entries":
                packed.write(path, f"{above}{path.relative_to(root.parent).as_posix()}")
    shutil.rmtree(root)
    return archive
