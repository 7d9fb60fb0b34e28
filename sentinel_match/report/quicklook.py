"""What a pair looks like, small enough to be sent: both dates, close-ups before and after correction, figures to draw.

    OUT/<pair id>/quicklook.json, masks.tif

They are made once a pair, from what matching has left in the cache, and kept as long as the tie points are the same.
Shifts of a pixel cannot be seen on a whole tile, so close-ups show native pixels.
"""

from __future__ import annotations

import logging
import math
from base64 import b64encode
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
from odc.geo.overlap import compute_reproject_roi

from sentinel_match.atomic import whole, write_text
from sentinel_match.cache import digest
from sentinel_match.errors import SentinelMatchError
from sentinel_match.formats.geojson import dumps
from sentinel_match.formats.read import read_table
from sentinel_match.geometry.grids import covering, metric, on_lattice, pixel_sides, pixel_size, transformed
from sentinel_match.matching.inputs import load_both
from sentinel_match.parallel import one_thread
from sentinel_match.products.opening import reading_vectors
from sentinel_match.raster import raster
from sentinel_match.raster.flags import Reason
from sentinel_match.raster.masks import at_centres
from sentinel_match.raster.npy import MaskView, release
from sentinel_match.raster.raster import Raster
from sentinel_match.report import svg
from sentinel_match.report.pictures import QUICKLOOK_VERSION, CloseUp, QuickLook, read_quicklook
from sentinel_match.run_folder import GEOPACKAGE, MASKS_FILE, QUICKLOOK, TIES, read_pair

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from sentinel_match.cache import Cache
    from sentinel_match.geometry.transform import Transform
    from sentinel_match.matching.inputs import Progress
    from sentinel_match.options import Options
    from sentinel_match.products.pair import Pair
    from sentinel_match.products.scene import Scene
    from sentinel_match.raster.load import PreparedImage

log = logging.getLogger(__name__)

QUICKLOOK_SIDE = 800
"""Pixels of the longer side of a quick-look, at most."""
CLOSE_UP_SIDE = 160
"""Side of a close-up in native pixels; a page shows each of them enlarged."""
CLOSE_UPS = 2
CLOSE_UP_CANDIDATES = 12
"""Places along the longer side that a close-up is chosen from."""
CLOSE_UP_STRETCH = (1, 99)
"""Percentiles of a close-up that become black and white."""
CLOSE_UP_LEAST_CLEAR = 0.5
"""Share of a close-up that must be known in both images."""
MASKED_COLOUR = np.array([60, 150, 245], np.float32)
"""Blue, green, red of what is masked."""
WEBP_QUALITY = 80
STRIP_ROWS = 256
"""Rows of a small grid whose reasons are read at once."""
MASKS_FILE_METRES = 20.0
"""Pixels of ``masks.tif``, about: those of the scene classification."""


def make(pair: Pair, folder: Path, options: Options, cache: Cache, progress: Progress) -> None:
    """Make the quick-look and the masks of a matched pair that has none yet; one that fails goes without.

    What lay beside a pair that was not matched was of other inputs: ``job`` has removed it.

    Args:
        pair: that was matched.
        folder: its own, in that of the run.
        options: with which it was matched.
        cache: holds what was loaded then.
        progress: hears of progress.
    """
    try:
        keep(pair.left, pair.right, folder, options, cache, progress)
    except SentinelMatchError as error:
        log.warning("%s goes without pictures: %s", pair.id, error)
    except Exception:  # a picture that fails must not end a run that has succeeded
        log.exception("%s goes without pictures", pair.id)


@one_thread()
def keep(left: Scene, right: Scene, folder: Path, options: Options, cache: Cache, progress: Progress) -> None:
    """Make the quick-look and the masks of a matched pair, unless they are there for these tie points.

    Args:
        left: the reference.
        right: the other scene.
        folder: of the pair, where ``job`` has left its results.
        options: with which it was matched.
        cache: holds what was loaded then.
        progress: hears of progress.

    Raises:
        SentinelMatchError: it cannot be loaded again, or not be written.
    """
    record = read_pair(folder)
    recipe = digest({"version": QUICKLOOK_VERSION, "pair": record.recipe})
    there = read_quicklook(folder)
    if there is not None and there.recipe == recipe and (folder / MASKS_FILE).exists():
        return
    progress("quick-look", 0, 1)
    summary = record.summary
    assert summary is not None  # noqa: S101 only matched pairs come here
    loaded = load_both(left, right, options.inputs(summary.band), cache, progress)
    a, b = loaded[0][0], loaded[1][0]
    lattice = metric(a.raster.geobox)
    if len({*pixel_sides(lattice)}) > 1:  # pictures have square pixels
        lattice = on_lattice(lattice, pixel_size(lattice))
    grid = covering(lattice, b.raster.geobox, 0)
    _write_masks(folder / MASKS_FILE, (a, b), grid)
    quicklook = _drawn(a, b, grid, *_inliers(folder), summary.transform)
    write_text(folder / QUICKLOOK, dumps(replace(quicklook, recipe=recipe).to_dict()) + "\n")


