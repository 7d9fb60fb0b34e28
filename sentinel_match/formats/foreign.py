"""Columns of other programs that mean what ours do by other names: the tie points of AROSICS, ends told as shifts."""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from sentinel_match.formats.table import COLUMNS, NO_DATA

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sentinel_match.formats.table import Column, Table

log = logging.getLogger(__name__)

AROSICS = {"x": ("X_MAP", "X_SHIFT_M"), "y": ("Y_MAP", "Y_SHIFT_M")}
"""Of each axis: where a point was looked for in both images, and by how much the right one must be moved there
(Scheffler et al. 2017: a point's shift corrects the target image). Ours says where it lies: the other way."""
AROSICS_OUTLIER = "OUTLIER"
LONGITUDE, LATITUDE = r"lon(?:g(?:itude)?)?|lng", r"lat(?:itude)?"
AXIS_WORDS = {"x": rf"x|{LONGITUDE}", "y": rf"y|{LATITUDE}"}
"""What programs call the axes of an end, before or behind its side: ``left_lon``, ``lat_right``, ``xLeft``."""
WGS84 = "EPSG:4326"
"""Of degrees, where nothing else says it."""
UNIT = re.compile(r"\s*(\[[^]]*\]|\([^)]*\))\s*$")
"""Behind a name: ``left_x [m]``."""


def recognised(table: Table) -> Table:
    """Give columns that other programs write by their own names the names of ours, where ours are not there.

    Raises:
        BadPoints: a value of them is no number, or no row holds a measurement.
    """
    table = _named_by_axes(_plainly_named(table))
    known = {name.upper(): name for name in table.columns}
    shifts = [known.get(shift) for _, shift in AROSICS.values()]
    if not table.has("right_x") and not table.has("right_y") and all(shifts):
        return _of_arosics(table, known)
    if table.has("left_x") and not table.has("right_x") and table.has("dx_m") and table.has("dy_m"):
        right: dict[str, Column] = {
            f"right_{axis}": table.numbers(f"left_{axis}") + table.numbers(f"d{axis}_m") for axis in "xy"
        }
        return replace(table, columns={**table.columns, **right})
    return table


def _plainly_named(table: Table) -> Table:
    """Give columns in capitals, or with a unit behind their names, the names of ours; of several nobody knows which."""
    theirs: dict[str, list[str]] = {}
    for name in table.columns:
        theirs.setdefault(UNIT.sub("", name).strip().lower(), []).append(name)
    ours = {name: table.columns[theirs[name][0]] for name in COLUMNS if len(theirs.get(name, ())) == 1}
    return replace(table, columns={**table.columns, **ours})


def is_of(name: str, side: str, words: str) -> bool:
    """Tell whether a column is called by a side and one of some words: ``left_lon``, ``LatLeft``.

    Args:
        name: of the column.
        side: ``left`` or ``right``, or a pattern.
        words: pattern of what stands beside it.
    """
    bare = UNIT.sub("", name).strip()
    return re.fullmatch(rf"(?i)(?:{side})[\s_.-]*(?:{words})|(?:{words})[\s_.-]*(?:{side})", bare) is not None


def longitude_first(table: Table, columns: Mapping[str, str]) -> dict[str, str]:
    """Swap columns that were given in the order of EPSG:4326 where their names say so: x is longitude here."""
    given = dict(columns)
    for x, y in (("left_x", "left_y"), ("right_x", "right_y")):
        one, other = given.get(x, ""), given.get(y, "")
        if _names(one, LATITUDE) and _names(other, LONGITUDE):
            log.warning("%s: x is longitude, so %s is %s and %s is %s", table.path.name, x, other, y, one)
            given |= {x: other, y: one}
    return given


def _names(column: str, words: str) -> bool:
    """Tell whether a word stands alone in the name of a column: ``Lat_ref``, ``lat1``."""
    return re.search(rf"(?i)(?<![a-z])(?:{words})(?![a-z])", column) is not None


def tells_degrees(table: Table) -> bool:
    """Tell whether the names of the columns say which are longitudes and which latitudes."""
    words = f"{LONGITUDE}|{LATITUDE}"
    return any(is_of(name, "left|right", words) for name in table.columns)


def _named_by_axes(table: Table) -> Table:
    """Give ends that are told as longitude and latitude, or with the axis before the side, the names of ours."""
    columns: dict[str, Column] = {}
    for side in ("left", "right"):
        for axis, words in AXIS_WORDS.items():
            theirs = [name for name in table.columns if is_of(name, side, words)]
            if f"{side}_{axis}" not in table.columns and len(theirs) == 1:
                columns[f"{side}_{axis}"] = table.columns[theirs[0]]
    table = replace(table, columns={**table.columns, **columns})
    return replace(table, crs=WGS84) if columns and tells_degrees(table) and not table.crs else table


def _of_arosics(table: Table, known: dict[str, str]) -> Table:
    for _, shift in AROSICS.values():
        for number in NO_DATA:
            table = table.without(
                table.equals(known[shift], number),
                f"have {number:g} for {known[shift]}: AROSICS measured nothing there,",
            )
    columns: dict[str, Column] = dict(table.columns)
    for k, (axis, (place, shift)) in enumerate(AROSICS.items()):
        if not table.has(f"left_{axis}") and place in known:
            columns[f"left_{axis}"] = table.numbers(known[place])
        elif not table.has(f"left_{axis}") and table.places is not None:
            columns[f"left_{axis}"] = table.places[:, k]
        table = replace(table, columns=columns)
        columns[f"right_{axis}"] = table.numbers(f"left_{axis}") - table.numbers(known[shift])
    outlier = known.get(AROSICS_OUTLIER)
    if outlier and "inlier" not in columns:
        columns["inlier"] = ~table.truths(outlier, missing=False)
    return replace(table, columns=columns)
