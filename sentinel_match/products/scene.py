"""What a product says of itself: Band, Mask and Scene, frozen values made by ``safe`` from metadata alone."""

from __future__ import annotations

import re
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sentinel_match.errors import DamagedImage, MissingBand
from sentinel_match.products.files import why_no_file
from sentinel_match.products.layers import COLOURS
from sentinel_match.products.zips import gdal_path, open_zip
from sentinel_match.wording import counted, in_words

if TYPE_CHECKING:
    import hashlib
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from odc.geo.geobox import GeoBox

    from sentinel_match.geometry.footprint import Footprint


REFLECTANCE = re.compile(r"B\d[\dA]|PAN")
"""Bands whose values, once they are no digital numbers, are reflectance."""

NIR = "NIR"
"""Name of the near infrared, which scenes have as ``B08`` or, those of Landsat 8 and 9, as ``B8A`` only."""


def band_name(text: str) -> str:
    """Name a band as Sentinel-2 does, whatever it is called: ``B4``, ``b04``, ``Red`` and ``red`` are ``B04``."""
    name = COLOURS.get(re.sub(r"[^a-z0-9]", "", text.lower()), text.strip().upper())
    return re.sub(r"^B(\d)$", r"B0\1", name)


@dataclass(frozen=True)
class Asset:
    """Where the bytes of one file are: on disk, or a member of a zip."""

    path: Path
    """The file itself, or the zip that holds it."""
    member: str | None = None
    """Name inside the zip; ``None`` for a file on disk."""
    size: int | None = None
    """Bytes found (unpacked); ``None`` when not looked at."""
    expected_size: int | None = None
    """Bytes the product's manifest promises; a smaller ``size`` is a truncated download."""
    checksum: str | None = None
    """What the manifest promises, as ``MD5:hex`` or ``SHA3-256:hex`` (upper-case name, lower-case hex)."""
    variable: str | None = None
    """One of several images within the file (netCDF, HDF5), as GDAL names it with its file."""

    @property
    def gdal(self) -> str:
        """Return the path that GDAL opens."""
        if self.variable is not None:
            return self.variable
        return str(self.path) if self.member is None else gdal_path(self.path, self.member)

    @property
    def name(self) -> str:
        """Return the file name without folders."""
        return Path(self.member or self.path).name

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Open the bytes for reading; a member of a zip is unpacked on the way.

        Raises:
            DamagedImage: the file is not there, or its zip is damaged (also while it is read).
        """
        from zipfile import BadZipFile
        from zlib import error as ZlibError  # noqa: N812

        if reason := why_no_file(self.path):  # opening a pipe would wait for ever
            raise DamagedImage(str(self), f"it cannot be opened: {reason}")
        with ExitStack() as stack:
            try:
                archive = stack.enter_context(open_zip(self.path)) if self.member is not None else None
                file: IO[bytes] = self.path.open("rb") if archive is None else archive.open(self.member or "")
                stack.enter_context(file)
            except (OSError, KeyError, BadZipFile) as error:
                raise DamagedImage(str(self), f"it cannot be opened ({in_words(error)})") from error
            try:
                yield file
            except (EOFError, BadZipFile, ZlibError) as error:
                raise DamagedImage(str(self), f"its bytes cannot be unpacked ({error})") from error

    def sha256(self) -> str:
        """Hash the bytes, hexadecimal: the same for the same file, wherever it is kept.

        Read once a process, and again when size or time of the file have changed: every pair of a scene asks for it.

        Raises:
            DamagedImage: see :meth:`open`; or the bytes are not those that the manifest promises.
        """
        try:
            status = self.path.stat()
        except OSError:
            return _digest(self, 0, 0)  # opening it says what is wrong
        return _digest(self, status.st_size, status.st_mtime_ns)

    def __str__(self) -> str:
        if self.variable is not None:
            return self.variable
        return str(self.path) if self.member is None else f"{self.path}!{self.member}"


@lru_cache(maxsize=4096)
def _digest(asset: Asset, _size: int, _modified: int) -> str:
    import hashlib

    # A manifest that is wrong about the size describes another file
    same = asset.size is None or asset.expected_size in {None, asset.size}
    total, promise = hashlib.sha256(), promised(asset.checksum) if same else None
    with asset.open() as file:
        while block := file.read(1 << 20):
            total.update(block)
            if promise:
                promise[0].update(block)
    if promise and promise[0].hexdigest() != promise[1]:
        raise DamagedImage(
            str(asset),
            f"its bytes are not those its manifest promises ({promise[0].name.upper()}); download it again, or delete "
            "manifest.safe if you changed the file yourself",
        )
    return total.hexdigest()


def promised(checksum: str | None) -> tuple[hashlib._Hash, str] | None:
    """Prepare a hash to fill, and its right digest; ``None`` where a manifest promises none that can be checked.

    Args:
        checksum: as :attr:`Asset.checksum` has it.
    """
    import hashlib

    method, _, digest = (checksum or "").partition(":")
    algorithm = {"MD5": "md5", "SHA3-256": "sha3_256", "SHA-256": "sha256"}.get(method)
    total = hashlib.new(algorithm, usedforsecurity=False) if algorithm else None
    return (total, digest) if total and len(digest) == 2 * total.digest_size else None


@dataclass(frozen=True)
class Band:
    """One image of a scene, as its metadata describes it."""

    name: str
    """``B04``, ``B8A``, ``TCI``, ``SCL``; ``1``, ``2``, … in a loose raster."""
    resolution: float
    """Ground sampling distance in metres (pixels, where nothing is georeferenced)."""
    asset: Asset
    geobox: GeoBox | None
    """Grid of the file; ``None`` for an image without georeference."""
    offset: float = 0.0
    """Added to the digital number before the division (``RADIO_ADD_OFFSET``, ``BOA_ADD_OFFSET``)."""
    quantification: float = 1.0
    """reflectance = (DN + offset) / quantification, for every DN but ``nodata``."""
    nodata: float | None = 0.0
    index: int = 1
    """1-based band inside the file."""
    also_nodata: float | None = None
    """Another number that is no data, as a user says."""
    alpha: int | None = None
    """1-based band of the file that says where there is data: where it is not 0."""
    is_masked: bool = False
    """Whether a mask of the file's own (inside it, or a ``.msk`` beside it) says where there is data."""
    is_reflectance: bool = False
    """Whether the file, or the maker of a delivery, says that the values are reflectance; a product's are anyway."""
    alias: str = ""
    """What else the file calls it, by which it may be asked for: its description."""
    palette: tuple[float, ...] = ()
    """Brightness by number, where the numbers of the file are those of colours; NaN where one is transparent."""


