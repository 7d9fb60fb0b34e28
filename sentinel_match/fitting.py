"""Points from files: as they were fitted (:func:`read_ties`), or believed and proven anew (:func:`fit`).

In QGIS a point can be deleted, moved, or its ``inlier`` changed:

- deleted: it counts no more;
- moved: its left end is where it was put and its right end stays, so the shift changes; it weighs as one placed by eye;
- ``inlier`` set to false: it takes no part; set to true: it is believed whatever the model says.

What a person said is kept as the reason ``by hand`` and holds in every later fit.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sentinel_match.accuracy.again import EditedPoints, assess_again, compared_again
from sentinel_match.accuracy.assess import FEWEST_GIVEN
from sentinel_match.accuracy.evidence import Evidence
from sentinel_match.accuracy.requirement import LEAST_INLIERS
from sentinel_match.errors import BadPoints
from sentinel_match.formats import frame
from sentinel_match.formats.foreign import longitude_first, recognised
from sentinel_match.formats.header import SceneIdentity
from sentinel_match.formats.read import read_table
from sentinel_match.formats.table import COLUMNS, Table
from sentinel_match.geometry.ellipse import Ellipses
from sentinel_match.geometry.kinds import KINDS
from sentinel_match.geometry.transform import azimuth_of_track
from sentinel_match.matchers import WITNESS_DISTANCE_PX
from sentinel_match.products.files import as_path
from sentinel_match.schema import IN_METRES, ArgumentKind, check_argument, one_of
from sentinel_match.summary import Edits, Fitting
from sentinel_match.tiepoints import BY_HAND, REASONS, TiePoints

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from sentinel_match.products.scene import Scene

log = logging.getLogger(__name__)

BY_EYE = 0.5
"""Standard deviation per axis in pixels of a position set by a person, and of points whose file states none."""
WRONG_WITHIN_PX = 4.0
"""Pixels within which a wrong point of another program may lie near the model by chance."""


def read_ties(path: Path | str) -> TiePoints:
    """Read tie points as they were fitted, from a file that this package has written.

    GeoJSON and GeoPackage hold everything. The other formats hold the points but no transform: from them it is fitted
    again, as :func:`fit` does.

    Args:
        path: any file that :func:`sentinel_match.formats.write.write` makes.

    Raises:
        TypeError: it is no path.
        BadPoints: the file cannot be used, or was edited since it was fitted.
        NoMatch: the points of a file without a transform do not agree on one.

    Examples:
        >>> from sentinel_match import read_ties
        >>> ties = read_ties("ties.gpkg")
        >>> print(ties.summary.verdict)
        the images lie ... apart; ...
    """
    table = read_table(as_path(path))
    header = table.header
    if header.summary is None:
        if header.flaw:  # one of ours, whose summary somebody has damaged
            raise BadPoints(table.path, f"{header.flaw}: `sentinel-match fit` fits the points again")
        return fit(path)
    if header.left is None or header.right is None:
        raise BadPoints(table.path, "it does not name its two scenes: `sentinel-match fit` fits the points again")
    inlier = table.truths("inlier")
    if (header.summary.points, header.summary.inliers) != (len(table), int(inlier.sum())):
        raise BadPoints(
            table.path, "they were edited after the correction was fitted: run `sentinel-match fit` on them"
        )
    ends = [np.column_stack([table.numbers(f"{side}_{axis}") for axis in "xy"]) for side in ("left", "right")]
    pixels = [
        np.column_stack([table.numbers(f"{side}_{axis}", np.nan) for axis in ("col", "row")])
        for side in ("left", "right")
    ]
    return TiePoints(
        left=header.left.scene(table.path.parent),
        right=header.right.scene(table.path.parent),
        left_xy=ends[0],
        right_xy=ends[1],
        left_px=pixels[0],
        right_px=pixels[1],
        sigma_m=table.numbers("sigma_m"),
        score=table.numbers("score"),
        residual_m=table.numbers("residual_m"),
        inlier=inlier,
        method=table.words("method"),
        summary=header.summary,
        ellipse=_ellipse(table, table.numbers("sigma_m")),
        **_optional(table),
    )


def _ellipse(table: Table, sigma: NDArray[np.float64]) -> Ellipses | None:
    """Read how sure each point is by direction; ``None`` where the file does not say it.

    Args:
        table: of the file.
        sigma: (N,) standard deviation per axis, to which ellipses are brought.
    """
    if not (table.has("sigma_major_m") and table.has("sigma_minor_m")):
        return None
    numbers = [table.numbers(f"sigma_{axis}_m", np.nan) for axis in ("major", "minor")]
    known = np.isfinite(numbers).all(0)
    major, minor = (np.where(known, number, sigma) for number in numbers)
    azimuth = np.where(known, table.numbers("sigma_azimuth_deg", 0.0), 0.0)
    return Ellipses(major, minor, azimuth).brought(sigma)


def _optional(table: Table) -> dict[str, Any]:
    """Read the columns that not every file has; ``None`` where there are none."""
    words = {"left_class": "left_class", "right_class": "right_class", "feature": "view", "reason": "reason"}
    columns: dict[str, Any] = {name: table.words(own) if table.holds(own) else None for name, own in words.items()}
    numbers = ("quality", "support_m")
    return columns | {name: table.numbers(name, np.nan) if table.holds(name) else None for name in numbers}


def fit(
    path: Path | str,
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
        columns: for each of ``formats.table.COLUMNS`` that the file calls otherwise, what it calls it.
        crs: of the coordinates in the rows, where the file does not say it; degrees become metres of their UTM zone.
        gsd: metres per pixel that tolerances are counted in; the file's own, else 10.
        layer: of a file with several.
        model: a kind of ``geometry.transform.KINDS``; what the file was made with, else the simplest that predicts
            unseen ground.

    Raises:
        TypeError, ValueError: an argument is none that can be used.
        BadPoints: the file cannot be used; which row, and why.
        NoMatch: the points do not agree on a model.

    Examples:
        >>> from sentinel_match import fit
        >>> ties = fit("ties.gpkg", model="translation")
        >>> ties.transform.kind
        'translation'
    """
    path = as_path(path)
    for name, value in {"columns": columns, "crs": crs, "gsd": gsd, "layer": layer, "model": model}.items():
        check_argument(name, value, _FIT_KINDS[name])
    table = recognised(_renamed(read_table(path, layer), columns or {})).measured()
    inlier, stated = table.truths("inlier"), table.words("reason")
    reason = np.where(np.isin(stated, REASONS), stated, "")  # another program may mean anything by the word
    rejected = ~inlier & np.isin(reason, ("", BY_HAND))
    kept = inlier & (reason != "")
    given = len(table) - int(rejected.sum())
    if given < FEWEST_GIVEN and table.has("right_x"):  # a column that is not there says more
        needed = f"{FEWEST_GIVEN} are needed for a translation, 4 for a similarity, 6 for an affine"
        raise BadPoints(path, f"{given} of its points take part, and {needed}")
    header, before = table.header, table.header.summary
    scenes = [
        (identity if identity is not None and identity.id else SceneIdentity(f"{side} of {path.name}", "")).scene(
            path.parent
        )
        for side, identity in (("left", header.left), ("right", header.right))
    ]
    crs, left, right, moved = frame.metric_ends(table, crs, _centre(scenes[0]))
    if header.flaw:
        log.warning("%s: %s; its points are fitted as those of another program", path.name, header.flaw)
    if gsd is None and before is None:
        log.warning(
            "%s does not say how large a pixel is, taken as 10 m: `fit --gsd` (gsd= in Python) says it", path.name
        )
    gsd = gsd or (before.gsd_m if before else 10.0)
    method = np.where(moved, BY_HAND, table.words("method", "points"))
    feature = np.where(moved, BY_HAND, table.words("view", "points"))
    # A score of another program tells right from wrong only as far as its points agree: it is calibrated like a peak
    named = "quality" if table.has("quality") else "score"
    quality = table.numbers(named, 0.0) if table.has(named) else np.ones(len(table))
    refined = table.has(named) & (feature != method) if named == "quality" else np.full(len(table), table.has(named))
    few = given < LEAST_INLIERS
    factors: Mapping[str, float] = before.sigma_factors if before else {}
    sigma = table.numbers("sigma_m", BY_EYE * gsd) / [factors.get(name, 1.0) for name in feature]
    sigma[moved] = np.maximum(sigma[moved], BY_EYE * gsd)
    evidence = Evidence(
        left=left,
        right=right,
        sigma=sigma,
        quality=np.ones(len(table)) if few else quality,  # so few calibrate no score: they agree or not
        refined=refined & ~moved & (not few),
        feature=feature,
        witness=np.full(len(table), (WRONG_WITHIN_PX if few else WITNESS_DISTANCE_PX) * gsd),
        kept=kept,
    )
    fitting = _fitting(table, crs, left, gsd, model)
    edited = EditedPoints(path.name, before, inlier, rejected, moved, crs)
    ids = (scenes[0].id, scenes[1].id)
    assessment = assess_again(evidence, edited, fitting, gsd, ids, asked=model)
    edits = Edits(
        source=path.name,
        rejected_by_hand=int(rejected.sum()),
        kept_by_hand=int(kept.sum()),
        moved=int(moved.sum()),
        deleted=before.points - len(table) if before else None,
    )
    band = (header.left.band if header.left else "") or (before.band if before else "") or "unknown"

    def all_of(values: NDArray[Any], value: Any) -> NDArray[Any]:
        """Return what was assessed, with a value for the points that took no part."""
        whole = np.full(len(table), value, values.dtype if values.dtype.kind != "U" else "U64")
        whole[~rejected] = values
        return whole

    factors_now = np.array([assessment.sigma_factors.get(name, 1.0) for name in feature])
    sigma = np.where(rejected, sigma * factors_now, all_of(assessment.sigma, np.nan))
    ellipse = _ellipse(table, sigma)
    return TiePoints(
        left=scenes[0],
        right=scenes[1],
        left_xy=left,
        right_xy=right,
        left_px=_pixels(table, "left", left, moved),
        right_px=_pixels(table, "right", right, np.zeros(len(table), bool)),
        sigma_m=sigma,
        ellipse=None if ellipse is None else ellipse.rounded_off(moved),
        score=all_of(assessment.score, 0.0),
        residual_m=np.hypot(*(right - assessment.transform(left)).T),
        inlier=all_of(assessment.inlier, value=False),
        method=method,
        summary=assessment.summary(
            band,
            crs,
            points=len(table),
            edits=edits,
            comparison=compared_again(before, assessment, left[~rejected], crs),
        ),
        left_class=table.words("left_class") if table.has("left_class") else None,
        right_class=table.words("right_class") if table.has("right_class") else None,
        quality=quality if table.has(named) else None,
        support_m=np.where(moved, np.nan, table.numbers("support_m", np.nan)) if table.has("support_m") else None,
        feature=feature,
        reason=all_of(assessment.reason, BY_HAND),
    )


