"""From two images to correspondences that are believed: one method, or the cascade ``auto``.

The cascade starts with what is cheap and precise. ``phase`` looks at every cell under the geographic prior; where it
finds little, ``evergreen`` looks too, and each point keeps the surer of the two. A method that shares nothing with
them, ``sift``, looks at the clearest cells under the same prior, and must find the same model. Where it does not,
``aliked+lightglue`` is asked: it decides where the others contradict each other. Two methods with two answers and no
third is no match, never a guess. Where nothing is found under the prior, or none is wanted, both images are searched
whole and at every rotation (``unposed``); what that finds is checked by ``phase`` window by window.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sentinel_match import matchers
from sentinel_match.geometry import robust
from sentinel_match.geometry.grids import origin_of, pixel_size, to_metres
from sentinel_match.matchers import WITNESS as SHARED
from sentinel_match.matchers.phase import REACH, Phase
from sentinel_match.matchers.prior import GeometricPrior
from sentinel_match.matching import cells
from sentinel_match.matching.cell_matching import PRECISE, CellMatching
from sentinel_match.matching.correspondences import CASCADE, Correspondences, MatchInput, Method, made
from sentinel_match.matching.unguided import Search, relate
from sentinel_match.matching.view import View

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from sentinel_match.cache import Cache
    from sentinel_match.matchers import Matcher
    from sentinel_match.raster.raster import Raster

log = logging.getLogger(__name__)

FIRST, WITNESS, HELPER, LAST = CASCADE
NEAREST = 8.0
"""Least radius of a prior in pixels: below it nothing could be told from chance."""
OVERVIEW = 1024
"""Pixels of the longer side at which a prior is narrowed."""
WITNESSED = 2
"""Cells, the clearest ones, that the witness looks at."""
THIN = 0.5
"""A cell with agreeing points on less than this share of the grid of ``phase`` counts as thin."""
NOWHERE = np.empty((0, 2))
LONE = 1e-9
"""Largest chance (as ``ACCEPTED_CHANCE``) of a model that no other method confirms."""


def correspond(
    left: MatchInput,
    right: MatchInput,
    method: Method | None = None,
    cache: Cache | None = None,
    tell: Callable[[str, int, int], None] = lambda _what, _done, _of: None,
) -> Correspondences:
    """Correspondences between two images on one lattice, and the model they agree on.

    Args:
        left: the reference.
        right: the other image: same CRS, same pixels, a whole number of them apart; its extent may differ.
        method: how to look.
        cache: where descriptions of cells are kept for other pairs.
        tell: hears of progress.

    Returns:
        Everything delivered; where nothing is believed ``model`` is ``None`` and ``why`` says the reason.
    """
    method = method or Method()
    a, b = left.first, right.first
    aside = np.eye(3)
    aside[:2, 2] = np.subtract(origin_of(a.geobox), origin_of(b.geobox))[::-1]
    radius = max(method.reach / pixel_size(a.geobox), NEAREST) if method.guided else np.inf
    prior = GeometricPrior(aside, radius, left.context, right.context)
    if method.guided:
        prior = _narrowed(left, right, prior, method.device)
    pair = CellMatching(left, right, method, cache, tell, prior, cells.choose(a, b, method.cells))
    cascade = [m for m in (made(name, method.device) for name in (WITNESS, LAST)) if m]
    if method.everywhere or not (method.guided or method.matcher):
        return _searched(pair, [method.matcher] if method.matcher else cascade)
    if method.matcher is not None:
        return pair.judged(pair.look(method.matcher, pair.cells))
    found = _cascade(pair)
    if found.model is not None:
        return found
    searched = _searched(pair, cascade[:1])
    if searched.model is None:
        return found
    log.warning("the georeference is off, beyond what was searched within %g m: %s", method.reach, searched.why)
    return searched


def _narrowed(left: MatchInput, right: MatchInput, prior: GeometricPrior, device: str) -> GeometricPrior:
    """The prior, corrected by a look at both whole images at low resolution where it could be far off."""
    if prior.radius <= REACH:
        return prior
    a, b = ({"pixels": side.first.pixels, "valid": side.first.valid} for side in (left, right))
    longest = max(*left.first.valid.shape, *right.first.valid.shape)
    least = 2 ** int(np.ceil(np.log2(max(1, longest / OVERVIEW))))
    return Phase(spacing=16, device=device).narrowed(a, b, prior, max(least, 2))


def _cascade(pair: CellMatching) -> Correspondences:
    """``auto``: see the module."""
    phase = Phase(device=pair.method.device)
    dense = pair.judged(pair.look(phase, pair.cells))
    thin = [cell for cell in pair.cells if _thin(cell, dense, pair.left.first, phase.spacing)]
    helper = made(HELPER, pair.method.device)
    if thin and helper is not None:
        dense = pair.judged(_surer(dense, pair.look(helper, thin)))
    opinions = [dense, pair.judged(pair.look(matchers.create(WITNESS), pair.cells[:WITNESSED]))]
    last = made(LAST, pair.method.device)
    if last is not None and not (dense.model is not None and pair.confirms(dense.model, opinions[1])):
        asked = pair.cells if dense.model is None else pair.cells[: max(WITNESSED, len(pair.cells) // 2)]
        opinions.append(pair.judged(pair.look(last, asked)))
    return _united(pair, opinions)


def _surer(one: Correspondences, other: Correspondences) -> Correspondences:
    """Both, but where both answer for one point of the grid, the surer answer alone."""
    both = _together(one, [one, other])
    order = np.argsort(-both.score, kind="stable")
    _, first = np.unique(both.left[order], axis=0, return_index=True)
    return _only(both, np.sort(order[first]))


def _together(base: Correspondences, parts: Sequence[Correspondences]) -> Correspondences:
    """All correspondences of some, none believed; everything else as ``base`` has it."""
    return replace(
        base,
        left=np.concatenate([p.left for p in parts]),
        right=np.concatenate([p.right for p in parts]),
        score=np.concatenate([p.score for p in parts]),
        method=np.concatenate([p.method for p in parts]),
        believed=np.zeros(sum(len(p) for p in parts), bool),
        witness=np.concatenate([_witness(p) for p in parts]),
    )


def _witness(found: Correspondences) -> NDArray[np.float64]:
    return np.full(len(found), SHARED) if found.witness is None else found.witness


def _searched(pair: CellMatching, methods: Sequence[Matcher]) -> Correspondences:
    """Both images whole, at every rotation, by the first of some methods that finds anything."""
    a, b = pair.left.first, pair.right.first
    here, there = (View.of(image.pixels, np.asarray(image.valid)) for image in (a, b))
    kind, found = pair.method.model or "similarity", pair.nothing("no method could be asked")
    for matcher in methods:
        name = matcher.name
        pair.tell(f"search ({name})", 0, 1)
        search = Search(
            matcher, OVERVIEW, model=kind, windows=pair.method.cells, seed=pair.method.seed, device=pair.method.device
        )
        relation = relate(here, there, search)
        left, right = (k[relation.pairs[:, side]] for side, k in enumerate(relation.keypoints))
        method = np.full(len(left), name, "U64")
        found = Correspondences(
            left, right, relation.score, method, relation.keypoints, relation.inlier, None, f"{name}: {relation.why}"
        )
        if relation.model is not None:
            p, q = to_metres(a.geobox, left[relation.inlier]), to_metres(b.geobox, right[relation.inlier])
            said = f"{name} without a prior, turned by {relation.angle:.1f} degrees, confirmed by {FIRST}"
            return replace(found, model=robust.fit(kind, p, q), why=said)
    return found


def _united(pair: CellMatching, opinions: list[Correspondences]) -> Correspondences:
    """All that was found, under the one model that most independent methods support."""
    opinions = [o for o in opinions if len(o)]
    if not opinions:
        return pair.nothing("no method found a correspondence")
    # Dense methods correlate alike: together they are one voice
    names = [" and ".join(sorted(set(o.method.tolist()), key=CASCADE.index)) for o in opinions]
    supporters = [
        [k for k, o in enumerate(opinions) if o is one or pair.confirms(one.model, o)] if one.model else []
        for one in opinions
    ]
    everything = replace(
        _together(pair.nothing(""), opinions),
        seen=(
            np.concatenate([o.seen[0] for o in opinions]),
            np.concatenate([o.seen[1] for o in opinions if all(len(other.seen[1]) for other in opinions)] or [NOWHERE]),
        ),
        radius=min(o.radius for o in opinions),
    )
    most = max(len(s) for s in supporters)
    if most == 0:
        said = "; ".join(f"{name}: {o.why}" for name, o in zip(names, opinions, strict=True))
        return replace(everything, why=said)
    best = next(k for k, s in enumerate(supporters) if len(s) == most)
    if most == 1 and opinions[best].chance > LONE:
        return replace(everything, why=f"{names[best]} alone found a shift, and nothing confirms it")
    against = [names[k] for k, o in enumerate(opinions) if o.model and k not in supporters[best]]
    if against and most == 1:
        said = " and ".join([names[best], *against])
        return replace(everything, why=f"{said} find different shifts, and nothing decides between them")
    chosen = np.repeat([k in supporters[best] for k in range(len(opinions))], [len(o) for o in opinions])
    judged = pair.judged(_only(everything, chosen), PRECISE)
    believed = np.zeros(len(everything), bool)
    believed[chosen] = judged.believed
    backers = " and ".join(names[k] for k in supporters[best] if k != best)
    why = judged.why or (f"{names[best]}, confirmed by {backers}" if backers else f"{names[best]} alone")
    return replace(everything, believed=believed, model=judged.model, why=why)


def _only(found: Correspondences, chosen: NDArray[Any]) -> Correspondences:
    names = ("left", "right", "score", "method", "believed")
    witness = None if found.witness is None else found.witness[chosen]
    return replace(found, witness=witness, **{name: getattr(found, name)[chosen] for name in names})


def _thin(cell: cells.Cell, found: Correspondences, image: Raster, spacing: int) -> bool:
    """Whether believed points lie on a small part of a cell only."""
    row, col, height, width = cell.window(image.geobox)
    clear = np.asarray(image.valid[row : row + height : spacing, col : col + width : spacing]).sum()
    return bool(cell.holds(found.left[found.believed], image.geobox).sum() < THIN * clear)
