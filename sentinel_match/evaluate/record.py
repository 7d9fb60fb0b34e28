"""What one method made of one sample: marks, errors and times, the columns of ``records.csv``."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

V = TypeVar("V")

SampleKind = Literal["pair", "hidden", "identity", "unrelated"]
"""A pair; one that shares no clear ground; or a control."""
RecordStatus = Literal["matched", "no match", "failed"]
"""An answer; the answer that there is none; or an error that the method raised."""


@dataclass(frozen=True)
class ByModel(Generic[V]):
    """A value for each model whose corners are judged; iterates over the values in this order."""

    translation: V
    similarity: V
    affine: V
    homography: V
    believed: V
    """Of the model that the method believes itself; the others are fitted to all it delivers."""

    def __iter__(self) -> Iterator[V]:
        """Yield the values, in the order of the columns."""
        return (getattr(self, f.name) for f in fields(self))

    def items(self) -> Iterator[tuple[str, V]]:
        """Yield each model's name with its value, in the order of the columns."""
        return ((f.name, getattr(self, f.name)) for f in fields(self))


def _no_model() -> ByModel[float]:
    return ByModel(*(float("inf"),) * 5)


@dataclass(frozen=True)
class Record:
    """What one method made of one sample. Pixels are those of the right image."""

    method: str
    sample: str
    set: str
    place: str
    kind: SampleKind
    """See :class:`~sentinel_match.evaluate.samples.Sample`."""
    strata: Mapping[str, str]
    status: RecordStatus
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
    corner: ByModel[float] = field(default_factory=_no_model)
    """Mean corner error of each model, pixels."""
    rmse_m: float = float("inf")
    """Of the believed model at check points on the covisible ground, metres."""
    shift_error_m: float = float("inf")
    """Length of the mean error there."""
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Flatten the record into JSON-able columns; the corner errors are ``corner_translation`` and so on."""
        columns: dict[str, Any] = {}
        for f in fields(self):
            if f.name == "corner":
                columns |= {f"corner_{model}": error for model, error in self.corner.items()}
            else:
                columns[f.name] = getattr(self, f.name)
        return columns

    @classmethod
    def from_dict(cls, columns: Mapping[str, Any]) -> Record:
        """Make the record of which :meth:`to_dict` made these columns.

        Raises:
            KeyError: there is no corner error of some model.
            TypeError: a column is missing, or one is none of a record.
        """
        corners = [f"corner_{f.name}" for f in fields(ByModel)]
        others = {name: value for name, value in columns.items() if name not in corners}
        return cls(**others, corner=ByModel(*(columns[name] for name in corners)))