_FIT_KINDS = {
    "columns": ArgumentKind(Mapping, "a mapping, {'left_x': 'east'}: our name first, then the file's").or_none(),
    "crs": ArgumentKind(str, "the name of a CRS: 'EPSG:32633'").or_none(),
    "gsd": IN_METRES.or_none(),
    "layer": ArgumentKind(str, "the name of a layer").or_none(),
    "model": one_of(KINDS).or_none(),
}


def _centre(scene: Scene) -> tuple[float, float] | None:
    """Find longitude and latitude of the middle of a scene, where its product is there to say it."""
    if scene.footprint is None:
        return scene.position
    west, south, east, north = scene.footprint.bbox
    return (west + east + 360 * (west > east)) / 2, (south + north) / 2


def _renamed(table: Table, columns: Mapping[str, str]) -> Table:
    """Rename the columns of rows to ours."""
    for ours, theirs in columns.items():
        if ours not in COLUMNS:
            raise BadPoints(table.path, f"{ours} is no column of tie points: name one of {', '.join(COLUMNS)}")
        if theirs not in table.columns:
            present = ", ".join(sorted(table.columns)) or "none"
            raise BadPoints(table.path, f"it has no column {theirs}, only {present}")
    columns = longitude_first(table, columns)
    return replace(
        table, columns={**table.columns, **{ours: table.columns[theirs] for ours, theirs in columns.items()}}
    )


