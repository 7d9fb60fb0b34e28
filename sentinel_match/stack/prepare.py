"""Two dates as one change-ready stack: every band on one grid, the right image corrected by what the tie points say.

    common grid ─▶ render ×2 ─▶ valid ─▶ normalise ─▶ COG ─▶ proof on the output, STAC, layout

The grid is the left scene's lattice over the ground both show. Each right pixel is interpolated once, from the
product's own pixels; left pixels on that lattice are copied.
"""

from __future__ import annotations

import logging
import shutil
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sentinel_match import __version__
from sentinel_match.accuracy.residual import ResidualShift, residual
from sentinel_match.atomic import whole_folder
from sentinel_match.cache import Cache
from sentinel_match.errors import NoOverlap, NotComparable
from sentinel_match.formats.fields import DISPLACEMENT, write_fields
from sentinel_match.formats.geojson import dumps
from sentinel_match.geometry.grids import ground_resolution, pixel_size
from sentinel_match.geometry.kinds import NONE
from sentinel_match.matching.inputs import PREFERRED_BANDS as PROVEN
from sentinel_match.matching.inputs import silent
from sentinel_match.raster.flags import Reason
from sentinel_match.raster.jp2 import Window
from sentinel_match.raster.load import load
from sentinel_match.raster.mask_grid import MASKING_METRES
from sentinel_match.schema import A_PATH, HEARS, ArgumentKind, check_argument, check_given
from sentinel_match.stack import layouts, radiometry, render
from sentinel_match.stack.layouts import Layout
from sentinel_match.stack.plan import Preparation, StackPlan, left_out, plan_stack
from sentinel_match.stack.prepared import PreparedStack
from sentinel_match.stack.render import StackSide
from sentinel_match.stack.stac import write_stac
from sentinel_match.stack.tiles import through_tiles
from sentinel_match.stack.warp import Places, corrected, move_by

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from sentinel_match.geometry.transform import Transform
    from sentinel_match.matching.inputs import Progress
    from sentinel_match.products.scene import Scene
    from sentinel_match.raster.bands import Computed, Source
    from sentinel_match.raster.resample import Pixels, ReadWindow
    from sentinel_match.stack.radiometry import Normalisation
    from sentinel_match.tiepoints import TiePoints

log = logging.getLogger(__name__)

STACK_RECORD = "prepare.json"
"""Says of what a stack was made, and how; it marks its folder as one of ours."""


def prepare(
    ties: TiePoints | Path | str,
    output: Path | str,
    wanted: Preparation | None = None,
    *,
    left: Scene | Path | str | None = None,
    right: Scene | Path | str | None = None,
    cache: Cache | None = None,
    progress: Progress | None = None,
) -> PreparedStack:
    """Make the change-ready stack of a pair.

    Args:
        ties: tie points, as :func:`sentinel_match.match_scenes` and :func:`sentinel_match.read_ties` give them, or
            their file.
        output: folder to make: ``left.tif``, ``right.tif``, ``valid.tif``, ``displacement.tif``, STAC,
            ``prepare.json``, and the layout. One that this has made before is replaced when the new one is whole.
        wanted: what a user may choose.
        left: the reference, whose lattice is taken: a scene, or the path of its product. Where it was when the points
            were found when not given.
        right: the image that is corrected.
        cache: keeps what the masks say.
        progress: hears of progress.

    Raises:
        TypeError: an argument is none that can be used.
        BadPoints: the file of tie points cannot be used, is that of other scenes, or its products are gone.
        ValueError: the tie points are those of other scenes, or their products are gone.
        NotAProduct, BrokenProduct: a product cannot be read.
        MissingBand: one scene lacks a band.
        NoGeoreference: one of them has no position.
        NoOverlap: the grids do not meet, or have no data where they do.
        NotComparable: no normalisation can be found.
        DamagedImage, BadMask: pixels cannot be decoded, the user's mask cannot be used.
        OutputError: the disk is full, or the folder is somebody else's. Nothing half written stays.

    Examples:
        >>> from sentinel_match import prepare
        >>> stack = prepare("ties.gpkg", "stack")
        >>> stack
        <PreparedStack stack: ...>
        >>> abs(stack.residual.after.dx_px) < abs(stack.residual.before.dx_px)
        True
    """
    began = time.perf_counter()
    check_argument("output", output, ArgumentKind(A_PATH.types, "the path of a folder", A_PATH.is_usable))
    check_given(wanted=(wanted, Preparation), cache=(cache, Cache))
    check_argument("progress", progress, HEARS.or_none())
    plan = plan_stack(ties, wanted or Preparation(), left, right)
    if plan.points.summary.doubtful:
        log.warning("the points are doubtful: %s", plan.points.summary.doubt)
    size = 12 * len(plan.bands) * plan.grid.shape.x * plan.grid.shape.y
    with whole_folder(Path(output), STACK_RECORD, size) as folder:
        stack = _make(plan, folder, Path(output), cache, progress or silent, began)
        (folder / STACK_RECORD).write_text(dumps(stack.to_dict()) + "\n", encoding="utf-8", newline="\n")
    return stack


