"""Columns of other programs that mean what ours do by other names: the tie points of AROSICS, ends told as shifts."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from sentinel_match.formats.table import COLUMNS, NO_DATA

if TYPE_CHECKING:
    from sentinel_match.formats.table import Column, Table

AROSICS = {"x": ("X_MAP", "X_SHIFT_M"), "y": ("Y_MAP", "Y_SHIFT_M")}
"""Of each axis: where a point was looked for in both images, and by how much the right one must be moved there
(Scheffler et al. 2017: a point's shift corrects the target image). Ours says where it lies: the other way."""
AROSICS_OUTLIER = "OUTLIER"
UNIT = re.compile(r"\s*(\[[^]]*\]|\([^)]*\))\s*$")
"""Behind a name: ``left_x [m]``."""


def recognised(table: Table) -> Table:
    """Give columns that other programs write by their own names the names of ours, where ours are not there.

    Raises:
        BadPoints: a value of them is no number, or no row holds a measurement.
    """
    table = _plainly_named(table)
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
