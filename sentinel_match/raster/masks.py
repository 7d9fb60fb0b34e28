"""Which pixels not to trust, and why: SCL and its like, MSK_CLOUDS, cloud probability, a user's mask, brightness.

All masks meet on one grid that the caller chooses, usually 20 m or coarser, where dilation is cheap. Where reasons
overlap the first one in the order of :class:`Reason` wins, so their shares add up.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Set
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import shapely
from lxml import etree
from odc.geo.crs import CRS
from odc.geo.geom import Geometry
from rasterio.enums import Resampling
from rasterio.features import rasterize
from rasterio.warp import reproject

from sentinel_match import schema
from sentinel_match.errors import BadMask, DamagedImage
from sentinel_match.geometry.grids import ground_resolution
from sentinel_match.products.header import read_header
from sentinel_match.products.opening import RefusedRaster, reading_vectors
from sentinel_match.products.scene import Asset
from sentinel_match.raster.flags import OWN_MASK, SHORE_METRES, Reason, flagged
from sentinel_match.raster.jp2 import read_rasterio
from sentinel_match.raster.morphology import dilate
from sentinel_match.wording import in_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from sentinel_match.products.scene import Mask, Scene

log = logging.getLogger(__name__)

_SCL_REASONS = {
    0: Reason.NODATA,
    1: Reason.DEFECTIVE,
    3: Reason.SHADOW,
    6: Reason.WATER,
    8: Reason.CLOUD,
    9: Reason.CLOUD,
    10: Reason.CIRRUS,
    11: Reason.SNOW,
}
_GROWING_REASONS = (Reason.CLOUD, Reason.CIRRUS, Reason.SHADOW)


@dataclass(frozen=True)
class Masking:
    """What to mask.

    Examples:
        >>> from sentinel_match import Masking, Options
        >>> options = Options(masking=Masking(dilate=120.0))  # cloud and shadow masks grow by 120 m
    """

    keep: frozenset[Reason] = frozenset({Reason.SNOW})
    """Reasons that leave a pixel valid. Snow by default: two snowy dates do correspond."""
    dilate: float = 60.0
    """Metres by which cloud, cirrus, shadow and brightness grow, because their edges are unreliable."""
    cloud_probability: float | None = None
    """Percent from which the product's cloud probability counts as cloud; ``None`` leaves it out."""
    brightness: bool = True
    """Whether bright areas count as cloud where the product has no cloud mask: see ``raster.clouds``."""
    user: Path | None = None
    """Raster (non-zero = exclude) or polygons (inside = exclude), in any CRS."""

    def __post_init__(self) -> None:
        """Fail now at what cannot be used, by a TypeError or a ValueError."""
        schema.check_fields(self, _MASKING_KINDS)
        object.__setattr__(self, "keep", frozenset(self.keep))
        if self.user is not None:
            object.__setattr__(self, "user", Path(self.user))

    @property
    def recipe(self) -> Mapping[str, object]:
        """Return what the result depends on, JSON-able: the content of the user's mask instead of its name.

        Raises:
            BadMask: the user's mask is not there.
        """
        user = None
        if self.user:
            try:
                user = Asset(self.user).sha256()
            except DamagedImage as error:
                raise BadMask(self.user, error.reason) from error
        return {
            "keep": sorted(reason.name for reason in self.keep),
            "dilate": self.dilate,
            "cloud_probability": self.cloud_probability,
            "brightness": self.brightness,
            "user": user,
        }


_MASKING_KINDS = {
    "keep": schema.ArgumentKind((Set, list, tuple), "a set of Reason", lambda many: {*map(type, many)} <= {Reason}),
    "dilate": schema.ArgumentKind(Real, "a number of metres, 0 or more", lambda metres: 0 <= metres < math.inf),
    "cloud_probability": schema.IN_PERCENT.or_none(),
    "brightness": schema.TRUE_OR_FALSE,
    "user": schema.A_PATH.or_none(),
}


