"""Two pictures of one place in two seasons, of which nothing is known: is the place found, and how it lies?

python tests/benchmarks/global_search.py [DATA] [--places tune|report|all] [--size 512] [--pairs 200] [--first 0]
    [--unrelated 500] [--method sweep|relate|prototype|NAME] [--wide] [--share LOW HIGH] [--append CSV]

A case is drawn by its number: a place, two of its dates with a season between them, a band, where to look, a rotation,
a scale (0.5 to 2; ``--wide``: 0.3 to 3), how much of the smaller picture the other one shows, gain, gamma and JPEG
quality of both; one in ten gets a frame, a legend and text, one in twenty is shown as a negative. The finer picture is
ground as it is, the coarser one is reduced; neither is ever enlarged by more than 1.5. ``--unrelated`` shows two places
that have nothing in common. Found: the corners of the shared ground lie within 3 px of where they are (pixels of the
coarser picture); near: within 12 px; wrong: an answer that is accepted, and lies elsewhere. CPU seconds are of one
thread. Places to tune on and to report on share no ground but the rims of T36UXA and T36UYA, and of bercy and paris.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning

HERE = Path(__file__).resolve()
SHARED = HERE.parents[3] / "shared" / "data"
TUNED = (
    "T36UXA",
    "boadella",
    "beihai",
    "bercy",
    "bordeaux",
    "cupertino",
    "dubai",
    "hongkong",
    "lasvegas",
    "portugal",
    "288afc34",
)
"""Places that the search was tuned on; all others are reported."""
CLEAR = {
    "T36UYA": "20160212 20160621 20160830 20190427 20190606 20190611 20190626 20190825 20190830 20190904 20190909",
    "T36UXA": "20180805 20180810 20180820 20180825 20180830 20180904 20180919 20190427 20190606",
}
NEIGHBOURS = {"33TWL", "33TWM"}, {"T36UXA", "T36UYA"}, {"bercy", "paris"}
"""Places that share ground."""
CLOUDED = {("33TWL", "20230810"), ("33TWL", "20230818"), ("33TWM", "20230810"), ("000aa810", "20200815")}
"""Dates of which clouds leave little; they are not drawn."""
FOUND_PX = 3.0
SEASON_DAYS = 45


@dataclass(frozen=True)
class Shot:
    """One band of one date of one place."""

    place: str
    date: str
    path: Path
    band: int
    name: str

    @property
    def day(self) -> int:
        return 30 * int(self.date[4:6]) + int(self.date[6:8])


@lru_cache(maxsize=64)
def pixels(shot: Shot) -> np.ndarray:
    """(rows, cols) float32, NaN where there is nothing."""
    with rasterio.open(shot.path) as file:
        if shot.band:
            image = file.read(shot.band).astype("f4")
            nothing = 3 if shot.path.suffix == ".jpg" else -5 if "NDVI" in shot.path.name else 0
            image[~(image > nothing)] = np.nan
        else:
            stack = file.read().astype("f4")
            image = np.where(stack.max(0) > 0, stack.mean(0), np.nan)
    return image


def shots(data: Path) -> list[Shot]:
    """List all."""
    found = []
    for tile, days in CLEAR.items():
        found += [
            Shot(tile, day, next((data / "tci_gray_107m").glob(f"{tile}_{day}T*")), 1, "grey") for day in days.split()
        ]
    found += [Shot("T36UYA", p.name[7:15], p, 0, "rgb") for p in sorted((data / "tci_rgb_110m_jp2").glob("*.jp2"))]
    found += [Shot("T36UYA", p.name[7:15], p, 1, "B01") for p in sorted((data / "t36uya_b01_60m").glob("*0825*.jp2"))]
    for path in sorted((data / "boadella_10m").glob("*.tif")):
        if path.name[:8] not in ("20200118", "20200123"):
            found += [Shot("boadella", path.name[:8], path, k, f"B{k:02d}") for k in (3, 4, 8)]
    for path in sorted((data / "oscd_10m").glob("*/*_B0[348].tif")):
        found.append(Shot(path.parent.name, path.name[:8], path, 1, path.stem[9:]))
    for path in sorted((data / "etna_17m").glob("*.tif")):
        found += [Shot("etna", path.name[:8], path, k, f"B{k:02d}") for k in (3, 4, 8)]
    for folder in sorted((data / "biomassters_10m").iterdir()):
        for path in sorted(folder.rglob("*.tif")):
            month = (int(path.stem[-2:]) + 8) % 12 + 1
            found += [Shot(folder.name, f"2020{month:02d}15", path, k, f"B{k}") for k in (2, 3)]
    for k, day in enumerate(["20180429", "20180513", "20180708", "20180815", "20180915", "20181015", "20181115"]):
        path = data / "bouconne_T31TCJ_10m" / "2018_3A_Theia_Bouconne.tif"
        found += [Shot("bouconne", day, path, 10 * k + b, f"B{b}") for b in (2, 3)]
    for day in ("20181201", "20190105"):
        found += [
            Shot("australia", day, data / "australia_fire_10m" / f"{day}_{b}.tif", 1, b) for b in ("B03", "B04", "B08")
        ]
    for path in sorted((data / "portugal_ndvi_20m").glob("*.tif")):
        found.append(Shot("portugal", path.name[3:11], path, 1, "NDVI"))
    for path in sorted((data / "l2a_33TWL_33TWM_120m").glob("*/B0[48].tif")):
        found.append(Shot(path.parent.name[4:9], path.parent.name[10:18], path, 1, path.stem))
    return [shot for shot in found if (shot.place, shot.date) not in CLOUDED]


@dataclass(frozen=True, eq=False)
class Case:
    """Two pictures, and what is true of them."""

    left: np.ndarray
    right: np.ndarray
    valid: tuple[np.ndarray, np.ndarray]
    truth: np.ndarray | None
    facts: dict[str, object]


def picture(
    image: np.ndarray, matrix: np.ndarray, size: int, rng: np.random.Generator, look: str
) -> tuple[np.ndarray, np.ndarray]:
    """Render pixels seen through a matrix (ground pixels to picture pixels) as a user has them; uint8 and validity."""
    zoom = np.sqrt(abs(np.linalg.det(matrix[:2, :2])))
    valid = np.isfinite(image)
    low, high = np.percentile(image[valid], (0.5, 99.5))
    plain = np.where(valid, np.clip((image - low) / max(high - low, 1e-6), 0, 1), 0.5).astype("f4")
    if zoom < 1:
        plain = cv2.GaussianBlur(plain, (0, 0), 0.45 / zoom)
    half = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1.0]])
    centred = (half @ matrix @ np.linalg.inv(half))[:2]
    shown = cv2.warpAffine(plain, centred, (size, size), flags=cv2.INTER_LINEAR)
    known = cv2.warpAffine(valid.astype("f4"), centred, (size, size), flags=cv2.INTER_LINEAR) > 0.99
    shown = np.clip(shown, 0, 1) ** rng.uniform(0.6, 1.6) * rng.uniform(0.6, 1) + rng.uniform(0, 0.15)
    if look == "negative":
        shown = 1 - shown
    eight = np.where(known, np.clip(shown * 255, 1, 255), 0).astype("u1")
    if look == "framed":
        edge = size // 32
        cv2.rectangle(eight, (edge, edge), (size - edge, size - edge), 255, max(1, size // 170))
        cv2.rectangle(eight, (2 * edge, size - 6 * edge), (10 * edge, size - 2 * edge), 255, -1)
        for k in range(3):
            cv2.putText(eight, "Sentinel-2", (2 * edge + 4, size - (5 - k) * edge), 0, size / 1200, 0, 1)
        cv2.putText(eight, "Copernicus 2019", (2 * edge, 3 * edge), 0, size / 700, 255, 2)
    eight = cv2.imdecode(cv2.imencode(".jpg", eight, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 96))])[1], 0)
    return eight, cv2.erode(known.astype("u1"), np.ones((3, 3))) > 0


def pair(all_shots: list[Shot], size: int, rng: np.random.Generator, *, unrelated: bool) -> tuple[Shot, Shot]:
    """Draw two dates of one place with a season between them, or of two places."""
    places = sorted({s.place for s in all_shots})
    if size > 512:
        big = [p for p in places if p.startswith("T")]
        places = big or places
    while True:
        place = str(rng.choice(places))
        other = (
            str(rng.choice([p for p in places if p != place] or sorted({s.place for s in all_shots} - {place})))
            if unrelated
            else place
        )
        one = [s for s in all_shots if s.place == place]
        a = one[int(rng.integers(len(one)))]
        rest = [s for s in all_shots if s.place == other]
        if not unrelated:
            rest = [s for s in rest if pixels(s).shape == pixels(a).shape]  # on the same grid, or nothing is known
            gap = [abs(s.day - a.day) for s in rest]
            rest = [
                s
                for s, g in zip(rest, gap, strict=True)
                if min(g, 360 - g) >= (20 if place in ("etna", "australia") else 3 if "TW" in place else SEASON_DAYS)
            ]
            same = [s for s in rest if s.name == a.name]
            rest = same if same and rng.random() < 0.75 else rest
        if rest and {place, other} not in NEIGHBOURS:
            break
    return a, rest[int(rng.integers(len(rest)))]


def drawn(
    all_shots: list[Shot],
    number: int,
    size: int,
    scales: tuple[float, float],
    shares: tuple[float, float],
    unrelated: bool,
) -> Case:
    """Draw a case by its number."""
    rng = np.random.default_rng([number, size, int(unrelated)])
    a, b = pair(all_shots, size, rng, unrelated=unrelated)
    scale = float(np.exp(rng.uniform(*np.log(scales))))
    angle = float(rng.uniform(-180, 180))
    look = str(rng.choice(["plain", "negative", "framed"], p=[0.85, 0.05, 0.1]))
    wanted = rng.uniform(*shares)
    enlarge = max(1.0, min(1.5, size * max(min(1, 1 / scale), 0.5) / min(pixels(a).shape)))
    zooms = min(1, 1 / scale) * enlarge, min(1, scale) * enlarge
    turns = [np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]]) for t in (0.0, np.radians(angle))]
    reach = size * sum(1 / z for z in zooms) / 2
    best = None
    for _ in range(200):
        here, elsewhere = (np.array(pixels(s).shape[::-1]) * rng.uniform(0.25, 0.75, 2) for s in (a, b))
        there = elsewhere if unrelated else here + rng.uniform(-0.7, 0.7, 2) * reach
        built = []
        for z, r, centre in zip(zooms, turns, (here, there), strict=True):
            m = np.eye(3)
            m[:2, :2] = z * r
            m[:2, 2] = size / 2 - z * r @ centre
            built.append(m)
        shown = [inside(m, p.shape, size) for m, p in zip(built, (pixels(a), pixels(b)), strict=True)]
        areas = [shown_k.mean() / z**2 for shown_k, z in zip(shown, zooms, strict=True)]
        if min(s.mean() for s in shown) < 0.3:
            continue
        if unrelated:
            best = (0, built, 0.0)
            break
        share = shared(built, shown, size) / zooms[0] ** 2 / min(areas)
        if best is None or abs(share - wanted) < best[0]:
            best = (abs(share - wanted), built, float(share))
        if best[0] < 0.02:
            break
    if best is None:
        return drawn(all_shots, number + 1_000_003, size, scales, shares, unrelated)
    _, (ma, mb), share = best
    left, right = (
        picture(pixels(a), ma, size, rng, "plain" if look == "negative" else look),
        picture(pixels(b), mb, size, rng, look),
    )
    facts = {
        "number": number,
        "place": a.place,
        "other": b.place if unrelated else "",
        "left": a.date + a.name,
        "right": b.date + b.name,
    }
    facts |= {"size": size, "scale": round(scale, 3), "angle": round(angle, 1), "share": round(share, 3), "look": look}
    return Case(left[0], right[0], (left[1], right[1]), None if unrelated else mb @ np.linalg.inv(ma), facts)


def inside(matrix: np.ndarray, shape: tuple[int, int], size: int) -> np.ndarray:
    """Tell where on a grid of 32 x 32 a picture shows anything."""
    grid = (np.mgrid[:32, :32][::-1].reshape(2, -1).T + 0.5) * size / 32
    back = np.linalg.inv(matrix)
    ground = grid @ back[:2, :2].T + back[:2, 2]
    return ((ground > 0) & (ground < np.array(shape[::-1]))).all(1)


def shared(mats: list[np.ndarray], shown: list[np.ndarray], size: int) -> float:
    """Compute the share of the left picture that the right one shows, too."""
    grid = (np.mgrid[:32, :32][::-1].reshape(2, -1).T + 0.5) * size / 32
    to = mats[1] @ np.linalg.inv(mats[0])
    cell = np.floor((grid @ to[:2, :2].T + to[:2, 2]) * 32 / size).astype(int)
    good = (cell >= 0).all(1) & (cell < 32).all(1)
    there = np.zeros(len(grid), bool)
    there[good] = shown[1].reshape(32, 32)[cell[good, 1], cell[good, 0]]
    return float((there & shown[0]).mean())


def corner_error(model: np.ndarray, case: Case) -> float:
    """Compute how far, in the larger of both pictures' pixels, the corners of the shared ground lie from the truth."""
    size = case.facts["size"]
    grid = (np.mgrid[:33, :33][::-1].reshape(2, -1).T) * size / 32

    def apply(matrix: np.ndarray) -> np.ndarray:
        there = np.c_[grid, np.ones(len(grid))] @ matrix.T
        return there[:, :2] / there[:, 2:]

    true = apply(case.truth)
    common = (true >= 0).all(1) & (true <= size).all(1)
    error = np.hypot(*(apply(model) - true)[common].T)
    zoom = np.sqrt(abs(np.linalg.det(case.truth[:2, :2])))
    return float(error.max() / max(1.0, zoom))


