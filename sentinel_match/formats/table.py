"""The table of points: columns of a file by name, whose values are checked here and nowhere else."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sentinel_match.errors import BadPoints
from sentinel_match.formats.header import FileHeader
from sentinel_match.schema import COORDINATE, LENGTH, SHARE, Within, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Column = Sequence[Any] | NDArray[Any]

log = logging.getLogger(__name__)

ENDS = ("left_x", "left_y", "right_x", "right_y")
_SAID = ("inlier", "reason", "sigma_m", "score", "quality", "support_m", "view", "method", "left_class", "right_class")
COLUMNS = (*ENDS, *_SAID)
"""What is read of points, and can be mapped."""
BOUNDS: Mapping[str, Within] = {
    **dict.fromkeys((*ENDS, *(f"{side}_{axis}" for side in ("left", "right") for axis in ("col", "row"))), COORDINATE),
    "sigma_m": LENGTH,
    "sigma_major_m": LENGTH,
    "sigma_minor_m": LENGTH,
    "sigma_azimuth_deg": COORDINATE,
    "quality": SHARE,
    "support_m": LENGTH,
}
"""Of the columns that have any besides being finite: a score of another program may count as it likes."""
TRUE, FALSE = {"1", "true", "t", "yes"}, {"0", "false", "f", "no"}
NO_DATA = (-9999.0, -99999.0, -32768.0, -3.4028234663852886e38, -1.7976931348623157e308)
"""Numbers that stand for no measurement in tables of others."""
NAMED_ROWS = 10
"""Rows that a message lists by name, at most."""
NO_HEADER = FileHeader()
"""Of a file of another program."""


@dataclass(frozen=True, eq=False)
class Table:
    """Points of a file, N rows."""

    path: Path
    columns: Mapping[str, Column]
    """(N,) each: lists or arrays."""
    names: Sequence[str]
    """(N,) what each row is called in an error: ``row 17``, as a spreadsheet counts, the header being the first."""
    places: NDArray[np.float64] | None = None
    """(N, 2) of the geometry, where there is one."""
    places_crs: str = ""
    """Of the geometry."""
    crs: str = ""
    """Of the metres in the rows, where the file says it."""
    header: FileHeader = field(default=NO_HEADER)
    """What the file says of all its points, when it is one of ours."""

    def __len__(self) -> int:
        return len(self.names)

    def has(self, name: str) -> bool:
        """Tell whether any row has such a value."""
        return any(not _empty(value) for value in self.columns.get(name, ()))

    def holds(self, name: str) -> bool:
        """Tell whether there is such a column, with or without a value."""
        return name in self.columns

    def require(self, *names: str) -> None:
        """Check that there are such columns.

        Raises:
            BadPoints: there are not; which, and which there are.
        """
        if len(self) and (lacking := [name for name in names if name not in self.columns]):
            s, present = "s" * (len(lacking) > 1), ", ".join(map(str, self.columns)) or "none"
            remedy = f"say which are meant with `fit --columns {lacking[0]}=…` (columns= in Python)"
            raise BadPoints(self.path, f"it has no column{s} {', '.join(lacking)}, only {present}: {remedy}")

    def without(self, mask: NDArray[np.bool_], why: str) -> Table:
        """Leave rows out, and say which.

        Args:
            mask: (N,) rows to leave out.
            why: ``have no geometry``.

        Raises:
            BadPoints: no row is left.
        """
        if not mask.any():
            return self
        rows = np.flatnonzero(mask).tolist()
        listed = ", ".join(self.names[k] for k in rows[:NAMED_ROWS])
        more = f" and {len(rows) - NAMED_ROWS:,} more" if len(rows) > NAMED_ROWS else ""
        if mask.all():
            raise BadPoints(self.path, f"all its {len(self):,} rows {why.rstrip(',')}")
        log.warning(
            "%s: %d of %d rows %s and are left out: %s%s", self.path.name, len(rows), len(self), why, listed, more
        )
        own = np.flatnonzero(~mask)
        return replace(
            self,
            columns={name: _taken(values, own) for name, values in self.columns.items()},
            names=_taken(self.names, own),
            places=None if self.places is None else self.places[own],
        )

    def measured(self) -> Table:
        """Leave out the rows in whose ends a number stands for no measurement.

        Raises:
            BadPoints: no row is left, or a value is no number.
        """
        table = self
        for name in ENDS:
            if table.has(name) and (present := set(NO_DATA).intersection(table._floats(name).tolist())):
                for number in sorted(present):
                    table = table.without(
                        table.equals(name, number), f"have {number:g} for {name}, which stands for no measurement,"
                    )
        return table

    def equals(self, name: str, number: float) -> NDArray[np.bool_]:
        """Tell (N,) whether a column holds a number.

        Raises:
            BadPoints: a value is no number; of which row.
        """
        return np.asarray(self._floats(name) == number)

    def numbers(self, name: str, missing: float | None = None) -> NDArray[np.float64]:
        """Read (N,) a column of numbers, within what such a column may hold.

        Args:
            name: of the column.
            missing: stands for what is not there; an error when ``None``.

        Raises:
            BadPoints: a value is no number, or is missing, or beyond its bounds; of which row.
        """
        if missing is None:
            self.require(name)
        numbers = self._floats(name)
        if missing is not None:
            numbers = np.where(np.isnan(numbers) | np.isin(numbers, NO_DATA), missing, numbers)
        if len(gaps := np.flatnonzero(np.isinf(numbers) if missing is not None else ~np.isfinite(numbers))):
            value = self._value(name, int(gaps[0]))
            reason = f"it has no {name}" if _empty(value) else f"{name} is {shown(value)}, not a number"
            raise BadPoints(self.path, reason, self.names[gaps[0]])
        bounds = BOUNDS.get(name)
        if bounds is not None and len(out := np.flatnonzero((numbers < bounds.low) | (numbers > bounds.high))):
            reason = f"{name} is {shown(self._value(name, int(out[0])))}, and must be {bounds}"
            raise BadPoints(self.path, reason, self.names[out[0]])
        return numbers

    def _value(self, name: str, row: int) -> Any:
        """Return a value as the file has it."""
        value = self.columns[name][row] if name in self.columns else None
        return value.item() if isinstance(value, np.generic) else value

    def _floats(self, name: str) -> NDArray[np.float64]:
        """Read (N,) numbers; NaN where there is none.

        Raises:
            BadPoints: a value is no number; of which row.
        """
        values = self.columns.get(name)
        if values is None:
            return np.full(len(self), np.nan)
        if isinstance(values, np.ndarray) and values.dtype.kind in "fiu":
            return values.astype(float)
        try:
            kinds = set(map(type, values))
            if kinds <= {float, int, str, type(None)}:
                return np.array([np.nan if v is None or v == "" else v for v in values], float)
        except (ValueError, OverflowError):
            pass
        return np.array([self._float(name, k) for k in range(len(self))], float)

    def _float(self, name: str, row: int) -> float:
        value = self._value(name, row)
        if _empty(value):
            return float("nan")
        try:
            if isinstance(value, (bool, bytes)):
                raise TypeError(value)
            return float(value)
        except (TypeError, ValueError, OverflowError):
            raise BadPoints(self.path, f"{name} is {shown(value)}, not a number", self.names[row]) from None

    def words(self, name: str, missing: str = "") -> NDArray[np.str_]:
        """Read (N,) a column of words.

        Raises:
            BadPoints: a value is a list or an object; of which row.
        """
        values = self.columns.get(name)
        if values is None:
            return np.full(len(self), missing, "U64")
        for k, value in enumerate(values):
            if isinstance(value, (list, dict, tuple, np.ndarray)):
                raise BadPoints(self.path, f"{name} is {shown(value)}, and must be a word", self.names[k])
        return np.array([missing if _empty(value) else str(value) for value in values], "U64")

    def truths(self, name: str, *, missing: bool = True) -> NDArray[np.bool_]:
        """Read (N,) a column of yes and no; ``missing`` where nothing is said.

        Raises:
            BadPoints: a value is neither.
        """
        values = self.columns.get(name)
        if values is None:
            return np.full(len(self), missing)
        said = []
        for k, value in enumerate(values):
            plain = isinstance(value, (str, bool, int, float, np.generic))
            word = (
                str(missing).lower()
                if _empty(value)
                else str(value).strip().lower().removesuffix(".0")
                if plain
                else ""
            )
            if word not in TRUE | FALSE:
                raise BadPoints(
                    self.path, f"{name} is {shown(self._value(name, k))}, neither true nor false", self.names[k]
                )
            said.append(word in TRUE)
        return np.array(said, bool)


def _empty(value: object) -> bool:
    """Tell whether a cell is empty, or holds the null of a program that has only numbers."""
    return (
        value is None or (isinstance(value, str) and not value) or (isinstance(value, np.floating) and np.isnan(value))
    )


def _taken(values: Any, own: NDArray[np.intp]) -> Any:
    return values[own] if isinstance(values, np.ndarray) else [values[k] for k in own.tolist()]
