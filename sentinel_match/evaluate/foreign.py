"""Methods that are not of this package: a function, or a table of matches, judged like every other method.

Their points are x, y in pixels with the middle of the first pixel at 0, 0, as OpenCV and kornia have them. What they
deliver is verified as our own matchers' is: the similarity that most agree on, or no match where chance would do.
"""

from __future__ import annotations

import csv
import importlib
import io
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sentinel_match.atomic import whole, write_text
from sentinel_match.cache import digest
from sentinel_match.errors import BadList, PairError
from sentinel_match.evaluate.protocol import control, with_controls
from sentinel_match.evaluate.report import csv_text
from sentinel_match.evaluate.samples import SampleView, Sampling, prepare
from sentinel_match.geometry.transform import NoModel
from sentinel_match.matching.consensus import COARSE_TOLERANCE, coarse_model
from sentinel_match.matching.correspondences import Correspondences
from sentinel_match.products.files import read_text
from sentinel_match.wording import in_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from sentinel_match.cache import Cache
    from sentinel_match.evaluate.listing import ListedPair
    from sentinel_match.evaluate.samples import Sample
    from sentinel_match.matching.inputs import Progress

log = logging.getLogger(__name__)

Image = NDArray[np.float32]
Delivered = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""(N, 2) left, (N, 2) right, and (N,) scores."""
MatchFunction = Callable[[Image, Image], Any]
"""Takes two (rows, cols) images, 0 to 1 and 0 where there is no data; returns (N, 2) left and (N, 2) right points, and
(N,) scores if it has some."""
COLUMNS = ("pair", "left_x", "left_y", "right_x", "right_y")
MIDDLE = 0.5
"""Of the first pixel, in the coordinates of this package, whose origin is that pixel's outer corner."""


@dataclass(frozen=True, eq=False)
class ForeignMethod:
    """A method under test that is not of this package."""

    label: str
    match: Callable[[Sample], Delivered]
    """What it delivers on a sample."""
    recipe: list[object]
    """What that depends on, as far as it is known."""

    def answer(self, sample: Sample) -> Correspondences:
        """Ask it, and verify what it delivers."""
        left, right, score = self.match(sample)
        a, b = sample.left.images[0], sample.right.images[0]
        delivered = Correspondences(
            left=left + MIDDLE,
            right=right + MIDDLE,
            score=score,
            method=np.full(len(left), self.label),
            keypoints=(left + MIDDLE, right + MIDDLE),
            inlier=np.zeros(len(left), bool),
            radius=max(b.valid.shape) / 2,
        )
        try:
            model, agree, chance = coarse_model(sample.model, delivered, a, b, COARSE_TOLERANCE, 0)
        except NoModel as error:
            return replace(delivered, why=str(error))
        return replace(delivered, model=model, inlier=agree, chance=chance)


def from_function(text: str) -> ForeignMethod:
    """Make a method of ``module:function``, a :data:`MatchFunction` that can be imported.

    Raises:
        ValueError: there is none; in words for the user.
    """
    module, _, name = text.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever the user's module does while it is imported
        raise ValueError(f"{text}: it cannot be imported ({error}); give module:function") from error
    if not callable(function):
        raise ValueError(f"{text}: it is no function")
    return ForeignMethod(text, _asked(function), ["function", text])


def _asked(function: MatchFunction) -> Callable[[Sample], Delivered]:
    """Wrap a function so that it takes a sample."""

    def match(sample: Sample) -> Delivered:
        left, right = (pictured(view) for view in (sample.left, sample.right))
        return _delivered(function(left, right))

    return match


def pictured(view: SampleView) -> Image:
    """Return (rows, cols) what a foreign method is given of a side: the first band, 0 where there is no data."""
    image = view.images[0]
    return np.ascontiguousarray(np.where(view.known, np.clip(image.pixels, 0, 1), 0), dtype=np.float32)


