"""Product: one SAFE product of any layout and age, as Scenes. Metadata and image headers only; no pixel is decoded.

    X.SAFE/  MTD_MSIL1C.xml  manifest.safe  DATASTRIP/*/MTD_DS.xml
             GRANULE/<granule>/  MTD_TL.xml  IMG_DATA/…  QI_DATA/…

What is absent is noted and lived without: only the main metadata file is indispensable.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from sentinel_match.errors import BrokenProduct, NotAProduct
from sentinel_match.geometry.footprint import Footprint
from sentinel_match.geometry.grids import ground_resolution
from sentinel_match.products.granule import GranuleLayer, listing, read_layers
from sentinel_match.products.metadata import (
    Granule,
    ProductMetadata,
    Promise,
    TileMetadata,
    read_manifest,
    read_product_metadata,
    read_refined,
    read_tile_metadata,
)
from sentinel_match.products.scene import Asset, Band, Mask, Scene, promised
from sentinel_match.products.tiling import tile_geobox

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from odc.geo.geobox import GeoBox

    from sentinel_match.products.archive import Archive

MAIN_XML = re.compile(r"(?:MTD_MSIL\d\w|S2\w_(?:OPER|USER)_MTD_SAFL\d\w_\w+)\.xml", re.IGNORECASE)
"""Main metadata file: compact, or long-named as before December 2016."""

TILE_XML = re.compile(r"(?:MTD_TL|S2\w_(?:OPER|USER)_MTD_L\d\w_TL_\w+)\.xml", re.IGNORECASE)
STRIP_XML = re.compile(r"(?:MTD_DS|S2\w_(?:OPER|USER)_MTD_L\d\w_DS_\w+)\.xml", re.IGNORECASE)


@dataclass(frozen=True)
class Product:
    """The files of one product within an archive, and what its main metadata say."""

    archive: Archive
    root: str
    """Folder in the archive: empty, or ending in ``/``."""
    files: tuple[str, ...]
    """Its members, by their names in the archive."""
    metadata: ProductMetadata
    promises: Mapping[str, Promise]
    """What the manifest says, by name in the archive."""


def product_roots(members: Iterable[str]) -> list[str]:
    """Find the folders (``""`` or ending in ``/``) that are products, whole or in parts; outermost only."""
    roots = set()
    for member in members:
        *folders, name = member.split("/")
        if "GRANULE" in folders:
            folders = folders[: folders.index("GRANULE")]
        elif not (MAIN_XML.fullmatch(name) or name.lower() in {"manifest.safe", "inspire.xml"}):
            continue
        roots.add("".join(f"{folder}/" for folder in folders))
    return sorted(root for root in roots if not any(root != other and root.startswith(other) for other in roots))


def read_product(archive: Archive, root: str, only: str | None = None) -> list[Scene]:
    """Read the scenes of the product in folder ``root``: one per granule, or that of the granule folder ``only``.

    Raises:
        NotAProduct: another mission or level.
        BrokenProduct: its metadata is absent, damaged or hostile.
    """
    files = tuple(member for member in archive.sizes if member.startswith(root))
    promises, notes = _promises(archive, root)
    main = _main_file(archive, root, files)
    for member in (main, *(file for file in files if TILE_XML.fullmatch(PurePosixPath(file).name))):
        _unharmed(archive, member, promises.get(member))
    metadata = read_product_metadata(archive, main)
    product = Product(archive, root, files, metadata, promises)
    refined = _refinement(product)
    name = metadata.name or re.sub(r"(\.SAFE|\.zip)+$", "", _folder(archive, root), flags=re.IGNORECASE)
    scenes = []
    for granule in metadata.granules:
        members = _granule_files(product, granule)
        if only and not any(file.startswith(f"{root}GRANULE/{only}/") for file in members):
            continue
        scene = _scene(product, granule, members)
        flag = next((flag for folder, flag in refined.items() if folder in scene.datastrip), None)
        scenes.append(replace(scene, id=name, refined=flag, notes=notes + scene.notes))
    return scenes if len(metadata.granules) == 1 else _with_distinct_ids(scenes)


def _folder(archive: Archive, root: str) -> str:
    return PurePosixPath(root).name or archive.path.name


def _main_file(archive: Archive, root: str, files: tuple[str, ...]) -> str:
    top = {file.removeprefix(root).split("/")[0] for file in files}
    main = sorted(name for name in top if MAIN_XML.fullmatch(name))
    if main:
        return root + main[-1]
    if mission := re.match(r"S([13-6])[A-D_]_", _folder(archive, root)):
        raise NotAProduct(archive.path, f"it is one of Sentinel-{mission[1]}")
    reason = f"its MTD_MSIL1C.xml or MTD_MSIL2A.xml is missing (only {listing(top)} is there): download it again"
    folders = sorted({file.partition("/IMG_DATA/")[0] for file in files if "/IMG_DATA/" in file})
    if folders and archive.zipped is None:
        reason += f", or name the folder of its images, {archive.path / folders[0] / 'IMG_DATA'}"
    raise BrokenProduct(archive.path, reason)


def _promises(archive: Archive, root: str) -> tuple[dict[str, Promise], tuple[str, ...]]:
    """Read the manifest, and note where it is damaged: nothing else depends on it."""
    member = next((m for m in archive.sizes if m.lower() == f"{root}manifest.safe".lower()), None)
    if member is None:
        return {}, ()
    try:
        promises = read_manifest(archive, member)
    except BrokenProduct as error:
        return {}, (f"no file size can be checked: {error.reason}",)
    return {root + name: promise for name, promise in promises.items()}, ()


def _unharmed(archive: Archive, member: str, promise: Promise | None) -> None:
    """Refuse metadata of the right size with other bytes: one flipped bit makes another offset of the reflectance.

    A manifest that is wrong about the size, too, describes another file, as that of a repacked product does.
    """
    check = promised(promise.checksum) if promise and promise.size == archive.sizes[member] else None
    if check is None:
        return
    check[0].update(archive.read(member))
    if check[0].hexdigest() != check[1]:
        method = check[0].name.upper()
        raise BrokenProduct(
            archive.path,
            f"the bytes of {member} are not those its manifest promises ({method}): download it again, or delete "
            "manifest.safe if you changed the file yourself",
        )


def _refinement(product: Product) -> dict[str, bool | None]:
    """Read the refinement flag by folder of the datastrip, whose name is part of the datastrip's identifier."""
    flags = {}
    for member in product.files:
        path = PurePosixPath(member)
        if STRIP_XML.fullmatch(path.name):
            try:
                flags[path.parent.name] = read_refined(product.archive, member)
            except BrokenProduct:
                flags[path.parent.name] = None  # this flag is all it is read for
    return flags


