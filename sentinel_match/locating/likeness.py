"""Do two pictures show the same place: a probability, and whatever scores a matcher gives, for a pair or all pairs."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from sentinel_match import schema
from sentinel_match.errors import SentinelMatchError
from sentinel_match.images.matcher import ImageMatcher
from sentinel_match.images.source import view_of
from sentinel_match.locating.candidate import probability
from sentinel_match.locating.overview import view_on_squares
from sentinel_match.matching.inputs import silent
from sentinel_match.matching.orientation import Described, describe
from sentinel_match.matching.sweep import Sighting, sweep
from sentinel_match.parallel import in_threads
from sentinel_match.products.catalogue import as_paths, as_scene, find_scenes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from sentinel_match.matching.inputs import Progress
    from sentinel_match.matching.view import View
    from sentinel_match.products.scene import Scene

T = TypeVar("T")
log = logging.getLogger(__name__)

EVEN = 0.5
"""Probability that two pictures show the same place, where nothing is known of them."""
SURPRISE = "surprise"
"""Name of the search's own score: how many tenfolds unrelated ground is rarer than one such answer a sweep."""
LARGEST_SURPRISE = 300.0
"""Beyond it nothing is told apart."""


@dataclass(frozen=True, eq=False)
class Likeness:
    """What speaks for two pictures showing the same place."""

    left: str
    right: str
    probability: float
    """That they do; not a number where a matcher was asked instead of the search."""
    found: bool
    """Whether it is accepted that they do."""
    angle: float | None
    """Degrees by which the right picture is turned clockwise against the left one; ``None`` where that is not known."""
    scale: float | None
    """Pixels of the right picture per pixel of the left one, likewise."""
    scores: Mapping[str, float]
    """By name; more is likelier."""
    places: tuple[str, str] = ("", "")
    """Names of the folders that say where both are; empty where nothing does."""
    confidences: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """(N,) of the single matches, where a matcher was asked."""

    @property
    def labelled(self) -> bool:
        """Tell whether it is known if they show the same place."""
        return all(self.places)

    @property
    def is_same(self) -> bool:
        """Tell whether the folders say that they do."""
        return self.places[0] == self.places[1]

    def to_dict(self) -> dict[str, Any]:
        """Write it as records have it, JSON-able."""
        return {
            "left": self.left,
            "right": self.right,
            "probability": self.probability,
            "same": self.found,
            "angle_deg": self.angle,
            "scale": self.scale,
            "scores": dict(self.scores),
            "places": list(self.places) if self.labelled else None,
        }


def same(a: Scene | Path | str, b: Scene | Path | str, *, prior: float = EVEN) -> Likeness:
    """Tell how probable it is that two pictures show the same place, whatever their rotation, scale and season.

    Args:
        a: any raster or product.
        b: another one.
        prior: probability before they are looked at.

    Raises:
        TypeError, ValueError: these are no pictures, or the prior is none.
        NotAProduct, DamagedImage, MissingBand: one cannot be read.

    Examples:
        >>> from sentinel_match import same
        >>> likeness = same("a.jpg", "b.jpg")
        >>> likeness.found, likeness.probability > 0.99
        (True, True)
    """
    schema.check_argument("prior", prior, schema.A_SHARE)
    scenes = as_scene(a, "a"), as_scene(b, "b")
    left, right = (describe(view_on_squares(scene, None)) for scene in scenes)
    return _likeness((scenes[0].name, scenes[1].name), ("", ""), sweep(left, right), prior)