@dataclass(frozen=True)
class Mask:
    """One quality layer of a scene."""

    kind: str
    """``SCL``, ``CLASSI`` (JP2: opaque, cirrus, snow), ``CLOUDS`` (GML), ``CLDPRB``, ``DETFOO``, ``QUALIT``; of others
    ``FMASK`` (HLS), ``QA_PIXEL`` (Landsat), ``QAI`` (FORCE), ``MG2`` and ``CLM`` (MAJA), ``QA60`` (Earth Engine)."""
    asset: Asset
    geobox: GeoBox | None
    """Grid of the file; ``None`` for GML polygons, which are in the tile's CRS."""
    band: str | None = None
    """The band a per-band mask belongs to."""


@dataclass(frozen=True, repr=False)
class Scene:
    """One acquisition of one tile (or one loose raster), from metadata alone: making it opens no pixels.

    Examples:
        >>> from sentinel_match import read_scene
        >>> scene = read_scene("LEFT.SAFE")
        >>> scene.id[:19], scene.baseline, scene.relative_orbit
        ('S2A_MSIL1C_20210520', '05.11', 22)
        >>> round(scene.footprint.area_km2)
        13
    """

    id: str
    """Product name without ``.SAFE`` (with ``_Txxxxx`` for one granule of an old product), or the stem of a raster."""
    path: Path
    """The archive the user gave: folder, zip or raster."""
    level: str
    """``L1C``, ``L2A``, or empty for a loose raster."""
    footprint: Footprint | None
    """Valid-data polygon; ``None`` for an image without georeference."""
    footprint_source: str
    """``product`` (EXT_POS_LIST cut with the tile), ``tile``, ``raster``, or ``none``."""
    bands: tuple[Band, ...] = ()
    """Images whose file is present, best resolution first within one name."""
    masks: tuple[Mask, ...] = ()
    sensing_time: datetime | None = None
    """UTC time of the tile itself (MTD_TL ``SENSING_TIME``)."""
    baseline: str = ""
    """Processing baseline as written, ``05.09``."""
    spacecraft: str = ""
    """``S2A`` … ``S2D``."""
    tile: str = ""
    """MGRS tile, ``T33UUU``."""
    datatake: str = ""
    """Datatake identifier without its baseline: the same for every reprocessing of one acquisition."""
    datastrip: str = ""
    relative_orbit: int | None = None
    orbit_direction: str = ""
    generation_time: datetime | None = None
    cloud_cover: float | None = None
    """Percent of the valid pixels, as the product says."""
    nodata_share: float | None = None
    """Percent of the tile without data, where the product says it."""
    refined: bool | None = None
    """Whether the geometry was refined against the GRI; ``None`` when the product does not say."""
    sun_elevation: float | None = None
    """Degrees, tile mean."""
    geobox: GeoBox | None = None
    """Finest grid of the tile (10 m), or of the raster."""
    position: tuple[float, float] | None = None
    """(lon, lat) in degrees of an image that carries nothing but an EXIF position."""
    notes: tuple[str, ...] = ()
    """What a user should know: grid disagreements, absent files, duplicates left out."""
    tile_metadata: Asset | None = None
    """The tile's own metadata, ``MTD_TL.xml``, which says from where it was seen."""
    remedy: str = ""
    """What would give an image without georeference one, as the end of a sentence; empty where nothing is known."""

    @property
    def name(self) -> str:
        """Name it short, and unique enough for a file: ``T33UUU_20160608T153121``, or the stem of a raster."""
        if self.tile and self.sensing_time:
            return f"{self.tile}_{self.sensing_time:%Y%m%dT%H%M%S}"
        return self.id

    def __repr__(self) -> str:
        """Say in one line what it is, by which bands, and how much ground it shows."""
        names = list(dict.fromkeys(band.name for band in self.bands))
        listed = f"{', '.join(names[:4])}{', …' if len(names) > 4 else ''}" or "none"
        ground = f"{self.footprint.area_km2:,.0f} km²" if self.footprint else "no georeference"
        clouds = "" if self.cloud_cover is None else f", {self.cloud_cover:.0f} % cloud"
        return (
            f"<Scene {self.name}: {self.level or 'raster'}, {counted(len(names), 'band')} ({listed}), {ground}{clouds}>"
        )

    def with_nodata(self, value: float | None) -> Scene:
        """Take a number for no data in all its bands, besides what its files declare; ``None`` changes nothing."""
        if value is None:
            return self
        return replace(self, bands=tuple(replace(band, also_nodata=float(value)) for band in self.bands))

    def band(self, name: str, resolution: float | None = None) -> Band:
        """Find the band of that name: the finest file, or the coarsest one at least as fine as ``resolution``.

        In a loose raster a number is the place in the file, whatever the band there is called. Where no band has just
        that name, ``B4``, ``b04`` and ``red`` are all ``B04``; ``nir`` is ``B08``, or else ``B8A`` (Landsat 8 and 9).

        Raises:
            MissingBand: no file of that band is present.
        """
        finest_first = sorted(self.bands, key=lambda b: b.resolution)
        candidates = [b for b in finest_first if b.name.upper() == name.upper()]
        if not candidates and not self.level:
            candidates = [b for b in self.bands if str(b.index) == name]
        if not candidates:
            for wanted in (band_name(name), *(["B8A"] if name.upper() == NIR else [])):
                candidates = candidates or [
                    b for b in finest_first if wanted in {band_name(b.name), band_name(b.alias)}
                ]
        if not candidates:
            raise MissingBand(self.id, name, tuple(dict.fromkeys(b.name for b in self.bands)))
        fine = [b for b in candidates if resolution is not None and b.resolution <= resolution * 1.001]
        return fine[-1] if fine else candidates[0]


