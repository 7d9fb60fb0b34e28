"""TiePoints: where the same ground lies in both images, how sure that is, and what the set says as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from sentinel_match.errors import ExtraMissing
from sentinel_match.geometry.ellipse import Ellipses
from sentinel_match.geometry.uncertainty import Uncertainty
from sentinel_match.schema import IN_METRES, check_argument

if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from matplotlib.axes import Axes
    from numpy.typing import NDArray
    from xarray import Dataset

    from sentinel_match.geometry.transform import Transform
    from sentinel_match.products.scene import Scene
    from sentinel_match.summary import Summary

COVERAGE_CELL = 1000.0
"""Side in metres of the cells whose number tells how well the points cover the ground."""
REQUIREMENT_PX = 0.3
"""Sentinel-2's requirement on multi-temporal registration, in pixels of 10 m (ESA Mission Requirements Document)."""

REASONS = OUTLIER, UNSURE, BY_HAND = "outlier", "unsure", "by hand"
"""Why a point is no inlier: it contradicts the model; it lies near it, but so many wrong ones do by chance that it
proves nothing; a person said so. An inlier with the last one is one because a person said so."""

LONLAT_DIGITS = 8
"""Decimals of a degree: about a millimetre."""
DRAWN_ARROWS = 250
"""Arrows in a picture, at most: more would be one grey."""
DISPLACEMENT_NODES = 100
"""Nodes of a displacement field along its longer side, when nobody says how far apart they shall be."""
NODE_PIXELS = 14.0
"""Pixels between the nodes at which the uncertainty of points is told that no lattice has: as those of windows are."""
FAR_NODES = 3.0
"""Nodes from the next inlier at which a displacement field only goes on from it."""


