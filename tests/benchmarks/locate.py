"""An archive of a thousand scenes and pictures of another season: is the right scene first, and none where none is?

python tests/benchmarks/locate.py [DATA] [--scenes 1000] [--known 20] [--elsewhere 10] [--seed 0] [--folder FOLDER]

Half of the scenes are windows of 256 px (or what there is) of real quicklooks and bands, of one to several dates; the
other half are as many of them mirrored, ground that does not exist with the texture of ground that does. Each becomes a
GeoTIFF. A picture is cut from a date of a reported place (``global_search.TUNED`` are others) that no scene has, turned
by any angle, as long as 0.55 to 1.2 of a scene, with gain, gamma and JPEG. Pictures of elsewhere are of places of which
no scene is. A picture is right where the first scene shows its middle within 5 pixels of where it is.
CPU seconds are of all threads.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import warnings
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

SIDE, STRIDE = 256, 176
ELSEWHERE = ("rio", "valencia", "etna", "australia")
METRES = 100.0
CRS = "EPSG:32633"
KEPT_DAYS = 45


@dataclass(frozen=True)
class Tile:
    """A window of a shot."""

    shot: Shot
    row: int
    col: int

    @property
    def origin(self) -> tuple[float, float]:
        """Of the whole shot, metres; each place lies apart."""
        return 300_000.0, 4_000_000.0 + 10.0 * (sum(map(ord, self.shot.place)) % 50_000)


def tiles(shot: Shot) -> list[Tile]:
    """Cut all windows that mostly hold data."""
    image = pixels(shot)
    starts = [sorted({*range(0, max(n - SIDE, 0) + 1, STRIDE), max(n - SIDE, 0)}) for n in image.shape]
    return [
        Tile(shot, row, col)
        for row, col in product(*starts)
        if np.isfinite(image[row : row + SIDE, col : col + SIDE]).mean() > 0.8
    ]


def write_scene(path: Path, tile: Tile, *, mirrored: bool) -> None:
    """Write a window as eight bits with its place, or mirrored."""
    image = pixels(tile.shot)[tile.row : tile.row + SIDE, tile.col : tile.col + SIDE]
    low, high = np.nanpercentile(image, (0.5, 99.5))
    eight = np.where(np.isfinite(image), np.clip((image - low) / max(high - low, 1e-6), 0, 1) * 254 + 1, 0)
    rows, cols = eight.shape
    left, top = tile.origin
    place = Affine(METRES, 0, left + METRES * tile.col, 0, -METRES, top - METRES * tile.row)
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "nodata": 0, "crs": CRS, "transform": place}
    with rasterio.open(path, "w", width=cols, height=rows, **profile) as file:
        file.write(np.nan_to_num(eight[:, ::-1] if mirrored else eight).astype("u1"), 1)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="?", type=Path, default=SHARED)
    for name, value in (("scenes", 1000), ("known", 20), ("elsewhere", 10), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    rng = np.random.default_rng(given.seed)
    folder = given.folder or Path(tempfile.mkdtemp())
    by_place: dict[str, list[Shot]] = {}
    for shot in shots(given.data):
        by_place.setdefault(shot.place, []).append(shot)
    asked = {place: max(taken, key=lambda shot: shot.date) for place, taken in by_place.items()}
    kept = [
        shot
        for place, taken in by_place.items()
        if place not in ELSEWHERE
        for shot in taken
        if KEPT_DAYS < abs(shot.day - asked[place].day) % 360 < 360 - KEPT_DAYS
    ]
    windows = [tile for shot in kept for tile in tiles(shot)]
    first = {(tile.shot.place, tile.row, tile.col): tile for tile in reversed(windows)}  # each ground at least once
    rest = [tile for tile in windows if tile not in first.values()]
    real = [*first.values(), *(rest[k] for k in rng.permutation(len(rest)))][: given.scenes // 2]
    archive = folder / "archive"
    archive.mkdir(parents=True, exist_ok=True)
    for k, tile in enumerate(real):
        write_scene(archive / f"scene{k:04d}.tif", tile, mirrored=False)
        write_scene(archive / f"other{k:04d}.tif", tile, mirrored=True)
    dates, places = ({f(t.shot) for t in real} for f in (lambda s: (s.place, s.date), lambda s: s.place))
    print(f"{2 * len(real)} scenes, of {len(places)} places and {len(dates)} dates", flush=True)
    known = [place for place in by_place if place not in {*ELSEWHERE, *TUNED} and place in {t.shot.place for t in real}]
    right, wrong, none, seconds = 0, 0, 0, []
    for k in range(given.known + given.elsewhere):
        is_known = k < given.known
        place = known[k % len(known)] if is_known else ELSEWHERE[k % len(ELSEWHERE)]
        shot = asked[place]
        tile = rng.choice([t for t in first.values() if t.shot.place == place]) if is_known else tiles(shot)[0]
        length = rng.uniform(0.55, 1.2) * min(SIDE, *pixels(shot).shape)
        middle = np.array([tile.col, tile.row]) + SIDE / 2 + rng.uniform(-0.1, 0.1, 2) * SIDE
        middle = np.minimum(middle, np.array(pixels(shot).shape[::-1]) - length / 3)
        turn, zoom = rng.uniform(0, 2 * np.pi), 384 / length
        matrix = np.eye(3)
        matrix[:2, :2] = zoom * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        matrix[:2, 2] = 192 - matrix[:2, :2] @ middle
        shown, _ = picture(pixels(shot), matrix, 384, rng, "plain")
        path = folder / f"picture{k:03d}.jpg"
        cv2.imwrite(str(path), shown, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(50, 95))])
        answer = locate(path, archive, cache=Cache(folder / "cache"))
        said = judged(answer, tile, middle)
        right, wrong, none = right + (said == "right"), wrong + (said == "wrong"), none + (said == "none")
        if k + 1 == given.known:
            print(f"pictures of known places: {right} right, {wrong} wrong, {none} none, of {given.known}")
            right = wrong = none = 0
        seconds.append(answer.cost.searching)
        best = answer.candidates[0]
        print(
            f"{place:12s} {shot.date} {shot.name:5s} {length / SIDE:.2f} {said:5s} first is {best.scene.id}"
            f" 1e{best.expected:.1f} p {best.probability:.4f}; describe {answer.cost.describing:.1f}"
            f" search {answer.cost.searching:.1f} measure {answer.cost.measuring:.1f} CPU s",
            flush=True,
        )
    print(f"pictures of elsewhere: {none} none of {given.elsewhere}")
    print(f"search: median {np.median(seconds):.0f} CPU s, {np.median(seconds) / len(real) / 2:.3f} a scene")
    return 0


def judged(answer: Location, tile: Tile, middle: np.ndarray) -> str:
    """Say whether an answer is right."""
    if not answer.found:
        return "none"
    best = answer.candidates[0]
    left, top = tile.origin
    truth = np.array([left, top]) + METRES * middle * (1, -1)
    rows, cols = best.grid.shape
    here = np.array(best.grid.affine * (cols / 2, rows / 2))
    near = np.hypot(*(here - truth)) < 5 * METRES
    return "right" if near and best.scene.id.startswith("scene") else "wrong"


if __name__ == "__main__":
    sys.exit(main())