def scene_feature(scene: Scene) -> dict[str, Any]:
    """Write a scene as a GeoJSON feature: its footprint (or the point it was taken at, or ``null``) with its facts."""
    place = {"type": "Point", "coordinates": list(scene.position)} if scene.position else None
    stated = ("level", "tile", "spacecraft", "baseline", "datatake", "relative_orbit", "orbit_direction")
    measured = ("cloud_cover", "nodata_share", "refined", "sun_elevation", "footprint_source")
    return {
        "type": "Feature",
        "id": scene.id,
        "geometry": scene.footprint.geojson() if scene.footprint else place,
        "properties": {
            "name": scene.name,
            "path": str(scene.path),
            "sensing_time": scene.sensing_time.isoformat() if scene.sensing_time else None,
            **{name: None if (value := getattr(scene, name)) == "" else value for name in stated + measured},
            "area_km2": round(scene.footprint.area_km2, 3) if scene.footprint else None,
            "bands": list(dict.fromkeys(band.name for band in scene.bands)),
            "notes": list(scene.notes),
        },
    }


def scenes_geojson(scenes: Iterable[Scene]) -> dict[str, Any]:
    """Write scenes as an RFC 7946 FeatureCollection, in their order."""
    return {"type": "FeatureCollection", "features": [scene_feature(scene) for scene in scenes]}