def _inliers(folder: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Read (N, 2) left and (N, 2) right ends of the inliers of a pair, metres: from what is read fastest."""
    if (folder / GEOPACKAGE).exists():
        import pyogrio

        names = ["left_x", "left_y", "right_x", "right_y"]
        with reading_vectors():
            meta, _, _, columns = pyogrio.raw.read(folder / GEOPACKAGE, "tiepoints", columns=names, read_geometry=False)
        ends = dict(zip(meta["fields"].tolist(), columns, strict=True))
        return np.column_stack([ends[n] for n in names[:2]]), np.column_stack([ends[n] for n in names[2:]])
    table = read_table(folder / TIES)
    inlier = table.truths("inlier")
    left, right = (
        np.column_stack([table.numbers(f"{side}_{axis}") for axis in "xy"])[inlier] for side in ("left", "right")
    )
    return left, right


def _drawn(
    a: PreparedImage,
    b: PreparedImage,
    grid: GeoBox,
    left: NDArray[np.float64],
    right: NDArray[np.float64],
    transform: Transform,
) -> QuickLook:
    """Draw everything on the ground that both show."""
    times = math.ceil(max(grid.shape) / QUICKLOOK_SIDE)
    small = grid.zoom_out(times)
    # What is masked has been decoded too, and a picture shows it
    images = [Raster(i.raster.pixels, _has_data(i.reasons), i.raster.geobox) for i in (a, b)]
    views = [_view(image, loaded, small) for image, loaded in zip(images, (a, b), strict=True)]
    places = _places(views, times, grid)
    close_ups = [
        _close_up(images, grid[row : row + CLOSE_UP_SIDE, col : col + CLOSE_UP_SIDE], transform) for row, col in places
    ]
    clear = np.logical_and(*(view.codes == Reason.VALID for view in views))
    return QuickLook(
        limits={"left": a.limits, "right": b.limits},
        bounds=tuple(small.boundingbox),
        size=(small.shape.x, small.shape.y),
        metres=pixel_size(small),
        left=_uri(_tinted(views[0])),
        right=_uri(_tinted(views[1])),
        close_ups=tuple(close_up for close_up in close_ups if close_up is not None),
        cells=svg.cells(left, right - left, clear, small),
        residuals=svg.histogram((right - transform(left)) / pixel_size(grid)),
    )


def _has_data(reasons: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Tell (rows, cols) where there is data, made of the reasons wherever it is looked at."""
    view = MaskView(reasons.shape, lambda index: np.asarray(reasons[index] != Reason.NODATA), (reasons,))
    return cast("NDArray[np.bool_]", view)


class SmallView(NamedTuple):
    """A scene on a small grid."""

    pixels: NDArray[np.float32]
    """(rows, cols), 0..1; 0 where there is no data."""
    codes: NDArray[np.uint8]
    """(rows, cols) of :class:`~sentinel_match.raster.flags.Reason`."""


def _view(image: Raster, loaded: PreparedImage, grid: GeoBox) -> SmallView:
    shown = raster.warp(image, grid)
    codes = _codes(loaded, grid)
    codes[~shown.valid] = Reason.NODATA
    release(image.pixels, loaded.reasons)
    return SmallView(np.where(codes == Reason.NODATA, np.float32(0), np.asarray(shown.pixels, np.float32)), codes)


def _codes(loaded: PreparedImage, grid: GeoBox) -> NDArray[np.uint8]:
    """Bring reasons to another grid, (rows, cols), strip by strip."""
    source, codes = loaded.raster.geobox, np.zeros(grid.shape, np.uint8)
    for top in range(0, len(codes), STRIP_ROWS):
        part = codes[top : top + STRIP_ROWS]
        strip = grid[top : top + len(part), :]
        shown = compute_reproject_roi(source, strip).roi_src
        if any(s.stop <= s.start for s in shown):
            continue
        rows, cols = (slice(max(s.start - 2, 0), min(s.stop + 2, n)) for s, n in zip(shown, source.shape, strict=True))
        # Nought is what lies outside, so every code goes one up
        there = np.asarray(loaded.reasons[rows, cols]) + np.uint8(1)
        part[:] = at_centres(there, source[rows, cols], strip)
        release(loaded.reasons)
    return np.asarray(np.where(codes == 0, np.uint8(Reason.NODATA), codes - np.uint8(1)), np.uint8)


def _write_masks(path: Path, sides: Sequence[PreparedImage], grid: GeoBox) -> None:
    """Write why pixels do not count: a GeoTIFF of codes, a band for each image, the left first, 0 where they do.

    Raises:
        OutputError: it cannot be written.
    """
    import rasterio

    coarse = grid.zoom_out(max(1, round(MASKS_FILE_METRES / pixel_size(grid))))
    rows, cols = coarse.shape
    profile = {"driver": "GTiff", "count": 2, "dtype": "uint8", "nodata": int(Reason.VALID), "compress": "deflate"}
    place = {"crs": str(coarse.crs), "transform": coarse.affine, "width": cols, "height": rows, "tiled": True}
    with whole(path) as temporary, rasterio.open(temporary, "w", **profile, **place) as file:
        file.update_tags(**{f"reason_{int(reason)}": reason.name.lower() for reason in Reason})
        for k, (side, loaded) in enumerate(zip(("left", "right"), sides, strict=True), 1):
            file.write(_codes(loaded, coarse), k)
            file.set_band_description(k, side)


def _tinted(view: SmallView) -> NDArray[np.uint8]:
    """Paint (rows, cols, 4) blue, green, red, alpha: what is masked is orange, what is not known is clear."""
    grey = np.repeat(255 * np.clip(view.pixels, 0, 1)[..., None], 3, -1)
    masked = view.codes > Reason.NODATA
    grey[masked] = 0.5 * grey[masked] + 0.5 * MASKED_COLOUR
    alpha = np.where(view.codes == Reason.NODATA, 0, 255)
    return np.dstack([grey, alpha]).astype(np.uint8)


def _places(views: Sequence[SmallView], times: int, grid: GeoBox) -> list[tuple[int, int]]:
    """Choose first row and column of windows that are clear and full of texture in both, far from one another."""
    rows, cols = grid.shape
    step = max(1, max(rows, cols) // CLOSE_UP_CANDIDATES)
    span = max(1, CLOSE_UP_SIDE // times)
    worth, where = [], []
    for row in range(0, max(rows - CLOSE_UP_SIDE, 0) + 1, step):
        for col in range(0, max(cols - CLOSE_UP_SIDE, 0) + 1, step):
            part = np.s_[row // times : row // times + span, col // times : col // times + span]
            clear = float(np.logical_and(*(view.codes[part] == Reason.VALID for view in views)).mean())
            if clear >= CLOSE_UP_LEAST_CLEAR:
                worth.append(clear**4 * min(float(view.pixels[part].std()) for view in views))
                where.append((row, col))
    chosen = [int(np.argmax(worth))] if worth else []
    while chosen and len(chosen) < min(CLOSE_UPS, len(worth)):
        away = np.min([np.hypot(*np.subtract(where, where[k]).T) for k in chosen], axis=0)
        chosen.append(int(np.argmax(worth * away)))
    return [where[k] for k in dict.fromkeys(chosen)]


def _close_up(images: Sequence[Raster], window: GeoBox, transform: Transform) -> CloseUp | None:
    """Draw native pixels of a window, before and after correction; ``None`` where too little is known in both."""
    import cv2

    rows, cols = window.shape
    metres = pixel_size(window)
    centres = np.stack(np.meshgrid(np.arange(cols) + 0.5, np.arange(rows) + 0.5), -1).reshape(-1, 2)
    ground = transformed(window.affine, centres)
    moved = transform(ground)
    margin = math.ceil(float(np.abs(moved - ground).max()) / metres) + 4
    wide = window.pad(margin)
    one, other = (raster.warp(image, wide) for image in images)
    # OpenCV counts from the centre of the first pixel
    at = (transformed(~wide.affine, moved) - 0.5).reshape(rows, cols, 2).astype(np.float32)
    corrected = cv2.remap(other.pixels, at, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    known = cv2.remap(other.valid.astype(np.uint8), at, None, cv2.INTER_NEAREST) > 0  # type: ignore[call-overload]
    inner = np.s_[margin : margin + rows, margin : margin + cols]
    both = one.valid[inner] & other.valid[inner] & known
    if both.mean() < CLOSE_UP_LEAST_CLEAR:
        return None
    pixels = {"left": one.pixels[inner], "right": other.pixels[inner], "corrected": corrected}
    grey = {name: _stretched(values, both) for name, values in pixels.items()}
    overlaid = {side: np.dstack([grey[side], grey[side], grey["left"]]) for side in ("right", "corrected")}
    east, north = (round(float(v), 1) for v in ground.mean(0))
    return CloseUp(
        centre=(east, north),
        side=(cols, rows),
        metres=metres,
        alike=(_alike(pixels["left"], pixels["right"], both), _alike(pixels["left"], pixels["corrected"], both)),
        left=_uri(grey["left"]),
        right=_uri(grey["right"]),
        corrected=_uri(grey["corrected"]),
        before=_uri(overlaid["right"]),
        after=_uri(overlaid["corrected"]),
    )


def _stretched(pixels: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.uint8]:
    low, high = np.percentile(pixels[known], CLOSE_UP_STRETCH)
    scaled = (pixels - low) / max(float(high - low), 1e-6)
    return np.where(known, 255 * scaled.clip(0, 1), 0).astype(np.uint8)


def _alike(one: NDArray[np.float32], other: NDArray[np.float32], known: NDArray[np.bool_]) -> float | None:
    """Correlate the gradients' magnitudes (Pearson), since fields change and edges stay; ``None`` where flat."""
    edges = [np.hypot(*np.gradient(pixels.astype(np.float64)))[known] for pixels in (one, other)]
    return round(float(np.corrcoef(*edges)[0, 1]), 3) if all(e.std() for e in edges) else None


def _uri(picture: NDArray[np.uint8]) -> str:
    """Write a picture as a WebP data URI."""
    import cv2

    _, data = cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, WEBP_QUALITY])
    return "data:image/webp;base64," + b64encode(data.tobytes()).decode()
