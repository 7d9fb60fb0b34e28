"""Points that a person has looked at, or that another program has found: believed anew, proven anew.

In QGIS a point can be deleted, moved, or its ``inlier`` changed:

- deleted: it counts no more;
- moved: its left end is where it was put and its right end stays, so the shift changes; it weighs as one placed by eye;
- ``inlier`` set to false: it takes no part; set to true: it is believed whatever the model says.

What a person said is kept as the reason ``by hand`` and holds in every later fit.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sentinel_match.accuracy import assess, requirement
from sentinel_match.errors import BadPoints, SentinelMatchError
from sentinel_match.formats.read import Table, read_table
from sentinel_match.geometry.grids import in_metres
from sentinel_match.geometry.transform import Transform, azimuth_of_track
from sentinel_match.matchers import WITNESS
from sentinel_match.products.scene import Scene
from sentinel_match.tiepoints import BY_HAND, REASONS, TiePoints

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

log = logging.getLogger(__name__)

MOVED = 0.05
"""Metres between the geometry of a point and its ``left_x``, ``left_y`` from which it was moved: seven decimals of a
degree, as some programs write them, are a centimetre."""
BY_EYE = 0.5
"""Standard deviation per axis in pixels of a position set by a person, and of points whose file states none."""
REACH = 4.0
"""Pixels within which a wrong point of another program may lie near the model by chance."""
ENDS = ("left_x", "left_y", "right_x", "right_y")
NAMES = (*ENDS, "inlier", "reason", "sigma_m", "score", "quality", "view", "method", "left_class", "right_class")
"""Columns that can be mapped."""


def fit(
    path: Path,
    *,
    columns: Mapping[str, str] | None = None,
    crs: str | None = None,
    gsd: float | None = None,
    layer: str | None = None,
    model: str | None = None,
) -> TiePoints:
    """Read points, fit a model as the pipeline does, and judge every point by it.

    Args:
        path: a file of ours, or of another program.
        columns: for each of ``NAMES`` that the file calls otherwise, what it calls it.
        crs: of the coordinates in the rows, where the file does not say it; degrees become metres of their UTM zone.
        gsd: metres per pixel that tolerances are counted in; the file's own, else 10.
        layer: of a file with several.
        model: a kind of ``warp.KINDS``; what the file was made with, else the simplest that predicts unseen ground.

    Raises:
        BadPoints: the file cannot be used; which row, and why.
        NoMatch: the points do not agree on a model.
    """
    table = _renamed(read_table(path, layer), columns or {})
    crs = _crs(table, crs)
    left, right, moved = _ends(table, crs)
    crs, left, right = _metric(crs, left, right)
    _beside(table, left, right)
    facts = table.facts
    before: Mapping[str, Any] = facts.get("summary") or {}
    if gsd is None and "gsd_m" not in before:
        log.warning("%s does not say how large a pixel is: taken as 10 m; --gsd says otherwise", path.name)
    gsd = gsd or float(before.get("gsd_m", 10.0))
    inlier, reason = table.truths("inlier"), table.words("reason")
    reason = np.where(np.isin(reason, REASONS), reason, "")  # another program may mean anything by the word
    out = ~inlier & np.isin(reason, ("", BY_HAND))
    kept = inlier & (reason != "")
    method = np.where(moved, BY_HAND, table.words("method", "points"))
    view = np.where(moved, BY_HAND, table.words("view", "points"))
    # A score of another program tells right from wrong only as far as its points agree: it is calibrated like a peak
    named = "quality" if table.has("quality") else "score"
    quality = table.numbers(named, 0.0) if table.has(named) else np.ones(len(table))
    refined = table.has(named) & (view != method) if named == "quality" else np.full(len(table), table.has(named))
    factors: Mapping[str, float] = before.get("sigma_factors") or {}
    sigma = table.numbers("sigma_m", BY_EYE * gsd) / [factors.get(name, 1.0) for name in view]
    sigma[moved] = np.maximum(sigma[moved], BY_EYE * gsd)
    evidence = assess.Evidence(
        left=left,
        right=right,
        sigma=sigma,
        quality=np.where(refined | table.has(named), quality, 1.0),
        refined=refined & ~moved,
        view=view,
        witness=np.full(len(table), WITNESS * gsd),
        kept=kept,
    )
    scenes = [_scene(facts.get(side) or {}, f"{side} of {path.name}") for side in ("left", "right")]
    said = assess.judged(evidence.of(~out), _fitting(before, crs, left, gsd, model), gsd, (scenes[0].id, scenes[1].id))
    band = str((facts.get("left") or {}).get("band") or before.get("band") or "unknown")
    counts = {"rejected_by_hand": int(out.sum()), "kept_by_hand": int(kept.sum()), "moved": int(moved.sum())}
    if "points" in before:
        counts["deleted"] = int(before["points"]) - len(table)
    summary = {**said.summary, "points": len(table), "band": band, "crs": crs, "edited": {"from": path.name, **counts}}
    summary["verdict"] = requirement.verdict(summary)
    rest = right - Transform.from_plain(summary["model"])(left)

    def all_of(judged: NDArray[Any], value: Any) -> NDArray[Any]:
        """What is judged, with a value for the points that took no part."""
        whole = np.full(len(table), value, judged.dtype if judged.dtype.kind != "U" else "U64")
        whole[~out] = judged
        return whole

    ties = TiePoints(
        left=scenes[0],
        right=scenes[1],
        band=band,
        crs=crs,
        gsd=gsd,
        left_xy=left,
        right_xy=right,
        left_px=_pixels(table, "left", left, moved),
        right_px=_pixels(table, "right", right, np.zeros(len(table), bool)),
        sigma_m=all_of(said.sigma, np.nan),
        score=all_of(said.score, 0.0),
        residual_m=np.hypot(*rest.T),
        inlier=all_of(said.inlier, value=False),
        method=method,
        left_class=table.words("left_class") if table.has("left_class") else None,
        right_class=table.words("right_class") if table.has("right_class") else None,
        quality=quality if table.has(named) else None,
        view=view,
        reason=all_of(said.reason, BY_HAND),
        summary=summary,
    )
    scale: Mapping[str, float] = said.summary["sigma_factors"]
    ties.sigma_m[out] = (sigma * [scale.get(name, 1.0) for name in view])[out]
    return ties


def _renamed(table: Table, columns: Mapping[str, str]) -> Table:
    """Rows by the names of ours."""
    present = {name for row in table.rows for name in row}
    for ours, theirs in columns.items():
        if ours not in NAMES:
            raise BadPoints(table.path, f"{ours} is no column of tie points: name one of {', '.join(NAMES)}")
        if theirs not in present:
            raise BadPoints(table.path, f"it has no column {theirs}, only {', '.join(sorted(present)) or 'none'}")
    if not columns:
        return table
    rows = [{**row, **{ours: row.get(theirs) for ours, theirs in columns.items()}} for row in table.rows]
    return replace(table, rows=rows)


def _crs(table: Table, given: str | None) -> str:
    """CRS of the coordinates in the rows."""
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    named = given or table.crs or (table.places_crs if not table.has("left_x") else "")
    if not named and table.places_crs and CRS.from_user_input(table.places_crs).is_projected:
        named = table.places_crs
    if not named:
        raise BadPoints(table.path, "nothing says in which CRS its coordinates are: give it with --crs EPSG:…")
    try:
        known = CRS.from_user_input(named)
    except CRSError:
        raise BadPoints(table.path, f"{named!r} is no CRS") from None
    number = known.to_epsg()
    return f"EPSG:{number}" if number else str(named)


def _ends(table: Table, crs: str) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """(N, 2) left, (N, 2) right, and (N,) which were moved."""
    from pyproj import Transformer

    right = np.column_stack([table.numbers("right_x"), table.numbers("right_y")])
    unmoved = np.zeros(len(table), bool)
    if table.places is None:
        return np.column_stack([table.numbers("left_x"), table.numbers("left_y")]), right, unmoved
    place = Transformer.from_crs(table.places_crs, crs, always_xy=True)
    there = np.column_stack(place.transform(*table.places.T))
    if not table.has("left_x"):
        return there, right, unmoved
    left = np.column_stack([table.numbers("left_x"), table.numbers("left_y")])
    moved = np.hypot(*(there - left).T) > MOVED
    return np.where(moved[:, None], there, left), right, moved


def _beside(table: Table, left: NDArray[np.float64], right: NDArray[np.float64]) -> None:
    """Refuse ends that cannot be in one frame: pixels beside metres, or metres of two zones."""
    spread = np.ptp(left, axis=0).max(), np.ptp(right, axis=0).max()
    apart = float(np.hypot(*np.median(right - left, axis=0)))
    if apart > max(spread) or not 0.5 <= (spread[1] + 1) / (spread[0] + 1) <= 2:
        raise BadPoints(
            table.path,
            f"its left ends spread over {spread[0]:,.0f} m and its right ends over {spread[1]:,.0f} m, {apart:,.0f} m "
            f"from them: they are not in one CRS (pixels of an image are none)",
        )


def _metric(
    crs: str, left: NDArray[np.float64], right: NDArray[np.float64]
) -> tuple[str, NDArray[np.float64], NDArray[np.float64]]:
    """Degrees, feet and metres of a Mercator map to metres of the UTM zone in their middle."""
    from pyproj import Transformer

    if in_metres(crs):
        return crs, left, right
    degrees = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    lon, lat = (float(np.median(v)) for v in degrees.transform(*left.T))
    zone = f"EPSG:{(32600 if lat >= 0 else 32700) + int((lon + 180) // 6) % 60 + 1}"
    metres = Transformer.from_crs(crs, zone, always_xy=True)
    return zone, np.column_stack(metres.transform(*left.T)), np.column_stack(metres.transform(*right.T))


def _fitting(
    before: Mapping[str, Any], crs: str, left: NDArray[np.float64], gsd: float, model: str | None
) -> assess.Fitting:
    """How the file was fitted when it was made; else as any two images are."""
    from pyproj import Transformer

    if "fitting" in before:
        made = assess.Fitting(**before["fitting"])
        return made if model is None else replace(made, asked=model)
    to_lonlat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    _, latitude = to_lonlat.transform(*left.mean(0))
    return assess.Fitting("affine", model, REACH * gsd, azimuth_of_track(latitude))


def _scene(said: Mapping[str, Any], name: str) -> Scene:
    """The product a file names, if it is where it was; else what the file says of it."""
    from datetime import datetime

    from sentinel_match.products.catalogue import read_scene

    path = Path(said.get("path") or name)
    if said.get("path") and path.exists():
        try:
            scene = read_scene(path)
        except SentinelMatchError:
            scene = None
        if scene is not None and scene.id == said.get("id"):
            return scene
    time = said.get("sensing_time")
    return Scene(
        id=str(said.get("id") or name),
        path=path,
        level=said.get("level") or "",
        footprint=None,
        footprint_source="none",
        tile=said.get("tile") or "",
        baseline=said.get("baseline") or "",
        relative_orbit=said.get("relative_orbit"),
        sensing_time=datetime.fromisoformat(time) if time else None,
    )


def _pixels(table: Table, side: str, xy: NDArray[np.float64], moved: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(N, 2) pixels as the file has them; where a point was moved, as its neighbours' say; NaN where nothing does."""
    pixels = np.column_stack([table.numbers(f"{side}_{axis}", np.nan) for axis in ("col", "row")])
    known = np.isfinite(pixels).all(1) & ~moved
    if not moved.any() or known.sum() < 3:
        pixels[moved] = np.nan
        return pixels
    middle = xy[known].mean(0)
    affine, *_ = np.linalg.lstsq(np.column_stack([xy[known] - middle, np.ones(known.sum())]), pixels[known], rcond=None)
    pixels[moved] = np.column_stack([xy[moved] - middle, np.ones(moved.sum())]) @ affine
    return pixels
