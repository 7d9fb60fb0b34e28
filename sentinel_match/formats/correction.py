"""What a file of tie points says about a pair: whose it is, and the correction that was fitted."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from sentinel_match.errors import BadPoints
from sentinel_match.formats.read import Table, read_table
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
    said = table.facts.get("summary") or {}
    now = {"points": len(table), "inliers": int(table.truths("inlier").sum())}
    if any(said.get(name, count) != count for name, count in now.items()):
        raise BadPoints(
            table.path, "they were edited after the correction was fitted: run `sentinel-match fit` on them"
        )


def read_ties(path: Path) -> Ties:
    """The fitted correction, and whose it is, from what ``match``, ``run`` or ``fit`` has written.

    Raises:
        BadPoints: the file is none of these, or holds no correction.
    """
    table = read_table(path)
    facts = table.facts
    _as_fitted(table)
    try:
        sides = {side: facts[side] for side in ("left", "right")}
        return Ties(
            path=path,
            left=str(sides["left"]["id"]),
            right=str(sides["right"]["id"]),
            left_path=Path(sides["left"]["path"]),
            right_path=Path(sides["right"]["path"]),
            crs=str(facts["projected_crs"]),
            warp=Transform.from_plain(facts["summary"]["model"]),
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadPoints(path, f"it lacks {error}, which `sentinel-match match` writes") from error
