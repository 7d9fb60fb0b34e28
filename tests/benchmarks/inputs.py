"""Which band or index to compare across seasons: grid points that phase correlation puts within 1 px of the truth.

python tests/benchmarks/inputs.py [SET ...]     bouconne l2a portugal rgb gray; about 1 CPU-min each

One row per input: share of the grid points that are right (measured, forward and backward agreeing, within 1 px), share
of what was measured that is right, and the same for quality 0.2 and more. ``a|b`` takes the better peak at each point.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from sentinel_match.matching.subpixel import Measurements, Refinement, grid, measure
from sentinel_match.products.catalogue import read_scene
from sentinel_match.products.scene import Asset, Band, Mask, Scene
from sentinel_match.raster.load import load
from sentinel_match.raster.masks import Masking
from sentinel_match.raster.raster import jointly_valid

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
OPTIONS = Refinement(radius=8)
QUALITY = 0.2
CANDIDATES = 1000
Pair = tuple[str, Scene, Scene, tuple[float, float] | None]


def bouconne() -> tuple[list[Pair], list[str], Masking]:
    """Read four of the seven dates of one file; the truth of a pair is the median of the good points of all inputs."""
    one = read_scene(DATA / "bouconne_T31TCJ_10m" / "2018_3A_Theia_Bouconne.tif")
    names = ("B02", "B03", "B04", "B08", "B05", "B06", "B07", "B8A", "B11", "B12")
    dates = ("0429", "0513", "0708", "0815", "0915", "1015", "1115")
    scenes = [
        replace(
            one,
            id=f"bouconne_{date}",
            bands=tuple(replace(one.bands[10 * i + k], name=name, quantification=1e4) for k, name in enumerate(names)),
        )
        for i, date in enumerate(dates)
    ]
    pairs: list[Pair] = [(f"{a.id[-4:]}-{b.id[-4:]}", a, b, None) for a, b in combinations(scenes[::2], 2)]
    inputs = [*names, "NDVI", "NDWI", "NDSI", "PCA", *(f"{n}-gradient" for n in ("B04", "B08", "B11", "NDVI", "PCA"))]
    return (
        pairs,
        [*inputs, "B04|B08", "B04|B11", "B04|B08|B11", "B04|B08|B11|NDVI", "B02|B11"],
        Masking(brightness=False),
    )


def l2a() -> tuple[list[Pair], list[str], Masking]:
    scenes = []
    for folder in sorted((DATA / "l2a_33TWL_33TWM_120m").glob("*33TWL*")):
        red = read_scene(folder / "B04.tif")
        place = GeoBox((915, 915), Affine(120, 0, 499_980, 0, -120, 5_200_020), "EPSG:32633")  # the files carry none
        bands = tuple(
            Band(name, 120.0, Asset(folder / f"{name}.tif"), place, quantification=1e4) for name in ("B04", "B08")
        )
        scl = Mask("SCL", Asset(folder / "SCL.tif"), place)
        scenes.append(replace(red, id=folder.name, bands=bands, masks=(scl,), geobox=place))
    pairs: list[Pair] = [(f"{a.id[10:18]}-{b.id[10:18]}", a, b, (0.0, 0.0)) for a, b in combinations(scenes[:3], 2)]
    inputs = ["B04", "B08", "NDVI", "PCA", "B04-gradient", "B08-gradient", "NDVI-gradient", "B04|B08", "B04|B08|NDVI"]
    return pairs, inputs, Masking()


def portugal() -> tuple[list[Pair], list[str], Masking]:
    folder = DATA / "portugal_ndvi_20m"
    dates = {"Jan": "20170115", "Jul": "20170714", "Oct": "20171012", "Dec": "20171221"}
    scenes = {name: read_scene(folder / f"IM_{date}_NDVI_20m_clip2.tif") for name, date in dates.items()}
    truth = {("Jan", "Jul"): (0.28, -0.38), ("Jan", "Dec"): (0.20, -0.08), ("Jul", "Oct"): (-0.06, 0.06)}
    return (
        [(f"{a}-{b}", scenes[a], scenes[b], t) for (a, b), t in truth.items()],
        ["1", "1-gradient", "1|1-gradient"],
        Masking(),
    )


def rgb() -> tuple[list[Pair], list[str], Masking]:
    """Read two dates, stored blue, green, red."""
    scenes = []
    for path in sorted((DATA / "tci_rgb_110m_jp2").glob("*.jp2")):
        one = read_scene(path)
        channels = tuple(replace(one.bands[0], name=name, index=i) for i, name in ((1, "B02"), (2, "B03"), (3, "B04")))
        scenes.append(replace(one, bands=(*one.bands, *channels)))
    inputs = ["TCI", "B02", "B03", "B04", "PCA"]
    inputs += [f"{name}-gradient" for name in inputs]
    return [("winter-summer", *scenes, (0.0, 0.0))], [*inputs, "TCI|TCI-gradient"], Masking(brightness=False)


def gray() -> tuple[list[Pair], list[str], Masking]:
    """Read snow, and four clear dates of the other seasons."""
    folder = DATA / "tci_gray_107m"
    scenes = [read_scene(next(folder.glob(f"T36UYA_{date}*"))) for date in ("20160212", *GRAY)]
    pairs: list[Pair] = [(f"snow-{b.id[7:15]}", scenes[0], b, (0.0, 0.0)) for b in scenes[1:]]
    return pairs, ["TCI", "TCI-gradient", "TCI|TCI-gradient"], Masking(brightness=False)


GRAY = ("20190422", "20190621", "20190825", "20190904")


def best(found: list[Measurements]) -> Measurements:
    """Take at each point the measurement with the highest peak."""
    pick = np.argmax([np.where(m.ok, m.quality, -1) for m in found], 0)
    each = np.arange(len(pick))
    return Measurements(
        *(np.stack([getattr(m, f) for m in found])[pick, each] for f in Measurements.__dataclass_fields__)
    )


def rows(pairs: list[Pair], inputs: list[str], masking: Masking) -> dict[str, np.ndarray]:
    """Count points, right, measured, right at quality, measured at quality of every input, one row per pair."""
    table: dict[str, list[list[int]]] = {}
    for label, a, b, given in pairs:
        truth = given or (0.0, 0.0)
        singles = list(dict.fromkeys(part for name in inputs for part in name.split("|")))
        found = {}
        at = None
        for name in singles:
            x, y = (load(s, name, masking=masking) for s in (a, b))
            if at is None:
                at = grid(jointly_valid(x.raster, y.raster), CANDIDATES)
            found[name] = measure(x.raster, y.raster, at, at, OPTIONS)
        if given is None:
            good = np.concatenate([(m.right - m.left)[m.ok & (m.quality > 0.4)] for m in found.values()])
            truth = tuple(np.median(good, 0))
            print(f"   {label}: {len(good)} good points, median shift {truth[0]:+.2f} {truth[1]:+.2f} px", flush=True)
        for name in inputs:
            m = best([found[part] for part in name.split("|")])
            right = m.ok & (np.hypot(*(m.right - m.left - truth).T) < 1)
            high = m.ok & (m.quality >= QUALITY)
            table.setdefault(name, []).append([len(m), right.sum(), m.ok.sum(), (right & high).sum(), high.sum()])
    return {name: np.array(v) for name, v in table.items()}


for chosen in sys.argv[1:] or ("bouconne", "l2a", "portugal", "rgb", "gray"):
    pairs, inputs, masking = globals()[chosen]()
    table = rows(pairs, inputs, masking)
    print(f"\n{chosen}: {len(pairs)} pairs")
    print(f"{'input':22} right  precision | right precision (quality >= {QUALITY}) | worst pair")
    for name, counts in sorted(table.items(), key=lambda item: -item[1][:, 1].sum()):
        n, right, ok, right_high, high = counts.sum(0)
        worst = (counts[:, 1] / counts[:, 0]).min()
        print(
            f"{name:22} {right / n:5.1%} {right / max(ok, 1):9.1%}"
            f" | {right_high / n:5.1%} {right_high / max(high, 1):9.1%} | {worst:5.1%}",
            flush=True,
        )
