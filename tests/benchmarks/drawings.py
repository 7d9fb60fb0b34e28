"""Two places with one and the same drawing beside or upon them: are they taken for one ground, and one ground for none?

python tests/benchmarks/drawings.py [DATA] [--rounds 5] [--seed 1]

Each round draws a pair of places, and a pair of dates of one place, 300 px wide, and shows both under each of the
drawings below. ``different``: accepted though they have nothing in common; ``same``: found within 3 px, of the pairs
that are found without a drawing. ``elsewhere`` is other ground of the same scene.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from global_search import SHARED, Shot, pair, pixels, shots

from sentinel_match.images.source import view_of
from sentinel_match.matching.sweep import Sighting, describe, sweep

SIDE = 300
Drawing = Callable[[np.ndarray], np.ndarray]


def window(
    shot: Shot, rng: np.random.Generator, at: tuple[int, int] | None = None
) -> tuple[np.ndarray, tuple[int, int]]:
    """Cut a window as a picture of 8 bits, and say where."""
    image = pixels(shot)
    for _ in range(100):
        corner = at or tuple(int(rng.integers(0, n - SIDE + 1)) for n in image.shape)
        cut = image[corner[0] :, corner[1] :][:SIDE, :SIDE]
        if np.isfinite(cut).mean() > 0.95 or at:
            break
    low, high = np.nanpercentile(cut, (0.5, 99.5))
    return (np.clip((np.nan_to_num(cut, nan=low) - low) / max(high - low, 1e-9), 0, 1) * 255).astype("u1"), corner


def layout(image: np.ndarray, paper: int) -> np.ndarray:
    """Show a picture as a figure with axes, labels, a title, an arrow and a colour bar."""
    ink = 255 if paper < 160 else 0
    page = np.full((SIDE + 120, SIDE + 160), paper, "u1")
    page[60 : 60 + SIDE, 60 : 60 + SIDE] = image
    cv2.rectangle(page, (60, 60), (60 + SIDE, 60 + SIDE), ink, 2)
    for k in range(0, SIDE + 1, 50):
        cv2.line(page, (60 + k, 60 + SIDE), (60 + k, 68 + SIDE), ink, 1)
        cv2.line(page, (52, 60 + k), (60, 60 + k), ink, 1)
        cv2.putText(page, str(k), (50 + k, 84 + SIDE), 0, 0.4, ink, 1)
        cv2.putText(page, str(k), (15, 64 + k), 0, 0.4, ink, 1)
        cv2.putText(page, f"{1 - k / SIDE:.1f}", (100 + SIDE, 64 + k), 0, 0.4, ink, 1)
    cv2.putText(page, "Sentinel-2 Level-2A true colour", (60, 40), 0, 0.7, ink, 2)
    cv2.putText(page, "Copernicus data; projection UTM 33N; scale 1 : 50 000", (60, 110 + SIDE), 0, 0.4, ink, 1)
    page[60 : 60 + SIDE, 75 + SIDE : 95 + SIDE] = np.linspace(255, 0, SIDE)[:, None]
    cv2.arrowedLine(page, (120 + SIDE, 50), (120 + SIDE, 10), ink, 2)
    return page


def screenshot(image: np.ndarray) -> np.ndarray:
    """Show a picture in the window of a program."""
    page = np.full((560, 900), 45, "u1")
    page[:60], page[530:], page[60:530, :230] = 70, 60, 35
    for k in range(30):
        cv2.rectangle(page, (10 + 29 * k, 18), (30 + 29 * k, 40), 100 + 37 * k % 150, -1)
        cv2.circle(page, (20 + 29 * k, 29), 5, 53 * k % 100, -1)
    for k in range(20):
        cv2.putText(page, f"T33UUU_layer_{k * 7}_B0{k % 8}", (16, 90 + 21 * k), 0, 0.45, 210, 1)
    cv2.putText(page, "EPSG:32633  Scale 1:50000   Coordinate 500000, 5400000", (250, 550), 0, 0.5, 220, 1)
    page[60:530, 230:] = cv2.resize(image, (670, 470))
    return page


def graticule(image: np.ndarray) -> np.ndarray:
    """Draw slanted lines of a grid."""
    shown = image.copy()
    for k in range(-20, SIDE + 40, 60):
        cv2.line(shown, (0, k), (SIDE, k + 40), 255, 1)
        cv2.line(shown, (k, 0), (k - 40, SIDE), 255, 1)
    return shown


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 0)


def drawings(rng: np.random.Generator) -> dict[str, Drawing]:
    """List what may be drawn, new for each round."""
    angles = np.linspace(0, 2 * np.pi, 40)
    reach = 110 * (1 + 0.3 * rng.normal(size=40))
    ragged = np.stack([150 + reach * np.cos(angles), 150 + reach * np.sin(angles)], 1).astype("i4")
    smooth = cv2.ellipse2Poly((150, 150), (110, 80), int(rng.integers(90)), 0, 360, 3)
    noise = cv2.GaussianBlur(rng.normal(size=(SIDE, SIDE)), (0, 0), 12)
    cloud = np.clip(noise / noise.std() - 0.6, 0, 1)
    y, x = np.mgrid[:SIDE, :SIDE]
    return {
        "white paper": lambda image: layout(image, 255),
        "grey paper": lambda image: layout(image, 128),
        "black paper": lambda image: layout(image, 0),
        "black paper, JPEG 50": lambda image: jpeg(layout(image, 0), 50),
        "reduced": lambda image: cv2.resize(layout(image, 60), None, fx=0.73, fy=0.73, interpolation=cv2.INTER_AREA),
        "screenshot": screenshot,
        "screenshot, JPEG 70": lambda image: jpeg(screenshot(image), 70),
        "ragged border": lambda image: cv2.polylines(image.copy(), [ragged], True, 255, 2),
        "smooth border": lambda image: cv2.polylines(image.copy(), [smooth], True, 255, 2, cv2.LINE_AA),
        "graticule": graticule,
        "cloud": lambda image: (image * (1 - cloud) + 255 * cloud).astype("u1"),
        "swath's edge": lambda image: np.where(x + 0.2 * y > 200, 0, image).astype("u1"),
        "stripes": lambda image: np.clip(image + 8 * np.sin(x * 2 * np.pi / 24), 0, 255).astype("u1"),
        "JPEG 10": lambda image: jpeg(image, 10),
        "doubled columns": lambda image: np.repeat(image[:, ::2], 2, 1),
    }


def seen(left: np.ndarray, right: np.ndarray) -> Sighting:
    return sweep(*(describe(view_of(np.ascontiguousarray(image))) for image in (left, right)))


def stays(sighting: Sighting) -> bool:
    """Tell whether it is found where it is: at the same pixels."""
    ends = np.array([[0, 0, 1], [SIDE, 0, 1], [0, SIDE, 1], [SIDE, SIDE, 1.0]])
    return sighting.found and bool(np.abs((ends @ sighting.matrix.T - ends)[:, :2]).max() < 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, default=SHARED)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    cv2.setNumThreads(1)
    rng = np.random.default_rng(given.seed)
    known = [shot for shot in shots(given.data) if min(pixels(shot).shape) >= SIDE]
    wide = [shot for shot in known if min(pixels(shot).shape) >= 2 * SIDE]
    count: Counter[tuple[str, str]] = Counter()
    for _ in range(given.rounds):
        one, other = pair(known, 512, rng, unrelated=True)
        different = window(one, rng)[0], window(other, rng)[0]
        for _try in range(100):
            early, late = pair(known, 512, rng, unrelated=False)
            image, at = window(early, rng)
            same = image, window(late, rng, at)[0]
            if stays(seen(*same)):
                break
        for name, drawn in drawings(rng).items():
            count[name, "different"] += seen(*map(drawn, different)).found
            count[name, "same"] += stays(seen(*map(drawn, same)))
        count["mirrored", "different"] += seen(image, image[:, ::-1]).found
        scene = wide[int(rng.integers(len(wide)))]
        (here, a), (there, b) = window(scene, rng), window(scene, rng)
        while max(abs(a[0] - b[0]), abs(a[1] - b[1])) < SIDE:
            there, b = window(scene, rng)
        count["elsewhere", "different"] += seen(here, there).found
    for name in dict.fromkeys(name for name, _ in count):
        same = f", same found {count[name, 'same']}" if (name, "same") in count else ""
        print(f"{name:22} of {given.rounds}: different accepted {count[name, 'different']}{same}")


if __name__ == "__main__":
    main()
