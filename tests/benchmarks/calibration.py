"""Whether ``sigma_m`` says how far points err: errors at points of known truth, divided by it.

python tests/benchmarks/seasons.py DATA OUT
python tests/benchmarks/calibration.py OUT/pairs.csv [DATA] [--figure FILE.png]    4 CPU-min; DATA: two SAFE pairs more

Every pair goes through ``pipeline.match_scenes`` with the matcher ``phase``; inliers count. Invented products are known
exactly. Of real pairs the truth is known to about 0.1 px, more coarsely than the points are measured: of their errors a
surface of third degree is taken off, which 20 parameters for thousands of points let no noise escape into.

The normalised error of a calibrated sigma has standard deviation 1. Each pair counts alike in a stratum, whatever its
number of points; intervals come from drawing pairs.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sentinel_match import matchers
from sentinel_match.errors import PairError
from sentinel_match.evaluate.listing import read_list, season_gap
from sentinel_match.geometry import robust, selection
from sentinel_match.options import Options
from sentinel_match.pipeline import match_scenes
from sentinel_match.products.catalogue import read_scene
from sentinel_match.products.scene import Scene
from sentinel_match.raster.raster import read
from sentinel_match.testing import Landscape, write_product
from sentinel_match.tiepoints import TiePoints

WINDOW = 32
"""Pixels along the side of the square whose standard deviation is a point's texture."""
LOOSE = ("arosics_T33UUU_10m", "t36uya_b01_60m")
"""Sets of the list that show what the SAFE pairs show."""
FEWEST = 300
"""Inliers of a pair that counts."""
TEXTURES = ("weak", "middle", "strong")
GAPS = ("0-30 d", "31-90 d", "91-182 d")
SAFE = (
    ("safe_pair_T33UUU_B04", "20160608", "20160529", (6.4, 18.1), "0-30 d"),
    ("safe_pair_T36UYA_B01", "20190318", "20190825", (0.0, 0.0), "91-182 d"),
)
INVENTED = (("2021-06-20", "2021-07-10"), ("2021-06-20", "2021-08-20"), ("2021-04-25", "2021-09-17"))


class Pair(NamedTuple):
    name: str
    left: Scene
    right: Scene
    band: str
    gap: str
    truth: tuple[float, float] | None
    """Shift in metres where it is exactly known."""


class Judged(NamedTuple):
    """The inliers of a pair."""

    pair: Pair
    error: np.ndarray
    """(N, 2) metres."""
    sigma: np.ndarray
    """(N,) metres."""
    texture: np.ndarray
    """(N,) tercile within the pair, 0 to 2."""
    gsd: float

    @property
    def normalised(self) -> np.ndarray:
        """Return (N, 2) errors over sigma."""
        return self.error / self.sigma[:, None]


def pairs(listed: Path, data: Path, folder: Path) -> Iterator[Pair]:
    """Yield real pairs of the list, the two SAFE pairs, and invented ones."""
    for one in read_list(listed):
        if not one.hidden and one.warp == "none" and one.set not in LOOSE:
            yield Pair(f"{one.set} {one.name}", one.left, one.right, one.band, dict(one.strata)["season_gap"], None)
    for name, *dates, _, gap in SAFE:
        if (data / name).exists():
            scenes = [read_scene(next((data / name).glob(f"*MSIL1C_{date}*"))) for date in dates]
            yield Pair(name, *scenes, scenes[0].bands[0].name, gap, None)
    for k, dates in enumerate(INVENTED):
        scenes = [
            read_scene(write_product(folder / f"{k}", Landscape(k), date=date, pixels=1020, displacement=shift))
            for date, shift in zip(dates, ((0.0, 0.0), (6.4, 18.1)), strict=True)
        ]
        days = abs(int(np.diff(np.array(dates, "datetime64[D]"))[0].astype(int)))
        yield Pair(f"invented {dates[0]} {dates[1]}", *scenes, "B04", season_gap(days), (6.4, 18.1))


def judged(pair: Pair) -> Judged | None:
    """Judge the inliers of a pair; ``None`` where it has too few points."""
    try:
        ties = match_scenes(pair.left, pair.right, Options(band=pair.band, matcher=matchers.create("phase")))
    except PairError as error:
        print(f"{pair.name[-56:]:56} no match: {error}", flush=True)
        return None
    chosen = ties.inlier
    if chosen.sum() < FEWEST:
        print(f"{pair.name[-56:]:56} only {chosen.sum()} inliers", flush=True)
        return None
    p, sigma = ties.left_xy[chosen], ties.sigma_m[chosen]
    error = ties.shift[chosen] - (pair.truth or np.median(ties.shift[chosen], axis=0))
    if pair.truth is None:
        even = np.full(len(p), 1.0)
        pairs = robust.PointPairs(p, p + error, even)
        error = error - selection.choose(pairs, even, kinds=("polynomial3",)).transform.shift(p)
    return Judged(pair, error, sigma, np.searchsorted(*terciles(ties, pair)), ties.gsd)


