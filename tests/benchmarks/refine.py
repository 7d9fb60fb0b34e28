"""Figures behind the constants of sentinel_match/matching/subpixel.py: the bias curve, and variants compared.

python tests/benchmarks/refine.py [DATA] [--part bias|variants] [--figure FILE.png]    8 CPU-min; DATA: real pairs

bias: median and scatter of the error against known shifts of 0 to 1 px, on an invented landscape that is imaged anew at
each shift, and on real 10 m pixels of T33UUU displaced by Fourier and by cubic resampling; as they are, and disturbed.
variants: windows, supports, low-passes and views of ``measure``, and two other methods on the same windows: phase
correlation with the upsampled DFT (scikit-image; Guizar-Sicairos, Thurman & Fienup 2008) and least squares (OpenCV's
ECC; Evangelidis & Psarakis 2008). On invented dates the error is known; on the real pair, it is the residual to a
surface of third degree fitted to each variant's own points.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from scipy.ndimage import fourier_shift, gaussian_filter, shift
from skimage.registration import phase_cross_correlation

from sentinel_match.geometry import robust, selection
from sentinel_match.geometry.grids import to_metres, to_pixels
from sentinel_match.matchers import correlation
from sentinel_match.matching import averages, nodes, subpixel
from sentinel_match.matching.subpixel import Refinement, measure
from sentinel_match.products.catalogue import read_scene
from sentinel_match.raster import raster
from sentinel_match.raster.load import load
from sentinel_match.raster.raster import Raster, jointly_valid
from sentinel_match.testing import Landscape

SHIFTS = np.round(np.arange(0, 1.01, 0.1), 1)
ASIDE = 0.3
"""Shift in y, the same at all shifts in x."""
SIDE = 600
GROUND = GeoBox((SIDE, SIDE), Affine(10, 0, 300_000, 0, -10, 5_800_000), "EPSG:32633")
Images = tuple[np.ndarray, np.ndarray]


class Pair(NamedTuple):
    """Two images, where points are expected, and where they truly are if that is known."""

    name: str
    left: Raster
    right: Raster
    at: np.ndarray
    expected: np.ndarray
    truth: np.ndarray | None


def raster_of(pixels: np.ndarray, valid: np.ndarray | None = None) -> Raster:
    known = np.ones(pixels.shape, bool) if valid is None else valid
    return Raster(pixels.astype(np.float32), known, GROUND)


def inner() -> np.ndarray:
    """List nodes away from the rim, where Fourier shifts wrap around."""
    steps = np.arange(nodes.NODE_SPACING * 5, SIDE - nodes.NODE_SPACING * 5, nodes.NODE_SPACING, dtype=float)
    return np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)


# What is imaged, at a shift --------------------------------------------------------------------------------------


def stretched(image: np.ndarray) -> np.ndarray:
    low, high = np.percentile(image, (0.5, 99.5))
    return np.clip((image - low) / (high - low), 0, 1).astype(np.float32)


def invented(dx: float, dy: float, season: str = "summer") -> np.ndarray:
    """Render the invented ground, whose content lies dx right and dy down; the sensor looks anew."""
    return Landscape(7).render(GROUND, season, "B04", (10 * dx, -10 * dy))


def real(data: Path) -> np.ndarray:
    return np.asarray(load(scenes(data)[0], "B04").raster.pixels[:SIDE, 800 : 800 + SIDE], np.float32)


def by_fourier(image: np.ndarray, dx: float, dy: float) -> np.ndarray:
    return np.fft.ifft2(fourier_shift(np.fft.fft2(image), (dy, dx))).real.astype(np.float32)


def by_cubic(image: np.ndarray, dx: float, dy: float) -> np.ndarray:
    return shift(image, (dy, dx), order=3, mode="nearest").astype(np.float32)


# How it is disturbed ---------------------------------------------------------------------------------------------


def as_it_is(left: np.ndarray, right: np.ndarray) -> tuple[Raster, Raster]:
    return raster_of(left), raster_of(right)


def gain(left: np.ndarray, right: np.ndarray) -> tuple[Raster, Raster]:
    """Make the right image 0.6 times as contrasty, brighter by 0.2 and by a ramp of 0.2 over the image."""
    return raster_of(left), raster_of(0.6 * right + 0.2 + np.linspace(0, 0.2, right.shape[1])[None])


def noise(left: np.ndarray, right: np.ndarray) -> tuple[Raster, Raster]:
    """Add white noise of 0.03 of the range to both."""
    rng = np.random.default_rng(0)
    one, other = (image + rng.normal(0, 0.03, image.shape) for image in (left, right))
    return raster_of(one), raster_of(other)


def cloud(left: np.ndarray, right: np.ndarray) -> tuple[Raster, Raster]:
    """Draw bright banks with soft edges in the right image alone; the mask takes what is more than half opaque."""
    rng = np.random.default_rng(3)
    bank = gaussian_filter(rng.normal(size=right.shape), 25)
    bank /= bank.std()
    opacity = np.clip((bank - 0.4) / 0.8, 0, 1)
    return raster_of(left), raster_of(right + opacity * (0.9 - right), opacity < 0.5)


def coarse(left: np.ndarray, right: np.ndarray) -> tuple[Raster, Raster]:
    """Bring the right image of 20 m onto the 10 m grid as the tool does it."""
    half = right.reshape(SIDE // 2, 2, SIDE // 2, 2).mean((1, 3))
    place = GeoBox(half.shape, GROUND.affine * Affine.scale(2), GROUND.crs)
    wide = Raster(half.astype(np.float32), np.ones(half.shape, bool), place)
    return raster_of(left), raster.warp(wide, GROUND)


DISTURBED: dict[str, Callable[[np.ndarray, np.ndarray], tuple[Raster, Raster]]] = {
    "as it is": as_it_is,
    "gain, offset, ramp": gain,
    "noise 0.03": noise,
    "one-sided cloud edge": cloud,
    "20 m band on 10 m": coarse,
}


def bias(data: Path) -> dict[str, np.ndarray]:
    """Print the curves; by name the (shifts, 3) median x, median y and NMAD of the errors in pixels."""
    ground = invented(0, 0)
    low, high = np.percentile(ground, (0.5, 99.5))
    image, at = real(data), inner()

    def scaled(dx: float, dy: float) -> np.ndarray:
        return ((invented(dx, dy) - low) / (high - low)).astype(np.float32)

    kinds: dict[str, Callable[[float], Images]] = {
        "invented": lambda dx: ((ground - low) / (high - low), scaled(dx, ASIDE)),
        "real, Fourier": lambda dx: (image, by_fourier(image, dx, ASIDE)),
        "real, cubic": lambda dx: (image, by_cubic(image, dx, ASIDE)),
    }
    print("Median error in x, 0.001 px, at shifts of 0 to 1 px in x; largest in y; NMAD; share measured")
    print(f"{'':38}{''.join(f'{s:7.1f}' for s in SHIFTS)}       y   NMAD     ok")
    curves: dict[str, np.ndarray] = {}
    for kind, make in kinds.items():
        images = [make(dx) for dx in SHIFTS]
        for name, disturb in DISTURBED.items():
            rows, share = [], []
            for dx, (left, right) in zip(SHIFTS, images, strict=True):
                found = measure(*disturb(left, right), at, at)
                error = (found.right - found.left - (dx, ASIDE))[found.ok]
                rows.append([*np.median(error, 0), np.mean([spread(error[:, k]) for k in (0, 1)])])
                share.append(found.ok.mean())
            curve = curves[f"{kind}: {name}"] = np.array(rows)
            values = "".join(f"{1000 * v:+7.1f}" for v in curve[:, 0])
            worst = 1000 * curve[np.abs(curve[:, 1]).argmax(), 1]
            print(
                f"{kind + ': ' + name:38}{values} {worst:+7.1f} {curve[:, 2].mean():6.4f} {np.mean(share):6.1%}",
                flush=True,
            )
    return curves


# Variants --------------------------------------------------------------------------------------------------------


def spread(values: np.ndarray) -> float:
    """Compute the NMAD about the median."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def scenes(data: Path) -> list[Any]:
    folder = data / "safe_pair_T33UUU_B04"
    return [read_scene(next(folder.glob(f"*MSIL1C_{date}*"))) for date in ("20160608", "20160529")]


