"""Known displacement fields on real pixels: are they measured, corrected, and told honestly?

python tests/benchmarks/distortions.py [DATA] [--left IMAGE --band B --window COL ROW SIDE] [--other IMAGE] [--fields …]
python tests/benchmarks/distortions.py [DATA] --seeds 200 [--first N] [--append FILE]
python tests/benchmarks/distortions.py [DATA] --peers [--arosics PYTHON] [--others PYTHON]        see distorted_peers.py

A crop of a real image is the left one; the same crop, or that of another date, displaced by a known field, with noise,
gain and offset, is the right one. Fields, in pixels: ``flat``; ``wave64`` … ``wave384``, a sinusoid of 0.75 px along x
over so many pixels, ``y96`` the same along y, ``o96`` along 30° and across; ``k2``, ``k3``, random with a spectrum of
frequency to -2 and -3, 0.30 px RMS in x as terrain gives it seen from two orbits, 0.05 in y; ``step`` of 0.4 px at a
slanted line; ``quad``. ``--seeds`` draws kind, length, direction, size, image and place of each by chance.

The truth at a point is the field's own, to a thousandth of a pixel. A truth kept for every fourth pixel, and rounded to
it, adds up to 0.06 px of error in a wave of 64 px. Between two dates the ground has moved by itself, as the images are
referenced, too: one shift of that is allowed for (the median is taken off); what else there is counts as an error.

Per field: RMSE of the inliers, standard deviation of error / sigma (1 is honest), share of the wave that they follow
(slope of the measured on the true displacement), share of right points (error below 0.5 px) that are no inliers; true
CE95 of the delivered correction over the whole ground, and over what both images show of it (no no-data, no mask of the
tool's own, no cloud in the pair that has some); CE95 claimed, with its interval; ``BELOW`` where that interval ends
below the truth of the ground shown, ``below`` where the claim does.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import rasterio
from known_fields import FIELDS, drawn, named
from rasterio.transform import from_origin
from rasterio.windows import Window
from scipy.ndimage import binary_dilation, map_coordinates, spline_filter

from sentinel_match.testing.witness import Field

HERE = Path(__file__).resolve()
SHARED = HERE.parents[3] / "shared" / "data"
EDGE, EVERY = 40, 8
"""Pixels from the rim, and between the places where a correction is looked at."""


class Image(NamedTuple):
    """A band of a file of real pixels; GSD in metres."""

    path: str
    band: int
    gsd: float


def oscd(city: str, day: str, band: str) -> Image:
    return Image(f"oscd_10m/{city}/{day}_{band}.tif", 1, 10)


def tci(day: str) -> Image:
    return Image(f"tci_gray_107m/T36UYA_{day}_TCI.jpg", 1, 107.2)


def boadella(day: str, band: int) -> Image:
    return Image(f"boadella_10m/{day}_12bands.tif", band, 10)


WITHIN = (
    Image("arosics_T33UUU_10m/ref_S2A_20160608T153121_T33UUU_sub.jp2", 1, 10),
    Image("t36uya_b01_60m/T36UYA_20190825T083601_B01.jp2", 1, 60),
    tci("20160830T083602"),
    oscd("milano", "20180122", "B08"),
    oscd("lasvegas", "*", "B02"),
    Image("etna_17m/20170326_13bands.tif", 8, 17),
    boadella("20220601", 8),
)
BETWEEN = (
    (tci("20160212T084052"), tci("20160830T083602")),
    (tci("20160212T084052"), tci("20190606T083601")),
    (boadella("20200113", 4), boadella("20220601", 4)),
    (boadella("20200202", 3), boadella("20210716", 3)),
    (
        Image("biomassters_10m/288afc34/288afc34_S2_06.tif", 3, 10),
        Image("biomassters_10m/288afc34/288afc34_S2_10.tif", 3, 10),
    ),
    (
        Image("t36uya_b01_60m/T36UYA_20190318T083701_B01.jp2", 1, 60),
        Image("t36uya_b01_60m/T36UYA_20190825T083601_B01.jp2", 1, 60),
    ),
)
"""Winter and summer; the last March under scattered cloud, and August."""
KINDS = ("wave", "k", "flat", "wave", "step", "quad")


@dataclass(frozen=True)
class Case:
    """One pair with its truth."""

    name: str
    moved: Field
    shift: tuple[float, float]
    side: tuple[int, int]
    """Rows, columns."""
    gsd: float
    season: bool
    """Two real dates."""
    wave: np.ndarray | None = None
    """(2,) unit vector that a wave moves along."""
    hidden: np.ndarray | None = None
    """(rows, cols) of the left image where cloud hides the ground."""
    facts: dict[str, object] = field(default_factory=dict)

    def true(self, points: np.ndarray) -> np.ndarray:
        """Compute (N, 2) where left points went, right minus left; points in pixels from the corner."""
        at = (points - 0.5).T
        to = at.copy()
        for _ in range(40):  # the field is given where the ground arrives
            to = at + self.moved(*to) + np.array(self.shift)[:, None]
        return (to - at).T

    @property
    def places(self) -> np.ndarray:
        """List (N, 2) the places where the correction is looked at."""
        rows, cols = self.side
        x, y = np.meshgrid(np.arange(EDGE, cols - EDGE, EVERY), np.arange(EDGE, rows - EDGE, EVERY))
        return np.column_stack([x.ravel(), y.ravel()]) + 0.5


def pixels(data: Path, image: Image, window: Window | None = None) -> np.ndarray:
    """Read numbers; what a JPEG has beside a swath is no data."""
    path = next(iter(sorted(data.glob(image.path))))
    with rasterio.open(path) as file:
        values = file.read(image.band, window=window).astype(float)
    return np.where(values <= (3 if path.suffix == ".jpg" else 0), 0, values)


def crop(data: Path, images: tuple[Image, ...], rng: np.random.Generator, most: int) -> list[np.ndarray]:
    """Cut the same place, drawn by chance, of all images, with hardly any no-data."""
    whole = [pixels(data, image) for image in images]
    rows, cols = whole[0].shape
    for _ in range(50):
        side = min(most, rows, cols)
        row, col = (int(rng.integers(0, n - side + 1)) for n in (rows, cols))
        parts = [image[row : row + side, col : col + side] for image in whole]
        if min((part > 0).mean() for part in parts) > 0.98:
            break
    return parts


def write(folder: Path, parts: list[np.ndarray], case: Case, rng: np.random.Generator) -> tuple[Path, Path]:
    """Write the pair: 16 bits, 1 % and 99 % of the left image 2000 apart; noise of 15 on either."""
    left, right = parts[0], parts[-1]
    grid = from_origin(400_000, 5_000_000, case.gsd, case.gsd)
    rows, cols = left.shape
    y, x = np.mgrid[0:rows, 0:cols].astype(float)
    dx, dy = case.moved(x, y) + np.array(case.shift)[:, None, None]
    out = []
    for name, image in (("left", left), ("right", right)):
        known = image > 0
        spread = np.subtract(*np.percentile(image[known], (99, 1)))
        low = np.percentile(image[known], 1)
        values = (image - low) / spread * 2000 + 300
        if name == "right":
            at = [y - dy, x - dx]
            filled = np.where(known, values, np.median(values[known]))
            values = map_coordinates(spline_filter(filled, order=5), at, order=5, prefilter=False, mode="nearest")
            known = map_coordinates(known.astype("u1"), at, order=0, mode="nearest") > 0
            values = values * 1.05 + 20
        values += rng.normal(0, 15, values.shape)
        path = folder / f"{name}.tif"
        profile = {"driver": "GTiff", "height": rows, "width": cols, "count": 1, "dtype": "uint16", "nodata": 0}
        with rasterio.open(path, "w", crs="EPSG:32633", transform=grid, compress="deflate", **profile) as target:
            target.write(np.where(known, np.rint(values).clip(1, 65535), 0).astype("u2"), 1)
        out.append(path)
    return out[0], out[1]


@dataclass(frozen=True)
class Figures:
    """What came of one field, pixels."""

    said: str
    truth: float = np.nan
    """True CE95 on the ground that both images show clear."""
    whole: float = np.nan
    claim: float = np.nan
    high: float = np.nan
    """Upper end of its interval."""

    @property
    def below(self) -> bool:
        return self.high < self.truth

    @property
    def flag(self) -> str:
        return "  BELOW" if self.below else "  below" if self.claim < self.truth else ""


def ours(left: Path, right: Path, case: Case) -> Figures:
    """Match a pair in this process, and judge what comes of it."""
    from sentinel_match import Options, match_scenes
    from sentinel_match.errors import PairError

    clock = time.process_time()
    try:
        ties = match_scenes(left, right, Options(matcher="phase"))
    except PairError as error:
        return Figures(f"refused: {error}")
    cpu = time.process_time() - clock
    good = ties.inlier
    error = ties.shift / case.gsd * (1, -1) - case.true(ties.left_px)
    metres = np.array([400_000, 5_000_000]) + case.places * case.gsd * (1, -1)
    left_over = ties.transform.shift(metres) / case.gsd * (1, -1) - case.true(case.places)
    if case.season:
        error, left_over = error - np.median(error[good], 0), left_over - np.median(left_over, 0)
    fine = np.hypot(*error.T) < 0.5
    said = f"points {good.sum()}/{len(good)} RMSE {np.sqrt((error[good] ** 2).mean()):.3f}"
    said += f" e/sigma {(error[good] / ties.sigma_m[good, None] * case.gsd).std():.2f}"
    if case.wave is not None:
        truth, found = (v[good] @ case.wave for v in (case.true(ties.left_px), ties.shift / case.gsd * (1, -1)))
        said += f" followed {np.cov(found, truth)[0, 1] / truth.var():.2f}"
    said += f" right but rejected {(fine & ~good).sum() / max(fine.sum(), 1):.1%}"
    seen = clear(left, right)
    if case.hidden is not None:
        seen &= ~case.hidden
    shown = seen[tuple((case.places[:, ::-1] - 0.5).astype(int).T)]
    off = np.hypot(*left_over.T)
    whole, there = np.percentile(off, 95), np.percentile(off[shown], 95) if shown.any() else np.nan
    raw = case.true(case.places)
    raw = np.percentile(np.hypot(*(raw - np.median(raw, 0)).T), 95)
    proof = ties.summary.hold_out
    claim, low, high = np.array([proof.ce95, *proof.ce95_interval]) / case.gsd if proof else np.full(3, np.nan)
    said += f" | {ties.transform.kind} CE95 {whole:.3f}, shown ({shown.mean():.0%}) {there:.3f}, "
    said += f"claim {claim:.3f} ({low:.3f}-{high:.3f}), one shift {raw:.3f}, {cpu:.1f} CPU-s"
    return Figures(said, float(there), float(whole), float(claim), float(high))


def clear(left: Path, right: Path) -> np.ndarray:
    """Mark what both images show clear, at one place of the grid, as the tool's own masks have it."""
    from sentinel_match import Options
    from sentinel_match.matching.inputs import load_pair
    from sentinel_match.products.catalogue import as_scene
    from sentinel_match.raster.raster import jointly_valid

    one, other = as_scene(left, "left"), as_scene(right, "right")
    a, b = load_pair(one, other, Options().inputs("1"), None, lambda _what, _done, _of: None)
    return np.asarray(jointly_valid(a.raster, b.raster))