def all_pairs(
    folder: Path | str | Iterable[Path | str],
    *,
    matcher: str | None = None,
    prior: float = EVEN,
    progress: Progress = silent,
) -> list[Likeness]:
    """Compare all pictures of a folder with one another.

    Args:
        folder: with the pictures, at any depth; folders in it are the names of places. Or several such.
        matcher: a registered name, which compares them as they lie; ``None``: the search, at any angle and scale.
        prior: probability that any two show the same place, before they are looked at.
        progress: hears of progress.

    Returns:
        A likeness for each pair, pictures in the order given; none where there are fewer than two.

    Raises:
        TypeError, ValueError: an argument is none that can be used.
        UnknownMatcher, WeightsMissing, WeightsDamaged: see :func:`sentinel_match.matchers.create`.
    """
    schema.check_argument("prior", prior, schema.A_SHARE)
    asked = None if matcher is None else ImageMatcher(matcher, rotations=(0.0,))
    roots = as_paths(folder)
    catalogue = find_scenes(roots)
    for refused in catalogue.refused:
        log.warning("left out: %s", refused.error)
    given = {root.resolve(): k for k, root in enumerate(roots)}
    scenes = sorted(catalogue.scenes, key=lambda scene: given.get(scene.path.resolve(), len(given)))
    if asked is None:  # pixels are not kept: those of a thousand tiles would fill a disk
        described = _named(scenes, roots, lambda scene: describe(view_on_squares(scene, None)))
        count, compare = len(described), _compared_by_search(described, prior)
    else:
        views = _named(scenes, roots, view_of)
        count, compare = len(views), _compared_by(asked, views)
    pairs = list(combinations(range(count), 2))
    likenesses: list[Likeness] = []
    for likeness in in_threads(lambda pair: compare(*pair), pairs):
        likenesses.append(likeness)
        progress("compare", len(likenesses), len(pairs))
    return likenesses


def _named(scenes: Iterable[Scene], roots: list[Path], read: Callable[[Scene], T]) -> list[tuple[str, str, T]]:
    """Read scenes, each with a name of its own and its place; those that cannot be read are left out and said."""
    named: dict[str, tuple[str, str, T]] = {}
    for scene in scenes:
        place = _place(scene, roots)
        name = f"{place}/{scene.name}" if place else scene.name
        name = str(scene.path) if name in named else name
        try:
            named[name] = name, place, read(scene)
        except SentinelMatchError as error:
            log.warning("left out: %s", error)
    return list(named.values())


def _place(scene: Scene, roots: list[Path]) -> str:
    """Name the place of a scene: the folder below the one that was given; empty where it lies in that itself."""
    for root in roots:
        if scene.path.is_relative_to(root) and scene.path != root:
            parts = scene.path.relative_to(root).parts
            return parts[0] if len(parts) > 1 else ""
    return ""


def _likeness(names: tuple[str, str], places: tuple[str, str], sighting: Sighting, prior: float) -> Likeness:
    """Say what a sweep shows of a pair."""
    scores = {
        SURPRISE: float(np.clip(-sighting.nfa, -LARGEST_SURPRISE, LARGEST_SURPRISE)),
        "score": float(sighting.z),
        "support": float(sighting.support),
        "distinctness": float(sighting.z - sighting.runner_up),
    }
    angle, scale = (round(sighting.angle, 2), float(f"{sighting.scale:.4g}")) if sighting.found else (None, None)
    sure = probability(sighting.nfa, prior)
    return Likeness(names[0], names[1], sure, sighting.found, angle, scale, scores, places)


def _compared_by_search(named: list[tuple[str, str, Described]], prior: float) -> Callable[[int, int], Likeness]:
    """Make the comparison by the search."""

    def compare(i: int, j: int) -> Likeness:
        (left, place, here), (right, other, there) = named[i], named[j]
        return _likeness((left, right), (place, other), sweep(here, there), prior)

    return compare


def _compared_by(matcher: ImageMatcher, named: list[tuple[str, str, View]]) -> Callable[[int, int], Likeness]:
    """Make the comparison by a matcher, whose scores are counts and means."""
    from sentinel_match.matching.unguided import relate

    def compare(i: int, j: int) -> Likeness:
        (left, place, here), (right, other, there) = named[i], named[j]
        found = relate(here, there, matcher.search)
        count, agreeing = len(found.score), int(found.inlier.sum())
        scores = {
            "matches": float(count),
            "verified": float(agreeing),
            "agreement": agreeing / max(count, 1),
            "confidence": float(found.score.mean()) if count else 0.0,
        }
        angle = None if found.angle is None else round(found.angle, 2)
        is_found, unknown, confidences = found.model is not None, float("nan"), np.sort(found.score)
        return Likeness(left, right, unknown, is_found, angle, None, scores, (place, other), confidences)

    return compare