def _make(
    plan: StackPlan, folder: Path, output: Path, cache: Cache | None, progress: Progress, began: float
) -> PreparedStack:
    """Fill a folder with all but the record, which will be ``output``."""
    images = _write_images(folder, plan, _sides(plan, cache, progress), progress)
    progress("prove", 0, 1)
    residual_band, residual_shift = _prove(folder, plan, images.clear)
    write_fields(plan.points, folder / DISPLACEMENT)
    stac: tuple[str, ...] = ()
    if plan.left.sensing_time and plan.right.sensing_time:  # an item needs a time; an image without metadata has none
        scenes = (plan.left, plan.right)
        moves = plan.points.summary.motion is not None
        stac = write_stac(folder, scenes, plan.grid, plan.bands, plan.unit, plan.transform.kind, motion=moves)
    return PreparedStack(
        folder=output,
        left=plan.left,
        right=plan.right,
        ties=plan.ties,
        verdict=plan.points.summary.verdict,
        doubts=plan.points.summary.doubts,
        transform=plan.transform,
        bands=plan.bands,
        unit=plan.unit,
        grid=plan.grid,
        valid_share=round(float(images.clear.mean()), 6),
        left_reasons=images.left_reasons,
        right_reasons=images.right_reasons,
        normalisation=images.normalisation,
        residual_band=residual_band,
        residual=residual_shift,
        stac=stac,
        layouts=_write_layouts(folder, plan, progress),
        masking=plan.wanted.masking,
        seconds=round(time.perf_counter() - began, 1),
    )


class _WrittenImages(NamedTuple):
    """What the images that were written show."""

    clear: NDArray[np.bool_]
    """(rows, cols) valid in both."""
    left_reasons: Mapping[Reason, float]
    """Shares of the grid."""
    right_reasons: Mapping[Reason, float]
    normalisation: Normalisation | None


def _sides(plan: StackPlan, cache: Cache | None, progress: Progress) -> tuple[StackSide, StackSide]:
    """Find where each image is masked."""

    def masked(scene: Scene, sources: tuple[Source | Computed, ...], transform: Transform | None) -> StackSide:
        metres = max(MASKING_METRES, pixel_size(plan.grid), ground_resolution(sources[0].grid))
        image = load(scene, plan.bands[0], resolution=metres, masking=plan.wanted.masking, cache=cache)
        return StackSide(scene, sources, transform, image.reasons, image.raster.geobox)

    progress("masks", 0, 2)
    left = masked(plan.left, plan.left_sources, None)
    progress("masks", 1, 2)
    return left, masked(plan.right, plan.right_sources, plan.transform)


def _write_images(
    folder: Path, plan: StackPlan, sides: tuple[StackSide, StackSide], progress: Progress
) -> _WrittenImages:
    """Write ``left.tif``, ``right.tif`` and ``valid.tif``."""
    scratch = {name: folder / f"{name}.scratch.tif" for name in ("left", "right", "valid")}
    codes = []
    for name, side in zip(("left", "right"), sides, strict=True):
        report = partial(progress, f"render {name}")
        codes.append(render.render(side, plan.grid, scratch[name], report))
    if not ((codes[0] != Reason.NODATA) & (codes[1] != Reason.NODATA)).any():
        raise NoOverlap(plan.left.id, plan.right.id)
    clear = (codes[0] == Reason.VALID) & (codes[1] == Reason.VALID)
    render.write_valid(scratch["valid"], codes[0], codes[1], plan.grid)
    progress("normalise", 0, 1)
    normalisation = _normalisation(plan, (scratch["left"], scratch["right"]), clear)
    if normalisation is not None:
        render.normalise(scratch["right"], normalisation, plan.grid)
    for k, name in enumerate(scratch):
        progress("write", k, 3)
        bands = plan.bands if k < 2 else ("valid", f"reason: {render.RIGHT_FACTOR} * right + left")
        render.finish(scratch[name], folder / f"{name}.tif", bands, plan.unit if k < 2 else "", _tags(plan, name))
    return _WrittenImages(clear, _shares(codes[0]), _shares(codes[1]), normalisation)