def cloud(parts: list[np.ndarray]) -> np.ndarray:
    """Mark what is bright in one image of T36UYA and darker in the other, and what lies within two pixels of it."""
    one, other = (part / 10_000 for part in parts)
    return binary_dilation((np.maximum(one, other) > 0.2) & (np.abs(one - other) > 0.07), iterations=2)


def seeded(data: Path, number: int, folder: Path, most: int) -> tuple[Case, Path, Path]:
    """Draw the field of a number, and write its pair."""
    rng = np.random.default_rng(number)
    kind, season = KINDS[number % len(KINDS)], bool(number // len(KINDS) % 2)
    images = BETWEEN[rng.integers(len(BETWEEN))] if season else (WITHIN[rng.integers(len(WITHIN))],)
    parts = crop(data, images, rng, most)
    side = parts[0].shape
    moved, unit, said = drawn(kind, side, rng)
    where = "/".join(images[0].path.split("/")[:2])[:40]
    place = f"{where} band {images[0].band} {'x other season ' if season else ''}{side[0]} px"
    shift = tuple(rng.uniform(-2, 2, 2))
    hidden = cloud(parts) if season and images[0].gsd == 60 else None
    case = Case(f"{number:3d} {kind:5s}", moved, shift, side, images[0].gsd, season, unit, hidden)
    case.facts.update(said=said, place=place)
    return case, *write(folder, parts, case, rng)


def by_chance(data: Path, numbers: range, most: int, file: Path | None) -> None:
    """Judge seeded fields; count the claims that are below the truth."""
    below: dict[tuple[str, bool], list[bool]] = {}
    for number in numbers:
        with tempfile.TemporaryDirectory() as folder:
            case, left, right = seeded(data, number, Path(folder), most)
            figures = ours(left, right, case)
        line = f"{case.name} {case.facts['said']}; {case.facts['place']}: {figures.said}{figures.flag}"
        if np.isfinite(figures.whole) and figures.high < figures.whole and not figures.below:
            line += "  (BELOW on the whole ground)"
        if file:
            with file.open("a", encoding="utf-8") as log:
                print(line, file=log)
        print(line, flush=True)
        if np.isfinite(figures.claim):
            below.setdefault((KINDS[number % len(KINDS)], case.season), []).append(figures.below)
    for (kind, season), flags in sorted(below.items()):
        print(f"{kind}, {'between' if season else 'within'} seasons: {sum(flags)} of {len(flags)} below")
    every = [flag for flags in below.values() for flag in flags]
    print(f"all: {sum(every)} of {len(every)} claims end below the truth ({np.mean(every):.1%})")


def chosen(data: Path, given: argparse.Namespace, folder: Path, name: str) -> tuple[Case, Path, Path]:
    """Write the pair of a named field."""
    rng = np.random.default_rng(given.seed)
    images = [Image(str(path), given.band, given.gsd) for path in (given.left, given.other) if path]
    parts = [pixels(data, image, Window(*given.window, given.window[2])) for image in images]
    moved, unit = named(name, parts[0].shape, rng)
    case = Case(name, moved, (1.3, -0.7), parts[0].shape, given.gsd, len(parts) > 1, unit)
    return case, *write(folder, parts, case, rng)


def main(given: argparse.Namespace) -> None:
    """Run what was asked for."""
    if given.seeds:
        by_chance(given.data, range(given.first, given.first + given.seeds), given.side, given.append)
        return
    for name in given.fields:
        with tempfile.TemporaryDirectory() as folder:
            case, left, right = chosen(given.data, given, Path(folder), name)
            if given.peers:
                import distorted_peers

                distorted_peers.compare(case, left, right, given.arosics, given.others)
            else:
                figures = ours(left, right, case)
                print(f"{name}: {figures.said}{figures.flag}", flush=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=SHARED)
    parser.add_argument("--left", default=WITHIN[0].path, help="relative to DATA")
    parser.add_argument("--other", help="another date on the same grid")
    parser.add_argument("--band", type=int, default=1)
    parser.add_argument("--gsd", type=float, default=10)
    parser.add_argument("--window", type=int, nargs=3, default=(1500, 250, 1600), metavar=("COL", "ROW", "SIDE"))
    parser.add_argument("--seed", type=int, default=14)
    parser.add_argument("--fields", nargs="+", default=FIELDS)
    parser.add_argument("--seeds", type=int, help="so many fields by chance")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--side", type=int, default=700, help="of their crops at most, px")
    parser.add_argument("--append", type=Path, help="a file that gets a line per field")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--arosics", metavar="PYTHON")
    parser.add_argument("--others", metavar="PYTHON", help="of an environment with satalign and s2cube")
    main(parser.parse_args())