def terciles(ties: TiePoints, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Compute the bounds of the terciles, and the standard deviation around each inlier in the left image."""
    from scipy.ndimage import uniform_filter

    image = read(pair.left, pair.band.split(",")[0], resolution=ties.gsd)
    known = image.valid.astype(float)
    pixels = np.where(image.valid, image.pixels, 0).astype(float)
    weight, mean, square = (uniform_filter(v, WINDOW) for v in (known, pixels, pixels**2))
    weight = np.maximum(weight, 1e-6)
    deviation = np.sqrt(np.maximum(square / weight - (mean / weight) ** 2, 0))
    x, y = np.array([~image.geobox.affine * tuple(at) for at in ties.left_xy[ties.inlier]]).T
    rows, cols = deviation.shape
    here = deviation[np.clip(y.astype(int), 0, rows - 1), np.clip(x.astype(int), 0, cols - 1)]
    return np.quantile(here, (1 / 3, 2 / 3)), here


def root_mean_square(parts: Sequence[np.ndarray]) -> float:
    return float(np.sqrt(np.mean([np.mean(part**2) for part in parts])))


def stratum(name: str, parts: list[np.ndarray]) -> None:
    """Print one line: the normalised errors of some pairs."""
    parts = [part for part in parts if len(part) >= FEWEST // 3]
    if not parts:
        print(f"  {name:24} no pair")
        return
    rng = np.random.default_rng(0)
    drawn = [root_mean_square([parts[k] for k in rng.integers(len(parts), size=len(parts))]) for _ in range(500)]
    low, high = np.percentile(drawn, (2.5, 97.5))
    value, pairs_within = root_mean_square(parts), np.mean([abs(root_mean_square([p]) - 1) <= 0.15 for p in parts])
    core = np.mean([1.4826 * np.median(np.abs(part)) for part in parts])
    said = "within 15 % of 1" if abs(value - 1) <= 0.15 else "NOT within 15 % of 1"
    print(
        f"  {name:24} {value:5.2f} [{low:.2f} {high:.2f}], NMAD {core:.2f}, {len(parts):2d} pairs "
        f"({pairs_within:4.0%} of them within 15 %), {sum(map(len, parts)):6d} points: {said}",
        flush=True,
    )


def reliability(found: list[Judged]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Average by tenths of the predicted sigma: its mean, and the error's root mean square and NMAD, pixels."""
    sigma = np.concatenate([one.sigma / one.gsd for one in found])
    error = np.concatenate([one.error / one.gsd for one in found])
    tenths = np.array_split(np.argsort(sigma), 10)
    mean = np.array([np.sqrt((sigma[k] ** 2).mean()) for k in tenths])
    return (
        mean,
        np.array([np.sqrt((error[k] ** 2).mean()) for k in tenths]),
        np.array([1.4826 * np.median(np.abs(error[k])) for k in tenths]),
    )


def draw(found: list[Judged], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
    for one in found:
        sigma, *_ = reliability([one])
        left.plot(sigma, reliability([one])[1], color="0.8", lw=0.8)
    sigma, spread, core = reliability(found)
    left.plot(sigma, spread, marker="o", color="C0", label="root mean square, all pairs")
    left.plot(sigma, core, marker="s", color="C1", label="NMAD, all pairs")
    ends = np.array([sigma[0] * 0.7, sigma[-1] * 1.4])
    left.plot(ends, ends, color="k", lw=0.8)
    left.fill_between(ends, ends * 0.85, ends * 1.15, color="k", alpha=0.08, lw=0)
    left.set(xscale="log", yscale="log", xlabel="predicted sigma, px", ylabel="error per axis, px", title="reliability")
    left.legend(fontsize="small", frameon=False)
    values = np.concatenate([one.normalised.ravel() for one in found])
    at = np.linspace(-5, 5, 101)
    right.hist(values, at, density=True, color="C0", alpha=0.6)
    right.plot(at, np.exp(-(at**2) / 2) / np.sqrt(2 * np.pi), color="k", lw=0.8)
    right.set(xlabel="error / sigma", title=f"{len(values)} errors of {len(found)} pairs, and the normal distribution")
    figure.savefig(path, dpi=150)
    print(f"{path} written")


def main(listed: Path, data: Path, figure: Path | None) -> None:
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for pair in pairs(listed, data, Path(folder)):
            one = judged(pair)
            if one is not None:
                found.append(one)
                print(
                    f"{pair.name[-56:]:56} {pair.gap:8} {len(one.error):6d} inliers, "
                    f"sigma {np.median(one.sigma) / one.gsd:.3f} px, error/sigma {one.normalised.std():.2f}",
                    flush=True,
                )
    print("\nStandard deviation of error / sigma, 95 % interval over pairs")
    stratum("all", [one.normalised for one in found])
    for k, name in enumerate(TEXTURES):
        stratum(f"texture {name}", [one.normalised[one.texture == k] for one in found])
    for gap in GAPS:
        stratum(f"season {gap}", [one.normalised for one in found if one.pair.gap == gap])
        for k, name in enumerate(TEXTURES):
            parts = [one.normalised[one.texture == k] for one in found if one.pair.gap == gap]
            stratum(f"  texture {name}", parts)
    for name, exact in (("known exactly", True), ("real", False)):
        stratum(name, [one.normalised for one in found if (one.pair.truth is not None) is exact])
    print("\npredicted sigma, px: " + " ".join(f"{v:.3f}" for v in reliability(found)[0]))
    print("rms of the error, px: " + " ".join(f"{v:.3f}" for v in reliability(found)[1]))
    print("NMAD of the error:    " + " ".join(f"{v:.3f}" for v in reliability(found)[2]))
    if figure:
        draw(found, figure)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("data", type=Path, nargs="?", default=Path(__file__).resolve().parents[3] / "shared" / "data")
    parser.add_argument("--figure", type=Path)
    given = parser.parse_args()
    main(given.pairs, given.data, given.figure)