def _fitting(table: Table, crs: str, left: NDArray[np.float64], gsd: float, model: str | None) -> Fitting:
    """Fit as when the file was made; else as any two images are."""
    before = table.header.summary
    if before is not None:
        return before.fitting if model is None else replace(before.fitting, asked=model)
    _, latitude = frame.lonlat(table, crs, left.mean(0)[None])
    return Fitting("affine", model, WRONG_WITHIN_PX * gsd, azimuth_of_track(float(np.asarray(latitude).ravel()[0])))


def _pixels(table: Table, side: str, xy: NDArray[np.float64], moved: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Read (N, 2) pixels of a side; where a point was moved, as its neighbours' say; NaN where nothing does."""
    pixels = np.column_stack([table.numbers(f"{side}_{axis}", np.nan) for axis in ("col", "row")])
    known = np.isfinite(pixels).all(1) & ~moved
    if not moved.any() or known.sum() < 3:
        pixels[moved] = np.nan
        return pixels
    middle = xy[known].mean(0)
    affine, *_ = np.linalg.lstsq(np.column_stack([xy[known] - middle, np.ones(known.sum())]), pixels[known], rcond=None)
    pixels[moved] = np.column_stack([xy[moved] - middle, np.ones(moved.sum())]) @ affine
    return pixels
