"""Motion: how ground moved against the ground that stayed, with the error that ground which did not move shows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sentinel_match.geometry.transform import Transform
from sentinel_match.geometry.uncertainty import Uncertainty
from sentinel_match.schema import Count, an_object, part

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


@dataclass(frozen=True)
class StableError:
    """Motion that is measured where there is none, metres: ITS_LIVE calls it the shift and error of stable surfaces."""

    nodes: Count
    """Of the lattice, measured and stable."""
    mean_east: float
    mean_north: float
    rmse_east: float
    rmse_north: float

    @staticmethod
    def of(motion: NDArray[np.float64]) -> StableError:
        """Sum up (N, 2) motion of stable nodes."""
        mean, rmse = motion.mean(0), np.sqrt((motion**2).mean(0))
        figures = [round(float(value), 4) for value in (*mean, *rmse)]
        return StableError(len(motion), *figures)


@dataclass(frozen=True)
class Motion:
    """The displacement of all ground, motion included, to be compared with a transform fitted on stable ground."""

    field: Transform
    """Left metres to right metres, with what moves."""
    uncertainty: Uncertainty
    """Of the motion."""
    stable: StableError

    def at(self, nodes: NDArray[np.float64], correction: Transform) -> NDArray[np.float64]:
        """Compute (..., 2) the motion at (..., 2) places: the field less the correction."""
        points = nodes.reshape(-1, 2)
        return (self.field(points) - correction(points)).reshape(nodes.shape)

    def to_dict(self) -> dict[str, Any]:
        """Return what files say."""
        return {
            "field": self.field.to_dict(),
            "uncertainty": asdict(self.uncertainty),
            "stable": asdict(self.stable),
        }

    @staticmethod
    def from_dict(record: object, where: str) -> Motion:
        """Read back what ``to_dict`` has made.

        Raises:
            Unfit: a member is missing, or is none of its kind.
        """
        members: Mapping[str, Any] = an_object(record, where)
        motion = Motion(
            Transform.from_dict(an_object(members.get("field"), f"{where}.field")),
            part(Uncertainty, members.get("uncertainty"), f"{where}.uncertainty"),
            part(StableError, members.get("stable"), f"{where}.stable"),
        )
        motion.uncertainty.arrays()  # what cannot be read shall be told now
        return motion
