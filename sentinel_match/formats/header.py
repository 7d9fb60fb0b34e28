"""What a file says of a whole set of tie points: of which scenes they are, in which CRS, and their summary."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentinel_match import __version__
from sentinel_match.errors import SentinelMatchError
from sentinel_match.products.catalogue import read_scene
from sentinel_match.products.scene import Scene
from sentinel_match.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sentinel_match.tiepoints import TiePoints


@dataclass(frozen=True)
class SceneIdentity:
    """What names one side of a pair."""

    id: str
    path: str
    """Where its product was; empty where that is not known."""
    sensing_time: datetime | None = None
    tile: str = ""
    level: str = ""
    baseline: str = ""
    relative_orbit: int | None = None
    band: str = ""
    """What of it was compared."""

    @staticmethod
    def of(scene: Scene, band: str) -> SceneIdentity:
        """Name a scene."""
        return SceneIdentity(
            id=scene.id,
            path="" if scene.path == Path() else str(scene.path),
            sensing_time=scene.sensing_time,
            tile=scene.tile,
            level=scene.level,
            baseline=scene.baseline,
            relative_orbit=scene.relative_orbit,
            band=band,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return what files say of it; ``None`` for what is not known."""
        return {
            "id": self.id,
            "path": self.path,
            "sensing_time": self.sensing_time,
            "tile": self.tile or None,
            "level": self.level or None,
            "baseline": self.baseline or None,
            "relative_orbit": self.relative_orbit,
            "band": self.band,
        }

    @staticmethod
    def from_dict(record: Mapping[str, Any]) -> SceneIdentity:
        """Read back what ``to_dict`` has made.

        Raises:
            TypeError, ValueError, AttributeError: it is none.
        """
        time = record.get("sensing_time")
        orbit = record.get("relative_orbit")
        words = {name: str(record.get(name) or "") for name in ("id", "path", "tile", "level", "baseline", "band")}
        return SceneIdentity(
            **words,
            sensing_time=datetime.fromisoformat(time) if time else None,
            relative_orbit=None if orbit is None else int(orbit),
        )

    def scene(self) -> Scene:
        """Read the product if it is where it was; else make a scene of what is known of it."""
        path = Path(self.path or self.id)
        if self.path and path.exists():
            try:
                scene = read_scene(path)
            except SentinelMatchError:
                scene = None
            if scene is not None and scene.id == self.id:
                return scene
        return Scene(
            id=self.id,
            path=path,
            level=self.level,
            footprint=None,
            footprint_source="none",
            tile=self.tile,
            baseline=self.baseline,
            relative_orbit=self.relative_orbit,
            sensing_time=self.sensing_time,
        )


@dataclass(frozen=True)
class FileHeader:
    """What a file says of all its points; parts are ``None`` where it does not."""

    crs: str = ""
    """Of the metres in the rows."""
    left: SceneIdentity | None = None
    right: SceneIdentity | None = None
    summary: Summary | None = None
    flaw: str = ""
    """Why the file's own summary cannot be used."""

    @staticmethod
    def of(ties: TiePoints) -> FileHeader:
        """Say of a set of tie points what files say."""
        left, right = (SceneIdentity.of(scene, ties.band) for scene in (ties.left, ties.right))
        return FileHeader(ties.crs, left, right, ties.summary)

    def to_dict(self) -> dict[str, Any]:
        """Return the members that a file has, in their order."""
        return {
            "generator": f"sentinel-match {__version__}",
            "projected_crs": self.crs,
            "left": self.left.to_dict() if self.left else None,
            "right": self.right.to_dict() if self.right else None,
            "summary": self.summary.to_dict() if self.summary else None,
        }

    @staticmethod
    def from_dict(record: Mapping[str, Any]) -> FileHeader:
        """Read back what ``to_dict`` has made, as far as it is there: another program may have left parts of it."""
        summary, flaw = None, "it has no summary"
        if record.get("summary"):
            try:
                summary, flaw = Summary.from_dict(record["summary"]), ""
            except KeyError as error:
                flaw = f"its summary has no {error.args[0]}"
            except (TypeError, ValueError, AttributeError, IndexError) as error:
                flaw = f"its summary cannot be read ({error})"
        left, right = (_identity(record.get(side)) for side in ("left", "right"))
        return FileHeader(str(record.get("projected_crs") or ""), left, right, summary, flaw)


def _identity(record: Any) -> SceneIdentity | None:
    """Read one side's identity; ``None`` where it is none."""
    try:
        return SceneIdentity.from_dict(record)
    except (TypeError, ValueError, AttributeError):
        return None
