"""``sentinel-match chip``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sentinel_match.cli import options
from sentinel_match.cli.paths import AnyPath, NamedPath


@click.command()
@click.argument("scene", type=AnyPath(path_type=Path))
@click.option(
    "-o",
    "--output",
    required=True,
    type=NamedPath(dir_okay=False, path_type=Path),
    help=".tif (cloud-optimised GeoTIFF), .png or .jpg, all with georeference.",
)
@click.option("--band", help="Band (default: B04, else the first there is).")
@click.option("--resolution", type=options.METRES, help="Metres per pixel (default: native).")
@click.option(
    "--reflectance",
    is_flag=True,
    help="Values without masks, instead of what the matcher sees: reflectance where the product or file says how.",
)
@options.nodata
@options.mask_options
@options.cache_options
@click.pass_context
def chip(
    ctx: click.Context,
    /,
    scene: Path,
    output: Path,
    band: str | None,
    resolution: float | None,
    reflectance: bool,
    nodata: float | None,
    **values: Any,
) -> None:
    """Write what the matcher sees of a scene as a georeferenced image.

    That is: normalised to 0..1 between the scene's own limits, with masked pixels as no-data.
    """
    masking, cache = options.make_masking(values), options.make_cache(values)
    from sentinel_match.matching import inputs
    from sentinel_match.products.catalogue import read_scene
    from sentinel_match.raster import raster
    from sentinel_match.raster.bands import band_names, is_reflectance, source_of
    from sentinel_match.raster.load import load

    raster.driver_of(output)  # a suffix that says nothing is known before any image is read
    product = read_scene(scene).with_nodata(nodata)
    name = inputs.common_band(product, product, band)
    sources = [source_of(product, one) for one in band_names(name)]
    unit = "reflectance" if all(is_reflectance(product, source) for source in sources) else ""
    are_numbers = all((b.offset, b.quantification) == (0, 1) for source in sources for b in source.bands)
    if reflectance:
        image = raster.read(product, name, resolution=resolution)
        stored = "numbers as they are stored, because nothing says how they become reflectance"
        content = unit or (stored if are_numbers else "values by the scale and offset of product or file")
    else:
        prepared = load(product, name, resolution=resolution, masking=masking, cache=cache)
        image = prepared.raster
        masked = ", ".join(f"{reason} {100 * share:.1f} %" for reason, share in prepared.removed.items()) or "nothing"
        low, high = prepared.limits
        content = f"masked {masked}; {unit or 'values'} {low:.3f} to {high:.3f} became 0 to 1"
    raster.write(image, output)
    if not ctx.obj:
        rows, cols = image.valid.shape
        click.echo(f"wrote {output}: {name} of {product.name}, {cols} x {rows} px; {content}", err=True)
