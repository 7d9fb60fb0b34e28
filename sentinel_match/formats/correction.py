"""What a file of tie points says about a pair: whose it is, and the correction that was fitted."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sentinel_match.errors import BadPoints
from sentinel_match.formats.read import Table, read_table

if TYPE_CHECKING:
    from sentinel_match.geometry.transform import Transform


@dataclass(frozen=True, eq=False)
class Ties:
    """What a file of tie points says about a pair."""

    path: Path
    left: str
    """Name of the left product."""
    right: str
    left_path: Path
    right_path: Path
    crs: str
    """Of the correction's metres."""
    warp: Transform
    """Left metres to right metres."""
    sha256: str

    def there(self) -> tuple[Path, Path]:
        """The products, where they were when they were matched.

        Raises:
            BadPoints: one is no longer there.
        """
        for path in (self.left_path, self.right_path):
            if not path.exists():
                raise BadPoints(self.path, f"{path} is not there any more: name LEFT and RIGHT before TIES")
        return self.left_path, self.right_path


def _as_fitted(table: Table) -> None:
    """Refuse points that were edited since: their correction is still that of before."""
    summary = table.header.summary
    now = (len(table), int(table.truths("inlier").sum()))
    if summary is not None and (summary.points, summary.inliers) != now:
        raise BadPoints(
            table.path, "they were edited after the correction was fitted: run `sentinel-match fit` on them"
        )


def read_ties(path: Path) -> Ties:
    """The fitted correction, and whose it is, from what ``match``, ``run`` or ``fit`` has written.

    Raises:
        BadPoints: the file is none of these, or holds no correction.
    """
    table = read_table(path)
    header = table.header
    _as_fitted(table)
    if header.summary is None or header.left is None or header.right is None:
        raise BadPoints(path, f"{header.flaw or 'it does not name its scenes'}; `sentinel-match match` writes it")
    return Ties(
        path=path,
        left=header.left.id,
        right=header.right.id,
        left_path=Path(header.left.path),
        right_path=Path(header.right.path),
        crs=header.crs,
        warp=header.summary.transform,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )
