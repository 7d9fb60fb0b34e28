"""Write the invented landscape as a real Sentinel-2 product: XML, JPEG 2000, masks, manifest; any age, any layout."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
import zlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from shapely.ops import unary_union

from sentinel_match.errors import OutputError
from sentinel_match.products.tiling import tile_geobox
from sentinel_match.testing import documents
from sentinel_match.testing.covers import SEASONS, Season
from sentinel_match.testing.documents import Content, MainMetadata, Scale
from sentinel_match.testing.granule import InventedGranule, Layout, Look, put
from sentinel_match.testing.identity import Identity, Level
from sentinel_match.testing.sky import Sky
from sentinel_match.testing.swath import FootprintStyle, epsg_of, ext_pos_list, extent
from sentinel_match.testing.terrain import Orbit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shapely.geometry import Polygon

    from sentinel_match.testing.landscape import Displacement, Landscape
    from sentinel_match.testing.noise import Position
    from sentinel_match.testing.terrain import Terrain

Zip = Literal["stored", "deflated", "no-dir-entries", "nested"]


def write_product(folder: Path, landscape: Landscape, **product: Any) -> Path:
    """Write one acquisition of a landscape as a product, complete: every file its metadata and manifest name is there.

    >>> write_product(folder, Landscape(7), date="2023-10-06", displacement=(6.4, 18.1))  # doctest: +SKIP

    Args:
        folder: where to put it; made if need be.
        landscape: the ground.
        product: ``date``, and every other field of :class:`InventedProduct` that shall not be as usual, by name.

    Returns:
        The folder or zip written. It appears whole, or not at all.

    Raises:
        OutputError: it exists already.
        ValueError: a product that could not be.
    """
    return InventedProduct(landscape=landscape, **product).write(folder)


@dataclass(frozen=True, kw_only=True)
class InventedProduct:
    """One acquisition of a landscape as a product that can be written.

    Raises:
        ValueError: it could not be.
    """

    landscape: Landscape
    """The ground."""
    date: datetime | str
    """Start of the datatake, UTC; it also draws the sensor noise."""
    tile: str | Sequence[str] = "T33UUU"
    """MGRS tile; several for the granules of the layout ``old``."""
    level: Level = "L1C"
    """``L1C`` or ``L2A``. Both show the same reflectance: there is no atmosphere here."""
    baseline: str = "05.11"
    """Processing baseline, ``02.01`` to ``05.11``, or ``99.99`` for N9999."""
    bands: Sequence[str] = ("B04",)
    """Bands at their native resolution, ``TCI`` among them; for L2A also ``B04_20m``."""
    pixels: int | tuple[int, int] = 1020
    """Side, or (rows, cols), of the granule at 10 m: multiples of 6, from 96 to 10980."""
    origin: tuple[float, float] | None = None
    """Easting and northing of its upper left corner, metres; default that of the tile."""
    displacement: Displacement = (0.0, 0.0)
    """Metres east and north by which the product shows the ground away from where it is, or a function of position that
    returns them. The shift between two products is the right one's minus the left one's."""
    season: Season | None = None
    """Default that of the date, by the tile's hemisphere."""
    sky: Sky | float = 0.0
    """Share of the ground under cloud, or the clouds themselves."""
    swath: Polygon | None = None
    """Polygon in the tile's metres outside which there is no data; default none is missing."""
    spacecraft: str = "S2A"
    """``S2A``, ``S2B`` or ``S2C``."""
    orbit: int = 22
    """Relative orbit."""
    view: float | None = None
    """Degrees from the zenith at which the satellite stands east of the middle of the granule, across its track;
    negative to the west. Then the metadata say the angles of view, and the errors of the landscape's height model show.
    Neither does where it is ``None``."""
    discriminator: datetime | str | None = None
    """When the product was made; default three hours after ``date``."""
    station: str = "VGS4"
    """Ground station of the datastrip, four characters."""
    refined: bool | None = None
    """What the datastrip says of its geometry; default what its baseline suggests."""
    quantification: int = 10_000
    """Divisor of the digital numbers."""
    offsets: Mapping[int, int] | None = None
    """Radiometric offset by ``band_id``; default -1000 for all 13 since 04.00, none before."""
    masks: bool = True
    """Whether to write MSK_CLOUDS or MSK_CLASSI, and for L2A SCL and MSK_CLDPRB."""
    footprint: FootprintStyle = "2d"
    """Whether ``EXT_POS_LIST`` has heights."""
    layout: Layout = "compact"
    """``compact``; ``old`` with long names and many granules (L1C); ``planetary`` with GeoTIFF images and no baseline
    in its name; ``kaggle`` one folder without suffix deeper."""
    zip: Zip | None = None
    """Pack it: with members stored or deflated, without directory entries, or one folder deeper."""
    suffix: str | None = None
    """End of the name; default ``.SAFE``, or ``.SAFE.zip`` for a zip."""

    def __post_init__(self) -> None:
        """Fail now at what no product could have."""
        if (self.level != "L1C") if self._is_old else (len(self.tiles) != 1):
            raise ValueError("several tiles, and long names, are for layout='old' of L1C")
        _ = self.grids

    @property
    def tiles(self) -> tuple[str, ...]:
        """List the names of its tiles; all but the layout ``old`` have one."""
        return (self.tile,) if isinstance(self.tile, str) else tuple(self.tile)

    @cached_property
    def grids(self) -> dict[str, GeoBox]:
        """Make the grid at 10 m of each tile."""
        return {name: _grid(name, self.pixels, self.origin) for name in self.tiles}

    @property
    def identity(self) -> Identity:
        """Make the names of the product, which are those of its first tile."""
        start = _time(self.date)
        return Identity(
            spacecraft=self.spacecraft,
            level=self.level,
            baseline=self.baseline,
            orbit=self.orbit,
            tile=self.tiles[0],
            start=start,
            sensing=start + timedelta(minutes=4, seconds=7),
            made=start + timedelta(hours=3) if self.discriminator is None else _time(self.discriminator),
            station=self.station,
        )

    @property
    def look(self) -> Look:
        """Say how the ground looks on this date, and how its reflectance is written."""
        start = _time(self.date)
        usual_offsets = dict.fromkeys(range(13), -1000) if float(self.baseline) >= 4 else {}
        return Look(
            landscape=self.landscape,
            season=self.season or _season(start, south=epsg_of(self.grids[self.tiles[0]]) > 32700),
            displacement=self._shown,
            sky=self.sky if isinstance(self.sky, Sky) else Sky(zlib.crc32(f"{start}".encode()), self.sky),
            swath=self.swath,
            scale=Scale(self.quantification, usual_offsets if self.offsets is None else self.offsets),
        )

    @property
    def name(self) -> str:
        """Return its name without a suffix."""
        identity = self.identity
        return {"old": identity.old_name, "planetary": identity.short_name}.get(self.layout, identity.name)

    @property
    def _is_old(self) -> bool:
        """Tell whether it has long names and many granules."""
        return self.layout == "old"

    def _orbit(self, grid: GeoBox) -> Orbit | None:
        """Say from where a granule is seen; ``None`` where nobody does."""
        if self.view is None:
            return None
        bounds = grid.boundingbox
        return Orbit(self.view, ((bounds.left + bounds.right) / 2, (bounds.bottom + bounds.top) / 2))

    @property
    def _shown(self) -> Displacement:
        """Add to its displacement what the errors of the height model do, as seen from its orbit."""
        terrain, orbit = self.landscape.terrain, self._orbit(self.grids[self.tiles[0]])
        if terrain is None or orbit is None:
            return self.displacement
        return _Shown(self.displacement, terrain, orbit)

    def write(self, folder: Path) -> Path:
        """Write it into a folder, which is made if need be.

        Returns:
            The folder or zip written. It appears whole, or not at all.

        Raises:
            OutputError: it exists already.
        """
        usual_suffix = ".SAFE.zip" if self.zip else "" if self.layout == "kaggle" else ".SAFE"
        target = folder / f"{self.name}{usual_suffix if self.suffix is None else self.suffix}"
        if target.exists():
            raise OutputError(target, "it exists already; remove it, or choose another folder")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".writing-", dir=folder) as scratch:
            root = Path(scratch) / f"{self.name}.SAFE"
            self._write_files(root)
            if self.zip:
                _pack(root, Path(scratch) / "packed.zip", self.zip).rename(target)
            elif self.layout == "kaggle":
                above = Path(scratch) / "kaggle"
                above.mkdir()
                root.rename(above / root.name)
                above.rename(target)
            else:
                root.rename(target)
        return target

    def _write_files(self, root: Path) -> None:
        """Write the files of the product: images and quality layers of its granules, metadata, manifest."""
        identity, look, baseline = self.identity, self.look, float(self.baseline)
        granules = [
            InventedGranule(
                replace(identity, tile=tile), grid, look, tuple(self.bands), self.masks, self.layout, self._orbit(grid)
            )
            for tile, grid in self.grids.items()
        ]
        contents = [granule.write(root) for granule in granules]
        extents = [extent(grid) for grid in self.grids.values()]
        shown = extents if self.swath is None else [area.intersection(self.swath) for area in extents]
        metadata = MainMetadata(
            identity=identity,
            granules=[(granule.identity, granule.images) for granule in granules],
            footprint=ext_pos_list(unary_union(shown), str(granules[0].geobox.crs), self.footprint),
            scale=look.scale,
            content=Content(tuple(np.sum([content.counts for content in contents], axis=0).tolist())),
            image_format="GeoTIFF" if self.layout == "planetary" else "JPEG2000",
            old=self._is_old,
        )
        main, strip = f"MTD_MSI{self.level}.xml", f"{identity.datastrip_folder}/MTD_DS.xml"
        if self._is_old:
            main, strip = identity.old_metadata, f"{identity.datastrip}/{identity.old_datastrip_metadata}"
        put(root / main, documents.product_xml(metadata))
        refined = baseline >= 3 if self.refined is None else self.refined
        put(root / "DATASTRIP" / strip, documents.datastrip_xml(identity, refined))
        put(root / "manifest.safe", documents.manifest_xml(root, "SHA3-256" if baseline >= 3.01 else "MD5"))


@dataclass(frozen=True)
class _Shown:
    """A displacement, and what the errors of a height model add to it."""

    displacement: Displacement
    terrain: Terrain
    orbit: Orbit

    def __call__(self, x: Position, y: Position) -> tuple[Position, Position]:
        dx, dy = self.displacement(x, y) if callable(self.displacement) else self.displacement
        east, north = self.orbit.parallax(self.terrain, x, y)
        return dx + east, dy + north


def _grid(tile: str, pixels: int | tuple[int, int], origin: tuple[float, float] | None) -> GeoBox:
    """Make the grid of a granule at 10 m.

    Raises:
        ValueError: no granule has so many pixels.
    """
    full = tile_geobox(tile)
    rows, cols = (pixels, pixels) if isinstance(pixels, int) else pixels
    if not all(96 <= n <= 10980 and n % 6 == 0 for n in (rows, cols)):
        raise ValueError(f"{rows} x {cols} pixels: each side is a multiple of 6 from 96 to 10980")
    left, top = origin or (full.affine.c, full.affine.f)
    return GeoBox((rows, cols), Affine(10, 0, left, 0, -10, top), full.crs)


def _season(date: datetime, south: bool) -> Season:
    """Tell the season of a date."""
    return SEASONS[((date.month + (6 if south else 0)) % 12) // 3]


def _time(value: datetime | str) -> datetime:
    """Read a time that may be ISO text."""
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
