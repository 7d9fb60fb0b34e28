"""Deliveries of one file per band: the files of one acquisition gathered from their names, and read as one Scene."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sentinel_match.errors import BrokenProduct, NotAProduct, SentinelMatchError
from sentinel_match.geometry.grids import ground_resolution
from sentinel_match.products.files import real_path
from sentinel_match.products.layers import IMAGE_SUFFIXES, Layer, identity_of, is_landsat, is_within, layer_of, taken
from sentinel_match.products.loose import bands_of, open_header
from sentinel_match.products.placement import footprint_of
from sentinel_match.products.scene import Mask, Scene
from sentinel_match.products.zipped import asset_at, images_within, zip_above

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sentinel_match.products.scene import Band

PREFERRED = ("FRE", "SR", "BOA")
"""Which file of a band is read where it comes as several products: Theia's reflectance of flat ground (FRE) before that
of slopes (SRE), what is at the surface before what is at the top of the atmosphere."""
PREFERRED_SUFFIXES = (".jp2", ".tif", ".tiff", ".img", ".png")
"""And where it comes in several formats."""
GROUND_KINDS = {"band", "bands"}
"""Kinds of layers that show the ground."""


@dataclass(frozen=True)
class Delivery:
    """The files of one acquisition."""

    folder: Path
    stem: str
    """What their names have in common; empty where it is the folder."""
    layers: tuple[Layer, ...]
    unknown: tuple[Path, ...] = ()
    """Files named after the acquisition that say not what they show."""

    @property
    def path(self) -> Path:
        """Return the path by which the acquisition may be named: its folder, or that and what its files begin with."""
        return self.folder / self.stem

    @property
    def files(self) -> tuple[Path, ...]:
        """List all that belongs to it."""
        return (*(layer.path for layer in self.layers), *self.unknown)


def gather(files: Iterable[Path]) -> tuple[list[Delivery], list[Path]]:
    """Gather the files of each acquisition that has several, by folder and by what their names have in common.

    Returns:
        The acquisitions, and the files that are of none.
    """
    files = list(files)
    groups: dict[tuple[Path, str], list[Layer]] = defaultdict(list)
    nameless = []
    for file in files:
        if layer := layer_of(file):
            groups[real_path(layer.folder), layer.stem].append(layer)
        else:
            nameless.append(file)
    whole = {(real_path(file.parent), file.stem): file for file in nameless}
    deliveries = []
    for (folder, stem), layers in groups.items():
        if not any(layer.kind in GROUND_KINDS for layer in layers) and (folder, stem) in whole:
            file = whole[folder, stem]  # field.tif beside field_SCL.tif
            layers.append(Layer(file, file.parent, stem, "bands", ""))
        images = {(layer.kind, layer.name) for layer in layers if layer.kind in GROUND_KINDS}
        if images and len({(layer.kind, layer.name) for layer in layers if layer.kind != "other"}) > 1:
            deliveries.append(Delivery(layers[0].folder, stem, tuple(layers)))
    gathered = {file for delivery in deliveries for file in delivery.files}
    rest = [file for file in files if file not in gathered]
    dated = [k for k, d in enumerate(deliveries) if d.stem and taken(d.stem)]
    for file in rest.copy():
        for k in dated:
            one = deliveries[k]
            if real_path(file.parent) == real_path(one.folder) and _goes_on(file.stem, one.stem):
                deliveries[k] = replace(one, unknown=(*one.unknown, file))
                rest.remove(file)
                break
    return deliveries, rest


def files_named(name: Path) -> list[Path]:
    """List the files of what is listed by a name that no file has.

    That is an acquisition, by its folder and what the names of its files have in common, or an image within a zip.
    """
    if (outer := zip_above(name)) is not None:
        files = images_within(outer)
        if name in files:
            return [name]
    else:
        folders = [name.parent] if name.name and name.parent.is_dir() else []
        for folder in folders:
            folders += [f for f in folder.glob("*") if is_within(f.name) and f.is_dir()]
        found = [file for folder in folders for file in sorted(folder.glob("*"))]
        files = [file for file in found if file.is_file() and not file.name.startswith(".")]
    deliveries, _ = gather(file for file in files if file.suffix.lower() in IMAGE_SUFFIXES)
    return [file for one in deliveries if one.path == name for file in one.files]


def _goes_on(name: str, stem: str) -> bool:
    return name.startswith(stem) and name[len(stem) : len(stem) + 1] in {"_", "-", ".", " "}


def read_delivery(delivery: Delivery) -> tuple[Scene | None, list[tuple[Path, SentinelMatchError]]]:
    """Read the files of an acquisition as one scene, and what cannot be read of them.

    Bands are named as Sentinel-2's, Landsat's by their wavelengths. Layers whose values are known become masks.
    """
    identity = identity_of(delivery.folder, delivery.stem)
    bands: list[Band] = []
    masks: list[Mask] = []
    errors: list[tuple[Path, SentinelMatchError]] = []
    second: set[str] = set()
    for layer in sorted(delivery.layers, key=_preference):
        if layer.kind == "other":
            continue
        try:
            asset = asset_at(layer.path)
            header = open_header(layer.path, asset)
        except (NotAProduct, BrokenProduct) as error:
            errors.append((layer.path, error))
            continue
        if layer.kind == "mask":
            masks.append(Mask(layer.name, asset, header.geobox))
            continue
        for band in bands_of(layer.path, asset, header, layer, is_tile=bool(identity.tile)):
            if layer.kind == "band" and band.index != 1:
                continue  # a mask that somebody has put into the file of the band
            if any(b.name == band.name and _alike(b, band) for b in bands):
                second.add(layer.path.name)
            else:
                bands.append(band)
    if not bands:
        return None, errors
    grids = [band.geobox for band in bands if band.geobox is not None]
    geobox = min(grids, key=ground_resolution) if grids else None
    footprint, notes = footprint_of(geobox)
    if second:
        notes += (f"left out, because the same bands come twice: {_listing(second)}",)
    if delivery.unknown:
        notes += (f"left out, because their names say no band: {_listing({p.name for p in delivery.unknown})}",)
    if any(is_landsat(layer.path.stem) for layer in delivery.layers):
        notes += ("Landsat's bands have the names of Sentinel-2's of their wavelengths",)
    scene = Scene(
        id=identity.id,
        path=delivery.path,
        level="",
        footprint=footprint,
        footprint_source="raster" if footprint else "none",
        bands=tuple(sorted(bands, key=lambda b: (b.name, b.resolution, b.index))),
        masks=tuple(masks),
        sensing_time=identity.time,
        spacecraft=identity.spacecraft,
        tile=identity.tile,
        geobox=geobox,
        notes=notes,
    )
    return scene, errors


def _preference(layer: Layer) -> tuple[int, int, str]:
    return (
        PREFERRED.index(layer.product) if layer.product in PREFERRED else len(PREFERRED),
        PREFERRED_SUFFIXES.index(s) if (s := layer.path.suffix.lower()) in PREFERRED_SUFFIXES else 9,
        str(layer.path),
    )


def _alike(one: Band, other: Band) -> bool:
    return abs(one.resolution / other.resolution - 1) < 0.01


def _listing(names: set[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")
