"""Two dates as one change-ready stack: every band on one grid, the right image corrected by what the tie points say.

    common grid ─▶ render ×2 ─▶ valid ─▶ normalise ─▶ COG, STAC, layout ─▶ proof on the output

The grid is the left scene's lattice over the ground both show. Each right pixel is interpolated once, from the
product's own pixels; left pixels on that lattice are copied.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from sentinel_match import __version__
from sentinel_match.accuracy.residual import residual
from sentinel_match.atomic import whole_folder
from sentinel_match.errors import BadPoints, MissingBand, NoGeoreference, NoOverlap, NotComparable
from sentinel_match.formats.correction import Ties
from sentinel_match.formats.geojson import dumps, identity
from sentinel_match.geometry.grids import crs_name, ground_resolution, metric, transformed
from sentinel_match.matching.inputs import BANDS as PROVEN
from sentinel_match.products.scene import Asset
from sentinel_match.raster.bands import NOT_GROUND, source_of
from sentinel_match.raster.jp2 import read_rasterio
from sentinel_match.raster.load import MASK_METRES, load
from sentinel_match.raster.masks import Masking, Reason
from sentinel_match.stack import layouts, radiometry, render
from sentinel_match.stack.render import Date
from sentinel_match.stack.stac import BANDS, write_stac
from sentinel_match.stack.warp import corrected, move_by

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from sentinel_match.cache import Cache
    from sentinel_match.geometry.transform import Transform
    from sentinel_match.products.scene import Scene
    from sentinel_match.raster.bands import Computed, Source
    from sentinel_match.raster.jp2 import Window
    from sentinel_match.raster.resample import Pixels

RECORD = "prepare.json"
Tell = Callable[[str, int, int], None]
"""Called with (what is being done, how many are done, of how many)."""


@dataclass(frozen=True)
class Preparation:
    """Everything about a stack that a user may choose."""

    bands: tuple[str, ...] = ()
    """As :func:`sentinel_match.raster.bands.source_of` takes them; all spectral bands that both have when empty."""
    resolution: float | None = None
    """Metres per pixel; that of the finest band when not given."""
    normalise: str = "none"
    """One of ``radiometry.METHODS``."""
    layout: str = "stack"
    """One of ``layouts.LAYOUTS``, besides the stack itself."""
    chip_size: int = 256
    """Pixels."""
    masking: Masking = field(default_factory=lambda: Masking(keep=frozenset({Reason.SNOW, Reason.WATER})))
    """Water and snow stay valid: they are no worse ground to see changes on."""


def prepare(
    left: Scene,
    right: Scene,
    warp: Transform | Ties,
    output: Path,
    wanted: Preparation | None = None,
    cache: Cache | None = None,
    tell: Tell = lambda _what, _done, _of: None,
) -> dict[str, Any]:
    """Make the change-ready stack of a pair.

    Args:
        left: the reference, whose lattice is taken.
        right: the image that is corrected.
        warp: left metres to right metres in the left scene's projected CRS; or the tie points it was fitted to.
        output: folder to make: ``left.tif``, ``right.tif``, ``valid.tif``, STAC, ``prepare.json``, and the layout. One
            that this has made before is replaced when the new one is whole.
        wanted: what a user may choose.
        cache: keeps what the masks say.
        tell: hears of progress.

    Returns:
        What ``prepare.json`` says: inputs, grid, bands, radiometry, and the residual shift before and after.

    Raises:
        BadPoints: they are those of other scenes.
        MissingBand: one scene lacks a band.
        NoGeoreference: one of them has no position.
        NoOverlap: the grids do not meet, or have no data where they do.
        NotComparable: no normalisation can be found.
        DamagedImage, BadMask: pixels cannot be decoded, the user's mask cannot be used.
        OutputError: the disk is full, or the folder is somebody else's. Nothing half written stays.
    """
    wanted, began = wanted or Preparation(), time.perf_counter()
    ties = warp if isinstance(warp, Ties) else None
    names = _bands(left, right, wanted.bands)
    sources = [_sources(scene, names, wanted.resolution) for scene in (left, right)]
    finest = min(sources[0], key=lambda source: ground_resolution(source.grid))
    lattice = metric(finest.target(wanted.resolution))
    model = warp.warp if isinstance(warp, Ties) else warp
    if ties is not None:
        _belongs(ties, left, right, crs_name(lattice.crs))
    try:
        target = common_grid(lattice, [source.grid for source in sources[1]], model)
    except ValueError as error:
        raise NoOverlap(left.id, right.id) from error
    with whole_folder(output, RECORD, 12 * len(names) * target.shape.x * target.shape.y) as folder:
        dates = []
        for k, scene in enumerate((left, right)):
            tell("masks", k, 2)
            metres = max(MASK_METRES, abs(target.affine.a), ground_resolution(sources[k][0].grid))
            seen = load(scene, names[0], resolution=metres, masking=wanted.masking, cache=cache)
            dates.append(Date(scene, sources[k], model if k else None, seen.reasons, seen.raster.geobox))
        facts = _make(folder, dates, target, names, wanted, ties, tell)
        facts |= {"masking": wanted.masking.recipe, "seconds": round(time.perf_counter() - began, 1)}
        (folder / RECORD).write_text(dumps(facts) + "\n", encoding="utf-8", newline="\n")
    return facts


def common_grid(lattice: GeoBox, others: list[GeoBox], warp: Transform) -> GeoBox:
    """The part of the left lattice that the right image reaches after the correction.

    Args:
        lattice: of the left image.
        others: grids of the right image's bands.
        warp: left metres to right metres in the lattice's CRS.

    Raises:
        ValueError: it reaches none.
    """
    low, high = np.zeros(2), np.array([lattice.shape.x, lattice.shape.y], float)
    for grid in others:
        rows, cols = grid.shape
        t = np.linspace(0, 1, 65)
        ends = np.zeros_like(t), np.ones_like(t)
        rim = np.concatenate([np.column_stack(p) for e in ends for p in ((t, e), (e, t))]) * (cols, rows)
        there = move_by(None, grid.crs, lattice.crs)(transformed(grid.affine, rim))
        here = transformed(~lattice.affine, warp.back(there))
        low, high = np.maximum(low, here.min(0)), np.minimum(high, here.max(0))
    start, stop = np.floor(low + 1e-3).astype(int), np.ceil(high - 1e-3).astype(int)
    if (stop <= start).any():
        raise ValueError("the grids do not meet")
    return lattice[start[1] : stop[1], start[0] : stop[0]]


def _make(
    folder: Path,
    dates: list[Date],
    target: GeoBox,
    names: tuple[str, ...],
    wanted: Preparation,
    ties: Ties | None,
    tell: Tell,
) -> dict[str, Any]:
    left, right = dates
    scratch = {name: folder / f"{name}.scratch.tif" for name in ("left", "right", "valid")}
    codes = [
        render.render(date, target, scratch[side], lambda k, side=side: tell(f"render {side}", k, len(names)))  # type: ignore[misc]
        for side, date in zip(("left", "right"), dates, strict=True)
    ]
    if not ((codes[0] != Reason.NODATA) & (codes[1] != Reason.NODATA)).any():
        raise NoOverlap(left.scene.id, right.scene.id)
    clear = (codes[0] == Reason.VALID) & (codes[1] == Reason.VALID)
    render.write_valid(scratch["valid"], codes[0], codes[1], target)
    tell("normalise", 0, 1)
    by = _normalisation(wanted.normalise, dates, [scratch["left"], scratch["right"]], clear)
    if by is not None:
        render.normalise(scratch["right"], by, target)
    unit = "reflectance" if all(d.scene.level and not NOT_GROUND & {*names} for d in dates) else ""
    for k, name in enumerate(scratch):
        tell("write", k, 3)
        tags = _tags(dates[k].scene if k < 2 else None, names, wanted, ties, corrected=name == "right")
        bands = names if k < 2 else ("valid", f"reason: {render.RIGHT} * right + left")
        render.finish(scratch[name], folder / f"{name}.tif", bands, unit if k < 2 else "", tags)
    removed = {
        side: {r.name.lower(): round(float((c == r).mean()), 6) for r in Reason if (c == r).any()}
        for side, c in zip(("left", "right"), codes, strict=True)
    }
    del codes
    tell("prove", 0, 1)
    facts: dict[str, Any] = {
        "generator": f"sentinel-match {__version__}",
        "left": identity(left.scene, ",".join(names)),
        "right": identity(right.scene, ",".join(names)),
        "ties": {"path": str(ties.path), "sha256": ties.sha256} if ties else None,
        "model": right.warp.plain() if right.warp else None,
        "bands": list(names),
        "pixels": {"type": "float32", "nodata": "NaN", "unit": unit or None, "scale": 1, "offset": 0},
        "crs": crs_name(target.crs),
        "transform": list(target.affine)[:6],
        "shape": [target.shape.y, target.shape.x],
        "valid_share": round(float(clear.mean()), 6),
        "reasons": {"codes": {r.name.lower(): int(r) for r in Reason}, "shares": removed},
        "normalisation": by.plain(names) if by else {"method": "none"},
        "residual": _proof(folder, dates[1], target, clear, names),
    }
    times = left.scene.sensing_time, right.scene.sensing_time
    if all(times):
        scenes = {"left": left.scene, "right": right.scene}
        facts["stac"] = list(write_stac(folder, scenes, target, names, unit, {"sentinel_match:model": _kind(right)}))
    else:
        facts["stac"] = None  # an item needs a time, and an image without metadata has none
    facts["layout"] = {"name": wanted.layout, **_layout(folder, dates, names, wanted, tell)}
    return facts


def _layout(folder: Path, dates: list[Date], names: tuple[str, ...], wanted: Preparation, tell: Tell) -> dict[str, Any]:
    tell("layout", 0, 1)
    times = dates[0].scene.sensing_time, dates[1].scene.sensing_time
    order = layouts.in_order(*times)
    said = {"first": order[0], "second": order[1]}
    if wanted.layout == "pair":
        return said | layouts.write_pair(folder, order, names)
    if wanted.layout == "chips":
        return said | layouts.write_chips(folder, order, wanted.chip_size)
    if wanted.layout == "oscd":
        days = sorted(f"{t:%Y%m%d}" if t else "unknown" for t in times)
        return said | layouts.write_oscd(folder, order, names, (days[0], days[1]), dates[0].scene.name)
    return {}


def _bands(left: Scene, right: Scene, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """What was asked for, or all bands that both have and that show the ground, in the order of wavelengths."""
    if wanted:
        return tuple(dict.fromkeys(wanted))
    both = {b.name for b in left.bands} & {b.name for b in right.bands}
    spectral = [name for name in BANDS if name in both]
    names = spectral or [b.name for b in left.bands if b.name in both - NOT_GROUND]
    if not names:
        raise MissingBand(right.id, "that the left image has", tuple(dict.fromkeys(b.name for b in right.bands)))
    return tuple(dict.fromkeys(names))


def _sources(scene: Scene, names: tuple[str, ...], resolution: float | None) -> tuple[Source | Computed, ...]:
    sources = tuple(source_of(scene, name, resolution) for name in names)
    for source in sources:
        if source.grid.crs is None:
            raise NoGeoreference(str(scene.path))
    return sources


def _belongs(ties: Ties, left: Scene, right: Scene, crs: str) -> None:
    if (ties.left, ties.right) == (right.id, left.id):
        raise BadPoints(ties.path, f"its left scene is {ties.left} and its right one {ties.right}: swap LEFT and RIGHT")
    if (ties.left, ties.right) != (left.id, right.id):
        raise BadPoints(ties.path, f"they are those of {ties.left} and {ties.right}, not of {left.id} and {right.id}")
    if ties.crs != crs:
        raise BadPoints(ties.path, f"they are in {ties.crs}, and {left.id} is in {crs}")


def _normalisation(
    method: str, dates: list[Date], paths: list[Path], clear: NDArray[np.bool_]
) -> radiometry.Normalisation | None:
    if method == "none":
        return None
    samples = [render.sample(path, clear) for path in paths]
    try:
        return (radiometry.invariant if method == "irmad" else radiometry.alike)(*samples)
    except radiometry.NotNormalised as error:
        raise NotComparable(dates[0].scene.id, dates[1].scene.id, str(error)) from error


def _proof(
    folder: Path, right: Date, target: GeoBox, clear: NDArray[np.bool_], names: tuple[str, ...]
) -> dict[str, Any]:
    """Residual shift, before (by georeference alone) and after (as written), of the first fine band that tells it."""
    metres = [ground_resolution(source.grid) for source in right.sources]
    order = sorted(range(len(names)), key=lambda k: PROVEN.index(names[k]) if names[k] in PROVEN else len(PROVEN))
    said: dict[str, Any] = {}
    for k in [k for k in order if metres[k] < 1.01 * min(metres)]:
        source = right.sources[k]

        def written(side: str, index: int = k + 1) -> Callable[[Window], Pixels]:
            return lambda window: read_rasterio(Asset(folder / f"{side}.tif"), window, index=index)

        def before(window: Window, source: Source | Computed = source) -> Pixels:
            move = move_by(None, target.crs, source.grid.crs)
            return next(corrected(source.read, source.grid, target[window.roi], move))[1]

        measured = residual(written("left"), {"before": before, "after": written("right")}, clear)
        said = {"band": names[k], **measured}
        if "after" in said:
            break
    return said


def _kind(date: Date) -> str:
    return date.warp.kind if date.warp else "none"


def _tags(
    scene: Scene | None, names: tuple[str, ...], wanted: Preparation, ties: Ties | None, *, corrected: bool
) -> dict[str, str]:
    tags = {"GENERATOR": f"sentinel-match {__version__}", "TIE_POINTS": str(ties.path) if ties else "a model"}
    if scene is None:
        return tags | {"REASONS": ", ".join(f"{int(r)} {r.name.lower()}" for r in Reason)}
    when = scene.sensing_time.isoformat() if scene.sensing_time else ""
    tags |= {"SCENE": scene.id, "DATE": when, "LEVEL": scene.level, "BANDS": ",".join(names), "SCALE": "1"}
    if corrected:
        tags |= {"REGISTERED": "right to left, cubic, once", "NORMALISED": wanted.normalise}
    return tags