def _scene(product: Product, granule: Granule, files: list[str]) -> Scene:
    """Assemble the scene of one granule, yet without its name."""
    metadata = product.metadata
    described = _described_in(files)
    tile = read_tile_metadata(product.archive, described) if described else None
    notes = [] if tile else ["MTD_TL.xml is absent: the tile's name gives the grid, the datatake's start the time"]
    tile = tile or _assumed(granule)
    layers, layer_notes = read_layers(product.archive, files, tile.grids)
    images = [layer for layer in layers if not layer.is_mask]
    notes += _absent(granule, files) + layer_notes + _truncated(product, layers) + _unchecked(product, layers)
    geobox = _finest_grid(images, tile.grids)
    try:
        footprint, source = Footprint.from_positions(metadata.positions, geobox)
    except ValueError as error:
        raise BrokenProduct(product.archive.path, f"the grid of {granule.tile} lies off the map ({error})") from error
    if source == "tile":
        notes.append("EXT_POS_LIST is no ring on the tile: the footprint is the whole tile")
    return Scene(
        id="",
        path=product.archive.path,
        level=metadata.level,
        footprint=footprint,
        footprint_source=source,
        bands=tuple(sorted((_band(product, image) for image in images), key=lambda b: (b.name, b.resolution))),
        masks=tuple(Mask(m.name, _asset(product, m), m.grid, m.band) for m in layers if m.is_mask),
        sensing_time=tile.sensing_time or metadata.start_time,
        baseline=metadata.baseline,
        spacecraft=metadata.spacecraft,
        tile=granule.tile,
        datatake=metadata.datatake,
        datastrip=tile.datastrip or granule.datastrip,
        relative_orbit=metadata.relative_orbit,
        orbit_direction=metadata.orbit_direction,
        generation_time=metadata.generation_time,
        cloud_cover=metadata.cloud_cover if tile.cloud_cover is None else tile.cloud_cover,
        nodata_share=metadata.nodata_share if tile.nodata_share is None else tile.nodata_share,
        sun_elevation=tile.sun_elevation,
        geobox=geobox,
        notes=tuple(notes),
        tile_metadata=product.archive.asset(described) if described else None,
    )


