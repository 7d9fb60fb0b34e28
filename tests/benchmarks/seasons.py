"""The cross-season sets of the shared data as georeferenced GeoTIFFs, and their pairs for `sentinel-match evaluate`.

python tests/benchmarks/seasons.py SHARED OUT            SHARED is the folder with README.md; writes OUT/pairs.csv
python tests/benchmarks/seasons.py SHARED OUT unseen     only ground that the shipped networks were not trained on
sentinel-match evaluate OUT/pairs.csv -o OUT/result --method auto --method sift --method sift:unguided

Truth is what SHARED/README.md states. The georeference holds within 0.1 px, but for the early dates 2016-03-30 and
2016-05-09 of tci_gray_107m (-0.20 px in y), portugal_ndvi_20m (stated per pair), arosics_T33UUU_10m (+0.64, -1.81 px)
and bouconne_T31TCJ_10m (0.1 to 0.45 px between dates, not known better: its precision at 1 px is a little pessimistic).
"""

from __future__ import annotations

import csv
import json
import sys
import warnings
from datetime import date
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

from sentinel_match.evaluate.listing import season_gap

warnings.simplefilter("ignore", NotGeoreferencedWarning)

CLEAR, CLOUDY, SWATH, HIDDEN = "clear", "cloudy", "part swath", "hidden"
WINTER = "20160212"
TCI = (
    # left, right, stratum; snow lies on 20160212 and 20161205
    (WINTER, "20190611", CLEAR),
    (WINTER, "20190830", CLEAR),
    (WINTER, "20160830", CLEAR),
    ("20161205", "20190825", SWATH),
    ("20190328", "20190825", CLEAR),
    ("20190422", "20190904", CLEAR),
    ("20190606", "20190621", CLEAR),
    ("20160330", "20190825", SWATH),
    ("20160618", "20190407", SWATH),
    ("20190318", "20190830", CLOUDY),
    ("20190825", "20190726", HIDDEN),
    ("20190830", "20190810", HIDDEN),
)
EARLY = {"20160330": (0.0, -0.2), "20160509": (0.0, -0.2)}
"""Where content lies beside the georeference, pixels: as a right image; with the sign turned as a left one."""
NEIGHBOURS = (("20180805", "20180904"), ("20180830", "20190606"))
"""Pairs of T36UXA."""
PORTUGAL = (
    ("20170115", "20170714", (0.28, -0.38)),
    ("20170115", "20171221", (0.20, -0.08)),
    ("20170714", "20171012", (-0.06, 0.06)),
)
BOUCONNE = ("20180429", "20180513", "20180708", "20180815", "20180915", "20181015", "20181115")
BANDS = ("B02", "B03", "B04", "B08", "B05", "B06", "B07", "B8A", "B11", "B12")
L2A = (
    ("33TWL", "20230813", "33TWL", "20230818", CLEAR),
    ("33TWL", "20230810", "33TWL", "20230820", CLEAR),
    ("33TWM", "20230813", "33TWM", "20230820", CLEAR),
    ("33TWL", "20230815", "33TWL", "20230820", CLOUDY),
    ("33TWM", "20230815", "33TWM", "20230818", CLOUDY),
    ("33TWL", "20230813", "33TWM", "20230820", "neighbours"),
    ("33TWM", "20230810", "33TWL", "20230818", "neighbours"),
)
UPPER_LEFT = {"33TWL": (499980.0, 5100000.0), "33TWM": (499980.0, 5200020.0)}
"""Of the tiles in EPSG:32633, from their names in the MGRS grid."""
WARPS = ("rotation:15", "rotation:45", "rotation:90", "rotation:180", "scale:0.7", "scale:1.4", "affine", "perspective")
COLUMNS = (
    *("set", "place", "left", "right", "band", "dx_px", "dy_px", "left_classes", "right_classes", "warp", "hidden"),
    *("season_gap", "snow", "sky"),
)


HELD_OUT = 0.35
"""Eastern part of a place that `sentinel-match train` keeps out."""
NORTH_OF_33TWL = 833
"""Rows of 33TWM that its southern neighbour does not show."""