def _normalisation(plan: StackPlan, images: tuple[Path, Path], clear: NDArray[np.bool_]) -> Normalisation | None:
    """Fit what brings the right image's radiometry to the left one's, if it is wanted."""
    method = plan.wanted.normalise
    if method == "none":
        return None
    left, right = (render.sample(path, clear) for path in images)
    try:
        return radiometry.invariant(left, right) if method == "irmad" else radiometry.alike(left, right)
    except radiometry.NotNormalised as error:
        raise NotComparable(plan.left.id, plan.right.id, str(error)) from error


def _shares(codes: NDArray[np.uint8]) -> dict[Reason, float]:
    """Measure the share of each reason that there is."""
    return {r: round(float((codes == r).mean()), 6) for r in Reason if (codes == r).any()}


def _tags(plan: StackPlan, name: str) -> dict[str, str]:
    """Say in an image what it is and what was done to it."""
    tags = {
        "GENERATOR": f"sentinel-match {__version__}",
        "TIE_POINTS": str(plan.ties.path) if plan.ties else "a model",
    }
    if name == "valid":
        return tags | {"REASONS": ", ".join(f"{int(r)} {r.name.lower()}" for r in Reason)}
    scene = plan.left if name == "left" else plan.right
    when = scene.sensing_time.isoformat() if scene.sensing_time else ""
    tags |= {"SCENE": scene.id, "DATE": when, "LEVEL": scene.level, "BANDS": ",".join(plan.bands), "SCALE": "1"}
    if name == "right":
        how = "not needed" if plan.transform.kind == NONE else "right to left, cubic, once"
        tags |= {"REGISTERED": how, "NORMALISED": plan.wanted.normalise}
    return tags


def _prove(folder: Path, plan: StackPlan, clear: NDArray[np.bool_]) -> tuple[str, ResidualShift]:
    """Measure the shift before (by georeference alone) and after (as written), in the first fine band that tells it."""
    metres = [ground_resolution(source.grid) for source in plan.right_sources]
    fine = [k for k, size in enumerate(metres) if size < 1.01 * min(metres)]
    fine.sort(key=lambda k: PROVEN.index(plan.bands[k]) if plan.bands[k] in PROVEN else len(PROVEN))
    with render.windows(folder / "left.tif") as left, render.windows(folder / "right.tif") as after:
        for k in fine:
            before = _uncorrected(plan.right_sources[k], plan.grid)
            shift = residual(partial(left, k + 1), before, partial(after, k + 1), clear)
            if shift.after:
                break
    return plan.bands[k], shift


def _uncorrected(source: Source | Computed, grid: GeoBox) -> ReadWindow:
    """Read windows of a band as its georeference alone places them on a grid."""
    move = move_by(None, grid.crs, source.grid.crs)
    around = Places.of(grid, source.grid, move).window()
    # Positions of a part are met to far less than a pixel, but their whole numbers may be the next
    extent = Window(around.row - 1, around.col - 1, around.height + 2, around.width + 2)
    pixels = through_tiles(source.read, extent)

    def read(window: Window) -> Pixels:
        return next(corrected(pixels, source.grid, grid[window.roi], move))[1]

    return read


def _write_layouts(folder: Path, plan: StackPlan, progress: Progress) -> tuple[Layout, ...]:
    """Write all layouts but one that turns out to be none for such values, unless it is the only one."""
    written = []
    for name in plan.layouts:
        try:
            written.append(_write_layout(folder, plan, name, progress))
        except layouts.NotReflectance as error:
            left_out(name, plan.layouts, error)
            shutil.rmtree(folder / name)
    return tuple(written)


def _write_layout(folder: Path, plan: StackPlan, name: str, progress: Progress) -> Layout:
    progress("layout", 0, 1)
    times = plan.left.sensing_time, plan.right.sensing_time
    order = layouts.in_order(*times)
    if name == "pair":
        return Layout(name, order, layouts.write_pair(folder, order, plan.bands))
    if name == "chips":
        return Layout(name, order, layouts.write_chips(folder, order, plan.wanted.chip_size))
    if name == "oscd":
        first, second = sorted(f"{t:%Y%m%d}" if t else "unknown" for t in times)
        return Layout(name, order, layouts.write_oscd(folder, order, plan.bands, (first, second), plan.left.name))
    return Layout(name, order)
