"""Where a picture was taken: the candidates, what was measured of the best, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sentinel_match.wording import counted

if TYPE_CHECKING:
    from sentinel_match.locating.candidate import Candidate
    from sentinel_match.locating.measure import Measured
    from sentinel_match.products.scene import Scene


@dataclass(frozen=True)
class Cost:
    """CPU seconds, of all threads."""

    describing: float
    """Scenes, those that the cache did not know."""
    searching: float
    measuring: float
    total: float


@dataclass(frozen=True, eq=False, repr=False)
class Location:
    """Where a picture was taken, or that no scene shows it."""

    picture: Scene
    candidates: tuple[Candidate, ...]
    """The best first, found or not."""
    found: bool
    """Whether the first candidate shows the picture's ground."""
    searched: int
    """Scenes that were looked at."""
    left_out: tuple[str, ...]
    """Why others were not, a sentence each."""
    measured: Measured | None
    """What tie points say of the first candidate; ``None`` where it is not found."""
    cost: Cost

    def __repr__(self) -> str:
        """Say in a line what was found."""
        return f"<Location: {self.sentence}>"

    @property
    def sentence(self) -> str:
        """Say in one sentence where the picture is."""
        if not self.searched:
            return f"there is no scene to search for {self.picture.name}"
        if not self.found:
            return f"none of {counted(self.searched, 'scene')} shows {self.picture.name}"
        best = self.candidates[0]
        return f"{best.scene.name} shows {self.picture.name}, turned by {best.angle:.1f}°, {best.pixel_m:.3g} m a pixel"

    def to_dict(self) -> dict[str, Any]:
        """Write everything but the tie points as records have it, JSON-able."""
        return {
            "picture": str(self.picture.path),
            "found": self.found,
            "verdict": self.sentence,
            "searched": self.searched,
            "left_out": list(self.left_out),
            "candidates": [candidate.to_dict() for candidate in self.candidates],
            "measured": None if self.measured is None else self.measured.to_dict(self.candidates[0].grid),
            "cpu_seconds": {name: round(value, 3) for name, value in vars(self.cost).items()},
        }
