"""Transforms from one image to the other: of the plane, and bent where the errors of the platform have a shape.

Sentinel-2's own errors have shapes: jitter of the platform along the track, terrain that an old height model placed
wrongly. Each bend is linear in its parameters: polynomials, and cubic B-splines over the plane or along the track
(Eilers & Marx 1996, "Flexible Smoothing with B-splines and Penalties").
"""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import numpy as np

from sentinel_match.geometry.kinds import BENDS, KINDS, MINIMAL, NONE
from sentinel_match.schema import Angle, Coordinate, Unfit, Within, member, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    from sentinel_match.geometry.grids import Points

INCLINATION = np.radians(98.62)
"""Of Sentinel-2's orbit (ESA, Sentinel-2 User Handbook, 2015)."""
TURNS = 14.3
"""Revolutions a day: while the satellite moves, the ground turns away under it."""
COEFFICIENT_DIGITS = 4
"""Decimals of the coefficients of a spline through a grid: a tenth of a millimetre."""
MOST_LISTED, LARGEST_PACKED = 1000, 1e5
"""Coefficients that are written as numbers; of more nobody reads them, and they take minutes. And the size, in metres,
from which all are: their differences fill 32 bits."""
ELSEWHERE = "pair.json"
"""What ``run.json`` says in place of the coefficients of a field: the file of its pair that has them."""
_Intervals = Annotated[int, Within(0, 1000)]
_Two: TypeAlias = tuple[Coordinate, Coordinate]
_Three: TypeAlias = tuple[Coordinate, Coordinate, Coordinate]


class NoModel(ValueError):
    """Points that determine no model, or none to believe; in words for the user."""


@dataclass(frozen=True, eq=False)
class PlaneTransform:
    """A transform of the plane from the left frame to the right one."""

    kind: str
    """``none``, or a key of ``MINIMAL``."""
    matrix: NDArray[np.float64]
    """(3, 3) homogeneous, acting on columns (x, y, 1) of ``left - origin``, giving ``right - origin``."""
    origin: NDArray[np.float64]
    """(2,) subtracted before and added after: keeps UTM coordinates well conditioned."""

    def __call__(self, left: Points) -> Points:
        """Move left points to where they lie in the right frame."""
        centred = left - self.origin
        moved = centred @ self.matrix[:2, :2].T + self.matrix[:2, 2]
        return np.asarray(moved / (centred @ self.matrix[2, :2] + self.matrix[2, 2])[:, None] + self.origin)

    def shift(self, at: Points) -> Points:
        """Compute the displacement, right minus left, at left points."""
        return self(at) - at