def known(season: str, deviation: float) -> Pair:
    """Render the invented ground in summer and in a season, with noise."""
    rng = np.random.default_rng(1)
    truth = np.array([0.64, 1.81])
    one, other = (
        stretched(invented(*at, when)) + rng.normal(0, deviation, (SIDE, SIDE))
        for at, when in (((0, 0), "summer"), (truth, season))
    )
    at, name = inner(), f"invented, summer to {season}, noise {deviation:g} of the range"
    return Pair(name, raster_of(one), raster_of(other), at, at + (1.0, 2.0), at + truth)


def real_pair(data: Path) -> tuple[Pair, list[Any]]:
    """Load the 10 m pair, every second node, and what must not be forgotten while it is used."""
    loaded = [load(scene, "B04") for scene in scenes(data)]
    a, b = (one.raster for one in loaded)
    at = nodes.grid(jointly_valid(a, b), 20_000)
    return Pair("T33UUU, ten days", a, b, at, to_pixels(b.geobox, to_metres(a.geobox, at) + (6.4, 18.1)), None), loaded


def errors(pair: Pair, ok: np.ndarray, found: np.ndarray, trust: np.ndarray) -> np.ndarray:
    """Compute (N, 2) of those measured: to the truth, or to a smooth surface through themselves."""
    p, q = pair.at[ok], found[ok]
    if pair.truth is not None:
        return q - pair.truth[ok]
    sigma = np.full(len(p), 0.1)
    plane = robust.robust_fit("affine", robust.PointPairs(p, q, sigma), tolerance=1.0, quality=trust[ok])
    weight = selection.consensus(p, q, plane, 1.0)
    return q - selection.choose(robust.PointPairs(p, q, sigma), weight, kinds=("polynomial3",), apart=64).transform(p)