def _delivered(answer: Any) -> Delivered:
    """Check what a function has returned.

    Raises:
        ValueError: it is no set of points.
    """
    parts = [np.asarray(part, np.float64) for part in answer]
    if len(parts) not in {2, 3}:
        raise ValueError(f"a method returned {len(parts)} arrays, and must return left and right points, and scores")
    left, right = (part.reshape(-1, 2) for part in parts[:2])
    score = parts[2].ravel() if len(parts) == 3 else np.ones(len(left))
    if not len(left) == len(right) == len(score):
        raise ValueError(f"a method returned {len(left)} left and {len(right)} right points, and {len(score)} scores")
    if not all(np.isfinite(part).all() for part in (left, right, score)):
        raise ValueError("a method returned points that are no numbers")
    return left, right, score


def read_matches(path: Path) -> ForeignMethod:
    """Read matches that another program made of exported pairs: see :func:`export`.

    Columns ``pair, left_x, left_y, right_x, right_y``, and ``score`` if there is one. A pair without a line has no
    match.

    Raises:
        BadList: it cannot be read, or a column or a number is missing.
    """
    try:
        rows = csv.DictReader(io.StringIO(read_text(path, "utf-8-sig")))
        columns = rows.fieldnames or []
        if absent := [name for name in COLUMNS if name not in columns]:
            raise BadList(path, f"it has no column {', '.join(absent)} (needed are {', '.join(COLUMNS)})")
        found: dict[str, list[list[float]]] = {}
        for number, row in enumerate(rows, 2):
            found.setdefault(str(row["pair"]), []).append(_numbers(path, number, row))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadList(path, f"it cannot be read ({in_words(error)})") from error

    def match(sample: Sample) -> Delivered:
        lines = np.array(found.get(exported_name(sample), np.zeros((0, 5))), np.float64).reshape(-1, 5)
        return lines[:, :2], lines[:, 2:4], lines[:, 4]

    return ForeignMethod(path.stem, match, ["matches", path.stem, digest(found)])


def _numbers(path: Path, line: int, row: Mapping[str, Any]) -> list[float]:
    try:
        numbers = [float(row[name]) for name in COLUMNS[1:]] + [float(row.get("score") or 1)]
    except (TypeError, ValueError):
        raise BadList(path, f"line {line}: coordinates and score must be numbers") from None
    if not all(map(math.isfinite, numbers)):
        raise BadList(path, f"line {line}: coordinates and score must be finite")
    return numbers


def exported_name(sample: Sample) -> str:
    """Name a sample in an export: by its pair, and what control it is."""
    return sample.name if sample.kind in {"pair", "hidden"} else f"{sample.name} ({sample.kind})"


def export(
    pairs: Sequence[ListedPair], sampling: Sampling, folder: Path, cache: Cache | None, progress: Progress
) -> int:
    """Write the images that methods are given, controls included, for a program that is no Python function.

    Args:
        pairs: as they are listed.
        sampling: displacement, masks, seed: give the same when the matches are judged.
        folder: gets ``pairs.csv`` (columns ``pair, left, right``) and 16-bit PNG files, 0 where there is no data.
        cache: keeps decoded scenes.
        progress: hears of progress.

    Returns:
        How many pairs of images.

    Raises:
        OutputError: a file cannot be written.
    """
    rows: list[dict[str, object]] = []
    for k, (pair, kinds) in enumerate(with_controls(pairs)):
        progress(f"pair {pair.name}", k, len(pairs))
        try:
            own = prepare(pair, sampling, cache)
        except PairError as error:
            log.warning("%s is left out: %s", pair.name, error)
            continue
        for kind in kinds:
            sample = control(own, kind, sampling)
            names = {side: f"{len(rows):04d}_{side}.png" for side in ("left", "right")}
            for side, name in names.items():
                _write_picture(pictured(getattr(sample, side)), folder / name)
            rows.append({"pair": exported_name(sample), **names})
    write_text(folder / "pairs.csv", csv_text(rows))
    return len(rows)


def _write_picture(image: Image, path: Path) -> None:
    import cv2

    with whole(path) as temporary:
        temporary.write_bytes(cv2.imencode(".png", np.round(image * 65535).astype(np.uint16))[1].tobytes())