@dataclass(frozen=True, eq=False)
class Masked:
    """Validity with reasons on one grid."""

    codes: NDArray[np.uint8]
    """(rows, cols), values of :class:`Reason`."""
    clouds: str
    """Where clouds are known from: a kind of :class:`~sentinel_match.products.scene.Mask`, ``classes`` (the user's), or
    empty."""
    notes: tuple[str, ...] = field(default=())
    """What a user should know: masks that were absent or damaged."""


def reasons(scene: Scene, geobox: GeoBox, masking: Masking, classes: NDArray[np.uint8] | None = None) -> Masked:
    """Gather what the product's masks and the user's say of each pixel of a grid.

    The best cloud mask that can be read is taken: SCL, else MSK_CLASSI, else MSK_CLOUDS. One that is damaged is left
    out with a warning and a note. Classes are never interpolated: each pixel takes the class at its centre.

    Args:
        scene: the product.
        geobox: any grid; without a CRS no mask can be placed on it.
        masking: what to mask.
        classes: (rows, cols) :class:`Reason` by the user's map of classes, where the product itself says nothing.

    Raises:
        BadMask: the user's mask cannot be used.
    """
    raw, clouds, notes = _product(scene, geobox, masking)
    if classes is not None:
        clouds = clouds or ("classes" if Reason.CLOUD in classes else "")
        raw = np.where(raw == Reason.VALID, classes, raw)
    if not clouds:
        notes.append("no cloud mask")
    for note in notes:
        log.warning("%s: %s%s", scene.id, note, OWN_MASK if note == "no cloud mask" else "")
    metres = ground_resolution(geobox)
    codes = np.zeros(geobox.shape, np.uint8)
    for reason in Reason:
        if reason == Reason.VALID or reason in masking.keep:
            continue
        layer = raw == reason
        if reason == Reason.USER and masking.user:
            layer = user_mask(masking.user, geobox)
        if not layer.any():
            continue
        if reason in _GROWING_REASONS:
            layer = dilate(layer, masking.dilate / metres)
        if reason == Reason.WATER:
            layer = ~dilate(~layer, SHORE_METRES / metres)
        codes[layer & (codes == Reason.VALID)] = reason
    return Masked(codes, clouds, tuple(notes))


def _product(scene: Scene, geobox: GeoBox, masking: Masking) -> tuple[NDArray[np.uint8], str, list[str]]:
    """Read the reasons by the product's own masks before they grow, where clouds are known from, and notes."""
    codes = np.zeros(geobox.shape, np.uint8)
    clouds, notes = "", []
    for mask in sorted((m for m in scene.masks if m.kind in _MASK_READERS), key=_rank):
        try:
            codes, clouds = _MASK_READERS[mask.kind](mask, geobox, scene), mask.kind
            break
        except DamagedImage as error:
            notes.append(f"without the mask {mask.asset.name}: {error.reason}")
    if masking.cloud_probability is not None:
        probability = [m for m in scene.masks if m.kind == "CLDPRB"]
        try:
            codes[_nearest(min(probability, key=_rank), geobox) >= masking.cloud_probability] = Reason.CLOUD
            clouds = clouds or "CLDPRB"
        except (ValueError, DamagedImage) as error:
            notes.append(f"without the cloud probability: {getattr(error, 'reason', 'the product has none')}")
    return codes, clouds, notes


def _rank(mask: Mask) -> tuple[int, float]:
    """Rank the best kind first, then the finest."""
    return MASK_KINDS.index(mask.kind), ground_resolution(mask.geobox) if mask.geobox else 0.0


def _scl(mask: Mask, geobox: GeoBox, _: Scene) -> NDArray[np.uint8]:
    reason = np.zeros(256, np.uint8)
    reason[list(_SCL_REASONS)] = list(_SCL_REASONS.values())
    codes: NDArray[np.uint8] = reason[_nearest(mask, geobox, outside=255)]
    return codes