@dataclass(frozen=True, eq=False)
class Bend:
    """A displacement that varies smoothly over the plane, besides what a plane says."""

    kind: str
    """One of ``BENDS``."""
    origin: NDArray[np.float64]
    """(2,) lower corner of the fitted points."""
    span: float
    """Longer side of their extent: coordinates are divided by it. Beyond the extent the rim goes on unchanged."""
    extent: NDArray[np.float64]
    """(2,) of the fitted points, same unit."""
    intervals: tuple[int, int] = (0, 0)
    """Between the knots of a spline along x and y, or along the track (and 0)."""
    azimuth: float = 0.0
    """Direction of the track, radians clockwise from north."""
    coefficients: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2)))
    """(K, 2) of the basis, in the unit of the points; none where they were left out."""

    @cached_property
    def written(self) -> str | list[list[float]]:
        """Return the coefficients as files have them, packed where they are many; of a tile that takes a second."""
        if not len(self.coefficients):
            return ELSEWHERE
        if len(self.coefficients) > MOST_LISTED and np.abs(self.coefficients).max() < LARGEST_PACKED:
            return _packed(self.coefficients)
        return list(self.coefficients.tolist())

    def basis(self, at: Points) -> NDArray[np.float64]:
        """Evaluate each basis function at points: (N, K)."""
        p = np.clip(at - self.origin, 0, self.extent) / self.span
        if self.kind.startswith("polynomial"):
            x, y = 2 * p.T - 1
            degree = int(self.kind[-1])
            return np.stack([x**i * y**j for i, j in product(range(degree + 1), repeat=2) if 1 < i + j <= degree], -1)
        if self.kind == "track":
            return _splines(_along(p, self.azimuth, self.extent / self.span), self.intervals[0])
        share = np.maximum(self.extent / self.span, 1e-9)
        across, along = (_splines(p[:, k] / share[k], self.intervals[k]) for k in (0, 1))
        return np.asarray((along[:, :, None] * across[:, None, :]).reshape(len(p), -1))

    def penalty(self) -> NDArray[np.float64]:
        """Compute (K, K) what roughness costs."""
        if self.kind == "track":
            second = np.diff(np.eye(self.intervals[0] + 3), 2, axis=0)
            return np.asarray(second.T @ second)
        if self.kind == "field":
            eyes = [np.eye(n + 3) for n in self.intervals]
            rough = [(d := np.diff(eye, 2, axis=0)).T @ d for eye in eyes]
            return np.asarray(np.kron(eyes[1], rough[0]) + np.kron(rough[1], eyes[0]))
        return np.zeros((self.basis(self.origin[None]).shape[1],) * 2)

    def __call__(self, at: Points) -> Points:
        """Compute (N, 2) the displacement at points.

        Raises:
            ValueError: its coefficients were left out.
        """
        if not len(self.coefficients):
            raise ValueError(f"the values of this field are not here but in {ELSEWHERE} of its pair: take read_ties")
        if self.kind == "field":
            return self._interpolated(at)
        pieces = np.array_split(at, max(1, len(at) // 50_000))
        return np.concatenate([self.basis(piece) @ self.coefficients for piece in pieces])

    def _interpolated(self, at: Points) -> Points:
        """Evaluate a spline over the plane, of whose many knots only sixteen touch a point."""
        from scipy.ndimage import map_coordinates

        intervals = np.array(self.intervals)
        knots = self.coefficients.reshape(intervals[1] + 3, intervals[0] + 3, 2)
        place = np.clip(at - self.origin, 0, self.extent) / np.maximum(self.extent, 1e-9) * intervals + 1
        return np.column_stack([
            map_coordinates(knots[..., k], place[:, ::-1].T, order=3, prefilter=False, mode="nearest") for k in (0, 1)
        ])


def bend_through(values: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]) -> Bend:
    """Lay a spline through a displacement that is known at every node of a grid.

    Args:
        values: (rows, cols, 2), rows in the direction of y.
        low: (2,) x, y of the first node.
        high: (2,) of the last one.
    """
    from scipy.ndimage import spline_filter

    padded = np.pad(values, ((1, 1), (1, 1), (0, 0)), "reflect", reflect_type="odd")
    knots = np.stack([spline_filter(padded[..., k], order=3, mode="mirror") for k in (0, 1)], -1)
    extent = np.asarray(high - low, float)
    intervals = (values.shape[1] - 1, values.shape[0] - 1)
    coefficients = knots.reshape(-1, 2).round(COEFFICIENT_DIGITS)
    return Bend("field", np.asarray(low, float), float(extent.max()), extent, intervals, coefficients=coefficients)


@dataclass(frozen=True, eq=False)
class Transform:
    """A transform from the left frame to the right one: of the plane, and bent."""

    plane: PlaneTransform
    bend: Bend | None = None

    @property
    def kind(self) -> str:
        """Name the kind of the whole: one of ``KINDS``."""
        return self.plane.kind if self.bend is None else self.bend.kind

    @property
    def whole(self) -> bool:
        """Tell whether it can move points: of one that is abridged the coefficients are elsewhere."""
        return self.bend is None or len(self.bend.coefficients) > 0

    @property
    def abridged(self) -> Transform:
        """Return the same without the coefficients, where they are many: it still says its kind, but moves nothing."""
        if self.bend is None or len(self.bend.coefficients) <= MOST_LISTED:
            return self
        return Transform(self.plane, replace(self.bend, coefficients=np.zeros((0, 2))))

    def __call__(self, left: ArrayLike) -> Points:
        """Move left points, (N, 2) or a single one, to where they lie in the right frame."""
        points = _as_points(left, "left")
        moved = self.plane(points)
        return (moved if self.bend is None else moved + self.bend(points)).reshape(np.shape(left))

    def shift(self, at: ArrayLike) -> Points:
        """Compute the displacement, right minus left, at left points or at a single one."""
        return np.asarray(self(at) - np.asarray(at))

    def back(self, right: ArrayLike) -> Points:
        """Move right points back to where they lie in the left frame: the inverse, by fixed-point iteration."""
        shape, right = np.shape(right), _as_points(right, "right")
        left = right - self.plane.shift(right)
        for _ in range(20):
            step = self(left) - right
            left = left - step
            if np.abs(step).max(initial=0) < 1e-6:
                break
        return left.reshape(shape)

    def to_dict(self) -> dict[str, Any]:
        """Return everything that evaluates it, JSON-able."""
        plane = {"matrix": self.plane.matrix.tolist(), "origin": self.plane.origin.tolist()}
        if self.bend is None:
            return {"kind": self.kind, **plane}
        values = {
            f.name: getattr(self.bend, f.name) for f in fields(self.bend) if f.name not in {"kind", "coefficients"}
        }
        bend = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}
        bend["coefficients"] = self.bend.written
        return {"kind": self.kind, "plane": self.plane.kind, **plane, "bend": bend}

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> Transform:
        """Read back what ``to_dict`` has returned.

        Raises:
            Unfit: a member is missing, or is none of its kind; which, and what it is.
        """
        where = "summary.model"
        kind = member(value, "kind", str, where)
        plane_kind = member(value, "plane", str, where) if "plane" in value else kind
        if plane_kind not in {NONE, *MINIMAL} or kind not in KINDS or (kind in BENDS) != ("bend" in value):
            raise Unfit(f"{where}.kind is {shown(kind)}, of a plane {shown(plane_kind)}, and is no transform")
        matrix = member(value, "matrix", tuple[_Three, _Three, _Three], where)
        plane = PlaneTransform(plane_kind, np.array(matrix), np.array(member(value, "origin", _Two, where)))
        if plane_kind == NONE and not np.array_equal(plane.matrix, np.eye(3)):
            raise Unfit(f"{where}.kind is none, and its matrix moves something")
        if "bend" not in value:
            return Transform(plane)
        return Transform(plane, _bend(kind, value["bend"], f"{where}.bend"))