class Sets:
    """Writes images and collects rows."""

    def __init__(self, shared: Path, out: Path, *, unseen: bool = False) -> None:
        self.shared, self.out, self.unseen = shared, out, unseen
        self.rows: list[dict[str, object]] = []

    def write(
        self,
        name: str,
        pixels: np.ndarray,
        crs: str,
        transform: Affine,
        names: tuple[str, ...] = (),
        nodata: float | None = 0,
    ) -> str:
        """Write a GeoTIFF of (bands, rows, cols); return its name relative to the list."""
        path = self.out / f"{name}.tif"
        if self.unseen and (name.split("/", 1)[0] in {"tci_gray", "b01", "tci_rgb"} or "33TWL" in name):
            start = pixels.shape[2] - round(HELD_OUT * pixels.shape[2])
            pixels, transform = pixels[:, :, start:], transform * Affine.translation(start, 0)
        elif self.unseen and "33TWM" in name:
            pixels = pixels[:, :NORTH_OF_33TWL]
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            count, rows, cols = pixels.shape
            profile = {"count": count, "height": rows, "width": cols, "dtype": pixels.dtype, "nodata": nodata}
            with rasterio.open(
                path, "w", driver="GTiff", crs=crs, transform=transform, compress="deflate", **profile
            ) as file:
                file.write(pixels)
                file.descriptions = names or (None,) * count
        return f"{name}.tif"

    def pair(
        self,
        set_: str,
        place: str,
        left: str,
        right: str,
        band: str,
        dates: tuple[str, str],
        shift: tuple[float, float] = (0.0, 0.0),
        **facts: object,
    ) -> None:
        """Add one line to the list."""
        days = [date.fromisoformat(f"{d[:4]}-{d[4:6]}-{d[6:]}").timetuple().tm_yday for d in dates]
        gap = abs(days[0] - days[1])
        row = {
            "set": set_,
            "place": place,
            "left": left,
            "right": right,
            "band": band,
            "dx_px": shift[0],
            "dy_px": shift[1],
        }
        self.rows.append({**row, "season_gap": season_gap(min(gap, 365 - gap)), **facts})


def pixels_of(path: Path, window: Window | None = None) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read(window=window)


def tci_gray(sets: Sets) -> None:
    folder = sets.shared / "tci_gray_107m"
    tiles = json.loads((folder / "georef.json").read_text())["tiles"]

    def image(tile: str, day: str) -> str:
        pixels = pixels_of(next(folder.glob(f"{tile}_{day}T*_TCI.jpg")))[:1]
        # A JPEG knows no no-data: beside the swath are areas of (nearly) nothing
        pixels = np.where(pixels <= 3, 0, pixels).astype(np.uint8)
        return sets.write(f"tci_gray/{tile}_{day}", pixels, tiles[tile]["crs"], Affine(*tiles[tile]["transform"]))

    for left, right, sky in TCI:
        shift = np.subtract(EARLY.get(right, (0, 0)), EARLY.get(left, (0, 0)))
        snow = "one side" if {left, right} & {WINTER, "20161205"} else "none"
        facts = {"sky": sky, "snow": snow, "hidden": "yes" if sky == HIDDEN else ""}
        sets.pair(
            "tci_gray_107m",
            "T36UYA",
            image("T36UYA", left),
            image("T36UYA", right),
            "1",
            (left, right),
            tuple(shift),
            **facts,
        )
    for left, right in NEIGHBOURS:
        sets.pair(
            "tci_gray_107m",
            "T36UXA",
            image("T36UXA", left),
            image("T36UXA", right),
            "1",
            (left, right),
            sky=CLEAR,
            snow="none",
        )


def b01(sets: Sets) -> None:
    files = sorted((sets.shared / "t36uya_b01_60m").glob("*.jp2"))
    names = []
    for path in files:
        with rasterio.open(path) as file:
            names.append(sets.write(f"b01/{path.stem}", file.read(), str(file.crs), file.transform))
    sets.pair("t36uya_b01_60m", "T36UYA", names[0], names[1], "B01", ("20190318", "20190825"), sky=CLOUDY, snow="none")


def tci_rgb(sets: Sets) -> None:
    folder = sets.shared / "tci_rgb_110m_jp2"
    place = json.loads((folder / "georef.json").read_text())
    names = []
    for path in sorted(folder.glob("*.jp2")):
        pixels = pixels_of(path)[::-1]  # stored B, G, R
        names.append(sets.write(f"tci_rgb/{path.stem[7:15]}", pixels, place["crs"], Affine(*place["transform"])))
    sets.pair("tci_rgb_110m_jp2", "T36UYA", *names, "RGB", (WINTER, "20190611"), sky=CLEAR, snow="one side")


