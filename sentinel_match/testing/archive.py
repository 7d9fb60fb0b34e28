"""The demo's downloads: a handful of products of one invented place, as mixed as a real folder of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from odc.geo.geobox import GeoBox

from sentinel_match.testing.landscape import Landscape
from sentinel_match.testing.product import write_product
from sentinel_match.testing.swath import swath_part

if TYPE_CHECKING:
    from pathlib import Path

    from sentinel_match.testing.covers import Season

DEMO_CORNER = (398_160, 5_838_000)
"""North-west of the demo area: where tile T33UUU overlaps its neighbour T33UVU."""
DEMO_SIDE = 1020
"""Pixels of 10 m along its side."""


@dataclass(frozen=True)
class Truth:
    """What is known of a written product because it was invented."""

    path: Path
    displacement: tuple[float, float]
    """Metres east and north by which it shows the ground away from where it is; the shift between two products is the
    right one's minus the left one's."""
    season: Season
    cloud: float
    """Share of its ground under cloud."""
    flaw: str = ""
    """What makes its pixels unreadable, if anything does."""


def write_archive(folder: Path, seed: int = 7) -> tuple[Truth, ...]:
    """Write six products, 10 km or less across, reference first: five dates of one tile, one of the tile beside it.

    Spring as a folder; autumn as a zip, displaced by almost two pixels, of another extent, partly cloudy and cut by the
    edge of the swath; winter as Level-2A, under snow; summer wholly under cloud; autumn again, its image truncated; and
    spring in the neighbouring tile, which shares ground with all of them.

    Raises:
        OutputError: one of them exists already.
    """
    write = partial(write_product, folder, Landscape(seed))
    place = {"pixels": DEMO_SIDE, "origin": DEMO_CORNER}
    x, y = DEMO_CORNER
    autumn = GeoBox.from_bbox((x + 1800, y - 10_200, x + 10_200, y - 1200), crs="EPSG:32633", resolution=10)
    spring = write(date="2023-05-14T10:05:59.024", **place, sky=0.02)
    shifted = write(
        date="2023-10-06T10:06:31.024",
        pixels=autumn.shape.yx,
        origin=(x + 1800, y - 1200),
        displacement=(6.4, 18.1),
        sky=0.15,
        swath=swath_part(autumn, 0.9, "west"),
        zip="no-dir-entries",
    )
    snow = write(
        date="2024-01-09T10:04:19.024", level="L2A", spacecraft="S2B", **place, displacement=(-3.7, 5.2), sky=0.05
    )
    hidden = write(date="2023-07-18T10:05:59.024", **place, sky=1.0)
    broken = write(date="2022-10-11T10:08:49.024", **place, displacement=(2.0, -4.0))
    truncate(next(broken.rglob("*_B04.jp2")), 0.6)
    beside = write(
        date="2023-05-17T10:15:49.024",
        tile="T33UVU",
        orbit=65,
        pixels=(DEMO_SIDE, DEMO_SIDE - 180),
        origin=(x + 1800, y),
        displacement=(1.5, -2.5),
    )
    return (
        Truth(spring, (0.0, 0.0), "spring", 0.02),
        Truth(shifted, (6.4, 18.1), "autumn", 0.15),
        Truth(snow, (-3.7, 5.2), "winter", 0.05),
        Truth(hidden, (0.0, 0.0), "summer", 1.0),
        Truth(broken, (2.0, -4.0), "autumn", 0.0, flaw="truncated"),
        Truth(beside, (1.5, -2.5), "spring", 0.0),
    )


def truncate(path: Path, share: float) -> None:
    """Cut a file off, as a broken download does, after a share (0 to 1) of its bytes."""
    size = int(path.stat().st_size * share)
    with path.open("r+b") as file:
        file.truncate(size)