@dataclass(frozen=True, eq=False, repr=False)
class TiePoints:
    """Correspondences between two scenes; N rows in every array, shift = right minus left.

    Examples:
        >>> from sentinel_match import read_ties
        >>> ties = read_ties("ties.gpkg")
        >>> ties
        <TiePoints T33UUU 2021-05-20 → 2021-09-17: ... inliers of ..., +6... m east +18... m north, CE90 ... m>
        >>> there = ties.transform(ties.left_xy)  # where the right image shows the same ground
        >>> there.shape == ties.left_xy.shape == (len(ties), 2)
        True
    """

    left: Scene
    right: Scene
    left_xy: NDArray[np.float64]
    """(N, 2) east, north in metres: position of the point in the left image."""
    right_xy: NDArray[np.float64]
    """(N, 2) east, north in metres: where the right image shows the same ground."""
    left_px: NDArray[np.float64]
    """(N, 2) column, row in native pixels of the left band, origin at the outer corner of the first pixel; NaN where
    the file that they were read from does not say it."""
    right_px: NDArray[np.float64]
    """(N, 2) column, row in native pixels of the right band."""
    sigma_m: NDArray[np.float64]
    """(N,) predicted standard deviation per axis, metres: root mean square of all directions."""
    score: NDArray[np.float64]
    """(N,) probability of being right."""
    residual_m: NDArray[np.float64]
    """(N,) distance to the fitted transform, metres."""
    inlier: NDArray[np.bool_]
    """(N,) whether the point is believed."""
    method: NDArray[np.str_]
    """(N,) ``phase``, ``loftr`` …: found by that matcher, then refined; ``grid``: measured on the grid."""
    summary: Summary
    """What the set says as a whole."""
    left_class: NDArray[np.str_] | None = None
    """(N,) what lies there in the left image, ``vegetation``; ``None`` where nothing says so."""
    right_class: NDArray[np.str_] | None = None
    """(N,) in the right image."""
    quality: NDArray[np.float64] | None = None
    """(N,) how distinct the peak of the correlation is, 0 to 1; ``None`` where nothing was correlated."""
    support_m: NDArray[np.float64] | None = None
    """(N,) metres of ground that the measurement averages, full width at half maximum: of the window and of the average
    of windows that the data bear out. NaN of points off the lattice of windows, ``None`` where there is none."""
    feature: NDArray[np.str_] | None = None
    """(N,) what was correlated, ``intensity 1``; the method itself where a match stayed as it was found. Files call it
    ``view``."""
    reason: NDArray[np.str_] | None = None
    """(N,) a word of ``REASONS``, empty where the model alone says that a point is believed."""
    ellipse: Ellipses | None = None
    """(N) ``sigma_m`` by direction: columns ``sigma_major_m``, ``sigma_minor_m`` and ``sigma_azimuth_deg``,
    which is NaN of circles; ``None`` where all directions are alike, as in files of earlier versions."""

    def __len__(self) -> int:
        return len(self.score)

    @property
    def transform(self) -> Transform:
        """Return the fitted transform: call it with (N, 2) metres of the left image for metres of the right one."""
        return self.summary.transform

    @property
    def band(self) -> str:
        """Name what was compared."""
        return self.summary.band

    @property
    def crs(self) -> str:
        """Name the projected CRS of the metric coordinates, ``EPSG:32633``: the left scene's."""
        return self.summary.crs

    @property
    def gsd(self) -> float:
        """Return the ground sampling distance the points were measured at, metres."""
        return self.summary.gsd_m

    @property
    def shift(self) -> NDArray[np.float64]:
        """Compute (N, 2) right minus left: east, north in metres."""
        return np.asarray(self.right_xy - self.left_xy)

    @property
    def uncertainty(self) -> Uncertainty:
        """Return how sure the transform is on a lattice: as its windows told, else as unseen blocks of points do."""
        known, proof = self.summary.uncertainty, self.summary.hold_out
        if known is not None:
            return known
        error = np.hypot(proof.rmse, proof.allowance) / np.sqrt(2) if proof else np.nan  # all of it along one axis
        return Uncertainty.around(self.left_xy[self.inlier], error, NODE_PIXELS * self.gsd)

    @property
    def azimuth(self) -> NDArray[np.float64]:
        """Compute (N,) the direction of the shift, degrees clockwise from grid north, 0 to 360."""
        return np.asarray(np.degrees(np.arctan2(*self.shift.T)) % 360)

    @property
    def lonlat(self) -> NDArray[np.float64]:
        """Compute (N, 2) longitude and latitude on WGS 84 of the left ends, degrees."""
        from pyproj import Transformer

        to_lonlat = Transformer.from_crs(self.crs, "EPSG:4326", always_xy=True)
        return np.round(np.column_stack(to_lonlat.transform(*self.left_xy.T)), LONLAT_DIGITS)

    def columns(self) -> dict[str, NDArray[Any]]:
        """Return what is said of each point, by the names that files have.

        Returns:
            (N,) each: floats unrounded, words as objects with ``None`` where there is none.
        """
        ellipse = self.ellipse or Ellipses.circles(self.sigma_m)
        columns: dict[str, NDArray[Any]] = {
            "id": np.arange(len(self)),
            "left_x": self.left_xy[:, 0],
            "left_y": self.left_xy[:, 1],
            "right_x": self.right_xy[:, 0],
            "right_y": self.right_xy[:, 1],
            "left_col": self.left_px[:, 0],
            "left_row": self.left_px[:, 1],
            "right_col": self.right_px[:, 0],
            "right_row": self.right_px[:, 1],
            "dx_m": self.shift[:, 0],
            "dy_m": self.shift[:, 1],
            "shift_m": np.hypot(*self.shift.T),
            "azimuth_deg": self.azimuth,
            "sigma_m": self.sigma_m,
            "sigma_major_m": ellipse.major,
            "sigma_minor_m": ellipse.minor,
            "sigma_azimuth_deg": np.where(ellipse.major > ellipse.minor, ellipse.azimuth, np.nan),  # of no circle
            "score": self.score,
            "residual_m": self.residual_m,
            "inlier": self.inlier.astype(bool),
            "method": _words(self.method),
        }
        optional = {"left_class": self.left_class, "right_class": self.right_class, "view": self.feature}
        columns |= {name: _words(values) for name, values in optional.items() if values is not None}
        if self.quality is not None:
            columns["quality"] = self.quality
        if self.support_m is not None:
            columns["support_m"] = self.support_m
        if self.reason is not None:
            columns["reason"] = _words(self.reason)
        return columns

    def __repr__(self) -> str:
        """Say in one line whose points they are, how many, and what they measured."""
        summary = self.summary
        dates = [f"{s.sensing_time:%Y-%m-%d}" if s.sensing_time else s.name for s in (self.left, self.right)]
        tile = f"{self.left.tile} " if self.left.tile and self.left.tile == self.right.tile else ""
        return f"<TiePoints {tile}{' → '.join(dates)}: {summary.figures}>"

    def _repr_html_(self) -> str:
        """Draw the shifts in small, with the figures beside them, for notebooks."""
        summary = self.summary
        verdict = f"{summary.verdict[:1].upper()}{summary.verdict[1:]}."
        rows = {
            "left": self.left.id,
            "right": self.right.id,
            "tie points": f"{summary.inliers:,} inliers of {summary.points:,} measured",
            "shift": f"{summary.median_dx_m:+.2f} m east, {summary.median_dy_m:+.2f} m north (median)",
            "model": f"{summary.transform.kind}, band {summary.band} at {summary.gsd_m:g} m",
            "verdict": verdict,
        }
        cells = "".join(
            f"<tr><th style='text-align:left;vertical-align:top'>{name}</th>"
            f"<td style='text-align:left;overflow-wrap:anywhere'>{escape(text)}</td></tr>"
            for name, text in rows.items()
        )
        return (
            "<div style='display:flex;flex-wrap:wrap;gap:1em;align-items:flex-start'>"
            f"<div>{self._picture()}</div><table style='max-width:40em'>{cells}</table></div>"
        )

    def _picture(self, side: int = 180) -> str:
        """Draw the inliers' shifts as SVG arrows, north up, enlarged so that the median one is a tenth of the side."""
        chosen = np.flatnonzero(self.inlier)
        chosen = chosen[:: max(1, -(-len(chosen) // DRAWN_ARROWS))]
        if not len(chosen):
            return ""
        points, shift = self.left_xy[chosen], self.shift[chosen]
        low, extent = points.min(0), max(float(np.ptp(points, axis=0).max()), 1.0)
        start = (points - low) / extent * side
        arrows = shift / max(float(np.median(np.hypot(*shift.T))), 1e-9) * side / 10
        width, height = np.ptp(points, axis=0) / extent * side
        margin = side / 8
        lines = "".join(
            f"<path d='M{x:.1f} {height - y:.1f}l{east:.1f} {-north:.1f}'/>"
            f"<circle cx='{x:.1f}' cy='{height - y:.1f}' r='.7'/>"
            for (x, y), (east, north) in zip(start.tolist(), arrows.tolist(), strict=True)
        )
        box = f"{-margin:.0f} {-margin:.0f} {width + 2 * margin:.0f} {height + 2 * margin:.0f}"
        return (
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='{box}' width='{side}' role='img' "
            "aria-label='Shifts of the inliers, enlarged'>"
            f"<g fill='#1f6fb2' stroke='#1f6fb2'>{lines}</g></svg>"  # a style would be that of the whole page
        )

    @property
    def __geo_interface__(self) -> dict[str, Any]:
        """Give a GeoJSON FeatureCollection of the left ends, for geopandas, folium, shapely and others."""
        columns = {name: values.tolist() for name, values in self.columns().items()}
        features = [
            {
                "type": "Feature",
                "id": k,
                "geometry": {"type": "Point", "coordinates": (lon, lat)},
                "properties": {name: None if values[k] != values[k] else values[k] for name, values in columns.items()},
            }
            for k, (lon, lat) in enumerate(self.lonlat.tolist())
        ]
        return {"type": "FeatureCollection", "features": features}

    def to_geodataframe(self) -> GeoDataFrame:
        """Make a GeoDataFrame: a row a point, its geometry the left end in the CRS of the pair.

        Raises:
            ExtraMissing: geopandas is not installed.
        """
        try:
            from geopandas import GeoDataFrame, points_from_xy
        except ImportError:
            raise ExtraMissing("GeoDataFrames", "geopandas", "geo") from None
        return GeoDataFrame(self.columns(), geometry=points_from_xy(*self.left_xy.T), crs=self.crs)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the inliers' shifts as arrows, coloured by residual, as a figure that notebooks show.

        Args:
            ax: where to draw; a figure of its own when not given.

        Raises:
            ExtraMissing: matplotlib is not installed.
        """
        try:
            import matplotlib.pyplot as plt
        except ImportError:
            raise ExtraMissing("Figures", "matplotlib", "plot") from None
        if ax is None:
            _, ax = plt.subplots(figsize=(7, 6), layout="constrained")
        chosen = np.flatnonzero(self.inlier)
        chosen = chosen[:: max(1, -(-len(chosen) // (4 * DRAWN_ARROWS)))]
        points, shift = self.left_xy[chosen], self.shift[chosen]
        arrows = ax.quiver(*points.T, *shift.T, self.residual_m[chosen], cmap="viridis", angles="xy", width=0.003)
        typical = float(np.median(np.hypot(*shift.T))) if len(shift) else 1.0
        ax.quiverkey(arrows, 0.9, 1.03, typical, f"{typical:.2g} m", labelpos="E")
        ax.figure.colorbar(arrows, ax=ax, label="residual (m)")
        ax.set(xlabel=f"east, {self.crs} (m)", ylabel="north (m)", title="Shift, right minus left")
        ax.set_aspect("equal")
        ax.ticklabel_format(style="plain", useOffset=False)
        return ax

    def displacement(self, spacing: float | None = None) -> Dataset:
        """Evaluate the fitted transform on a regular grid over the inliers.

        Args:
            spacing: metres between the nodes; about a hundredth of the longer side when not given.

        Returns:
            ``dx_m`` and ``dy_m`` (y, x), right minus left, and ``extrapolated`` (y, x): no inlier lies within three
            nodes, so the transform only goes on from others. ``sigma_m`` (y, x), the standard deviation per axis, and
            ``support_m`` (y, x), the ground that is averaged, as ``displacement.tif`` has them; NaN beyond the lattice
            that they are known on. ``x`` and ``y`` are metres of the CRS in the attributes.

        Raises:
            ExtraMissing: xarray is not installed.
            ValueError: the spacing is none.
        """
        try:
            from xarray import Dataset
        except ImportError:
            raise ExtraMissing("Displacement fields", "xarray", "geo") from None
        from scipy.spatial import cKDTree

        check_argument("spacing", spacing, IN_METRES.or_none())
        points = self.left_xy[self.inlier]
        low, high = points.min(0), points.max(0)
        spacing = spacing or max(float((high - low).max()) / DISPLACEMENT_NODES, self.gsd)
        x, y = (np.arange(low[k], high[k] + spacing, spacing) for k in (0, 1))
        y = y[::-1]  # rows from the north, as images have them
        nodes = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
        shift = self.transform.shift(nodes).T.reshape(2, len(y), len(x))
        away = cKDTree(points).query(nodes)[0].reshape(len(y), len(x))
        sigma, support = (values.reshape(len(y), len(x)) for values in self.uncertainty.at(nodes))
        return Dataset(
            {
                "dx_m": (("y", "x"), shift[0], {"long_name": "shift to the east, right minus left", "units": "m"}),
                "dy_m": (("y", "x"), shift[1], {"long_name": "shift to the north, right minus left", "units": "m"}),
                "sigma_m": (("y", "x"), sigma, {"long_name": "standard deviation per axis", "units": "m"}),
                "support_m": (("y", "x"), support, {"long_name": "ground that is averaged", "units": "m"}),
                "extrapolated": (("y", "x"), away > FAR_NODES * spacing),
            },
            coords={"x": x, "y": y},
            attrs={"crs": self.crs, "model": self.transform.kind, "left": self.left.id, "right": self.right.id},
        )


def _words(values: NDArray[Any]) -> NDArray[Any]:
    return np.array([str(value) or None for value in values], object)