def _classi(mask: Mask, geobox: GeoBox, _: Scene) -> NDArray[np.uint8]:
    """Read MSK_CLASSI_B00.jp2: three layers of 0 and 1."""
    snow, cirrus, cloud = (read_rasterio(mask.asset, index=index) > 0 for index in (3, 2, 1))
    codes = np.select([cloud, cirrus, snow], [np.uint8(r) for r in (Reason.CLOUD, Reason.CIRRUS, Reason.SNOW)])
    return _placed(mask, codes, geobox)


def _clouds(mask: Mask, geobox: GeoBox, scene: Scene) -> NDArray[np.uint8]:
    """Read MSK_CLOUDS_B00.gml: polygons in the CRS of the tile; a clear tile has an empty list."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    polygons: dict[str, list[shapely.Geometry]] = {"CIRRUS": [], "OPAQUE": []}
    try:
        with mask.asset.open() as file:
            root = etree.parse(file, parser).getroot()
        for feature in root.iter("{*}MaskFeature"):
            kind = (feature.findtext("{*}maskType") or "").strip()
            for polygon in feature.iter("{*}Polygon"):
                outer, inner = (_rings(polygon, side) for side in ("exterior", "interior"))
                if outer and kind in polygons:
                    polygons[kind].append(shapely.Polygon(outer[0], inner))
    except (etree.XMLSyntaxError, ValueError) as error:
        raise DamagedImage(str(mask.asset), f"it is no mask in GML ({error})") from error
    codes = np.zeros(geobox.shape, np.uint8)
    crs = scene.geobox.crs if scene.geobox else None
    for kind, reason in (("CIRRUS", Reason.CIRRUS), ("OPAQUE", Reason.CLOUD)):
        codes[_burn(mask.asset, polygons[kind], crs, geobox)] = reason
    return codes


def _flags(mask: Mask, geobox: GeoBox, _: Scene) -> NDArray[np.uint8]:
    """Read a mask whose bits are flags."""
    try:
        codes = flagged(read_rasterio(mask.asset), mask.kind)
    except ValueError as error:
        raise DamagedImage(str(mask.asset), str(error)) from None
    return _placed(mask, codes, geobox)


def _maja(mask: Mask, geobox: GeoBox, scene: Scene) -> NDArray[np.uint8]:
    """Read MAJA's geophysical mask, and cirrus from its cloud mask."""
    codes = _flags(mask, geobox, scene)
    clouds = sorted((m for m in scene.masks if m.kind == "CLM"), key=_rank)
    if clouds:
        more = _flags(clouds[0], geobox, scene)
        codes = np.where((more != Reason.VALID) & (codes != Reason.CLOUD), more, codes)
    return codes


_MASK_READERS = {
    "SCL": _scl,
    "FMASK": _flags,
    "QA_PIXEL": _flags,
    "QAI": _flags,
    "MG2": _maja,
    "CLM": _flags,
    "CLASSI": _classi,
    "CLOUDS": _clouds,
    "QA60": _flags,
}
"""Readers of the cloud masks, best first."""


MASK_KINDS = (*_MASK_READERS, "CLDPRB")
"""Kinds of masks that :func:`reasons` looks at."""


def _rings(polygon: Any, side: str) -> list[NDArray[np.float64]]:
    lists = polygon.iterfind(f"{{*}}{side}//{{*}}posList")
    flat = [(np.array((p.text or "").split(), np.float64), int(p.get("srsDimension", 2))) for p in lists]
    return [ring.reshape(-1, size)[:, :2] for ring, size in flat if ring.size >= 4 * size]


def _nearest(mask: Mask, geobox: GeoBox, outside: int = 0) -> NDArray[np.uint8]:
    return _placed(mask, read_rasterio(mask.asset).astype(np.uint8), geobox, outside)


