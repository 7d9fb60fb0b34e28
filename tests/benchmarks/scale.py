"""Measure how the choice of pairs grows with the archive, on products invented as scenes: nothing is read.

    python tests/benchmarks/scale.py pairing 500:10 1000:10 2000:10
    python tests/benchmarks/scale.py pairing 10000:10 100000:500

Each archive, ``PRODUCTS:TILES``, is paired in a process of its own. Tiles lie beside and above one another as on the
tiling grid, five days apart in each of two orbits: one shows the whole tile, the edge of the other's swath crosses it
some hundred metres elsewhere at every pass, so that half of the footprints are like no other.
"""

from __future__ import annotations

import random
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from shapely.geometry import Polygon, box

from sentinel_match.formats.geojson import write_collection
from sentinel_match.geometry.footprint import Footprint
from sentinel_match.products.pairing import pair_scenes, pairs_geojson
from sentinel_match.products.scene import Scene
from sentinel_match.products.tiling import SQUARE_COLUMNS, SQUARE_ROWS, tile_geobox

FIRST = datetime(2016, 1, 1, 10, 20, tzinfo=UTC)
COLUMNS, ZONES = 4, range(31, 41)
"""Columns of 100 km in the middle of a zone, and zones side by side."""
NORTHINGS = {"S": range(36, 44), "T": range(45, 53), "U": range(54, 62)}
"""Rows of whole squares in three latitude bands, in 100 km."""


def tile_names(count: int) -> list[str]:
    """Name neighbouring tiles: along a row of a zone, then row by row, then in the next zone."""
    names = [
        f"T{zone}{band}{SQUARE_COLUMNS[(zone - 1) % 3 * 8 + 2 + column]}{SQUARE_ROWS[(row + 5 * (zone % 2 == 0)) % 20]}"
        for zone in ZONES
        for band, rows in NORTHINGS.items()
        for row in rows
        for column in range(COLUMNS)
    ]
    if count > len(names):
        raise click.UsageError(f"there are {len(names)} tiles to invent products on")
    return names[:count]


def archive(products: int, tiles: int) -> list[Scene]:
    """Invent an archive: every tile at the same dates, as the satellite passes."""
    chance = random.Random(17)  # noqa: S311 the same archive every time
    scenes: list[Scene] = []
    for tile in tile_names(tiles):
        gbox = tile_geobox(tile)
        whole = Footprint.from_geobox(gbox)
        west, south, east, north = whole.polygon.bounds
        for number in range(products // tiles):
            orbit, passes = number % 2, number // 2
            start = FIRST + timedelta(days=5 * passes + 2 * orbit, minutes=3 * (passes % 7))
            footprint = whole
            if orbit:
                edge = west + (east - west) * (0.35 + chance.uniform(-0.005, 0.005))
                swath = Polygon([
                    (edge, north + 1),
                    (east + 1, north + 1),
                    (east + 1, south - 1),
                    (edge - 0.3, south - 1),
                ])
                footprint = Footprint.from_lonlat(whole.polygon & (swath & box(-180, -90, 180, 90)))
            scenes.append(
                Scene(
                    id=f"S2A_MSIL2A_{start:%Y%m%dT%H%M%S}_N0500_R{22 + 43 * orbit:03d}_{tile}_{start:%Y%m%dT%H%M%S}",
                    path=Path(f"/archive/{tile}/{start:%Y%m%dT%H%M%S}.SAFE"),
                    level="L2A",
                    footprint=footprint,
                    footprint_source="product",
                    sensing_time=start + timedelta(seconds=14),
                    baseline="05.00",
                    spacecraft="S2A",
                    tile=tile,
                    datatake=f"GS2A_{start:%Y%m%dT%H%M%S}_{passes:06d}",
                    relative_orbit=22 + 43 * orbit,
                    cloud_cover=round(100 * chance.betavariate(0.5, 0.7), 2),
                    refined=True,
                    geobox=gbox,
                )
            )
    return scenes


@click.group()
def main() -> None:
    """Measure how work grows with the archive."""


@main.command()
@click.argument("archives", nargs=-1, required=True)
def pairing(archives: tuple[str, ...]) -> None:
    """Pair invented archives of ``PRODUCTS:TILES``, and write ``pairs.geojson`` of each."""
    print("| products | tiles | pairs | refused | pairing, CPU s | writing, CPU s | peak GB (scenes) | geojson MB |")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|", flush=True)
    for text in archives:
        subprocess.run([sys.executable, __file__, "one", text], check=True)  # peak memory is a process's


@main.command(hidden=True)
@click.argument("size")
def one(size: str) -> None:
    """Pair one archive in this process."""
    products, tiles = map(int, size.split(":"))
    scenes = archive(products, tiles)
    before = _peak_gb()
    clock = time.process_time()
    found = pair_scenes(scenes)
    paired = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pairs.geojson"
        write_collection(pairs_geojson(found), path)
        written = time.process_time()
        size_mb = path.stat().st_size / 1e6
    counts = getattr(found, "refused_counts", None)
    refused = sum(counts.values()) if counts is not None else len(found.refused)
    print(
        f"| {products:,} | {tiles:,} | {len(found.pairs):,} | {refused:,} | {paired - clock:.1f} | "
        f"{written - paired:.1f} | {_peak_gb():.2f} ({before:.2f}) | {size_mb:.1f} |",
        flush=True,
    )


def _peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)


if __name__ == "__main__":
    main()
