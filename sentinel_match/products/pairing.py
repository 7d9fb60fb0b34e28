"""Which acquisitions to compare: every pair with its facts, every refusal with its reason, from metadata alone.

No pixel is opened here: overlap is the intersection of the valid footprints, and what is clear in both is an estimate
from the cloud cover that each product states. N scenes of T tiles are some N² / T pairs with common ground: these are
judged as arrays, a bounded number at a time, and only those that are proposed become objects.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import inf, isnan
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from sentinel_match.errors import NoGeoreference, NoOverlap
from sentinel_match.geometry.footprint import WGS84
from sentinel_match.products.candidates import candidates
from sentinel_match.products.facts import Facts
from sentinel_match.products.filters import Filters
from sentinel_match.products.judging import Drafts, Judge
from sentinel_match.products.pair import Pair, pair_feature
from sentinel_match.products.refusals import MOST_REFUSALS, Reason, Refusal, Tally, kind, why
from sentinel_match.products.scene import Scene
from sentinel_match.products.sparse import needed
from sentinel_match.schema import COUNTING, check_argument, check_given
from sentinel_match.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from sentinel_match.geometry.footprint import Footprint
    from sentinel_match.products.candidates import Candidates
    from sentinel_match.products.catalogue import Catalogue

LONGEST_LABEL = 80
"""Characters of a scene in the name of a pair's folder: two of them, and what is in it, fit into 255."""

OBJECTED, ALONE, TWINS, SURPLUS, TOUCHING = range(5)
"""The order in which refusals are listed."""


@dataclass(frozen=True, repr=False)
class Pairing:
    """What ``pair_scenes`` proposes and refuses."""

    pairs: tuple[Pair, ...]
    """Best first."""
    refused: tuple[Refusal, ...]
    """Every other pair with common ground, and every scene without a partner; pairs that do not meet are not listed. Of
    more than ``most_refusals`` a few examples of each reason."""
    refused_counts: Mapping[str, int] = field(default_factory=dict)
    """How many are refused for each reason, whether they are listed or not."""

    def __repr__(self) -> str:
        """Count in one line, and name the best pair, or say why the first was refused."""
        best = f"the best {self.pairs[0].id}" if self.pairs else ""
        why = f"the first: {self.refused[0].reason}" if self.refused and not self.pairs else ""
        said = f" ({best or why})" if best or why else ""
        return f"<Pairing: {counted(len(self.pairs), 'pair')}, {sum(self.refused_counts.values())} refused{said}>"


def pair_scenes(
    scenes: Iterable[Scene] | Catalogue, filters: Filters | None = None, *, most_refusals: int | None = MOST_REFUSALS
) -> Pairing:
    """Propose the pairs to compare; opens no pixels.

    By default a sparse set: each scene with its ``filters.per_scene`` best partners, and the maximum spanning forest of
    all acceptable pairs, so that a time series stays one linked whole. Never a scene with itself, nor two products of
    one datatake (a reprocessing, another level, a complementary datastrip, the tile beside it): between them nothing
    has changed. The left scene of a pair is its better reference: refined, else with more clear ground by 1 % or
    more, else the earlier. The result does not depend on the order of ``scenes``.

    Args:
        scenes: all of them, or the catalogue that ``find_scenes`` gives.
        filters: which pairs to accept, and how many.
        most_refusals: where more are refused, only a few examples of each reason are listed; ``None`` lists all, which
            takes about N² / T of them for N scenes of T tiles. They are counted in any case.

    Examples:
        >>> from sentinel_match import find_scenes, pair_scenes
        >>> [pair.id for pair in pair_scenes(find_scenes("archive").scenes).pairs]
        ['T33UUU_20210520T000407__T33UUU_20210917T000407']
    """
    check_given(filters=(filters, Filters))
    check_argument("most_refusals", most_refusals, COUNTING.or_none())
    filters = filters or Filters()
    given: Any = scenes
    listed: list[Scene] = list(getattr(given, "scenes", given))  # a catalogue stands for its scenes
    if not all(isinstance(scene, Scene) for scene in listed):
        raise TypeError("pair_scenes takes scenes, or the catalogue that find_scenes gives")
    unique = {(*_when(scene), scene.path.as_posix()): scene for scene in listed}
    ordered = [unique[key] for key in sorted(unique)]
    labels = _labels(ordered)

    facts = Facts.of(ordered)
    tally = Tally(inf if most_refusals is None else most_refusals)
    selection = _selection(facts, Judge(facts, filters, labels), tally)
    overlap = lru_cache(maxsize=None)(lambda a, b: facts.footprints[a].intersection(facts.footprints[b]))

    def draft(left: int, right: int, km2: float, km: float) -> Pair:
        distance = None if isnan(km) else km
        return _draft(ordered[left], ordered[right], (labels[left], labels[right]), km2, distance)

    pairs = []
    for left, right, km2, km in zip(*(column.tolist() for column in selection.columns().values()), strict=True):
        pair = draft(left, right, km2, km)
        common = overlap(facts.footprint[left], facts.footprint[right]) if pair.distance_km is None else None
        if common or pair.distance_km is not None:
            pairs.append(_measured(pair, common))
        else:
            row = {"stage": TOUCHING, "rank": len(pairs), "left": left, "right": right, "km2": km2}
            tally.add(np.array([Reason.TOUCHING], np.uint8), row)
    refused = []
    for record in tally.kept():
        reason, left, right = Reason(record["reason"]), record["left"], record["right"]
        if right < 0:
            refused.append(Refusal(ordered[left], None, kind(reason, filters)))
            continue
        pair = draft(left, right, float(record["km2"]), float(record["km"]))
        better = draft(record["better_left"], record["better_right"], 0.0, inf) if reason == Reason.TWIN else None
        refused.append(Refusal(pair.left, pair.right, why(reason, pair, filters, better)))
    counts = {kind(reason, filters): int(n) for reason, n in zip(Reason, tally.counts, strict=True) if n}
    return Pairing(tuple(sorted(pairs, key=lambda pair: (-pair.score, pair.id))), tuple(refused), counts)


