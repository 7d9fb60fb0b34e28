"""An archive of a thousand scenes and pictures of another season: is the right scene first, and none where none is?

python tests/benchmarks/locate.py [DATA] [--scenes 1000] [--known 60] [--elsewhere 60] [--seed 0] [--extent .55 1.2]
    [--side 256] [--places report|tune] [--pixel-known] [--folder FOLDER] [--append CSV]

Half of the scenes are windows of ``--side`` px (or what there is) of real quicklooks and bands, of one to several
dates; the other half are as many of them mirrored, ground that does not exist with the texture of ground that does.
Each becomes a GeoTIFF. A picture is cut from a date that no scene of its place has, nor one within 45 days of the year,
turned by any angle, enlarged .5 to 2, as long as ``--extent`` of a scene, with gain, gamma, JPEG, one in ten
framed and one in twenty a negative. Pictures of elsewhere are of places of which no scene is (:data:`ELSEWHERE`). A
picture is right where the first scene shows its middle within 5 pixels of where it is. Places to report on share no
ground with those tuned on (``global_search.TUNED``). CPU seconds are of all threads.
"""

from __future__ import annotations

import argparse
import csv
import logging
import sys
import tempfile
import warnings
from collections import Counter
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import rasterio
from affine import Affine
from global_search import SHARED, TUNED, Shot, picture, pixels, shots

from sentinel_match.cache import Cache
from sentinel_match.locating.location import Location
from sentinel_match.locating.search import locate
from sentinel_match.locating.whereabouts import Whereabouts

ELSEWHERE = ("rio", "valencia", "etna", "australia", "mumbai", "bouconne", "33TWL", "33TWM")
"""Places of which no scene is."""
APART = {"paris": "bercy", "T36UYA": "T36UXA"}
"""Places to report on, and those that show some of the same ground and are left out beside them."""
METRES = 100.0
CRS = "EPSG:32633"
KEPT_DAYS = 45


@dataclass(frozen=True)
class Tile:
    """A window of a shot."""

    shot: Shot
    row: int
    col: int
    side: int

    @property
    def ground(self) -> tuple[str, int, int]:
        """Name what it shows, whenever."""
        return self.shot.place, self.row, self.col

    @property
    def origin(self) -> tuple[float, float]:
        """Of the whole shot, metres; each place lies apart."""
        return 300_000.0, 4_000_000.0 + 10.0 * (sum(map(ord, self.shot.place)) % 50_000)


def tiles(shot: Shot, side: int) -> list[Tile]:
    """Cut all windows that mostly hold data."""
    image = pixels(shot)
    step = side * 11 // 16
    starts = [sorted({*range(0, max(n - side, 0) + 1, step), max(n - side, 0)}) for n in image.shape]
    return [
        Tile(shot, row, col, side)
        for row, col in product(*starts)
        if np.isfinite(image[row : row + side, col : col + side]).mean() > 0.8
    ]


def write_scene(path: Path, tile: Tile, *, mirrored: bool) -> None:
    """Write a window as eight bits with its place, or mirrored."""
    image = pixels(tile.shot)[tile.row : tile.row + tile.side, tile.col : tile.col + tile.side]
    low, high = np.nanpercentile(image, (0.5, 99.5))
    eight = np.where(np.isfinite(image), np.clip((image - low) / max(high - low, 1e-6), 0, 1) * 254 + 1, 0)
    rows, cols = eight.shape
    left, top = tile.origin
    place = Affine(METRES, 0, left + METRES * tile.col, 0, -METRES, top - METRES * tile.row)
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "nodata": 0, "crs": CRS, "transform": place}
    with rasterio.open(path, "w", width=cols, height=rows, **profile) as file:
        file.write(np.nan_to_num(eight[:, ::-1] if mirrored else eight).astype("u1"), 1)


def far(day: int, other: int) -> bool:
    """Tell whether two days of the year lie a season apart."""
    return KEPT_DAYS < abs(day - other) % 360 < 360 - KEPT_DAYS


