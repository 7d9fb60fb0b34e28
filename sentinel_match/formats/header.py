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
from sentinel_match.schema import Count, Unfit, an_object, member, shown
from sentinel_match.summary import Summary

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sentinel_match.tiepoints import TiePoints


@dataclass(frozen=True)
class SceneIdentity:
    """What names one side of a pair."""

    id: str
    path: str
    """Where its product was, absolute; older files say it from the folder that one stood in. Empty where that is not
    known."""
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
            path="" if scene.path == Path() else str(scene.path.absolute()),
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
    def from_dict(record: Mapping[str, Any], where: str) -> SceneIdentity:
        """Read back what ``to_dict`` has made; ``where`` it stands is for the error.

        Raises:
            Unfit: a member is none of its kind; which, and what it is.
        """
        words = {
            name: member(record, name, str | None, where) or "" if name in record else ""
            for name in ("id", "path", "tile", "level", "baseline", "band")
        }
        time = member(record, "sensing_time", str | None, where) if "sensing_time" in record else None
        orbit = member(record, "relative_orbit", Count | None, where) if "relative_orbit" in record else None
        try:
            return SceneIdentity(
                **words, sensing_time=datetime.fromisoformat(time) if time else None, relative_orbit=orbit
            )
        except ValueError:
            raise Unfit(f"{where}.sensing_time is {shown(time)}, and must be a time of ISO 8601") from None

    def scene(self, folder: Path | None = None) -> Scene:
        """Read the product if it is where it was; else make a scene of what is known of it.

        Args:
            folder: of the file that names it: from there, and from the folders around it, a path may be meant that is
                not absolute, or of a product that was moved together with the file.
        """
        path = Path(self.path or self.id)
        is_named = bool(self.path) and path.name not in {"", ".."}  # "." from each folder above would be the whole disk
        for place in self._places(folder) if is_named else ():
            try:
                scene = read_scene(place) if place.parent.exists() else None
            except (SentinelMatchError, OSError):
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

    def _places(self, folder: Path | None) -> Iterator[Path]:
        """List where the product may lie, the likeliest first."""
        path = Path(self.path)
        yield path
        if folder is None:
            return
        around = folder.absolute()
        if not path.is_absolute():
            yield from (parent / path for parent in (around, *around.parents))
        yield around / path.name


@dataclass(frozen=True)
class FileHeader:
    """What a file says of all its points; parts are ``None`` where it does not."""

    crs: str = ""
    """Of the metres in the rows."""
    left: SceneIdentity | None = None
    right: SceneIdentity | None = None
    summary: Summary | None = None
    flaw: str = ""
    """Why the file's own summary cannot be used; empty where it never had one."""

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
        summary, left, right = None, None, None
        flaw = "it has no summary" if any(record.get(name) for name in ("left", "right", "summary")) else ""
        try:
            left, right = (
                SceneIdentity.from_dict(an_object(record[side], side), side) if record.get(side) else None
                for side in ("left", "right")
            )
            if record.get("summary"):
                summary, flaw = Summary.from_dict(an_object(record["summary"], "summary")), ""
        except Unfit as error:
            flaw = f"its {error}"
        crs = record.get("projected_crs")
        return FileHeader(crs if isinstance(crs, str) else "", left, right, summary, flaw)