def pair_of(left: Scene, right: Scene) -> Pair:
    """Make the pair of two given scenes, in the order given and whatever speaks against it.

    Raises:
        NoGeoreference: one has neither a footprint nor a position, or only one has a footprint.
        NoOverlap: their footprints do not meet.
    """
    labels = _labels([left, right])
    if left.footprint and right.footprint:
        overlap = left.footprint.intersection(right.footprint)
        if overlap is None:
            raise NoOverlap(left.id, right.id)
        return _measured(_draft(left, right, labels, 0.0, None), overlap)
    for scene in (left, right):
        if scene.position is None:
            raise NoGeoreference(str(scene.path), scene.remedy)
    return _draft(left, right, labels, 0.0, _distance_km(left, right))


def pairs_geojson(pairing: Pairing) -> dict[str, Any]:
    """Write the pairs as an RFC 7946 FeatureCollection, best first.

    Its ``features`` are an iterator, made one at a time while they are written. The foreign member ``refused`` has the
    refusals that are listed, ``refused_counts`` the number of all, by reason.
    """
    return {
        "type": "FeatureCollection",
        "features": map(pair_feature, pairing.pairs),
        "refused": [
            {"left": r.left.id, "right": r.right.id if r.right else None, "reason": r.reason} for r in pairing.refused
        ],
        "refused_counts": dict(pairing.refused_counts),
    }


def _selection(facts: Facts, judge: Judge, tally: Tally) -> Drafts:
    """Choose the pairs to propose, best first, and count what is refused."""
    filters, scenes = judge.filters, facts.scenes
    met = np.zeros(len(scenes), bool)
    kept = [Drafts.none()]
    for pairs in candidates(facts, filters.max_distance_km):
        met[pairs.first] = met[pairs.second] = True
        left, right = judge.references(pairs)
        reasons = judge.objections(pairs, left, right)
        tally.add(reasons, _objected(len(scenes), pairs, left, right))
        drafts = judge.drafts(pairs, np.flatnonzero(reasons == Reason.NONE), left, right)
        kept.append(_one_per_acquisitions(facts, drafts, tally))
        if not filters.all_pairs:
            drafts = Drafts.together(kept)
            best = needed(drafts, len(scenes), filters.per_scene)
            kept = [drafts.of(best)]
            surplus = drafts.of(~best)
            tally.add(
                np.full(len(surplus.key), Reason.SURPLUS, np.uint8),
                {"stage": SURPLUS, "rank": surplus.key, **surplus.columns()},
            )
    alone = np.flatnonzero(~met)
    why_alone = [
        Reason.MEETS_NONE if scene.footprint else Reason.NONE_NEAR if scene.position else Reason.NOWHERE
        for scene in (scenes[n] for n in alone.tolist())
    ]
    tally.add(np.array(why_alone, np.uint8), {"stage": ALONE, "rank": alone, "left": alone})
    drafts = Drafts.together(kept)
    return drafts.of(np.argsort(drafts.key))