@dataclass(frozen=True)
class Question:
    """A picture, and what is true of it."""

    tile: Tile
    middle: np.ndarray
    """Column and row of its middle, of the shot."""
    extent: float
    """Of a scene's side."""
    zoom: float
    image: np.ndarray

    @staticmethod
    def drawn(tile: Tile, extents: tuple[float, float], rng: np.random.Generator) -> Question:
        """Cut it out of a window, turned."""
        image = pixels(tile.shot)
        sides = np.minimum(tile.side, image.shape[::-1])
        extent = float(np.exp(rng.uniform(*np.log(extents))))
        length = extent * min(sides)
        free = np.maximum(sides - length, 0) / 2 + 0.1 * length
        middle = np.array([tile.col, tile.row]) + sides / 2 + rng.uniform(-1, 1, 2) * free
        turn, zoom = rng.uniform(0, 2 * np.pi), max(float(np.exp(rng.uniform(np.log(0.5), np.log(2)))), 96 / length)
        size = round(zoom * length)
        matrix = np.eye(3)
        matrix[:2, :2] = zoom * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        matrix[:2, 2] = size / 2 - matrix[:2, :2] @ middle
        look = str(rng.choice(["plain", "framed", "negative"], p=[0.85, 0.1, 0.05]))
        return Question(tile, middle, extent, zoom, picture(image, matrix, size, rng, look)[0])

    def verdict(self, answer: Location) -> str:
        """Say whether an answer is right."""
        if not answer.found:
            return "none"
        best = answer.candidates[0]
        truth = np.array(self.tile.origin) + METRES * self.middle * (1, -1)
        rows, cols = best.grid.shape
        here = np.array(best.grid.affine * (cols / 2, rows / 2))
        near = np.hypot(*(here - truth)) < 5 * METRES
        return "right" if near and best.scene.id.startswith("scene") else "wrong"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="?", type=Path, default=SHARED)
    for name, value in (("scenes", 1000), ("known", 60), ("elsewhere", 60), ("seed", 0), ("side", 256)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--extent", type=float, nargs=2, default=(0.55, 1.2))
    parser.add_argument("--places", choices=("report", "tune"), default="report")
    parser.add_argument("--pixel-known", action="store_true", help="to a quarter; else nothing is")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--append", type=Path)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    rng = np.random.default_rng(given.seed)
    folder = given.folder or Path(tempfile.mkdtemp())
    archive = folder / "archive"
    archive.mkdir(parents=True, exist_ok=True)
    real, asked = drawn_archive(given, rng)
    for k, tile in enumerate(real):
        for name, mirrored in ((f"scene{k:04d}.tif", False), (f"other{k:04d}.tif", True)):
            if not (archive / name).exists():
                write_scene(archive / name, tile, mirrored=mirrored)
    count = 2 * len(real)
    dates, places = ({f(t.shot) for t in real} for f in (lambda s: (s.place, s.date), lambda s: s.place))
    print(f"{count} scenes, of {len(places)} places and {len(dates)} dates", flush=True)
    grounds = {tile.ground: tile for tile in real}
    is_asked = {place: (place in TUNED) == (given.places == "tune") for place in places}
    known = sorted(place for place, is_it in is_asked.items() if is_it)
    rows: list[dict[str, object]] = []
    kinds = sorted(
        [(k / given.known, True) for k in range(given.known)]
        + [(k / given.elsewhere, False) for k in range(given.elsewhere)],
        key=lambda kind: kind[0],
    )
    for k, (_, is_known) in enumerate(kinds):  # both kinds by turns
        count_so_far = sum(row["kind"] == ("known" if is_known else "elsewhere") for row in rows)
        place = (known if is_known else list(ELSEWHERE))[count_so_far % len(known if is_known else ELSEWHERE)]
        shot = asked[place][int(rng.integers(len(asked[place])))]
        windows = [t for t in grounds.values() if t.shot.place == place] if is_known else tiles(shot, given.side)
        at = windows[int(rng.integers(len(windows)))]
        question = Question.drawn(Tile(shot, at.row, at.col, given.side), tuple(given.extent), rng)
        path = folder / f"picture{k:03d}.jpg"
        cv2.imwrite(str(path), question.image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(50, 95))])
        metres = METRES / question.zoom
        told = Whereabouts(pixel=(metres / 1.25, metres * 1.25)) if given.pixel_known else None
        answer = locate(path, archive, told, cache=Cache(folder / "cache"))
        best = answer.candidates[0]
        row = {
            "kind": "known" if is_known else "elsewhere",
            "place": place,
            "date": shot.date,
            "band": shot.name,
            "extent": round(question.extent, 3),
            "zoom": round(question.zoom, 2),
            "verdict": question.verdict(answer) if is_known or not answer.found else "wrong",
            "first": best.scene.id,
            "expected": round(best.expected, 1),
            "probability": round(best.probability, 5),
            "measured": int(answer.measured is not None and answer.measured.ties is not None),
            **{name: round(value, 2) for name, value in vars(answer.cost).items()},
        }
        rows.append(row)
        print(*row.values(), flush=True)
        if given.append:
            with given.append.open("a", newline="") as file:
                writer = csv.DictWriter(file, row)
                if file.tell() == 0:
                    writer.writeheader()
                writer.writerow(row)
    report(rows, count)
    return 0


def drawn_archive(given: argparse.Namespace, rng: np.random.Generator) -> tuple[list[Tile], dict[str, list[Shot]]]:
    """Draw what the archive shows, and list the shots of each place that pictures are cut from."""
    by_place: dict[str, list[Shot]] = {}
    for shot in shots(given.data):
        by_place.setdefault(shot.place, []).append(shot)
    left_out = {*ELSEWHERE, *(APART.values() if given.places == "report" else APART)}
    asked: dict[str, list[Shot]] = {}
    kept: list[Shot] = []
    for place, taken in by_place.items():
        if place in ELSEWHERE:
            asked[place] = taken
        elif place not in left_out:
            days = [s.day for s in taken if any(far(s.day, other.day) for other in taken)]
            if days:
                day = days[int(rng.integers(len(days)))]
                asked[place] = [s for s in taken if s.day == day]
                kept += [s for s in taken if far(s.day, day)]
    windows = [tile for shot in kept for tile in tiles(shot, given.side)]
    first = {tile.ground: tile for tile in reversed(windows)}  # each ground at least once
    chosen = {id(tile) for tile in first.values()}
    rest = [tile for tile in windows if id(tile) not in chosen]
    return [*first.values(), *(rest[k] for k in rng.permutation(len(rest)))][: given.scenes // 2], asked


def report(rows: list[dict[str, object]], scenes: int) -> None:
    """Print the rates, and what a scene costs."""
    for kind in ("known", "elsewhere"):
        part = [row for row in rows if row["kind"] == kind]
        if part:
            print(f"pictures of {kind}: {dict(Counter(row['verdict'] for row in part))} of {len(part)}")
    for place in sorted({row["place"] for row in rows}):
        part = [row for row in rows if row["place"] == place]
        print(f"  {place}: {dict(Counter(row['verdict'] for row in part))}")
    for verdict in ("right", "none"):
        seconds = [row["searching"] for row in rows if row["verdict"] == verdict]
        if seconds:
            median = np.median(seconds)
            print(
                f"search, {verdict}: median {median:.1f} CPU s, {median / scenes:.4f} a scene, most {max(seconds):.1f}"
            )


if __name__ == "__main__":
    sys.exit(main())
