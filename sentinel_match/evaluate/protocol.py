"""Every method on every sample: one record each, failures included, and the controls that a report carries."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from sentinel_match import __version__, matchers
from sentinel_match.cache import digest
from sentinel_match.errors import InputError, MatcherError, PairError
from sentinel_match.evaluate import metrics
from sentinel_match.evaluate.samples import Sampling, identity, prepare, unrelated
from sentinel_match.geometry import robust, transform
from sentinel_match.geometry.grids import to_metres, to_pixels
from sentinel_match.matching.cascade import correspond
from sentinel_match.matching.correspondences import Correspondences, Method

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from sentinel_match.cache import Cache
    from sentinel_match.evaluate.listing import Listed
    from sentinel_match.evaluate.metrics import Points
    from sentinel_match.evaluate.samples import Sample
    from sentinel_match.matching.inputs import Progress

log = logging.getLogger(__name__)

PRIOR_METHOD = "prior"
"""The control that answers with the georeference and looks at no image."""
SWITCHES = ("unguided", "everywhere", "nomasks", "nosemantics")
"""``unguided``: the same cells, but nothing is known of where in them; ``everywhere``: no prior at all, any angle."""
RANSAC_SEEDS = 3
"""Of RANSAC for the models fitted to what a method delivers: the median corner error counts."""
FIT_AT_MOST = 1000
"""Delivered matches given to those models, the most confident ones (LoFTR's protocol on HPatches)."""
FIT_TOLERANCE = 3.0
"""Pixels beyond which a delivered match says nothing about those models."""


@dataclass(frozen=True)
class Tested:
    """A method under test."""

    label: str
    """As asked for: ``sift:unguided:nomasks``."""
    method: Method
    masks: bool = True
    semantics: bool = True


@dataclass(frozen=True)
class Record:
    """What one method made of one sample. Pixels are those of the right image."""

    method: str
    sample: str
    set: str
    place: str
    kind: str
    """See :class:`~sentinel_match.evaluate.samples.Sample`."""
    strata: Mapping[str, str]
    status: str
    """``matched``; ``no match``, which the method says itself; ``failed``, it raised an error."""
    reason: str = ""
    """Why there is no match, one sentence."""
    covisible: float = 0.0
    """Share of the left image that is valid in both."""
    looked_left: int = 0
    """Keypoints, grid points or coarse cells."""
    looked_right: int = 0
    """0 where a method may answer with any position."""
    matches: int = 0
    """Delivered."""
    correct_1: int = 0
    """Delivered and less than a pixel wrong."""
    precision_1: float = 0.0
    precision_3: float = 0.0
    precision_5: float = 0.0
    matching_score_3: float = 0.0
    recall_3: float = float("nan")
    """Of the matchable keypoints, see :func:`metrics.recall`; NaN where there is none."""
    coverage: float = 0.0
    """Of the covisible cells, by delivered matches less than a pixel wrong; NaN where there is no covisible cell."""
    largest_gap: float = float("inf")
    shuffled_3: float = 0.0
    """Precision at 3 px of the same matches in random order: what chance gives."""
    believed: int = 0
    believed_correct_1: int = 0
    believed_precision_1: float = 0.0
    believed_precision_3: float = 0.0
    believed_coverage: float = 0.0
    corner_translation: float = float("inf")
    """Mean corner error of a model fitted to the delivered matches, pixels."""
    corner_similarity: float = float("inf")
    corner_affine: float = float("inf")
    corner_homography: float = float("inf")
    corner_believed: float = float("inf")
    """Of the model that the method believes itself."""
    rmse_m: float = float("inf")
    """Of the believed model at check points on the covisible ground, metres."""
    shift_error_m: float = float("inf")
    """Length of the mean error there."""
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0


def parse_method(text: str, device: str = "cpu", seed: int = 0) -> Tested:
    """A method from its notation: ``auto``, or a matcher's name, then switches ``:unguided``, ``:nomasks``, ….

    Raises:
        UnknownMatcher, WeightsMissing, WeightsDamaged: see :func:`matchers.create`.
        ValueError: there is no such switch.
    """
    name, *switches = text.split(":")
    wrong = [switch for switch in switches if switch not in SWITCHES]
    if wrong:
        raise ValueError(f"{text}: there is no switch {wrong[0]!r}, only {', '.join(SWITCHES)}")
    matcher = None
    if name != "auto":
        takes_device = "device" in getattr(matchers.matcher_class(name), "__dataclass_fields__", {})
        matcher = matchers.create(name, **({"device": device} if takes_device else {}))
    method = Method(
        matcher=matcher,
        guided=not {"unguided", "everywhere"} & {*switches},
        everywhere="everywhere" in switches or (matcher is None and "unguided" in switches),
        seed=seed,
        device=device,
    )
    return Tested(text, method, "nomasks" not in switches, "nosemantics" not in switches)


def run(
    listed: Sequence[Listed],
    tested: Sequence[Tested],
    how: Sampling,
    *,
    cache: Cache | None = None,
    tell: Progress = lambda _what, _done, _of: None,
    done: Mapping[str, Record] | None = None,
    keep: Callable[[str, Record], None] = lambda _key, _record: None,
) -> tuple[Record, ...]:
    """All records, of pairs and controls.

    Every method meets every pair; and for the first pair of each set the identity and the unrelated control. What the
    georeference alone answers is recorded as the method ``prior``. Matching is never cached, so seconds are whole.

    Args:
        listed: the pairs.
        tested: the methods.
        how: displacement, masks, seed.
        cache: keeps decoded scenes.
        tell: hears of progress.
        done: records of an earlier run, by key, which are taken as they are.
        keep: is given each new record at once, with its key.

    Raises:
        InputError: an image of the list cannot be used: that is no method's failure.
        ValueError: a listed warp is none.
    """
    done, records, seen = done or {}, [], set[str]()
    for k, pair in enumerate(listed):
        tell(f"pair {pair.name}", k, len(listed))
        kinds = ["own"] if pair.set in seen or pair.hidden or pair.warp != "none" else ["own", "identity", "unrelated"]
        seen |= {pair.set} if len(kinds) == 3 else set()
        wanted = [(kind, t, _key(pair, kind, t, how)) for kind in kinds for t in (None, *tested)]
        records += [done[key] for _, _, key in wanted if key in done]
        missing = [w for w in wanted if w[2] not in done]
        if not missing:
            continue
        try:
            sample = prepare(pair, how, cache)
        except PairError as error:
            log.warning("%s is left out: %s", pair.name, error)
            continue
        samples = {"own": sample}
        for kind, method, key in missing:
            if kind not in samples:
                samples[kind] = identity(sample, how) if kind == "identity" else unrelated(sample)
            record = judge(samples[kind], _answer(samples[kind], method, tell))
            keep(key, record)
            records.append(record)
    return tuple(records)


@dataclass(frozen=True, eq=False)
class Answer:
    """What a method said, or why it could not, and what that took."""

    label: str
    found: Correspondences | None
    error: str = ""
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0


def judge(sample: Sample, answer: Answer) -> Record:
    """Hold an answer against the truth."""
    both, box = sample.covisible, sample.box
    record = Record(
        method=answer.label,
        sample=sample.name,
        set=sample.set,
        place=sample.place,
        kind=sample.kind,
        strata=dict(sample.strata),
        status="failed",
        reason=answer.error,
        covisible=float(both.mean()),
        cpu_seconds=round(answer.cpu_seconds, 3),
        wall_seconds=round(answer.wall_seconds, 3),
    )
    found = answer.found
    if found is None:
        return record if both.any() else replace(record, coverage=float("nan"), believed_coverage=float("nan"))
    error = metrics.errors(found.left, found.right, sample.truth, symmetric=sample.warped)
    trusted = error[found.believed]
    order = np.random.default_rng(0).permutation(len(error))
    shuffled = metrics.errors(found.left, found.right[order], sample.truth, symmetric=sample.warped)
    corners = {kind: _corner(kind, found, sample) for kind in transform.MINIMAL}
    believed = _believed(found, sample)
    rmse, shift = _in_metres(believed, sample, both)
    return replace(
        record,
        status="no match" if found.model is None else "matched",
        reason=found.why if found.model is None else "",
        looked_left=len(found.seen[0]),
        looked_right=len(found.seen[1]),
        matches=len(error),
        correct_1=int((error < 1).sum()),
        precision_1=metrics.precision(error, 1),
        precision_3=metrics.precision(error, 3),
        precision_5=metrics.precision(error, 5),
        matching_score_3=metrics.matching_score(error, len(found.seen[0])),
        recall_3=metrics.recall(found.seen, found.left, found.right, sample.truth, both),
        coverage=metrics.coverage(both, found.left[error < 1], box),
        largest_gap=metrics.largest_gap(both, found.left[error < 1], box),
        shuffled_3=metrics.precision(shuffled, 3),
        believed=len(trusted),
        believed_correct_1=int((trusted < 1).sum()),
        believed_precision_1=metrics.precision(trusted, 1),
        believed_precision_3=metrics.precision(trusted, 3),
        believed_coverage=metrics.coverage(both, found.left[found.believed][trusted < 1], box),
        corner_translation=corners["translation"],
        corner_similarity=corners["similarity"],
        corner_affine=corners["affine"],
        corner_homography=corners["homography"],
        corner_believed=metrics.corner_error(believed, sample.truth, box),
        rmse_m=rmse,
        shift_error_m=shift,
    )


def _answer(sample: Sample, tested: Tested | None, tell: Progress) -> Answer:
    """One answer, timed; every error that a method raises about the pair is its answer."""
    if tested is None:
        return Answer(PRIOR_METHOD, _prior(sample))
    left, right = (view.side(masks=tested.masks, semantics=tested.semantics) for view in (sample.left, sample.right))
    tell(f"{tested.label} ({sample.kind})", 0, 1)
    wall, cpu = time.perf_counter(), time.process_time()
    found, error = None, ""
    try:
        found = correspond(left, right, tested.method)
    except (PairError, MatcherError, InputError) as raised:
        error = str(raised)
    except Exception as raised:  # whatever one method meets, the others are still to be measured
        log.exception("%s on %s", tested.label, sample.name)
        error = f"unexpected {type(raised).__name__}: {raised}"
    return Answer(tested.label, found, error, time.process_time() - cpu, time.perf_counter() - wall)


def _prior(sample: Sample) -> Correspondences:
    """The georeference as if a method had found it, at the check points."""
    at = metrics.check_points(sample.covisible)
    to = metrics.project(sample.prior, at)
    everything = np.ones(len(at), bool)
    model = transform.PlaneTransform("translation", np.eye(3), np.zeros(2))
    return Correspondences(at, to, np.ones(len(at)), np.full(len(at), PRIOR_METHOD), (at, to), everything, model, "")


def _believed(found: Correspondences, sample: Sample) -> Callable[[Points], Points] | None:
    """The believed model between pixels."""
    model, left, right = found.model, sample.left.images[0], sample.right.images[0]
    if model is None:
        return None
    return lambda points: to_pixels(right.geobox, model(to_metres(left.geobox, points)))


def _corner(kind: str, found: Correspondences, sample: Sample) -> float:
    """Corner error of a model fitted to all that was delivered."""
    best = np.argsort(-found.score, kind="stable")[:FIT_AT_MOST]
    left, right, score = found.left[best], found.right[best], found.score[best]
    sigma, errors = np.full(len(best), FIT_TOLERANCE / 10), []
    for seed in range(RANSAC_SEEDS):
        try:
            model = robust.robust_fit(kind, left, right, sigma, tolerance=FIT_TOLERANCE, quality=score, seed=seed)
        except transform.NoModel:  # too few, or all on one line
            model = None
        errors.append(metrics.corner_error(model, sample.truth, sample.box))
    return float(np.median(errors))


def _in_metres(
    believed: Callable[[Points], Points] | None, sample: Sample, both: NDArray[np.bool_]
) -> tuple[float, float]:
    """RMSE, and length of the mean error, at check points on covisible ground."""
    at = metrics.check_points(both)
    if believed is None or not len(at):
        return float("inf"), float("inf")
    affine = sample.right.geobox.affine
    error = (believed(at) - metrics.project(sample.truth, at)) * (abs(affine.a), abs(affine.e))
    return float(np.sqrt((error**2).sum(1).mean())), float(np.hypot(*error.mean(0)))


def _key(pair: Listed, kind: str, tested: Tested | None, how: Sampling) -> str:
    """Name of a record: whatever it depends on, but for the code of the methods."""
    files = [
        (str(asset), asset.path.stat().st_size, asset.path.stat().st_mtime_ns)
        for scene in (pair.left, pair.right)
        for asset in (*(b.asset for b in scene.bands), *(m.asset for m in scene.masks))
    ]
    return digest({
        "package": __version__,
        "pair": [pair.name, pair.set, pair.place, pair.band, pair.shift, pair.warp, pair.hidden, pair.strata],
        "files": files,
        "kind": kind,
        "tested": tested and [tested.label, tested.masks, tested.semantics, tested.method.recipe],
        "how": [how.displacement, how.resolution, how.masking.recipe, how.seed],
    })