def _bend(kind: str, value: object, where: str) -> Bend:
    """Read back a bend."""
    arrays = {name: np.array(member(value, name, _Two, where)) for name in ("origin", "extent")}
    intervals = member(value, "intervals", tuple[_Intervals, _Intervals], where)
    text = value.get("coefficients") if isinstance(value, dict) else None
    if text == ELSEWHERE:
        coefficients = np.zeros((0, 2))
    elif isinstance(text, str):
        coefficients = _unpacked(text, (intervals[0] + 3) * (intervals[1] + 3), where)
    else:
        coefficients = np.array(member(value, "coefficients", tuple[_Two, ...], where)).reshape(-1, 2)
    bend = Bend(
        kind,
        span=member(value, "span", Annotated[float, Within(1e-3, 1e8)], where),
        azimuth=member(value, "azimuth", Angle, where),
        intervals=intervals,
        coefficients=coefficients,
        **arrays,
    )
    if min(intervals[: {"track": 1, "field": 2}.get(kind, 0)], default=1) < 1:
        raise Unfit(f"{where}.intervals is {shown(list(intervals))}, and must be 1 at least")
    functions = bend.basis(bend.origin[None]).shape[1]
    if functions != len(coefficients) and text != ELSEWHERE:
        raise Unfit(f"{where}.coefficients are {len(coefficients)}, and must be {functions}")
    return bend


def _packed(coefficients: NDArray[np.float64]) -> str:
    """Write (K, 2) coefficients small: a tile has 600,000 of them, and every file of a pair says them.

    Ten thousandths of each less the one before it, little-endian int32, the first column before the second; deflated
    (zlib), in base64.
    """
    steps = np.diff(np.rint(coefficients * 10**COEFFICIENT_DIGITS), axis=0, prepend=0).T
    return b64encode(zlib.compress(steps.astype("<i4").tobytes(), 6)).decode("ascii")


def _unpacked(text: str, count: int, where: str) -> NDArray[np.float64]:
    """Read (count, 2) coefficients that :func:`_packed` has written.

    Raises:
        Unfit: they are none, or of another number.
    """
    try:
        steps = zlib.decompressobj().decompress(b64decode(text, validate=True), 8 * count + 1)
    except (ValueError, zlib.error) as error:
        raise Unfit(f"{where}.coefficients cannot be read ({error})") from None
    if len(steps) != 8 * count:
        raise Unfit(f"{where}.coefficients are {len(steps):,} bytes, and must be {8 * count:,}")
    whole = np.cumsum(np.frombuffer(steps, "<i4").reshape(2, count), axis=1, dtype=np.int64)
    return np.asarray(np.round(whole.T / 10**COEFFICIENT_DIGITS, COEFFICIENT_DIGITS))


def azimuth_of_track(latitude: float, *, ascending: bool = False) -> float:
    """Compute the direction in which Sentinel-2 flies over the ground, radians clockwise from north.

    Args:
        latitude: degrees, up to the orbit's own 81.4.
        ascending: northward; images by day are taken southward.
    """
    north = np.cos(np.radians(np.clip(latitude, -81, 81)))
    inertial = np.arcsin(np.clip(np.cos(INCLINATION) / north, -1, 1))  # negative: west of north
    east = np.sin(inertial) - north / TURNS
    heading = np.arctan2(east, np.cos(inertial))
    return float(heading if ascending else np.pi - heading)


def _as_points(points: ArrayLike, name: str) -> Points:
    """Take (N, 2) coordinates as they are, and a single point as one of them.

    Raises:
        TypeError: they are neither.
    """
    try:
        array = np.asarray(points, None if isinstance(points, np.ndarray) else float)
        array = array[None] if array.shape == (2,) else array
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.ndim != 2 or array.shape[1] != 2 or array.dtype.kind not in "fiu":
        raise TypeError(f"{name} is {shown(points)}, and must be points, (N, 2), or a single one, (x, y)")
    return array


def _splines(t: NDArray[np.float64], intervals: int) -> NDArray[np.float64]:
    """Evaluate (N, intervals + 3) cubic B-splines on evenly spaced knots over 0..1."""
    from scipy.interpolate import BSpline

    knots = np.arange(-3, intervals + 4) / intervals
    inside = np.clip(t, 0, 1 - 1e-12)
    return np.asarray(BSpline.design_matrix(inside, knots, 3).toarray())


def _along(p: NDArray[np.float64], azimuth: float, extent: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute (N,) the position along the track, 0..1 over the extent."""
    way = np.array([np.sin(azimuth), np.cos(azimuth)])
    corners = np.array(list(product((0, extent[0]), (0, extent[1])))) @ way
    return np.asarray((p @ way - corners.min()) / max(np.ptp(corners), 1e-9))
