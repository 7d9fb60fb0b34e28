"""The stack as STAC: an item a date and a collection of both, plain JSON with relative links.

SpatioTemporal Asset Catalog (https://github.com/radiantearth/stac-spec) with the extensions eo, projection and raster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sentinel_match.errors import OutputError
from sentinel_match.formats.fields import DISPLACEMENT, DISPLACEMENT_BANDS, MOTION, MOTION_BANDS
from sentinel_match.geometry.footprint import Footprint
from sentinel_match.geometry.grids import pixel_size

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from odc.geo.geobox import GeoBox

    from sentinel_match.products.scene import Scene

SPECTRAL_BANDS = {
    "B01": ("coastal", 0.4427),
    "B02": ("blue", 0.4924),
    "B03": ("green", 0.5598),
    "B04": ("red", 0.6646),
    "B05": ("rededge", 0.7041),
    "B06": ("rededge", 0.7405),
    "B07": ("rededge", 0.7828),
    "B08": ("nir", 0.8328),
    "B8A": ("nir08", 0.8647),
    "B09": ("nir09", 0.9451),
    "B10": ("cirrus", 1.3735),
    "B11": ("swir16", 1.6137),
    "B12": ("swir22", 2.2024),
}
"""Common names, and central wavelengths of Sentinel-2A in micrometres (ESA, Sentinel-2 Spectral Response Functions)."""
COG = "image/tiff; application=geotiff; profile=cloud-optimized"


def write_stac(
    folder: Path,
    scenes: tuple[Scene, Scene],
    grid: GeoBox,
    bands: tuple[str, ...],
    unit: str,
    model: str,
    *,
    motion: bool = False,
) -> tuple[str, ...]:
    """Write ``left.json``, ``right.json`` and ``collection.json`` beside the images.

    Args:
        folder: holds ``left.tif``, ``right.tif``, ``valid.tif`` and ``displacement.tif``.
        scenes: left and right, each with its sensing time.
        grid: of the images.
        bands: of the images.
        unit: of their values; empty where nothing says.
        model: kind of the transform that the right image was corrected by.
        motion: whether ``motion.tif`` is there, too.

    Returns:
        Names of the files.

    Raises:
        OutputError: they cannot be written.
    """
    import pystac

    times = [time for scene in scenes if (time := scene.sensing_time)]
    sides = zip(("left", "right"), scenes, strict=True)
    items = [_item(side, scene, grid, bands, unit, model) for side, scene in sides]
    _add_fields(items[1], motion=motion)
    collection = pystac.Collection(
        id="_".join(scene.name for scene in scenes),
        description="Two acquisitions on one grid, the right one registered to the left one by sentinel_match.",
        extent=pystac.Extent(
            pystac.SpatialExtent([list(items[0].bbox)]), pystac.TemporalExtent([[min(times), max(times)]])
        ),
        license="other",
        providers=[
            pystac.Provider("Copernicus", roles=[pystac.ProviderRole.PRODUCER, pystac.ProviderRole.LICENSOR]),
        ],
    )
    collection.catalog_type = pystac.CatalogType.SELF_CONTAINED
    collection.set_self_href(str(folder / "collection.json"))
    for item in items:
        item.set_self_href(str(folder / f"{item.id}.json"))
        collection.add_link(pystac.Link("item", item, "application/geo+json"))
        item.set_collection(collection)
        item.set_root(collection)
        item.set_parent(collection)
    try:
        for catalogued in (collection, *items):
            catalogued.save_object(include_self_link=False)
    except OSError as error:
        raise OutputError(folder, error.strerror or str(error)) from error
    return ("collection.json", *(f"{item.id}.json" for item in items))


def _add_fields(item: Any, *, motion: bool) -> None:
    """Name the field that the right image was corrected by, and how ground moved besides, where that is told."""
    title = "Displacement of the right image before it was corrected, with its uncertainty"
    _add_field(item, "displacement", DISPLACEMENT, title, tuple(DISPLACEMENT_BANDS))
    if motion:
        title = "Motion of the ground against stable ground, with its uncertainty"
        _add_field(item, "motion", MOTION, title, MOTION_BANDS)


def _add_field(item: Any, key: str, name: str, title: str, names: Sequence[str]) -> None:
    """Name an image of metres, its bands by their names."""
    import pystac
    from pystac.extensions import raster

    item.add_asset(key, pystac.Asset(f"./{name}", title, media_type=COG, roles=["metadata"]))
    bands = [
        raster.RasterBand.create(nodata="nan", data_type=raster.DataType.FLOAT32, unit="m")  # type: ignore[arg-type]
        for _ in names
    ]
    raster.RasterExtension.ext(item.assets[key]).bands = bands


def _item(side: str, scene: Scene, grid: GeoBox, bands: tuple[str, ...], unit: str, model: str) -> Any:
    import pystac
    from pystac.extensions import eo, projection, raster

    place = Footprint.from_geobox(grid)
    item = pystac.Item(
        id=side,
        geometry=place.geojson(),
        bbox=list(place.bbox),
        datetime=scene.sensing_time,
        properties={"title": scene.id, "gsd": pixel_size(grid), "sentinel_match:model": model},
    )
    if scene.spacecraft:
        item.properties |= {
            "platform": f"sentinel-2{scene.spacecraft[-1].lower()}",
            "constellation": "sentinel-2",
            "instruments": ["msi"],
        }
    for name, roles in ((side, ["data", "reflectance"] if unit else ["data"]), ("valid", ["data-mask"])):
        item.add_asset("data" if name == side else name, pystac.Asset(f"./{name}.tif", media_type=COG, roles=roles))
    eo.EOExtension.ext(item, add_if_missing=True).cloud_cover = scene.cloud_cover
    eo.EOExtension.ext(item.assets["data"]).bands = [
        eo.Band.create(name, common_name=common_name, center_wavelength=wavelength)
        for name in bands
        for common_name, wavelength in [SPECTRAL_BANDS.get(name, (None, None))]
    ]
    projected = projection.ProjectionExtension.ext(item, add_if_missing=True)
    epsg = grid.crs.epsg if grid.crs else None
    a = grid.affine
    projected.apply(
        epsg=epsg,
        wkt2=None if epsg else str(grid.crs),
        shape=[grid.shape.y, grid.shape.x],
        transform=[a.a, a.b, a.c, a.d, a.e, a.f],
        bbox=list(grid.boundingbox),
    )
    raster.RasterExtension.add_to(item)
    pixel = pixel_size(grid)
    values = raster.RasterBand.create(
        nodata="nan",  # type: ignore[arg-type]
        data_type=raster.DataType.FLOAT32,
        spatial_resolution=pixel,
        unit=unit or None,
        scale=1.0,
        offset=0.0,
    )
    codes = raster.RasterBand.create(data_type=raster.DataType.UINT8, spatial_resolution=pixel)
    raster.RasterExtension.ext(item.assets["data"]).bands = [values] * len(bands)
    raster.RasterExtension.ext(item.assets["valid"]).bands = [codes] * 2
    return item
