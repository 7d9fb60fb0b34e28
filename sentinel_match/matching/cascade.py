"""From two images to correspondences and the model they agree on: one method, or the cascade ``auto``.

The cascade starts with what is cheap and precise. ``phase`` looks at every cell under the geographic prior; where it
finds little, ``evergreen`` looks too, and each point keeps the surer of the two. A method that shares nothing with
them, ``sift``, looks at the clearest cells under the same prior, and must find the same model. Where it does not,
``loftr`` is asked: it decides where the others contradict each other. Two methods with two answers and no third is no
match, never a guess. Where ``phase`` and ``evergreen`` find nothing under the prior, or none is wanted, both images are
searched whole and at every rotation (``unguided``), and what that finds is checked by ``phase`` window by window.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from sentinel_match import matchers
from sentinel_match.geometry import robust
from sentinel_match.geometry.grids import origin_of, pixel_size, to_metres
from sentinel_match.matchers.phase import Phase
from sentinel_match.matchers.prior import GeometricPrior
from sentinel_match.matching import cells
from sentinel_match.matching.attempt import AUTO, Search
from sentinel_match.matching.cell_matching import DENSE_METHODS, PRECISE_TOLERANCE, CellMatching
from sentinel_match.matching.correspondences import CASCADE, Correspondences, MatchInput, Method, available_matcher
from sentinel_match.matching.inputs import silent
from sentinel_match.matching.unguided import relate
from sentinel_match.matching.view import View, no_contrast

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from sentinel_match.cache import Cache
    from sentinel_match.geometry.transform import PlaneTransform
    from sentinel_match.matchers import Matcher
    from sentinel_match.matching.inputs import Progress
    from sentinel_match.raster.raster import Raster

log = logging.getLogger(__name__)

STARTING_MATCHER, CHECKING_MATCHER, HELPING_MATCHER, DECIDING_MATCHER = CASCADE
LEAST_PRIOR_RADIUS = 8.0
"""Least radius of a prior in pixels: below it nothing could be told from chance."""
OVERVIEW_SIDE = 1024
"""Pixels of the longer side at which a prior is narrowed."""
CHECKED_CELLS = 2
"""Cells, the clearest ones, that the checking matcher looks at."""
THIN_CELL_SHARE = 0.5
"""A cell with inliers on less than this share of the grid of ``phase`` counts as thin."""
FEW_CELLS = 0.05
"""Share of the ground in the cells that are looked at below which ``phase`` has a coarser grid, for a quarter of the
time: points that refinement does not measure again are then next to none."""
UNCONFIRMED_CHANCE = 1e-9
"""Largest chance (as ``ACCEPTED_CHANCE``) of a model that no other method confirms."""


def correspond(
    left: MatchInput,
    right: MatchInput,
    method: Method | None = None,
    cache: Cache | None = None,
    progress: Progress = silent,
) -> Correspondences:
    """Find correspondences between two images on one lattice, and the model they agree on.

    Args:
        left: the reference.
        right: the other image: same CRS, same pixels, a whole number of them apart; its extent may differ.
        method: how to look for them.
        cache: where descriptions of cells are kept for other pairs.
        progress: hears of progress.

    Returns:
        Everything delivered; where no model is supported ``model`` is ``None`` and ``why`` says the reason.
    """
    method = method or Method()
    a, b = left.first, right.first
    transform = np.eye(3)
    transform[:2, 2] = np.subtract(origin_of(a.geobox), origin_of(b.geobox))[::-1]
    radius = max(method.reach / pixel_size(a.geobox), LEAST_PRIOR_RADIUS) if method.guided else np.inf
    prior = GeometricPrior(transform, radius, left.context, right.context)
    if method.guided:
        prior = _narrow(prior, left, right, method.device)
    pair = CellMatching(left, right, method, cache, progress, prior, cells.choose_cells(a, b, method.cells))
    if flat := no_contrast(a, b):
        return pair.nothing(flat)
    searchers = [
        m for m in (available_matcher(name, method.device) for name in (DECIDING_MATCHER, CHECKING_MATCHER)) if m
    ]
    if method.everywhere or not (method.guided or method.matcher):
        return _search(pair, [method.matcher] if method.matcher else searchers)
    if method.matcher is not None:
        return pair.with_model(pair.match(method.matcher, pair.cells))
    matches = _run_cascade(pair)
    # Where dense methods alone are blind, images are turned or scaled; a search without a prior is no judge
    if np.isin(matches.method[matches.inlier], DENSE_METHODS).any() or matches.contradicted:
        return matches
    unguided = _search(pair, searchers[:1])
    contradicts = unguided.model and matches.model and not pair.confirms(unguided.model, matches)
    if unguided.model is None or contradicts or unguided.inlier.sum() < matches.inlier.sum():
        return matches
    corners = to_metres(a.geobox, View.of(a.pixels, np.asarray(a.valid)).corners)
    if np.hypot(*(unguided.model(corners) - corners).T).max() > method.reach:
        log.warning("the georeference is off, beyond what was searched within %g m: %s", method.reach, unguided.why)
    return unguided


def _narrow(prior: GeometricPrior, left: MatchInput, right: MatchInput, device: str) -> GeometricPrior:
    """Correct a prior that could be far off by a look at both whole images at low resolution."""
    if prior.radius <= Phase.farthest:
        return prior
    a, b = ({"pixels": side.first.pixels, "valid": side.first.valid} for side in (left, right))
    longest = max(*left.first.valid.shape, *right.first.valid.shape)
    least = 2 ** int(np.ceil(np.log2(max(1, longest / OVERVIEW_SIDE))))
    return Phase(spacing=16, device=device).narrowed(a, b, prior, max(least, 2))


def _run_cascade(pair: CellMatching) -> Correspondences:
    """Match as ``auto`` does: see the module."""
    few = len(pair.cells) * cells.CELL_SIDE**2 < FEW_CELLS * pair.left.first.valid.size
    phase = Phase(spacing=(1 + few) * Phase.spacing, device=pair.method.device)
    dense = pair.with_model(pair.match(phase, pair.cells))
    thin = [cell for cell in pair.cells if _is_thin(cell, dense, pair.left.first, phase.spacing)]
    helper = available_matcher(HELPING_MATCHER, pair.method.device)
    if thin and helper is not None:
        dense = pair.with_model(_keep_surer(dense, pair.match(helper, thin)))
    check = pair.with_model(pair.match(matchers.create(CHECKING_MATCHER), pair.cells[:CHECKED_CELLS]))
    opinions = [dense, check]
    decider = available_matcher(DECIDING_MATCHER, pair.method.device)
    if decider is not None and not (dense.model is not None and pair.confirms(dense.model, check)):
        part = pair.cells if dense.model is None else pair.cells[: max(CHECKED_CELLS, len(pair.cells) // 2)]
        opinions.append(pair.with_model(pair.match(decider, part)))
    return _unite(pair, opinions)


def _keep_surer(one: Correspondences, other: Correspondences) -> Correspondences:
    """Join the answers of two methods; where both answer for one point of the grid, keep the surer answer alone."""
    both = _join(one, [one, other])
    order = np.argsort(-both.score, kind="stable")
    _, first = np.unique(both.left[order], axis=0, return_index=True)
    return _select(both, np.sort(order[first]))


def _join(base: Correspondences, parts: Sequence[Correspondences]) -> Correspondences:
    """Concatenate correspondences, none of them an inlier yet; everything else as ``base`` has it."""
    return replace(
        base,
        left=np.concatenate([p.left for p in parts]),
        right=np.concatenate([p.right for p in parts]),
        score=np.concatenate([p.score for p in parts]),
        method=np.concatenate([p.method for p in parts]),
        inlier=np.zeros(sum(len(p) for p in parts), bool),
        independence=np.concatenate([np.broadcast_to(p.independence, len(p)) for p in parts]),
    )


def _select(matches: Correspondences, index: NDArray[Any]) -> Correspondences:
    """Keep some of the correspondences, by index or mask."""
    names = ("left", "right", "score", "method", "inlier")
    independence = np.broadcast_to(matches.independence, len(matches))[index]
    return replace(matches, independence=independence, **{name: getattr(matches, name)[index] for name in names})


def _is_thin(cell: cells.Cell, matches: Correspondences, image: Raster, spacing: int) -> bool:
    """Tell whether inliers lie on a small part of a cell only."""
    row, col, height, width = cell.window(image.geobox)
    clear = np.asarray(image.valid[row : row + height : spacing, col : col + width : spacing]).sum()
    return bool(cell.holds(matches.left[matches.inlier], image.geobox).sum() < THIN_CELL_SHARE * clear)


def _search(pair: CellMatching, methods: Sequence[Matcher]) -> Correspondences:
    """Search both images whole, at every rotation, by the first of some methods that finds a model."""
    a, b = pair.left.first, pair.right.first
    left_view, right_view = (View.of(image.pixels, np.asarray(image.valid)) for image in (a, b))
    options = pair.method
    matches = pair.nothing("no method could be asked")
    for matcher in methods:
        name = matcher.name
        pair.progress(f"search ({name})", 0, 1)
        kind, cells, seed = options.model or AUTO, options.cells, options.seed
        search = Search(matcher, OVERVIEW_SIDE, model=kind, windows=cells, seed=seed, device=options.device)
        relation = relate(left_view, right_view, search)
        inlier = relation.inlier
        left, right = (points[relation.pairs[:, side]] for side, points in enumerate(relation.keypoints))
        method = np.full(len(left), name, "U64")
        matches = Correspondences(
            left, right, relation.score, method, relation.keypoints, inlier, None, f"{name}: {relation.why}"
        )
        if relation.model is not None:
            model, inlier = _narrowed(pair, matches, relation.model.kind)
            turn = f"turned by {round(relation.angle or 0.0, 1) or 0.0:.1f} degrees"  # never -0.0
            why = f"{name} without a prior, {turn}, confirmed by {STARTING_MATCHER}"
            return replace(matches, model=model, inlier=inlier, why=why)
    return matches


def _narrowed(pair: CellMatching, matches: Correspondences, kind: str) -> tuple[PlaneTransform, NDArray[np.bool_]]:
    """Fit the model of what a search believes, and keep what is as near to it as under a prior, where most is."""
    a, b = pair.left.first, pair.right.first
    p, q = to_metres(a.geobox, matches.left), to_metres(b.geobox, matches.right)
    model, inlier = robust.fit(kind, p[matches.inlier], q[matches.inlier]), matches.inlier
    near = inlier & (np.hypot(*(q - model(p)).T) <= PRECISE_TOLERANCE * pixel_size(b.geobox))
    if near.sum() < inlier.sum() / 2:
        return model, inlier
    return robust.fit(kind, p[near], q[near]), near


def _unite(pair: CellMatching, opinions: list[Correspondences]) -> Correspondences:
    """Join all that was found, under the one model that most independent methods support."""
    opinions = [o for o in opinions if len(o)]
    if not opinions:
        return pair.nothing("no method found a correspondence")
    # Dense methods correlate alike: together they are one voice
    names = [" and ".join(sorted(set(o.method.tolist()), key=CASCADE.index)) for o in opinions]
    supporters = [
        [k for k, o in enumerate(opinions) if o is one or pair.confirms(one.model, o)] if one.model else []
        for one in opinions
    ]
    left_keypoints, right_keypoints = zip(*(o.keypoints for o in opinions), strict=True)
    # A method that may answer with any position has looked at all of them: then there is no list for the right image
    listed = right_keypoints if all(map(len, right_keypoints)) else [np.empty((0, 2))]
    matches = replace(
        _join(pair.nothing(""), opinions),
        keypoints=(np.concatenate(left_keypoints), np.concatenate(listed)),
        radius=min(o.radius for o in opinions),
    )
    most = max(len(s) for s in supporters)
    if most == 0:
        return replace(matches, why="; ".join(f"{name}: {o.why}" for name, o in zip(names, opinions, strict=True)))
    best = next(k for k, s in enumerate(supporters) if len(s) == most)
    if most == 1 and opinions[best].chance > UNCONFIRMED_CHANCE:
        return replace(matches, why=f"{names[best]} alone found a shift, and nothing confirms it")
    against = [names[k] for k, o in enumerate(opinions) if o.model and k not in supporters[best]]
    if against and most == 1:
        rivals = " and ".join([names[best], *against])
        why = f"{rivals} find different shifts, and nothing decides between them"
        return replace(matches, why=why, contradicted=True)
    chosen = np.repeat([k in supporters[best] for k in range(len(opinions))], [len(o) for o in opinions])
    agreement = pair.with_model(_select(matches, chosen), PRECISE_TOLERANCE)
    inlier = np.zeros(len(matches), bool)
    inlier[chosen] = agreement.inlier
    backers = " and ".join(names[k] for k in supporters[best] if k != best)
    why = agreement.why or (f"{names[best]}, confirmed by {backers}" if backers else f"{names[best]} alone")
    return replace(matches, inlier=inlier, model=agreement.model, why=why)