def _placed(mask: Mask, codes: NDArray[np.uint8], geobox: GeoBox, outside: int = 0) -> NDArray[np.uint8]:
    """Bring codes of a mask's pixels to another grid."""
    if mask.geobox is None or geobox.crs is None:
        raise DamagedImage(str(mask.asset), "it has no georeference")
    return at_centres(codes, mask.geobox, geobox, outside)


def at_centres(codes: NDArray[np.uint8], grid: GeoBox, geobox: GeoBox, outside: int = 0) -> NDArray[np.uint8]:
    """Bring codes to another grid: each pixel takes that at its centre."""
    out = np.full(geobox.shape, outside, np.uint8)
    place(codes, grid, out, geobox, Resampling.nearest)
    return out


def place(source: NDArray[Any], grid: GeoBox, out: NDArray[Any], geobox: GeoBox, how: Resampling) -> None:
    """Put a raster on another grid; what it does not reach stays as it is."""
    reproject(
        source,
        out,
        src_transform=grid.affine,
        src_crs=str(grid.crs),
        dst_transform=geobox.affine,
        dst_crs=str(geobox.crs),
        resampling=how,
        init_dest_nodata=False,
    )


def _burn(asset: Asset, polygons: Iterable[shapely.Geometry], crs: CRS | None, geobox: GeoBox) -> NDArray[np.bool_]:
    """Mark every pixel a polygon touches. Cut to the grid first: a coastline of the world has no UTM coordinates."""
    if crs is None or geobox.crs is None:
        raise DamagedImage(str(asset), "it has no georeference")
    region = geobox.pad(2).extent.to_crs(crs, resolution="auto").geom
    pieces = shapely.intersection(shapely.make_valid(np.array(list(polygons), object)), region)
    shapes = [Geometry(g, crs).to_crs(geobox.crs, resolution="auto").geom for g in pieces if not g.is_empty]
    if not shapes:
        return np.zeros(geobox.shape, np.bool_)
    return np.asarray(rasterize(shapes, geobox.shape, transform=geobox.affine, all_touched=True, dtype="uint8") > 0)


def user_mask(path: Path, geobox: GeoBox) -> NDArray[np.bool_]:
    """Lay a user's raster (non-zero) or polygons on a grid; raise BadMask where that cannot be."""
    if geobox.crs is None:
        raise BadMask(path, "the image has no georeference, so nothing can be laid on it")
    try:
        header = read_header(str(path))
    except RefusedRaster as error:
        raise BadMask(path, str(error)) from error
    except ValueError:
        return _user_polygons(path, geobox)
    if header.geobox is None:
        raise BadMask(path, "it has no georeference, so it cannot be laid on the image")
    try:
        pixels = read_rasterio(Asset(path))
    except DamagedImage as error:
        raise BadMask(path, error.reason) from error
    excluded = ((pixels != 0) & np.isfinite(pixels) & (pixels != header.nodata[0])).astype(np.uint8)
    place(excluded, header.geobox, out := np.zeros(geobox.shape, np.uint8), geobox, Resampling.max)
    return out > 0


def _user_polygons(path: Path, geobox: GeoBox) -> NDArray[np.bool_]:
    import pyogrio  # brings pandas along where it is installed
    from pyogrio.errors import DataSourceError

    try:
        with reading_vectors():
            meta, _, wkb, _ = pyogrio.raw.read(path, columns=[])
    except (DataSourceError, UnicodeEncodeError) as error:
        raise BadMask(path, f"it is neither a raster nor polygons ({in_words(error)})") from error
    if meta["crs"] is None:
        raise BadMask(path, "it has no CRS, so its polygons cannot be laid on the image")
    dimensions = shapely.get_dimensions(shapes := shapely.from_wkb(wkb))
    if set(dimensions.tolist()) & {0, 1} and 2 not in dimensions:
        raise BadMask(path, "it holds points or lines, and no polygons")
    return _burn(Asset(path), shapes[dimensions == 2], CRS(meta["crs"]), geobox)