def said(name: str, pair: Pair, ok: np.ndarray, found: np.ndarray, trust: np.ndarray, cpu: float) -> None:
    error = errors(pair, ok, found, trust)
    off = np.hypot(*error.T)
    print(
        f"  {name:40} {ok.mean():6.1%} ok, NMAD {spread(error[:, 0]):.3f} {spread(error[:, 1]):.3f} px, "
        f"{(off < 0.5).mean():7.2%} < 0.5 px, {(off > 1).mean():6.2%} > 1 px, {1e3 * cpu / len(ok):5.2f} CPU-ms each",
        flush=True,
    )


@contextmanager
def constants(module: Any, **values: object) -> Iterator[None]:
    """Set other constants for a while."""
    before = {name: getattr(module, name) for name in values}
    for name, value in values.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)


def tried(
    name: str, pair: Pair, *, support: float = averages.AVERAGING_SIGMA, view: str = "intensity", window: int = 32
) -> None:
    """Make one way of ``measure`` alone: no second or third attempt."""
    reach = max(1, round(support / nodes.NODE_SPACING * 1.75))
    averaging = constants(averages, AVERAGING_SIGMA=support, AVERAGING_REACH=reach)
    with averaging, constants(subpixel, ATTEMPTS=((view, (1,)),)):
        start = time.process_time()
        found = measure(pair.left, pair.right, pair.at, pair.expected, Refinement(window=window))
        said(name, pair, found.ok, found.right, found.distinct, time.process_time() - start)