def _objected(
    scenes: int, pairs: Candidates, left: NDArray[np.intp], right: NDArray[np.intp]
) -> dict[str, NDArray[Any] | int]:
    """Record pairs that are refused by themselves: those of footprints before those of positions, then by time."""
    return {
        "stage": OBJECTED,
        "rank": pairs.first + np.where(pairs.overlap < 0, scenes, 0),
        "within": pairs.second,
        "left": left,
        "right": right,
        "km2": np.append(pairs.km2, 0.0)[pairs.overlap],
        "km": pairs.km,
    }


def _one_per_acquisitions(facts: Facts, drafts: Drafts, tally: Tally) -> Drafts:
    """Keep one pair of each two acquisitions: at the higher level, else in the newer processing, else the first."""
    count = int(facts.acquisition.max(initial=0)) + 1
    if count == len(facts.scenes) or not len(drafts.key):
        return drafts
    one, other = facts.acquisition[drafts.left], facts.acquisition[drafts.right]
    group = np.minimum(one, other) * count + np.maximum(one, other)
    one, other = facts.processing[drafts.left], facts.processing[drafts.right]
    newest = np.minimum(one, other) * len(facts.scenes) + np.maximum(one, other)
    high = facts.is_l2a[drafts.left] & facts.is_l2a[drafts.right]
    order = np.lexsort((drafts.key, -newest, ~high, group))
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    sizes = np.diff(starts, append=len(order))
    best, first = np.empty_like(order), np.empty_like(drafts.key)
    best[order] = np.repeat(order[starts], sizes)
    first[order] = np.repeat(np.minimum.reduceat(drafts.key[order], starts), sizes)
    is_twin = best != np.arange(len(order))
    tally.add(
        np.where(is_twin, Reason.TWIN, Reason.NONE).astype(np.uint8),
        {
            "stage": TWINS,
            "rank": first,
            "within": drafts.key,
            "better_left": drafts.left[best],
            "better_right": drafts.right[best],
            **drafts.columns(),
        },
    )
    return drafts.of(~is_twin)


def _draft(left: Scene, right: Scene, labels: Sequence[str], km2: float, distance: float | None) -> Pair:
    """Make a pair with an estimated overlap."""
    return Pair(left, right, "__".join(labels), None, km2, *_shares(left, right, km2), distance)


def _measured(draft: Pair, overlap: Footprint | None) -> Pair:
    """Give a pair its overlap, as a polygon and its exact area; a pair of positions has none."""
    if overlap is None:
        return draft
    share, iou = _shares(draft.left, draft.right, overlap.area_km2)
    return replace(draft, overlap=overlap, overlap_km2=overlap.area_km2, share=share, iou=iou)


def _shares(left: Scene, right: Scene, km2: float) -> tuple[float, float]:
    """Compute the overlap as a share of the smaller footprint, and of the ground that either shows."""
    if left.footprint is None or right.footprint is None:
        return 0.0, 0.0
    one, other = left.footprint.area_km2, right.footprint.area_km2
    return min(1.0, km2 / min(one, other)), min(1.0, km2 / (one + other - km2))


def _labels(scenes: Sequence[Scene]) -> list[str]:
    """Make a file name for each scene: its own, with a checksum where two share it (case set aside).

    A long one is cut, and then has the checksum too: what it lost may be all that told it from others.
    """
    names = [re.sub(r"[^\w.-]+", "_", scene.name).strip("._") or "scene" for scene in scenes]
    shared = Counter(name.casefold() for name in names)
    return [
        name
        if shared[name.casefold()] == 1 and len(name) <= LONGEST_LABEL
        else f"{name[:LONGEST_LABEL]}-{crc32(f'{scene.id} {scene.path.as_posix()}'.encode()):08x}"
        for scene, name in zip(scenes, names, strict=True)
    ]


def _when(scene: Scene) -> tuple[str, str, str]:
    """Sort scenes by time, those without one last: the key."""
    return scene.sensing_time.isoformat() if scene.sensing_time else "~", scene.name, scene.id


def _distance_km(a: Scene, b: Scene) -> float:
    return float(WGS84.inv(*(a.position or (0, 0)), *(b.position or (0, 0)))[2]) / 1e3
