"""What comes of a pair whose truth is known, when somebody matches it: is anything wrong in silence?

* ``right``: believed, and true within what is said: nine of ten inliers lie within three sigma of the truth along both
  axes of their ellipse (or a twentieth of a pixel), and the true CE95 of the correction over all ground is no larger
  than the upper end of its interval (or a tenth of a pixel);
* ``refused``: no points;
* ``warned``: points, and a verdict that is contradicted, not confirmed or not proven;
* ``SILENT``: believed, and wrong.

Along a direction in which nothing can be known errors of the correction do not count, and those of points where sigma
says so. Where the images show nothing in common, all that
is neither refused nor warned is silent.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import rasterio
from rasterio.transform import from_origin

from sentinel_match.errors import PairError
from sentinel_match.options import Options
from sentinel_match.pipeline import match_scenes

if TYPE_CHECKING:
    from pathlib import Path

    from sentinel_match.geometry.grids import Points
    from sentinel_match.testing.witness import Adversary
    from sentinel_match.tiepoints import TiePoints

PIXEL = 10.0
"""Metres."""
WEST, NORTH = 400_000, 5_000_000
RIM_PX, EVERY_PX = 40, 8.0
"""Pixels from the rim, and between the places where a correction is looked at."""
WITHIN_SIGMA, WITHIN_PX, CE95_PX, BEYOND_SHARE = 3.0, 0.05, 0.1, 0.1
"""Standard deviations or pixels within which a point is right; pixels within which a correction is, whatever it
promises; share of points that may be wrong."""


UNCONFIRMED = re.compile("does not confirm it|no single window confirms it")
"""In a verdict that nobody bears out."""


@dataclass(frozen=True)
class Outcome:
    """What came of a pair; pixels."""

    name: str
    """``right``, ``refused``, ``warned`` or ``SILENT``."""
    why: str
    """What was said of it."""
    cpu: float
    """Seconds."""
    points: int = 0
    z: float = float("nan")
    """Median error over sigma, as a multiple of what it should be."""
    ce95: float = float("nan")
    """True one of the correction."""
    claim: float = float("nan")
    high: float = float("nan")
    """Upper end of its interval."""


def tried(pair: Adversary, folder: Path, *, matcher: str = "phase", loose: float = 0.0) -> Outcome:
    """Match a pair as its files are, with nothing else chosen, and judge what comes of it.

    Args:
        pair: with its truth.
        folder: where its two files are written.
        matcher: a name.
        loose: pixels by which both grounds may differ besides, as two dates do.
    """
    paths = _written(pair, folder)
    clock = time.process_time()
    try:
        ties = match_scenes(*paths, Options(matcher=matcher))
    except PairError as error:
        return Outcome("refused", str(error), round(time.process_time() - clock, 2))
    return _judged(pair, ties, round(time.process_time() - clock, 2), loose + pair.tolerance)


def _written(pair: Adversary, folder: Path) -> tuple[Path, Path]:
    """Write a pair as 16 bits without a declared no-data value."""
    paths = folder / "left.tif", folder / "right.tif"
    for path, image in zip(paths, (pair.left, pair.right), strict=True):
        rows, cols = image.shape
        profile = {"driver": "GTiff", "height": rows, "width": cols, "count": 1, "dtype": "uint16"}
        grid = from_origin(WEST, NORTH, PIXEL, PIXEL)
        with rasterio.open(path, "w", crs="EPSG:32633", transform=grid, **profile) as target:
            target.write(np.rint(300 + 2000 * image).clip(0, 65535).astype("u2"), 1)
    return paths


def _judged(pair: Adversary, ties: TiePoints, cpu: float, loose: float) -> Outcome:
    summary, proof = ties.summary, ties.summary.hold_out
    claim, high = (proof.ce95 / PIXEL, proof.ce95_interval[1] / PIXEL) if proof else (np.nan, np.nan)
    warned = summary.doubtful or proof is None or bool(UNCONFIRMED.search(summary.verdict))
    good = ties.inlier
    if pair.moved is None:
        name = "warned" if warned else "SILENT"
        return Outcome(name, summary.verdict, cpu, int(good.sum()), claim=round(claim, 3), high=round(high, 3))
    errors, sigma = _by_axis(ties, (ties.shift / PIXEL * (1, -1) - pair.true(ties.left_px))[good])
    rows, cols = pair.left.shape
    x, y = np.meshgrid(np.arange(RIM_PX, cols - RIM_PX, EVERY_PX), np.arange(RIM_PX, rows - RIM_PX, EVERY_PX))
    places = np.column_stack([x.ravel(), y.ravel()]) + 0.5
    corrected = ties.transform.shift(np.array([WEST, NORTH]) + places * PIXEL * (1, -1)) / PIXEL * (1, -1)
    if pair.burnt is not None:  # no ground is there, in the one image or the other
        at = np.floor([places, places + corrected]).astype(int).clip(0, (cols - 1, rows - 1))
        seen = ~pair.burnt[at[..., 1], at[..., 0]].any(0)
        places, corrected = places[seen], corrected[seen]
    ce95 = float(np.percentile(np.hypot(*pair.errors(places, corrected).T), 95))
    beyond = float((np.abs(errors) > np.maximum(WITHIN_SIGMA * sigma, WITHIN_PX + loose)).any(1).mean())
    wrong = beyond > BEYOND_SHARE or bool(np.isfinite(high) and ce95 > max(high, CE95_PX + loose))
    return Outcome(
        name="warned" if warned else "SILENT" if wrong else "right",
        why=summary.verdict,
        cpu=cpu,
        points=int(good.sum()),
        z=round(float(np.median(np.hypot(*(errors / sigma).T)) / 1.1774), 2),
        ce95=round(ce95, 3),
        claim=round(claim, 3),
        high=round(high, 3),
    )


def _by_axis(ties: TiePoints, errors: Points) -> tuple[Points, Points]:
    """Take (N, 2) errors of inliers, pixels, along and across the major axis of each one's ellipse; and its sigma."""
    said = {name: values[ties.inlier] for name, values in ties.columns().items()}
    turn = np.radians(np.nan_to_num(said["sigma_azimuth_deg"]))  # of circles any will do
    unit = np.column_stack([np.sin(turn), -np.cos(turn)])  # rows run south
    across = unit[:, ::-1] * (1, -1)
    axes = np.column_stack([(errors * unit).sum(1), (errors * across).sum(1)])
    return axes, np.column_stack([said["sigma_major_m"], said["sigma_minor_m"]]) / PIXEL