def _granule_files(product: Product, granule: Granule) -> list[str]:
    """List what is in the granule's folder: the one of its listed images, or named by its identifier or its tile."""
    inside = f"{product.root}GRANULE/"
    folders = sorted({f.removeprefix(inside).split("/")[0] for f in product.files if f.startswith(inside)})
    listed_folders = {image.split("/")[1] for image in granule.images if image.startswith("GRANULE/")}
    for names in (listed_folders, {granule.identifier}, {f for f in folders if f"_{granule.tile}" in f}):
        if matches := [folder for folder in folders if folder in names]:
            return [f for f in product.files if f.startswith(f"{inside}{matches[0]}/")]
    return []


def _described_in(files: list[str]) -> str | None:
    """Find the metadata of the tile among the files of a granule."""
    for file in files:
        path = PurePosixPath(file)  # not in QI_DATA: there the reports of early Level-2A have the same kind of name
        if TILE_XML.fullmatch(path.name) and path.parent.parent.name == "GRANULE":
            return file
    return None


def _assumed(granule: Granule) -> TileMetadata:
    grids = {metres: tile_geobox(granule.tile, metres) for metres in (10, 20, 60)}
    return TileMetadata("", None, grids, cloud_cover=None, nodata_share=None, sun_elevation=None)


def _absent(granule: Granule, files: list[str]) -> list[str]:
    """Note in one line all listed images that are not there."""
    stems = {PurePosixPath(file).stem for file in files}
    names = [PurePosixPath(image).name for image in granule.images]
    missing = [re.sub(r".*_(?=(?:B\d[\dA]|[A-Z]{3})(?:_\d0m)?$)", "", stem) for stem in names if stem not in stems]
    if not missing:
        return []
    if len(missing) == len(names):
        return ["metadata only: no image is there"]
    return [f"{len(missing)} of {len(names)} images are absent: {listing(missing)}"]


def _truncated(product: Product, layers: list[GranuleLayer]) -> list[str]:
    return [
        f"{layer.label} is truncated: {(asset.size or 0) / 1e6:.3g} of {asset.expected_size / 1e6:.3g} MB"
        for layer in layers
        if (asset := _asset(product, layer)).expected_size and (asset.size or 0) < asset.expected_size
    ]


def _unchecked(product: Product, layers: list[GranuleLayer]) -> list[str]:
    """Note in one line all files that are longer than promised, so that no checksum speaks of them."""
    assets = ((layer.label, _asset(product, layer)) for layer in layers)
    labels = [label for label, asset in assets if asset.expected_size and (asset.size or 0) > asset.expected_size]
    return [f"longer than the manifest says, so nothing proves them whole: {listing(labels)}"] if labels else []


def _finest_grid(images: list[GranuleLayer], grids: Mapping[int, GeoBox]) -> GeoBox:
    """Choose the tile's grid by its metadata, unless there are images and none lies on it: then that of the finest."""
    image_grids = [image.grid for image in images if image.grid is not None]
    if image_grids and not any(grid in grids.values() for grid in image_grids):
        return min(image_grids, key=ground_resolution)
    return grids[min(grids)]


def _band(product: Product, image: GranuleLayer) -> Band:
    offset, quantification = product.metadata.radiometry(image.name)
    nodata = 0.0 if image.name == "TCI" else product.metadata.nodata
    resolution = image.metres if image.grid is None else ground_resolution(image.grid)
    return Band(
        image.name,
        resolution,
        _asset(product, image),
        image.grid,
        offset,
        quantification,
        nodata,
    )


def _asset(product: Product, layer: GranuleLayer) -> Asset:
    """Add what the manifest says, if it speaks of this very file: of a ``.tif`` it describes a stub of 744 bytes."""
    asset, promise = product.archive.asset(layer.member), product.promises.get(layer.member)
    if promise is None or layer.is_other or not layer.member.lower().endswith(".jp2"):
        return asset
    return replace(asset, expected_size=promise.size, checksum=promise.checksum)


def _with_distinct_ids(scenes: list[Scene]) -> list[Scene]:
    """Name granules of one product by tile, and by start of the datastrip where a tile comes twice (gips#385)."""
    tiles = [scene.tile for scene in scenes]
    renamed = []
    for scene in scenes:
        start = re.search(r"_S(\d{8}T\d{6})", scene.datastrip)
        twice = f"_{start[1]}" if start and tiles.count(scene.tile) > 1 else ""
        renamed.append(replace(scene, id=f"{scene.id}_{scene.tile}{twice}"))
    return renamed