def portugal(sets: Sets) -> None:
    def image(day: str) -> str:
        path = sets.shared / "portugal_ndvi_20m" / f"IM_{day}_NDVI_20m_clip2.tif"
        with rasterio.open(path) as file:
            pixels = file.read()
            # No-data is not marked
            pixels[~np.isfinite(pixels)] = -9999
            return sets.write(f"portugal/{day}", pixels, str(file.crs), file.transform, ("NDVI",), nodata=-9999)

    for left, right, shift in PORTUGAL:
        sets.pair(
            "portugal_ndvi_20m",
            "portugal",
            image(left),
            image(right),
            "NDVI",
            (left, right),
            shift,
            sky=CLEAR,
            snow="none",
        )


def bouconne(sets: Sets) -> None:
    with rasterio.open(sets.shared / "bouconne_T31TCJ_10m" / "2018_3A_Theia_Bouconne.tif") as file:
        pixels, crs, transform = file.read(), str(file.crs), file.transform
    names = {
        day: sets.write(f"bouconne/{day}", pixels[10 * k : 10 * k + 10], crs, transform, BANDS)
        for k, day in enumerate(BOUCONNE)
    }
    for left, right in (
        ("20180429", "20180513"),
        ("20180429", "20180815"),
        ("20180708", "20181115"),
        ("20180915", "20181015"),
    ):
        sets.pair(
            "bouconne_T31TCJ_10m", "bouconne", names[left], names[right], "B04", (left, right), sky=CLEAR, snow="none"
        )


def l2a(sets: Sets) -> None:
    def image(tile: str, day: str) -> tuple[str, str]:
        folder = next((sets.shared / "l2a_33TWL_33TWM_120m").glob(f"S2?_{tile}_{day}_0_L2A"))
        place = "EPSG:32633", Affine(120, 0, UPPER_LEFT[tile][0], 0, -120, UPPER_LEFT[tile][1])
        bands = np.concatenate([pixels_of(folder / "B04.tif"), pixels_of(folder / "B08.tif")])
        name = f"l2a/{tile}_{day}"
        return sets.write(name, bands, *place, ("B04", "B08")), sets.write(
            f"{name}_SCL", pixels_of(folder / "SCL.tif"), *place
        )

    for tile, day, other, later, sky in L2A:
        (left, left_classes), (right, right_classes) = image(tile, day), image(other, later)
        place = tile if tile == other else "33TWL+33TWM"
        sets.pair(
            "l2a_33TWL_33TWM_120m",
            place,
            left,
            right,
            "B04",
            (day, later),
            left_classes=left_classes,
            right_classes=right_classes,
            sky=sky,
            snow="none",
        )


def arosics(sets: Sets) -> None:
    names = []
    for path in sorted((sets.shared / "arosics_T33UUU_10m").glob("*.jp2")):
        with rasterio.open(path) as file:
            names.append(sets.write(f"arosics/{path.stem[:3]}", file.read(), str(file.crs), file.transform))
    sets.pair(
        "arosics_T33UUU_10m", "T33UUU", *names, "1", ("20160608", "20160529"), (0.64, -1.81), sky=CLOUDY, snow="none"
    )
    # The clearest 768 px of the overlap, both dates, for warps of real 10 m pixels
    windows = []
    for side, (col, row) in (("ref", (944, 500)), ("tgt", (400, 949))):
        path = next((sets.shared / "arosics_T33UUU_10m").glob(f"{side}*.jp2"))
        with rasterio.open(path) as file:
            window = Window(col, row, 768, 768)
            windows.append(
                sets.write(f"warped/{side}", file.read(window=window), str(file.crs), file.window_transform(window))
            )
    for warp in WARPS:
        sets.pair(
            "warped_10m",
            "T33UUU",
            *windows,
            "1",
            ("20160608", "20160529"),
            (0.64, -1.81),
            warp=warp,
            sky=CLEAR,
            snow="none",
        )


def main(shared: Path, out: Path, *, unseen: bool) -> None:
    """Write all sets and the list."""
    sets = Sets(shared, out, unseen=unseen)
    for make in (tci_gray, b01, tci_rgb, portugal, *(() if unseen else (bouconne,)), l2a, arosics):
        make(sets)
    with (out / "pairs.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(sets.rows)
    counts = {
        name: sum(r["set"] == name for r in sets.rows) for name in dict.fromkeys(str(r["set"]) for r in sets.rows)
    }
    print(f"{len(sets.rows)} pairs in {out / 'pairs.csv'}: {counts}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), unseen="unseen" in sys.argv[3:])
