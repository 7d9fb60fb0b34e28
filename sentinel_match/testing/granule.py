"""One tile of a product: its images, quality layers and metadata, as the ground and the sky of a date make them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.features import shapes
from shapely.geometry import Polygon, shape

from sentinel_match.products.metadata import BANDS_BY_ID
from sentinel_match.testing import documents
from sentinel_match.testing.codec import whole, write_image
from sentinel_match.testing.covers import RESOLUTION, Season
from sentinel_match.testing.documents import Content, Scale
from sentinel_match.testing.landscape import Displacement, Landscape, pieces
from sentinel_match.testing.sky import MEDIUM, THIN, Clouds, Sky
from sentinel_match.testing.swath import epsg_of, inside
from sentinel_match.testing.terrain import view_grids

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from sentinel_match.testing.identity import Identity
    from sentinel_match.testing.terrain import Orbit

Layout = Literal["compact", "old", "planetary", "kaggle"]

TCI_WHITE = {"L1C": 0.3558, "L2A": 0.2}
"""Reflectance at which the true-colour image saturates."""


@dataclass(frozen=True)
class Look:
    """How the ground looks on this date."""

    landscape: Landscape
    season: Season
    displacement: Displacement
    sky: Sky
    swath: Polygon | None
    scale: Scale

    def numbers(self, geobox: GeoBox, band: str, clouds: Clouds, seed: int) -> NDArray[np.uint16]:
        """Make the digital numbers of a piece, (rows, cols): 0 outside the swath, else at least 1.

        The noise has a variance of 9 + 0.02 DN: a few digital numbers, a signal-to-noise ratio of about 200 to 350 at
        reflectance 0.1 to 0.3, of the order that the MPC Data Quality Reports (S2-PDGS-MPC-DQR) measure.
        """
        ground = self.landscape.render(geobox, self.season, band, self.displacement)
        signal = clouds.hide(ground, geobox, band) * self.scale.quantification
        noise = np.random.default_rng(seed).standard_normal(geobox.shape, np.float32) * np.sqrt(9 + 0.02 * signal)
        digital: NDArray[np.uint16] = np.clip(np.rint(signal + noise - self.scale.offset(band)), 1, 32767).astype(
            np.uint16
        )
        digital[~inside(geobox, self.swath)] = 0
        return digital

    def classes(self, geobox: GeoBox, clouds: Clouds) -> NDArray[np.uint8]:
        """Make the scene classification of a grid, (rows, cols)."""
        image = np.empty(geobox.shape, np.uint8)
        for window, box in pieces(geobox, 1024):
            ground = self.landscape.classes(box, self.season, self.displacement)
            image[window] = clouds.classify(ground, box) * inside(box, self.swath)
        return image


@dataclass(frozen=True)
class InventedGranule:
    """One tile of the product."""

    identity: Identity
    geobox: GeoBox
    look: Look
    bands: tuple[str, ...]
    masks: bool
    layout: Layout
    orbit: Orbit | None = None
    """From where it is seen; its metadata say nothing of that where it is ``None``."""

    @property
    def folder(self) -> str:
        """Return its folder in the product."""
        return f"GRANULE/{self.identity.granule if self.layout == 'old' else self.identity.granule_folder}"

    @property
    def images(self) -> list[str]:
        """List the images as the metadata do."""
        names = [*self.bands, *(["SCL_20m", "SCL_60m"] if self.masks and self.identity.level == "L2A" else [])]
        return [self._image(band) for band in names]

    def _image(self, band: str) -> str:
        """Name the image of ``B04``, ``B04_20m`` or ``SCL_20m`` in the product, without suffix."""
        name, metres = _resolved(band)
        if self.layout == "old":
            return self.identity.old_image(name)
        if self.identity.level == "L1C":
            return f"{self.folder}/IMG_DATA/{self.identity.image(name)}"
        return f"{self.folder}/IMG_DATA/R{metres}m/{self.identity.image(f'{name}_{metres}m')}"

    def write(self, root: Path) -> Content:
        """Write everything of this granule, and return what its pixels show."""
        clouds = self.look.sky.over(self.geobox, self.look.season, self.look.swath)
        suffix = ".tif" if self.layout == "planetary" else ".jp2"
        prefix = f"{self.folder}/IMG_DATA/" if self.layout == "old" else ""
        for band in self.bands:
            path = _place(root / f"{prefix}{self._image(band)}{suffix}")
            name, metres = _resolved(band)
            tci = name == "TCI"
            write_image(
                path, self._at(metres), self._pixels(name, metres, clouds), *(("uint8", 3) if tci else ("uint16",))
            )
        classes = self.look.classes(self._at(20 if self.identity.level == "L2A" else 60), clouds)
        masks = self._write_masks(root, clouds, classes, suffix) if self.masks else {}
        content = Content.of(classes)
        old = self.layout == "old"
        put(
            root / self.folder / (self.identity.old_granule_metadata if old else "MTD_TL.xml"),
            documents.tile_xml(
                self.identity,
                self.geobox,
                self.look.season,
                content,
                masks,
                view_grids(self.orbit, self.geobox),
            ),
        )
        return content

    def _pixels(
        self, band: str, metres: int, clouds: Clouds
    ) -> Iterator[tuple[tuple[slice, slice], NDArray[np.generic]]]:
        """Yield the pieces of an image: digital numbers, or the bytes of the true-colour image."""
        for number, (window, box) in enumerate(pieces(self._at(metres), 1024)):
            seed = zlib.crc32(f"{self.identity.tile} {self.identity.start} {band} {metres} {number}".encode())
            if band == "TCI":
                scale = self.look.scale
                white = TCI_WHITE[self.identity.level] * scale.quantification / 254
                rgb = [self.look.numbers(box, b, clouds, seed) for b in ("B04", "B03", "B02")]
                layers = [
                    np.clip((d + np.float32(scale.offset(b))) / white + 1, 1, 255) * (d > 0)
                    for b, d in zip(("B04", "B03", "B02"), rgb, strict=True)
                ]
                yield window, np.stack(layers).astype(np.uint8)
            else:
                yield window, self.look.numbers(box, band, clouds, seed)

    def _write_masks(self, root: Path, clouds: Clouds, classes: NDArray[np.uint8], suffix: str) -> dict[str, str]:
        """Write the quality layers of this baseline and level, and return their types by name in the metadata."""
        coarse = self._at(60)
        valid = inside(coarse, self.look.swath)
        opacity = clouds.opacity(coarse) * valid
        if float(self.identity.baseline) < 4:
            name = self.identity.old_clouds if self.layout == "old" else "MSK_CLOUDS_B00.gml"
            layers = (("OPAQUE", opacity >= MEDIUM), ("CIRRUS", (opacity >= THIN) & (opacity < MEDIUM)))
            polygons = [(kind, polygon) for kind, mask in layers for polygon in _outlines(mask, coarse)]
            gml = documents.clouds_gml(name.removesuffix(".gml"), epsg_of(coarse), polygons)
            put(root / self.folder / "QI_DATA" / name, gml)
            types = {name if self.layout == "old" else f"{self.folder}/QI_DATA/{name}": "MSK_CLOUDS"}
        else:
            snow = self.look.landscape.classes(coarse, self.look.season, self.look.displacement) == 11
            flags = [opacity >= MEDIUM, (opacity >= THIN) & (opacity < MEDIUM), snow & (opacity < THIN) & valid]
            name = f"{self.folder}/QI_DATA/MSK_CLASSI_B00"
            write_image(_place(root / f"{name}{suffix}"), coarse, whole(np.stack(flags).astype(np.uint8)), "uint8", 3)
            types = {f"{name}{suffix}": "MSK_CLASSI"}
        if self.identity.level == "L2A":
            for metres in (20, 60):
                grid, step = self._at(metres), metres // 20
                scl = classes[step // 2 :: step, step // 2 :: step]
                write_image(_place(root / f"{self._image(f'SCL_{metres}m')}{suffix}"), grid, whole(scl), "uint8")
                probability = (
                    (window, np.rint(100 * clouds.opacity(box) * inside(box, self.look.swath)).astype(np.uint8))
                    for window, box in pieces(grid, 1024)
                )
                name = f"{self.folder}/QI_DATA/MSK_CLDPRB_{metres}m{suffix}"
                write_image(_place(root / name), grid, probability, "uint8")
                types[name] = "MSK_CLDPRB"
        return types

    def _at(self, metres: int) -> GeoBox:
        """Make the granule's grid at another resolution."""
        (rows, cols), affine, factor = self.geobox.shape, self.geobox.affine, metres // 10
        return GeoBox((rows // factor, cols // factor), affine * Affine.scale(factor), self.geobox.crs)


def _resolved(band: str) -> tuple[str, int]:
    """Split ``B04`` or ``B04_20m`` into name and resolution."""
    name, _, metres = band.partition("_")
    if name not in {*BANDS_BY_ID, "TCI", "SCL"}:
        raise ValueError(f"{band!r} is no band of Sentinel-2")
    return name, int(metres.removesuffix("m")) if metres else RESOLUTION.get(name, 10)


def _outlines(mask: NDArray[np.bool_], geobox: GeoBox) -> list[Polygon]:
    """Draw the polygons around what is ``True``."""
    geometries = shapes(mask.astype(np.uint8), mask=mask, transform=geobox.affine)
    return [polygon for geometry, _ in geometries if isinstance(polygon := shape(geometry), Polygon)]


def _place(path: Path) -> Path:
    """Make the folders above a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def put(path: Path, content: bytes) -> None:
    """Write a small file, and the folders above it."""
    _place(path).write_bytes(content)