def variants(pair: Pair) -> None:
    print(f"{pair.name}, {len(pair.at)} points")
    for window in (32, 48, 64):
        for support in (0.0, 14.0, 24.0, 34.0):
            tried(f"window {window}, support {support:g}", pair, support=support, window=window)
    for low in (0.1, 0.15, 0.2, 0.3):
        with constants(correlation, SPECTRAL_SIGMA={**correlation.SPECTRAL_SIGMA, "intensity": low}):
            tried(f"window 32, support 24, low-pass {low:g}", pair)
    tried("window 32, support 24, orientation", pair, view="orientation")
    start = time.process_time()
    found = measure(pair.left, pair.right, pair.at, pair.expected)
    said("as shipped, all attempts", pair, found.ok, found.right, found.distinct, time.process_time() - start)
    some = np.random.default_rng(0).permutation(len(pair.at))[:2000]
    truth = None if pair.truth is None else pair.truth[some]
    few = pair._replace(at=pair.at[some], expected=pair.expected[some], truth=truth)
    for window in (32, 48, 64):
        for name, look in (("upsampled DFT", upsampled), ("least squares (ECC)", least_squares)):
            start = time.process_time()
            answers = each(few, window, look)
            cpu = time.process_time() - start
            ok = np.isfinite(answers).all(1) & (np.hypot(*(answers - few.expected).T) < 4 * np.sqrt(2))
            said(f"window {window}, {name}", few, ok, answers, np.ones(len(ok)), cpu)


def each(pair: Pair, window: int, look: Callable[[np.ndarray, np.ndarray], np.ndarray | None]) -> np.ndarray:
    """Collect (N, 2) answers of a method that sees one window at a time; NaN where there is none."""
    answers, half = np.full(pair.at.shape, np.nan), window // 2
    for k, (here, there) in enumerate(zip(pair.at.astype(int), np.round(pair.expected).astype(int), strict=True)):
        cuts = []
        for image, (x, y) in ((pair.left, here), (pair.right, there)):
            part = np.s_[max(y - half, 0) : y + half, max(x - half, 0) : x + half]
            cuts.append((np.asarray(image.pixels[part], np.float32), np.asarray(image.valid[part])))
        if all(valid.shape == (window, window) and valid.all() for _, valid in cuts):
            moved = look(cuts[0][0], cuts[1][0])
            if moved is not None:
                answers[k] = there + moved
    return answers


def upsampled(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    taper = np.outer(np.hanning(len(one)), np.hanning(len(one)))
    a, b = ((image - image.mean()) * taper for image in (one, other))
    moved, _, _ = phase_cross_correlation(a, b, upsample_factor=100, normalization=None)
    return -moved[::-1]


def least_squares(one: np.ndarray, other: np.ndarray) -> np.ndarray | None:
    start = np.eye(2, 3, dtype=np.float32)
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 50, 1e-4)
    try:
        alike, matrix = cv2.findTransformECC(one, other, start, cv2.MOTION_TRANSLATION, criteria, None, 3)
    except cv2.error:  # it does not converge
        return None
    return matrix[:, 2] if alike > 0.5 else None


def draw(curves: dict[str, np.ndarray], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    kinds = list(dict.fromkeys(name.split(":")[0] for name in curves))
    figure, panels = plt.subplots(1, len(kinds), figsize=(12, 3.6), sharey=True, layout="constrained")
    for panel, kind in zip(panels, kinds, strict=True):
        for name, curve in curves.items():
            if name.startswith(f"{kind}:"):
                panel.plot(SHIFTS, 1000 * curve[:, 0], marker=".", label=name.split(": ")[1])
        panel.axhline(0, color="0.7", lw=0.8, zorder=0)
        panel.set(title=kind, xlabel="true shift in x, px")
    panels[0].set_ylabel("median error in x, 0.001 px")
    panels[-1].legend(fontsize="small", frameon=False)
    figure.savefig(path, dpi=150)
    print(f"{path} written")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=Path(__file__).resolve().parents[3] / "shared" / "data")
    parser.add_argument("--part", choices=("bias", "variants"))
    parser.add_argument("--figure", type=Path)
    given = parser.parse_args()
    if given.part != "variants":
        found = bias(given.data)
        if given.figure:
            draw(found, given.figure)
    if given.part != "bias":
        variants(known("summer", 0.1))
        variants(known("autumn", 0.02))
        variants(real_pair(given.data)[0])