def answer(method: str, case: Case) -> tuple[np.ndarray | None, dict[str, object]]:
    """Ask a method: the matrix it accepts or ``None``, and what else it says."""
    if method == "prototype":
        sys.path.insert(0, str(SHARED.parent / "prototypes"))
        import tempfile

        import global_search as prototype  # type: ignore[import-not-found]

        with tempfile.TemporaryDirectory() as folder:
            files = [f"{folder}/{k}.png" for k in "lr"]
            for file, image in zip(files, (case.left, case.right), strict=True):
                cv2.imwrite(file, image)
            z, second, _, _, matrix = prototype.search(*files)
        return (matrix if z > 11 else None), {"z": round(z, 2), "second": round(second, 2)}
    if method == "sweep":
        from sentinel_match.images.source import view_of
        from sentinel_match.matching import sweep as module

        views = [view_of(image, valid) for image, valid in zip((case.left, case.right), case.valid, strict=True)]
        said = module.sweep(*(module.describe(v) for v in views))
        facts = {
            "z": round(said.z, 2),
            "second": round(said.runner_up, 2),
            "nfa": round(said.nfa, 2),
            "support": round(said.support, 2),
        }
        facts["right"] = round(corner_error(said.matrix, case), 2) if case.truth is not None else ""
        return (said.matrix if said.found else None), facts
    from sentinel_match import ImageMatcher

    matcher = ImageMatcher() if method == "relate" else ImageMatcher(method)
    result = matcher.match_images(case.left, case.right, valid=case.valid)
    return result.matrix, {"inliers": int(result.inliers0.sum())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, default=SHARED)
    parser.add_argument("--places", choices=("tune", "report", "all"), default="report")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--unrelated", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--method", default="sweep")
    parser.add_argument("--wide", action="store_true")
    parser.add_argument("--share", type=float, nargs=2, default=(0.15, 1.0))
    parser.add_argument("--append", type=Path, help="a row for each case")
    given = parser.parse_args()
    import torch

    warnings.simplefilter("ignore", NotGeoreferencedWarning)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    chosen = [s for s in shots(given.data) if given.places == "all" or (s.place in TUNED) == (given.places == "tune")]
    scales = (0.3, 3.0) if given.wide else (0.5, 2.0)
    rows = []
    for unrelated, count in ((False, given.pairs), (True, given.unrelated)):
        for number in range(given.first, given.first + count):
            case = drawn(chosen, number, given.size, scales, tuple(given.share), unrelated)
            start = time.process_time()
            model, said = answer(given.method, case)
            seconds = time.process_time() - start
            error = corner_error(model, case) if model is not None and case.truth is not None else np.nan
            verdict = (
                "none"
                if model is None
                else "accepted"
                if unrelated
                else "found"
                if error <= FOUND_PX
                else "near"
                if error <= 4 * FOUND_PX
                else "wrong"
            )
            row = {
                "method": given.method,
                "kind": "unrelated" if unrelated else "pair",
                **case.facts,
                "verdict": verdict,
            }
            row |= {"error": round(error, 2), "cpu": round(seconds, 2), **{f"said_{k}": v for k, v in said.items()}}
            rows.append(row)
            if given.append:
                fresh = not given.append.exists()
                with given.append.open("a", newline="") as file:
                    writer = csv.DictWriter(file, row)
                    if fresh:
                        writer.writeheader()
                    writer.writerow(row)
    report(rows)


def report(rows: list[dict[str, object]]) -> None:
    """Print shares by how much is shared, and what was wrong."""
    pairs = [r for r in rows if r["kind"] == "pair"]
    for low, high in ((0, 0.15), (0.15, 0.3), (0.3, 0.5), (0.5, 1.01)):
        part = [r for r in pairs if low <= r["share"] < high]
        if part:
            count = {v: sum(r["verdict"] == v for r in part) for v in ("found", "near", "wrong", "none")}
            print(f"shared {low:.2f}-{high:.2f}: {len(part)} pairs, {count}, found {count['found'] / len(part):.3f}")
    for place in sorted({r["place"] for r in pairs}):
        part = [r for r in pairs if r["place"] == place and r["share"] >= 0.3]
        if part:
            print(f"  {place}: {sum(r['verdict'] == 'found' for r in part)} of {len(part)}")
    others = [r for r in rows if r["kind"] == "unrelated"]
    if others:
        print(f"unrelated accepted: {sum(r['verdict'] == 'accepted' for r in others)} of {len(others)}")
    print(f"CPU seconds: median {np.median([r['cpu'] for r in rows]):.2f}, most {max(r['cpu'] for r in rows):.2f}")


if __name__ == "__main__":
    main()
