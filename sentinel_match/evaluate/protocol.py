"""Every method on every sample: one record each, failures included, and the controls that a report carries."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from sentinel_match import __version__
from sentinel_match.cache import digest
from sentinel_match.errors import InputError, MatcherError, PairError
from sentinel_match.evaluate import metrics
from sentinel_match.evaluate.record import ByModel, Record
from sentinel_match.evaluate.samples import Sampling, identity, prepare, unrelated
from sentinel_match.geometry import robust, transform
from sentinel_match.geometry.grids import pixel_size, to_metres, to_pixels
from sentinel_match.matching.cascade import correspond
from sentinel_match.matching.correspondences import Correspondences, Method, named_matcher
from sentinel_match.matching.inputs import silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from sentinel_match.cache import Cache
    from sentinel_match.evaluate.diary import Diary
    from sentinel_match.evaluate.listing import ListedPair
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
class TestedMethod:
    """A method under test."""

    label: str
    """As asked for: ``sift:unguided:nomasks``."""
    method: Method
    masks: bool = True
    semantics: bool = True

    @property
    def recipe(self) -> list[object]:
        """List all that its answers depend on, JSON-able."""
        return [self.label, self.masks, self.semantics, self.method.recipe]

    def answer(self, sample: Sample) -> Correspondences:
        """Match both images of a sample."""
        left, right = (view.side(masks=self.masks, semantics=self.semantics) for view in (sample.left, sample.right))
        return correspond(left, right, replace(self.method, model=sample.model))


class AnyMethod(Protocol):
    """A method under test, of this package or not."""

    @property
    def label(self) -> str:
        """Name it."""
        ...

    @property
    def recipe(self) -> object:
        """List all that its answers depend on, JSON-able."""
        ...

    def answer(self, sample: Sample) -> Correspondences:
        """Match both images of a sample."""
        ...


def parse_method(text: str, device: str = "cpu", seed: int = 0) -> TestedMethod:
    """Make a method from its notation: ``auto``, or a matcher's name, then switches ``:unguided``, ``:nomasks``, ….

    Raises:
        UnknownMatcher, WeightsMissing, WeightsDamaged: see :func:`matchers.create`.
        ValueError: there is no such switch.
    """
    name, *switches = text.split(":")
    unknown = [switch for switch in switches if switch not in SWITCHES]
    if unknown:
        raise ValueError(f"{text}: there is no switch {unknown[0]!r}, only {', '.join(SWITCHES)}")
    matcher = named_matcher(name, device)
    method = Method(
        matcher=matcher,
        guided=not {"unguided", "everywhere"} & {*switches},
        everywhere="everywhere" in switches or (matcher is None and "unguided" in switches),
        seed=seed,
        device=device,
    )
    return TestedMethod(text, method, "nomasks" not in switches, "nosemantics" not in switches)


def run(
    pairs: Sequence[ListedPair],
    methods: Sequence[AnyMethod],
    sampling: Sampling,
    *,
    cache: Cache | None = None,
    diary: Diary | None = None,
    progress: Progress = silent,
) -> tuple[Record, ...]:
    """Give every pair and its controls to every method; return all records.

    Every method meets every pair; and for the first pair of each set the identity and the unrelated control. What the
    georeference alone answers is recorded as the method ``prior``. Matching is never cached, so seconds are whole.

    Args:
        pairs: as they are listed.
        methods: that are tested.
        sampling: displacement, masks, seed.
        cache: keeps decoded scenes.
        diary: gets each new record at once; those an earlier run wrote into it are taken as they are.
        progress: hears of progress.

    Raises:
        InputError: an image of the list cannot be used: that is no method's failure.
        OutputError: the diary cannot be written.
        ValueError: a listed warp is none.
    """
    earlier = {} if diary is None else diary.read()
    records: list[Record] = []
    for k, (pair, kinds) in enumerate(with_controls(pairs)):
        progress(f"pair {pair.name}", k, len(pairs))
        tasks = [(kind, method, _key(pair, kind, method, sampling)) for kind in kinds for method in (None, *methods)]
        records += [earlier[key] for _, _, key in tasks if key in earlier]
        missing = [task for task in tasks if task[2] not in earlier]
        if not missing:
            continue
        try:
            sample = prepare(pair, sampling, cache)
        except PairError as error:
            log.warning("%s is left out: %s", pair.name, error)
            continue
        samples = {"own": sample}
        for kind, method, key in missing:
            if kind not in samples:
                samples[kind] = control(sample, kind, sampling)
            record = judge(samples[kind], _answer(samples[kind], method, progress))
            if diary is not None:
                diary.add(key, record)
            records.append(record)
    return tuple(records)


def with_controls(pairs: Sequence[ListedPair]) -> Iterator[tuple[ListedPair, tuple[str, ...]]]:
    """Yield each pair with the kinds of samples that are made of it: of the first of each set controls as well."""
    controlled: set[str] = set()
    for pair in pairs:
        first = pair.set not in controlled and not pair.hidden and pair.warp == "none"
        controlled |= {pair.set} if first else set()
        yield pair, ("own", "identity", "unrelated") if first else ("own",)


def control(sample: Sample, kind: str, sampling: Sampling) -> Sample:
    """Make the sample of a kind, one of :func:`with_controls`."""
    if kind == "own":
        return sample
    return identity(sample, sampling) if kind == "identity" else unrelated(sample)


@dataclass(frozen=True, eq=False)
class Answer:
    """What a method said, or why it could not, and what that took."""

    label: str
    correspondences: Correspondences | None
    error: str = ""
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0


def judge(sample: Sample, answer: Answer) -> Record:
    """Compare an answer with the truth."""
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
    correspondences = answer.correspondences
    if correspondences is None:
        return record if both.any() else replace(record, coverage=float("nan"), believed_coverage=float("nan"))
    left, right, keypoints = correspondences.left, correspondences.right, correspondences.keypoints
    error = metrics.errors(left, right, sample.truth, symmetric=sample.warped)
    inlier_error = error[correspondences.inlier]
    order = np.random.default_rng(0).permutation(len(error))
    shuffled_error = metrics.errors(left, right[order], sample.truth, symmetric=sample.warped)
    model = _pixel_model(correspondences, sample)
    rmse, shift = _metre_errors(model, sample, both)
    return replace(
        record,
        status="no match" if correspondences.model is None else "matched",
        reason=correspondences.why if correspondences.model is None else "",
        looked_left=len(keypoints[0]),
        looked_right=len(keypoints[1]),
        matches=len(error),
        correct_1=int((error < 1).sum()),
        precision_1=metrics.precision(error, 1),
        precision_3=metrics.precision(error, 3),
        precision_5=metrics.precision(error, 5),
        matching_score_3=metrics.matching_score(error, len(keypoints[0])),
        recall_3=metrics.recall(keypoints, left, right, sample.truth, both),
        coverage=metrics.coverage(both, left[error < 1], box),
        largest_gap=metrics.largest_gap(both, left[error < 1], box),
        shuffled_3=metrics.precision(shuffled_error, 3),
        believed=len(inlier_error),
        believed_correct_1=int((inlier_error < 1).sum()),
        believed_precision_1=metrics.precision(inlier_error, 1),
        believed_precision_3=metrics.precision(inlier_error, 3),
        believed_coverage=metrics.coverage(both, left[correspondences.inlier][inlier_error < 1], box),
        corner=ByModel(
            translation=_fitted_corner("translation", correspondences, sample),
            similarity=_fitted_corner("similarity", correspondences, sample),
            affine=_fitted_corner("affine", correspondences, sample),
            homography=_fitted_corner("homography", correspondences, sample),
            believed=metrics.corner_error(model, sample.truth, box),
        ),
        rmse_m=rmse,
        shift_error_m=shift,
    )


def _answer(sample: Sample, method: AnyMethod | None, progress: Progress) -> Answer:
    """Ask a method and take the time; every error that it raises about the pair is its answer."""
    if method is None:
        return Answer(PRIOR_METHOD, _prior(sample))
    progress(f"{method.label} ({sample.kind})", 0, 1)
    wall, cpu = time.perf_counter(), time.process_time()
    correspondences, sentence = None, ""
    try:
        correspondences = method.answer(sample)
    except (PairError, MatcherError, InputError) as error:
        sentence = str(error)
    except Exception as error:  # whatever one method meets, the others are still to be measured
        log.exception("%s on %s", method.label, sample.name)
        sentence = f"unexpected {type(error).__name__}: {error}"
    return Answer(method.label, correspondences, sentence, time.process_time() - cpu, time.perf_counter() - wall)


def _prior(sample: Sample) -> Correspondences:
    """Answer with the georeference, as if a method had found it, at the check points."""
    left = metrics.check_points(sample.covisible)
    right, n = metrics.project(sample.prior, left), len(left)
    model = transform.PlaneTransform("translation", np.eye(3), np.zeros(2))
    every, method = np.ones(n, bool), np.full(n, PRIOR_METHOD)
    return Correspondences(left, right, np.ones(n), method, (left, right), every, model, "")


def _pixel_model(correspondences: Correspondences, sample: Sample) -> Callable[[Points], Points] | None:
    """Express the model that a method believes, which is in metres, between pixels."""
    model, left, right = correspondences.model, sample.left.images[0], sample.right.images[0]
    if model is None:
        return None
    return lambda points: to_pixels(right.geobox, model(to_metres(left.geobox, points)))


def _fitted_corner(kind: str, correspondences: Correspondences, sample: Sample) -> float:
    """Measure the corner error of a model fitted to all that was delivered."""
    best = np.argsort(-correspondences.score, kind="stable")[:FIT_AT_MOST]
    sigma, errors = np.full(len(best), FIT_TOLERANCE / 10), []
    pairs = robust.PointPairs(correspondences.left[best], correspondences.right[best], sigma)
    score = correspondences.score[best]
    for seed in range(RANSAC_SEEDS):
        try:
            model = robust.robust_fit(kind, pairs, tolerance=FIT_TOLERANCE, quality=score, seed=seed)
        except transform.NoModel:  # too few, or all on one line
            model = None
        errors.append(metrics.corner_error(model, sample.truth, sample.box))
    return float(np.median(errors))


def _metre_errors(
    model: Callable[[Points], Points] | None, sample: Sample, both: NDArray[np.bool_]
) -> tuple[float, float]:
    """Compute the RMSE, and the length of the mean error, at check points on covisible ground, in metres."""
    points = metrics.check_points(both)
    if model is None or not len(points):
        return float("inf"), float("inf")
    error = (model(points) - metrics.project(sample.truth, points)) * pixel_size(sample.right.geobox)
    return float(np.sqrt((error**2).sum(1).mean())), float(np.hypot(*error.mean(0)))


def _key(pair: ListedPair, kind: str, method: AnyMethod | None, sampling: Sampling) -> str:
    """Name a record by whatever it depends on, but for the code of the methods."""
    files = [
        (str(asset), asset.path.stat().st_size, asset.path.stat().st_mtime_ns)
        for scene in (pair.left, pair.right)
        for asset in (*(b.asset for b in scene.bands), *(m.asset for m in scene.masks))
    ]
    return digest({
        "package": __version__,
        "pair": [pair.name, pair.set, pair.place, pair.band, pair.shift, pair.warp, pair.hidden, pair.strata]
        + ["measured"] * pair.is_measured
        + [pair.shift_m, pair.truth_m] * (pair.shift_m is not None),
        "files": files,
        "kind": kind,
        "tested": method and method.recipe,
        "how": [sampling.displacement, sampling.resolution, sampling.masking.recipe, sampling.seed],
    })
